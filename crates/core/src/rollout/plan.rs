//! What a rollout does next, and why it does nothing: deadlines, verdicts, waves. Must stay out: carrying it out.

use super::{
    BY_ITSELF, Event, HaltReason, HoldReason, NO_BATCH, Named, Rollout, Skip, Status, UnitIndex, WaitingOn, wave::NAMED,
};
use crate::{
    evidence::{
        Arm, Metric, Scope, ScopeValue, Verdict, small,
        small::{SmallVerdict, TreatedUnit, UnitReport},
        thresholds,
    },
    fleet::Fleet,
    ids::Share,
    profile::ceiling_at,
};
use std::collections::BTreeMap;

/// Deadlines looked at in one call; the rest follows in the next, so that one call stays short.
const DEADLINES_AT_ONCE: usize = 20_000;

/// The first wave begins after so many cadences, also if fewer than it could have were found.
const FIRST_LOOK_CADENCES: u64 = 5;

/// Units that a search for the next wave may pass over a cadence, on average: some tens of milliseconds.
const LOOKED_AT_A_CADENCE: u64 = 100_000;

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Make them durable in this order, apply them, and plan again until there are none.
    pub actions: Vec<Event>,
    /// What the rollout waits for once the actions are done.
    pub waiting_on: WaitingOn,
    /// When to plan again at the latest, Unix milliseconds, if nothing happens before.
    pub again_at_ms: Option<u64>,
}

impl Rollout {
    /// Decides from the facts as they are now. The same facts give the same plan, so it may be asked at any time and
    /// again after a restart. Costs what is due, never a look at the whole fleet.
    pub fn plan(&mut self, fleet: &Fleet, now_ms: u64) -> Plan {
        let actions = self.decide(fleet, now_ms);
        let waiting_on = self.waiting_on(fleet, now_ms);
        let again_at_ms = self.queue.next_deadline().into_iter().chain(self.wake_ms(&waiting_on, now_ms)).min();
        Plan { actions, waiting_on, again_at_ms }
    }

    fn decide(&mut self, fleet: &Fleet, now_ms: u64) -> Vec<Event> {
        if matches!(self.status, Status::Completed { .. }) {
            return self.late_overdue(fleet, now_ms);
        }
        if matches!(self.status, Status::Halted { .. }) || now_ms < self.authorisation.start_ms {
            return Vec::new();
        }
        let missed = self.missed(fleet, now_ms);
        if !missed.is_empty() {
            return missed;
        }
        let verdict = self.verdict(fleet, now_ms);
        if !verdict.is_empty() {
            return verdict;
        }
        if !matches!(self.status, Status::Running) {
            return Vec::new();
        }
        match &self.slice {
            Some(_) if !self.is_resolved(now_ms) => Vec::new(),
            Some(slice) => {
                let (bound, next) = self.widened();
                vec![Event::WaveResolved { wave: slice.wave, bound, next }]
            }
            None if now_ms > self.authorisation.not_after_ms => Vec::new(),
            None => self.next_wave(fleet, now_ms),
        }
    }

