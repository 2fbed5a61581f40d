//! Permits that come back unused: no alarm, no evidence lost, and nobody gets away with it.

use super::*;
use crate::{
    evidence::Arm,
    profile::ProfileName,
    rollout::{Answer, Event, HaltReason, HoldReason, Late, Report, Skip, Status, WaitingOn, device::Waiting},
};
use world::{START_MS, say};

const MINUTE: u64 = 60_000;

fn demo(seed: u64) -> World {
    let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), seed, ProfileName::Demo);
    world.thorough = 0.3;
    world
}

fn declined() -> Report {
    Report::Declined { why: "the customer has frozen its devices".into(), unchanged: true }
}

/// The first device has its treated permit and is not heard of again unless the test speaks for it.
fn permitted(world: &mut World) -> u32 {
    let first = world.rollouts[0].devices(0)[0];
    world.offline(first, u64::MAX);
    // All the others are its controls.
    (0..24).for_each(|device| world.fleet.heard(device, START_MS));
    world.run(1);
    let answer = say(world, first, &Report::Ready);
    assert!(matches!(answer, Some(Answer::Permit { arm: Arm::Treated, event: Some(_) })), "{answer:?}");
    assert_eq!((world.rollouts[0].counts.exposed, world.rollouts[0].counts.exposed_ever), (1, 1));
    first
}

#[test]
fn a_device_that_declines_halts_nobody_and_gets_its_turn_again() {
    for seed in 0..10 {
        let mut world = demo(seed);
        let shy = world.rollouts[0].devices(seed as u32 * 2)[0];
        // Its customer thaws after a minute.
        world.fault = Box::new(move |_, _, device, _| if device == shy { Fault::Declines } else { Fault::None });
        world.run(MINUTE);
        // It is asked again now and then.
        world.run_until(START_MS + 2 * MINUTE, |world| {
            let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
            waiting.to_string().contains("gave their permit back")
        });
        let rollout = &world.rollouts[0];
        assert!(rollout.counts.withdrawn > 0 && matches!(rollout.status, Status::Running), "{:?}", rollout.status);
        assert_eq!((rollout.counts.silent, rollout.counts.failed), (0, 0));
        let waiting = rollout.waiting_on(&world.fleet, world.now_ms).to_string();
        assert!(waiting.contains("gave their permit back") && waiting.contains("(frozen)"), "{waiting}");
        let name = rollout.unit_name(&world.fleet, rollout.unit(shy).unwrap());
        assert!(waiting.contains(&name), "{name} in {waiting}");
        assert!(rollout.place(shy).contains("frozen"), "{}", rollout.place(shy));
        world.fault = Box::new(|_, _, _, _| Fault::None);
        let end = world.finish(10 * MINUTE);
        assert_eq!(end, WaitingOn::Completed { left_out: vec![], named: vec![], late: Late::default() });
        assert_eq!(world.rollouts[0].counts.confirmed, 24);
    }
}

#[test]
fn a_device_that_declines_for_good_is_left_out_by_name() {
    let mut world = demo(1);
    let shy = world.rollouts[0].devices(5)[0];
    world.fault = Box::new(move |_, _, device, _| if device == shy { Fault::Declines } else { Fault::None });
    let end = world.finish(20 * MINUTE);
    let WaitingOn::Completed { left_out, named, .. } = end else { panic!("{end}") };
    assert_eq!(left_out, [(Skip::Declined, 1)]);
    assert_eq!((named[0].skip, named[0].why.as_deref()), (Skip::Declined, Some("frozen")));
    assert_eq!((world.rollouts[0].counts.confirmed, world.rollouts[0].counts.withdrawn), (23, 5));
}

#[test]
fn a_permit_comes_back_and_everything_is_as_before_it() {
    let mut world = demo(2);
    let first = permitted(&mut world);
    let before = world.rollouts[0].ln_e();
    say(&mut world, first, &declined());
    let rollout = &world.rollouts[0];
    assert_eq!((rollout.counts.exposed, rollout.counts.exposed_ever, rollout.exposed_units), (0, 0, 0));
    assert_eq!((rollout.counts.withdrawn, rollout.ln_e()), (1, before));
    assert!(!world.fleet.is_away(first) && world.fleet.device(first).member_of == 0);
    crate::invariants::counts(rollout).unwrap();
    world.replay_agrees();
    // Told again because the answer was lost: nothing more. And no second try in the same wave, or at once.
    say(&mut world, first, &declined());
    assert_eq!(world.rollouts[0].counts.withdrawn, 1);
    assert_eq!(say(&mut world, first, &Report::Ready), Some(Answer::Wait(Waiting::Skip(Skip::Declined))));
}

