//! How rollouts came to where they are, for pages: bounded in memory, rebuilt from the log like everything else.
//!
//! A rollout keeps at most [`POINTS`] moments. When they are full, every second one is dropped and the grid gets twice as
//! coarse, so hours fit as well as weeks. What must stay out: anything that a decision rests on.

use super::state::Running;
use crate::pages::{Point, RolloutCourse, WaveRow};
use staffel_core::{
    fleet::DeviceIndex,
    profile::ceiling_at,
    rollout::{Event, Rollout},
};
use std::collections::VecDeque;

/// Moments kept of a rollout that goes on.
const POINTS: usize = 512;
/// And of one that is over: there may be hundreds.
const POINTS_AT_END: usize = 128;
/// Waves kept, the latest.
const WAVES: usize = 100;
/// Milestones kept, the latest.
const MILESTONES: usize = 200;
/// Records about devices whose place in the log is remembered, the latest of the whole fleet: 3 MB.
const TRAIL: usize = 200_000;
/// Grid at the beginning, milliseconds.
const FIRST_STRIDE_MS: u64 = 250;

/// The course of one rollout.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Where the start stands in the log.
    pub started: u64,
    points: Vec<Point>,
    stride_ms: u64,
    reached_ppb: u32,
    waves: VecDeque<WaveRow>,
    /// Where what people want to read stands in the log.
    pub milestones: VecDeque<u64>,
}

impl Series {
    /// Of a rollout that was just started.
    pub fn begin(position: u64) -> Self {
        Series { started: position, stride_ms: FIRST_STRIDE_MS, milestones: [position].into(), ..Series::default() }
    }

    /// An event that was just applied.
    pub fn note(&mut self, rollout: &Rollout, event: &Event, at_ms: u64, position: u64) {
        match event {
            Event::WaveOpened { wave, .. } => {
                self.reached_ppb = rollout.frontier_share().0;
                let now = rollout.wave_now();
                push_bounded(
                    &mut self.waves,
                    WAVES,
                    WaveRow {
                        wave: *wave,
                        opened_ms: at_ms,
                        resolved_ms: None,
                        treated: now.map_or(0, |now| now.treated),
                        controls: now.map_or(0, |now| now.controls),
                        permitted: 0,
                        confirmed: 0,
                        failed: 0,
                        bound: None,
                    },
                );
            }
            Event::Permitted { arm: staffel_core::evidence::Arm::Treated, .. } => {
                self.latest(|wave| wave.permitted += 1)
            }
            Event::Confirmed { .. } => self.latest(|wave| wave.confirmed += 1),
            Event::Failed { .. } => self.latest(|wave| wave.failed += 1),
            Event::WaveResolved { bound, .. } => self.latest(|wave| {
                wave.resolved_ms = Some(at_ms);
                wave.bound = Some(*bound);
            }),
            _ => {}
        }
        let is_milestone = !matches!(
            event,
            Event::Permitted { .. }
                | Event::OnTrial { .. }
                | Event::Confirmed { .. }
                | Event::Observed { .. }
                | Event::Departed { .. }
        );
        if is_milestone {
            push_bounded(&mut self.milestones, MILESTONES, position);
        }
        self.add(self.point(rollout, at_ms));
        if matches!(event, Event::Halted { .. } | Event::Completed) {
            while self.points.len() > POINTS_AT_END {
                self.coarser();
            }
            self.points.shrink_to_fit();
        }
    }

    fn latest(&mut self, change: impl FnOnce(&mut WaveRow)) {
        if let Some(wave) = self.waves.back_mut() {
            change(wave);
        }
    }

    fn point(&self, rollout: &Rollout, at_ms: u64) -> Point {
        let age_ms = at_ms.saturating_sub(rollout.authorisation.start_ms);
        Point {
            at_ms,
            exposed: rollout.counts.exposed,
            budget: rollout.budget(),
            confirmed: rollout.counts.confirmed,
            silent: rollout.counts.silent,
            ln_e: rollout.ln_e(),
            ceiling_ppb: ceiling_at(&rollout.authorisation.ceiling, age_ms).0,
            reached_ppb: self.reached_ppb,
        }
    }

    fn add(&mut self, point: Point) {
        let bucket = |at_ms: u64, stride_ms: u64| at_ms / stride_ms.max(1);
        if let Some(last) = self.points.last_mut()
            && bucket(last.at_ms, self.stride_ms) == bucket(point.at_ms, self.stride_ms)
        {
            // A peak must not vanish between two moments.
            *last = Point { exposed: point.exposed.max(last.exposed), ..point };
            return;
        }
        if self.points.len() >= POINTS {
            self.coarser();
        }
        self.points.push(point);
    }

