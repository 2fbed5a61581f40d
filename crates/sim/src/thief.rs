//! Somebody has the server's online key: the frontier says 100 %, everybody who asks gets a permit, and no evidence is looked
//! at. What is left is the device's own check of the seven conditions, `core`'s. Must stay out: a copy of any of them.
//!
//! The thief has no other key: releasers had authorised this release, and the gate had let it pass. Operators notice, and two of
//! them sign a halt; devices take it from any file.

use crate::{
    begin::{Start, begin},
    model::Model,
    outcome::{Curve, Outcome, Point},
    scenario::{Scenario, Staffel, Thief},
    way_back::starts_until_back,
};
use staffel_core::{
    conditions::{Case, Frontier, GateAttestation, Identity, Memory, Permit, Presented, Reach, Readiness, Unit, check},
    evidence::Arm,
    fleet::Fleet,
    ids::{Digest, Position},
    policy::{CustomerPolicy, EVERYBODY},
    rollout::Rollout,
};
use std::collections::BTreeMap;

const NONCE: &str = "00";

/// Plays it to its end.
pub(crate) fn run(scenario: &Scenario, name: &str, thief: &Thief, model: &Model, fleet: &Fleet, seed: u64) -> Outcome {
    let ours = Staffel { profile: thief.profile, unit: Unit::Device, ceiling: true, ..Staffel::default() };
    let start = Start { number: 1, faulty: true, kind: scenario.kind, supersedes: None, at_s: 0 };
    let mut point = Point::default();
    let mut curve = Curve::default();
    let rollout = match begin(scenario, &ours, fleet, seed, &start, None) {
        Ok(rollout) => rollout,
        // A scenario's fleet always makes a rollout: its numbers are bounded where it is read.
        Err(problem) => return outcome(name, point, None, problem.to_string(), curve),
    };
    let mut waiting: Vec<(Position, u32)> = (0..fleet.devices.len() as u32)
        .map(|device| {
            let key = fleet.device(device).id.0;
            (Position::of(&rollout.authorisation.log_root, &rollout.authorisation.release, &key), device)
        })
        .collect();
    waiting.sort_unstable();
    let mut waiting = waiting.into_iter().peekable();
    let guard = starts_until_back().filter(|_| scenario.fleet.guard);
    let mut back: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut at_s, mut halted) = (0, None);
    while at_s <= scenario.horizon_s {
        point.at_s = at_s;
        while let Some(entry) = back.first_entry()
            && *entry.key() <= at_s
        {
            point.recovered += entry.remove();
        }
        if at_s >= thief.halted_after_s && halted.is_none() {
            halted = Some(at_s);
        }
        // The ceiling is a position: once one device refuses, all after it do.
        while let Some((position, device)) = waiting.peek().copied()
            && refusals(fleet, device, &rollout, position, at_s, scenario, halted.is_some()) == 0
        {
            waiting.next();
            point.exposed += 1;
            let Some(fault) = &scenario.fault else { continue };
            if !model.is_hit(fleet, fault, device, 1) {
                continue;
            }
            point.bricked += 1;
            let after_s = match guard.filter(|_| fault.guard_helps) {
                Some(starts) => (0..u64::from(starts)).map(|number| model.boot_s(device, number)).sum(),
                None => model.by_hand_s(device),
            };
            *back.entry(at_s.saturating_add(after_s)).or_insert(0) += 1;
        }
        curve.add(point);
        if (halted.is_some() || waiting.peek().is_none()) && back.is_empty() {
            break;
        }
        at_s += thief.poll_s;
    }
    let why = match halted {
        Some(_) if waiting.peek().is_some() => "the devices' own ceiling held it, until operators' halt reached them",
        _ => "the ceiling had let everybody go before operators' halt",
    };
    outcome(name, point, halted, why.into(), curve)
}

/// How many of the seven conditions a device finds not to hold, the thief's statements in hand.
fn refusals(
    fleet: &Fleet,
    device: u32,
    rollout: &Rollout,
    position: Position,
    at_s: u32,
    scenario: &Scenario,
    halted: bool,
) -> usize {
    let (authorisation, release) = (&rollout.authorisation, &rollout.release);
    let now_ms = (scenario.fleet.start_s + u64::from(at_s)) * 1_000;
    let row = fleet.device(device);
    let site = &fleet.sites[row.site as usize];
    let identity = Identity {
        device: row.id,
        name: row.name.to_string(),
        tenant: fleet.tenants[site.tenant as usize].name.clone(),
        site: site.name.clone(),
        ring: EVERYBODY,
        stratum: fleet.strata.name(row.stratum).to_string(),
        consumer: Digest::default(),
    };
    let mut memory = Memory::default();
    if halted {
        memory.denied.insert(release.digest, "two operators halted it".into());
    }
    let reach = Reach {
        ring: EVERYBODY,
        stratum: identity.stratum.clone(),
        eligible_to: Some(Position::END),
        candidate_to: Some(Position::END),
    };
    let frontier = Frontier {
        rollout: authorisation.rollout,
        release: release.digest,
        sequence: 1,
        halted: false,
        completed: true,
        issued_ms: now_ms,
        expires_ms: now_ms + 60_000,
        reach: vec![reach],
    };
    let permit = Permit {
        rollout: authorisation.rollout,
        release: release.digest,
        device: row.id,
        arm: Arm::Treated,
        frontier_sequence: 1,
        nonce: NONCE.into(),
        issued_ms: now_ms,
        expires_ms: now_ms + 60_000,
    };
    let gate = GateAttestation {
        release: release.digest,
        passed: true,
        consumers: vec![Digest::default()],
        checks: Vec::new(),
        waived: None,
        signers: 2,
    };
    let readiness = Readiness {
        has_last_known_good: true,
        trial_running: false,
        preflight: Vec::new(),
        nonce: Some(NONCE.into()),
        os_images: true,
    };
    debug_assert_eq!(position, staffel_core::conditions::position(&identity, authorisation));
    let case = Case {
        identity: &identity,
        memory: &memory,
        release: &Presented::Verified(release.clone()),
        gate: &Presented::Verified(gate),
        authorisation: &Presented::Verified(authorisation.clone()),
        frontier: &Presented::Verified(frontier),
        policy: &Presented::Verified(CustomerPolicy::default()),
        readiness: &readiness,
        permit: &Presented::Verified(permit),
        // What the thief can't forge: the time that the device itself has seen pass.
        age_ms: u64::from(at_s) * 1_000,
        now_ms,
        by_hand: false,
    };
    check(&case).len()
}

fn outcome(name: &str, point: Point, halted: Option<u32>, verdict: String, curve: Curve) -> Outcome {
    Outcome {
        name: name.into(),
        exposed: point.exposed,
        bricked: point.bricked,
        recovered: point.recovered,
        halted_after_s: halted,
        completed_after_s: None,
        verdict,
        needs_a_person: false,
        holds: 0,
        waves: 0,
        busiest: 0,
        curve: curve.finish(),
    }
}
