//! One process at a time: a lock file beside the file it protects, which the system releases when its holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting holds the file, and so the lock, for a
        // moment longer. If unlocking fails, closing does it that moment later.
        let _ = self.0.unlock();
    }
}

impl FileLock {
    /// Takes the lock for `path`, whose lock file is `path` with `.lock` at its end. The lock file stays: removing it
    /// would let two processes hold locks on two files of one name.
    pub fn take(operation: &'static str, path: &Path) -> Result<Self, StoreError> {
        let unavailable = |error: &std::io::Error| StoreError::Unavailable {
            operation,
            path: path.to_owned(),
            detail: format!("its lock file: {error}"),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path(path))
            .map_err(|error| unavailable(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { operation, path: path.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(&error)),
        }
        // Who holds it is a kindness to the reader of an error; the lock itself needs no content, so a full disk is no reason to fail.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes a directory entry durable. Only Unix needs it, and only there a directory can be opened.
pub(crate) fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
