//! Each of the seven conditions refuses what it must, for the reason it names.

use super::*;
use crate::{
    policy::{PolicyRefusal, Window},
    release::{Kind, StateCompatibility},
};
use proptest::{prelude::*, test_runner::RngSeed};

const START_MS: u64 = 1_700_000_000_000;
const NOW_MS: u64 = START_MS + 3_600_000;

/// Everything that [`check`] looks at, as it is when nothing stands against the change.
#[derive(Clone, Debug)]
struct World {
    identity: Identity,
    memory: Memory,
    release: Presented<Release>,
    gate: Presented<GateAttestation>,
    authorisation: Presented<Authorisation>,
    frontier: Presented<Frontier>,
    policy: Presented<CustomerPolicy>,
    readiness: Readiness,
    permit: Presented<Permit>,
    age_ms: u64,
    now_ms: u64,
    by_hand: bool,
}

fn good() -> World {
    let release = Digest::of(b"till 2");
    let device = DeviceId::of_public_key(b"a key");
    World {
        identity: Identity {
            device,
            name: "till-1".into(),
            tenant: "pharmacy".into(),
            site: "north".into(),
            ring: 0,
            stratum: "debian-12/nuc".into(),
            consumer: Digest::of(b"consumer"),
        },
        memory: Memory::default(),
        release: Presented::Verified(Release {
            name: "till".into(),
            version: "2".into(),
            sequence: 2,
            kind: Kind::Component,
            security_floor: 0,
            state: StateCompatibility::None,
            digest: release,
        }),
        gate: Presented::Verified(GateAttestation {
            release,
            passed: true,
            consumers: vec![Digest::of(b"consumer")],
            checks: vec![],
            waived: None,
            signers: 2,
        }),
        authorisation: Presented::Verified(Authorisation {
            rollout: 7,
            release,
            log_root: Digest::of(b"root"),
            unit: Unit::Device,
            profile: ProfileName::Standard,
            start_ms: START_MS,
            not_after_ms: START_MS + AUTHORISATION_LIFETIME_MS,
            ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
            exposure_budget: None,
            supersedes: None,
            signers: RELEASERS,
        }),
        frontier: Presented::Verified(Frontier {
            rollout: 7,
            release,
            sequence: 4,
            halted: false,
            completed: false,
            issued_ms: NOW_MS,
            expires_ms: NOW_MS + 60_000,
            reach: vec![Reach {
                ring: 0,
                stratum: "debian-12/nuc".into(),
                eligible_to: Some(Position::END),
                candidate_to: Some(Position::END),
            }],
        }),
        policy: Presented::Verified(CustomerPolicy::default()),
        readiness: Readiness {
            has_last_known_good: true,
            trial_running: false,
            preflight: vec![],
            nonce: Some("aa".into()),
            os_images: false,
        },
        permit: Presented::Verified(Permit {
            rollout: 7,
            release,
            device,
            arm: Arm::Treated,
            frontier_sequence: 4,
            nonce: "aa".into(),
            issued_ms: NOW_MS,
            expires_ms: NOW_MS + PERMIT_LIFETIME_MS,
        }),
        age_ms: NOW_MS - START_MS,
        now_ms: NOW_MS,
        by_hand: false,
    }
}

fn refusals(world: &World) -> Vec<Refusal> {
    check(&Case {
        identity: &world.identity,
        memory: &world.memory,
        release: &world.release,
        gate: &world.gate,
        authorisation: &world.authorisation,
        frontier: &world.frontier,
        policy: &world.policy,
        readiness: &world.readiness,
        permit: &world.permit,
        age_ms: world.age_ms,
        now_ms: world.now_ms,
        by_hand: world.by_hand,
    })
}

fn of<T>(presented: &mut Presented<T>) -> &mut T {
    match presented {
        Presented::Verified(value) => value,
        _ => panic!("not verified"),
    }
}

/// What a change to a good case leads to: exactly these refusals.
fn refused(change: impl FnOnce(&mut World), expected: &[Refusal]) {
    let mut world = good();
    change(&mut world);
    assert_eq!(refusals(&world), expected);
    for refusal in expected {
        assert!(!refusal.to_string().is_empty());
        let text = serde_json::to_string(refusal).unwrap();
        assert_eq!(&serde_json::from_str::<Refusal>(&text).unwrap(), refusal);
    }
}

