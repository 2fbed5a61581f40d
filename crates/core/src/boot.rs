//! How a machine always comes back: which generation runs, what is on trial, when to fall back.
//!
//! [`step`] is a function of the state and one event; `guard-ctl` persists the returned state in one atomic write and
//! then carries out the effects. Because the state is written first, `kill -9` at any moment repeats a step's effects
//! at the worst, and every effect may be repeated. What must stay out: files, processes, clocks.
//!
//! The ladder: trial -> last-known-good -> an earlier generation -> safe mode. Safe mode runs no service, only the
//! agent, which there still takes signed remedies.

use crate::ids::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Starts of a trial before it is given up.
pub const TRIAL_TRIES: u32 = 3;
/// Crashes of a committed generation, without a stable hour between, before it is left.
pub const CRASH_TRIES: u32 = 3;
/// Power cycles (a new boot of the machine without a clean stop) before a committed generation is left. Far more than
/// crashes, because people do press the button: five quick power cycles must roll nothing back.
pub const POWER_TRIES: u32 = 12;
/// Committed generations that are kept to go back to.
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

/// A generation that has not proven itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub generation: Generation,
    pub rollout: u64,
    pub release: Digest,
    /// Starts left, the running one not counted.
    pub tries_left: u32,
    /// It has to be healthy for this long, milliseconds: a trial lasts at least that.
    #[serde(default)]
    pub soak_ms: u64,
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
    /// Crashes of the committed generation since it was last stable.
    pub crashes: u32,
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
            crashes: 0,
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

    fn is_denied(&self, generation: &Generation) -> bool {
        generation.releases.values().any(|release| self.denied.contains(release))
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
        /// Milliseconds.
        #[serde(default)]
        soak_ms: u64,
    },
    /// The trial has proven itself and the receipt was verified.
    Confirm { release: Digest },
    /// The trial has not proven itself: probes failed, no receipt came, or its time is over.
    Abort { why: String },
    /// A service ended although nobody stopped it.
    ServiceDied { service: String },
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
    /// Remedy: go to this committed generation.
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
    let (effects, why) = decide(&mut next, event);
    Step { state: next, effects, why }
}

fn decide(state: &mut State, event: Event) -> (Vec<Effect>, String) {
    match event {
        Event::Started { boot_id } => started(state, boot_id),
        Event::Arm { generation, rollout, release, soak_ms } => arm(state, generation, rollout, release, soak_ms),
        Event::Confirm { release } => confirm(state, release),
        Event::Abort { why } => match state.trial {
            Some(_) => roll_back(state, why),
            None => nothing("no trial is running"),
        },
        Event::ServiceDied { service } => service_died(state, &service),
        Event::Stable => {
            (state.crashes, state.power_cycles) = (0, 0);
            nothing("stable: crash counters cleared")
        }
        Event::Deny { release, why, undo } => deny(state, release, why, undo),
        Event::Undeny { release } => match state.denied.remove(&release) | state.blocked.remove(&release) {
            true => nothing("no longer denied"),
            false => nothing("it was not denied"),
        },
        Event::Damaged { generation, why } => damaged(state, generation, why),
        Event::GoTo { generation } => go_to(state, generation),
        Event::StaySafe { why } => {
            end_trial(state, &why);
            enter_safe_mode(state, why)
        }
        Event::LeaveSafe => leave_safe_mode(state),
        Event::Stopping => {
            state.clean = true;
            nothing("clean stop recorded")
        }
        Event::OutcomeReported => {
            state.outcome = None;
            nothing("outcome delivered")
        }
    }
}

fn nothing(why: &str) -> (Vec<Effect>, String) {
    (Vec::new(), why.into())
}

fn run(state: &State, why: String) -> (Vec<Effect>, String) {
    match state.selected() {
        Some(generation) => (vec![Effect::Run(generation.clone()), Effect::Collect], why),
        None => (vec![Effect::RunSafeMode], why),
    }
}

