//! A repository in a directory as a transport: an offline copy, a USB stick, a test.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Fetch, FetchError, Resource, Transport};
use crate::tuf::path::validate;

/// Reads `metadata/` and `targets/` below a directory. Follows no name that would leave them; symbolic links that stand in
/// them are followed, because whoever made the directory decides what is in it, and everything read is verified.
#[derive(Debug, Clone)]
pub struct DirectoryTransport {
    metadata: PathBuf,
    targets: PathBuf,
}

impl DirectoryTransport {
    /// A directory as the writer makes it.
    pub fn new(directory: &Path) -> Self {
        Self { metadata: directory.join("metadata"), targets: directory.join("targets") }
    }

    fn read(&self, resource: Resource<'_>, limit: u64) -> Result<Vec<u8>, FetchError> {
        let path = match resource {
            Resource::Metadata(name) if name.contains('/') => return Err(FetchError::NotFound),
            Resource::Metadata(name) => {
                validate(name).map_err(FetchError::failed)?;
                self.metadata.join(name)
            }
            Resource::Target(name) => {
                validate(name).map_err(FetchError::failed)?;
                self.targets.join(name)
            }
        };
        let from_disk = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => FetchError::NotFound,
            _ => FetchError::failed(error),
        };
        // Looked at before it is opened: opening a named pipe would block for ever.
        if !fs::metadata(&path).map_err(from_disk)?.is_file() {
            return Err(FetchError::NotFound);
        }
        let file = File::open(&path).map_err(from_disk)?;
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(FetchError::failed)?;
        if bytes.len() as u64 > limit { Err(FetchError::TooLarge) } else { Ok(bytes) }
    }
}

impl Transport for DirectoryTransport {
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a> {
        Box::pin(async move { self.read(resource, limit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_its_directories() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["metadata", "targets"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        std::fs::write(directory.path().join("secret"), b"x").unwrap();
        std::fs::write(directory.path().join("targets/t"), b"12345").unwrap();
        let transport = DirectoryTransport::new(directory.path());
        for resource in
            [Resource::Target("../secret"), Resource::Metadata("../secret"), Resource::Target("/etc/passwd")]
        {
            assert!(transport.read(resource, 100).is_err(), "{resource:?}");
        }
        assert_eq!(transport.read(Resource::Target("t"), 5).unwrap(), b"12345");
        assert!(matches!(transport.read(Resource::Target("t"), 4), Err(FetchError::TooLarge)));
        assert!(matches!(transport.read(Resource::Target("absent"), 4), Err(FetchError::NotFound)));
        std::fs::create_dir(directory.path().join("targets/d")).unwrap();
        assert!(matches!(transport.read(Resource::Target("d"), 4), Err(FetchError::NotFound)));
        assert!(matches!(transport.read(Resource::Metadata("targets/t"), 9), Err(FetchError::NotFound)));
    }
}
