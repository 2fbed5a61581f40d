//! Software that Staffel did not bring: what each device has of it, and which of it looks like the cause of trouble.
//!
//! An inventory is a set of [`Component`]s, named by its digest, so that alike devices share one. A component that a
//! device did not have in its inventory before is an *arrival*. [`Inventories::suspects`] asks for each arrival of the
//! last day: of the devices that got it, how many are in trouble, against those that did not get it?
//!
//! Read `suspect` for the statistics, `restarts` for machines that are neither silent nor well. What must stay out: reading a machine (the agent), and any act: a suspect is a
//! reason to look and to ask a person, never proof.

mod restarts;
mod suspect;

pub use restarts::Restarts;
pub use suspect::{LIMIT, Suspect};

use crate::{fleet::DeviceIndex, ids::Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long an arrival may be blamed, milliseconds: a day.
pub const WINDOW_MS: u64 = 24 * 3_600_000;
/// An inventory names at most so many components.
pub const MAX_COMPONENTS: usize = 5_000;
/// A component names at most so many files.
pub const MAX_FILES: usize = 32;

/// Where a component sits, from the most to the least able to stop a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentKind {
    /// Runs in the kernel, and was not built with it.
    KernelModule,
    /// Changes itself, without the system's package manager.
    SelfUpdater,
    /// Started by the system.
    Service,
    /// Came by the system's package manager.
    Package,
}

impl ComponentKind {
    /// The word for files and for programs.
    pub fn word(self) -> &'static str {
        match self {
            ComponentKind::KernelModule => "kernel-module",
            ComponentKind::SelfUpdater => "self-updater",
            ComponentKind::Service => "service",
            ComponentKind::Package => "package",
        }
    }
}

/// One file of a component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileHash {
    /// Absolute path on the device.
    pub path: String,
    pub sha256: Digest,
}

/// A piece of foreign software in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Component {
    pub kind: ComponentKind,
    pub name: String,
    /// As its maker counts; of what has no number, the start of a digest over its files.
    pub version: String,
    /// Who is to be called; empty if nothing on the machine says it.
    pub supplier: String,
    /// What a remedy can name: the latest files of a self-updater, at most [`MAX_FILES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileHash>,
}

/// Digest of an inventory: SHA-256 over its components in order, each number as 8 bytes (little endian), each text after
/// its length, so that no field can run into the next one. Agent and server compute it alike; the order of the list does
/// not matter.
pub fn digest(components: &[Component]) -> Digest {
    let mut sorted: Vec<&Component> = components.iter().collect();
    sorted.sort();
    let mut bytes = b"staffel/inventory/v2\n".to_vec();
    let number = |bytes: &mut Vec<u8>, number: usize| bytes.extend((number as u64).to_le_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        number(bytes, text.len());
        bytes.extend(text.as_bytes());
    };
    for Component { kind, name, version, supplier, files } in sorted {
        text(&mut bytes, kind.word());
        for field in [name, version, supplier] {
            text(&mut bytes, field);
        }
        number(&mut bytes, files.len());
        for FileHash { path, sha256 } in files {
            text(&mut bytes, path);
            text(&mut bytes, &sha256.to_string());
        }
    }
    Digest::of(&bytes)
}

#[derive(Clone, Debug)]
struct Set {
    digest: Digest,
    /// Numbers of components, ascending.
    components: Box<[u32]>,
    devices: u32,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    component: u32,
    at_ms: u64,
}

/// What every device has. A projection: changed only by [`Inventories::learn`] and [`Inventories::has`], whose arguments
/// stand in the log.
#[derive(Clone, Debug, Default)]
pub struct Inventories {
    components: Vec<Component>,
    numbers: BTreeMap<Component, u32>,
    /// Slots are used again, so that a set that nobody has any more costs nothing.
    sets: Vec<Option<Set>>,
    by_digest: BTreeMap<Digest, u32>,
    unused: Vec<u32>,
    set_of: BTreeMap<DeviceIndex, u32>,
    /// Of the last day, the earliest first.
    arrivals: BTreeMap<DeviceIndex, Vec<Arrival>>,
    /// Devices with an arrival of the component, by component.
    got: BTreeMap<u32, u32>,
}

impl Inventories {
    /// True if the set is known, so that no device has to send it.
    pub fn knows(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }

    /// True if the server holds the device to have exactly this set.
    pub fn is_of(&self, device: DeviceIndex, digest: &Digest) -> bool {
        self.set(device).is_some_and(|set| set.digest == *digest)
    }

