//! The projection: every notice with what came of it. It changes only by [`Book::apply`].

use crate::{
    code::ShortCode,
    event::{Acknowledged, CallResult, Event, Found, Outcome},
    notice::{AttemptKey, Notice, NoticeId},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// All notices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    notices: BTreeMap<NoticeId, Progress>,
    codes: BTreeMap<ShortCode, (NoticeId, u32)>,
}

/// A notice and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub notice: Notice,
    /// One for each recipient, in the audience's order.
    pub reaches: Vec<Reach>,
    pub superseded_by: Option<NoticeId>,
}

/// What was done to reach a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reach {
    pub attempts: Vec<Attempt>,
    /// When, how it ended, and who called: calls that reached nobody.
    pub calls: Vec<(u64, CallResult, String)>,
    pub acknowledged: Option<Acknowledged>,
}

/// One attempt; its number is its place, from 1 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    pub route: u32,
    pub channel: crate::address::Channel,
    pub started_ms: u64,
    /// None: it is under way, or the server ended before it was told.
    pub ended: Option<(u64, Outcome)>,
    pub looked_up: Option<(u64, Found)>,
}

impl Book {
    /// All notices, oldest first.
    pub fn notices(&self) -> impl Iterator<Item = &Progress> {
        self.notices.values()
    }

    pub fn notice(&self, id: NoticeId) -> Option<&Progress> {
        self.notices.get(&id)
    }

    /// The number that the next notice gets.
    pub fn next_id(&self) -> NoticeId {
        self.notices.keys().next_back().map_or(1, |last| last + 1)
    }

    /// Whose code this is.
    pub fn by_code(&self, code: ShortCode) -> Option<(&Progress, u32)> {
        let (notice, recipient) = self.codes.get(&code)?;
        Some((self.notices.get(notice)?, *recipient))
    }

    /// Attempts that were begun and never ended: after a restart nobody knows about them.
    pub fn under_way(&self) -> Vec<AttemptKey> {
        let mut keys = Vec::new();
        for progress in self.notices.values() {
            for (recipient, reach) in (0_u32..).zip(&progress.reaches) {
                for (attempt, _) in (1_u32..).zip(&reach.attempts).filter(|(_, attempt)| attempt.ended.is_none()) {
                    keys.push(AttemptKey { notice: progress.notice.id, recipient, attempt });
                }
            }
        }
        keys
    }

    fn reach(&mut self, notice: NoticeId, recipient: u32) -> Option<&mut Reach> {
        self.notices.get_mut(&notice)?.reaches.get_mut(recipient as usize)
    }

    /// Takes in what happened at that time (Unix milliseconds). An event that does not fit changes nothing.
    pub fn apply(&mut self, event: &Event, at_ms: u64) {
        match event {
            Event::Drawn { notice } => self.drawn(notice),
            Event::Started { notice, recipient, attempt, route, channel } => {
                if let Some(reach) = self.reach(*notice, *recipient)
                    && reach.attempts.len() + 1 == *attempt as usize
                {
                    let (route, channel) = (*route, *channel);
                    reach.attempts.push(Attempt { route, channel, started_ms: at_ms, ended: None, looked_up: None });
                }
            }
            Event::Ended { outcome, .. } => {
                if let Some(attempt) = self.attempt(event) {
                    attempt.ended.get_or_insert((at_ms, outcome.clone()));
                }
            }
            Event::LookedUp { found, .. } => {
                if let Some(attempt) = self.attempt(event) {
                    attempt.looked_up.get_or_insert((at_ms, *found));
                }
            }
            Event::Called { notice, recipient, result, by } => {
                if let Some(reach) = self.reach(*notice, *recipient) {
                    reach.calls.push((at_ms, *result, by.clone()));
                }
            }
            Event::Acknowledged { notice, recipient, means, by } => {
                if let Some(reach) = self.reach(*notice, *recipient) {
                    let said = Acknowledged { at_ms, means: *means, by: by.clone() };
                    reach.acknowledged.get_or_insert(said);
                }
            }
        }
    }

    fn attempt(&mut self, event: &Event) -> Option<&mut Attempt> {
        let key = event.attempt()?;
        let index = (key.attempt as usize).checked_sub(1)?;
        self.reach(key.notice, key.recipient)?.attempts.get_mut(index)
    }

    fn drawn(&mut self, notice: &Notice) {
        for (recipient, one) in (0_u32..).zip(&notice.audience) {
            self.codes.insert(one.code, (notice.id, recipient));
        }
        if let Some(old) = notice.supersedes.and_then(|old| self.notices.get_mut(&old)) {
            old.superseded_by = Some(notice.id);
        }
        let reaches = vec![Reach::default(); notice.audience.len()];
        self.notices.insert(notice.id, Progress { notice: notice.clone(), reaches, superseded_by: None });
    }
}