    /// Deadlines that passed. An entry stays in the queue until its event is applied: a full disk loses none.
    fn missed(&mut self, fleet: &Fleet, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        let mut kept: Vec<(u64, u64, UnitIndex)> = Vec::new();
        let mut counted: BTreeMap<(u32, u16, Metric, bool), u64> = BTreeMap::new();
        while kept.len() < DEADLINES_AT_ONCE {
            let Some(due) = self.queue.pop_due(now_ms) else { break };
            let unit = due.unit;
            self.units[unit as usize].deadline = None;
            let Some(metric) = self.what_was_missed(fleet, unit, due.deadline_ms, now_ms) else { continue };
            let Some(Event::Observed { arm, n_t, n_c, .. }) = self.observe(unit, metric) else {
                // It is compared with nobody, and its wave must not wait for it for ever.
                if self.arm(unit) == Some(Arm::Treated) && self.units[unit as usize].outcome.is_open() {
                    events.push(Event::Overdue { device: self.devices(unit)[0] });
                    kept.push((due.deadline_ms, due.hash, unit));
                }
                continue;
            };
            let row = &self.units[unit as usize];
            let batch = if metric == Metric::FirstCheckInMissed { row.batch } else { NO_BATCH };
            let cell = row.cell;
            let gone = |arm: bool| counted.get(&(cell, batch, metric, arm)).copied().unwrap_or(0);
            let (n_t, n_c) = (n_t - gone(true).min(n_t), n_c - gone(false).min(n_c));
            events.push(Event::Observed { unit, metric, arm, n_t, n_c });
            *counted.entry((cell, batch, metric, arm == Arm::Treated)).or_insert(0) += 1;
            kept.push((due.deadline_ms, due.hash, unit));
        }
        for (deadline_ms, hash, unit) in kept {
            self.units[unit as usize].deadline = Some(self.queue.insert(deadline_ms, hash, unit));
        }
        events
    }

    /// Hold, halt, or let go: what the evidence and the rules for the first devices say now.
    fn verdict(&self, fleet: &Fleet, now_ms: u64) -> Vec<Event> {
        let first = self.first_devices(fleet, now_ms);
        if let SmallVerdict::Halt(reason) = first {
            return vec![Event::Halted { reason: self.small_halt(fleet, reason) }];
        }
        let ln_e = self.evidence.ln_e_total();
        let mut wanted = None;
        match self.limits.judge(ln_e) {
            Verdict::Halt { ln_limit, .. } => match self.one_customer(fleet) {
                // Fenced before: a person has decided about the rest, or will.
                Some(tenant) if self.fenced.contains(&tenant) => {}
                Some(tenant) => {
                    let name = fleet.tenants[tenant as usize].name.clone();
                    let reason = HoldReason::OneCustomer { tenant: name, e: printable(ln_e) };
                    return vec![Event::Fenced { tenant }, Event::Held { reason }];
                }
                None => {
                    let strongest = self.evidence.largest_scope();
                    let (e, at, metric) = (printable(ln_e), printable(ln_limit), strongest.metric);
                    let scope = self.scope_name(fleet, strongest.scope);
                    return vec![Event::Halted { reason: HaltReason::Evidence { e, at, metric, scope } }];
                }
            },
            // A person resumed in spite of it: held again once it has doubled.
            Verdict::Hold { .. } if ln_e <= self.excused_ln_e + std::f64::consts::LN_2 => {}
            Verdict::Hold { ln_limit, .. } => {
                // The scope is looked for once it is said: with many customers that takes longer than all the rest.
                let scope = String::new();
                wanted = Some(HoldReason::Evidence { e: printable(ln_e), at: printable(ln_limit), scope });
            }
            Verdict::Continue { .. } => {}
        }
        if let SmallVerdict::Hold(reason) = first {
            wanted = Some(self.silent(fleet, reason, now_ms));
        }
        let wanted = wanted.or_else(|| self.wave_lost());
        match (&self.status, wanted) {
            (Status::Running, Some(reason)) => vec![Event::Held { reason: self.with_scope(fleet, reason) }],
            // The cause changed: the page must not go on naming a device that is back.
            (Status::Held { reason: old, .. }, Some(reason)) if old.ends_by_itself() && !old.is_same_cause(&reason) => {
                vec![Event::Held { reason: self.with_scope(fleet, reason) }]
            }
            (Status::Held { reason, .. }, None) if reason.ends_by_itself() => {
                vec![Event::Released { by: BY_ITSELF.into() }]
            }
            _ => Vec::new(),
        }
    }

    /// A wave that is through, and of which hardly anybody is well. A person who has let it go on has seen it.
    fn wave_lost(&self) -> Option<HoldReason> {
        let slice = self.slice.as_ref().filter(|slice| slice.treated_open == 0)?;
        let (lost, is_new) = self.lost_units(slice)?;
        is_new.then_some(HoldReason::WaveLost { wave: slice.wave, lost, treated: slice.treated_permitted })
    }

