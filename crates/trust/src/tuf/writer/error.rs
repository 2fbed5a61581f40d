//! Why the writer refused or failed. Each names the operation and what it was about.

use std::io;
use std::path::{Path, PathBuf};

use crate::tuf::envelope::EnvelopeError;
use crate::tuf::path::PathError;

/// An error of the repository writer.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// A file or directory could not be read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// What was attempted, for example `writing`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the repository open for writing.
    #[error("repository {} is in use by another writer", path.display())]
    Locked {
        /// Its directory.
        path: PathBuf,
    },
    /// The directory already holds a repository.
    #[error("{} already holds a repository", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// Too few private keys are at hand to sign for a role.
    #[error("signing {role}: {held} of {needed} needed private keys at hand; any of these would do: {}", missing.join(", "))]
    MissingKey {
        /// The role, for example `timestamp` or `bin-3f2`.
        role: String,
        /// How many must sign.
        needed: u32,
        /// How many can.
        held: usize,
        /// Ids of the authorised keys that are not at hand.
        missing: Vec<String>,
    },
    /// A set of keys that cannot work, for example a threshold above the number of keys.
    #[error("keys of {role}: {reason}")]
    Keys {
        /// The role.
        role: String,
        /// What is wrong.
        reason: String,
    },
    /// An option out of its range.
    #[error("option {option}: {reason}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A target path that is not allowed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A target that cannot be listed.
    #[error("target {path:?}: {reason}")]
    Target {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A metadata file is damaged or not signed by those who may.
    #[error("metadata file {file}")]
    Metadata {
        /// Its name.
        file: String,
        /// What is wrong.
        #[source]
        source: EnvelopeError,
    },
    /// Metadata files do not fit together.
    #[error("metadata file {file}: {reason}")]
    Inconsistent {
        /// The one at fault.
        file: String,
        /// What does not fit.
        reason: String,
    },
}

/// For `map_err`: an operating system error with the operation and the file it happened on.
pub(super) fn on_file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriterError {
    let path = path.to_owned();
    move |source| WriterError::File { operation, path, source }
}
