//! The bookkeeping of a rollout: what an event changes. Runs when an event happens and again when the log is replayed,
//! so it decides nothing and takes the fleet only to mark memberships and who is away.

use super::{
    BY_ITSELF, Event, Label, NO_BATCH, Outcome, Phase, Rollout, Skip, Slice, SliceCell, Status, Trouble, UnitIndex,
    bit, event::CellWave,
};
use crate::{
    evidence::{Arm, Metric, RiskSet},
    fleet::{DeviceIndex, Fleet},
};
use std::collections::BTreeMap;

impl Rollout {
    /// Takes an event that is durable. `at_ms` is the time that stands in the log. An event about a device or a cell
    /// that this rollout does not have changes nothing.
    pub fn apply(&mut self, fleet: &mut Fleet, event: &Event, at_ms: u64) {
        self.look_again_ms = 0;
        match event {
            Event::WaveOpened { wave, cells } => self.wave_opened(fleet, *wave, cells, at_ms),
            Event::Permitted { device, arm, deadline_ms } => {
                self.permitted(fleet, *device, *arm, *deadline_ms, at_ms);
            }
            Event::OnTrial { device } => {
                let Some(unit) = self.unit(*device) else { return };
                self.phases[*device as usize] = Phase::OnTrial;
                self.withdrawals.remove(device);
                self.word(unit);
            }
            Event::Confirmed { device } => self.confirmed(fleet, *device),
            Event::Failed { device, safe_mode, why } => self.failed(fleet, *device, *safe_mode, why, at_ms),
            Event::Withdrawn { device, why } | Event::CutOff { device, why } => {
                self.withdrawn(fleet, *device, why, at_ms);
            }
            Event::Overdue { device } => self.overdue(*device, at_ms),
            Event::Departed { device } => self.departed(*device, at_ms),
            Event::Observed { unit, metric, arm, n_t, n_c } if (*unit as usize) < self.units.len() => {
                self.observed(fleet, *unit, *metric, *arm, RiskSet { treated: *n_t, control: *n_c }, at_ms);
            }
            Event::Observed { .. } => {}
            Event::WaveResolved { bound, next, .. } => self.wave_resolved(fleet, *bound, *next),
            Event::Held { reason } if !self.is_over() => {
                self.status = Status::Held { reason: reason.clone(), since_ms: at_ms };
            }
            Event::Held { .. } => {}
            Event::Released { by } => self.released(by),
            Event::Fenced { tenant } => {
                self.fenced.insert(*tenant);
                // What it brought must neither stop the others nor hide what they bring. Theirs so far was less than a
                // fifth of what it takes to halt; from here on theirs alone counts.
                self.evidence = self.evidence.afresh();
                self.excused_ln_e = f64::NEG_INFINITY;
            }
            Event::Halted { reason } if !matches!(self.status, Status::Halted { .. }) => {
                self.status = Status::Halted { reason: reason.clone(), at_ms };
                self.frontier_sequence += 1;
                self.free_members(fleet);
            }
            Event::Completed if !self.is_over() => {
                // For the page, also after a restart: who was left out, and why.
                let draft = self.draft_wave(fleet, 1, at_ms);
                (self.skipped, self.named) = (draft.skipped, draft.named);
                self.status = Status::Completed { at_ms };
                self.frontier_sequence += 1;
                let newest = fleet.completed.entry(self.release.name.clone()).or_insert(0);
                *newest = (*newest).max(self.release.sequence);
                self.free_members(fleet);
            }
            Event::Halted { .. } | Event::Completed => {}
            Event::ObservationGap { from_ms, to_ms } => {
                // One cadence more: whoever is well was not able to say so in the gap, and gets a turn to.
                let shift = to_ms.saturating_sub(*from_ms).saturating_add(self.profile.cadence_ms);
                self.queue.shift_all(shift);
                self.note_gap(*from_ms, *to_ms);
                self.observing_since_ms = self.observing_since_ms.max(*to_ms);
                for trouble in self.troubled.values_mut() {
                    trouble.since_ms = trouble.since_ms.saturating_add(shift);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.status, Status::Halted { .. } | Status::Completed { .. })
    }

    fn released(&mut self, by: &str) {
        if let Status::Completed { .. } = self.status {
            return self.troubled.values_mut().for_each(|trouble| trouble.excused = true);
        }
        if !matches!(self.status, Status::Held { .. }) {
            return;
        }
        self.status = Status::Running;
        if by != BY_ITSELF {
            // A person has seen what there was: it does not hold again for the same.
            self.troubled.values_mut().for_each(|trouble| trouble.excused = true);
            self.excused_ln_e = self.ln_e();
        }
    }

    fn wave_opened(&mut self, fleet: &mut Fleet, wave: u32, cells: &[CellWave], at_ms: u64) {
        self.slice = Some(Slice {
            wave,
            turn: cells.first().and_then(|part| self.cells.get(part.cell as usize)).map_or(1, |cell| cell.turn),
            opened_ms: at_ms,
            size: 0,
            carried: self.counts.exposed,
            cells: BTreeMap::new(),
            treated_without_permit: 0,
            control_without_permit: 0,
            treated_open: 0,
            treated_permitted: 0,
            controls: 0,
            controls_permitted: 0,
        });
        for part in cells {
            let Some(cell) = self.cells.get(part.cell as usize) else { continue };
            let (from, end) = (cell.cursor, part.control_to.min(cell.end));
            let skipped: BTreeMap<_, _> = part.skipped.iter().copied().collect();
            let mut members = SliceCell::default();
            for &unit in &part.caught_up {
                if self.cells[part.cell as usize].passed.remove(&unit).is_some() {
                    self.join(fleet, unit, Label::Treated, &mut members);
                }
            }
            for unit in &part.compared {
                if self.cells[part.cell as usize].passed.contains_key(unit) {
                    self.join(fleet, *unit, Label::Control, &mut members);
                }
            }
            for unit in from..end {
                let treated = unit < part.treated_to;
                match skipped.get(&unit) {
                    Some(skip) if treated => {
                        self.cells[part.cell as usize].passed.insert(unit, *skip);
                    }
                    Some(_) => {}
                    None if treated => self.join(fleet, unit, Label::Treated, &mut members),
                    None => self.join(fleet, unit, Label::Control, &mut members),
                }
            }
            members.treated.sort_unstable();
            members.control.sort_unstable();
            self.move_frontier(part, &members);
            if let Some(slice) = &mut self.slice {
                slice.size += members.treated.len() as u64;
                slice.controls += members.control.len() as u64;
                slice.cells.insert(part.cell, members);
            }
        }
        // The first wave is open from the beginning.
        if wave > 1 {
            self.evidence.open_wave();
        }
        self.wave = wave;
        self.frontier_sequence += 1;
    }

    fn join(&mut self, fleet: &mut Fleet, unit: UnitIndex, label: Label, members: &mut SliceCell) {
        let row = &mut self.units[unit as usize];
        (row.label, row.outcome) = (label, Outcome::NoPermit);
        row.forget();
        self.left.remove(&unit);
        if label == Label::Treated { &mut members.treated } else { &mut members.control }.push(unit);
        let mut to_ask = 0;
        for at in 0..self.devices(unit).len() {
            let device = self.devices(unit)[at] as usize;
            fleet.devices[device].member_of = self.id;
            to_ask += u64::from(self.phases[device] == Phase::None);
        }
        if let Some(slice) = &mut self.slice {
            let waiting = match label {
                Label::Treated => &mut slice.treated_without_permit,
                _ => &mut slice.control_without_permit,
            };
            *waiting += to_ask;
        }
    }

    fn move_frontier(&mut self, part: &CellWave, members: &SliceCell) {
        let last_treated = members.treated.last().map(|unit| self.units[*unit as usize].position);
        let cell = &mut self.cells[part.cell as usize];
        cell.cursor = part.treated_to.clamp(cell.cursor, cell.end);
        cell.eligible_to = cell.eligible_to.max(last_treated);
        // The next wave and its controls prepare and poll already, so that "heard lately" means something by then.
        let ahead = (members.treated.len() * 2 + members.control.len()) as UnitIndex;
        let to = part.control_to.max(part.treated_to).saturating_add(ahead).min(cell.end);
        if to > cell.first {
            cell.candidate_to = cell.candidate_to.max(Some(self.units[to as usize - 1].position));
        }
    }

    fn permitted(&mut self, fleet: &mut Fleet, device: DeviceIndex, arm: Arm, deadline_ms: u64, at_ms: u64) {
        let late = arm == Arm::Treated && (device as usize) < fleet.devices.len() && self.comes_late(device);
        let unit = if late { Some(self.takes_late(fleet, device)) } else { self.unit(device) };
        let Some(unit) = unit.filter(|_| self.phases[device as usize] == Phase::None) else { return };
        self.phases[device as usize] = Phase::Permitted;
        fleet.devices[device as usize].member_of = self.id;
        let row = &mut self.units[unit as usize];
        let (first, idle, cell) = (row.permitted == 0, row.open == 0, row.cell);
        row.permitted += 1;
        row.open += 1;
        row.permitted_ms = at_ms;
        let (outcome, awaits) = (row.outcome, row.deadline.is_some() && !row.judged);
        if !matches!(outcome, Outcome::Missed | Outcome::Failed) {
            self.set_outcome(unit, Outcome::Awaited);
            // A site's first device that is awaited sets the pace.
            if !awaits {
                self.units[unit as usize].judged = false;
                self.set_deadline(unit, Some(deadline_ms));
            }
        }
        if arm == Arm::Treated {
            fleet.goes_away(device);
            self.counts.exposed_ever += 1;
            self.counts.exposed += u64::from(idle);
            self.exposed_units += u64::from(first);
            *self.exposed_of.entry(fleet.tenant_index(device)).or_insert(0) += u64::from(first);
        }
        self.asks_no_more(unit);
        let row = &self.units[unit as usize];
        if row.batch == NO_BATCH && row.seen & bit(Metric::FirstCheckInMissed) == 0 {
            self.joins_batch(unit, arm, at_ms);
        }
        if !first {
            return;
        }
        let Some(slice) = self.slice.as_mut() else { return };
        *match arm {
            Arm::Treated => &mut slice.treated_permitted,
            Arm::Control => &mut slice.controls_permitted,
        } += 1;
        if let Some(members) = slice.cells.get_mut(&cell) {
            for metric in Metric::ALL {
                // These two have their own time (`silence`).
                let later = matches!(metric, Metric::FirstCheckInMissed | Metric::HeartbeatsMissed);
                *members.at_risk.of(metric, arm) += u64::from(!later);
            }
        }
    }

    pub(super) fn set_deadline(&mut self, unit: UnitIndex, deadline_ms: Option<u64>) {
        // A hash of the unit alone: its position. Both arms are ordered by it.
        let hash = self.units[unit as usize].position.0;
        if let Some(old) = self.units[unit as usize].deadline.take() {
            self.queue.remove(&old);
        }
        self.units[unit as usize].deadline = deadline_ms.map(|at| self.queue.insert(at, hash, unit));
    }

    pub(super) fn set_outcome(&mut self, unit: UnitIndex, outcome: Outcome) {
        let row = &mut self.units[unit as usize];
        let before = std::mem::replace(&mut row.outcome, outcome);
        if row.label == Label::Treated
            && before.is_open() != outcome.is_open()
            && let Some(slice) = &mut self.slice
        {
            if outcome.is_open() {
                slice.treated_open += 1;
            } else {
                slice.treated_open = slice.treated_open.saturating_sub(1);
            }
        }
    }

    /// A treated device spoke from the new version.
    fn word(&mut self, unit: UnitIndex) {
        self.left.remove(&unit);
        // The past is not revised: a missed deadline stays one. The unit only counts as back.
        self.not_silent(unit);
        if let Some(trouble) = self.troubled.get_mut(&unit) {
            trouble.back = true;
        }
        // Of a site every device that holds a permit is awaited. The deadline stands: it is still to be heard then.
        let waits = self.devices(unit).iter().any(|device| self.phases[*device as usize] == Phase::Permitted);
        if self.units[unit as usize].outcome == Outcome::Awaited && !waits {
            self.set_outcome(unit, Outcome::Watched);
        }
    }

    /// Takes a unit out of the risk set of a metric.
    pub(super) fn not_at_risk(&mut self, unit: UnitIndex, metric: Metric, arm: Arm) {
        let row = &mut self.units[unit as usize];
        row.seen |= bit(metric);
        match metric {
            Metric::FirstCheckInMissed => return self.leaves_batch(unit, arm),
            Metric::HeartbeatsMissed if !std::mem::replace(&mut row.watched, false) => return,
            _ => {}
        }
        if let Some(members) = self.slice.as_mut().and_then(|slice| slice.cells.get_mut(&row.cell)) {
            let at_risk = members.at_risk.of(metric, arm);
            *at_risk = at_risk.saturating_sub(1);
        }
    }

    fn confirmed(&mut self, fleet: &mut Fleet, device: DeviceIndex) {
        let Some(unit) = self.unit(device) else { return };
        if matches!(self.phases[device as usize], Phase::Confirmed | Phase::Failed) {
            return;
        }
        let before = std::mem::replace(&mut self.phases[device as usize], Phase::Confirmed);
        // Tried again after it had given a permit back; its word of the trial was lost.
        self.withdrawals.remove(&device);
        if before == Phase::None {
            self.asks_no_more(unit);
            if self.units[unit as usize].open == 0 {
                self.free(fleet, unit);
            }
        }
        self.counts.confirmed += 1;
        self.word(unit);
        self.through(fleet, device, unit);
        let row = &self.units[unit as usize];
        if row.open > 0 || row.outcome == Outcome::Failed {
            return;
        }
        self.set_outcome(unit, Outcome::Proven);
        self.troubled.remove(&unit);
        self.late_is_proven(unit);
        let tenant = fleet.tenant_index(device);
        let ring = self.cells[self.units[unit as usize].cell as usize].ring;
        if let Some(progress) = self.rings.get_mut(&(tenant, ring)) {
            progress.proven += 1;
        }
        if self.slice.is_none() || self.units[unit as usize].label != Label::Treated {
            self.set_deadline(unit, None);
        }
    }

    /// A member that has its permit, or the release already, will not ask any more.
    fn asks_no_more(&mut self, unit: UnitIndex) {
        let Some(slice) = &mut self.slice else { return };
        let waiting = match self.units[unit as usize].label {
            Label::Treated => &mut slice.treated_without_permit,
            Label::Control => &mut slice.control_without_permit,
            Label::None | Label::Done => return,
        };
        *waiting = waiting.saturating_sub(1);
    }

    fn failed(&mut self, fleet: &mut Fleet, device: DeviceIndex, safe_mode: bool, why: &str, at_ms: u64) {
        let Some(unit) = self.unit(device) else { return };
        let phase = std::mem::replace(&mut self.phases[device as usize], Phase::Failed);
        if phase == Phase::Failed {
            return;
        }
        if phase == Phase::None {
            self.withdrew_untruly(unit);
        }
        self.counts.failed += 1;
        if phase == Phase::Confirmed {
            self.counts.confirmed = self.counts.confirmed.saturating_sub(1);
        }
        self.not_silent(unit);
        self.set_outcome(unit, Outcome::Failed);
        self.set_deadline(unit, None);
        let trouble = self.trouble(unit, at_ms);
        trouble.back = true;
        trouble.returned.get_or_insert((safe_mode, why.to_string())).0 |= safe_mode;
        if phase != Phase::Confirmed {
            self.through(fleet, device, unit);
        }
        if safe_mode {
            // It is alive, and serves nobody.
            fleet.goes_away(device);
        }
    }

    /// A device's part is over.
    pub(super) fn through(&mut self, fleet: &mut Fleet, device: DeviceIndex, unit: UnitIndex) {
        fleet.is_back(device);
        let row = &mut self.units[unit as usize];
        if row.open == 0 {
            return;
        }
        row.open -= 1;
        if row.open == 0 {
            self.counts.exposed = self.counts.exposed.saturating_sub(1);
            self.late_is_through(unit);
            self.free(fleet, unit);
        }
    }

    pub(super) fn free(&self, fleet: &mut Fleet, unit: UnitIndex) {
        for device in self.devices(unit) {
            let row = &mut fleet.devices[*device as usize];
            if row.member_of == self.id {
                row.member_of = 0;
            }
        }
    }

    /// Other rollouts may have everybody: the members of the open wave and those that never came back.
    fn free_members(&mut self, fleet: &mut Fleet) {
        for members in self.slice.iter().flat_map(|slice| slice.cells.values()) {
            for unit in members.treated.iter().chain(&members.control) {
                self.free(fleet, *unit);
            }
        }
        for unit in self.troubled.keys() {
            self.free(fleet, *unit);
        }
    }

    fn trouble(&mut self, unit: UnitIndex, since_ms: u64) -> &mut Trouble {
        self.troubled.entry(unit).or_insert(Trouble { since_ms, returned: None, back: false, excused: false })
    }

    /// Counts a unit as silent.
    pub(super) fn gone(&mut self, unit: UnitIndex, since_ms: u64) {
        self.set_outcome(unit, Outcome::Missed);
        self.set_deadline(unit, None);
        self.counts.silent += 1;
        // A site may have been silent before, and back: this is another silence.
        let trouble = self.trouble(unit, since_ms);
        (trouble.since_ms, trouble.back) = (since_ms, false);
    }

    /// Undoes [`Self::gone`] in the counts once the unit spoke.
    pub(super) fn not_silent(&mut self, unit: UnitIndex) {
        let missed = self.units[unit as usize].outcome == Outcome::Missed;
        if missed && self.troubled.get(&unit).is_some_and(|trouble| !trouble.back) {
            self.counts.silent = self.counts.silent.saturating_sub(1);
        }
    }

    fn observed(&mut self, fleet: &Fleet, unit: UnitIndex, metric: Metric, arm: Arm, risk: RiskSet, at_ms: u64) {
        let values = self.values(fleet, unit);
        if !self.fenced.contains(&fleet.tenant_index(self.devices(unit)[0])) {
            // The numbers come from `observe`, which refuses an empty arm; a log that says otherwise changes nothing.
            let _ = self.evidence.observe(metric, arm, &values, risk);
        }
        self.not_at_risk(unit, metric, arm);
        if !matches!(metric, Metric::FirstCheckInMissed | Metric::HeartbeatsMissed) {
            return;
        }
        self.set_deadline(unit, None);
        match (arm, self.units[unit as usize].outcome) {
            (Arm::Control, Outcome::Awaited | Outcome::Watched) => self.set_outcome(unit, Outcome::Missed),
            (Arm::Treated, Outcome::Awaited | Outcome::Watched) => {
                self.gone(unit, at_ms.saturating_sub(self.profile.deadline_ms));
            }
            // Proven before: evidence, and no more.
            _ => {}
        }
    }

    pub(super) fn values(&self, fleet: &Fleet, unit: UnitIndex) -> Vec<u32> {
        let device = self.devices(unit)[0];
        let row = fleet.device(device);
        match self.evidence.dimensions().len() {
            0 => Vec::new(),
            3 => vec![row.os_build, row.hardware_model, fleet.tenant_index(device)],
            _ => vec![row.os_build, row.hardware_model, row.site, fleet.tenant_index(device)],
        }
    }

    fn wave_resolved(&mut self, fleet: &mut Fleet, bound: f64, next: u64) {
        let Some(slice) = self.slice.take() else { return };
        let lost = self.lost_units(&slice).is_some();
        for (cell, members) in &slice.cells {
            for (difference, count) in self.pair_up(members) {
                self.pairs.add(difference, count);
                self.cells[*cell as usize].pairs.add(difference, count);
            }
            for &unit in &members.control {
                self.control_over(fleet, unit);
            }
            for &unit in &members.treated {
                self.treated_over(fleet, unit);
            }
        }
        self.last_bound = Some(bound);
        if let Some(growth) = self.growth.get_mut(usize::from(slice.turn)) {
            growth.next = next;
            // After a wave that was lost all begins anew.
            growth.largest = if lost { 0 } else { growth.largest.max(slice.treated_permitted) };
        }
        self.frontier_sequence += 1;
    }

    /// A control goes back into the order: its turn comes later.
    fn control_over(&mut self, fleet: &mut Fleet, unit: UnitIndex) {
        let row = &mut self.units[unit as usize];
        (row.label, row.outcome, row.open) = (Label::None, Outcome::NoPermit, 0);
        row.forget();
        self.set_deadline(unit, None);
        self.left.remove(&unit);
        for at in 0..self.devices(unit).len() {
            let device = self.devices(unit)[at] as usize;
            if self.phases[device] == Phase::Permitted {
                self.phases[device] = Phase::None;
            }
        }
        self.free(fleet, unit);
    }

    fn treated_over(&mut self, fleet: &mut Fleet, unit: UnitIndex) {
        self.set_deadline(unit, None);
        let asked = self.devices(unit).iter().all(|d| self.phases[*d as usize] != Phase::None);
        let row = &mut self.units[unit as usize];
        (row.watched, row.batch) = (false, NO_BATCH);
        if asked || row.outcome == Outcome::Failed {
            row.label = Label::Done;
            return;
        }
        // Never asked, or of a site not all: back into the order. A site that is silent keeps its label until it is back.
        row.label = if row.open > 0 { Label::Done } else { Label::None };
        let cell = row.cell as usize;
        let declined = self.devices(unit).iter().any(|device| self.has_withdrawn(*device));
        self.cells[cell].passed.insert(unit, if declined { Skip::Declined } else { Skip::Offline });
        if self.units[unit as usize].open == 0 {
            self.free(fleet, unit);
        }
    }
}