fn started(state: &mut State, boot_id: String) -> (Vec<Effect>, String) {
    state.starts += 1;
    let power_cycle = boot_id != state.boot_id;
    let was_clean = std::mem::replace(&mut state.clean, false);
    state.boot_id = boot_id;
    if let Mode::Safe { why } = &state.mode {
        let why = format!("still in safe mode: {why}");
        return run(state, why);
    }
    if let Some(trial) = &mut state.trial {
        // Counted and persisted before anything of the trial runs: whatever it does to the machine, the count stands.
        if trial.tries_left == 0 {
            return roll_back(state, format!("the machine went down {TRIAL_TRIES} times on trial"));
        }
        trial.tries_left -= 1;
        let why = format!("trial start, {} left", trial.tries_left);
        return run(state, why);
    }
    if was_clean {
        return run(state, "start after a clean stop".into());
    }
    if power_cycle {
        state.power_cycles += 1;
        if state.power_cycles >= POWER_TRIES {
            return leave_committed(
                state,
                format!("the machine was started {POWER_TRIES} times without becoming stable"),
            );
        }
        return run(state, "start after a power cycle".into());
    }
    state.crashes += 1;
    if state.crashes >= CRASH_TRIES {
        return leave_committed(state, format!("the guard was killed {CRASH_TRIES} times without becoming stable"));
    }
    run(state, "start after the guard was killed".into())
}

fn arm(
    state: &mut State,
    generation: Generation,
    rollout: u64,
    release: Digest,
    soak_ms: u64,
) -> (Vec<Effect>, String) {
    if state.trial.is_some() {
        return nothing("refused: another trial is running");
    }
    if state.blocked.contains(&release) || state.is_denied(&generation) {
        return nothing("refused: the generation holds a denied release");
    }
    if generation == state.last_known_good {
        state.outcome = Some(Outcome { rollout, release, committed: true, why: "already running".into() });
        return nothing("already the committed generation");
    }
    let from_safe = match std::mem::replace(&mut state.mode, Mode::Normal) {
        Mode::Safe { why } => Some(why),
        Mode::Normal => None,
    };
    state.outcome = None;
    state.trial = Some(Trial { generation, rollout, release, tries_left: TRIAL_TRIES - 1, soak_ms, from_safe });
    run(state, "armed: trial starts".into())
}

fn confirm(state: &mut State, release: Digest) -> (Vec<Effect>, String) {
    let Some(trial) = state.trial.take() else { return nothing("refused: no trial is running") };
    if trial.release != release {
        state.trial = Some(trial);
        return nothing("refused: the receipt is for another release");
    }
    let before = std::mem::replace(&mut state.last_known_good, trial.generation);
    state.earlier.retain(|g| *g != state.last_known_good && *g != before);
    state.earlier.insert(0, before);
    state.earlier.truncate(KEPT);
    (state.crashes, state.power_cycles) = (0, 0);
    state.committed_by = Some((trial.rollout, release));
    state.outcome = Some(Outcome {
        rollout: trial.rollout,
        release,
        committed: true,
        why: "healthy for the whole soak time".into(),
    });
    (vec![Effect::Collect], "committed".into())
}

fn end_trial(state: &mut State, why: &str) {
    if let Some(trial) = state.trial.take() {
        state.outcome =
            Some(Outcome { rollout: trial.rollout, release: trial.release, committed: false, why: why.into() });
    }
}

fn roll_back(state: &mut State, why: String) -> (Vec<Effect>, String) {
    let from_safe = state.trial.as_ref().and_then(|trial| trial.from_safe.clone());
    end_trial(state, &why);
    if let Some(before) = from_safe {
        return enter_safe_mode(state, before);
    }
    if state.is_denied(&state.last_known_good) {
        return leave_committed(state, why);
    }
    run(state, format!("back to last-known-good: {why}"))
}

/// Goes one rung down from a committed generation that does not hold.
fn leave_committed(state: &mut State, why: String) -> (Vec<Effect>, String) {
    // What was committed and is left was not as good as it looked: its rollout has to hear of it.
    let told = state.outcome.as_ref().is_some_and(|outcome| !outcome.committed);
    if let Some((rollout, release)) = state.committed_by.take()
        && !told
    {
        state.outcome = Some(Outcome { rollout, release, committed: false, why: why.clone() });
    }
    (state.crashes, state.power_cycles) = (0, 0);
    while !state.earlier.is_empty() {
        let earlier = state.earlier.remove(0);
        // The empty generation protects nothing; safe mode says so, an empty machine would look healthy.
        if state.is_denied(&earlier) || earlier.releases.is_empty() {
            continue;
        }
        state.last_known_good = earlier;
        return run(state, format!("back to an earlier generation: {why}"));
    }
    enter_safe_mode(state, why)
}

