//! What is to be done next about a case, and until when: a function of the case and the time, so that an open case always has
//! an answer. Must stay out: doing it.

use super::{Book, Case, State};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It may come back by itself.
    WaitForReturn,
    CallSite,
    /// The site asked for it.
    CallBack,
    Instruct,
    /// The customer says that it works: ask why the device does not speak.
    AskForCheckIn,
    /// Runs by itself with each check-in.
    Probe,
    SwitchProtectionOn,
    /// By another channel, or go there.
    TryAnotherWay,
    /// Closes by itself at this time, or by hand before.
    Close,
    /// It is closed.
    Nothing,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::WaitForReturn => "it may come back by itself",
            Action::CallSite => "call the site",
            Action::CallBack => "call back, as the site asked",
            Action::Instruct => "tell the site what to do",
            Action::AskForCheckIn => "the customer says it works: ask why the device does not speak",
            Action::Probe => "the probe runs with each check-in",
            Action::SwitchProtectionOn => "switch protection on again",
            Action::TryAnotherWay => "try another way to reach the site, or go there",
            Action::Close => "closes by itself",
            Action::Nothing => "nothing: it is closed",
        })
    }
}

/// The next action with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub action: Action,
    /// Unix milliseconds.
    pub due_ms: u64,
}

impl Book {
    /// What is to be done next.
    pub fn next(&self, case: &Case, now_ms: u64) -> Next {
        let limits = &self.limits;
        let next = |action, due_ms| Next { action, due_ms };
        let contacted = case.last_contact().map_or(case.since_ms, |last| last.at_ms.max(case.since_ms));
        let again = contacted.saturating_add(limits.contact_again_ms);
        let soon = case.since_ms.saturating_add(limits.grace_ms);
        if case.state == State::Closed {
            return next(Action::Nothing, case.since_ms);
        }
        if let Some(at_ms) = case.call_back_ms() {
            return next(Action::CallBack, at_ms);
        }
        match case.state {
            State::Suspected if now_ms < soon => next(Action::WaitForReturn, soon),
            State::Suspected => next(Action::CallSite, soon),
            State::Notified => next(Action::CallSite, again),
            State::Reached => next(Action::Instruct, soon),
            State::Instructed => next(Action::CallSite, again),
            State::Working if case.alive => next(Action::Probe, case.since_ms.saturating_add(limits.probe.window_ms)),
            State::Working => next(Action::AskForCheckIn, again),
            State::Restricted => next(Action::SwitchProtectionOn, soon),
            State::Unreachable => next(Action::TryAnotherWay, again),
            State::Verified if !case.debts().is_empty() => next(Action::SwitchProtectionOn, soon),
            State::Verified | State::Closed => next(Action::Close, case.since_ms.saturating_add(limits.close_after_ms)),
        }
    }

    /// True if people at the site have to be reached: it is not back, and waiting alone will not do.
    pub fn needs_people(&self, case: &Case, now_ms: u64) -> bool {
        match case.state {
            State::Closed | State::Verified => false,
            // It speaks: give the probe its time.
            State::Working if case.alive => now_ms >= case.since_ms.saturating_add(self.limits.probe.window_ms),
            State::Suspected | State::Restricted => now_ms >= case.since_ms.saturating_add(self.limits.grace_ms),
            _ => true,
        }
    }
}
