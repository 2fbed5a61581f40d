//! What a running sensor says of itself every second: `alive.json` in its spool, for the agent, `doctor` and tests.

use crate::{collect::Source, protection::Metrics};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What came of one source so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub chunks: u64,
    pub records: u64,
    /// Messages and lines that did not parse.
    pub unreadable: u64,
    /// Messages that the kernel dropped.
    pub lost: u64,
    /// Times that it dropped some and did not say how many.
    pub overflows: u64,
    /// Programs that had ended before they could be looked at.
    pub gone: u64,
    /// Chunks and bytes that no collector could make records of.
    pub chunks_lost: u64,
    pub bytes_lost: u64,
    /// Of the collector.
    pub restarts: u64,
}

/// A sign of life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// Grows with every sign: one that does not change comes from nobody.
    pub beats: u64,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Name and version of the pack that runs.
    pub pack: Option<String>,
    /// Role, process and its memory in kibibytes.
    pub processes: Vec<(String, u32, u64)>,
    /// How starts of programs are seen.
    pub starts_by: Source,
    pub seen: BTreeMap<Source, Seen>,
    /// What can't be seen, and why.
    pub blind: BTreeMap<Source, String>,
    /// Folders.
    pub watched: Vec<String>,
    /// What is less than it could be.
    pub notes: Vec<String>,
    /// What this machine could not enforce around the processes.
    pub lacking: Vec<String>,
    pub metrics: Metrics,
    /// Findings that wait for the agent.
    pub waiting: u64,
    /// Findings that were dropped because nobody took them.
    pub lost: u64,
}

/// Memory that a process has now, in kibibytes (`/proc/PID/status`); 0 if it can't be read.
pub fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// Most memory that a process has had, in kibibytes; 0 if it can't be read.
pub fn most_memory(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
