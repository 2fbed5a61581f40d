//! The seven conditions under which a device changes (design.md, "the device enforces the ramp").
//!
//! Agent and guard both call [`check`], each with what it verified itself. Signatures are checked before
//! (`statement`), so a statement arrives here as missing, rejected with a reason, or verified. What must stay out:
//! keys, sockets, the wall clock: `now_ms` is what the caller has reason to trust.

use crate::{
    evidence::Arm,
    ids::{DeviceId, Digest, Position, Share},
    policy::{CustomerPolicy, PolicyRefusal, Question},
    profile::{CeilingStep, ProfileName, age_for, ceiling_at},
    release::Release,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// An authorisation lives at most this long (trust.md): 14 days in milliseconds.
pub const AUTHORISATION_LIFETIME_MS: u64 = 14 * 24 * 3_600_000;
/// A permit lives at most this long (trust.md): 120 s in milliseconds.
pub const PERMIT_LIFETIME_MS: u64 = 120_000;
/// Releasers who must have signed an authorisation.
pub const RELEASERS: u32 = 2;
/// Most units that may be exposed at a time to a release whose gate was waived (trust.md).
pub const WAIVED_BUDGET: u32 = 100;

/// A statement after its signatures were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented<T> {
    Missing,
    /// It was there and did not hold; the text says why.
    Rejected(String),
    Verified(T),
}

/// Who this device is, from its own knowledge and never from the server's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub device: DeviceId,
    /// Its name in the customer's policy.
    pub name: String,
    pub tenant: String,
    pub site: String,
    /// From the customer's signed policy.
    pub ring: u8,
    pub stratum: String,
    /// The program that will consume the release on this device: SHA-256 of its executable.
    pub consumer: Digest,
}

/// What decides the position of a device: itself, or its whole site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Device,
    Site,
}

impl Identity {
    /// The bytes that stand for this device's unit in the order.
    pub fn unit_key(&self, unit: Unit) -> Vec<u8> {
        match unit {
            Unit::Device => self.device.0.to_vec(),
            Unit::Site => format!("{}/{}", self.tenant, self.site).into_bytes(),
        }
    }
}

/// The gate's word on a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateAttestation {
    pub release: Digest,
    pub passed: bool,
    /// Consumers that were run.
    pub consumers: Vec<Digest>,
    /// Names of the checks that passed.
    pub checks: Vec<String>,
    /// Why two releasers let the release pass without the gate. Then nothing above counts, and they have signed it
    /// instead of the gate's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<String>,
    /// Different keys that signed; counted by the verifier, never read from the wire.
    #[serde(skip)]
    pub signers: u32,
}

/// Two releasers' word that a release may go out, and how fast at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorisation {
    pub rollout: u64,
    pub release: Digest,
    /// Root of the log when it was signed: fixes every position.
    pub log_root: Digest,
    pub unit: Unit,
    pub profile: ProfileName,
    pub start_ms: u64,
    pub not_after_ms: u64,
    pub ceiling: Vec<CeilingStep>,
    /// At most this many units exposed.
    pub exposure_budget: Option<u32>,
    /// The rollout that this one replaces.
    pub supersedes: Option<u64>,
    /// Different releasers that signed; counted by the verifier, never read from the wire.
    #[serde(skip)]
    pub signers: u32,
}

impl Authorisation {
    /// Passes defer, window and N-1 of the customer's policy.
    pub fn is_urgent(&self) -> bool {
        self.profile == ProfileName::Urgent
    }
}

/// How far a rollout has come in one ring and stratum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    pub ring: u8,
    pub stratum: String,
    /// Positions up to and including this one may change.
    pub eligible_to: Option<Position>,
    /// Positions up to and including this one may prepare and poll at the wave's cadence.
    pub candidate_to: Option<Position>,
}

/// How far a rollout has come: short-lived, the same for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    pub rollout: u64,
    pub release: Digest,
    pub sequence: u64,
    pub halted: bool,
    /// Every device that may take the release has it: others may now count on it (N-1, devices that join late).
    #[serde(default)]
    pub completed: bool,
    pub issued_ms: u64,
    pub expires_ms: u64,
    pub reach: Vec<Reach>,
}

impl Frontier {
    /// The reach for a ring and stratum; none for those that did not exist at the start.
    pub fn reach(&self, ring: u8, stratum: &str) -> Option<&Reach> {
        self.reach.iter().find(|r| r.ring == ring && r.stratum == stratum)
    }
}

