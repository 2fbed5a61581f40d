//! The clockwork: asks every rollout for its plan, signs frontiers and halts, keeps checkpoints. No choice is made here.

use super::{
    Durable, Engine, EngineError, checkpoint_error, device_witnesses,
    record::Record,
    state::{Running, State},
};
use staffel_core::{
    conditions::{Frontier, Reach},
    rollout::{Event, Status},
};
use staffel_store::{ReadLog as _, Tree as _, WitnessRequest, add_cosignatures, consistency_proof, sign_checkpoint};
use staffel_trust::{
    statement::predicate::{Halt, Headed, Header, sign},
    wire::Offer,
};
use std::sync::PoisonError;

/// A pause of the whole program longer than this, milliseconds, is a gap in what it could observe.
const PAUSE_MS: u64 = 3_000;

/// What the board says of a rollout; nothing before its first frontier is durable and signed.
pub(super) fn offer(running: &Running, now: u64) -> Option<Offer> {
    if running.ended_ms.is_some() && now > running.rollout.authorisation.not_after_ms {
        return None;
    }
    let frontier = running.frontier.envelope.clone()?;
    Some(Offer {
        rollout: running.rollout.id,
        name: running.contents.name.clone(),
        version: running.contents.version.clone(),
        release: running.rollout.release.digest,
        authorisation: running.authorisation.clone(),
        frontier: Some(frontier),
        soak_ms: running.rollout.profile.soak_ms,
    })
}

impl Engine {
    /// One turn: everything that is due, then everything that has to be signed for it.
    pub(super) async fn drive(&self, last_ms: u64, now: u64) {
        if self.ready().is_err() {
            return;
        }
        let _turn = self.0.turn.lock().await;
        let mut pending: Vec<Durable> = Vec::new();
        let mut moved = Vec::new();
        {
            let mut state = self.state();
            if now.saturating_sub(last_ms) > PAUSE_MS {
                state.recovery.book.gap(last_ms, now);
            }
            let ids: Vec<u64> = state.active().collect();
            for id in ids {
                if now.saturating_sub(last_ms) > PAUSE_MS {
                    self.push(&mut state, &mut pending, vec![super::gap(id, last_ms, now)], now);
                }
                self.plan(&mut state, &mut pending, id, now);
            }
            self.recover(&mut state, &mut pending, now);
            self.look_for_suspects(&mut state, &mut pending, now);
            for (id, running) in &state.rollouts {
                if needs_frontier(&state, running, now, self.0.config.frontier_lifetime_ms) {
                    moved.push((*id, self.next_frontier(&state, running, now)));
                }
            }
            for (_, record) in &moved {
                self.push(&mut state, &mut pending, vec![record.clone()], now);
            }
        }
        if pending.is_empty() {
            return;
        }
        for pending in pending {
            if self.durable(pending).await.is_err() {
                return;
            }
        }
        if !moved.is_empty() {
            self.sign_frontiers(&moved);
            self.sign_halts(now);
            self.publish_board();
        }
    }

    pub(super) fn push(&self, state: &mut State, pending: &mut Vec<Durable>, records: Vec<Record>, now: u64) {
        match self.commit(state, &records, now) {
            Ok(durable) => pending.push(durable),
            Err(error) => tracing::error!(%error, "a decision could not be recorded"),
        }
    }

    /// Plans until there is nothing more to do at this moment.
    pub(super) fn plan(&self, state: &mut State, pending: &mut Vec<Durable>, id: u64, now: u64) {
        // Each round changes something durable; the bound is there for a bug, not for the work.
        for _ in 0..1_000 {
            let State { fleet, rollouts, .. } = state;
            let Some(running) = rollouts.get_mut(&id) else { return };
            let plan = running.rollout.plan(fleet, now);
            if plan.actions.is_empty() {
                return;
            }
            for event in &plan.actions {
                let text = super::state::describe(event, fleet);
                match event {
                    Event::Observed { .. } => tracing::debug!(rollout = id, text),
                    _ => tracing::info!(rollout = id, text),
                }
            }
            let records = plan.actions.into_iter().map(|event| Record::Rollout { rollout: id, event }).collect();
            self.push(state, pending, records, now);
        }
        tracing::error!(rollout = id, "a plan did not come to rest");
    }

