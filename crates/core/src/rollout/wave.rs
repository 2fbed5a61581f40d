//! Who is in the next wave, and what a finished one has shown. Must stay out: when to open one (`plan`).

use super::{
    CONTROLS, CONTROLS_PER_STRATUM, Cell, CellWave, Growth, HOLD_OUT_FROM, Label, Named, Outcome, Phase, Rollout, Skip,
    Slice, SliceCell, Trouble, UnitIndex, device::disrupts,
};
use crate::{
    evidence::{Metric, PairCounts, PairDifference, small, widen},
    fleet::{DeviceIndex, Fleet, Group},
    ids::Position,
};
use std::collections::{BTreeMap, BTreeSet};

/// What looking for the next wave came to.
#[derive(Default)]
pub(super) struct Draft {
    pub cells: Vec<CellWave>,
    pub treated: u64,
    /// Why units were passed over.
    pub skipped: BTreeMap<Skip, u64>,
    /// The first few of those that a person can do something about.
    pub named: Vec<Named>,
    /// Units are left that only wait.
    pub waiting: bool,
}

impl Rollout {
    /// Units to treat, at most `room`, with their controls. Those that the superseded rollout reached come before all others,
    /// whatever their ring. Rings come one after the other, pilots first; a ring in which
    /// nobody may go now does not stop the next (that a customer's pilots come before its others is seen to for each
    /// unit).
    pub(super) fn draft_wave(&self, fleet: &Fleet, room: u64, now_ms: u64) -> Draft {
        let mut draft = Draft::default();
        let mut busy = Disruption::default();
        let mut groups: Vec<(u8, u8)> = self.cells.iter().map(Cell::group).collect();
        groups.dedup();
        for group in groups {
            let Some(growth) = self.growth.get(usize::from(group.0)) else { continue };
            let size = growth.next.min(room).max(1);
            let cells: Vec<u32> =
                (0..self.cells.len() as u32).filter(|c| self.cells[*c as usize].group() == group).collect();
            // What one cell can't use, the next may.
            let mut over = 0;
            for share in self.shares(&cells, size) {
                let wanted = (share.size + over).min(share.cap);
                let treated = self.draft_cell(fleet, share.cell, wanted, now_ms, &mut busy, &mut draft);
                over = share.size + over - treated;
            }
            // While it is early, nobody goes before the hurt only because they have not been heard yet.
            if draft.treated > 0 || (group.0 == 0 && self.is_early(now_ms)) {
                break;
            }
        }
        let treated = draft.treated;
        for part in draft.cells.iter_mut() {
            self.draft_controls(fleet, treated, now_ms, &busy, part);
        }
        draft
    }

    /// How a wave is shared out among cells: by what is left in each, within the budget for strata not seen yet. What
    /// is left over goes to those whose next unit comes first in the order, so that the first few units are a random
    /// choice among strata, too. Cells with a share come first.
    fn shares(&self, cells: &[u32], size: u64) -> Vec<Share> {
        let left: Vec<u64> = cells.iter().map(|c| self.left(&self.cells[*c as usize])).collect();
        let total: u64 = left.iter().sum();
        if total == 0 || self.small || cells.len() == 1 {
            return cells.iter().map(|&cell| Share { cell, size, cap: size }).collect();
        }
        let budget = widen::loss_budget(self.counts.units);
        let mut shares: Vec<Share> = Vec::with_capacity(cells.len());
        for (&cell, left) in cells.iter().zip(&left) {
            let bound = bound(&self.cells[cell as usize].pairs, BETA);
            let cap =
                if bound <= widen::HARMLESS { *left } else { widen::units_within_budget(bound, budget).min(*left) };
            let fair = (u128::from(size) * u128::from(*left) / u128::from(total)) as u64;
            shares.push(Share { cell, size: fair.min(cap), cap });
        }
        shares.sort_by_key(|share| self.next_position(share.cell));
        let mut rest = size.saturating_sub(shares.iter().map(|share| share.size).sum());
        while rest > 0 && shares.iter().any(|share| share.size < share.cap) {
            let open = shares.iter().filter(|share| share.size < share.cap).count() as u64;
            let each = (rest / open).max(1);
            for share in shares.iter_mut() {
                let more = (share.cap - share.size).min(each).min(rest);
                share.size += more;
                rest -= more;
            }
        }
        shares.sort_by_key(|share| share.size == 0);
        shares
    }

