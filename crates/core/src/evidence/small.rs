//! Rules beside the process: for fleets below 200 units, and for the first devices and the lost waves of any fleet.
//!
//! One silent machine of 20 can never reach 1/1000: at 24 units one silent one gives E = 3.8. What protects a small fleet
//! is the sequence (one unit, then the next), not the statistics. A false halt costs it one click, a false widen costs
//! it its service, so the rules are harsh.
//!
//! Must stay out: clocks (times arrive as numbers) and releasing a hold (the planner does, on a unit's return or a
//! person's word).

use serde::{Deserialize, Serialize};

use super::{Dimension, EvidenceError, Scopes, Thresholds, Weights};

/// Fleets below this many units follow the rules for small fleets.
pub const SMALL_FLEET_UNITS: u64 = 200;
/// Up to this many exposed units, one overdue unit holds the rollout.
pub const FEW_EXPOSED: u64 = 8;
/// A held unit that misses so many deadlines in a row, and gave no clean-shutdown notice, halts a small fleet.
pub const DEADLINES_UNTIL_HALT: u32 = 3;
/// Error probability of a halt in a small fleet.
pub const ALPHA: f64 = 0.05;
/// Error probability of the bound for widening in a small fleet.
pub const BETA: f64 = 0.05;
/// Units in the first wave of a small fleet; all the others are controls.
pub const FIRST_WAVE: u64 = 1;
/// Units that a wave of a small fleet may lose.
pub const LOSS_BUDGET: u64 = 2;

/// A wave can count as lost from so many units on.
const LOST_FROM: u64 = 3;

/// True if so many of a wave's treated units fell silent or went back that a person must look, in any fleet and whatever
/// their controls did: four in five. Among many kinds of devices with few of each there may be no controls to tell.
pub fn is_lost(lost: u64, treated: u64) -> bool {
    treated >= LOST_FROM && u128::from(lost) * 5 >= u128::from(treated) * 4
}

/// True if a fleet of so many units follows the rules for small fleets.
pub fn is_small(units: u64) -> bool {
    units < SMALL_FLEET_UNITS
}

/// The evidence and the limits of a small fleet: S1 alone with weight 1, no strata, alpha .05. `theta0` as in
/// [`super::Process::new`].
pub fn evidence(theta0: f64) -> Result<(Scopes, Thresholds), EvidenceError> {
    let dimensions: Vec<Dimension> = Vec::new();
    Ok((Scopes::new(Weights::first_check_in_only(), theta0, dimensions)?, Thresholds::new(ALPHA)?))
}

/// Deadlines that have passed since `started_ms` without a word: 0 while the unit is in time, 1 from its deadline on.
///
/// All times in milliseconds on one clock; after an `ObservationGap` the caller moves `started_ms` by what it moved the
/// deadlines. A deadline of length 0 counts as passed once.
pub fn deadlines_missed(started_ms: u64, deadline_length_ms: u64, now_ms: u64) -> u32 {
    let waited = now_ms.saturating_sub(started_ms);
    let missed = waited.checked_div(deadline_length_ms).unwrap_or(1);
    u32::try_from(missed).unwrap_or(u32::MAX)
}

/// What is known of a treated unit that is not simply in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitReport {
    /// Not heard since its permit. `deadlines_missed` as counted by [`deadlines_missed`].
    Silent { deadlines_missed: u32, clean_shutdown: bool },
    /// Came back, proven healthy on the new version.
    ConfirmedNew,
    /// Came back on its last-known-good version.
    RolledBack,
    /// Came back in safe mode.
    SafeMode,
}

/// One treated unit of the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreatedUnit {
    /// The caller's number for the unit.
    pub unit: u32,
    pub report: UnitReport,
    /// A person looked at this unit's silence and let the rollout go on. Covers silence only, not what it says later.
    pub silence_excused: bool,
}

