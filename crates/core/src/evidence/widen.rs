//! How far the next wave may go: a positive bound on the harm, not an absence of bad news.
//!
//! Each treated device is matched with up to four controls of its slice and stratum, and
//! `X = bad - mean(bad of its controls)`, where bad means S1, a crash or a rollback. For a candidate excess harm `d`:
//!
//! ```text
//! W(d)  = sum_i omega_i * prod over devices of (1 + kappa_i * (d - X) / (1 - d))
//! kappa = {.95, 2^-1, ..., 2^-7},  omega = {2^-1, ..., 2^-7, 2^-7}
//! U     = min{ d : W(d) >= 1/beta },  1 if there is none
//! ```
//!
//! With confidence `1 - beta` the excess harm is below `U`, provided that the pair differences are bounded and their
//! conditional mean excess is at least `d` under the hypothesis that is tested. Source: e-values by betting, after
//! Waudby-Smith and Ramdas.
//!
//! Must stay out: the other conditions for widening (every outcome resolved, soak time passed, no hold).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EvidenceError, logspace};

/// Controls matched with one treated device, where there are so many.
pub const CONTROLS_PER_DEVICE: u32 = 4;

/// A bound at or below this lets the wave double without looking at the loss budget.
pub const HARMLESS: f64 = 0.001;

/// Evidence against a release that rounding alone may leave of a sum that is 0.
const ROUNDING: f64 = 1e-9;
/// Waves from a first doubt to the halt, if all goes on as so far.
const LOOKS_UNTIL_HALT: f64 = 8.0;
/// The least part of the units so far that a wave has.
const LEAST_PART: f64 = 0.05;

const BETS: usize = 8;
const KAPPA: [f64; BETS] = [0.95, 0.5, 0.25, 0.125, 0.0625, 0.031_25, 0.015_625, 0.007_812_5];
const OMEGA: [f64; BETS] = [0.5, 0.25, 0.125, 0.0625, 0.031_25, 0.015_625, 0.007_812_5, 0.007_812_5];

/// One value of X as an exact, reduced fraction from -1 to 1, so that equal outcomes share one count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(i64, u64)", into = "(i64, u64)")]
pub struct PairDifference {
    numerator: i64,
    denominator: u64,
}

impl PairDifference {
    /// Any fraction from -1 to 1; reduced here.
    pub fn new(numerator: i64, denominator: u64) -> Result<Self, EvidenceError> {
        if denominator == 0 || numerator.unsigned_abs() > denominator {
            return Err(EvidenceError::DifferenceOutOfRange { numerator, denominator });
        }
        let divisor = greatest_common_divisor(numerator.unsigned_abs(), denominator);
        let magnitude = numerator.unsigned_abs() / divisor;
        // The magnitude only shrank, so its sign can be put back without overflow.
        let numerator = if numerator < 0 { 0_i64.wrapping_sub_unsigned(magnitude) } else { magnitude as i64 };
        Ok(PairDifference { numerator, denominator: denominator / divisor })
    }

    /// The difference for a treated device of whose `controls` matched controls `bad_controls` were bad.
    pub fn of_pair(bad: bool, bad_controls: u32, controls: u32) -> Result<Self, EvidenceError> {
        if controls == 0 || bad_controls > controls {
            return Err(EvidenceError::ControlsInvalid { bad: bad_controls, controls });
        }
        let treated = if bad { i64::from(controls) } else { 0 };
        Self::new(treated - i64::from(bad_controls), u64::from(controls))
    }

