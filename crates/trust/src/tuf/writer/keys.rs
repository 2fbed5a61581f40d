//! Roles, the keys that speak for them, and the private keys at hand.
//!
//! Key files are read in `keyfile`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::WriterError;
use crate::keyfile::{KeyPair, PublicKey};
use crate::tuf::metadata::{Authority, Extra, Key};

/// The roles whose keys can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Names the keys of the top-level roles. Offline.
    Root,
    /// Names the keys of the delegated roles. Offline.
    Targets,
    /// Lists what is released. The releasers' keys, offline.
    Bins,
    /// Lists gate attestations.
    Gate,
    /// Says which versions belong together. Online.
    Snapshot,
    /// Says which snapshot is current. Online.
    Timestamp,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Root, Self::Targets, Self::Bins, Self::Gate, Self::Snapshot, Self::Timestamp];

    /// Its name on the command line and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Bins => "bins",
            Self::Gate => "gate",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("{text:?} is none of root, targets, bins, gate, snapshot, timestamp"))
    }
}

/// The public keys of one role and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// All different.
    pub keys: Vec<PublicKey>,
    /// From 1 to the number of keys.
    pub threshold: u32,
}

impl KeySet {
    /// One key that signs alone.
    pub fn single(key: &PublicKey) -> Self {
        Self { keys: vec![*key], threshold: 1 }
    }

    /// `threshold` of `keys`.
    pub fn new<'keys>(keys: impl IntoIterator<Item = &'keys PublicKey>, threshold: u32) -> Self {
        Self { keys: keys.into_iter().copied().collect(), threshold }
    }

    /// Checks the numbers and gives the form that metadata holds.
    pub(super) fn authority(&self, role: Role) -> Result<Authority, WriterError> {
        let refuse = |reason: String| Err(WriterError::Keys { role: role.to_string(), reason });
        let distinct: BTreeSet<_> = self.keys.iter().collect();
        if distinct.len() != self.keys.len() {
            return refuse("a key is named twice".to_owned());
        }
        if self.threshold == 0 || self.threshold as usize > self.keys.len() {
            return refuse(format!("threshold {} of {} keys", self.threshold, self.keys.len()));
        }
        let keyids = self.keys.iter().map(PublicKey::id).collect();
        Ok(Authority { keyids, threshold: self.threshold, extra: Extra::new() })
    }

    pub(super) fn by_id(&self) -> impl Iterator<Item = (String, Key)> {
        self.keys.iter().map(|key| (key.id(), Key::new(key)))
    }
}

/// The keys of all roles of a new repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// Recommended: 2 of 3.
    pub root: KeySet,
    /// Offline.
    pub targets: KeySet,
    /// The releasers.
    pub bins: KeySet,
    /// The gate.
    pub gate: KeySet,
    /// Online.
    pub snapshot: KeySet,
    /// Online.
    pub timestamp: KeySet,
}

impl RoleKeys {
    /// The keys of one role.
    pub fn of(&self, role: Role) -> &KeySet {
        match role {
            Role::Root => &self.root,
            Role::Targets => &self.targets,
            Role::Bins => &self.bins,
            Role::Gate => &self.gate,
            Role::Snapshot => &self.snapshot,
            Role::Timestamp => &self.timestamp,
        }
    }
}

/// The private keys at hand, by key id.
#[derive(Debug, Clone, Default)]
pub struct Keyring(BTreeMap<String, KeyPair>);

impl Keyring {
    /// Adds a key.
    pub fn insert(&mut self, key: KeyPair) {
        self.0.insert(key.id(), key);
    }

    /// Adds all keys of another keyring.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The key of that id.
    pub fn get(&self, id: &str) -> Option<&KeyPair> {
        self.0.get(id)
    }

    /// The keys at hand that `authority` names; an error if they are fewer than its threshold.
    pub(super) fn signers(&self, role: &str, authority: &Authority) -> Result<Vec<&KeyPair>, WriterError> {
        let held = self.available(authority);
        if held.len() < authority.threshold as usize {
            return Err(WriterError::MissingKey {
                role: role.to_owned(),
                needed: authority.threshold,
                held: held.len(),
                missing: authority.keyids.iter().filter(|id| !self.0.contains_key(*id)).cloned().collect(),
            });
        }
        Ok(held)
    }

    /// The keys at hand that `authority` names, however few.
    pub(super) fn available(&self, authority: &Authority) -> Vec<&KeyPair> {
        authority.keyids.iter().filter_map(|id| self.0.get(id)).collect()
    }
}

impl FromIterator<KeyPair> for Keyring {
    fn from_iter<T: IntoIterator<Item = KeyPair>>(keys: T) -> Self {
        let mut keyring = Self::default();
        keys.into_iter().for_each(|key| keyring.insert(key));
        keyring
    }
}
