//! Who comes after the end, and who goes first in a rollout that repairs another.

use super::*;
use crate::{
    conditions::Authorisation,
    fleet::Joining,
    ids::{DeviceId, Position, Share},
    profile::{CeilingStep, Profile, ProfileName},
    release::Kind,
    rollout::{ByHand, Event, HaltReason, Skip, Status, WaitingOn},
};
use world::START_MS;

const MINUTE: u64 = 60_000;

fn completed(world: &World) -> bool {
    matches!(world.rollouts[0].status, Status::Completed { .. })
}

/// A demo rollout over 24 devices that is completed, but for those that were off.
fn completed_without(off: &[u32]) -> World {
    let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), 1, ProfileName::Demo);
    world.thorough = 0.1;
    off.iter().for_each(|device| world.offline(*device, START_MS + 10 * MINUTE));
    let end = world.finish(9 * MINUTE);
    assert!(completed(&world), "{end}");
    world
}

fn newcomer(number: u8) -> Joining<'static> {
    Joining {
        id: DeviceId([number; 16]),
        name: ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"][usize::from(number % 8)],
        tenant: "tenant-0",
        site: "site-new",
        os_build: "build-new",
        hardware_model: "model-0",
        stratum: "build-new",
    }
}

#[test]
fn a_machine_that_is_off_for_good_keeps_nobody_waiting_and_is_named() {
    let mut world = completed_without(&[7]);
    let WaitingOn::Completed { left_out, named, .. } = world.rollouts[0].waiting_on(&world.fleet, world.now_ms) else {
        panic!()
    };
    assert_eq!(left_out, [(Skip::Offline, 1)]);
    assert_eq!((named.len(), named[0].unit.as_str()), (1, "tenant-1/site-0/d7"));
    assert!(world.rollouts[0].place(7).starts_with("was left out"));
    assert_eq!(world.rollouts[0].counts.confirmed, 23);
    // Back after all: it is brought up to date.
    world.run(15 * MINUTE);
    let rollout = &world.rollouts[0];
    assert_eq!((rollout.counts.confirmed, rollout.counts.exposed), (24, 0));
    let words = rollout.waiting_on(&world.fleet, world.now_ms).to_string();
    assert!(words.contains("since then 1 more have it"), "{words}");
    world.replay_agrees();
}

#[test]
fn a_crowd_that_comes_late_gets_it_a_few_at_a_time() {
    let mut world = completed_without(&[]);
    for number in 0..8 {
        world.join(&newcomer(40 + number));
    }
    let reach = world.rollouts[0].reach(&world.fleet);
    assert!(reach.iter().any(|r| r.stratum == "build-new" && r.eligible_to == Some(Position::END)));
    world.exposed_most = 0;
    world.run(1_500);
    assert_eq!(world.rollouts[0].counts.exposed, 1, "one first");
    assert!(world.rollouts[0].awaits_latecomers());
    world.run(5 * MINUTE);
    let rollout = &world.rollouts[0];
    assert_eq!((rollout.counts.confirmed, rollout.counts.units, rollout.counts.exposed), (32, 32, 0));
    assert!(world.exposed_most <= 4, "{}", world.exposed_most);
    world.replay_agrees();
}

#[test]
fn a_latecomer_that_is_harmed_stops_the_others() {
    for fault in [Fault::Brick, Fault::Stuck, Fault::NeverProven, Fault::RolledBack(500), Fault::SafeMode(500)] {
        let mut world = completed_without(&[]);
        world.fault = Box::new(move |_, _, _, _| fault);
        for number in 0..8 {
            world.join(&newcomer(40 + number));
        }
        world.run(5 * MINUTE);
        let rollout = &world.rollouts[0];
        assert_eq!(rollout.counts.exposed_ever, 25, "{fault:?}: one and no more");
        let words = rollout.waiting_on(&world.fleet, world.now_ms).to_string();
        assert!(words.contains("came late and is not well"), "{fault:?}: {words}");
        crate::invariants::counts(rollout).unwrap();
        world.restart(20_000);
        world.run(MINUTE);
        assert_eq!(world.rollouts[0].counts.exposed_ever, 25, "{fault:?}: also after a restart");
        // A person looks, and lets the others go on.
        world.fault = Box::new(|_, _, _, _| Fault::None);
        world.by_hand(ByHand::Resume { who: "ada".into() });
        world.run(5 * MINUTE);
        assert_eq!(world.rollouts[0].counts.confirmed, 31, "{fault:?}");
        world.replay_agrees();
    }
}

