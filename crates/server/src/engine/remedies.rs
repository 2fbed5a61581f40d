//! Signed acts of repair on their way to a device, and what became of them. What must stay out: whether an act is wise
//! (operators sign it) and whether it holds (the device's guard verifies it again).

use super::{Engine, EngineError, now_ms, operate::bad, operate::refused, record::Record, state::State, view};
use crate::api::{Caller, DeviceRemedies, RemedyView};
use staffel_core::{fleet::DeviceIndex, ids::DeviceId};
use staffel_trust::{
    statement::{
        Envelope,
        guard::RemedyOutcome,
        predicate::{Headed, Remedy, read, verify},
    },
    wire::Remedied,
};

/// Remedies of a device that are kept in memory; the log has them all.
const KEPT: usize = 32;
/// A remedy lives no longer, milliseconds.
const LONGEST_MS: u64 = 30 * 24 * 3_600_000;
const HINT: &str = "make it with `staffel remedy sign` and `staffel remedy approve`";

/// A remedy that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub remedy: Remedy,
    pub envelope: Envelope,
    pub by: String,
    pub sent_ms: u64,
    pub expires_ms: u64,
    /// When the server heard of it, and what.
    pub outcome: Option<(u64, RemedyOutcome)>,
}

impl Sent {
    fn is_waiting(&self, now: u64) -> bool {
        self.outcome.is_none() && now <= self.expires_ms
    }
}

impl State {
    pub(super) fn remedy_sent(&mut self, device: &DeviceId, envelope: &Envelope, by: &str, at_ms: u64) {
        let Some(index) = self.fleet.find(device) else { return };
        let Ok(payload) = envelope.payload() else { return };
        let Ok(headed) = read::<Headed<Remedy>>(&payload) else { return };
        let sent = self.remedies.entry(index).or_default();
        if sent.len() >= KEPT {
            sent.remove(0);
        }
        sent.push(Sent {
            remedy: headed.body,
            envelope: envelope.clone(),
            by: by.into(),
            sent_ms: at_ms,
            expires_ms: headed.header.expires_ms,
            outcome: None,
        });
    }

    pub(super) fn remedy_done(&mut self, device: &DeviceId, outcome: &RemedyOutcome, at_ms: u64) {
        let sent = self.fleet.find(device).and_then(|index| self.remedies.get_mut(&index));
        let sent = sent.into_iter().flatten().find(|sent| sent.remedy.sequence == outcome.sequence);
        if let Some(sent) = sent {
            sent.outcome = Some((at_ms, outcome.clone()));
        }
    }

    /// What the device has not answered yet, in the order in which it has to be carried out.
    pub(super) fn remedies_for(&self, index: DeviceIndex, now: u64) -> Vec<Envelope> {
        let sent = self.remedies.get(&index).into_iter().flatten();
        sent.filter(|sent| sent.is_waiting(now)).map(|sent| sent.envelope.clone()).collect()
    }

    fn last_sequence(&self, index: DeviceIndex) -> u64 {
        self.remedies.get(&index).and_then(|sent| sent.last()).map_or(0, |sent| sent.remedy.sequence)
    }

    pub(super) fn remedy_views(&self, index: DeviceIndex, now: u64) -> Vec<RemedyView> {
        let sent = self.remedies.get(&index).into_iter().flatten();
        sent.map(|sent| {
            let (state, why) = match &sent.outcome {
                Some((_, outcome)) if outcome.done => ("done", outcome.why.clone()),
                Some((_, outcome)) => ("failed", outcome.why.clone()),
                None if now > sent.expires_ms => ("expired", "the device did not fetch it in time".into()),
                None => ("waiting", "the device takes it with its next check-in".into()),
            };
            RemedyView {
                device: sent.remedy.device,
                name: view::full_name(self, index),
                sequence: sent.remedy.sequence,
                case: sent.remedy.case.clone(),
                action: sent.remedy.action.to_string(),
                by: sent.by.clone(),
                sent_ms: sent.sent_ms,
                expires_ms: sent.expires_ms,
                state: state.into(),
                why,
                answered_ms: sent.outcome.as_ref().map(|(at_ms, _)| *at_ms),
            }
        })
        .collect()
    }
}

