//! Server and device agree: whom the rollout gives a treated permit, that device's own check lets change, and nobody else.

use staffel_core::{
    conditions::{
        Authorisation, Case, Frontier, GateAttestation, Identity, Memory, Permit, Presented, Readiness, Refusal, Unit,
        check,
    },
    evidence::Arm,
    fleet::{DeviceIndex, Fleet, Joining},
    ids::{DeviceId, Digest},
    profile::{Profile, ProfileName},
    release::{Kind, Release, StateCompatibility},
    rollout::{Answer, Event, Report, Rollout, Status},
};

const START_MS: u64 = 1_700_000_000_000;

fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    for number in 0..60_u8 {
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(&[number]).0[..16]);
        fleet.join(&Joining {
            id: DeviceId(id),
            name: &format!("d{number}"),
            tenant: ["clinic", "pharmacy"][usize::from(number % 2)],
            site: &format!("site-{}", number % 5),
            os_build: "debian-12",
            hardware_model: &format!("model-{}", number % 3),
            stratum: &format!("debian-12/model-{}", number % 3),
        });
    }
    fleet.tenants[1].policy.rings = vec![vec!["d1".into(), "d3".into()]];
    fleet
}

fn release() -> Release {
    Release {
        name: "till".into(),
        version: "2".into(),
        sequence: 2,
        kind: Kind::Content,
        security_floor: 0,
        state: StateCompatibility::None,
        digest: Digest::of(b"till 2"),
    }
}

fn authorisation(unit: Unit) -> Authorisation {
    Authorisation {
        rollout: 1,
        release: release().digest,
        log_root: Digest::of(b"root"),
        unit,
        profile: ProfileName::Demo,
        start_ms: START_MS,
        not_after_ms: START_MS + 3_600_000,
        ceiling: Profile::named(ProfileName::Demo).ceiling,
        exposure_budget: None,
        supersedes: None,
        signers: 2,
    }
}

/// What the device itself says to a permit for this arm.
fn device_says(fleet: &Fleet, rollout: &Rollout, device: DeviceIndex, arm: Arm, now_ms: u64) -> Vec<Refusal> {
    let row = fleet.device(device);
    let site = &fleet.sites[row.site as usize];
    let identity = Identity {
        device: row.id,
        name: row.name.to_string(),
        tenant: fleet.tenant_of(device).name.clone(),
        site: site.name.clone(),
        ring: fleet.ring(device),
        stratum: fleet.strata.name(row.stratum).to_string(),
        consumer: Digest::of(b"consumer"),
    };
    let digest = release().digest;
    let gate = GateAttestation {
        release: digest,
        passed: true,
        consumers: vec![identity.consumer],
        checks: vec![],
        waived: None,
        signers: 2,
    };
    let frontier = Frontier {
        rollout: 1,
        release: digest,
        sequence: rollout.frontier_sequence,
        halted: matches!(rollout.status, Status::Halted { .. }),
        completed: false,
        issued_ms: now_ms,
        expires_ms: now_ms + 1_000,
        reach: rollout.reach(fleet),
    };
    let permit = Permit {
        rollout: 1,
        release: digest,
        device: row.id,
        arm,
        frontier_sequence: rollout.frontier_sequence,
        nonce: "aa".into(),
        issued_ms: now_ms,
        expires_ms: now_ms + 1_000,
    };
    let readiness = Readiness {
        has_last_known_good: true,
        trial_running: false,
        preflight: vec![],
        nonce: Some("aa".into()),
        os_images: false,
    };
    check(&Case {
        identity: &identity,
        memory: &Memory::default(),
        release: &Presented::Verified(release()),
        gate: &Presented::Verified(gate),
        authorisation: &Presented::Verified(rollout.authorisation.clone()),
        frontier: &Presented::Verified(frontier),
        policy: &Presented::Verified(fleet.tenant_of(device).policy.clone()),
        readiness: &readiness,
        permit: &Presented::Verified(permit),
        age_ms: now_ms - START_MS,
        now_ms,
        by_hand: false,
    })
}

fn apply(rollout: &mut Rollout, fleet: &mut Fleet, events: &[Event], now_ms: u64) {
    for event in events {
        let text = serde_json::to_string(event).unwrap();
        let event = serde_json::from_str(&text).unwrap();
        rollout.apply(fleet, &event, now_ms);
    }
}

fn agree(unit: Unit) {
    let mut fleet = fleet();
    let mut rollout =
        Rollout::new(&fleet, release(), authorisation(unit), Profile::named(ProfileName::Demo), START_MS).unwrap();
    let (mut changed, mut refused) = (0, 0);
    for second in 1..400 {
        let now_ms = START_MS + second * 1_000;
        for device in 0..60 {
            fleet.heard(device, now_ms);
            let (events, answer) = rollout.report(&fleet, device, &Report::Ready, now_ms);
            apply(&mut rollout, &mut fleet, &events, now_ms);
            match answer {
                Some(Answer::Permit { arm: Arm::Treated, event: Some(_) }) => {
                    assert_eq!(device_says(&fleet, &rollout, device, Arm::Treated, now_ms), [], "{unit:?} {device}");
                    changed += 1;
                    for report in [Report::OnTrial, Report::Committed] {
                        let (events, _) = rollout.report(&fleet, device, &report, now_ms);
                        apply(&mut rollout, &mut fleet, &events, now_ms);
                    }
                }
                Some(Answer::Permit { arm: Arm::Control, .. }) => {
                    let says = device_says(&fleet, &rollout, device, Arm::Control, now_ms);
                    assert!(says.contains(&Refusal::ControlArm), "{says:?}");
                    refused += 1;
                }
                _ => {}
            }
        }
        loop {
            let plan = rollout.plan(&fleet, now_ms);
            if plan.actions.is_empty() {
                break;
            }
            apply(&mut rollout, &mut fleet, &plan.actions, now_ms);
        }
    }
    assert!(matches!(rollout.status, Status::Completed { .. }), "{unit:?}: {}", rollout.waiting_on(&fleet, START_MS));
    assert_eq!((changed, rollout.counts.confirmed), (60, 60), "{unit:?}");
    assert!(refused > 0);
}

#[test]
fn a_device_accepts_what_the_server_permits() {
    agree(Unit::Device);
}

#[test]
fn so_does_a_site_of_many_strata() {
    agree(Unit::Site);
}

/// Even a permit with a stolen key moves nobody that the frontier does not name.
#[test]
fn a_treated_permit_alone_is_not_enough() {
    let mut fleet = fleet();
    let mut rollout =
        Rollout::new(&fleet, release(), authorisation(Unit::Device), Profile::named(ProfileName::Demo), START_MS)
            .unwrap();
    let now_ms = START_MS + 1_000;
    (0..60).for_each(|device| fleet.heard(device, now_ms));
    let actions = rollout.plan(&fleet, now_ms).actions;
    apply(&mut rollout, &mut fleet, &actions, now_ms);
    let willing = (0..60).filter(|d| device_says(&fleet, &rollout, *d, Arm::Treated, now_ms).is_empty()).count();
    assert_eq!(willing, 1, "the one of the first wave");
}
