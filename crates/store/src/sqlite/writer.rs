//! The one thread that writes. It takes all that waits, carries it out in one transaction, commits once, and answers
//! everybody: that is group commit. Nothing is answered before the commit that covers it is durable.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, OpenFlags, params};

use super::failure::{error_of, store_error};
use super::reader::{self, BUSY_TIMEOUT, Snapshot, signed};
use super::schema;
use crate::checkpoint::to_keep;
use crate::entry::{Digest, NewEntry, Position, commitment, leaf_record};
use crate::error::StoreError;
use crate::log::{AppendError, EraseError, KeepError, StoredCheckpoint};
use crate::merkle::{Frontier, leaf_hash, stored_hashes};

/// Most requests that one commit covers. Bounds how long the first of them waits.
const GROUP: usize = 1024;

const OPEN: &str = "open the log";

/// Where entries are to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Only if this is the head.
    Expected(Position),
    /// At the head, whatever it is. Not for retries: after an error with an open outcome it could add twice.
    Next,
}

/// An entry with its hashes, which the caller's thread computes so that the writer need not.
#[derive(Debug)]
pub(super) struct Prepared {
    entry: NewEntry,
    commitment: Digest,
    leaf: Digest,
}

impl Prepared {
    pub fn new(entry: NewEntry) -> Self {
        let commitment = commitment(&entry.salt, &entry.payload);
        let leaf = leaf_hash(&leaf_record(&entry.kind, entry.at_ms, &commitment));
        Self { entry, commitment, leaf }
    }
}

/// Something to write.
#[derive(Debug)]
pub(super) enum Change {
    Append { at: At, entries: Vec<Prepared>, snapshots: Vec<Snapshot> },
    Erase(Position),
    Keep(StoredCheckpoint),
}

/// Why one change of a group was not made, while the others were.
#[derive(Debug)]
pub(super) enum Refused {
    Append(AppendError),
    Erase(EraseError),
    Keep(KeepError),
    Store(StoreError),
}

/// Positions that an append got; empty for anything else.
pub(super) type Outcome = Result<Range<Position>, Refused>;

/// Whom to answer. Answers exactly once: a request that is dropped on the way is answered that the log is closed.
pub(super) struct Reply(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Reply {
    pub fn new(reply: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Some(Box::new(reply)))
    }

    pub fn send(mut self, outcome: Outcome) {
        self.answer(outcome);
    }

    fn answer(&mut self, outcome: Outcome) {
        if let Some(reply) = self.0.take() {
            // A caller's callback that panics must not take the writer with it. The panic hook has reported it.
            let _ = catch_unwind(AssertUnwindSafe(|| reply(outcome)));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Err(Refused::Store(StoreError::Closed { operation: "write" })));
    }
}

/// A change and whom to answer.
pub(super) struct Request {
    pub change: Change,
    pub reply: Reply,
}

/// Owner of the write connection.
pub(super) struct Writer {
    path: PathBuf,
    connection: Connection,
    /// Right edge of the tree as of the last commit, so that appending reads nothing.
    frontier: Frontier,
    /// Durable head, for readers of this process.
    head: Arc<AtomicU64>,
    /// Something was erased, but its bytes may still be in the write-ahead log.
    purge: bool,
}

impl Writer {
    /// Opens, recovers and checks the file. The caller holds the lock.
    pub fn open(path: &Path, vfs: Option<&str>) -> Result<Self, StoreError> {
        let failed = |error: &rusqlite::Error| store_error(OPEN, path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = reader::connect(path, flags, vfs).map_err(|error| failed(&error))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| failed(&error))?;
        // First, before anything could be changed in a file that is not ours.
        schema::check(&connection, path, schema::supported())?;
        configure(&connection, path)?;
        schema::create_or_upgrade(&mut connection, path)?;
        let frontier = load_frontier(&connection, path)?;
        Ok(Self {
            path: path.to_owned(),
            head: Arc::new(AtomicU64::new(frontier.size())),
            connection,
            frontier,
            purge: false,
        })
    }

