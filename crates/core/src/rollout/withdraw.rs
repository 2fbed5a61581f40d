//! Permits that come back unused: a device that says no after it was permitted is neither silent nor failed.
//!
//! It leaves the statistics (right-censored), goes back into the order and is tried again, later each time. A withdrawal
//! hides nothing: what was observed before it stays evidence, a device that went on trial can't withdraw, and one that
//! withdrew and turns out to have changed counts as failed. Must stay out: whether a device may withdraw (`device`).

use super::{Label, Outcome, Phase, Rollout, Skip, UnitIndex};
use crate::{
    device::RECEIPT_WITHIN_MS,
    evidence::{Arm, Metric},
    fleet::{DeviceIndex, Fleet},
};

/// Longest pause before a device that withdrew is tried again, milliseconds.
const RETRY_MOST_MS: u64 = 3_600_000;
/// A device that gave back so many permits in a row no longer keeps a rollout from being completed.
pub(super) const WITHDRAWALS: u32 = 5;
/// Gaps in what the server could observe that are remembered.
const GAPS: usize = 64;
/// A server that was away for so long since a permit may itself be why no receipt came: a device waits
/// [`RECEIPT_WITHIN_MS`] for one, and its own pauses between two attempts reach half of that.
const OUTAGE_MS: u64 = RECEIPT_WITHIN_MS / 2;

/// The last permit that a device gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Withdrawal {
    /// Its wave.
    pub wave: u32,
    /// In a row.
    pub times: u32,
    pub retry_at_ms: u64,
    pub why: String,
}

impl Rollout {
    /// A permit was not used, or what came of it says nothing about the release.
    pub(super) fn withdrawn(&mut self, fleet: &mut Fleet, device: DeviceIndex, why: &str, at_ms: u64) {
        let Some(unit) = self.unit(device) else { return };
        if self.phases[device as usize] != Phase::Permitted || self.arm(unit) != Some(Arm::Treated) {
            return;
        }
        let times = self.withdrawals.get(&device).map_or(0, |before| before.times).saturating_add(1);
        let pause = self.profile.deadline_ms.saturating_mul(1 << (times - 1).min(16)).min(RETRY_MOST_MS);
        let retry_at_ms = at_ms.saturating_add(pause);
        self.withdrawals.insert(device, Withdrawal { wave: self.wave, times, retry_at_ms, why: why.to_string() });
        self.phases[device as usize] = Phase::None;
        self.counts.withdrawn += 1;
        self.counts.exposed_ever = self.counts.exposed_ever.saturating_sub(1);
        self.through(fleet, device, unit);
        self.censor(fleet, unit);
        if self.units[unit as usize].open == 0 {
            self.back_into_order(unit);
        } else {
            self.await_the_others(unit);
        }
    }

    /// A unit without any event leaves the risk sets as if it had never been in them. One that had an event keeps it.
    fn censor(&mut self, fleet: &Fleet, unit: UnitIndex) {
        let row = &mut self.units[unit as usize];
        if row.permitted > 1 {
            row.permitted -= 1;
            return;
        }
        if row.seen != 0 {
            return;
        }
        if row.label == Label::Treated {
            for metric in Metric::ALL {
                self.not_at_risk(unit, metric, Arm::Treated);
            }
            if let Some(slice) = &mut self.slice {
                slice.treated_permitted = slice.treated_permitted.saturating_sub(1);
            }
        }
        let row = &mut self.units[unit as usize];
        (row.seen, row.permitted) = (0, 0);
        self.exposed_units = self.exposed_units.saturating_sub(1);
        if let Some(exposed) = self.exposed_of.get_mut(&fleet.tenant_index(self.devices(unit)[0])) {
            *exposed = exposed.saturating_sub(1);
        }
    }

    fn back_into_order(&mut self, unit: UnitIndex) {
        self.set_deadline(unit, None);
        if self.units[unit as usize].outcome == Outcome::Failed {
            // Another device of the site: that is not taken back.
            return;
        }
        self.not_silent(unit);
        self.troubled.remove(&unit);
        self.left.remove(&unit);
        let changed = self.devices(unit).iter().any(|device| self.phases[*device as usize] == Phase::Confirmed);
        self.set_outcome(unit, if changed { Outcome::Proven } else { Outcome::NoPermit });
        let row = &mut self.units[unit as usize];
        if row.label == Label::Done {
            // Its wave is over; in an open one it stands until the end.
            row.label = Label::None;
            let cell = row.cell as usize;
            self.cells[cell].passed.insert(unit, Skip::Declined);
        }
    }

    /// The rest of a site goes on as if this device had not been asked.
    fn await_the_others(&mut self, unit: UnitIndex) {
        let permitted = self.devices(unit).iter().any(|device| self.phases[*device as usize] == Phase::Permitted);
        if self.units[unit as usize].outcome != Outcome::Awaited || permitted {
            return;
        }
        self.set_outcome(unit, Outcome::Watched);
    }

    /// A device that withdrew turns out to have changed: its unit stands among the treated again.
    pub(super) fn withdrew_untruly(&mut self, unit: UnitIndex) {
        let row = &mut self.units[unit as usize];
        if row.label == Label::None {
            row.label = Label::Done;
            let cell = row.cell as usize;
            self.cells[cell].passed.remove(&unit);
        }
    }

    /// True if the device gave its permit back and got none since.
    pub(super) fn has_withdrawn(&self, device: DeviceIndex) -> bool {
        self.phases[device as usize] == Phase::None && self.withdrawals.contains_key(&device)
    }

    /// Why a device that withdrew gets no permit yet.
    pub(super) fn declined(&self, device: DeviceIndex, now_ms: u64) -> Option<Skip> {
        let withdrawal = self.withdrawals.get(&device)?;
        let this_wave = self.slice.is_some() && withdrawal.wave == self.wave;
        (this_wave || withdrawal.retry_at_ms > now_ms).then_some(Skip::Declined)
    }

    /// True if a unit gave its permit back so often that nobody waits for it.
    pub(super) fn declines_for_good(&self, unit: UnitIndex) -> bool {
        let times = |device: &DeviceIndex| self.withdrawals.get(device).map_or(0, |withdrawal| withdrawal.times);
        self.devices(unit).iter().any(|device| times(device) >= WITHDRAWALS)
    }

    /// The server did not look: remembered, because what it did not answer is not held against a device.
    pub(super) fn note_gap(&mut self, from_ms: u64, to_ms: u64) {
        if self.gaps.len() >= GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back((from_ms, to_ms));
    }

    /// True if the server itself was away for so long since the unit's permit that it can have cost it its receipt.
    pub(super) fn server_was_away(&self, unit: UnitIndex) -> bool {
        let row = &self.units[unit as usize];
        // Of a site the last permit is known, which may be another device's; all of them came after the wave opened.
        let site_in_wave = self.devices(unit).len() > 1 && row.label == Label::Treated;
        let opened_ms = self.slice.as_ref().filter(|_| site_in_wave).map(|slice| slice.opened_ms);
        let since_ms = opened_ms.unwrap_or(row.permitted_ms);
        let away = |(from_ms, to_ms): &(u64, u64)| to_ms.saturating_sub((*from_ms).max(since_ms));
        self.gaps.iter().map(away).fold(0, u64::saturating_add) >= OUTAGE_MS
    }
}
