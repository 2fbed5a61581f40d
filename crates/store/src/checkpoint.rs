//! Checkpoints: the log's signed statement of its size and root, as signed notes (c2sp.org/tlog-checkpoint).
//!
//! Witnesses' signatures on them are in `cosignature.rs`.

use signed_note::{Note, Signature, Verifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash};

use crate::cosignature::{WitnessKey, WitnessTime};
use crate::entry::Digest;
use crate::error::StoreError;
use crate::keys::{LogKey, LogSigner};
use crate::log::{KeepError, StoredCheckpoint, Tree};
use crate::merkle::{self, ProofError};

/// Why a checkpoint could not be made, or is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no signed note, or its text is no checkpoint.
    #[error("the checkpoint is malformed: {what}")]
    Malformed {
        /// Which part.
        what: String,
    },
    /// The log's signature is missing, or one of the known signatures does not verify.
    #[error("the checkpoint of {origin:?} is not validly signed: {what}")]
    Signature {
        /// The log that was expected.
        origin: String,
        /// What is wrong.
        what: String,
    },
    /// It is a checkpoint of another log.
    #[error("the checkpoint is for {found:?}, not for {expected:?}")]
    Origin {
        /// The log that was expected.
        expected: String,
        /// The log it names.
        found: String,
    },
    /// The root could not be computed.
    #[error("root for a checkpoint")]
    Root(#[from] ProofError),
    /// It could not be kept, so it must not be handed out.
    #[error("keep a checkpoint")]
    Keep(#[from] KeepError),
    /// The kept ones could not be read.
    #[error("read checkpoints")]
    Store(#[from] StoreError),
}

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeHead {
    /// Which log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Digest,
}

/// A checkpoint whose signatures were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    /// What it says.
    pub head: TreeHead,
    /// The witnesses, of those that were asked for, that have co-signed it, and when.
    pub witnessed: Vec<WitnessTime>,
    /// Number of signatures by keys that nobody here knows.
    pub unknown_signatures: usize,
}

impl TreeHead {
    /// The signed text: origin, size and base64 root, a line each.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, Hash(self.root))
    }

    /// Reads a checkpoint's text; lines after the third are allowed and ignored.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(body: &[u8]) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::from_bytes(body).map_err(|error| malformed(&error))?;
        Ok(Self { origin: checkpoint.origin().to_owned(), size: checkpoint.size(), root: checkpoint.hash().0 })
    }

    /// Signs this head. Only for heads that are durable: see [`sign_checkpoint`].
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] if the signer is for another log, [`CheckpointError::Malformed`] if a note cannot hold the text.
    pub fn sign(&self, signer: &LogSigner) -> Result<String, CheckpointError> {
        let origin = signer.public().origin();
        if origin != self.origin {
            return Err(CheckpointError::Origin { expected: origin.to_owned(), found: self.origin.clone() });
        }
        let body = self.body();
        let signature = Signature::new(origin.to_owned(), signer.public().key_id(), signer.sign(body.as_bytes()));
        let note = Note::new(body.as_bytes(), &[signature.map_err(|error| malformed(&error))?]);
        note_text(&note.map_err(|error| malformed(&error))?)
    }
}

/// Signs the log as it is now, keeps the checkpoint, and answers it.
///
/// What `head` shows is durable (see `log::ReadLog`), so what is signed here cannot be lost; and it is handed out only
/// after it was kept. If nothing came since the last checkpoint, that one is answered, co-signatures included.
///
/// # Errors
/// [`CheckpointError`] saying which step failed; then there is nothing to publish.
pub fn sign_checkpoint(tree: &dyn Tree, signer: &LogSigner) -> Result<StoredCheckpoint, CheckpointError> {
    let size = tree.head()?;
    let head = TreeHead { origin: signer.public().origin().to_owned(), size, root: merkle::root(tree, size)? };
    let kept = tree.checkpoints()?.into_iter().find(|kept| kept.size == size);
    if let Some(kept) = kept
        && verify_checkpoint(&kept.note, signer.public(), &[]).is_ok_and(|verified| verified.head == head)
    {
        return Ok(kept);
    }
    let checkpoint = StoredCheckpoint { size, cosignatures: 0, note: head.sign(signer)? };
    tree.keep_checkpoint(&checkpoint)?;
    Ok(checkpoint)
}

/// Adds witnesses' signature lines to a checkpoint and keeps the result, if all of it verifies.
///
/// # Errors
/// [`CheckpointError`]: the lines don't verify under `witnesses`, or the checkpoint could not be kept.
pub fn add_cosignatures(
    tree: &dyn Tree,
    key: &LogKey,
    witnesses: &[WitnessKey],
    checkpoint: &StoredCheckpoint,
    lines: &str,
) -> Result<StoredCheckpoint, CheckpointError> {
    let mut note = checkpoint.note.clone();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        if !note.lines().any(|there| there == line) {
            note.push_str(line);
            note.push('\n');
        }
    }
    let verified = verify_checkpoint(&note, key, witnesses)?;
    let merged = StoredCheckpoint {
        size: verified.head.size,
        cosignatures: u32::try_from(verified.witnessed.len()).unwrap_or(u32::MAX),
        note,
    };
    tree.keep_checkpoint(&merged)?;
    Ok(merged)
}

