//! Publishing: signing what changed, and the one order of writing that a crash cannot hurt.
//!
//! A draft is made and signed in memory first; if a key is missing nothing has been written. Then all files under new
//! names, then `timestamp.json` by rename, then the new root if there is one.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Repository, WriterError, delegated_authority, delegations, pinned, top_authority, versioned};
use crate::keyfile::KeyPair;
use crate::tuf::envelope;
use crate::tuf::metadata::{MetaFile, References, Root, Targets, expiry, expiry_unix_ms};

/// What a publication did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Version of the timestamp that is now current.
    pub timestamp: u64,
    /// Version of the snapshot that is now current.
    pub snapshot: u64,
    /// Names of the metadata files written, without `timestamp.json`. Empty if there was nothing to do.
    pub files: Vec<String>,
}

/// A publication in the making.
pub(super) struct Draft {
    pub(super) root: Root,
    pub(super) root_changed: bool,
    pub(super) targets: Targets,
    pub(super) snapshot: References,
    /// Name and content.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Roles whose staged changes are in this draft.
    pub(super) staged: Vec<String>,
}

impl Draft {
    pub(super) fn new(repository: &Repository) -> Self {
        Self {
            root: repository.root.clone(),
            root_changed: false,
            targets: repository.targets.clone(),
            snapshot: repository.snapshot.clone(),
            files: Vec::new(),
            staged: Vec::new(),
        }
    }

    pub(super) fn refer(&mut self, role: &str, version: u64) {
        self.snapshot.meta.insert(format!("{role}.json"), MetaFile::version(version));
    }
}

impl Repository {
    /// Signs and publishes what is staged. Needs keys of the roles that changed, and of snapshot and timestamp. Does
    /// nothing if nothing is staged.
    pub fn publish(&mut self, now_unix_ms: u64) -> Result<Published, WriterError> {
        let mut draft = Draft::new(self);
        for role in self.staged.keys() {
            let current = self.load_delegated(role)?;
            self.draft_staged(&mut draft, role, current, now_unix_ms)?;
        }
        if draft.files.is_empty() { Ok(self.unchanged()) } else { self.commit(draft, now_unix_ms) }
    }

    /// Signs a new timestamp, and a new snapshot too once half of the old one's life is over. Needs only the online keys.
    pub fn refresh_timestamp(&mut self, now_unix_ms: u64) -> Result<Published, WriterError> {
        let half = u64::try_from(self.lifetimes.snapshot.as_millis() / 2).unwrap_or(u64::MAX);
        let fresh = expiry_unix_ms(&self.snapshot.expires).is_some_and(|end| end > now_unix_ms.saturating_add(half));
        if !fresh {
            return self.commit(Draft::new(self), now_unix_ms);
        }
        let mut timestamp = self.timestamp.clone();
        let bytes = self.sign_timestamp(&mut timestamp, &self.root, now_unix_ms)?;
        self.files.write_metadata("timestamp.json", &bytes)?;
        self.files.sync_metadata()?;
        self.timestamp = timestamp;
        Ok(self.unchanged())
    }

    pub(super) fn unchanged(&self) -> Published {
        Published { timestamp: self.timestamp.version, snapshot: self.snapshot.version, files: Vec::new() }
    }

    /// Applies the staged changes of one role to `current` and puts its next version into the draft.
    pub(super) fn draft_staged(
        &self,
        draft: &mut Draft,
        role: &str,
        mut current: Targets,
        now_unix_ms: u64,
    ) -> Result<(), WriterError> {
        for (path, entry) in self.staged.get(role).into_iter().flatten() {
            match entry {
                Some(file) => current.targets.insert(path.clone(), file.clone()),
                None => current.targets.remove(path),
            };
        }
        self.draft_delegated(draft, role, current, now_unix_ms)?;
        draft.staged.push(role.to_owned());
        Ok(())
    }

    /// Puts the next version of a delegated role into the draft, signed as the draft's delegation asks.
    pub(super) fn draft_delegated(
        &self,
        draft: &mut Draft,
        role: &str,
        mut content: Targets,
        now_unix_ms: u64,
    ) -> Result<(), WriterError> {
        content.version = self.snapshot.meta.get(&format!("{role}.json")).map_or(0, |meta| meta.version) + 1;
        content.expires = lifetime_end(now_unix_ms, self.lifetimes.targets)?;
        let authority = delegated_authority(delegations(&draft.targets)?, role)?;
        let signers = self.keyring.signers(role, &authority)?;
        let name = versioned(content.version, role);
        draft.files.push((name.clone(), sign(&content, "targets", &name, &signers)?));
        draft.refer(role, content.version);
        Ok(())
    }

    /// Puts the next version of the draft's top-level targets into it.
    pub(super) fn draft_targets(&self, draft: &mut Draft, now_unix_ms: u64) -> Result<(), WriterError> {
        draft.targets.version = self.targets.version + 1;
        draft.targets.expires = lifetime_end(now_unix_ms, self.lifetimes.targets)?;
        let signers = self.top_signers("targets", &draft.root)?;
        let name = versioned(draft.targets.version, "targets");
        let bytes = sign(&draft.targets, "targets", &name, &signers)?;
        draft.files.push((name, bytes));
        draft.refer("targets", draft.targets.version);
        Ok(())
    }