#[test]
fn with_all_seven_conditions_a_device_changes() {
    assert_eq!(refusals(&good()), []);
}

#[test]
fn first_condition_the_release() {
    let (digest, why) = (Digest::of(b"till 2"), || "bricks".to_string());
    refused(|w| w.release = Presented::Missing, &[Refusal::ReleaseMissing]);
    refused(|w| w.release = Presented::Rejected(why()), &[Refusal::ReleaseRejected { why: why() }]);
    refused(|w| w.memory.denied.extend([(digest, why())]), &[Refusal::ReleaseDenied { why: why() }]);
    refused(|w| w.memory.floors.extend([("till".into(), 3)]), &[Refusal::BelowSecurityFloor { floor: 3 }]);
    refused(|w| w.memory.floors.extend([("till".into(), 2)]), &[]);
    refused(|w| of(&mut w.release).kind = Kind::Os, &[Refusal::KindNotHandled { kind: Kind::Os }]);
    let handled = |w: &mut World| {
        of(&mut w.release).kind = Kind::Os;
        w.readiness.os_images = true;
    };
    refused(handled, &[]);
}

#[test]
fn second_condition_the_gate() {
    let why = || "no such key".to_string();
    let other = Digest::of(b"other");
    refused(|w| w.gate = Presented::Missing, &[Refusal::GateMissing]);
    refused(|w| w.gate = Presented::Rejected(why()), &[Refusal::GateRejected { why: why() }]);
    refused(|w| of(&mut w.gate).release = other, &[Refusal::GateForOtherRelease]);
    refused(|w| of(&mut w.gate).passed = false, &[Refusal::GateFailed]);
    refused(|w| of(&mut w.gate).signers = 1, &[Refusal::GateTooFewSigners { have: 1, need: 2 }]);
    refused(|w| w.identity.consumer = other, &[Refusal::GateWithoutThisConsumer { consumer: other }]);
    // A customer's own demands.
    let demands = |w: &mut World| of(&mut w.policy).required_checks = vec!["hostile".into(), "undo".into()];
    let missing = |check: &str| Refusal::GateWithoutCheck { check: check.into() };
    refused(demands, &[missing("hostile"), missing("undo")]);
    refused(
        |w| {
            demands(w);
            of(&mut w.gate).checks = vec!["undo".into(), "hostile".into(), "budget".into()];
        },
        &[],
    );
    // Two releasers may waive the gate, for few devices, and never against a customer who demands its checks.
    let waived = |w: &mut World, budget| {
        let gate = of(&mut w.gate);
        (gate.waived, gate.passed) = (Some("an attack is under way".into()), false);
        gate.consumers.clear();
        of(&mut w.authorisation).exposure_budget = budget;
    };
    refused(|w| waived(w, Some(WAIVED_BUDGET)), &[]);
    for budget in [None, Some(WAIVED_BUDGET + 1)] {
        refused(|w| waived(w, budget), &[Refusal::WaiverUncapped { budget }]);
    }
    let change = |w: &mut World| {
        waived(w, Some(1));
        of(&mut w.gate).signers = 1;
    };
    refused(change, &[Refusal::WaiverTooFewSigners { have: 1 }]);
    let change = |w: &mut World| {
        waived(w, Some(1));
        of(&mut w.release).kind = Kind::Guard;
    };
    refused(change, &[Refusal::WaiverForGuard]);
    let change = |w: &mut World| {
        waived(w, Some(1));
        demands(w);
    };
    refused(change, &[missing("hostile"), missing("undo")]);
    // One gate key is enough for content.
    refused(
        |w| {
            of(&mut w.gate).signers = 1;
            of(&mut w.release).kind = Kind::Content;
        },
        &[],
    );
}

