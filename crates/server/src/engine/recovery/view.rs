//! What is shown of incidents and cases. Reads only; whoever is bound to a customer sees that customer's cases and no more.

use super::{
    super::{Engine, EngineError, now_ms, record::Record, state::State, view::presence},
    describe, sites,
};
use crate::api::{
    CallListEntry, Caller, CasePage, CaseQuery, CaseView, ContactView, CurveMilestone, CurvePoint, DebtView,
    HistoryEntry, IncidentView, NextView, OriginView, ProbeView, RecoveryCurve, TriedView,
};
use staffel_core::{
    fleet::DeviceIndex,
    recovery::{Case, CaseId, Channel, Curve, Incident, IncidentId, Origin, State as CaseState},
};
use std::collections::{BTreeMap, BTreeSet};

/// Points of a curve that are sent.
const POINTS: usize = 500;
/// Lines of what was tried that the call list shows.
const TRIED: usize = 3;

/// The case, if the caller may know of it; what somebody may not see does not exist for them.
pub(in super::super) fn visible<'a>(state: &'a State, who: &Caller, id: CaseId) -> Result<&'a Case, EngineError> {
    let case = state.recovery.book.case(id).filter(|case| sees(state, who, case.device));
    case.ok_or_else(|| EngineError::NotFound { what: format!("case {id}") })
}

/// The same of an incident: at least one of its cases is the caller's.
pub(in super::super) fn visible_incident<'a>(
    state: &'a State,
    who: &Caller,
    id: IncidentId,
) -> Result<&'a Incident, EngineError> {
    let incident = state.recovery.book.incident(id);
    let seen = |i: &&Incident| who.tenant.is_none() || own(state, who, i).next().is_some();
    incident.filter(seen).ok_or_else(|| EngineError::NotFound { what: format!("incident {id}") })
}

fn sees(state: &State, who: &Caller, device: DeviceIndex) -> bool {
    who.tenant.as_deref().is_none_or(|own| state.fleet.tenant_of(device).name == own)
}

/// The incident's cases that the caller may see.
fn own<'a>(state: &'a State, who: &'a Caller, incident: &'a Incident) -> impl Iterator<Item = &'a Case> {
    let cases = incident.cases.iter().filter_map(|id| state.recovery.book.case(*id));
    cases.filter(|case| sees(state, who, case.device))
}

impl Engine {
    /// Incidents, oldest first.
    pub fn incidents(&self, who: &Caller) -> Vec<IncidentView> {
        let now = now_ms();
        let state = self.state();
        let shown = state.recovery.book.incidents().filter_map(|i| incident(&state, who, i, now));
        shown.collect()
    }

    /// One incident.
    pub fn incident(&self, who: &Caller, id: IncidentId) -> Result<IncidentView, EngineError> {
        let state = self.state();
        let unknown = || EngineError::NotFound { what: format!("incident {id}") };
        let found = visible_incident(&state, who, id)?;
        incident(&state, who, found, now_ms()).ok_or_else(unknown)
    }

    /// What happened to an incident as a whole, oldest first: its opening and the opening of its cases.
    pub fn incident_history(&self, who: &Caller, id: IncidentId) -> Result<Vec<HistoryEntry>, EngineError> {
        if let Some(tenant) = &who.tenant {
            // It counts the cases of every customer.
            return Err(EngineError::Forbidden { why: format!("{} sees only what belongs to {tenant}", who.name) });
        }
        let positions = {
            let state = self.state();
            visible_incident(&state, who, id)?;
            state.recovery.incident_history.get(&id).cloned().unwrap_or_default()
        };
        self.history(&positions)
    }

    /// A page of cases.
    pub fn cases(&self, who: &Caller, query: &CaseQuery) -> CasePage {
        let now = now_ms();
        let state = self.state();
        let limit = query.limit.unwrap_or(100).clamp(1, 1_000) as usize;
        let book = &state.recovery.book;
        let first = query.after.unwrap_or(0);
        let fits = |case: &&Case| sees(&state, who, case.device) && matches(&state, query, case, now);
        let listed: Box<dyn Iterator<Item = &Case>> = match query.incident.map(|id| book.incident(id)) {
            // The number was named: its cases only, which stand in order.
            Some(Some(incident)) => {
                Box::new(incident.cases.iter().filter(move |id| **id > first).filter_map(|id| book.case(*id)))
            }
            Some(None) => Box::new(std::iter::empty()),
            None => Box::new(book.cases_after(first)),
        };
        let mut page = CasePage { cases: Vec::new(), next: None };
        for found in listed.filter(fits) {
            if page.cases.len() == limit {
                page.next = page.cases.last().map(|last: &CaseView| last.case);
                break;
            }
            page.cases.push(case(&state, found, now));
        }
        page
    }