#[test]
fn silence_before_it_stays_evidence_and_no_longer_holds() {
    let mut world = demo(3);
    let first = permitted(&mut world);
    world.run(7_000);
    let held =
        |world: &World| matches!(&world.rollouts[0].status, Status::Held { reason: HoldReason::Silent { .. }, .. });
    assert!(held(&world), "{:?}", world.rollouts[0].status);
    let evidence = world.rollouts[0].ln_e();
    let observed: Vec<_> = world.events().filter(|e| matches!(e, Event::Observed { .. })).collect();
    assert!(evidence > 0.0, "{evidence} {observed:?}");
    say(&mut world, first, &declined());
    assert_eq!(world.rollouts[0].ln_e(), evidence, "the past is not revised");
    world.run(1_000);
    assert!(!held(&world), "{:?}", world.rollouts[0].status);
    assert_eq!(world.rollouts[0].counts.silent, 0);
}

#[test]
fn who_went_on_trial_or_changed_can_not_withdraw() {
    for word in [Report::OnTrial, Report::Committed, Report::Failed { safe_mode: false, why: "crashed".into() }] {
        let mut world = demo(4);
        let first = permitted(&mut world);
        say(&mut world, first, &word);
        let counts = world.rollouts[0].counts;
        say(&mut world, first, &declined());
        assert_eq!(world.rollouts[0].counts, counts, "{word:?}");
    }
    let mut world = demo(4);
    let first = permitted(&mut world);
    // It runs something else than before, or stands in safe mode.
    say(&mut world, first, &Report::Declined { why: "frozen".into(), unchanged: false });
    assert_eq!((world.rollouts[0].counts.exposed, world.rollouts[0].counts.withdrawn), (1, 0));
}

#[test]
fn who_withdraws_and_changes_all_the_same_counts_as_failed() {
    for word in [Report::OnTrial, Report::Committed, Report::Failed { safe_mode: true, why: "crashed".into() }] {
        for wait_ms in [0, 30_000] {
            let mut world = demo(5);
            let first = permitted(&mut world);
            say(&mut world, first, &declined());
            world.run(wait_ms);
            say(&mut world, first, &word);
            world.run(1_000);
            let Status::Halted { reason, .. } = &world.rollouts[0].status else { panic!("{word:?} {wait_ms}") };
            assert!(matches!(reason, HaltReason::RolledBack { .. } | HaltReason::SafeMode { .. }), "{reason}");
            assert!(reason.to_string().contains("changed all the same"), "{reason}");
            assert_eq!(world.rollouts[0].counts.failed, 1);
            crate::invariants::counts(&world.rollouts[0]).unwrap();
            world.replay_agrees();
        }
    }
}

#[test]
fn a_device_that_the_servers_own_outage_cut_off_is_no_bad_sign() {
    let cut_off = || Report::CutOff { why: "both-cut-off: no receipt".into() };
    let mut world = demo(6);
    let first = permitted(&mut world);
    world.restart(11 * MINUTE);
    say(&mut world, first, &cut_off());
    world.run(1_000);
    assert_eq!((world.rollouts[0].counts.withdrawn, world.rollouts[0].counts.failed), (1, 0));
    assert!(matches!(world.rollouts[0].status, Status::Running), "{:?}", world.rollouts[0].status);
    say(&mut world, first, &cut_off());
    assert_eq!(world.rollouts[0].counts.failed, 0, "told again, because the answer was lost");

    // The server was there, or had heard of the trial: then it is the device's word alone.
    for (away_ms, on_trial) in [(10_000, false), (11 * MINUTE, true)] {
        let mut world = demo(6);
        let first = permitted(&mut world);
        if on_trial {
            say(&mut world, first, &Report::OnTrial);
        }
        world.restart(away_ms);
        say(&mut world, first, &cut_off());
        world.run(1_000);
        assert!(matches!(world.rollouts[0].status, Status::Halted { .. }), "{:?}", world.rollouts[0].status);
    }
}

#[test]
fn withdrawals_of_many_leave_the_comparison_of_a_large_fleet_as_it_is() {
    let mut world = World::with_rollout(fleet_of(600, 3, 4, 3), 7, ProfileName::Urgent);
    world.thorough = 0.002;
    world.fault = Box::new(|random, _, _, _| if random.chance(0.5) { Fault::Declines } else { Fault::None });
    let end = world.finish(48 * 60 * MINUTE);
    assert!(matches!(end, WaitingOn::Completed { .. }), "{end}");
    let counts = world.rollouts[0].counts;
    assert!(counts.withdrawn > 200, "{counts:?}");
    assert_eq!((counts.failed, counts.silent, counts.exposed), (0, 0, 0));
    assert!(world.rollouts[0].ln_e() < 1.0, "{}", world.rollouts[0].ln_e());
    let tried = world.events().filter(|event| matches!(event, Event::Withdrawn { .. })).count() as u64;
    assert_eq!(tried, counts.withdrawn);
}
