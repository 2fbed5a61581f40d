//! What the agent does next about its own device: fetch, prepare, ask, arm, prove, report, or wait and say for what.
//!
//! [`step`] is a function of the state and one event; the agent carries out the effects and has no choice left. The
//! guard's own state is the truth about trials and outcomes, so [`Event::GuardStatus`] alone puts an agent that was killed
//! at any moment back to work. What must stay out: sockets, files, clocks (time arrives with [`Event::Tick`]), random
//! numbers (jitter arrives with it too). Next: `device/decide.rs` for the transitions, `device/standing.rs` for when it
//! is this device's turn, `device/words.rs` for what people read.

use crate::{boot::Outcome, conditions::Refusal, ids::Digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod decide;
mod standing;
mod words;

pub use standing::{Standing, standing};
pub use words::{Reason, is_both_cut_off};

/// First pause after a failure, milliseconds; doubled with each further one.
pub const RETRY_FIRST_MS: u64 = 5_000;
/// Longest pause after a failure, milliseconds.
pub const RETRY_MOST_MS: u64 = 15 * 60_000;
/// A change whose probes passed gets its receipt within this time or goes back, milliseconds.
pub const RECEIPT_WITHIN_MS: u64 = 10 * 60_000;
/// Soak time where the server names none, milliseconds.
pub const SOAK_DEFAULT_MS: u64 = 10 * 60_000;
/// Failed probes in a row, after the first that passed, that end a trial. Two, so that one lost packet is no verdict.
pub const PROBE_TRIES: u32 = 2;
/// A device that asks in vain lets another rollout of the same priority have its turn after this time, milliseconds.
pub const TURN_MS: u64 = 10 * 60_000;
/// A control asks again after this time even if the rollout did not move here, milliseconds.
pub const CONTROL_ASKS_AGAIN_MS: u64 = 10 * 60_000;

/// A guard's nonce holds for two minutes, and a permit must come and be used within them: one that is older than this
/// when the device is about to ask is replaced first, milliseconds.
pub const NONCE_FRESH_MS: u64 = 30_000;

/// One rollout on the board, after this device looked at its statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub rollout: u64,
    /// The product line.
    pub name: String,
    pub release: Digest,
    /// Lower goes first: emergency 0, then OS and guard, component, content.
    pub priority: u8,
    /// How long a change must stay healthy, milliseconds.
    pub soak_ms: u64,
    pub standing: Standing,
    /// Sequence of the frontier; 0 for none. It grows whenever a wave opens or ends.
    pub frontier: u64,
    /// What [`crate::conditions::check`] says without a permit. Looked at only once the release was fetched.
    pub refusals: Vec<Refusal>,
}

/// The change at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub rollout: u64,
    pub release: Digest,
}

/// Where this device stands. One change at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// No rollout wants anything of this device.
    Idle,
    /// A rollout goes on, and something keeps this device from taking part now.
    Waiting { rollout: u64, refusals: Vec<Refusal> },
    /// Statements and files are on their way to the spool.
    Fetching { change: Change },
    /// The guard verifies, builds the slot and runs its preflight.
    Preparing { change: Change },
    /// Asks for a permit with the guard's nonce, which came at `nonce_at_ms`; asks since `since_ms`. `refusals`: what was
    /// wrong with the last permit.
    Ready { change: Change, nonce: String, nonce_at_ms: u64, since_ms: u64, refusals: Vec<Refusal> },
    /// All seven conditions hold here; the guard checks them again.
    Arming { change: Change, nonce: String, nonce_at_ms: u64 },
    /// Runs on trial: the probes must pass and the server's receipt must come.
    OnTrial { change: Change, nonce: String, since_ms: u64, passed: bool, receipt: bool, watch: Watch },
    /// Probes passed and the receipt is here: must stay healthy until `until_ms`.
    Soaking { change: Change, nonce: String, until_ms: u64, watch: Watch },
    /// The verdict is given, the guard is to carry it out.
    Ending { change: Change, nonce: String, verdict: Verdict, retry_at_ms: u64 },
    /// It is over; the server must note how it ended.
    Reporting { outcome: Outcome, lost_check_ins: u32 },
    /// Something failed here; tried again at `retry_at_ms`.
    Blocked { rollout: u64, problem: String, refusals: Vec<Refusal>, retry_at_ms: u64 },
}

/// The probes of a change on trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// When to probe next.
    pub probe_at_ms: u64,
    /// Failures in a row.
    pub misses: u32,
    /// What failed last.
    pub last_failure: String,
}