    fn next_frontier(&self, state: &State, running: &Running, now: u64) -> Record {
        let status = &running.rollout.status;
        let halted = matches!(status, Status::Halted { .. });
        let reach: Vec<Reach> = if halted { Vec::new() } else { running.rollout.reach(&state.fleet) };
        Record::FrontierMoved {
            rollout: running.rollout.id,
            // A server whose log came from a backup must not sign a sequence that its devices have seen: time goes on.
            sequence: (running.frontier.sequence + 1).max(now),
            issued_ms: now,
            expires_ms: now + self.0.config.frontier_lifetime_ms,
            halted,
            completed: matches!(status, Status::Completed { .. }),
            reach,
        }
    }

    /// Signs the frontiers that were just made durable, with exactly what stands in the log. A restart never signs an old
    /// sequence again: two bodies for one sequence would make every device hold.
    fn sign_frontiers(&self, moved: &[(u64, Record)]) {
        let checkpoint = self.checkpoint();
        let mut state = self.state();
        for (id, record) in moved {
            let Record::FrontierMoved { sequence, issued_ms, expires_ms, halted, completed, reach, .. } = record else {
                continue;
            };
            let Some(running) = state.rollouts.get_mut(id) else { continue };
            let body = Frontier {
                rollout: *id,
                release: running.rollout.release.digest,
                sequence: *sequence,
                halted: *halted,
                completed: *completed,
                issued_ms: *issued_ms,
                expires_ms: *expires_ms,
                reach: reach.clone(),
            };
            let header = Header {
                issued_ms: *issued_ms,
                expires_ms: *expires_ms,
                predecessor: running.frontier.digest,
                checkpoint: checkpoint.clone(),
            };
            let envelope = sign(&Headed { header, body }, &[self.online()]);
            running.frontier.digest = envelope.digest().ok();
            running.frontier.envelope = Some(envelope);
            running.frontier.signed = *sequence;
        }
    }

    /// Signs a halt for every rollout that was halted because its release is bad.
    pub(super) fn sign_halts(&self, now: u64) {
        let mut state = self.state();
        let State { rollouts, halts, .. } = &mut *state;
        for (id, running) in rollouts.iter_mut().filter(|(_, running)| !running.halt_signed) {
            if State::is_denied(running).is_none() {
                continue;
            }
            // Every device of every customer reads this: who brought the evidence is nobody else's business.
            let why = format!("rollout {id} was halted");
            let body = Halt { release: running.rollout.release.digest, rollout: Some(*id), why };
            // The same bytes at every start, so that releasers can take back a halt that they have seen.
            let issued_ms = running.ended_ms.unwrap_or(now);
            let header = Header { issued_ms, expires_ms: u64::MAX, ..Header::default() };
            halts.push(sign(&Headed { header, body }, &[self.online()]));
            running.halt_signed = true;
        }
    }

    /// Signs the log as far as it is durable, and keeps the result.
    pub(super) fn publish_checkpoint(&self) {
        match sign_checkpoint(&self.0.log, &self.0.config.log_signer) {
            Ok(latest) => {
                // A witnessed one tells devices the time; it is a little older.
                let witnessed = self
                    .0
                    .log
                    .checkpoints()
                    .ok()
                    .and_then(|kept| kept.into_iter().filter(|c| c.cosignatures > 0).max_by_key(|c| c.size));
                let wanted = !device_witnesses(&self.0.keyring).is_empty();
                let note = match witnessed {
                    Some(witnessed) if wanted => witnessed.note,
                    _ => latest.note,
                };
                *self.0.checkpoint.write().unwrap_or_else(PoisonError::into_inner) = Some(note);
            }
            Err(error) => tracing::warn!(error = super::chain(&error), "no new checkpoint of the log"),
        }
    }

