//! What counts as silence, the same in both arms: the first check-in after the permit, and heartbeats after it.
//!
//! The first check-in is judged at its deadline: whoever was not heard shortly before counts as missing, whatever it said earlier,
//! and a treated device must have given word from the release. If a control's first poll were enough, an outage a minute after the
//! permit would count against the treated alone. It is compared with those that got their permit about when this one did: whoever
//! has its deadline behind it, or far ahead, can't miss it now. Heartbeats count from that deadline on. Must stay out: verdicts
//! (`plan`).

use super::{Label, NO_BATCH, Outcome, Phase, Rollout, UnitIndex, bit};
use crate::{
    evidence::{Arm, Metric},
    fleet::{DeviceIndex, Fleet},
};

/// Units of a cell that got their first permit in the same cadence, or until there are enough controls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    since_ms: u64,
    treated: u64,
    control: u64,
}

impl Batch {
    /// Treated, control.
    pub fn at_risk(&self) -> (u64, u64) {
        (self.treated, self.control)
    }

    pub fn of(&self, arm: Arm) -> u64 {
        if arm == Arm::Treated { self.treated } else { self.control }
    }

    fn of_mut(&mut self, arm: Arm) -> &mut u64 {
        if arm == Arm::Treated { &mut self.treated } else { &mut self.control }
    }
}

impl Rollout {
    /// A unit got its first permit. One that is watched less closely is compared with nobody: no control has its deadline.
    pub(super) fn joins_batch(&mut self, unit: UnitIndex, arm: Arm, at_ms: u64) {
        if self.stretch(unit) > 1 {
            return;
        }
        let row = &mut self.units[unit as usize];
        let Some(members) = self.slice.as_mut().and_then(|slice| slice.cells.get_mut(&row.cell)) else { return };
        let full = |batch: &Batch| {
            let old = at_ms.saturating_sub(batch.since_ms) >= self.profile.cadence_ms;
            // A comparison needs both, however late one of them asks.
            let enough = batch.control >= batch.treated.saturating_mul(8).max(500);
            old && batch.treated > 0 && enough
        };
        if members.batches.last().is_none_or(full) && members.batches.len() < usize::from(NO_BATCH) {
            members.batches.push(Batch { since_ms: at_ms, treated: 0, control: 0 });
        }
        if let Some(batch) = members.batches.last_mut() {
            *batch.of_mut(arm) += 1;
            row.batch = (members.batches.len() - 1) as u16;
        }
    }

    /// Its first check-in is not compared any more.
    pub(super) fn leaves_batch(&mut self, unit: UnitIndex, arm: Arm) {
        let row = &mut self.units[unit as usize];
        let batch = std::mem::replace(&mut row.batch, NO_BATCH);
        let members = self.slice.as_mut().and_then(|slice| slice.cells.get_mut(&row.cell));
        if let Some(batch) = members.and_then(|members| members.batches.get_mut(usize::from(batch))) {
            let at_risk = batch.of_mut(arm);
            *at_risk = at_risk.saturating_sub(1);
        }
    }

    /// What a unit whose deadline passed has missed; sets its next deadline if nothing.
    pub(super) fn what_was_missed(
        &mut self,
        fleet: &Fleet,
        unit: UnitIndex,
        deadline_ms: u64,
        now_ms: u64,
    ) -> Option<Metric> {
        let row = &self.units[unit as usize];
        match row.outcome {
            Outcome::Awaited | Outcome::Watched | Outcome::Proven if !row.judged => {
                self.first_check_in(fleet, unit, deadline_ms, now_ms)
            }
            Outcome::Watched | Outcome::Proven => self.heartbeats(fleet, unit, now_ms),
            _ => None,
        }
    }

