//! Small fleets: what a single device does decides.

use super::*;
use crate::{
    profile::ProfileName,
    release::Kind,
    rollout::{ByHand, HaltReason, HoldReason, Late, Status, WaitingOn},
};
use world::START_MS;

const MINUTE: u64 = 60_000;

fn demo(seed: u64) -> World {
    World::with_rollout(fleet_of(24, 3, 2, 3), seed, ProfileName::Demo)
}

fn with_fault(seed: u64, fault: Fault) -> World {
    let mut world = demo(seed);
    world.fault = Box::new(move |_, _, _, _| fault);
    world
}

fn held_by_silence(world: &World) -> bool {
    matches!(&world.rollouts[0].status, Status::Held { reason: HoldReason::Silent { .. }, .. })
}

fn halt(world: &World) -> &HaltReason {
    match &world.rollouts[0].status {
        Status::Halted { reason, .. } => reason,
        other => panic!("not halted: {other:?}"),
    }
}

#[test]
fn a_healthy_fleet_of_24_gets_it_in_waves_that_grow() {
    let mut world = demo(1);
    let end = world.finish(5 * MINUTE);
    assert_eq!(end, WaitingOn::Completed { left_out: vec![], named: vec![], late: Late::default() });
    let rollout = &world.rollouts[0];
    let seconds = (world.now_ms - START_MS) as f64 / 1e3;
    println!("24 healthy devices, demo profile: {} waves in {seconds:.0} s", rollout.wave);
    assert_eq!((rollout.counts.confirmed, rollout.counts.exposed_ever, rollout.counts.exposed), (24, 24, 0));
    assert!(rollout.wave >= 4, "not in one go: {}", rollout.wave);
    assert!(world.exposed_most <= 8);
    assert!(world.devices.iter().all(|device| device.running == [0]));
}

#[test]
fn a_silent_brick_takes_one_device_and_no_more() {
    for seed in 0..20 {
        let mut world = with_fault(seed, Fault::Brick);
        world.run_until(START_MS + 5 * MINUTE, held_by_silence);
        assert!(held_by_silence(&world), "seed {seed}: the deadline holds");
        world.finish(5 * MINUTE);
        assert!(matches!(halt(&world), HaltReason::NotBack { deadlines: 3, .. }), "seed {seed}");
        assert_eq!((world.rollouts[0].counts.exposed_ever, world.bricked()), (1, 1), "seed {seed}");
        world.run(MINUTE);
        assert_eq!(world.rollouts[0].counts.exposed_ever, 1, "seed {seed}: a halt is latched");
    }
}

#[test]
fn a_return_on_the_old_version_or_in_safe_mode_halts() {
    for (ms, fault) in [
        (500, Fault::RolledBack(500)),
        (7_000, Fault::RolledBack(7_000)),
        (500, Fault::SafeMode(500)),
        (7_000, Fault::SafeMode(7_000)),
    ] {
        let mut world = with_fault(2, fault);
        world.finish(5 * MINUTE);
        let safe = matches!(fault, Fault::SafeMode(_));
        let said = matches!(halt(&world), HaltReason::SafeMode { .. }) == safe
            && matches!(halt(&world), HaltReason::RolledBack { .. }) != safe;
        assert!(said, "{fault:?}: {:?}", halt(&world));
        assert_eq!(world.rollouts[0].counts.exposed_ever, 1, "{fault:?} {ms}");
    }
}

#[test]
fn a_device_that_never_starts_the_release_halts_although_it_talks() {
    let mut world = with_fault(3, Fault::Stuck);
    world.finish(5 * MINUTE);
    assert!(matches!(halt(&world), HaltReason::NotBack { .. }));
    assert_eq!(world.rollouts[0].counts.exposed_ever, 1);
}

#[test]
fn a_device_that_is_on_trial_for_ever_holds() {
    let mut world = with_fault(3, Fault::NeverProven);
    world.run(2 * MINUTE);
    assert!(!matches!(world.rollouts[0].status, Status::Running | Status::Completed { .. }));
    assert_eq!(world.rollouts[0].counts.exposed_ever, 1);
}

#[test]
fn a_late_device_that_returns_healthy_releases_the_hold() {
    let mut world = demo(4);
    let late = world.rollouts[0].devices(2)[0];
    world.fault = Box::new(move |_, _, device, _| if device == late { Fault::Late(7_000) } else { Fault::None });
    world.run_until(START_MS + MINUTE, held_by_silence);
    assert!(held_by_silence(&world));
    let end = world.finish(10 * MINUTE);
    assert!(matches!(end, WaitingOn::Completed { .. }), "{end}");
    assert_eq!((world.rollouts[0].counts.confirmed, world.rollouts[0].counts.silent), (24, 0));
}

#[test]
fn a_clean_shutdown_holds_and_does_not_halt() {
    let mut world = with_fault(5, Fault::ShutDown(90_000));
    world.run(60_000);
    let Status::Held { reason: HoldReason::Silent { shut_down, .. }, .. } = &world.rollouts[0].status else {
        panic!("{:?}", world.rollouts[0].status)
    };
    assert!(shut_down);
    world.fault = Box::new(|_, _, _, _| Fault::None);
    let end = world.finish(10 * MINUTE);
    assert!(matches!(end, WaitingOn::Completed { .. }), "{end}");
}

