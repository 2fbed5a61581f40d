//! The tables of the SQLite file, how a file is recognised, and how an older one is brought up to date.
//!
//! The layout is documented here because people read it with the `sqlite3` program; it changes only by a new step.

use std::path::Path;

use rusqlite::Connection;

use super::failure::store_error;
use crate::error::StoreError;

/// Marks the file as ours: `Stfl` in ASCII, in SQLite's `application_id`.
pub(super) const APPLICATION_ID: i64 = 0x5374_666C;

/// Step `n` brings layout `n` to layout `n + 1`; `user_version` says which layout a file has.
const STEPS: &[&str] = &[LAYOUT_1];

/// - `entry`: the log. `salt` and `payload` are NULL once erased; `commitment` = SHA-256(salt || payload) stays.
/// - `node`: hashes of complete subtrees, numbered as in tlog-tiles; written in the same transaction as the entries.
/// - `checkpoint`: signed notes: the latest, and the latest that is co-signed.
/// - `snapshot`: what projections keep so that they need not read the whole log; can be deleted at any time.
/// - `journal` (a view): the log for human eyes.
const LAYOUT_1: &str = "
CREATE TABLE entry (
    position   INTEGER PRIMARY KEY CHECK (position >= 0),
    at_ms      INTEGER NOT NULL CHECK (at_ms >= 0),
    kind       TEXT NOT NULL,
    commitment BLOB NOT NULL CHECK (length(commitment) = 32),
    salt       BLOB CHECK (length(salt) = 16),
    payload    BLOB,
    CHECK ((salt IS NULL) = (payload IS NULL))
) STRICT;
CREATE TABLE node (
    idx  INTEGER PRIMARY KEY CHECK (idx >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TABLE checkpoint (
    size         INTEGER PRIMARY KEY CHECK (size >= 0),
    cosignatures INTEGER NOT NULL,
    note         TEXT NOT NULL
) STRICT;
CREATE TABLE snapshot (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL CHECK (position >= 0),
    bytes    BLOB NOT NULL
) STRICT;
CREATE VIEW journal AS
    SELECT position, strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at, kind,
           CASE WHEN payload IS NULL THEN '(erased)' ELSE CAST(payload AS TEXT) END AS payload
    FROM entry;
";

/// Newest layout that this program knows.
pub(super) fn supported() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Makes a new file a store, or brings an older store up to date. Each step is one transaction with its version
/// number, so a crash in between leaves a layout that the next open goes on from.
pub(super) fn create_or_upgrade(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    upgrade(connection, path, STEPS)
}

fn upgrade(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StoreError> {
    const OPERATION: &str = "upgrade the log's layout";
    let failed = |error: &rusqlite::Error| store_error(OPERATION, path, error);
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let found = check(connection, path, known)?;
    for (version, step) in (0..known).zip(steps).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction().map_err(|error| failed(&error))?;
        transaction
            .execute_batch(step)
            .and_then(|()| transaction.pragma_update(None, "user_version", version + 1))
            .and_then(|()| transaction.pragma_update(None, "application_id", APPLICATION_ID))
            .and_then(|()| transaction.commit())
            .map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// The file's layout version, 0 for an empty file; or why this program must not touch it.
pub(super) fn check(connection: &Connection, path: &Path, supported: i64) -> Result<i64, StoreError> {
    const OPERATION: &str = "read the log's layout";
    let failed = |error: &rusqlite::Error| store_error(OPERATION, path, error);
    let number = |sql| connection.query_row(sql, (), |row| row.get::<_, i64>(0)).map_err(|error| failed(&error));
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    if application != APPLICATION_ID && (tables > 0 || application != 0 || version != 0) {
        return Err(StoreError::NotALog {
            path: path.to_owned(),
            detail: format!("an SQLite file of another program (application_id {application}, {tables} tables)"),
        });
    }
    if version > supported {
        return Err(StoreError::TooNew { path: path.to_owned(), found: version, supported });
    }
    if version < 0 || (application == APPLICATION_ID && version == 0) {
        return Err(StoreError::Corrupt {
            operation: OPERATION,
            path: path.to_owned(),
            detail: format!("layout version {version}"),
        });
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::open_in_memory().expect("memory")
    }

    #[test]
    fn a_later_layout_keeps_what_is_there() {
        let path = Path::new("test");
        let mut connection = connection();
        upgrade(&mut connection, path, STEPS).expect("create");
        connection.execute("INSERT INTO snapshot VALUES ('devices', 3, x'01')", ()).expect("write");
        let next = [STEPS, &["ALTER TABLE snapshot ADD COLUMN form INTEGER NOT NULL DEFAULT 1"]].concat();
        upgrade(&mut connection, path, &next).expect("upgrade");
        upgrade(&mut connection, path, &next).expect("nothing more to do");
        let (position, form): (i64, i64) = connection
            .query_row("SELECT position, form FROM snapshot", (), |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("still there");
        assert_eq!((position, form), (3, 1));
        assert_eq!(
            upgrade(&mut connection, path, STEPS),
            Err(StoreError::TooNew { path: path.to_owned(), found: supported() + 1, supported: supported() })
        );
    }

    #[test]
    fn a_step_that_fails_leaves_the_layout_before() {
        let path = Path::new("test");
        let mut connection = connection();
        let broken = [STEPS, &["CREATE TABLE half (x); CREATE TABLE entry (x);"]].concat();
        assert!(upgrade(&mut connection, path, &broken).is_err());
        assert_eq!(check(&connection, path, 9), Ok(supported()));
        assert!(connection.query_row("SELECT count(*) FROM half", (), |_| Ok(())).is_err());
    }

    #[test]
    fn another_programs_file_is_left_alone() {
        let mut connection = connection();
        connection.execute_batch("CREATE TABLE cookies (x)").expect("write");
        assert!(matches!(upgrade(&mut connection, Path::new("test"), STEPS), Err(StoreError::NotALog { .. })));
    }
}
