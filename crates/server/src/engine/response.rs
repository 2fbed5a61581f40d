//! What pages show of the answer to an incident: foreign software, remedies, notices. Reads only. Who is bound to a customer sees
//! what is about that customer's devices and sites, and no figure that counts those of others.

use super::{
    Engine, EngineError, notices, now_ms,
    recovery::visible_incident,
    state::State,
    view::{full_name, sees},
};
use crate::{
    api::Caller,
    pages::{ChangeRow, NoticePage, NoticeRow, RemedyRow, SuspicionCounts, SuspicionRow},
};
use staffel_core::{
    fleet::DeviceIndex,
    foreign::Component,
    recovery::{IncidentId, Origin},
};
use staffel_notice::Recipient;
use staffel_trust::statement::{Envelope, PublicKey};
use std::collections::{BTreeMap, BTreeSet};

/// Components that are shown, the latest first.
const CHANGES: usize = 200;
/// Places that a change names.
const PLACES: usize = 5;
/// Devices that a suspicion names.
const DEVICES: usize = 50;
/// Remedies that are shown, the latest first. The signatures of each are verified.
const REMEDIES: usize = 200;

/// Which devices somebody asks about: those they may see, and of these perhaps only the ones of an incident.
struct Scope<'a> {
    who: &'a Caller,
    devices: Option<BTreeSet<DeviceIndex>>,
}

impl<'a> Scope<'a> {
    fn of(state: &State, who: &'a Caller, incident: Option<IncidentId>) -> Result<Self, EngineError> {
        let devices = match incident {
            None => None,
            Some(id) => {
                let cases = visible_incident(state, who, id)?.cases.iter();
                Some(cases.filter_map(|case| state.recovery.book.case(*case)).map(|case| case.device).collect())
            }
        };
        Ok(Scope { who, devices })
    }

    fn holds(&self, state: &State, index: DeviceIndex) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(&index)) && sees(state, self.who, index)
    }
}

impl Engine {
    /// What came to devices within a day that Staffel did not ship, the latest first, and how many more there are.
    pub fn software_changes(
        &self,
        who: &Caller,
        incident: Option<IncidentId>,
    ) -> Result<(Vec<ChangeRow>, usize), EngineError> {
        struct Change {
            devices: u64,
            first_ms: u64,
            last_ms: u64,
            sites: BTreeSet<u32>,
        }
        let state = self.state();
        let scope = Scope::of(&state, who, incident)?;
        let mut changes: BTreeMap<&Component, Change> = BTreeMap::new();
        for (index, component, at_ms) in state.foreign.all_arrivals().filter(|(index, ..)| scope.holds(&state, *index))
        {
            let fresh = Change { devices: 0, first_ms: at_ms, last_ms: at_ms, sites: BTreeSet::new() };
            let change = changes.entry(component).or_insert(fresh);
            change.devices += 1;
            change.first_ms = change.first_ms.min(at_ms);
            change.last_ms = change.last_ms.max(at_ms);
            change.sites.insert(state.fleet.device(index).site);
        }
        let mut latest: Vec<_> = changes.into_iter().collect();
        latest.sort_by_key(|(component, change)| (std::cmp::Reverse(change.last_ms), *component));
        let more = latest.len().saturating_sub(CHANGES);
        let rows = latest.into_iter().take(CHANGES).map(|(component, change)| ChangeRow {
            component: component.clone(),
            devices: change.devices,
            first_ms: change.first_ms,
            last_ms: change.last_ms,
            places: change.sites.iter().take(PLACES).map(|site| place(&state, *site)).collect(),
            more_places: change.sites.len().saturating_sub(PLACES) as u64,
        });
        Ok((rows.collect(), more))
    }

    /// Foreign software that is suspected, the latest first.
    pub fn suspicions(&self, who: &Caller, incident: Option<IncidentId>) -> Result<Vec<SuspicionRow>, EngineError> {
        let state = self.state();
        let scope = Scope::of(&state, who, incident)?;
        let mut rows = Vec::new();
        for noted in state.suspects.iter().rev() {
            let suspect = &noted.suspect;
            let seen: Vec<_> = suspect.devices.iter().filter(|index| scope.holds(&state, **index)).collect();
            if seen.is_empty() && (incident.is_some() || who.tenant.is_some()) {
                continue;
            }
            let named = seen.into_iter().take(DEVICES);
            rows.push(SuspicionRow {
                position: noted.position,
                at_ms: noted.at_ms,
                component: suspect.component.clone(),
                counts: who.tenant.is_none().then_some(SuspicionCounts {
                    got: suspect.got,
                    got_in_trouble: suspect.got_in_trouble,
                    others: suspect.others,
                    others_in_trouble: suspect.others_in_trouble,
                    chance: suspect.chance,
                }),
                devices: named.map(|index| (state.fleet.device(*index).id, full_name(&state, *index))).collect(),
                incidents: blaming(&state, who, &suspect.component),
            });
        }
        Ok(rows)
    }

