//! All statements that one change needs, verified together. Agent and guard each keep a [`Verifier`] of their own.
//!
//! The verifier turns envelopes into what `staffel_core::conditions` decides on, and keeps the memory that no server can
//! lower: denylist, highest frontier, proven ages, policy sequence, security floors. The caller persists
//! [`Verifier::memory`] before it acts. What must stay out: sockets, files, clocks.

use crate::{
    dsse::{Envelope, PublicKey},
    keyring::{Keyring, KeyringError, RoleKeys},
    predicate::{Gate, Halt, Headed, Receipt, Release, Remedy, StatementError, TenantPolicy, Unhalt, read, verify},
    witness::witness_time_ms,
};
use serde::{Deserialize, Serialize};
use staffel_core::{
    conditions::{
        Authorisation, Case, Frontier, GateAttestation, Identity, Memory, Permit, Presented, RELEASERS, Readiness,
        Refusal, check, proven_age,
    },
    ids::{DeviceId, Digest},
    policy::CustomerPolicy,
    release::Release as CoreRelease,
};
use std::collections::BTreeSet;

/// The statements about one release, as they travel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    #[serde(default)]
    pub release: Option<Envelope>,
    #[serde(default)]
    pub gate: Option<Envelope>,
    #[serde(default)]
    pub authorisation: Option<Envelope>,
    #[serde(default)]
    pub frontier: Option<Envelope>,
    #[serde(default)]
    pub policy: Option<Envelope>,
    #[serde(default)]
    pub permit: Option<Envelope>,
    /// The latest witnessed checkpoint of the log, a signed note.
    #[serde(default)]
    pub checkpoint: Option<String>,
}

/// What a device was told at its installation and nobody can change from afar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    pub tenant: String,
    /// The customer's own keys, or those of the software house that signs for it.
    pub tenant_keys: Vec<PublicKey>,
}

/// A bundle after verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub release: Presented<CoreRelease>,
    /// Files, service and probes of the release, if it holds.
    pub contents: Option<Release>,
    pub gate: Presented<GateAttestation>,
    pub authorisation: Presented<Authorisation>,
    pub frontier: Presented<Frontier>,
    pub policy: Presented<CustomerPolicy>,
    pub permit: Presented<Permit>,
    pub age_ms: u64,
    pub now_ms: u64,
}

impl Verified {
    /// Checks the seven conditions.
    pub fn refusals(&self, identity: &Identity, memory: &Memory, readiness: &Readiness, by_hand: bool) -> Vec<Refusal> {
        check(&Case {
            identity,
            memory,
            release: &self.release,
            gate: &self.gate,
            authorisation: &self.authorisation,
            frontier: &self.frontier,
            policy: &self.policy,
            readiness,
            permit: &self.permit,
            age_ms: self.age_ms,
            now_ms: self.now_ms,
            by_hand,
        })
    }
}

/// Keys and memory of one verifying program.
#[derive(Clone, Debug)]
pub struct Verifier {
    keyring: Keyring,
    pinned: Pinned,
    pub memory: Memory,
}