#[test]
fn a_completed_rollout_can_still_be_stopped_for_those_who_come_late() {
    let mut world = completed_without(&[]);
    world.by_hand(ByHand::Halt { who: "ada".into(), why: "tills hang".into() });
    assert!(matches!(world.rollouts[0].status, Status::Halted { .. }));
    let late = world.join(&newcomer(40));
    world.run(MINUTE);
    assert!(world.devices[late as usize].running.is_empty());
    assert_eq!(world.rollouts[0].counts.exposed_ever, 24);
    world.replay_agrees();
}

#[test]
fn a_latecomer_may_be_frozen_decline_or_come_too_late() {
    let mut world = completed_without(&[]);
    world.fault = Box::new(|random, _, _, _| if random.chance(0.7) { Fault::Declines } else { Fault::None });
    for number in 0..4 {
        world.join(&newcomer(40 + number));
    }
    world.run(30 * MINUTE);
    assert_eq!((world.rollouts[0].counts.confirmed, world.rollouts[0].counts.exposed), (28, 0));
    assert!(world.rollouts[0].counts.withdrawn > 0);
    world.replay_agrees();
    // The authorisation is over: what has not changed stays as it is.
    world.now_ms = world.rollouts[0].authorisation.not_after_ms + 1;
    let late = world.join(&newcomer(50));
    world.run(MINUTE);
    assert!(world.devices[late as usize].running.is_empty());
}

#[test]
fn completed_does_not_claim_what_is_not_so() {
    // More than eight were exposed, so one that goes silent holds nothing any more.
    let mut world = World::with_rollout(fleet_of(60, 3, 2, 3), 3, ProfileName::Demo);
    let last = world.rollouts[0].devices(50)[0];
    world.fault = Box::new(move |_, _, device, _| if device == last { Fault::Brick } else { Fault::None });
    world.run_until(START_MS + 20 * MINUTE, completed);
    assert!(completed(&world), "{:?}", world.rollouts[0].status);
    let end = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    let WaitingOn::Completed { left_out, named, .. } = &end else { panic!("{end}") };
    assert_eq!(left_out, &[(Skip::Silent, 1)]);
    assert!(named[0].unit.ends_with(&*world.fleet.device(last).name), "{named:?}");
    assert!(end.to_string().contains("1 that got it and are silent"), "{end}");

    // Nobody may have it: that is not done.
    let mut fleet = fleet_of(24, 3, 2, 3);
    fleet.tenants.iter_mut().for_each(|tenant| tenant.policy.freeze = Some("audit".into()));
    let mut world = World::with_rollout(fleet, 4, ProfileName::Demo);
    world.run(10 * MINUTE);
    let end = world.rollouts[0].waiting_on(&world.fleet, world.now_ms).to_string();
    assert_eq!(end, "devices that may not go now: 24 frozen by their customer");
    assert_eq!(world.fleet.completed.get("till"), None, "nobody may count on it");
}

fn repairs(old: u64, seed: u64) -> (Authorisation, Profile) {
    let profile = Profile::named(ProfileName::Demo);
    let ceiling = vec![CeilingStep { age_ms: 0, share: Share::ALL }];
    (Authorisation { supersedes: Some(old), ceiling, ..authorisation(old + 1, seed, &profile) }, profile)
}

fn permitted(world: &World, rollout: usize) -> Vec<u32> {
    let treated = world.log.iter().filter_map(|(_, entry)| match entry {
        world::Entry::Rollout(of, Event::Permitted { device, arm: crate::evidence::Arm::Treated, .. })
            if *of == rollout =>
        {
            Some(*device)
        }
        _ => None,
    });
    treated.collect()
}

