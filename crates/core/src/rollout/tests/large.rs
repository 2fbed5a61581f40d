//! Fleets large enough for statistics: the figures of the specification's table, and who is stopped in vain.

use super::*;
use crate::{
    fleet::Joining,
    ids::DeviceId,
    profile::ProfileName,
    rollout::{Event, HaltReason, HoldReason, Late, Status, WaitingOn},
};
use world::START_MS;

const HOUR: u64 = 3_600_000;

fn urgent(size: usize, strata: usize, seed: u64) -> World {
    let mut world = World::with_rollout(fleet_of(size, 20, 25, strata), seed, ProfileName::Urgent);
    world.thorough = 0.0;
    // A ceiling this low leaves a fleet of some thousands nothing to do in the first minutes.
    world.rollouts[0].authorisation.ceiling =
        vec![crate::profile::CeilingStep { age_ms: 0, share: crate::ids::Share::ALL }];
    world.apply_ms = 60_000;
    world
}

fn stopped(world: &World) -> bool {
    !matches!(world.rollouts[0].status, Status::Running)
}

fn harmful(world: &mut World, p: f64) {
    world.fault = Box::new(move |random, _, _, _| if random.chance(p) { Fault::Brick } else { Fault::None });
}

#[test]
fn a_healthy_release_reaches_10_000_units() {
    let mut world = World::with_rollout(fleet_of(10_000, 20, 25, 4), 1, ProfileName::Urgent);
    world.thorough = 0.000_3;
    let end = world.finish(24 * HOUR);
    assert_eq!(end, WaitingOn::Completed { left_out: vec![], named: vec![], late: Late::default() });
    let rollout = &world.rollouts[0];
    let minutes = (world.now_ms - START_MS) / 60_000;
    println!("10,000 healthy units, urgent: {} waves in {minutes} min", rollout.wave);
    assert_eq!(rollout.counts.confirmed, 10_000);
}

#[test]
fn a_wave_that_is_lost_is_for_a_person_also_where_nobody_can_tell_why() {
    // One of a kind: there is no control to compare anybody with.
    let mut world = urgent(300, 300, 3);
    harmful(&mut world, 1.0);
    let mut lost = Vec::new();
    while lost.len() < 3 {
        world.run_until(world.now_ms + 6 * HOUR, stopped);
        let Status::Held { reason, .. } = &world.rollouts[0].status else {
            panic!("{:?}", world.rollouts[0].status);
        };
        if let HoldReason::WaveLost { wave, lost: dark, treated } = reason {
            assert_eq!((*dark, *treated, dark * u64::from(*wave)), (3, 3, world.rollouts[0].counts.exposed_ever));
            lost.push(*wave);
        }
        world.by_hand(crate::rollout::ByHand::Resume { who: "ada".into() });
    }
    // The first eight devices are named one by one.
    assert_eq!(lost, [3, 4, 5]);
    // And growth begins anew.
    harmful(&mut world, 0.0);
    world.run_until(world.now_ms + 6 * HOUR, |world| world.rollouts[0].wave == 8);
    assert_eq!((world.rollouts[0].wave, world.rollouts[0].counts.exposed_ever), (8, 15 + 3 + 6));
}

#[test]
fn there_are_controls_also_where_everybody_was_passed_over_once() {
    // Switched off at first, so that each cell is passed over to its end.
    let mut world = urgent(800, 4, 5);
    for device in (0..800).filter(|device| device % 50 != 0) {
        world.offline(device, START_MS + HOUR);
    }
    world.finish(24 * HOUR);
    assert_eq!(world.rollouts[0].counts.confirmed, 800);
    let controls = |event: &Event| match event {
        Event::WaveOpened { cells, .. } => Some(cells.iter().map(|cell| cell.compared.len()).sum::<usize>()),
        _ => None,
    };
    let controls: Vec<usize> = world.events().filter_map(controls).collect();
    println!("800 units, passed over once: {controls:?} controls");
    assert!(controls.iter().filter(|controls| **controls > 100).count() > 4, "{controls:?}");
}

#[test]
fn a_tenth_of_a_percent_of_silence_does_not_stop_10_000_units() {
    let mut world = urgent(10_000, 4, 2);
    world.background = 0.001;
    let end = world.finish(24 * HOUR);
    assert!(matches!(&end, WaitingOn::Completed { .. } | WaitingOn::Skipped { .. }), "{end}");
    assert!(world.rollouts[0].counts.confirmed > 9_900, "{:?}", world.rollouts[0].counts);
}

