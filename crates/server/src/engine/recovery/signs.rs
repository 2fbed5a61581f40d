//! What a check-in brings to the device's cases, what the device is asked, and what time alone brings about.

use super::super::{
    Durable, Engine,
    record::Record,
    state::{DeviceInfo, Releases, Running, State},
};
use staffel_core::{
    boot::Mode,
    fleet::DeviceIndex,
    ids::Digest,
    recovery::{Event, Evidence, Health},
};
use staffel_trust::wire::CheckIn;
use std::collections::BTreeMap;

/// Lines of a device's answer that are kept, and characters of each.
const LINES: usize = 16;
const LINE: usize = 300;

impl Engine {
    /// Takes the sign of life to the device's cases.
    pub(in super::super) fn sign_of_life(
        &self,
        state: &mut State,
        index: DeviceIndex,
        request: &CheckIn,
        boot: u64,
        now: u64,
    ) -> Vec<Record> {
        let State { fleet, info, releases, rollouts, recovery, .. } = state;
        let safe_mode = match &request.mode {
            Mode::Safe { why } => Some(why.clone()),
            Mode::Normal => None,
        };
        let answer = match &request.probed {
            Some(probed) if recovery.asked.get(&index) == Some(&probed.nonce) => {
                recovery.asked.remove(&index);
                Some(within_limits(probed.health.clone()))
            }
            _ => None,
        };
        let evidence = || Evidence {
            boot,
            safe_mode: safe_mode.clone(),
            running: request.running.keys().cloned().collect(),
            denied: denied(rollouts, &request.running),
            health: answer,
        };
        let ran = |device: DeviceIndex| ran(info, releases, device);
        let events = recovery.book.heard(fleet, index, safe_mode.as_deref(), now, &ran, evidence);
        events.into_iter().map(|event| Record::Recovery { event }).collect()
    }

    /// The question for a device that has to prove that it is well; the same until it is answered.
    pub(in super::super) fn question(&self, state: &mut State, index: DeviceIndex) -> Option<String> {
        let recovery = &mut state.recovery;
        if !recovery.book.wants_probe(index) {
            recovery.asked.remove(&index);
            return None;
        }
        if let Some(asked) = recovery.asked.get(&index) {
            return Some(asked.clone());
        }
        let mut nonce = [0; 16];
        // Without randomness there is no question, and nothing is verified: both are safe.
        getrandom::fill(&mut nonce).ok()?;
        let nonce = hex::encode(nonce);
        recovery.asked.insert(index, nonce.clone());
        Some(nonce)
    }

    /// Opens incidents for halts and silence, closes what stayed verified.
    pub(in super::super) fn recover(&self, state: &mut State, pending: &mut Vec<Durable>, now: u64) {
        let oldest = now.saturating_sub(state.recovery.book.limits.reopen_within_ms);
        let mut events: Vec<Event> = Vec::new();
        {
            let State { fleet, info, releases, rollouts, recovery, .. } = state;
            let ran = |device: DeviceIndex| ran(info, releases, device);
            for running in rollouts.values() {
                let recent = running.ended_ms.is_some_and(|at_ms| at_ms >= oldest);
                let Some(reason) = State::is_denied(running).filter(|_| recent) else { continue };
                let why = format!("{} {} was halted: {reason}", running.contents.name, running.contents.version);
                let opened = recovery.book.open_for_halt(&running.rollout, &why, now, &ran);
                if !opened.is_empty() {
                    // Numbers of the next incident follow from what was applied: one at a time.
                    events = opened;
                    break;
                }
            }
            if events.is_empty() {
                events = recovery.book.due(fleet, now, &ran);
            }
        }
        if events.is_empty() {
            return;
        }
        for event in &events {
            tracing::info!("{}", super::describe::event(event));
        }
        let records = events.into_iter().map(|event| Record::Recovery { event }).collect();
        self.push(state, pending, records, now);
    }
}

/// Names of the releases that the device ran when it was last well.
pub(super) fn ran(info: &[DeviceInfo], releases: &Releases, device: DeviceIndex) -> Vec<String> {
    let set = info.get(device as usize).map_or(0, |info| info.last_well);
    releases.of_set(set).map(|(name, _)| name.clone()).collect()
}

/// Those of the running releases that were halted because they are bad.
fn denied(rollouts: &BTreeMap<u64, Running>, running: &BTreeMap<String, Digest>) -> Vec<String> {
    let bad = |digest: &Digest| {
        rollouts.values().find(|r| r.rollout.release.digest == *digest && State::is_denied(r).is_some())
    };
    let name = |r: &Running| format!("{} {}", r.contents.name, r.contents.version);
    running.values().filter_map(|digest| bad(digest).map(name)).collect()
}

/// A device's words are kept and shown.
fn within_limits(mut health: Health) -> Health {
    for lines in [&mut health.failures, &mut health.debts] {
        lines.truncate(LINES);
        for line in lines {
            if let Some((at, _)) = line.char_indices().nth(LINE) {
                line.truncate(at);
            }
        }
    }
    health
}
