//! How a machine always comes back: which generation runs, what is on trial, when to fall back.
//!
//! [`step`] is a function of the state and one event; `guard-ctl` persists the returned state in one atomic write and
//! then carries out the effects. Because the state is written first, `kill -9` at any moment repeats a step's effects
//! at the worst, and every effect may be repeated. What must stay out: files, processes, clocks.
//!
//! The ladder: trial -> last-known-good -> an earlier generation -> safe mode. Safe mode runs no service, only the
//! agent, which there still takes signed remedies. A trial goes back at once; a committed generation is given the time
//! of its [`Patience`] first, and when it is left it is kept and marked, so that a remedy can return to it.

pub mod codec;
mod decide;
pub mod firmware;
mod patience;
pub mod traces;

pub use patience::Patience;

use crate::ids::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Starts of a trial before it is given up.
pub const TRIAL_TRIES: u32 = 3;
/// Power cycles (a new boot of the machine without a clean stop) before a committed generation is left. Far more than
/// crashes, because people do press the button: five quick power cycles must roll nothing back.
pub const POWER_TRIES: u32 = 12;
/// Committed generations that are kept to go back to, and as many that were left.
pub const KEPT: usize = 3;

/// A closed set of releases that run together; its id is the digest of the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub id: Digest,
    /// Release name to release digest.
    pub releases: BTreeMap<String, Digest>,
}

impl Generation {
    /// The generation of these releases.
    pub fn of(releases: BTreeMap<String, Digest>) -> Self {
        let mut text = String::from("staffel/generation/v1\n");
        for (name, digest) in &releases {
            text.push_str(&format!("{digest} {name}\n"));
        }
        Generation { id: Digest::of(text.as_bytes()), releases }
    }

    /// The first last-known-good of every device: nothing runs.
    pub fn empty() -> Self {
        Generation::of(BTreeMap::new())
    }
}

/// What the signed statements say about a change, beyond what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// It has to be healthy for this long, milliseconds: a trial lasts at least that.
    #[serde(default)]
    pub soak_ms: u64,
    /// Once it is committed, how long it may crash.
    #[serde(default)]
    pub patience: Patience,
    /// Order among the releases of its name.
    #[serde(default)]
    pub sequence: u64,
    /// Once it is committed, releases of its name with a lower sequence must never run again.
    #[serde(default)]
    pub security_floor: u64,
}

/// A committed generation that was left because it crashed again and again. It is not denied: what it crashed for may
/// have had nothing to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub generation: Generation,
    /// Rollout and release that had brought it.
    #[serde(default)]
    pub brought_by: Option<(u64, Digest)>,
    pub why: String,
}

/// A generation that has not proven itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub generation: Generation,
    pub rollout: u64,
    pub release: Digest,
    /// Starts left, the running one not counted.
    pub tries_left: u32,
    #[serde(flatten)]
    pub terms: Terms,
    /// It began in safe mode, for this reason; without success it ends there again.
    #[serde(default)]
    pub from_safe: Option<String>,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Mode {
    Normal,
    Safe { why: String },
}

/// How a change ended, kept until the agent has reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub rollout: u64,
    pub release: Digest,
    pub committed: bool,
    pub why: String,
}

/// Everything that survives `kill -9`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of this format.
    pub format: u32,
    pub last_known_good: Generation,
    /// Committed before last-known-good, newest first, at most [`KEPT`].
    pub earlier: Vec<Generation>,
    pub trial: Option<Trial>,
    pub mode: Mode,
    /// Releases that must not run, committed or not.
    pub denied: BTreeSet<Digest>,
    /// Releases that must not be armed. Where one is committed it stays: it has proven itself here, and whoever holds
    /// only the online key must not be able to take a fleet down by stopping what runs.
    #[serde(default)]
    pub blocked: BTreeSet<Digest>,
    /// Rollout and release that brought last-known-good.
    #[serde(default)]
    pub committed_by: Option<(u64, Digest)>,
    /// Committed generations that were left, newest first, at most [`KEPT`]. The next release of the same name, or a
    /// remedy, ends the mark.
    #[serde(default)]
    pub left: Vec<Left>,
    /// How long a committed generation may crash: as the change that was committed last says.
    #[serde(default)]
    pub patience: Patience,
    /// Release to its sequence, of every generation that is named here.
    #[serde(default)]
    pub sequences: BTreeMap<Digest, u64>,
    /// Release name to the highest security floor that was committed here: no way back leads below it. (A floor that
    /// was only seen bars new changes; a security fix that fails its trial must not cost a machine its services.)
    #[serde(default)]
    pub floors: BTreeMap<String, u64>,
    /// Times that the guard was killed since it was last stable.
    pub crashes: u32,
    /// Service to its crashes since the committed generation was last stable.
    #[serde(default)]
    pub service_crashes: BTreeMap<String, u32>,
    /// Power cycles since it was last stable.
    pub power_cycles: u32,
    /// Counts starts of the guard.
    pub starts: u64,
    /// Identity of the machine's boot, as the platform gives it.
    pub boot_id: String,
    /// The last run ended by a clean stop.
    pub clean: bool,
    pub outcome: Option<Outcome>,
}

