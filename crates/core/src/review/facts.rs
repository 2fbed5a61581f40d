//! What the log says about an incident, as a review needs it. Must stay out: sentences.

use crate::recovery::{Channel, Class};

/// When something happened, and where that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Unix milliseconds.
    pub at_ms: u64,
    pub position: u64,
}

/// The release that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub rollout: u64,
    pub name: String,
    pub version: String,
    /// As the release names it; empty: it names none.
    pub supplier: String,
    pub by: String,
    pub started: Mark,
    /// When it was halted, and why.
    pub halted: Option<(Mark, String)>,
}

/// One device's case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    pub tenant: String,
    pub site: String,
    pub name: String,
    pub opened: Mark,
    /// Why it has a case, in words.
    pub why: String,
    /// When it was allowed to take the release.
    pub pushed: Option<Mark>,
    /// The first thing that left for the site, and the first answer from there.
    pub notified: Option<Mark>,
    pub reached: Option<Mark>,
    /// When it spoke again the last time.
    pub heard: Option<Mark>,
    /// While that holds.
    pub verified: Option<Mark>,
    pub closed: Option<Mark>,
    /// Protection that was off: what, since when, until when.
    pub debts: Vec<(String, Mark, Option<Mark>)>,
    /// Signed acts of repair, oldest first.
    pub remedies: Vec<RemedyFacts>,
}

/// A signed act of repair for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemedyFacts {
    pub sequence: u64,
    /// In words.
    pub action: String,
    pub by: String,
    pub sent: Mark,
    /// The device's answer: whether it was done, and its words.
    pub answered: Option<(Mark, bool, String)>,
}

/// Software that Staffel did not ship and that the product suspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspectFacts {
    pub name: String,
    pub version: String,
    /// Empty: nothing on the machines says it.
    pub supplier: String,
    pub noticed: Mark,
    /// Devices that got it and of those in trouble, then the same of those that did not get it; none: the reader may not know of
    /// other customers' devices.
    pub counts: Option<[u64; 4]>,
}

/// A notice to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeFacts {
    pub number: u64,
    pub by: String,
    pub drawn: Mark,
    /// Those that the reader may know of.
    pub recipients: Vec<RecipientFacts>,
}

/// A site that was to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientFacts {
    pub tenant: String,
    pub site: String,
    pub sendings: Vec<Sending>,
    /// Calls that reached nobody.
    pub calls: Vec<Mark>,
    pub acknowledged: Option<Acknowledgement>,
}

/// One attempt to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    pub attempt: u32,
    pub channel: Channel,
    pub begun: Mark,
    /// None: the log does not say how it ended.
    pub ended: Option<(Mark, SendingEnd)>,
}

/// How an attempt ended, or what a look-up found later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendingEnd {
    /// A mail server, a gateway or a print shop has it: not yet a person.
    HandedOver,
    NotSent,
    Unknown,
}

/// Somebody at the site said that they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub mark: Mark,
    pub means: Means,
    /// Account name of who entered it.
    pub by: String,
}

/// How they said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// They called and gave their code.
    CallBack,
    /// They were called.
    Call,
    /// The page of the QR code.
    Page,
    Fax,
    Mail,
}

/// What the log says about an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub incident: u64,
    pub class: Class,
    pub opened: Mark,
    /// When somebody became aware, who, and from where.
    pub aware_at_ms: u64,
    pub aware_who: String,
    pub aware_source: String,
    pub why: String,
    pub push: Option<Push>,
    /// A component that Staffel did not ship: name, version, supplier.
    pub component: Option<(String, String, String)>,
    /// What the product suspected of the devices concerned, oldest first.
    pub suspects: Vec<SuspectFacts>,
    pub devices: Vec<DeviceFacts>,
    /// Oldest first.
    pub notices: Vec<NoticeFacts>,
    /// The last entry that was looked at: statements about what is not there rest on it.
    pub until: Mark,
}