    /// The request for a witness that has seen the log up to `from_size`.
    pub fn consistency(&self, from_size: u64) -> Result<String, EngineError> {
        let checkpoint = sign_checkpoint(&self.0.log, &self.0.config.log_signer).map_err(|e| checkpoint_error(&e))?;
        let proof = if from_size == 0 {
            Vec::new()
        } else {
            consistency_proof(&self.0.log, checkpoint.size, from_size).map_err(|e| EngineError::Refused {
                why: super::chain(&e),
                hint: "ask from a size that the log had".into(),
            })?
        };
        Ok(WitnessRequest { old_size: from_size, proof, checkpoint: checkpoint.note }.to_text())
    }

    /// Takes a witness's lines for the latest checkpoint that they fit.
    pub async fn add_cosignature(&self, lines: String) -> Result<(), EngineError> {
        let engine = self.clone();
        let added = tokio::task::spawn_blocking(move || {
            let log = &engine.0.log;
            let kept = log.checkpoints().map_err(|e| EngineError::Internal { why: super::chain(&e) })?;
            let key = engine.0.config.log_signer.public();
            let mut last = EngineError::NotFound { what: "a checkpoint".into() };
            for checkpoint in kept {
                match add_cosignatures(log, key, &engine.0.config.witnesses, &checkpoint, &lines) {
                    Ok(_) => {
                        engine.publish_checkpoint();
                        return Ok(());
                    }
                    Err(error) => last = checkpoint_error(&error),
                }
            }
            Err(last)
        });
        let added = added.await.unwrap_or_else(|e| Err(EngineError::Internal { why: e.to_string() }));
        if added.is_ok() {
            self.publish_board();
        }
        added
    }

    /// A tile of the log, by its tlog-tiles path (`tile/0/000`, `tile/entries/000`).
    pub fn tile(&self, path: &str) -> Result<Vec<u8>, EngineError> {
        let refused = |e: staffel_store::TileError| EngineError::Refused {
            why: super::chain(&e),
            hint: "paths are those of c2sp.org/tlog-tiles".into(),
        };
        staffel_store::TilePath::parse(path).map_err(refused)?.bytes(&self.0.log).map_err(refused)
    }

    /// Entries of the log for people and programs.
    pub fn log_entries(&self, from: u64, max: usize) -> Result<serde_json::Value, EngineError> {
        let entries =
            self.0.log.read(from, max.clamp(1, 1_000)).map_err(|e| EngineError::Internal { why: super::chain(&e) })?;
        let shown: Vec<serde_json::Value> = entries
            .iter()
            .map(|entry| {
                serde_json::json!({
                    "position": entry.position,
                    "at_ms": entry.at_ms,
                    "kind": entry.kind,
                    "payload": entry.payload().and_then(|p| serde_json::from_slice::<serde_json::Value>(p).ok()),
                })
            })
            .collect();
        Ok(serde_json::Value::Array(shown))
    }
}

/// A new frontier is due when the rollout has moved, or when the old one is half over.
fn needs_frontier(state: &State, running: &Running, now: u64, lifetime_ms: u64) -> bool {
    let frontier = &running.frontier;
    // Not signed: the server was restarted, or the record did not become durable the last time.
    let unsigned = frontier.signed != frontier.sequence || frontier.sequence == 0;
    let moved = frontier.shows != running.rollout.reach_version(&state.fleet);
    let completed = matches!(running.rollout.status, Status::Completed { .. });
    let ageing = running.ended_ms.is_none() && frontier.expires_ms.saturating_sub(now) < lifetime_ms / 2;
    // The last word of a rollout that is over must be good for as long as a device may be away.
    let over = now > running.rollout.authorisation.not_after_ms;
    let last_word = running.ended_ms.is_some() && !over && frontier.expires_ms < now + lifetime_ms / 2;
    (unsigned && !over) || (moved && !(completed && over)) || ageing || last_word
}
