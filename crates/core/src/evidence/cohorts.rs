//! How a fleet divides into cohorts, and how much weight each cohort's evidence has.
//!
//! Lives here: the dimension tables as they were when the rollout began, the place of each cohort in flat tables, and the
//! weights. All of it is fixed before the first device. Must stay out: anything that changes with an event (`scopes`).

use serde::{Deserialize, Serialize};

use super::{EvidenceError, Metric, Weights, metric::METRICS};

/// The share of the evidence that looks at the whole fleet; the rest looks at cohorts (docs/adr/0018-smaller-steps.md).
const WHOLE_FLEET: f64 = 0.75;

/// One way to divide the fleet into cohorts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    /// The dimension's name as reports print it.
    pub name: String,
    /// Units of the fleet for each known value when the rollout began; the position is the value's id.
    pub fleet_counts: Vec<u64>,
}

impl Dimension {
    fn known(&self) -> usize {
        self.fleet_counts.len()
    }

    fn fleet_total(&self) -> f64 {
        self.fleet_counts.iter().map(|count| *count as f64).sum()
    }
}

/// A value of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeValue {
    /// A value that was known when the rollout began.
    Known(u32),
    /// All values that were not.
    Other,
}

/// The devices that one process looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All of them.
    Global,
    /// Those with one value of one dimension (by its position).
    Cohort { dimension: usize, value: ScopeValue },
}

/// The cohorts of one metric in a row: the fleet at 0, then each dimension's known values and its "other".
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    dimensions: Vec<Dimension>,
    starts: Vec<usize>,
    cohorts: usize,
}

impl Layout {
    pub(super) fn new(dimensions: Vec<Dimension>) -> Result<Self, EvidenceError> {
        let limit = u32::MAX as usize / METRICS;
        let mut starts = Vec::with_capacity(dimensions.len());
        let mut cohorts = 1_usize;
        for dimension in &dimensions {
            starts.push(cohorts);
            cohorts = cohorts.saturating_add(dimension.known()).saturating_add(1);
            if cohorts > limit {
                return Err(EvidenceError::TooManyCohorts { dimension: dimension.name.clone(), limit });
            }
        }
        Ok(Layout { dimensions, starts, cohorts })
    }

    pub(super) fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// Cohorts of one metric, the fleet included.
    pub(super) fn cohorts(&self) -> usize {
        self.cohorts
    }

    pub(super) fn slot(&self, metric: Metric, cohort: usize) -> usize {
        metric.index() * self.cohorts + cohort
    }

    pub(super) fn metric_and_scope(&self, slot: usize) -> (Metric, Scope) {
        (Metric::ALL[slot / self.cohorts], self.scope(slot % self.cohorts))
    }

    /// The cohort of a value; unknown values go to "other". The dimension must exist.
    pub(super) fn cohort_of_value(&self, dimension: usize, value: u32) -> usize {
        self.starts[dimension] + (value as usize).min(self.dimensions[dimension].known())
    }

    /// The cohort of a scope. None if there is no such dimension or value.
    pub(super) fn cohort_of_scope(&self, scope: Scope) -> Option<usize> {
        let Scope::Cohort { dimension, value } = scope else {
            return Some(0);
        };
        let known = self.dimensions.get(dimension)?.known();
        let position = match value {
            ScopeValue::Known(id) => Some(id as usize).filter(|id| *id < known)?,
            ScopeValue::Other => known,
        };
        Some(self.starts[dimension] + position)
    }

    /// The cohorts of one dimension. None if there is no such dimension.
    pub(super) fn cohorts_of_dimension(&self, dimension: usize) -> Option<std::ops::RangeInclusive<usize>> {
        let start = *self.starts.get(dimension)?;
        Some(start..=start + self.dimensions[dimension].known())
    }

    pub(super) fn scope(&self, cohort: usize) -> Scope {
        // The fleet sits before the first dimension.
        match self.starts.iter().rposition(|start| *start <= cohort) {
            None => Scope::Global,
            Some(dimension) => {
                Scope::Cohort { dimension, value: self.value(dimension, cohort - self.starts[dimension]) }
            }
        }
    }

