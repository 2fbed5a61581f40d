use super::*;
use crate::{
    dsse::SigningKey,
    keyring::RoleKeys,
    predicate::{Action, Header, sign},
};
use staffel_core::{
    conditions::{Reach, Unit},
    evidence::Arm,
    ids::{Position, Share},
    profile::CeilingStep,
    release::{Kind, StateCompatibility},
};

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn role(keys: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold }
}

const NONCE: &str = "0badcafe";
const START: u64 = 1_000_000_000;

fn verifier() -> Verifier {
    let keyring = Keyring {
        version: 1,
        root: role(&[1, 2, 3], 2),
        release: role(&[10], 1),
        gate: role(&[11, 12], 2),
        releasers: role(&[13, 14], 2),
        online: role(&[15], 1),
        operators: role(&[16, 17], 1),
        witnesses: Vec::new(),
    };
    let pinned = Pinned { tenant: "clinic".into(), tenant_keys: vec![key(20).public()] };
    Verifier::new(keyring, pinned, Memory::default())
}

fn identity() -> Identity {
    Identity {
        device: DeviceId([7; 16]),
        name: "ward-1".into(),
        tenant: "clinic".into(),
        site: "main".into(),
        ring: 0,
        stratum: "debian-12".into(),
        consumer: Digest::of(b"guard"),
    }
}

fn readiness() -> Readiness {
    Readiness {
        has_last_known_good: true,
        trial_running: false,
        preflight: Vec::new(),
        nonce: Some(NONCE.into()),
        os_images: false,
    }
}

fn headed<T>(body: T, issued_ms: u64) -> Headed<T> {
    Headed { header: Header { issued_ms, expires_ms: issued_ms + 60_000, ..Header::default() }, body }
}

fn lasting<T>(body: T) -> Headed<T> {
    Headed { header: Header { issued_ms: START, expires_ms: u64::MAX, ..Header::default() }, body }
}

fn release() -> Release {
    Release {
        name: "till".into(),
        version: "2".into(),
        sequence: 2,
        kind: Kind::Component,
        security_floor: 0,
        state: StateCompatibility::None,
        files: Vec::new(),
        service: None,
        probes: Vec::new(),
        supplier: String::new(),
    }
}

fn release_digest() -> Digest {
    sign(&release(), &[]).digest().unwrap()
}

fn authorisation(ceiling: Share) -> Authorisation {
    Authorisation {
        rollout: 1,
        release: release_digest(),
        log_root: Digest::of(b"root"),
        unit: Unit::Device,
        profile: staffel_core::profile::ProfileName::Standard,
        start_ms: START,
        not_after_ms: START + 86_400_000,
        ceiling: vec![CeilingStep { age_ms: 0, share: ceiling }, CeilingStep { age_ms: 3_600_000, share: Share::ALL }],
        exposure_budget: None,
        supersedes: None,
        signers: 0,
    }
}

fn frontier(sequence: u64, now_ms: u64) -> Frontier {
    Frontier {
        rollout: 1,
        release: release_digest(),
        sequence,
        halted: false,
        completed: false,
        issued_ms: now_ms,
        expires_ms: now_ms + 60_000,
        reach: vec![Reach {
            ring: 0,
            stratum: "debian-12".into(),
            eligible_to: Some(Position::END),
            candidate_to: Some(Position::END),
        }],
    }
}

fn bundle(ceiling: Share, now_ms: u64) -> Bundle {
    let permit = Permit {
        rollout: 1,
        release: release_digest(),
        device: DeviceId([7; 16]),
        arm: Arm::Treated,
        frontier_sequence: 3,
        nonce: NONCE.into(),
        issued_ms: now_ms,
        expires_ms: now_ms + 60_000,
    };
    let gate = Gate {
        result: "PASSED".into(),
        configuration: Vec::new(),
        passed_tests: vec!["start".into()],
        failed_tests: Vec::new(),
        header: Header { expires_ms: u64::MAX, ..Header::default() },
        attestation: GateAttestation {
            release: release_digest(),
            passed: true,
            consumers: vec![Digest::of(b"guard")],
            checks: vec!["start".into()],
            waived: None,
            signers: 0,
        },
    };
    let policy = TenantPolicy { tenant: "clinic".into(), sequence: 4, policy: CustomerPolicy::default() };
    Bundle {
        release: Some(sign(&release(), &[&key(10)])),
        gate: Some(sign(&gate, &[&key(11), &key(12)])),
        authorisation: Some(sign(&headed(authorisation(ceiling), START), &[&key(13), &key(14)])),
        frontier: Some(sign(&headed(frontier(3, now_ms), now_ms), &[&key(15)])),
        policy: Some(sign(&lasting(policy), &[&key(20)])),
        permit: Some(sign(&headed(permit, now_ms), &[&key(15)])),
        checkpoint: None,
    }
}