    /// Remedies, the latest first, and how many more there are.
    pub fn remedy_rows(
        &self,
        who: &Caller,
        incident: Option<IncidentId>,
    ) -> Result<(Vec<RemedyRow>, usize), EngineError> {
        let now = now_ms();
        let (mut found, more) = {
            let state = self.state();
            let scope = Scope::of(&state, who, incident)?;
            let mut found = Vec::new();
            for (index, sent) in state.remedies.iter().filter(|(index, _)| scope.holds(&state, **index)) {
                let envelopes = sent.iter().map(|sent| sent.envelope.clone());
                found.extend(state.remedy_views(*index, now).into_iter().zip(envelopes));
            }
            found.sort_by_key(|(view, _)| std::cmp::Reverse((view.sent_ms, view.sequence)));
            let more = found.len().saturating_sub(REMEDIES);
            found.truncate(REMEDIES);
            (found, more)
        };
        // After the lock: signatures take time.
        let keys = &self.0.keyring.operators.keys;
        let rows = found.drain(..).map(|(view, envelope)| RemedyRow { view, signers: signers(&envelope, keys) });
        Ok((rows.collect(), more))
    }

    /// How many remedies were sent to the devices of an incident, as far as somebody may know of them.
    pub fn remedy_count(&self, who: &Caller, incident: IncidentId) -> Result<usize, EngineError> {
        let state = self.state();
        let scope = Scope::of(&state, who, Some(incident))?;
        let sent = state.remedies.iter().filter(|(index, _)| scope.holds(&state, **index));
        Ok(sent.map(|(_, sent)| sent.len()).sum())
    }

    /// Notices that somebody may know of, the latest first.
    pub fn notice_rows(&self, who: &Caller, incident: Option<IncidentId>) -> Result<Vec<NoticeRow>, EngineError> {
        let now = now_ms();
        let state = self.state();
        if let Some(id) = incident {
            visible_incident(&state, who, id)?;
        }
        let about = state.notices.book.notices().filter(|p| incident.is_none_or(|id| p.notice.incident == id));
        let mut rows: Vec<NoticeRow> =
            about.filter_map(|progress| self.notice_row(&state, who, progress, now)).collect();
        rows.reverse();
        Ok(rows)
    }

    /// One notice, and what came of it for each recipient that somebody may see.
    pub fn notice_page(&self, who: &Caller, id: u64) -> Result<NoticePage, EngineError> {
        let now = now_ms();
        let state = self.state();
        let unknown = || EngineError::NotFound { what: format!("notice {id}") };
        let progress = state.notices.book.notice(id).ok_or_else(unknown)?;
        let row = self.notice_row(&state, who, progress, now).ok_or_else(unknown)?;
        let manners = self.manners();
        let own = (0..).zip(&progress.notice.audience).filter(|(_, one)| is_own(who, one));
        let step = |(recipient, _)| serde_json::to_value(progress.next(recipient, &manners, now)).unwrap_or_default();
        Ok(NoticePage {
            steps: own.map(step).collect(),
            sheet: notices::sheet(progress, self.0.desk.get(), now, &|one| is_own(who, one)),
            row,
        })
    }

    fn notice_row(
        &self,
        state: &State,
        who: &Caller,
        progress: &staffel_notice::Progress,
        now: u64,
    ) -> Option<NoticeRow> {
        let view = notices::summary(progress, &self.manners(), now, &|one| is_own(who, one));
        if view.recipients == 0 && who.tenant.is_some() {
            return None;
        }
        let incident = Some(view.incident).filter(|id| visible_incident(state, who, *id).is_ok());
        Some(NoticeRow { view, incident })
    }
}

fn is_own(who: &Caller, one: &Recipient) -> bool {
    who.tenant.as_ref().is_none_or(|own| *own == one.tenant)
}

fn place(state: &State, site: u32) -> (String, String) {
    let row = &state.fleet.sites[site as usize];
    (state.fleet.tenants[row.tenant as usize].name.clone(), row.name.clone())
}

/// Incidents that somebody opened because of this component.
fn blaming(state: &State, who: &Caller, component: &Component) -> Vec<IncidentId> {
    let blames = |origin: &Origin| matches!(origin, Origin::Component { name, version, .. } if *name == component.name && *version == component.version);
    let opened =
        state.recovery.book.incidents().filter(|incident| blames(&incident.origin)).map(|incident| incident.id);
    opened.filter(|id| visible_incident(state, who, *id).is_ok()).collect()
}

/// Those of the keys that really signed.
fn signers(envelope: &Envelope, keys: &[PublicKey]) -> Vec<String> {
    let hinted = |id: &String| envelope.signatures.iter().any(|signature| signature.keyid == *id);
    let signed = |key: &&PublicKey| envelope.signers(&[**key]).is_ok_and(|(_, count)| count == 1);
    let named = keys.iter().map(|key| (key.id(), key)).filter(|(id, _)| hinted(id));
    named.filter(|(_, key)| signed(key)).map(|(id, _)| id).collect()
}
