//! What must never be false. Checked by the tests, by the simulator, and by the server in debug builds.

use crate::rollout::{Rollout, Status};

/// Checks a rollout against what was true before; an error names what broke.
///
/// - exposed is never above K (the budget at the time a permit was granted);
/// - a halted rollout exposes nobody, and neither does a held one;
/// - a halt is latched.
pub fn rollout(before: &Snapshot, after: &Rollout) -> Result<(), String> {
    let now = Snapshot::of(after);
    if now.exposed > before.exposed && now.exposed > after.budget() {
        return Err(format!("{} units exposed, the budget is {}", now.exposed, after.budget()));
    }
    if (before.halted || before.held) && now.exposed_ever > before.exposed_ever {
        return Err("a halted or held rollout exposed a device".into());
    }
    if before.halted && !now.halted {
        return Err("a halt was taken back".into());
    }
    if now.frontier_sequence < before.frontier_sequence {
        return Err("the frontier's sequence went back".into());
    }
    Ok(())
}

/// Checks the counts of a rollout against its devices. Looks at all of them: for tests and the simulator.
pub fn counts(rollout: &Rollout) -> Result<(), String> {
    rollout.recount()
}

/// What [`rollout`] compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    exposed: u64,
    exposed_ever: u64,
    frontier_sequence: u64,
    held: bool,
    halted: bool,
}

impl Snapshot {
    /// The rollout as it is.
    pub fn of(rollout: &Rollout) -> Self {
        Snapshot {
            exposed: rollout.counts.exposed,
            exposed_ever: rollout.counts.exposed_ever,
            frontier_sequence: rollout.frontier_sequence,
            held: matches!(rollout.status, Status::Held { .. }),
            halted: matches!(rollout.status, Status::Halted { .. }),
        }
    }
}
