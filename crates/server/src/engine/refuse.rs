//! Attempts of people that were refused, kept in the log. Bounded for each account, so that nobody can fill the disk by
//! knocking; how many were left out stands in the next record. What must stay out: deciding what is refused.

use super::{Engine, now_ms, record::Record};
use crate::limit::Limiter;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Records at once of one account after a quiet time, and then one in this time.
const AT_ONCE: u32 = 50;
const THEN_EACH: Duration = Duration::from_secs(20);
/// Accounts that are told apart.
const ACCOUNTS: usize = 10_000;

/// What bounds the records of refusals.
pub(super) struct Refusals {
    limit: Limiter<String>,
    left_out: AtomicU64,
}

impl Default for Refusals {
    fn default() -> Self {
        Refusals { limit: Limiter::one_each(THEN_EACH, AT_ONCE, ACCOUNTS), left_out: AtomicU64::new(0) }
    }
}

impl Engine {
    /// Records that somebody was refused something. `who` is an account that exists, or `None` (what was typed as a name may
    /// be a password). Never fails: the refusal itself does not depend on its record.
    pub async fn refused(&self, who: Option<&str>, what: &str, why: &str) {
        tracing::warn!(who = who.unwrap_or("nobody"), what, why, "refused");
        if self.0.refusals.limit.take(who.unwrap_or_default().to_owned()).is_err() {
            self.0.refusals.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let short = |text: &str| text.chars().take(200).collect::<String>();
        let record = Record::AccessRefused {
            who: who.map(short),
            what: short(what),
            why: short(why),
            left_out: self.0.refusals.left_out.swap(0, Ordering::Relaxed),
        };
        let pending = {
            let mut state = self.state();
            self.commit(&mut state, &[record], now_ms())
        };
        let done = match pending {
            Ok(pending) => self.durable(pending).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }
}
