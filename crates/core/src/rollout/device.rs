//! One device's word: what it leads to. Must stay out: waves and verdicts (`plan`).

use super::{
    Event, HoldReason, Label, Outcome, Phase, Rollout, Skip, Status, WATCHED_CLOSELY as WATCHED, WaitingOn, bit,
};
use crate::{
    conditions::Unit,
    evidence::{Arm, Metric},
    fleet::{DeviceIndex, Fleet},
    ids::Position,
    profile::ceiling_at,
};

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Downloaded, verified, prepared: may I?
    Ready,
    /// It runs, the probes passed once.
    OnTrial,
    /// Healthy for the whole soak time.
    Committed,
    /// Went back, or stands in safe mode.
    Failed { safe_mode: bool, why: String },
    /// Asked for a permit and does not use it. `unchanged`: it runs what it ran before, in normal mode, and tells of no
    /// trial.
    Declined { why: String, unchanged: bool },
    /// Went back because neither the release nor the version before it reached the server.
    CutOff { why: String },
    /// Shuts down in an orderly way.
    Leaving,
    /// Started again, and found that the start before had crashed. What follows from that for the change, the device says
    /// apart.
    Crashed,
}

/// The answer to [`Report::Ready`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Sign a permit for this arm once the event is durable; no event: it was granted before.
    Permit { arm: Arm, event: Option<Event> },
    /// Not now.
    Wait(Waiting),
}

/// Why a device gets no permit.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// The whole rollout does nothing.
    Rollout(Box<WaitingOn>),
    /// Not in the open wave.
    NotInWave,
    /// As many are exposed as the budget allows.
    Budget { exposed: u64 },
    /// This device may not go now.
    Skip(Skip),
    /// Its part in this rollout is over.
    Over,
}

impl Rollout {
    /// Decides what a device's word leads to; nothing changes until the events are applied.
    pub fn report(
        &self,
        fleet: &Fleet,
        device: DeviceIndex,
        report: &Report,
        now_ms: u64,
    ) -> (Vec<Event>, Option<Answer>) {
        if *report == Report::Ready && self.comes_late(device) {
            let answer = self.ready_late(fleet, device, now_ms);
            let event = if let Answer::Permit { event, .. } = &answer { event.clone() } else { None };
            return (event.into_iter().collect(), Some(answer));
        }
        let Some(unit) = self.unit(device) else {
            return (Vec::new(), (*report == Report::Ready).then_some(Answer::Wait(Waiting::NotInWave)));
        };
        let phase = self.phases[device as usize];
        let treated = self.arm(unit) == Some(Arm::Treated);
        let open = treated && matches!(phase, Phase::Permitted | Phase::OnTrial);
        match report {
            Report::Ready => {
                let answer = self.ready(fleet, device, unit, now_ms);
                let events = match &answer {
                    Answer::Permit { event: Some(event), .. } => vec![event.clone()],
                    _ => Vec::new(),
                };
                (events, Some(answer))
            }
            Report::Declined { why, unchanged: true } if treated && phase == Phase::Permitted => {
                (vec![Event::Withdrawn { device, why: why.clone() }], None)
            }
            Report::Declined { .. } => (Vec::new(), None),
            // Told again, because the answer was lost.
            Report::CutOff { .. } if self.has_withdrawn(device) => (Vec::new(), None),
            // By a permit that nobody remembers: it says nothing about the release, and the device is tried again anyway.
            Report::CutOff { .. } if phase == Phase::None => (Vec::new(), None),
            Report::CutOff { why } if treated && phase == Phase::Permitted && self.server_was_away(unit) => {
                (vec![Event::CutOff { device, why: why.clone() }], None)
            }
            Report::CutOff { why } => {
                let failed = Report::Failed { safe_mode: false, why: why.clone() };
                self.report(fleet, device, &failed, now_ms)
            }
            // It said that it had not changed.
            Report::OnTrial | Report::Committed if self.has_withdrawn(device) => {
                let why = "gave its permit back unused, and changed all the same".into();
                (vec![Event::Failed { device, safe_mode: false, why }], None)
            }
            Report::Failed { safe_mode, why } if self.has_withdrawn(device) => {
                let why = format!("gave its permit back unused, and changed all the same: {why}");
                (vec![Event::Failed { device, safe_mode: *safe_mode, why }], None)
            }
            Report::OnTrial if treated && phase == Phase::Permitted => (vec![Event::OnTrial { device }], None),
            // Without a permit that is known here: the server came back from a backup that is older than the permit, or
            // somebody installed it by hand. The device has the release; nobody need ask it again.
            Report::Committed if open || phase == Phase::None => (vec![Event::Confirmed { device }], None),
            // A generation that was committed can still end in safe mode.
            Report::Failed { safe_mode, why } if open || (treated && phase == Phase::Confirmed) => {
                let mut events: Vec<Event> = self.observe(unit, Metric::Crashed).into_iter().collect();
                events.push(Event::Failed { device, safe_mode: *safe_mode, why: why.clone() });
                (events, None)
            }
            // A control that crashes on its own is what the treated are compared with.
            Report::Failed { .. } => (self.observe(unit, Metric::Crashed).into_iter().collect(), None),
            Report::Crashed => (self.observe(unit, Metric::Crashed).into_iter().collect(), None),
            Report::Leaving if self.units[unit as usize].permitted > 0 && phase != Phase::None => {
                let mut events: Vec<Event> = self.observe(unit, Metric::Departed).into_iter().collect();
                if open || self.watched_now(unit) {
                    events.push(Event::Departed { device });
                }
                (events, None)
            }
            _ => (Vec::new(), None),
        }
    }

