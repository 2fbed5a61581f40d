//! What devices' sensors found: taking it, and what people say about it. `convert` turns what a device sent into core's
//! types and bounds every text; `view` shows it; `ocsf` says it in the words of a security data lake.
//!
//! What repeats, what opens again and what there is no room for is decided in `staffel_core::detection`. The fields of
//! events are personal data (command lines, account names): they stand in a record of their own, which can be erased.

mod convert;
mod ocsf;
mod view;

pub use convert::Sent;
pub(super) use view::of_device;

use super::{Durable, Engine, EngineError, chain, erase, now_ms, operate::refused, record::Record, state::State};
use crate::api::{Acknowledge, Caller, DetectionSheet, Erase};
use convert::convert;
use staffel_core::{
    detection::{Acknowledgement, AlertId, LONGEST_QUIET_MS},
    fleet::DeviceIndex,
    ids::DeviceId,
};
use staffel_store::{ReadLog as _, Write};
use staffel_trust::wire::DetectionsNoted;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Characters of a reason.
const REASON: usize = 500;

/// Fields of one event, as they stand in the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeptEvidence {
    pub alert: AlertId,
    pub count: u64,
    /// By the device's clock, Unix milliseconds.
    pub last_ms: u64,
    pub fields: BTreeMap<String, String>,
}

impl State {
    pub(super) fn detections_found(
        &mut self,
        device: &DeviceId,
        found: &staffel_core::detection::Found,
        at_ms: u64,
        position: u64,
    ) {
        if let Some(index) = self.fleet.find(device) {
            self.detections.found(index, found, at_ms, position);
        }
    }
}

impl Engine {
    /// Takes what a device's sensor found; answers once all of it is durable, also what came twice.
    pub async fn detections(&self, device: DeviceId, sent: Sent) -> Result<DetectionsNoted, EngineError> {
        let now = now_ms();
        let arrived = convert(sent)?;
        let (through, pending) = {
            let mut state = self.state();
            let index = state.known(&device)?;
            let taken = state.detections.take(index, &arrived.delivery, now).map_err(|fault| EngineError::Refused {
                why: fault.to_string(),
                hint: "send the findings that were not noted, oldest first, under the stream's own name".into(),
            })?;
            let pending = match taken.found {
                Some(found) => {
                    let mut evidence = Vec::new();
                    for (place, alert) in taken.keep {
                        let sighting = &arrived.delivery.sightings[place];
                        let fields = arrived.fields[place].clone();
                        let (count, last_ms) = (sighting.count.max(1), sighting.last_ms);
                        evidence.push(KeptEvidence { alert, count, last_ms, fields });
                    }
                    let mut records = vec![Record::DetectionsFound { device, found }];
                    if !evidence.is_empty() {
                        records.push(Record::DetectionEvidence { device, evidence });
                    }
                    self.commit(&mut state, &records, now)?
                }
                // What it repeats may still be on its way to the disk.
                None => self.after_all(&state)?,
            };
            (taken.through, pending)
        };
        self.durable(pending).await?;
        Ok(DetectionsNoted { through })
    }

    /// Answers when everything that was handed over so far is durable.
    fn after_all(&self, state: &State) -> Result<Durable, EngineError> {
        if let Some(why) = self.read_only() {
            return Err(EngineError::ReadOnly { why });
        }
        let (sender, receiver) = oneshot::channel();
        self.0.log.append_then(Write::expecting(state.head, Vec::new()), move |outcome| {
            // Whoever asked may be gone.
            let _ = sender.send(outcome);
        });
        Ok(receiver)
    }

