//! Lost answers, downtime, crashes between two events: a server that comes back decides as if it had not been away.

use super::*;
use crate::{
    evidence::{Arm, Metric},
    profile::ProfileName,
    rollout::{Answer, Event, Report, Status, WaitingOn, device::Waiting},
};
use world::{START_MS, say};

const MINUTE: u64 = 60_000;

#[test]
fn answers_that_get_lost_cost_time_and_no_exposure() {
    for seed in 0..10 {
        let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), seed, ProfileName::Demo);
        world.lost = 0.4;
        world.thorough = 0.2;
        world.finish(60 * MINUTE);
        world.run(MINUTE);
        if matches!(world.rollouts[0].status, Status::Completed { .. }) {
            assert_eq!(world.rollouts[0].counts.confirmed, 24, "seed {seed}");
        }
        let granted = world.events().filter(|e| matches!(e, Event::Permitted { arm: Arm::Treated, .. })).count() as u64;
        assert_eq!(granted, world.rollouts[0].counts.exposed_ever, "no second permit for one device");
    }
}

#[test]
fn a_permit_that_got_lost_is_given_again_even_while_its_device_holds_the_rollout() {
    let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), 1, ProfileName::Demo);
    let first = world.rollouts[0].devices(0)[0];
    world.offline(first, START_MS + MINUTE);
    world.fleet.heard(first, START_MS);
    world.run(1);
    assert!(matches!(say(&mut world, first, &Report::Ready), Some(Answer::Permit { event: Some(_), .. })));
    world.run(6_000);
    assert!(matches!(world.rollouts[0].status, Status::Held { .. }));
    let again = say(&mut world, first, &Report::Ready);
    assert_eq!(again, Some(Answer::Permit { arm: Arm::Treated, event: None }));
    let other = world.rollouts[0].devices(1)[0];
    assert!(matches!(
        say(&mut world, other, &Report::Ready),
        Some(Answer::Wait(_) | Answer::Permit { arm: Arm::Control, .. })
    ));
    say(&mut world, first, &Report::OnTrial);
    say(&mut world, first, &Report::Committed);
    world.run(1_000);
    assert_eq!(world.rollouts[0].counts.silent, 0);
    assert!(!matches!(world.rollouts[0].status, Status::Held { .. }), "{:?}", world.rollouts[0].status);
    assert_eq!(say(&mut world, first, &Report::Ready), Some(Answer::Wait(Waiting::Over)));
}

#[test]
fn the_servers_own_downtime_is_no_wave_of_deaths() {
    for (profile, size, seeds) in [(ProfileName::Demo, 24, 5), (ProfileName::Urgent, 400, 1)] {
        for seed in 0..seeds {
            let mut world = World::with_rollout(fleet_of(size, 3, 4, 3), seed, profile);
            world.thorough = 0.01;
            let hour = 60 * MINUTE;
            for _ in 0..30 {
                let ms = world.random.below(if size == 24 { 8_000 } else { 6 * MINUTE });
                world.run(ms);
                world.restart(if size == 24 { 40_000 } else { hour });
                if !matches!(world.rollouts[0].status, Status::Running | Status::Held { .. }) {
                    break;
                }
            }
            let end = world.finish(24 * hour);
            assert!(matches!(end, WaitingOn::Completed { .. }), "{profile:?} seed {seed}: {end}");
            let deaths = world.events().filter(|event| matches!(event, Event::Observed { .. })).count();
            assert_eq!(deaths, 0, "{profile:?} seed {seed}");
        }
    }
}

#[test]
fn a_brick_during_downtime_is_found_after_it() {
    for seed in 0..5 {
        let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), seed, ProfileName::Demo);
        world.fault = Box::new(|_, _, _, _| Fault::Brick);
        world.run(2_000);
        world.restart(MINUTE);
        world.finish(5 * MINUTE);
        assert!(matches!(world.rollouts[0].status, Status::Halted { .. }), "seed {seed}");
        assert_eq!(world.rollouts[0].counts.exposed_ever, 1);
    }
}

#[test]
fn a_plan_may_be_asked_any_number_of_times() {
    let mut world = World::with_rollout(fleet_of(300, 3, 4, 3), 2, ProfileName::Urgent);
    for _ in 0..200 {
        world.run(10_000);
        let now_ms = world.now_ms;
        let mut copy = world.rollouts[0].clone();
        let first = copy.plan(&world.fleet, now_ms);
        assert_eq!(first, copy.plan(&world.fleet, now_ms));
    }
}

#[test]
fn missed_deadlines_of_one_moment_are_ordered_by_hash_and_not_by_arm() {
    let mut world = World::with_rollout(fleet_of(400, 3, 4, 1), 3, ProfileName::Urgent);
    // A network outage: everybody is silent at once, in both arms.
    world.run_until(START_MS + 120 * MINUTE, |world| world.rollouts[0].counts.exposed > 20);
    for device in 0..400 {
        world.offline(device, world.now_ms + 60 * MINUTE);
    }
    world.run(20 * MINUTE);
    let first_missed: Vec<(u32, Arm)> = world
        .events()
        .filter_map(|event| match event {
            Event::Observed { unit, metric: Metric::FirstCheckInMissed | Metric::HeartbeatsMissed, arm, .. } => {
                Some((*unit, *arm))
            }
            _ => None,
        })
        .collect();
    assert!(first_missed.iter().any(|(_, arm)| *arm == Arm::Treated) && first_missed.len() > 50, "{first_missed:?}");
    let halted = matches!(world.rollouts[0].status, Status::Halted { .. });
    assert!(!halted, "an outage that hits both arms alike is no evidence: {:?}", world.rollouts[0].status);
}

#[test]
fn events_about_strangers_change_nothing() {
    let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), 4, ProfileName::Demo);
    world.run(2_000);
    let before = format!("{:?}", world.rollouts[0]);
    for event in [
        Event::Permitted { device: 99, arm: Arm::Treated, deadline_ms: 1 },
        Event::OnTrial { device: 99 },
        Event::Confirmed { device: 99 },
        Event::Failed { device: 99, safe_mode: true, why: String::new() },
        Event::Departed { device: u32::MAX },
        Event::Observed { unit: 99, metric: Metric::Crashed, arm: Arm::Control, n_t: 1, n_c: 1 },
    ] {
        world.rollouts[0].apply(&mut world.fleet, &event, world.now_ms);
    }
    assert_eq!(before, format!("{:?}", world.rollouts[0]));
}
