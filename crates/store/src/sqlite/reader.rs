//! Reading an SQLite log: every read on a connection of its own, so readers neither wait for the writer nor for each other.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::failure::{error_of, store_error};
use super::schema;
use crate::entry::{Content, Digest, Entry, Position};
use crate::error::StoreError;
use crate::log::{KeepError, ReadLog, StoredCheckpoint, Tree};

/// Idle connections that are kept; more readers at a time open more and close them again.
const IDLE_CONNECTIONS: usize = 8;

/// How long SQLite waits for another program's lock before it gives up.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a projection has written, to go on from after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which projection.
    pub name: String,
    /// Number of entries that are contained: go on reading from here.
    pub position: Position,
    /// The projection's own form.
    pub bytes: Vec<u8>,
}

/// An SQLite log opened for reading only, also while another process writes to it.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    vfs: Option<String>,
    idle: Mutex<Vec<Connection>>,
}

impl SqliteReader {
    /// Opens an existing log. Takes no lock.
    ///
    /// # Errors
    /// [`StoreError`]: there is no such file, it is damaged, something else, or of a later layout.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        const OPERATION: &str = "open the log for reading";
        let path = super::absolute(OPERATION, path.as_ref())?;
        let reader = Self::unchecked(path, None);
        reader.with(OPERATION, |_| Ok(()))?;
        let connection = reader.connection(OPERATION)?;
        if schema::check(&connection, &reader.path, schema::supported())? == 0 {
            return Err(StoreError::NotALog { path: reader.path, detail: "an empty file".to_owned() });
        }
        Ok(reader)
    }

    pub(super) fn unchecked(path: PathBuf, vfs: Option<String>) -> Self {
        Self { path, vfs, idle: Mutex::new(Vec::new()) }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The snapshot of that name, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn get_snapshot(&self, name: &str) -> Result<Option<Snapshot>, StoreError> {
        self.with("read a snapshot", |connection| {
            connection
                .prepare_cached("SELECT name, position, bytes FROM snapshot WHERE name = ?1")?
                .query_row([name], |row| {
                    Ok(Snapshot { name: row.get(0)?, position: unsigned(row, 1)?, bytes: row.get(2)? })
                })
                .optional()
        })
    }

    /// Runs a query on a connection that nobody else uses meanwhile. A connection that failed is closed, not reused.
    pub(super) fn with<T>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.connection(operation)?;
        let value = query(&connection).map_err(|error| error_of(&connection, operation, &self.path, &error))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
        Ok(value)
    }

    fn connection(&self, operation: &'static str) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = connect(&self.path, flags, self.vfs.as_deref());
        let connection = connection.map_err(|error| store_error(operation, &self.path, &error))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| store_error(operation, &self.path, &error))?;
        Ok(connection)
    }

    /// Closes the idle connections, so that the writer can be the last one to close and leaves one tidy file.
    pub(super) fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Opens a connection, on another virtual file system if one is named.
pub(super) fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    }
}

/// A position or size; SQLite has only signed numbers.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// To SQLite's number; beyond its range nothing can be stored, so such a position just finds nothing.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn head(connection: &Connection) -> rusqlite::Result<Position> {
    connection.prepare_cached("SELECT coalesce(max(position) + 1, 0) FROM entry")?.query_row((), |row| unsigned(row, 0))
}

/// Number of stored hashes if none is missing: one more than the last index.
pub(super) fn last_hash(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT coalesce(max(idx) + 1, 0) FROM node")?.query_row((), |row| unsigned(row, 0))
}

pub(super) fn hashes(connection: &Connection, indexes: &[u64]) -> rusqlite::Result<Vec<Digest>> {
    let mut statement = connection.prepare_cached("SELECT hash FROM node WHERE idx = ?1")?;
    indexes.iter().map(|index| statement.query_row([signed(*index)], |row| row.get(0))).collect()
}

pub(super) fn checkpoints(connection: &Connection) -> rusqlite::Result<Vec<StoredCheckpoint>> {
    connection
        .prepare_cached("SELECT size, cosignatures, note FROM checkpoint ORDER BY size")?
        .query_map((), |row| {
            Ok(StoredCheckpoint { size: unsigned(row, 0)?, cosignatures: row.get(1)?, note: row.get(2)? })
        })?
        .collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let salt: Option<[u8; 16]> = row.get(4)?;
    let payload: Option<Vec<u8>> = row.get(5)?;
    Ok(Entry {
        position: unsigned(row, 0)?,
        at_ms: unsigned(row, 1)?,
        kind: row.get(2)?,
        commitment: row.get(3)?,
        content: salt.zip(payload).map(|(salt, payload)| Content { salt, payload }),
    })
}

impl ReadLog for SqliteReader {
    fn head(&self) -> Result<Position, StoreError> {
        self.with("read the head", head)
    }

    fn read(&self, from: Position, max: usize) -> Result<Vec<Entry>, StoreError> {
        const SQL: &str = "SELECT position, at_ms, kind, commitment, salt, payload FROM entry
                           WHERE position >= ?1 ORDER BY position LIMIT ?2";
        self.with("read entries", |connection| {
            let mut statement = connection.prepare_cached(SQL)?;
            let rows = statement.query_map(params![signed(from), signed(max as u64)], entry)?;
            rows.collect()
        })
    }
}

impl Tree for SqliteReader {
    fn hashes(&self, indexes: &[u64]) -> Result<Vec<Digest>, StoreError> {
        self.with("read hashes of the tree", |connection| hashes(connection, indexes))
    }

    fn hash_range(&self, from: u64, max: usize) -> Result<Vec<(u64, Digest)>, StoreError> {
        const SQL: &str = "SELECT idx, hash FROM node WHERE idx >= ?1 ORDER BY idx LIMIT ?2";
        self.with("read hashes of the tree", |connection| {
            let mut statement = connection.prepare_cached(SQL)?;
            let rows = statement
                .query_map(params![signed(from), signed(max as u64)], |row| Ok((unsigned(row, 0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    fn hash_count(&self) -> Result<u64, StoreError> {
        self.with("count hashes of the tree", |connection| {
            connection.query_row("SELECT count(*) FROM node", (), |row| unsigned(row, 0))
        })
    }

    fn checkpoints(&self) -> Result<Vec<StoredCheckpoint>, StoreError> {
        self.with("read checkpoints", checkpoints)
    }

    /// Always refused: only the process that holds the lock writes.
    fn keep_checkpoint(&self, _checkpoint: &StoredCheckpoint) -> Result<(), KeepError> {
        Err(KeepError::Store(StoreError::Unavailable {
            operation: "keep a checkpoint",
            path: self.path.clone(),
            detail: "it was opened for reading only".to_owned(),
        }))
    }
}
