//! Two hosts: the releaser signs targets without the online keys, the online host takes over what is validly signed.
//!
//! The releaser calls [`Repository::sign_staged`] and copies the directory; the online host calls [`Repository::adopt`],
//! which verifies every file against its delegation before it names it in a snapshot. So the online keys can publish what
//! releasers signed and nothing else.
//!
//! The releaser's copy must be current: a file signed under a version that is published already is not adopted, and must
//! not be copied over the published one.

use super::publish::{Draft, Published};
use super::{
    Repository, WriterError, delegated_authority, delegations, load_delegated, load_top, pinned, verify, versioned,
};
use crate::tuf::metadata::{Targets, expiry_unix_ms};

impl Repository {
    /// Signs what is staged and writes it beside the published files, without a snapshot that names it. Needs only the keys
    /// of the roles that changed. Returns the names of the files. What an earlier call signed and nobody adopted yet is
    /// kept.
    pub fn sign_staged(&mut self, now_unix_ms: u64) -> Result<Vec<String>, WriterError> {
        let mut draft = Draft::new(self);
        for role in self.staged.keys() {
            let waiting = self.candidate(role, &self.targets)?;
            let base = waiting.map_or_else(|| self.load_delegated(role), Ok)?;
            self.draft_staged(&mut draft, role, base, now_unix_ms)?;
        }
        for (name, bytes) in &draft.files {
            self.files.write_metadata(name, bytes)?;
        }
        self.files.sync_metadata()?;
        for role in &draft.staged {
            self.staged.remove(role);
        }
        Ok(draft.files.into_iter().map(|(name, _)| name).collect())
    }

    /// Publishes files that others signed: for every role the file of the next version, if there is one, it verifies, and
    /// it has not expired. Needs only the online keys. A file that does not verify is an error, not skipped: it means that
    /// something is wrong with how it got here.
    pub fn adopt(&mut self, now_unix_ms: u64) -> Result<Published, WriterError> {
        let mut draft = Draft::new(self);
        let mut adopted = Vec::new();
        let name = versioned(self.next_version("targets")?, "targets");
        if self.files.has_metadata(&name) {
            draft.targets = load_top(&self.files, &self.root, &name, "targets")?;
            refuse_unfit(&name, &draft.targets, self.next_version("targets")?, now_unix_ms)?;
            draft.refer("targets", draft.targets.version);
            adopted.push(name);
        }
        let delegated = delegations(&draft.targets)?.clone();
        super::BinLayout::from_delegations(&delegated)?;
        for role in delegated.roles.iter().map(|role| &role.name) {
            if let Some(next) = self.candidate(role, &draft.targets)? {
                let name = versioned(next.version, role);
                refuse_unfit(&name, &next, self.next_version(role)?, now_unix_ms)?;
                draft.refer(role, next.version);
                adopted.push(name);
            } else if delegated != *delegations(&self.targets)? {
                // The old file must be good under the new delegation, or clients could not read it.
                let name = versioned(pinned(&self.snapshot, role)?, role);
                load_delegated(&self.files, &delegated, role, &name)?;
            }
        }
        if adopted.is_empty() {
            return Ok(self.unchanged());
        }
        let mut published = self.commit(draft, now_unix_ms)?;
        published.files.splice(0..0, adopted);
        Ok(published)
    }

    /// The next version of a delegated role, if there is a file, verified against the delegation in `targets`.
    fn candidate(&self, role: &str, targets: &Targets) -> Result<Option<Targets>, WriterError> {
        let name = versioned(self.next_version(role)?, role);
        if !self.files.has_metadata(&name) {
            return Ok(None);
        }
        let (envelope, content) = super::read(&self.files, &name, "targets")?;
        let delegations = delegations(targets)?;
        verify(&envelope, &name, &delegations.keys, &delegated_authority(delegations, role)?)?;
        Ok(Some(content))
    }
}

fn refuse_unfit(name: &str, content: &Targets, version: u64, now_unix_ms: u64) -> Result<(), WriterError> {
    let refuse = |reason: String| Err(WriterError::Inconsistent { file: name.to_owned(), reason });
    if content.version != version {
        return refuse(format!("says to be version {}", content.version));
    }
    if expiry_unix_ms(&content.expires).is_none_or(|end| end <= now_unix_ms) {
        return refuse(format!("expired at {}", content.expires));
    }
    Ok(())
}