impl State {
    /// A machine on which nothing was ever installed.
    pub fn new() -> Self {
        State {
            format: 1,
            last_known_good: Generation::empty(),
            earlier: Vec::new(),
            trial: None,
            mode: Mode::Normal,
            denied: BTreeSet::new(),
            blocked: BTreeSet::new(),
            committed_by: None,
            left: Vec::new(),
            patience: Patience::default(),
            sequences: BTreeMap::new(),
            floors: BTreeMap::new(),
            crashes: 0,
            service_crashes: BTreeMap::new(),
            power_cycles: 0,
            starts: 0,
            boot_id: String::new(),
            clean: true,
            outcome: None,
        }
    }

    /// The generation that should be running; none in safe mode.
    pub fn selected(&self) -> Option<&Generation> {
        match (&self.mode, &self.trial) {
            (Mode::Safe { .. }, _) => None,
            (Mode::Normal, Some(trial)) => Some(&trial.generation),
            (Mode::Normal, None) => Some(&self.last_known_good),
        }
    }

    /// True if nothing has crashed since it was last stable.
    pub fn is_settled(&self) -> bool {
        self.crashes == 0 && self.power_cycles == 0 && self.service_crashes.is_empty()
    }

    fn settle(&mut self) {
        (self.crashes, self.power_cycles) = (0, 0);
        self.service_crashes.clear();
    }

    fn is_denied(&self, generation: &Generation) -> bool {
        generation.releases.values().any(|release| self.denied.contains(release))
    }

    /// True if it holds a release whose sequence lies, or may lie, below a security floor.
    fn is_below_floor(&self, generation: &Generation) -> bool {
        let below = |(name, release): (&String, &Digest)| {
            let floor = self.floors.get(name).copied().unwrap_or(0);
            self.sequences.get(release).copied().unwrap_or(0) < floor
        };
        generation.releases.iter().any(below)
    }

    fn may_run(&self, generation: &Generation) -> bool {
        !self.is_denied(generation) && !self.is_below_floor(generation)
    }

    /// Forgets the sequences of releases that nothing names any more.
    fn tidy(&mut self) {
        let named = [&self.last_known_good].into_iter().chain(&self.earlier);
        let named = named.chain(self.left.iter().map(|left| &left.generation));
        let named = named.chain(self.trial.iter().map(|trial| &trial.generation));
        let named: BTreeSet<Digest> = named.flat_map(|generation| generation.releases.values().copied()).collect();
        self.sequences.retain(|release, _| named.contains(release));
    }
}

impl Default for State {
    fn default() -> Self {
        State::new()
    }
}

/// What can happen to a machine, as the guard sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The guard has started; `boot_id` changes when the machine itself was started again.
    Started { boot_id: String },
    /// All seven conditions hold: put this generation on trial.
    Arm {
        generation: Generation,
        rollout: u64,
        release: Digest,
        #[serde(default)]
        terms: Terms,
    },
    /// The trial has proven itself and the receipt was verified.
    Confirm { release: Digest },
    /// The trial has not proven itself: probes failed, no receipt came, or its time is over.
    Abort { why: String },
    /// A service ended although nobody stopped it; `how` in words.
    ServiceDied { service: String, how: String },
    /// The committed generation has run without a crash for long enough.
    Stable,
    /// A signed halt: this release must not be armed, and a trial of it ends.
    Deny {
        release: Digest,
        why: String,
        /// Where it is committed it is left as well. Takes an operator's signature.
        undo: bool,
    },
    /// Two releasers took a halt back: the release may be armed again. Nothing that was left comes back by itself.
    Undeny { release: Digest },
    /// The slot of this generation is incomplete or changed and can't be repaired, so it was not started.
    Damaged { generation: Digest, why: String },
    /// Remedy: go to this committed generation, earlier or left.
    GoTo { generation: Digest },
    /// Remedy: go to and stay in safe mode.
    StaySafe { why: String },
    /// Remedy: leave safe mode.
    LeaveSafe,
    /// The guard is being stopped in an orderly way.
    Stopping,
    /// The agent has delivered the outcome.
    OutcomeReported,
}

/// What the guard has to do after it has written the state. Each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Point the `current` link at the selected generation and run its services.
    Run(Generation),
    /// Start this service again after so many milliseconds.
    Restart { service: String, after_ms: u64 },
    /// Start no service for so many milliseconds.
    Wait { ms: u64 },
    /// Stop all services; the agent goes on.
    RunSafeMode,
    /// Delete generations that the state no longer names.
    Collect,
}

/// What one event leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub state: State,
    pub effects: Vec<Effect>,
    /// For people: why this was done, or why nothing was.
    pub why: String,
}

/// Decides what follows from one event.
pub fn step(state: &State, event: Event) -> Step {
    let mut next = state.clone();
    let (effects, why) = decide::decide(&mut next, event);
    next.tidy();
    Step { state: next, effects, why }
}

/// What must hold of every state, whatever happened (checked by the property tests and by the guard in debug builds).
pub fn invariant(state: &State) -> Result<(), String> {
    if let Some(selected) = state.selected()
        && state.is_denied(selected)
    {
        return Err(format!("a denied release is selected: {}", selected.id));
    }
    if let Some(selected) = state.selected()
        && state.is_below_floor(selected)
    {
        return Err(format!("a generation below a security floor is selected: {}", selected.id));
    }
    if state.left.iter().any(|left| left.generation == state.last_known_good) {
        return Err("last-known-good is marked as left".into());
    }
    if state.trial.as_ref().is_some_and(|trial| trial.generation == state.last_known_good) {
        return Err("the trial is last-known-good itself: there is nothing to go back to".into());
    }
    if state.earlier.len() > KEPT || state.left.len() > KEPT {
        return Err("more generations are kept than planned".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
