//! Alerts as people and programs see them. Reads only.

use super::{super::view, Engine, EngineError, Record, State, now_ms, ocsf, visible};
use crate::api::{
    Caller, DetectionAcknowledged, DetectionCounts, DetectionEvidence, DetectionLosses, DetectionPage, DetectionQuery,
    DetectionSheet, DetectionStep, DetectionView, DeviceDetections, DeviceView,
};
use serde_json::Value;
use staffel_core::{
    detection::{self, Acknowledgement, Alert, AlertId, Counts, Losses, Severity, Subject, Trouble},
    fleet::DeviceIndex,
    ids::DeviceId,
};
use std::cmp::Reverse;

/// Open alerts that a device's own view names.
const OF_DEVICE: usize = 20;
/// Events of an alert that are shown.
const EVENTS: usize = 20;

/// What happened to a sensor, in words.
pub(in crate::engine) fn trouble_in_words(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Killed => "a process of the sensor was ended by somebody else",
        Trouble::Stopped => "a process of the sensor was stopped and does not answer",
        Trouble::Modified => "the sensor's program or one of its files was changed",
        Trouble::Blind => "the sensor is blind to something",
        Trouble::Quarantined => "a detection pack was taken out of service",
        Trouble::Silent => "nothing is heard of the sensor",
    }
}

/// A subject in words.
pub(in crate::engine) fn title(subject: &Subject, title: &str) -> String {
    match subject {
        Subject::Rule(rule) if title.is_empty() => rule.clone(),
        Subject::Rule(_) => title.into(),
        Subject::Sensor(trouble) => trouble_in_words(*trouble).into(),
    }
}

fn acknowledged(said: Acknowledgement, at_ms: u64) -> DetectionAcknowledged {
    let Acknowledgement { by, why, quiet_until_ms, .. } = said;
    DetectionAcknowledged { by, why, at_ms, quiet_until_ms }
}

fn view_of(state: &State, id: AlertId, alert: &Alert) -> DetectionView {
    let about = &alert.about;
    let (state_word, opened, acknowledged) = match &alert.state {
        detection::State::Open { why, .. } => ("open", Some(*why), None),
        detection::State::Acknowledged { by, why, at_ms, quiet_until_ms } => {
            let (by, why) = (by.clone(), why.clone());
            let said = DetectionAcknowledged { by, why, at_ms: *at_ms, quiet_until_ms: *quiet_until_ms };
            ("acknowledged", None, Some(said))
        }
    };
    let (rule, trouble) = match &alert.subject {
        Subject::Rule(rule) => (Some(rule.clone()), None),
        Subject::Sensor(trouble) => (None, Some(*trouble)),
    };
    DetectionView {
        detection: id,
        device: state.fleet.device(alert.device).id,
        name: view::full_name(state, alert.device),
        rule,
        trouble,
        title: title(&alert.subject, &about.title),
        severity: alert.severity,
        class: about.class.clone(),
        pack: about.pack.clone(),
        version: about.version,
        tags: about.tags.clone(),
        detail: about.detail.clone(),
        state: state_word.into(),
        opened,
        acknowledged,
        count: alert.count,
        first_ms: alert.first_ms,
        last_ms: alert.last_ms,
        began_ms: alert.began_ms,
        heard_ms: alert.heard_ms,
        position: alert.position,
    }
}

impl From<Losses> for DetectionLosses {
    fn from(losses: Losses) -> Self {
        let Losses { lost, folded, uncounted, dropped } = losses;
        DetectionLosses { lost, folded, uncounted, dropped }
    }
}

impl From<Counts> for DetectionCounts {
    fn from(counts: Counts) -> Self {
        DetectionCounts {
            critical: counts.of(Severity::Critical),
            high: counts.of(Severity::High),
            medium: counts.of(Severity::Medium),
            low: counts.of(Severity::Low),
            informational: counts.of(Severity::Informational),
        }
    }
}

