//! The bookkeeping: what an event changes. Runs when an event happens and again when the log is replayed, so it decides nothing.

use super::{
    Book, Case, CaseId, Channel, Concern, Contact, Debt, Event, Incident, IncidentId, LastContact, OpenDebt, Proof,
    State,
};
use crate::fleet::DeviceIndex;
use std::collections::BTreeMap;

impl Book {
    /// Takes an event that is durable. `at_ms` is the time that stands in the log. An event about what this book does not
    /// have changes nothing.
    pub fn apply(&mut self, event: &Event, at_ms: u64) {
        match event {
            Event::IncidentOpened { incident, class, origin, aware, why } => {
                if let Some(site) = origin.site() {
                    self.of_site.insert(site, *incident);
                }
                self.incidents.entry(*incident).or_insert_with(|| Incident {
                    id: *incident,
                    class: *class,
                    origin: origin.clone(),
                    aware: aware.clone(),
                    why: why.clone(),
                    opened_ms: at_ms,
                    ended_ms: None,
                    cases: Vec::new(),
                    counts: BTreeMap::new(),
                    points: Vec::new(),
                });
            }
            Event::CasesOpened { incident, first, devices, ran, why } => {
                self.cases_opened(*incident, *first, devices, ran, why, at_ms);
            }
            Event::Owned { case, owner, by } => self.change(*case, |case| {
                let text = match owner {
                    Some(owner) => format!("{owner} sees to it"),
                    None => "nobody sees to it any more".into(),
                };
                case.sheet().owner = owner.clone();
                case.note(at_ms, Some(by), text);
            }),
            Event::Said { case, state, by, why } => {
                self.change(*case, |case| {
                    case.note(at_ms, Some(by), format!("{}: {why}", state.word()));
                    if *state != State::Unreachable {
                        case.sheet().attempts = 0;
                    }
                });
                // The log never says more than a person may; a hostile one must not either.
                if !state.is_back() {
                    self.set_state(*case, *state, at_ms);
                }
            }
            Event::Contacted { case, channel, outcome, by, text } => {
                self.contacted(*case, *channel, *outcome, by, text, at_ms);
            }
            Event::CallBack { case, at_ms: call_at, by, text } => self.change(*case, |case| {
                case.sheet().call_back_ms = *call_at;
                let what = if call_at.is_some() { "asked to be called back" } else { "no call back any more" };
                case.note(at_ms, Some(by), joined(what, text));
            }),
            Event::Noted { case, by, text } => self.change(*case, |case| case.note(at_ms, Some(by), text.clone())),
            Event::Heard { case } => {
                self.change(*case, |case| {
                    case.alive = true;
                    case.note(at_ms, None, "the device speaks".into());
                });
                self.by_debts(*case, at_ms);
                self.look_at(*case, at_ms.saturating_add(self.limits.case_silent_ms));
            }
            Event::FellSilent { case, .. } => {
                self.proofs.remove(case);
                self.change(*case, |case| {
                    case.alive = false;
                    (case.sheet().verified_ms, case.sheet().proof) = (None, None);
                    case.note(at_ms, None, "the device fell silent again".into());
                });
                self.set_state(*case, State::Suspected, at_ms);
            }
            Event::DebtOpened { case, debt, by } => self.debt_opened(*case, debt, by.as_deref(), at_ms),
            Event::DebtLifted { case, debt, by, why } => {
                self.change(*case, |case| {
                    case.sheet().debts.retain(|open| open.debt != *debt);
                    case.note(at_ms, by.as_deref(), format!("protection is on again ({debt}): {why}"));
                });
                if self.cases.get(case).is_some_and(|case| case.state == State::Restricted) {
                    self.by_debts(*case, at_ms);
                }
                self.look_at(*case, at_ms);
            }
            Event::Verified { case, proof } => self.verified(*case, proof, at_ms),
            Event::Doubted { case, doubts } => {
                self.change(*case, |case| {
                    (case.sheet().verified_ms, case.sheet().proof) = (None, None);
                    let words: Vec<_> = doubts.iter().map(ToString::to_string).collect();
                    case.note(at_ms, None, format!("not proven any more: {}", words.join("; ")));
                });
                if self.cases.get(case).is_some_and(|case| case.state == State::Verified) {
                    let protected = self.cases.get(case).is_none_or(|case| case.debts().is_empty());
                    self.set_state(*case, if protected { State::Working } else { State::Restricted }, at_ms);
                }
                self.look_at(*case, at_ms.saturating_add(self.limits.case_silent_ms));
            }
            Event::Reopened { case, why } => self.reopened(*case, why, at_ms),
            Event::Closed { case, by } => self.closed(*case, by.as_deref(), at_ms),
        }
    }

