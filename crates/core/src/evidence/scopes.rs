//! The evidence of a whole rollout: one log-rank process for each metric and cohort, averaged with fixed weights.
//!
//! ```text
//! E_total = sum_m w_m * [ 3/4 * E(m, global) + 1/4 * sum_d (1/D) * sum_v u(d,v) * E(m, d, v) ]
//! u(d,v)  = 1/2 * (1/V_d + fleet share of v)
//! ```
//!
//! Three quarters of the evidence look at the whole fleet, one at cohorts (values `v` of dimensions `d`: OS build, hardware
//! model, site, customer), so that a fault confined to one model shows. Values that were unknown when the rollout began
//! share one slot a dimension; it is one of the `V_d` and has no fleet share. Without dimensions the fleet has all the
//! weight.
//!
//! Cost: an event touches its own `1 + D` cohorts and as many paths of a tree of sums, never the devices. A cohort that
//! had no event costs a few numbers a metric, one that had 208 bytes more.
//!
//! Must stay out: which devices are in a risk set (the caller counts), the weights (`cohorts`, `metric`), and what a
//! verdict leads to (`thresholds`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Arm, Dimension, EvidenceError, Metric, Process, RiskSet, Scope, ScopeValue, Weights, cohorts::Layout, exact,
    logrank::Increment, sum_tree::SumTree,
};

/// How much one process contributes to the combined evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopeShare {
    pub metric: Metric,
    pub scope: Scope,
    /// `ln E` of that process alone, unweighted.
    pub ln_e: f64,
    /// Its weighted part of `E_total`, 0 to 1.
    pub share: f64,
}

/// How much of the combined evidence came from devices with one value of a dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueShare {
    pub value: ScopeValue,
    /// Part of `ln E_total`. Above 1 if the events of all the others spoke against harm.
    pub evidence_share: f64,
    /// Part of the fleet when the rollout began, 0 to 1. A value that is the whole fleet dominates of necessity.
    pub fleet_share: f64,
}

/// The evidence of one rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredScopes", into = "StoredScopes")]
pub struct Scopes {
    weights: Weights,
    layout: Layout,
    // What a cohort without events looks like: waves opened, nothing seen. Cohorts are created from it on their first
    // event.
    untouched: Process,
    processes: BTreeMap<usize, Process>,
    // What the events of each cohort added to ln E_total, all metrics together.
    contributions: Vec<f64>,
    // Functions of the rest, kept because every event needs them.
    ln_weights: Vec<f64>,
    terms: SumTree,
}

#[derive(Serialize, Deserialize)]
struct StoredScopes {
    weights: Weights,
    dimensions: Vec<Dimension>,
    untouched: Process,
    processes: BTreeMap<usize, Process>,
    #[serde(with = "exact")]
    contributions: Vec<f64>,
}

impl Scopes {
    /// The evidence before the first device, with the first wave open: `E_total = 1`.
    ///
    /// `theta0` as in [`Process::new`]. Fails if it is out of range or if there are more cohorts than a 32-bit number
    /// can name.
    pub fn new(weights: Weights, theta0: f64, dimensions: Vec<Dimension>) -> Result<Self, EvidenceError> {
        let untouched = Process::new(theta0)?;
        let layout = Layout::new(dimensions)?;
        let ln_weights = layout.ln_weights(&weights);
        let mut scopes = Scopes {
            weights,
            untouched,
            processes: BTreeMap::new(),
            contributions: vec![0.0; layout.cohorts()],
            layout,
            ln_weights,
            terms: SumTree::default(),
        };
        scopes.rebuild_terms();
        Ok(scopes)
    }

    /// The same cohorts and weights before the first device, with the first wave open.
    pub fn afresh(&self) -> Self {
        let mut fresh = Scopes {
            untouched: self.untouched.afresh(),
            processes: BTreeMap::new(),
            contributions: vec![0.0; self.layout.cohorts()],
            ..self.clone()
        };
        fresh.rebuild_terms();
        fresh
    }

