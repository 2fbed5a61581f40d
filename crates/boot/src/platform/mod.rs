//! Everything that differs between operating systems; the only place with `cfg(target_os)`.
//!
//! Linux is whole. Elsewhere the portable half (record, slots, decisions) compiles and each of these functions answers
//! "not on this system". What must stay out: decisions.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub use other::*;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

/// A numeric user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub user: u32,
    pub group: u32,
}

impl User {
    /// Reads `UID:GID`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, group) = text.split_once(':')?;
        Some(User { user: user.parse().ok()?, group: group.parse().ok()? })
    }
}

/// What is known of a file that somebody else may have put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Not a link, folder, device or pipe.
    pub regular: bool,
    /// Names that this file has.
    pub links: u64,
    /// Bytes.
    pub size: u64,
}

/// A program to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: BTreeMap<OsString, OsString>,
    /// Start from the guard's own environment; services get a clean one.
    pub inherit_environment: bool,
    pub directory: PathBuf,
    /// Who it runs as; only possible for root, `None` keeps the guard's own user.
    pub user: Option<User>,
}

/// A process as it was written down, to find it again after the guard itself was killed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Noted {
    pub pid: u32,
    /// When it was started, in the platform's own unit; tells a reused process id from the same process.
    pub started: u64,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// With status 0.
    pub well: bool,
    /// In words.
    pub how: String,
}
