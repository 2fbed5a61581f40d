//! What counts as an event, and how much of the evidence each kind may contribute.
//!
//! Weights are fixed before the first device gets the release: an average of fair bets with weights chosen beforehand is
//! itself a fair bet, one with weights chosen afterwards is not.

use serde::{Deserialize, Serialize};

use super::{EvidenceError, exact};

/// Number of metrics.
pub const METRICS: usize = 5;

/// One binary event a device and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// S1: the first check-in after the permit is missed. The risk set starts at `ready` and keeps members that were
    /// already confirmed.
    FirstCheckInMissed,
    /// S2: three heartbeats missed after confirmation without a clean-shutdown notice; a clean shutdown right-censors.
    /// The risk set is confirmed and not censored.
    HeartbeatsMissed,
    /// S3: any departure, clean shutdown included (a bad update must not hide behind graceful reboots).
    Departed,
    /// A crash, rollback or safe-mode report.
    Crashed,
    /// A declared service-level breach.
    ServiceLevelBreached,
}

impl Metric {
    /// All metrics, in the order of [`Weights`].
    pub const ALL: [Metric; METRICS] = [
        Metric::FirstCheckInMissed,
        Metric::HeartbeatsMissed,
        Metric::Departed,
        Metric::Crashed,
        Metric::ServiceLevelBreached,
    ];

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// The share of each metric in the combined evidence, in the order of [`Metric::ALL`]. Not negative, sum 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredWeights")]
pub struct Weights {
    #[serde(with = "exact")]
    shares: [f64; METRICS],
}

#[derive(Deserialize)]
struct StoredWeights {
    #[serde(with = "exact")]
    shares: [f64; METRICS],
}

impl TryFrom<StoredWeights> for Weights {
    type Error = EvidenceError;

    fn try_from(stored: StoredWeights) -> Result<Self, EvidenceError> {
        Weights::new(stored.shares)
    }
}

impl Weights {
    /// Checks that no share is negative and that they add up to 1 within 1e-9.
    pub fn new(shares: [f64; METRICS]) -> Result<Self, EvidenceError> {
        let total: f64 = shares.iter().sum();
        // A sum that is not a number fails the comparison and is refused as well.
        if shares.iter().all(|share| *share >= 0.0) && (total - 1.0).abs() <= 1e-9 {
            Ok(Weights { shares })
        } else {
            Err(EvidenceError::WeightsInvalid { weights: shares })
        }
    }

    /// The weights for a fleet of 200 units or more: .6, .15, .05, .15, .05 (docs/adr/0018-smaller-steps.md).
    pub fn standard() -> Self {
        Weights { shares: [0.6, 0.15, 0.05, 0.15, 0.05] }
    }

    /// Only the first check-in counts: a small fleet has too little evidence to divide.
    pub fn first_check_in_only() -> Self {
        Weights { shares: [1.0, 0.0, 0.0, 0.0, 0.0] }
    }

    /// The share of one metric, 0 to 1.
    pub fn of(&self, metric: Metric) -> f64 {
        self.shares[metric.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_weights_pass_their_own_check() {
        for weights in [Weights::standard(), Weights::first_check_in_only()] {
            assert_eq!(Weights::new(weights.shares).as_ref(), Ok(&weights));
        }
        assert_eq!(Weights::standard().of(Metric::Crashed), 0.15);
        for (position, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric.index(), position);
        }
    }

    #[test]
    fn unfair_weights_are_refused() {
        for shares in [[0.5, 0.5, 0.5, 0.0, 0.0], [1.5, -0.5, 0.0, 0.0, 0.0], [f64::NAN, 0.0, 0.0, 0.0, 1.0]] {
            assert!(matches!(Weights::new(shares), Err(EvidenceError::WeightsInvalid { .. })), "{shares:?}");
        }
        let bits: Vec<u64> = [0.9, 0.9, 0.0, 0.0, 0.0_f64].iter().map(|share| share.to_bits()).collect();
        let stored = serde_json::json!({ "shares": bits });
        assert!(serde_json::from_value::<Weights>(stored).is_err());
    }
}
