//! A log that is older than what devices saw of it, as after a backup was restored: what it forgot may be exposed, so
//! nobody else gets a permit until a person has looked. Must stay out: finding it on the device (the agent).

use super::{Durable, Engine, EngineError, record::Record, state::State};
use staffel_core::rollout::ByHand;
use staffel_store::verify_checkpoint;

/// A checkpoint is a signed note of some lines; nothing longer is looked at, bytes.
const LONGEST: usize = 4_096;

impl Engine {
    /// Takes a checkpoint that a device says this log does not reach. Only one with this log's own signature counts, so
    /// that no device can make it up. It counts once: devices saw different lengths of the same log, and a person who let
    /// things go on has looked. Another backup takes another start of this server.
    pub(super) fn behind(
        &self,
        state: &mut State,
        ahead: Option<&str>,
        now: u64,
        pending: &mut Vec<Durable>,
    ) -> Result<(), EngineError> {
        let Some(note) = ahead.filter(|note| note.len() <= LONGEST) else { return Ok(()) };
        let Ok(seen) = verify_checkpoint(note, self.0.config.log_signer.public(), &[]) else { return Ok(()) };
        let size = seen.head.size;
        if state.is_behind || size <= state.head {
            return Ok(());
        }
        state.is_behind = true;
        let why = format!(
            "a device saw {size} entries of the log, and it has {}: it comes from a backup, and does not know who got a \
             permit since; look at `staffel device ls`, then resume",
            state.head
        );
        tracing::error!(size, "{why}");
        let mut records = Vec::new();
        for (rollout, running) in &state.rollouts {
            let hold = ByHand::Hold { who: "this server".into(), why: why.clone() };
            let events = running.rollout.by_hand(hold).into_iter();
            records.extend(events.map(|event| Record::Rollout { rollout: *rollout, event }));
        }
        if !records.is_empty() {
            pending.push(self.commit(state, &records, now)?);
        }
        Ok(())
    }
}
