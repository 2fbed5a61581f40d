//! Who may say what: the keyring, signed by the root keys, pinned on the device at installation.
//!
//! TUF has its own root metadata; the guard links no TUF, so the same root keys also sign this small statement. It is
//! rotated as TUF's root is: a new version needs the threshold of the old root keys *and* of the new ones.

use crate::{
    dsse::{Envelope, PublicKey},
    predicate::{Gate, Predicate, StatementError, verify},
};
use serde::{Deserialize, Serialize};
use staffel_core::ids::Digest;

/// The keys of a role and how many must sign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    pub keys: Vec<PublicKey>,
    pub threshold: u32,
}

/// A witness of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessKey {
    pub name: String,
    pub key: PublicKey,
}

/// Version and keys of every role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    pub version: u64,
    pub root: RoleKeys,
    /// Signs releases, offline.
    pub release: RoleKeys,
    /// Signs gate attestations.
    pub gate: RoleKeys,
    /// Signs authorisations, offline; two of them.
    pub releasers: RoleKeys,
    /// Signs frontiers, permits and receipts. The one key that a stolen server gives away.
    pub online: RoleKeys,
    /// Sign halts and remedies.
    pub operators: RoleKeys,
    #[serde(default)]
    pub witnesses: Vec<WitnessKey>,
}

impl Predicate for Keyring {
    const TYPE: &'static str = "urn:staffel:keyring:v1";
    fn subject(&self) -> (String, Digest) {
        ("keyring".into(), Digest::of(format!("keyring {}", self.version).as_bytes()))
    }
}

/// Why a keyring is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("the keyring's version {new} does not follow {have}")]
    Version { have: u64, new: u64 },
    #[error("the keyring's role {role} has {keys} different keys and a threshold of {threshold}")]
    Threshold { role: &'static str, keys: usize, threshold: u32 },
}

impl Keyring {
    fn problems(&self) -> Result<(), KeyringError> {
        for (role, keys) in [
            ("root", &self.root),
            ("release", &self.release),
            ("gate", &self.gate),
            ("releasers", &self.releasers),
            ("online", &self.online),
            ("operators", &self.operators),
        ] {
            let different: std::collections::BTreeSet<_> = keys.keys.iter().collect();
            if keys.threshold == 0 || different.len() < keys.threshold as usize || different.len() != keys.keys.len() {
                return Err(KeyringError::Threshold { role, keys: different.len(), threshold: keys.threshold });
            }
        }
        Ok(())
    }

    /// Whose keys must be under this word of the gate, and whether it waives the gate: then it is the releasers' word. What
    /// it says is not verified yet.
    pub fn gate_role(&self, gate: &Envelope) -> (&RoleKeys, bool) {
        let claimed = gate.payload().ok().and_then(|payload| crate::predicate::read::<Gate>(&payload).ok());
        let waived = claimed.is_some_and(|gate| gate.attestation.waived.is_some());
        (if waived { &self.releasers } else { &self.gate }, waived)
    }

    /// Reads a keyring that was pinned by hand: it must be signed by its own root keys.
    pub fn pinned(envelope: &Envelope) -> Result<Self, KeyringError> {
        let claimed: Keyring = crate::predicate::read(&envelope.payload().map_err(StatementError::from)?)?;
        claimed.problems()?;
        verify::<Keyring>(envelope, "root", &claimed.root.keys, claimed.root.threshold)?;
        Ok(claimed)
    }

    /// The keyring that follows this one: the next version, signed by the old root and by the new.
    pub fn next(&self, envelope: &Envelope) -> Result<Self, KeyringError> {
        let (new, _, _) = verify::<Keyring>(envelope, "old root", &self.root.keys, self.root.threshold)?;
        if new.version != self.version + 1 {
            return Err(KeyringError::Version { have: self.version, new: new.version });
        }
        new.problems()?;
        verify::<Keyring>(envelope, "new root", &new.root.keys, new.root.threshold)?;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dsse::SigningKey, predicate::sign};

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed(&[n; 32])
    }

    fn role(keys: &[u8], threshold: u32) -> RoleKeys {
        RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold }
    }

    fn keyring(version: u64, root: &[u8]) -> Keyring {
        Keyring {
            version,
            root: role(root, 2),
            release: role(&[10], 1),
            gate: role(&[11, 12], 2),
            releasers: role(&[13, 14], 2),
            online: role(&[15], 1),
            operators: role(&[16, 17], 1),
            witnesses: Vec::new(),
        }
    }

    #[test]
    fn a_root_rotation_needs_old_and_new_thresholds() {
        let old = Keyring::pinned(&sign(&keyring(1, &[1, 2, 3]), &[&key(1), &key(3)])).unwrap();
        let new = keyring(2, &[4, 5, 6]);
        let all = sign(&new, &[&key(1), &key(2), &key(4), &key(5)]);
        assert_eq!(old.next(&all).unwrap(), new);
        assert!(old.next(&sign(&new, &[&key(4), &key(5)])).is_err(), "new root alone");
        assert!(old.next(&sign(&new, &[&key(1), &key(2)])).is_err(), "old root alone");
        assert!(old.next(&sign(&new, &[&key(1), &key(4), &key(5)])).is_err(), "old root below its threshold");
    }

    #[test]
    fn versions_neither_skip_nor_repeat() {
        let old = Keyring::pinned(&sign(&keyring(1, &[1, 2, 3]), &[&key(1), &key(2)])).unwrap();
        for version in [0, 1, 3] {
            let envelope = sign(&keyring(version, &[1, 2, 3]), &[&key(1), &key(2)]);
            assert!(matches!(old.next(&envelope), Err(KeyringError::Version { .. })), "{version}");
        }
    }

    #[test]
    fn thresholds_that_mean_nothing_are_refused() {
        let mut zero = keyring(1, &[1, 2, 3]);
        zero.online.threshold = 0;
        let mut twice = keyring(1, &[1, 2, 3]);
        twice.gate.keys[1] = twice.gate.keys[0];
        for bad in [zero, twice] {
            let pinned = Keyring::pinned(&sign(&bad, &[&key(1), &key(2)]));
            assert!(matches!(pinned, Err(KeyringError::Threshold { .. })));
        }
    }
}
