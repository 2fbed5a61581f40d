//! What the agent puts into the spool is not believed, and what fails leaves nothing behind.

use crate::support::*;
use staffel_core::{conditions::Refusal, ids::Digest};
use staffel_statement::guard::{Command, Reply};
use std::{fs, os::unix::fs::symlink, path::Path};

/// Prepares with whatever lies in the spool, expects a failure and that nothing of it is left.
fn fails(world: &World, made: &Made) -> String {
    let (blobs, generations) = (world.layout.blobs(), world.layout.generations());
    let before = (world.names(&blobs), world.names(&generations));
    let reply = world.ask(Command::Prepare { bundle: Box::new(world.bundle(made, "")) });
    let Reply::Failed { why } = reply else { panic!("{reply:?}") };
    wait_for("everything tidied up", || ((world.names(&blobs), world.names(&generations)) == before).then_some(()));
    assert_eq!(world.status().prepared, None);
    why
}

fn spooled(world: &World, bytes: &[u8]) -> std::path::PathBuf {
    world.layout.spool().join(Digest::of(bytes).to_string())
}

#[test]
fn each_wrong_file_in_the_spool_has_its_own_words() {
    let world = World::running();
    let good = stays(1);
    world.commit(&good);
    let content = b"the content of a file".as_slice();
    let made = stays(2).file("z", content, false);
    world.spool(&made);
    let path = spooled(&world, content);
    let real = world.write("real", content);

    let put = |what: &dyn Fn(&Path)| {
        let _ = fs::remove_file(&path);
        what(&path);
        fails(&world, &made)
    };
    for (says, what) in [
        ("has not put", &(|_: &Path| {}) as &dyn Fn(&Path)),
        ("has 5 bytes, 21 were signed", &|path| fs::write(path, &content[..5]).unwrap()),
        ("has 22 bytes", &|path| fs::write(path, [content, b"!"].concat()).unwrap()),
        ("its hash is not the one", &|path| fs::write(path, content.to_ascii_uppercase()).unwrap()),
        ("symbolic link", &|path| symlink(&real, path).unwrap()),
        ("2 names", &|path| fs::hard_link(&real, path).unwrap()),
        ("not a plain file", &|path| fs::create_dir(path).unwrap()),
    ] {
        let why = put(what);
        assert!(why.contains(says), "{says}: {why}");
        let _ = fs::remove_dir(&path);
    }
    let why = put(&|path| {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    });
    assert!(why.contains("not a plain file"), "a pipe that nobody writes: {why}");

    let _ = fs::remove_file(&path);
    let status = world.commit(&made);
    world.assert_whole(&status.selected.unwrap(), &[&made]);
}

#[test]
fn a_spool_that_is_a_link_is_not_followed() {
    let world = World::running();
    let made = stays(1);
    let elsewhere = world.path("elsewhere");
    fs::rename(world.layout.spool(), &elsewhere).unwrap();
    symlink(&elsewhere, world.layout.spool()).unwrap();
    world.spool(&made);
    fails(&world, &made);
}

#[test]
fn paths_that_would_leave_the_slot_are_refused_although_they_are_signed() {
    let world = World::running();
    for path in ["../../evil", "/etc/evil", "a/./b", "a//b"] {
        let made = Made::new("pack", 1).file(path, "x", false);
        let reply = world.prepare(&made);
        let Reply::Refused { refusals } = reply else { panic!("{reply:?}") };
        assert!(
            matches!(&refusals[..], [Refusal::ReleaseRejected { why }] if why.contains("not allowed")),
            "{refusals:?}"
        );
    }
    let clash = Made::new("pack", 2).file("a", "x", false).file("a/b", "y", false);
    world.spool(&clash);
    fails(&world, &clash);
}

#[test]
fn a_release_that_does_not_fit_is_refused_with_numbers_before_anything_is_copied() {
    let world = World::running();
    let mut made = stays(1);
    made.release.files.push(staffel_statement::predicate::File {
        path: "huge".into(),
        sha256: Digest::of(b"huge"),
        size: 1 << 60,
        executable: false,
    });
    let reply = world.prepare(&made);
    let Reply::Refused { refusals } = reply else { panic!("{reply:?}") };
    let [Refusal::PreflightFailed { why }] = &refusals[..] else { panic!("{refusals:?}") };
    assert!(why[0].contains("too little room") && why[0].contains("MiB are free"), "{why:?}");
}

#[test]
fn a_disk_that_takes_no_more_in_the_middle_of_a_copy_leaves_nothing_behind() {
    let mut world = World::new();
    // A file may have 256 KiB at most (the shell counts in 512 bytes); a write beyond is an error, as on a full disk.
    world.before = Some("trap '' XFSZ; ulimit -f 512".into());
    world.start();
    let good = stays(1);
    world.commit(&good);
    let big = stays(2).file("big", vec![7; 400 << 10], false);
    world.spool(&big);
    let why = fails(&world, &big);
    assert!(why.contains("can't copy into"), "{why}");
    let status = world.status();
    world.assert_whole(&status.selected.unwrap(), &[&good]);
    assert!(status.services[0].running);
}

#[test]
fn a_folder_that_can_not_be_written_refuses_the_change() {
    let world = World::running();
    let made = stays(1);
    let reply = world.prepare(&made);
    let Reply::Prepared { nonce, .. } = reply else { panic!("{reply:?}") };
    fs::create_dir(world.layout.root.join("preflight.tmp")).unwrap();
    for command in [
        Command::Prepare { bundle: Box::new(world.bundle(&made, "")) },
        Command::Arm { bundle: Box::new(world.bundle(&made, &nonce)) },
    ] {
        let reply = world.ask(command);
        let Reply::Refused { refusals } = reply else { panic!("{reply:?}") };
        let [Refusal::PreflightFailed { why }] = &refusals[..] else { panic!("{refusals:?}") };
        assert!(why[0].contains("can't be written"), "{why:?}");
    }
}