fn enter_safe_mode(state: &mut State, why: String) -> (Vec<Effect>, String) {
    state.mode = Mode::Safe { why: why.clone() };
    (vec![Effect::RunSafeMode], format!("safe mode: {why}"))
}

fn leave_safe_mode(state: &mut State) -> (Vec<Effect>, String) {
    if state.mode == Mode::Normal {
        return nothing("not in safe mode");
    }
    if state.is_denied(&state.last_known_good) {
        return nothing("refused: last-known-good holds a denied release; send a remedy that names a generation");
    }
    state.mode = Mode::Normal;
    (state.crashes, state.power_cycles) = (0, 0);
    run(state, "left safe mode".into())
}

fn service_died(state: &mut State, service: &str) -> (Vec<Effect>, String) {
    if state.trial.is_some() {
        return roll_back(state, format!("service {service} ended on trial"));
    }
    state.crashes += 1;
    if state.crashes >= CRASH_TRIES {
        return leave_committed(
            state,
            format!("service {service} crashed {CRASH_TRIES} times without becoming stable"),
        );
    }
    run(state, format!("service {service} crashed, started again"))
}

fn deny(state: &mut State, release: Digest, why: String, undo: bool) -> (Vec<Effect>, String) {
    let blocked = state.blocked.insert(release);
    let denied = undo && state.denied.insert(release);
    if !blocked && !denied {
        return nothing("already denied");
    }
    let on_trial = |trial: &Trial| trial.release == release || (undo && state.is_denied(&trial.generation));
    if state.trial.as_ref().is_some_and(on_trial) {
        return roll_back(state, format!("halted: {why}"));
    }
    // A trial of another release goes on: if it fails, the way back skips what is denied.
    if undo && state.trial.is_none() && state.is_denied(&state.last_known_good) {
        return leave_committed(state, format!("halted: {why}"));
    }
    nothing("denied; not running here")
}

fn damaged(state: &mut State, id: Digest, why: String) -> (Vec<Effect>, String) {
    if state.selected().is_none_or(|selected| selected.id != id) {
        return nothing("the damaged generation is not selected");
    }
    let why = format!("the slot is damaged: {why}");
    match state.trial {
        Some(_) => roll_back(state, why),
        None => leave_committed(state, why),
    }
}

fn go_to(state: &mut State, id: Digest) -> (Vec<Effect>, String) {
    let Some(at) = state.earlier.iter().position(|g| g.id == id) else {
        if state.last_known_good.id == id && !state.is_denied(&state.last_known_good) {
            end_trial(state, "a remedy chose last-known-good");
            state.mode = Mode::Normal;
            return run(state, "remedy: last-known-good".into());
        }
        return nothing("refused: that generation is not kept on this device");
    };
    if state.is_denied(&state.earlier[at]) {
        return nothing("refused: that generation holds a denied release");
    }
    end_trial(state, "a remedy chose an earlier generation");
    let chosen = state.earlier.remove(at);
    let before = std::mem::replace(&mut state.last_known_good, chosen);
    state.earlier.insert(0, before);
    state.mode = Mode::Normal;
    run(state, "remedy: earlier generation".into())
}

/// What must hold of every state, whatever happened (checked by the property tests and by the guard in debug builds).
pub fn invariant(state: &State) -> Result<(), String> {
    if let Some(selected) = state.selected()
        && state.is_denied(selected)
    {
        return Err(format!("a denied release is selected: {}", selected.id));
    }
    if state.trial.as_ref().is_some_and(|trial| trial.generation == state.last_known_good) {
        return Err("the trial is last-known-good itself: there is nothing to go back to".into());
    }
    if state.earlier.len() > KEPT {
        return Err("more generations are kept than planned".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
