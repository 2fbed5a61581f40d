//! 19 July 2024 in small: a rule uses a 21st field, the consumer supplies 20, and a wild card hides it from every example.

use crate::support::{REAL, anything, batch, hostile, is, makes, pack, protection, shipped, show};
use staffel_pack::{Catalogue, Evaluator, Field, Kind, Pack, vectors};
use staffel_sensor::protection::{Refused, Stage};

/// What the author had: one field more.
fn authors() -> Catalogue {
    let mut catalogue = Catalogue::linux();
    assert_eq!(catalogue.classes[0].fields.len(), 20);
    catalogue.classes[0].fields.push(Field { name: "PipeName".into(), kind: Kind::Text });
    catalogue
}

/// Examples pass at the author's: whatever the 21st field is, or none at all, the rule has matched before it is asked.
fn channel_file() -> Pack {
    let mut pack = pack("channel-291", 1, vec![is("Image", "/bin/x"), anything("PipeName")], "/bin/x", &authors());
    // "or": the wild card never decides.
    pack.rules[0].condition[1] = staffel_pack::format::Step::IfYes(3);
    let mut evaluator = Evaluator::bind(&pack, &authors()).expect("it fits the author's");
    assert_eq!(vectors::run(&pack, &authors(), &mut evaluator), []);
    pack
}

#[test]
fn the_device_refuses_it_by_name_before_anything_runs() {
    let Some(start) = shipped("the_device_refuses_it_by_name") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut protection = protection(start, folder.path());
    let running = protection.running().map(|(name, version)| (name.to_string(), version));
    let Refused { stage, why } = protection.offer(&channel_file().write()).expect_err("it must not run");
    assert_eq!(stage, Stage::Contract);
    assert!(why.contains("the field PipeName of process_creation") && why.contains("supplies 20 fields"), "{why}");
    show("19 July, contract", &why);
    assert_eq!(protection.running().map(|(name, version)| (name.to_string(), version)), running);
    assert_eq!(protection.metrics().gap_us, 0);
}

#[test]
fn an_evaluator_that_indexes_by_position_harms_only_itself() {
    let Some(start) = hostile("an_evaluator_that_indexes_by_position") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let other_folder = tempfile::tempdir().expect("a folder");
    let mut other = protection(start.clone(), other_folder.path());
    let mut protection = protection(start, folder.path());
    protection.offer(&makes("good", 1).write()).expect("the good one is taken");
    protection.offer(&makes("by-position", 1).write()).expect("its examples never touch the 21st field");
    let others = other.pid();

    // Real life is the first to touch it.
    protection.evaluate(&batch(REAL, 1_000, "/bin/x"));
    assert_eq!(protection.running(), Some(("good", 1)), "the one before runs");
    let why = &protection.manifest().quarantined[0].why;
    assert!(why.contains("out of bounds memory access"), "{why}");
    let metrics = protection.metrics();
    assert_eq!((metrics.records, metrics.lost, metrics.failures), (1_000, 0, 1));
    assert!(metrics.gap_us > 0, "a failure takes time, and it is counted");
    show("19 July, vulnerable evaluator", why);
    show("19 July, time without an active evaluator, ms", metrics.gap_us as f64 / 1_000.0);
    other.evaluate(&batch(REAL, 10, "/bin/x"));
    assert_eq!((other.pid(), other.metrics().failures), (others, 0), "the other evaluator has noticed nothing");
}
