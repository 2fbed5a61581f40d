//! What must not go, and when: customers' policies, disruption limits, ceilings, budgets, other rollouts.

use super::*;
use crate::{
    conditions::Unit,
    evidence::Arm,
    ids::Share,
    policy::{CustomerPolicy, DisruptionLimits, Window},
    profile::{CeilingStep, Profile, ProfileName},
    release::Kind,
    rollout::{Answer, ByHand, HaltReason, Late, Report, Skip, Status, WaitingOn},
};
use world::{Entry, START_MS, say};

const MINUTE: u64 = 60_000;

fn demo_with(
    fleet: crate::fleet::Fleet,
    seed: u64,
    change: impl FnOnce(&mut crate::conditions::Authorisation),
) -> World {
    let mut world = World::new(fleet, seed);
    world.thorough = 0.1;
    let profile = Profile::named(ProfileName::Demo);
    let mut authorisation = authorisation(1, seed, &profile);
    change(&mut authorisation);
    world.start(release(1, Kind::Component), authorisation, profile);
    world
}

fn changed(world: &World) -> Vec<String> {
    let changed = world.devices.iter().filter(|device| !device.running.is_empty());
    changed.map(|device| world.fleet.device(device.index).name.to_string()).collect()
}

#[test]
fn frozen_pinned_and_manual_devices_stay_as_they_are() {
    let mut fleet = fleet_of(24, 3, 2, 3);
    fleet.tenants[0].policy.freeze = Some("quarter end".into());
    fleet.tenants[1].policy.pin = [("till".to_string(), "0".to_string())].into();
    fleet.tenants[2].policy.limits.manual_only = vec!["d2".into(), "d5".into()];
    let mut world = demo_with(fleet, 1, |_| {});
    let end = world.finish(10 * MINUTE);
    let left_out = vec![(Skip::Frozen, 8), (Skip::Pinned, 8), (Skip::ManualOnly, 2)];
    assert_eq!(end, WaitingOn::Completed { left_out, named: vec![], late: Late::default() });
    assert_eq!(changed(&world).len(), 6);
    // Skipped in both arms: a frozen device was no control either.
    for event in world.events() {
        if let crate::rollout::Event::Permitted { device, .. } = event {
            assert_eq!(world.fleet.tenant_index(*device), 2);
        }
    }
}

#[test]
fn a_closed_window_is_waited_for_and_keeps_the_order() {
    let mut fleet = fleet_of(24, 3, 2, 3);
    let minute = (START_MS / MINUTE % 1_440) as u16;
    fleet.tenants[0].policy.windows = vec![Window { days: 127, from_minute: minute + 3, to_minute: minute + 10 }];
    fleet.tenants[1].policy.defer_ms = 2 * MINUTE;
    let mut world = demo_with(fleet, 2, |_| {});
    world.run(100_000);
    let WaitingOn::Skipped { reasons, .. } = world.rollouts[0].waiting_on(&world.fleet, world.now_ms) else { panic!() };
    assert_eq!(reasons, [(Skip::Deferred, 8), (Skip::WindowClosed, 8)]);
    assert_eq!(changed(&world).len(), 8);
    let end = world.finish(10 * MINUTE);
    assert_eq!(end, WaitingOn::Completed { left_out: vec![], named: vec![], late: Late::default() });
    assert_eq!(changed(&world).len(), 24);
}

#[test]
fn redundancy_groups_and_sites_are_never_away_together() {
    for unit in [Unit::Device, Unit::Site] {
        for (seed, fault) in [(1, Fault::None), (2, Fault::Late(6_000)), (3, Fault::ShutDown(4_000))] {
            let mut fleet = fleet_of(40, 2, 3, 2);
            let groups = (0..40).step_by(2).map(|d| (format!("d{d}"), format!("pair-{}", d / 8))).collect();
            fleet.tenants[0].policy.limits = DisruptionLimits { redundancy_groups: groups, ..Default::default() };
            fleet.tenants[1].policy.limits.max_unavailable_per_site = 1;
            let mut world = demo_with(fleet, seed, |a| a.unit = unit);
            world.thorough = 0.3;
            // One that is late is a bad sign, two are too many for a small fleet.
            let one = world.rollouts[0].devices(1)[0];
            world.fault = Box::new(move |_, _, device, _| if device == one { fault } else { Fault::None });
            let end = world.finish(60 * MINUTE);
            assert!(matches!(end, WaitingOn::Completed { .. }), "{unit:?} {fault:?}: {end}");
            assert_eq!(changed(&world).len(), 40, "{unit:?} {fault:?}");
        }
    }
}

