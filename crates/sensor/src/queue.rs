//! What sources have said and nobody has made records of yet: bounded, in order, kept while other processes end and start.
//!
//! A source that is faster than the rest waits here; then the kernel keeps what it can and drops the rest, and the source says
//! how much. Nothing is dropped between a source and a record.

use crate::collect::Source;
use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Bytes that may wait.
const MOST: usize = 8 << 20;
/// A chunk that waits takes more of its source up to this many bytes.
const CHUNK: usize = 256 << 10;

/// What a source has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub source: Source,
    pub bytes: Vec<u8>,
    /// When its first byte was read, Unix milliseconds.
    pub at_ms: i64,
}

#[derive(Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    closed: bool,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    emptied: Condvar,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a chunk; waits while there are too many. Chunks of one source may be joined: any two of them are one.
    pub fn push(&self, chunk: Chunk) {
        let mut waiting = self.waiting();
        while !waiting.chunks.is_empty() && waiting.bytes + chunk.bytes.len() > MOST && !waiting.closed {
            waiting = self.emptied.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.bytes += chunk.bytes.len();
        match waiting.chunks.back_mut() {
            Some(last) if last.source == chunk.source && last.bytes.len() + chunk.bytes.len() <= CHUNK => {
                last.bytes.extend_from_slice(&chunk.bytes);
            }
            _ => waiting.chunks.push_back(chunk),
        }
        self.filled.notify_one();
    }

    /// The oldest chunk; none if nothing comes in this time.
    pub fn take(&self, patience: Duration) -> Option<Chunk> {
        let waiting = self.waiting();
        let empty = |waiting: &mut Waiting| waiting.chunks.is_empty() && !waiting.closed;
        let (mut waiting, _) =
            self.filled.wait_timeout_while(waiting, patience, empty).unwrap_or_else(PoisonError::into_inner);
        let chunk = waiting.chunks.pop_front()?;
        waiting.bytes -= chunk.bytes.len();
        self.emptied.notify_all();
        Some(chunk)
    }

    /// Nothing more is wanted: whoever waits goes on.
    pub fn close(&self) {
        self.waiting().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// True after [`Queue::close`].
    pub fn is_closed(&self) -> bool {
        self.waiting().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn chunk(source: Source, bytes: usize) -> Chunk {
        Chunk { source, bytes: vec![7; bytes], at_ms: 1 }
    }

    #[test]
    fn chunks_keep_their_order_and_neighbours_of_one_source_are_joined() {
        let queue = Queue::default();
        for (source, bytes) in
            [(Source::Connector, 1), (Source::Connector, 2), (Source::Inotify, 3), (Source::Connector, CHUNK)]
        {
            queue.push(chunk(source, bytes));
        }
        let mut taken = Vec::new();
        while let Some(chunk) = queue.take(Duration::ZERO) {
            taken.push((chunk.source, chunk.bytes.len()));
        }
        assert_eq!(taken, [(Source::Connector, 3), (Source::Inotify, 3), (Source::Connector, CHUNK)]);
    }

    #[test]
    fn a_full_queue_makes_its_source_wait_and_loses_nothing() {
        let queue = Arc::new(Queue::default());
        let other = queue.clone();
        let all = 3 * MOST / CHUNK;
        let source = std::thread::spawn(move || (0..all).for_each(|_| other.push(chunk(Source::Connector, CHUNK))));
        let mut bytes = 0;
        while bytes < all * CHUNK {
            let taken = queue.take(Duration::from_secs(60)).expect("more comes");
            bytes += taken.bytes.len();
            assert!(queue.waiting().bytes <= MOST);
        }
        source.join().expect("it ends");
        assert_eq!(queue.take(Duration::ZERO), None);
        queue.close();
        assert_eq!(queue.take(Duration::from_secs(60)), None, "nobody waits at the end");
    }
}
