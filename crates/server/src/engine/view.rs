//! What is shown to people and programs. Reads only.

use super::{
    Engine, EngineError, detections, now_ms,
    state::{Refused, Running, State},
};
use crate::api::{
    Caller, CertificateView, DevicePage, DeviceQuery, DeviceView, DeviceWhy, DeviceWhyRollout, HistoryEntry,
    RolloutView, ServerStatus, TenantView,
};
use staffel_core::{
    detection::Severity,
    fleet::DeviceIndex,
    ids::DeviceId,
    profile::ceiling_at,
    rollout::{Status, WaitingOn},
};
use std::{collections::BTreeSet, fmt::Write as _, sync::atomic::Ordering};

/// One word for the state of a rollout.
pub(super) fn state_word(running: &Running) -> &'static str {
    match running.rollout.status {
        Status::Running => "running",
        Status::Held { .. } => "held",
        Status::Halted { .. } => "halted",
        Status::Completed { .. } => "completed",
    }
}

impl Engine {
    /// The server in figures.
    pub fn status(&self) -> ServerStatus {
        let now = now_ms();
        let state = self.state();
        let alive = (0..state.fleet.devices.len() as DeviceIndex).filter(|d| presence(&state, *d, now) == "alive");
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            started_ms: self.0.started_ms,
            now_ms: now,
            devices: state.fleet.devices.len() as u64,
            alive: alive.count() as u64,
            tenants: state.fleet.tenants.len() as u64,
            log_entries: state.head,
            read_only: self.read_only(),
        }
    }

    /// All rollouts, oldest first.
    pub fn rollouts(&self, who: &Caller) -> Vec<RolloutView> {
        let state = self.state();
        state.rollouts.keys().filter_map(|id| show(&state, who, *id)).collect()
    }

    /// One rollout.
    pub fn rollout(&self, who: &Caller, id: u64) -> Result<RolloutView, EngineError> {
        show(&self.state(), who, id).ok_or_else(|| EngineError::NotFound { what: format!("rollout {id}") })
    }

    /// What happened to a rollout, oldest first.
    pub fn rollout_history(&self, who: &Caller, id: u64) -> Result<Vec<HistoryEntry>, EngineError> {
        if let Some(tenant) = &who.tenant {
            // The history names devices of every customer.
            return Err(EngineError::Forbidden { why: format!("{} sees only what belongs to {tenant}", who.name) });
        }
        let state = self.state();
        let running = state.rollouts.get(&id).ok_or_else(|| EngineError::NotFound { what: format!("rollout {id}") })?;
        let entry = |(position, at_ms, kind, text): &(u64, u64, String, String)| HistoryEntry {
            position: *position,
            at_ms: *at_ms,
            kind: kind.clone(),
            text: text.clone(),
        };
        Ok(running.history.iter().map(entry).collect())
    }

    /// A page of devices.
    pub fn devices(&self, who: &Caller, query: &DeviceQuery) -> DevicePage {
        let now = now_ms();
        let state = self.state();
        let limit = query.limit.unwrap_or(100).clamp(1, 1_000) as usize;
        let first = query.after.map_or(0, |after| after.saturating_add(1));
        let wanted = Wanted::of(&state, query);
        let mut page = DevicePage { devices: Vec::new(), next: None };
        let mut last = None;
        for index in first..state.fleet.devices.len() as DeviceIndex {
            if !sees(&state, who, index) || !wanted.matches(&state, query, index, now) {
                continue;
            }
            if page.devices.len() == limit {
                page.next = last;
                break;
            }
            page.devices.push(device(&state, index, now));
            last = Some(index);
        }
        page
    }

    /// One device and why it does nothing.
    pub fn device_why(&self, who: &Caller, id_or_name: &str) -> Result<DeviceWhy, EngineError> {
        let now = now_ms();
        let state = self.state();
        // What somebody may not see does not exist for them.
        let unknown = || EngineError::NotFound { what: format!("a device (or only one device) named {id_or_name:?}") };
        let index = state.find_device(id_or_name).filter(|d| sees(&state, who, *d)).ok_or_else(unknown)?;
        let said = state.info[index as usize].why.as_deref().cloned().unwrap_or_default();
        let mut rollouts = Vec::new();
        for (id, running) in &state.rollouts {
            let mut entry = DeviceWhyRollout {
                rollout: *id,
                release: format!("{} {}", running.contents.name, running.contents.version),
                place: running.rollout.place(index).into_owned(),
                says: Vec::new(),
                refusals: Vec::new(),
                problems: Vec::new(),
            };
            if let Some(why) = said.iter().find(|why| why.rollout == *id) {
                entry.say(why);
            }
            rollouts.push(entry);
        }
        for why in said.iter().filter(|why| !state.rollouts.contains_key(&why.rollout)) {
            let mut entry = DeviceWhyRollout {
                rollout: why.rollout,
                release: "unknown here".into(),
                place: "this server has no such rollout".into(),
                says: Vec::new(),
                refusals: Vec::new(),
                problems: Vec::new(),
            };
            entry.say(why);
            rollouts.push(entry);
        }
        let refused = state.refused.get(&index).map_or(&[][..], Vec::as_slice);
        for before in refused.iter().filter(|before| !said.iter().any(|why| why.rollout == before.why.rollout)) {
            add_earlier(&mut rollouts, before, now);
        }
        let certificate = state.attempts.get(&index).map(|attempt| CertificateView {
            at_ms: attempt.at_ms,
            refused: attempt.refused.map(|refusal| refusal.to_string()),
        });
        Ok(DeviceWhy {
            device: device(&state, index, now),
            rollouts,
            remedies: state.remedy_views(index, now),
            starts: state.start_views(index),
            certificate,
            detections: detections::of_device(&state, index),
        })
    }

    /// The customers.
    pub fn tenants(&self, who: &Caller) -> Vec<TenantView> {
        let state = self.state();
        let seen = |name: &str| who.tenant.as_deref().is_none_or(|own| own == name);
        let shown = state.fleet.tenants.iter().filter(|tenant| seen(&tenant.name));
        shown
            .map(|tenant| TenantView {
                tenant: tenant.name.clone(),
                devices: u64::from(tenant.devices),
                policy_sequence: tenant.policy_sequence,
                policy: tenant.policy.clone(),
                keys: state.tenant_keys.get(&tenant.name).cloned().unwrap_or_default(),
            })
            .collect()
    }

    /// Figures in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let mut figure = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        figure("staffel_check_ins_total", "counter", "Check-ins taken.", load(&self.0.check_ins));
        figure("staffel_permits_total", "counter", "Permits signed.", load(&self.0.permits));
        figure("staffel_signatures_total", "counter", "Signatures by the online key.", load(&self.0.signatures));
        figure(
            "staffel_read_only",
            "gauge",
            "1 while the log can't be written.",
            u64::from(self.read_only().is_some()),
        );
        let state = self.state();
        figure("staffel_devices", "gauge", "Devices enrolled.", state.fleet.devices.len() as u64);
        figure("staffel_log_entries", "counter", "Entries of the log.", state.head);
        let devices = || state.detections.devices();
        let lost = devices().fold(0u64, |sum, device| sum.saturating_add(state.detections.losses(device).lost));
        figure("staffel_findings_lost_total", "counter", "Findings of sensors that never arrived.", lost);
        let _ = writeln!(text, "# HELP staffel_alerts_open Alerts of sensors that nobody has seen to.");
        let _ = writeln!(text, "# TYPE staffel_alerts_open gauge");
        for severity in Severity::ALL {
            let open: u64 = devices().map(|device| state.detections.open(device).of(severity)).sum();
            let _ = writeln!(text, "staffel_alerts_open{{severity=\"{severity}\"}} {open}");
        }
        for (name, help, value) in [
            ("staffel_rollout_exposed", "Units exposed now.", (|r| r.rollout.counts.exposed) as fn(&Running) -> u64),
            ("staffel_rollout_confirmed", "Devices proven healthy.", |r| r.rollout.counts.confirmed),
            ("staffel_rollout_silent", "Treated units past their deadline.", |r| r.rollout.counts.silent),
            ("staffel_rollout_halted", "1 if halted.", |r| {
                u64::from(matches!(r.rollout.status, Status::Halted { .. }))
            }),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (id, running) in &state.rollouts {
                let _ = writeln!(text, "{name}{{rollout=\"{id}\"}} {}", value(running));
            }
        }
        text
    }
}