    fn next_position(&self, cell: u32) -> Position {
        let cell = &self.cells[cell as usize];
        let next = cell.passed.keys().next().copied().unwrap_or(cell.cursor);
        self.units.get(next as usize).map_or(Position::END, |unit| unit.position)
    }

    fn left(&self, cell: &Cell) -> u64 {
        u64::from(cell.end - cell.cursor) + cell.passed.len() as u64
    }

    /// Takes up to `share` units of a cell: first those passed over before, then on in the order. Returns how many.
    fn draft_cell(
        &self,
        fleet: &Fleet,
        index: u32,
        share: u64,
        now_ms: u64,
        busy: &mut Disruption,
        draft: &mut Draft,
    ) -> u64 {
        let cell = &self.cells[index as usize];
        let mut part = CellWave {
            cell: index,
            treated_to: cell.cursor,
            control_to: cell.cursor,
            skipped: Vec::new(),
            caught_up: Vec::new(),
            compared: Vec::new(),
        };
        let mut treated = 0;
        for &unit in cell.passed.keys() {
            if treated >= share {
                draft.waiting = true;
                break;
            }
            match self.passed_over(fleet, unit, now_ms, busy) {
                None => {
                    busy.take(fleet, self.devices(unit));
                    part.caught_up.push(unit);
                    treated += 1;
                }
                Some(skip) => self.pass(fleet, unit, skip, now_ms, draft),
            }
        }
        let held_out_from = self.held_out_from(cell);
        let early = self.is_early(now_ms);
        while treated < share && part.treated_to < cell.end {
            let unit = part.treated_to;
            if early && Some(self.units[unit as usize].position) > cell.candidate_to {
                // Nobody from here on has been told.
                break;
            }
            if unit >= held_out_from && treated > 0 {
                break;
            }
            match self.passed_over(fleet, unit, now_ms, busy) {
                None => {
                    busy.take(fleet, self.devices(unit));
                    treated += 1;
                }
                Some(Skip::AboveCeiling) => {
                    // Positions only grow from here.
                    self.pass(fleet, unit, Skip::AboveCeiling, now_ms, draft);
                    break;
                }
                Some(skip) => {
                    self.pass(fleet, unit, skip, now_ms, draft);
                    part.skipped.push((unit, skip));
                }
            }
            part.treated_to += 1;
        }
        draft.waiting |= part.treated_to < cell.end;
        draft.treated += treated;
        part.control_to = part.treated_to;
        if part.treated_to > cell.cursor || treated > 0 {
            draft.cells.push(part);
        }
        treated
    }

    /// Where treatment stops until nobody else is left: one in a hundred is kept as controls to the end.
    fn held_out_from(&self, cell: &Cell) -> UnitIndex {
        if self.counts.units < HOLD_OUT_FROM {
            return cell.end;
        }
        let from = cell.end - (cell.end - cell.first) / 100;
        if cell.cursor >= from { cell.end } else { from }
    }

