//! What operators, the command line and pages see: operator API `/api/v1`, JSON. What must stay out: how it is computed.

mod detections;
mod notices;
mod recovery;
mod sites;

pub use detections::*;
pub use notices::*;
pub use recovery::*;
pub use sites::*;

use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::traces::Trace,
    conditions::Refusal,
    foreign::{self, FileHash},
    ids::{DeviceId, Digest},
    profile::Profile,
};
use staffel_trust::{
    statement::{Envelope, PublicKey, predicate::Release},
    wire::Why,
};
use std::collections::BTreeMap;

/// What somebody may do. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Sets the policy of one customer and makes tokens for its devices.
    TenantAdmin,
    /// Holds, resumes, halts.
    Operator,
    /// Starts rollouts.
    Releaser,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub role: Role,
    /// Sees and does only what is this customer's; `None`: everything.
    pub tenant: Option<String>,
}

/// `GET /api/v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    pub version: String,
    pub started_ms: u64,
    pub now_ms: u64,
    pub devices: u64,
    /// Heard within three of their heartbeats.
    pub alive: u64,
    pub tenants: u64,
    pub log_entries: u64,
    /// Why nothing can be written, if so (full disk, ...): reading goes on.
    pub read_only: Option<String>,
}

/// `GET /api/v1/rollouts/next`: what releasers need to sign an authorisation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NextRollout {
    pub rollout: u64,
    /// Root of the log now: fixes every device's position.
    pub log_root: Digest,
    pub now_ms: u64,
    /// Whom it may reach: the ceiling follows the size of the fleet, and a dry run simulates it.
    #[serde(default)]
    pub fleet: FleetShape,
}

/// A fleet in numbers and without names: devices of each customer, OS build and hardware model, retired ones left out. The
/// place in a list is no more than that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetShape {
    pub devices: u64,
    pub sites: u64,
    pub customers: Vec<u64>,
    pub os_builds: Vec<u64>,
    pub hardware_models: Vec<u64>,
}

/// `POST /api/v1/rollouts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartRollout {
    /// Signed by the release role.
    pub release: Envelope,
    /// Signed by the gate.
    pub gate: Envelope,
    /// Signed by two releasers.
    pub authorisation: Envelope,
}

/// `POST /api/v1/rollouts/{id}/hold`, `/resume`, `/halt`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Word {
    /// Why; it stands in the log with the person's name.
    pub why: String,
    /// For `halt`: an operator's own signature, so that devices without the server believe it, too. Optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Envelope>,
}

/// A rollout as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RolloutView {
    pub rollout: u64,
    pub name: String,
    pub version: String,
    pub release: Digest,
    pub profile: Profile,
    /// `running`, `held`, `halted`, `completed`.
    pub state: String,
    /// In words: why it is in that state, what it waits for.
    pub why: String,
    /// The same, for programs.
    pub waiting_on: serde_json::Value,
    pub started_by: String,
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
    pub wave: u32,
    pub devices: u64,
    /// Got a treated permit, ever.
    pub exposed_ever: u64,
    /// Got one and are not proven healthy yet.
    pub exposed: u64,
    /// K: never more are exposed.
    pub budget: u64,
    pub confirmed: u64,
    pub failed: u64,
    pub silent: u64,
    /// Permits that came back unused.
    #[serde(default)]
    pub withdrawn: u64,
    /// The evidence against the release; it holds and halts at the two limits.
    pub ln_e: f64,
    pub ln_hold: f64,
    pub ln_halt: f64,
    /// With 95 or 99 % confidence the release harms at most this share more than the controls.
    pub bound: Option<f64>,
    pub small_fleet_rules: bool,
    /// Share of the fleet that the signed ceiling allows now, parts per billion.
    pub ceiling_ppb: u32,
}

/// One thing that happened to a rollout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub position: u64,
    pub at_ms: u64,
    pub kind: String,
    /// In words.
    pub text: String,
}

/// A device as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceView {
    pub device: DeviceId,
    pub name: String,
    pub tenant: String,
    pub site: String,
    pub os_build: String,
    pub hardware_model: String,
    /// `alive`, `silent`, `left` (said goodbye), `never-seen`, `retired`.
    pub presence: String,
    pub last_seen_ms: Option<u64>,
    /// `normal` or `safe`, with the reason.
    pub mode: String,
    /// Release name to version (or digest where the release is unknown here).
    pub running: BTreeMap<String, String>,
    /// What people should look at: a cloned key, expired certificate, ...
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Alerts of its sensor that nobody has seen to.
    #[serde(default)]
    pub alerts: DetectionCounts,
}

/// `GET /api/v1/devices/{id}/why`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceWhy {
    pub device: DeviceView,
    /// One for each rollout that the device knows of or that knows of the device.
    pub rollouts: Vec<DeviceWhyRollout>,
    /// Signed acts of repair that it was sent, oldest first.
    #[serde(default)]
    pub remedies: Vec<RemedyView>,
    /// Its latest starts that found what an earlier one had left, oldest first.
    #[serde(default)]
    pub starts: Vec<StartView>,
    /// Its last attempt to get a certificate in place of an expired one.
    #[serde(default)]
    pub certificate: Option<CertificateView>,
    /// What its sensor found.
    #[serde(default)]
    pub detections: DeviceDetections,
}

