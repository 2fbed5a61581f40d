//! What agents and the server say to one another: device API `/v1`, JSON over mutual TLS.
//!
//! Unknown fields are ignored, so that either side may be the newer one; a new meaning gets a new path. What must stay
//! out: how it is sent, and what it leads to.
//!
//! | path | who | what |
//! | --- | --- | --- |
//! | `POST /v1/enrol` | no certificate, one-time token | [`Enrol`] -> [`Enrolled`] |
//! | `POST /v1/renew` | device, while its certificate is good | [`Renew`] -> [`Enrolled`] |
//! | `GET /v1/recover` | no certificate | [`RecoverNonce`]: what a device signs whose certificate has expired |
//! | `POST /v1/recover` | no certificate, the device's own key | [`Recover`] -> [`Enrolled`] |
//! | `POST /v1/checkin` | device | [`CheckIn`] -> [`CheckInReply`] |
//! | `GET /v1/board` | device | [`Board`]: the same for everybody, cacheable |
//! | `GET /v1/policy` | device | DSSE envelope of its customer's policy, 404 if there is none |
//! | `POST /v1/inventory` | device, when the answer to a check-in asks for it | [`Inventory`] |
//! | `POST /v1/remedied` | device | [`Remedied`]: how remedies went that came with a check-in |
//! | `POST /v1/detections` | device | [`Detections`] -> [`DetectionsNoted`]: what its sensor found |
//! | `POST /v1/bye` | device | [`Bye`]: a clean shutdown, so that silence is no evidence |
//! | `GET /repo/metadata/..`, `/repo/targets/..` | anybody | the TUF repository |
//! | `GET /repo/blobs/{sha256}` | anybody | one file of a release, `Range` understood |

mod detections;

pub use detections::{Detections, DetectionsNoted, Finding, Found, SensorTrouble, Severity};

use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::{Mode, Outcome, traces::Start},
    conditions::Refusal,
    foreign::Component,
    ids::{DeviceId, Digest},
    recovery::Health,
};
use staffel_statement::{Envelope, guard::RemedyOutcome};
use std::collections::BTreeMap;

/// TUF target path of a release's signed statement.
pub fn release_target(name: &str, version: &str) -> String {
    format!("releases/{name}/{version}.dsse.json")
}

/// TUF target path of the gate attestation for a release.
pub fn gate_target(release: &Digest) -> String {
    format!("gate/{release}.dsse.json")
}

/// What a device is, as far as comparisons need it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// For example `debian-12.11`.
    pub os_build: String,
    /// For example the DMI product name.
    pub hardware_model: String,
}

impl Attributes {
    /// The stratum: devices alike in OS build and hardware model.
    pub fn stratum(&self) -> String {
        format!("{}/{}", self.os_build, self.hardware_model)
    }
}

/// Asks for a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enrol {
    /// One-time token from `staffel device token`.
    pub token: String,
    /// PKCS#10 in PEM, signed by the device's own key.
    pub csr_pem: String,
    /// What people call the device, unique in its customer.
    pub name: String,
    pub attributes: Attributes,
}

/// Asks for a certificate with a later end, over a connection with the old one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Renew {
    /// PKCS#10 in PEM, signed by the key that the connection's certificate has.
    pub csr_pem: String,
}

/// What a device whose certificate has expired has to sign to get another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecoverNonce {
    /// Good once and for two minutes. Printable ASCII, at most 120 bytes.
    pub nonce: String,
}

/// Asks for a certificate in place of one that has expired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recover {
    /// PKCS#10 in PEM, signed by the key that was enrolled, with the nonce as its challenge password (RFC 2985, 5.4.1).
    pub csr_pem: String,
}

/// The answer to [`Enrol`], [`Renew`] and [`Recover`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enrolled {
    pub device: DeviceId,
    pub tenant: String,
    pub site: String,
    pub certificate_pem: String,
}

/// "I have it, it is verified and prepared, may I?" Both arms of a wave ask the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub rollout: u64,
    pub release: Digest,
    /// The guard's nonce, hex.
    pub nonce: String,
    /// How old the device's guard takes the authorisation to be, milliseconds; the ceiling is judged by the lower of
    /// this and the server's own. Unknown from a device that does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// "It runs, the probes passed once": asks for a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnTrial {
    pub rollout: u64,
    pub release: Digest,
    pub nonce: String,
}

