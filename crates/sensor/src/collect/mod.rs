//! From what the kernel and the machine's logs say to typed records.
//!
//! The supervisor reads bytes and hands them over one chunk at a time; the collector process makes records of them. What the
//! collector knows from one chunk to the next is in a [`Cursor`] that the supervisor keeps: when the collector is killed,
//! another one gets the same chunk again, and nothing is lost. `connector`, `inotify` and `authentication` parse bytes from
//! elsewhere, `process` looks a process up, `child` is the process, `hand` the supervisor's end of it. What must stay out:
//! opening the sources (`source`), and what records mean.

pub mod authentication;
pub mod child;
pub mod connector;
pub mod hand;
pub mod inotify;
pub mod process;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where chunks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The kernel's process connector: every start of a program.
    Connector,
    /// A look at `/proc` twice a second, where there is no connector: programs that run for less than a second are missed.
    Poll,
    /// Changes in the folders that are watched.
    Inotify,
    /// Lines of the authentication log.
    Authentication,
    /// The process that makes records of all of them: no source, but as blind without it.
    Collector,
    /// The process that runs the pack: as blind without it, too.
    Evaluator,
}

impl Source {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Source::Connector => "process connector",
            Source::Poll => "looks at /proc",
            Source::Inotify => "watched folders",
            Source::Authentication => "authentication log",
            Source::Collector => "collector",
            Source::Evaluator => "evaluator",
        }
    }
}

/// What a collector knows from one chunk to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The number of the connector's last message of each processor.
    pub connector: BTreeMap<u32, u32>,
    /// When `/proc` was last looked at, in clock ticks since the machine started.
    pub polled: Option<u64>,
}

/// One chunk to be made records of. The bytes travel beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub source: Source,
    /// Of the first record; the others count up.
    pub sequence: u64,
    /// When the supervisor read it, Unix milliseconds.
    pub at_ms: i64,
    pub cursor: Cursor,
    /// The folder of each watch; for [`Source::Inotify`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub folders: BTreeMap<i32, String>,
}

/// What came of a chunk. The records travel beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    pub records: u64,
    /// Messages and lines that did not parse.
    pub unreadable: u64,
    /// Messages that the kernel dropped before anybody could read them. 0 where `overflowed` is all that it says.
    pub lost: u64,
    /// The kernel dropped some, and does not say how many.
    #[serde(default)]
    pub overflowed: bool,
    /// Programs that had ended before they could be looked at.
    pub gone: u64,
    pub cursor: Cursor,
    /// Watches that the kernel has ended: the folder is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwatched: Vec<i32>,
}

/// A head as JSON with its length before it, then bytes.
pub fn join(head: &impl Serialize, bytes: &[u8]) -> Vec<u8> {
    // No map with keys that are no strings or numbers, no value that fails: nothing here can.
    let head = serde_json::to_vec(head).unwrap_or_default();
    staffel_pack::wire::encode_load(&head, bytes)
}

/// The head and the bytes; none if they are not so.
pub fn split<T: serde::de::DeserializeOwned>(joined: &[u8]) -> Option<(T, &[u8])> {
    let (head, bytes) = staffel_pack::wire::decode_load(joined)?;
    Some((serde_json::from_slice(head).ok()?, bytes))
}

/// Frames datagrams in a chunk: `length: u32`, the bytes.
pub fn frame_datagram(chunk: &mut Vec<u8>, datagram: &[u8]) {
    chunk.extend_from_slice(&(datagram.len() as u32).to_le_bytes());
    chunk.extend_from_slice(datagram);
}

/// The next datagram of a chunk and the rest; a length beyond the end takes all there is.
fn next_datagram(chunk: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some((length, rest)) = chunk.split_first_chunk::<4>() else {
        return (!chunk.is_empty()).then_some((chunk, &[]));
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
    Some(rest.split_at(length))
}
