//! What statements can say: in-toto Statement v1 with our predicate types.
//!
//! Where a statement says exactly what `staffel_core` decides on, its predicate is that type; the predicate type carries
//! the version, and unknown fields are ignored. What must stay out: who may say it (`keyring`), and the consequences.

use crate::dsse::{Envelope, EnvelopeError, PublicKey, SigningKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use staffel_core::{
    conditions::{Authorisation, Frontier, GateAttestation, Permit},
    ids::{DeviceId, Digest},
    policy::CustomerPolicy,
    release::{Kind, Release as CoreRelease, StateCompatibility},
};
use std::{collections::BTreeMap, fmt};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// A kind of statement.
pub trait Predicate: Serialize + DeserializeOwned {
    /// The `predicateType`, which carries the version.
    const TYPE: &'static str;
    /// What the statement is about: a name and a digest.
    fn subject(&self) -> (String, Digest);
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Statement<P> {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: P,
}

/// Why a payload is not the statement that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("the statement is not readable: {0}")]
    Malformed(String),
    #[error("the statement says {found:?}, expected {expected:?}")]
    WrongType { found: String, expected: String },
    #[error("the statement's subject does not match what it says")]
    SubjectMismatch,
}

/// When a statement was made, until when it holds, and what it follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Unix milliseconds.
    pub issued_ms: u64,
    /// Unix milliseconds.
    pub expires_ms: u64,
    /// Payload digest of the statement that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Digest>,
    /// The log's checkpoint (signed note) under which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// A body with its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headed<T> {
    pub header: Header,
    pub body: T,
}

/// The bytes of a statement, ready to be signed.
pub fn payload<P: Predicate>(predicate: &P) -> Vec<u8> {
    let (name, digest) = predicate.subject();
    let statement = Statement {
        kind: STATEMENT.to_string(),
        subject: vec![Subject { name, digest: [("sha256".to_string(), digest.to_string())].into() }],
        predicate_type: P::TYPE.to_string(),
        predicate,
    };
    // Our predicates hold no map with non-string keys and no failing serialiser.
    serde_json::to_vec(&statement).unwrap_or_default()
}

/// Signs a statement.
pub fn sign<P: Predicate>(predicate: &P, keys: &[&SigningKey]) -> Envelope {
    Envelope::sign(&payload(predicate), keys)
}

/// Reads a payload as a statement of this kind.
pub fn read<P: Predicate>(payload: &[u8]) -> Result<P, StatementError> {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(rename = "_type")]
        kind: String,
        #[serde(rename = "predicateType")]
        predicate_type: String,
    }
    let malformed = |e: serde_json::Error| StatementError::Malformed(e.to_string());
    let peek: Peek = serde_json::from_slice(payload).map_err(malformed)?;
    if peek.kind != STATEMENT || peek.predicate_type != P::TYPE {
        return Err(StatementError::WrongType { found: peek.predicate_type, expected: P::TYPE.into() });
    }
    let statement: Statement<P> = serde_json::from_slice(payload).map_err(malformed)?;
    let (_, digest) = statement.predicate.subject();
    let digest = digest.to_string();
    if !statement.subject.iter().any(|s| s.digest.get("sha256") == Some(&digest)) {
        return Err(StatementError::SubjectMismatch);
    }
    Ok(statement.predicate)
}

/// Verifies and reads; returns the statement, its payload's digest, and how many different keys signed.
pub fn verify<P: Predicate>(
    envelope: &Envelope,
    role: &str,
    keys: &[PublicKey],
    threshold: u32,
) -> Result<(P, Digest, u32), StatementError> {
    let (payload, signers) = envelope.verify(role, keys, threshold)?;
    Ok((read(&payload)?, Digest::of(&payload), signers))
}

/// One file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Relative, `/`-separated, no `.` or `..` parts.
    pub path: String,
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default)]
    pub executable: bool,
}

/// True if `path` may be created below a slot: relative, plain parts, no surprises on any system.
pub fn is_safe_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 1_024
        && path.split('/').all(|part| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.len() <= 255
                && !part.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
        })
}

/// How a component's service is run. `{dir}` in arguments and environment stands for the release's directory,
/// `{state}` for a directory that survives updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Program and arguments. A program with a `/` is relative to the release's directory.
    pub exec: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Between the polite signal and the final one, milliseconds.
    #[serde(default = "default_stop_ms")]
    pub stop_timeout_ms: u64,
}

fn default_stop_ms() -> u64 {
    5_000
}

