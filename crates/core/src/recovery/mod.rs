//! Bringing back what went down: incidents, and a case for each device concerned until a probe has verified it.
//!
//! [`Book`] is a projection: it changes only by [`Book::apply`], with events that stand in the log. What follows from a
//! halted rollout, from silence, from a sign of life or from a person's word is decided in `open`, `signs`, `due` and `word`;
//! all of them only return events or a typed [`Refusal`]. Nothing here scans the fleet for an event.
//!
//! Two sentences are enforced here and nowhere else: a case is verified by a probe only (`probe` says what counts), and it is
//! never closed without one or while protection is off. What must stay out: clocks, sending, who may say what.

mod apply;
mod case;
mod curve;
mod due;
mod event;
mod next;
mod open;
mod probe;
mod refusal;
mod signs;
mod watch;
mod word;

pub use case::{Case, LastContact, OpenDebt, Tried};
pub use curve::{Curve, MILESTONES, Milestone, Point};
pub use event::{Concern, Event};
pub use next::{Action, Next};
pub use open::{Concerned, Opening};
pub use probe::{Doubt, Evidence, Health, Proof};
pub use refusal::Refusal;
pub use word::Word;

use crate::fleet::DeviceIndex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Number of an incident, from 1 on.
pub type IncidentId = u64;
/// Number of a case, from 1 on, over all incidents.
pub type CaseId = u64;

/// What kind of trouble it is: other deadlines and other words follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    FaultyUpdate,
    Attack,
    Outage,
    /// Software that Staffel did not ship.
    Foreign,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::FaultyUpdate => "faulty update",
            Class::Attack => "attack",
            Class::Outage => "outage",
            Class::Foreign => "foreign software",
        })
    }
}

/// What opened an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "kebab-case")]
pub enum Origin {
    HaltedRollout {
        rollout: u64,
    },
    /// Devices of a site that are silent for too long; one incident a site.
    Silence {
        site: u32,
        since_ms: u64,
        whole_site: bool,
    },
    /// Devices of a site that stand in safe mode.
    SafeMode {
        site: u32,
    },
    /// A component that Staffel did not ship.
    Component {
        name: String,
        version: String,
        supplier: String,
    },
    Operator,
}

impl Origin {
    /// The site whose devices share it, and whether they stand in safe mode.
    fn site(&self) -> Option<(u32, bool)> {
        match self {
            Origin::Silence { site, .. } => Some((*site, false)),
            Origin::SafeMode { site } => Some((*site, true)),
            _ => None,
        }
    }
}

/// Since when somebody knows, and from where: clocks of reports start here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awareness {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// An account name, or `staffel` where the server itself noticed.
    pub who: String,
    /// For example `rollout 7`, `call from the clinic`, `supplier's notice`.
    pub source: String,
}

/// Where a case stands. Only a probe leads to `Verified`, and only from there to `Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Probably down; nobody at the site has been told.
    Suspected,
    /// A notice or call went out.
    Notified,
    /// Somebody at the site answered.
    Reached,
    /// They know what to do.
    Instructed,
    /// The device speaks again, or the customer says that it works. Neither is proof.
    Working,
    /// It runs with protection off.
    Restricted,
    /// Tried several times, in vain.
    Unreachable,
    /// The probe passed as often as it must.
    Verified,
    Closed,
}

impl State {
    /// Every state, in the usual order.
    pub const ALL: [State; 9] = [
        State::Suspected,
        State::Notified,
        State::Reached,
        State::Instructed,
        State::Working,
        State::Restricted,
        State::Unreachable,
        State::Verified,
        State::Closed,
    ];

    /// The device is back, proven.
    pub fn is_back(self) -> bool {
        matches!(self, State::Verified | State::Closed)
    }

    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            State::Suspected => "suspected",
            State::Notified => "notified",
            State::Reached => "reached",
            State::Instructed => "instructed",
            State::Working => "working",
            State::Restricted => "restricted",
            State::Unreachable => "unreachable",
            State::Verified => "verified",
            State::Closed => "closed",
        }
    }
}

/// A way to reach people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    Email,
    Sms,
    Fax,
    Letter,
    Phone,
    /// Somebody went there.
    Visit,
}

/// How an attempt to reach people ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contact {
    /// Left here; whether it arrived is not known.
    Sent,
    NoAnswer,
    /// The number or address does not work.
    WrongAddress,
    Reached,
    Instructed,
    /// The customer says that it works: never more than `Working`.
    SaysItWorks,
}

/// Why a device's protection is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "debt", rename_all = "kebab-case")]
pub enum Debt {
    /// No service of ours runs in safe mode.
    SafeMode,
    /// A release of this name ran before and does not run now.
    NotRunning { name: String },
    /// The guard says so: a service of ours that a remedy disabled.
    Reported { what: String },
    /// A person says so: a workaround that switched something off.
    Declared { what: String },
}

impl Debt {
    /// Opened and lifted by what the device proves; a person's word changes nothing about it.
    pub fn is_evidence(&self) -> bool {
        !matches!(self, Debt::Declared { .. })
    }
}

impl fmt::Display for Debt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Debt::SafeMode => f.write_str("in safe mode: none of our services runs"),
            Debt::NotRunning { name } => write!(f, "{name} ran before and does not run"),
            Debt::Reported { what } => write!(f, "reported by the device: {what}"),
            Debt::Declared { what } => write!(f, "declared: {what}"),
        }
    }
}

/// How often, how close together and how far apart probes must pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRule {
    /// So many in a row, at least 1.
    pub successes: u32,
    /// Not counted if nearer to the last one than this, milliseconds.
    pub every_ms: u64,
    /// All of them within this time, milliseconds.
    pub window_ms: u64,
}