#[test]
fn a_brick_is_found_about_as_early_as_the_specification_says() {
    // (p, q) with what the prototype exposed on average among 8.5 million units, and what is still plausible here.
    let table = [
        (1.0, 0.001, 4.0, 8.0),
        (0.3, 0.001, 14.0, 42.0),
        (0.05, 0.001, 121.0, 400.0),
        (1.0, 0.01, 4.0, 8.0),
        (0.3, 0.01, 23.0, 70.0),
        (0.05, 0.01, 280.0, 900.0),
    ];
    for (p, q, prototype, most) in table {
        let runs = if p < 0.1 { 4 } else { 10 };
        let mut exposed = Vec::new();
        for seed in 0..runs {
            let mut world = urgent(10_000, 4, 100 + seed);
            world.background = q;
            harmful(&mut world, p);
            // A person looks at every hold and lets it go on: the statistics alone must stop it.
            while !matches!(world.rollouts[0].status, Status::Halted { .. }) && world.now_ms < START_MS + 12 * HOUR {
                world.run_until(START_MS + 12 * HOUR, stopped);
                if matches!(world.rollouts[0].status, Status::Held { .. }) {
                    world.by_hand(crate::rollout::ByHand::Resume { who: "ada".into() });
                }
            }
            assert!(matches!(world.rollouts[0].status, Status::Halted { .. }), "p {p} q {q} seed {seed}");
            exposed.push(world.rollouts[0].counts.exposed_ever);
        }
        let mean = exposed.iter().sum::<u64>() as f64 / exposed.len() as f64;
        println!("10,000 units, p {p}, q {q}: {mean:.1} exposed (prototype {prototype}), each {exposed:?}");
        assert!(mean <= most, "p {p} q {q}: {mean}");
        if p == 1.0 {
            assert!(exposed.iter().all(|count| *count <= 8), "{exposed:?}");
        }
    }
}

#[test]
fn a_brick_that_nobody_looks_at_stays_where_the_first_hold_found_it() {
    for seed in 0..5 {
        let mut world = urgent(10_000, 4, 200 + seed);
        harmful(&mut world, 1.0);
        world.finish(12 * HOUR);
        assert!(world.rollouts[0].counts.exposed_ever <= 4, "{:?}", world.rollouts[0].counts);
    }
}

