//! What people say about a case: each word leads to events or to a typed refusal. Must stay out: who may say it.

use super::{Book, Case, CaseId, Channel, Contact, Debt, Doubt, Event, Refusal, State};

/// A person's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Own { owner: Option<String> },
    Note { text: String },
    Contact { channel: Channel, outcome: Contact, text: String },
    CallBack { at_ms: Option<u64>, text: String },
    State { state: State, why: String },
    OpenDebt { what: String },
    LiftDebt { what: String, why: String },
    Close,
    Reopen { why: String },
}

impl Book {
    /// Everything that keeps a case from being closed; empty: it may be.
    pub fn cannot_close(&self, case: &Case) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if case.state == State::Closed {
            return vec![Refusal::Closed { case: case.id }];
        }
        if case.state != State::Verified {
            let (passed, doubts) = self.progress(case);
            let mut doubts = doubts.to_vec();
            if !case.alive && doubts.is_empty() {
                doubts.push(Doubt::Silent);
            }
            refusals.push(Refusal::NotVerified { passed, needed: self.limits.probe.successes.max(1), doubts });
        }
        refusals.extend(case.debts().iter().map(|open| Refusal::DebtOpen { debt: open.debt.clone() }));
        refusals
    }

    /// Decides what a person's word leads to. More than one refusal: everything that has to be mended first.
    pub fn word(&self, id: CaseId, by: &str, word: Word, now_ms: u64) -> Result<Vec<Event>, Vec<Refusal>> {
        let case = self.case(id).ok_or_else(|| vec![Refusal::UnknownCase { case: id }])?;
        let by = by.to_string();
        let no = |refusal| Err(vec![refusal]);
        if case.state == State::Closed
            && !matches!(word, Word::Note { .. } | Word::Reopen { .. } | Word::OpenDebt { .. })
        {
            return no(Refusal::Closed { case: id });
        }
        match word {
            Word::Own { owner } => {
                let owner = owner.filter(|name| !name.trim().is_empty());
                Ok(vec![Event::Owned { case: id, owner, by }])
            }
            Word::Note { text } if text.trim().is_empty() => no(Refusal::NothingSaid),
            Word::Note { text } => Ok(vec![Event::Noted { case: id, by, text }]),
            Word::Contact { channel, outcome, text } => {
                Ok(vec![Event::Contacted { case: id, channel, outcome, by, text }])
            }
            Word::CallBack { at_ms: Some(at_ms), .. } if at_ms <= now_ms => no(Refusal::CallBackInThePast),
            Word::CallBack { at_ms, text } => Ok(vec![Event::CallBack { case: id, at_ms, by, text }]),
            Word::State { state: State::Verified, .. } => no(Refusal::OnlyAProbeVerifies),
            Word::State { state: State::Closed, .. } => no(Refusal::CloseItInstead),
            Word::State { why, .. } if why.trim().is_empty() => no(Refusal::NothingSaid),
            Word::State { .. } if case.state == State::Verified || (case.alive && case.owes_evidence()) => {
                no(Refusal::DeviceSaysMore { state: case.state })
            }
            Word::State { state, .. } if case.alive && !matches!(state, State::Working | State::Restricted) => {
                no(Refusal::DeviceSaysMore { state: case.state })
            }
            Word::State { state, why } => Ok(vec![Event::Said { case: id, state, by, why }]),
            Word::OpenDebt { what } if what.trim().is_empty() => no(Refusal::NothingSaid),
            Word::OpenDebt { what } => {
                let debt = Debt::Declared { what };
                if case.debts().iter().any(|open| open.debt == debt) {
                    return no(Refusal::SameDebt { case: id });
                }
                let mut events = Vec::new();
                if case.state == State::Closed {
                    events.push(Event::Reopened { case: id, why: debt.to_string() });
                }
                events.push(Event::DebtOpened { case: id, debt, by: Some(by) });
                Ok(events)
            }
            Word::LiftDebt { what, why } => {
                let debt = Debt::Declared { what: what.clone() };
                if case.debts().iter().any(|open| open.debt == debt) {
                    if why.trim().is_empty() {
                        return no(Refusal::NothingSaid);
                    }
                    return Ok(vec![Event::DebtLifted { case: id, debt, by: Some(by), why }]);
                }
                let own = case.debts().iter().any(|o| o.debt.is_evidence() && o.debt.to_string().contains(&what));
                no(if own { Refusal::LiftedByTheDeviceOnly } else { Refusal::NoSuchDebt { case: id } })
            }
            Word::Close => match self.cannot_close(case) {
                refusals if refusals.is_empty() => Ok(vec![Event::Closed { case: id, by: Some(by) }]),
                refusals => Err(refusals),
            },
            Word::Reopen { .. } if case.state != State::Closed => no(Refusal::NotClosed { case: id }),
            Word::Reopen { why } if why.trim().is_empty() => no(Refusal::NothingSaid),
            Word::Reopen { why } => Ok(vec![Event::Reopened { case: id, why }]),
        }
    }
}