    /// The next version of the draft's root, signed by the old and the new root keys.
    pub(super) fn sign_root(&self, draft: &mut Draft, now_unix_ms: u64) -> Result<Vec<u8>, WriterError> {
        draft.root.version = self.root.version + 1;
        draft.root.expires = lifetime_end(now_unix_ms, self.lifetimes.root)?;
        let mut signers = self.keyring.signers("root", top_authority(&self.root, "root")?)?;
        signers.extend(self.keyring.signers("root", top_authority(&draft.root, "root")?)?);
        sign(&draft.root, "root", &versioned(draft.root.version, "root"), &signers)
    }

    /// Signs snapshot and timestamp over the draft and writes everything. On an error before the timestamp is in place
    /// neither the directory's meaning nor this value has changed.
    pub(super) fn commit(&mut self, mut draft: Draft, now_unix_ms: u64) -> Result<Published, WriterError> {
        draft.snapshot.version = self.snapshot.version + 1;
        draft.snapshot.expires = lifetime_end(now_unix_ms, self.lifetimes.snapshot)?;
        let snapshot_name = versioned(draft.snapshot.version, "snapshot");
        let signers = self.top_signers("snapshot", &draft.root)?;
        let snapshot = sign(&draft.snapshot, "snapshot", &snapshot_name, &signers)?;

        let mut timestamp = self.timestamp.clone();
        let pin = MetaFile {
            length: Some(snapshot.len() as u64),
            hashes: [("sha256".to_owned(), hex::encode(Sha256::digest(&snapshot)))].into(),
            ..MetaFile::version(draft.snapshot.version)
        };
        timestamp.meta.insert("snapshot.json".to_owned(), pin);
        let timestamp_bytes = self.sign_timestamp(&mut timestamp, &draft.root, now_unix_ms)?;
        let root = if draft.root_changed { Some(self.sign_root(&mut draft, now_unix_ms)?) } else { None };

        draft.files.push((snapshot_name, snapshot));
        for (name, bytes) in &draft.files {
            self.files.write_metadata(name, bytes)?;
        }
        // The names must be on disk before the timestamp makes anybody look for them.
        self.files.sync_metadata()?;
        self.files.write_metadata("timestamp.json", &timestamp_bytes)?;
        self.files.sync_metadata()?;
        self.timestamp = timestamp;
        self.snapshot = draft.snapshot;
        self.targets = draft.targets;
        for role in &draft.staged {
            self.staged.remove(role);
        }
        let mut files: Vec<String> = draft.files.into_iter().map(|(name, _)| name).collect();
        if let Some(root) = root {
            let name = versioned(draft.root.version, "root");
            self.files.write_metadata(&name, &root)?;
            self.files.sync_metadata()?;
            self.root = draft.root;
            files.push(name);
        }
        Ok(Published { timestamp: self.timestamp.version, snapshot: self.snapshot.version, files })
    }

    fn sign_timestamp(
        &self,
        timestamp: &mut References,
        root: &Root,
        now_unix_ms: u64,
    ) -> Result<Vec<u8>, WriterError> {
        timestamp.version = self.timestamp.version + 1;
        timestamp.expires = lifetime_end(now_unix_ms, self.lifetimes.timestamp)?;
        let signers = self.top_signers("timestamp", root)?;
        sign(timestamp, "timestamp", "timestamp.json", &signers)
    }

    /// The keys that sign for a top-level role: enough for `root`, and those of the current root that are at hand, so that
    /// the file is good under both while `root` is being brought in.
    fn top_signers(&self, role: &str, root: &Root) -> Result<Vec<&KeyPair>, WriterError> {
        let mut signers = self.keyring.signers(role, top_authority(root, role)?)?;
        signers.extend(self.keyring.available(top_authority(&self.root, role)?));
        Ok(signers)
    }

    /// The version after the one that the snapshot names.
    pub(super) fn next_version(&self, role: &str) -> Result<u64, WriterError> {
        Ok(pinned(&self.snapshot, role)? + 1)
    }
}

fn lifetime_end(now_unix_ms: u64, lifetime: Duration) -> Result<String, WriterError> {
    expiry(now_unix_ms, lifetime).ok_or_else(|| WriterError::Option {
        option: "lifetime",
        reason: format!("{lifetime:?} from {now_unix_ms} ms is beyond the year 9999"),
    })
}

fn sign(
    content: &impl serde::Serialize,
    kind: &'static str,
    file: &str,
    signers: &[&KeyPair],
) -> Result<Vec<u8>, WriterError> {
    envelope::sign(content, kind, signers.iter().copied())
        .map_err(|source| WriterError::Metadata { file: file.to_owned(), source })
}