/// What a device's sensor found, for the device's own view.
pub(in crate::engine) fn of_device(state: &State, device: DeviceIndex) -> DeviceDetections {
    let open: Vec<_> = state.detections.of(device).into_iter().filter(|(_, alert)| alert.is_open()).collect();
    DeviceDetections {
        more: open.len().saturating_sub(OF_DEVICE) as u64,
        open: open.iter().take(OF_DEVICE).map(|(id, alert)| view_of(state, *id, alert)).collect(),
        losses: state.detections.losses(device).into(),
    }
}

/// A query, worked out once for all alerts.
struct Wanted<'a> {
    query: &'a DetectionQuery,
    device: Option<DeviceIndex>,
    text: String,
}

impl Wanted<'_> {
    fn matches(&self, state: &State, alert: &Alert) -> bool {
        let query = self.query;
        let site = &state.fleet.sites[state.fleet.device(alert.device).site as usize];
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&query.tenant, &state.fleet.tenants[site.tenant as usize].name)
            && is(&query.site, &site.name)
            && self.device.is_none_or(|device| device == alert.device)
            && query.severity.is_none_or(|least| alert.severity >= least)
            && match query.state.as_deref().unwrap_or("open") {
                "open" => alert.is_open(),
                "acknowledged" => !alert.is_open(),
                _ => true,
            }
            && match query.about.as_deref() {
                Some("rule") => matches!(alert.subject, Subject::Rule(_)),
                Some("sensor") => matches!(alert.subject, Subject::Sensor(_)),
                _ => true,
            }
            && (self.text.is_empty() || self.is_named_in(alert))
    }

    fn is_named_in(&self, alert: &Alert) -> bool {
        let named = |text: &str| text.to_lowercase().contains(&self.text);
        let rule = match &alert.subject {
            Subject::Rule(rule) => named(rule),
            Subject::Sensor(trouble) => named(trouble.word()),
        };
        rule || named(&title(&alert.subject, &alert.about.title)) || alert.about.tags.iter().any(|tag| named(tag))
    }
}

impl Engine {
    /// A page of alerts, what changed last first.
    pub fn detection_page(&self, who: &Caller, query: &DetectionQuery) -> Result<DetectionPage, EngineError> {
        let state = self.state();
        let mut page = DetectionPage::default();
        let (mut open, mut losses) = (Counts::default(), Losses::default());
        for device in state.detections.devices().filter(|device| view::sees(&state, who, *device)) {
            for (sum, more) in open.0.iter_mut().zip(state.detections.open(device).0) {
                *sum += more;
            }
            let more = state.detections.losses(device);
            losses.lost = losses.lost.saturating_add(more.lost);
            losses.folded = losses.folded.saturating_add(more.folded);
            losses.uncounted = losses.uncounted.saturating_add(more.uncounted);
            losses.dropped = losses.dropped.saturating_add(more.dropped);
        }
        (page.open, page.losses) = (open.into(), losses.into());
        let device = match &query.device {
            None => None,
            Some(text) => {
                let found = state.find_device(text).filter(|device| view::sees(&state, who, *device));
                let unknown =
                    || EngineError::NotFound { what: format!("a device (or only one device) named {text:?}") };
                Some(found.ok_or_else(unknown)?)
            }
        };
        let text = query.text.as_deref().unwrap_or_default().trim().to_lowercase();
        let wanted = Wanted { query, device, text };
        let limit = query.limit.unwrap_or(100).clamp(1, 1_000) as usize;
        let since = query.since.map_or(0, |since| since.saturating_add(1));
        let latest = state.detections.before(query.before.unwrap_or(u64::MAX));
        let latest = latest.take_while(|(_, alert)| alert.position >= since);
        let matching =
            latest.filter(|(_, alert)| view::sees(&state, who, alert.device) && wanted.matches(&state, alert));
        for (id, alert) in matching {
            let last = page.detections.last().map(|last: &DetectionView| last.position);
            // Alerts of one entry stay on one page: the next one begins before an entry.
            if page.detections.len() >= limit && last != Some(alert.position) {
                page.next = last;
                break;
            }
            page.detections.push(view_of(&state, id, alert));
        }
        // Of what came at once the worst comes first.
        page.detections.sort_by_key(|view| (Reverse(view.position), Reverse(view.severity), view.detection));
        Ok(page)
    }

