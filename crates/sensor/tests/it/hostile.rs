//! Everything that an evaluator may do to its host: each ends that evaluator, and nothing else.

use crate::support::{REAL, batch, finds, hostile, makes, protection, show};
use staffel_pack::Catalogue;
use staffel_sensor::{engine::Trouble, protection::Stage, worker::Worker};

/// What a guest does, and whether it is stopped by what it should be.
type Act = (&'static str, fn(&Trouble) -> bool);

const ACTS: [Act; 9] = [
    ("loop", |trouble| matches!(trouble, Trouble::Fuel | Trouble::Time)),
    ("memory", |trouble| matches!(trouble, Trouble::Memory)),
    ("recursion", |trouble| matches!(trouble, Trouble::Stack)),
    ("wild-pointer", |trouble| matches!(trouble, Trouble::Trap(_))),
    ("out-of-range", |trouble| matches!(trouble, Trouble::Trap(_))),
    ("trap-in-mid-batch", |trouble| matches!(trouble, Trouble::Trap(_))),
    ("by-position", |trouble| matches!(trouble, Trouble::Trap(_))),
    ("nonsense", |trouble| matches!(trouble, Trouble::Nonsense(_))),
    ("output-too-long", |trouble| matches!(trouble, Trouble::Nonsense(_))),
];

#[test]
fn each_is_stopped_for_what_it_is() {
    let Some(start) = hostile("each_is_stopped_for_what_it_is") else { return };
    let catalogue = serde_json::to_vec(&Catalogue::linux()).expect("it is JSON");
    // One that goes on all the time beside the others.
    let mut bystander =
        Worker::with_pack(&start, &finds(1, "/bin/x").write(), &catalogue).expect("a good pack is loaded");
    for (act, expected) in ACTS {
        let mut worker = Worker::with_pack(&start, &makes(act, 1).write(), &catalogue).expect("it is loaded");
        let trouble = worker.evaluate(&batch(REAL, 10, "/bin/x")).expect_err(act);
        assert!(expected(&trouble), "{act}: {trouble}");
        show(act, &trouble);
        // What has failed is over: it does not come back by being asked again.
        assert!(matches!(worker.evaluate(&batch(0, 1, "/bin/x")), Err(Trouble::Gone(_))), "{act} lives on");
        bystander.evaluate(&batch(REAL, 10, "/bin/x")).expect("the other evaluator lives");
    }
    let beyond = Worker::with_pack(&start, &makes("output-beyond-memory", 1).write(), &catalogue).expect("loaded");
    let mut beyond = beyond;
    let trouble = beyond.evaluate(&batch(REAL, 1, "/bin/x")).expect_err("it lies");
    assert!(matches!(trouble, Trouble::Nonsense(_)), "{trouble}");
    let looping = Worker::with_pack(&start, &makes("loop-in-load", 1).write(), &catalogue).map(drop);
    assert!(matches!(looping, Err(Trouble::Fuel | Trouble::Time)), "{looping:?}");
}

#[test]
fn what_fails_on_real_records_is_put_aside_and_they_are_answered_by_the_one_before() {
    let Some(start) = hostile("what_fails_on_real_records") else { return };
    let mut longest = 0;
    // All but the last, which lies about its examples, too, and is never taken.
    for &(act, _) in &ACTS[..8] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut protection = protection(start.clone(), folder.path());
        protection.offer(&makes("good", 1).write()).expect("the good one is taken");
        protection.offer(&makes(act, 1).write()).unwrap_or_else(|refused| panic!("{act}: {refused}"));
        assert_eq!(protection.running(), Some((act, 1)));
        protection.evaluate(&batch(REAL, 50, "/bin/x"));
        let news = protection.news();
        assert_eq!(protection.running(), Some(("good", 1)), "{news:?}");
        let metrics = protection.metrics().clone();
        assert_eq!((metrics.records, metrics.lost, metrics.failures), (50, 0, 1), "{act}: {metrics:?}");
        longest = longest.max(metrics.longest_gap_us);

        let known = protection.offer(&makes(act, 1).write()).expect_err("it is known");
        assert_eq!(known.stage, Stage::Quarantine, "{known}");
        // Another one of its kind fails on what was just seen, before it ever runs.
        let shadow = protection.offer(&makes(act, 2).write()).expect_err("it fails, too");
        assert_eq!(shadow.stage, Stage::Shadow, "{shadow}");
        assert_eq!(protection.metrics(), &metrics, "nobody noticed");
    }
    show("longest gap after a failure, ms", longest as f64 / 1_000.0);
}

#[test]
fn a_flood_is_put_aside() {
    let Some(start) = hostile("a_flood_is_put_aside") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut protection = protection(start, folder.path());
    protection.offer(&makes("good", 1).write()).expect("the good one is taken");
    protection.offer(&makes("flood", 1).write()).expect("it looks good");
    let alerts = protection.evaluate(&batch(REAL, 50, "/bin/x"));
    assert_eq!(alerts, []);
    assert_eq!(protection.running(), Some(("good", 1)));
    let why = &protection.manifest().quarantined[0].why;
    assert!(why.contains("a flood: 60000 alerts over 50 records"), "{why}");
}
