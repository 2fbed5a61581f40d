//! The limits that the evidence is compared with, and the numbers that a verdict prints.
//!
//! Must stay out: the latch (a halt stays until people act; the rollout keeps it), and what happens after a verdict.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{EvidenceError, ValueShare};

/// Error probability of a halt for a large fleet: a healthy update is halted with at most this probability.
pub const ALPHA: f64 = 0.001;

/// Evidence at which a rollout waits for more, or for a person.
pub const HOLD_AT: f64 = 20.0;

/// If more than this part of `ln E` comes from one customer, that customer is fenced and the rest waits for a person.
pub const DOMINANT_SHARE: f64 = 0.8;

/// True if one customer (or fifty fake devices of one) would veto everybody's update: fence it and hold the rest.
pub fn dominates(share: &ValueShare) -> bool {
    share.evidence_share > DOMINANT_SHARE
}

/// The two limits of a rollout, as logarithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    ln_halt: f64,
    ln_hold: f64,
}

impl Thresholds {
    /// HALT at `1/alpha`, HOLD at 20, or at `1/alpha` if that is less. `alpha` must be between 0 and 1, both excluded:
    /// .001 for a large fleet, .05 for a small one.
    pub fn new(alpha: f64) -> Result<Self, EvidenceError> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(EvidenceError::NotAProbability { name: "alpha", value: alpha });
        }
        let ln_halt = -libm::log(alpha);
        Ok(Thresholds { ln_halt, ln_hold: libm::log(HOLD_AT).min(ln_halt) })
    }

    /// `ln E` from which the rollout halts.
    pub fn ln_halt(&self) -> f64 {
        self.ln_halt
    }

    /// `ln E` from which the rollout holds.
    pub fn ln_hold(&self) -> f64 {
        self.ln_hold
    }

    /// Compares `ln E_total` with the limits; a limit that is reached exactly counts as reached. What is not a number
    /// holds, because nothing is known then.
    pub fn judge(&self, ln_e_total: f64) -> Verdict {
        if ln_e_total >= self.ln_halt {
            Verdict::Halt { ln_e_total, ln_limit: self.ln_halt }
        } else if ln_e_total >= self.ln_hold || ln_e_total.is_nan() {
            Verdict::Hold { ln_e_total, ln_limit: self.ln_hold }
        } else {
            Verdict::Continue { ln_e_total, ln_limit: self.ln_hold }
        }
    }
}

/// What the combined evidence says, with the numbers to print. The caller latches a halt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Below the limit for a hold.
    Continue { ln_e_total: f64, ln_limit: f64 },
    /// At or above the limit for a hold: nobody new is exposed.
    Hold { ln_e_total: f64, ln_limit: f64 },
    /// At or above the limit for a halt.
    Halt { ln_e_total: f64, ln_limit: f64 },
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, ln_e_total, relation, ln_limit) = match self {
            Verdict::Continue { ln_e_total, ln_limit } => ("continue", ln_e_total, "below the hold limit", ln_limit),
            Verdict::Hold { ln_e_total, ln_limit } => ("hold", ln_e_total, "at or above the hold limit", ln_limit),
            Verdict::Halt { ln_e_total, ln_limit } => ("halt", ln_e_total, "at or above the halt limit", ln_limit),
        };
        write!(formatter, "{word}: ln E = {ln_e_total:.3}, {relation} {ln_limit:.3} (E = {:.0})", libm::exp(*ln_limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_as_reached() {
        let limits = Thresholds::new(ALPHA).unwrap();
        assert!(matches!(limits.judge(libm::log(19.99)), Verdict::Continue { .. }));
        assert!(matches!(limits.judge(libm::log(20.0)), Verdict::Hold { .. }));
        assert!(matches!(limits.judge(libm::log(999.99)), Verdict::Hold { .. }));
        assert!(matches!(limits.judge(limits.ln_halt()), Verdict::Halt { .. }));
        assert!(matches!(limits.judge(f64::NAN), Verdict::Hold { .. }));
        assert_eq!(limits.judge(7.0).to_string(), "halt: ln E = 7.000, at or above the halt limit 6.908 (E = 1000)");
    }

    #[test]
    fn a_small_fleet_halts_where_a_large_one_holds() {
        let limits = Thresholds::new(0.05).unwrap();
        assert!(matches!(limits.judge(libm::log(20.0) + 1e-12), Verdict::Halt { .. }));
        assert!(matches!(limits.judge(2.9), Verdict::Continue { .. }));
        for alpha in [0.0, 1.0, f64::NAN, -1.0] {
            assert!(Thresholds::new(alpha).is_err(), "{alpha}");
        }
    }
}