    pub fn head(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.head)
    }

    /// Serves requests until all senders are gone.
    pub fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut group = vec![first];
            group.extend(requests.try_iter().take(GROUP - 1));
            self.serve(group);
        }
    }

    fn serve(&mut self, group: Vec<Request>) {
        let (changes, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|it| (it.change, it.reply)).unzip();
        let erases = changes.iter().any(|change| matches!(change, Change::Erase(_)));
        match self.commit(&changes, erases) {
            Ok((outcomes, frontier)) => {
                self.head.store(frontier.size(), Ordering::Release);
                self.frontier = frontier;
                self.purge |= erases;
                self.purge_erased();
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    reply.send(outcome);
                }
            }
            Err(error) => {
                // Nothing of the group is visible. Even a refusal may rest on a head that another request of the
                // group moved, so nobody is told more than that it failed.
                for reply in replies {
                    reply.send(Err(Refused::Store(error.clone())));
                }
            }
        }
    }

    /// One transaction for all changes. Some may be refused; an error of the store undoes all.
    fn commit(&mut self, changes: &[Change], erases: bool) -> Result<(Vec<Outcome>, Frontier), StoreError> {
        const OPERATION: &str = "write to the log";
        self.transaction(changes, erases).map_err(|failure| {
            let error = failure.store_error(&self.connection, OPERATION, &self.path);
            if !self.connection.is_autocommit() {
                // SQLite rolls back by itself after most failures. If this fails too, the next BEGIN says so.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            error
        })
    }

    fn transaction(&self, changes: &[Change], erases: bool) -> Result<(Vec<Outcome>, Frontier), Failure> {
        // Erased content is overwritten with zeros, also in pages that become free; otherwise that would cost for nothing.
        self.connection.execute_batch(if erases {
            "PRAGMA secure_delete = ON"
        } else {
            "PRAGMA secure_delete = FAST"
        })?;
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let there = reader::head(&self.connection)?;
        if there != self.frontier.size() {
            return Err(Failure::Corrupt(format!(
                "it has {there} entries instead of {}: another program has written to it",
                self.frontier.size()
            )));
        }
        let mut frontier = self.frontier.clone();
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            outcomes.push(match change {
                Change::Append { at, entries, snapshots } => self.append(&mut frontier, *at, entries, snapshots)?,
                Change::Erase(position) => self.erase(*position, frontier.size())?,
                Change::Keep(checkpoint) => self.keep(checkpoint, frontier.size())?,
            });
        }
        self.connection.execute_batch("COMMIT")?;
        Ok((outcomes, frontier))
    }

    fn append(
        &self,
        frontier: &mut Frontier,
        at: At,
        entries: &[Prepared],
        snapshots: &[Snapshot],
    ) -> Result<Outcome, Failure> {
        let first = frontier.size();
        if let At::Expected(expected) = at
            && expected != first
        {
            return Ok(Err(Refused::Append(AppendError::Conflict { expected, head: first })));
        }
        let head = first + entries.len() as u64;
        if let Some(ahead) = snapshots.iter().find(|snapshot| snapshot.position > head) {
            return Ok(Err(Refused::Append(AppendError::SnapshotAhead {
                name: ahead.name.clone(),
                position: ahead.position,
                head,
            })));
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO entry (position, at_ms, kind, commitment, salt, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut node = self.connection.prepare_cached("INSERT INTO node (idx, hash) VALUES (?1, ?2)")?;
        for prepared in entries {
            let entry = &prepared.entry;
            insert.execute(params![
                signed(frontier.size()),
                signed(entry.at_ms),
                entry.kind,
                prepared.commitment,
                entry.salt,
                entry.payload
            ])?;
            let new = frontier.push(prepared.leaf).map_err(|error| Failure::Corrupt(error.to_string()))?;
            for (index, hash) in new {
                node.execute(params![signed(index), hash])?;
            }
        }
        let mut replace = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO snapshot (name, position, bytes) VALUES (?1, ?2, ?3)")?;
        for snapshot in snapshots {
            replace.execute(params![snapshot.name, signed(snapshot.position), snapshot.bytes])?;
        }
        Ok(Ok(first..head))
    }

    fn erase(&self, position: Position, head: Position) -> Result<Outcome, Failure> {
        let changed = self
            .connection
            .prepare_cached("UPDATE entry SET salt = NULL, payload = NULL WHERE position = ?1")?
            .execute([signed(position)])?;
        Ok(if changed == 0 { Err(Refused::Erase(EraseError::NoSuchEntry { position, head })) } else { Ok(0..0) })
    }

    fn keep(&self, checkpoint: &StoredCheckpoint, head: Position) -> Result<Outcome, Failure> {
        let kept = reader::checkpoints(&self.connection)?;
        let keep = match to_keep(&kept, checkpoint, head) {
            Ok(keep) => keep,
            Err(error) => return Ok(Err(Refused::Keep(error))),
        };
        self.connection.execute("DELETE FROM checkpoint", ())?;
        let mut insert =
            self.connection.prepare_cached("INSERT INTO checkpoint (size, cosignatures, note) VALUES (?1, ?2, ?3)")?;
        for it in keep {
            insert.execute(params![signed(it.size), it.cosignatures, it.note])?;
        }
        Ok(Ok(0..0))
    }

    /// Copies the write-ahead log into the file and cuts it, so that no erased byte is left in it. A reader can be in
    /// the way for a moment; then the next write tries again, and closing or opening does it at the latest.
    fn purge_erased(&mut self) {
        if self.purge {
            self.purge = !empty_write_ahead_log(&self.connection).unwrap_or(false);
        }
    }
}

/// Why a transaction failed as a whole.
enum Failure {
    Sqlite(rusqlite::Error),
    Corrupt(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    fn store_error(&self, connection: &Connection, operation: &'static str, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(error) => error_of(connection, operation, path, error),
            Self::Corrupt(detail) => StoreError::Corrupt { operation, path: path.to_owned(), detail: detail.clone() },
        }
    }
}

fn configure(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: &rusqlite::Error| error_of(connection, OPEN, path, error);
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0)).map_err(|error| failed(&error))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable {
            operation: OPEN,
            path: path.to_owned(),
            detail: format!("its file system allows no write-ahead log (journal mode {mode}); use a local disk"),
        });
    }
    // macOS keeps written data in the drive's cache unless asked by `fullfsync`; elsewhere it changes nothing.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON").map_err(|error| failed(&error))?;
    // A killed process may have left commits in the write-ahead log that never reached the disk. Readers would see
    // them, and a checkpoint could be signed over them, so they are made durable before anybody sees anything.
    let emptied = empty_write_ahead_log(connection).map_err(|error| failed(&error))?;
    if emptied { Ok(()) } else { Err(StoreError::Locked { operation: OPEN, path: path.to_owned(), holder: None }) }
}

/// Whether the write-ahead log is now empty, all of it being in the main file and synced.
fn empty_write_ahead_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0).map(|busy| busy == 0))
}

/// Reads the tree's edge and checks that tree and entries have one size. `verify` checks all of it.
fn load_frontier(connection: &Connection, path: &Path) -> Result<Frontier, StoreError> {
    let failed = |error: &rusqlite::Error| error_of(connection, OPEN, path, error);
    let corrupt = |detail: String| StoreError::Corrupt { operation: OPEN, path: path.to_owned(), detail };
    let head = reader::head(connection).map_err(|error| failed(&error))?;
    let nodes = reader::last_hash(connection).map_err(|error| failed(&error))?;
    if nodes != stored_hashes(head) {
        return Err(corrupt(format!("{head} entries need {} hashes, there are {nodes}", stored_hashes(head))));
    }
    Frontier::load(head, |indexes| reader::hashes(connection, indexes)).map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => corrupt("a hash of the tree is missing".to_owned()),
        other => failed(&other),
    })
}
