//! What must never be false. Checked by the tests, by the simulator, and by the server in debug builds.

use crate::{
    recovery::{Case, State},
    rollout::{Rollout, Status},
};

/// Checks a rollout against what was true before; an error names what broke.
///
/// - exposed is never above K (the budget at the time a permit was granted);
/// - a halted rollout exposes nobody, and neither does a held one;
/// - a halt is latched;
/// - a permit that comes back unused takes no evidence and no outcome with it.
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
    if now.withdrawn > before.withdrawn {
        let kept = (now.failed, now.confirmed, now.ln_e) == (before.failed, before.confirmed, before.ln_e);
        if !kept || now.exposed > before.exposed {
            return Err("a permit came back and took evidence with it".into());
        }
    }
    if now.frontier_sequence < before.frontier_sequence {
        return Err("the frontier's sequence went back".into());
    }
    Ok(())
}

/// Checks a recovery case: closed only with a proof and with protection on; back only with a proof.
pub fn case(case: &Case) -> Result<(), String> {
    if case.state.is_back() && case.proof().is_none() {
        return Err(format!("case {} is {} without a proof", case.id, case.state.word()));
    }
    if case.state == State::Closed && !case.debts().is_empty() {
        return Err(format!("case {} is closed with protection off", case.id));
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
    withdrawn: u64,
    confirmed: u64,
    failed: u64,
    /// Bits of `ln E`.
    ln_e: u64,
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
            withdrawn: rollout.counts.withdrawn,
            confirmed: rollout.counts.confirmed,
            failed: rollout.counts.failed,
            ln_e: rollout.ln_e().to_bits(),
        }
    }
}