/// A statement that is acted on by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    #[error("{what}: {source}")]
    Statement { what: &'static str, source: StatementError },
    #[error("{what} is for another device")]
    OtherDevice { what: &'static str },
    #[error("{what} expired")]
    Expired { what: &'static str },
    #[error("the remedy {sequence} was carried out before (the last one was {last})")]
    Repeated { sequence: u64, last: u64 },
    #[error("the receipt does not answer this device's nonce")]
    Nonce,
    #[error("there is no such halt to take back")]
    NoSuchHalt,
}

impl Verifier {
    /// A verifier with a keyring that was verified before.
    pub fn new(keyring: Keyring, pinned: Pinned, memory: Memory) -> Self {
        Verifier { keyring, pinned, memory }
    }

    /// The keyring in force.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Takes the next keyring. The caller persists the envelope.
    pub fn accept_keyring(&mut self, envelope: &Envelope) -> Result<u64, KeyringError> {
        self.keyring = self.keyring.next(envelope)?;
        Ok(self.keyring.version)
    }

    /// Lets `elapsed_ms` of the device's own running clock pass: authorisations that it has seen grow older.
    pub fn tick(&mut self, elapsed_ms: u64) {
        if self.memory.time_floor_ms > 0 {
            self.memory.time_floor_ms = self.memory.time_floor_ms.saturating_add(elapsed_ms);
        }
        for age in self.memory.ages.values_mut() {
            *age = age.saturating_add(elapsed_ms);
        }
    }

    /// Verifies every statement of the bundle and remembers what must not go back. `local_ms` (the wall clock, Unix
    /// milliseconds) counts only while no statement of the server tells the time.
    pub fn look_at(&mut self, bundle: &Bundle, local_ms: u64) -> Verified {
        let keys = self.keyring.clone();
        let (release, contents) = self.release(bundle, &keys);
        // Both say when they end; what time it is shows only below.
        let (mut gate_ends_ms, mut policy_ends_ms) = (u64::MAX, u64::MAX);
        let built_in = match &release {
            Presented::Verified(release) => release.kind.gate_threshold(),
            _ => 1,
        };
        let mut gate = present(&bundle.gate, |e| {
            let (role, waived) = keys.gate_role(e);
            let (name, built_in) = if waived { ("releasers", RELEASERS) } else { ("gate", built_in) };
            let (gate, _, signers) = verify::<Gate>(e, name, &role.keys, beyond(role, built_in))?;
            gate_ends_ms = gate.header.expires_ms;
            let passed = gate.result == "PASSED" && gate.attestation.passed && gate.failed_tests.is_empty();
            Ok(GateAttestation { passed, signers, ..gate.attestation })
        });
        let mut floor_ms = self.memory.time_floor_ms;
        let authorisation = present(&bundle.authorisation, |e| {
            let (headed, _, signers) = verify::<Headed<Authorisation>>(
                e,
                "releasers",
                &keys.releasers.keys,
                beyond(&keys.releasers, RELEASERS),
            )?;
            if signers >= RELEASERS {
                floor_ms = floor_ms.max(headed.header.issued_ms);
            }
            Ok(Authorisation { signers, ..headed.body })
        });
        self.memory.time_floor_ms = floor_ms;
        let frontier = self.frontier(bundle, &keys);
        if let (Presented::Verified(release), Presented::Verified(frontier)) = (&release, &frontier)
            && frontier.completed
            && frontier.release == release.digest
        {
            let newest = self.memory.completed.entry(release.name.clone()).or_insert(0);
            *newest = (*newest).max(release.sequence);
        }
        let mut policy = self.policy(bundle, &mut policy_ends_ms);
        let permit = present(&bundle.permit, |e| {
            Ok(verify::<Headed<Permit>>(e, "online", &keys.online.keys, keys.online.threshold)?.0.body)
        });

        // The permit answers our own nonce, so its time is fresh even if the local clock stands in 1970 or 2099.
        let now_ms = match (&permit, &frontier) {
            (Presented::Verified(permit), _) => permit.issued_ms,
            (_, Presented::Verified(frontier)) => frontier.issued_ms,
            _ => local_ms,
        }
        .max(floor_ms);
        if now_ms > gate_ends_ms {
            gate = Presented::Rejected(expired(gate_ends_ms));
        }
        if now_ms > policy_ends_ms {
            policy = Presented::Rejected(expired(policy_ends_ms));
        }
        let mut age_ms = 0;
        if let Presented::Verified(authorisation) = &authorisation
            && authorisation.signers >= RELEASERS
        {
            let own = *self.memory.ages.entry(authorisation.rollout).or_insert(0);
            let witness = bundle.checkpoint.as_deref().and_then(|note| witness_time_ms(note, &keys.witnesses));
            // With witnesses in the keyring an unwitnessed bundle proves no more than what was seen here.
            age_ms = proven_age(authorisation.start_ms, now_ms, witness, own);
        }
        Verified { release, contents, gate, authorisation, frontier, policy, permit, age_ms, now_ms }
    }

    fn release(&mut self, bundle: &Bundle, keys: &Keyring) -> (Presented<CoreRelease>, Option<Release>) {
        let mut contents = None;
        let release = present(&bundle.release, |e| {
            let (release, digest, _) = verify::<Release>(e, "release", &keys.release.keys, keys.release.threshold)?;
            let problems = release.problems();
            if !problems.is_empty() {
                return Err(StatementError::Malformed(problems.join("; ")));
            }
            let core = release.to_core(digest);
            contents = Some(release);
            Ok(core)
        });
        if let Presented::Verified(release) = &release {
            let floor = self.memory.floors.entry(release.name.clone()).or_insert(0);
            *floor = (*floor).max(release.security_floor);
        }
        (release, contents)
    }

    fn frontier(&mut self, bundle: &Bundle, keys: &Keyring) -> Presented<Frontier> {
        let mut digest = Digest::default();
        let frontier = present(&bundle.frontier, |e| {
            let (headed, payload, _) =
                verify::<Headed<Frontier>>(e, "online", &keys.online.keys, keys.online.threshold)?;
            digest = payload;
            Ok(headed.body)
        });
        if let Presented::Verified(frontier) = &frontier {
            match self.memory.frontiers.get(&frontier.rollout) {
                Some(&(seen, known)) if seen == frontier.sequence && known != digest => {
                    self.memory.forked.insert(frontier.rollout, frontier.sequence);
                }
                Some(&(seen, _)) if seen >= frontier.sequence => {}
                _ => {
                    self.memory.frontiers.insert(frontier.rollout, (frontier.sequence, digest));
                }
            }
        }
        frontier
    }

    fn policy(&mut self, bundle: &Bundle, ends_ms: &mut u64) -> Presented<CustomerPolicy> {
        let (tenant, seen) = (self.pinned.tenant.clone(), self.memory.policy_sequence);
        let mut sequence = seen;
        let keys = &self.pinned.tenant_keys;
        let policy = present(&bundle.policy, |e| {
            let Headed { header, body } = verify::<Headed<TenantPolicy>>(e, "customer", keys, 1)?.0;
            if body.tenant != tenant {
                return Err(StatementError::Malformed(format!("it is the policy of {:?}", body.tenant)));
            }
            if body.sequence < seen {
                return Err(StatementError::Malformed(format!(
                    "it is an old one: sequence {}, {seen} was seen before",
                    body.sequence
                )));
            }
            (sequence, *ends_ms) = (body.sequence, header.expires_ms);
            Ok(body.policy)
        });
        self.memory.policy_sequence = sequence;
        policy
    }

    /// Takes a halt: stopping needs no freshness and no second person. One operator's signature also takes the release
    /// back where it is committed (`true`); the online key alone only keeps it from going further.
    pub fn accept_halt(&mut self, envelope: &Envelope) -> Result<(Halt, bool), ActError> {
        let statement = |source| ActError::Statement { what: "the halt", source };
        let (operators, online) = (&self.keyring.operators, &self.keyring.online);
        let by_operator = verify::<Headed<Halt>>(envelope, "operators", &operators.keys, operators.threshold);
        let (halt, undo) = match by_operator {
            Ok((halt, _, _)) => (halt, true),
            Err(_) => {
                let keys: Vec<_> = operators.keys.iter().chain(&online.keys).copied().collect();
                (verify::<Headed<Halt>>(envelope, "operators or online", &keys, 1).map_err(statement)?.0, false)
            }
        };
        let digest = envelope.digest().map_err(|error| statement(error.into()))?;
        self.memory.denied.insert(halt.body.release, halt.body.why.clone());
        self.memory.halts.entry(halt.body.release).or_default().insert(digest);
        Ok((halt.body, undo))
    }

    /// Takes one halt back; two releasers, and it must name a halt that denies its release here. `true` if no other halt
    /// stands, so that the release is free again.
    pub fn accept_unhalt(&mut self, envelope: &Envelope) -> Result<(Unhalt, bool), ActError> {
        let releasers = &self.keyring.releasers;
        let threshold = releasers.threshold.max(RELEASERS);
        let (unhalt, _, _) = verify::<Headed<Unhalt>>(envelope, "releasers", &releasers.keys, threshold)
            .map_err(|source| ActError::Statement { what: "the un-halt", source })?;
        let (release, halt) = (unhalt.body.release, unhalt.body.halt);
        let memory = &mut self.memory;
        if !memory.denied.contains_key(&release) {
            return Err(ActError::NoSuchHalt);
        }
        // A release that was denied before halts were noted has none here.
        let halts = memory.halts.entry(release).or_insert_with(|| BTreeSet::from([halt]));
        if !halts.remove(&halt) {
            return Err(ActError::NoSuchHalt);
        }
        let free = halts.is_empty();
        if free {
            memory.halts.remove(&release);
            memory.denied.remove(&release);
        }
        Ok((unhalt.body, free))
    }

    /// Takes the server's receipt for a change on trial.
    pub fn accept_receipt(&self, envelope: &Envelope, device: DeviceId, nonce: &str) -> Result<Receipt, ActError> {
        let keys = &self.keyring.online;
        let (receipt, _, _) = verify::<Headed<Receipt>>(envelope, "online", &keys.keys, keys.threshold)
            .map_err(|source| ActError::Statement { what: "the receipt", source })?;
        if receipt.body.device != device {
            return Err(ActError::OtherDevice { what: "the receipt" });
        }
        if receipt.body.nonce != nonce {
            return Err(ActError::Nonce);
        }
        Ok(receipt.body)
    }

    /// Takes a remedy for this device, once. `local_ms`: the wall clock, Unix milliseconds; see
    /// [`Verifier::check_remedy`].
    pub fn accept_remedy(&mut self, envelope: &Envelope, device: DeviceId, local_ms: u64) -> Result<Remedy, ActError> {
        let remedy = self.check_remedy(envelope, device, local_ms)?;
        let last = self.memory.remedy_sequence;
        if remedy.sequence <= last {
            return Err(ActError::Repeated { sequence: remedy.sequence, last });
        }
        self.memory.remedy_sequence = remedy.sequence;
        Ok(remedy)
    }

    /// Whether a remedy holds for this device. A wall clock that stands in 2099 must not lock a broken machine out, and
    /// one in 1970 must not revive what is over: it only counts while no signed statement has told a time that has
    /// certainly passed.
    pub fn check_remedy(&self, envelope: &Envelope, device: DeviceId, local_ms: u64) -> Result<Remedy, ActError> {
        let what = "the remedy";
        let statement = |source| ActError::Statement { what, source };
        let payload = envelope.payload().map_err(|e| statement(e.into()))?;
        let operators = &self.keyring.operators;
        let threshold = read::<Headed<Remedy>>(&payload).map_err(statement)?.body.action.threshold();
        let threshold = threshold.max(operators.threshold);
        let (remedy, _, _) =
            verify::<Headed<Remedy>>(envelope, "operators", &operators.keys, threshold).map_err(statement)?;
        if remedy.body.device != device {
            return Err(ActError::OtherDevice { what });
        }
        let passed_ms = match self.memory.time_floor_ms {
            0 => local_ms,
            floor_ms => floor_ms,
        };
        if passed_ms > remedy.header.expires_ms {
            return Err(ActError::Expired { what });
        }
        Ok(remedy.body)
    }
}

/// What must be verified at once: a threshold of the keyring beyond the built-in one, which has a refusal of its own.
fn beyond(role: &RoleKeys, built_in: u32) -> u32 {
    if role.threshold > built_in { role.threshold } else { 1 }
}

fn expired(ends_ms: u64) -> String {
    format!("it ended at {ends_ms} (Unix ms)")
}

fn present<T>(
    envelope: &Option<Envelope>,
    verify: impl FnOnce(&Envelope) -> Result<T, StatementError>,
) -> Presented<T> {
    match envelope {
        None => Presented::Missing,
        Some(envelope) => match verify(envelope) {
            Ok(value) => Presented::Verified(value),
            Err(error) => Presented::Rejected(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