/// This device, now, in this arm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    pub rollout: u64,
    pub release: Digest,
    pub device: DeviceId,
    pub arm: Arm,
    pub frontier_sequence: u64,
    /// The device's own nonce, hex.
    pub nonce: String,
    pub issued_ms: u64,
    pub expires_ms: u64,
}

/// What the device remembers across restarts; nothing the server says can lower it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Releases that must not run, with the reason given.
    #[serde(default)]
    pub denied: BTreeMap<Digest, String>,
    /// Release to the payload digests of the halts that deny it: an un-halt takes back one of them, so an old one can't
    /// take back a later halt.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub halts: BTreeMap<Digest, BTreeSet<Digest>>,
    /// Rollout to the highest frontier seen, with the digest of its body.
    #[serde(default)]
    pub frontiers: BTreeMap<u64, (u64, Digest)>,
    /// Rollouts for which two different frontiers with one sequence were seen: held for good.
    #[serde(default)]
    pub forked: BTreeMap<u64, u64>,
    /// Rollout to milliseconds on the device's own running clocks since the authorisation was first verified here.
    #[serde(default)]
    pub ages: BTreeMap<u64, u64>,
    /// Highest sequence of the customer's policy.
    #[serde(default)]
    pub policy_sequence: u64,
    /// Release name to the highest security floor seen.
    #[serde(default)]
    pub floors: BTreeMap<String, u64>,
    /// Release name to the highest sequence whose rollout was completed.
    #[serde(default)]
    pub completed: BTreeMap<String, u64>,
    /// A time that has certainly passed, Unix milliseconds: when the latest statement with offline signatures was made,
    /// and on from there by the device's own running clock. A stolen online key can't take the time back below it, and
    /// can't push it ahead either.
    #[serde(default)]
    pub time_floor_ms: u64,
    /// Highest sequence of a remedy carried out here.
    #[serde(default)]
    pub remedy_sequence: u64,
}

/// What the guard says about its own readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    pub has_last_known_good: bool,
    pub trial_running: bool,
    /// What the preflight found; empty means passed.
    pub preflight: Vec<String>,
    /// The nonce that the guard gave out for this change, hex, if it still holds.
    pub nonce: Option<String>,
    /// The guard puts operating systems on trial: the machine has a loader that it can speak to.
    #[serde(default)]
    pub os_images: bool,
}

/// All that [`check`] looks at.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    pub identity: &'a Identity,
    pub memory: &'a Memory,
    pub release: &'a Presented<Release>,
    pub gate: &'a Presented<GateAttestation>,
    pub authorisation: &'a Presented<Authorisation>,
    pub frontier: &'a Presented<Frontier>,
    pub policy: &'a Presented<CustomerPolicy>,
    pub readiness: &'a Readiness,
    pub permit: &'a Presented<Permit>,
    /// Proven age of the authorisation, milliseconds: see [`proven_age`].
    pub age_ms: u64,
    /// Unix milliseconds.
    pub now_ms: u64,
    pub by_hand: bool,
}

/// Age = min(server's time, witness's time) - start; without a witness, what the device itself has seen pass since it
/// first verified the authorisation. So a stolen online key, which can sign any time, can't age a release.
pub fn proven_age(start_ms: u64, server_ms: u64, witness_ms: Option<u64>, own_age_ms: u64) -> u64 {
    let claimed = server_ms.saturating_sub(start_ms);
    match witness_ms {
        Some(witness) => claimed.min(witness.saturating_sub(start_ms)),
        None => claimed.min(own_age_ms),
    }
}

