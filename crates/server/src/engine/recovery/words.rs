//! What people ask for: opening incidents, words about cases. Whoever is bound to a customer touches only its own.

use super::{
    super::{Engine, EngineError, now_ms, record::Record, state::State},
    signs::ran,
};
use crate::api::{Caller, CaseView, CaseWord, IncidentView, OpenIncident};
use staffel_core::{
    fleet::DeviceIndex,
    recovery::{Awareness, CaseId, Event, Opening, Origin, Refusal, Word},
};

/// Characters of one text.
const TEXT: usize = 2_000;

impl Engine {
    /// Opens an incident, or adds devices to one.
    pub async fn open_incident(&self, who: &Caller, asked: OpenIncident) -> Result<IncidentView, EngineError> {
        let now = now_ms();
        let (id, pending) = {
            let mut state = self.state();
            let opening = opening(&state, who, asked, now)?;
            let State { info, releases, recovery, .. } = &*state;
            let names = |device: DeviceIndex| ran(info, releases, device);
            let events = recovery.book.open_by_hand(opening, &names).map_err(|refusal| refused(&[refusal]))?;
            let id = events.iter().find_map(|event| match event {
                Event::IncidentOpened { incident, .. } | Event::CasesOpened { incident, .. } => Some(*incident),
                _ => None,
            });
            let id = id.ok_or_else(|| EngineError::Internal { why: "an opening without an incident".into() })?;
            let records: Vec<_> = events.into_iter().map(|event| Record::Recovery { event }).collect();
            (id, self.commit(&mut state, &records, now)?)
        };
        self.durable(pending).await?;
        self.incident(who, id)
    }

    /// A person's word about a case.
    pub async fn case_word(&self, who: &Caller, id: CaseId, word: CaseWord) -> Result<CaseView, EngineError> {
        let now = now_ms();
        let pending = {
            let mut state = self.state();
            super::view::visible(&state, who, id)?;
            let word = to_core(who, word);
            let decided = state.recovery.book.word(id, &who.name, word, now);
            let events = decided.map_err(|refusals| refused(&refusals))?;
            let records: Vec<_> = events.into_iter().map(|event| Record::Recovery { event }).collect();
            self.commit(&mut state, &records, now)?
        };
        self.durable(pending).await?;
        self.case(who, id)
    }
}

fn opening(state: &State, who: &Caller, asked: OpenIncident, now: u64) -> Result<Opening, EngineError> {
    let sees =
        |device: &DeviceIndex| who.tenant.as_deref().is_none_or(|own| state.fleet.tenant_of(*device).name == own);
    let mut devices = Vec::new();
    for name in &asked.devices {
        let unknown = || EngineError::NotFound { what: format!("device (or only one device) named {name:?}") };
        devices.push(state.find_device(name).filter(sees).ok_or_else(unknown)?);
    }
    for name in &asked.sites {
        let unknown = || EngineError::NotFound { what: format!("site {name:?} with devices: write customer/site") };
        let (tenant, site) = name.split_once('/').ok_or_else(unknown)?;
        let site = state.fleet.find_site(tenant, site).ok_or_else(unknown)?;
        let members: Vec<_> = state.recovery.book.members(site).iter().copied().filter(sees).collect();
        if members.is_empty() {
            return Err(unknown());
        }
        devices.extend(members);
    }
    if let Some(id) = asked.incident {
        super::view::visible_incident(state, who, id)?;
    }
    let origin = match asked.component {
        Some(part) => {
            Origin::Component { name: cut(part.name), version: cut(part.version), supplier: cut(part.supplier) }
        }
        None => Origin::Operator,
    };
    let source = cut(asked.source);
    Ok(Opening {
        class: asked.class,
        origin,
        aware: Awareness {
            at_ms: asked.aware_at_ms.map_or(now, |at_ms| at_ms.min(now)),
            who: who.name.clone(),
            source: if source.trim().is_empty() { "an operator".into() } else { source },
        },
        why: cut(asked.why),
        devices,
        incident: asked.incident,
    })
}

fn to_core(who: &Caller, word: CaseWord) -> Word {
    match word {
        CaseWord::Own { owner } => Word::Own { owner: Some(owner.map_or_else(|| who.name.clone(), cut)) },
        CaseWord::Note { text } => Word::Note { text: cut(text) },
        CaseWord::Contact { channel, outcome, text } => Word::Contact { channel, outcome, text: cut(text) },
        CaseWord::CallBack { at_ms, text } => Word::CallBack { at_ms, text: cut(text) },
        CaseWord::State { state, why } => Word::State { state, why: cut(why) },
        CaseWord::OpenDebt { what } => Word::OpenDebt { what: cut(what) },
        CaseWord::LiftDebt { what, why } => Word::LiftDebt { what: cut(what), why: cut(why) },
        CaseWord::Close => Word::Close,
        CaseWord::Reopen { why } => Word::Reopen { why: cut(why) },
    }
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(TEXT) {
        text.truncate(at);
    }
    text
}

fn refused(refusals: &[Refusal]) -> EngineError {
    let why = refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; and ");
    match refusals.first() {
        Some(Refusal::UnknownCase { case }) => EngineError::NotFound { what: format!("case {case}") },
        Some(Refusal::UnknownIncident { incident }) => EngineError::NotFound { what: format!("incident {incident}") },
        Some(Refusal::NothingSaid | Refusal::CallBackInThePast | Refusal::NoDevices) => {
            EngineError::Refused { why, hint: "correct what you sent".into() }
        }
        Some(Refusal::NotVerified { .. } | Refusal::DebtOpen { .. }) => EngineError::Conflict {
            why: format!("the case can't be closed: {why}"),
            hint: "bring the device back with protection on; it closes by itself once its probe has passed".into(),
        },
        _ => EngineError::Conflict { why, hint: "look at the case again".into() },
    }
}
