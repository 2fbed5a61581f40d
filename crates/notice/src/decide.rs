//! What people and carriers may do to a notice: each answers events to be logged, or a typed refusal.

use crate::{
    address::Address,
    book::{Attempt, Book, Progress},
    code::{BadCode, ShortCode},
    event::{CallResult, Event, Found, Means, Outcome},
    next::{Manners, Step},
    notice::{AttemptKey, Notice, NoticeId, Recipient},
    template::{Frame, Kind, TemplateRef, Unfilled, Values},
};
use staffel_paper::Language;
use std::collections::{BTreeMap, BTreeSet};

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("nobody would get this notice: the audience is empty")]
    NoAudience,
    #[error("{tenant}/{site} is in the audience twice")]
    Twice { tenant: String, site: String },
    #[error(transparent)]
    Unfilled(#[from] Unfilled),
    #[error("there is no notice {notice}")]
    NoNotice { notice: NoticeId },
    #[error("notice {notice} has no recipient {recipient}")]
    NoRecipient { notice: NoticeId, recipient: u32 },
    #[error("a correction has to name the notice that it corrects")]
    CorrectsNothing,
    #[error("notice {notice} belongs to incident {incident}")]
    OtherIncident { notice: NoticeId, incident: u64 },
    #[error("notice {notice} was already replaced by notice {by}")]
    Replaced { notice: NoticeId, by: NoticeId },
    #[error("{attempt} is not what comes next")]
    NotNext { attempt: AttemptKey },
    #[error("{attempt} is not under way")]
    NotUnderWay { attempt: AttemptKey },
    #[error("{attempt} is not unknown")]
    NotUnknown { attempt: AttemptKey },
    #[error(transparent)]
    BadCode(#[from] BadCode),
    #[error("no notice has the code {code}")]
    NoSuchCode { code: ShortCode },
    #[error("this was already acknowledged, entered by {by}")]
    Acknowledged { by: String },
}

/// A notice as it is written.
#[derive(Clone, Debug)]
pub struct Draft {
    pub incident: u64,
    pub kind: Kind,
    pub values: Values,
    pub supersedes: Option<NoticeId>,
    /// Account name.
    pub by: String,
    /// Who it concerns at this moment; frozen from now on.
    pub audience: Vec<Person>,
}

/// Somebody who is to be told.
#[derive(Clone, Debug)]
pub struct Person {
    pub tenant: String,
    pub site: String,
    pub language: Language,
    pub critical: bool,
    /// In the order in which they are tried.
    pub addresses: Vec<Address>,
}

/// A notice to be logged, and the addresses apart from it: one list for each recipient, in the order of its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    pub event: Event,
    pub addresses: Vec<Vec<Address>>,
}