    /// One case with its history.
    pub fn case(&self, who: &Caller, id: CaseId) -> Result<CaseView, EngineError> {
        let (mut view, positions) = {
            let state = self.state();
            let found = visible(&state, who, id)?;
            let positions = state.recovery.case_history.get(&id).cloned().unwrap_or_default();
            let starts = state.start_views(found.device);
            (CaseView { starts, ..case(&state, found, now_ms()) }, positions)
        };
        view.history = self.history(&positions)?;
        if who.tenant.is_some() {
            // An event that opens the cases of many counts those of other customers.
            view.history.retain(|entry| entry.kind != "recovery.cases-opened");
        }
        Ok(view)
    }

    /// The entries at these positions, in words. What was erased is left out.
    fn history(&self, positions: &[u64]) -> Result<Vec<HistoryEntry>, EngineError> {
        let mut entries = Vec::new();
        for position in positions {
            let Some(entry) = self.entry_at(*position)? else { continue };
            let Some(Record::Recovery { event }) = Record::of(&entry) else { continue };
            entries.push(HistoryEntry {
                position: *position,
                at_ms: entry.at_ms,
                kind: entry.kind.clone(),
                text: describe::event(&event),
            });
        }
        Ok(entries)
    }

    /// How the share of devices that are back grew.
    pub fn curve(&self, who: &Caller, id: IncidentId) -> Result<RecoveryCurve, EngineError> {
        let now = now_ms();
        let state = self.state();
        let incident = visible_incident(&state, who, id)?;
        let curve = if who.tenant.is_none() { incident.curve() } else { Curve::of(own(&state, who, incident)) };
        Ok(recovery_curve(incident, curve, now))
    }

    /// Sites that somebody has to call, the most urgent first.
    pub fn call_list(&self, who: &Caller) -> Vec<CallListEntry> {
        let now = now_ms();
        let state = self.state();
        let book = &state.recovery.book;
        let mut sites: BTreeMap<u32, Vec<&Case>> = BTreeMap::new();
        for incident in book.incidents().filter(|incident| incident.open() > 0) {
            for case in own(&state, who, incident).filter(|case| book.needs_people(case, now)) {
                sites.entry(state.fleet.device(case.device).site).or_default().push(case);
            }
        }
        let mut list: Vec<_> = sites.iter().filter_map(|(site, cases)| call(&state, *site, cases, now)).collect();
        list.sort_by(|a, b| (a.next.due_ms, &a.tenant, &a.site).cmp(&(b.next.due_ms, &b.tenant, &b.site)));
        list
    }
}