/// How a device finds out that a release works. All must pass for the whole soak time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "probe", rename_all = "lowercase")]
pub enum Probe {
    /// The service stays up.
    Process,
    /// `GET http://127.0.0.1:port/path` answers with this status.
    Http {
        port: u16,
        path: String,
        #[serde(default = "default_status")]
        status: u16,
        /// Milliseconds.
        #[serde(default = "default_probe_ms")]
        timeout_ms: u64,
    },
    /// A program of the release ends with status 0.
    Command {
        exec: Vec<String>,
        /// Milliseconds.
        #[serde(default = "default_probe_ms")]
        timeout_ms: u64,
    },
}

fn default_status() -> u16 {
    200
}

fn default_probe_ms() -> u64 {
    2_000
}

/// A release: these bytes, under this name. Its own digest (of the payload) names it everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub name: String,
    pub version: String,
    pub sequence: u64,
    pub kind: Kind,
    #[serde(default)]
    pub security_floor: u64,
    pub state: StateCompatibility,
    pub files: Vec<File>,
    #[serde(default)]
    pub service: Option<Service>,
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// What supplies it, for the page that names who can change a machine.
    #[serde(default)]
    pub supplier: String,
}

impl Release {
    /// The digest over all files, the statement's subject.
    pub fn content_digest(&self) -> Digest {
        let mut text = String::new();
        for file in &self.files {
            text.push_str(&format!("{} {} {} {}\n", file.sha256, file.size, file.executable, file.path));
        }
        Digest::of(text.as_bytes())
    }

    /// What decisions need; `digest` is that of the signed payload.
    pub fn to_core(&self, digest: Digest) -> CoreRelease {
        CoreRelease {
            name: self.name.clone(),
            version: self.version.clone(),
            sequence: self.sequence,
            kind: self.kind,
            security_floor: self.security_floor,
            state: self.state,
            digest,
        }
    }

    /// What is wrong with it, whoever signed it. Checked when it is built, again by agent and guard.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_safe_path(&self.name) || self.name.contains('/') || self.name.len() > 64 {
            problems.push(format!("the name {:?} is not a plain file name of at most 64 bytes", self.name));
        }
        let mut seen = std::collections::BTreeSet::new();
        for file in &self.files {
            if !is_safe_path(&file.path) {
                problems.push(format!("the path {:?} is not allowed in a release", file.path));
            }
            // Two names that differ in case only are one file on some systems.
            if !seen.insert(file.path.to_lowercase()) {
                problems.push(format!("the path {:?} stands in the release twice", file.path));
            }
        }
        if let Some(service) = &self.service {
            match service.exec.first() {
                None => problems.push("the service has no program".into()),
                Some(program) => {
                    let program = program.strip_prefix("./").unwrap_or(program);
                    if !self.files.iter().any(|f| f.path == program && f.executable) {
                        problems
                            .push(format!("the service's program {program:?} is no executable file of the release"));
                    }
                }
            }
            if self.probes.is_empty() {
                problems.push("a service needs at least one probe, or nobody can say that it works".into());
            }
        }
        problems
    }
}

impl Predicate for Release {
    const TYPE: &'static str = "urn:staffel:release:v1";
    fn subject(&self) -> (String, Digest) {
        (format!("{}-{}", self.name, self.version), self.content_digest())
    }
}

/// In-toto test-result v0.1, with the consumers in the configuration and our typed copy beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// `PASSED`, `WARNED` or `FAILED`; `WAIVED` if it did not run.
    pub result: String,
    /// Everything that was used: name and digest, the consumers among them.
    pub configuration: Vec<Descriptor>,
    #[serde(rename = "passedTests", default)]
    pub passed_tests: Vec<String>,
    #[serde(rename = "failedTests", default)]
    pub failed_tests: Vec<String>,
    pub header: Header,
    pub attestation: GateAttestation,
}

/// An in-toto resource descriptor, as far as we use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub name: String,
    pub digest: BTreeMap<String, String>,
}

impl Predicate for Gate {
    const TYPE: &'static str = "https://in-toto.io/attestation/test-result/v0.1";
    fn subject(&self) -> (String, Digest) {
        ("release".into(), self.attestation.release)
    }
}

/// A customer's policy with its order number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantPolicy {
    pub tenant: String,
    /// Never lower than one seen before.
    pub sequence: u64,
    pub policy: CustomerPolicy,
}

/// A release that must not run any more. Needs no freshness and no server: a file is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    pub release: Digest,
    pub rollout: Option<u64>,
    pub why: String,
}

/// Takes a halt back; two releasers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unhalt {
    pub release: Digest,
    pub why: String,
    /// Digest of the halt that it takes back.
    pub halt: Digest,
}

/// The server has heard from this device, after its change, through the network that the change may have broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub device: DeviceId,
    pub rollout: u64,
    pub release: Digest,
    pub nonce: String,
}