/// Why a device does not change. Each belongs to one of the seven conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum Refusal {
    ReleaseMissing,
    ReleaseRejected { why: String },
    ReleaseDenied { why: String },
    BelowSecurityFloor { floor: u64 },
    KindNotHandled { kind: crate::release::Kind },
    GateMissing,
    GateRejected { why: String },
    GateForOtherRelease,
    GateFailed,
    GateTooFewSigners { have: u32, need: u32 },
    GateWithoutThisConsumer { consumer: Digest },
    GateWithoutCheck { check: String },
    WaiverTooFewSigners { have: u32 },
    WaiverForGuard,
    WaiverUncapped { budget: Option<u32> },
    AuthorisationMissing,
    AuthorisationRejected { why: String },
    AuthorisationForOtherRelease,
    AuthorisationTooFewSigners { have: u32 },
    AuthorisationTooLong { lifetime_ms: u64 },
    AuthorisationExpired { not_after_ms: u64 },
    AuthorisationNotStarted { start_ms: u64 },
    AboveCeiling { position: Position, ceiling: Share, age_ms: u64, reached_at_age_ms: Option<u64> },
    FrontierMissing,
    FrontierRejected { why: String },
    FrontierForOther,
    FrontierReplayed { sequence: u64, seen: u64 },
    FrontierForked { sequence: u64 },
    FrontierExpired { expires_ms: u64 },
    Halted,
    RingOrStratumUnknown { ring: u8, stratum: String },
    FrontierNotReached { position: Position, eligible_to: Option<Position> },
    PolicyMissing,
    PolicyRejected { why: String },
    Policy(PolicyRefusal),
    NoLastKnownGood,
    TrialRunning,
    PreflightFailed { why: Vec<String> },
    PermitMissing,
    PermitRejected { why: String },
    PermitForOther { what: String },
    PermitReplayed,
    PermitExpired,
    PermitTooLong,
    ControlArm,
}

impl Refusal {
    /// Which of the seven conditions of design.md does not hold.
    pub fn condition(&self) -> u8 {
        use Refusal::*;
        match self {
            ReleaseMissing
            | ReleaseRejected { .. }
            | ReleaseDenied { .. }
            | BelowSecurityFloor { .. }
            | KindNotHandled { .. } => 1,
            GateMissing
            | GateRejected { .. }
            | GateForOtherRelease
            | GateFailed
            | GateTooFewSigners { .. }
            | GateWithoutThisConsumer { .. }
            | GateWithoutCheck { .. }
            | WaiverTooFewSigners { .. }
            | WaiverForGuard
            | WaiverUncapped { .. } => 2,
            AuthorisationMissing
            | AuthorisationRejected { .. }
            | AuthorisationForOtherRelease
            | AuthorisationTooFewSigners { .. }
            | AuthorisationTooLong { .. }
            | AuthorisationExpired { .. }
            | AuthorisationNotStarted { .. }
            | AboveCeiling { .. } => 3,
            FrontierMissing
            | FrontierRejected { .. }
            | FrontierForOther
            | FrontierReplayed { .. }
            | FrontierForked { .. }
            | FrontierExpired { .. }
            | Halted
            | RingOrStratumUnknown { .. }
            | FrontierNotReached { .. } => 4,
            PolicyMissing | PolicyRejected { .. } | Policy(_) => 5,
            NoLastKnownGood | TrialRunning | PreflightFailed { .. } => 6,
            PermitMissing
            | PermitRejected { .. }
            | PermitForOther { .. }
            | PermitReplayed
            | PermitExpired
            | PermitTooLong
            | ControlArm => 7,
        }
    }

