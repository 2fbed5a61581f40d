//! Signed metadata files: signing, and verifying against a threshold that counts keys by their material.
//!
//! Two ids for one key count once, so nobody reaches a threshold of two with one key under two names. Used by the writer on
//! what it wrote earlier or was handed by somebody else; the client verifies with its own library. Deciding which authority
//! applies does not belong here.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::{CanonicalError, to_canonical};
use super::metadata::{Authority, Key};
use crate::keyfile::KeyPair;

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Id of the key that made it.
    pub keyid: String,
    /// Hexadecimal.
    pub sig: String,
}

/// A metadata file before it is known to be of any kind or to be trustworthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The signatures over the canonical form of `signed`.
    pub signatures: Vec<Signature>,
    /// What is signed.
    pub signed: Value,
}

/// Why a metadata file is refused or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The text is no metadata file of the wanted kind.
    #[error("not {kind} metadata")]
    Malformed {
        /// `root`, `timestamp`, `snapshot` or `targets`.
        kind: &'static str,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// It is metadata of another kind.
    #[error("metadata of kind {found:?}, wanted {wanted:?}")]
    Kind {
        /// The wanted kind.
        wanted: &'static str,
        /// The kind it says.
        found: String,
    },
    /// What is to be signed has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Too few different keys signed.
    #[error("signatures of {found} authorised keys, {needed} needed")]
    Threshold {
        /// Different authorised keys with a valid signature.
        found: usize,
        /// The threshold.
        needed: u32,
    },
}

/// Signs `signed` with each of `keys` and returns the file's bytes. The same input gives the same bytes.
pub fn sign<'keys>(
    signed: &impl Serialize,
    kind: &'static str,
    keys: impl IntoIterator<Item = &'keys KeyPair>,
) -> Result<Vec<u8>, EnvelopeError> {
    let signed = serde_json::to_value(signed).map_err(|source| EnvelopeError::Malformed { kind, source })?;
    let message = to_canonical(&signed)?;
    let by_id: BTreeMap<String, &KeyPair> = keys.into_iter().map(|key| (key.id(), key)).collect();
    let signatures =
        by_id.into_iter().map(|(keyid, key)| Signature { keyid, sig: hex::encode(key.sign(&message)) }).collect();
    serde_json::to_vec(&Envelope { signatures, signed }).map_err(|source| EnvelopeError::Malformed { kind, source })
}

/// Parses a metadata file, checks that it says to be of `kind`, and returns it typed. No signature is checked.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], kind: &'static str) -> Result<(Envelope, T), EnvelopeError> {
    let malformed = |source| EnvelopeError::Malformed { kind, source };
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(malformed)?;
    let found = envelope.signed.get("_type").and_then(Value::as_str).unwrap_or("none");
    if found != kind {
        return Err(EnvelopeError::Kind { wanted: kind, found: found.to_owned() });
    }
    let typed = T::deserialize(&envelope.signed).map_err(malformed)?;
    Ok((envelope, typed))
}

/// Checks that at least `authority.threshold` different keys of `authority` signed. A threshold of 0 is never met.
pub fn verify(envelope: &Envelope, keys: &BTreeMap<String, Key>, authority: &Authority) -> Result<(), EnvelopeError> {
    let message = to_canonical(&envelope.signed)?;
    let mut signers = BTreeSet::new();
    for signature in &envelope.signatures {
        if !authority.keyids.contains(&signature.keyid) {
            continue;
        }
        let Some(key) = keys.get(&signature.keyid).and_then(Key::public_key) else { continue };
        let Ok(raw) = hex::decode(&signature.sig) else { continue };
        if key.verify(&message, &raw) {
            signers.insert(key);
        }
    }
    let enough =
        authority.threshold > 0 && u32::try_from(signers.len()).is_ok_and(|found| found >= authority.threshold);
    if enough { Ok(()) } else { Err(EnvelopeError::Threshold { found: signers.len(), needed: authority.threshold }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuf::metadata::{Extra, References};

    fn authority(keyids: &[&str], threshold: u32) -> Authority {
        Authority { keyids: keyids.iter().map(|id| (*id).to_owned()).collect(), threshold, extra: Extra::new() }
    }

    fn signed_by(pairs: &[&KeyPair]) -> Envelope {
        let bytes = sign(&References::new("snapshot"), "snapshot", pairs.iter().copied()).unwrap();
        parse::<References>(&bytes, "snapshot").unwrap().0
    }

    #[test]
    fn one_key_under_two_names_counts_once() {
        let pair = KeyPair::from_seed([1; 32]);
        let mut envelope = signed_by(&[&pair]);
        let sig = envelope.signatures[0].sig.clone();
        envelope.signatures = vec![
            Signature { keyid: "one".into(), sig: sig.clone() },
            Signature { keyid: "two".into(), sig: sig.clone() },
            Signature { keyid: "one".into(), sig },
        ];
        let keys = ["one", "two"].map(|id| (id.to_owned(), Key::new(pair.public()))).into();
        assert!(verify(&envelope, &keys, &authority(&["one", "two"], 1)).is_ok());
        assert!(matches!(
            verify(&envelope, &keys, &authority(&["one", "two"], 2)),
            Err(EnvelopeError::Threshold { found: 1, needed: 2 })
        ));
    }

    #[test]
    fn threshold_zero_is_never_met() {
        let pair = KeyPair::from_seed([1; 32]);
        let keys = [(pair.id(), Key::new(pair.public()))].into();
        assert!(verify(&signed_by(&[&pair]), &keys, &authority(&[&pair.id()], 0)).is_err());
    }

    #[test]
    fn only_authorised_keys_count() {
        let (first, second) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]));
        let keys = [&first, &second].map(|pair| (pair.id(), Key::new(pair.public()))).into();
        let envelope = signed_by(&[&first, &second]);
        assert!(verify(&envelope, &keys, &authority(&[&first.id(), &second.id()], 2)).is_ok());
        assert!(verify(&envelope, &keys, &authority(&[&first.id(), "other"], 2)).is_err());
    }

    #[test]
    fn kinds_are_not_mixed_up() {
        let bytes = sign(&References::new("timestamp"), "timestamp", []).unwrap();
        assert!(matches!(parse::<References>(&bytes, "snapshot"), Err(EnvelopeError::Kind { .. })));
        assert!(matches!(parse::<References>(&bytes[..20], "timestamp"), Err(EnvelopeError::Malformed { .. })));
    }
}