    /// Opens the next wave in every process. `E_total` stays as it is.
    pub fn open_wave(&mut self) {
        self.untouched.open_wave();
        self.processes.values_mut().for_each(Process::open_wave);
        self.rebuild_terms();
    }

    /// Counts one event. `values` has the device's value id in each dimension, in order; an id that was unknown when the
    /// rollout began goes to "other". `risk` is the risk set of the device's own slice and stratum just before the
    /// event, and serves the fleet and all its cohorts alike.
    ///
    /// Fails, changing nothing, if `values` has the wrong length or the device's arm has no member in the risk set.
    pub fn observe(&mut self, metric: Metric, arm: Arm, values: &[u32], risk: RiskSet) -> Result<(), EvidenceError> {
        let increment = Increment::new(self.untouched.theta0(), risk, arm)?;
        self.apply(metric, values, |_| &increment)
    }

    /// Like [`Scopes::observe`], with a risk set for the fleet and one for each dimension, for callers that compare a
    /// cohort within a finer or coarser set than the fleet.
    pub fn observe_each(
        &mut self,
        metric: Metric,
        arm: Arm,
        values: &[u32],
        global: RiskSet,
        cohorts: &[RiskSet],
    ) -> Result<(), EvidenceError> {
        self.check_length(cohorts.len())?;
        let theta0 = self.untouched.theta0();
        let increments = std::iter::once(&global)
            .chain(cohorts)
            .map(|risk| Increment::new(theta0, *risk, arm))
            .collect::<Result<Vec<_>, _>>()?;
        self.apply(metric, values, |position| &increments[position])
    }

    fn apply<'i>(
        &mut self,
        metric: Metric,
        values: &[u32],
        increment: impl Fn(usize) -> &'i Increment,
    ) -> Result<(), EvidenceError> {
        self.check_length(values.len())?;
        let before = self.ln_e_total();
        self.advance(self.layout.slot(metric, 0), increment(0));
        for (dimension, value) in values.iter().enumerate() {
            let cohort = self.layout.cohort_of_value(dimension, *value);
            self.advance(self.layout.slot(metric, cohort), increment(dimension + 1));
        }
        let gained = self.ln_e_total() - before;
        for (dimension, value) in values.iter().enumerate() {
            self.contributions[self.layout.cohort_of_value(dimension, *value)] += gained;
        }
        Ok(())
    }

    fn check_length(&self, given: usize) -> Result<(), EvidenceError> {
        let expected = self.dimensions().len();
        if given == expected { Ok(()) } else { Err(EvidenceError::WrongDimensionCount { given, expected }) }
    }

    fn advance(&mut self, slot: usize, increment: &Increment) {
        let process = self.processes.entry(slot).or_insert_with(|| self.untouched.clone());
        process.apply(increment);
        self.terms.set(slot, self.ln_weights[slot] + process.ln_e());
    }

    fn rebuild_terms(&mut self) {
        let untouched = self.untouched.ln_e();
        let mut terms: Vec<f64> = self.ln_weights.iter().map(|weight| weight + untouched).collect();
        for (slot, process) in &self.processes {
            terms[*slot] = self.ln_weights[*slot] + process.ln_e();
        }
        self.terms = SumTree::new(&terms);
    }

    /// `ln E_total`, always finite. Costs nothing.
    pub fn ln_e_total(&self) -> f64 {
        self.terms.total()
    }

    /// The metric and scope with the largest weighted part of `E_total`: what a verdict names. Looks at every cohort
    /// once. With equal parts, the first metric, and the fleet before its cohorts.
    pub fn largest_scope(&self) -> ScopeShare {
        let terms = self.terms.terms();
        let largest = position_of_largest(terms);
        let (metric, scope) = self.layout.metric_and_scope(largest);
        ScopeShare {
            metric,
            scope,
            ln_e: self.processes.get(&largest).unwrap_or(&self.untouched).ln_e(),
            share: libm::exp(terms[largest] - self.ln_e_total()),
        }
    }

    /// The value of one dimension (by its position) whose devices brought the largest part of `ln E_total`: for the
    /// guard that one customer must not stop everybody ([`super::thresholds::dominates`]). Looks at every value once.
    ///
    /// `ln E_total` is the sum, over all events, of what each event added to it, so the parts of all values add up to 1.
    /// None if there is no such dimension, or no evidence of harm (`ln E_total` at most 0).
    pub fn customer_share(&self, dimension: usize) -> Option<ValueShare> {
        let parts = &self.contributions[self.layout.cohorts_of_dimension(dimension)?];
        let total = self.ln_e_total();
        // Rounding alone may leave the last digits of a total of 0.
        if total <= 1e-9 {
            return None;
        }
        let largest = position_of_largest(parts);
        Some(ValueShare {
            value: self.layout.value(dimension, largest),
            evidence_share: parts[largest] / total,
            fleet_share: self.layout.fleet_share(dimension, largest),
        })
    }

    /// The process of one metric and scope: for printing and for checks. None if there is no such scope.
    pub fn process(&self, metric: Metric, scope: Scope) -> Option<&Process> {
        let slot = self.layout.slot(metric, self.layout.cohort_of_scope(scope)?);
        Some(self.processes.get(&slot).unwrap_or(&self.untouched))
    }

    /// The dimensions that the evidence was built with.
    pub fn dimensions(&self) -> &[Dimension] {
        self.layout.dimensions()
    }

    /// Waves opened so far, at least 1.
    pub fn waves(&self) -> u32 {
        self.untouched.waves()
    }
}

