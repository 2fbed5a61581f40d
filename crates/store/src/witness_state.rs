//! The memory of a witness: for each log the size and root seen last, in a small JSON file that is replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::TreeHead;
use crate::entry::Digest;
use crate::error::StoreError;
use crate::lock::{FileLock, sync_directory_of};

/// Layout that this program writes.
const VERSION: u32 = 1;

const OPEN: &str = "open witness state";
const WRITE: &str = "write witness state";

/// The root of an empty tree: SHA-256 of nothing (RFC 6962 section 2.1).
const EMPTY_ROOT: Digest = tlog_tiles::EMPTY_HASH.0;

/// What was seen of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Tree size.
    pub size: u64,
    /// Root, as hexadecimal text in the file.
    #[serde(with = "hex::serde")]
    pub root: Digest,
    /// Fields of later versions.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Seen {
    /// A log that was never seen: every tree continues the empty one.
    pub fn nothing() -> Self {
        Self { size: 0, root: EMPTY_ROOT, other: Map::new() }
    }

    pub fn head(&self, origin: &str) -> TreeHead {
        TreeHead { origin: origin.to_owned(), size: self.size, root: self.root }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    version: u32,
    /// Latest time that was signed, in seconds since 1970-01-01 UTC.
    last_time: u64,
    logs: BTreeMap<String, Seen>,
    /// Fields of later versions.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// The file, locked, and its content.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    state: State,
    _lock: FileLock,
}

impl StateFile {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = FileLock::take(OPEN, path)?;
        let state = match fs::read(path) {
            Ok(bytes) => read(path, &bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                State { version: VERSION, last_time: 0, logs: BTreeMap::new(), other: Map::new() }
            }
            Err(error) => return Err(unavailable(OPEN, path, &error)),
        };
        Ok(Self { path: path.to_owned(), state, _lock: lock })
    }

    pub fn seen(&self, origin: &str) -> Option<Seen> {
        self.state.logs.get(origin).cloned()
    }

    pub fn last_time(&self) -> u64 {
        self.state.last_time
    }

    /// Remembers a head, durably. If it fails, what was known before still counts here, though the file may have the
    /// new head: that is the safe side, since no signature was given out for it.
    pub fn remember(&mut self, head: &TreeHead, time: u64) -> Result<(), StoreError> {
        let mut state = self.state.clone();
        state.last_time = time;
        let seen = state.logs.entry(head.origin.clone()).or_insert_with(Seen::nothing);
        seen.size = head.size;
        seen.root = head.root;
        replace(&self.path, &state).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                StoreError::Full { operation: WRITE, path: self.path.clone(), detail: error.to_string() }
            }
            _ => unavailable(WRITE, &self.path, &error),
        })?;
        self.state = state;
        Ok(())
    }
}

fn read(path: &Path, bytes: &[u8]) -> Result<State, StoreError> {
    let state: State = serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt {
        operation: OPEN,
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    if state.version > VERSION {
        return Err(StoreError::TooNew {
            path: path.to_owned(),
            found: state.version.into(),
            supported: VERSION.into(),
        });
    }
    Ok(state)
}

/// The usual dance: a new file, synced, renamed over the old one, the directory synced.
fn replace(path: &Path, state: &State) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = File::create(&new)?;
    serde_json::to_writer_pretty(&mut file, state)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory_of(path)
}

fn unavailable(operation: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { operation, path: path.to_owned(), detail: error.to_string() }
}
