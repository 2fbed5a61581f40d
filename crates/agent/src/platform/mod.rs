//! What differs between operating systems: the running clock, the boot's identity, the local socket, the sandbox.
//!
//! The only folder of this crate with `cfg(target_os)`. Both halves export the same names.

use std::path::PathBuf;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod syscalls;
#[cfg(target_os = "linux")]
pub use linux::{
    LocalSocket, Termination, attributes, awake_ms, boot_id, connect, create_private, running_ms, sandbox, sync_folder,
};

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub use other::{
    LocalSocket, Termination, attributes, awake_ms, boot_id, connect, create_private, running_ms, sandbox, sync_folder,
};

/// What the agent may touch once it is locked in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Folders and files to read.
    pub read: Vec<PathBuf>,
    /// Folders to read and write.
    pub write: Vec<PathBuf>,
    /// Folders whose sockets may be connected to.
    pub sockets: Vec<PathBuf>,
}
