//! The device's state in words: for `device why`, for the server's page, for the log.

use super::{Change, Declined, Offer, Phase, Standing, State, Verdict, standing::may_ask_despite};
use crate::{boot::Outcome, conditions::Refusal};
use serde::{Deserialize, Serialize};

/// Begins the reason of a trial that was ended because no receipt came.
pub(super) const CUT_OFF: &str = "cut-off:";

/// What keeps one rollout from changing this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub rollout: u64,
    pub refusals: Vec<Refusal>,
    /// In words, where it is no refusal: what was tried and failed, or that there is nothing to do.
    pub problems: Vec<String>,
}

pub(super) fn joined(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| refusal.to_string()).collect::<Vec<_>>().join("; ")
}

fn seconds(ms: u64) -> String {
    format!("{} s", ms.div_ceil(1_000))
}

impl State {
    /// One sentence: what this device does, or what it waits for.
    pub fn why(&self) -> String {
        let left = |at: u64| seconds(at.saturating_sub(self.now_ms));
        match &self.phase {
            Phase::Idle => match self.offers.len() {
                0 => "nothing to do: no rollout is offered".into(),
                _ => format!("nothing to do: {}", self.idle_reasons()),
            },
            Phase::Waiting { rollout, refusals } => format!("rollout {rollout}: waits: {}", joined(refusals)),
            Phase::Fetching { change } => {
                format!("rollout {}: downloads release {}", change.rollout, change.release.short())
            }
            Phase::Preparing { change } => {
                format!(
                    "rollout {}: the guard verifies and prepares release {}",
                    change.rollout,
                    change.release.short()
                )
            }
            Phase::Ready { change, refusals, .. } if refusals.is_empty() => {
                format!("rollout {}: prepared, waits for a permit", change.rollout)
            }
            Phase::Ready { change, refusals, .. } => {
                format!("rollout {}: prepared, the last permit was not enough: {}", change.rollout, joined(refusals))
            }
            Phase::Arming { change, .. } => {
                format!("rollout {}: permitted, the guard puts it on trial", change.rollout)
            }
            Phase::OnTrial { change, passed: false, watch, .. } => {
                let failed = match watch.last_failure.as_str() {
                    "" => String::new(),
                    failure => format!(" (last: {failure})"),
                };
                format!("rollout {}: on trial, the probes have not passed yet{failed}", change.rollout)
            }
            Phase::OnTrial { change, .. } => {
                format!("rollout {}: on trial, the probes pass, waits for the server's receipt", change.rollout)
            }
            Phase::Soaking { change, until_ms, .. } => {
                format!("rollout {}: healthy, must stay so for another {}", change.rollout, left(*until_ms))
            }
            Phase::Ending { change, verdict: Verdict::Confirm, .. } => {
                format!("rollout {}: stayed healthy, the guard commits it", change.rollout)
            }
            Phase::Ending { change, verdict: Verdict::Abort { why }, .. } => {
                format!("rollout {}: goes back: {why}", change.rollout)
            }
            Phase::Reporting { outcome, lost_check_ins } => {
                let how = if outcome.committed { "committed" } else { "rolled back" };
                let outcome = as_reported(outcome, *lost_check_ins);
                format!("rollout {}: {how} ({}), the server has not noted it yet", outcome.rollout, outcome.why)
            }
            Phase::Blocked { rollout, problem, retry_at_ms, .. } => {
                format!("rollout {rollout}: {problem}; tries again in {}", left(*retry_at_ms))
            }
        }
    }

    /// What is said of each rollout on the board, in the order in which they are looked at.
    pub fn reasons(&self) -> Vec<Reason> {
        self.offers.iter().map(|offer| self.reason(offer)).collect()
    }

