//! Whom a rollout has reached, for those who see to them after a halt. Must stay out: anything that is asked for an event;
//! this looks at every device, once a halt.

use super::{Phase, Rollout};
use crate::{evidence::Arm, fleet::DeviceIndex};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a device that a rollout reached stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Holds a treated permit and has given no word since.
    Permitted,
    OnTrial,
    Proven,
    /// Back on the version before, or in safe mode.
    WentBack,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reached::Permitted => "had its permit and gave no word since",
            Reached::OnTrial => "ran it on trial",
            Reached::Proven => "was proven healthy on it",
            Reached::WentBack => "came back on its old version or in safe mode",
        })
    }
}

impl Rollout {
    /// Devices that got a treated permit, in the order of the fleet.
    pub fn reached(&self) -> impl Iterator<Item = (DeviceIndex, Reached)> + '_ {
        (0..self.phases.len() as DeviceIndex).filter_map(|device| {
            let how = self.reached_by(device)?;
            // Controls hold permits, too, and go nowhere with them.
            let control = how == Reached::Permitted && self.arm(self.unit(device)?) != Some(Arm::Treated);
            (!control).then_some((device, how))
        })
    }

    /// How this device stands, of either arm; `None` if no permit of it is known and it told of no outcome.
    pub fn reached_by(&self, device: DeviceIndex) -> Option<Reached> {
        match self.phases.get(device as usize)? {
            Phase::None => None,
            Phase::Permitted => Some(Reached::Permitted),
            Phase::OnTrial => Some(Reached::OnTrial),
            Phase::Confirmed => Some(Reached::Proven),
            Phase::Failed => Some(Reached::WentBack),
        }
    }
}
