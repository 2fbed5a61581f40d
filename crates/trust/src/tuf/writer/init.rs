//! Making a new repository: the first version of every file, empty bins included.
//!
//! Needs enough private keys of every role once; afterwards each host keeps only its own.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::Files;
use super::publish::Draft;
use super::{BinLayout, GATE_PREFIX, GATE_ROLE, Keyring, Options, Repository, Role, RoleKeys, WriterError, versioned};
use crate::tuf::metadata::{DelegatedRole, Delegations, Extra, References, Root, SPECIFICATION_VERSION, Targets};

impl Repository {
    /// Makes a repository in `directory`, which may exist but must hold none, and publishes it empty. `now_unix_ms` is the
    /// time from which lifetimes count.
    pub fn init(
        directory: &Path,
        roles: &RoleKeys,
        keyring: Keyring,
        options: &Options,
        now_unix_ms: u64,
    ) -> Result<Self, WriterError> {
        let layout = BinLayout::new(options.bins)?;
        let root = first_root(roles)?;
        let targets = first_targets(roles, layout)?;
        let mut repository = Self {
            files: Files::create(directory)?,
            lifetimes: options.lifetimes.clone(),
            keyring,
            layout,
            root,
            targets,
            snapshot: References::new("snapshot"),
            timestamp: References::new("timestamp"),
            staged: BTreeMap::new(),
        };
        let mut draft = Draft::new(&repository);
        repository.draft_targets(&mut draft, now_unix_ms)?;
        let names = std::iter::once(GATE_ROLE.to_owned()).chain(layout.names());
        for name in names {
            repository.draft_delegated(&mut draft, &name, Targets::new(), now_unix_ms)?;
        }
        let root_bytes = repository.sign_root(&mut draft, now_unix_ms)?;
        // Before the timestamp, for once: without a timestamp there is no repository yet that it could contradict.
        repository.files.write_metadata(&versioned(1, "root"), &root_bytes)?;
        repository.root = draft.root.clone();
        draft.root_changed = false;
        repository.commit(draft, now_unix_ms)?;
        Ok(repository)
    }
}

fn first_root(roles: &RoleKeys) -> Result<Root, WriterError> {
    let mut root = Root {
        kind: "root".to_owned(),
        spec_version: SPECIFICATION_VERSION.to_owned(),
        version: 0,
        expires: String::new(),
        consistent_snapshot: true,
        keys: BTreeMap::new(),
        roles: BTreeMap::new(),
        extra: Extra::new(),
    };
    for role in [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp] {
        root.roles.insert(role.to_string(), roles.of(role).authority(role)?);
        root.keys.extend(roles.of(role).by_id());
    }
    Ok(root)
}

fn first_targets(roles: &RoleKeys, layout: BinLayout) -> Result<Targets, WriterError> {
    let gate = roles.gate.authority(Role::Gate)?;
    let bins = roles.bins.authority(Role::Bins)?;
    let gate = DelegatedRole {
        name: GATE_ROLE.to_owned(),
        keyids: gate.keyids,
        threshold: gate.threshold,
        terminating: true,
        paths: Some(vec![format!("{GATE_PREFIX}*")]),
        path_hash_prefixes: None,
        extra: Extra::new(),
    };
    let delegations = Delegations {
        keys: roles.gate.by_id().chain(roles.bins.by_id()).collect(),
        roles: std::iter::once(gate).chain(layout.delegated_roles(&bins)).collect(),
        extra: Extra::new(),
    };
    Ok(Targets { delegations: Some(delegations), ..Targets::new() })
}