/// How a trial ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    Confirm,
    Abort { why: String },
}

/// A failure that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Failures of this rollout since its last trial.
    pub count: u32,
    pub problem: String,
    pub refusals: Vec<Refusal>,
    pub retry_at_ms: u64,
}

/// What must survive a restart of the agent beside what the guard keeps. Losing it costs at most a question more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Rollouts that ended on this device: true if committed.
    #[serde(default)]
    pub ended: BTreeMap<u64, bool>,
    /// Release name to the highest rollout committed here.
    #[serde(default)]
    pub newest: BTreeMap<String, u64>,
    /// Rollouts whose server was asked for a permit that was neither used nor given back: there may be one under way.
    #[serde(default)]
    pub asked: BTreeMap<u64, Asked>,
}

/// A question for a permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub release: Digest,
    /// Permits that came and were not enough.
    pub refused: u32,
}

/// Everything the decision depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub phase: Phase,
    /// The device's running clock, milliseconds; never goes back.
    pub now_ms: u64,
    /// 0 to 999: spreads the pauses of many devices.
    pub jitter: u16,
    /// In the order in which they are looked at.
    pub offers: Vec<Offer>,
    /// Release name to what runs, from the guard.
    pub running: BTreeMap<String, Digest>,
    /// Releases whose statements and files are in the spool.
    pub fetched: BTreeSet<Digest>,
    pub failures: BTreeMap<u64, Failure>,
    /// Rollout to the frontier under which this device was told to be a control, and when that was.
    pub control: BTreeMap<u64, (u64, u64)>,
    /// Rollout that a permit is asked for, and since when; outlives the replacement of a nonce.
    pub asking: Option<(u64, u64)>,
    /// Rollout to when it last let another one go first.
    pub yielded: BTreeMap<u64, u64>,
    /// The guard has said, since it was last told to arm, that nothing is on trial.
    pub unarmed: bool,
    pub remembered: Remembered,
}

/// What the guard says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    pub running: BTreeMap<String, Digest>,
    pub trial: Option<Change>,
    pub outcome: Option<Outcome>,
    /// The nonce of the prepared change or of the trial.
    pub nonce: Option<String>,
}

/// What can happen, as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passes.
    Tick {
        now_ms: u64,
        /// How much of it since the last one the machine slept, milliseconds: neither a change on trial nor its server
        /// could do anything then.
        slept_ms: u64,
        jitter: u16,
    },
    /// The board or something that bears on it (policy, denylist, fetched statements) was looked at anew.
    Board {
        offers: Vec<Offer>,
    },
    Fetched {
        rollout: u64,
    },
    FetchFailed {
        rollout: u64,
        problem: String,
    },
    Prepared {
        rollout: u64,
        nonce: String,
    },
    /// The guard's own check of the conditions says no.
    GuardRefused {
        rollout: u64,
        refusals: Vec<Refusal>,
    },
    /// The guard could not do it or could not be reached.
    GuardFailed {
        rollout: u64,
        why: String,
    },
    /// A permit came, signed under this frontier; what this device's own check of all seven conditions says about it.
    Permit {
        rollout: u64,
        nonce: String,
        frontier: u64,
        refusals: Vec<Refusal>,
    },
    Armed {
        rollout: u64,
    },
    ProbesPassed {
        rollout: u64,
    },
    ProbesFailed {
        rollout: u64,
        why: String,
    },
    /// The server's receipt for the change on trial was verified.
    ReceiptHeld {
        rollout: u64,
    },
    /// A check-in is due: the last moment to replace a nonce that grew old.
    BeforeCheckIn,
    /// The server did not answer a check-in.
    CheckInFailed,
    /// The guard's state: seen at the start, after each command and now and then.
    GuardStatus(Guard),
    /// The server has noted that a permit is not used.
    DeclineNoted {
        rollout: u64,
    },
    /// The server has noted the outcome.
    OutcomeNoted {
        rollout: u64,
    },
}

/// What the agent has to do. Each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Get statements and files of the offer's release.
    Fetch { change: Change },
    /// Have the guard prepare it.
    Prepare { change: Change },
    /// Have the guard arm it with the permit at hand.
    Arm { change: Change },
    /// Run all probes of the change once.
    Probe { change: Change },
    /// Have the guard commit it, with the receipt at hand.
    Confirm { change: Change },
    /// Have the guard go back.
    Abort { change: Change, why: String },
    /// Check in now, with what [`State::ask`] says.
    CheckIn,
    /// Tell the guard that its outcome has arrived.
    OutcomeReported,
}