/// Verifies a signed checkpoint: the log's signature must be there and valid, and every co-signature by one of
/// `witnesses` must be valid. How many there must be is the caller's policy: see [`VerifiedCheckpoint::witness_time`].
///
/// # Errors
/// [`CheckpointError::Malformed`], [`CheckpointError::Signature`] or [`CheckpointError::Origin`].
pub fn verify_checkpoint(
    note: &str,
    key: &LogKey,
    witnesses: &[WitnessKey],
) -> Result<VerifiedCheckpoint, CheckpointError> {
    let unsigned = |what: String| CheckpointError::Signature { origin: key.origin().to_owned(), what };
    let note = Note::from_bytes(note.as_bytes()).map_err(|error| malformed(&error))?;
    let mut verifiers: Vec<Box<dyn Verifier>> = vec![Box::new(key.clone())];
    for (at, witness) in witnesses.iter().enumerate() {
        // One key under two names is one witness, so that a quorum counts keys.
        if !witnesses[..at].iter().any(|earlier| earlier.same_key(witness)) {
            verifiers.push(Box::new(witness.clone()));
        }
    }
    let (known, unknown) = note.verify(&VerifierList::new(verifiers)).map_err(|error| unsigned(error.to_string()))?;
    let by_log = |signature: &Signature| signature.name() == key.origin() && signature.id() == key.key_id();
    if !known.iter().any(by_log) {
        return Err(unsigned("the log itself has not signed it".to_owned()));
    }
    let head = TreeHead::parse(note.text())?;
    if head.origin != key.origin() {
        return Err(CheckpointError::Origin { expected: key.origin().to_owned(), found: head.origin });
    }
    Ok(VerifiedCheckpoint {
        head,
        witnessed: known.iter().filter(|it| !by_log(it)).filter_map(WitnessTime::read).collect(),
        unknown_signatures: unknown.len(),
    })
}

/// Which checkpoints to keep once `new` has come: the latest, and the latest that is co-signed.
///
/// # Errors
/// [`KeepError::Ahead`] or [`KeepError::Older`].
pub(crate) fn to_keep(
    kept: &[StoredCheckpoint],
    new: &StoredCheckpoint,
    head: u64,
) -> Result<Vec<StoredCheckpoint>, KeepError> {
    if new.size > head {
        return Err(KeepError::Ahead { size: new.size, head });
    }
    let latest = kept.iter().map(|it| it.size).max().unwrap_or(0);
    let cosigned = kept.iter().filter(|it| it.cosignatures > 0).map(|it| it.size).max();
    // A co-signature takes a while, and by then the log has often signed a later checkpoint.
    let useful = new.size >= latest || (new.cosignatures > 0 && cosigned.is_none_or(|size| new.size >= size));
    if !useful {
        return Err(KeepError::Older { size: new.size, kept: latest });
    }
    let mut all: Vec<StoredCheckpoint> = kept.to_vec();
    match all.iter_mut().find(|it| it.size == new.size) {
        Some(same) if same.cosignatures > new.cosignatures => {}
        Some(same) => *same = new.clone(),
        None => all.push(new.clone()),
    }
    let latest = all.iter().map(|it| it.size).max();
    let cosigned = all.iter().filter(|it| it.cosignatures > 0).map(|it| it.size).max();
    all.retain(|it| Some(it.size) == latest || Some(it.size) == cosigned);
    all.sort_by_key(|it| it.size);
    Ok(all)
}

fn note_text(note: &Note) -> Result<String, CheckpointError> {
    String::from_utf8(note.to_bytes()).map_err(|error| malformed(&error))
}

fn malformed(error: &dyn std::fmt::Display) -> CheckpointError {
    CheckpointError::Malformed { what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(size: u64, cosignatures: u32) -> StoredCheckpoint {
        StoredCheckpoint { size, cosignatures, note: format!("{size} {cosignatures}") }
    }

    #[test]
    fn the_latest_and_the_latest_cosigned_are_kept() {
        let kept = to_keep(&[], &stored(3, 0), 9).expect("first");
        let kept = to_keep(&kept, &stored(5, 0), 9).expect("later");
        assert_eq!(kept, [stored(5, 0)]);
        let kept = to_keep(&kept, &stored(3, 1), 9).expect("a late co-signature");
        assert_eq!(kept, [stored(3, 1), stored(5, 0)]);
        let kept = to_keep(&kept, &stored(5, 2), 9).expect("more signatures");
        assert_eq!(to_keep(&kept, &stored(5, 0), 9).expect("fewer signatures"), [stored(5, 2)]);
        assert_eq!(to_keep(&kept, &stored(4, 0), 9), Err(KeepError::Older { size: 4, kept: 5 }));
        assert_eq!(to_keep(&kept, &stored(4, 1), 9), Err(KeepError::Older { size: 4, kept: 5 }));
        assert_eq!(to_keep(&kept, &stored(10, 0), 9), Err(KeepError::Ahead { size: 10, head: 9 }));
    }
}
