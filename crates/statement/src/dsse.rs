//! Dead Simple Signing Envelope v1.0 with Ed25519 (<https://github.com/secure-systems-lab/dsse>). What must stay out:
//! the meaning of a payload, and who may sign it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::Signer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use staffel_core::ids::Digest;
use std::{collections::BTreeSet, fmt};

/// The payload type of every statement of ours.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// No statement is larger: 16 MiB. A release with 100,000 files stays below.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// An Ed25519 public key, 64 hex digits in text. Its id is the SHA-256 of the 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key id used in DSSE signatures and in TUF metadata.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }

    /// Reads 64 hex digits; `None` for anything else. Whether it is a point on the curve shows at the first use.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(PublicKey(bytes))
    }

    /// True if `signature` (64 bytes) is this key's over `message`. Strict: small-order keys and mixed forms fail.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) =
            (ed25519_dalek::VerifyingKey::from_bytes(&self.0), ed25519_dalek::Signature::from_slice(signature))
        else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        PublicKey::parse(&text).ok_or_else(|| D::Error::custom("expected an Ed25519 public key as 64 hex digits"))
    }
}

/// An Ed25519 private key. Never printed, never serialised here.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a 32-byte seed; the caller provides the randomness.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).to_bytes().to_vec()
    }
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// A hint only (DSSE): every key is tried by its material.
    #[serde(default)]
    pub keyid: String,
    /// Base64 of 64 bytes.
    pub sig: String,
}

/// A signed payload. The payload's bytes are kept as they came, so fields that we don't know survive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Base64.
    pub payload: String,
    pub signatures: Vec<Signature>,
}

/// Why an envelope can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the envelope's payload type is {0:?}, expected {IN_TOTO:?}")]
    PayloadType(String),
    #[error("the envelope's payload is not base64")]
    Base64,
    #[error("the envelope's payload is larger than {MAX_PAYLOAD} bytes")]
    TooLarge,
    #[error("{have} of {need} keys of the role {role} have signed")]
    Threshold { role: String, have: u32, need: u32 },
}

/// DSSE pre-authentication encoding: what is really signed.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Envelope {
    /// An envelope around `payload`, signed by each of `keys`.
    pub fn sign(payload: &[u8], keys: &[&SigningKey]) -> Self {
        let mut envelope =
            Envelope { payload_type: IN_TOTO.into(), payload: STANDARD.encode(payload), signatures: Vec::new() };
        for key in keys {
            envelope.push_signature(payload, key);
        }
        envelope
    }

    /// Adds one more signature, as the second approver does.
    pub fn add_signature(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        let payload = self.payload()?;
        self.push_signature(&payload, key);
        Ok(())
    }

    fn push_signature(&mut self, payload: &[u8], key: &SigningKey) {
        let encoded = pre_authentication_encoding(&self.payload_type, payload);
        self.signatures.push(Signature { keyid: key.public().id(), sig: STANDARD.encode(key.sign(&encoded)) });
    }

    /// The payload's bytes, not verified.
    pub fn payload(&self) -> Result<Vec<u8>, EnvelopeError> {
        if self.payload_type != IN_TOTO {
            return Err(EnvelopeError::PayloadType(self.payload_type.clone()));
        }
        if self.payload.len() / 4 * 3 > MAX_PAYLOAD {
            return Err(EnvelopeError::TooLarge);
        }
        STANDARD.decode(&self.payload).map_err(|_| EnvelopeError::Base64)
    }

    /// The digest of the payload: how statements name one another.
    pub fn digest(&self) -> Result<Digest, EnvelopeError> {
        Ok(Digest::of(&self.payload()?))
    }

    /// The payload and the number of *different* keys among `keys` that signed it, counted by key material.
    pub fn signers(&self, keys: &[PublicKey]) -> Result<(Vec<u8>, u32), EnvelopeError> {
        let payload = self.payload()?;
        let encoded = pre_authentication_encoding(&self.payload_type, &payload);
        let mut who = BTreeSet::new();
        // More signatures than this are noise meant to keep us busy.
        for signature in self.signatures.iter().take(32) {
            let Ok(bytes) = STANDARD.decode(&signature.sig) else { continue };
            // The hint is tried first; a wrong hint costs time, never correctness.
            let hinted = keys.iter().filter(|key| key.id() == signature.keyid);
            if let Some(key) = hinted.chain(keys).find(|key| key.verifies(&encoded, &bytes)) {
                who.insert(*key);
            }
        }
        Ok((payload, who.len() as u32))
    }

    /// The payload, if at least `threshold` (never less than one) different keys of `keys` signed it.
    pub fn verify(&self, role: &str, keys: &[PublicKey], threshold: u32) -> Result<(Vec<u8>, u32), EnvelopeError> {
        let (payload, have) = self.signers(keys)?;
        let need = threshold.max(1);
        if have < need {
            return Err(EnvelopeError::Threshold { role: role.into(), have, need });
        }
        Ok((payload, have))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed(&[n; 32])
    }

    #[test]
    fn the_encoding_is_the_one_of_the_dsse_specification() {
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn one_key_that_signs_twice_counts_once() {
        let mut envelope = Envelope::sign(b"{}", &[&key(1), &key(1)]);
        envelope.signatures[1].keyid = key(2).public().id();
        let keys = [key(1).public(), key(2).public()];
        assert_eq!(
            envelope.verify("releasers", &keys, 2),
            Err(EnvelopeError::Threshold { role: "releasers".into(), have: 1, need: 2 })
        );
        envelope.add_signature(&key(2)).unwrap();
        assert!(envelope.verify("releasers", &keys, 2).is_ok());
    }

    #[test]
    fn a_threshold_of_zero_still_wants_a_signature() {
        let envelope = Envelope::sign(b"{}", &[]);
        assert!(envelope.verify("online", &[key(1).public()], 0).is_err());
    }

    proptest! {
        #[test]
        fn any_changed_byte_breaks_the_signature(payload in proptest::collection::vec(any::<u8>(), 1..200), at in any::<usize>(), bit in 0..8u8) {
            let mut envelope = Envelope::sign(&payload, &[&key(1)]);
            let mut changed = payload.clone();
            let at = at % changed.len();
            changed[at] ^= 1 << bit;
            envelope.payload = STANDARD.encode(&changed);
            prop_assert!(envelope.verify("r", &[key(1).public()], 1).is_err());
        }

        #[test]
        fn hostile_envelopes_are_errors(text in ".{0,300}") {
            if let Ok(envelope) = serde_json::from_str::<Envelope>(&text) {
                let _ = envelope.verify("r", &[key(1).public()], 1);
            }
        }
    }
}
