//! python-tuf, the reference implementation, reads our repository.
//!
//! Interpreter: `STAFFEL_PYTHON`, else the one in `target/pyvenv`, else `python3`; it must be able to `import tuf`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use staffel_trust::tuf::writer::{KeySet, Keyring, Role};

use super::support::*;

fn interpreter(test: &str) -> Option<PathBuf> {
    let environment = std::env::var_os("STAFFEL_PYTHON").map(PathBuf::from);
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/pyvenv/bin/python");
    let candidates = [environment, Some(venv), Some(PathBuf::from("python3"))];
    let usable = |python: &PathBuf| {
        Command::new(python).args(["-c", "import tuf.ngclient"]).output().is_ok_and(|run| run.status.success())
    };
    let found = candidates.into_iter().flatten().find(usable);
    if found.is_none() {
        let required = std::env::var_os("CI").is_some() || std::env::var_os("STAFFEL_REQUIRE_TOOLS").is_some();
        assert!(!required, "{test}: python-tuf is missing");
        eprintln!("SKIP {test}: python-tuf is missing");
    }
    found
}

/// Lets python-tuf refresh and download `paths` with its own metadata directory `state`.
fn read(python: &Path, world: &World, state: &str, paths: &[(&str, &[u8])]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tuf/read_with_python_tuf.py");
    let state = world.directory.path().join("python").join(state);
    fs::create_dir_all(&state).unwrap();
    let names = paths.iter().map(|(path, _)| *path);
    let run = Command::new(python).arg(script).arg(world.path()).arg(&state).args(names).output().unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{output}{}", String::from_utf8_lossy(&run.stderr));
    let expected: Vec<String> =
        paths.iter().map(|(path, content)| format!("{path} {}", hex::encode(content))).collect();
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn python_tuf_reads_the_repository_and_follows_rotations() {
    let Some(python) = interpreter("python_tuf_reads_the_repository_and_follows_rotations") else { return };
    // python-tuf takes the time from the system.
    let now = system_now();
    let mut world = World::at(16, now);
    world.add("gate/g.json", b"attested");
    world.add("dir/mit leer/\u{fc}.bin", b"odd name");
    world.add_and_publish("a", b"0", now);
    let others: [(&str, &[u8]); 2] = [("gate/g.json", b"attested"), ("dir/mit leer/\u{fc}.bin", b"odd name")];
    read(&python, &world, "running", &[("a", b"0"), others[0], others[1]]);
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let new = key(new_seed(role));
        world.repository.add_keys(Keyring::from_iter([new.clone()]));
        world.repository.rotate(role, &KeySet::single(new.public()), now).unwrap();
        let content = index.to_string();
        world.add_and_publish("a", content.as_bytes(), now);
        read(&python, &world, "running", &[("a", content.as_bytes()), others[0]]);
    }
    world.repository.refresh_timestamp(now).unwrap();
    read(&python, &world, "running", &[("a", b"5")]);
    read(&python, &world, "fresh", &[("a", b"5"), others[0], others[1]]);
}

/// Both clients must agree that a repository is bad, too: otherwise the test above would prove little.
#[test]
fn python_tuf_refuses_what_we_refuse() {
    let Some(python) = interpreter("python_tuf_refuses_what_we_refuse") else { return };
    let now = system_now();
    let mut world = World::at(1, now);
    world.add_and_publish("a", b"0", now);
    let path = world.metadata("2.bin-0.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"length\":1", "\"length\":2")).unwrap();
    assert!(fetch(&mut world.client("a"), "a", now).is_err());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tuf/read_with_python_tuf.py");
    let state = world.directory.path().join("python");
    fs::create_dir_all(&state).unwrap();
    let run = Command::new(python).arg(script).arg(world.path()).arg(&state).arg("a").output().unwrap();
    assert!(!run.status.success());
    assert!(String::from_utf8_lossy(&run.stderr).contains("UnsignedMetadataError"));
}