fn refusals(verifier: &mut Verifier, bundle: &Bundle) -> Vec<Refusal> {
    verifier.look_at(bundle, 0).refusals(&identity(), &verifier.memory.clone(), &readiness(), false)
}

#[test]
fn a_bundle_that_holds_is_let_through_whatever_the_local_clock_says() {
    for local_ms in [0, START, u64::MAX] {
        let mut verifier = verifier();
        let verified = verifier.look_at(&bundle(Share::ALL, START + 1), local_ms);
        assert_eq!(verified.refusals(&identity(), &verifier.memory, &readiness(), false), vec![]);
    }
}

#[test]
fn time_set_a_week_ahead_by_a_stolen_online_key_ages_nothing() {
    let mut verifier = verifier();
    let ahead = bundle(Share(1), START + 7 * 86_400_000);
    let refused = refusals(&mut verifier, &ahead);
    assert!(refused.iter().any(|r| matches!(r, Refusal::AboveCeiling { age_ms: 0, .. })), "{refused:?}");
    verifier.tick(3_600_000);
    let mut later = bundle(Share(1), START + 3_600_001);
    later.frontier = Some(sign(&headed(frontier(4, START + 3_600_001), START + 3_600_001), &[&key(15)]));
    assert_eq!(refusals(&mut verifier, &later), vec![], "an hour of the device's own time is an age");
}

#[test]
fn a_stolen_online_key_cannot_take_the_time_back_to_revive_an_old_authorisation() {
    let mut verifier = verifier();
    assert_eq!(refusals(&mut verifier, &bundle(Share::ALL, START + 1)), vec![]);
    // A day and a bit of the device's own time: the authorisation (one day) is over, whatever the server says.
    verifier.tick(90_000_000);
    let mut back = bundle(Share::ALL, START + 2);
    back.frontier = Some(sign(&headed(frontier(4, START + 2), START + 2), &[&key(15)]));
    let refused = refusals(&mut verifier, &back);
    assert!(refused.iter().any(|r| matches!(r, Refusal::AuthorisationExpired { .. })), "{refused:?}");
}

#[test]
fn a_replayed_frontier_and_a_forked_one_are_refused() {
    let mut verifier = verifier();
    assert_eq!(refusals(&mut verifier, &bundle(Share::ALL, START + 1)), vec![]);
    let mut old = bundle(Share::ALL, START + 2);
    old.frontier = Some(sign(&headed(frontier(2, START + 2), START + 2), &[&key(15)]));
    let refused = refusals(&mut verifier, &old);
    assert!(refused.contains(&Refusal::FrontierReplayed { sequence: 2, seen: 3 }), "{refused:?}");
    let mut fork = bundle(Share::ALL, START + 3);
    fork.frontier =
        Some(sign(&headed(Frontier { expires_ms: START + 9, ..frontier(3, START + 3) }, START + 3), &[&key(15)]));
    let refused = refusals(&mut verifier, &fork);
    assert!(refused.contains(&Refusal::FrontierForked { sequence: 3 }), "{refused:?}");
    let refused = refusals(&mut verifier, &bundle(Share::ALL, START + 1));
    assert!(refused.contains(&Refusal::FrontierForked { sequence: 3 }), "a fork stays held: {refused:?}");
}

#[test]
fn each_missing_or_foreign_statement_has_its_own_refusal() {
    let holds = bundle(Share::ALL, START + 1);
    let stranger = |envelope: &Option<Envelope>| {
        let payload = envelope.as_ref().unwrap().payload().unwrap();
        Some(Envelope::sign(&payload, &[&key(99)]))
    };
    let cases: Vec<(u8, Bundle)> = vec![
        (1, Bundle { release: None, ..holds.clone() }),
        (1, Bundle { release: stranger(&holds.release), ..holds.clone() }),
        (2, Bundle { gate: None, ..holds.clone() }),
        (2, Bundle { gate: stranger(&holds.gate), ..holds.clone() }),
        (3, Bundle { authorisation: None, ..holds.clone() }),
        (3, Bundle { authorisation: stranger(&holds.authorisation), ..holds.clone() }),
        (4, Bundle { frontier: None, ..holds.clone() }),
        (4, Bundle { frontier: stranger(&holds.frontier), ..holds.clone() }),
        (5, Bundle { policy: None, ..holds.clone() }),
        (5, Bundle { policy: stranger(&holds.policy), ..holds.clone() }),
        (7, Bundle { permit: None, ..holds.clone() }),
        (7, Bundle { permit: stranger(&holds.permit), ..holds.clone() }),
    ];
    for (condition, bundle) in cases {
        let refused = refusals(&mut verifier(), &bundle);
        assert_eq!(refused.first().map(Refusal::condition), Some(condition), "{refused:?}");
    }
    let mut one_releaser = holds;
    one_releaser.authorisation = Some(sign(&headed(authorisation(Share::ALL), START), &[&key(13), &key(13)]));
    let refused = refusals(&mut verifier(), &one_releaser);
    assert!(refused.contains(&Refusal::AuthorisationTooFewSigners { have: 1 }), "{refused:?}");
}