#[test]
fn the_partner_of_a_dark_device_is_left_alone() {
    let mut fleet = fleet_of(24, 1, 1, 1);
    let groups = (0..24).map(|d| (format!("d{d}"), format!("pair-{}", d / 2))).collect();
    fleet.tenants[0].policy.limits.redundancy_groups = groups;
    let mut world = demo_with(fleet, 4, |_| {});
    let dark = world.rollouts[0].devices(0)[0];
    world.fault = Box::new(move |_, _, device, _| if device == dark { Fault::Brick } else { Fault::None });
    world.run_until(START_MS + MINUTE, |world| matches!(world.rollouts[0].status, Status::Held { .. }));
    world.by_hand(ByHand::Resume { who: "ada".into() });
    world.run(10 * MINUTE);
    assert_eq!(changed(&world).len(), 22);
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    assert_eq!(waiting, WaitingOn::Skipped { reasons: vec![(Skip::RedundancyGroup, 1)], named: vec![] });
}

#[test]
fn nothing_goes_above_the_ceiling_and_the_rollout_says_so() {
    let ceiling = vec![
        CeilingStep { age_ms: 0, share: Share::percent(25) },
        CeilingStep { age_ms: 2 * MINUTE, share: Share::percent(60) },
    ];
    let mut world = demo_with(fleet_of(100, 3, 2, 3), 5, |a| a.ceiling = ceiling);
    world.run(2 * MINUTE - 1_000);
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    assert_eq!(waiting, WaitingOn::Ceiling { share: Share::percent(25), until_ms: START_MS + 2 * MINUTE });
    let first = changed(&world).len();
    assert!((15..35).contains(&first), "{first}");
    world.run(10 * MINUTE);
    let second = changed(&world).len();
    assert!((48..72).contains(&second), "{second}");
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    let reasons = vec![(Skip::AboveCeiling, 1)];
    assert_eq!(waiting, WaitingOn::Skipped { reasons, named: vec![] }, "above it they wait for good");
}

#[test]
fn the_signed_budget_bounds_what_is_exposed_however_much_is_silent() {
    // Few bricks, none among the first: the rollout goes on, and each dark device takes a place for good.
    let mut world = demo_with(fleet_of(150, 3, 2, 1), 6, |a| {
        a.exposure_budget = Some(2);
        a.ceiling = vec![CeilingStep { age_ms: 0, share: Share::ALL }];
    });
    world.lost = 0.3;
    let good = world.rollouts[0].members[..12].to_vec();
    world.fault = Box::new(
        move |random, _, device, _| {
            if !good.contains(&device) && random.chance(0.05) { Fault::Brick } else { Fault::None }
        },
    );
    world.run(60 * MINUTE);
    assert!(world.exposed_most <= 2);
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    match &world.rollouts[0].status {
        Status::Running => assert_eq!(waiting, WaitingOn::Budget { exposed: 2, budget: 2 }),
        status => assert!(matches!(status, Status::Halted { reason: HaltReason::Evidence { .. }, .. }), "{status:?}"),
    }
}

#[test]
fn devices_that_are_off_do_not_block_the_others() {
    let mut world = demo_with(fleet_of(24, 3, 2, 3), 7, |_| {});
    (0..6).for_each(|device| world.offline(device * 4, START_MS + 10 * MINUTE));
    world.run(5 * MINUTE);
    assert_eq!(changed(&world).len(), 18);
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    let WaitingOn::Completed { left_out, named, .. } = waiting else { panic!("{waiting}") };
    assert_eq!(left_out, [(Skip::Offline, 6)]);
    assert_eq!(named.len(), 5, "the first few by name");
    assert!(matches!(world.rollouts[0].status, Status::Completed { .. }), "nobody waits for them for good");
    world.run(15 * MINUTE);
    assert_eq!(changed(&world).len(), 24, "and they get it when they are back");
}

#[test]
fn a_customers_pilots_come_before_its_others() {
    for seed in 0..5 {
        let mut fleet = fleet_of(60, 3, 2, 2);
        fleet.tenants[1].policy.rings = vec![vec!["d1".into(), "d4".into()], vec!["d7".into()]];
        let mut world = demo_with(fleet, seed, |a| a.ceiling = vec![CeilingStep { age_ms: 0, share: Share::ALL }]);
        world.offline(4, START_MS + 20_000);
        let end = world.finish(10 * MINUTE);
        assert_eq!(end, WaitingOn::Completed { left_out: vec![], named: vec![], late: Late::default() });
        let order: Vec<u32> = world
            .events()
            .filter_map(|event| match event {
                crate::rollout::Event::Confirmed { device } if world.fleet.tenant_index(*device) == 1 => Some(*device),
                _ => None,
            })
            .collect();
        assert_eq!(order[..2], [1, 7], "seed {seed}: the second pilot is off and comes when it is there");
        assert_eq!(order.len(), 20);
    }
}

