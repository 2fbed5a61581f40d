//! The devices that decisions are about: where each belongs, when it was last heard, what its customer allows.
//!
//! Dense tables addressed by small numbers, so that one event costs the same in a fleet of 20 and of 8.5 million. The
//! server fills it from its log, the simulator from its model. What must stay out: what a device runs (the server's
//! projections), anything that is looked up by iterating over all devices.

use crate::{
    ids::DeviceId,
    policy::{CustomerPolicy, PolicyRefusal, Question},
    release::Release,
};
use std::collections::BTreeMap;

/// Number of a device in [`Fleet`], in order of enrolment.
pub type DeviceIndex = u32;

/// A customer.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub name: String,
    pub policy: CustomerPolicy,
    /// Order number of the policy; 0 before the first.
    pub policy_sequence: u64,
    pub devices: u32,
}

/// A place of a customer.
#[derive(Clone, Debug)]
pub struct Site {
    pub name: String,
    pub tenant: u32,
}

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    pub id: DeviceId,
    pub name: Box<str>,
    pub site: u32,
    pub os_build: u32,
    pub hardware_model: u32,
    pub stratum: u32,
    /// No longer in the fleet.
    pub retired: bool,
    /// Two live boots on one key: not eligible until a person has looked.
    pub cloned: bool,
    /// The rollout in which it is a member whose outcome is open; 0 for none.
    pub member_of: u64,
    /// Unix milliseconds; 0 if it was not heard since the server started.
    pub last_seen_ms: u64,
}

/// Names to small numbers, in order of first sight.
#[derive(Clone, Debug, Default)]
pub struct Names {
    numbers: BTreeMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Names {
    /// The number of `name`, new if it was not seen before.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    /// The number of a name that was seen before.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name of a number that this table gave out.
    pub fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", |name| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True before the first name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Devices that a change has taken, or may have taken, out of service: of all rollouts together, so that two of them do
/// not take both members of a redundancy group.
#[derive(Clone, Debug, Default)]
struct Away {
    /// With the group that it had then: a policy may change while it is away.
    devices: BTreeMap<DeviceIndex, Option<Group>>,
    groups: BTreeMap<Group, u32>,
    sites: BTreeMap<u32, u32>,
}

/// A redundancy group: names are the customer's own, so its number belongs to them.
pub type Group = (u32, Box<str>);

/// Everything known of the fleet.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub tenants: Vec<Tenant>,
    pub sites: Vec<Site>,
    pub devices: Vec<Device>,
    pub strata: Names,
    pub os_builds: Names,
    pub hardware_models: Names,
    tenant_numbers: BTreeMap<String, u32>,
    site_numbers: BTreeMap<(u32, String), u32>,
    by_id: BTreeMap<DeviceId, DeviceIndex>,
    away: Away,
    /// Release name to the highest sequence whose rollout completed.
    pub completed: BTreeMap<String, u64>,
}

/// A device that joins.
#[derive(Clone, Debug)]
pub struct Joining<'a> {
    pub id: DeviceId,
    pub name: &'a str,
    pub tenant: &'a str,
    pub site: &'a str,
    pub os_build: &'a str,
    pub hardware_model: &'a str,
    pub stratum: &'a str,
}

impl Fleet {
    /// The number of a customer, new if needed.
    pub fn tenant(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.tenant_numbers.get(name) {
            return number;
        }
        let number = self.tenants.len() as u32;
        self.tenants.push(Tenant {
            name: name.into(),
            policy: CustomerPolicy::default(),
            policy_sequence: 0,
            devices: 0,
        });
        self.tenant_numbers.insert(name.into(), number);
        number
    }

    /// The number of a known customer.
    pub fn find_tenant(&self, name: &str) -> Option<u32> {
        self.tenant_numbers.get(name).copied()
    }

    /// The number of a known place of a known customer.
    pub fn find_site(&self, tenant: &str, site: &str) -> Option<u32> {
        let tenant = self.find_tenant(tenant)?;
        self.site_numbers.get(&(tenant, site.to_string())).copied()
    }

    /// Adds a device, or brings a known one up to date; returns its number.
    pub fn join(&mut self, joining: &Joining<'_>) -> DeviceIndex {
        let tenant = self.tenant(joining.tenant);
        let next_site = self.sites.len() as u32;
        let site = *self.site_numbers.entry((tenant, joining.site.to_string())).or_insert(next_site);
        if site == next_site {
            self.sites.push(Site { name: joining.site.into(), tenant });
        }
        let (os_build, hardware_model, stratum) = (
            self.os_builds.number(joining.os_build),
            self.hardware_models.number(joining.hardware_model),
            self.strata.number(joining.stratum),
        );
        if let Some(&index) = self.by_id.get(&joining.id) {
            let device = &mut self.devices[index as usize];
            (device.os_build, device.hardware_model, device.stratum) = (os_build, hardware_model, stratum);
            return index;
        }
        let index = self.devices.len() as DeviceIndex;
        self.devices.push(Device {
            id: joining.id,
            name: joining.name.into(),
            site,
            os_build,
            hardware_model,
            stratum,
            retired: false,
            cloned: false,
            member_of: 0,
            last_seen_ms: 0,
        });
        self.by_id.insert(joining.id, index);
        self.tenants[tenant as usize].devices += 1;
        index
    }

    /// The number of a device.
    pub fn find(&self, id: &DeviceId) -> Option<DeviceIndex> {
        self.by_id.get(id).copied()
    }

    /// The device with this number. Numbers come from this table, so it exists.
    pub fn device(&self, index: DeviceIndex) -> &Device {
        &self.devices[index as usize]
    }