#[test]
fn a_person_who_resumes_excuses_the_silence_seen_and_no_other() {
    let mut world = demo(6);
    let dark = [1, 3].map(|unit| world.rollouts[0].devices(unit)[0]);
    world.fault = Box::new(move |_, _, device, _| if dark.contains(&device) { Fault::Brick } else { Fault::None });
    world.run_until(START_MS + 5 * MINUTE, held_by_silence);
    assert!(held_by_silence(&world));
    world.by_hand(ByHand::Resume { who: "ada".into() });
    assert_eq!(world.rollouts[0].status, Status::Running);
    world.run_until(world.now_ms + 5 * MINUTE, |world| world.rollouts[0].status != Status::Running);
    assert_eq!(world.rollouts[0].counts.silent, 2, "the next one stops it again");
    world.finish(5 * MINUTE);
    assert!(matches!(halt(&world), HaltReason::NotBack { .. } | HaltReason::Evidence { .. }));
    assert!(world.rollouts[0].counts.exposed_ever <= 8);
}

#[test]
fn a_hold_by_a_person_stops_permits_until_a_person_resumes() {
    let mut world = demo(7);
    world.run(3_000);
    world.by_hand(ByHand::Hold { who: "ada".into(), why: "lunch".into() });
    let exposed = world.rollouts[0].counts.exposed_ever;
    world.run(2 * MINUTE);
    assert_eq!(world.rollouts[0].counts.exposed_ever, exposed);
    assert!(matches!(&world.rollouts[0].status, Status::Held { reason: HoldReason::Operator { .. }, .. }));
    assert!(world.rollouts[0].by_hand(ByHand::Resume { who: "ada".into() }).len() == 1);
    world.by_hand(ByHand::Resume { who: "ada".into() });
    let end = world.finish(10 * MINUTE);
    assert!(matches!(end, WaitingOn::Completed { .. }), "{end}");
}

#[test]
fn a_halt_by_a_person_is_for_good() {
    let mut world = demo(8);
    world.run(3_000);
    world.by_hand(ByHand::Halt { who: "ada".into(), why: "the vendor called".into() });
    for word in [
        ByHand::Resume { who: "ada".into() },
        ByHand::Hold { who: "ada".into(), why: String::new() },
        ByHand::Supersede { by: 9 },
    ] {
        assert_eq!(world.rollouts[0].by_hand(word), []);
    }
    let exposed = world.rollouts[0].counts.exposed_ever;
    world.run(2 * MINUTE);
    assert_eq!(world.rollouts[0].counts.exposed_ever, exposed);
    assert!(world.fleet.devices.iter().all(|device| device.member_of == 0), "others may have the devices");
    // Not even an event that a confused caller makes durable takes it back.
    for event in [
        crate::rollout::Event::Held { reason: HoldReason::Operator { who: String::new(), why: String::new() } },
        crate::rollout::Event::Released { by: String::new() },
        crate::rollout::Event::Completed,
    ] {
        world.append(0, vec![event]);
        halt(&world);
    }
}

#[test]
fn how_often_a_small_fleet_is_harmed_and_stopped_in_vain() {
    // The prototype's table: 20 units, p = 1: 1 exposed; p = .3: about 4 exposed, 1.2 bricked; false holds .7 / 8 / 29 %.
    let runs = 100;
    let mut rows = Vec::new();
    for (harm, background) in [(1.0, 0.0), (0.3, 0.0), (0.0, 0.001), (0.0, 0.01), (0.0, 0.05)] {
        let (mut exposed, mut bricked, mut stopped) = (0, 0, 0);
        for seed in 0..runs {
            let mut world = World::with_rollout(fleet_of(20, 1, 1, 1), 1_000 + seed, ProfileName::Demo);
            world.thorough = 0.0;
            world.background = background;
            world.fault = Box::new(move |random, _, _, _| if random.chance(harm) { Fault::Brick } else { Fault::None });
            world.run_until(START_MS + 5 * MINUTE, |world| !matches!(world.rollouts[0].status, Status::Running));
            exposed += world.rollouts[0].counts.exposed_ever;
            bricked += world.bricked();
            stopped += u64::from(!matches!(world.rollouts[0].status, Status::Completed { .. } | Status::Running));
        }
        let runs = runs as f64;
        rows.push((exposed as f64 / runs, bricked as f64 / runs, stopped as f64 / runs));
        let (exposed, bricked, stopped) = rows[rows.len() - 1];
        println!("20 units, p {harm}, q {background}: {exposed:.1} exposed, {bricked:.2} dark, {stopped:.2} stopped");
    }
    assert_eq!((rows[0].0, rows[0].1), (1.0, 1.0));
    assert!((2.0..6.0).contains(&rows[1].0) && rows[1].1 < 2.0);
    assert!(rows[2].2 < 0.05 && rows[3].2 < 0.2 && rows[4].2 < 0.5);
}

#[test]
fn content_takes_the_same_way() {
    let mut world = World::new(fleet_of(24, 3, 2, 3), 9);
    let profile = crate::profile::Profile::named(ProfileName::Demo);
    world.start(release(1, Kind::Content), authorisation(1, 9, &profile), profile);
    assert!(matches!(world.finish(5 * MINUTE), WaitingOn::Completed { .. }));
}
