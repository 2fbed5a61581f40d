//! What the console's pages show beyond the operator API: serialisable views. What must stay out: how they are computed.

use crate::api::{NoticeSheet, NoticeView, RemedyView, RolloutView};
use serde::{Deserialize, Serialize};
use staffel_core::{
    foreign::Component,
    ids::{DeviceId, Digest},
    release::Kind,
    rollout::WaveNow,
};
use staffel_trust::statement::predicate::{Gate, Release};

/// Devices by what is known of them. A device in safe mode is counted there and by its presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetCounts {
    pub devices: u64,
    pub alive: u64,
    pub silent: u64,
    pub left: u64,
    pub never_seen: u64,
    pub safe_mode: u64,
    /// Two live boots on one key.
    pub cloned: u64,
    /// Refused something that was not the ordinary course.
    pub refusing: u64,
}

/// A place, and how its devices are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRow {
    pub tenant: String,
    pub site: String,
    pub devices: u64,
    pub alive: u64,
    pub silent: u64,
    pub safe_mode: u64,
}

/// The first look.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overview {
    pub now_ms: u64,
    pub started_ms: u64,
    pub log_entries: u64,
    /// Why nothing can be written, if so.
    pub read_only: Option<String>,
    pub fleet: FleetCounts,
    /// The sites with most silent devices and devices in safe mode, at most ten.
    pub sites: Vec<SiteRow>,
    /// How many sites have any.
    pub sites_in_trouble: u64,
    pub rollouts: Vec<RolloutView>,
}

/// A rollout at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Units that hold a treated permit and are not yet proven healthy; the most since the point before.
    pub exposed: u64,
    /// K.
    pub budget: u64,
    pub confirmed: u64,
    pub silent: u64,
    pub ln_e: f64,
    /// Parts per billion of all units: what the signed ceiling allows, and how far the frontier is.
    pub ceiling_ppb: u32,
    pub reached_ppb: u32,
}

/// A wave that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaveRow {
    pub wave: u32,
    /// Unix milliseconds.
    pub opened_ms: u64,
    pub resolved_ms: Option<u64>,
    /// Units to treat, and controls.
    pub treated: u64,
    pub controls: u64,
    /// Devices of it that got a treated permit, were proven healthy, failed.
    pub permitted: u64,
    pub confirmed: u64,
    pub failed: u64,
    /// The bound on the excess harm at its end.
    pub bound: Option<f64>,
}

/// How a rollout came to where it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutCourse {
    /// In order of time; the last one is now.
    pub points: Vec<Point>,
    /// The latest waves, in order.
    pub waves: Vec<WaveRow>,
    pub open: Option<WaveNow>,
}

/// An entry of the log, for people: without signed envelopes, with the device's name where it is about one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub position: u64,
    pub at_ms: u64,
    pub kind: String,
    /// `customer/site/name`.
    pub device: Option<String>,
    /// `None` if it was erased.
    pub payload: Option<serde_json::Value>,
}

/// A page of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPage {
    /// Number of entries there are.
    pub head: u64,
    /// Latest first.
    pub entries: Vec<Told>,
}

/// An entry and what proves that it is in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogProof {
    pub entry: Told,
    /// The bytes that were hashed into the tree, as text.
    pub leaf_record: String,
    pub leaf_hash: Digest,
    /// Size of the tree that the checkpoint is about.
    pub size: u64,
    pub root: Digest,
    /// From the leaf up; empty if the checkpoint is not that far yet.
    pub hashes: Vec<Digest>,
    /// True if leaf and hashes give the root, computed when this was asked.
    pub holds: bool,
    /// The signed note, with the witnesses' lines if there are any.
    pub checkpoint: Option<String>,
}

/// A release that was rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRow {
    pub digest: Digest,
    pub name: String,
    pub version: String,
    pub sequence: u64,
    pub kind: Kind,
    pub supplier: String,
    /// Number and state.
    pub rollouts: Vec<(u64, String)>,
    /// Devices that say they run it.
    pub running_on: u64,
}

/// A release with all that was signed about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleasePage {
    pub row: ReleaseRow,
    pub release: Release,
    pub gate: Option<Gate>,
    /// Different gate keys that signed.
    pub gate_signatures: usize,
}

/// Who can change a customer's machines, and does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupplierRow {
    /// As the release says it, or the machine; empty if they say nothing.
    pub supplier: String,
    /// Of a release, or of software that updates itself.
    pub release: String,
    /// Version and devices that run it.
    pub versions: Vec<(String, u64)>,
    pub digest: Option<Digest>,
}

/// Software that Staffel did not ship, and that came to devices within a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    pub component: Component,
    /// Devices that got it.
    pub devices: u64,
    /// When the server heard of the first and of the last, Unix milliseconds.
    pub first_ms: u64,
    pub last_ms: u64,
    /// Customer and site of some of them.
    pub places: Vec<(String, String)>,
    /// How many more places there are.
    pub more_places: u64,
}

/// Of the devices that got something and of the others: how many there are, and how many are in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspicionCounts {
    pub got: u64,
    pub got_in_trouble: u64,
    pub others: u64,
    pub others_in_trouble: u64,
    /// How often chance alone would do that.
    pub chance: f64,
}

/// Foreign software that looks like the cause of trouble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspicionRow {
    /// Of the entry in the log.
    pub position: u64,
    pub at_ms: u64,
    pub component: Component,
    /// `None` for whoever is bound to a customer: they count the devices of all.
    pub counts: Option<SuspicionCounts>,
    /// Devices in trouble that got it, as far as the person may see them: id and `customer/site/name`.
    pub devices: Vec<(DeviceId, String)>,
    /// Incidents that were opened because of it.
    pub incidents: Vec<u64>,
}

/// A remedy with those who stand for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemedyRow {
    pub view: RemedyView,
    /// Ids of the operators' keys that signed it.
    pub signers: Vec<String>,
}

/// A notice, as far as somebody may know of it: the figures are about the recipients that are theirs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeRow {
    pub view: NoticeView,
    /// The incident that it is about, if it may be seen.
    pub incident: Option<u64>,
}

/// A notice and what came of it for each recipient that somebody may see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticePage {
    pub row: NoticeRow,
    pub sheet: NoticeSheet,
    /// What comes next for each recipient, as a value.
    pub steps: Vec<serde_json::Value>,
}