/// What a remedy may do (boot.md, design point 11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    GoTo {
        generation: Digest,
    },
    QuarantineGeneration {
        generation: Digest,
    },
    /// Foreign file under an allow-listed root; two operators.
    QuarantineFile {
        pattern: String,
        sha256: Digest,
    },
    /// Puts foreign files with this hash back where a remedy took them from; two operators.
    RestoreFile {
        sha256: Digest,
    },
    /// A service of ours is not started any more, one of the system is stopped and masked; two operators.
    DisableService {
        name: String,
    },
    /// Takes that back; two operators.
    EnableService {
        name: String,
    },
    /// Two operators.
    DisableModule {
        name: String,
    },
    StaySafe {
        why: String,
    },
    LeaveSafe,
}

impl Action {
    /// Operators who must have signed.
    pub fn threshold(&self) -> u32 {
        match self {
            Action::QuarantineFile { .. }
            | Action::RestoreFile { .. }
            | Action::DisableService { .. }
            | Action::EnableService { .. }
            | Action::DisableModule { .. } => 2,
            Action::GoTo { .. } | Action::QuarantineGeneration { .. } | Action::StaySafe { .. } | Action::LeaveSafe => {
                1
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::GoTo { generation } => write!(f, "go to generation {}", generation.short()),
            Action::QuarantineGeneration { generation } => write!(f, "quarantine generation {}", generation.short()),
            Action::QuarantineFile { pattern, sha256 } => {
                write!(f, "quarantine files {pattern} with SHA-256 {}", sha256.short())
            }
            Action::RestoreFile { sha256 } => write!(f, "put files with SHA-256 {} back", sha256.short()),
            Action::DisableService { name } => write!(f, "disable the service {name}"),
            Action::EnableService { name } => write!(f, "enable the service {name}"),
            Action::DisableModule { name } => write!(f, "disable the kernel module {name}"),
            Action::StaySafe { why } => write!(f, "stay in safe mode: {why}"),
            Action::LeaveSafe => f.write_str("leave safe mode"),
        }
    }
}

/// A signed act of repair for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    pub device: DeviceId,
    pub case: String,
    /// Each is carried out once.
    pub sequence: u64,
    pub action: Action,
}

fn named(name: &str, of: &[u8]) -> (String, Digest) {
    (name.into(), Digest::of(of))
}

macro_rules! headed_predicate {
    ($body:ty, $type:literal, $this:ident => $subject:expr) => {
        impl Predicate for Headed<$body> {
            const TYPE: &'static str = $type;
            fn subject(&self) -> (String, Digest) {
                let $this = &self.body;
                $subject
            }
        }
    };
}
headed_predicate!(Authorisation, "urn:staffel:authorisation:v1", b => ("release".into(), b.release));
headed_predicate!(Frontier, "urn:staffel:frontier:v1", b => ("release".into(), b.release));
headed_predicate!(Permit, "urn:staffel:permit:v1", b => ("release".into(), b.release));
headed_predicate!(TenantPolicy, "urn:staffel:tenant-policy:v1", b => named("tenant", b.tenant.as_bytes()));
headed_predicate!(Halt, "urn:staffel:halt:v1", b => ("release".into(), b.release));
headed_predicate!(Unhalt, "urn:staffel:unhalt:v1", b => ("release".into(), b.release));
headed_predicate!(Receipt, "urn:staffel:receipt:v1", b => ("release".into(), b.release));
headed_predicate!(Remedy, "urn:staffel:remedy:v1", b => named("device", &b.device.0));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_of_one_kind_is_not_read_as_another() {
        let halt = Headed {
            header: Header::default(),
            body: Halt { release: Digest::of(b"r"), rollout: None, why: "bad".into() },
        };
        let bytes = payload(&halt);
        assert_eq!(read::<Headed<Halt>>(&bytes).unwrap(), halt);
        assert!(matches!(read::<Headed<Unhalt>>(&bytes), Err(StatementError::WrongType { .. })));
    }

    #[test]
    fn a_subject_that_does_not_match_is_refused() {
        let halt = Headed {
            header: Header::default(),
            body: Halt { release: Digest::of(b"r"), rollout: None, why: "bad".into() },
        };
        let text = String::from_utf8(payload(&halt)).unwrap();
        let (first, other) = (Digest::of(b"r").to_string(), Digest::of(b"x").to_string());
        let swapped = text.replacen(&first, &other, 1);
        assert_eq!(read::<Headed<Halt>>(swapped.as_bytes()), Err(StatementError::SubjectMismatch));
    }

    #[test]
    fn paths_that_leave_the_slot_are_refused() {
        for bad in ["", "/etc/passwd", "a/../b", "a//b", "./a", "a\\b", "c:x", "a/\0", &"x/".repeat(600)] {
            assert!(!is_safe_path(bad), "{bad:?}");
        }
        assert!(is_safe_path("bin/httpd-1.2_x"));
    }
}
