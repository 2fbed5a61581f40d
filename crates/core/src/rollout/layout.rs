//! Who stands where: units, their order, the cells (ring and stratum) that waves are drawn from, and the cohorts that
//! evidence is compared in. All of it is fixed when the rollout begins. Must stay out: anything that an event changes.

use super::{CONTROLS, CONTROLS_PER_STRATUM, Cell, Rollout, UnitIndex, UnitRow};
use crate::{
    conditions::{Authorisation, Unit},
    evidence::Dimension,
    fleet::{DeviceIndex, Fleet},
    ids::Position,
    policy::EVERYBODY,
};

impl Rollout {
    /// The first wave and its controls begin to prepare and to poll, so that it finds them.
    pub(super) fn first_candidates(&mut self) {
        let (units, first) = (self.counts.units.max(1), self.first_size());
        for cell in &mut self.cells {
            let here = u64::from(cell.end - cell.first);
            let share = u128::from(*CONTROLS.start()) * u128::from(here) / u128::from(units);
            let ahead = (share as u64).max(CONTROLS_PER_STRATUM) + 2 * first;
            let to = cell.first + ahead.min(here) as UnitIndex;
            cell.candidate_to = self.units.get(to as usize - 1).map(|unit| unit.position);
        }
    }

    pub(super) fn lay_out(&mut self, fleet: &Fleet, keys: Vec<UnitKey>) {
        let has_rings = tenants_with_rings(fleet);
        self.units.reserve_exact(keys.len());
        for key in keys {
            let unit = self.units.len() as UnitIndex;
            let stratum = if self.small { 0 } else { key.stratum };
            let differs = |cell: &Cell| (cell.turn, cell.ring, cell.stratum) != (key.turn, key.ring, stratum);
            if self.cells.last().is_none_or(differs) {
                self.cells.push(Cell::new(key.turn, key.ring, stratum, unit));
            }
            let index = self.cells.len() - 1;
            let cell = &mut self.cells[index];
            cell.end = unit + 1;
            for device in &self.members[key.first..key.last] {
                self.unit_of[*device as usize] = unit;
                let ring =
                    if has_rings[fleet.tenant_index(*device) as usize] { fleet.ring(*device) } else { EVERYBODY };
                let kind = (ring, fleet.device(*device).stratum);
                if !cell.kinds.contains(&kind) {
                    cell.kinds.insert(kind);
                }
            }
            let tenant = fleet.tenant_index(self.members[key.first]);
            if has_rings[tenant as usize] {
                self.rings.entry((tenant, key.ring)).or_default().units += 1;
            }
            self.units.push(UnitRow::new(key.position, index as u32, key.first as u32));
        }
    }
}

pub(super) struct UnitKey {
    turn: u8,
    ring: u8,
    stratum: u32,
    position: Position,
    first: usize,
    last: usize,
}

/// Units before they are ordered.
pub(super) struct Units {
    pub keys: Vec<UnitKey>,
    pub members: Vec<DeviceIndex>,
}

impl Units {
    /// `reached`: the devices that go first.
    pub fn build(fleet: &Fleet, authorisation: &Authorisation, reached: impl Fn(DeviceIndex) -> bool) -> Self {
        let mut devices: Vec<DeviceIndex> =
            (0..fleet.devices.len() as DeviceIndex).filter(|d| !fleet.device(*d).retired).collect();
        if authorisation.unit == Unit::Site {
            devices.sort_by_key(|d| (fleet.device(*d).site, *d));
        }
        let mut keys: Vec<UnitKey> = Vec::with_capacity(devices.len());
        let has_rings = tenants_with_rings(fleet);
        let mut last_site = None;
        for (at, &device) in devices.iter().enumerate() {
            let row = fleet.device(device);
            let ring = if has_rings[fleet.tenant_index(device) as usize] { fleet.ring(device) } else { EVERYBODY };
            let turn = u8::from(!reached(device));
            if authorisation.unit == Unit::Site {
                if last_site == Some(row.site)
                    && let Some(key) = keys.last_mut()
                {
                    key.last = at + 1;
                    key.ring = key.ring.min(ring);
                    key.turn = key.turn.min(turn);
                    continue;
                }
                last_site = Some(row.site);
            }
            let unit_key = unit_key(fleet, authorisation.unit, device);
            keys.push(UnitKey {
                turn,
                ring,
                stratum: row.stratum,
                position: Position::of(&authorisation.log_root, &authorisation.release, &unit_key),
                first: at,
                last: at + 1,
            });
        }
        Units { keys, members: devices }
    }

    pub fn sort(&mut self, small: bool) {
        self.keys.sort_unstable_by_key(|k| (k.turn, k.ring, if small { 0 } else { k.stratum }, k.position, k.first));
        let mut members = Vec::with_capacity(self.members.len());
        for key in &mut self.keys {
            let first = members.len();
            members.extend_from_slice(&self.members[key.first..key.last]);
            (key.first, key.last) = (first, members.len());
        }
        self.members = members;
    }
}

/// The bytes that stand for a device's unit in the order.
pub(super) fn unit_key(fleet: &Fleet, unit: Unit, device: DeviceIndex) -> Vec<u8> {
    let row = fleet.device(device);
    match unit {
        Unit::Device => row.id.0.to_vec(),
        Unit::Site => {
            let site = &fleet.sites[row.site as usize];
            format!("{}/{}", fleet.tenants[site.tenant as usize].name, site.name).into_bytes()
        }
    }
}

/// A ring is the customer's choice; looking it up by name for each of a million devices is only worth it where the
/// customer named any.
fn tenants_with_rings(fleet: &Fleet) -> Vec<bool> {
    fleet.tenants.iter().map(|tenant| !tenant.policy.rings.is_empty()).collect()
}

/// Ways to divide the fleet, the customer last. Sites are left out where the unit is a site already, and where there
/// are so many that each is hardly more than one device.
pub(super) fn dimensions(fleet: &Fleet, unit: Unit) -> Vec<Dimension> {
    let mut os = vec![0; fleet.os_builds.len()];
    let mut model = vec![0; fleet.hardware_models.len()];
    let mut site = vec![0; fleet.sites.len()];
    let mut tenant = vec![0; fleet.tenants.len()];
    for device in fleet.devices.iter().filter(|d| !d.retired) {
        os[device.os_build as usize] += 1;
        model[device.hardware_model as usize] += 1;
        site[device.site as usize] += 1;
        tenant[fleet.sites[device.site as usize].tenant as usize] += 1;
    }
    let mut dimensions = vec![
        Dimension { name: "OS build".into(), fleet_counts: os },
        Dimension { name: "hardware model".into(), fleet_counts: model },
    ];
    if unit == Unit::Device && site.len() <= SITES_COMPARED {
        dimensions.push(Dimension { name: "site".into(), fleet_counts: site });
    }
    dimensions.push(Dimension { name: "customer".into(), fleet_counts: tenant });
    dimensions
}

/// Up to this many sites are cohorts of their own.
const SITES_COMPARED: usize = 50_000;
