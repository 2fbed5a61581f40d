//! Foreign software: what devices say they have, what of it is suspected, and what people are shown of both.
//!
//! Who is a suspect is decided in `staffel_core::foreign`. What must stay out: remedies.

use super::{Durable, Engine, EngineError, now_ms, record::Record, state::State, view};
use crate::api::{Caller, DeviceSoftware, SoftwareView, SuspectView};
use staffel_core::{
    fleet::DeviceIndex,
    foreign::{Component, MAX_COMPONENTS, MAX_FILES, Suspect, digest},
    ids::{DeviceId, Digest},
};
use staffel_trust::wire::Inventory;
use std::collections::BTreeMap;

/// Between two looks for suspects, milliseconds.
const LOOK_EVERY_MS: u64 = 5_000;
/// A new set costs a device as many of its records as it may make in so many minutes: a hostile one can't fill the disk.
const COST: usize = 20;
/// No text of a component is longer, bytes.
const MOST_TEXT: usize = 1_024;

/// A suspect that stands in the log.
#[derive(Clone, Debug)]
pub struct SuspectNoted {
    pub suspect: Suspect,
    pub at_ms: u64,
    pub position: u64,
}

impl State {
    pub(super) fn suspected(&mut self, suspect: &Suspect, at_ms: u64, position: u64) {
        self.suspects.push(SuspectNoted { suspect: suspect.clone(), at_ms, position });
    }

    /// Devices that are silent, in safe mode or start again and again, and since when they were last heard well.
    fn troubled(&self, now: u64) -> BTreeMap<DeviceIndex, u64> {
        let again_and_again = self.restarts.in_trouble();
        let all = 0..self.fleet.devices.len() as DeviceIndex;
        let troubled = all.filter(|index| {
            self.info[*index as usize].safe_mode.is_some() || view::presence(self, *index, now) == "silent"
        });
        troubled.map(|index| (index, self.trouble_since(index))).chain(again_and_again).collect()
    }

    fn trouble_since(&self, index: DeviceIndex) -> u64 {
        match self.safe_since.get(&index) {
            Some(since_ms) => *since_ms,
            None => self.fleet.device(index).last_seen_ms,
        }
    }
}

impl Engine {
    /// Takes the digest that a device named; true if the server wants the whole.
    pub(super) fn inventory(
        &self,
        state: &mut State,
        index: DeviceIndex,
        named: Option<&Digest>,
        now: u64,
        pending: &mut Vec<Durable>,
    ) -> Result<bool, EngineError> {
        let Some(inventory) = named.filter(|digest| !state.foreign.is_of(index, digest)) else { return Ok(false) };
        if !state.foreign.knows(inventory) {
            return Ok(true);
        }
        if state.info[index as usize].may_record(1, now) {
            let device = state.fleet.device(index).id;
            pending.push(self.commit(state, &[Record::DeviceInventory { device, inventory: *inventory }], now)?);
        }
        Ok(false)
    }

    /// Takes the whole.
    pub async fn inventory_sent(&self, device: DeviceId, sent: Inventory) -> Result<(), EngineError> {
        within_limits(&sent.components)?;
        let (inventory, now) = (digest(&sent.components), now_ms());
        let pending = {
            let mut state = self.state();
            let index =
                state.fleet.find(&device).ok_or_else(|| EngineError::NotFound { what: "this device".into() })?;
            if state.foreign.is_of(index, &inventory) {
                return Ok(());
            }
            let mut records = Vec::new();
            if !state.foreign.knows(&inventory) {
                records.push(Record::InventorySeen { digest: inventory, components: sent.components });
            }
            records.push(Record::DeviceInventory { device, inventory });
            if !state.info[index as usize].may_record(COST, now) {
                return Err(EngineError::Conflict {
                    why: "this device's inventory changes too often: it is not recorded for now".into(),
                    hint: "it is taken again in some minutes".into(),
                });
            }
            self.commit(&mut state, &records, now)?
        };
        self.durable(pending).await
    }