    fn first_check_in(&mut self, fleet: &Fleet, unit: UnitIndex, deadline_ms: u64, now_ms: u64) -> Option<Metric> {
        let row = &self.units[unit as usize];
        let treated = row.label != Label::Control;
        let phases = || self.devices(unit).iter().map(|device| self.phases[*device as usize]);
        let spoke = phases().any(|phase| matches!(phase, Phase::OnTrial | Phase::Confirmed));
        let waits = phases().any(|phase| phase == Phase::Permitted);
        if treated && !spoke {
            return Some(Metric::FirstCheckInMissed);
        }
        // Of a site, whoever holds a permit and was not heard for longest: one silent device is its event, in both arms.
        let members = self.devices(unit).iter().filter(|device| self.phases[**device as usize] != Phase::None);
        let heard = members.map(|device| fleet.device(*device).last_seen_ms).min().unwrap_or(0);
        let patience_ms = self.heartbeats_ms(unit);
        // A gap moves what is pending by a cadence more than its length.
        let pending_since_ms = self.observing_since_ms.saturating_add(self.profile.cadence_ms);
        if heard < self.observing_since_ms && deadline_ms < pending_since_ms {
            // It was in time before the server looked away, which is not known any more.
            if let Some(arm) = self.arm(unit).filter(|_| self.left.contains_key(&unit)) {
                self.not_at_risk(unit, Metric::FirstCheckInMissed, arm);
                return None;
            }
            return self.later(unit, self.observing_since_ms.saturating_add(patience_ms), now_ms);
        }
        // Of a site every device that holds a permit is awaited.
        let last_ms = self.last_awaited_ms(unit);
        if row.permitted > 1 && last_ms > now_ms {
            self.set_deadline(unit, Some(last_ms));
            return None;
        }
        let missed = heard.saturating_add(self.deadline_ms(unit) * 3 / 5) < deadline_ms;
        if missed || (treated && waits) {
            return Some(Metric::FirstCheckInMissed);
        }
        let row = &mut self.units[unit as usize];
        row.judged = true;
        if row.outcome == Outcome::Awaited {
            self.set_outcome(unit, Outcome::Watched);
        }
        self.watch(unit);
        self.set_deadline(unit, Some(self.heard_ms(fleet, unit).saturating_add(patience_ms)));
        None
    }

    fn later(&mut self, unit: UnitIndex, at_ms: u64, now_ms: u64) -> Option<Metric> {
        if at_ms <= now_ms {
            return Some(Metric::FirstCheckInMissed);
        }
        self.set_deadline(unit, Some(at_ms));
        None
    }

    fn heartbeats(&mut self, fleet: &Fleet, unit: UnitIndex, now_ms: u64) -> Option<Metric> {
        let row = &self.units[unit as usize];
        let heard = self.heard_ms(fleet, unit);
        let next_ms = heard.max(self.observing_since_ms).saturating_add(self.heartbeats_ms(unit));
        // A control or a proven unit that said goodbye is not watched any more; one that another rollout has taken says
        // nothing about this release.
        let gone = self.left.get(&unit).is_some_and(|left| heard <= *left);
        let taken = self.devices(unit).iter().any(|device| {
            let member_of = fleet.device(*device).member_of;
            member_of != 0 && member_of != self.id
        });
        let awaited = row.label == Label::Treated && row.outcome == Outcome::Watched;
        if (gone || taken) && !awaited {
            return None;
        }
        let next_ms = if awaited { next_ms.min(self.patience_ends_ms(unit)) } else { next_ms };
        if next_ms > now_ms {
            self.set_deadline(unit, Some(next_ms));
            return None;
        }
        Some(Metric::HeartbeatsMissed)
    }

    /// Its heartbeats count from now on.
    fn watch(&mut self, unit: UnitIndex) {
        let Some(arm) = self.arm(unit) else { return };
        let row = &mut self.units[unit as usize];
        if row.watched || row.seen & bit(Metric::HeartbeatsMissed) != 0 {
            return;
        }
        let Some(members) = self.slice.as_mut().and_then(|slice| slice.cells.get_mut(&row.cell)) else { return };
        row.watched = true;
        *members.at_risk.of(Metric::HeartbeatsMissed, arm) += 1;
    }

    /// When the last device of a unit that got a permit must have given word.
    pub(super) fn last_awaited_ms(&self, unit: UnitIndex) -> u64 {
        let since_ms = self.units[unit as usize].permitted_ms.max(self.observing_since_ms);
        since_ms.saturating_add(self.deadline_ms(unit))
    }

    /// Until when a treated unit must be proven healthy: one that talks, and on which the release does not come to
    /// stand, is no good sign either.
    pub(super) fn patience_ends_ms(&self, unit: UnitIndex) -> u64 {
        let patience = self.profile.soak_ms.saturating_add(4 * self.deadline_ms(unit));
        self.units[unit as usize].permitted_ms.max(self.observing_since_ms).saturating_add(patience)
    }

    /// A clean shutdown right-censors the heartbeats. It excuses no first check-in, in neither arm: a release that shuts machines
    /// down and does not bring them back must not pass for one that nobody could judge.
    pub(super) fn departed(&mut self, device: DeviceIndex, at_ms: u64) {
        let Some(unit) = self.unit(device) else { return };
        let Some(arm) = self.arm(unit) else { return };
        self.left.insert(unit, at_ms);
        if self.units[unit as usize].watched {
            self.not_at_risk(unit, Metric::HeartbeatsMissed, arm);
        }
        if arm == Arm::Treated && self.units[unit as usize].outcome == Outcome::Watched {
            // No evidence against the release, but nothing proves it either until it is back.
            if !self.units[unit as usize].judged {
                self.leaves_batch(unit, arm);
            }
            self.gone(unit, at_ms);
        }
    }
}