#[test]
fn a_release_that_repairs_reaches_the_hurt_first_one_at_a_time_then_the_others() {
    for seed in 0..5 {
        let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), seed, ProfileName::Demo);
        world.fault = Box::new(|random, _, _, rollout| match rollout {
            // Some are hurt later than others, so that a few are reached before the halt.
            0 if random.chance(0.5) => Fault::RolledBack(9_000),
            _ => Fault::None,
        });
        world.finish(10 * MINUTE);
        let hurt = permitted(&world, 0);
        let (authorisation, profile) = repairs(1, seed);
        if !matches!(world.rollouts[0].status, Status::Halted { .. }) {
            world.by_hand(ByHand::Supersede { by: 2 });
        }
        let place = |world: &World, device| world.rollouts[1].place(device).into_owned();
        world.start(release(2, Kind::Component), authorisation, profile);
        assert!(place(&world, hurt[0]).contains("goes first"), "{}", place(&world, hurt[0]));
        world.run_until(world.now_ms + 20 * MINUTE, |world| {
            matches!(world.rollouts[1].status, Status::Completed { .. })
        });
        assert_eq!(world.rollouts[1].counts.confirmed, 24, "seed {seed}");
        let order = permitted(&world, 1);
        let mut first = order[..hurt.len()].to_vec();
        let mut wanted = hurt.clone();
        first.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(first, wanted, "seed {seed}: {order:?}");
        // Both begin with one: what the hurt have shown does not speed up the others.
        let sizes: Vec<(u8, u64)> = waves(&world);
        let first_of = |turn: u8| sizes.iter().find(|(of, _)| *of == turn).map(|(_, size)| *size);
        assert_eq!((first_of(0), first_of(1)), (Some(1), Some(1)), "seed {seed}: {sizes:?}");
        world.replay_agrees();
    }
}

#[test]
fn the_hurt_go_first_however_late_they_hear_of_the_repair() {
    for seed in 0..10 {
        let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), seed, ProfileName::Urgent);
        world.fault = Box::new(|_, _, _, rollout| if rollout == 0 { Fault::RolledBack(500) } else { Fault::None });
        world.finish(60 * MINUTE);
        let hurt = permitted(&world, 0);
        assert!(matches!(world.rollouts[0].status, Status::Halted { .. }) && !hurt.is_empty(), "seed {seed}");
        // By now everybody polls at leisure again: somebody else hears of the repair first.
        world.run(60 * MINUTE);
        let (authorisation, _) = repairs(1, seed);
        let profile = Profile::named(ProfileName::Urgent);
        let authorisation = Authorisation { start_ms: world.now_ms, profile: profile.name, ..authorisation };
        world.start(release(2, Kind::Component), authorisation, profile);
        world.run(60 * MINUTE);
        assert_eq!(permitted(&world, 1)[..hurt.len()], hurt, "seed {seed}");
    }
}

/// Turn and treated units of each wave of the second rollout.
fn waves(world: &World) -> Vec<(u8, u64)> {
    let mut cursors = vec![0; world.rollouts[1].cells.len()];
    for (at, cell) in world.rollouts[1].cells.iter().enumerate() {
        cursors[at] = cell.first;
    }
    let mut waves = Vec::new();
    for (_, entry) in &world.log {
        let world::Entry::Rollout(1, Event::WaveOpened { cells, .. }) = entry else { continue };
        let mut size = 0;
        let mut turn = 1;
        for part in cells {
            let cursor = &mut cursors[part.cell as usize];
            let skipped = part.skipped.iter().filter(|(unit, _)| *unit < part.treated_to).count() as u64;
            size += u64::from(part.treated_to.max(*cursor) - *cursor) - skipped + part.caught_up.len() as u64;
            *cursor = part.treated_to;
            turn = world.rollouts[1].cells[part.cell as usize].turn;
        }
        waves.push((turn, size));
    }
    waves
}

#[test]
fn a_repair_that_hurts_again_is_halted_at_the_first_of_them() {
    let mut world = World::with_rollout(fleet_of(24, 3, 2, 3), 9, ProfileName::Demo);
    world.fault = Box::new(|_, _, _, _| Fault::SafeMode(500));
    world.finish(MINUTE);
    let (second, profile) = repairs(1, 9);
    world.start(release(2, Kind::Component), second, profile.clone());
    world.run(MINUTE);
    let Status::Halted { reason: HaltReason::SafeMode { .. }, .. } = &world.rollouts[1].status else { panic!() };
    assert_eq!(permitted(&world, 1), permitted(&world, 0), "nobody else was touched");
    // Whom neither of them helped goes first in the third.
    world.fault = Box::new(|_, _, _, _| Fault::None);
    let (third, _) = repairs(2, 9);
    world.start(release(3, Kind::Component), third, profile);
    world.run(2 * MINUTE);
    assert_eq!(permitted(&world, 2)[..1], permitted(&world, 0)[..1]);
}