    fn with_scope(&self, fleet: &Fleet, reason: HoldReason) -> HoldReason {
        match reason {
            HoldReason::Evidence { e, at, .. } => {
                let scope = self.scope_name(fleet, self.evidence.largest_scope().scope);
                HoldReason::Evidence { e, at, scope }
            }
            other => other,
        }
    }

    /// The rules for the first eight units of any fleet, and for small fleets.
    fn first_devices(&self, fleet: &Fleet, now_ms: u64) -> SmallVerdict {
        if !self.small && self.exposed_units > small::FEW_EXPOSED {
            return SmallVerdict::Continue;
        }
        let units: Vec<TreatedUnit> =
            self.troubled.keys().map(|unit| self.treated_unit(fleet, *unit, now_ms)).collect();
        if !self.small {
            return small::hold_while_few(self.exposed_units, &units)
                .map_or(SmallVerdict::Continue, SmallVerdict::Hold);
        }
        // What a device of a small fleet says of itself counts however many are exposed: no process would count it.
        let said: Vec<TreatedUnit> =
            units.iter().filter(|unit| !matches!(unit.report, UnitReport::Silent { .. })).copied().collect();
        match small::judge(0, &said) {
            SmallVerdict::Halt(reason) => SmallVerdict::Halt(reason),
            _ => small::judge(self.exposed_units, &units),
        }
    }

    fn treated_unit(&self, fleet: &Fleet, unit: UnitIndex, now_ms: u64) -> TreatedUnit {
        let Some(trouble) = self.troubled.get(&unit) else {
            return TreatedUnit { unit, report: UnitReport::ConfirmedNew, silence_excused: true };
        };
        let heard = self.heard_ms(fleet, unit);
        let left = self.left.get(&unit);
        let away = left.is_some_and(|left| heard <= *left);
        let report = match &trouble.returned {
            Some((true, _)) => UnitReport::SafeMode,
            Some((false, _)) => UnitReport::RolledBack,
            None => {
                // Silent from its last word on, if it had one after the deadline.
                let spoke = trouble.back || (left.is_some() && !away);
                let since_ms =
                    if spoke { trouble.since_ms.max(heard).max(self.observing_since_ms) } else { trouble.since_ms };
                let missed = small::deadlines_missed(since_ms, self.profile.deadline_ms, now_ms);
                // In a small fleet being back is not enough, it must be proven healthy.
                let at_least = u32::from(self.small && trouble.back);
                UnitReport::Silent { deadlines_missed: missed.max(at_least), clean_shutdown: away }
            }
        };
        TreatedUnit { unit, report, silence_excused: trouble.excused }
    }

    fn silent(&self, fleet: &Fleet, reason: small::HoldReason, now_ms: u64) -> HoldReason {
        let (unit, shut_down) = match reason {
            small::HoldReason::Overdue { unit, .. } => (unit, false),
            small::HoldReason::ShutDown { unit, .. } => (unit, true),
        };
        let since_ms = self.troubled.get(&unit).map_or(now_ms, |trouble| trouble.since_ms);
        let (device, exposed) = (self.unit_name(fleet, unit), self.counts.exposed);
        HoldReason::Silent { device, since_ms, exposed, shut_down }
    }

    fn small_halt(&self, fleet: &Fleet, reason: small::HaltReason) -> HaltReason {
        let why = |unit: UnitIndex| {
            let returned = self.troubled.get(&unit).and_then(|trouble| trouble.returned.clone());
            returned.map_or(String::new(), |(_, why)| why)
        };
        match reason {
            small::HaltReason::RolledBack { unit } => {
                HaltReason::RolledBack { device: self.unit_name(fleet, unit), why: why(unit) }
            }
            small::HaltReason::SafeMode { unit } => {
                HaltReason::SafeMode { device: self.unit_name(fleet, unit), why: why(unit) }
            }
            small::HaltReason::NotBack { unit, deadlines_missed } => {
                HaltReason::NotBack { device: self.unit_name(fleet, unit), deadlines: deadlines_missed }
            }
        }
    }