    /// Its customer.
    pub fn tenant_of(&self, index: DeviceIndex) -> &Tenant {
        &self.tenants[self.tenant_index(index) as usize]
    }

    /// The number of its customer.
    pub fn tenant_index(&self, index: DeviceIndex) -> u32 {
        self.sites[self.device(index).site as usize].tenant
    }

    /// The ring that its customer put it into.
    pub fn ring(&self, index: DeviceIndex) -> u8 {
        self.tenant_of(index).policy.ring(&self.device(index).name)
    }

    /// The redundancy group that its customer named, if any.
    pub fn redundancy_group(&self, index: DeviceIndex) -> Option<&str> {
        let groups = &self.tenant_of(index).policy.limits.redundancy_groups;
        groups.get(&*self.device(index).name).map(String::as_str)
    }

    /// The same with the customer's number, as [`Fleet::group_away`] takes it.
    pub fn group(&self, index: DeviceIndex) -> Option<Group> {
        self.redundancy_group(index).map(|name| (self.tenant_index(index), name.into()))
    }

    /// The device holds a permit to change: from now on it may be out of service.
    pub fn goes_away(&mut self, index: DeviceIndex) {
        let group = self.group(index);
        if self.away.devices.contains_key(&index) {
            return;
        }
        if let Some(group) = &group {
            *self.away.groups.entry(group.clone()).or_insert(0) += 1;
        }
        *self.away.sites.entry(self.device(index).site).or_insert(0) += 1;
        self.away.devices.insert(index, group);
    }

    /// It serves again, whichever version it runs.
    pub fn is_back(&mut self, index: DeviceIndex) {
        let Some(group) = self.away.devices.remove(&index) else { return };
        let site = self.device(index).site;
        if let Some(group) = group {
            count_down(&mut self.away.groups, &group);
        }
        count_down(&mut self.away.sites, &site);
    }

    /// True if a change may have taken this device out of service.
    pub fn is_away(&self, index: DeviceIndex) -> bool {
        self.away.devices.contains_key(&index)
    }

    /// Members of a redundancy group that are away.
    pub fn group_away(&self, group: &Group) -> u32 {
        self.away.groups.get(group).copied().unwrap_or(0)
    }

    /// Devices of a site that are away.
    pub fn site_away(&self, site: u32) -> u32 {
        self.away.sites.get(&site).copied().unwrap_or(0)
    }

    /// Takes a device out of the fleet for good.
    pub fn retire(&mut self, index: DeviceIndex) {
        self.is_back(index);
        self.devices[index as usize].retired = true;
    }

    /// A sign of life.
    pub fn heard(&mut self, index: DeviceIndex, now_ms: u64) {
        let seen = &mut self.devices[index as usize].last_seen_ms;
        *seen = (*seen).max(now_ms);
    }

    /// `Ok` if the device's customer lets it take this release now.
    pub fn allows(
        &self,
        index: DeviceIndex,
        release: &Release,
        urgent: bool,
        authorised_ms: u64,
        now_ms: u64,
    ) -> Result<(), PolicyRefusal> {
        self.tenant_of(index).policy.allows(&Question {
            device_name: &self.device(index).name,
            release,
            urgent,
            authorised_ms,
            now_ms,
            newest_completed: self.completed.get(&release.name).copied().unwrap_or(0),
            by_hand: false,
        })
    }
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> Joining<'static> {
        let name = ["a", "b", "c"][usize::from(number)];
        Joining {
            id: DeviceId([number; 16]),
            name,
            tenant: "clinic",
            site: "north",
            os_build: "debian-12",
            hardware_model: "nuc",
            stratum: "debian-12/nuc",
        }
    }

    #[test]
    fn joining_twice_brings_a_device_up_to_date_and_counts_it_once() {
        let mut fleet = Fleet::default();
        assert_eq!(fleet.join(&device(0)), 0);
        assert_eq!(fleet.join(&device(1)), 1);
        assert_eq!(fleet.join(&Joining { os_build: "debian-13", ..device(0) }), 0);
        assert_eq!((fleet.devices.len(), fleet.tenants[0].devices), (2, 2));
        assert_eq!(fleet.os_builds.name(fleet.device(0).os_build), "debian-13");
        assert_eq!(fleet.find(&DeviceId([1; 16])), Some(1));
        assert_eq!(fleet.find_site("clinic", "north"), Some(fleet.device(1).site));
        assert_eq!((fleet.find_site("clinic", "south"), fleet.find_site("school", "north")), (None, None));
    }

    #[test]
    fn who_is_away_is_counted_once_and_with_the_group_it_had_then() {
        let mut fleet = Fleet::default();
        (0..3).for_each(|n| {
            fleet.join(&device(n));
        });
        let groups = &mut fleet.tenants[0].policy.limits.redundancy_groups;
        groups.extend([("a".to_string(), "pair".to_string()), ("b".to_string(), "pair".to_string())]);
        let pair = fleet.group(0).unwrap();
        assert_eq!(fleet.group(1), Some(pair.clone()));
        assert_eq!(fleet.group(2), None);
        fleet.goes_away(0);
        fleet.goes_away(0);
        assert_eq!((fleet.group_away(&pair), fleet.site_away(0), fleet.is_away(0)), (1, 1, true));
        fleet.tenants[0].policy.limits.redundancy_groups.clear();
        fleet.retire(0);
        fleet.is_back(0);
        assert_eq!((fleet.group_away(&pair), fleet.site_away(0), fleet.is_away(0)), (0, 0, false));
    }
}