    pub(super) fn value(&self, dimension: usize, position: usize) -> ScopeValue {
        if position < self.dimensions[dimension].known() {
            ScopeValue::Known(position as u32)
        } else {
            ScopeValue::Other
        }
    }

    /// Part of the fleet with the value at a position of a dimension, 0 to 1.
    pub(super) fn fleet_share(&self, dimension: usize, position: usize) -> f64 {
        let table = &self.dimensions[dimension];
        let total = table.fleet_total();
        match table.fleet_counts.get(position) {
            Some(count) if total > 0.0 => *count as f64 / total,
            _ => 0.0,
        }
    }

    /// The logarithm of the weight of every slot. The weights add up to 1.
    pub(super) fn ln_weights(&self, weights: &Weights) -> Vec<f64> {
        let mut cohorts = vec![if self.dimensions.is_empty() { 1.0 } else { WHOLE_FLEET }];
        for dimension in &self.dimensions {
            let part = (1.0 - WHOLE_FLEET) / self.dimensions.len() as f64;
            let values = (dimension.known() + 1) as f64;
            let total = dimension.fleet_total();
            for count in dimension.fleet_counts.iter().chain(&[0]) {
                // A fleet without units has no shares; then all values count alike, so that the weights still add up to 1.
                let share = if total > 0.0 { *count as f64 / total } else { 1.0 / values };
                cohorts.push(part * 0.5 * (1.0 / values + share));
            }
        }
        Metric::ALL
            .iter()
            .flat_map(|metric| cohorts.iter().map(|cohort| libm::log(weights.of(*metric) * cohort)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dimension(name: &str, fleet_counts: &[u64]) -> Dimension {
        Dimension { name: name.to_owned(), fleet_counts: fleet_counts.to_vec() }
    }

    #[test]
    fn weights_add_up_to_one_whatever_the_fleet_is() {
        for dimensions in [
            vec![],
            vec![dimension("empty", &[])],
            vec![dimension("nobody", &[0, 0])],
            vec![dimension("model", &[90, 10]), dimension("huge", &[u64::MAX, u64::MAX, 1])],
        ] {
            let layout = Layout::new(dimensions).unwrap();
            let sum: f64 = layout.ln_weights(&Weights::standard()).into_iter().map(libm::exp).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum} for {:?}", layout.dimensions());
        }
    }

    #[test]
    fn the_weight_of_a_cohort_is_the_one_in_the_formula() {
        let layout = Layout::new(vec![dimension("model", &[90, 10]), dimension("customer", &[1, 2])]).unwrap();
        let scope = Scope::Cohort { dimension: 0, value: ScopeValue::Known(1) };
        let slot = layout.slot(Metric::HeartbeatsMissed, layout.cohort_of_scope(scope).unwrap());
        // S2, model 1 of V = 3 (two known ones and "other"): .15 * 1/4 * 1/D * 1/2 * (1/V + .1).
        let expected: f64 = 0.15 * 0.25 * 0.5 * 0.5 * (1.0 / 3.0 + 0.1);
        assert!((libm::exp(layout.ln_weights(&Weights::standard())[slot]) - expected).abs() < 1e-15);
    }

    #[test]
    fn slots_and_scopes_name_each_other() {
        let layout =
            Layout::new(vec![dimension("model", &[5, 6]), dimension("none", &[]), dimension("os", &[1])]).unwrap();
        assert_eq!(layout.cohorts(), 1 + 3 + 1 + 2);
        for slot in 0..layout.cohorts() * METRICS {
            let (metric, scope) = layout.metric_and_scope(slot);
            assert_eq!(layout.cohort_of_scope(scope).map(|cohort| layout.slot(metric, cohort)), Some(slot));
        }
        for (dimension, value) in [(0, ScopeValue::Known(2)), (1, ScopeValue::Known(0)), (3, ScopeValue::Other)] {
            assert_eq!(layout.cohort_of_scope(Scope::Cohort { dimension, value }), None);
        }
        assert_eq!(layout.cohorts_of_dimension(3), None);
        assert_eq!(layout.cohort_of_value(2, u32::MAX), 6);
    }
}
