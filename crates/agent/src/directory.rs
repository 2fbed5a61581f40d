//! The agent's own folder: which file is what, and how it is written so that a power cut leaves the old or the new one.
//!
//! What must stay out: the meaning of what is stored.

use serde::{Serialize, de::DeserializeOwned};
use staffel_core::ids::Digest;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Larger files are not ours: 64 MiB.
const MOST_BYTES: u64 = 64 << 20;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("reading {}: it is damaged", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} is missing: {hint}", path.display())]
    Missing { path: PathBuf, hint: &'static str },
}

/// A folder of one device.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        impl Directory {
            $($(#[$doc])* pub fn $name(&self) -> PathBuf { self.root.join($file) })*
        }
    };
}
places! {
    /// The device's private key, PEM, for its owner only.
    key = "device.key";
    /// The device's certificate, PEM.
    certificate = "device.crt";
    /// The one authority that may speak for the server, PEM.
    authority = "authority.pem";
    /// What was told at the enrolment: [`crate::enrol::Enrolment`].
    enrolment = "enrolment.json";
    /// What the guard is given at its installation.
    installation = "installation.json";
    /// The pinned keyring.
    keyring = "keyring.json";
    /// Keyrings after it, in order.
    keyrings = "keyrings.json";
    /// The pinned TUF root.
    tuf_root = "tuf-root.json";
    /// Trusted TUF metadata.
    tuf = "tuf";
    /// What no server may lower.
    memory = "memory.json";
    /// Floor of the time and age of authorisations on the running clock.
    clock = "clock.json";
    /// What the device's state machine remembers.
    device = "device.json";
    /// What the agent has to say of this machine's sensor: [`crate::findings::Own`].
    findings = "findings.json";
    /// The customer's policy as it was signed.
    policy = "policy.json";
    /// For `staffel-agent status`.
    status = "status.json";
}

impl Directory {
    /// Names the folder; nothing is touched.
    pub fn new(root: &Path) -> Self {
        Directory { root: root.to_owned() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The statements of one release.
    pub fn release(&self, release: &Digest) -> PathBuf {
        self.root.join("releases").join(format!("{release}.json"))
    }

    /// Creates the folder and its subfolders.
    pub fn create(&self) -> Result<(), FileError> {
        for path in [self.root.clone(), self.tuf(), self.root.join("releases")] {
            fs::create_dir_all(&path).map_err(|source| file_error("creating", &path, source))?;
        }
        Ok(())
    }

    /// Forgets statements of releases that are not in `keep`. Errors leave them lying: that costs nothing but space.
    pub fn forget_releases(&self, keep: &[Digest]) {
        let Ok(entries) = fs::read_dir(self.root.join("releases")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let kept = keep.iter().any(|digest| name.to_str() == Some(&format!("{digest}.json")));
            if !kept {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// An error with its operation and file.
pub fn file_error(operation: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::File { operation, path: path.to_owned(), source }
}

/// Reads a file; none if there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("reading", path, error)),
        Ok(metadata) if metadata.len() > MOST_BYTES => {
            return Err(file_error("reading", path, io::Error::other("it is larger than 64 MiB")));
        }
        Ok(_) => {}
    }
    fs::read(path).map(Some).map_err(|source| file_error("reading", path, source))
}

/// Reads JSON; none if there is no file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| FileError::Damaged { path: path.to_owned(), source })
}

/// Reads JSON that must be there.
pub fn must_read_json<T: DeserializeOwned>(path: &Path, hint: &'static str) -> Result<T, FileError> {
    read_json(path)?.ok_or_else(|| FileError::Missing { path: path.to_owned(), hint })
}

/// Writes a file so that after a power cut either the old or the new one is there, whole.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new).map_err(|source| file_error("creating", &new, source))?;
    io::Write::write_all(&mut file, bytes)
        .and_then(|()| file.sync_all())
        .map_err(|source| file_error("writing", &new, source))?;
    fs::rename(&new, path).map_err(|source| file_error("renaming", &new, source))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    crate::platform::sync_folder(folder).map_err(|source| file_error("syncing", folder, source))
}

/// Writes JSON so that after a power cut either the old or the new file is there, whole.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let bytes = serde_json::to_vec_pretty(value);
    let bytes = bytes.map_err(|source| FileError::Damaged { path: path.to_owned(), source })?;
    write(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(folder.path());
        directory.create().unwrap();
        assert_eq!(read_json::<Vec<u8>>(&directory.memory()).unwrap(), None);
        write_json(&directory.memory(), &vec![1_u8, 2]).unwrap();
        write_json(&directory.memory(), &vec![3_u8]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&directory.memory()).unwrap(), Some(vec![3]));
        write(&directory.memory(), b"{\"cut").unwrap();
        let error = read_json::<Vec<u8>>(&directory.memory()).unwrap_err();
        assert!(matches!(&error, FileError::Damaged { path, .. } if *path == directory.memory()), "{error}");
        let missing = must_read_json::<u8>(&directory.policy(), "enrol first").unwrap_err();
        assert!(missing.to_string().contains("enrol first"));
    }

    #[test]
    fn statements_of_releases_that_are_gone_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(folder.path());
        directory.create().unwrap();
        let (kept, gone) = (Digest::of(b"kept"), Digest::of(b"gone"));
        write(&directory.release(&kept), b"{}").unwrap();
        write(&directory.release(&gone), b"{}").unwrap();
        directory.forget_releases(&[kept]);
        assert!(directory.release(&kept).exists() && !directory.release(&gone).exists());
    }
}