    fn reason(&self, offer: &Offer) -> Reason {
        let mut reason = Reason { rollout: offer.rollout, refusals: Vec::new(), problems: Vec::new() };
        if let Some(nothing) = self.nothing_to_do(offer) {
            reason.problems.push(nothing);
            return reason;
        }
        match &offer.standing {
            Standing::NotYet { refusal } | Standing::Dropped { refusal } => {
                reason.refusals.push(refusal.clone());
                return reason;
            }
            Standing::Candidate => {}
        }
        if self.fetched.contains(&offer.release) {
            reason.refusals = offer.refusals.clone();
        }
        match &self.phase {
            Phase::Ready { change, refusals, .. } if change.rollout == offer.rollout && !refusals.is_empty() => {
                reason.refusals = refusals.clone();
            }
            _ if self.is_control(offer) => {
                reason.refusals.retain(|refusal| !may_ask_despite(refusal));
                reason.refusals.push(Refusal::ControlArm);
            }
            _ => {}
        }
        if let Some(failure) = self.failures.get(&offer.rollout) {
            reason.problems.push(failure.problem.clone());
            // The offer's own word is the fresher one; ages and times in it differ from those at the failure.
            let kind = std::mem::discriminant::<Refusal>;
            let said = |old: &&Refusal| !reason.refusals.iter().any(|new| kind(new) == kind(old));
            let more: Vec<_> = failure.refusals.iter().filter(said).cloned().collect();
            reason.refusals.extend(more);
        }
        reason
    }

    /// Why an offer asks nothing of this device at all.
    pub(super) fn nothing_to_do(&self, offer: &Offer) -> Option<String> {
        if self.change().is_some_and(|change| change.rollout == offer.rollout) {
            return None;
        }
        if self.running.values().any(|release| *release == offer.release) {
            return Some("this release runs here already".into());
        }
        match self.remembered.ended.get(&offer.rollout) {
            Some(true) => return Some("this rollout was committed here".into()),
            Some(false) => return Some("this release was tried here and taken back; it is not tried again".into()),
            None => {}
        }
        let newer_runs = self.offers.iter().any(|other| {
            other.name == offer.name
                && other.rollout > offer.rollout
                && self.running.get(&other.name) == Some(&other.release)
        });
        let newer_committed = self.remembered.newest.get(&offer.name).is_some_and(|newest| *newest > offer.rollout);
        (newer_runs || newer_committed).then(|| "a later rollout of this product was committed here".into())
    }

    /// Why a permit is not used.
    pub(super) fn decline(&self, change: Change) -> Declined {
        let reason = self.offers.iter().find(|offer| offer.rollout == change.rollout).map(|offer| self.reason(offer));
        let Some(Reason { mut refusals, problems, .. }) = reason else {
            return Declined {
                change,
                refusals: Vec::new(),
                problems: vec!["the rollout is no longer offered".into()],
            };
        };
        // Of course there is none any more.
        refusals.retain(|refusal| *refusal != Refusal::PermitMissing);
        Declined { change, refusals, problems }
    }

    fn idle_reasons(&self) -> String {
        let say = |reason: Reason| match reason.problems.first() {
            Some(problem) => format!("rollout {}: {problem}", reason.rollout),
            None => format!("rollout {}: {}", reason.rollout, joined(&reason.refusals)),
        };
        self.reasons().into_iter().map(say).collect::<Vec<_>>().join("; ")
    }
}

/// True if a device reports that it went back because neither the release nor the version before it reached the server.
pub fn is_both_cut_off(reported: &Outcome) -> bool {
    !reported.committed && reported.why.strip_prefix("both-").is_some_and(|why| why.starts_with(CUT_OFF))
}

/// The outcome as it is sent: a change that cut the device off is told from a network that is gone altogether by
/// whether the device reaches the server again once the change is undone.
pub(super) fn as_reported(outcome: &Outcome, lost_check_ins: u32) -> Outcome {
    let mut outcome = outcome.clone();
    if outcome.why.starts_with(CUT_OFF) {
        let kind = if lost_check_ins == 0 { "trial" } else { "both" };
        outcome.why = format!("{kind}-{}", outcome.why);
    }
    outcome
}
