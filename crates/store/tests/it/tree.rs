//! Proofs, tiles and checkpoints, read from a log and verified without it.

use staffel_store::{
    CheckpointError, Digest, KeepError, Log, MemoryLog, ProofError, ReadLog, StoredCheckpoint, TILE_WIDTH, TileError,
    TileKind, TilePath, Tree, TreeHead, consistency_proof, entry_bundle, inclusion_proof, leaf_hash, root,
    sign_checkpoint, tile, verify_checkpoint, verify_consistency, verify_inclusion,
};

use crate::support::{ORIGIN, entry, keys, signer};

fn log_of(count: u64) -> MemoryLog {
    let log = MemoryLog::new();
    let new: Vec<_> = (0..count).map(|n| entry(&n.to_string())).collect();
    assert_eq!(log.append(0, &new), Ok(count));
    log
}

fn leaf(log: &MemoryLog, position: u64) -> Digest {
    leaf_hash(&log.read(position, 1).expect("read")[0].leaf_record())
}

#[test]
fn every_inclusion_proof_holds_and_no_damaged_one_does() {
    let log = log_of(40);
    for size in 1..=40 {
        let root = root(&log, size).expect("root");
        for position in 0..size {
            let leaf = leaf(&log, position);
            let mut proof = inclusion_proof(&log, size, position).expect("proof");
            assert_eq!(verify_inclusion(&proof, size, &root, position, &leaf), Ok(()));
            if size > 1 {
                let other = (position + 1) % size;
                assert!(verify_inclusion(&proof, size, &root, other, &leaf).is_err());
            }
            for at in 0..proof.len() {
                proof[at][5] ^= 1;
                assert!(verify_inclusion(&proof, size, &root, position, &leaf).is_err());
                proof[at][5] ^= 1;
            }
            proof.push([0; 32]);
            assert!(verify_inclusion(&proof, size, &root, position, &leaf).is_err());
        }
        assert!(matches!(inclusion_proof(&log, size, size), Err(ProofError::OutOfRange { .. })));
    }
    assert!(matches!(root(&log, 41), Err(ProofError::OutOfRange { .. })));
    assert!(matches!(inclusion_proof(&log, 41, 0), Err(ProofError::OutOfRange { .. })));
}

#[test]
fn every_consistency_proof_holds_and_no_damaged_one_does() {
    let log = log_of(40);
    for size in 0..=40 {
        let new = root(&log, size).expect("root");
        for old_size in 0..=size {
            let old = root(&log, old_size).expect("root");
            let mut proof = consistency_proof(&log, size, old_size).expect("proof");
            assert_eq!(verify_consistency(&proof, size, &new, old_size, &old), Ok(()), "{old_size} {size}");
            if old_size > 0 {
                let mut forked = old;
                forked[0] ^= 1;
                assert!(verify_consistency(&proof, size, &new, old_size, &forked).is_err());
            }
            for at in 0..proof.len() {
                proof[at][31] ^= 0x80;
                assert!(verify_consistency(&proof, size, &new, old_size, &old).is_err());
                proof[at][31] ^= 0x80;
            }
        }
    }
    assert!(matches!(consistency_proof(&log, 10, 11), Err(ProofError::OutOfRange { .. })));
    assert!(matches!(consistency_proof(&log, 41, 0), Err(ProofError::OutOfRange { .. })));
}

/// Rebuilds the root as a client of tiles would, from tile files alone.
#[test]
fn tiles_give_the_root_and_bundles_give_the_leaves() {
    let size = 2 * TILE_WIDTH + 17;
    let log = log_of(size);
    let bundles: Vec<u8> = [(0, TILE_WIDTH), (1, TILE_WIDTH), (2, 17)]
        .iter()
        .flat_map(|(index, width)| entry_bundle(&log, *index, *width).expect("bundle"))
        .collect();
    let mut rest = bundles.as_slice();
    let mut leaves = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (record, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)));
        leaves.push(leaf_hash(record));
        rest = tail;
    }
    assert_eq!(leaves.len() as u64, size);
    for (index, width) in [(0, TILE_WIDTH), (1, TILE_WIDTH), (2, 17)] {
        let bytes = TilePath { kind: TileKind::Hashes(0), index, width }.bytes(&log).expect("tile");
        let from = usize::try_from(index * TILE_WIDTH).expect("small");
        let expected = leaves[from..from + usize::try_from(width).expect("small")].concat();
        assert_eq!(bytes, expected);
    }
    let level_1 = tile(&log, 1, 0, 2).expect("two full tiles are below it");
    let subtree = |from: usize| root(&log_from(&leaves, from), TILE_WIDTH).expect("root");
    assert_eq!(level_1, [subtree(0), subtree(256)].concat());
}