    /// Takes a set in. Nothing changes for a set that is known.
    pub fn learn(&mut self, digest: Digest, components: &[Component]) {
        if self.knows(&digest) {
            return;
        }
        let mut numbers: Vec<u32> = components.iter().map(|component| self.number(component)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let set = Some(Set { digest, components: numbers.into(), devices: 0 });
        let at = match self.unused.pop() {
            Some(at) => {
                self.sets[at as usize] = set;
                at
            }
            None => {
                self.sets.push(set);
                self.sets.len() as u32 - 1
            }
        };
        self.by_digest.insert(digest, at);
    }

    fn number(&mut self, component: &Component) -> u32 {
        if let Some(number) = self.numbers.get(component) {
            return *number;
        }
        let number = self.components.len() as u32;
        self.components.push(component.clone());
        self.numbers.insert(component.clone(), number);
        number
    }

    /// True if nobody got anything within the window.
    pub fn has_no_arrivals(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// A device has this set from now on. What it did not have before are arrivals; its first set is none. A set that
    /// is not known changes nothing.
    pub fn has(&mut self, device: DeviceIndex, digest: &Digest, at_ms: u64) {
        let Some(&new) = self.by_digest.get(digest) else { return };
        let old = self.set_of.insert(device, new);
        if old == Some(new) {
            return;
        }
        if let Some(old) = old {
            let before = self.numbers_of(old);
            let arrived: Vec<u32> =
                self.numbers_of(new).iter().copied().filter(|number| before.binary_search(number).is_err()).collect();
            for component in arrived {
                self.arrived(device, component, at_ms);
            }
        }
        if let Some(set) = &mut self.sets[new as usize] {
            set.devices += 1;
        }
        if let Some(old) = old {
            self.release(old);
        }
    }

    fn numbers_of(&self, set: u32) -> &[u32] {
        self.sets[set as usize].as_ref().map_or(&[], |set| &set.components)
    }

    fn arrived(&mut self, device: DeviceIndex, component: u32, at_ms: u64) {
        let list = self.arrivals.entry(device).or_default();
        // What went and came back arrived once more; it is one device that got it.
        let known = list.iter().position(|arrival| arrival.component == component);
        match known {
            Some(at) => {
                list.remove(at);
            }
            None => *self.got.entry(component).or_default() += 1,
        }
        list.push(Arrival { component, at_ms });
    }

    fn release(&mut self, at: u32) {
        let Some(set) = &mut self.sets[at as usize] else { return };
        set.devices -= 1;
        if set.devices == 0 {
            let digest = set.digest;
            self.by_digest.remove(&digest);
            self.sets[at as usize] = None;
            self.unused.push(at);
        }
    }

    /// Forgets arrivals that are older than [`WINDOW_MS`]. Looks at devices with arrivals only.
    pub fn forget(&mut self, now_ms: u64) {
        let from = now_ms.saturating_sub(WINDOW_MS);
        let got = &mut self.got;
        self.arrivals.retain(|_, list| {
            list.retain(|arrival| {
                let kept = arrival.at_ms >= from;
                if !kept && let Some(count) = got.get_mut(&arrival.component) {
                    *count -= 1;
                    if *count == 0 {
                        got.remove(&arrival.component);
                    }
                }
                kept
            });
            !list.is_empty()
        });
    }

    fn set(&self, device: DeviceIndex) -> Option<&Set> {
        self.sets[*self.set_of.get(&device)? as usize].as_ref()
    }

    /// Everything that a device has, in the order of first sight.
    pub fn of(&self, device: DeviceIndex) -> impl Iterator<Item = &Component> {
        let numbers = self.set(device).map_or(&[][..], |set| &set.components);
        numbers.iter().map(|number| &self.components[*number as usize])
    }

    /// How many of these devices have each component of a kind.
    pub fn counted(
        &self,
        kind: ComponentKind,
        devices: impl Iterator<Item = DeviceIndex>,
    ) -> BTreeMap<&Component, u64> {
        // Alike devices share a set: each is looked into once.
        let mut sets: BTreeMap<u32, u64> = BTreeMap::new();
        for set in devices.filter_map(|device| self.set_of.get(&device)) {
            *sets.entry(*set).or_default() += 1;
        }
        let mut counts = BTreeMap::new();
        for (set, devices) in sets {
            let components = self.numbers_of(set).iter().map(|number| &self.components[*number as usize]);
            for component in components.filter(|component| component.kind == kind) {
                *counts.entry(component).or_default() += devices;
            }
        }
        counts
    }

    /// Every device that got something in the last day, what it was, and when the server heard of it, Unix milliseconds.
    pub fn all_arrivals(&self) -> impl Iterator<Item = (DeviceIndex, &Component, u64)> {
        self.arrivals.iter().flat_map(|(device, list)| {
            list.iter().map(|arrival| (*device, &self.components[arrival.component as usize], arrival.at_ms))
        })
    }

    /// What a device got in the last day, and when the server heard of it, Unix milliseconds.
    pub fn arrivals(&self, device: DeviceIndex) -> impl Iterator<Item = (&Component, u64)> {
        let list = self.arrivals.get(&device).map_or(&[][..], Vec::as_slice);
        list.iter().map(|arrival| (&self.components[arrival.component as usize], arrival.at_ms))
    }
}

#[cfg(test)]
mod tests;
