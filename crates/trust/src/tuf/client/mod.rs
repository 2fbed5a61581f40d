//! What a device does with a TUF repository: refresh, resolve a target, download it. All verified, none of it trusted.
//!
//! The checks themselves are those of `sigstore_tuf::TrustedMetadataSet`; this module drives it, because its own driver
//! forgets the snapshot's rollback floor when a refresh broke off between timestamp and snapshot, and loads every delegated
//! role again after a restart. `precheck` refuses what the library would let through. `storage` keeps trusted metadata on
//! disk, `transport` fetches, `error` tells failures apart.
//!
//! No metadata, however hostile, makes this panic, grow without bound, or write outside its directory. Time is handed in.
//! Large artifacts are not downloaded here: [`Client::target_info`] says where they are and how to verify them.

mod directory;
mod error;
mod precheck;
mod refresh;
mod storage;
mod target;
mod transport;

use std::path::Path;

use sigstore_tuf::TrustedMetadataSet;

pub use directory::DirectoryTransport;
pub use error::ClientError;
pub use target::TargetInfo;
pub use transport::{Fetch, FetchError, FromFunction, Resource, Transport, block_on};

use storage::Storage;

/// How much a client is willing to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one root file.
    pub root: u64,
    /// Bytes of the timestamp file.
    pub timestamp: u64,
    /// Bytes of a snapshot file; the length that the timestamp names counts instead if it is smaller.
    pub snapshot: u64,
    /// Bytes of a targets file, top-level or delegated.
    pub targets: u64,
    /// Bytes of a target that [`Client::download`] holds in memory.
    pub target: u64,
    /// New roots followed in one refresh.
    pub rotations: u32,
    /// Roles looked at for one target.
    pub delegations: u32,
}

impl Default for Limits {
    /// Those of python-tuf, and 256 MiB a target.
    fn default() -> Self {
        Self {
            root: 512_000,
            timestamp: 16_384,
            snapshot: 2_000_000,
            targets: 5_000_000,
            target: 256 << 20,
            rotations: 256,
            delegations: 32,
        }
    }
}

/// A TUF client with its directory of trusted metadata.
pub struct Client {
    transport: Box<dyn Transport>,
    storage: Storage,
    limits: Limits,
    trusted: TrustedMetadataSet,
    /// When the last successful refresh began; nothing is resolved without one.
    refreshed_at: Option<jiff::Timestamp>,
}

impl Client {
    /// Starts from `root`, the root metadata that the device was given, and from what `metadata_directory` holds of later
    /// roots. The directory is created if it is missing. Nothing is fetched.
    ///
    /// Later roots are accepted from disk only if they chain from `root`, each signed by the one before.
    pub fn open(
        metadata_directory: &Path,
        root: &[u8],
        transport: impl Transport + 'static,
    ) -> Result<Self, ClientError> {
        precheck::check("root.json", root)?;
        let mut trusted = TrustedMetadataSet::from_root(root).map_err(error::in_file("root.json"))?;
        let storage = Storage::open(metadata_directory)?;
        while let Some(version) = trusted.root().version.checked_add(1) {
            let Some(bytes) = storage.load_root(version) else { break };
            if precheck::check("root.json", &bytes).is_err() || trusted.update_root(&bytes).is_err() {
                break;
            }
        }
        storage.save("root", trusted.root_bytes())?;
        let (transport, limits) = (Box::new(transport), Limits::default());
        Ok(Self { transport, storage, limits, trusted, refreshed_at: None })
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Version of the trusted root.
    pub fn root_version(&self) -> u64 {
        self.trusted.root().version
    }

    /// Version of the trusted timestamp, once there is one.
    pub fn timestamp_version(&self) -> Option<u64> {
        self.trusted.timestamp().map(|timestamp| timestamp.version)
    }

    /// Fetches at most `limit` bytes; nothing if the source does not have it.
    async fn fetch(&self, resource: Resource<'_>, limit: u64) -> Result<Option<Vec<u8>>, ClientError> {
        match self.transport.fetch(resource, limit).await {
            // A transport that overlooks the limit must not matter.
            Ok(bytes) if bytes.len() as u64 > limit => {
                Err(ClientError::TooLarge { file: resource.name().to_owned(), limit })
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(FetchError::NotFound) => Ok(None),
            Err(FetchError::TooLarge) => Err(ClientError::TooLarge { file: resource.name().to_owned(), limit }),
            Err(FetchError::Failed(source)) => Err(ClientError::Transport { file: resource.name().to_owned(), source }),
        }
    }

    async fn fetch_metadata(&self, name: &str, limit: u64) -> Result<Vec<u8>, ClientError> {
        self.fetch(Resource::Metadata(name), limit).await?.ok_or_else(|| ClientError::Missing { file: name.to_owned() })
    }
}

/// `now` as the library wants it.
fn timestamp(now_unix_ms: u64) -> Result<jiff::Timestamp, ClientError> {
    i64::try_from(now_unix_ms)
        .ok()
        .and_then(|now| jiff::Timestamp::from_millisecond(now).ok())
        .ok_or(ClientError::Clock { now_unix_ms })
}
