//! What a release is, as far as decisions need it. What must stay out: files, signatures, downloads.

use crate::ids::Digest;
use serde::{Deserialize, Serialize};

/// What a release changes on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Detection pack or configuration: swapped without restarting a service.
    Content,
    /// Files and a service, which is restarted.
    Component,
    /// An operating-system image, handed to the installer that the machine has.
    Os,
    /// Staffel's own parts on the device.
    Guard,
}

impl Kind {
    /// How many gate keys must have signed (trust.md: two for what can stop a machine outright).
    pub fn gate_threshold(self) -> u32 {
        match self {
            Kind::Content => 1,
            Kind::Component | Kind::Os | Kind::Guard => 2,
        }
    }
}

/// Whether an older version can read what this version wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateCompatibility {
    /// The release keeps no state.
    None,
    /// Older versions read its state.
    Compatible,
    /// State is copied before the switch and the copy is put back on a way back.
    Snapshot,
}

/// A release as it is decided about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The product line, for example `pharmacy-server`.
    pub name: String,
    /// What people call this version, for example `2.1.0`.
    pub version: String,
    /// Order among the releases of one name: a higher number is newer.
    pub sequence: u64,
    pub kind: Kind,
    /// Releases of this name with a lower sequence must never run again.
    pub security_floor: u64,
    pub state: StateCompatibility,
    /// The digest of the signed release statement's payload: names every byte of the release.
    pub digest: Digest,
}
