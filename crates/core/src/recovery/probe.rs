//! What proves that a device is back. Must stay out: asking for it and carrying it.
//!
//! A probe is the device's answer to a question of the server that was asked after the case was opened (a nonce, so that
//! neither clocks nor an old answer count). It passes if all of this holds: the machine is not in safe mode; the guard runs a
//! committed generation, nothing is on trial; no release in it was halted; every service runs and every health probe of the
//! releases passed just now; everything that ran before the incident runs again; the guard knows of no protection that is
//! off. [`super::ProbeRule`] says how many of these in a row, in one and the same boot, verify a case. What it does not prove:
//! that the customer's own software works, or that a device whose guard lies is well.

use crate::ids::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What agent and guard measured when they were asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Id of the generation that runs; none in safe mode.
    pub generation: Option<Digest>,
    /// It is the last-known-good one, and nothing is on trial.
    pub committed: bool,
    /// What failed of services and health probes, a line each.
    pub failures: Vec<String>,
    /// Probes and services that were looked at.
    pub checked: u32,
    /// Protection that the guard knows to be off, a line each.
    pub debts: Vec<String>,
}

/// A sign of life, as far as cases need it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Number of the machine's boot.
    pub boot: u64,
    /// Why it is in safe mode; none: it is not.
    pub safe_mode: Option<String>,
    /// Names of the releases that run.
    pub running: Vec<String>,
    /// Those of them whose release was halted, with version.
    pub denied: Vec<String>,
    /// The answer to the question that the server asked last; none: nothing was answered.
    pub health: Option<Health>,
}

/// Why a sign of life proves nothing yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "doubt", rename_all = "kebab-case")]
pub enum Doubt {
    /// Nothing has been heard of it since its case was opened, or since it fell silent.
    Silent,
    /// It speaks, and has not answered the probe (an older agent never does).
    NotAnswered,
    SafeMode {
        why: String,
    },
    /// What runs has not proven itself.
    OnTrial,
    /// It runs a release that was halted.
    Denied {
        release: String,
    },
    ProbesFailed {
        failures: Vec<String>,
    },
    ProtectionOff {
        what: String,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Silent => f.write_str("nothing is heard of it"),
            Doubt::NotAnswered => f.write_str("it speaks, and has not answered the probe"),
            Doubt::SafeMode { why } => write!(f, "it is in safe mode: {why}"),
            Doubt::OnTrial => f.write_str("what it runs is still on trial"),
            Doubt::Denied { release } => write!(f, "it runs {release}, which was halted"),
            Doubt::ProbesFailed { failures } => write!(f, "its own probes fail: {}", failures.join("; ")),
            Doubt::ProtectionOff { what } => write!(f, "protection is off: {what}"),
        }
    }
}

/// What verified a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Probes that passed in a row.
    pub passed: u32,
    /// Unix milliseconds.
    pub first_ms: u64,
    pub last_ms: u64,
    /// What ran.
    pub generation: Digest,
    /// Services and probes looked at the last time.
    pub checked: u32,
}

/// Probes of a case so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    pub passed: u32,
    pub first_ms: u64,
    pub last_ms: u64,
    pub boot: u64,
    pub generation: Option<Digest>,
    pub doubts: Vec<Doubt>,
}

/// Everything that keeps this sign of life from being a proof; empty: it is one. `ran`: what ran before.
pub(super) fn doubts(evidence: &Evidence, ran: &[String]) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    if let Some(why) = &evidence.safe_mode {
        doubts.push(Doubt::SafeMode { why: why.clone() });
    }
    doubts.extend(evidence.denied.iter().map(|release| Doubt::Denied { release: release.clone() }));
    let missing = ran.iter().filter(|name| !evidence.running.contains(name));
    if evidence.safe_mode.is_none() {
        doubts.extend(missing.map(|name| Doubt::ProtectionOff { what: format!("{name} does not run") }));
    }
    match &evidence.health {
        None => doubts.push(Doubt::NotAnswered),
        Some(health) => {
            if evidence.safe_mode.is_none() && (!health.committed || health.generation.is_none()) {
                doubts.push(Doubt::OnTrial);
            }
            if !health.failures.is_empty() {
                doubts.push(Doubt::ProbesFailed { failures: health.failures.clone() });
            }
            doubts.extend(health.debts.iter().map(|what| Doubt::ProtectionOff { what: what.clone() }));
        }
    }
    doubts
}
