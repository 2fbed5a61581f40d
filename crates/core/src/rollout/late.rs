//! Devices that come after the end: those that were left out and those that joined late. They get a completed release a
//! few at a time, and the next few only once the ones before are proven healthy.
//!
//! There is nobody left to compare them with, so they widen by confirmation alone, and one that is silent or goes back
//! stops all the others until it is well again or a person lets them go on. Must stay out: rollouts that still go on.

use super::{
    Answer, Cell, Event, Label, NO_UNIT, Outcome, Phase, Rollout, Skip, Status, UnitIndex, UnitRow, Waiting,
    device::disrupts, layout::unit_key,
};
use crate::{
    conditions::Reach,
    evidence::Arm,
    fleet::{DeviceIndex, Fleet},
    ids::Position,
    policy::EVERYBODY,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The turn of units that joined after the start.
const LATE: u8 = 2;

/// Who came after the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Latecomers {
    units: BTreeSet<UnitIndex>,
    /// Of these, exposed now, and proven healthy.
    exposed: u64,
    proven: u64,
}

/// Who came after the end, for pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    pub exposed: u64,
    pub proven: u64,
    /// The one that stops the others: it is silent, or went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,
}

impl Late {
    /// True if nobody came yet.
    pub fn is_empty(&self) -> bool {
        *self == Late::default()
    }
}

impl Rollout {
    fn is_completed(&self) -> bool {
        matches!(self.status, Status::Completed { .. })
    }

    /// True if this device comes after the end and holds no permit.
    pub(super) fn comes_late(&self, device: DeviceIndex) -> bool {
        let Some(unit) = self.unit(device) else { return self.is_completed() };
        self.is_completed()
            && self.phases[device as usize] == Phase::None
            && self.units[unit as usize].outcome != Outcome::Failed
    }

    /// As many latecomers may be exposed at a time: the first few, then as many as are proven, beside those whose silence
    /// a person has seen.
    pub(super) fn late_budget(&self) -> u64 {
        let excused = |unit: &&UnitIndex| {
            self.units[**unit as usize].open > 0 && self.troubled.get(unit).is_some_and(|trouble| trouble.excused)
        };
        let excused = self.late.units.iter().filter(excused).count() as u64;
        self.first_size().max(self.late.proven).saturating_add(excused)
    }

    pub(super) fn late_exposed(&self) -> u64 {
        self.late.exposed
    }

    /// True while a latecomer's outcome is open: the rollout is over, and still has deadlines.
    pub fn awaits_latecomers(&self) -> bool {
        self.late.exposed > 0
    }

    /// The latecomer that stops the others.
    pub(super) fn late_stop(&self) -> Option<UnitIndex> {
        let stops = |unit: &&UnitIndex| self.troubled.get(unit).is_some_and(|trouble| !trouble.excused);
        self.late.units.iter().find(stops).copied()
    }

    /// Who came after the end.
    pub(super) fn latecomers(&self, fleet: &Fleet) -> Late {
        let stopped_by = self.late_stop().map(|unit| self.unit_name(fleet, unit));
        Late { exposed: self.late.exposed, proven: self.late.proven, stopped_by }
    }

    pub(super) fn ready_late(&self, fleet: &Fleet, device: DeviceIndex, now_ms: u64) -> Answer {
        let whole = || Answer::Wait(Waiting::Rollout(Box::new(self.waiting_on(fleet, now_ms))));
        if now_ms > self.authorisation.not_after_ms || self.late_stop().is_some() {
            return whole();
        }
        let skip = self.may_not(fleet, device, now_ms).or_else(|| self.declined(device, now_ms));
        if let Some(skip) = skip.or_else(|| disrupts(fleet, device)) {
            return Answer::Wait(Waiting::Skip(skip));
        }
        let idle = self.unit(device).is_none_or(|unit| self.units[unit as usize].open == 0);
        if idle && (self.late.exposed >= self.late_budget() || self.counts.exposed >= self.signed_budget()) {
            return Answer::Wait(Waiting::Budget { exposed: self.counts.exposed });
        }
        let deadline_ms = now_ms.saturating_add(self.profile.deadline_ms);
        Answer::Permit { arm: Arm::Treated, event: Some(Event::Permitted { device, arm: Arm::Treated, deadline_ms }) }
    }

    /// A latecomer gets its permit.
    pub(super) fn takes_late(&mut self, fleet: &Fleet, device: DeviceIndex) -> UnitIndex {
        let unit = self.unit(device).unwrap_or_else(|| self.admit(fleet, device));
        self.late.units.insert(unit);
        let row = &mut self.units[unit as usize];
        row.label = Label::Done;
        let cell = row.cell as usize;
        if row.open == 0 {
            row.outcome = Outcome::NoPermit;
            row.forget();
            self.late.exposed += 1;
        }
        self.cells[cell].passed.remove(&unit);
        unit
    }

