//! What the agent may ask of the guard: a closed set of commands over a local socket.
//!
//! One command and one reply a line, JSON, at most [`MAX_LINE`] bytes. The guard trusts none of it: each envelope is
//! verified again there. What must stay out: the socket itself.

use crate::{
    bundle::{Bundle, Pinned},
    dsse::{Envelope, PublicKey},
};
use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::{Generation, Left, Mode, Outcome, Trial, traces::Start},
    conditions::{Readiness, Refusal},
    ids::{DeviceId, Digest},
};
use std::collections::BTreeMap;

/// Longest command or reply, bytes.
pub const MAX_LINE: usize = 48 << 20;

/// What enrolment writes down about a device, once; only a person at the machine can change it afterwards.
///
/// As a file it is this as plain JSON, given to `guard-ctl init`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    pub device: DeviceId,
    /// Its name in the customer's policy.
    pub name: String,
    pub tenant: String,
    pub site: String,
    /// Devices alike in what the policy names; made from the device's own attributes.
    pub stratum: String,
    /// The customer's own keys, or those of the software house that signs for it.
    pub tenant_keys: Vec<PublicKey>,
}

impl Installation {
    /// What the verifier needs of it.
    pub fn pinned(&self) -> Pinned {
        Pinned { tenant: self.tenant.clone(), tenant_keys: self.tenant_keys.clone() }
    }
}

/// Everything that can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// What runs, what is on trial, what is ready.
    Status,
    /// Take the files of this release from the spool folder, verify them, build the slot beside the running one, run
    /// the preflight and give out a nonce. The permit is not looked at yet.
    Prepare { bundle: Box<Bundle> },
    /// Check all seven conditions and, if they hold, put the prepared generation on trial.
    Arm { bundle: Box<Bundle> },
    /// The probes have passed for the soak time and this receipt came.
    Confirm { receipt: Envelope },
    /// The probes failed.
    Abort { why: String },
    /// A signed halt.
    Deny { halt: Envelope },
    /// A halt taken back by two releasers.
    Undeny { unhalt: Envelope },
    /// The next keyring.
    Keyring { keyring: Envelope },
    /// Runs the command probes of what is selected; the agent may not execute anything.
    Probe,
    /// A signed act of repair.
    Remedy { remedy: Envelope },
    /// The outcome in [`Status`] has reached the server.
    OutcomeReported,
    /// These traces of [`Status::start`] have reached the server, by their [`staffel_core::boot::traces::Trace::id`].
    StartReported { traces: Vec<Digest> },
}

/// One supervised service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    pub running: bool,
    pub process_id: Option<u32>,
    /// Starts since the guard started.
    pub starts: u32,
    /// How it ended last, in words.
    pub last_exit: Option<String>,
}

/// How a remedy went, kept by the guard until later ones push it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemedyOutcome {
    pub sequence: u64,
    /// Carried out; else nothing of it was, or not all.
    pub done: bool,
    /// What was done, or why not.
    pub why: String,
}

/// The guard's state as the agent and a person see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub mode: Mode,
    /// What runs; none in safe mode.
    pub selected: Option<Generation>,
    pub last_known_good: Generation,
    pub earlier: Vec<Generation>,
    /// Committed generations that were left for crashing; a remedy can return to them.
    #[serde(default)]
    pub left: Vec<Left>,
    pub trial: Option<Trial>,
    pub outcome: Option<Outcome>,
    /// This start of the machine, if it found something of an earlier one that the server has not heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    pub readiness: Readiness,
    pub services: Vec<ServiceStatus>,
    /// Services of ours that a remedy keeps from running, with the reason.
    #[serde(default)]
    pub disabled: BTreeMap<String, String>,
    /// How the latest remedies went, oldest first.
    #[serde(default)]
    pub remedies: Vec<RemedyOutcome>,
    pub starts: u64,
    pub boot_id: String,
    /// SHA-256 of the guard's own executable: the consumer that a gate attestation must name.
    pub consumer: Digest,
    /// A release that is prepared and may be armed.
    pub prepared: Option<Digest>,
    pub keyring_version: u64,
    /// What this machine lacks, one line each (no Landlock, no systemd, ...).
    pub lacking: Vec<String>,
}

/// What the guard answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    Status(Box<Status>),
    /// The slot stands; ask the server for a permit for this nonce.
    Prepared {
        release: Digest,
        nonce: String,
        /// How old the guard takes the authorisation to be, milliseconds: the server must not permit what the guard's
        /// ceiling forbids.
        #[serde(default)]
        age_ms: u64,
    },
    /// Done; what follows from it in words.
    Done {
        why: String,
    },
    /// The seven conditions do not all hold.
    Refused {
        refusals: Vec<Refusal>,
    },
    /// It can't be done: what happened and what to do.
    Failed {
        why: String,
    },
    /// Result of the command probes: what failed, empty if all passed.
    Probed {
        failures: Vec<String>,
    },
}