    /// The customer that brought over 80 % of the evidence without being most of the fleet, if the others had the release
    /// at least as often. Where a customer is most of those that had it, its share of the evidence says nothing about it,
    /// and where one was fenced before, it is not about one customer.
    fn one_customer(&self, fleet: &Fleet) -> Option<u32> {
        let customers = self.evidence.dimensions().len().checked_sub(1)?;
        let share = self.evidence.customer_share(customers)?;
        let ScopeValue::Known(tenant) = share.value else { return None };
        if (tenant as usize) >= fleet.tenants.len() || !thresholds::dominates(&share) {
            return None;
        }
        if self.fenced.contains(&tenant) {
            return Some(tenant);
        }
        let theirs = self.exposed_of.get(&tenant).copied().unwrap_or(0);
        let others = self.exposed_units.saturating_sub(theirs);
        let alone = others >= theirs && share.fleet_share < thresholds::DOMINANT_SHARE;
        (alone && self.fenced.is_empty()).then_some(tenant)
    }

    fn scope_name(&self, fleet: &Fleet, scope: Scope) -> String {
        match scope {
            Scope::Global => "the whole fleet".into(),
            Scope::Cohort { dimension, value } => {
                let name = self.evidence.dimensions().get(dimension).map_or("", |d| d.name.as_str());
                let value = match (name, value) {
                    (_, ScopeValue::Other) => "values unknown at the start",
                    ("OS build", ScopeValue::Known(n)) => fleet.os_builds.name(n),
                    ("hardware model", ScopeValue::Known(n)) => fleet.hardware_models.name(n),
                    ("site", ScopeValue::Known(n)) => fleet.sites.get(n as usize).map_or("", |s| &s.name),
                    (_, ScopeValue::Known(n)) => fleet.tenants.get(n as usize).map_or("", |t| &t.name),
                };
                format!("{name} {value}")
            }
        }
    }

    pub(super) fn unit_name(&self, fleet: &Fleet, unit: UnitIndex) -> String {
        let device = self.devices(unit)[0];
        let site = &fleet.sites[fleet.device(device).site as usize];
        let tenant = &fleet.tenants[site.tenant as usize].name;
        if self.by_site() {
            return format!("{tenant}/{}", site.name);
        }
        format!("{tenant}/{}/{}", site.name, fleet.device(device).name)
    }

    /// Every outcome that can come has come. A unit that never asked for its permit blocks for three deadlines only; in
    /// the first wave so much longer that whoever still polls at leisure has heard of it.
    fn is_resolved(&self, now_ms: u64) -> bool {
        let Some(slice) = &self.slice else { return true };
        let leisure_ms = if slice.wave == 1 { self.profile.idle_cadence_ms } else { 0 };
        let patience = 3 * self.profile.deadline_ms + leisure_ms;
        let waited = now_ms.saturating_sub(slice.opened_ms.max(self.observing_since_ms)) > patience;
        slice.treated_open == 0 && (waited || (slice.treated_without_permit == 0 && self.controls_in(slice)))
    }

    /// Controls that can still be asked for are waited for, but not all of them: four a treated device carry the
    /// comparison.
    fn controls_in(&self, slice: &super::Slice) -> bool {
        slice.controls_permitted >= (4 * slice.size).min(slice.controls)
    }