/// What a device refused some time ago, and does not speak of any more.
fn add_earlier(rollouts: &mut Vec<DeviceWhyRollout>, before: &Refused, now: u64) {
    let ago = format!("refused {} s ago, nothing since", now.saturating_sub(before.at_ms) / 1_000);
    let id = before.why.rollout;
    if let Some(entry) = rollouts.iter_mut().find(|entry| entry.rollout == id) {
        entry.place = format!("{}; {ago}", entry.place);
        return entry.say(&before.why);
    }
    let mut entry = DeviceWhyRollout {
        rollout: id,
        release: "unknown here".into(),
        place: format!("this server has no such rollout; {ago}"),
        says: Vec::new(),
        refusals: Vec::new(),
        problems: Vec::new(),
    };
    entry.say(&before.why);
    rollouts.push(entry);
}

pub(super) fn show(state: &State, who: &Caller, id: u64) -> Option<RolloutView> {
    let now = now_ms();
    let State { fleet, rollouts, .. } = state;
    let running = rollouts.get(&id)?;
    let mut waiting: WaitingOn = running.rollout.waiting_on(fleet, now);
    // These words name devices and customers; who sees one customer only is not told of the others.
    if who.tenant.is_some() {
        match &mut waiting {
            WaitingOn::Skipped { named, .. } => named.clear(),
            WaitingOn::Completed { named, late, .. } => {
                named.clear();
                late.stopped_by = None;
            }
            _ => {}
        }
    }
    let named = matches!(waiting, WaitingOn::Held { .. } | WaitingOn::Halted { .. });
    let names_nobody = who.tenant.is_none() || !named;
    let rollout = &running.rollout;
    let counts = &rollout.counts;
    let (ln_hold, ln_halt) = rollout.ln_limits();
    let age_ms = now.saturating_sub(rollout.authorisation.start_ms);
    Some(RolloutView {
        rollout: id,
        name: running.contents.name.clone(),
        version: running.contents.version.clone(),
        release: rollout.release.digest,
        profile: rollout.profile.clone(),
        state: state_word(running).into(),
        why: match &running.unhalted {
            Some(said) if names_nobody => format!("{waiting}; {said}"),
            None if names_nobody => waiting.to_string(),
            _ => format!("{} for all customers", state_word(running)),
        },
        waiting_on: if names_nobody {
            serde_json::to_value(&waiting).unwrap_or_default()
        } else {
            serde_json::Value::Null
        },
        started_by: running.by.clone(),
        started_ms: running.started_ms,
        ended_ms: running.ended_ms,
        wave: rollout.wave,
        devices: counts.units,
        exposed_ever: counts.exposed_ever,
        exposed: counts.exposed,
        budget: rollout.budget(),
        confirmed: counts.confirmed,
        failed: counts.failed,
        silent: counts.silent,
        withdrawn: counts.withdrawn,
        ln_e: rollout.ln_e(),
        ln_hold,
        ln_halt,
        bound: rollout.bound(),
        small_fleet_rules: rollout.is_small(),
        ceiling_ppb: ceiling_at(&rollout.authorisation.ceiling, age_ms).0,
    })
}