    /// True if this is the ordinary course of a rollout (not yet this device's turn), false if something is wrong.
    pub fn is_waiting(&self) -> bool {
        use Refusal::*;
        matches!(
            self,
            AuthorisationNotStarted { .. }
                | AboveCeiling { .. }
                | FrontierMissing
                | FrontierNotReached { .. }
                | Policy(_)
                | TrialRunning
                | PermitMissing
                | ControlArm
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Refusal::*;
        match self {
            ReleaseMissing => f.write_str("no verified release statement"),
            ReleaseRejected { why } => write!(f, "the release statement does not hold: {why}"),
            ReleaseDenied { why } => write!(f, "the release is on the denylist: {why}"),
            BelowSecurityFloor { floor } => write!(f, "the release is below the security floor {floor}"),
            KindNotHandled { kind } => write!(f, "this device has no installer for releases of kind {kind:?}"),
            GateMissing => f.write_str("no gate attestation for this release"),
            GateRejected { why } => write!(f, "the gate attestation does not hold: {why}"),
            GateForOtherRelease => f.write_str("the gate attestation is for another release"),
            GateFailed => f.write_str("the gate says that the release failed"),
            GateTooFewSigners { have, need } => write!(f, "{have} of {need} gate keys have signed"),
            GateWithoutThisConsumer { consumer } => {
                write!(f, "the gate did not run this device's consumer {}", consumer.short())
            }
            GateWithoutCheck { check } => {
                write!(f, "the customer demands the gate's check {check:?}, which this release has not passed")
            }
            WaiverTooFewSigners { have } => write!(f, "the gate is waived by {have} of {RELEASERS} releasers"),
            WaiverForGuard => f.write_str("the gate is never waived for Staffel's own parts"),
            WaiverUncapped { budget } => {
                let budget = budget.map_or("no limit".into(), |units| format!("{units} exposed at a time"));
                write!(f, "the gate is waived and the authorisation says {budget}; {WAIVED_BUDGET} is the most")
            }
            AuthorisationMissing => f.write_str("no authorisation by two releasers"),
            AuthorisationRejected { why } => write!(f, "the authorisation does not hold: {why}"),
            AuthorisationForOtherRelease => f.write_str("the authorisation is for another release"),
            AuthorisationTooFewSigners { have } => write!(f, "{have} of {RELEASERS} releasers have signed"),
            AuthorisationTooLong { lifetime_ms } => {
                write!(f, "the authorisation lives {} h, more than 14 days", lifetime_ms / 3_600_000)
            }
            AuthorisationExpired { .. } => f.write_str("the authorisation has expired"),
            AuthorisationNotStarted { start_ms } => write!(f, "the authorisation starts at {start_ms} (Unix ms)"),
            AboveCeiling { position, ceiling, age_ms, reached_at_age_ms } => {
                write!(
                    f,
                    "this device stands at {} of all, the ceiling is {ceiling} at a proven age of {} s",
                    position.share(),
                    age_ms / 1_000
                )?;
                match reached_at_age_ms {
                    Some(age) => write!(f, "; its turn is at {} s", age / 1_000),
                    None => f.write_str("; the ceiling never reaches it"),
                }
            }
            FrontierMissing => f.write_str("no frontier for this rollout yet"),
            FrontierRejected { why } => write!(f, "the frontier does not hold: {why}"),
            FrontierForOther => f.write_str("the frontier is for another rollout or release"),
            FrontierReplayed { sequence, seen } => {
                write!(f, "the frontier is an old one: sequence {sequence}, {seen} was seen before")
            }
            FrontierForked { sequence } => {
                write!(f, "two different frontiers carry the sequence {sequence}: held until a new authorisation")
            }
            FrontierExpired { .. } => f.write_str("the frontier has expired"),
            Halted => f.write_str("the rollout is halted"),
            RingOrStratumUnknown { ring, stratum } => {
                write!(f, "ring {ring}, stratum {stratum} is not part of this rollout")
            }
            FrontierNotReached { position, .. } => {
                write!(f, "the rollout has not come to this device's position {} yet", position.share())
            }
            PolicyMissing => f.write_str("no signed policy of the customer"),
            PolicyRejected { why } => write!(f, "the customer's policy does not hold: {why}"),
            Policy(refusal) => refusal.fmt(f),
            NoLastKnownGood => f.write_str("there is nothing to go back to (no last-known-good generation)"),
            TrialRunning => f.write_str("another change is on trial"),
            PreflightFailed { why } => write!(f, "the preflight failed: {}", why.join("; ")),
            PermitMissing => f.write_str("no permit for this device"),
            PermitRejected { why } => write!(f, "the permit does not hold: {why}"),
            PermitForOther { what } => write!(f, "the permit is for another {what}"),
            PermitReplayed => f.write_str("the permit does not answer this device's nonce"),
            PermitExpired => f.write_str("the permit has expired"),
            PermitTooLong => f.write_str("the permit lives longer than 120 s"),
            ControlArm => f.write_str("this device is a control in this wave: it keeps what it runs"),
        }
    }
}

/// Checks all seven conditions and returns what does not hold, in their order; empty means: change.
pub fn check(case: &Case<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut no = |refusal| refusals.push(refusal);
    let release = match case.release {
        Presented::Missing => {
            no(Refusal::ReleaseMissing);
            return refusals;
        }
        Presented::Rejected(why) => {
            no(Refusal::ReleaseRejected { why: why.clone() });
            return refusals;
        }
        Presented::Verified(release) => release,
    };
    release_holds(case, release, &mut no);
    gate_holds(case, release, &mut no);
    let authorisation = authorisation_holds(case, release, &mut no);
    if let Some(authorisation) = authorisation {
        frontier_holds(case, authorisation, &mut no);
        policy_holds(case, release, authorisation, &mut no);
    }
    readiness_holds(case, &mut no);
    if let Some(authorisation) = authorisation {
        permit_holds(case, authorisation, &mut no);
    }
    refusals
}

fn release_holds(case: &Case<'_>, release: &Release, no: &mut impl FnMut(Refusal)) {
    if let Some(why) = case.memory.denied.get(&release.digest) {
        no(Refusal::ReleaseDenied { why: why.clone() });
    }
    let floor = case.memory.floors.get(&release.name).copied().unwrap_or(0);
    if release.sequence < floor {
        no(Refusal::BelowSecurityFloor { floor });
    }
    if release.kind == crate::release::Kind::Os && !case.readiness.os_images {
        no(Refusal::KindNotHandled { kind: release.kind });
    }
}

fn gate_holds(case: &Case<'_>, release: &Release, no: &mut impl FnMut(Refusal)) {
    let gate = match case.gate {
        Presented::Missing => return no(Refusal::GateMissing),
        Presented::Rejected(why) => return no(Refusal::GateRejected { why: why.clone() }),
        Presented::Verified(gate) => gate,
    };
    if gate.release != release.digest {
        return no(Refusal::GateForOtherRelease);
    }
    if let Presented::Verified(policy) = case.policy {
        let missing = policy.required_checks.iter().filter(|check| !gate.checks.contains(check));
        missing.for_each(|check| no(Refusal::GateWithoutCheck { check: check.clone() }));
    }
    if gate.waived.is_some() {
        return waiver_holds(case, release, gate, no);
    }
    if !gate.passed {
        no(Refusal::GateFailed);
    }
    let need = release.kind.gate_threshold();
    if gate.signers < need {
        no(Refusal::GateTooFewSigners { have: gate.signers, need });
    }
    if !gate.consumers.contains(&case.identity.consumer) {
        no(Refusal::GateWithoutThisConsumer { consumer: case.identity.consumer });
    }
}

/// A waiver takes two people, and buys less than the gate does.
fn waiver_holds(case: &Case<'_>, release: &Release, waiver: &GateAttestation, no: &mut impl FnMut(Refusal)) {
    if release.kind == crate::release::Kind::Guard {
        no(Refusal::WaiverForGuard);
    }
    if waiver.signers < RELEASERS {
        no(Refusal::WaiverTooFewSigners { have: waiver.signers });
    }
    if let Presented::Verified(authorisation) = case.authorisation
        && authorisation.exposure_budget.is_none_or(|units| units > WAIVED_BUDGET)
    {
        no(Refusal::WaiverUncapped { budget: authorisation.exposure_budget });
    }
}

fn authorisation_holds<'a>(
    case: &Case<'a>,
    release: &Release,
    no: &mut impl FnMut(Refusal),
) -> Option<&'a Authorisation> {
    let authorisation = match case.authorisation {
        Presented::Missing => {
            no(Refusal::AuthorisationMissing);
            return None;
        }
        Presented::Rejected(why) => {
            no(Refusal::AuthorisationRejected { why: why.clone() });
            return None;
        }
        Presented::Verified(authorisation) => authorisation,
    };
    if authorisation.release != release.digest {
        no(Refusal::AuthorisationForOtherRelease);
        return None;
    }
    if authorisation.signers < RELEASERS {
        no(Refusal::AuthorisationTooFewSigners { have: authorisation.signers });
    }
    let lifetime_ms = authorisation.not_after_ms.saturating_sub(authorisation.start_ms);
    if lifetime_ms > AUTHORISATION_LIFETIME_MS {
        no(Refusal::AuthorisationTooLong { lifetime_ms });
    }
    // What this device has seen pass itself counts whatever time the server claims.
    let own_ms = case.memory.ages.get(&authorisation.rollout).copied().unwrap_or(0);
    if case.now_ms > authorisation.not_after_ms || own_ms > lifetime_ms {
        no(Refusal::AuthorisationExpired { not_after_ms: authorisation.not_after_ms });
    }
    if case.now_ms < authorisation.start_ms {
        no(Refusal::AuthorisationNotStarted { start_ms: authorisation.start_ms });
    }
    let position = position(case.identity, authorisation);
    let ceiling = ceiling_at(&authorisation.ceiling, case.age_ms);
    if ceiling < Share::ALL && position >= Position::from_share(ceiling) {
        no(Refusal::AboveCeiling {
            position,
            ceiling,
            age_ms: case.age_ms,
            reached_at_age_ms: age_for(&authorisation.ceiling, position.share()),
        });
    }
    Some(authorisation)
}

