//! Ed25519 keys in the text form of signed notes (`name+id+base64`), for a log and for its witnesses.
//!
//! What is signed with them is in `checkpoint.rs` and `cosignature.rs`. Where private keys are kept is up to the caller.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// Key type of a log's signature over a checkpoint (c2sp.org/signed-note).
pub(crate) const LOG_SIGNATURE: u8 = 0x01;

/// Key type of a witness's timestamped co-signature (c2sp.org/tlog-cosignature).
pub(crate) const COSIGNATURE: u8 = 0x04;

/// Why something is not a usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Names must not be empty nor contain white space or a plus sign.
    #[error("key name {name:?} is empty or has white space or a plus sign")]
    Name {
        /// The refused name.
        name: String,
    },
    /// The text does not have the form `name+id+base64`.
    #[error("verifier key is malformed: {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// A log's key was given for a witness's, or the other way round.
    #[error("verifier key {name:?} has type {found}, expected {expected} (1 = log, 4 = witness)")]
    WrongType {
        /// Name in the key.
        name: String,
        /// Type byte in the key.
        found: u8,
        /// Type byte that is needed here.
        expected: u8,
    },
}

/// A public key with its name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub name: String,
    pub kind: u8,
    key: VerifyingKey,
}

impl PublicKey {
    pub fn new(name: &str, kind: u8, key: VerifyingKey) -> Result<Self, KeyError> {
        if !signed_note::is_key_name_valid(name) {
            return Err(KeyError::Name { name: name.to_owned() });
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }

    pub fn parse(text: &str, expected: u8) -> Result<Self, KeyError> {
        let malformed = |what| KeyError::Malformed { what };
        let (name, rest) = text.trim().split_once('+').ok_or(malformed("no plus sign after the name"))?;
        let (id, encoded) = rest.split_once('+').ok_or(malformed("no plus sign after the id"))?;
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| malformed("not base64"))?;
        let (kind, key) = bytes.split_first().ok_or(malformed("empty"))?;
        if *kind != expected {
            return Err(KeyError::WrongType { name: name.to_owned(), found: *kind, expected });
        }
        let key: [u8; 32] = key.try_into().map_err(|_| malformed("not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| malformed("not a point on the curve"))?;
        let parsed = Self::new(name, *kind, key)?;
        if format!("{:08x}", parsed.id()) != id {
            return Err(malformed("the id does not belong to name and key"));
        }
        Ok(parsed)
    }

    pub fn same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    fn typed_bytes(&self) -> Vec<u8> {
        [&[self.kind], self.key.as_bytes().as_slice()].concat()
    }

    pub fn raw(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    pub fn id(&self) -> u32 {
        signed_note::key_id(&self.name, &self.typed_bytes())
    }

    pub fn text(&self) -> String {
        let encoded = BASE64_STANDARD.encode(self.typed_bytes());
        format!("{}+{:08x}+{encoded}", self.name, self.id())
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        // Strict: a key of small order would accept many messages under one signature.
        Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

/// The public key of a log; its name is the log's origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey(pub(crate) PublicKey);

impl LogKey {
    /// Reads a key as `origin+id+base64`.
    ///
    /// # Errors
    /// [`KeyError`] saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        PublicKey::parse(text, LOG_SIGNATURE).map(Self)
    }

    /// The log's origin: first line of its checkpoints and name of its key.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.name
    }

    /// The key as `origin+id+base64`.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.text()
    }
}

impl signed_note::Verifier for LogKey {
    fn name(&self) -> &str {
        &self.0.name
    }
    fn key_id(&self) -> u32 {
        self.0.id()
    }
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(message, signature)
    }
}

/// The private key of a log. The key itself never appears in `Debug` output.
pub struct LogSigner {
    key: SigningKey,
    public: LogKey,
}

impl LogSigner {
    /// A signer for the log named `origin`, by convention a URL without scheme such as `staffel.example/log`.
    ///
    /// # Errors
    /// [`KeyError::Name`] if the origin is empty or has white space or a plus sign.
    pub fn new(origin: &str, key: SigningKey) -> Result<Self, KeyError> {
        let public = PublicKey::new(origin, LOG_SIGNATURE, key.verifying_key()).map(LogKey)?;
        Ok(Self { key, public })
    }

    /// As [`LogSigner::new`], from the 32-byte seed of the key.
    ///
    /// # Errors
    /// As [`LogSigner::new`].
    pub fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(origin, SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &LogKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).to_vec()
    }
}

impl std::fmt::Debug for LogSigner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "LogSigner({})", self.public.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_round_trip_and_agree_with_the_library() {
        let signer = LogSigner::new("staffel.example/log", SigningKey::from_bytes(&[3; 32])).expect("a plain name");
        let text = signer.public().text();
        assert_eq!(LogKey::parse(&text).as_ref(), Ok(signer.public()));
        assert_eq!(text, signed_note::new_ed25519_verifier_key("staffel.example/log", &signer.key.verifying_key()));
    }

    #[test]
    fn damaged_keys_are_refused() {
        let signer = LogSigner::new("log", SigningKey::from_bytes(&[3; 32])).expect("a plain name");
        let text = signer.public().text();
        assert!(matches!(LogKey::parse(&text.replacen("log", "lag", 1)), Err(KeyError::Malformed { .. })));
        for cut in 0..text.len() {
            assert!(LogKey::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        assert!(matches!(PublicKey::parse(&text, COSIGNATURE), Err(KeyError::WrongType { found: 1, expected: 4, .. })));
        assert!(LogSigner::new("two words", SigningKey::from_bytes(&[3; 32])).is_err());
    }
}
