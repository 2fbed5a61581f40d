//! How far a rollout is, in numbers for a page. Reads only; must stay out: anything that a decision rests on.

use super::Rollout;
use crate::ids::Share;
use serde::{Deserialize, Serialize};

/// The open wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveNow {
    pub wave: u32,
    /// Unix milliseconds.
    pub opened_ms: u64,
    /// Units to treat, and those of them that have their permit.
    pub treated: u64,
    pub treated_permitted: u64,
    /// Treated units with a permit whose outcome is open.
    pub treated_open: u64,
    /// Control units, and those of them that have their permit.
    pub controls: u64,
    pub controls_permitted: u64,
}

impl Rollout {
    /// The open wave, if there is one.
    pub fn wave_now(&self) -> Option<WaveNow> {
        self.slice.as_ref().map(|slice| WaveNow {
            wave: slice.wave,
            opened_ms: slice.opened_ms,
            treated: slice.size,
            treated_permitted: slice.treated_permitted,
            treated_open: slice.treated_open,
            controls: slice.controls,
            controls_permitted: slice.controls_permitted,
        })
    }

    /// The share of all units that the frontier has passed.
    pub fn frontier_share(&self) -> Share {
        let passed: u64 = self.cells.iter().map(|cell| u64::from(cell.cursor.saturating_sub(cell.first))).sum();
        let share = (passed * u64::from(Share::ALL.0)).checked_div(self.units.len() as u64).unwrap_or(0);
        Share(u32::try_from(share).unwrap_or(Share::ALL.0).min(Share::ALL.0))
    }
}