#[test]
fn pilots_that_are_all_off_keep_their_customer_waiting_and_nobody_else() {
    let mut fleet = fleet_of(24, 3, 2, 2);
    fleet.tenants[1].policy.rings = vec![vec!["d1".into()]];
    let mut world = demo_with(fleet, 8, |_| {});
    world.offline(1, u64::MAX);
    world.run(5 * MINUTE);
    assert_eq!(changed(&world).len(), 16);
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    let WaitingOn::Skipped { reasons, named } = waiting else { panic!("{waiting}") };
    assert_eq!(reasons, [(Skip::Offline, 1), (Skip::PilotsFirst, 7)]);
    assert_eq!(named.len(), 1, "{named:?}");
}

#[test]
fn a_site_goes_as_one_unit() {
    let mut world = demo_with(fleet_of(60, 3, 5, 4), 9, |a| a.unit = Unit::Site);
    world.offline(59, START_MS + 2 * MINUTE);
    let end = world.finish(20 * MINUTE);
    assert_eq!(end, WaitingOn::Completed { left_out: vec![], named: vec![], late: Late::default() });
    assert_eq!((world.rollouts[0].counts.units, changed(&world).len()), (15, 60));
    // A device checks its own ring and stratum: the frontier names each of them.
    assert_eq!(world.rollouts[0].reach(&world.fleet).len(), 4);
}

#[test]
fn a_bricked_site_is_one_unit_too() {
    let mut world = demo_with(fleet_of(60, 3, 5, 4), 10, |a| a.unit = Unit::Site);
    world.fault = Box::new(|_, _, _, _| Fault::Brick);
    world.finish(20 * MINUTE);
    assert!(matches!(world.rollouts[0].status, Status::Halted { .. }));
    assert_eq!(world.exposed_most, 1);
    assert!(world.bricked() <= 4, "{}", world.bricked());
}

/// A goodbye during the trial takes a site out of the comparison; the silence of its next device counts all the same.
#[test]
fn a_site_that_left_and_came_back_is_not_awaited_for_ever() {
    let mut world = demo_with(fleet_of(60, 3, 5, 4), 14, |a| a.unit = Unit::Site);
    let site = world.rollouts[0].devices(0).to_vec();
    site.iter().for_each(|device| world.offline(*device, u64::MAX));
    (0..60).for_each(|device| world.fleet.heard(device, START_MS));
    world.run(1);
    let treated = |answer| matches!(answer, Some(Answer::Permit { arm: Arm::Treated, .. }));
    assert!(treated(say(&mut world, site[0], &Report::Ready)));
    say(&mut world, site[0], &Report::OnTrial);
    say(&mut world, site[0], &Report::Leaving);
    world.run(100);
    world.fleet.heard(site[0], world.now_ms);
    say(&mut world, site[0], &Report::Committed);
    world.run(100);
    assert!(treated(say(&mut world, site[1], &Report::Ready)), "{:?}", world.rollouts[0].status);
    world.run(MINUTE);
    assert_eq!(world.rollouts[0].counts.silent, 1, "the second device never gave a word");
}

#[test]
fn an_authorisation_that_is_over_changes_nobody_and_frees_everybody() {
    let mut world = demo_with(fleet_of(24, 3, 2, 3), 11, |a| a.not_after_ms = START_MS + 8_000);
    world.run(2 * MINUTE);
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    assert_eq!(waiting, WaitingOn::Expired { at_ms: START_MS + 8_000 });
    assert!((1..24).contains(&changed(&world).len()));
    assert!(world.fleet.devices.iter().all(|device| device.member_of == 0));
}

#[test]
fn an_authorisation_that_has_not_started_waits() {
    let mut world = demo_with(fleet_of(24, 3, 2, 3), 12, |a| a.start_ms = START_MS + MINUTE);
    world.run(MINUTE - 1);
    assert_eq!(world.rollouts[0].counts.exposed_ever, 0);
    let waiting = world.rollouts[0].waiting_on(&world.fleet, world.now_ms);
    assert_eq!(waiting, WaitingOn::Start { at_ms: START_MS + MINUTE });
    assert!(matches!(world.finish(10 * MINUTE), WaitingOn::Completed { .. }));
}

#[test]
fn a_device_belongs_to_one_rollout_at_a_time() {
    let mut world = demo_with(fleet_of(30, 3, 2, 3), 13, |_| {});
    let profile = Profile::named(ProfileName::Demo);
    let other = crate::release::Release { name: "shelf".into(), ..release(2, Kind::Component) };
    world.start(other, authorisation(2, 14, &profile), profile);
    let over = |world: &World| world.rollouts.iter().all(|r| matches!(r.status, Status::Completed { .. }));
    world.run_until(START_MS + 60 * MINUTE, over);
    for rollout in &world.rollouts {
        assert_eq!(rollout.counts.confirmed, 30, "{:?}", rollout.waiting_on(&world.fleet, world.now_ms));
    }
    assert!(world.devices.iter().all(|device| device.running.len() == 2));
}

