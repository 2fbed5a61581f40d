//! The repository writer: makes, publishes, renews and re-keys a TUF repository in a directory.
//!
//! Layout, ready to be served as static files:
//! - `metadata/`: `N.root.json`, `timestamp.json`, `N.snapshot.json`, `N.targets.json`, `N.gate.json`, `N.bin-<prefix>.json`;
//! - `targets/`: `dir/<sha256>.<name>`.
//!
//! Top-level `targets` lists nothing itself. It delegates `gate/*` to the role `gate` (terminating: no other role can speak
//! about a path below `gate/`), and everything else to the hashed bins, which share the keys of [`Role::Bins`].
//!
//! **Nothing that is published is ever changed**: a change writes files under new names, and then `timestamp.json` is
//! replaced by rename. A crash before that leaves the old repository; what it left behind is overwritten by the next
//! attempt. A root that changes the keys of `timestamp`, `snapshot` or `targets` comes last of all, after a timestamp that
//! carries the signatures of the old keys too, so a client that sees either root finds a valid repository.
//!
//! `files` has the disk, `bins` the arithmetic, `publish` and `rotate` the operations. Serving over HTTP does not belong here.

mod bins;
mod error;
mod files;
mod handover;
mod init;
mod keys;
mod publish;
mod rotate;
mod targets;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub use bins::{BinLayout, MAXIMUM_BINS};
pub use error::WriterError;
pub use keys::{KeySet, Keyring, Role, RoleKeys};
pub use publish::Published;
pub use targets::Source;

use super::envelope::{self, Envelope};
use super::metadata::{Authority, Delegations, Key, References, Root, TargetFile, Targets};
use files::Files;
use serde::de::DeserializeOwned;

/// Name of the delegated role that holds gate attestations.
pub const GATE_ROLE: &str = "gate";
/// Paths below this belong to the gate.
pub const GATE_PREFIX: &str = "gate/";

const DAY: Duration = Duration::from_secs(86_400);

/// How long signatures last. Whole seconds count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    /// Root.
    pub root: Duration,
    /// Top-level targets, gate and bins.
    pub targets: Duration,
    /// Snapshot; should be several times that of the timestamp.
    pub snapshot: Duration,
    /// Timestamp; how long an attacker who blocks the way can keep news from a device unnoticed.
    pub timestamp: Duration,
}

impl Default for Lifetimes {
    /// A year for what is signed offline, a week for the snapshot, a day for the timestamp.
    fn default() -> Self {
        Self { root: DAY * 365, targets: DAY * 365, snapshot: DAY * 7, timestamp: DAY }
    }
}

/// What can be chosen about a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many bins, a power of two from 1 to [`MAXIMUM_BINS`]. Fixed for the life of the repository: a snapshot must
    /// not drop a role. Ignored when opening an existing one.
    pub bins: u32,
    /// How long signatures last.
    pub lifetimes: Lifetimes,
}

impl Default for Options {
    /// 4,096 bins: a million targets make about 250 a bin, and the snapshot is 119 KB.
    fn default() -> Self {
        Self { bins: 4096, lifetimes: Lifetimes::default() }
    }
}

/// A repository in a directory, held by this process alone until dropped.
pub struct Repository {
    files: Files,
    lifetimes: Lifetimes,
    keyring: Keyring,
    layout: BinLayout,
    root: Root,
    targets: Targets,
    snapshot: References,
    timestamp: References,
    /// Role name to target path to new entry, or nothing for a removal.
    staged: BTreeMap<String, BTreeMap<String, Option<TargetFile>>>,
}

impl Repository {
    /// Opens an existing repository with whatever private keys are at hand: a host that only renews the timestamp has only
    /// the online keys. Everything read is verified from root version 1 on; what a crash left behind is ignored.
    ///
    /// Expired metadata is accepted here, because renewing it is what a writer is for.
    pub fn open(directory: &Path, keyring: Keyring, lifetimes: Lifetimes) -> Result<Self, WriterError> {
        let files = Files::open(directory)?;
        let root = load_root(&files)?;
        let timestamp: References = load_top(&files, &root, "timestamp.json", "timestamp")?;
        let pin = timestamp.meta.get("snapshot.json").ok_or_else(|| WriterError::Inconsistent {
            file: "timestamp.json".to_owned(),
            reason: "names no snapshot".to_owned(),
        })?;
        let snapshot_name = versioned(pin.version, "snapshot");
        files.verify_hash(&snapshot_name, pin)?;
        let snapshot: References = load_top(&files, &root, &snapshot_name, "snapshot")?;
        let targets_version = pinned(&snapshot, "targets")?;
        let targets: Targets = load_top(&files, &root, &versioned(targets_version, "targets"), "targets")?;
        let layout = BinLayout::from_delegations(delegations(&targets)?)?;
        Ok(Self { files, lifetimes, keyring, layout, root, targets, snapshot, timestamp, staged: BTreeMap::new() })
    }

    /// Current version of the root.
    pub fn root_version(&self) -> u64 {
        self.root.version
    }

    /// Current version of the timestamp.
    pub fn timestamp_version(&self) -> u64 {
        self.timestamp.version
    }

    /// The bytes of root version 1, which a device is given as its first trust.
    pub fn first_root(&self) -> Result<Vec<u8>, WriterError> {
        self.files.read_metadata(&versioned(1, "root"))
    }

