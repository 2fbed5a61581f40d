//! What comes next for a recipient: a pure function of what was done and the time. Waiting says what it waits for.

use crate::{
    address::Channel,
    book::{Progress, Reach},
    event::{Found, Outcome},
};
use serde::Serialize;

/// How patient a notice is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Attempts on one route that may be tried later, before the next route is taken.
    pub tries: u32,
    /// Wait before the second attempt, milliseconds; doubled each time.
    pub first_backoff_ms: u64,
    pub longest_backoff_ms: u64,
    /// How long an answer to an e-mail is waited for, milliseconds, before the next route is taken.
    pub email_ms: u64,
    pub sms_ms: u64,
    pub fax_ms: u64,
    pub letter_ms: u64,
}

const MINUTE: u64 = 60_000;

impl Default for Manners {
    fn default() -> Self {
        Manners {
            tries: 5,
            first_backoff_ms: MINUTE,
            longest_backoff_ms: 60 * MINUTE,
            email_ms: 30 * MINUTE,
            sms_ms: 15 * MINUTE,
            fax_ms: 60 * MINUTE,
            letter_ms: 3 * 24 * 60 * MINUTE,
        }
    }
}

impl Manners {
    fn patience(&self, channel: Channel) -> u64 {
        match channel {
            Channel::Email => self.email_ms,
            Channel::Sms => self.sms_ms,
            Channel::Fax => self.fax_ms,
            Channel::Letter => self.letter_ms,
            Channel::Phone => 0,
        }
    }

    fn backoff(&self, failures: u32) -> u64 {
        let doubled = self.first_backoff_ms.saturating_mul(1_u64 << failures.saturating_sub(1).min(32));
        doubled.min(self.longest_backoff_ms)
    }
}

/// What to do for a recipient now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Send over this route as this attempt.
    Send {
        route: u32,
        channel: Channel,
        attempt: u32,
    },
    /// Find out whether this attempt was sent.
    LookUp {
        attempt: u32,
        channel: Channel,
    },
    Wait {
        until_ms: Option<u64>,
        why: Waiting,
    },
    /// Nothing that sends itself is left.
    Call,
    Nothing {
        why: Done,
    },
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "waiting", rename_all = "kebab-case")]
pub enum Waiting {
    /// An attempt is under way.
    Attempt { channel: Channel },
    /// An answer to what was sent.
    Answer { channel: Channel },
    /// The route does not work at the moment.
    Route { channel: Channel, why: String },
}

/// Why there is nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "done", rename_all = "kebab-case")]
pub enum Done {
    Acknowledged,
    /// A later notice says it better.
    Superseded {
        by: u64,
    },
    NoRecipient,
}

impl Progress {
    /// What to do for this recipient at that time, Unix milliseconds.
    pub fn next(&self, recipient: u32, manners: &Manners, now_ms: u64) -> Step {
        let index = recipient as usize;
        let (Some(one), Some(reach)) = (self.notice.audience.get(index), self.reaches.get(index)) else {
            return Step::Nothing { why: Done::NoRecipient };
        };
        if reach.acknowledged.is_some() {
            return Step::Nothing { why: Done::Acknowledged };
        }
        if let Some(by) = self.superseded_by {
            return Step::Nothing { why: Done::Superseded { by } };
        }
        let number = reach.attempts.len() as u32 + 1;
        let from = |route: u32| match one.routes.get(route as usize) {
            None | Some(Channel::Phone) => Step::Call,
            Some(channel) => Step::Send { route, channel: *channel, attempt: number },
        };
        let Some(last) = reach.attempts.last() else { return from(0) };
        let channel = last.channel;
        let wait_or = |until_ms: u64, why: Waiting, then: Step| {
            if now_ms < until_ms { Step::Wait { until_ms: Some(until_ms), why } } else { then }
        };
        let answer = |since_ms: u64| {
            let until_ms = since_ms.saturating_add(manners.patience(channel));
            wait_or(until_ms, Waiting::Answer { channel }, from(last.route + 1))
        };
        match (&last.ended, &last.looked_up) {
            (None, _) => Step::Wait { until_ms: None, why: Waiting::Attempt { channel } },
            (Some((at_ms, Outcome::HandedOver { .. })), _) => answer(*at_ms),
            (Some((_, Outcome::Failed { .. })), _) => from(last.route + 1),
            (Some((at_ms, Outcome::TryLater { why })), _) => {
                let failures = in_a_row(reach, last.route);
                if failures >= manners.tries {
                    return from(last.route + 1);
                }
                let until_ms = at_ms.saturating_add(manners.backoff(failures));
                wait_or(until_ms, Waiting::Route { channel, why: why.clone() }, from(last.route))
            }
            (Some((_, Outcome::Unknown { .. })), None) => Step::LookUp { attempt: number - 1, channel },
            // Surely not sent, so sending it is no repetition.
            (Some((_, Outcome::Unknown { .. })), Some((_, Found::NotThere))) => {
                if in_a_row(reach, last.route) >= manners.tries { from(last.route + 1) } else { from(last.route) }
            }
            // It may have arrived, so it counts as sent; if nobody answers, another route is tried, never this one.
            (Some((at_ms, Outcome::Unknown { .. })), Some((_, Found::There | Found::CannotTell))) => answer(*at_ms),
        }
    }
}

/// Attempts on this route that were surely not sent.
fn in_a_row(reach: &Reach, route: u32) -> u32 {
    let tries = reach.attempts.iter().rev().take_while(|attempt| attempt.route == route);
    tries.count().try_into().unwrap_or(u32::MAX)
}
