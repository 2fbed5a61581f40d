//! The embedded default: one SQLite file with log, tree, checkpoints and snapshots; one writer, many readers.
//!
//! The tables are documented in `schema.rs`; group commit is in `writer.rs`, reading in `reader.rs`. No projection's
//! own form here: a snapshot is just bytes.

mod failure;
mod reader;
mod schema;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use reader::{Snapshot, SqliteReader};
pub use writer::At;

use crate::entry::{Digest, Entry, NewEntry, Position};
use crate::error::StoreError;
use crate::lock::{FileLock, sync_directory_of};
use crate::log::{AppendError, EraseError, KeepError, Log, ReadLog, StoredCheckpoint, Tree};
use writer::{Change, Outcome, Prepared, Refused, Reply, Request, Writer};

const OPEN: &str = "open the log";

/// How to open a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Appends that may wait at a time before [`AppendError::Overloaded`]; blocking calls wait instead.
    pub waiting: usize,
    /// Name of a registered SQLite VFS. Tests put a lying disk here; everybody else leaves it out.
    pub vfs: Option<String>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { waiting: 65_536, vfs: None }
    }
}

/// Entries and snapshots that become durable together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where the entries go.
    pub at: At,
    /// What to append, in order; may be empty.
    pub entries: Vec<NewEntry>,
    /// Snapshots to replace; none may be ahead of the head that results.
    pub snapshots: Vec<Snapshot>,
}

impl Write {
    /// Entries at the head, without snapshots.
    #[must_use]
    pub fn next(entries: Vec<NewEntry>) -> Self {
        Self { at: At::Next, entries, snapshots: Vec::new() }
    }

    /// Entries at `expected`, without snapshots.
    #[must_use]
    pub fn expecting(expected: Position, entries: Vec<NewEntry>) -> Self {
        Self { at: At::Expected(expected), ..Self::next(entries) }
    }
}

/// A write that was handed over and is not answered yet.
#[derive(Debug)]
pub struct Pending(Receiver<Result<Range<Position>, AppendError>>);

impl Pending {
    /// Waits until the write is durable or has failed; answers the positions of its entries.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn wait(self) -> Result<Range<Position>, AppendError> {
        self.0.recv().unwrap_or(Err(AppendError::Unavailable(StoreError::Closed { operation: "append" })))
    }
}