    /// Into how many bins the repository divides its targets, and how.
    pub fn layout(&self) -> BinLayout {
        self.layout
    }

    /// When a role's current metadata expires, Unix milliseconds. For [`Role::Bins`] the earliest of all bins, which reads
    /// every bin.
    pub fn expires(&self, role: Role) -> Result<u64, WriterError> {
        let parse = |name: &str, text: &str| {
            super::metadata::expiry_unix_ms(text).ok_or_else(|| WriterError::Inconsistent {
                file: name.to_owned(),
                reason: format!("expiry {text:?} is no time"),
            })
        };
        match role {
            Role::Root => parse("root", &self.root.expires),
            Role::Targets => parse("targets", &self.targets.expires),
            Role::Snapshot => parse("snapshot", &self.snapshot.expires),
            Role::Timestamp => parse("timestamp", &self.timestamp.expires),
            Role::Gate => parse(GATE_ROLE, &self.load_delegated(GATE_ROLE)?.expires),
            Role::Bins => {
                let mut earliest = u64::MAX;
                for name in self.layout.names() {
                    earliest = earliest.min(parse(&name, &self.load_delegated(&name)?.expires)?);
                }
                Ok(earliest)
            }
        }
    }

    /// The current metadata of a delegated role, verified against its delegation.
    fn load_delegated(&self, name: &str) -> Result<Targets, WriterError> {
        let file = versioned(pinned(&self.snapshot, name)?, name);
        load_delegated(&self.files, delegations(&self.targets)?, name, &file)
    }
}

/// `7.targets.json`.
fn versioned(version: u64, role: &str) -> String {
    format!("{version}.{role}.json")
}

fn pinned(snapshot: &References, role: &str) -> Result<u64, WriterError> {
    snapshot.meta.get(&format!("{role}.json")).map(|meta| meta.version).ok_or_else(|| WriterError::Inconsistent {
        file: versioned(snapshot.version, "snapshot"),
        reason: format!("names no {role}.json"),
    })
}

fn delegations(targets: &Targets) -> Result<&Delegations, WriterError> {
    targets.delegations.as_ref().ok_or_else(|| WriterError::Inconsistent {
        file: versioned(targets.version, "targets"),
        reason: "delegates nothing".to_owned(),
    })
}

/// The authority that the root gives a top-level role.
fn top_authority<'root>(root: &'root Root, role: &str) -> Result<&'root Authority, WriterError> {
    root.roles.get(role).ok_or_else(|| WriterError::Inconsistent {
        file: versioned(root.version, "root"),
        reason: format!("has no role {role}"),
    })
}

/// The authority that a delegation gives a role.
fn delegated_authority(delegations: &Delegations, name: &str) -> Result<Authority, WriterError> {
    let role = delegations.roles.iter().find(|role| role.name == name).ok_or_else(|| WriterError::Inconsistent {
        file: "targets.json".to_owned(),
        reason: format!("does not delegate to {name}"),
    })?;
    Ok(Authority { keyids: role.keyids.clone(), threshold: role.threshold, extra: BTreeMap::new() })
}

fn read<T: DeserializeOwned>(files: &Files, file: &str, kind: &'static str) -> Result<(Envelope, T), WriterError> {
    let bytes = files.read_metadata(file)?;
    envelope::parse(&bytes, kind).map_err(|source| WriterError::Metadata { file: file.to_owned(), source })
}

fn verify(
    envelope: &Envelope,
    file: &str,
    keys: &BTreeMap<String, Key>,
    authority: &Authority,
) -> Result<(), WriterError> {
    envelope::verify(envelope, keys, authority)
        .map_err(|source| WriterError::Metadata { file: file.to_owned(), source })
}

fn load_top<T: DeserializeOwned>(files: &Files, root: &Root, file: &str, kind: &'static str) -> Result<T, WriterError> {
    let (envelope, typed) = read(files, file, kind)?;
    verify(&envelope, file, &root.keys, top_authority(root, kind)?)?;
    Ok(typed)
}

fn load_delegated(files: &Files, delegations: &Delegations, name: &str, file: &str) -> Result<Targets, WriterError> {
    let (envelope, typed) = read(files, file, "targets")?;
    verify(&envelope, file, &delegations.keys, &delegated_authority(delegations, name)?)?;
    Ok(typed)
}

/// Follows the chain of roots from version 1 as far as there are files.
fn load_root(files: &Files) -> Result<Root, WriterError> {
    let mut trusted: Option<Root> = None;
    loop {
        let version = trusted.as_ref().map_or(1, |root| root.version + 1);
        let file = versioned(version, "root");
        if version > 1 && !files.has_metadata(&file) {
            return trusted.ok_or_else(|| WriterError::Inconsistent { file, reason: "no root".to_owned() });
        }
        let (envelope, next): (Envelope, Root) = read(files, &file, "root")?;
        if next.version != version {
            return Err(WriterError::Inconsistent { file, reason: format!("says to be version {}", next.version) });
        }
        if let Some(root) = &trusted {
            verify(&envelope, &file, &root.keys, top_authority(root, "root")?)?;
        }
        verify(&envelope, &file, &next.keys, top_authority(&next, "root")?)?;
        trusted = Some(next);
    }
}
