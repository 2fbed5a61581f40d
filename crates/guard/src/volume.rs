//! Files on the system partition, each write durable when it returns. What must stay out: what the files mean.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

/// A failed operation on the system partition, with its subject.
#[derive(Debug, thiserror::Error)]
#[error("can't {operation} {path} on the system partition: {source}")]
pub struct VolumeError {
    /// An infinitive without `to`.
    pub operation: &'static str,
    pub path: String,
    pub source: io::Error,
}

impl VolumeError {
    /// For a failed operation; `operation` is an infinitive without `to`.
    pub fn new(operation: &'static str, path: &str, source: io::Error) -> Self {
        VolumeError { operation, path: path.into(), source }
    }
}

/// A file system with the few operations that the guard uses. Paths are relative, with `/`.
pub trait Volume {
    /// Names of the files in a folder; none if the folder is not there.
    fn names(&self, folder: &str) -> Result<Vec<String>, VolumeError>;
    /// A whole file, none if it is not there. Longer than `at_most` bytes is an error.
    fn read(&self, path: &str, at_most: u64) -> Result<Option<Vec<u8>>, VolumeError>;
    /// Makes a folder and those above it.
    fn make_folder(&mut self, path: &str) -> Result<(), VolumeError>;
    /// Writes a file that is not there yet.
    fn create(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError>;
    /// Writes over a file of exactly this length, in place: no room is taken or freed.
    fn overwrite(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError>;
    /// Deletes a file; what is not there is no error.
    fn remove(&mut self, path: &str) -> Result<(), VolumeError>;
    /// Bytes that can still be written.
    fn free(&self) -> Result<u64, VolumeError>;
}

/// A mounted file system.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The file system that is mounted here.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Folder(path.into())
    }

    fn sync_parent(&self, path: &Path) -> io::Result<()> {
        File::open(path.parent().unwrap_or(&self.0))?.sync_all()
    }
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Volume for Folder {
    fn names(&self, folder: &str) -> Result<Vec<String>, VolumeError> {
        let list = || -> io::Result<Vec<String>> {
            let Some(entries) = absent(std::fs::read_dir(self.0.join(folder)))? else { return Ok(Vec::new()) };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_file()
                    && let Some(name) = entry.file_name().to_str()
                {
                    names.push(name.to_string());
                }
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|source| VolumeError::new("list", folder, source))
    }

    fn read(&self, path: &str, at_most: u64) -> Result<Option<Vec<u8>>, VolumeError> {
        let read = || -> io::Result<Option<Vec<u8>>> {
            let Some(file) = absent(File::open(self.0.join(path)))? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(at_most.saturating_add(1)).read_to_end(&mut bytes)?;
            match bytes.len() as u64 > at_most {
                true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {at_most} bytes"))),
                false => Ok(Some(bytes)),
            }
        };
        read().map_err(|source| VolumeError::new("read", path, source))
    }

    fn make_folder(&mut self, path: &str) -> Result<(), VolumeError> {
        let whole = self.0.join(path);
        let made = std::fs::create_dir_all(&whole).and_then(|()| self.sync_parent(&whole));
        made.map_err(|source| VolumeError::new("make the folder", path, source))
    }

    fn create(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError> {
        let whole = self.0.join(path);
        let create = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&whole)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            self.sync_parent(&whole)
        };
        create().map_err(|source| VolumeError::new("create", path, source))
    }

    fn overwrite(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError> {
        let overwrite = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).open(self.0.join(path))?;
            if file.metadata()?.len() != bytes.len() as u64 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it has another length"));
            }
            file.write_all(bytes)?;
            file.sync_all()
        };
        overwrite().map_err(|source| VolumeError::new("write over", path, source))
    }

    fn remove(&mut self, path: &str) -> Result<(), VolumeError> {
        let whole = self.0.join(path);
        let remove = || match absent(std::fs::remove_file(&whole))? {
            Some(()) => self.sync_parent(&whole),
            None => Ok(()),
        };
        remove().map_err(|source| VolumeError::new("delete", path, source))
    }

    #[cfg(target_os = "linux")]
    fn free(&self) -> Result<u64, VolumeError> {
        let facts = rustix::fs::statvfs(&self.0).map_err(|source| VolumeError::new("measure", "", source.into()))?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    #[cfg(not(target_os = "linux"))]
    fn free(&self) -> Result<u64, VolumeError> {
        Err(VolumeError::new("measure", "", io::ErrorKind::Unsupported.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_does_what_the_guard_needs_and_refuses_the_rest() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(place.path());
        assert_eq!((folder.names("a/b").unwrap(), folder.read("a/b/c", 9).unwrap()), (vec![], None));
        folder.make_folder("a/b").unwrap();
        folder.create("a/b/c", b"one").unwrap();
        assert!(folder.create("a/b/c", b"two").is_err(), "it is there");
        assert!(folder.overwrite("a/b/c", b"longer").is_err(), "another length");
        folder.overwrite("a/b/c", b"two").unwrap();
        assert_eq!(folder.read("a/b/c", 3).unwrap().unwrap(), b"two");
        let error = folder.read("a/b/c", 2).unwrap_err().to_string();
        assert!(error.contains("a/b/c") && error.contains("longer than 2"), "{error}");
        assert_eq!(folder.names("a/b").unwrap(), ["c"]);
        folder.remove("a/b/c").unwrap();
        folder.remove("a/b/c").unwrap();
        assert!(folder.names("a/b").unwrap().is_empty());
    }
}
