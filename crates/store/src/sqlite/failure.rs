//! From SQLite's result codes to errors that say what to do. The only place that knows both.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use crate::error::StoreError;

/// EFBIG and EDQUOT of Linux: a file size limit or a quota. SQLite calls only ENOSPC "full", for a person they're the same.
const LIMIT_REACHED: [i32; 2] = [27, 122];

/// ENOSPC, met where SQLite reports a mere input/output error, for example when it grows the shared index.
const NO_SPACE: i32 = 28;

/// Turns an SQLite error into ours.
pub(super) fn store_error(operation: &'static str, path: &Path, error: &rusqlite::Error) -> StoreError {
    classify(operation, path, error, 0)
}

/// As [`store_error`], for an error that has just come from `connection`: also asks it for the system's error number.
pub(super) fn error_of(
    connection: &Connection,
    operation: &'static str,
    path: &Path,
    error: &rusqlite::Error,
) -> StoreError {
    classify(operation, path, error, system_error(connection))
}

fn classify(operation: &'static str, path: &Path, error: &rusqlite::Error, system: i32) -> StoreError {
    let path = path.to_owned();
    let mut detail = error.to_string();
    let code = match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            detail = format!("{detail} (SQLite {})", failure.extended_code);
            Some(failure.code)
        }
        _ => None,
    };
    match code {
        Some(ErrorCode::DiskFull) => StoreError::Full { operation, path, detail },
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
            if system == NO_SPACE || LIMIT_REACHED.contains(&system) =>
        {
            let detail = format!("{detail}, {}", std::io::Error::from_raw_os_error(system));
            StoreError::Full { operation, path, detail }
        }
        Some(ErrorCode::NotADatabase) => StoreError::NotALog { path, detail },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
            StoreError::Corrupt { operation, path, detail }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked { operation, path, holder: None }
        }
        Some(_) => StoreError::Unavailable { operation, path, detail },
        // Everything that rusqlite itself reports here is a value or a table that is not what the layout says.
        None => StoreError::Corrupt { operation, path, detail },
    }
}

fn system_error(connection: &Connection) -> i32 {
    #[expect(unsafe_code, reason = "rusqlite has no safe call for the system's error number")]
    // SAFETY: the handle is that of an open connection, borrowed for the whole call, and the function only reads a number.
    unsafe {
        ffi::sqlite3_system_errno(connection.handle())
    }
}
