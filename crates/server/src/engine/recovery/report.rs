//! What the log says about an incident, read for its review and its dossiers. Notices are read in `telling`. Must stay out:
//! sentences (`staffel_core::review` writes them).

use super::{
    super::{Engine, EngineError, now_ms, record::Record, state::State},
    telling::Telling,
    view::visible_incident,
};
use crate::api::{Caller, CitedEntry, Dossier, ReviewSheet};
use staffel_core::{
    evidence::Arm,
    fleet::DeviceIndex,
    ids::DeviceId,
    recovery::{CaseId, Contact, Event, IncidentId, Origin},
    review::{self, DeviceFacts, Document, Facts, Language, Mark, Push, RemedyFacts, SuspectFacts},
    rollout,
};
use staffel_store::{Entry, ReadLog as _, StoreError};
use staffel_trust::statement::{
    Envelope,
    predicate::{Headed, Remedy, read},
};
use std::collections::{BTreeMap, BTreeSet};

/// Entries read at once.
const PAGE: usize = 4_096;

/// What is being found out.
struct Search {
    facts: Facts,
    /// Places of the cases in `facts.devices`.
    cases: BTreeMap<CaseId, usize>,
    devices: BTreeMap<DeviceId, usize>,
    rollout: Option<u64>,
    telling: Telling,
    /// Somebody who is bound to a customer asks: words that name devices of others are left out.
    bound: bool,
}

impl Engine {
    /// The review of an incident, as far as the caller may know of it, with the entries that it rests on.
    pub fn review(&self, who: &Caller, id: IncidentId, language: Language) -> Result<ReviewSheet, EngineError> {
        let (facts, size) = self.facts(who, id)?;
        self.sheet(review::review(&facts, language), size)
    }

    /// A dossier for each customer of an incident that the caller may know of.
    pub fn dossiers(&self, who: &Caller, id: IncidentId, language: Language) -> Result<Vec<Dossier>, EngineError> {
        let (facts, size) = self.facts(who, id)?;
        let dossiers = review::dossiers(&facts, language).into_iter();
        dossiers.map(|(tenant, document)| Ok(Dossier { tenant, sheet: self.sheet(document, size)? })).collect()
    }

    /// Reads the log from the rollout's start on; answers how many entries it had.
    fn facts(&self, who: &Caller, id: IncidentId) -> Result<(Facts, u64), EngineError> {
        let (mut search, from_ms) = {
            let state = self.state();
            begin(&state, who, id)?
        };
        let head = self.settled_head()?;
        let mut position = self.first_since(from_ms, head).map_err(failed)?;
        while position < head {
            let entries = self.0.log.read(position, PAGE).map_err(failed)?;
            let Some(last) = entries.last() else { break };
            position = last.position + 1;
            for entry in entries.iter().filter(|entry| entry.position < head) {
                search.take(entry);
            }
        }
        search.facts.notices = search.telling.into_facts();
        Ok((search.facts, head))
    }

    fn sheet(&self, document: Document, size: u64) -> Result<ReviewSheet, EngineError> {
        let cited = |position: u64| {
            let entry = self.entry_at(position)?;
            let entry = entry.ok_or_else(|| EngineError::Internal { why: format!("entry {position} is gone") })?;
            let hash = hex::encode(staffel_store::leaf_hash(&entry.leaf_record()));
            Ok(CitedEntry { position, at_ms: entry.at_ms, kind: entry.kind.clone(), hash })
        };
        let entries = document.cites().into_iter().map(cited).collect::<Result<_, EngineError>>()?;
        let root = staffel_store::root(&self.0.log, size);
        let root = root.map_err(|error| EngineError::Internal { why: super::super::chain(&error) })?;
        let issuer = self.0.desk.get().map_or("Staffel", |desk| desk.issuer()).to_string();
        Ok(ReviewSheet { document, issuer, entries, log_size: size, log_root: hex::encode(root) })
    }

