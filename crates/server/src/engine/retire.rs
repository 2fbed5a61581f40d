//! Devices that go for good, and keys that were thought to be cloned. What must stay out: how a device is heard (`device`).

use super::{Engine, EngineError, now_ms, operate::said, record::Record, state::State, view};
use crate::api::{Caller, DeviceView, Word};
use staffel_core::{fleet::DeviceIndex, ids::DeviceId};

impl State {
    pub(super) fn device_retired(&mut self, device: &DeviceId) {
        let Some(index) = self.fleet.find(device) else { return };
        self.fleet.retire(index);
        // Its name is free for the machine that takes its place.
        self.forget_name(index);
    }

    pub(super) fn clone_cleared(&mut self, device: &DeviceId) {
        let Some(index) = self.fleet.find(device) else { return };
        self.fleet.devices[index as usize].cloned = false;
        let info = &mut self.info[index as usize];
        (info.boot, info.boot_before) = (0, 0);
    }

    /// The device, unless its key was revoked.
    pub(super) fn known(&self, device: &DeviceId) -> Result<DeviceIndex, EngineError> {
        let index = self.fleet.find(device).ok_or_else(|| EngineError::NotFound { what: "this device".into() })?;
        match self.fleet.device(index).retired {
            true => Err(EngineError::Forbidden { why: format!("the device {device} was retired") }),
            false => Ok(index),
        }
    }
}

impl Engine {
    /// Takes a device out of the fleet and revokes its key.
    pub async fn retire(&self, who: &Caller, device: &str, word: Word) -> Result<DeviceView, EngineError> {
        let (why, by) = (said(&word.why), who.name.clone());
        self.about_device(who, device, |device| Record::DeviceRetired { device, why, by }).await
    }

    /// Takes back that a device's key is in two machines.
    pub async fn clear_clone(&self, who: &Caller, device: &str, word: Word) -> Result<DeviceView, EngineError> {
        let (why, by) = (said(&word.why), who.name.clone());
        self.about_device(who, device, |device| Record::CloneCleared { device, why, by }).await
    }

    async fn about_device(
        &self,
        who: &Caller,
        name: &str,
        record: impl FnOnce(DeviceId) -> Record,
    ) -> Result<DeviceView, EngineError> {
        let now = now_ms();
        let (index, pending) = {
            let mut state = self.state();
            let unknown = || EngineError::NotFound { what: format!("a device (or only one device) named {name:?}") };
            let index = state.find_device(name).filter(|d| view::sees(&state, who, *d)).ok_or_else(unknown)?;
            let device = state.fleet.device(index).id;
            if state.fleet.device(index).retired {
                return Err(EngineError::Conflict {
                    why: format!("the device {device} was retired already"),
                    hint: "its machine comes back by a new enrolment, with a new key".into(),
                });
            }
            (index, self.commit(&mut state, &[record(device)], now)?)
        };
        self.durable(pending).await?;
        Ok(view::device(&self.state(), index, now))
    }

    /// `Ok` while the device may speak.
    pub fn speaks(&self, device: &DeviceId) -> Result<(), EngineError> {
        self.state().known(device).map(drop)
    }
}
