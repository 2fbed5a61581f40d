//! What pages show beyond the operator API. Reads only. Who is bound to a customer sees that customer's and nothing that names
//! another one.

use super::{
    Engine, EngineError, chain, now_ms,
    record::Record,
    state::{Running, State},
    view::{full_name, presence, sees, show, state_word},
};
use crate::{
    api::Caller,
    pages::{
        FleetCounts, LogPage, LogProof, Overview, ReleasePage, ReleaseRow, RolloutCourse, SiteRow, SupplierRow, Told,
    },
};
use serde_json::Value;
use staffel_core::{
    fleet::DeviceIndex,
    foreign::ComponentKind,
    ids::{DeviceId, Digest},
};
use staffel_store::{Entry, ReadLog as _, inclusion_proof, leaf_hash, root, verify_inclusion};
use staffel_trust::statement::predicate::{Gate, read};
use std::collections::BTreeMap;

/// Sites that the overview names.
const SITES: usize = 10;
/// Rollouts that the overview shows beside those that go on.
const RECENT: usize = 3;
/// Entries of a payload's list that are shown.
const LIST: usize = 20;

impl Engine {
    /// What needs somebody now. Costs one pass over the devices.
    pub fn overview(&self, who: &Caller) -> Overview {
        let now = now_ms();
        let state = self.state();
        let mut fleet = FleetCounts::default();
        let mut sites: BTreeMap<u32, SiteRow> = BTreeMap::new();
        for index in devices(&state).filter(|index| sees(&state, who, *index)) {
            let row = state.fleet.device(index);
            let (presence, safe) = (presence(&state, index, now), state.info[index as usize].safe_mode.is_some());
            fleet.devices += 1;
            fleet.safe_mode += u64::from(safe);
            fleet.cloned += u64::from(row.cloned);
            match presence {
                "alive" => fleet.alive += 1,
                "silent" => fleet.silent += 1,
                "left" => fleet.left += 1,
                _ => fleet.never_seen += 1,
            }
            if presence == "silent" || safe {
                let site = sites.entry(row.site).or_insert_with(|| site_row(&state, row.site));
                site.silent += u64::from(presence == "silent");
                site.safe_mode += u64::from(safe);
            }
        }
        fleet.refusing = state.refused.keys().filter(|index| sees(&state, who, **index)).count() as u64;
        let sites_in_trouble = sites.len() as u64;
        let mut sites: Vec<SiteRow> = sites.into_values().collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.silent + site.safe_mode));
        sites.truncate(SITES);
        let ended = state.rollouts.iter().rev().filter(|(_, r)| r.ended_ms.is_some()).map(|(id, _)| *id).take(RECENT);
        let mut shown: Vec<u64> = state.active().chain(ended).collect();
        shown.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        let rollouts = shown.into_iter().filter_map(|id| show(&state, who, id)).collect();
        Overview {
            now_ms: now,
            started_ms: self.0.started_ms,
            log_entries: state.head,
            read_only: self.read_only(),
            fleet,
            sites,
            sites_in_trouble,
            rollouts,
        }
    }

    /// How a rollout came to where it is.
    pub fn rollout_course(&self, _who: &Caller, id: u64) -> Result<RolloutCourse, EngineError> {
        let state = self.state();
        let running = running(&state, id)?;
        let series = state.series.get(&id).ok_or_else(|| unknown_rollout(id))?;
        Ok(series.course(running, now_ms()))
    }

    /// What people want to read of a rollout, latest first.
    pub fn rollout_milestones(&self, who: &Caller, id: u64, most: usize) -> Result<Vec<Told>, EngineError> {
        let positions: Vec<u64> = {
            let state = self.state();
            let series = state.series.get(&id).ok_or_else(|| unknown_rollout(id))?;
            series.milestones.iter().rev().take(most).copied().collect()
        };
        self.entries_at(who, &positions)
    }

    /// The latest records about a device, latest first.
    pub fn device_records(&self, who: &Caller, id_or_name: &str, most: usize) -> Result<Vec<Told>, EngineError> {
        let positions = {
            let state = self.state();
            let index = state.find_device(id_or_name).filter(|index| sees(&state, who, *index));
            let index = index.ok_or_else(|| EngineError::NotFound { what: format!("a device {id_or_name:?}") })?;
            state.trail.of(index, most)
        };
        self.entries_at(who, &positions)
    }

    /// The entries at these positions, as far as this person may see them.
    pub fn entries_at(&self, who: &Caller, positions: &[u64]) -> Result<Vec<Told>, EngineError> {
        // The disk is read before the lock is taken: check-ins must not wait for a page.
        let mut entries = Vec::with_capacity(positions.len());
        for position in positions {
            entries.extend(self.entry_at(*position)?);
        }
        let state = self.state();
        Ok(entries.iter().filter_map(|entry| tell(&state, who, entry)).collect())
    }

    /// Entries before `before` (or the latest), latest first. Of all customers, so only for those who are bound to none.
    pub fn log_page(&self, who: &Caller, before: Option<u64>, most: usize) -> Result<LogPage, EngineError> {
        whole_fleet(who)?;
        let head = self.0.log.head().map_err(|e| EngineError::Internal { why: chain(&e) })?;
        let end = before.unwrap_or(head).min(head);
        let from = end.saturating_sub(most as u64);
        let read = self.0.log.read(from, (end - from) as usize);
        let entries = read.map_err(|e| EngineError::Internal { why: chain(&e) })?;
        let state = self.state();
        let entries = entries.iter().rev().filter_map(|entry| tell(&state, who, entry)).collect();
        Ok(LogPage { head, entries })
    }

    /// One entry with its proof against the latest checkpoint.
    pub fn log_proof(&self, who: &Caller, position: u64) -> Result<LogProof, EngineError> {
        whole_fleet(who)?;
        let entry = self.entry_at(position)?;
        let entry = entry.ok_or_else(|| EngineError::NotFound { what: format!("log entry {position}") })?;
        let checkpoint = self.checkpoint();
        // Second line of a checkpoint's body: the size (c2sp.org/tlog-checkpoint).
        let size = checkpoint.as_deref().and_then(|note| note.lines().nth(1)?.parse().ok()).unwrap_or(0);
        let leaf = leaf_hash(&entry.leaf_record());
        let failed = |e: staffel_store::ProofError| EngineError::Internal { why: chain(&e) };
        let tree = if size == 0 { [0; 32] } else { root(&self.0.log, size).map_err(failed)? };
        let hashes =
            if position < size { inclusion_proof(&self.0.log, size, position).map_err(failed)? } else { Vec::new() };
        let holds = position < size && verify_inclusion(&hashes, size, &tree, position, &leaf).is_ok();
        let told = tell(&self.state(), who, &entry);
        let told = told.ok_or_else(|| EngineError::NotFound { what: format!("log entry {position}") })?;
        Ok(LogProof {
            entry: told,
            leaf_record: String::from_utf8_lossy(&entry.leaf_record()).into_owned(),
            leaf_hash: Digest(leaf),
            size,
            root: Digest(tree),
            hashes: hashes.into_iter().map(Digest).collect(),
            holds,
            checkpoint,
        })
    }

    /// Releases that were rolled out, latest first.
    pub fn releases(&self, who: &Caller) -> Vec<ReleaseRow> {
        let state = self.state();
        let running_on = running_on(&state, who);
        let mut rows: Vec<ReleaseRow> = Vec::new();
        for (id, running) in state.rollouts.iter().rev() {
            let digest = running.rollout.release.digest;
            let rollout = (*id, state_word(running).to_string());
            match rows.iter_mut().find(|row| row.digest == digest) {
                Some(row) => row.rollouts.push(rollout),
                None => rows.push(ReleaseRow {
                    digest,
                    name: running.contents.name.clone(),
                    version: running.contents.version.clone(),
                    sequence: running.contents.sequence,
                    kind: running.contents.kind,
                    supplier: running.contents.supplier.clone(),
                    rollouts: vec![rollout],
                    running_on: running_on.get(&digest).copied().unwrap_or(0),
                }),
            }
        }
        rows
    }

    /// One release with its gate report.
    pub fn release(&self, who: &Caller, digest: &Digest) -> Result<ReleasePage, EngineError> {
        let unknown = || EngineError::NotFound { what: format!("release {}", digest.short()) };
        let row = self.releases(who).into_iter().find(|row| row.digest == *digest).ok_or_else(unknown)?;
        let (release, started) = {
            let state = self.state();
            let (id, running) =
                state.rollouts.iter().rev().find(|(_, r)| r.rollout.release.digest == *digest).ok_or_else(unknown)?;
            (running.contents.clone(), state.series.get(id).ok_or_else(unknown)?.started)
        };
        let entry = self.entry_at(started)?;
        let gate = match entry.as_ref().and_then(Record::of) {
            Some(Record::RolloutStarted { gate, .. }) => Some(gate),
            _ => None,
        };
        let report = gate.as_ref().and_then(|gate| read::<Gate>(&gate.payload().ok()?).ok());
        Ok(ReleasePage { row, release, gate: report, gate_signatures: gate.map_or(0, |gate| gate.signatures.len()) })
    }

    /// The places of a customer.
    pub fn site_rows(&self, who: &Caller, tenant: &str) -> Result<Vec<SiteRow>, EngineError> {
        let now = now_ms();
        let state = self.state();
        customer(&state, who, tenant)?;
        let mut sites: BTreeMap<u32, SiteRow> = BTreeMap::new();
        for index in devices(&state).filter(|index| state.fleet.tenant_of(*index).name == tenant) {
            let number = state.fleet.device(index).site;
            let site = sites.entry(number).or_insert_with(|| site_row(&state, number));
            site.devices += 1;
            match presence(&state, index, now) {
                "alive" => site.alive += 1,
                "silent" => site.silent += 1,
                _ => {}
            }
            site.safe_mode += u64::from(state.info[index as usize].safe_mode.is_some());
        }
        let mut sites: Vec<SiteRow> = sites.into_values().collect();
        sites.sort_by(|a, b| a.site.cmp(&b.site));
        Ok(sites)
    }

    /// Whose releases a customer's machines run, and whose may come: every release that was ever rolled out.
    pub fn suppliers(&self, who: &Caller, tenant: &str) -> Result<Vec<SupplierRow>, EngineError> {
        let state = self.state();
        customer(&state, who, tenant)?;
        let only = Caller { tenant: Some(tenant.to_string()), ..who.clone() };
        let running_on = running_on(&state, &only);
        let mut rows: BTreeMap<(String, String), SupplierRow> = BTreeMap::new();
        for running in state.rollouts.values() {
            let contents = &running.contents;
            let row = rows.entry((contents.supplier.clone(), contents.name.clone())).or_insert_with(|| SupplierRow {
                supplier: contents.supplier.clone(),
                release: contents.name.clone(),
                versions: Vec::new(),
                digest: None,
            });
            let digest = running.rollout.release.digest;
            row.digest = Some(digest);
            if let Some(devices) = running_on.get(&digest)
                && !row.versions.iter().any(|(version, _)| *version == contents.version)
            {
                row.versions.push((contents.version.clone(), *devices));
            }
        }
        Ok(rows.into_values().collect())
    }

    /// Whose software changes a customer's machines by itself, past Staffel.
    pub fn self_updaters(&self, who: &Caller, tenant: &str) -> Result<Vec<SupplierRow>, EngineError> {
        let state = self.state();
        customer(&state, who, tenant)?;
        let own = devices(&state).filter(|index| state.fleet.tenant_of(*index).name == tenant);
        let mut rows: BTreeMap<(&str, &str), SupplierRow> = BTreeMap::new();
        for (component, devices) in state.foreign.counted(ComponentKind::SelfUpdater, own) {
            let row = rows.entry((&component.supplier, &component.name)).or_insert_with(|| SupplierRow {
                supplier: component.supplier.clone(),
                release: component.name.clone(),
                versions: Vec::new(),
                digest: None,
            });
            row.versions.push((component.version.clone(), devices));
        }
        Ok(rows.into_values().collect())
    }
}