/// Why a rollout waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// A treated unit is past its deadline while few are exposed.
    Overdue { unit: u32, deadlines_missed: u32, exposed: u64 },
    /// The same, and the unit had announced that it shuts down: it is waited for as long as it takes.
    ShutDown { unit: u32, deadlines_missed: u32, exposed: u64 },
}

/// Why a small fleet's rollout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltReason {
    /// A treated unit went back to its last-known-good version.
    RolledBack { unit: u32 },
    /// A treated unit came back in safe mode.
    SafeMode { unit: u32 },
    /// A treated unit did not come back and had not announced a shutdown.
    NotBack { unit: u32, deadlines_missed: u32 },
}

/// What the rules for a small fleet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmallVerdict {
    /// Nothing stands against going on; the process and the bound are asked next.
    Continue,
    Hold(HoldReason),
    /// The caller latches it.
    Halt(HaltReason),
}

/// The rule for fleets of every size: while at most 8 units are exposed in total, any treated unit past its deadline
/// holds the rollout. Any return of that unit ends it. Of several units, the one with the lowest number is named.
pub fn hold_while_few(exposed: u64, units: &[TreatedUnit]) -> Option<HoldReason> {
    if exposed > FEW_EXPOSED {
        return None;
    }
    let overdue = units.iter().filter(|unit| !unit.silence_excused).filter_map(|unit| match unit.report {
        UnitReport::Silent { deadlines_missed, clean_shutdown } if deadlines_missed > 0 => {
            Some((unit.unit, deadlines_missed, clean_shutdown))
        }
        _ => None,
    });
    overdue.min_by_key(|(unit, ..)| *unit).map(|(unit, deadlines_missed, clean_shutdown)| {
        if clean_shutdown {
            HoldReason::ShutDown { unit, deadlines_missed, exposed }
        } else {
            HoldReason::Overdue { unit, deadlines_missed, exposed }
        }
    })
}

/// The rules for a small fleet while at most 8 units are exposed; above that the process alone decides.
///
/// A unit that comes back rolled back or in safe mode halts the rollout whether or not its deadline had passed: crash
/// reports have no weight in a small fleet's process, so nothing else would count it. A unit that comes back confirmed
/// on the new version holds nothing any more. A halt goes before a hold; of several, the lowest unit number is named.
pub fn judge(exposed: u64, units: &[TreatedUnit]) -> SmallVerdict {
    if exposed > FEW_EXPOSED {
        return SmallVerdict::Continue;
    }
    let halts = units.iter().filter_map(|unit| halt_reason(unit).map(|reason| (unit.unit, reason)));
    if let Some((_, reason)) = halts.min_by_key(|(unit, _)| *unit) {
        return SmallVerdict::Halt(reason);
    }
    hold_while_few(exposed, units).map_or(SmallVerdict::Continue, SmallVerdict::Hold)
}