/// What one event leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub state: State,
    pub effects: Vec<Effect>,
    /// For people: what this device does or what it waits for.
    pub why: String,
}

/// What the next check-in asks or tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// With the nonce.
    pub ready: Option<(Change, String)>,
    /// With the nonce.
    pub on_trial: Option<(Change, String)>,
    pub outcome: Option<Outcome>,
    /// Permits that came, or may have come, and are not used.
    pub declined: Vec<Declined>,
}

/// A question for a permit that is taken back, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    pub change: Change,
    pub refusals: Vec<Refusal>,
    pub problems: Vec<String>,
}

/// Decides what follows from one event.
pub fn step(state: &State, event: Event) -> Step {
    let mut next = state.clone();
    let mut effects = Vec::new();
    decide::decide(&mut next, event, &mut effects);
    let why = next.why();
    Step { state: next, effects, why }
}

impl State {
    /// An agent that has just started and has asked nobody yet.
    pub fn new(remembered: Remembered) -> Self {
        State {
            phase: Phase::Idle,
            now_ms: 0,
            jitter: 0,
            offers: Vec::new(),
            running: BTreeMap::new(),
            fetched: BTreeSet::new(),
            failures: BTreeMap::new(),
            control: BTreeMap::new(),
            asking: None,
            yielded: BTreeMap::new(),
            unarmed: false,
            remembered,
        }
    }

    /// What the next check-in asks or tells.
    pub fn ask(&self) -> Ask {
        let declined = self.declined();
        match &self.phase {
            Phase::Ready { change, nonce, .. } => {
                Ask { ready: Some((change.clone(), nonce.clone())), declined, ..Ask::default() }
            }
            Phase::OnTrial { change, nonce, passed: true, receipt: false, .. } => {
                Ask { on_trial: Some((change.clone(), nonce.clone())), declined, ..Ask::default() }
            }
            Phase::Reporting { outcome, lost_check_ins } => {
                Ask { outcome: Some(words::as_reported(outcome, *lost_check_ins)), declined, ..Ask::default() }
            }
            _ => Ask { declined, ..Ask::default() },
        }
    }

    /// Questions that nothing comes of any more. Nothing is said before the guard has said that nothing is on trial.
    fn declined(&self) -> Vec<Declined> {
        let given_up = |rollout: &u64| self.unarmed && !self.is_at(*rollout);
        let asked = self.remembered.asked.iter().filter(|(rollout, _)| given_up(rollout));
        asked.map(|(rollout, asked)| self.decline(Change { rollout: *rollout, release: asked.release })).collect()
    }

    /// True while a question of this rollout still stands, or its answer is being acted on.
    fn is_at(&self, rollout: u64) -> bool {
        match &self.phase {
            Phase::Preparing { change }
            | Phase::Ready { change, .. }
            | Phase::Arming { change, .. }
            | Phase::OnTrial { change, .. }
            | Phase::Soaking { change, .. }
            | Phase::Ending { change, .. } => change.rollout == rollout,
            Phase::Reporting { outcome, .. } => outcome.rollout == rollout,
            Phase::Idle | Phase::Waiting { .. } | Phase::Fetching { .. } | Phase::Blocked { .. } => false,
        }
    }

    /// When a [`Event::Tick`] is needed at the latest, on the clock of [`State::now_ms`]; none if only others can move it.
    pub fn wake_at_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::OnTrial { watch, .. } => Some(watch.probe_at_ms),
            Phase::Soaking { watch, until_ms, .. } => Some(watch.probe_at_ms.min(*until_ms)),
            Phase::Ending { retry_at_ms, .. } => Some(*retry_at_ms),
            Phase::Idle | Phase::Waiting { .. } | Phase::Blocked { .. } => {
                self.failures.values().map(|failure| failure.retry_at_ms).filter(|at| *at > self.now_ms).min()
            }
            _ => None,
        }
    }

    /// The change at hand, if there is one.
    pub fn change(&self) -> Option<&Change> {
        match &self.phase {
            Phase::Fetching { change }
            | Phase::Preparing { change }
            | Phase::Ready { change, .. }
            | Phase::Arming { change, .. }
            | Phase::OnTrial { change, .. }
            | Phase::Soaking { change, .. }
            | Phase::Ending { change, .. } => Some(change),
            Phase::Idle | Phase::Waiting { .. } | Phase::Reporting { .. } | Phase::Blocked { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