#[test]
fn a_fault_of_one_hardware_model_is_found_in_it() {
    let mut bricked = Vec::new();
    for seed in 0..4 {
        let mut fleet = crate::fleet::Fleet::default();
        for number in 0_u64..10_000 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let model = if number % 50 == 0 { "rare" } else { "common" };
            fleet.join(&Joining {
                id: DeviceId(id),
                name: &format!("d{number}"),
                tenant: &format!("tenant-{}", number % 20),
                site: "site",
                os_build: "build",
                hardware_model: model,
                stratum: model,
            });
        }
        let mut world = World::with_rollout(fleet, 300 + seed, ProfileName::Urgent);
        world.thorough = 0.0;
        world.rollouts[0].authorisation.ceiling =
            vec![crate::profile::CeilingStep { age_ms: 0, share: crate::ids::Share::ALL }];
        world.background = 0.001;
        world.fault = Box::new(|_, fleet, device, _| {
            let rare = fleet.hardware_models.name(fleet.device(device).hardware_model) == "rare";
            if rare { Fault::Brick } else { Fault::None }
        });
        world.run_until(START_MS + 12 * HOUR, stopped);
        let status = world.rollouts[0].status.clone();
        bricked.push(world.bricked());
        match &status {
            Status::Halted { reason: HaltReason::Evidence { scope, .. }, .. } => {
                assert_eq!(scope, "hardware model rare", "seed {seed}");
            }
            Status::Held { .. } => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("a fault of a model that 2 % have: {bricked:?} dark when it was stopped");
    assert!(bricked.iter().all(|count| *count < 30), "{bricked:?}");
}

#[test]
fn one_customer_does_not_stop_everybody() {
    let mut world = urgent(2_000, 1, 4);
    world.fault =
        Box::new(|_, fleet, device, _| if fleet.tenant_index(device) == 3 { Fault::Brick } else { Fault::None });
    // The first eight hold for every silence; a person looks and lets it go on.
    loop {
        world.run_until(START_MS + 12 * HOUR, stopped);
        let Status::Held { reason, .. } = &world.rollouts[0].status else { break };
        let one = matches!(reason, HoldReason::OneCustomer { .. });
        if one {
            break;
        }
        world.by_hand(crate::rollout::ByHand::Resume { who: "ada".into() });
    }
    let Status::Held { reason: HoldReason::OneCustomer { tenant, .. }, .. } = &world.rollouts[0].status else {
        panic!("{:?}", world.rollouts[0].status)
    };
    assert_eq!(tenant, "tenant-3");
    assert!(world.events().any(|event| *event == Event::Fenced { tenant: 3 }));
    let dark = world.bricked();
    world.run(HOUR);
    assert!(matches!(world.rollouts[0].status, Status::Held { .. }), "it waits for a person");
    world.by_hand(crate::rollout::ByHand::Resume { who: "ada".into() });
    let end = world.finish(24 * HOUR);
    let WaitingOn::Completed { left_out, .. } = end else { panic!("{end}") };
    let [(crate::rollout::Skip::Fenced, fenced), (crate::rollout::Skip::Silent, silent)] = left_out[..] else {
        panic!("{left_out:?}")
    };
    assert_eq!((fenced + silent, silent), (100, dark as u64));
    assert_eq!(world.bricked(), dark, "nobody else of that customer went");
    assert_eq!(world.rollouts[0].counts.confirmed, 1_900);
}

#[test]
fn a_fenced_customer_does_not_hide_what_happens_to_the_others() {
    let mut world = urgent(2_000, 1, 4);
    world.fault =
        Box::new(|_, fleet, device, _| if fleet.tenant_index(device) == 3 { Fault::Brick } else { Fault::None });
    for _ in 0..100 {
        world.run_until(START_MS + 12 * HOUR, stopped);
        let fenced = world.events().any(|event| *event == Event::Fenced { tenant: 3 });
        world.by_hand(crate::rollout::ByHand::Resume { who: "ada".into() });
        if fenced {
            break;
        }
    }
    let (dark, evidence) = (world.bricked(), world.rollouts[0].ln_e());
    assert!(evidence.abs() < 1.0, "what the fenced one brought counts no more: {evidence}");
    // From here on it harms everybody else.
    world.fault = Box::new(|_, _, _, _| Fault::Brick);
    for _ in 0..100 {
        world.run_until(START_MS + 12 * HOUR, stopped);
        if !matches!(world.rollouts[0].status, Status::Held { .. }) {
            break;
        }
        world.by_hand(crate::rollout::ByHand::Resume { who: "ada".into() });
    }
    let Status::Halted { reason: HaltReason::Evidence { .. }, .. } = &world.rollouts[0].status else {
        panic!("{:?}", world.rollouts[0].status)
    };
    let wave = world.rollouts[0].slice.as_ref().map_or(0, |slice| slice.size);
    println!("fenced at {dark} dark; everybody harmed from then on: halted at {} more", world.bricked() - dark);
    assert!((world.bricked() - dark) as u64 <= wave, "within the wave that began it");
}

#[test]
fn few_healthy_rollouts_are_stopped_in_vain() {
    let (mut halted, mut held, mut done) = (0, 0, 0);
    for seed in 0..200 {
        let mut world = World::with_rollout(fleet_of(400, 8, 5, 3), 5_000 + seed, ProfileName::Urgent);
        world.thorough = 0.0;
        world.background = 0.01;
        let end = START_MS + 12 * HOUR;
        let mut was_held = false;
        loop {
            world.run_until(end, stopped);
            if !matches!(world.rollouts[0].status, Status::Held { .. }) {
                break;
            }
            was_held = true;
            world.by_hand(crate::rollout::ByHand::Resume { who: "ada".into() });
        }
        held += u64::from(was_held);
        match &world.rollouts[0].status {
            Status::Halted { reason, .. } => {
                println!("seed {seed}: {reason}");
                halted += 1;
            }
            _ => done += u64::from(world.rollouts[0].counts.confirmed > 380),
        }
    }
    println!("200 healthy rollouts, 400 units, 1 % silent: {halted} halted, {held} held for a person, {done} done");
    assert!(halted <= 1, "{halted}");
    assert_eq!(halted + done, 200);
}

/// Where a member is when its deadline comes must not depend on its arm.
#[test]
fn once_with_its_permit_a_member_comes_at_any_time_between_two_polls() {
    let mut world = World::with_rollout(fleet_of(2_000, 20, 25, 1), 3, ProfileName::Urgent);
    let permits = |world: &World| -> Vec<u32> {
        let of = |event: &Event| if let Event::Permitted { device, .. } = event { Some(*device) } else { None };
        world.events().filter_map(of).collect()
    };
    world.run_until(START_MS + HOUR, |world| permits(world).len() > 500);
    let rollout = &world.rollouts[0];
    let cadence = rollout.profile.cadence_ms;
    let mut parts = [0; 5];
    for device in permits(&world) {
        let permitted = rollout.units[rollout.unit(device).unwrap() as usize].permitted_ms;
        assert_eq!(rollout.next_check_in_ms(device, permitted + cadence), cadence);
        let next = rollout.next_check_in_ms(device, permitted);
        assert!((cadence / 6..cadence).contains(&next), "{next}");
        parts[((next - cadence / 6) * 6 / cadence) as usize] += 1;
    }
    assert!(parts.iter().all(|part| *part > 60), "{parts:?}");
}

/// Rounding is no evidence: whatever its customers and models are, a fleet in which nothing happens gets waves that double.
#[test]
fn without_any_event_waves_double_whatever_the_fleet_is_made_of() {
    for (size, tenants, strata) in [(600, 3, 1), (900, 7, 2), (1_000, 20, 4), (1_300, 11, 3)] {
        let mut world = World::with_rollout(fleet_of(size, tenants, 25, strata), 5, ProfileName::Urgent);
        world.thorough = 0.0;
        world.rollouts[0].authorisation.ceiling =
            vec![crate::profile::CeilingStep { age_ms: 0, share: crate::ids::Share::ALL }];
        world.finish(24 * HOUR);
        let rollout = &world.rollouts[0];
        assert_eq!(rollout.counts.confirmed, size as u64);
        assert!(rollout.wave <= 14, "{size} units of {tenants} customers in {} waves", rollout.wave);
    }
}