pub(super) fn sees(state: &State, who: &Caller, index: DeviceIndex) -> bool {
    who.tenant.as_deref().is_none_or(|own| state.fleet.tenant_of(index).name == own)
}

/// What of a query is worth working out once for all devices.
struct Wanted {
    text: Option<String>,
    /// The text could be the beginning of an id.
    id: Option<String>,
    /// Sets of releases that hold the wanted version.
    sets: Option<BTreeSet<u32>>,
}

impl Wanted {
    fn of(state: &State, query: &DeviceQuery) -> Self {
        let text = query.text.as_deref().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
        let id = text.clone().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let sets = query.version.as_deref().map(|version| state.releases.sets_with(version));
        Wanted { text, id, sets }
    }

    fn matches(&self, state: &State, query: &DeviceQuery, index: DeviceIndex, now: u64) -> bool {
        let row = state.fleet.device(index);
        let site = &state.fleet.sites[row.site as usize];
        let info = &state.info[index as usize];
        query.tenant.as_deref().is_none_or(|tenant| state.fleet.tenants[site.tenant as usize].name == tenant)
            && query.site.as_deref().is_none_or(|wanted| site.name == wanted)
            && self.sets.as_ref().is_none_or(|sets| sets.contains(&info.running))
            && query.presence.as_deref().is_none_or(|wanted| match wanted {
                "safe-mode" => info.safe_mode.is_some(),
                "refusing" => state.refused.contains_key(&index),
                "cloned" => row.cloned,
                wanted => presence(state, index, now) == wanted,
            })
            && self.text.as_deref().is_none_or(|text| {
                contains(&row.name, text)
                    || self.id.as_deref().is_some_and(|start| begins_with(&row.id, start.as_bytes()))
            })
    }
}