/// A log in an SQLite file. Clones are handles to the same log; the last one to go closes it, after all that was handed over.
#[derive(Debug, Clone)]
pub struct SqliteLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    reader: SqliteReader,
    head: Arc<AtomicU64>,
    /// `None` only while closing.
    requests: Option<SyncSender<Request>>,
    waiting: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteLog {
    /// Opens the log in `path`, or begins one. Beside it come `path` with `-wal`, `-shm` (SQLite's) and `.lock` (ours).
    ///
    /// # Errors
    /// [`StoreError`]: locked by another process, damaged, another program's, of a later layout, or not accessible.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// As [`SqliteLog::open`], with options.
    ///
    /// # Errors
    /// As [`SqliteLog::open`].
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, StoreError> {
        let path = absolute(OPEN, path.as_ref())?;
        let lock = FileLock::take(OPEN, &path)?;
        let writer = Writer::open(&path, options.vfs.as_deref())?;
        let unavailable = |error: std::io::Error| StoreError::Unavailable {
            operation: OPEN,
            path: path.clone(),
            detail: error.to_string(),
        };
        sync_directory_of(&path).map_err(unavailable)?;
        let head = writer.head();
        let (requests, waiting) = sync_channel(options.waiting);
        let thread = std::thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || {
                writer.run(&waiting);
                // Only now, with the file closed, may another process have it.
                drop(lock);
            })
            .map_err(unavailable)?;
        Ok(Self(Arc::new(Shared {
            reader: SqliteReader::unchecked(path, options.vfs),
            head,
            requests: Some(requests),
            waiting: options.waiting,
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.reader.path()
    }

    /// Writes and waits until it is durable; answers the positions of the entries. Waits for room if many are waiting.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn write(&self, write: Write) -> Result<Range<Position>, AppendError> {
        let change = prepare(write)?;
        self.call(change).map_err(append_error)
    }

    /// Appends at the head, whatever it is, and waits; answers the positions that the entries got.
    ///
    /// For a caller that is the only one to decide. After an error with [`AppendError::outcome_is_open`] read before
    /// trying again, or the entries could be there twice.
    ///
    /// # Errors
    /// [`AppendError`], but never `Conflict`.
    pub fn append_next(&self, entries: Vec<NewEntry>) -> Result<Range<Position>, AppendError> {
        self.write(Write::next(entries))
    }

    /// Hands a write over without waiting; whatever becomes of it, [`Pending::wait`] says.
    #[must_use = "only the answer says whether the write is durable"]
    pub fn submit(&self, write: Write) -> Pending {
        let (sender, receiver) = channel();
        self.append_then(write, move |outcome| {
            // If nobody waits any more, the write is done all the same.
            let _ = sender.send(outcome);
        });
        Pending(receiver)
    }

    /// Hands a write over without waiting; `then` is called exactly once, on the writer's thread after the commit, or
    /// at once on this thread if the write is refused. It must be quick: everybody else's commit waits for it.
    pub fn append_then(&self, write: Write, then: impl FnOnce(Result<Range<Position>, AppendError>) + Send + 'static) {
        let change = match prepare(write) {
            Ok(change) => change,
            Err(error) => return then(Err(error)),
        };
        let reply = Reply::new(move |outcome: Outcome| then(outcome.map_err(append_error)));
        let Some(requests) = &self.0.requests else {
            return reply.send(Err(Refused::Append(closed())));
        };
        match requests.try_send(Request { change, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => {
                let waiting = self.0.waiting;
                request.reply.send(Err(Refused::Append(AppendError::Overloaded { waiting })));
            }
            Err(TrySendError::Disconnected(request)) => request.reply.send(Err(Refused::Append(closed()))),
        }
    }

    /// Replaces the snapshot of that name and waits until it is durable.
    ///
    /// # Errors
    /// [`AppendError::SnapshotAhead`] if `position` is beyond the head, else why it could not be written.
    pub fn put_snapshot(&self, name: impl Into<String>, position: Position, bytes: Vec<u8>) -> Result<(), AppendError> {
        let snapshot = Snapshot { name: name.into(), position, bytes };
        self.write(Write { snapshots: vec![snapshot], ..Write::next(Vec::new()) }).map(|_| ())
    }

    /// The snapshot of that name, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn get_snapshot(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.0.reader.get_snapshot(name)
    }

    /// Hands over, waiting for room, and waits for the answer.
    fn call(&self, change: Change) -> Outcome {
        let gone = || Err(Refused::Store(StoreError::Closed { operation: "write" }));
        let (sender, receiver) = channel();
        let reply = Reply::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        let Some(requests) = &self.0.requests else {
            return gone();
        };
        if requests.send(Request { change, reply }).is_err() {
            return gone();
        }
        receiver.recv().unwrap_or_else(|_| gone())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.reader.close_idle();
        drop(self.requests.take());
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A callback may hold the last handle, and then this is the writer's own thread: it cannot wait for itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl ReadLog for SqliteLog {
    fn head(&self) -> Result<Position, StoreError> {
        Ok(self.0.head.load(Ordering::Acquire))
    }

    fn read(&self, from: Position, max: usize) -> Result<Vec<Entry>, StoreError> {
        self.0.reader.read(from, max)
    }
}

impl Log for SqliteLog {
    fn append(&self, expected: Position, entries: &[NewEntry]) -> Result<Position, AppendError> {
        self.write(Write::expecting(expected, entries.to_vec())).map(|positions| positions.end)
    }

    fn erase(&self, position: Position) -> Result<(), EraseError> {
        match self.call(Change::Erase(position)) {
            Ok(_) => Ok(()),
            Err(Refused::Erase(error)) => Err(error),
            Err(other) => Err(EraseError::Store(store_part(other))),
        }
    }
}

impl Tree for SqliteLog {
    fn hashes(&self, indexes: &[u64]) -> Result<Vec<Digest>, StoreError> {
        self.0.reader.hashes(indexes)
    }

    fn hash_range(&self, from: u64, max: usize) -> Result<Vec<(u64, Digest)>, StoreError> {
        self.0.reader.hash_range(from, max)
    }

    fn hash_count(&self) -> Result<u64, StoreError> {
        self.0.reader.hash_count()
    }

    fn checkpoints(&self) -> Result<Vec<StoredCheckpoint>, StoreError> {
        self.0.reader.checkpoints()
    }

    fn keep_checkpoint(&self, checkpoint: &StoredCheckpoint) -> Result<(), KeepError> {
        match self.call(Change::Keep(checkpoint.clone())) {
            Ok(_) => Ok(()),
            Err(Refused::Keep(error)) => Err(error),
            Err(other) => Err(KeepError::Store(store_part(other))),
        }
    }
}

/// Checks and hashes entries on the caller's thread.
fn prepare(write: Write) -> Result<Change, AppendError> {
    for (index, entry) in write.entries.iter().enumerate() {
        entry.check().map_err(|source| AppendError::Invalid { index, source })?;
    }
    Ok(Change::Append {
        at: write.at,
        entries: write.entries.into_iter().map(Prepared::new).collect(),
        snapshots: write.snapshots,
    })
}

/// With the path made absolute, changing the working directory later moves nothing, and no name reads as a URI.
fn absolute(operation: &'static str, path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path).map_err(|error| StoreError::Unavailable {
        operation,
        path: path.to_owned(),
        detail: error.to_string(),
    })
}

fn closed() -> AppendError {
    AppendError::Unavailable(StoreError::Closed { operation: "append" })
}

fn append_error(refused: Refused) -> AppendError {
    match refused {
        Refused::Append(error) => error,
        other => AppendError::from(store_part(other)),
    }
}

/// The store's failure in an answer; a refusal of another kind of request cannot come back for this one.
fn store_part(refused: Refused) -> StoreError {
    match refused {
        Refused::Store(error) | Refused::Erase(EraseError::Store(error)) | Refused::Keep(KeepError::Store(error)) => {
            error
        }
        Refused::Append(_) | Refused::Erase(_) | Refused::Keep(_) => StoreError::Closed { operation: "write" },
    }
}