    /// The first entry that is about as old as that. Times in the log grow, but for a clock that was set back: a minute more
    /// is read for that.
    fn first_since(&self, at_ms: u64, head: u64) -> Result<u64, staffel_store::StoreError> {
        let at_ms = at_ms.saturating_sub(60_000);
        let (mut low, mut high) = (0, head);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.0.log.read(middle, 1)?.first() {
                Some(entry) if entry.at_ms < at_ms => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

fn failed(error: StoreError) -> EngineError {
    EngineError::Internal { why: super::super::chain(&error) }
}

fn begin(state: &State, who: &Caller, id: IncidentId) -> Result<(Search, u64), EngineError> {
    let incident = visible_incident(state, who, id)?;
    let book = &state.recovery.book;
    let bound = who.tenant.is_some();
    let nothing = Mark { at_ms: incident.opened_ms, position: 0 };
    let (mut cases, mut devices, mut facts) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut concerned = BTreeSet::new();
    for case in incident.cases.iter().filter_map(|id| book.case(*id)) {
        let row = state.fleet.device(case.device);
        let tenant = state.fleet.tenant_of(case.device).name.clone();
        if who.tenant.as_ref().is_some_and(|own| *own != tenant) {
            continue;
        }
        cases.insert(case.id, facts.len());
        devices.insert(row.id, facts.len());
        facts.push(DeviceFacts {
            tenant,
            site: state.fleet.sites[row.site as usize].name.clone(),
            name: row.name.to_string(),
            opened: nothing,
            why: case.why().to_string(),
            pushed: None,
            notified: None,
            reached: None,
            heard: None,
            verified: None,
            closed: None,
            debts: Vec::new(),
            remedies: Vec::new(),
        });
        concerned.insert(case.device);
    }
    let suspects: Vec<SuspectFacts> = suspects(state, &concerned, bound);
    let rollout = match incident.origin {
        Origin::HaltedRollout { rollout } => Some(rollout),
        _ => None,
    };
    let component = match &incident.origin {
        Origin::Component { name, version, supplier } => Some((name.clone(), version.clone(), supplier.clone())),
        _ => None,
    };
    let running = rollout.and_then(|id| state.rollouts.get(&id));
    let push = running.map(|running| Push {
        rollout: running.rollout.id,
        name: running.contents.name.clone(),
        version: running.contents.version.clone(),
        supplier: running.contents.supplier.clone(),
        by: running.by.clone(),
        started: nothing,
        halted: None,
    });
    let from_ms = running.map_or(incident.opened_ms, |running| running.started_ms);
    let facts = Facts {
        incident: incident.id,
        class: incident.class,
        opened: nothing,
        aware_at_ms: incident.aware.at_ms,
        aware_who: incident.aware.who.clone(),
        aware_source: incident.aware.source.clone(),
        why: if bound { incident.class.to_string() } else { incident.why.clone() },
        push,
        component,
        suspects,
        devices: facts,
        notices: Vec::new(),
        until: Mark { at_ms: now_ms(), position: 0 },
    };
    let telling = Telling::about(id, who.tenant.clone());
    Ok((Search { facts, cases, devices, rollout, telling, bound }, from_ms))
}

/// What was suspected of these devices. How many others were in trouble is not for somebody who is bound to a customer.
fn suspects(state: &State, concerned: &BTreeSet<DeviceIndex>, bound: bool) -> Vec<SuspectFacts> {
    let noted = state.suspects.iter().filter(|noted| noted.suspect.devices.iter().any(|d| concerned.contains(d)));
    let facts = noted.map(|noted| {
        let suspect = &noted.suspect;
        let counts = [suspect.got, suspect.got_in_trouble, suspect.others, suspect.others_in_trouble];
        SuspectFacts {
            name: suspect.component.name.clone(),
            version: suspect.component.version.clone(),
            supplier: suspect.component.supplier.clone(),
            noticed: Mark { at_ms: noted.at_ms, position: noted.position },
            counts: (!bound).then_some(counts),
        }
    });
    facts.collect()
}

impl Search {
    fn take(&mut self, entry: &Entry) {
        let mark = Mark { at_ms: entry.at_ms, position: entry.position };
        self.facts.until.position = mark.position;
        match Record::of(entry) {
            Some(Record::RolloutStarted { rollout, .. }) if Some(rollout) == self.rollout => {
                if let Some(push) = &mut self.facts.push {
                    push.started = mark;
                }
            }
            Some(Record::Rollout { rollout, event: rollout::Event::Halted { reason } }) => {
                if Some(rollout) == self.rollout
                    && let Some(push) = &mut self.facts.push
                {
                    let why = if self.bound { "evidence from the fleet".into() } else { reason.to_string() };
                    push.halted = Some((mark, why));
                }
            }
            Some(Record::PermitGranted { rollout, device, arm: Arm::Treated, .. }) if Some(rollout) == self.rollout => {
                if let Some(at) = self.devices.get(&device) {
                    self.facts.devices[*at].pushed.get_or_insert(mark);
                }
            }
            Some(Record::Recovery { event }) => self.event(&event, mark),
            Some(Record::Notice { event }) => self.telling.take(&event, mark),
            Some(Record::RemedySent { device, remedy, by }) => self.remedy(device, &remedy, by, mark),
            Some(Record::RemedyDone { device, sequence, done, why }) => {
                let sent = self.devices.get(&device).and_then(|at| {
                    self.facts.devices[*at].remedies.iter_mut().find(|remedy| remedy.sequence == sequence)
                });
                if let Some(sent) = sent {
                    sent.answered = Some((mark, done, why));
                }
            }
            _ => {}
        }
    }

    fn remedy(&mut self, device: DeviceId, envelope: &Envelope, by: String, sent: Mark) {
        let Some(at) = self.devices.get(&device) else { return };
        let Ok(payload) = envelope.payload() else { return };
        let Ok(Headed { body: Remedy { sequence, action, .. }, .. }) = read::<Headed<Remedy>>(&payload) else { return };
        let remedy = RemedyFacts { sequence, action: action.to_string(), by, sent, answered: None };
        self.facts.devices[*at].remedies.push(remedy);
    }

    fn event(&mut self, event: &Event, mark: Mark) {
        match event {
            Event::IncidentOpened { incident, .. } if *incident == self.facts.incident => self.facts.opened = mark,
            Event::CasesOpened { incident, first, devices, .. } if *incident == self.facts.incident => {
                for case in (*first..).take(devices.len()) {
                    if let Some(at) = self.cases.get(&case) {
                        self.facts.devices[*at].opened = mark;
                    }
                }
            }
            _ => {
                let place = event.case().and_then(|case| self.cases.get(&case));
                if let Some(at) = place {
                    change(&mut self.facts.devices[*at], event, mark);
                }
            }
        }
    }
}

fn change(device: &mut DeviceFacts, event: &Event, mark: Mark) {
    match event {
        Event::Contacted { outcome, .. } => match outcome {
            Contact::Sent => {
                device.notified.get_or_insert(mark);
            }
            Contact::Reached | Contact::Instructed | Contact::SaysItWorks => {
                device.reached.get_or_insert(mark);
            }
            Contact::NoAnswer | Contact::WrongAddress => {}
        },
        Event::Heard { .. } => device.heard = Some(mark),
        Event::FellSilent { .. } | Event::Reopened { .. } => {
            (device.heard, device.verified, device.closed) = (None, None, None);
        }
        Event::Doubted { .. } => device.verified = None,
        Event::Verified { .. } => device.verified = Some(mark),
        Event::Closed { .. } => device.closed = Some(mark),
        Event::DebtOpened { debt, .. } => {
            if debt.is_evidence() {
                device.verified = None;
            }
            device.debts.push((debt.to_string(), mark, None));
        }
        Event::DebtLifted { debt, .. } => {
            let text = debt.to_string();
            let open = device.debts.iter_mut().rev().find(|(what, _, until)| *what == text && until.is_none());
            if let Some((_, _, until)) = open {
                *until = Some(mark);
            }
        }
        _ => {}
    }
}