/// A tree over given leaves, through the public edge of a tree.
fn log_from(leaves: &[Digest], from: usize) -> impl Tree {
    struct Leaves(Vec<(u64, Digest)>, u64);
    impl ReadLog for Leaves {
        fn head(&self) -> Result<u64, staffel_store::StoreError> {
            Ok(self.1)
        }
        fn read(&self, _: u64, _: usize) -> Result<Vec<staffel_store::Entry>, staffel_store::StoreError> {
            Ok(Vec::new())
        }
    }
    impl Tree for Leaves {
        fn hashes(&self, indexes: &[u64]) -> Result<Vec<Digest>, staffel_store::StoreError> {
            Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).expect("small")].1).collect())
        }
        fn hash_range(&self, _: u64, _: usize) -> Result<Vec<(u64, Digest)>, staffel_store::StoreError> {
            Ok(self.0.clone())
        }
        fn hash_count(&self) -> Result<u64, staffel_store::StoreError> {
            Ok(self.0.len() as u64)
        }
        fn checkpoints(&self) -> Result<Vec<StoredCheckpoint>, staffel_store::StoreError> {
            Ok(Vec::new())
        }
        fn keep_checkpoint(&self, checkpoint: &StoredCheckpoint) -> Result<(), KeepError> {
            Err(KeepError::Ahead { size: checkpoint.size, head: 0 })
        }
    }
    let mut frontier = staffel_store::Frontier::new();
    let mut stored = Vec::new();
    for leaf in &leaves[from..from + 256] {
        stored.extend(frontier.push(*leaf).expect("whole"));
    }
    Leaves(stored, 256)
}

#[test]
fn tiles_beyond_the_tree_do_not_exist() {
    let log = log_of(TILE_WIDTH + 3);
    for (level, index, width) in [
        (0, 1, 4),
        (0, 2, 1),
        (0, 0, 0),
        (0, 0, 257),
        (1, 0, 2),
        (2, 0, 1),
        (7, 0, 1),
        (8, 0, 1),
        (255, 0, 1),
        (0, u64::MAX, 256),
    ] {
        let refused = tile(&log, level, index, width);
        assert!(matches!(refused, Err(TileError::NotThere { .. })), "{level} {index} {width}");
    }
    assert!(matches!(entry_bundle(&log, 1, 4), Err(TileError::NotThere { .. })));
    assert!(tile(&log, 0, 1, 3).is_ok() && tile(&log, 1, 0, 1).is_ok());
}

#[test]
fn a_checkpoint_says_what_was_signed() {
    let log = log_of(5);
    let checkpoint = sign_checkpoint(&log, &signer()).expect("sign");
    assert!(checkpoint.note.starts_with("staffel.example/log\n5\n"), "{}", checkpoint.note);
    let verified = verify_checkpoint(&checkpoint.note, &keys(&[]).log, &[]).expect("verify");
    let head = TreeHead { origin: ORIGIN.to_owned(), size: 5, root: root(&log, 5).expect("root") };
    assert_eq!(verified.head, head);
    assert_eq!(log.checkpoints().expect("read"), std::slice::from_ref(&checkpoint));
    assert_eq!(sign_checkpoint(&log, &signer()), Ok(checkpoint), "nothing new: the same one");
}

#[test]
fn no_changed_byte_of_a_checkpoint_passes() {
    let log = log_of(5);
    let note = sign_checkpoint(&log, &signer()).expect("sign").note;
    let key = keys(&[]).log;
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(verify_checkpoint(&changed, &key, &[]).is_err(), "byte {at} bit {bit}");
            }
        }
    }
    let foreign = TreeHead { origin: "other.example/log".to_owned(), size: 5, root: [0; 32] };
    assert!(matches!(foreign.sign(&signer()), Err(CheckpointError::Origin { .. })));
}
