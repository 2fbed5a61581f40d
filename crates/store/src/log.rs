//! What a log promises to whoever writes to it and reads from it, whatever keeps it.
//!
//! No implementation here: `sqlite` and `memory` have one each, `contract.rs` tests that a new one keeps the promises.

use std::path::PathBuf;

use crate::entry::{Digest, Entry, EntryError, NewEntry, Position};
use crate::error::StoreError;

/// The reading half of a log.
pub trait ReadLog: Send + Sync {
    /// Number of entries, which is also the position of the next one. Whatever is below it is durable.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read.
    fn head(&self) -> Result<Position, StoreError>;

    /// Up to `max` entries in order, the first one at `from`. Fewer, or none, at the end of the log: that is no error.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read.
    fn read(&self, from: Position, max: usize) -> Result<Vec<Entry>, StoreError>;
}

/// An append-only log with one order.
///
/// What every implementation promises, and `contract::check` tests:
///
/// 1. **Compare and swap.** `append(expected, ..)` adds the entries at `expected` and after it if the head is exactly
///    `expected`; else it adds nothing and answers [`AppendError::Conflict`] with the head there is. Of several
///    callers with the same `expected`, one wins.
/// 2. **All or nothing.** The entries of one call are added together and in their order, with nothing between them.
/// 3. **Durable on return.** After `Ok`, the entries survive the death of the process and loss of power, and every
///    later `read` and `head` shows them.
/// 4. **Refused entries are not there.** After `Conflict`, `Invalid`, `Overloaded` or `SnapshotAhead` nothing was added, ever.
/// 5. **Failed writes are honest.** After `Full`, `Unavailable` or any other error the entries are not visible. But the
///    disk may have kept what it said it did not: if the process dies before another append succeeds, they may be
///    there after the next open, all of them or none. So whoever tries again uses the same `expected`, which can never
///    add twice; whoever starts anew reads first. [`AppendError::outcome_is_open`] tells these errors apart.
/// 6. **Positions are dense** from 0, and what a position holds never changes, but for `erase`.
/// 7. **Erasing** removes salt and payload for good and leaves position, time, kind and commitment, so proofs hold.
/// 8. **A failure is not the end.** Once the cause is gone, appending works again without opening anew.
pub trait Log: ReadLog {
    /// Adds `entries` if `expected` is the head; answers the new head. No entries: just compares.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] if the head is another one; else why it could not be written.
    fn append(&self, expected: Position, entries: &[NewEntry]) -> Result<Position, AppendError>;

    /// Removes salt and payload of the entry at `position`. Erasing twice is no error.
    ///
    /// # Errors
    /// [`EraseError::NoSuchEntry`] beyond the head; else why it could not be written.
    fn erase(&self, position: Position) -> Result<(), EraseError>;
}

/// A log with its Merkle tree and checkpoints: what proofs, tiles and verification read from.
///
/// Hashes are numbered as in tlog-tiles: `stored_hash_index(level, n)` of <https://research.swtch.com/tlog>.
pub trait Tree: ReadLog {
    /// The stored hashes with these indexes, in the order asked for.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if one is missing, which for an index below [`Tree::hash_count`] never happens.
    fn hashes(&self, indexes: &[u64]) -> Result<Vec<Digest>, StoreError>;

    /// Stored hashes from index `from` on, at most `max`, with their indexes; for a verifier that reads them all.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn hash_range(&self, from: u64, max: usize) -> Result<Vec<(u64, Digest)>, StoreError>;

    /// Number of stored hashes.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn hash_count(&self) -> Result<u64, StoreError>;

    /// The signed checkpoints that are kept, by size: the latest, and the latest that a witness has co-signed.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    fn checkpoints(&self) -> Result<Vec<StoredCheckpoint>, StoreError>;

    /// Keeps a signed checkpoint, or the same one with more co-signatures.
    ///
    /// # Errors
    /// [`KeepError::Older`] for one smaller than what is kept, [`KeepError::Ahead`] for one beyond the head, else why it could not be written.
    fn keep_checkpoint(&self, checkpoint: &StoredCheckpoint) -> Result<(), KeepError>;
}

/// A signed checkpoint as it is kept. The note alone counts; size and number are there to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Tree size that it is about.
    pub size: u64,
    /// How many witnesses have co-signed it, as its keeper counted them.
    pub cosignatures: u32,
    /// The signed note: body, empty line, signature lines.
    pub note: String,
}

/// Why an append did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first. Read from `expected` on, decide anew, and try with the new head.
    #[error("append at {expected}: the head is {head}")]
    Conflict {
        /// Head that the caller expected.
        expected: Position,
        /// Head there is.
        head: Position,
    },
    /// One of the entries cannot be stored by any log.
    #[error("append: entry {index} of the call is not acceptable")]
    Invalid {
        /// Which of the call's entries, from 0.
        index: usize,
        /// What is wrong with it.
        source: EntryError,
    },
    /// Too many appends wait already. Nothing was added; try again later.
    #[error("append: {waiting} appends are waiting already; try again later")]
    Overloaded {
        /// How many fit.
        waiting: usize,
    },
    /// A snapshot claims to include entries that are not there yet.
    #[error("snapshot {name:?} is for position {position}, but the head is {head}")]
    SnapshotAhead {
        /// Name of the snapshot.
        name: String,
        /// Position that it claims.
        position: Position,
        /// Head there is.
        head: Position,
    },
    /// No space. Reading goes on; appending works again once there is space.
    #[error(
        "append: no space left for {}; free some there, nothing acknowledged is lost, reading goes on and appending \
         resumes by itself ({detail})",
        path.display()
    )]
    Full {
        /// The log's file.
        path: PathBuf,
        /// What SQLite or the operating system said.
        detail: String,
    },
    /// Anything else.
    #[error("append")]
    Unavailable(#[source] StoreError),
}

impl AppendError {
    /// Whether the entries might, against what was reported, be there after the next open of the log (promise 5).
    #[must_use]
    pub fn outcome_is_open(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Unavailable(_))
    }
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { path, detail, .. } => Self::Full { path, detail },
            other => Self::Unavailable(other),
        }
    }
}

/// Why an entry was not erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    /// There is no entry at that position.
    #[error("erase {position}: the log ends before {head}")]
    NoSuchEntry {
        /// Position asked for.
        position: Position,
        /// Head there is.
        head: Position,
    },
    /// It could not be written.
    #[error("erase")]
    Store(#[from] StoreError),
}

/// Why a checkpoint was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// A later one is kept already; going back would hide it.
    #[error("checkpoint of size {size} is older than the kept one of size {kept}")]
    Older {
        /// Size of the refused checkpoint.
        size: u64,
        /// Size of the latest that is kept.
        kept: u64,
    },
    /// It speaks of entries that are not there.
    #[error("checkpoint of size {size} is beyond the head {head}")]
    Ahead {
        /// Size of the refused checkpoint.
        size: u64,
        /// Head there is.
        head: Position,
    },
    /// It could not be written.
    #[error("keep a checkpoint")]
    Store(#[from] StoreError),
}