    /// One alert with its latest events.
    pub fn detection(&self, who: &Caller, id: AlertId) -> Result<DetectionSheet, EngineError> {
        let (detection, positions, trail) = {
            let state = self.state();
            visible(&state, who, id)?;
            let unknown = || EngineError::NotFound { what: format!("alert {id}") };
            let alert = state.detections.alert(id).ok_or_else(unknown)?;
            (view_of(&state, id, alert), alert.evidence.clone(), alert.trail.clone())
        };
        let mut evidence = Vec::new();
        for position in positions.into_iter().rev() {
            let kept = self.evidence_at(position, id)?.into_iter();
            evidence.extend(kept.map(|kept| DetectionEvidence {
                position,
                count: kept.count,
                last_ms: kept.last_ms,
                fields: kept.fields,
            }));
        }
        evidence.truncate(EVENTS);
        let mut history = Vec::new();
        for position in trail.into_iter().rev() {
            history.extend(self.step_at(position, id)?);
        }
        Ok(DetectionSheet { detection, evidence, history })
    }

    /// One alert as an OCSF Detection Finding.
    pub fn detection_as_ocsf(&self, who: &Caller, id: AlertId) -> Result<Value, EngineError> {
        let sheet = self.detection(who, id)?;
        let device = self.device_view(&sheet.detection);
        Ok(ocsf::finding(&sheet.detection, &sheet.evidence, device.as_ref()))
    }

    /// A page of alerts as OCSF Detection Findings, each with its latest event, and the `before` of the next page.
    pub fn detections_as_ocsf(
        &self,
        who: &Caller,
        query: &DetectionQuery,
    ) -> Result<(Vec<Value>, Option<u64>), EngineError> {
        let page = self.detection_page(who, query)?;
        let mut findings = Vec::with_capacity(page.detections.len());
        for detection in &page.detections {
            let sheet = self.detection(who, detection.detection)?;
            let device = self.device_view(detection);
            let latest = &sheet.evidence[..sheet.evidence.len().min(1)];
            findings.push(ocsf::finding(detection, latest, device.as_ref()));
        }
        Ok((findings, page.next))
    }

    /// A device's name, and the title of one of its alerts.
    pub(in crate::engine) fn alert_named(&self, device: &DeviceId, id: AlertId) -> (String, String) {
        let state = self.state();
        let name = state.fleet.find(device).map_or_else(|| device.to_string(), |index| view::full_name(&state, index));
        let alert = state.detections.alert(id);
        (name, alert.map_or_else(|| format!("alert {id}"), |alert| title(&alert.subject, &alert.about.title)))
    }

    /// What an entry of the log says about an alert's state.
    fn step_at(&self, position: u64, id: AlertId) -> Result<Option<DetectionStep>, EngineError> {
        let Some(entry) = self.entry_at(position)? else { return Ok(None) };
        let (opened, acknowledged) = match Record::of(&entry) {
            Some(Record::DetectionsFound { found, .. }) => {
                (found.seen.iter().find(|seen| seen.alert == id).and_then(|seen| seen.opens), None)
            }
            Some(Record::DetectionAcknowledged { said, .. }) => (None, Some(acknowledged(said, entry.at_ms))),
            _ => (None, None),
        };
        Ok(Some(DetectionStep { position, at_ms: entry.at_ms, opened, acknowledged }))
    }

    fn device_view(&self, detection: &DetectionView) -> Option<DeviceView> {
        let state = self.state();
        let index = state.fleet.find(&detection.device)?;
        Some(view::device(&state, index, now_ms()))
    }
}
