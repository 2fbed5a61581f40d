//! The alerts there are, and how far each device's streams were taken. Changes by what stands in the log only.

use super::{About, Acknowledgement, AlertId, CREDIT, Found, MOST_ALERTS, Opening, STREAMS, Seen, Severity, Subject};
use crate::fleet::DeviceIndex;
use std::collections::{BTreeMap, BTreeSet};

/// Log entries with fields of events that an alert remembers, the latest.
pub const EVIDENCE: usize = 5;
/// Log entries about an alert's openings and acknowledgements that it remembers, the latest.
const TRAIL: usize = 16;

/// Whether somebody has to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Open {
        why: Opening,
        /// When the server heard of it, Unix milliseconds.
        since_ms: u64,
    },
    Acknowledged {
        by: String,
        why: String,
        at_ms: u64,
        quiet_until_ms: Option<u64>,
    },
}

/// One rule, or one trouble of the sensor, on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub device: DeviceIndex,
    pub subject: Subject,
    pub about: About,
    /// The worst that was reported.
    pub severity: Severity,
    pub state: State,
    pub count: u64,
    /// By the device's clock, Unix milliseconds.
    pub first_ms: u64,
    pub last_ms: u64,
    /// By the server's clock: when it heard of the first and of the last.
    pub began_ms: u64,
    pub heard_ms: u64,
    /// The last entry of the log about it.
    pub position: u64,
    /// Entries with fields of its events, the latest at the end.
    pub evidence: Vec<u64>,
    /// Entries that opened it or acknowledged it, the latest at the end.
    pub trail: Vec<u64>,
}

impl Alert {
    /// True while somebody has to look.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// What goes first where there is no more room.
    fn worth(&self) -> (bool, Severity, u64) {
        (self.is_open(), self.severity, self.position)
    }
}

/// What a device reported and nobody can look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Findings that never arrived.
    pub lost: u64,
    /// Findings that were counted, without the fields of their events.
    pub folded: u64,
    /// Findings that were not understood or found no room.
    pub uncounted: u64,
    /// Alerts that had to make room for others.
    pub dropped: u64,
}

/// Open alerts by severity, the least first as in [`Severity::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; 5]);

impl Counts {
    /// Of one severity.
    pub fn of(&self, severity: Severity) -> u64 {
        self.0[severity as usize]
    }

    /// Of all.
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The worst severity that is open.
    pub fn worst(&self) -> Option<Severity> {
        Severity::ALL.into_iter().rev().find(|severity| self.of(*severity) > 0)
    }
}

/// How far a stream was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub name: String,
    pub through: u64,
    /// As the device says.
    pub lost: u64,
    /// As its numbers say. They are among those that it drops, so the higher of the two counts.
    pub missing: u64,
}

impl Stream {
    fn never_arrived(&self) -> u64 {
        self.lost.max(self.missing)
    }
}

/// What is kept of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub alerts: BTreeMap<Subject, AlertId>,
    /// The one that spoke last at the end.
    pub streams: Vec<Stream>,
    losses: Losses,
    spent: u32,
    minute: u64,
}

impl Source {
    /// What is left of [`CREDIT`].
    pub fn credit(&self, now_ms: u64) -> u32 {
        CREDIT - self.owed(now_ms)
    }

    fn owed(&self, now_ms: u64) -> u32 {
        let back = u32::try_from((now_ms / 60_000).saturating_sub(self.minute)).unwrap_or(u32::MAX);
        self.spent.saturating_sub(back).min(CREDIT)
    }
}

/// Every alert.
#[derive(Clone, Debug, Default)]
pub struct Book {
    alerts: BTreeMap<AlertId, Alert>,
    sources: BTreeMap<DeviceIndex, Source>,
    /// By the last entry about each, for whoever reads the latest first.
    latest: BTreeSet<(u64, AlertId)>,
    last_id: AlertId,
}

impl Book {
    /// One alert.
    pub fn alert(&self, id: AlertId) -> Option<&Alert> {
        self.alerts.get(&id)
    }

    /// All alerts whose last entry stands before this one, the latest first.
    pub fn before(&self, position: u64) -> impl Iterator<Item = (AlertId, &Alert)> {
        self.latest.range(..(position, 0)).rev().filter_map(|(_, id)| Some((*id, self.alerts.get(id)?)))
    }

    /// One device's alerts: what is open first, then the worst, then the latest.
    pub fn of(&self, device: DeviceIndex) -> Vec<(AlertId, &Alert)> {
        let ids = self.sources.get(&device).into_iter().flat_map(|source| source.alerts.values());
        let mut found: Vec<_> = ids.filter_map(|id| Some((*id, self.alerts.get(id)?))).collect();
        found.sort_by_key(|(_, alert)| std::cmp::Reverse(alert.worth()));
        found
    }

    /// One device's open alerts.
    pub fn open(&self, device: DeviceIndex) -> Counts {
        let mut counts = Counts::default();
        let ids = self.sources.get(&device).into_iter().flat_map(|source| source.alerts.values());
        for alert in ids.filter_map(|id| self.alerts.get(id)).filter(|alert| alert.is_open()) {
            counts.0[alert.severity as usize] += 1;
        }
        counts
    }

    /// What of a device's findings nobody can look at.
    pub fn losses(&self, device: DeviceIndex) -> Losses {
        self.sources.get(&device).map_or_else(Losses::default, |source| source.losses)
    }

