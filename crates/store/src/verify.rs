//! Verifies a whole log from its payloads up: every commitment, every leaf, every stored hash, and the checkpoints.
//!
//! It believes nothing that is stored but the payloads, and compares the rest with what follows from them. What only
//! an outsider can know, that the log was cut back together with its checkpoints, is what witnesses are for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::verify_checkpoint;
use crate::cosignature::{WitnessKey, WitnessTime};
use crate::entry::{Digest, Entry, Position};
use crate::error::StoreError;
use crate::keys::LogKey;
use crate::log::{StoredCheckpoint, Tree};
use crate::merkle::{Frontier, leaf_hash, stored_hashes};
use crate::sqlite::SqliteReader;

/// Entries that are read at a time.
const BATCH: usize = 1024;

/// Problems that a report spells out; all are counted.
const LISTED: usize = 100;

/// Keys that checkpoints must be signed with.
#[derive(Debug, Clone)]
pub struct CheckpointKeys {
    /// The log's own key.
    pub log: LogKey,
    /// The witnesses whose co-signatures are checked, if they are there.
    pub witnesses: Vec<WitnessKey>,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something cannot be read; nothing after it was verified.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] StoreError),
    /// An entry is missing.
    #[error("entry {expected} is missing")]
    Missing {
        /// The position where an entry should be.
        expected: Position,
    },
    /// Payload or salt was changed, or the commitment.
    #[error("entry {position}: payload, salt or commitment was changed")]
    Content {
        /// Which entry.
        position: Position,
    },
    /// Kind, time or commitment of an entry was changed, or the hash that is stored for it or for a subtree that ends with it.
    #[error("entry {position}: kind, time or commitment was changed, or hash {index} of the tree (level {level})")]
    Hash {
        /// The entry with which the hash was stored.
        position: Position,
        /// Index of the hash.
        index: u64,
        /// Its level in the tree: 0 for a leaf.
        level: u64,
    },
    /// There are more hashes than the entries account for.
    #[error("{stored} hashes of the tree are stored, but the entries account for {expected}")]
    ExtraHashes {
        /// How many there are.
        stored: u64,
        /// How many there should be.
        expected: u64,
    },
    /// A kept checkpoint is not validly signed, or is about something else than its row says.
    #[error("checkpoint of size {size}: {detail}")]
    Checkpoint {
        /// Size in the checkpoint's row.
        size: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The log was cut: it is shorter than a checkpoint that it signed.
    #[error("checkpoint of size {size} is beyond the {entries} entries there are: the log was cut")]
    Cut {
        /// Size of the checkpoint.
        size: u64,
        /// Entries there are.
        entries: u64,
    },
    /// The log was rewritten: the entries don't give the root that was signed.
    #[error("checkpoint of size {size} has another root than the entries: the log was rewritten")]
    Root {
        /// Size of the checkpoint.
        size: u64,
    },
}

/// What a verification has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries that were verified.
    pub entries: u64,
    /// How many of them have been erased, so that only their commitment could be verified.
    pub erased: u64,
    /// Root of the tree that follows from the entries.
    pub root: Digest,
    /// Size of the latest checkpoint that verifies; entries after it are not signed yet.
    pub checkpoint_size: Option<u64>,
    /// Size of the latest checkpoint with a verified co-signature by a known witness.
    pub witnessed_size: Option<u64>,
    /// Who co-signed that one, and when.
    pub witnessed: Vec<WitnessTime>,
    /// Signatures on kept checkpoints by keys that were not given: other witnesses, or damaged lines. No problem by itself.
    pub unknown_signatures: usize,
    /// What is wrong; the first hundred.
    pub problems: Vec<Problem>,
    /// How many problems there are, those not listed included.
    pub problem_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn add(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < LISTED {
            self.problems.push(problem);
        }
    }
}

/// Verifies the log in an SQLite file, also while a server writes to it. Checkpoints can only be compared with the
/// entries if `keys` are given; without them, whoever rewrote all of the file consistently goes unnoticed.
///
/// # Errors
/// [`StoreError`] if the file cannot be opened at all. Damage inside is a problem of the report.
pub fn verify_file(path: impl AsRef<Path>, keys: Option<&CheckpointKeys>) -> Result<Report, StoreError> {
    Ok(verify_log(&SqliteReader::open(path)?, keys))
}

