//! A log in memory, for tests of what is built on a log. It keeps every promise of `log.rs` but durability.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::checkpoint::to_keep;
use crate::entry::{Digest, Entry, NewEntry, Position};
use crate::error::StoreError;
use crate::log::{AppendError, EraseError, KeepError, Log, ReadLog, StoredCheckpoint, Tree};
use crate::merkle::{Frontier, leaf_hash};

/// A log that is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    hashes: Vec<Digest>,
    frontier: Frontier,
    checkpoints: Vec<StoredCheckpoint>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadLog for MemoryLog {
    fn head(&self) -> Result<Position, StoreError> {
        Ok(self.state().frontier.size())
    }

    fn read(&self, from: Position, max: usize) -> Result<Vec<Entry>, StoreError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.state().entries.iter().skip(from).take(max).cloned().collect())
    }
}

impl Log for MemoryLog {
    fn append(&self, expected: Position, entries: &[NewEntry]) -> Result<Position, AppendError> {
        for (index, entry) in entries.iter().enumerate() {
            entry.check().map_err(|source| AppendError::Invalid { index, source })?;
        }
        let mut state = self.state();
        let head = state.frontier.size();
        if head != expected {
            return Err(AppendError::Conflict { expected, head });
        }
        for (position, entry) in (head..).zip(entries) {
            let entry = entry.clone().at(position);
            // The edge in memory is always whole, so this adds a hash to it without fail.
            if let Ok(new) = state.frontier.push(leaf_hash(&entry.leaf_record())) {
                state.hashes.extend(new.into_iter().map(|(_, hash)| hash));
                state.entries.push(entry);
            }
        }
        Ok(state.frontier.size())
    }

    fn erase(&self, position: Position) -> Result<(), EraseError> {
        let mut state = self.state();
        let head = state.frontier.size();
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        match state.entries.get_mut(at) {
            Some(entry) => {
                entry.content = None;
                Ok(())
            }
            None => Err(EraseError::NoSuchEntry { position, head }),
        }
    }
}

impl Tree for MemoryLog {
    fn hashes(&self, indexes: &[u64]) -> Result<Vec<Digest>, StoreError> {
        let state = self.state();
        indexes
            .iter()
            .map(|index| {
                let at = usize::try_from(*index).unwrap_or(usize::MAX);
                state.hashes.get(at).copied().ok_or_else(|| StoreError::Corrupt {
                    operation: "read hashes of the tree",
                    path: "(memory)".into(),
                    detail: format!("hash {index} is missing"),
                })
            })
            .collect()
    }

    fn hash_range(&self, from: u64, max: usize) -> Result<Vec<(u64, Digest)>, StoreError> {
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        let state = self.state();
        Ok((from..).zip(state.hashes.iter().skip(skip).take(max).copied()).collect())
    }

    fn hash_count(&self) -> Result<u64, StoreError> {
        Ok(self.state().hashes.len() as u64)
    }

    fn checkpoints(&self) -> Result<Vec<StoredCheckpoint>, StoreError> {
        Ok(self.state().checkpoints.clone())
    }

    fn keep_checkpoint(&self, checkpoint: &StoredCheckpoint) -> Result<(), KeepError> {
        let mut state = self.state();
        state.checkpoints = to_keep(&state.checkpoints, checkpoint, state.frontier.size())?;
        Ok(())
    }
}
