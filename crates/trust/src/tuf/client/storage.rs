//! Trusted metadata on disk, under unversioned names (`root.json`, `timestamp.json`, `snapshot.json`, `targets.json`, one
//! file for each delegated role).
//!
//! Beside them two directories: `root_history/N.root.json`, the chain from the first root; and `floor/timestamp.json`, the
//! timestamp that the stored snapshot was verified under. The latter is needed because a timestamp is stored before its
//! snapshot is known to be good: with the newer timestamp alone the older snapshot could not be loaded, and with it the
//! memory of the versions of everything else would be gone.
//!
//! What is read here is verified again like anything from the network. Verifying does not belong here.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::ClientError;
use crate::tuf::path::percent_encode;

/// Larger files were not written by us.
const MAXIMUM_BYTES: u64 = 64 << 20;

pub(super) struct Storage {
    directory: PathBuf,
}

impl Storage {
    pub(super) fn open(directory: &Path) -> Result<Self, ClientError> {
        for path in [directory.to_owned(), directory.join("root_history"), directory.join("floor")] {
            fs::create_dir_all(&path).map_err(|source| ClientError::Storage { operation: "creating", path, source })?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The stored metadata of a role. What cannot be read counts as absent: it is fetched again.
    pub(super) fn load(&self, role: &str) -> Option<Vec<u8>> {
        read(&self.directory.join(file_name(role)))
    }

    pub(super) fn load_root(&self, version: u64) -> Option<Vec<u8>> {
        read(&self.directory.join(format!("root_history/{version}.root.json")))
    }

    pub(super) fn load_floor(&self) -> Option<Vec<u8>> {
        read(&self.directory.join("floor/timestamp.json"))
    }

    /// Stores the verified metadata of a role.
    pub(super) fn save(&self, role: &str, bytes: &[u8]) -> Result<(), ClientError> {
        self.write(&self.directory.join(file_name(role)), bytes)
    }

    pub(super) fn save_root(&self, version: u64, bytes: &[u8]) -> Result<(), ClientError> {
        self.write(&self.directory.join(format!("root_history/{version}.root.json")), bytes)
    }

    /// Remembers `timestamp` as the one that the stored snapshot belongs to.
    pub(super) fn save_floor(&self, timestamp: &[u8]) -> Result<(), ClientError> {
        self.write(&self.directory.join("floor/timestamp.json"), timestamp)
    }

    /// Old content or new content, never half of it.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
        if read(path).as_deref() == Some(bytes) {
            return Ok(());
        }
        let attempt = || -> io::Result<()> {
            let parent = path.parent().unwrap_or(&self.directory);
            let mut file = tempfile::Builder::new().prefix(".partial").tempfile_in(parent)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        attempt().map_err(|source| ClientError::Storage { operation: "writing", path: path.to_owned(), source })
    }
}

/// A role's file name. A very long role name is cut and kept apart by its hash.
fn file_name(role: &str) -> String {
    use sha2::{Digest, Sha256};
    let encoded = percent_encode(role);
    if encoded.len() <= 200 {
        return format!("{encoded}.json");
    }
    format!("{}-{}.json", &encoded[..100], hex::encode(Sha256::digest(role)))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAXIMUM_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAXIMUM_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_cannot_leave_the_directory() {
        assert_eq!(file_name("../../etc/passwd"), "..%2F..%2Fetc%2Fpasswd.json");
        assert_eq!(file_name("gate"), "gate.json");
        assert!(file_name(&"/".repeat(1000)).len() < 255);
        assert_ne!(file_name(&"a".repeat(300)), file_name(&"a".repeat(301)));
    }
}