    /// A unit of its own for a device that joined after the start.
    fn admit(&mut self, fleet: &Fleet, device: DeviceIndex) -> UnitIndex {
        let unit = self.units.len() as UnitIndex;
        if self.cells.last().is_none_or(|cell| cell.turn != LATE) {
            self.cells.push(Cell::new(LATE, EVERYBODY, 0, unit));
        }
        let (cell, first_member) = (self.cells.len() as u32 - 1, self.members.len() as u32);
        let position = self.position_of(fleet, device);
        self.units.push(UnitRow::new(position, cell, first_member));
        self.members.push(device);
        self.unit_of.resize(fleet.devices.len(), NO_UNIT);
        self.phases.resize(fleet.devices.len(), Phase::None);
        self.unit_of[device as usize] = unit;
        self.counts.units += 1;
        unit
    }

    /// Where a device stands in the order, also one that this rollout does not have.
    pub(super) fn position_of(&self, fleet: &Fleet, device: DeviceIndex) -> Position {
        let authorisation = &self.authorisation;
        Position::of(&authorisation.log_root, &authorisation.release, &unit_key(fleet, authorisation.unit, device))
    }

    /// A unit has no open permit any more.
    pub(super) fn late_is_through(&mut self, unit: UnitIndex) {
        if self.late.units.contains(&unit) {
            self.late.exposed = self.late.exposed.saturating_sub(1);
        }
    }

    pub(super) fn late_is_proven(&mut self, unit: UnitIndex) {
        self.late.proven += u64::from(self.late.units.contains(&unit));
    }

    /// Latecomers past their deadline. No comparison counts them, so nothing is observed: they stop the others.
    pub(super) fn late_overdue(&mut self, fleet: &Fleet, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        let mut kept = Vec::new();
        while let Some(due) = self.queue.pop_due(now_ms) {
            let unit = due.unit;
            self.units[unit as usize].deadline = None;
            let outcome = self.units[unit as usize].outcome;
            let next_ms =
                self.heard_ms(fleet, unit).max(self.observing_since_ms).saturating_add(self.heartbeats_ms(unit));
            let next_ms = next_ms.min(self.patience_ends_ms(unit));
            // Another device of a site got its permit in the meantime.
            let next_ms = if outcome == Outcome::Awaited { self.last_awaited_ms(unit) } else { next_ms };
            if outcome.is_open() && next_ms > now_ms {
                self.set_deadline(unit, Some(next_ms));
            } else if outcome.is_open() {
                events.push(Event::Overdue { device: self.devices(unit)[0] });
                kept.push((due.deadline_ms, due.hash, unit));
            }
        }
        // Until its event is durable and applied it stays due.
        for (deadline_ms, hash, unit) in kept {
            self.units[unit as usize].deadline = Some(self.queue.insert(deadline_ms, hash, unit));
        }
        events
    }

    pub(super) fn overdue(&mut self, device: DeviceIndex, at_ms: u64) {
        let Some(unit) = self.unit(device) else { return };
        if self.units[unit as usize].outcome.is_open() {
            self.gone(unit, at_ms.saturating_sub(self.profile.deadline_ms));
        }
    }

    /// The frontier of a completed rollout: everybody, of every ring and stratum that there is by now.
    pub(super) fn everybody(&self, fleet: &Fleet) -> Vec<Reach> {
        let strata = || (0..fleet.strata.len() as u32).map(|stratum| fleet.strata.name(stratum).to_string());
        let all = |ring: u8| {
            strata().map(move |stratum| Reach {
                ring,
                stratum,
                eligible_to: Some(Position::END),
                candidate_to: Some(Position::END),
            })
        };
        (0..rings(fleet)).chain([EVERYBODY]).flat_map(all).collect()
    }

    /// Changes when [`Rollout::reach`] does.
    pub fn reach_version(&self, fleet: &Fleet) -> u64 {
        let kinds = if self.is_completed() { fleet.strata.len() as u64 * 256 + u64::from(rings(fleet)) } else { 0 };
        self.frontier_sequence.saturating_mul(1 << 36).saturating_add(kinds)
    }

    /// A unit that nobody waits for: not heard for so long.
    pub(super) fn is_away(&self, fleet: &Fleet, unit: UnitIndex, now_ms: u64) -> bool {
        let heard = self.heard_ms(fleet, unit).max(self.observing_since_ms);
        now_ms.saturating_sub(heard) > self.profile.away_ms
    }

    /// Units that got the release and are silent or went back: nobody else's word about them is true.
    pub(super) fn not_proven(&self) -> impl Iterator<Item = (UnitIndex, Skip)> + '_ {
        self.troubled.iter().filter_map(|(unit, trouble)| {
            let outcome = self.units[*unit as usize].outcome;
            match (&trouble.returned, outcome) {
                (Some(_), _) => Some((*unit, Skip::WentBack)),
                (None, Outcome::Missed) => Some((*unit, Skip::Silent)),
                _ => None,
            }
        })
    }
}

/// Pilot rings that some customer has.
fn rings(fleet: &Fleet) -> u8 {
    let most = fleet.tenants.iter().map(|tenant| tenant.policy.rings.len()).max().unwrap_or(0);
    u8::try_from(most).unwrap_or(EVERYBODY - 1).min(EVERYBODY - 1)
}