    /// True if the device has had no permit here that still counts, and gave no word on it.
    pub fn has_no_part(&self, device: DeviceIndex) -> bool {
        self.phases.get(device as usize).is_none_or(|phase| *phase == Phase::None) && !self.has_withdrawn(device)
    }

    fn watched_now(&self, unit: u32) -> bool {
        self.slice.is_some() && self.arm(unit).is_some() && !self.left.contains_key(&unit)
    }

    /// The unit's event for a metric, if it is at risk and had none: with the risk set as it stands.
    pub(super) fn observe(&self, unit: u32, metric: Metric) -> Option<Event> {
        let row = &self.units[unit as usize];
        let slice = self.slice.as_ref()?;
        let arm = self.arm(unit)?;
        if row.label == Label::Done || row.permitted == 0 || row.seen & bit(metric) != 0 {
            return None;
        }
        if metric == Metric::HeartbeatsMissed && !row.watched {
            return None;
        }
        let members = slice.cells.get(&row.cell)?;
        let mut at_risk = members.at_risk.clone();
        let (n_t, n_c) = match metric {
            Metric::FirstCheckInMissed => members.batches.get(usize::from(row.batch))?.at_risk(),
            _ => (*at_risk.of(metric, Arm::Treated), *at_risk.of(metric, Arm::Control)),
        };
        let own = if arm == Arm::Treated { n_t } else { n_c };
        (own > 0).then_some(Event::Observed { unit, metric, arm, n_t, n_c })
    }

    /// True if this device would be treated, but takes the authorisation for younger than its ceiling allows: it would
    /// refuse the permit, and its refusal would look like silence.
    pub fn is_too_young_for(&self, device: DeviceIndex, age_ms: u64) -> bool {
        let Some(unit) = self.unit(device) else { return false };
        let row = &self.units[unit as usize];
        let ceiling = Position::from_share(ceiling_at(&self.authorisation.ceiling, age_ms));
        row.label == Label::Treated && ceiling != Position::END && row.position >= ceiling
    }

