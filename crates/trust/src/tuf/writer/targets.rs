//! Staging: which targets the next publication adds, replaces or removes.
//!
//! Content is stored at once, under a name that holds its hash, and is invisible until metadata names it. Signing is in
//! `publish`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{GATE_PREFIX, GATE_ROLE, Repository, WriterError};
use crate::tuf::canonical::to_canonical;
use crate::tuf::metadata::{Extra, TargetFile};
use crate::tuf::path::validate;

/// Where a target's content comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'source> {
    /// From memory.
    Bytes(&'source [u8]),
    /// From a file, read in pieces.
    File(&'source Path),
}

impl Repository {
    /// Stores the content of a target and lists it in the next publication, in place of what the path named before.
    /// `custom` is what the release says about it: any JSON without fractions.
    pub fn add_target(&mut self, path: &str, source: Source<'_>, custom: Option<Value>) -> Result<(), WriterError> {
        let role = self.role_of(path)?;
        if let Some(custom) = &custom {
            to_canonical(custom)
                .map_err(|error| WriterError::Target { path: path.to_owned(), reason: error.to_string() })?;
        }
        let (length, hash) = self.files.store_target(path, source)?;
        let hashes = BTreeMap::from([("sha256".to_owned(), hash)]);
        let entry = TargetFile { length, hashes, custom, extra: Extra::new() };
        self.staged.entry(role).or_default().insert(path.to_owned(), Some(entry));
        Ok(())
    }

    /// Leaves a target out of the next publication. Its content stays, for clients that are in the middle of a download.
    pub fn remove_target(&mut self, path: &str) -> Result<(), WriterError> {
        let role = self.role_of(path)?;
        if self.target(path)?.is_none() {
            return Err(WriterError::Target { path: path.to_owned(), reason: "is not listed".to_owned() });
        }
        self.staged.entry(role).or_default().insert(path.to_owned(), None);
        Ok(())
    }

    /// What the next publication will say about a path.
    pub fn target(&self, path: &str) -> Result<Option<TargetFile>, WriterError> {
        let role = self.role_of(path)?;
        if let Some(staged) = self.staged.get(&role).and_then(|changes| changes.get(path)) {
            return Ok(staged.clone());
        }
        Ok(self.load_delegated(&role)?.targets.remove(path))
    }

    /// How many targets wait for publication.
    pub fn staged(&self) -> usize {
        self.staged.values().map(BTreeMap::len).sum()
    }

    fn role_of(&self, path: &str) -> Result<String, WriterError> {
        validate(path)?;
        match path.strip_prefix(GATE_PREFIX) {
            None => Ok(self.layout.role_of(path)),
            Some(name) if !name.contains('/') => Ok(GATE_ROLE.to_owned()),
            // The delegation's pattern stays within one component, so a bin would have to list this: not a gate key.
            Some(_) => {
                let reason = "the gate lists nothing below a second directory".to_owned();
                Err(WriterError::Target { path: path.to_owned(), reason })
            }
        }
    }
}