#[test]
fn a_release_that_supersedes_reaches_the_devices_that_the_halted_one_had() {
    let mut world = demo_with(fleet_of(24, 3, 2, 3), 15, |_| {});
    world.fault = Box::new(|_, _, _, rollout| if rollout == 0 { Fault::SafeMode(500) } else { Fault::None });
    world.finish(MINUTE);
    assert!(matches!(world.rollouts[0].status, Status::Halted { .. }));
    let profile = Profile::named(ProfileName::Demo);
    world.start(release(2, Kind::Component), authorisation(2, 15, &profile), profile);
    let over = |world: &World| matches!(world.rollouts[1].status, Status::Completed { .. });
    world.run_until(world.now_ms + 10 * MINUTE, over);
    assert_eq!(world.rollouts[1].counts.confirmed, 24);
}

#[test]
fn superseding_ends_a_rollout() {
    let mut world = demo_with(fleet_of(24, 3, 2, 3), 16, |_| {});
    world.run(3_000);
    world.by_hand(ByHand::Supersede { by: 2 });
    let halted = Status::Halted { reason: HaltReason::Superseded { by: 2 }, at_ms: world.now_ms };
    assert_eq!(world.rollouts[0].status, halted);
}

#[test]
fn cloned_and_retired_devices_are_left_out_and_late_joiners_wait() {
    let mut world = demo_with(fleet_of(24, 3, 2, 3), 17, |_| {});
    world.change(Entry::Cloned(3));
    world.change(Entry::Retired(4));
    world.offline(4, u64::MAX);
    world.fleet.join(&crate::fleet::Joining {
        id: crate::ids::DeviceId([9; 16]),
        name: "late",
        tenant: "tenant-0",
        site: "site-0",
        os_build: "build-0",
        hardware_model: "model-0",
        stratum: "build-0",
    });
    let ready = crate::rollout::Report::Ready;
    let (events, answer) = world.rollouts[0].report(&world.fleet, 24, &ready, world.now_ms);
    assert!(events.is_empty());
    assert_eq!(answer, Some(crate::rollout::Answer::Wait(crate::rollout::Waiting::NotInWave)));
    world.thorough = 0.0;
    let end = world.finish(10 * MINUTE);
    let WaitingOn::Completed { left_out, named, .. } = end else { panic!("{end}") };
    assert_eq!(left_out, [(Skip::Cloned, 1), (Skip::Retired, 1)]);
    assert_eq!(named[0].skip, Skip::Cloned);
    assert_eq!(changed(&world).len(), 22);
    assert!(world.rollouts[0].place(24).starts_with("joined after the start"));
}

#[test]
fn a_policy_that_changes_on_the_way_counts_from_then_on() {
    let mut world = demo_with(fleet_of(24, 1, 2, 3), 18, |_| {});
    world.run(8_000);
    let before = world.rollouts[0].counts.exposed_ever;
    let frozen = CustomerPolicy { freeze: Some("audit".into()), ..Default::default() };
    world.change(Entry::Policy(0, Box::new(frozen)));
    world.run(2 * MINUTE);
    assert_eq!(world.rollouts[0].counts.exposed_ever, before);
    assert!(matches!(world.rollouts[0].status, Status::Completed { .. }));
}

#[test]
fn a_crash_that_a_start_found_counts_once_for_each_device_with_a_permit() {
    use crate::{
        evidence::{Arm, Metric},
        rollout::{Event, Report},
    };
    let mut world = demo_with(fleet_of(24, 1, 1, 1), 11, |_| {});
    let crashed =
        |world: &World, device| world.rollouts[0].report(&world.fleet, device, &Report::Crashed, world.now_ms).0;
    assert!((0..24).all(|device| crashed(&world, device).is_empty()), "nobody has a permit yet");
    world.run_until(START_MS + MINUTE, |world| {
        let arms: Vec<Arm> = (0..24)
            .flat_map(|device| crashed(world, device))
            .filter_map(|event| if let Event::Observed { arm, .. } = event { Some(arm) } else { None })
            .collect();
        arms.contains(&Arm::Treated) && arms.contains(&Arm::Control)
    });
    for arm in [Arm::Treated, Arm::Control] {
        let is_of = |device: &u32| matches!(crashed(&world, *device)[..], [Event::Observed { metric: Metric::Crashed, arm: of, .. }] if of == arm);
        let device = (0..24).find(is_of).expect("a device of each arm has a permit");
        let events = crashed(&world, device);
        world.append(0, events);
        assert!(crashed(&world, device).is_empty(), "once, however often the machine crashes");
    }
    world.replay_agrees();
}
