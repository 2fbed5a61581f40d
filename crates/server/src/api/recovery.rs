//! Incidents and recovery cases as people and programs see them. Must stay out: how they come about.

use super::{ChannelView, HistoryEntry, StartView};
use serde::{Deserialize, Serialize};
use staffel_core::{
    ids::DeviceId,
    recovery::{Action, Channel, Class, Contact, Debt, Doubt, Refusal, State},
    review::Document,
};
use std::collections::BTreeMap;

/// What opened an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "kebab-case")]
pub enum OriginView {
    HaltedRollout { rollout: u64, release: String },
    Silence { tenant: String, site: String, since_ms: u64, whole_site: bool },
    SafeMode { tenant: String, site: String },
    Component { name: String, version: String, supplier: String },
    Operator,
}

/// An incident; counts are of the cases that the asker may see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentView {
    pub incident: u64,
    pub class: Class,
    pub origin: OriginView,
    /// One line: what it is.
    pub title: String,
    pub why: String,
    /// `open` or `over`: every case is closed.
    pub state: String,
    /// Unix milliseconds: since when somebody knows, who, and from where.
    pub aware_at_ms: u64,
    pub aware_who: String,
    pub aware_source: String,
    pub opened_ms: u64,
    pub ended_ms: Option<u64>,
    pub cases: u64,
    /// Proven to be back: verified or closed.
    pub back: u64,
    pub not_back: u64,
    /// Cases by state: `suspected`, `notified`, `reached`, `instructed`, `working`, `restricted`, `unreachable`, `verified`, `closed`.
    pub by_state: BTreeMap<String, u64>,
    /// Open cases that nobody owns: assign one.
    pub without_owner: u64,
    /// Open cases whose next action is overdue.
    pub overdue: u64,
    /// Open cases with protection off.
    pub with_debts: u64,
}

/// `POST /api/v1/incidents`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenIncident {
    pub class: Class,
    pub why: String,
    /// When somebody became aware, Unix milliseconds; now if not said. Never later than now.
    #[serde(default)]
    pub aware_at_ms: Option<u64>,
    /// From where, for example `call from the clinic`.
    #[serde(default)]
    pub source: String,
    /// The foreign component that is to blame: name, version, supplier.
    #[serde(default)]
    pub component: Option<Component>,
    /// Ids, `tenant/site/name`, or names of devices.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Whole sites, as `tenant/site`.
    #[serde(default)]
    pub sites: Vec<String>,
    /// Adds devices to this incident instead of opening a new one.
    #[serde(default)]
    pub incident: Option<u64>,
}

/// Software that Staffel did not ship.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub name: String,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub supplier: String,
}

/// What to do next about a case, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextView {
    pub action: Action,
    /// In words.
    pub text: String,
    /// Unix milliseconds.
    pub due_ms: u64,
    pub overdue: bool,
}

/// The last attempt to reach the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactView {
    pub at_ms: u64,
    pub channel: Channel,
    pub outcome: Contact,
    pub by: String,
}

/// Protection that is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebtView {
    pub debt: Debt,
    /// In words.
    pub text: String,
    pub since_ms: u64,
    /// Who declared it; none: the device's own evidence.
    pub by: Option<String>,
}

/// Something that was done about a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedView {
    pub at_ms: u64,
    /// None: Staffel itself.
    pub by: Option<String>,
    pub text: String,
}

/// How far the probe is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeView {
    pub passed: u32,
    pub needed: u32,
    pub doubts: Vec<Doubt>,
    /// The doubts in words.
    pub says: Vec<String>,
    pub verified_ms: Option<u64>,
}

/// A case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseView {
    pub case: u64,
    pub incident: u64,
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    pub tenant: String,
    pub site: String,
    pub state: State,
    /// In this state since, Unix milliseconds.
    pub since_ms: u64,
    pub opened_ms: u64,
    /// Why the device has a case, in words.
    pub why: String,
    /// None: nobody, assign one.
    pub owner: Option<String>,
    pub next: NextView,
    /// First phone number of the site.
    pub phone: Option<String>,
    /// In the order in which the site wants to be reached.
    pub channels: Vec<ChannelView>,
    /// `de` or `en`, if known.
    pub language: Option<String>,
    pub last_contact: Option<ContactView>,
    /// Attempts in a row without an answer.
    pub attempts: u32,
    pub call_back_ms: Option<u64>,
    pub debts: Vec<DebtView>,
    pub tried: Vec<TriedView>,
    pub probe: ProbeView,
    /// Why it can't be closed now; empty: it can. Empty as well once it is closed.
    pub cannot_close: Vec<String>,
    /// The same, for programs.
    pub refusals: Vec<Refusal>,
    /// `alive`, `silent`, `left`, `never-seen`.
    pub presence: String,
    pub last_seen_ms: Option<u64>,
    pub closed_ms: Option<u64>,
    /// Who closed it; none: the probe alone.
    pub closed_by: Option<String>,
    pub reopened: u32,
    /// Starts of its machine that found what an earlier one had left, oldest first; only when one case was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<StartView>,
    /// What happened, with positions in the log; only when one case was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// Which cases to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CaseQuery {
    pub incident: Option<u64>,
    pub tenant: Option<String>,
    pub site: Option<String>,
    /// One of the states, or `open`, `not-back`, `overdue`, `unowned`, `debt`.
    pub state: Option<String>,
    pub owner: Option<String>,
    /// Continue after this case.
    pub after: Option<u64>,
    /// At most this many, 1 to 1,000; 100 if not said.
    pub limit: Option<u32>,
}