    /// The units after the treated ones, each cell's by its part of the wave. Those that were passed over before may be a kind
    /// of their own: they have the same share in both arms, and a larger one where nobody else is left.
    fn draft_controls(&self, fleet: &Fleet, treated: u64, now_ms: u64, busy: &Disruption, part: &mut CellWave) {
        let cell = &self.cells[part.cell as usize];
        let fresh = u64::from(part.treated_to - cell.cursor) - part.skipped.len() as u64;
        let here = fresh + part.caught_up.len() as u64;
        if here == 0 {
            return;
        }
        let wanted = if self.small {
            u64::MAX
        } else {
            let all = (8 * treated).clamp(*CONTROLS.start(), *CONTROLS.end());
            let share = u128::from(all) * u128::from(here) / u128::from(treated.max(1));
            (share as u64).max(CONTROLS_PER_STRATUM)
        };
        let may_be_compared = |unit: &&UnitIndex| {
            // Whoever may not be treated now would gather here, wave after wave, and be compared with those who may.
            let may = matches!(self.passed_over(fleet, **unit, now_ms, busy), None | Some(Skip::AboveCeiling));
            may && part.caught_up.binary_search(unit).is_err()
                && !self.devices(**unit).iter().any(|device| self.has_withdrawn(*device))
                && self.comparable(fleet, **unit, now_ms).is_none()
        };
        let mut again = cell.passed.keys().filter(may_be_compared).copied();
        let share = (u128::from(wanted) * part.caught_up.len() as u128 / u128::from(here)) as usize;
        let mut compared: Vec<UnitIndex> = again.by_ref().take(share).collect();
        let mut controls = compared.len() as u64;
        while controls < wanted && part.control_to < cell.end {
            let unit = part.control_to;
            // A control changes nothing, so only what would keep it out of the comparison matters.
            match self.comparable(fleet, unit, now_ms) {
                None => controls += 1,
                Some(skip) => part.skipped.push((unit, skip)),
            }
            part.control_to += 1;
        }
        compared.extend(again.take(usize::try_from(wanted - controls).unwrap_or(usize::MAX)));
        part.compared = compared;
    }

    /// Counts a unit that was passed over, and names it if somebody can do something about it.
    fn pass(&self, fleet: &Fleet, unit: UnitIndex, skip: Skip, now_ms: u64, draft: &mut Draft) {
        *draft.skipped.entry(skip).or_insert(0) += 1;
        draft.waiting |= match skip {
            Skip::Declined => !self.declines_for_good(unit),
            Skip::Offline => !self.is_away(fleet, unit, now_ms),
            _ => skip.is_temporary(),
        };
        let of_kind = draft.named.iter().filter(|named| named.skip == skip).count();
        if !matches!(skip, Skip::Declined | Skip::Offline | Skip::Cloned) || of_kind >= NAMED {
            return;
        }
        let withdrawal = self.devices(unit).iter().find_map(|device| self.withdrawals.get(device));
        let why = withdrawal.filter(|_| skip == Skip::Declined).map(|withdrawal| withdrawal.why.clone());
        draft.named.push(Named { unit: self.unit_name(fleet, unit), skip, why });
    }

    fn comparable(&self, fleet: &Fleet, unit: UnitIndex, now_ms: u64) -> Option<Skip> {
        if self.devices(unit).iter().any(|device| self.phases[*device as usize] != Phase::None) {
            // It has the release, by a permit that this server has forgotten: nothing to compare with.
            return Some(Skip::Declined);
        }
        for &device in self.devices(unit) {
            match self.may_not(fleet, device, now_ms) {
                // Its turn is later: that is what a control is.
                None | Some(Skip::AboveCeiling) => {}
                skip => return skip,
            }
        }
        self.offline(fleet, unit, now_ms)
    }

    /// Why a unit does not go into this wave.
    fn passed_over(&self, fleet: &Fleet, unit: UnitIndex, now_ms: u64, busy: &Disruption) -> Option<Skip> {
        let devices = self.devices(unit);
        if self.units[unit as usize].open > 0 {
            // A site of an earlier wave, still silent.
            return Some(Skip::Offline);
        }
        let skip = devices.iter().find_map(|device| self.may_not(fleet, *device, now_ms));
        skip.or_else(|| self.pilots_first(fleet, unit))
            .or_else(|| devices.iter().find_map(|device| self.declined(*device, now_ms)))
            .or_else(|| if self.by_site() { None } else { busy.conflict(fleet, devices) })
            .or_else(|| self.offline(fleet, unit, now_ms))
            .or_else(|| self.not_told(fleet, unit, now_ms))
    }

    /// A customer that named pilots wants to see one of each ring proven healthy before its next ring goes.
    fn pilots_first(&self, fleet: &Fleet, unit: UnitIndex) -> Option<Skip> {
        let Cell { turn, ring, .. } = self.cells[self.units[unit as usize].cell as usize];
        if turn == 0 || ring == 0 || self.rings.is_empty() {
            return None;
        }
        let tenant = fleet.tenant_index(self.devices(unit)[0]);
        let before = self.rings.range((tenant, 0)..(tenant, ring));
        before.into_iter().any(|(_, progress)| progress.proven == 0).then_some(Skip::PilotsFirst)
    }

