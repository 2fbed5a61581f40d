//! Why a client refused or failed, told apart so that a device can say what to do about it.

use std::io;
use std::path::PathBuf;

use crate::tuf::path::PathError;

/// An error of the TUF client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Metadata is older than its signer allowed. Either nobody renewed it, or somebody keeps the new one from us, or our
    /// clock is wrong.
    #[error("{role} metadata expired at {expires}")]
    Expired {
        /// The role, for example `timestamp`.
        role: String,
        /// RFC 3339.
        expires: String,
    },
    /// Somebody offers a version older than what was seen before.
    #[error("{role} goes back from version {trusted} to {offered}")]
    Rollback {
        /// The role.
        role: String,
        /// The version trusted.
        trusted: u64,
        /// The version offered.
        offered: u64,
    },
    /// Not signed by enough of those who may.
    #[error("{file}: {reason}")]
    Signature {
        /// The file.
        file: String,
        /// For example how many signatures were found and needed.
        reason: String,
    },
    /// Cut off, or no valid metadata.
    #[error("{file} is malformed: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Not the file that the signed metadata means: other length, hash or version.
    #[error("{file} is not what was signed: {reason}")]
    Mismatch {
        /// The file.
        file: String,
        /// What differs.
        reason: String,
    },
    /// More bytes than allowed, or than the metadata says.
    #[error("{file} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The most that was allowed.
        limit: u64,
    },
    /// The source could not be reached or broke off.
    #[error("fetching {file}")]
    Transport {
        /// The file.
        file: String,
        /// What the transport said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The source answers but lacks a file that it must have.
    #[error("the repository has no {file}")]
    Missing {
        /// The file.
        file: String,
    },
    /// More new roots at once than allowed. Those followed are kept; the next refresh goes on from there.
    #[error("more than {limit} new roots")]
    Rotations {
        /// The limit.
        limit: u32,
    },
    /// No trusted role lists the target.
    #[error("no trusted role lists target {path:?}")]
    UnknownTarget {
        /// Its path.
        path: String,
    },
    /// A target path that is not allowed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// [`refresh`](super::Client::refresh) has not succeeded yet.
    #[error("nothing to resolve against before a successful refresh")]
    NotRefreshed,
    /// The time handed in is out of range.
    #[error("{now_unix_ms} ms is no usable time")]
    Clock {
        /// Unix milliseconds.
        now_unix_ms: u64,
    },
    /// The directory of trusted metadata could not be read or written.
    #[error("{operation} {}", path.display())]
    Storage {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// For `map_err`: translates an error of the library that came up over `file`.
pub(super) fn in_file(file: &str) -> impl FnOnce(sigstore_tuf::Error) -> ClientError {
    use sigstore_tuf::Error;
    let file = file.to_owned();
    move |error| match error {
        Error::Expired { role, expires } => ClientError::Expired { role, expires: expires.to_string() },
        Error::Rollback { role, trusted, new } => ClientError::Rollback { role, trusted, offered: new },
        Error::BadRootVersion { trusted, new } if new <= trusted => {
            ClientError::Rollback { role: "root".to_owned(), trusted, offered: new }
        }
        Error::ThresholdNotMet { .. } | Error::DuplicateSignature { .. } => {
            ClientError::Signature { file, reason: error.to_string() }
        }
        Error::IntegrityMismatch(reason) => ClientError::Mismatch { file, reason },
        Error::Json(source) => ClientError::Malformed { file, reason: source.to_string() },
        // Keys, schemes, roles that do not exist, and whatever a later version of the library adds: not usable.
        other => ClientError::Malformed { file, reason: other.to_string() },
    }
}