    /// Opens the next wave. Looking for one may mean to pass over many that may not go (a frozen customer), so a look
    /// that found nobody is not repeated before a cadence is over, and later the more it had to pass over.
    fn next_wave(&mut self, fleet: &Fleet, now_ms: u64) -> Vec<Event> {
        if now_ms < self.look_again_ms {
            return Vec::new();
        }
        let room = self.signed_budget().saturating_sub(self.counts.exposed);
        let draft = self.draft_wave(fleet, room.max(1), now_ms);
        (self.skipped, self.named) = (draft.skipped, draft.named);
        if self.waits_for_more(draft.treated.min(room), now_ms) {
            self.look_again_ms = now_ms.saturating_add(self.profile.cadence_ms / 4);
            return Vec::new();
        }
        if draft.treated > 0 && room > 0 {
            return vec![Event::WaveOpened { wave: self.wave + 1, cells: draft.cells }];
        }
        // What nobody has is not done, whoever may not have it.
        if draft.treated == 0 && !draft.waiting && self.counts.confirmed > 0 {
            return vec![Event::Completed];
        }
        let passed_over: u64 = self.skipped.values().sum();
        let cadences = 1 + passed_over / LOOKED_AT_A_CADENCE;
        self.look_again_ms = now_ms.saturating_add(cadences.saturating_mul(self.profile.cadence_ms));
        if let Some((_, until_ms)) = self.ceiling_ahead(now_ms) {
            self.look_again_ms = self.look_again_ms.min(until_ms);
        }
        Vec::new()
    }

    /// The first wave is drawn from those that have heard of the rollout, so that nobody waits for a device that polls at
    /// leisure. It begins once there are enough of them, after some cadences with fewer, and at the latest when
    /// everybody must have heard of it.
    fn waits_for_more(&self, found: u64, now_ms: u64) -> bool {
        if !self.is_early(now_ms) {
            return false;
        }
        let waited_ms = now_ms.saturating_sub(self.authorisation.start_ms);
        found < self.first_size() && (found == 0 || waited_ms < FIRST_LOOK_CADENCES * self.profile.cadence_ms)
    }

    /// True before the first wave while devices that poll at leisure may not have heard of the rollout.
    pub(super) fn is_early(&self, now_ms: u64) -> bool {
        let since_ms = self.authorisation.start_ms.max(self.observing_since_ms);
        let at_leisure = self.profile.idle_cadence_ms > self.profile.cadence_ms;
        at_leisure && self.wave == 0 && now_ms.saturating_sub(since_ms) <= self.profile.idle_cadence_ms
    }

    /// The ceiling now, and when it rises.
    fn ceiling_ahead(&self, now_ms: u64) -> Option<(Share, u64)> {
        let authorisation = &self.authorisation;
        let age_ms = now_ms.saturating_sub(authorisation.start_ms);
        let next = authorisation.ceiling.iter().map(|step| step.age_ms).filter(|age| *age > age_ms).min()?;
        Some((ceiling_at(&authorisation.ceiling, age_ms), authorisation.start_ms.saturating_add(next)))
    }

    /// What the rollout waits for, from the last look at it: for pages. Looks at nothing but its own counts.
    pub fn waiting_on(&self, fleet: &Fleet, now_ms: u64) -> WaitingOn {
        let skipped = || self.skipped.iter().map(|(skip, count)| (*skip, *count)).collect::<Vec<_>>();
        match &self.status {
            Status::Halted { reason, .. } => return WaitingOn::Halted { reason: reason.clone() },
            Status::Completed { .. } => return self.completed(fleet),
            Status::Held { reason, .. } => return WaitingOn::Held { reason: reason.clone() },
            Status::Running => {}
        }
        let authorisation = &self.authorisation;
        if now_ms < authorisation.start_ms {
            return WaitingOn::Start { at_ms: authorisation.start_ms };
        }
        if now_ms > authorisation.not_after_ms {
            return WaitingOn::Expired { at_ms: authorisation.not_after_ms };
        }
        if let Some(slice) = &self.slice {
            if slice.treated_open > 0 {
                return WaitingOn::Outcomes {
                    wave: slice.wave,
                    open: slice.treated_open,
                    next_deadline_ms: self.queue.next_deadline(),
                };
            }
            return WaitingOn::Permits {
                wave: slice.wave,
                treated: slice.treated_without_permit,
                control: slice.control_without_permit,
            };
        }
        if self.counts.exposed >= self.signed_budget() {
            return WaitingOn::Budget { exposed: self.counts.exposed, budget: self.signed_budget() };
        }
        match self.ceiling_ahead(now_ms) {
            Some((share, until_ms)) if self.skipped.contains_key(&Skip::AboveCeiling) => {
                WaitingOn::Ceiling { share, until_ms }
            }
            _ => WaitingOn::Skipped { reasons: skipped(), named: self.named.clone() },
        }
    }

