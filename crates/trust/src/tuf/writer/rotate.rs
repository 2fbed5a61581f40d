//! New keys for a role, and new signatures of the same keys before the old ones expire.
//!
//! The old keys of targets, snapshot and timestamp sign along if they are at hand: then there is no moment at which a
//! client sees an invalid repository. Without them (a lost key) there is one, between two renames.

use super::publish::{Draft, Published};
use super::{GATE_ROLE, KeySet, Keyring, Repository, Role, WriterError, delegations, versioned};
use crate::tuf::metadata::{Authority, Delegations, Root};

impl Repository {
    /// Adds private keys, for example the new ones before a rotation.
    pub fn add_keys(&mut self, keys: Keyring) {
        self.keyring.merge(keys);
    }

    /// Gives a role new keys and publishes that. Staged targets stay staged.
    ///
    /// Needs: for root, the old and the new root keys; for targets, snapshot and timestamp, the root keys and the new ones;
    /// for bins and gate, the targets keys and the new ones; and in all cases but root those of snapshot and timestamp.
    pub fn rotate(&mut self, role: Role, keys: &KeySet, now_unix_ms: u64) -> Result<Published, WriterError> {
        self.reissue(role, Some(keys), now_unix_ms)
    }

    /// Signs a role's metadata again with the keys it has, for a new lifetime.
    pub fn renew(&mut self, role: Role, now_unix_ms: u64) -> Result<Published, WriterError> {
        self.reissue(role, None, now_unix_ms)
    }

    fn reissue(&mut self, role: Role, keys: Option<&KeySet>, now_unix_ms: u64) -> Result<Published, WriterError> {
        let mut draft = Draft::new(self);
        match role {
            Role::Root => {
                if let Some(keys) = keys {
                    set_in_root(&mut draft.root, role, keys)?;
                }
                return self.publish_root(draft, now_unix_ms);
            }
            Role::Targets | Role::Snapshot | Role::Timestamp => {
                if let Some(keys) = keys {
                    set_in_root(&mut draft.root, role, keys)?;
                    draft.root_changed = true;
                }
                if role == Role::Targets {
                    self.draft_targets(&mut draft, now_unix_ms)?;
                }
            }
            Role::Bins | Role::Gate => {
                if let Some(keys) = keys {
                    set_in_delegations(&mut draft, role, keys)?;
                    self.draft_targets(&mut draft, now_unix_ms)?;
                }
                let names: Vec<String> = match role {
                    Role::Gate => vec![GATE_ROLE.to_owned()],
                    _ => self.layout.names().collect(),
                };
                for name in names {
                    let current = self.load_delegated(&name)?;
                    self.draft_delegated(&mut draft, &name, current, now_unix_ms)?;
                }
            }
        }
        self.commit(draft, now_unix_ms)
    }

    /// A root alone needs no other file: one rename.
    fn publish_root(&mut self, mut draft: Draft, now_unix_ms: u64) -> Result<Published, WriterError> {
        let bytes = self.sign_root(&mut draft, now_unix_ms)?;
        let name = versioned(draft.root.version, "root");
        self.files.write_metadata(&name, &bytes)?;
        self.files.sync_metadata()?;
        self.root = draft.root;
        Ok(Published { files: vec![name], ..self.unchanged() })
    }
}

fn set_in_root(root: &mut Root, role: Role, keys: &KeySet) -> Result<(), WriterError> {
    root.roles.insert(role.to_string(), keys.authority(role)?);
    root.keys.extend(keys.by_id());
    let used = |id: &String| root.roles.values().any(|authority| authority.keyids.contains(id));
    let unused: Vec<String> = root.keys.keys().filter(|id| !used(id)).cloned().collect();
    for id in unused {
        root.keys.remove(&id);
    }
    Ok(())
}

fn set_in_delegations(draft: &mut Draft, role: Role, keys: &KeySet) -> Result<(), WriterError> {
    let authority = keys.authority(role)?;
    let mut changed = delegations(&draft.targets)?.clone();
    for delegated in &mut changed.roles {
        if (delegated.name == GATE_ROLE) == (role == Role::Gate) {
            let Authority { keyids, threshold, .. } = authority.clone();
            (delegated.keyids, delegated.threshold) = (keyids, threshold);
        }
    }
    changed.keys.extend(keys.by_id());
    drop_unused(&mut changed);
    draft.targets.delegations = Some(changed);
    Ok(())
}

fn drop_unused(delegations: &mut Delegations) {
    let used: std::collections::BTreeSet<&String> = delegations.roles.iter().flat_map(|role| &role.keyids).collect();
    delegations.keys.retain(|id, _| used.contains(id));
}
