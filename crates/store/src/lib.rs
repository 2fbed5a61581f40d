//! The event log of Staffel: append-only, durable, and verifiable by others.
//!
//! What lives here: the [`Log`] trait with its promises (`log.rs`) and the tests of them (`contract.rs`); the embedded
//! implementation on SQLite; the Merkle tree over the entries with proofs, tiles and signed checkpoints; a witness; and
//! the verification of a whole log. What must stay out: any meaning of an entry (it is a kind and bytes), clocks
//! (times are arguments), HTTP, and any async runtime. Start reading at `log.rs`, then `sqlite/writer.rs`.

mod checkpoint;
pub mod contract;
mod cosignature;
mod entry;
mod error;
mod keys;
mod lock;
mod log;
mod memory;
mod merkle;
mod sqlite;
mod tiles;
mod verify;
mod witness;
mod witness_state;

pub use checkpoint::{
    CheckpointError, TreeHead, VerifiedCheckpoint, add_cosignatures, sign_checkpoint, verify_checkpoint,
};
pub use cosignature::{WitnessKey, WitnessSigner, WitnessTime, witness_time};
pub use entry::{
    Content, Digest, Entry, EntryError, MAX_KIND, MAX_PAYLOAD, NewEntry, Position, commitment, leaf_record,
};
pub use error::StoreError;
pub use keys::{KeyError, LogKey, LogSigner};
pub use log::{AppendError, EraseError, KeepError, Log, ReadLog, StoredCheckpoint, Tree};
pub use memory::MemoryLog;
pub use merkle::{
    Frontier, ProofError, consistency_proof, inclusion_proof, leaf_hash, root, stored_hashes, verify_consistency,
    verify_inclusion,
};
pub use sqlite::{At, Pending, Snapshot, SqliteLog, SqliteOptions, SqliteReader, Write};
pub use tiles::{TILE_WIDTH, TileError, TileKind, TilePath, entry_bundle, tile};
pub use verify::{CheckpointKeys, Problem, Report, verify_file, verify_log};
pub use witness::{Witness, WitnessError, WitnessRequest};
