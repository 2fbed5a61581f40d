//! Where things lie below the guard's folder. What must stay out: reading and writing them.
//!
//! ```text
//! record[.copy]                  the record (codec)                known-good[.copy]   its last quiet form
//! installation[.copy], keyring[.copy], processes[.copy]             (codec)
//! installation.json              the installation once more, plain, for the agent; the guard does not read it
//! blobs/<sha256>                 verified files and release payloads of every generation kept
//! generations/<id>/<release>/... slots; generations/tmp-* are never run
//! current                        link to the running generation
//! state/<release>/               what {state} stands for: survives updates
//! snapshots/<release>-<n>/       {state} as it was before a release that older ones can't read
//! left/<release>/                {state} that a way back replaced, the latest one
//! quarantine/<sha256>-<n>/       foreign files that a remedy took away, each with a note of where it was
//! logs/<name>.log, .log.1        output, 1 MiB each
//! spool/                         the agent's: files named by SHA-256, not trusted
//! guard.sock, lock
//! ```

use crate::{Doing as _, DoneTo, platform, platform::User};
use staffel_core::ids::Digest;
use std::path::{Path, PathBuf};

/// Begins the name of everything that is not finished.
pub const TEMPORARY: &str = "tmp-";

/// The guard's folder.
#[derive(Clone, Debug)]
pub struct Layout {
    pub root: PathBuf,
}

impl Layout {
    /// Paths below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Layout { root: root.into() }
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.to_string())
    }

    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    pub fn generation(&self, id: &Digest) -> PathBuf {
        self.generations().join(id.to_string())
    }

    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    pub fn states(&self) -> PathBuf {
        self.root.join("state")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub fn left(&self) -> PathBuf {
        self.root.join("left")
    }

    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("guard.sock")
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Makes the folders that are missing. The spool belongs to the agent, everything else to the guard.
    pub fn create(&self, agent: Option<User>) -> Result<(), DoneTo> {
        let folder = |path: &Path, mode: u32| -> Result<(), DoneTo> {
            std::fs::create_dir_all(path).doing("create the folder", path)?;
            platform::set_mode(path, mode).doing("set the permissions of", path)
        };
        for (path, mode) in [
            (self.root.clone(), 0o755),
            (self.blobs(), 0o700),
            (self.generations(), 0o755),
            (self.states(), 0o755),
            (self.snapshots(), 0o700),
            (self.left(), 0o700),
            (self.quarantine(), 0o700),
            (self.logs(), 0o755),
            (self.spool(), 0o700),
        ] {
            folder(&path, mode)?;
        }
        if let (Some(agent), true) = (agent, platform::is_root()) {
            platform::give_to(&self.spool(), agent).doing("give to the agent", &self.spool())?;
        }
        Ok(())
    }
}

/// Deletes a file or a whole folder; what is not there is no error.
pub fn remove(path: &Path) -> Result<(), DoneTo> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).doing("delete", path),
        _ => Ok(()),
    }
}
