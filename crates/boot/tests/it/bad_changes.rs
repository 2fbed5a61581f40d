//! Changes that go wrong, and the way back.

use crate::support::*;
use staffel_core::conditions::Refusal;
use staffel_statement::guard::{Command, Reply};

#[test]
fn a_service_that_ends_on_trial_is_rolled_back_at_once() {
    let world = World::running();
    let good = stays(1);
    world.commit(&good);
    let bad = Made::service("till", 2, "exit 3");
    world.arm(&bad);
    let status = world.wait_status("the way back", |status| status.trial.is_none());
    let outcome = status.outcome.unwrap();
    assert!(!outcome.committed && outcome.why.contains("ended with status 3"), "{}", outcome.why);
    world.assert_whole(&status.selected.unwrap(), &[&good]);
    world.wait_status("the old service", |status| status.services.iter().any(|service| service.running));
}

#[test]
fn a_program_that_can_not_be_started_is_rolled_back() {
    let world = World::running();
    world.commit(&stays(1));
    let mut bad = stays(2);
    bad.release.files[0].sha256 = staffel_core::ids::Digest::of(b"#!/no/such/program\n");
    bad.release.files[0].size = 19;
    bad.bytes.insert("run".into(), b"#!/no/such/program\n".to_vec());
    world.arm(&bad);
    let outcome = world.status().outcome.unwrap();
    assert!(!outcome.committed && outcome.why.contains("can't start"), "{}", outcome.why);
}

#[test]
fn a_trial_that_kills_the_guard_three_times_is_left() {
    let mut world = World::running();
    let good = stays(1);
    world.commit(&good);
    let bad = Made::service("till", 2, "kill -9 $PPID; exec sleep 1000");
    let reply = world.prepare(&bad);
    let Reply::Prepared { nonce, .. } = reply else { panic!("{reply:?}") };
    // The guard may be dead before it answers.
    let arm = Command::Arm { bundle: Box::new(world.bundle(&bad, &nonce)) };
    let _ = staffel_boot::client::ask(&world.layout, &arm);
    world.ended();
    for _ in 0..2 {
        world.next_boot();
        world.spawn();
        world.ended();
    }
    world.next_boot();
    let status = world.start();
    world.assert_whole(&status.selected.unwrap(), &[&good]);
    let outcome = status.outcome.unwrap();
    assert!(!outcome.committed && outcome.why.contains("3 times"), "{}", outcome.why);
    assert!(status.services[0].running);
}

#[test]
fn a_trial_that_nobody_confirms_ends_by_the_clock() {
    let mut world = World::new();
    world.options = ["--trial-timeout-ms", "200"].map(String::from).to_vec();
    world.start();
    world.arm(&stays(1));
    let status = world.wait_status("the end of the trial", |status| status.trial.is_none());
    assert_eq!(status.outcome.unwrap().why, "no receipt in time");
    assert_eq!(status.services, vec![]);
}

#[test]
fn a_receipt_for_another_nonce_release_or_by_another_key_commits_nothing() {
    let world = World::running();
    let made = stays(1);
    let nonce = world.arm(&made);
    let forged = staffel_statement::Envelope::sign(&receipt(&made, &nonce).payload().unwrap(), &[&key(99)]);
    for wrong in [receipt(&made, "00"), receipt(&stays(2), &nonce), forged] {
        let reply = world.ask(Command::Confirm { receipt: wrong });
        assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
        assert!(world.status().trial.is_some());
    }
}

#[test]
fn a_halt_stops_a_trial_and_what_was_committed_until_two_releasers_take_it_back() {
    let world = World::running();
    let (good, bad) = (stays(1), stays(2));
    world.commit(&good);
    world.commit(&bad);
    assert!(matches!(world.ask(Command::Deny { halt: halt(&bad) }), Reply::Done { .. }));
    let status = world.status();
    world.assert_whole(&status.selected.unwrap(), &[&good]);
    let refused = world.prepare(&bad);
    let Reply::Refused { refusals } = refused else { panic!("{refused:?}") };
    assert!(matches!(refusals[..], [Refusal::ReleaseDenied { .. }]), "{refusals:?}");
    assert!(matches!(world.ask(Command::Undeny { unhalt: halt(&bad) }), Reply::Failed { .. }));
    assert!(matches!(world.ask(Command::Undeny { unhalt: unhalt(&bad) }), Reply::Done { .. }));
    world.commit(&bad);
}

#[test]
fn a_bundle_that_does_not_hold_is_refused_with_every_reason_and_nothing_changes() {
    let world = World::running();
    let made = stays(1);
    let reply = world.prepare(&made);
    let Reply::Prepared { nonce, .. } = reply else { panic!("{reply:?}") };
    let mut bundle = world.bundle_for(&made, &nonce, staffel_core::ids::Digest::of(b"another consumer"));
    bundle.policy = None;
    bundle.permit = None;
    let reply = world.ask(Command::Arm { bundle: Box::new(bundle) });
    let Reply::Refused { refusals } = reply else { panic!("{reply:?}") };
    let conditions: Vec<u8> = refusals.iter().map(Refusal::condition).collect();
    assert_eq!(conditions, [2, 5, 7], "{refusals:?}");
    let status = world.status();
    assert!(status.trial.is_none() && status.services.is_empty());
}

#[test]
fn a_nonce_is_good_for_one_trial() {
    let world = World::running();
    let made = stays(1);
    let reply = world.prepare(&made);
    let Reply::Prepared { nonce, .. } = reply else { panic!("{reply:?}") };
    let bundle = Box::new(world.bundle(&made, &nonce));
    assert!(matches!(world.ask(Command::Arm { bundle: bundle.clone() }), Reply::Done { .. }));
    assert!(matches!(world.ask(Command::Abort { why: "probe".into() }), Reply::Done { .. }));
    for _ in 0..2 {
        let reply = world.ask(Command::Arm { bundle: bundle.clone() });
        let Reply::Refused { refusals } = reply else { panic!("{reply:?}") };
        assert!(refusals.contains(&Refusal::PermitReplayed), "{refusals:?}");
        // Prepared anew, with a nonce that the old permit does not answer.
        assert!(matches!(world.prepare(&made), Reply::Prepared { .. }));
    }
}