    fn offline(&self, fleet: &Fleet, unit: UnitIndex, now_ms: u64) -> Option<Skip> {
        // Candidates poll at the wave's cadence, once they have heard of it, and everybody else at the idle one.
        let row = &self.units[unit as usize];
        let candidate =
            self.wave > 0 && self.cells[row.cell as usize].candidate_to.is_some_and(|to| row.position <= to);
        let cadence = if candidate { self.profile.cadence_ms } else { self.profile.idle_cadence_ms };
        let patience = (cadence + cadence / 2).max(self.profile.cadence_ms * 3);
        let heard = self.heard_ms(fleet, unit);
        let silent = now_ms.saturating_sub(heard.max(self.observing_since_ms)) > patience;
        (silent || heard == 0).then_some(Skip::Offline)
    }

    /// Has not been heard since the start, so it has not heard of the rollout either.
    fn not_told(&self, fleet: &Fleet, unit: UnitIndex, now_ms: u64) -> Option<Skip> {
        let told = self.heard_ms(fleet, unit) >= self.authorisation.start_ms;
        (self.is_early(now_ms) && !told).then_some(Skip::Offline)
    }

    /// What the wave's treated units showed against their controls. Where controls are short, the first in the order
    /// have some: a random subset.
    pub(super) fn pair_up(&self, members: &SliceCell) -> Vec<(PairDifference, u64)> {
        let bad = |unit: &UnitIndex| {
            let row = &self.units[*unit as usize];
            let announced = self.left.contains_key(unit) && row.outcome == Outcome::Missed;
            row.seen & BAD != 0 || row.outcome == Outcome::Failed || (row.outcome == Outcome::Missed && !announced)
        };
        let permitted = |unit: &&UnitIndex| self.units[**unit as usize].permitted > 0;
        let treated: Vec<bool> = members.treated.iter().filter(permitted).map(bad).collect();
        // A control that was switched off excuses nothing.
        let bad = |unit: &UnitIndex| bad(unit) && !self.left.contains_key(unit);
        // Those passed over before come last: they may be worse than others, and must not make the release look better.
        let control: Vec<bool> = members.control.iter().rev().filter(permitted).map(bad).collect();
        if treated.is_empty() || control.is_empty() {
            return Vec::new();
        }
        let each = (control.len() / treated.len()).clamp(1, widen::CONTROLS_PER_DEVICE as usize);
        let mut pairs: BTreeMap<PairDifference, u64> = BTreeMap::new();
        for (treated, controls) in treated.iter().zip(control.chunks_exact(each)) {
            let bad_controls = controls.iter().filter(|bad| **bad).count() as u32;
            if let Ok(difference) = PairDifference::of_pair(*treated, bad_controls, controls.len() as u32) {
                *pairs.entry(difference).or_insert(0) += 1;
            }
        }
        pairs.into_iter().collect()
    }

    /// How many of a wave's treated units fell silent or went back and are not proven healthy since, if a person must look at
    /// that. With whether nobody has yet.
    pub(super) fn lost_units(&self, slice: &Slice) -> Option<(u64, bool)> {
        let treated = slice.treated_permitted;
        if self.small || !small::is_lost(self.troubled.len() as u64, treated) {
            // Not even with all that earlier waves left behind.
            return None;
        }
        let of_it = |(unit, _): &(&UnitIndex, &Trouble)| {
            let row = &self.units[**unit as usize];
            row.label == Label::Treated && row.permitted > 0
        };
        let lost: Vec<&Trouble> = self.troubled.iter().filter(of_it).map(|(_, trouble)| trouble).collect();
        let is_new = lost.iter().any(|trouble| !trouble.excused);
        small::is_lost(lost.len() as u64, treated).then_some((lost.len() as u64, is_new))
    }