    /// Who has it, and who was left out: also those that got it and are not well.
    fn completed(&self, fleet: &Fleet) -> WaitingOn {
        let (mut left_out, mut named) = (self.skipped.clone(), self.named.clone());
        for (unit, skip) in self.not_proven() {
            let count = left_out.entry(skip).or_insert(0);
            *count += 1;
            if *count <= NAMED as u64 {
                named.push(Named { unit: self.unit_name(fleet, unit), skip, why: None });
            }
        }
        WaitingOn::Completed { left_out: left_out.into_iter().collect(), named, late: self.latecomers(fleet) }
    }

    fn wake_ms(&self, waiting: &WaitingOn, now_ms: u64) -> Option<u64> {
        let soon = now_ms.saturating_add(self.profile.cadence_ms);
        match waiting {
            WaitingOn::Start { at_ms } => Some(*at_ms),
            WaitingOn::Ceiling { until_ms, .. } => Some(soon.min(*until_ms)),
            WaitingOn::Held { .. }
            | WaitingOn::Permits { .. }
            | WaitingOn::Outcomes { .. }
            | WaitingOn::Budget { .. }
            | WaitingOn::Skipped { .. } => Some(soon),
            // An open wave ends in spite of it.
            WaitingOn::Expired { .. } => self.slice.is_some().then_some(soon),
            WaitingOn::Halted { .. } | WaitingOn::Completed { .. } => None,
        }
    }

    /// Events for a person's word. Nothing for what is not possible any more.
    pub fn by_hand(&self, word: ByHand) -> Vec<Event> {
        if matches!(self.status, Status::Completed { .. }) {
            return match word {
                ByHand::Resume { who } if self.late_stop().is_some() => vec![Event::Released { by: who }],
                // Nobody who comes late gets it any more.
                ByHand::Halt { who, why } => vec![Event::Halted { reason: HaltReason::Operator { who, why } }],
                _ => Vec::new(),
            };
        }
        if matches!(self.status, Status::Halted { .. }) {
            return Vec::new();
        }
        match word {
            ByHand::Hold { who, why } => vec![Event::Held { reason: HoldReason::Operator { who, why } }],
            ByHand::Resume { who } if matches!(self.status, Status::Held { .. }) => vec![Event::Released { by: who }],
            ByHand::Resume { .. } => Vec::new(),
            ByHand::Halt { who, why } => vec![Event::Halted { reason: HaltReason::Operator { who, why } }],
            ByHand::Supersede { by } => vec![Event::Halted { reason: HaltReason::Superseded { by } }],
        }
    }
}

/// What a person can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByHand {
    Hold { who: String, why: String },
    Resume { who: String },
    Halt { who: String, why: String },
    Supersede { by: u64 },
}

/// `E` for people: four digits, at most 10^12. Few digits come back from JSON exactly as they went, and JSON has no
/// infinity.
fn printable(ln_e: f64) -> f64 {
    let e = libm::exp(ln_e.clamp(-28.0, 27.6)).min(1e12);
    let scale = libm::pow(10.0, 3.0 - libm::floor(libm::log10(e)));
    if scale >= 1.0 { libm::round(e * scale) / scale } else { libm::round(e) }
}