    /// A person has seen to an alert.
    pub async fn acknowledge_detection(
        &self,
        who: &Caller,
        id: AlertId,
        asked: Acknowledge,
    ) -> Result<DetectionSheet, EngineError> {
        let now = now_ms();
        let why: String = asked.why.trim().chars().take(REASON).collect();
        if why.is_empty() {
            return Err(refused("an alert is not acknowledged without a word", "say what it was; the log keeps it"));
        }
        let quiet_ms = asked.quiet_minutes.map(|minutes| minutes.saturating_mul(60_000).min(LONGEST_QUIET_MS));
        let quiet_until_ms = quiet_ms.filter(|ms| *ms > 0).map(|ms| now.saturating_add(ms));
        let pending = {
            let mut state = self.state();
            let device = visible(&state, who, id)?;
            let device = state.fleet.device(device).id;
            let said = Acknowledgement { alert: id, by: who.name.clone(), why, quiet_until_ms };
            self.commit(&mut state, &[Record::DetectionAcknowledged { device, said }], now)?
        };
        self.durable(pending).await?;
        self.detection(who, id)
    }

    /// Erases the fields of all of an alert's events, also those of other alerts that came in the same deliveries.
    pub async fn erase_detection(
        &self,
        who: &Caller,
        id: AlertId,
        asked: Erase,
    ) -> Result<DetectionSheet, EngineError> {
        let why = erase::reason(&asked.why)?;
        visible(&self.state(), who, id)?;
        let engine = self.clone();
        let found = tokio::task::spawn_blocking(move || engine.entries_with_evidence(id)).await;
        let entries = found.map_err(|error| EngineError::Internal { why: error.to_string() })??;
        if entries.is_empty() {
            return Err(EngineError::Conflict {
                why: format!("the log has no fields of events of alert {id}"),
                hint: "`staffel log ls` says who erased them and why, if there were any".into(),
            });
        }
        let what = format!("the fields of events of alert {id}");
        let record = |entry: &u64| {
            let (what, why, by) = (what.clone(), why.clone(), who.name.clone());
            Record::Erased { entry: *entry, what, why, by }
        };
        let records: Vec<Record> = entries.iter().map(record).collect();
        let pending = {
            let mut state = self.state();
            self.commit(&mut state, &records, now_ms())?
        };
        self.durable(pending).await?;
        for entry in entries {
            self.erase_entry(entry).await?;
        }
        self.detection(who, id)
    }

    /// Every entry of the log with fields of an alert's events. Reads the whole log: erasing is rare, and more than the
    /// latest entries is not remembered.
    fn entries_with_evidence(&self, alert: AlertId) -> Result<Vec<u64>, EngineError> {
        let (mut found, mut next) = (Vec::new(), 0);
        // What is still on its way must not outlive the erasure.
        self.settled_head()?;
        loop {
            let read = self.0.log.read(next, 1_024).map_err(|error| EngineError::Internal { why: chain(&error) })?;
            let Some(last) = read.last() else { return Ok(found) };
            next = last.position + 1;
            for entry in read.iter().filter(|entry| entry.kind == "detection.evidence") {
                if let Some(Record::DetectionEvidence { evidence, .. }) = Record::of(entry)
                    && evidence.iter().any(|kept| kept.alert == alert)
                {
                    found.push(entry.position);
                }
            }
        }
    }

    /// The fields that an entry of the log holds for an alert, the latest first; none if they were erased.
    fn evidence_at(&self, position: u64, alert: AlertId) -> Result<Vec<KeptEvidence>, EngineError> {
        match self.entry_at(position)?.as_ref().and_then(Record::of) {
            Some(Record::DetectionEvidence { evidence, .. }) => {
                Ok(evidence.into_iter().rev().filter(|kept| kept.alert == alert).collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// The device of an alert that this person may see; what they may not see does not exist for them.
fn visible(state: &State, who: &Caller, id: AlertId) -> Result<DeviceIndex, EngineError> {
    let found = state.detections.alert(id).map(|alert| alert.device);
    let found = found.filter(|device| super::view::sees(state, who, *device));
    found.ok_or_else(|| EngineError::NotFound { what: format!("alert {id}") })
}