#[test]
fn third_condition_the_authorisation_and_its_ceiling() {
    let why = || "expired key".to_string();
    refused(|w| w.authorisation = Presented::Missing, &[Refusal::AuthorisationMissing]);
    refused(|w| w.authorisation = Presented::Rejected(why()), &[Refusal::AuthorisationRejected { why: why() }]);
    refused(|w| of(&mut w.authorisation).release = Digest::of(b"other"), &[Refusal::AuthorisationForOtherRelease]);
    refused(|w| of(&mut w.authorisation).signers = 1, &[Refusal::AuthorisationTooFewSigners { have: 1 }]);
    let lifetime_ms = AUTHORISATION_LIFETIME_MS + 1;
    refused(|w| of(&mut w.authorisation).not_after_ms += 1, &[Refusal::AuthorisationTooLong { lifetime_ms }]);
    refused(
        |w| of(&mut w.authorisation).not_after_ms = NOW_MS - 1,
        &[Refusal::AuthorisationExpired { not_after_ms: NOW_MS - 1 }],
    );
    refused(
        |w| {
            of(&mut w.authorisation).start_ms = NOW_MS + 1;
        },
        &[
            Refusal::AuthorisationNotStarted { start_ms: NOW_MS + 1 },
            Refusal::Policy(PolicyRefusal::Deferred { until_ms: NOW_MS + 1 }),
        ],
    );
    // The time that a permit claims can't keep an authorisation alive that this device has seen for longer.
    let not_after_ms = START_MS + AUTHORISATION_LIFETIME_MS;
    refused(
        |w| w.memory.ages.extend([(7, AUTHORISATION_LIFETIME_MS + 1)]),
        &[Refusal::AuthorisationExpired { not_after_ms }],
    );
    let world = good();
    let Presented::Verified(authorisation) = &world.authorisation else { unreachable!() };
    let position = position(&world.identity, authorisation);
    let below = Share(position.share().0);
    let steps = || vec![CeilingStep { age_ms: 0, share: below }, CeilingStep { age_ms: 9_000_000, share: Share::ALL }];
    let age_ms = NOW_MS - START_MS;
    refused(
        |w| of(&mut w.authorisation).ceiling = steps(),
        &[Refusal::AboveCeiling { position, ceiling: below, age_ms, reached_at_age_ms: Some(9_000_000) }],
    );
    refused(
        |w| {
            of(&mut w.authorisation).ceiling = steps();
            w.age_ms = 9_000_000;
        },
        &[],
    );
    refused(
        |w| of(&mut w.authorisation).ceiling = Vec::new(),
        &[Refusal::AboveCeiling { position, ceiling: Share(0), age_ms, reached_at_age_ms: None }],
    );
}

#[test]
fn fourth_condition_the_frontier() {
    let why = || "old key".to_string();
    refused(|w| w.frontier = Presented::Missing, &[Refusal::FrontierMissing]);
    refused(|w| w.frontier = Presented::Rejected(why()), &[Refusal::FrontierRejected { why: why() }]);
    refused(|w| of(&mut w.frontier).rollout = 8, &[Refusal::FrontierForOther]);
    refused(|w| of(&mut w.frontier).release = Digest::of(b"other"), &[Refusal::FrontierForOther]);
    let seen = (5, Digest::of(b"seen"));
    refused(|w| w.memory.frontiers.extend([(7, seen)]), &[Refusal::FrontierReplayed { sequence: 4, seen: 5 }]);
    refused(|w| w.memory.forked.extend([(7, 3)]), &[Refusal::FrontierForked { sequence: 3 }]);
    refused(|w| of(&mut w.frontier).expires_ms = NOW_MS - 1, &[Refusal::FrontierExpired { expires_ms: NOW_MS - 1 }]);
    refused(|w| of(&mut w.frontier).halted = true, &[Refusal::Halted]);
    let stratum = || "debian-13/nuc".to_string();
    refused(|w| w.identity.stratum = stratum(), &[Refusal::RingOrStratumUnknown { ring: 0, stratum: stratum() }]);
    let world = good();
    let Presented::Verified(authorisation) = &world.authorisation else { unreachable!() };
    let position = position(&world.identity, authorisation);
    for eligible_to in [None, Some(Position(position.0 - 1))] {
        refused(
            |w| of(&mut w.frontier).reach[0].eligible_to = eligible_to,
            &[Refusal::FrontierNotReached { position, eligible_to }],
        );
    }
    refused(|w| of(&mut w.frontier).reach[0].eligible_to = Some(position), &[]);
}

