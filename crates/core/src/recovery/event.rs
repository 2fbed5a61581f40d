//! What can happen to an incident and its cases: the closed set of events that go into the log and come back out of it.
//!
//! Must stay out: signs of life (only what they change is an event), and names of people other than account names; the free
//! words of a note or a call are a record of their own each, so that they can be erased.

use super::{Awareness, CaseId, Channel, Class, Contact, Debt, Doubt, IncidentId, Origin, Proof, State};
use crate::{fleet::DeviceIndex, rollout::Reached};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    IncidentOpened {
        incident: IncidentId,
        class: Class,
        origin: Origin,
        aware: Awareness,
        why: String,
    },
    /// One case for each of these devices, numbered from `first` on.
    CasesOpened {
        incident: IncidentId,
        first: CaseId,
        devices: Vec<DeviceIndex>,
        /// Names of the releases that these devices ran before: protection is on again when all of them run.
        ran: Vec<String>,
        why: Concern,
    },
    /// Somebody takes the case, or gives it back.
    Owned {
        case: CaseId,
        owner: Option<String>,
        by: String,
    },
    /// A person's word about the state.
    Said {
        case: CaseId,
        state: State,
        by: String,
        why: String,
    },
    Contacted {
        case: CaseId,
        channel: Channel,
        outcome: Contact,
        by: String,
        text: String,
    },
    /// The site asked to be called at that time, Unix milliseconds; none: no more.
    CallBack {
        case: CaseId,
        at_ms: Option<u64>,
        by: String,
        text: String,
    },
    Noted {
        case: CaseId,
        by: String,
        text: String,
    },
    /// The device speaks again; nothing is proven yet.
    Heard {
        case: CaseId,
    },
    /// The device spoke and does no more.
    FellSilent {
        case: CaseId,
        since_ms: u64,
    },
    DebtOpened {
        case: CaseId,
        debt: Debt,
        /// None: the device's own evidence.
        by: Option<String>,
    },
    DebtLifted {
        case: CaseId,
        debt: Debt,
        by: Option<String>,
        why: String,
    },
    /// The probe passed often enough.
    Verified {
        case: CaseId,
        proof: Proof,
    },
    /// What was verified does not hold any more.
    Doubted {
        case: CaseId,
        doubts: Vec<Doubt>,
    },
    Reopened {
        case: CaseId,
        why: String,
    },
    Closed {
        case: CaseId,
        /// None: by itself, after the probe held for a while.
        by: Option<String>,
    },
}

impl Event {
    /// The case that it is about; none if it is about an incident.
    pub fn case(&self) -> Option<CaseId> {
        match self {
            Event::IncidentOpened { .. } | Event::CasesOpened { .. } => None,
            Event::Owned { case, .. }
            | Event::Said { case, .. }
            | Event::Contacted { case, .. }
            | Event::CallBack { case, .. }
            | Event::Noted { case, .. }
            | Event::Heard { case }
            | Event::FellSilent { case, .. }
            | Event::DebtOpened { case, .. }
            | Event::DebtLifted { case, .. }
            | Event::Verified { case, .. }
            | Event::Doubted { case, .. }
            | Event::Reopened { case, .. }
            | Event::Closed { case, .. } => Some(*case),
        }
    }
}

/// Why a device has a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "concern", rename_all = "kebab-case")]
pub enum Concern {
    /// A rollout that was halted had got to it.
    Rollout {
        rollout: u64,
        how: Reached,
    },
    /// Not heard since then, Unix milliseconds.
    Silent {
        since_ms: u64,
    },
    SafeMode {
        why: String,
    },
    /// A person named it.
    Named {
        by: String,
    },
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Concern::Rollout { rollout, how } => write!(f, "rollout {rollout} was halted, and this device {how}"),
            Concern::Silent { .. } => f.write_str("silent for too long, and it did not say goodbye"),
            Concern::SafeMode { why } => write!(f, "in safe mode: {why}"),
            Concern::Named { by } => write!(f, "named by {by}"),
        }
    }
}
