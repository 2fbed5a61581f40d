//! The Merkle tree over the leaves: growing it, its root, and proofs with their verification (RFC 6962 hashes,
//! numbered as in tlog-tiles). Where the hashes are kept is up to the log; tiles are in `tiles.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tlog_tiles::{
    EMPTY_HASH, Hash, HashReader, check_record, check_tree, node_hash, prove_record, prove_tree, record_hash,
    stored_hash_count, stored_hash_index, stored_hashes_for_record_hash, sub_tree_index, tree_hash,
};

use crate::entry::{Digest, Position};
use crate::error::StoreError;
use crate::log::Tree;

/// A tree has at most 64 levels, so no honest proof is longer than this.
const MAX_PROOF: usize = 128;

/// Why there is no proof, or why one does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The sizes or positions make no sense together, or lie beyond the tree.
    #[error("no such proof: {what}")]
    OutOfRange {
        /// Which bound was broken.
        what: String,
    },
    /// The proof does not connect what it claims to connect.
    #[error("the proof does not hold for tree size {size}")]
    Invalid {
        /// Size of the larger tree.
        size: u64,
    },
    /// The hashes could not be read.
    #[error("read hashes for a proof")]
    Store(#[from] StoreError),
}

/// The hash of a leaf record: SHA-256 of a zero byte and the record.
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Digest {
    record_hash(record).0
}

/// How many hashes a tree of `size` leaves stores.
#[must_use]
pub fn stored_hashes(size: u64) -> u64 {
    stored_hash_count(size)
}

/// The right edge of a growing tree: all that is needed to append to it, at most 64 hashes.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees that make up the tree, by stored index.
    peaks: BTreeMap<u64, Digest>,
}

impl Frontier {
    /// The edge of an empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a tree whose hashes are stored.
    ///
    /// # Errors
    /// Whatever `read` answers.
    pub fn load<E>(size: u64, read: impl FnOnce(&[u64]) -> Result<Vec<Digest>, E>) -> Result<Self, E> {
        let indexes = peak_indexes(size);
        let hashes = read(&indexes)?;
        Ok(Self { size, peaks: indexes.into_iter().zip(hashes).collect() })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; answers the hashes to store, as consecutive indexes with their values.
    ///
    /// # Errors
    /// [`ProofError::OutOfRange`] if the edge was loaded with hashes missing.
    pub fn push(&mut self, leaf: Digest) -> Result<Vec<(u64, Digest)>, ProofError> {
        let hashes =
            stored_hashes_for_record_hash(self.size, Hash(leaf), self).map_err(|error| out_of_range(&error))?;
        let first = stored_hash_index(0, self.size);
        let new: Vec<(u64, Digest)> = (first..).zip(hashes.iter().map(|hash| hash.0)).collect();
        // Every hash above the leaf swallowed one peak: the left sibling on the level below.
        for level in 0..new.len().saturating_sub(1) {
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            self.peaks.remove(&stored_hash_index(level, (self.size >> level) - 1));
        }
        self.peaks.extend(new.last().copied());
        self.size += 1;
        Ok(new)
    }

    /// Root of the tree so far.
    #[must_use]
    pub fn root(&self) -> Digest {
        // Smaller subtrees stand right of larger ones and have larger indexes, so fold from the right.
        let mut peaks = self.peaks.values().rev().copied();
        let Some(last) = peaks.next() else {
            return EMPTY_HASH.0;
        };
        peaks.fold(last, |right, left| node_hash(Hash(left), Hash(right)).0)
    }
}

impl HashReader for Frontier {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let read = |index: &u64| self.peaks.get(index).map(|hash| Hash(*hash));
        indexes.iter().map(|index| read(index).ok_or(tlog_tiles::Error::IndexesNotInTree)).collect()
    }
}

/// Indexes of the complete subtrees that make up a tree of `size` leaves, largest first.
fn peak_indexes(size: u64) -> Vec<u64> {
    sub_tree_index(0, size, Vec::new())
}