/// A page of cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CasePage {
    pub cases: Vec<CaseView>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// `POST /api/v1/cases/{id}/words`: a person's word about a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "kebab-case")]
pub enum CaseWord {
    /// Takes the case; without a name whoever asks, an empty one gives it back.
    Own {
        #[serde(default)]
        owner: Option<String>,
    },
    Note {
        text: String,
    },
    /// An attempt to reach the site.
    Contact {
        channel: Channel,
        outcome: Contact,
        #[serde(default)]
        text: String,
    },
    /// The site wants to be called then, Unix milliseconds; none: no more.
    CallBack {
        at_ms: Option<u64>,
        #[serde(default)]
        text: String,
    },
    /// Where the case stands; never `verified` or `closed`.
    State {
        state: State,
        why: String,
    },
    /// A workaround switched protection off.
    OpenDebt {
        what: String,
    },
    /// It is on again.
    LiftDebt {
        what: String,
        why: String,
    },
    /// Closes it, if a probe has verified it and protection is on.
    Close,
    Reopen {
        why: String,
    },
}

/// `GET /api/v1/incidents/{id}/curve`: the share that is back, over time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecoveryCurve {
    pub incident: u64,
    /// Times count from here, Unix milliseconds.
    pub aware_at_ms: u64,
    pub now_ms: u64,
    pub cases: u64,
    pub back: u64,
    /// At most 500, the last is now.
    pub points: Vec<CurvePoint>,
    /// 50, 90, 97, 99 and 100 percent.
    pub milestones: Vec<CurveMilestone>,
    /// In words: `97 % after 3 h; 2 of 80 are not back`.
    pub says: String,
}

/// A step of the curve; the value holds until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Milliseconds after awareness.
    pub after_ms: u64,
    pub back: u64,
    pub cases: u64,
}

/// When a share was back, for good so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurveMilestone {
    pub percent: u32,
    /// Milliseconds after awareness; none: not yet.
    pub after_ms: Option<u64>,
}

/// A site that somebody has to call: at least one of its devices is not back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallListEntry {
    pub tenant: String,
    pub site: String,
    /// None: no number is known, `staffel import contacts`.
    pub phone: Option<String>,
    pub channels: Vec<ChannelView>,
    pub language: Option<String>,
    pub address: Option<String>,
    /// Open cases of the site that need somebody.
    pub cases: Vec<u64>,
    pub incidents: Vec<u64>,
    /// Names of their devices.
    pub devices: Vec<String>,
    /// The most attempts in a row without an answer of any of them.
    pub attempts: u32,
    pub unreachable: bool,
    pub last_contact: Option<ContactView>,
    pub call_back_ms: Option<u64>,
    /// Owners of the cases; empty: nobody.
    pub owners: Vec<String>,
    /// The most urgent of their next actions.
    pub next: NextView,
    /// What was tried last, a few lines.
    pub tried: Vec<TriedView>,
}

/// A review or a dossier with everything that its sentences rest on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewSheet {
    #[serde(flatten)]
    pub document: Document,
    /// Who issues it.
    pub issuer: String,
    /// Every entry that is cited, ascending.
    pub entries: Vec<CitedEntry>,
    /// Entries of the log when it was read.
    pub log_size: u64,
    /// Root of the Merkle tree over them, hexadecimal.
    pub log_root: String,
}

/// An entry of the log that a sentence rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitedEntry {
    pub position: u64,
    pub at_ms: u64,
    pub kind: String,
    /// Its leaf in the Merkle tree (RFC 9162), hexadecimal: what a proof of inclusion is for.
    pub hash: String,
}

/// What one customer gets to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dossier {
    pub tenant: String,
    #[serde(flatten)]
    pub sheet: ReviewSheet,
}

/// `POST /api/v1/notices/{id}/erasure`: its addresses go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Erase {
    /// Stays in the log: no names of people.
    pub why: String,
}

/// `POST /api/v1/cases/{id}/erasures`: the words of one note go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EraseNote {
    /// Its place in the log, as the case's history shows it.
    pub entry: u64,
    /// Stays in the log: no names of people.
    pub why: String,
}
