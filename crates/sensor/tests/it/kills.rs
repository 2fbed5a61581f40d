//! Evaluators are killed under load: no record is lost without being counted, and none of these packs is blamed.

use crate::support::{batch, finds, protection, shipped, show};
use std::time::Instant;

/// Few here, because each is a process; `STAFFEL_KILLS=1000` for the whole.
fn kills() -> u64 {
    std::env::var("STAFFEL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn no_record_is_lost_uncounted() {
    let Some(start) = shipped("no_record_is_lost_uncounted") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut protection = protection(start, folder.path());
    protection.offer(&finds(1, "/bin/x").write()).expect("it is taken");
    let (kills, each) = (kills(), 200);
    let (mut answered, mut slowest) = (0, 0.0f64);
    for n in 0..kills {
        let pid = i32::try_from(protection.pid().expect("it runs")).expect("a process number");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
        let begun = Instant::now();
        let alerts = protection.evaluate(&batch(n * each, each, "/bin/x"));
        slowest = slowest.max(begun.elapsed().as_secs_f64() * 1_000.0);
        let sequences: Vec<u64> = alerts.iter().map(|alert| alert.sequence).collect();
        assert_eq!(sequences, (n * each..(n + 1) * each).collect::<Vec<_>>(), "each record is answered once");
        answered += alerts.len() as u64;
    }
    let metrics = protection.metrics();
    assert_eq!((metrics.records, metrics.lost, metrics.dropped), (kills * each, 0, 0));
    assert_eq!(answered, kills * each);
    assert_eq!(metrics.failures, kills);
    assert_eq!(protection.manifest().quarantined, [], "a kill from outside is no fault of the pack");
    show("kills, records, lost", format!("{kills}, {}, {}", metrics.records, metrics.lost));
    show("mean gap, ms", metrics.gap_us as f64 / 1_000.0 / kills as f64);
    show("slowest batch with a restart, ms", slowest);
}
