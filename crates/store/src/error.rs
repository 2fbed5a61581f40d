//! Why a store operation did not happen, told so that a person knows what to do. Append errors are in `log.rs`.

use std::path::PathBuf;

/// Why reading, opening or maintaining a store failed. Cloneable, since one failed commit answers many callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space left (or a quota or file size limit reached). Reading goes on; writing resumes by itself.
    #[error(
        "{operation}: no space left for {}; free some there, nothing acknowledged is lost, reading goes on and \
         writing resumes by itself ({detail})",
        path.display()
    )]
    Full {
        /// What was being done.
        operation: &'static str,
        /// The store's file.
        path: PathBuf,
        /// What SQLite or the operating system said.
        detail: String,
    },
    /// The file is damaged. Don't write to it: restore a backup, then compare with the last witnessed checkpoint.
    #[error("{operation}: {} is damaged: {detail}; keep it as it is and restore a backup", path.display())]
    Corrupt {
        /// What was being done.
        operation: &'static str,
        /// The store's file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Somebody else writes to this store; there is one writer at a time.
    #[error(
        "{operation}: {} is in use by {}; stop that one first",
        path.display(),
        holder.map_or_else(|| "another program".to_owned(), |id| format!("process {id}"))
    )]
    Locked {
        /// What was being done.
        operation: &'static str,
        /// The store's file.
        path: PathBuf,
        /// Process that holds the lock, if it said so.
        holder: Option<u32>,
    },
    /// A later version of this program wrote the file.
    #[error("{} has layout {found}, this program knows up to {supported}; use a newer program", path.display())]
    TooNew {
        /// The store's file.
        path: PathBuf,
        /// Layout version in the file.
        found: i64,
        /// Newest layout version known here.
        supported: i64,
    },
    /// The file is something else.
    #[error("{} is not a log store: {detail}", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        detail: String,
    },
    /// Anything else that the file system or SQLite refused.
    #[error("{operation}: {} cannot be used: {detail}", path.display())]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// The store's file.
        path: PathBuf,
        /// What SQLite or the operating system said.
        detail: String,
    },
    /// The store was closed, or its writer ended.
    #[error("{operation}: the log is closed")]
    Closed {
        /// What was being done.
        operation: &'static str,
    },
}