/// Where this device stands in the order of a rollout.
pub fn position(identity: &Identity, authorisation: &Authorisation) -> Position {
    Position::of(&authorisation.log_root, &authorisation.release, &identity.unit_key(authorisation.unit))
}

fn frontier_holds(case: &Case<'_>, authorisation: &Authorisation, no: &mut impl FnMut(Refusal)) {
    let frontier = match case.frontier {
        Presented::Missing => return no(Refusal::FrontierMissing),
        Presented::Rejected(why) => return no(Refusal::FrontierRejected { why: why.clone() }),
        Presented::Verified(frontier) => frontier,
    };
    if frontier.rollout != authorisation.rollout || frontier.release != authorisation.release {
        return no(Refusal::FrontierForOther);
    }
    if let Some(&sequence) = case.memory.forked.get(&frontier.rollout) {
        no(Refusal::FrontierForked { sequence });
    }
    if let Some(&(seen, _)) = case.memory.frontiers.get(&frontier.rollout)
        && frontier.sequence < seen
    {
        no(Refusal::FrontierReplayed { sequence: frontier.sequence, seen });
    }
    if case.now_ms > frontier.expires_ms {
        no(Refusal::FrontierExpired { expires_ms: frontier.expires_ms });
    }
    if frontier.halted {
        return no(Refusal::Halted);
    }
    let identity = case.identity;
    let Some(reach) = frontier.reach(identity.ring, &identity.stratum) else {
        return no(Refusal::RingOrStratumUnknown { ring: identity.ring, stratum: identity.stratum.clone() });
    };
    let position = position(identity, authorisation);
    if reach.eligible_to.is_none_or(|to| position > to) {
        no(Refusal::FrontierNotReached { position, eligible_to: reach.eligible_to });
    }
}

