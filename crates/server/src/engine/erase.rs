//! Erasing what is personal: a notice's addresses, the free words of a case's note (those of events are in `detections`). Who did it and why is in the log before
//! anything is gone, so a crash in between is made up for at the next start. What must stay out: contacts that are replaced by
//! others (`recovery::sites`), and whether a wish to be forgotten is justified (a person says why).

use super::{Engine, EngineError, now_ms, operate::refused, record::Record};
use crate::api::{Caller, CaseView, Erase, EraseNote, NoticeSheet};
use staffel_core::recovery::{CaseId, Event};
use staffel_store::{Log as _, ReadLog as _, SqliteLog};

/// Characters of a reason.
const REASON: usize = 500;

impl Engine {
    /// Erases the addresses of a notice. What was not sent yet is not sent any more; people have to call, without a number from
    /// here.
    pub async fn erase_notice(&self, who: &Caller, id: u64, asked: Erase) -> Result<NoticeSheet, EngineError> {
        let why = reason(&asked.why)?;
        let (entry, pending) = {
            let mut state = self.state();
            if state.notices.book.notice(id).is_none() {
                return Err(EngineError::NotFound { what: format!("notice {id}") });
            }
            let kept = state.notices.addresses.get(&id);
            let entry = kept.map(|kept| kept.position).ok_or_else(|| EngineError::Conflict {
                why: format!("the addresses of notice {id} are erased already"),
                hint: "`staffel log ls` says who did it and why".into(),
            })?;
            let record =
                Record::Erased { entry, what: format!("the addresses of notice {id}"), why, by: who.name.clone() };
            (entry, self.commit(&mut state, &[record], now_ms())?)
        };
        self.durable(pending).await?;
        self.erase_entry(entry).await?;
        self.notice(id)
    }

    /// Erases the words of a case's note.
    pub async fn erase_note(&self, who: &Caller, id: CaseId, asked: EraseNote) -> Result<CaseView, EngineError> {
        let why = reason(&asked.why)?;
        let entry = asked.entry;
        super::recovery::visible(&self.state(), who, id)?;
        let (at_ms, by, text) = self.note_of(entry, id)?;
        let pending = {
            let mut state = self.state();
            let record = Record::Erased { entry, what: format!("a note of case {id}"), why, by: who.name.clone() };
            let pending = self.commit(&mut state, &[record], now_ms())?;
            state.recovery.book.forget_note(id, at_ms, &by, &text);
            pending
        };
        self.durable(pending).await?;
        self.erase_entry(entry).await?;
        self.case(who, id)
    }

    /// When, by whom and what, if this entry is a note of this case.
    fn note_of(&self, entry: u64, case: CaseId) -> Result<(u64, String, String), EngineError> {
        let none = || EngineError::NotFound { what: format!("entry {entry} as a note of case {case}") };
        let found = self.entry_at(entry)?.ok_or_else(none)?;
        match Record::of(&found) {
            Some(Record::Recovery { event: Event::Noted { case: of, by, text } }) if of == case => {
                Ok((found.at_ms, by, text))
            }
            _ => Err(none()),
        }
    }

    /// Only this one: what others want gone may not be durable in the log yet.
    pub(super) async fn erase_entry(&self, entry: u64) -> Result<(), EngineError> {
        let engine = self.clone();
        let done = tokio::task::spawn_blocking(move || erase_all(&engine.0.log, [entry])).await;
        let done = done.map_err(|e| EngineError::Internal { why: e.to_string() })?;
        done.map(drop).map_err(|why| EngineError::Internal { why })
    }
}

/// Erases what still has content; answers how many that were.
pub(super) fn erase_all(log: &SqliteLog, positions: impl IntoIterator<Item = u64>) -> Result<usize, String> {
    let mut erased = 0;
    for position in positions {
        let read = log.read(position, 1).map_err(|error| super::chain(&error))?;
        if read.first().is_some_and(|entry| entry.position == position && entry.content.is_some()) {
            log.erase(position).map_err(|error| super::chain(&error))?;
            erased += 1;
        }
    }
    Ok(erased)
}

pub(super) fn reason(why: &str) -> Result<String, EngineError> {
    let why: String = why.trim().chars().take(REASON).collect();
    if why.is_empty() {
        return Err(refused("nothing is erased without a reason", "say why; the log keeps it"));
    }
    Ok(why)
}
