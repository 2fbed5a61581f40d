//! What devices' sensors found: repeated findings are one alert, people acknowledge it, and a flood can fill nothing.
//!
//! An alert is one rule (or one trouble of the sensor itself) on one device. [`Book`] is a projection: it changes only by
//! what stands in the log. What a delivery of a device means is decided in `take`, which only returns a [`Found`]: nothing
//! twice, repetitions folded, and of the events' fields no more than the device has credit for. Whatever was left out is
//! counted. What must stay out: clocks, the events' fields themselves, who may acknowledge.

mod book;
mod take;
#[cfg(test)]
mod tests;

pub use book::{Alert, Book, Counts, EVIDENCE, Losses, State};
pub use take::{Fault, Taken};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of an alert, from 1 on, over all devices.
pub type AlertId = u64;

/// Alerts of one device that are kept; the log has all of them.
pub const MOST_ALERTS: usize = 128;
/// Different rules that are taken from one delivery.
pub const MOST_SUBJECTS: usize = 64;
/// Findings that are taken from one delivery; the rest comes with the next one.
pub const MOST_FINDINGS: usize = 256;
/// Streams of a device that are told apart: it begins a new one where its sensor's folder was lost.
pub const STREAMS: usize = 4;
/// What a device may have written down at once beyond counts: new alerts, changed words, events' fields. One more comes back
/// each minute.
pub const CREDIT: u32 = 96;
/// Of that, this much is for new alerts only: events' fields must not use up what names a later attack.
pub const RESERVE: u32 = 32;
/// Longest name of a stream, bytes.
pub const MOST_STREAM_NAME: usize = 64;
/// Longest time for which an alert that was acknowledged stays quiet: 30 days.
pub const LONGEST_QUIET_MS: u64 = 30 * 24 * 3_600_000;

/// How bad it is: the levels of Sigma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Severity; 5] =
        [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// The word for programs and queries.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What happened to a sensor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// One of its processes was ended by somebody else.
    Killed,
    /// One of its processes was stopped and does not answer.
    Stopped,
    /// Its program or one of its files is another than it was.
    Modified,
    /// A source of events is gone, or lost some.
    Blind,
    /// A pack was taken out of service.
    Quarantined,
    /// Nothing is heard of it; said by the agent.
    Silent,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 6] =
        [Trouble::Killed, Trouble::Stopped, Trouble::Modified, Trouble::Blind, Trouble::Quarantined, Trouble::Silent];

    /// The word for programs and queries.
    pub fn word(self) -> &'static str {
        match self {
            Trouble::Killed => "killed",
            Trouble::Stopped => "stopped",
            Trouble::Modified => "modified",
            Trouble::Blind => "blind",
            Trouble::Quarantined => "quarantined",
            Trouble::Silent => "silent",
        }
    }
}

/// What an alert is about, on its device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A rule of a detection pack, by its id.
    Rule(String),
    Sensor(Trouble),
}

/// What a finding says in words beside its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Of the event, for example `process_creation`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pack: String,
    #[serde(default)]
    pub version: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Of a trouble of the sensor: what exactly.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// One finding as a device reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Of its stream, from 1.
    pub number: u64,
    pub subject: Subject,
    pub severity: Severity,
    pub about: About,
    pub count: u64,
    /// Unix milliseconds of the device's clock.
    pub first_ms: u64,
    pub last_ms: u64,
    /// Fields of the event came with it.
    pub has_fields: bool,
}

/// What a device sends at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names the numbering.
    pub stream: String,
    /// Findings of this stream that the device had to drop, in total.
    pub lost: u64,
    /// Ascending by number.
    pub sightings: Vec<Sighting>,
    /// Numbers of findings that could not be understood, ascending.
    pub unreadable: Vec<u64>,
}

/// What of a delivery counts: this stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub stream: String,
    /// The last number that is done with.
    pub through: u64,
    /// Findings of this stream that the device had to drop, in total.
    #[serde(default)]
    pub lost: u64,
    /// Numbers up to `through` that no finding came with.
    #[serde(default)]
    pub missing: u64,
    /// Findings whose fields were not kept.
    #[serde(default)]
    pub folded: u64,
    /// Findings that could not be understood, or for which there was no room: counted here and nowhere else.
    #[serde(default)]
    pub uncounted: u64,
    /// What of [`CREDIT`] this used up.
    #[serde(default)]
    pub spent: u32,
    pub seen: Vec<Seen>,
}

/// One alert that got new findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub alert: AlertId,
    /// There if the alert is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// There if the alert is new or the words changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    pub severity: Severity,
    pub count: u64,
    pub first_ms: u64,
    pub last_ms: u64,
    /// There if people should look now; none: more of what is open or quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<Opening>,
}

/// Why people should look now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    /// This device never had it.
    New,
    /// It was acknowledged and happened again.
    Again,
    /// It is more severe than it was; that opens also what is to stay quiet.
    Worse,
}

/// A person has seen to an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub alert: AlertId,
    pub by: String,
    pub why: String,
    /// Until then new findings of the same severity are only counted, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until_ms: Option<u64>,
}