    /// Takes a note's words out of memory; whoever erases them from the log calls it.
    pub fn forget_note(&mut self, id: CaseId, at_ms: u64, by: &str, text: &str) {
        self.change(id, |case| case.forget_note(at_ms, by, text));
    }

    fn change(&mut self, id: CaseId, edit: impl FnOnce(&mut Case)) {
        if let Some(case) = self.cases.get_mut(&id) {
            edit(case);
        }
    }

    fn cases_opened(
        &mut self,
        incident: IncidentId,
        first: CaseId,
        devices: &[DeviceIndex],
        ran: &[String],
        why: &Concern,
        at_ms: u64,
    ) {
        let Some(row) = self.incidents.get_mut(&incident) else { return };
        let ran = match self.baselines.iter().position(|known| known == ran) {
            Some(at) => at,
            None => {
                self.baselines.push(ran.to_vec());
                self.baselines.len() - 1
            }
        } as u32;
        for (id, device) in (first..).zip(devices) {
            if self.cases.contains_key(&id) {
                continue;
            }
            let case = Case::new(id, incident, *device, ran, why.clone(), at_ms);
            *row.counts.entry(State::Suspected).or_insert(0) += 1;
            row.cases.push(id);
            self.cases.insert(id, case);
            self.of_device.insert((*device, id));
        }
        row.ended_ms = None;
        row.mark(at_ms);
        if let super::Origin::HaltedRollout { rollout } = row.origin {
            self.halts_seen.insert(rollout);
        }
    }

    fn contacted(&mut self, id: CaseId, channel: Channel, outcome: Contact, by: &str, text: &str, at_ms: u64) {
        let unreachable_after = self.limits.unreachable_after.max(1);
        let Some(case) = self.cases.get_mut(&id) else { return };
        let sheet = case.sheet();
        sheet.last_contact = Some(LastContact { at_ms, channel, outcome, by: by.into() });
        sheet.attempts = match outcome {
            Contact::Sent => sheet.attempts,
            Contact::NoAnswer | Contact::WrongAddress => sheet.attempts.saturating_add(1),
            Contact::Reached | Contact::Instructed | Contact::SaysItWorks => 0,
        };
        if sheet.attempts == 0 && outcome != Contact::Sent {
            // Whoever was spoken to was called back.
            sheet.call_back_ms = None;
        }
        let attempts = sheet.attempts;
        case.note(at_ms, Some(by), joined(&format!("{channel:?}: {}", outcome_words(outcome)), text));
        let (state, alive) = (case.state, case.alive);
        // A device that speaks says more than anybody there.
        if alive || state.is_back() {
            return;
        }
        let next = match outcome {
            Contact::Sent if state == State::Suspected => State::Notified,
            Contact::Sent => state,
            Contact::NoAnswer | Contact::WrongAddress if attempts >= unreachable_after => State::Unreachable,
            Contact::NoAnswer | Contact::WrongAddress => state,
            Contact::Reached if state == State::Instructed => state,
            Contact::Reached => State::Reached,
            Contact::Instructed => State::Instructed,
            Contact::SaysItWorks => State::Working,
        };
        if next != state {
            self.set_state(id, next, at_ms);
        }
    }

