//! Who is silent, without a look at everybody: each device and each site stands in the slot of time in which it would have
//! been silent for too long, and moves on when that slot comes. Must stay out: what silence leads to.

use crate::fleet::{DeviceIndex, Fleet};
use std::collections::{BTreeMap, VecDeque};

/// Gaps in what the server observed that are remembered.
const GAPS: usize = 64;
/// Devices and sites looked at in one turn: a million that are due at once must not stop the check-ins.
pub(super) const LOOKS: usize = 20_000;

const LEFT: u8 = 1;
const WATCHED: u8 = 2;

#[derive(Clone, Debug, Default)]
struct SiteRow {
    members: Vec<DeviceIndex>,
    /// When any of its devices was last heard, Unix milliseconds.
    heard_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    flags: Vec<u8>,
    sites: Vec<SiteRow>,
    devices_due: BTreeMap<u64, Vec<DeviceIndex>>,
    sites_due: BTreeMap<u64, Vec<u32>>,
    /// Silence before this moment says nothing: the server was started, Unix milliseconds.
    since_ms: u64,
    /// When nobody looked: from, to.
    gaps: VecDeque<(u64, u64)>,
}

/// A silence that has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Device { device: DeviceIndex, since_ms: u64 },
    Site { site: u32, since_ms: u64 },
}

impl Watch {
    pub fn since(&mut self, at_ms: u64) {
        self.since_ms = self.since_ms.max(at_ms);
    }

    pub fn gap(&mut self, from_ms: u64, to_ms: u64) {
        if self.gaps.len() >= GAPS {
            self.gaps.pop_front();
        }
        self.gaps.push_back((from_ms, to_ms));
    }

    /// A device joins, or is known already.
    pub fn joined(&mut self, device: DeviceIndex, site: u32, at_ms: u64, due_ms: u64) {
        let (at, place) = (device as usize, site as usize);
        if self.flags.len() <= at {
            self.flags.resize(at + 1, 0);
        }
        if self.sites.len() <= place {
            self.sites.resize_with(place + 1, SiteRow::default);
        }
        let row = &mut self.sites[place];
        row.heard_ms = row.heard_ms.max(at_ms);
        if self.flags[at] & WATCHED != 0 {
            return;
        }
        self.flags[at] |= WATCHED;
        row.members.push(device);
        if row.members.len() == 2 {
            // A single device is no site: its own silence says the same.
            self.sites_due.entry(slot(due_ms)).or_default().push(site);
        }
        self.devices_due.entry(slot(due_ms)).or_default().push(device);
    }

    pub fn heard(&mut self, site: u32, at_ms: u64) {
        if let Some(row) = self.sites.get_mut(site as usize) {
            row.heard_ms = row.heard_ms.max(at_ms);
        }
    }

    pub fn left(&mut self, device: DeviceIndex, left: bool) {
        if let Some(flags) = self.flags.get_mut(device as usize) {
            *flags = if left { *flags | LEFT } else { *flags & !LEFT };
        }
    }

    pub fn has_left(&self, device: DeviceIndex) -> bool {
        self.flags.get(device as usize).is_some_and(|flags| flags & LEFT != 0)
    }

    pub fn members(&self, site: u32) -> &[DeviceIndex] {
        self.sites.get(site as usize).map_or(&[], |row| &row.members)
    }

    /// The moment from which on the silence of whoever was last heard then counts; later by the time nobody looked.
    pub fn silent_since(&self, heard_ms: u64) -> u64 {
        let from = heard_ms.max(self.since_ms);
        let unseen: u64 = self.gaps.iter().map(|(gap, to)| to.saturating_sub((*gap).max(from))).sum();
        from.saturating_add(unseen)
    }

    /// Silences that have become too long by now. Devices that `known` names are passed over.
    pub fn due(
        &mut self,
        fleet: &Fleet,
        now_ms: u64,
        device_after_ms: u64,
        site_after_ms: u64,
        known: impl Fn(DeviceIndex) -> bool,
    ) -> Vec<Silence> {
        let mut found = Vec::new();
        for site in take(&mut self.sites_due, now_ms) {
            let row = &self.sites[site as usize];
            let since_ms = self.silent_since(row.heard_ms);
            let silent = since_ms.saturating_add(site_after_ms) <= now_ms;
            if silent && row.members.iter().any(|d| self.may_be_silent(fleet, *d) && !known(*d)) {
                found.push(Silence::Site { site, since_ms: row.heard_ms.max(self.since_ms) });
            }
            let next = if silent { now_ms } else { since_ms };
            self.sites_due.entry(slot(next.saturating_add(site_after_ms))).or_default().push(site);
        }
        for device in take(&mut self.devices_due, now_ms) {
            if fleet.device(device).retired {
                continue;
            }
            let heard_ms = fleet.device(device).last_seen_ms;
            let since_ms = self.silent_since(heard_ms);
            let silent = since_ms.saturating_add(device_after_ms) <= now_ms;
            if silent && self.may_be_silent(fleet, device) && !known(device) {
                found.push(Silence::Device { device, since_ms: heard_ms.max(self.since_ms) });
            }
            let next = if silent { now_ms } else { since_ms };
            self.devices_due.entry(slot(next.saturating_add(device_after_ms))).or_default().push(device);
        }
        found
    }

    /// It did not say goodbye, and is still in the fleet.
    pub fn may_be_silent(&self, fleet: &Fleet, device: DeviceIndex) -> bool {
        !self.has_left(device) && !fleet.device(device).retired
    }
}

/// Seconds: finer than anybody asks for.
fn slot(at_ms: u64) -> u64 {
    at_ms.div_ceil(1_000)
}

/// Takes what is due by now out of the slots, at most [`LOOKS`] of it.
fn take<T>(slots: &mut BTreeMap<u64, Vec<T>>, now_ms: u64) -> Vec<T> {
    let mut taken = Vec::new();
    while taken.len() < LOOKS
        && let Some(mut entry) = slots.first_entry()
        && *entry.key() <= now_ms / 1_000
    {
        let list = entry.get_mut();
        let keep = list.len().saturating_sub(LOOKS - taken.len());
        taken.extend(list.drain(keep..));
        if list.is_empty() {
            entry.remove();
        }
    }
    taken
}
