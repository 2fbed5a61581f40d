//! What devices' sensors found, as people and programs see it. What must stay out: how it is decided and kept.

use serde::{Deserialize, Serialize};
use staffel_core::{
    detection::{Opening, Severity, Trouble},
    ids::DeviceId,
};
use std::collections::BTreeMap;

/// An alert: one rule, or one trouble of the sensor itself, on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionView {
    pub detection: u64,
    pub device: DeviceId,
    /// `customer/site/name`.
    pub name: String,
    /// The rule's id; none: it is about the sensor itself.
    pub rule: Option<String>,
    pub trouble: Option<Trouble>,
    /// In words.
    pub title: String,
    /// The worst that was reported.
    pub severity: Severity,
    /// Of the event, for example `process_creation`; empty for the sensor's own troubles.
    pub class: String,
    /// Name and version of the pack whose rule it is.
    pub pack: String,
    pub version: u64,
    pub tags: Vec<String>,
    /// What exactly happened to the sensor, in the device's words.
    pub detail: String,
    /// `open` or `acknowledged`.
    pub state: String,
    /// Why it was opened last; none while it is acknowledged.
    pub opened: Option<Opening>,
    pub acknowledged: Option<DetectionAcknowledged>,
    /// How often.
    pub count: u64,
    /// By the device's clock, Unix milliseconds.
    pub first_ms: u64,
    pub last_ms: u64,
    /// By the server's clock: when it heard of the first and of the last.
    pub began_ms: u64,
    pub heard_ms: u64,
    /// The last entry of the log about it.
    pub position: u64,
}

/// Who has seen to an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionAcknowledged {
    pub by: String,
    pub why: String,
    pub at_ms: u64,
    /// Until then what is no worse is only counted.
    pub quiet_until_ms: Option<u64>,
}

/// The fields of one event, as its device sent them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionEvidence {
    /// The entry of the log that holds them.
    pub position: u64,
    /// How often, and when last by the device's clock.
    pub count: u64,
    pub last_ms: u64,
    pub fields: BTreeMap<String, String>,
}

/// `GET /api/v1/detections/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionSheet {
    pub detection: DetectionView,
    /// The latest events, the latest first.
    pub evidence: Vec<DetectionEvidence>,
    /// When it was opened and acknowledged, the latest first.
    pub history: Vec<DetectionStep>,
}

/// An alert was opened, or acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionStep {
    /// Of the entry in the log.
    pub position: u64,
    pub at_ms: u64,
    pub opened: Option<Opening>,
    pub acknowledged: Option<DetectionAcknowledged>,
}

/// Which alerts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionQuery {
    /// Of this customer, at this site, of this device (id, `customer/site/name` or name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `open` (if not said), `acknowledged` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At least so severe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// `rule` or `sensor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Part of the title, the rule's id or a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only what an entry of the log after this one is about: what is new since the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Continue before this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// At most this many, 1 to 1,000; 100 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Open alerts by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionCounts {
    pub critical: u64,
    pub high: u64,
    pub medium: u64,
    pub low: u64,
    pub informational: u64,
}

/// What devices reported and nobody can look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionLosses {
    /// Findings that never arrived.
    pub lost: u64,
    /// Findings that are in a count, without the fields of their events.
    pub folded: u64,
    /// Findings that were not understood or found no room: in no alert's count.
    pub uncounted: u64,
    /// Alerts that had to make room for others; the log has them.
    pub dropped: u64,
}

/// `GET /api/v1/detections`: what changed last comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionPage {
    pub detections: Vec<DetectionView>,
    /// The `before` of the next page, if there is one.
    pub next: Option<u64>,
    /// All that are open on the devices that somebody sees, whatever was asked for.
    pub open: DetectionCounts,
    pub losses: DetectionLosses,
}

/// `POST /api/v1/detections/{id}/acknowledgement`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Why; it stands in the log with the person's name.
    pub why: String,
    /// For so long what is no worse is only counted, minutes; at most 30 days. Nothing: the next time opens it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_minutes: Option<u64>,
}

/// What a device's sensor found: part of [`super::DeviceWhy`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDetections {
    /// The worst first, at most 20.
    pub open: Vec<DetectionView>,
    /// How many more are open.
    pub more: u64,
    pub losses: DetectionLosses,
}