/// True if the id, in hex, begins with `start`, lower case. Writes no text: this is asked of every device.
fn begins_with(id: &DeviceId, start: &[u8]) -> bool {
    start.len() <= 2 * id.0.len()
        && start.iter().enumerate().all(|(at, digit)| {
            let nibble = if at % 2 == 0 { id.0[at / 2] >> 4 } else { id.0[at / 2] & 15 };
            b"0123456789abcdef"[usize::from(nibble)] == *digit
        })
}

/// `part` is lower case. Most names are ASCII: those are compared where they lie.
fn contains(name: &str, part: &str) -> bool {
    if name.is_ascii() {
        let (name, part) = (name.as_bytes(), part.as_bytes());
        let Some(first) = part.first() else { return true };
        // Most places are ruled out by their first byte.
        let starts = name.iter().enumerate().filter(|(_, byte)| byte.to_ascii_lowercase() == *first);
        return starts
            .map(|(at, _)| at)
            .any(|at| name.get(at..at + part.len()).is_some_and(|found| found.eq_ignore_ascii_case(part)));
    }
    name.to_lowercase().contains(part)
}

pub(super) fn presence(state: &State, index: DeviceIndex, now: u64) -> &'static str {
    let seen = state.fleet.device(index).last_seen_ms;
    let info = &state.info[index as usize];
    if state.fleet.device(index).retired {
        "retired"
    } else if info.left {
        "left"
    } else if seen == 0 {
        "never-seen"
    } else if now.saturating_sub(seen) <= 3 * u64::from(info.cadence_ms).max(1_000) {
        "alive"
    } else {
        "silent"
    }
}

/// `customer/site/name`.
pub(super) fn full_name(state: &State, index: DeviceIndex) -> String {
    let row = state.fleet.device(index);
    let site = &state.fleet.sites[row.site as usize];
    format!("{}/{}/{}", state.fleet.tenants[site.tenant as usize].name, site.name, row.name)
}

pub(super) fn device(state: &State, index: DeviceIndex, now: u64) -> DeviceView {
    let row = state.fleet.device(index);
    let info = &state.info[index as usize];
    let site = &state.fleet.sites[row.site as usize];
    let running = state.releases.of_set(info.running);
    DeviceView {
        device: row.id,
        name: row.name.to_string(),
        tenant: state.fleet.tenant_of(index).name.clone(),
        site: site.name.clone(),
        os_build: state.fleet.os_builds.name(row.os_build).into(),
        hardware_model: state.fleet.hardware_models.name(row.hardware_model).into(),
        presence: presence(state, index, now).into(),
        last_seen_ms: (row.last_seen_ms != 0).then_some(row.last_seen_ms),
        mode: info.safe_mode.as_ref().map_or("normal".into(), |why| format!("safe: {why}")),
        running: running.map(|(name, digest)| (name.clone(), state.releases.version(digest))).collect(),
        alerts: state.detections.open(index).into(),
        warnings: if row.cloned { vec!["two live boots on one key: cloned?".into()] } else { Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_is_found_whatever_its_case_and_letters() {
        for (name, part, found) in [
            ("Till-0042", "till", true),
            ("Till-0042", "042", true),
            ("Till-0042", "42-", false),
            ("aab", "ab", true),
            ("Till", "till-0042", false),
            ("Messplatz-Ä", "ä", true),
            ("Messplatz-Ä", "ö", false),
            ("x", "", true),
        ] {
            assert_eq!(contains(name, part), found, "{part} in {name}");
        }
    }

    #[test]
    fn an_id_is_found_by_its_beginning() {
        let id = DeviceId([0xab; 16]);
        let text = id.to_string();
        for end in 0..=text.len() {
            assert!(begins_with(&id, &text.as_bytes()[..end]), "{end}");
        }
        assert!(!begins_with(&id, b"abb") && !begins_with(&id, format!("{text}a").as_bytes()));
    }
}
