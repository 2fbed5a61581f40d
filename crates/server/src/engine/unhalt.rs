//! Taking a halt back: two releasers, logged with the person. The rollout stays halted, its release may go out again by
//! a rollout of its own. What must stay out: believing it (each device counts the releasers itself).

use super::{Engine, EngineError, now_ms, operate::bad, operate::refused, record::Record, state::State};
use crate::api::{Caller, NextUnhalt, RolloutView, Unhalting};
use staffel_core::{conditions::RELEASERS, ids::Digest};
use staffel_trust::statement::{
    Envelope,
    predicate::{Halt, Headed, Unhalt, read, verify},
};
use std::collections::BTreeSet;

impl State {
    /// The halts on the board that deny a release.
    fn halts_of(&self, release: &Digest) -> Vec<Digest> {
        let of = |halt: &&Envelope| {
            let payload = halt.payload().ok()?;
            Some(read::<Headed<Halt>>(&payload).ok()?.body.release == *release)
        };
        self.halts.iter().filter(|halt| of(halt) == Some(true)).filter_map(|halt| halt.digest().ok()).collect()
    }

    pub(super) fn unhalted(&mut self, id: u64, unhalts: &[Envelope], said: String, at_ms: u64, position: u64) {
        let Some(release) = self.rollouts.get(&id).map(|running| running.rollout.release.digest) else { return };
        let gone: BTreeSet<Digest> = self.halts_of(&release).into_iter().collect();
        self.halts.retain(|halt| halt.digest().map_or(true, |digest| !gone.contains(&digest)));
        self.unhalts.extend(unhalts.iter().cloned());
        for running in self.rollouts.values_mut().filter(|running| running.rollout.release.digest == release) {
            // One that still goes on was started after the halt was taken back, and can be halted anew.
            if running.ended_ms.is_some() {
                running.unhalted = Some(said.clone());
            }
        }
        if let Some(running) = self.rollouts.get_mut(&id) {
            running.history.push((position, at_ms, "halt.taken-back".into(), said));
        }
    }
}

impl Engine {
    /// What two releasers sign to take the halt of a rollout's release back.
    pub fn next_unhalt(&self, id: u64) -> Result<NextUnhalt, EngineError> {
        let state = self.state();
        let running = state.rollouts.get(&id).ok_or_else(|| EngineError::NotFound { what: format!("rollout {id}") })?;
        let release = running.rollout.release.digest;
        Ok(NextUnhalt { rollout: id, release, halts: state.halts_of(&release), now_ms: now_ms() })
    }

    /// Takes the halts of a rollout's release back; each of them has to be named by a statement of two releasers.
    pub async fn unhalt(&self, who: &Caller, id: u64, word: Unhalting) -> Result<RolloutView, EngineError> {
        let releasers = &self.0.keyring.releasers;
        let mut named = BTreeSet::new();
        let mut releases = BTreeSet::new();
        for envelope in &word.unhalts {
            let threshold = releasers.threshold.max(RELEASERS);
            let (unhalt, _, _) = verify::<Headed<Unhalt>>(envelope, "releasers", &releasers.keys, threshold)
                .map_err(|e| bad("the un-halt", &e, "two releasers sign it with `staffel rollout unhalt`"))?;
            named.insert(unhalt.body.halt);
            releases.insert(unhalt.body.release);
        }
        let now = now_ms();
        let pending = {
            let mut state = self.state();
            let running =
                state.rollouts.get(&id).ok_or_else(|| EngineError::NotFound { what: format!("rollout {id}") })?;
            let release = running.rollout.release.digest;
            let standing = state.halts_of(&release);
            if standing.is_empty() {
                return Err(EngineError::Conflict {
                    why: format!("no halt stands against the release of rollout {id}"),
                    hint: format!("see `staffel rollout why {id}`"),
                });
            }
            if releases.iter().any(|named| *named != release) || standing.iter().any(|halt| !named.contains(halt)) {
                return Err(refused(
                    format!("the statements do not name all of the {} halts of this release", standing.len()),
                    "let `staffel rollout unhalt` write a new file and sign that",
                ));
            }
            let why = super::operate::said(&word.why);
            let record = Record::UnhaltSigned { rollout: id, unhalts: word.unhalts, why, by: who.name.clone() };
            self.commit(&mut state, &[record], now)?
        };
        self.durable(pending).await?;
        tracing::warn!(rollout = id, by = who.name, "the halt of its release was taken back by two releasers");
        self.publish_board();
        self.rollout(who, id)
    }
}