// The first of several equal ones.
fn position_of_largest(numbers: &[f64]) -> usize {
    let mut largest = 0;
    for (position, number) in numbers.iter().enumerate() {
        if *number > numbers[largest] {
            largest = position;
        }
    }
    largest
}

impl From<Scopes> for StoredScopes {
    fn from(scopes: Scopes) -> Self {
        StoredScopes {
            weights: scopes.weights,
            dimensions: scopes.layout.dimensions().to_vec(),
            untouched: scopes.untouched,
            processes: scopes.processes,
            contributions: scopes.contributions,
        }
    }
}

impl TryFrom<StoredScopes> for Scopes {
    type Error = EvidenceError;

    fn try_from(stored: StoredScopes) -> Result<Self, EvidenceError> {
        let mut scopes = Scopes::new(stored.weights, stored.untouched.theta0(), stored.dimensions)?;
        if stored.contributions.len() != scopes.contributions.len() {
            return Err(EvidenceError::StateInconsistent { what: "contributions do not fit the dimensions" });
        }
        for (slot, process) in &stored.processes {
            if *slot >= scopes.ln_weights.len() {
                return Err(EvidenceError::StateInconsistent { what: "a process belongs to no cohort" });
            }
            if process.waves() != stored.untouched.waves() || process.theta0() != stored.untouched.theta0() {
                return Err(EvidenceError::StateInconsistent { what: "two processes differ in wave or t0" });
            }
        }
        scopes.untouched = stored.untouched;
        scopes.processes = stored.processes;
        scopes.contributions = stored.contributions;
        scopes.rebuild_terms();
        Ok(scopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Scopes {
        let dimension = |name: &str, counts: &[u64]| Dimension { name: name.to_owned(), fleet_counts: counts.to_vec() };
        let dimensions = vec![dimension("model", &[90, 10]), dimension("customer", &[50, 30, 20])];
        Scopes::new(Weights::standard(), 1.0, dimensions).unwrap()
    }

    #[test]
    fn unseen_values_share_the_other_slot() {
        let mut scopes = fleet();
        assert_eq!(scopes.customer_share(1), None);
        let risk = RiskSet { treated: 4, control: 10_000 };
        scopes.observe(Metric::Crashed, Arm::Treated, &[2, u32::MAX], risk).unwrap();
        for dimension in 0..2 {
            let other = Scope::Cohort { dimension, value: ScopeValue::Other };
            assert!(scopes.process(Metric::Crashed, other).unwrap().ln_e() > 1.0);
        }
        let missing = Scope::Cohort { dimension: 0, value: ScopeValue::Known(2) };
        assert_eq!(scopes.process(Metric::Crashed, missing), None);
        let share = scopes.customer_share(1).unwrap();
        assert_eq!((share.value, share.fleet_share), (ScopeValue::Other, 0.0));
        assert!((share.evidence_share - 1.0).abs() < 1e-9);
        assert_eq!(scopes.customer_share(2), None);
    }

    #[test]
    fn the_parts_of_all_values_add_up_to_the_evidence() {
        let mut scopes = fleet();
        for event in 0..60_u32 {
            let arm = if event % 3 == 0 { Arm::Control } else { Arm::Treated };
            let metric = Metric::ALL[event as usize % 5];
            let risk = RiskSet { treated: 100 - u64::from(event), control: 900 };
            scopes.observe(metric, arm, &[event % 2, event % 4], risk).unwrap();
            if event % 20 == 0 {
                scopes.open_wave();
            }
        }
        for dimension in 0..2 {
            let parts = &scopes.contributions[scopes.layout.cohorts_of_dimension(dimension).unwrap()];
            let sum: f64 = parts.iter().sum();
            assert!((sum - scopes.ln_e_total()).abs() < 1e-9, "{sum} {}", scopes.ln_e_total());
        }
    }

    #[test]
    fn a_refused_event_changes_nothing() {
        let mut scopes = fleet();
        let before = scopes.clone();
        let risk = RiskSet { treated: 4, control: 0 };
        let metric = Metric::FirstCheckInMissed;
        assert!(scopes.observe(metric, Arm::Treated, &[0], risk).is_err());
        assert!(scopes.observe(metric, Arm::Control, &[0, 0], risk).is_err());
        assert!(scopes.observe_each(metric, Arm::Treated, &[0, 0], risk, &[risk]).is_err());
        assert!(scopes.observe_each(metric, Arm::Treated, &[0], risk, &[risk, risk]).is_err());
        let none = RiskSet { treated: 0, control: 9 };
        assert!(scopes.observe_each(metric, Arm::Treated, &[0, 0], risk, &[risk, none]).is_err());
        assert_eq!(scopes, before);
    }

    #[test]
    fn separate_risk_sets_reach_their_own_process() {
        let mut scopes = fleet();
        let risk = |treated| RiskSet { treated, control: 1_000 };
        let metric = Metric::Departed;
        scopes.observe_each(metric, Arm::Treated, &[0, 1], risk(9), &[risk(5), risk(2)]).unwrap();
        let cohort = |dimension, value| Scope::Cohort { dimension, value: ScopeValue::Known(value) };
        for (scope, treated) in [(Scope::Global, 9), (cohort(0, 0), 5), (cohort(1, 1), 2)] {
            let mut alone = Process::new(1.0).unwrap();
            alone.observe(treated, 1_000, Arm::Treated).unwrap();
            assert_eq!(scopes.process(metric, scope), Some(&alone));
        }
    }

    #[test]
    fn a_contradictory_stored_state_is_refused() {
        let mut scopes = fleet();
        scopes.observe(Metric::Departed, Arm::Treated, &[0, 1], RiskSet { treated: 4, control: 40 }).unwrap();
        scopes.open_wave();
        let stored = serde_json::to_value(&scopes).unwrap();
        assert_eq!(serde_json::from_value::<Scopes>(stored.clone()).unwrap(), scopes);

        let mut other_wave = stored.clone();
        other_wave["untouched"]["waves"] = 9.into();
        assert!(serde_json::from_value::<Scopes>(other_wave).is_err());
        let mut lost_value = stored.clone();
        lost_value["dimensions"][0]["fleet_counts"] = vec![90_u64].into();
        assert!(serde_json::from_value::<Scopes>(lost_value).is_err());
        let mut stray = stored.clone();
        stray["processes"]["999999"] = stored["untouched"].clone();
        assert!(serde_json::from_value::<Scopes>(stray).is_err());
    }
}
