//! May this start go on? Asked by `guard-init`, which can write nothing but a firmware variable. What must stay out:
//! what happens once user space is reached.

use super::{FORMAT, Running, State, TRIES};
use crate::ids::Digest;
use serde::{Deserialize, Serialize};

/// Times in a row that a start may be sent elsewhere before it goes on after all: a loader that does not listen must
/// not keep a machine in a circle.
pub const MAX_REDIRECTS: u32 = 4;
/// Entries that are counted.
const COUNTED: usize = 4;

/// The second counter, in a firmware variable, for the case that the loader's does not move (a system partition that
/// can't be written, a clock that switches counting off), and for crashes of what the loader does not count at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// [`FORMAT`].
    pub format: u32,
    /// Number of an entry, and how often a trial was started or a committed entry crashed; oldest first.
    pub of: Vec<(u64, u32)>,
    /// The traces of a crash that were counted last, so that they count once however often they are found.
    pub traces: Option<Digest>,
    /// Starts in a row that were sent elsewhere.
    pub redirects: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Counts { format: FORMAT, of: Vec::new(), traces: None, redirects: 0 }
    }
}

impl Counts {
    /// The count of this entry.
    pub fn of(&self, number: u64) -> u32 {
        self.of.iter().find(|(of, _)| *of == number).map_or(0, |(_, count)| *count)
    }

    fn add(&mut self, number: u64) -> u32 {
        let count = self.of(number).saturating_add(1);
        self.of.retain(|(of, _)| *of != number);
        self.of.push((number, count));
        if self.of.len() > COUNTED {
            self.of.remove(0);
        }
        count
    }
}

/// What `guard-init` found.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    pub running: Running,
    /// None if no copy holds, or the system partition can't be read.
    pub state: Option<&'a State>,
    pub counts: &'a Counts,
    /// Identity of the traces that a crash of an earlier start left (a kernel's last words, a watchdog that bit). A
    /// power cut leaves none: people do press the button.
    pub traces: Option<Digest>,
    /// The highest entry that is there uncounted, for a machine whose state is lost.
    pub highest_uncounted: Option<u64>,
}

/// Another entry to start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Entry(u64),
    Safe,
}

/// Whether a start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    Continue,
    /// Tell the loader to take this one once, and start the machine again. If that can't be said, go on.
    Restart(Target),
}

/// What to do at a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    pub go: Go,
    /// To be written before anything else; none if nothing has changed, so that an ordinary start wears no flash.
    pub counts: Option<Counts>,
    /// For people.
    pub why: String,
}

/// Decides about a start.
pub fn begin(found: &Found<'_>) -> Begin {
    let mut counts = found.counts.clone();
    let (mut go, mut why) = decide(found, &mut counts);
    match go {
        Go::Continue => counts.redirects = 0,
        Go::Restart(_) if counts.redirects >= MAX_REDIRECTS => {
            why = format!("{why}; but the loader does not follow, so the start goes on");
            (go, counts.redirects) = (Go::Continue, 0);
        }
        Go::Restart(_) => counts.redirects += 1,
    }
    Begin { go, counts: (counts != *found.counts).then_some(counts), why }
}

fn decide(found: &Found<'_>, counts: &mut Counts) -> (Go, String) {
    let Running::Entry { number, trial } = found.running else {
        let what = if found.running == Running::Safe { "safe mode" } else { "this entry is not the guard's" };
        return (Go::Continue, what.into());
    };
    let Some(state) = found.state else { return without_state(number, trial, found.highest_uncounted) };
    if let Some(why) = &state.stay_safe {
        return (Go::Restart(Target::Safe), format!("safe mode was asked for: {why}"));
    }
    if state.trial.as_ref().is_some_and(|trial| trial.number == number) {
        // Its own crashes are behind each of its starts; they are counted already.
        counts.traces = found.traces.or(counts.traces);
        let started = counts.add(number);
        return match started {
            1..=TRIES => (Go::Continue, format!("trial start {started} of {TRIES}")),
            // The loader should have left it by now, and has not.
            n if n <= TRIES + 2 => (
                Go::Restart(Target::Entry(state.good.number)),
                format!("entry {number} was started {started} times on trial and the loader still takes it"),
            ),
            _ => (Go::Restart(Target::Safe), format!("entry {number} comes again and again: safe mode")),
        };
    }
    if number == state.good.number {
        return good(found, state, counts);
    }
    if state.earlier.as_ref().is_some_and(|earlier| earlier.number == number) {
        let crashed = counts.of(state.good.number) >= TRIES;
        let new_crash = crashed && is_new(found, counts) && counts.add(number) >= TRIES;
        return match new_crash {
            true => (Go::Restart(Target::Safe), format!("entry {number} crashed {TRIES} times, too: safe mode")),
            false => (Go::Continue, "the earlier entry".into()),
        };
    }
    // Rolled back, quarantined, or from a state that is gone.
    (Go::Restart(Target::Entry(state.good.number)), format!("entry {number} must not run any more"))
}

fn is_new(found: &Found<'_>, counts: &mut Counts) -> bool {
    let new = found.traces.is_some() && found.traces != counts.traces;
    counts.traces = found.traces.or(counts.traces);
    new
}

fn good(found: &Found<'_>, state: &State, counts: &mut Counts) -> (Go, String) {
    let number = state.good.number;
    let crashed = is_new(found, counts);
    if crashed && state.trial.as_ref().is_some_and(|trial| counts.of(trial.number) > 0) {
        return (Go::Continue, "last-known-good, after a crash on trial".into());
    }
    let crashes = match crashed {
        true => counts.add(number),
        false => counts.of(number),
    };
    match (&state.earlier, crashes) {
        (_, 0) => (Go::Continue, "last-known-good".into()),
        (_, n) if n < TRIES => (Go::Continue, format!("last-known-good, after crash {n} of {TRIES}")),
        (Some(earlier), n) => {
            (Go::Restart(Target::Entry(earlier.number)), format!("last-known-good crashed {n} times"))
        }
        (None, n) => (Go::Restart(Target::Safe), format!("last-known-good crashed {n} times, nothing is earlier")),
    }
}

/// Lost means last-known-good, never a trial.
fn without_state(number: u64, trial: bool, highest_uncounted: Option<u64>) -> (Go, String) {
    match (trial, highest_uncounted) {
        (false, _) => (Go::Continue, "the guard's state is lost; this entry was committed".into()),
        (true, Some(other)) if other != number => {
            (Go::Restart(Target::Entry(other)), "the guard's state is lost: no trial".into())
        }
        (true, _) => (Go::Restart(Target::Safe), "the guard's state is lost, and nothing is known to be good".into()),
    }
}
