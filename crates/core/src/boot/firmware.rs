//! How a machine always comes up: which boot entry is on trial, which is known to be good, what a start means.
//!
//! Two pure functions around one state. [`begin`] is asked by `guard-init` in the initramfs, before anything of a third
//! party runs: may this start go on, or does the machine have to be started with another entry? [`step`] is asked in
//! user space by `guard-commit` and `guard-ctl`, which write the new state and then make the boot entries fit it; so
//! a power cut anywhere leads to the old state or the new one, and entries are put in order at the next chance.
//!
//! The ladder: trial -> last-known-good -> the earlier entry -> safe mode. What must stay out: names and texts of boot
//! entries, files, firmware variables. The state of services and content is in the module above; it has its own ladder.

mod begin;
mod decide;

pub use begin::{Begin, Counts, Found, Go, MAX_REDIRECTS, Target, begin};

use crate::ids::Digest;
use serde::{Deserialize, Serialize};

/// Version of the state's format.
pub const FORMAT: u32 = 1;
/// Starts of a trial, and crashes of a committed entry without a stable time between, before it is left.
pub const TRIES: u32 = 3;
/// Bytes of kernel options of one entry.
pub const MAX_OPTIONS: usize = 400;
/// Entries that must not be armed again, and endings that nobody has fetched yet.
pub const KEPT: usize = 6;
/// Characters of a reason that are kept: the state has to fit its place on disk whatever somebody writes.
const REASON: usize = 120;

/// What a boot entry starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Grows with each entry that is armed, never used twice.
    pub number: u64,
    /// SHA-256 of the kernel.
    pub kernel: Digest,
    /// SHA-256 of the initramfs.
    pub initrd: Digest,
    /// Kernel options, without those that the guard adds.
    pub options: String,
}

impl Entry {
    /// Identity of what it starts, whatever its number.
    pub fn id(&self) -> Digest {
        let text = format!("staffel/entry/v1\n{}\n{}\n{}\n", self.kernel, self.initrd, self.options);
        Digest::of(text.as_bytes())
    }
}

/// How an entry ended its trial, or why it was left later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub number: u64,
    pub id: Digest,
    pub committed: bool,
    pub why: String,
}

/// Everything that survives a power cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`FORMAT`].
    pub format: u32,
    /// Number of the next entry.
    pub next: u64,
    /// Last-known-good.
    pub good: Entry,
    /// Committed before it.
    pub earlier: Option<Entry>,
    /// Armed and not proven.
    pub trial: Option<Entry>,
    /// SHA-256 of the safe system; what must never change by accident.
    pub safe: Digest,
    /// Somebody asked for safe mode, for this reason.
    pub stay_safe: Option<String>,
    /// Identities that must not be armed, oldest first, at most [`KEPT`].
    pub quarantined: Vec<Digest>,
    /// Oldest first, at most [`KEPT`], until they are reported.
    pub endings: Vec<Ending>,
}

impl State {
    /// A machine whose running system is taken as good.
    pub fn new(kernel: Digest, initrd: Digest, options: String, safe: Digest) -> Self {
        State {
            format: FORMAT,
            next: 2,
            good: Entry { number: 1, kernel, initrd, options },
            earlier: None,
            trial: None,
            safe,
            stay_safe: None,
            quarantined: Vec::new(),
            endings: Vec::new(),
        }
    }

    /// Every entry that it names: last-known-good first, then earlier, then the trial.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        [&self.good].into_iter().chain(&self.earlier).chain(&self.trial)
    }
}

/// What the machine was started with, as the command line of the running kernel says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// An entry of ours; `trial` if it says that it is one.
    Entry { number: u64, trial: bool },
    /// The safe system.
    Safe,
    /// An entry that the guard did not write.
    Foreign,
}

/// What can happen in user space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A change is to be tried at the next start. Its files are on disk.
    Arm { kernel: Digest, initrd: Digest, options: String },
    /// User space was reached.
    Reached {
        running: Running,
        counts: Counts,
        /// Starts that the loader still has for the trial; none if it has no entry for it.
        loader_left: Option<u32>,
    },
    /// Every check passed. `counted`: the entry whose start the loader says it has counted.
    Healthy { running: Running, counted: Option<u64> },
    /// A check failed.
    Unhealthy { running: Running, why: String },
    /// It has run for long enough that crashes before it count no more.
    Stable { running: Running },
    /// A person or a remedy leaves the trial, or else last-known-good.
    RollBack { why: String },
    /// What has this identity must not be armed again, and is left where it is armed or committed.
    Quarantine { id: Digest, why: String },
    /// Start the safe system from now on.
    StaySafe { why: String },
    /// No longer.
    LeaveSafe,
    /// The endings have reached the server.
    Reported,
}

/// What follows once the state is written and the entries fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Forget the counts in the firmware variable.
    ForgetCounts,
    /// Start the machine again; the loader will take the right entry by itself.
    Restart,
}

/// What one event leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub state: State,
    pub effects: Vec<Effect>,
    /// Refused: nothing was changed, and `why` says what to do.
    pub refused: bool,
    /// For people.
    pub why: String,
}

/// Decides what follows from one event.
pub fn step(state: &State, event: Event) -> Step {
    let mut next = state.clone();
    let (refused, effects, why) = match decide::decide(&mut next, event) {
        Ok((effects, why)) => (false, effects, why),
        Err(why) => {
            next = state.clone();
            (true, Vec::new(), why)
        }
    };
    Step { state: next, effects, refused, why }
}

/// What must hold of every state, whatever happened.
pub fn invariant(state: &State) -> Result<(), String> {
    let numbers: Vec<u64> = state.entries().map(|entry| entry.number).collect();
    if numbers.iter().any(|number| *number >= state.next) {
        return Err("an entry has a number that was not given yet".into());
    }
    if (1..numbers.len()).any(|at| numbers[..at].contains(&numbers[at])) {
        return Err("two entries have one number".into());
    }
    if state.trial.as_ref().is_some_and(|trial| trial.id() == state.good.id()) {
        return Err("the trial is last-known-good itself: there is nothing to go back to".into());
    }
    if state.entries().any(|entry| state.quarantined.contains(&entry.id())) && state.stay_safe.is_none() {
        return Err("an entry is quarantined, and still started".into());
    }
    if state.quarantined.len() > KEPT || state.endings.len() > KEPT {
        return Err("more is kept than planned".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
