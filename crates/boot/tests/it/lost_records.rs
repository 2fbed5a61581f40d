//! Damage on disk: records and slots.

use crate::support::*;
use staffel_statement::{
    guard::{Command, Reply},
    predicate::Action,
};
use std::{fs, os::unix::fs::PermissionsExt as _};

fn damage(world: &World, names: &[&str]) {
    for name in names {
        let path = world.layout.root.join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
}

#[test]
fn one_damaged_copy_changes_nothing_and_is_said() {
    for copy in ["record", "record.copy"] {
        let mut world = World::running();
        let made = stays(1);
        let nonce = world.arm(&made);
        world.kill();
        damage(&world, &[copy]);
        let status = world.start();
        assert!(status.trial.is_some() && status.lacking.iter().any(|line| line.contains("damaged")), "{status:?}");
        assert!(matches!(world.confirm(&made, &nonce), Reply::Done { .. }));
    }
}

#[test]
fn with_both_copies_damaged_last_known_good_runs_and_never_the_trial() {
    let mut world = World::running();
    let good = stays(1);
    world.commit(&good);
    assert!(matches!(world.ask(Command::Deny { halt: halt(&stays(9)) }), Reply::Done { .. }));
    world.arm(&stays(2));
    world.kill();
    damage(&world, &["record", "record.copy"]);
    let status = world.start();
    assert!(status.trial.is_none());
    world.assert_whole(&status.selected.unwrap(), &[&good]);
    world.wait_status("its service", |status| status.services[0].running);
    assert!(matches!(world.prepare(&stays(9)), Reply::Refused { .. }), "the denylist is not lost");
    world.commit(&stays(3));
}

#[test]
fn with_every_copy_lost_safe_mode_says_so_and_takes_a_release() {
    let mut world = World::running();
    world.commit(&stays(1));
    world.kill();
    damage(&world, &["record", "record.copy", "known-good", "known-good.copy"]);
    let status = world.start();
    assert!(is_safe(&status) && status.services.is_empty());
    assert!(status.lacking.iter().any(|line| line.contains("record is lost")), "{:?}", status.lacking);
    world.commit(&stays(2));
}

#[test]
fn a_damaged_slot_is_repaired_before_it_is_run() {
    let mut world = World::running();
    let made = stays(1).file("data", "signed", false);
    let generation = world.commit(&made).last_known_good;
    assert!(world.stop().success());
    let data = world.layout.generation(&generation.id).join("till/data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&data, "rotten").unwrap();
    let status = world.start();
    world.assert_whole(&generation, &[&made]);
    assert!(status.lacking.iter().any(|line| line.contains("was repaired")), "{:?}", status.lacking);
    assert!(status.services[0].running);
}

#[test]
fn a_slot_that_can_not_be_repaired_is_left_for_an_earlier_one() {
    let mut world = World::running();
    let (old, new) = (stays(1), stays(2));
    world.commit(&old);
    let generation = world.commit(&new).last_known_good;
    assert!(world.stop().success());
    fs::remove_file(world.layout.blob(&staffel_core::ids::Digest::of(&new.bytes["run"]))).unwrap();
    fs::remove_dir_all(world.layout.generation(&generation.id)).unwrap();
    let status = world.start();
    world.assert_whole(&status.selected.unwrap(), &[&old]);
    assert!(status.services[0].running);
}

#[test]
fn what_can_not_be_written_down_is_not_armed_but_a_way_back_is_gone() {
    let world = World::running();
    let good = stays(1);
    world.commit(&good);
    world.arm(&stays(2));
    // From now on the record can't be written: a folder stands where its temporary file would.
    let block = world.layout.root.join("record.tmp");
    fs::create_dir(&block).unwrap();
    assert!(matches!(world.ask(Command::Abort { why: "probe".into() }), Reply::Done { .. }));
    let status = world.status();
    world.assert_whole(&status.selected.unwrap(), &[&good]);
    assert!(status.lacking.iter().any(|line| line.contains("can't be written")), "{:?}", status.lacking);
    let reply = world.prepare(&stays(3));
    assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
    assert!(matches!(world.remedy(1, Action::StaySafe { why: "x".into() }, &[16]), Reply::Done { .. }));
    assert!(is_safe(&world.status()));
    fs::remove_dir(&block).unwrap();
    world.commit(&stays(4));
    assert!(!world.status().lacking.iter().any(|line| line.contains("can't be written")));
}

#[test]
fn a_start_of_a_trial_that_can_not_be_counted_runs_last_known_good() {
    let mut world = World::running();
    let good = stays(1);
    world.commit(&good);
    world.arm(&stays(2));
    world.kill();
    fs::create_dir(world.layout.root.join("record.tmp")).unwrap();
    for _ in 0..5 {
        world.next_boot();
        let status = world.start();
        assert!(status.trial.is_none());
        world.assert_whole(&status.selected.unwrap(), &[&good]);
        world.kill();
    }
}