    /// The value, -1 to 1.
    pub fn value(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl TryFrom<(i64, u64)> for PairDifference {
    type Error = EvidenceError;

    fn try_from((numerator, denominator): (i64, u64)) -> Result<Self, EvidenceError> {
        Self::new(numerator, denominator)
    }
}

impl From<PairDifference> for (i64, u64) {
    fn from(difference: PairDifference) -> Self {
        (difference.numerator, difference.denominator)
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if a == 0 { b } else { greatest_common_divisor(b % a, a) }
}

/// How often each value of X occurred: a handful of counts, whatever the size of the wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(PairDifference, u64)>", into = "Vec<(PairDifference, u64)>")]
pub struct PairCounts {
    counts: BTreeMap<PairDifference, u64>,
}

impl From<Vec<(PairDifference, u64)>> for PairCounts {
    fn from(list: Vec<(PairDifference, u64)>) -> Self {
        let mut pairs = PairCounts::default();
        for (difference, count) in list {
            pairs.add(difference, count);
        }
        pairs
    }
}

// A list and not a map, because JSON keys cannot be fractions.
impl From<PairCounts> for Vec<(PairDifference, u64)> {
    fn from(pairs: PairCounts) -> Self {
        pairs.counts.into_iter().collect()
    }
}

impl PairCounts {
    /// No outcome yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one treated device, of whose `controls` matched controls `bad_controls` were bad. Fails, changing nothing,
    /// without controls or with more bad ones than there are.
    pub fn observe(&mut self, bad: bool, bad_controls: u32, controls: u32) -> Result<(), EvidenceError> {
        self.add(PairDifference::of_pair(bad, bad_controls, controls)?, 1);
        Ok(())
    }

    /// Counts `count` devices with the same difference.
    pub fn add(&mut self, difference: PairDifference, count: u64) {
        if count > 0 {
            let total = self.counts.entry(difference).or_insert(0);
            *total = total.saturating_add(count);
        }
    }

    /// Devices counted.
    pub fn devices(&self) -> u64 {
        self.counts.values().fold(0, |total, count| total.saturating_add(*count))
    }

    /// `ln W(d)` for `d` from 0 up to but not including 1; it increases in `d`. Other arguments count as the nearest
    /// allowed one.
    pub fn ln_w(&self, excess_harm: f64) -> f64 {
        let d = excess_harm.clamp(0.0, 1.0 - f64::EPSILON / 2.0);
        let mut bets = [0.0; BETS];
        for (bet, (kappa, omega)) in bets.iter_mut().zip(KAPPA.iter().zip(OMEGA.iter())) {
            *bet = libm::log(*omega);
            for (difference, count) in &self.counts {
                // X is at most 1, so the argument is at least 1 - kappa, which is positive.
                let gain = libm::log(1.0 + kappa * (d - difference.value()) / (1.0 - d));
                *bet += *count as f64 * gain;
            }
        }
        logspace::sum(&bets)
    }

    /// `U`: with confidence `1 - beta` the excess harm is below it. 0 to 1; 1 if the outcomes say nothing.
    ///
    /// `beta` is .01 for a large fleet and .05 for a small one; it must be between 0 and 1, both excluded. Of two
    /// neighbouring numbers it returns the upper one.
    pub fn upper_bound(&self, beta: f64) -> Result<f64, EvidenceError> {
        if !(beta > 0.0 && beta < 1.0) {
            return Err(EvidenceError::NotAProbability { name: "beta", value: beta });
        }
        let needed = -libm::log(beta);
        if self.ln_w(0.0) >= needed {
            return Ok(0.0);
        }
        let (mut low, mut high) = (0.0_f64, 1.0_f64);
        // Each turn halves the interval; 128 turns leave less than any difference that matters near 0.
        for _ in 0..128 {
            let middle = low + (high - low) / 2.0;
            if middle <= low || middle >= high {
                break;
            }
            if self.ln_w(middle) >= needed {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high)
    }
}

/// Units in the next wave: `2n` if `bound <= 0.001`, else `min(2n, max(n1, floor(budget/bound)))`; 2 stands for
/// `growth_percent / 100`, and a wave may always be one unit larger than the last.
///
/// `current` (n) and `first` (n1) are units, `bound` is `U` (what is not a number counts as 1), `budget` (B) the units
/// that a wave may lose. With confidence `1 - beta` the wave loses at most the budget.
pub fn next_wave(current: u64, first: u64, bound: f64, budget: u64, growth_percent: u32) -> u64 {
    let grown = u128::from(current) * u128::from(growth_percent) / 100;
    let grown = u64::try_from(grown).unwrap_or(u64::MAX).max(current.saturating_add(1));
    if bound <= HARMLESS {
        return grown;
    }
    grown.min(first.max(units_within_budget(bound, budget)))
}

/// Units in the next wave while the evidence is against the release: a part of what it would still take to halt, going on
/// as so far. `exposed` units brought `ln_e`, so `exposed * (ln_halt - ln_e) / ln_e` more would bring the halt; an eighth of it
/// lets the waves end close to where the proof does (docs/adr/0018-smaller-steps.md). At least one unit and a twentieth of
/// `exposed`; no limit while `ln_e` is 0 or below.
pub fn next_in_doubt(exposed: u64, ln_e: f64, ln_halt: f64) -> u64 {
    if ln_e <= ROUNDING {
        return u64::MAX;
    }
    let part = ((ln_halt - ln_e) / (LOOKS_UNTIL_HALT * ln_e)).max(LEAST_PART);
    ((exposed as f64 * part) as u64).max(1)
}

/// `floor(budget/bound)`: the most units that a stratum never seen before may contribute to a wave, `bound` being that
/// stratum's own `U` (1 while nothing is known of it).
pub fn units_within_budget(bound: f64, budget: u64) -> u64 {
    let bound = if bound.is_nan() { 1.0 } else { bound.clamp(0.0, 1.0) };
    // A bound of 0 gives infinity, which the conversion turns into the largest number.
    (budget as f64 / bound).floor() as u64
}

/// `B = clamp(ceil(0.05 * fleet), 2, 100)`: the units of a fleet that one wave may lose. A small fleet has its own
/// ([`super::small::LOSS_BUDGET`]).
pub fn loss_budget(fleet: u64) -> u64 {
    fleet.div_ceil(20).clamp(2, 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_fractions_share_one_count() {
        let mut pairs = PairCounts::new();
        pairs.observe(false, 1, 2).unwrap();
        pairs.observe(false, 2, 4).unwrap();
        pairs.add(PairDifference::new(-3, 6).unwrap(), 5);
        pairs.observe(true, 0, 3).unwrap();
        assert_eq!(pairs.counts.len(), 2);
        assert_eq!(pairs.devices(), 8);
        let stored = serde_json::to_string(&pairs).unwrap();
        assert_eq!(stored, "[[[-1,2],7],[[1,1],1]]");
        assert_eq!(serde_json::from_str::<PairCounts>(&stored).unwrap(), pairs);
        assert!(serde_json::from_str::<PairCounts>("[[[2,1],7]]").is_err());
        assert!(serde_json::from_str::<PairCounts>("[[[0,0],7]]").is_err());
    }

    #[test]
    fn impossible_pairs_are_refused() {
        let mut pairs = PairCounts::new();
        assert!(pairs.observe(false, 0, 0).is_err());
        assert!(pairs.observe(true, 5, 4).is_err());
        assert!(PairDifference::new(i64::MIN, 1).is_err());
        assert!(PairDifference::new(i64::MIN, u64::MAX).is_ok());
        assert_eq!(PairDifference::new(i64::MIN, 1 << 63).unwrap().value(), -1.0);
        assert_eq!(pairs, PairCounts::new());
    }

    #[test]
    fn extreme_outcomes_stay_within_bounds() {
        assert_eq!(PairCounts::new().upper_bound(0.01), Ok(1.0));
        for (numerator, expected) in [(1, 1.0), (-1, 0.0)] {
            let mut pairs = PairCounts::new();
            for _ in 0..3 {
                pairs.add(PairDifference::new(numerator, 1).unwrap(), u64::MAX / 2);
            }
            assert_eq!(pairs.upper_bound(0.01), Ok(expected));
        }
        for beta in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
            assert!(PairCounts::new().upper_bound(beta).is_err(), "{beta}");
        }
    }

    #[test]
    fn waves_double_at_most_and_respect_the_budget() {
        assert_eq!(next_wave(100, 4, 0.001, 2, 200), 200);
        assert_eq!(next_wave(100, 4, 0.05, 8, 200), 160);
        assert_eq!(next_wave(100, 4, 0.01, 100, 200), 200);
        assert_eq!(next_wave(100, 4, 0.9, 2, 200), 4);
        assert_eq!(next_wave(1, 4, 1.0, 2, 200), 2);
        assert_eq!(next_wave(100, 4, f64::NAN, 2, 200), 4);
        assert_eq!(next_wave(u64::MAX, 4, 0.0, 2, 200), u64::MAX);
        assert_eq!(next_wave(100, 4, 0.0, 2, 125), 125);
        assert_eq!(next_wave(1, 4, 0.0, 2, 125), 2);
        assert_eq!(units_within_budget(0.0, 2), u64::MAX);
    }

    #[test]
    fn waves_are_the_smaller_the_more_is_against_a_release() {
        for ln_e in [f64::NEG_INFINITY, -0.1, 0.0, 1e-12] {
            assert_eq!(next_in_doubt(1_000, ln_e, 7.0), u64::MAX, "{ln_e}");
        }
        assert_eq!(
            [0.1, 0.5, 1.0, 2.0, 3.5, 7.0, 9.0].map(|ln_e| next_in_doubt(1_000, ln_e, 7.0)),
            [8_625, 1_625, 750, 312, 125, 50, 50]
        );
        assert_eq!(next_in_doubt(3, 6.0, 7.0), 1);
        assert_eq!(next_in_doubt(0, 1.0, 7.0), 1);
        assert!(next_in_doubt(u64::MAX, f64::MIN_POSITIVE, f64::MAX) > 0 && next_in_doubt(1, f64::NAN, 7.0) > 0);
    }

    #[test]
    fn the_budget_is_a_twentieth_within_limits() {
        let budgets = [0, 20, 40, 41, 200, 2_000, 2_001, u64::MAX].map(loss_budget);
        assert_eq!(budgets, [2, 2, 2, 3, 10, 100, 100, 100]);
    }
}
