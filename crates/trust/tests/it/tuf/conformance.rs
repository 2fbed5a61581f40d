//! The conformance command against our own repository; the public suite is run by hand with the example program.

use std::fs;

use staffel_trust::tuf::client::{ClientError, DirectoryTransport, block_on};
use staffel_trust::tuf::conformance::{Arguments, ConformanceError, run};

use super::support::*;

fn command(world: &World, line: &str) -> Result<(), ConformanceError> {
    let base = world.directory.path();
    let words = line.split_whitespace().map(|word| word.replace('@', base.to_str().unwrap()));
    let arguments = Arguments::parse(words)?;
    block_on(run(&arguments, |_, _| DirectoryTransport::new(&world.path()), NOW))
}

#[test]
fn init_refresh_download() {
    let mut world = World::new(4);
    world.add("dir/a", b"1");
    world.add_and_publish("b", b"2", NOW);
    let common = "--metadata-url U --metadata-dir @/md";
    let download = format!("{common} --target-dir @/out --target-base-url B");
    assert!(matches!(command(&world, &format!("{common} refresh")), Err(ConformanceError::File { .. })));
    command(&world, "--metadata-dir @/md init @/repository/metadata/1.root.json").unwrap();
    let names = |world: &World| {
        let entries = fs::read_dir(world.directory.path().join("md")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".json"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&world), ["root.json"]);
    command(&world, &format!("{common} refresh")).unwrap();
    assert_eq!(names(&world), ["root.json", "snapshot.json", "targets.json", "timestamp.json"]);

    command(&world, &format!("{download} --target-name dir/a --target-name b download")).unwrap();
    let out = world.directory.path().join("out");
    assert_eq!(fs::read(out.join("dir%2Fa")).unwrap(), b"1");
    assert_eq!(fs::read(out.join("b")).unwrap(), b"2");

    // A link in the place of a target is replaced, not written through.
    #[cfg(unix)]
    {
        let elsewhere = world.directory.path().join("elsewhere");
        fs::remove_file(out.join("b")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, out.join("b")).unwrap();
        command(&world, &format!("{download} --target-name b download")).unwrap();
        assert!(!elsewhere.exists());
        assert_eq!(fs::read(out.join("b")).unwrap(), b"2");
    }

    // Stops at the first that fails.
    fs::remove_dir_all(&out).unwrap();
    let result = command(&world, &format!("{download} --target-name b --target-name c --target-name dir/a download"));
    assert!(matches!(result, Err(ConformanceError::Client(ClientError::UnknownTarget { .. }))));
    assert!(out.join("b").exists() && !out.join("dir%2Fa").exists());
}

#[test]
fn init_refuses_a_root_that_did_not_sign_itself() {
    let world = World::new(1);
    let path = world.directory.path().join("bad.json");
    let text = fs::read_to_string(world.metadata("1.root.json")).unwrap();
    fs::write(&path, text.replace("\"version\":1", "\"version\":2")).unwrap();
    let result = command(&world, "--metadata-dir @/md init @/bad.json");
    assert!(matches!(result, Err(ConformanceError::Client(ClientError::Signature { .. }))));
    assert!(!world.directory.path().join("md/root.json").exists());
}