fn incident(state: &State, who: &Caller, incident: &Incident, now: u64) -> Option<IncidentView> {
    let book = &state.recovery.book;
    let mut by_state: BTreeMap<String, u64> = BTreeMap::new();
    let (mut cases, mut without_owner, mut overdue, mut with_debts, mut back) = (0, 0, 0, 0, 0);
    for case in own(state, who, incident) {
        cases += 1;
        *by_state.entry(case.state.word().into()).or_insert(0) += 1;
        back += u64::from(case.state.is_back());
        if case.state != CaseState::Closed {
            without_owner += u64::from(case.owner().is_none());
            overdue += u64::from(book.next(case, now).due_ms < now);
            with_debts += u64::from(!case.debts().is_empty());
        }
    }
    // Somebody who is bound to a customer sees an incident through that customer's cases.
    if cases == 0 && who.tenant.is_some() {
        return None;
    }
    let all = cases == incident.cases.len() as u64;
    let release = |rollout: &u64| {
        let running = state.rollouts.get(rollout)?;
        Some(format!("{} {}", running.contents.name, running.contents.version))
    };
    let place = |site: &u32| {
        let row = &state.fleet.sites[*site as usize];
        (state.fleet.tenants[row.tenant as usize].name.clone(), row.name.clone())
    };
    let origin = match &incident.origin {
        Origin::HaltedRollout { rollout } => {
            OriginView::HaltedRollout { rollout: *rollout, release: release(rollout).unwrap_or_default() }
        }
        Origin::Silence { site, since_ms, whole_site } => {
            let (tenant, site) = place(site);
            OriginView::Silence { tenant, site, since_ms: *since_ms, whole_site: *whole_site }
        }
        Origin::SafeMode { site } => {
            let (tenant, site) = place(site);
            OriginView::SafeMode { tenant, site }
        }
        Origin::Component { name, version, supplier } => {
            OriginView::Component { name: name.clone(), version: version.clone(), supplier: supplier.clone() }
        }
        Origin::Operator => OriginView::Operator,
    };
    let (release_name, site_name) = match &origin {
        OriginView::HaltedRollout { release, .. } => (Some(release.clone()), String::new()),
        OriginView::Silence { tenant, site, .. } | OriginView::SafeMode { tenant, site } => {
            (None, format!("{tenant}/{site}"))
        }
        _ => (None, String::new()),
    };
    let closed = by_state.get(CaseState::Closed.word()).copied().unwrap_or(0);
    let over = cases > 0 && closed == cases;
    Some(IncidentView {
        incident: incident.id,
        class: incident.class,
        title: describe::title(&incident.origin, release_name.as_deref(), &site_name),
        origin,
        // The reason may name devices of others.
        why: if all || who.tenant.is_none() {
            incident.why.clone()
        } else {
            format!("{} at several customers", incident.class)
        },
        state: if over { "over" } else { "open" }.into(),
        aware_at_ms: incident.aware.at_ms,
        aware_who: incident.aware.who.clone(),
        aware_source: incident.aware.source.clone(),
        opened_ms: incident.opened_ms,
        ended_ms: if over && !all {
            own(state, who, incident).filter_map(Case::closed_ms).max()
        } else {
            incident.ended_ms.filter(|_| over)
        },
        cases,
        back,
        not_back: cases - back,
        by_state,
        without_owner,
        overdue,
        with_debts,
    })
}

fn matches(state: &State, query: &CaseQuery, case: &Case, now: u64) -> bool {
    let row = state.fleet.device(case.device);
    let book = &state.recovery.book;
    let open = case.state != CaseState::Closed;
    let in_state = query.state.as_deref().is_none_or(|wanted| match wanted {
        "open" => open,
        "not-back" => !case.state.is_back(),
        "overdue" => open && book.next(case, now).due_ms < now,
        "unowned" => open && case.owner().is_none(),
        "debt" => open && !case.debts().is_empty(),
        word => case.state.word() == word,
    });
    in_state
        && query.tenant.as_deref().is_none_or(|tenant| state.fleet.tenant_of(case.device).name == tenant)
        && query.site.as_deref().is_none_or(|site| state.fleet.sites[row.site as usize].name == site)
        && query.owner.as_deref().is_none_or(|owner| case.owner() == Some(owner))
}

fn key(state: &State, site: u32) -> (String, String) {
    let row = &state.fleet.sites[site as usize];
    (state.fleet.tenants[row.tenant as usize].name.clone(), row.name.clone())
}

fn next(state: &State, case: &Case, now: u64) -> NextView {
    let next = state.recovery.book.next(case, now);
    let overdue = case.state != CaseState::Closed && next.due_ms < now;
    NextView { action: next.action, text: next.action.to_string(), due_ms: next.due_ms, overdue }
}

fn contact(case: &Case) -> Option<ContactView> {
    case.last_contact().map(|last| ContactView {
        at_ms: last.at_ms,
        channel: last.channel,
        outcome: last.outcome,
        by: last.by.clone(),
    })
}

fn case(state: &State, case: &Case, now: u64) -> CaseView {
    let row = state.fleet.device(case.device);
    let book = &state.recovery.book;
    let site = key(state, row.site);
    let (passed, doubts) = book.progress(case);
    let closed = case.state == CaseState::Closed;
    let refusals = if closed { Vec::new() } else { book.cannot_close(case) };
    let debt = |open: &staffel_core::recovery::OpenDebt| DebtView {
        text: open.debt.to_string(),
        debt: open.debt.clone(),
        since_ms: open.since_ms,
        by: open.by.clone(),
    };
    CaseView {
        case: case.id,
        incident: case.incident,
        device: row.id,
        name: row.name.to_string(),
        state: case.state,
        since_ms: case.since_ms,
        opened_ms: case.opened_ms,
        why: case.why().to_string(),
        owner: case.owner().map(str::to_string),
        next: next(state, case, now),
        phone: sites::contacts(state, &site).remove(&Channel::Phone),
        channels: state.recovery.contacts.get(&site).map(|kept| kept.contacts.channels.clone()).unwrap_or_default(),
        language: sites::language(state, &site),
        last_contact: contact(case),
        attempts: case.attempts(),
        call_back_ms: case.call_back_ms(),
        debts: case.debts().iter().map(debt).collect(),
        tried: tried(case, usize::MAX),
        probe: ProbeView {
            passed,
            needed: book.limits.probe.successes.max(1),
            doubts: doubts.to_vec(),
            says: doubts.iter().map(ToString::to_string).collect(),
            verified_ms: case.verified_ms(),
        },
        cannot_close: refusals.iter().map(ToString::to_string).collect(),
        refusals,
        presence: presence(state, case.device, now).into(),
        last_seen_ms: (row.last_seen_ms != 0).then_some(row.last_seen_ms),
        closed_ms: case.closed_ms(),
        closed_by: case.closed_by().map(str::to_string),
        reopened: case.reopened(),
        starts: Vec::new(),
        history: Vec::new(),
        tenant: site.0,
        site: site.1,
    }
}

