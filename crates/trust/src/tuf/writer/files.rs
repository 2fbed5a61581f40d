//! The repository's directory: reading with a limit, writing so that a name always has whole content behind it, and the
//! lock that keeps a second writer out.
//!
//! What the files mean does not belong here.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::on_file;
use super::{Source, WriterError};
use crate::tuf::metadata::MetaFile;
use crate::tuf::path::with_hash;

/// No metadata file of ours comes near this: `targets.json` with the most bins is 2.7 MB.
const MAXIMUM_METADATA_BYTES: u64 = 64 << 20;

pub(super) struct Files {
    metadata: PathBuf,
    targets: PathBuf,
    _lock: Lock,
}

impl Files {
    /// Creates the directories of a new repository.
    pub(super) fn create(directory: &Path) -> Result<Self, WriterError> {
        fs::create_dir_all(directory).map_err(on_file("creating", directory))?;
        let lock = lock(directory)?;
        let (metadata, targets) = (directory.join("metadata"), directory.join("targets"));
        // A crash during an earlier init leaves versioned files but no timestamp: that is no repository yet.
        if metadata.join("timestamp.json").exists() {
            return Err(WriterError::Exists { path: directory.to_owned() });
        }
        for path in [&metadata, &targets] {
            fs::create_dir_all(path).map_err(on_file("creating", path))?;
        }
        Ok(Self { metadata, targets, _lock: lock })
    }

    /// Opens the directories of an existing repository.
    pub(super) fn open(directory: &Path) -> Result<Self, WriterError> {
        let (metadata, targets) = (directory.join("metadata"), directory.join("targets"));
        fs::metadata(&metadata).map_err(on_file("opening", &metadata))?;
        Ok(Self { metadata, targets, _lock: lock(directory)? })
    }

    pub(super) fn has_metadata(&self, name: &str) -> bool {
        self.metadata.join(name).exists()
    }

    pub(super) fn read_metadata(&self, name: &str) -> Result<Vec<u8>, WriterError> {
        let path = self.metadata.join(name);
        let file = File::open(&path).map_err(on_file("opening", &path))?;
        let mut bytes = Vec::new();
        file.take(MAXIMUM_METADATA_BYTES + 1).read_to_end(&mut bytes).map_err(on_file("reading", &path))?;
        if bytes.len() as u64 > MAXIMUM_METADATA_BYTES {
            return Err(WriterError::Inconsistent { file: name.to_owned(), reason: "too large".to_owned() });
        }
        Ok(bytes)
    }

    /// Compares a metadata file with the length and hash that refer to it.
    pub(super) fn verify_hash(&self, name: &str, pin: &MetaFile) -> Result<(), WriterError> {
        let bytes = self.read_metadata(name)?;
        let length = pin.length.is_none_or(|length| length == bytes.len() as u64);
        let hash = pin.hashes.get("sha256").is_none_or(|hash| *hash == hex::encode(Sha256::digest(&bytes)));
        if length && hash {
            return Ok(());
        }
        let reason = "is not the file that the timestamp names".to_owned();
        Err(WriterError::Inconsistent { file: name.to_owned(), reason })
    }

    /// Writes a metadata file: after this its name has either the old or the new content behind it, whatever happens.
    pub(super) fn write_metadata(&self, name: &str, bytes: &[u8]) -> Result<(), WriterError> {
        let path = self.metadata.join(name);
        let partial = self.metadata.join(format!(".{name}.partial"));
        let mut file = File::create(&partial).map_err(on_file("creating", &partial))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(on_file("writing", &partial))?;
        fs::rename(&partial, &path).map_err(on_file("renaming", &path))
    }

    /// Makes the names of the metadata files durable.
    pub(super) fn sync_metadata(&self) -> Result<(), WriterError> {
        sync_directory(&self.metadata)
    }

    /// Stores a target's content under its hash and returns its length and hash. The same content is stored once for each
    /// path. `path` has been validated.
    pub(super) fn store_target(&self, path: &str, source: Source<'_>) -> Result<(u64, String), WriterError> {
        let partial = self.targets.join(".partial");
        let mut output = File::create(&partial).map_err(on_file("creating", &partial))?;
        let mut hasher = Sha256::new();
        let mut length = 0;
        let mut write = |chunk: &[u8]| {
            hasher.update(chunk);
            length += chunk.len() as u64;
            output.write_all(chunk).map_err(on_file("writing", &partial))
        };
        match source {
            Source::Bytes(bytes) => write(bytes)?,
            Source::File(input) => {
                let mut file = File::open(input).map_err(on_file("opening", input))?;
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match file.read(&mut buffer).map_err(on_file("reading", input))? {
                        0 => break,
                        count => write(&buffer[..count])?,
                    }
                }
            }
        }
        output.sync_all().map_err(on_file("writing", &partial))?;
        let hash = hex::encode(hasher.finalize());
        let place = self.targets.join(with_hash(path, &hash));
        let parent = place.parent().unwrap_or(&self.targets).to_owned();
        fs::create_dir_all(&parent).map_err(on_file("creating", &parent))?;
        fs::rename(&partial, &place).map_err(on_file("renaming", &place))?;
        sync_directory(&parent)?;
        Ok((length, hash))
    }
}

/// Held until dropped.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting holds the file, and so the lock, for a moment
        // longer. If unlocking fails, closing does it that moment later.
        let _ = self.0.unlock();
    }
}

fn lock(directory: &Path) -> Result<Lock, WriterError> {
    let path = directory.join(".lock");
    let file = File::create(&path).map_err(on_file("creating", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(WriterError::Locked { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(on_file("locking", &path)(source)),
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> Result<(), WriterError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(on_file("syncing", path))
}

/// Windows has no way to sync a directory; the rename itself is journalled there.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> Result<(), WriterError> {
    Ok(())
}
