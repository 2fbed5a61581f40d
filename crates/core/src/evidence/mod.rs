//! When a rollout widens, holds or halts: the statistics, and nothing but the statistics.
//!
//! A bricked machine sends no failure report, so silence is an event here. It is compared with machines of the same kind
//! at the same time that did not get the update, by a test that may be looked at after every single event.
//!
//! Lives here: the log-rank process ([`logrank`]), its combination over metrics and cohorts ([`scopes`]), the order of
//! deadlines ([`queue`]), the bound that lets a wave grow ([`widen`]), the rules for fleets too small for statistics
//! ([`small`]), the comparison with the limits ([`thresholds`]) and the line format with which anybody can recompute a
//! verdict ([`audit`]).
//!
//! Must stay out: input and output, clocks, random sources, hash maps (their order differs from run to run), and every
//! logarithm or exponential that does not come from `libm` (two platforms would disagree in the last digits). What a
//! verdict leads to is decided by the rollout planner, not here.

pub mod audit;
mod cohorts;
mod exact;
pub mod logrank;
mod logspace;
pub mod metric;
pub mod queue;
pub mod scopes;
pub mod small;
mod sum_tree;
pub mod thresholds;
pub mod widen;

use thiserror::Error;

pub use cohorts::{Dimension, Scope, ScopeValue};
pub use logrank::{Arm, Process, RiskSet};
pub use metric::{Metric, Weights};
pub use queue::{DeadlineKey, DeadlineQueue, Due};
pub use scopes::{ScopeShare, Scopes, ValueShare};
pub use thresholds::{Thresholds, Verdict};
pub use widen::{PairCounts, PairDifference};

/// Why a number, an event or a stored state was refused. A refused call changes nothing.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EvidenceError {
    /// The allowance for restarts is outside `1..=100`.
    #[error("open an evidence process: t0 is {theta0}, it must be a number from 1 to 100")]
    Theta0OutOfRange { theta0: f64 },
    /// A device had an event without being a member of its own risk set.
    #[error(
        "count an event: the device is {arm} but its risk set has no {arm} member (treated {treated}, control {control})"
    )]
    ArmNotAtRisk { arm: Arm, treated: u64, control: u64 },
    /// The metric weights are negative, not finite, or do not add up to 1.
    #[error("combine metrics: weights {weights:?} must be at least 0 and add up to 1")]
    WeightsInvalid { weights: [f64; metric::METRICS] },
    /// An event names more or fewer dimension values than there are dimensions.
    #[error("count an event: {given} dimension values given, the rollout has {expected} dimensions")]
    WrongDimensionCount { given: usize, expected: usize },
    /// More values than a 32-bit number can name.
    #[error("build cohorts: dimension {dimension:?} brings the number of cohorts above {limit}")]
    TooManyCohorts { dimension: String, limit: usize },
    /// A stored state contradicts itself.
    #[error("restore evidence: {what}")]
    StateInconsistent { what: &'static str },
    /// An error probability is not strictly between 0 and 1.
    #[error("set {name}: {value} is not between 0 and 1 (both excluded)")]
    NotAProbability { name: &'static str, value: f64 },
    /// A pair has no control, or more bad controls than controls.
    #[error("count a pair: {bad} bad of {controls} controls")]
    ControlsInvalid { bad: u32, controls: u32 },
    /// A pair difference outside `-1..=1`, or with a zero denominator.
    #[error("count a pair: {numerator}/{denominator} is not a fraction from -1 to 1")]
    DifferenceOutOfRange { numerator: i64, denominator: u64 },
}