fn tried(case: &Case, most: usize) -> Vec<TriedView> {
    let all = case.tried();
    let last = &all[all.len().saturating_sub(most)..];
    last.iter().map(|tried| TriedView { at_ms: tried.at_ms, by: tried.by.clone(), text: tried.text.clone() }).collect()
}

fn call(state: &State, site: u32, cases: &[&Case], now: u64) -> Option<CallListEntry> {
    let urgent = cases.iter().min_by_key(|case| (state.recovery.book.next(case, now).due_ms, case.id))?;
    let latest = cases.iter().filter(|case| case.last_contact().is_some());
    let latest = latest.max_by_key(|case| case.last_contact().map(|last| last.at_ms));
    let key = key(state, site);
    let name = |case: &&Case| state.fleet.device(case.device).name.to_string();
    let info = state.recovery.sites.get(&key);
    Some(CallListEntry {
        phone: sites::contacts(state, &key).remove(&Channel::Phone),
        channels: state.recovery.contacts.get(&key).map(|kept| kept.contacts.channels.clone()).unwrap_or_default(),
        language: sites::language(state, &key),
        address: info.map(|info| info.address.clone()).filter(|address| !address.is_empty()),
        cases: cases.iter().map(|case| case.id).collect(),
        incidents: cases.iter().map(|case| case.incident).collect::<BTreeSet<_>>().into_iter().collect(),
        devices: cases.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect(),
        attempts: cases.iter().map(|case| case.attempts()).max().unwrap_or(0),
        unreachable: cases.iter().any(|case| case.state == CaseState::Unreachable),
        last_contact: latest.and_then(|case| contact(case)),
        call_back_ms: cases.iter().filter_map(|case| case.call_back_ms()).min(),
        owners: cases
            .iter()
            .filter_map(|c| c.owner())
            .map(str::to_string)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        next: next(state, urgent, now),
        tried: tried(latest.unwrap_or(urgent), TRIED),
        tenant: key.0,
        site: key.1,
    })
}

fn recovery_curve(incident: &Incident, curve: Curve, now: u64) -> RecoveryCurve {
    let aware = incident.aware.at_ms;
    let milestones: Vec<_> = curve
        .milestones()
        .into_iter()
        .map(|m| CurveMilestone { percent: m.percent, after_ms: m.at_ms.map(|at| at.saturating_sub(aware)) })
        .collect();
    let last = curve.last();
    let point = |p: &staffel_core::recovery::Point| CurvePoint {
        after_ms: p.at_ms.saturating_sub(aware),
        back: p.back,
        cases: p.cases,
    };
    let mut points: Vec<_> = curve.thinned(POINTS - 1).points.iter().map(point).collect();
    points.push(CurvePoint { after_ms: now.saturating_sub(aware), back: last.back, cases: last.cases });
    let reached = milestones.iter().rev().find_map(|m| m.after_ms.map(|after| (m.percent, after)));
    let mut says = match reached {
        Some((percent, after)) => format!("{percent} % after {}", span(after)),
        None => format!("{} of {} are back after {}", last.back, last.cases, span(now.saturating_sub(aware))),
    };
    if reached.is_some() && last.back < last.cases {
        says.push_str(&format!("; {} of {} are not back", last.cases - last.back, last.cases));
    }
    RecoveryCurve {
        incident: incident.id,
        aware_at_ms: aware,
        now_ms: now,
        cases: last.cases,
        back: last.back,
        points,
        milestones,
        says,
    }
}

/// A span of time for people: two figures at most.
fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