/// "A permit that you gave me, or may have given me, is not used": this device runs what it ran before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    pub rollout: u64,
    pub release: Digest,
    pub refusals: Vec<Refusal>,
    /// Local trouble, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Why this device does nothing about a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// 0 for what concerns the device as a whole.
    pub rollout: u64,
    pub refusals: Vec<Refusal>,
    /// Local trouble: disk full, download truncated, metadata expired, ...
    #[serde(default)]
    pub problems: Vec<String>,
}

/// One sign of life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckIn {
    /// Identity of the machine's boot: two live ones on one key are a cloned key.
    pub boot_id: String,
    pub mode: Mode,
    /// Release name to the digest that runs; absent in safe mode.
    #[serde(default)]
    pub running: BTreeMap<String, Digest>,
    /// Nothing of what runs is on trial: all of it was committed.
    #[serde(default)]
    pub settled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Digest>,
    /// Sent at the first check-in of a boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_trial: Option<OnTrial>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// This start of the machine, if it found something of an earlier one. Sent until it is noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Sent until it is noted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<Declined>,
    /// Sent when it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Vec<Why>>,
    /// Digest of the foreign software that the device has ([`staffel_core::foreign::digest`]); sent at the first check-in
    /// of a boot and when it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Digest>,
    /// Version of the board that the device has.
    #[serde(default)]
    pub board: u64,
    /// A checkpoint of the log (signed note) that the server showed before and that is larger than the one it shows now:
    /// its log is an old one. Sent until it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_ahead: Option<String>,
    /// The answer to [`CheckInReply::probe`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed: Option<Probed>,
}

/// What the device measured because the server asked it to prove that it is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The server's question, so that an old answer counts for nothing.
    pub nonce: String,
    #[serde(flatten)]
    pub health: Health,
}

/// The foreign software of a device: sent only where nobody alike has sent it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub components: Vec<Component>,
}

/// The answer to [`CheckIn`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckInReply {
    /// Unix milliseconds; not signed, for display and drift only.
    pub server_ms: u64,
    /// Until the next check-in; the device adds jitter.
    pub cadence_ms: u64,
    /// Version of the board that the server has.
    pub board: u64,
    /// Sequence of the customer's policy that the server has.
    pub policy: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Envelope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Envelope>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Envelope>,
    /// Prove that you are well, and answer with this nonce in the next check-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// The outcome sent with this check-in is durable on the server.
    #[serde(default)]
    pub outcome_noted: bool,
    /// The server does not know the inventory whose digest was sent: it wants the whole.
    #[serde(default)]
    pub inventory_wanted: bool,
    /// What was declined with this check-in is durable on the server.
    #[serde(default)]
    pub declined_noted: bool,
    /// What the start had found that was sent with this check-in is durable on the server.
    #[serde(default)]
    pub start_noted: bool,
}

/// A release on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    pub rollout: u64,
    pub name: String,
    pub version: String,
    pub release: Digest,
    /// How long a change must stay healthy before the guard commits it, milliseconds; for people: a device goes by the
    /// profile that two releasers signed.
    #[serde(default)]
    pub soak_ms: u64,
    pub authorisation: Envelope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontier: Option<Envelope>,
}

/// What everybody may know. The server may not be believed: each part is signed by somebody.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Board {
    /// Grows with every change.
    pub version: u64,
    /// Keyrings after the first, in order.
    #[serde(default)]
    pub keyrings: Vec<Envelope>,
    #[serde(default)]
    pub halts: Vec<Envelope>,
    #[serde(default)]
    pub unhalts: Vec<Envelope>,
    #[serde(default)]
    pub offers: Vec<Offer>,
    /// The latest checkpoint of the log, witnessed where there is a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// How remedies went. The server sends a remedy with every check-in until it has heard this.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Remedied {
    pub outcomes: Vec<RemedyOutcome>,
}

/// A clean goodbye.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bye {
    pub boot_id: String,
    /// Why the machine stops, in words.
    pub why: String,
}

/// Every error answer of the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// What happened.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}