/// A start of a machine that found something of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartView {
    /// When the server heard of it, Unix milliseconds.
    pub at_ms: u64,
    /// Entry of the log.
    pub position: u64,
    /// Identity of the start.
    pub boot_id: String,
    /// What it found, in words, one line each.
    pub says: Vec<String>,
    /// The same, for programs.
    pub traces: Vec<Trace>,
}

/// An attempt to get a certificate in place of an expired one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Why there was none, in words; none: it got one.
    pub refused: Option<String>,
}

/// `POST /api/v1/remedies` answers one, `GET` all: a signed act of repair, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemedyView {
    pub device: DeviceId,
    /// `customer/site/name`.
    pub name: String,
    pub sequence: u64,
    pub case: String,
    /// In words.
    pub action: String,
    /// Who sent it.
    pub by: String,
    pub sent_ms: u64,
    pub expires_ms: u64,
    /// `waiting`, `done`, `failed`, `expired`.
    pub state: String,
    /// The guard's words on what it did, or what it is waited for.
    pub why: String,
    pub answered_ms: Option<u64>,
}

/// `GET /api/v1/devices/{id}/remedies`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceRemedies {
    pub device: DeviceId,
    /// What operators sign into the next remedy.
    pub next_sequence: u64,
    pub now_ms: u64,
    pub remedies: Vec<RemedyView>,
}

/// `GET /api/v1/rollouts/{id}/unhalt`: what two releasers sign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NextUnhalt {
    pub rollout: u64,
    pub release: Digest,
    /// The halts that stand against the release; each is taken back by a statement of its own.
    pub halts: Vec<Digest>,
    pub now_ms: u64,
}

/// `POST /api/v1/rollouts/{id}/unhalt`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unhalting {
    /// Why; it stands in the log with the person's name.
    pub why: String,
    /// One for each halt, each signed by two releasers.
    pub unhalts: Vec<Envelope>,
}

/// `PUT /api/v1/tenants/{tenant}/keys`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantKeys {
    /// The keys that the customer's devices have pinned, 64 hex digits each.
    pub keys: Vec<PublicKey>,
}

/// Why a device does nothing about a rollout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceWhyRollout {
    pub rollout: u64,
    pub release: String,
    /// The server's view of its place.
    pub place: String,
    /// The device's own words, one line each.
    pub says: Vec<String>,
    /// The same, for programs: refusals with their condition.
    pub refusals: Vec<Refusal>,
    pub problems: Vec<String>,
}

impl DeviceWhyRollout {
    /// Takes over what the device said.
    pub fn say(&mut self, why: &Why) {
        self.says = why.refusals.iter().map(|r| format!("condition {}: {r}", r.condition())).collect();
        self.says.extend(why.problems.iter().cloned());
        self.refusals = why.refusals.clone();
        self.problems = why.problems.clone();
    }
}

/// A piece of foreign software on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftwareView {
    #[serde(flatten)]
    pub component: foreign::Component,
    /// If it came in the last day: when the server heard of it.
    pub arrived_ms: Option<u64>,
}

/// `GET /api/v1/devices/{id}/software`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSoftware {
    pub device: DeviceId,
    pub software: Vec<SoftwareView>,
}

/// `GET /api/v1/software/suspects`: foreign software that looks like the cause of trouble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspectView {
    /// Of the entry in the log.
    pub position: u64,
    pub at_ms: u64,
    /// In words.
    pub text: String,
    pub component: foreign::Component,
    /// Devices that got it within a day, and how many of these are in trouble.
    pub got: u64,
    pub got_in_trouble: u64,
    /// Devices that did not get it, and how many of these are.
    pub others: u64,
    pub others_in_trouble: u64,
    /// How often chance alone would do that.
    pub chance: f64,
    /// Files that came with it: what a remedy can name.
    pub new_files: Vec<FileHash>,
    /// The devices in trouble that got it.
    pub devices: Vec<DeviceId>,
}

/// Which devices to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeviceQuery {
    pub tenant: Option<String>,
    pub site: Option<String>,
    /// As in [`DeviceView`], or `safe-mode`, `refusing`, `cloned`.
    pub presence: Option<String>,
    /// Runs this release: `name` or `name version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Part of the name or id.
    pub text: Option<String>,
    /// Continue after this device number.
    pub after: Option<u32>,
    /// At most this many, 1 to 1,000; 100 if not said.
    pub limit: Option<u32>,
}

/// A page of devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DevicePage {
    pub devices: Vec<DeviceView>,
    /// Where the next page begins, if there is one.
    pub next: Option<u32>,
}

/// A customer as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantView {
    pub tenant: String,
    pub devices: u64,
    pub policy_sequence: u64,
    pub policy: staffel_core::policy::CustomerPolicy,
    /// Its keys; without one the server can't verify its policies, and only its devices do.
    #[serde(default)]
    pub keys: Vec<PublicKey>,
}

/// `POST /api/v1/tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRequest {
    pub tenant: String,
    pub site: String,
    /// Hours until it is worthless; 24 if not said.
    #[serde(default)]
    pub hours: Option<u64>,
}

/// The answer: shown once, only its hash is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    pub token: String,
    pub expires_ms: u64,
}

/// A release that the server knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseView {
    pub digest: Digest,
    pub release: Release,
    pub halted: bool,
}