    fn debt_opened(&mut self, id: CaseId, debt: &Debt, by: Option<&str>, at_ms: u64) {
        let Some(case) = self.cases.get_mut(&id) else { return };
        if case.debts().iter().any(|open| open.debt == *debt) {
            return;
        }
        let open = OpenDebt { debt: debt.clone(), since_ms: at_ms, by: by.map(str::to_string) };
        case.sheet().debts.push(open);
        case.note(at_ms, by, format!("protection is off: {debt}"));
        let state = case.state;
        if debt.is_evidence() {
            // What was proven holds no more.
            self.proofs.remove(&id);
            self.change(id, |case| (case.sheet().verified_ms, case.sheet().proof) = (None, None));
            self.set_state(id, State::Restricted, at_ms);
        } else if state == State::Working {
            self.set_state(id, State::Restricted, at_ms);
        }
    }

    fn verified(&mut self, id: CaseId, proof: &Proof, at_ms: u64) {
        let Some(case) = self.cases.get_mut(&id) else { return };
        if case.state == State::Closed || case.owes_evidence() {
            return;
        }
        case.alive = true;
        let sheet = case.sheet();
        (sheet.verified_ms, sheet.attempts, sheet.call_back_ms) = (Some(at_ms), 0, None);
        sheet.proof = Some(proof.clone());
        case.note(at_ms, None, format!("verified: the probe passed {} times in a row", proof.passed));
        self.set_state(id, State::Verified, at_ms);
        let look = self.limits.close_after_ms.min(self.limits.case_silent_ms);
        self.look_at(id, at_ms.saturating_add(look));
    }

    fn reopened(&mut self, id: CaseId, why: &str, at_ms: u64) {
        let Some(case) = self.cases.get_mut(&id) else { return };
        if case.state != State::Closed {
            return;
        }
        case.alive = false;
        let sheet = case.sheet();
        (sheet.closed_ms, sheet.verified_ms, sheet.proof, sheet.closed_by) = (None, None, None, None);
        sheet.reopened = sheet.reopened.saturating_add(1);
        case.note(at_ms, None, format!("opened again: {why}"));
        let device = case.device;
        self.proofs.remove(&id);
        self.of_device.insert((device, id));
        self.set_state(id, State::Suspected, at_ms);
    }

    fn closed(&mut self, id: CaseId, by: Option<&str>, at_ms: u64) {
        let Some(case) = self.cases.get_mut(&id) else { return };
        // The two conditions hold here as well, whatever stands in the log.
        if case.state != State::Verified || !case.debts().is_empty() {
            return;
        }
        case.sheet().closed_ms = Some(at_ms);
        case.sheet().closed_by = by.map(str::to_string);
        case.note(at_ms, by, "closed".into());
        self.proofs.remove(&id);
        self.set_state(id, State::Closed, at_ms);
        self.look_at(id, at_ms.saturating_add(self.limits.case_silent_ms.min(self.limits.reopen_within_ms)));
    }

    /// A device that speaks works, or works with protection off.
    fn by_debts(&mut self, id: CaseId, at_ms: u64) {
        let Some(case) = self.cases.get(&id) else { return };
        if case.state.is_back() {
            return;
        }
        let state = if case.debts().is_empty() { State::Working } else { State::Restricted };
        self.set_state(id, state, at_ms);
    }

    fn set_state(&mut self, id: CaseId, state: State, at_ms: u64) {
        let Some(case) = self.cases.get_mut(&id) else { return };
        let before = std::mem::replace(&mut case.state, state);
        if before == state {
            return;
        }
        case.since_ms = at_ms;
        let Some(incident) = self.incidents.get_mut(&case.incident) else { return };
        if let Some(count) = incident.counts.get_mut(&before) {
            *count = count.saturating_sub(1);
        }
        *incident.counts.entry(state).or_insert(0) += 1;
        incident.ended_ms = (incident.open() == 0).then(|| incident.ended_ms.unwrap_or(at_ms));
        if before.is_back() != state.is_back() {
            incident.mark(at_ms);
        }
    }
}

fn joined(what: &str, text: &str) -> String {
    if text.trim().is_empty() { what.to_string() } else { format!("{what}: {text}") }
}

fn outcome_words(outcome: Contact) -> &'static str {
    match outcome {
        Contact::Sent => "sent",
        Contact::NoAnswer => "no answer",
        Contact::WrongAddress => "the number or address does not work",
        Contact::Reached => "somebody answered",
        Contact::Instructed => "told what to do",
        Contact::SaysItWorks => "the customer says that it works, which is no proof",
    }
}