fn halt_reason(treated: &TreatedUnit) -> Option<HaltReason> {
    let unit = treated.unit;
    match treated.report {
        UnitReport::RolledBack => Some(HaltReason::RolledBack { unit }),
        UnitReport::SafeMode => Some(HaltReason::SafeMode { unit }),
        UnitReport::Silent { deadlines_missed, clean_shutdown: false }
            if deadlines_missed >= DEADLINES_UNTIL_HALT && !treated.silence_excused =>
        {
            Some(HaltReason::NotBack { unit, deadlines_missed })
        }
        UnitReport::Silent { .. } | UnitReport::ConfirmedNew => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(unit: u32, deadlines_missed: u32, clean_shutdown: bool) -> TreatedUnit {
        let report = UnitReport::Silent { deadlines_missed, clean_shutdown };
        TreatedUnit { unit, report, silence_excused: false }
    }

    fn returned(unit: u32, report: UnitReport) -> TreatedUnit {
        TreatedUnit { unit, report, silence_excused: false }
    }

    #[test]
    fn one_overdue_unit_holds_until_it_returns_confirmed() {
        assert_eq!(judge(1, &[silent(3, 0, false)]), SmallVerdict::Continue);
        let hold = HoldReason::Overdue { unit: 3, deadlines_missed: 1, exposed: 1 };
        assert_eq!(judge(1, &[silent(3, 1, false)]), SmallVerdict::Hold(hold));
        assert_eq!(judge(1, &[returned(3, UnitReport::ConfirmedNew)]), SmallVerdict::Continue);
    }

    #[test]
    fn a_bad_return_or_none_at_all_halts() {
        let rolled_back = judge(1, &[returned(3, UnitReport::RolledBack)]);
        assert_eq!(rolled_back, SmallVerdict::Halt(HaltReason::RolledBack { unit: 3 }));
        let safe_mode = judge(2, &[silent(1, 1, false), returned(3, UnitReport::SafeMode)]);
        assert_eq!(safe_mode, SmallVerdict::Halt(HaltReason::SafeMode { unit: 3 }));
        assert!(matches!(judge(1, &[silent(3, 2, false)]), SmallVerdict::Hold(_)));
        let gone = SmallVerdict::Halt(HaltReason::NotBack { unit: 3, deadlines_missed: 3 });
        assert_eq!(judge(1, &[silent(3, 3, false)]), gone);
    }

    #[test]
    fn an_announced_shutdown_is_waited_for() {
        let hold = HoldReason::ShutDown { unit: 3, deadlines_missed: 900, exposed: 8 };
        assert_eq!(judge(8, &[silent(3, 900, true)]), SmallVerdict::Hold(hold));
    }

    #[test]
    fn above_eight_exposed_the_process_alone_decides() {
        assert_eq!(judge(9, &[silent(3, 5, false)]), SmallVerdict::Continue);
        assert_eq!(hold_while_few(9, &[silent(3, 1, false)]), None);
    }

    #[test]
    fn a_person_can_excuse_silence_but_not_a_later_rollback() {
        let mut unit = silent(3, 7, false);
        unit.silence_excused = true;
        assert_eq!(judge(1, &[unit]), SmallVerdict::Continue);
        unit.report = UnitReport::RolledBack;
        assert!(matches!(judge(1, &[unit]), SmallVerdict::Halt(_)));
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let forward = [silent(1, 1, false), silent(2, 3, false), silent(9, 4, false)];
        let mut backward = forward;
        backward.reverse();
        assert_eq!(judge(3, &forward), judge(3, &backward));
        assert_eq!(hold_while_few(3, &forward), hold_while_few(3, &backward));
    }

    #[test]
    fn deadlines_are_counted_from_the_moment_they_are_reached() {
        assert_eq!(deadlines_missed(1_000, 180_000, 180_999), 0);
        assert_eq!(deadlines_missed(1_000, 180_000, 181_000), 1);
        assert_eq!(deadlines_missed(1_000, 180_000, 541_000), 3);
        assert_eq!(deadlines_missed(9_000, 180_000, 1_000), 0);
        assert_eq!(deadlines_missed(0, 0, 5), 1);
        assert_eq!(deadlines_missed(0, 1, u64::MAX), u32::MAX);
    }

    #[test]
    fn the_limit_for_small_is_exclusive_and_its_evidence_is_s1_alone() {
        assert!(is_small(199));
        assert!(!is_small(200));
        let (mut scopes, limits) = evidence(1.0).unwrap();
        let risk = super::super::RiskSet { treated: 1, control: 23 };
        scopes.observe(super::super::Metric::Crashed, super::super::Arm::Treated, &[], risk).unwrap();
        assert_eq!(scopes.ln_e_total(), 0.0);
        scopes.observe(super::super::Metric::FirstCheckInMissed, super::super::Arm::Treated, &[], risk).unwrap();
        // The specification's example: at 24 units one silent one gives E = 3.8.
        assert!((libm::exp(scopes.ln_e_total()) - 3.8).abs() < 0.05, "{}", libm::exp(scopes.ln_e_total()));
        assert!(matches!(limits.judge(scopes.ln_e_total()), super::super::Verdict::Continue { .. }));
    }
}