fn devices(state: &State) -> std::ops::Range<DeviceIndex> {
    0..state.fleet.devices.len() as DeviceIndex
}

fn unknown_rollout(id: u64) -> EngineError {
    EngineError::NotFound { what: format!("rollout {id}") }
}

fn running(state: &State, id: u64) -> Result<&Running, EngineError> {
    state.rollouts.get(&id).ok_or_else(|| unknown_rollout(id))
}

fn whole_fleet(who: &Caller) -> Result<(), EngineError> {
    match &who.tenant {
        None => Ok(()),
        Some(tenant) => Err(EngineError::Forbidden { why: format!("{} sees only what belongs to {tenant}", who.name) }),
    }
}

/// A customer that does not exist and one that may not be seen are the same.
fn customer(state: &State, who: &Caller, tenant: &str) -> Result<(), EngineError> {
    let seen = who.tenant.as_deref().is_none_or(|own| own == tenant);
    match state.fleet.find_tenant(tenant) {
        Some(_) if seen => Ok(()),
        _ => Err(EngineError::NotFound { what: format!("customer {tenant:?}") }),
    }
}

fn site_row(state: &State, number: u32) -> SiteRow {
    let site = &state.fleet.sites[number as usize];
    SiteRow {
        tenant: state.fleet.tenants[site.tenant as usize].name.clone(),
        site: site.name.clone(),
        devices: 0,
        alive: 0,
        silent: 0,
        safe_mode: 0,
    }
}