#[test]
fn a_halt_outlives_everything_but_two_releasers() {
    let mut verifier = verifier();
    let halt = headed(Halt { release: release_digest(), rollout: Some(1), why: "dark".into() }, START);
    assert!(verifier.accept_halt(&sign(&halt, &[&key(99)])).is_err());
    let envelope = sign(&halt, &[&key(16)]);
    verifier.accept_halt(&envelope).unwrap();
    let refused = refusals(&mut verifier, &bundle(Share::ALL, START + 1));
    assert!(matches!(refused[0], Refusal::ReleaseDenied { .. }));
    let unhalt = headed(
        Unhalt { release: release_digest(), why: "mistake".into(), halt: envelope.digest().unwrap() },
        START + 5,
    );
    assert!(verifier.accept_unhalt(&sign(&unhalt, &[&key(13)])).is_err());
    verifier.accept_unhalt(&sign(&unhalt, &[&key(13), &key(14)])).unwrap();
    assert_eq!(refusals(&mut verifier, &bundle(Share::ALL, START + 1)), vec![]);
}

#[test]
fn a_remedy_is_for_one_device_once_and_foreign_things_take_two_people() {
    let mut verifier = verifier();
    let me = DeviceId([7; 16]);
    let remedy = |sequence, action| headed(Remedy { device: me, case: "c1".into(), sequence, action }, START);
    let leave = sign(&remedy(1, Action::LeaveSafe), &[&key(16)]);
    assert_eq!(
        verifier.accept_remedy(&leave, DeviceId([8; 16]), START),
        Err(ActError::OtherDevice { what: "the remedy" })
    );
    verifier.accept_remedy(&leave, me, START).unwrap();
    assert_eq!(verifier.accept_remedy(&leave, me, START), Err(ActError::Repeated { sequence: 1, last: 1 }));
    let file = Action::QuarantineFile { pattern: "/x".into(), sha256: Digest::of(b"x") };
    assert!(verifier.accept_remedy(&sign(&remedy(2, file.clone()), &[&key(16)]), me, START).is_err());
    verifier.accept_remedy(&sign(&remedy(2, file), &[&key(16), &key(17)]), me, START).unwrap();
}

#[test]
fn a_remedy_ends_by_the_time_that_has_certainly_passed() {
    let me = DeviceId([7; 16]);
    let body = Remedy { device: me, case: "c1".into(), sequence: 1, action: Action::LeaveSafe };
    let remedy = sign(&headed(body, START), &[&key(16)]);
    let over = Err(ActError::Expired { what: "the remedy" });
    assert_eq!(verifier().accept_remedy(&remedy, me, START + 99_000), over, "no statement has told the time");
    let mut told = verifier();
    assert_eq!(refusals(&mut told, &bundle(Share::ALL, START + 1)), vec![]);
    for clock in [0, u64::MAX] {
        assert!(told.clone().accept_remedy(&remedy, me, clock).is_ok(), "the clock stands at {clock}");
    }
    told.tick(99_000);
    assert_eq!(told.accept_remedy(&remedy, me, 0), over, "the device saw the time pass");
}

