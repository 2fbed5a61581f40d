//! What stands in the log: the closed set of records, as JSON. Old kinds stay readable for good; a new meaning gets a new
//! kind. Must stay out: heartbeats, personal data (names of devices are technical names; people appear by account name).

use serde::{Deserialize, Serialize};
use staffel_core::{
    conditions::{Reach, Refusal},
    evidence::Arm,
    ids::{DeviceId, Digest},
    profile::Profile,
    rollout,
};
use staffel_store::{Entry, NewEntry};
use staffel_trust::{statement::Envelope, wire::Attributes};
use std::collections::BTreeMap;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    ServerStarted {
        version: String,
        /// From when to when nobody looked, Unix milliseconds.
        from_ms: u64,
        to_ms: u64,
    },
    TokenIssued {
        /// SHA-256 of the token.
        token: Digest,
        tenant: String,
        site: String,
        expires_ms: u64,
        by: String,
    },
    DeviceEnrolled {
        device: DeviceId,
        name: String,
        tenant: String,
        site: String,
        attributes: Attributes,
        token: Digest,
    },
    DeviceChanged {
        device: DeviceId,
        running: BTreeMap<String, Digest>,
        /// Why it is in safe mode; none: it is not.
        safe_mode: Option<String>,
        attributes: Option<Attributes>,
    },
    /// It refused something that was not the ordinary course: somebody lies to it, or something is broken.
    DeviceRefused {
        device: DeviceId,
        rollout: u64,
        refusals: Vec<Refusal>,
        problems: Vec<String>,
    },
    DeviceLeft {
        device: DeviceId,
        why: String,
    },
    /// Two live boots on one key.
    DeviceCloned {
        device: DeviceId,
    },
    PolicySet {
        tenant: String,
        policy: Envelope,
        by: String,
    },
    RolloutStarted {
        rollout: u64,
        release: Envelope,
        gate: Envelope,
        authorisation: Envelope,
        /// The times as they are now: a later version of this program may have others.
        profile: Profile,
        by: String,
    },
    /// A decision or an observation of the rollout.
    Rollout {
        rollout: u64,
        #[serde(flatten)]
        event: rollout::Event,
    },
    /// Logged before the permit is signed.
    PermitGranted {
        rollout: u64,
        device: DeviceId,
        arm: Arm,
        nonce: String,
        frontier_sequence: u64,
        issued_ms: u64,
    },
    /// Logged before the frontier is signed.
    FrontierMoved {
        rollout: u64,
        sequence: u64,
        issued_ms: u64,
        expires_ms: u64,
        halted: bool,
        completed: bool,
        reach: Vec<Reach>,
    },
    /// An operator's own signed halt.
    HaltSigned {
        halt: Envelope,
        by: String,
    },
}

impl Record {
    /// The entry's kind in the log, for whoever looks with `sqlite3`.
    pub fn kind(&self) -> &'static str {
        match self {
            Record::ServerStarted { .. } => "server.started",
            Record::TokenIssued { .. } => "token.issued",
            Record::DeviceEnrolled { .. } => "device.enrolled",
            Record::DeviceChanged { .. } => "device.changed",
            Record::DeviceRefused { .. } => "device.refused",
            Record::DeviceLeft { .. } => "device.left",
            Record::DeviceCloned { .. } => "device.cloned",
            Record::PolicySet { .. } => "policy.set",
            Record::RolloutStarted { .. } => "rollout.started",
            Record::Rollout { event, .. } => match event {
                rollout::Event::WaveOpened { .. } => "rollout.wave-opened",
                rollout::Event::Permitted { .. } => "rollout.permitted",
                rollout::Event::OnTrial { .. } => "rollout.on-trial",
                rollout::Event::Confirmed { .. } => "rollout.confirmed",
                rollout::Event::Failed { .. } => "rollout.failed",
                rollout::Event::Departed { .. } => "rollout.departed",
                rollout::Event::Observed { .. } => "rollout.observed",
                rollout::Event::WaveResolved { .. } => "rollout.wave-resolved",
                rollout::Event::Held { .. } => "rollout.held",
                rollout::Event::Released { .. } => "rollout.released",
                rollout::Event::Fenced { .. } => "rollout.fenced",
                rollout::Event::Halted { .. } => "rollout.halted",
                rollout::Event::Completed => "rollout.completed",
                rollout::Event::ObservationGap { .. } => "rollout.observation-gap",
            },
            Record::PermitGranted { .. } => "permit.granted",
            Record::FrontierMoved { .. } => "frontier.moved",
            Record::HaltSigned { .. } => "halt.signed",
        }
    }

    /// The entry to append.
    pub fn to_entry(&self, at_ms: u64) -> Result<NewEntry, String> {
        let payload = serde_json::to_vec(self).map_err(|e| format!("write a log record: {e}"))?;
        NewEntry::new(at_ms, self.kind(), payload).map_err(|e| format!("write a log record: {e}"))
    }

    /// Reads an entry. `None` if its payload was erased or it is of a kind that a later version added.
    pub fn of(entry: &Entry) -> Option<Record> {
        serde_json::from_slice(entry.payload()?).ok()
    }
}