    /// Half as many moments; of each pair the later one, with the pair's peak. The first stays: there it began.
    fn coarser(&mut self) {
        self.stride_ms = self.stride_ms.saturating_mul(2);
        let first = self.points.first().copied();
        let pairs = self.points.get(1..).unwrap_or_default().chunks(2);
        let kept = pairs.filter_map(|pair| {
            let last = pair.last()?;
            Some(Point { exposed: pair.iter().map(|p| p.exposed).max().unwrap_or(0), ..*last })
        });
        self.points = first.into_iter().chain(kept).collect();
    }

    /// The course up to now, with the steps of the ceiling at their times.
    pub fn course(&self, running: &Running, now_ms: u64) -> RolloutCourse {
        let rollout = &running.rollout;
        let end_ms = running.ended_ms.unwrap_or(now_ms);
        let mut points = self.points.clone();
        if running.ended_ms.is_none() {
            points.push(self.point(rollout, end_ms.max(points.last().map_or(0, |last| last.at_ms))));
        }
        let first_ms = points.first().map_or(end_ms, |first| first.at_ms);
        for step in &rollout.authorisation.ceiling {
            let at_ms = rollout.authorisation.start_ms.saturating_add(step.age_ms);
            if !(first_ms..end_ms).contains(&at_ms) {
                continue;
            }
            let at = points.partition_point(|point| point.at_ms < at_ms);
            if let Some(before) = at.checked_sub(1).and_then(|before| points.get(before)).copied() {
                let ceiling_ppb = ceiling_at(&rollout.authorisation.ceiling, step.age_ms).0;
                points.insert(at, Point { at_ms, ceiling_ppb, ..before });
            }
        }
        RolloutCourse { points, waves: self.waves.iter().copied().collect(), open: rollout.wave_now() }
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, most: usize, value: T) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// The device that an event of a rollout is about.
pub fn device_of(event: &Event) -> Option<DeviceIndex> {
    match event {
        Event::Permitted { device, .. }
        | Event::OnTrial { device }
        | Event::Confirmed { device }
        | Event::Failed { device, .. }
        | Event::Departed { device } => Some(*device),
        _ => None,
    }
}

/// Where in the log the latest records about devices stand.
#[derive(Default)]
pub struct Trail(VecDeque<(DeviceIndex, u64)>);

impl Trail {
    /// A record about this device.
    pub fn note(&mut self, device: DeviceIndex, position: u64) {
        push_bounded(&mut self.0, TRAIL, (device, position));
    }

    /// The latest `most` records about one device, latest first.
    pub fn of(&self, device: DeviceIndex, most: usize) -> Vec<u64> {
        self.0.iter().rev().filter(|(of, _)| *of == device).map(|(_, position)| *position).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ms: u64, exposed: u64) -> Point {
        Point { at_ms, exposed, budget: 8, confirmed: 0, silent: 0, ln_e: 0.0, ceiling_ppb: 0, reached_ppb: 0 }
    }

    #[test]
    fn many_moments_stay_bounded_in_order_and_keep_the_peak() {
        let mut series = Series::begin(0);
        for n in 0..100_000 {
            series.add(point(n * 400, if n == 50_001 { 7 } else { n % 3 }));
        }
        assert!(series.points.len() <= POINTS, "{}", series.points.len());
        assert!(series.points.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
        assert_eq!(series.points.first().map(|p| p.at_ms), Some(0));
        assert!(series.points.iter().any(|p| p.exposed == 7), "the peak is gone");
    }

    #[test]
    fn moments_of_one_stride_are_one_point_with_the_peak() {
        let mut series = Series::begin(0);
        for (at_ms, exposed) in [(1_000, 1), (1_100, 5), (1_200, 2)] {
            series.add(point(at_ms, exposed));
        }
        assert_eq!(series.points.len(), 1);
        assert_eq!((series.points[0].at_ms, series.points[0].exposed), (1_200, 5));
    }

    #[test]
    fn a_trail_is_bounded_and_latest_first() {
        let mut trail = Trail::default();
        for position in 0..TRAIL as u64 + 10 {
            trail.note((position % 2) as DeviceIndex, position);
        }
        assert_eq!(trail.0.len(), TRAIL);
        let last = TRAIL as u64 + 9;
        assert_eq!(trail.of((last % 2) as DeviceIndex, 2), [last, last - 2]);
        assert!(trail.of(7, 2).is_empty());
    }
}