#[test]
fn fifth_condition_the_customers_policy() {
    let why = || "not this customer's key".to_string();
    refused(|w| w.policy = Presented::Missing, &[Refusal::PolicyMissing]);
    refused(|w| w.policy = Presented::Rejected(why()), &[Refusal::PolicyRejected { why: why() }]);
    let policy = |change: fn(&mut CustomerPolicy), refusal: PolicyRefusal| {
        refused(|w| change(of(&mut w.policy)), &[Refusal::Policy(refusal)]);
    };
    policy(|p| p.freeze = Some("audit".into()), PolicyRefusal::Frozen { reason: "audit".into() });
    policy(|p| p.pin.extend([("till".into(), "1".into())]), PolicyRefusal::Pinned { to: "1".into() });
    policy(|p| p.limits.manual_only = vec!["till-1".into()], PolicyRefusal::ManualOnly);
    policy(|p| p.n_minus_1 = true, PolicyRefusal::NMinusOne);
    policy(|p| p.defer_ms = 4_000_000, PolicyRefusal::Deferred { until_ms: START_MS + 4_000_000 });
    policy(|p| p.windows = vec![Window { days: 0, from_minute: 0, to_minute: 1_440 }], PolicyRefusal::WindowClosed);
    refused(
        |w| {
            of(&mut w.policy).limits.manual_only = vec!["till-1".into()];
            w.by_hand = true;
        },
        &[],
    );
    refused(
        |w| {
            of(&mut w.policy).n_minus_1 = true;
            w.memory.completed.insert("till".into(), 3);
        },
        &[],
    );
}

#[test]
fn sixth_condition_the_devices_own_readiness() {
    let why = || vec!["disk full".to_string()];
    refused(|w| w.readiness.has_last_known_good = false, &[Refusal::NoLastKnownGood]);
    refused(|w| w.readiness.trial_running = true, &[Refusal::TrialRunning]);
    refused(|w| w.readiness.preflight = why(), &[Refusal::PreflightFailed { why: why() }]);
}

#[test]
fn seventh_condition_the_permit() {
    let why = || "not the online key".to_string();
    let other = |what: &str| [Refusal::PermitForOther { what: what.into() }];
    refused(|w| w.permit = Presented::Missing, &[Refusal::PermitMissing]);
    refused(|w| w.permit = Presented::Rejected(why()), &[Refusal::PermitRejected { why: why() }]);
    refused(|w| of(&mut w.permit).device = DeviceId([1; 16]), &other("device"));
    refused(|w| of(&mut w.permit).rollout = 8, &other("rollout"));
    refused(|w| of(&mut w.permit).release = Digest::of(b"other"), &other("release"));
    refused(|w| of(&mut w.permit).frontier_sequence = 5, &other("frontier"));
    refused(|w| of(&mut w.permit).nonce = "bb".into(), &[Refusal::PermitReplayed]);
    refused(|w| w.readiness.nonce = None, &[Refusal::PermitReplayed]);
    refused(|w| of(&mut w.permit).issued_ms -= 1, &[Refusal::PermitTooLong]);
    refused(
        |w| {
            of(&mut w.permit).issued_ms = NOW_MS - 2;
            of(&mut w.permit).expires_ms = NOW_MS - 1;
        },
        &[Refusal::PermitExpired],
    );
    refused(|w| of(&mut w.permit).arm = Arm::Control, &[Refusal::ControlArm]);
}