    fn ready(&self, fleet: &Fleet, device: DeviceIndex, unit: u32, now_ms: u64) -> Answer {
        let row = &self.units[unit as usize];
        let phase = self.phases[device as usize];
        if phase != Phase::None {
            // The reply was lost: the same arm again, no new clock. While the rollout is held, only if it is held because
            // of this very unit, which may just not have heard.
            let goes_on = matches!(self.status, Status::Running | Status::Completed { .. }) || self.held_by(unit);
            return match (phase, self.arm(unit)) {
                (Phase::Permitted, Some(arm)) if goes_on => Answer::Permit { arm, event: None },
                (Phase::Permitted, Some(_)) => Answer::Wait(Waiting::Rollout(Box::new(self.waiting_on(fleet, now_ms)))),
                _ => Answer::Wait(Waiting::Over),
            };
        }
        let authorisation = &self.authorisation;
        if !matches!(self.status, Status::Running)
            || now_ms > authorisation.not_after_ms
            || now_ms < authorisation.start_ms
        {
            return Answer::Wait(Waiting::Rollout(Box::new(self.waiting_on(fleet, now_ms))));
        }
        let arm = match row.label {
            Label::None => return Answer::Wait(Waiting::NotInWave),
            Label::Done => return Answer::Wait(Waiting::Over),
            Label::Treated => Arm::Treated,
            Label::Control => Arm::Control,
        };
        // Both arms alike; only that a control's turn is later is no reason for it.
        match self.may_not(fleet, device, now_ms) {
            Some(Skip::AboveCeiling) if arm == Arm::Control => {}
            Some(skip) => return Answer::Wait(Waiting::Skip(skip)),
            None => {}
        }
        if let Some(skip) = self.declined(device, now_ms) {
            return Answer::Wait(Waiting::Skip(skip));
        }
        if arm == Arm::Treated {
            if row.permitted > 0 && row.seen & !bit(Metric::Departed) != 0 {
                // Another device of the site had its event: the rest waits for a later wave.
                return Answer::Wait(Waiting::NotInWave);
            }
            if row.open == 0 && self.counts.exposed >= self.budget() {
                return Answer::Wait(Waiting::Budget { exposed: self.counts.exposed });
            }
            if let Some(skip) = disrupts(fleet, device) {
                return Answer::Wait(Waiting::Skip(skip));
            }
        }
        let deadline_ms = now_ms.saturating_add(self.deadline_ms(unit));
        Answer::Permit { arm, event: Some(Event::Permitted { device, arm, deadline_ms }) }
    }

    /// True if what holds the rollout ends with this unit: a silence that is its alone, or its wave's.
    fn held_by(&self, unit: u32) -> bool {
        match &self.status {
            Status::Held { reason: HoldReason::Silent { .. }, .. } => {
                self.troubled.iter().all(|(other, trouble)| *other == unit || trouble.excused)
            }
            Status::Held { reason: HoldReason::WaveLost { .. }, .. } => self.troubled.contains_key(&unit),
            _ => false,
        }
    }

    /// Why this device may not change now, whatever its place in the order.
    pub(super) fn may_not(&self, fleet: &Fleet, device: DeviceIndex, now_ms: u64) -> Option<Skip> {
        use crate::policy::PolicyRefusal as No;
        let row = fleet.device(device);
        if row.retired {
            return Some(Skip::Retired);
        }
        if row.cloned {
            return Some(Skip::Cloned);
        }
        if self.fenced.contains(&fleet.tenant_index(device)) {
            return Some(Skip::Fenced);
        }
        let authorisation = &self.authorisation;
        let allowed = fleet.allows(device, &self.release, authorisation.is_urgent(), authorisation.start_ms, now_ms);
        match allowed {
            Err(No::Frozen { .. }) => return Some(Skip::Frozen),
            Err(No::Pinned { .. }) => return Some(Skip::Pinned),
            Err(No::NMinusOne) => return Some(Skip::NMinusOne),
            Err(No::Deferred { .. }) => return Some(Skip::Deferred),
            Err(No::WindowClosed) => return Some(Skip::WindowClosed),
            Err(No::ManualOnly) => return Some(Skip::ManualOnly),
            Ok(()) => {}
        }
        if row.member_of != 0 && row.member_of != self.id {
            return Some(Skip::OtherRollout);
        }
        let age_ms = now_ms.saturating_sub(authorisation.start_ms);
        let ceiling = Position::from_share(ceiling_at(&authorisation.ceiling, age_ms));
        let position = match self.unit(device) {
            Some(unit) => self.units[unit as usize].position,
            None => self.position_of(fleet, device),
        };
        if ceiling != Position::END && position >= ceiling {
            return Some(Skip::AboveCeiling);
        }
        None
    }