impl Book {
    /// Freezes the audience and checks that everybody gets whole sentences. `random` feeds the short codes.
    pub fn draw(
        &self,
        draft: Draft,
        frame: &Frame<'_>,
        now_ms: u64,
        mut random: impl FnMut() -> u64,
    ) -> Result<Drawn, Refusal> {
        if draft.audience.is_empty() {
            return Err(Refusal::NoAudience);
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = draft.audience.iter().find(|p| !seen.insert((&p.tenant, &p.site))) {
            return Err(Refusal::Twice { tenant: twice.tenant.clone(), site: twice.site.clone() });
        }
        match draft.supersedes {
            None if draft.kind == Kind::Correction => return Err(Refusal::CorrectsNothing),
            None => {}
            Some(old) => {
                let old = self.known(old)?;
                let notice = old.notice.id;
                if old.notice.incident != draft.incident {
                    return Err(Refusal::OtherIncident { notice, incident: old.notice.incident });
                }
                if let Some(by) = old.superseded_by {
                    return Err(Refusal::Replaced { notice, by });
                }
            }
        }
        let template = draft.kind.newest();
        let languages: BTreeSet<Language> = draft.audience.iter().map(|p| p.language).collect();
        let languages: Vec<Language> = languages.into_iter().collect();
        template.check(&draft.values, &languages, frame)?;
        Ok(self.freeze(draft, template, now_ms, &mut random))
    }

    fn freeze(&self, draft: Draft, template: TemplateRef, now_ms: u64, random: &mut impl FnMut() -> u64) -> Drawn {
        let mut taken = BTreeSet::new();
        let mut addresses = Vec::with_capacity(draft.audience.len());
        let mut audience = Vec::with_capacity(draft.audience.len());
        for person in draft.audience {
            let mut seed = random();
            let code = loop {
                let code = ShortCode::from_random(seed);
                if self.by_code(code).is_none() && taken.insert(code) {
                    break code;
                }
                // The next free one: this ends also if the random source is stuck.
                seed = seed.wrapping_add(1);
            };
            audience.push(Recipient {
                tenant: person.tenant,
                site: person.site,
                language: person.language,
                critical: person.critical,
                code,
                routes: person.addresses.iter().map(Address::channel).collect(),
            });
            addresses.push(person.addresses);
        }
        let notice = Notice {
            id: self.next_id(),
            incident: draft.incident,
            template,
            values: draft.values,
            supersedes: draft.supersedes,
            made_ms: now_ms,
            by: draft.by,
            audience,
        };
        Drawn { event: Event::Drawn { notice: Box::new(notice) }, addresses }
    }

    fn known(&self, notice: NoticeId) -> Result<&Progress, Refusal> {
        self.notice(notice).ok_or(Refusal::NoNotice { notice })
    }

    /// What all notices need now: at most `most` sends and look-ups, first those who are called first.
    pub fn due(&self, manners: &Manners, now_ms: u64, most: usize) -> Vec<(NoticeId, u32, Step)> {
        let mut due: BTreeMap<(bool, NoticeId, u32), Step> = BTreeMap::new();
        for progress in self.notices().filter(|progress| progress.superseded_by.is_none()) {
            for (recipient, one) in (0_u32..).zip(&progress.notice.audience) {
                let step = progress.next(recipient, manners, now_ms);
                if matches!(step, Step::Send { .. } | Step::LookUp { .. }) {
                    due.insert((!one.critical, progress.notice.id, recipient), step);
                }
            }
        }
        due.into_iter().take(most).map(|((_, notice, recipient), step)| (notice, recipient, step)).collect()
    }

    /// Begins the attempt that comes next. It is logged before anything is sent.
    pub fn start(&self, key: AttemptKey, manners: &Manners, now_ms: u64) -> Result<Event, Refusal> {
        let AttemptKey { notice, recipient, attempt } = key;
        match self.known(notice)?.next(recipient, manners, now_ms) {
            Step::Send { route, channel, attempt: next } if next == attempt => {
                Ok(Event::Started { notice, recipient, attempt, route, channel })
            }
            _ => Err(Refusal::NotNext { attempt: key }),
        }
    }

    /// Ends an attempt that is under way.
    pub fn end(&self, key: AttemptKey, outcome: Outcome) -> Result<Event, Refusal> {
        if self.attempted(key).is_none_or(|attempt| attempt.ended.is_some()) {
            return Err(Refusal::NotUnderWay { attempt: key });
        }
        let AttemptKey { notice, recipient, attempt } = key;
        Ok(Event::Ended { notice, recipient, attempt, outcome })
    }

    /// After a restart: how the attempts that were under way ended is not known.
    pub fn after_restart(&self) -> Vec<Event> {
        let why = || "the server ended before it was told how this ended".to_owned();
        let ended = |key: AttemptKey| Event::Ended {
            notice: key.notice,
            recipient: key.recipient,
            attempt: key.attempt,
            outcome: Outcome::Unknown { why: why() },
        };
        self.under_way().into_iter().map(ended).collect()
    }

    /// What a look-up of an unknown attempt found.
    pub fn looked_up(&self, key: AttemptKey, found: Found) -> Result<Event, Refusal> {
        let unknown = |attempt: &Attempt| {
            matches!(attempt.ended, Some((_, Outcome::Unknown { .. }))) && attempt.looked_up.is_none()
        };
        if !self.attempted(key).is_some_and(unknown) {
            return Err(Refusal::NotUnknown { attempt: key });
        }
        let AttemptKey { notice, recipient, attempt } = key;
        Ok(Event::LookedUp { notice, recipient, attempt, found })
    }

    fn attempted(&self, key: AttemptKey) -> Option<&Attempt> {
        let index = (key.attempt as usize).checked_sub(1)?;
        self.notice(key.notice)?.reaches.get(key.recipient as usize)?.attempts.get(index)
    }

    /// Whose notice this is; the code as somebody typed it.
    pub fn find(&self, typed: &str) -> Result<(NoticeId, u32), Refusal> {
        let code: ShortCode = typed.parse()?;
        let (progress, recipient) = self.by_code(code).ok_or(Refusal::NoSuchCode { code })?;
        Ok((progress.notice.id, recipient))
    }

    /// Somebody at the site knows.
    pub fn acknowledge(&self, notice: NoticeId, recipient: u32, means: Means, by: &str) -> Result<Event, Refusal> {
        let reach = self.known(notice)?.reaches.get(recipient as usize);
        let reach = reach.ok_or(Refusal::NoRecipient { notice, recipient })?;
        if let Some(said) = &reach.acknowledged {
            return Err(Refusal::Acknowledged { by: said.by.clone() });
        }
        Ok(Event::Acknowledged { notice, recipient, means, by: by.into() })
    }

    /// A call that reached nobody.
    pub fn called(&self, notice: NoticeId, recipient: u32, result: CallResult, by: &str) -> Result<Event, Refusal> {
        let known = self.known(notice)?.reaches.get(recipient as usize).is_some();
        if !known {
            return Err(Refusal::NoRecipient { notice, recipient });
        }
        Ok(Event::Called { notice, recipient, result, by: by.into() })
    }
}