/// Verifies a log as it is when this begins; what is appended meanwhile is left for the next time.
#[must_use]
pub fn verify_log(log: &dyn Tree, keys: Option<&CheckpointKeys>) -> Report {
    let mut report = Report {
        entries: 0,
        erased: 0,
        root: Frontier::new().root(),
        checkpoint_size: None,
        witnessed_size: None,
        witnessed: Vec::new(),
        unknown_signatures: 0,
        problems: Vec::new(),
        problem_count: 0,
    };
    if let Err(error) = run(log, keys, &mut report) {
        report.add(Problem::Unreadable(error));
    }
    report
}

fn run(log: &dyn Tree, keys: Option<&CheckpointKeys>, report: &mut Report) -> Result<(), StoreError> {
    // In this order, since a living log grows: what is read first can only be behind what is read later.
    let checkpoints = log.checkpoints()?;
    let hash_count = log.hash_count()?;
    let head = log.head()?;
    let roots = recompute(log, head, &checkpoints, report)?;
    let expected = stored_hashes(head);
    if hash_count > expected {
        report.add(Problem::ExtraHashes { stored: hash_count, expected });
    }
    if let Some(keys) = keys {
        for checkpoint in &checkpoints {
            check_checkpoint(checkpoint, keys, &roots, report);
        }
    }
    Ok(())
}

/// Goes through the entries, and answers the roots at the sizes of the checkpoints.
fn recompute(
    log: &dyn Tree,
    head: Position,
    checkpoints: &[StoredCheckpoint],
    report: &mut Report,
) -> Result<BTreeMap<u64, Digest>, StoreError> {
    let mut frontier = Frontier::new();
    let mut roots: BTreeMap<u64, Digest> = BTreeMap::new();
    let mut note_root = |frontier: &Frontier| {
        if checkpoints.iter().any(|checkpoint| checkpoint.size == frontier.size()) {
            roots.insert(frontier.size(), frontier.root());
        }
    };
    note_root(&frontier);
    while frontier.size() < head {
        let from = frontier.size();
        let most = usize::try_from(head - from).unwrap_or(usize::MAX).min(BATCH);
        let entries = log.read(from, most)?;
        let first = stored_hashes(from);
        let hashes = log.hash_range(first, usize::try_from(stored_hashes(from + most as u64) - first).unwrap_or(0))?;
        let mut stored = hashes.into_iter().peekable();
        for expected in from..from + most as u64 {
            let at = usize::try_from(expected - from).unwrap_or(usize::MAX);
            let Some(entry) = entries.get(at).filter(|entry| entry.position == expected) else {
                // Nothing after a gap can be compared: the leaves would all be another tree's.
                report.add(Problem::Missing { expected });
                return Ok(roots);
            };
            check_entry(entry, &mut frontier, &mut stored, report);
            note_root(&frontier);
        }
        report.entries = frontier.size();
        report.root = frontier.root();
    }
    Ok(roots)
}

fn check_entry(
    entry: &Entry,
    frontier: &mut Frontier,
    stored: &mut std::iter::Peekable<std::vec::IntoIter<(u64, Digest)>>,
    report: &mut Report,
) {
    let position = entry.position;
    report.erased += u64::from(entry.content.is_none());
    if !entry.content_matches() {
        report.add(Problem::Content { position });
    }
    // The edge was begun empty and has no gap, so it takes every leaf.
    for (level, (index, hash)) in (0..).zip(frontier.push(leaf_hash(&entry.leaf_record())).unwrap_or_default()) {
        let there = stored.next_if(|(there, _)| *there == index);
        if there.is_none_or(|(_, there)| there != hash) {
            report.add(Problem::Hash { position, index, level });
        }
    }
}

fn check_checkpoint(
    checkpoint: &StoredCheckpoint,
    keys: &CheckpointKeys,
    roots: &BTreeMap<u64, Digest>,
    report: &mut Report,
) {
    let size = checkpoint.size;
    let verified = match verify_checkpoint(&checkpoint.note, &keys.log, &keys.witnesses) {
        Ok(verified) => verified,
        Err(error) => {
            return report.add(Problem::Checkpoint { size, detail: error.to_string() });
        }
    };
    report.unknown_signatures += verified.unknown_signatures;
    if verified.head.size != size {
        return report.add(Problem::Checkpoint { size, detail: format!("its text says size {}", verified.head.size) });
    }
    match roots.get(&size) {
        None => report.add(Problem::Cut { size, entries: report.entries }),
        Some(root) if *root != verified.head.root => report.add(Problem::Root { size }),
        Some(_) => {
            report.checkpoint_size = report.checkpoint_size.max(Some(size));
            if !verified.witnessed.is_empty() && report.witnessed_size.is_none_or(|there| there <= size) {
                report.witnessed_size = Some(size);
                report.witnessed = verified.witnessed;
            }
        }
    }
}