/// Lets the algorithms of tlog_tiles read from a log, and keeps the log's own error, which theirs has no room for.
struct Stored<'a> {
    tree: &'a dyn Tree,
    failed: RefCell<Option<StoreError>>,
}

impl HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        match self.tree.hashes(indexes) {
            Ok(hashes) if hashes.len() == indexes.len() => Ok(hashes.into_iter().map(Hash).collect()),
            Ok(_) => Err(tlog_tiles::Error::IndexesNotInTree),
            Err(error) => {
                self.failed.replace(Some(error));
                Err(tlog_tiles::Error::IndexesNotInTree)
            }
        }
    }
}

/// Runs an algorithm over the stored hashes of the first `size` leaves.
fn with_tree<T>(
    tree: &dyn Tree,
    size: u64,
    run: impl FnOnce(&Stored<'_>) -> Result<T, tlog_tiles::Error>,
) -> Result<T, ProofError> {
    let head = tree.head()?;
    if size > head {
        return Err(ProofError::OutOfRange { what: format!("tree size {size} is beyond the head {head}") });
    }
    let stored = Stored { tree, failed: RefCell::new(None) };
    run(&stored).map_err(|error| match stored.failed.take() {
        Some(failed) => ProofError::Store(failed),
        None => out_of_range(&error),
    })
}

/// Root of the tree over the first `size` entries.
///
/// # Errors
/// [`ProofError::OutOfRange`] beyond the head, [`ProofError::Store`] if hashes cannot be read.
pub fn root(tree: &dyn Tree, size: u64) -> Result<Digest, ProofError> {
    with_tree(tree, size, |stored| tree_hash(size, stored)).map(|hash| hash.0)
}

/// Proof that the entry at `position` is in the tree over the first `size` entries.
///
/// # Errors
/// [`ProofError::OutOfRange`] unless `position < size <= head`, [`ProofError::Store`] if hashes cannot be read.
pub fn inclusion_proof(tree: &dyn Tree, size: u64, position: Position) -> Result<Vec<Digest>, ProofError> {
    let proof = with_tree(tree, size, |stored| prove_record(size, position, stored))?;
    Ok(proof.into_iter().map(|hash| hash.0).collect())
}

/// Proof that the tree of `size` begins with the tree of `old_size`. Empty if either the old tree is empty or both are one.
///
/// # Errors
/// [`ProofError::OutOfRange`] unless `old_size <= size <= head`, [`ProofError::Store`] if hashes cannot be read.
pub fn consistency_proof(tree: &dyn Tree, size: u64, old_size: u64) -> Result<Vec<Digest>, ProofError> {
    if old_size == 0 {
        return with_tree(tree, size, |_| Ok(Vec::new()));
    }
    let proof = with_tree(tree, size, |stored| prove_tree(size, old_size, stored))?;
    Ok(proof.into_iter().map(|hash| hash.0).collect())
}

/// Checks that `leaf` (see [`leaf_hash`]) is at `position` of the tree with this size and root.
///
/// # Errors
/// [`ProofError::OutOfRange`] unless `position < size`, [`ProofError::Invalid`] if the proof does not hold.
pub fn verify_inclusion(
    proof: &[Digest],
    size: u64,
    root: &Digest,
    position: Position,
    leaf: &Digest,
) -> Result<(), ProofError> {
    if position >= size {
        return Err(ProofError::OutOfRange { what: format!("position {position} is not in a tree of size {size}") });
    }
    let proof = library_proof(proof, size)?;
    check_record(&proof, size, Hash(*root), position, Hash(*leaf)).map_err(|_| ProofError::Invalid { size })
}

/// Checks that the tree with `size` and `root` begins with the one with `old_size` and `old_root`.
///
/// # Errors
/// [`ProofError::OutOfRange`] if `old_size` is larger, [`ProofError::Invalid`] if the proof does not hold.
pub fn verify_consistency(
    proof: &[Digest],
    size: u64,
    root: &Digest,
    old_size: u64,
    old_root: &Digest,
) -> Result<(), ProofError> {
    if old_size > size {
        return Err(ProofError::OutOfRange { what: format!("old size {old_size} is larger than {size}") });
    }
    if old_size == 0 {
        // Every tree begins with the empty one; only its one possible root and the empty proof are acceptable.
        let holds = proof.is_empty() && *old_root == EMPTY_HASH.0 && (size > 0 || *root == EMPTY_HASH.0);
        return if holds { Ok(()) } else { Err(ProofError::Invalid { size }) };
    }
    let proof = library_proof(proof, size)?;
    check_tree(&proof, size, Hash(*root), old_size, Hash(*old_root)).map_err(|_| ProofError::Invalid { size })
}

/// A proof comes from outside, so its length is bounded before anything walks along it.
fn library_proof(proof: &[Digest], size: u64) -> Result<Vec<Hash>, ProofError> {
    if proof.len() > MAX_PROOF {
        return Err(ProofError::Invalid { size });
    }
    Ok(proof.iter().map(|hash| Hash(*hash)).collect())
}

fn out_of_range(error: &tlog_tiles::Error) -> ProofError {
    ProofError::OutOfRange { what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 section 2.1 written down as it stands there, to compare with.
    fn reference_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => EMPTY_HASH.0,
            [leaf] => *leaf,
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(half);
                node_hash(Hash(reference_root(left)), Hash(reference_root(right))).0
            }
        }
    }

    #[test]
    fn the_edge_gives_the_root_of_rfc_6962() {
        let mut frontier = Frontier::new();
        let mut leaves = Vec::new();
        let mut stored = Vec::new();
        for n in 0..200_u64 {
            assert_eq!(frontier.root(), reference_root(&leaves), "size {n}");
            let leaf = leaf_hash(&n.to_be_bytes());
            leaves.push(leaf);
            stored.extend(frontier.push(leaf).expect("nothing is missing"));
            assert_eq!(stored.len() as u64, stored_hashes(n + 1));
            let loaded = Frontier::load(n + 1, |indexes| {
                indexes
                    .iter()
                    .map(|index| stored.get(usize::try_from(*index).expect("small")).map(|(_, hash)| *hash).ok_or(()))
                    .collect()
            })
            .expect("every hash is stored");
            assert_eq!(loaded.root(), frontier.root());
            assert_eq!(loaded.peaks, frontier.peaks);
        }
        assert!(stored.iter().enumerate().all(|(at, (index, _))| at as u64 == *index));
    }

    #[test]
    fn hostile_proofs_are_refused_not_walked() {
        let long = vec![[0; 32]; MAX_PROOF + 1];
        let any = [1; 32];
        assert_eq!(verify_inclusion(&long, u64::MAX, &any, 0, &any), Err(ProofError::Invalid { size: u64::MAX }));
        assert_eq!(verify_consistency(&long, u64::MAX, &any, 1, &any), Err(ProofError::Invalid { size: u64::MAX }));
        for length in 0..MAX_PROOF {
            let proof = vec![[0; 32]; length];
            for size in [1, 2, 3, u64::MAX - 1, u64::MAX] {
                for other in [0, 1, 2, size / 2, size - 1] {
                    if verify_inclusion(&proof, size, &any, other, &any).is_ok() {
                        assert_eq!((length, size), (0, 1), "only a tree of one leaf is its own leaf");
                    }
                    if verify_consistency(&proof, size, &any, other, &[2; 32]).is_ok() {
                        panic!("different roots passed: {length} {size} {other}");
                    }
                }
            }
        }
        assert!(verify_consistency(&[], 0, &EMPTY_HASH.0, 0, &EMPTY_HASH.0).is_ok());
        assert!(verify_consistency(&[], 0, &any, 0, &EMPTY_HASH.0).is_err());
    }
}