    /// From permit to first word, milliseconds. Beyond the closely watched, cadence and deadline stretch fivefold.
    pub(super) fn deadline_ms(&self, unit: u32) -> u64 {
        self.profile.deadline_ms * self.stretch(unit)
    }

    /// Three heartbeats, milliseconds.
    pub(super) fn heartbeats_ms(&self, unit: u32) -> u64 {
        3 * self.profile.cadence_ms * self.stretch(unit)
    }

    /// When a device of the unit was last heard, Unix milliseconds; 0 for never.
    pub(super) fn heard_ms(&self, fleet: &Fleet, unit: u32) -> u64 {
        self.devices(unit).iter().map(|device| fleet.device(*device).last_seen_ms).max().unwrap_or(0)
    }

    pub(super) fn stretch(&self, unit: u32) -> u64 {
        let row = &self.units[unit as usize];
        let Some(cell) = self.slice.as_ref().and_then(|slice| slice.cells.get(&row.cell)) else { return 1 };
        let arm = if row.label == Label::Control { &cell.control } else { &cell.treated };
        // Lists are in the order of the hash, so "the first so many" is a random choice.
        let far = arm.len() > WATCHED && arm.binary_search(&unit).is_ok_and(|at| at >= WATCHED);
        if far { 5 } else { 1 }
    }

    /// How often this device should check in, milliseconds.
    pub fn cadence_ms(&self, device: DeviceIndex) -> u64 {
        let Some(unit) = self.unit(device) else { return self.profile.idle_cadence_ms };
        let row = &self.units[unit as usize];
        let awaited = matches!(self.status, Status::Completed { .. }) && row.outcome.is_open();
        if matches!(self.status, Status::Halted { .. } | Status::Completed { .. }) && !awaited {
            return self.profile.idle_cadence_ms;
        }
        let in_wave = awaited
            || matches!(row.label, Label::Treated | Label::Control)
            || matches!(row.outcome, Outcome::Awaited | Outcome::Missed);
        let candidate =
            row.label == Label::None && self.cells[row.cell as usize].candidate_to.is_some_and(|to| row.position <= to);
        if in_wave || candidate { self.profile.cadence_ms * self.stretch(unit) } else { self.profile.idle_cadence_ms }
    }

    /// When this device should check in next, milliseconds after `now_ms`: a cadence later, but when its permit comes with this
    /// check-in at any time within one, by its place in the order. A control's permit is one of its polls, so its deadline would
    /// come just before another, and a treated device's anywhere between two: one outage would be a missed first check-in of
    /// the ones and missed heartbeats of the others.
    pub fn next_check_in_ms(&self, device: DeviceIndex, now_ms: u64) -> u64 {
        let cadence_ms = self.cadence_ms(device);
        let Some(unit) = self.unit(device) else { return cadence_ms };
        let row = &self.units[unit as usize];
        if row.permitted_ms != now_ms || !matches!(row.label, Label::Treated | Label::Control) {
            return cadence_ms;
        }
        // The last digits of the position: the first ones say who is treated.
        let least_ms = cadence_ms / 6;
        least_ms + row.position.0 % (cadence_ms - least_ms).max(1)
    }

    /// True if the unit of this rollout is a whole site.
    pub fn by_site(&self) -> bool {
        self.authorisation.unit == Unit::Site
    }
}

/// Why this device would take away more than its customer allows at a time, counting those that other changes took.
pub(super) fn disrupts(fleet: &Fleet, device: DeviceIndex) -> Option<Skip> {
    if fleet.is_away(device) {
        return None;
    }
    if fleet.group(device).is_some_and(|group| fleet.group_away(&group) > 0) {
        return Some(Skip::RedundancyGroup);
    }
    let limit = fleet.tenant_of(device).policy.limits.max_unavailable_per_site;
    (limit > 0 && fleet.site_away(fleet.device(device).site) >= limit).then_some(Skip::SiteLimit)
}