impl Engine {
    /// Takes a remedy if it holds and is the device's next; the device verifies it again.
    pub async fn send_remedy(&self, who: &Caller, envelope: Envelope) -> Result<RemedyView, EngineError> {
        let payload = envelope.payload().map_err(|e| bad("the remedy", &e.into(), HINT))?;
        let claimed: Headed<Remedy> = read(&payload).map_err(|e| bad("the remedy", &e, HINT))?;
        let operators = &self.0.keyring.operators;
        let need = claimed.body.action.threshold().max(operators.threshold);
        let (headed, _, _) = verify::<Headed<Remedy>>(&envelope, "operators", &operators.keys, need)
            .map_err(|e| bad("the remedy", &e, "another operator signs it with `staffel remedy approve`"))?;
        let (remedy, now) = (headed.body, now_ms());
        let ends_ms = headed.header.expires_ms;
        if now > ends_ms || ends_ms > now.saturating_add(LONGEST_MS) {
            return Err(refused("the remedy is over, or lives longer than 30 days", HINT));
        }
        let (index, pending) = {
            let mut state = self.state();
            let unknown = || EngineError::NotFound { what: format!("the device {}", remedy.device) };
            let index = state.fleet.find(&remedy.device).filter(|d| view::sees(&state, who, *d)).ok_or_else(unknown)?;
            let last = state.last_sequence(index);
            if remedy.sequence <= last || remedy.sequence > last + 1_000 {
                return Err(EngineError::Conflict {
                    why: format!("the remedy has the sequence {}, the device's last one is {last}", remedy.sequence),
                    hint: "make a new one with `staffel remedy sign`".into(),
                });
            }
            let record = Record::RemedySent { device: remedy.device, remedy: envelope, by: who.name.clone() };
            (index, self.commit(&mut state, &[record], now)?)
        };
        self.durable(pending).await?;
        tracing::info!(device = %remedy.device, by = who.name, action = %remedy.action, "remedy sent");
        let views = self.state().remedy_views(index, now);
        views.into_iter().next_back().ok_or_else(|| EngineError::Internal { why: "the remedy is gone".into() })
    }

    /// Every remedy that somebody may see, device by device.
    pub fn remedies(&self, who: &Caller) -> Vec<RemedyView> {
        let (state, now) = (self.state(), now_ms());
        let seen = state.remedies.keys().filter(|index| view::sees(&state, who, **index));
        seen.flat_map(|index| state.remedy_views(*index, now)).collect()
    }

    /// A device's remedies, and what operators sign into the next one.
    pub fn device_remedies(&self, who: &Caller, id_or_name: &str) -> Result<DeviceRemedies, EngineError> {
        let (state, now) = (self.state(), now_ms());
        let unknown = || EngineError::NotFound { what: format!("a device (or only one device) named {id_or_name:?}") };
        let index = state.find_device(id_or_name).filter(|d| view::sees(&state, who, *d)).ok_or_else(unknown)?;
        Ok(DeviceRemedies {
            device: state.fleet.device(index).id,
            next_sequence: state.last_sequence(index) + 1,
            now_ms: now,
            remedies: state.remedy_views(index, now),
        })
    }

    /// A device's word on remedies that it was sent; each is taken once.
    pub async fn remedied(&self, device: DeviceId, word: Remedied) -> Result<(), EngineError> {
        let now = now_ms();
        let pending = {
            let mut state = self.state();
            let index = state.known(&device)?;
            state.fleet.heard(index, now);
            let sent = state.remedies.get(&index).map_or(&[][..], Vec::as_slice);
            let open = |sequence: u64| sent.iter().any(|s| s.remedy.sequence == sequence && s.outcome.is_none());
            let mut records: Vec<Record> = Vec::new();
            for outcome in word.outcomes.iter().take(KEPT) {
                let why: String = outcome.why.chars().take(1_000).collect();
                let record = Record::RemedyDone { device, sequence: outcome.sequence, done: outcome.done, why };
                let twice =
                    |r: &Record| matches!(r, Record::RemedyDone { sequence, .. } if *sequence == outcome.sequence);
                if open(outcome.sequence) && !records.iter().any(twice) {
                    records.push(record);
                }
            }
            if records.is_empty() {
                return Ok(());
            }
            self.commit(&mut state, &records, now)?
        };
        self.durable(pending).await
    }
}