    /// Devices that ever reported something.
    pub fn devices(&self) -> impl Iterator<Item = DeviceIndex> {
        self.sources.keys().copied()
    }

    pub(super) fn source(&self, device: DeviceIndex) -> Option<&Source> {
        self.sources.get(&device)
    }

    pub(super) fn next_id(&self) -> AlertId {
        self.last_id + 1
    }

    /// The alert that makes room for one of this severity; none: there is room, or the new one is worth less.
    pub(super) fn victim(&self, device: DeviceIndex) -> Option<(AlertId, &Alert)> {
        let ids = self.sources.get(&device)?.alerts.values();
        let all = ids.filter_map(|id| Some((*id, self.alerts.get(id)?)));
        all.min_by_key(|(_, alert)| alert.worth())
    }

    /// Takes over what a device reported.
    pub fn found(&mut self, device: DeviceIndex, found: &Found, at_ms: u64, position: u64) {
        let source = self.sources.entry(device).or_default();
        let before = source.streams.iter().position(|stream| stream.name == found.stream);
        let fresh = || Stream { name: found.stream.clone(), through: 0, lost: 0, missing: 0 };
        let known = before.map_or_else(fresh, |at| source.streams.remove(at));
        let stream = Stream {
            through: found.through.max(known.through),
            lost: found.lost.max(known.lost),
            missing: known.missing.saturating_add(found.missing),
            name: known.name.clone(),
        };
        let new_losses = stream.never_arrived() - known.never_arrived();
        source.losses.lost = source.losses.lost.saturating_add(new_losses);
        if source.streams.len() >= STREAMS {
            source.streams.remove(0);
        }
        source.streams.push(stream);
        source.losses.folded = source.losses.folded.saturating_add(found.folded);
        source.losses.uncounted = source.losses.uncounted.saturating_add(found.uncounted);
        source.spent = source.owed(at_ms).saturating_add(found.spent).min(CREDIT);
        source.minute = source.minute.max(at_ms / 60_000);
        for seen in &found.seen {
            self.seen(device, seen, at_ms, position);
        }
    }

    fn seen(&mut self, device: DeviceIndex, seen: &Seen, at_ms: u64, position: u64) {
        if let Some(subject) = &seen.subject {
            self.begin(device, subject, seen, at_ms);
        }
        let Some(alert) = self.alerts.get_mut(&seen.alert) else { return };
        self.latest.remove(&(alert.position, seen.alert));
        self.latest.insert((position, seen.alert));
        if let Some(about) = &seen.about {
            alert.about = about.clone();
        }
        alert.severity = alert.severity.max(seen.severity);
        alert.count = alert.count.saturating_add(seen.count);
        alert.first_ms = alert.first_ms.min(seen.first_ms);
        alert.last_ms = alert.last_ms.max(seen.last_ms);
        alert.heard_ms = at_ms;
        alert.position = position;
        if let Some(why) = seen.opens {
            alert.state = State::Open { why, since_ms: at_ms };
            push(&mut alert.trail, TRAIL, position);
        }
    }

    /// A new alert, without its first findings; another one makes room if there is none.
    fn begin(&mut self, device: DeviceIndex, subject: &Subject, seen: &Seen, at_ms: u64) {
        let full = self.sources.get(&device).is_some_and(|source| source.alerts.len() >= MOST_ALERTS);
        if full && let Some((id, victim)) = self.victim(device).map(|(id, alert)| (id, alert.clone())) {
            self.alerts.remove(&id);
            self.latest.remove(&(victim.position, id));
            if let Some(source) = self.sources.get_mut(&device) {
                source.alerts.remove(&victim.subject);
                source.losses.dropped += 1;
            }
        }
        self.sources.entry(device).or_default().alerts.insert(subject.clone(), seen.alert);
        let alert = Alert {
            device,
            subject: subject.clone(),
            about: About::default(),
            severity: seen.severity,
            state: State::Open { why: Opening::New, since_ms: at_ms },
            count: 0,
            first_ms: seen.first_ms,
            last_ms: seen.last_ms,
            began_ms: at_ms,
            heard_ms: at_ms,
            position: 0,
            evidence: Vec::new(),
            trail: Vec::new(),
        };
        self.alerts.insert(seen.alert, alert);
        self.last_id = self.last_id.max(seen.alert);
    }

    /// A person has seen to it.
    pub fn acknowledged(&mut self, said: &Acknowledgement, at_ms: u64, position: u64) {
        let Some(alert) = self.alerts.get_mut(&said.alert) else { return };
        self.latest.remove(&(alert.position, said.alert));
        self.latest.insert((position, said.alert));
        let Acknowledgement { by, why, quiet_until_ms, .. } = said.clone();
        alert.state = State::Acknowledged { by, why, at_ms, quiet_until_ms };
        alert.position = position;
        push(&mut alert.trail, TRAIL, position);
    }

    /// An entry of the log holds fields of these alerts' events.
    pub fn evidence(&mut self, alerts: impl IntoIterator<Item = AlertId>, position: u64) {
        for id in alerts {
            if let Some(alert) = self.alerts.get_mut(&id)
                && alert.evidence.last() != Some(&position)
            {
                push(&mut alert.evidence, EVIDENCE, position);
            }
        }
    }

    /// The content of an entry is gone.
    pub fn erased(&mut self, position: u64) {
        for alert in self.alerts.values_mut() {
            alert.evidence.retain(|kept| *kept != position);
        }
    }
}

fn push(list: &mut Vec<u64>, most: usize, value: u64) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(value);
}
