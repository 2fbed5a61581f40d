//! How a device came to start: what an earlier start of its machine left behind, under the id of the start that found it. It is
//! evidence: in the log, beside the device and its cases, and a crash counts in the rollouts that the device has a permit of.
//! What must stay out: what a change comes to, which the device says apart (its outcome).

use super::{Durable, Engine, EngineError, now_ms, record::Record, state::State};
use crate::api::StartView;
use staffel_core::{
    boot::traces::{Start, Trace},
    fleet::DeviceIndex,
    ids::{DeviceId, Digest},
    rollout::Report,
};
use staffel_trust::wire::CheckIn;

/// Starts of a device that are kept in memory; the log has them all.
const KEPT: usize = 8;

/// A start that had something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartNoted {
    /// When the server heard of it, Unix milliseconds.
    pub at_ms: u64,
    /// Entry of the log.
    pub position: u64,
    pub start: Start,
}

impl State {
    pub(super) fn device_started(&mut self, device: &DeviceId, start: &Start, at_ms: u64, position: u64) {
        let Some(index) = self.fleet.find(device) else { return };
        let starts = self.starts.entry(index).or_default();
        if starts.len() >= KEPT {
            starts.remove(0);
        }
        starts.push(StartNoted { at_ms, position, start: start.clone() });
    }

    /// The latest starts of a device that had something to tell, oldest first.
    pub(super) fn start_views(&self, index: DeviceIndex) -> Vec<StartView> {
        let noted = self.starts.get(&index).map_or(&[][..], Vec::as_slice);
        let view = |noted: &StartNoted| StartView {
            at_ms: noted.at_ms,
            position: noted.position,
            boot_id: noted.start.boot_id.clone(),
            says: noted.start.traces.iter().map(ToString::to_string).collect(),
            traces: noted.start.traces.clone(),
        };
        noted.iter().map(view).collect()
    }

    /// What of a start is news.
    fn news(&self, index: DeviceIndex, start: Start) -> Option<Start> {
        let noted = self.starts.get(&index).map_or(&[][..], Vec::as_slice);
        let known: Vec<Digest> = noted
            .iter()
            .flat_map(|noted| noted.start.traces.iter().map(|trace| trace.id(&noted.start.boot_id)))
            .collect();
        start.without(&known)
    }
}

impl Engine {
    /// Takes note of what the device's start found; true if nothing of it has to be sent again.
    pub(super) fn started(
        &self,
        state: &mut State,
        index: DeviceIndex,
        request: &CheckIn,
        pending: &mut Vec<Durable>,
    ) -> Result<bool, EngineError> {
        let Some(start) = request.start.clone() else { return Ok(false) };
        let Some(start) = state.news(index, start.bounded()) else { return Ok(true) };
        let now = now_ms();
        let crashed = start.traces.iter().any(Trace::is_crash);
        let mut records = vec![Record::DeviceStarted { device: state.fleet.device(index).id, start }];
        for (rollout, running) in state.rollouts.iter().filter(|(_, running)| crashed && running.is_active()) {
            let (events, _) = running.rollout.report(&state.fleet, index, &Report::Crashed, now);
            records.extend(events.into_iter().map(|event| Record::Rollout { rollout: *rollout, event }));
        }
        if !state.info[index as usize].may_record(records.len(), now) {
            return Ok(false);
        }
        pending.push(self.commit(state, &records, now)?);
        Ok(true)
    }
}