fn policy_holds(case: &Case<'_>, release: &Release, authorisation: &Authorisation, no: &mut impl FnMut(Refusal)) {
    let policy = match case.policy {
        Presented::Missing => return no(Refusal::PolicyMissing),
        Presented::Rejected(why) => return no(Refusal::PolicyRejected { why: why.clone() }),
        Presented::Verified(policy) => policy,
    };
    let question = Question {
        device_name: &case.identity.name,
        release,
        urgent: authorisation.is_urgent(),
        authorised_ms: authorisation.start_ms,
        now_ms: case.now_ms,
        newest_completed: case.memory.completed.get(&release.name).copied().unwrap_or(0),
        by_hand: case.by_hand,
    };
    if let Err(refusal) = policy.allows(&question) {
        no(Refusal::Policy(refusal));
    }
}

fn readiness_holds(case: &Case<'_>, no: &mut impl FnMut(Refusal)) {
    if !case.readiness.has_last_known_good {
        no(Refusal::NoLastKnownGood);
    }
    if case.readiness.trial_running {
        no(Refusal::TrialRunning);
    }
    if !case.readiness.preflight.is_empty() {
        no(Refusal::PreflightFailed { why: case.readiness.preflight.clone() });
    }
}

fn permit_holds(case: &Case<'_>, authorisation: &Authorisation, no: &mut impl FnMut(Refusal)) {
    let permit = match case.permit {
        Presented::Missing => return no(Refusal::PermitMissing),
        Presented::Rejected(why) => return no(Refusal::PermitRejected { why: why.clone() }),
        Presented::Verified(permit) => permit,
    };
    let mut other = |what: &str| no(Refusal::PermitForOther { what: what.into() });
    if permit.device != case.identity.device {
        return other("device");
    }
    if permit.rollout != authorisation.rollout {
        return other("rollout");
    }
    if permit.release != authorisation.release {
        return other("release");
    }
    if let Presented::Verified(frontier) = case.frontier
        && permit.frontier_sequence > frontier.sequence
    {
        other("frontier");
    }
    if case.readiness.nonce.as_deref() != Some(permit.nonce.as_str()) {
        no(Refusal::PermitReplayed);
    }
    if permit.expires_ms.saturating_sub(permit.issued_ms) > PERMIT_LIFETIME_MS {
        no(Refusal::PermitTooLong);
    }
    if case.now_ms > permit.expires_ms {
        no(Refusal::PermitExpired);
    }
    if permit.arm == Arm::Control {
        no(Refusal::ControlArm);
    }
}

#[cfg(test)]
mod tests;