/// Devices that run each release.
fn running_on(state: &State, who: &Caller) -> BTreeMap<Digest, u64> {
    let mut sets: BTreeMap<u32, u64> = BTreeMap::new();
    for index in devices(state).filter(|index| sees(state, who, *index)) {
        *sets.entry(state.info[index as usize].running).or_default() += 1;
    }
    let mut releases = BTreeMap::new();
    for (set, devices) in sets {
        for (_, digest) in state.releases.of_set(set) {
            *releases.entry(*digest).or_default() += devices;
        }
    }
    releases
}

/// An entry for people; `None` if this person may not see it.
fn tell(state: &State, who: &Caller, entry: &Entry) -> Option<Told> {
    let mut payload = entry.payload().and_then(|payload| serde_json::from_slice::<Value>(payload).ok());
    let device = payload.as_ref().and_then(|payload| device_of(state, payload));
    if let Some(own) = &who.tenant {
        let tenant = payload.as_ref().and_then(|payload| payload.get("tenant")?.as_str());
        let is_own = match (device, tenant) {
            (Some(device), _) => sees(state, who, device),
            (None, Some(tenant)) => tenant == own,
            (None, None) => entry.kind.starts_with("rollout."),
        };
        if !is_own {
            return None;
        }
    }
    if let Some(payload) = &mut payload {
        shorten(payload);
        // The reason of a hold or halt names devices and customers.
        if let (Some(_), None, Some(fields)) = (&who.tenant, device, payload.as_object_mut()) {
            fields.remove("reason");
        }
    }
    Some(Told {
        position: entry.position,
        at_ms: entry.at_ms,
        kind: entry.kind.clone(),
        device: device.map(|index| full_name(state, index)),
        payload,
    })
}

/// The device that a record is about: by its number in events of a rollout, by its case, by its id elsewhere.
fn device_of(state: &State, payload: &Value) -> Option<DeviceIndex> {
    if let Some(case) = payload.get("case").and_then(Value::as_u64) {
        return state.recovery.book.case(case).map(|case| case.device);
    }
    let device = payload.get("device")?;
    match device.as_u64() {
        Some(number) => DeviceIndex::try_from(number).ok().filter(|n| (*n as usize) < state.fleet.devices.len()),
        None => state.fleet.find(&DeviceId::parse(device.as_str()?)?),
    }
}

/// Envelopes carry whole releases and lists whole fleets: people look at those elsewhere.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                name != "token" && !(value.get("payload").is_some() && value.get("signatures").is_some())
            });
            fields.values_mut().for_each(shorten);
        }
        Value::Array(list) => {
            list.truncate(LIST);
            list.iter_mut().for_each(shorten);
        }
        _ => {}
    }
}