/// The times that cases go by, milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// A device silent for so long, without a goodbye, gets a case.
    pub silent_after_ms: u64,
    /// A site all of whose devices are silent for so long gets an incident.
    pub site_silent_after_ms: u64,
    /// A device with a case that spoke again is silent again after so long.
    pub case_silent_ms: u64,
    /// A device may come back by itself for so long before its site is called.
    pub grace_ms: u64,
    /// Between two attempts to reach a site.
    pub contact_again_ms: u64,
    /// So many attempts in a row without an answer make a site unreachable.
    pub unreachable_after: u32,
    pub probe: ProbeRule,
    /// A verified case closes by itself after so long.
    pub close_after_ms: u64,
    /// Silence within this time after closing opens the same case again.
    pub reopen_within_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        const HOUR: u64 = 60 * MINUTE;
        Limits {
            silent_after_ms: 24 * HOUR,
            site_silent_after_ms: 2 * HOUR,
            case_silent_ms: 30 * MINUTE,
            grace_ms: 30 * MINUTE,
            contact_again_ms: 4 * HOUR,
            unreachable_after: 3,
            probe: ProbeRule { successes: 3, every_ms: MINUTE, window_ms: 2 * HOUR },
            close_after_ms: HOUR,
            reopen_within_ms: 7 * 24 * HOUR,
        }
    }
}

impl Limits {
    /// Compressed, so that a person can watch: never for real fleets.
    pub fn demo() -> Self {
        const SECOND: u64 = 1_000;
        Limits {
            silent_after_ms: 180 * SECOND,
            site_silent_after_ms: 120 * SECOND,
            case_silent_ms: 10 * SECOND,
            grace_ms: 10 * SECOND,
            contact_again_ms: 30 * SECOND,
            unreachable_after: 3,
            probe: ProbeRule { successes: 3, every_ms: SECOND, window_ms: 60 * SECOND },
            close_after_ms: 2 * SECOND,
            reopen_within_ms: 3_600 * SECOND,
        }
    }
}

/// What went wrong, and how far it is mended.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub id: IncidentId,
    pub class: Class,
    pub origin: Origin,
    pub aware: Awareness,
    pub why: String,
    /// Unix milliseconds.
    pub opened_ms: u64,
    /// When the last case was closed; none while one is open or before the first.
    pub ended_ms: Option<u64>,
    pub cases: Vec<CaseId>,
    /// Cases by state.
    pub counts: BTreeMap<State, u64>,
    points: Vec<Point>,
}

impl Incident {
    /// Cases in this state.
    pub fn count(&self, state: State) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }

    /// Cases that are not closed.
    pub fn open(&self) -> u64 {
        self.cases.len() as u64 - self.count(State::Closed)
    }

    /// Cases whose device is proven to be back.
    pub fn back(&self) -> u64 {
        self.count(State::Verified) + self.count(State::Closed)
    }
}

/// All incidents and cases.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub limits: Limits,
    incidents: BTreeMap<IncidentId, Incident>,
    cases: BTreeMap<CaseId, Case>,
    /// Cases that a device's word still concerns: open, or closed not long ago.
    of_device: BTreeSet<(DeviceIndex, CaseId)>,
    /// Names that devices ran before, each list once.
    baselines: Vec<Vec<String>>,
    /// When to look at a case next.
    looks: BTreeSet<(u64, CaseId)>,
    watch: watch::Watch,
    // Forgotten at a restart; it is proven anew:
    proofs: BTreeMap<CaseId, probe::Running>,
    /// The last incident of a site, for silence (false) and safe mode (true).
    of_site: BTreeMap<(u32, bool), IncidentId>,
    /// Halted rollouts whose devices were looked through.
    halts_seen: BTreeSet<u64>,
}

impl Book {
    /// An empty book.
    pub fn new(limits: Limits) -> Self {
        Book { limits, ..Book::default() }
    }

    /// An incident.
    pub fn incident(&self, id: IncidentId) -> Option<&Incident> {
        self.incidents.get(&id)
    }

    /// All incidents, oldest first.
    pub fn incidents(&self) -> impl DoubleEndedIterator<Item = &Incident> {
        self.incidents.values()
    }

    /// A case.
    pub fn case(&self, id: CaseId) -> Option<&Case> {
        self.cases.get(&id)
    }

    /// All cases after this number, in order.
    pub fn cases_after(&self, id: CaseId) -> impl Iterator<Item = &Case> {
        self.cases.range(id.saturating_add(1)..).map(|(_, case)| case)
    }

    /// Cases that a word of this device concerns: open, or closed not long ago.
    pub fn cases_of(&self, device: DeviceIndex) -> impl Iterator<Item = &Case> {
        let ids = self.of_device.range((device, 0)..=(device, CaseId::MAX));
        ids.filter_map(|(_, id)| self.cases.get(id))
    }

    /// True if the device has a case that is not closed.
    pub fn has_open_case(&self, device: DeviceIndex) -> bool {
        self.cases_of(device).any(|case| case.state != State::Closed)
    }

    /// The incident of a halted rollout.
    pub fn of_rollout(&self, rollout: u64) -> Option<&Incident> {
        self.incidents.values().find(|i| i.origin == Origin::HaltedRollout { rollout })
    }

    /// Devices of a site.
    pub fn members(&self, site: u32) -> &[DeviceIndex] {
        self.watch.members(site)
    }

    fn next_incident(&self) -> IncidentId {
        self.incidents.keys().next_back().map_or(1, |last| last + 1)
    }

    fn next_case(&self) -> CaseId {
        self.cases.keys().next_back().map_or(1, |last| last + 1)
    }
}

#[cfg(test)]
mod tests;
