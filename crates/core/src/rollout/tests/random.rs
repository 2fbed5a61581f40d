//! Random fleets, policies and faults: what must hold, holds in all of them.

use super::*;
use crate::{
    conditions::Unit,
    fleet::{Fleet, Joining},
    ids::{DeviceId, Share},
    policy::{DisruptionLimits, Window},
    profile::{CeilingStep, Profile, ProfileName},
    release::Kind,
    rollout::{ByHand, Skip, Status, WaitingOn},
};
use device::Random;
use proptest::{prelude::*, test_runner::RngSeed};
use world::{Entry, START_MS};

const MINUTE: u64 = 60_000;

fn random_fleet(random: &mut Random) -> Fleet {
    let most = if random.chance(0.25) { 320 } else { 60 };
    let size = 1 + random.below(most) as usize;
    let (tenants, sites, strata) = (1 + random.below(4), 1 + random.below(5), 1 + random.below(4));
    let mut fleet = fleet_of(size, tenants as usize, sites as usize, strata as usize);
    for tenant in 0..fleet.tenants.len() {
        let names: Vec<String> = (0..size).skip(tenant).step_by(tenants as usize).map(|d| format!("d{d}")).collect();
        let policy = &mut fleet.tenants[tenant].policy;
        if random.chance(0.1) {
            policy.freeze = Some("audit".into());
        }
        if random.chance(0.2) {
            policy.defer_ms = random.below(3 * MINUTE);
        }
        if random.chance(0.2) {
            let minute = (START_MS / MINUTE % 1_440) as u16;
            policy.windows = vec![Window { days: 127, from_minute: minute + 1, to_minute: minute }];
        }
        if random.chance(0.4) {
            policy.rings = vec![names.iter().take(1 + random.below(3) as usize).cloned().collect()];
        }
        if random.chance(0.5) {
            let groups =
                names.iter().map(|name| (name.clone(), format!("group-{}", random.below(1 + size as u64 / 2))));
            policy.limits = DisruptionLimits {
                redundancy_groups: groups.collect(),
                max_unavailable_per_site: random.below(3) as u32,
                manual_only: names.iter().filter(|_| random.chance(0.05)).cloned().collect(),
            };
        }
    }
    fleet
}

fn random_world(seed: u64) -> World {
    let mut random = Random(seed);
    let fleet = random_fleet(&mut random);
    let mut world = World::new(fleet, seed);
    world.thorough = 0.03;
    let profile = Profile::named(ProfileName::Demo);
    let rollouts = 1 + random.below(2);
    for number in 1..=rollouts {
        let mut authorisation = authorisation(number, seed, &profile);
        if random.chance(0.3) {
            authorisation.unit = Unit::Site;
        }
        if random.chance(0.3) {
            authorisation.exposure_budget = Some(1 + random.below(4) as u32);
        }
        if random.chance(0.5) {
            authorisation.ceiling = vec![
                CeilingStep { age_ms: random.below(MINUTE), share: Share::percent(random.below(100) as u32) },
                CeilingStep { age_ms: 2 * MINUTE, share: Share::ALL },
            ];
        }
        let kind = if random.chance(0.5) { Kind::Content } else { Kind::Component };
        let release = crate::release::Release { name: format!("line-{number}"), ..release(number, kind) };
        world.start(release, authorisation, profile.clone());
    }
    world.random = random;
    world
}

fn is_over(world: &World) -> bool {
    world.rollouts.iter().all(|r| matches!(r.status, Status::Halted { .. } | Status::Completed { .. }))
}

