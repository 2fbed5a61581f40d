//! A pack takes another's place: all of it, or nothing of it.

use crate::support::{batch, finds, protection, shipped, show};
use staffel_pack::Pack;
use staffel_sensor::protection::{Refused, Stage};
use std::{fs, sync::Arc};

#[test]
fn a_better_pack_takes_over_and_survives_a_restart() {
    let Some(start) = shipped("a_better_pack_takes_over") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = protection(start.clone(), folder.path());
    let builtin = Pack::builtin();
    assert_eq!(first.running(), Some((builtin.name.as_str(), builtin.version)), "the built-in pack runs at first");
    first.offer(&finds(10, "/bin/a").write()).expect("it is newer");
    first.offer(&finds(11, "/bin/b").write()).expect("it is newer");
    assert_eq!(first.evaluate(&batch(0, 5, "/bin/b")).len(), 5);
    assert_eq!(first.evaluate(&batch(5, 5, "/bin/a")).len(), 0);
    // Offering what runs changes nothing.
    first.offer(&finds(11, "/bin/b").write()).expect("it runs");
    let metrics = first.metrics().clone();
    assert_eq!((metrics.swaps, metrics.failures), (2, 0));
    show("longest time without an active evaluator in a swap, us", metrics.longest_gap_us);
    drop(first);

    let mut again = protection(start.clone(), folder.path());
    assert_eq!(again.running(), Some(("linux", 11)));
    assert_eq!(again.evaluate(&batch(0, 5, "/bin/b")).len(), 5);
    drop(again);

    // A changed file is never run: the one before is.
    for entry in fs::read_dir(folder.path().join("packs")).expect("packs").flatten() {
        let text = fs::read_to_string(entry.path()).expect("it is text");
        if text.contains("/bin/b") {
            fs::write(entry.path(), text.replace("/bin/b", "/bin/c")).expect("it is changed");
        }
    }
    let changed = protection(start, folder.path());
    assert_eq!(changed.running(), Some(("linux", 10)));
    assert!(changed.manifest().quarantined[0].why.contains("gone or changed"));
}

#[test]
fn what_does_not_pass_changes_nothing() {
    let Some(start) = shipped("what_does_not_pass_changes_nothing") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut protection = protection(start, folder.path());
    protection.offer(&finds(10, "/bin/a").write()).expect("it is newer");
    let (pid, gap) = (protection.pid(), protection.metrics().gap_us);
    let mut refuse = |bytes: &[u8], stage: Stage, words: &str| {
        let Refused { stage: found, why } = protection.offer(bytes).expect_err("it must not run");
        assert_eq!(found, stage, "{why}");
        assert!(why.contains(words), "{why}");
    };
    refuse(b"{", Stage::Form, "not readable");
    refuse(&finds(10, "/bin/b").write(), Stage::Contract, "version 10 is not above 10");
    refuse(&finds(9, "/bin/b").write(), Stage::Contract, "not above");
    let mut missed = finds(11, "/bin/b");
    missed.rules[0].condition.push(staffel_pack::format::Step::Not);
    refuse(&missed.write(), Stage::Examples, "should match example 0");
    refuse(&missed.write(), Stage::Quarantine, "should match example 0");
    assert_eq!(protection.running(), Some(("linux", 10)));
    assert_eq!((protection.pid(), protection.metrics().gap_us), (pid, gap), "the same process runs on");

    // It passes its examples and would drown everybody: what was just seen says so.
    protection.evaluate(&batch(0, 2_000, "/bin/everyday"));
    let Refused { stage, why } = protection.offer(&finds(12, "/bin/everyday").write()).expect_err("it must not run");
    assert_eq!(stage, Stage::Shadow, "{why}");
    assert!(why.contains("2000 alerts over the last 2000 records"), "{why}");
    assert_eq!(protection.running(), Some(("linux", 10)));
}

#[test]
fn a_machine_that_starts_no_evaluator_blames_no_pack() {
    let Some(start) = shipped("a_machine_that_starts_no_evaluator") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut before = protection(start.clone(), folder.path());
    before.offer(&finds(10, "/bin/a").write()).expect("it is newer");
    drop(before);

    let mut broken = start.clone();
    broken.engine = Arc::from(b"no code".as_slice());
    let mut lost = protection(broken, folder.path());
    assert_eq!(lost.evaluate(&batch(0, 7, "/bin/a")), []);
    assert_eq!((lost.running(), lost.metrics().lost), (None, 7), "and every record is counted");
    let Refused { stage, why } = lost.offer(&finds(11, "/bin/b").write()).expect_err("nothing can run it");
    assert_eq!(stage, Stage::Evaluator, "{why}");
    assert_eq!(lost.manifest().quarantined, []);
    drop(lost);
    let mut again = protection(start, folder.path());
    assert_eq!(again.running(), Some(("linux", 10)));
    again.offer(&finds(11, "/bin/b").write()).expect("it was never to blame");
}
