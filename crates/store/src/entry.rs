//! One entry of the log: what it carries, which bytes the Merkle leaf is made of, and what of it can be erased.
//!
//! No storage and no tree here: see `log.rs` for the contract of a log and `merkle.rs` for what happens to the leaf.

use sha2::{Digest as _, Sha256};

/// A place in the log. The first entry is at position 0, so the number of entries is also the position of the next one.
pub type Position = u64;

/// A SHA-256 value: a commitment, a leaf hash, a node of the tree or its root.
pub type Digest = [u8; 32];

/// Largest payload of one entry, in bytes (1 MiB). Larger things belong into an artifact store, with their digest here.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Longest kind of an entry, in bytes.
pub const MAX_KIND: usize = 128;

/// First line of every leaf record; the number changes if the form of the record ever does.
const LEAF_FORM: &str = "staffel-entry/v1";

/// Why something cannot be an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The kind is empty, too long, or has a character outside printable ASCII without space.
    #[error("entry kind {kind:?} is not 1 to {MAX_KIND} characters of printable ASCII without spaces")]
    Kind {
        /// The kind as given, shortened.
        kind: String,
    },
    /// The payload is larger than [`MAX_PAYLOAD`].
    #[error("entry payload of {bytes} bytes is over the limit of {MAX_PAYLOAD}; store it elsewhere and log its digest")]
    PayloadTooLarge {
        /// Size of the refused payload.
        bytes: usize,
    },
    /// The time does not fit the 63 bits that storage has for it.
    #[error("entry time {at_ms} ms is beyond what can be stored")]
    Time {
        /// The refused time.
        at_ms: u64,
    },
    /// The operating system gave no random bytes for the salt.
    #[error("no random salt for an entry: {detail}")]
    Salt {
        /// What the operating system said.
        detail: String,
    },
}

/// An entry before it has a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The caller's time in milliseconds since 1970-01-01 UTC; the log neither reads a clock nor judges this one.
    pub at_ms: u64,
    /// What this is: 1 to [`MAX_KIND`] characters of printable ASCII without spaces, for example `rollout.halted`.
    pub kind: String,
    /// Usually JSON; at most [`MAX_PAYLOAD`] bytes. Nothing here interprets it.
    pub payload: Vec<u8>,
    /// Sixteen random bytes, so that nobody can guess an erased payload from what is left of it.
    pub salt: [u8; 16],
}

impl NewEntry {
    /// An entry with a fresh random salt.
    ///
    /// # Errors
    /// [`EntryError`] if the kind, the payload or the time is out of bounds, or if there is no randomness.
    pub fn new(at_ms: u64, kind: impl Into<String>, payload: impl Into<Vec<u8>>) -> Result<Self, EntryError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| EntryError::Salt { detail: error.to_string() })?;
        let entry = Self { at_ms, kind: kind.into(), payload: payload.into(), salt };
        entry.check()?;
        Ok(entry)
    }

    /// Whether a log will take this entry.
    ///
    /// # Errors
    /// [`EntryError`] naming the field that is out of bounds.
    pub fn check(&self) -> Result<(), EntryError> {
        check_kind(&self.kind)?;
        if self.payload.len() > MAX_PAYLOAD {
            return Err(EntryError::PayloadTooLarge { bytes: self.payload.len() });
        }
        if i64::try_from(self.at_ms).is_err() {
            return Err(EntryError::Time { at_ms: self.at_ms });
        }
        Ok(())
    }

    /// The entry as it will be read back from `position`.
    #[must_use]
    pub fn at(self, position: Position) -> Entry {
        Entry {
            position,
            at_ms: self.at_ms,
            commitment: commitment(&self.salt, &self.payload),
            kind: self.kind,
            content: Some(Content { salt: self.salt, payload: self.payload }),
        }
    }
}

/// An entry as the log gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub position: Position,
    /// The time that its writer gave it, in milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// What it is.
    pub kind: String,
    /// SHA-256 of salt and payload; all that is left of an erased entry's content.
    pub commitment: Digest,
    /// Salt and payload, or `None` once they were erased.
    pub content: Option<Content>,
}

/// The part of an entry that can be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Sixteen random bytes.
    pub salt: [u8; 16],
    /// What the writer stored.
    pub payload: Vec<u8>,
}

impl Entry {
    /// The payload, or `None` once it was erased.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.content.as_ref().map(|content| content.payload.as_slice())
    }

    /// The bytes that the Merkle leaf is made of; the same before and after erasure.
    #[must_use]
    pub fn leaf_record(&self) -> Vec<u8> {
        leaf_record(&self.kind, self.at_ms, &self.commitment)
    }

    /// Whether salt and payload still give the commitment. An erased entry has nothing left that could disagree.
    #[must_use]
    pub fn content_matches(&self) -> bool {
        self.content.as_ref().is_none_or(|content| commitment(&content.salt, &content.payload) == self.commitment)
    }
}

/// What an entry commits to: SHA-256 of the sixteen salt bytes followed by the payload.
#[must_use]
pub fn commitment(salt: &[u8; 16], payload: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(payload);
    hasher.finalize().into()
}

/// The canonical leaf: four lines of text, so that anyone can rebuild it with `printf` and `sha256sum`.
///
/// ```text
/// staffel-entry/v1
/// rollout.halted
/// 1721347200000
/// 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
/// ```
#[must_use]
pub fn leaf_record(kind: &str, at_ms: u64, commitment: &Digest) -> Vec<u8> {
    format!("{LEAF_FORM}\n{kind}\n{at_ms}\n{}\n", hex::encode(commitment)).into_bytes()
}

/// A kind with a line break could make one leaf read as another, so only plain words are let in.
fn check_kind(kind: &str) -> Result<(), EntryError> {
    let plain = !kind.is_empty() && kind.len() <= MAX_KIND && kind.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { Ok(()) } else { Err(EntryError::Kind { kind: kind.chars().take(40).collect() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_record_is_fixed_text() {
        let entry = NewEntry {
            at_ms: 1_721_347_200_000,
            kind: "rollout.halted".to_owned(),
            payload: b"{}".to_vec(),
            salt: [7; 16],
        }
        .at(0);
        let mut hasher = Sha256::new();
        hasher.update([7; 16]);
        hasher.update(b"{}");
        let expected = format!("staffel-entry/v1\nrollout.halted\n1721347200000\n{}\n", hex::encode(hasher.finalize()));
        assert_eq!(entry.leaf_record(), expected.into_bytes());
    }

    #[test]
    fn erasing_keeps_the_leaf() {
        let mut entry = NewEntry::new(5, "note", "secret").expect("a plain entry").at(3);
        let before = entry.leaf_record();
        entry.content = None;
        assert_eq!(entry.leaf_record(), before);
        assert!(entry.content_matches());
    }

    #[test]
    fn what_cannot_be_an_entry_is_refused() {
        for kind in ["", "two words", "line\nbreak", "ümlaut", &"k".repeat(MAX_KIND + 1)] {
            assert!(matches!(NewEntry::new(0, kind, ""), Err(EntryError::Kind { .. })), "{kind}");
        }
        assert!(NewEntry::new(0, "k".repeat(MAX_KIND), vec![0; MAX_PAYLOAD]).is_ok());
        assert_eq!(
            NewEntry::new(0, "k", vec![0; MAX_PAYLOAD + 1]),
            Err(EntryError::PayloadTooLarge { bytes: MAX_PAYLOAD + 1 })
        );
        assert_eq!(NewEntry::new(u64::MAX, "k", ""), Err(EntryError::Time { at_ms: u64::MAX }));
    }
}
