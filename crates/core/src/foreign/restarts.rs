//! Machines that start again and again: they speak between two falls, so that nobody would call them silent.
//!
//! What must stay out: why they fall, and starts that follow a goodbye (those are wanted).

use crate::fleet::DeviceIndex;
use std::collections::BTreeMap;

/// So many starts without a goodbye, close together, are no accident. Of a machine that falls early in each boot the server
/// hears only now and then, so it waits for no more.
const AGAIN_AND_AGAIN: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct Run {
    /// When the device was last heard before the first start, Unix milliseconds.
    since_ms: u64,
    last_ms: u64,
    /// A run is over when nothing started for so long, milliseconds.
    calm_ms: u64,
    starts: u32,
}

/// Starts without a goodbye, of the devices that had some not long ago.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    runs: BTreeMap<DeviceIndex, Run>,
}

impl Restarts {
    /// A device has started without having said goodbye. `heard_ms`: when it was last heard before, Unix milliseconds.
    /// Starts that are `calm_ms` apart have nothing to do with one another.
    pub fn started(&mut self, device: DeviceIndex, heard_ms: u64, now_ms: u64, calm_ms: u64) {
        let new = Run { since_ms: heard_ms, last_ms: now_ms, calm_ms, starts: 0 };
        let run = self.runs.entry(device).or_insert(new);
        if now_ms.saturating_sub(run.last_ms) > calm_ms {
            *run = new;
        }
        (run.last_ms, run.calm_ms) = (now_ms, calm_ms);
        run.starts = run.starts.saturating_add(1);
    }

    /// Devices that start again and again, and since when: they were last heard well then, Unix milliseconds.
    pub fn in_trouble(&self) -> impl Iterator<Item = (DeviceIndex, u64)> {
        self.runs.iter().filter(|(_, run)| run.starts >= AGAIN_AND_AGAIN).map(|(device, run)| (*device, run.since_ms))
    }

    /// Forgets runs that are over.
    pub fn forget(&mut self, now_ms: u64) {
        self.runs.retain(|_, run| now_ms.saturating_sub(run.last_ms) <= run.calm_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_trouble(restarts: &Restarts) -> Vec<(DeviceIndex, u64)> {
        restarts.in_trouble().collect()
    }

    #[test]
    fn two_starts_close_together_are_trouble_until_it_is_calm() {
        let mut restarts = Restarts::default();
        restarts.started(7, 1_000, 5_000, 20_000);
        assert_eq!(in_trouble(&restarts), []);
        restarts.started(7, 9_500, 13_000, 20_000);
        restarts.started(8, 12_000, 13_000, 20_000);
        assert_eq!(in_trouble(&restarts), [(7, 1_000)], "since before the first start");
        restarts.forget(33_000);
        assert_eq!(in_trouble(&restarts), [(7, 1_000)]);
        restarts.forget(33_001);
        assert_eq!(in_trouble(&restarts), []);
    }

    #[test]
    fn a_start_a_day_is_no_trouble() {
        let mut restarts = Restarts::default();
        for day in 1..10 {
            restarts.started(7, day * 86_400_000 - 1, day * 86_400_000, 1_200_000);
        }
        assert_eq!(in_trouble(&restarts), []);
    }
}
