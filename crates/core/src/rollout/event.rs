//! What happens to a rollout: the closed set of events that go into the log and come back out of it at a restart.
//!
//! Events carry all that a later reader needs to recompute a verdict (arm, `n_t`, `n_c`). Must stay out: heartbeats.

use super::reason::{HaltReason, HoldReason, Skip};
use crate::{
    evidence::{Arm, Metric},
    fleet::DeviceIndex,
};
use serde::{Deserialize, Serialize};

/// Number of a unit in its rollout, in the order of cells and positions.
pub type UnitIndex = u32;

/// What one cell (ring and stratum) contributes to a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellWave {
    pub cell: u32,
    /// Units before this one that were not treated before are treated now, but for those skipped.
    pub treated_to: UnitIndex,
    /// Units from there to before this one are controls, but for those skipped.
    pub control_to: UnitIndex,
    /// Passed over now, tried again at the next wave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<(UnitIndex, Skip)>,
    /// Passed over before, treated now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caught_up: Vec<UnitIndex>,
    /// Passed over before, controls now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<UnitIndex>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    WaveOpened {
        wave: u32,
        cells: Vec<CellWave>,
    },
    /// Both arms get one; it starts the clock.
    Permitted {
        device: DeviceIndex,
        arm: Arm,
        deadline_ms: u64,
    },
    /// A treated device runs the release and its probes passed once.
    OnTrial {
        device: DeviceIndex,
    },
    /// A treated device was healthy for the whole soak time.
    Confirmed {
        device: DeviceIndex,
    },
    /// A treated device went back, or into safe mode.
    Failed {
        device: DeviceIndex,
        safe_mode: bool,
        why: String,
    },
    /// A treated device did not use its permit and says why: it still runs what it ran, no trial was begun.
    Withdrawn {
        device: DeviceIndex,
        why: String,
    },
    /// A treated device tried the release and went back because nobody answered it, and the server knows that it was
    /// away itself: no word on the release.
    CutOff {
        device: DeviceIndex,
        why: String,
    },
    /// A device that came after the end is past its deadline. There is nobody to compare it with.
    Overdue {
        device: DeviceIndex,
    },
    /// A member announced that it shuts down.
    Departed {
        device: DeviceIndex,
    },
    /// A member's event for the statistics; the risk set is that of its own slice and stratum just before.
    Observed {
        unit: UnitIndex,
        metric: Metric,
        arm: Arm,
        n_t: u64,
        n_c: u64,
    },
    /// Every outcome of the wave that could come has come.
    WaveResolved {
        wave: u32,
        bound: f64,
        next: u64,
    },
    Held {
        reason: HoldReason,
    },
    Released {
        by: String,
    },
    /// One customer brought most of the evidence: none of its devices goes on.
    Fenced {
        tenant: u32,
    },
    Halted {
        reason: HaltReason,
    },
    Completed,
    /// The server did not look from `from_ms` to `to_ms`: every open deadline moves, or its own downtime would be a wave
    /// of deaths.
    ObservationGap {
        from_ms: u64,
        to_ms: u64,
    },
}
