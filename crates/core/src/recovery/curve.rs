//! The recovery curve: the share of an incident's devices that is proven to be back, over time. Must stay out: drawing it.

use super::{Case, Incident};
use std::collections::BTreeMap;

/// Percent that are asked for again and again.
pub const MILESTONES: [u32; 5] = [50, 90, 97, 99, 100];

/// A step; its values hold until the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Unix milliseconds.
    pub at_ms: u64,
    pub back: u64,
    pub cases: u64,
}

/// When a share was back and stayed so until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milestone {
    pub percent: u32,
    /// Unix milliseconds; none: not yet.
    pub at_ms: Option<u64>,
}

/// A curve of some cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Curve {
    pub points: Vec<Point>,
}

impl Incident {
    /// The curve of all cases.
    pub fn curve(&self) -> Curve {
        Curve { points: self.points.clone() }
    }

    pub(super) fn mark(&mut self, at_ms: u64) {
        let point = Point { at_ms, back: self.back(), cases: self.cases.len() as u64 };
        match self.points.last_mut() {
            // The log's times never go back by more than a clock that was set; a step in the past would be no step.
            Some(last) if last.at_ms >= at_ms => (last.back, last.cases) = (point.back, point.cases),
            _ => self.points.push(point),
        }
    }
}

impl Curve {
    /// The curve of these cases as they stand now: for those who see some of an incident only. A device that was back and
    /// fell silent counts from its last return on.
    pub fn of<'a>(cases: impl Iterator<Item = &'a Case>) -> Curve {
        let mut steps: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for case in cases {
            steps.entry(case.opened_ms).or_default().1 += 1;
            if case.state.is_back()
                && let Some(at_ms) = case.verified_ms()
            {
                steps.entry(at_ms.max(case.opened_ms)).or_default().0 += 1;
            }
        }
        let mut points = Vec::new();
        let (mut back, mut total) = (0, 0);
        for (at_ms, (more_back, more)) in steps {
            (back, total) = (back + more_back, total + more);
            points.push(Point { at_ms, back, cases: total });
        }
        Curve { points }
    }

    /// At most `most` points (at least 2), the first and the last among them.
    pub fn thinned(mut self, most: usize) -> Curve {
        let most = most.max(2);
        if self.points.len() > most {
            let last = self.points.len() - 1;
            self.points = (0..most).map(|n| self.points[n * last / (most - 1)]).collect();
        }
        self
    }

    /// When each of [`MILESTONES`] was reached for good.
    pub fn milestones(&self) -> Vec<Milestone> {
        let reached = |percent: u32| {
            let holds =
                |p: &&Point| p.cases > 0 && u128::from(p.back) * 100 >= u128::from(p.cases) * u128::from(percent);
            self.points.iter().rev().take_while(holds).last().map(|point| point.at_ms)
        };
        MILESTONES.iter().map(|&percent| Milestone { percent, at_ms: reached(percent) }).collect()
    }

    /// As it stands now.
    pub fn last(&self) -> Point {
        self.points.last().copied().unwrap_or_default()
    }
}
