//! The counts of a rollout against its devices, for the invariants. Must stay out: anything that a decision needs, this
//! looks at every device.

use super::{Label, NO_BATCH, Outcome, Phase, Rollout, SliceCell, UnitIndex, UnitRow, bit};
use crate::evidence::{Arm, Metric};

impl Rollout {
    /// Compares every count with the devices themselves; an error names the one that is wrong.
    pub(crate) fn recount(&self) -> Result<(), String> {
        let check = |what: &str, kept: u64, found: u64| {
            if kept == found { Ok(()) } else { Err(format!("{what}: {kept} kept, {found} found")) }
        };
        let units = || self.units.iter().enumerate().map(|(unit, row)| (unit as UnitIndex, row));
        let treated = |row: &UnitRow| matches!(row.label, Label::Treated | Label::Done);
        let exposed = units().filter(|(_, row)| treated(row) && row.open > 0).count() as u64;
        check("exposed units", self.counts.exposed, exposed)?;
        let of_phase = |phase: Phase| self.phases.iter().filter(|p| **p == phase).count() as u64;
        check("confirmed devices", self.counts.confirmed, of_phase(Phase::Confirmed))?;
        check("failed devices", self.counts.failed, of_phase(Phase::Failed))?;
        let untrue =
            self.withdrawals.keys().find(|d| matches!(self.phases[**d as usize], Phase::OnTrial | Phase::Confirmed));
        if let Some(device) = untrue {
            return Err(format!("device {device} gave its permit back and is on trial"));
        }
        let back = |unit: &UnitIndex| self.troubled.get(unit).is_some_and(|trouble| trouble.back);
        let silent = units().filter(|(unit, row)| treated(row) && row.outcome == Outcome::Missed && !back(unit));
        check("silent units", self.counts.silent, silent.count() as u64)?;
        let deadlines = units().filter(|(_, row)| row.deadline.is_some()).count() as u64;
        check("deadlines", self.queue.len() as u64, deadlines)?;
        let Some(slice) = &self.slice else { return Ok(()) };
        let members = |label: Label| units().filter(move |(_, row)| row.label == label);
        let open = members(Label::Treated).filter(|(_, row)| row.outcome.is_open()).count() as u64;
        check("open treated units", slice.treated_open, open)?;
        let forgotten = members(Label::Treated).find(|(_, row)| row.outcome.is_open() && row.deadline.is_none());
        if let Some((unit, _)) = forgotten {
            return Err(format!("unit {unit} is awaited without a deadline"));
        }
        for (label, arm) in [(Label::Treated, Arm::Treated), (Label::Control, Arm::Control)] {
            for metric in Metric::ALL {
                let kept = |cell: &SliceCell| match metric {
                    Metric::FirstCheckInMissed => cell.batches.iter().map(|batch| batch.of(arm)).sum(),
                    _ => *cell.at_risk.clone().of(metric, arm),
                };
                let kept: u64 = slice.cells.values().map(kept).sum();
                let at_risk = |row: &UnitRow| match metric {
                    Metric::FirstCheckInMissed => row.batch != NO_BATCH,
                    Metric::HeartbeatsMissed => row.watched,
                    _ => row.permitted > 0 && row.seen & bit(metric) == 0,
                };
                let found = members(label).filter(|(_, row)| at_risk(row)).count() as u64;
                check("at risk", kept, found)?;
            }
        }
        Ok(())
    }
}