    /// Looks for suspects from time to time, and notes a new one.
    pub(super) fn look_for_suspects(&self, state: &mut State, pending: &mut Vec<Durable>, now: u64) {
        if now.saturating_sub(state.suspects_looked_ms) < LOOK_EVERY_MS {
            return;
        }
        state.suspects_looked_ms = now;
        state.foreign.forget(now);
        state.restarts.forget(now);
        let devices = state.fleet.devices.len() as u64;
        let noted = |suspect: &Suspect| state.suspects.iter().any(|n| n.suspect.component == suspect.component);
        // Without an arrival there is nobody to suspect, and no reason to look at the whole fleet.
        if state.foreign.has_no_arrivals() {
            return;
        }
        let suspects = state.foreign.suspects(&state.troubled(now), devices);
        for suspect in suspects.into_iter().filter(|suspect| !noted(suspect)).collect::<Vec<_>>() {
            let Component { name, version, .. } = &suspect.component;
            tracing::warn!(name, version, in_trouble = suspect.got_in_trouble, got = suspect.got, "suspected");
            self.push(state, pending, vec![Record::ForeignSuspected { suspect }], now);
        }
    }

    /// Foreign software that is suspected, the latest first. For whoever sees all customers: what is suspected follows
    /// from the devices of all.
    pub fn suspects(&self) -> Vec<SuspectView> {
        let state = self.state();
        let shown = state.suspects.iter().rev().map(|noted| SuspectView {
            position: noted.position,
            at_ms: noted.at_ms,
            text: in_words(&noted.suspect),
            component: noted.suspect.component.clone(),
            got: noted.suspect.got,
            got_in_trouble: noted.suspect.got_in_trouble,
            others: noted.suspect.others,
            others_in_trouble: noted.suspect.others_in_trouble,
            chance: noted.suspect.chance,
            new_files: noted.suspect.new_files.clone(),
            devices: noted.suspect.devices.iter().map(|index| state.fleet.device(*index).id).collect(),
        });
        shown.collect()
    }

    /// The foreign software of one device.
    pub fn device_software(&self, who: &Caller, text: &str) -> Result<DeviceSoftware, EngineError> {
        let state = self.state();
        let found = state.find_device(text).filter(|index| view::sees(&state, who, *index));
        let index = found.ok_or_else(|| EngineError::NotFound { what: format!("the device {text:?}") })?;
        let since: BTreeMap<&Component, u64> = state.foreign.arrivals(index).collect();
        let software = state
            .foreign
            .of(index)
            .map(|component| SoftwareView { component: component.clone(), arrived_ms: since.get(component).copied() });
        Ok(DeviceSoftware { device: state.fleet.device(index).id, software: software.collect() })
    }
}

fn in_words(suspect: &Suspect) -> String {
    let Component { name, version, supplier, .. } = &suspect.component;
    let by = if supplier.is_empty() { String::new() } else { format!(" by {supplier}") };
    format!(
        "{} of {} devices that got {name} {version}{by} are silent, in safe mode or start again and again, and {} of {} \
         that did not; chance alone would do that in {:.1e} of cases",
        suspect.got_in_trouble, suspect.got, suspect.others_in_trouble, suspect.others, suspect.chance
    )
}

fn within_limits(components: &[Component]) -> Result<(), EngineError> {
    let short = |component: &Component| {
        let texts = [&component.name, &component.version, &component.supplier];
        texts.iter().all(|text| text.len() <= MOST_TEXT)
            && component.files.len() <= MAX_FILES
            && component.files.iter().all(|file| file.path.len() <= 4 * MOST_TEXT)
    };
    if components.len() <= MAX_COMPONENTS && components.iter().all(short) {
        return Ok(());
    }
    Err(EngineError::Refused {
        why: format!("the inventory names more than {MAX_COMPONENTS} components, or something in it is too long"),
        hint: "a device that says so much is not what this server expects".into(),
    })
}
