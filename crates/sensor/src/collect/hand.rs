//! The supervisor's end of the collector process.

use super::{Ask, Collected, join, split};
use crate::{
    frame::Kind,
    process::{Broken, Process},
    watch::Watch,
};
use staffel_pack::{Catalogue, record};
use std::{path::Path, time::Duration};

/// How long a chunk may take: each start of a program in it is looked up in `/proc`.
const PATIENCE: Duration = Duration::from_secs(30);

/// A collector process behind its walls.
pub struct Hand {
    process: Process,
    /// What this machine could not enforce, a line each.
    pub lacking: Vec<String>,
}

impl Hand {
    /// Starts one; its walls stand when this returns.
    pub fn start(program: &Path, watch: &Watch) -> Result<Self, Broken> {
        let process = Process::start(program, "collector", PATIENCE, watch)?;
        let mut hand = Hand { process, lacking: Vec::new() };
        let ready = hand.process.hear(Kind::Ready)?;
        hand.lacking = serde_json::from_slice(&ready).map_err(|error| Broken::Nonsense(error.to_string()))?;
        Ok(hand)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How it ended, if it has without being asked anything.
    pub fn ended(&mut self) -> Option<String> {
        self.process.ended()
    }

    /// Has records made of a chunk. It is not believed: the records are those that it says, numbered as it was asked.
    pub fn collect(&mut self, ask: &Ask, chunk: &[u8], catalogue: &Catalogue) -> Result<(Collected, Vec<u8>), Broken> {
        let answer = self.process.ask(Kind::Chunk, join(ask, chunk), Kind::Records)?;
        let nonsense = |what: String| Broken::Nonsense(what);
        let (said, batch) = split::<Collected>(&answer).ok_or_else(|| nonsense("no head".into()))?;
        let mut records = record::Batch::new(batch, catalogue);
        let mut next = ask.sequence;
        for record in records.by_ref() {
            if record.sequence != next {
                return Err(nonsense(format!("record {} where {next} belongs", record.sequence)));
            }
            next += 1;
        }
        let (dropped, found) = (records.dropped, next - ask.sequence);
        if dropped > 0 || found != said.records {
            return Err(nonsense(format!("{found} records and {dropped} broken ones, it says {}", said.records)));
        }
        Ok((said, batch.to_vec()))
    }
}