    /// The bound after the open wave, and the size of the next. Growth starts from the largest wave so far: one that
    /// was small because the ceiling was near is no step back.
    pub(super) fn widened(&self) -> (f64, u64) {
        let Some(slice) = &self.slice else { return (1.0, self.first_size()) };
        let growth = self.growth.get(usize::from(slice.turn)).copied();
        let growth = growth.unwrap_or(Growth { next: self.first_size(), largest: 0 });
        let mut pairs: PairCounts = self.pairs.clone();
        for members in slice.cells.values() {
            for (difference, count) in self.pair_up(members) {
                pairs.add(difference, count);
            }
        }
        let (beta, first, budget) = if self.small {
            (small::BETA, small::FIRST_WAVE, small::LOSS_BUDGET)
        } else {
            (BETA, u64::from(self.profile.first_wave), widen::loss_budget(self.counts.units))
        };
        let bound = bound(&pairs, beta);
        let size = slice.treated_permitted.max(growth.largest);
        if size == 0 {
            // Nobody asked: nothing was learned.
            return (bound, growth.next);
        }
        if self.lost_units(slice).is_some() {
            return (bound, first);
        }
        let next = widen::next_wave(size, first, bound, budget, self.profile.growth_percent);
        if self.small || self.profile.soak_ms >= LONG_SOAK_MS {
            return (bound, next);
        }
        (bound, widen::next_in_doubt(self.exposed_units, self.ln_e(), self.limits.ln_halt()).min(next))
    }
}

impl Cell {
    /// Without units, before `first`.
    pub(super) fn new(turn: u8, ring: u8, stratum: u32, first: UnitIndex) -> Self {
        Cell {
            turn,
            ring,
            stratum,
            kinds: BTreeSet::new(),
            first,
            end: first,
            cursor: first,
            passed: BTreeMap::new(),
            pairs: PairCounts::new(),
            eligible_to: None,
            candidate_to: None,
        }
    }

    /// Cells of one group are drawn from together.
    fn group(&self) -> (u8, u8) {
        (self.turn, if self.turn == 0 { 0 } else { self.ring })
    }
}

/// What one cell may contribute to a wave.
struct Share {
    cell: u32,
    size: u64,
    /// More only if others can't use theirs.
    cap: u64,
}

/// So many units are named of those passed over for one reason.
pub(super) const NAMED: usize = 5;
/// Where a wave takes so long, smaller ones would outlast every authorisation.
const LONG_SOAK_MS: u64 = 3_600_000;
/// Error probability of the bound for widening.
const BETA: f64 = 0.01;
/// Metrics (bits) that make a unit bad for the comparison: first check-in missed, crashed.
const BAD: u8 = 1 << Metric::FirstCheckInMissed as u8 | 1 << Metric::Crashed as u8;

fn bound(pairs: &PairCounts, beta: f64) -> f64 {
    if pairs.devices() == 0 { 1.0 } else { pairs.upper_bound(beta).unwrap_or(1.0) }
}

/// Who would be away at the same time: those drafted so far, on top of those that are away already.
#[derive(Default)]
struct Disruption {
    groups: BTreeSet<Group>,
    sites: BTreeMap<u32, u32>,
}

impl Disruption {
    fn conflict(&self, fleet: &Fleet, devices: &[DeviceIndex]) -> Option<Skip> {
        devices.iter().find_map(|&device| {
            if let Some(skip) = disrupts(fleet, device) {
                return Some(skip);
            }
            if fleet.group(device).is_some_and(|group| self.groups.contains(&group)) {
                return Some(Skip::RedundancyGroup);
            }
            let limit = fleet.tenant_of(device).policy.limits.max_unavailable_per_site;
            let site = fleet.device(device).site;
            let drafted = self.sites.get(&site).copied().unwrap_or(0);
            (limit > 0 && drafted + fleet.site_away(site) >= limit).then_some(Skip::SiteLimit)
        })
    }

    fn take(&mut self, fleet: &Fleet, devices: &[DeviceIndex]) {
        for &device in devices {
            self.groups.extend(fleet.group(device));
            *self.sites.entry(fleet.device(device).site).or_insert(0) += 1;
        }
    }
}