#[test]
fn thresholds_of_the_keyring_beyond_the_built_in_ones_count() {
    let strict = || {
        let mut strict = verifier();
        strict.keyring.releasers = role(&[13, 14, 30], 3);
        strict.keyring.gate = role(&[11, 12, 31], 3);
        strict.keyring.operators = role(&[16, 17], 2);
        strict
    };
    let mut holds = bundle(Share::ALL, START + 1);
    let refused = refusals(&mut strict(), &holds);
    assert!(refused.iter().any(|r| matches!(r, Refusal::GateRejected { .. })), "{refused:?}");
    assert!(refused.iter().any(|r| matches!(r, Refusal::AuthorisationRejected { .. })), "{refused:?}");
    let release = strict().look_at(&holds, 0).contents.map(|contents| contents.kind);
    assert_eq!(release, Some(Kind::Component));
    for (envelope, third) in [(&mut holds.authorisation, 30), (&mut holds.gate, 31)] {
        envelope.as_mut().unwrap().add_signature(&key(third)).unwrap();
    }
    assert_eq!(refusals(&mut strict(), &holds), vec![]);
    let me = DeviceId([7; 16]);
    let body = Remedy { device: me, case: "c1".into(), sequence: 1, action: Action::LeaveSafe };
    assert!(strict().accept_remedy(&sign(&headed(body.clone(), START), &[&key(16)]), me, START).is_err());
    assert!(strict().accept_remedy(&sign(&headed(body, START), &[&key(16), &key(17)]), me, START).is_ok());
}

#[test]
fn a_policy_and_an_attestation_that_are_over_count_no_more() {
    let holds = bundle(Share::ALL, START + 10);
    let policy = TenantPolicy { tenant: "clinic".into(), sequence: 4, policy: CustomerPolicy::default() };
    let mut ends = headed(policy, START);
    ends.header.expires_ms = START + 9;
    let over = Bundle { policy: Some(sign(&ends, &[&key(20)])), ..holds.clone() };
    let refused = refusals(&mut verifier(), &over);
    assert!(matches!(&refused[..], [Refusal::PolicyRejected { why }] if why.contains("ended")), "{refused:?}");
    let payload = holds.gate.as_ref().unwrap().payload().unwrap();
    let mut gate: Gate = read(&payload).unwrap();
    gate.header.expires_ms = START + 9;
    let over = Bundle { gate: Some(sign(&gate, &[&key(11), &key(12)])), ..holds };
    let refused = refusals(&mut verifier(), &over);
    assert!(matches!(&refused[..], [Refusal::GateRejected { why }] if why.contains("ended")), "{refused:?}");
}

#[test]
fn an_un_halt_takes_back_the_halt_that_it_names_and_no_later_one() {
    let mut verifier = verifier();
    let halt = |why: &str| headed(Halt { release: release_digest(), rollout: None, why: why.into() }, START);
    let (first, second) = (sign(&halt("first"), &[&key(16)]), sign(&halt("second"), &[&key(17)]));
    let unhalt = |halt: &Envelope| {
        let body = Unhalt { release: release_digest(), why: "mistake".into(), halt: halt.digest().unwrap() };
        sign(&headed(body, START + 5), &[&key(13), &key(14)])
    };
    verifier.accept_halt(&first).unwrap();
    verifier.accept_halt(&second).unwrap();
    assert!(!verifier.accept_unhalt(&unhalt(&first)).unwrap().1, "the second halt stands");
    assert_eq!(verifier.accept_unhalt(&unhalt(&first)), Err(ActError::NoSuchHalt), "a replay takes nothing back");
    assert!(verifier.memory.denied.contains_key(&release_digest()));
    assert!(verifier.accept_unhalt(&unhalt(&second)).unwrap().1);
    assert!(verifier.memory.denied.is_empty() && verifier.memory.halts.is_empty());
}

#[test]
fn a_waiver_is_the_releasers_word_and_the_gates_keys_cannot_give_it() {
    let mut holds = bundle(Share::ALL, START + 1);
    let mut few = authorisation(Share::ALL);
    few.exposure_budget = Some(2);
    holds.authorisation = Some(sign(&headed(few, START), &[&key(13), &key(14)]));
    let mut gate: Gate = read(&holds.gate.as_ref().unwrap().payload().unwrap()).unwrap();
    gate.result = "WAIVED".into();
    gate.attestation.waived = Some("an attack is under way".into());
    gate.attestation.passed = false;
    let signed = |keys: &[u8]| {
        let keys: Vec<_> = keys.iter().map(|&n| key(n)).collect();
        Bundle { gate: Some(sign(&gate, &keys.iter().collect::<Vec<_>>())), ..holds.clone() }
    };
    assert_eq!(refusals(&mut verifier(), &signed(&[13, 14])), vec![]);
    assert_eq!(refusals(&mut verifier(), &signed(&[13])), vec![Refusal::WaiverTooFewSigners { have: 1 }]);
    for others in [&[11, 12][..], &[15, 16]] {
        let refused = refusals(&mut verifier(), &signed(others));
        assert!(matches!(&refused[..], [Refusal::GateRejected { .. }]), "{refused:?}");
    }
}