/// A random world with random faults, in which random things happen.
fn mistreat(seed: u64) {
    let mut world = random_world(seed);
    let harm = [0.0, 0.02, 0.3][world.random.below(3) as usize];
    world.fault = Box::new(move |random, _, _, _| {
        if !random.chance(harm) {
            return Fault::None;
        }
        let ms = random.below(30_000);
        [
            Fault::Brick,
            Fault::Stuck,
            Fault::NeverProven,
            Fault::Late(ms),
            Fault::RolledBack(ms),
            Fault::SafeMode(ms),
            Fault::ShutDown(ms),
            Fault::Declines,
            Fault::Lies,
        ][random.below(9) as usize]
    });
    world.background = [0.0, 0.01][world.random.below(2) as usize];
    world.lost = [0.0, 0.3][world.random.below(2) as usize];
    for _ in 0..12 {
        let ms = world.random.below(30_000);
        world.run(ms);
        let device = world.random.below(world.devices.len() as u64) as u32;
        match world.random.below(10) {
            0 => world.restart(15_000),
            1 => world.by_hand(ByHand::Hold { who: "ada".into(), why: "to look".into() }),
            2..=4 => world.by_hand(ByHand::Resume { who: "ada".into() }),
            5 => world.change(Entry::Cloned(device)),
            6 => {
                world.offline(device, u64::MAX);
                world.change(Entry::Retired(device));
            }
            7 => {
                let until_ms = world.now_ms + 20_000;
                world.offline(device, until_ms);
            }
            8 => {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&world.random.next().to_be_bytes());
                world.join(&Joining {
                    id: DeviceId(id),
                    name: "new",
                    tenant: "tenant-0",
                    site: "site-0",
                    os_build: "build-new",
                    hardware_model: "model-0",
                    stratum: "build-new",
                });
            }
            _ => {}
        }
    }
    crate::invariants::counts(&world.rollouts[0]).unwrap();
    world.replay_agrees();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    /// The invariants are checked after every event, counts, limits and replay now and then: see `World::append`.
    #[test]
    fn nothing_that_must_hold_breaks(seed in any::<u64>()) {
        mistreat(seed);
    }

    /// Faults stop, a person looks at every hold: then a rollout is completed, or it is halted, or it names what it waits
    /// for, and that can pass.
    #[test]
    fn what_is_healthy_arrives(seed in any::<u64>()) {
        let mut world = random_world(seed);
        world.thorough = 0.005;
        world.lost = 0.2;
        world.background = 0.01;
        world.run(MINUTE);
        world.restart(20_000);
        (world.lost, world.background) = (0.0, 0.0);
        for device in &mut world.devices {
            device.dark_until_ms = device.dark_until_ms.min(world.now_ms + MINUTE);
        }
        for _ in 0..40 {
            let end_ms = world.now_ms + 5 * MINUTE;
            world.run_until(end_ms, is_over);
            for rollout in 0..world.rollouts.len() {
                let events = world.rollouts[rollout].by_hand(ByHand::Resume { who: "ada".into() });
                world.append(rollout, events);
            }
        }
        for rollout in &world.rollouts {
            match rollout.waiting_on(&world.fleet, world.now_ms) {
                WaitingOn::Completed { left_out, .. } => {
                    let gone = |skip: &Skip| matches!(skip, Skip::Offline | Skip::Declined);
                    prop_assert!(left_out.iter().all(|(skip, _)| gone(skip) || !skip.is_temporary()), "{left_out:?}");
                }
                // Nobody may have it: that is no completion.
                WaitingOn::Skipped { reasons, .. } if rollout.counts.confirmed == 0 => {
                    prop_assert!(reasons.iter().all(|(skip, _)| *skip != Skip::AboveCeiling), "{reasons:?}");
                }
                // Lost answers look like harm: a small fleet halts for two.
                WaitingOn::Halted { .. } => {}
                // Pilots that are frozen or for hand only keep their customer waiting.
                WaitingOn::Skipped { reasons, .. } => {
                    prop_assert!(reasons.iter().any(|(skip, _)| *skip == Skip::PilotsFirst), "{reasons:?}");
                }
                other => prop_assert!(false, "{other}"),
            }
        }
    }

    /// Without any fault everybody gets it who may.
    #[test]
    fn without_faults_everybody_gets_it_who_may(seed in any::<u64>()) {
        let mut world = random_world(seed);
        world.thorough = 0.002;
        world.run_until(START_MS + 300 * MINUTE, is_over);
        for rollout in &world.rollouts {
            let waiting = rollout.waiting_on(&world.fleet, world.now_ms);
            let left_out = match waiting {
                WaitingOn::Completed { left_out, .. } => left_out,
                WaitingOn::Skipped { reasons, .. } => {
                    let held_up = reasons.iter().any(|(skip, _)| *skip == Skip::PilotsFirst);
                    prop_assert!(held_up || rollout.counts.confirmed == 0, "{reasons:?}");
                    reasons
                }
                other => return Err(TestCaseError::fail(other.to_string())),
            };
            let left_out: u64 = left_out.iter().map(|(_, units)| units).sum();
            if !rollout.by_site() {
                prop_assert_eq!(rollout.counts.confirmed + left_out, world.devices.len() as u64);
            }
            // Those that come late may still be on their way: the end of the last rollout ends the run.
            let exposed = rollout.counts.exposed - rollout.late_exposed();
            prop_assert_eq!((exposed, rollout.counts.silent, rollout.counts.failed), (0, 0, 0));
        }
    }
}