#[test]
fn what_does_not_hold_is_listed_in_the_order_of_the_conditions() {
    let mut world = good();
    world.memory.denied.insert(Digest::of(b"till 2"), "bricks".into());
    world.gate = Presented::Missing;
    of(&mut world.authorisation).signers = 1;
    world.frontier = Presented::Missing;
    world.policy = Presented::Missing;
    world.readiness.trial_running = true;
    world.permit = Presented::Missing;
    let conditions: Vec<u8> = refusals(&world).iter().map(Refusal::condition).collect();
    assert_eq!(conditions, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn denylist_over_freeze_and_pin_over_urgent_over_the_rest() {
    let urgent = |world: &mut World| of(&mut world.authorisation).profile = ProfileName::Urgent;
    let later = |world: &mut World| {
        let policy = of(&mut world.policy);
        policy.n_minus_1 = true;
        policy.defer_ms = 4_000_000;
        policy.windows = vec![Window { days: 0, from_minute: 0, to_minute: 1_440 }];
    };
    let frozen = || Refusal::Policy(PolicyRefusal::Frozen { reason: "audit".into() });
    // Urgent passes N-1, defer and window ...
    let mut world = good();
    later(&mut world);
    assert_eq!(refusals(&world), [Refusal::Policy(PolicyRefusal::NMinusOne)]);
    urgent(&mut world);
    assert_eq!(refusals(&world), []);
    // ... but neither freeze nor pin, unless the customer said so beforehand (for freeze).
    of(&mut world.policy).freeze = Some("audit".into());
    assert_eq!(refusals(&world), [frozen()]);
    of(&mut world.policy).urgent_over_freeze = true;
    assert_eq!(refusals(&world), []);
    of(&mut world.policy).pin = [("till".to_string(), "1".to_string())].into();
    assert_eq!(refusals(&world), [Refusal::Policy(PolicyRefusal::Pinned { to: "1".into() })]);
    of(&mut world.policy).pin.clear();
    // Nothing passes the denylist.
    world.memory.denied.insert(Digest::of(b"till 2"), "bricks".into());
    assert_eq!(refusals(&world), [Refusal::ReleaseDenied { why: "bricks".into() }]);
}

#[test]
fn a_stolen_online_key_cannot_age_a_release() {
    assert_eq!(proven_age(100, 1_000, Some(300), 0), 200);
    assert_eq!(proven_age(100, 200, Some(900), 0), 100);
    assert_eq!(proven_age(100, u64::MAX, None, 5), 5);
    assert_eq!(proven_age(100, 0, None, 5), 0);
    assert_eq!(proven_age(100, 1_000, Some(50), u64::MAX), 0);
}

#[test]
fn the_unit_decides_the_position() {
    let world = good();
    let Presented::Verified(mut authorisation) = world.authorisation.clone() else { unreachable!() };
    let device = position(&world.identity, &authorisation);
    authorisation.unit = Unit::Site;
    let site = position(&world.identity, &authorisation);
    let neighbour = Identity { device: DeviceId([2; 16]), ..world.identity.clone() };
    assert_ne!(device, site);
    assert_eq!(position(&neighbour, &authorisation), site);
}

/// Takes away one of the signed inputs.
fn without(world: &mut World, input: usize, rejected: bool) {
    fn gone<T>(rejected: bool) -> Presented<T> {
        if rejected { Presented::Rejected("does not hold".into()) } else { Presented::Missing }
    }
    match input {
        0 => world.release = gone(rejected),
        1 => world.gate = gone(rejected),
        2 => world.authorisation = gone(rejected),
        3 => world.frontier = gone(rejected),
        4 => world.policy = gone(rejected),
        _ => world.permit = gone(rejected),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// Whatever else is true, a device does not change with a signed input missing or rejected.
    #[test]
    fn without_any_one_input_nothing_changes(
        input in 0_usize..6,
        rejected: bool,
        now_ms in prop_oneof![Just(NOW_MS), any::<u64>()],
        age_ms: u64,
        by_hand: bool,
        kind in prop_oneof![Just(Kind::Content), Just(Kind::Component), Just(Kind::Guard)],
        profile in prop_oneof![Just(ProfileName::Urgent), Just(ProfileName::Careful)],
    ) {
        let mut world = good();
        (world.now_ms, world.age_ms, world.by_hand) = (now_ms, age_ms, by_hand);
        of(&mut world.release).kind = kind;
        of(&mut world.authorisation).profile = profile;
        if now_ms == NOW_MS {
            prop_assert_eq!(refusals(&world), vec![]);
        }
        without(&mut world, input, rejected);
        prop_assert!(!refusals(&world).is_empty());
    }

    /// No age below that of its step lets a device pass the ceiling.
    #[test]
    fn no_device_passes_the_ceiling(key: u64, shares in proptest::collection::vec(0_u32..1_000_000_000, 1..5), age_ms in 0_u64..6) {
        let mut world = good();
        world.identity.device = DeviceId::of_public_key(&key.to_be_bytes());
        of(&mut world.permit).device = world.identity.device;
        let steps: Vec<CeilingStep> = shares
            .iter()
            .zip(0_u64..)
            .map(|(share, age_ms)| CeilingStep { age_ms, share: Share(*share) })
            .collect();
        let highest = steps.iter().filter(|step| step.age_ms <= age_ms).map(|step| step.share).max().unwrap();
        let authorisation = of(&mut world.authorisation);
        authorisation.ceiling = steps;
        world.age_ms = age_ms;
        let position = position(&world.identity, of(&mut world.authorisation));
        let above = refusals(&world).iter().any(|refusal| matches!(refusal, Refusal::AboveCeiling { .. }));
        prop_assert_eq!(above, position >= Position::from_share(highest));
    }
}
