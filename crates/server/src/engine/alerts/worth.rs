//! What of the log is worth an alert, in words. Remembers only how each channel of notices fares. Must stay out: sending.
//! What sensors found is worth one if it is severe and opens an alert: its words are the devices', so they go out bounded
//! (`limit`) and without the fields of events.

use super::super::record::Record;
use staffel_core::{
    detection::{AlertId, Found, Opening, Severity},
    ids::DeviceId,
    recovery,
    rollout::{self, HaltReason},
};
use staffel_notice::{Event, Language, Outcome, address::Channel, alert::Alert};
use staffel_store::Entry;
use std::collections::BTreeMap;

/// Attempts in a row that were not sent, after which a channel counts as failing: one alone is a recipient's trouble.
const IN_A_ROW: u32 = 3;

pub(super) struct Worth {
    language: Language,
    /// Attempts under way, to the channel that they use.
    under_way: BTreeMap<(u64, u32, u32), Channel>,
    /// Attempts in a row that were not sent.
    failing: BTreeMap<Channel, u32>,
}

impl Worth {
    pub fn new(language: Language) -> Self {
        Worth { language, under_way: BTreeMap::new(), failing: BTreeMap::new() }
    }

    /// The alert that this entry of the log is worth, and the device whose words it repeats. `named`: a device's name, and
    /// the title of one of its alerts.
    pub fn of(
        &mut self,
        entry: &Entry,
        named: &dyn Fn(&DeviceId, AlertId) -> (String, String),
    ) -> Option<(Alert, Option<DeviceId>)> {
        let mut source = None;
        let (kind, subject, text) = match Record::of(entry)? {
            Record::DetectionsFound { device, found } => {
                source = Some(device);
                let (subject, text) = self.found(&found, |alert| named(&device, alert))?;
                ("detection.opened", subject, text)
            }
            Record::Rollout { rollout, event: rollout::Event::Held { reason } } => (
                "rollout.held",
                self.pick(format!("Verteilung {rollout} wartet"), format!("Rollout {rollout} is held")),
                reason.to_string(),
            ),
            Record::Rollout { rollout, event: rollout::Event::Halted { reason } }
                if !matches!(reason, HaltReason::Superseded { .. }) =>
            {
                let subject =
                    self.pick(format!("Verteilung {rollout} ist angehalten"), format!("Rollout {rollout} was halted"));
                ("rollout.halted", subject, reason.to_string())
            }
            Record::Recovery { event: recovery::Event::IncidentOpened { incident, class, why, aware, .. } } => (
                "incident.opened",
                self.pick(format!("Vorfall {incident} eröffnet"), format!("Incident {incident} opened")),
                format!("{class}: {why} ({}, {})", aware.who, aware.source),
            ),
            Record::CertificateRefused { device, refusal } => (
                "certificate.refused",
                self.pick(
                    format!("Kein neues Zertifikat für Gerät {device}"),
                    format!("No new certificate for device {device}"),
                ),
                refusal.to_string(),
            ),
            Record::ForeignSuspected { suspect } => {
                let (component, maker) = (&suspect.component, &suspect.component.supplier);
                let maker = if maker.is_empty() { self.pick("unbekannt", "unknown") } else { maker.clone() };
                let what = format!("{} {}", component.name, component.version);
                let (hurt, got) = (suspect.got_in_trouble, suspect.got);
                (
                    "foreign.suspected",
                    self.pick(format!("Verdacht gegen {what}"), format!("{what} is suspected")),
                    self.pick(
                        format!("Hersteller: {maker}. {hurt} von {got} Geräten, die es bekamen, sind in Not."),
                        format!("Supplier: {maker}. {hurt} of {got} devices that got it are in trouble."),
                    ),
                )
            }
            Record::Notice { event } => self.notice(&event)?,
            _ => return None,
        };
        let id = format!("entry-{}", entry.position);
        Some((alert(id, entry.at_ms, kind, &subject, &text, Some(entry.position)), source))
    }

    /// The worst of what a sensor found, if somebody should look now.
    fn found(&self, found: &Found, named: impl Fn(AlertId) -> (String, String)) -> Option<(String, String)> {
        let severe = |seen: &&staffel_core::detection::Seen| seen.opens.is_some() && seen.severity >= Severity::High;
        let opened: Vec<_> = found.seen.iter().filter(severe).collect();
        let worst = opened.iter().rev().max_by_key(|seen| seen.severity)?;
        let (place, title) = named(worst.alert);
        let critical = worst.severity == Severity::Critical;
        let (de, en) = if critical { ("Kritisch", "Critical") } else { ("Ernst", "High") };
        let (wieder, again) = match worst.opens {
            Some(Opening::Again) => (", erneut nach Quittierung", ", again after it was acknowledged"),
            Some(Opening::Worse) => (", schlimmer als zuvor", ", worse than before"),
            _ => ("", ""),
        };
        let (alert, count, more) = (worst.alert, worst.count, opened.len() - 1);
        let (weitere, others) = match more {
            0 => (String::new(), String::new()),
            _ => (format!(" {more} weitere zugleich."), format!(" {more} more at the same time.")),
        };
        Some((
            self.pick(format!("{de}: {title} ({place})"), format!("{en}: {title} ({place})")),
            self.pick(
                format!("Alarm {alert}, {count}-mal gemeldet{wieder}.{weitere} Mehr: staffel alert show {alert}"),
                format!("Alert {alert}, reported {count} times{again}.{others} More: staffel alert show {alert}"),
            ),
        ))
    }

    /// The log takes nothing any more, so this can't come from it.
    pub fn unwritable(&self, why: &str, at_ms: u64) -> Alert {
        let subject = self.pick("Das Protokoll ist nicht beschreibbar", "The log can't be written");
        let text = self.pick(
            format!("Nichts ändert sich, bis es wieder geht; was läuft, läuft weiter. {why}"),
            format!("Nothing changes until it works again; what runs goes on. {why}"),
        );
        alert(format!("log-{at_ms}"), at_ms, "log.unwritable", &subject, &text, None)
    }

    /// More happened than was sent.
    pub fn held_back(&self, count: u64, at_ms: u64) -> Alert {
        let subject = self.pick(format!("{count} Meldungen zurückgehalten"), format!("{count} alerts were held back"));
        let text = self.pick("Das Protokoll hat sie alle.", "The log has them all.");
        alert(format!("held-back-{at_ms}"), at_ms, "alerts.held-back", &subject, &text, None)
    }

    fn notice(&mut self, event: &Event) -> Option<(&'static str, String, String)> {
        match event {
            Event::Started { notice, recipient, attempt, channel, .. } => {
                self.under_way.insert((*notice, *recipient, *attempt), *channel);
                None
            }
            Event::Ended { notice, recipient, attempt, outcome } => {
                let channel = self.under_way.remove(&(*notice, *recipient, *attempt))?;
                let why = match outcome {
                    Outcome::HandedOver { .. } => {
                        self.failing.remove(&channel);
                        return None;
                    }
                    // It is this recipient that can't be reached.
                    Outcome::Failed { .. } => return None,
                    Outcome::TryLater { why } | Outcome::Unknown { why } => why.clone(),
                };
                let failed = self.failing.entry(channel).or_insert(0);
                *failed += 1;
                (*failed == IN_A_ROW).then(|| {
                    let subject = self.pick(
                        format!("Benachrichtigungen über {channel} gehen nicht hinaus"),
                        format!("Notices by {channel} do not leave"),
                    );
                    ("notice.channel-failing", subject, why)
                })
            }
            _ => None,
        }
    }

    fn pick(&self, de: impl Into<String>, en: impl Into<String>) -> String {
        match self.language {
            Language::De => de.into(),
            Language::En => en.into(),
        }
    }
}

fn alert(id: String, at_ms: u64, kind: &str, subject: &str, text: &str, entry: Option<u64>) -> Alert {
    // Words of devices and people end up in the head of an e-mail: one line.
    let line = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect();
    Alert { id, at_ms, kind: kind.into(), subject: line(subject), text: line(text), entry }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(position: u64, record: &Record) -> Entry {
        record.to_entry(1_000).unwrap().at(position)
    }

    fn said(worth: &mut Worth, position: u64, record: &Record) -> Option<Alert> {
        let named = |_: &DeviceId, alert| ("clinic/north/till-1".to_string(), format!("rule {alert}"));
        Some(worth.of(&entry(position, record), &named)?.0)
    }

    #[test]
    fn what_a_sensor_found_is_told_if_it_is_severe_and_opens_the_worst_first() {
        let seen = |alert, severity, opens| staffel_core::detection::Seen {
            alert,
            subject: None,
            about: None,
            severity,
            count: 3,
            first_ms: 0,
            last_ms: 0,
            opens,
        };
        let record = |seen| {
            let found = Found { seen, ..serde_json::from_str(r#"{"stream":"s","through":1,"seen":[]}"#).unwrap() };
            Record::DetectionsFound { device: DeviceId([1; 16]), found }
        };
        let mut worth = Worth::new(Language::En);
        let quiet = vec![seen(1, Severity::Medium, Some(Opening::New)), seen(2, Severity::Critical, None)];
        assert_eq!(said(&mut worth, 1, &record(quiet)), None);
        let loud = vec![
            seen(3, Severity::High, Some(Opening::New)),
            seen(4, Severity::Critical, Some(Opening::Again)),
            seen(5, Severity::Critical, Some(Opening::New)),
        ];
        let alert = said(&mut worth, 2, &record(loud)).unwrap();
        assert_eq!(
            (alert.kind.as_str(), alert.subject.as_str()),
            ("detection.opened", "Critical: rule 4 (clinic/north/till-1)")
        );
        let text = "Alert 4, reported 3 times, again after it was acknowledged. 2 more at the same time. More: staffel alert show 4";
        assert_eq!(alert.text, text);
    }

    fn attempt(worth: &mut Worth, recipient: u32, outcome: Outcome) -> Option<Alert> {
        let (notice, attempt, route, channel) = (1, 1, 0, Channel::Fax);
        let started = Event::Started { notice, recipient, attempt, route, channel };
        assert_eq!(said(worth, 1, &Record::Notice { event: started }), None);
        said(worth, 2, &Record::Notice { event: Event::Ended { notice, recipient, attempt, outcome } })
    }

    #[test]
    fn a_channel_fails_after_three_in_a_row_and_is_named_once() {
        let mut worth = Worth::new(Language::En);
        let later = || Outcome::TryLater { why: "no line".into() };
        let handed = || Outcome::HandedOver { receipt: "1".into() };
        let wrong = || Outcome::Failed { why: "no such number".into() };
        let ends = [later(), later(), handed(), wrong(), later(), later(), wrong(), later(), later(), handed()];
        let ends = ends.into_iter().enumerate();
        let said: Vec<_> = ends.filter_map(|(n, end)| attempt(&mut worth, n as u32, end)).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((said[0].kind.as_str(), said[0].text.as_str()), ("notice.channel-failing", "no line"));
    }

    #[test]
    fn a_rollout_that_is_replaced_alarms_nobody() {
        let mut worth = Worth::new(Language::De);
        let halted = |reason| Record::Rollout { rollout: 7, event: rollout::Event::Halted { reason } };
        assert_eq!(said(&mut worth, 3, &halted(HaltReason::Superseded { by: 8 })), None);
        let reason = HaltReason::Operator { who: "ann".into(), why: "x\r\nBcc: y".into() };
        let said = said(&mut worth, 4, &halted(reason)).unwrap();
        assert_eq!((said.id.as_str(), said.kind.as_str(), said.entry), ("entry-4", "rollout.halted", Some(4)));
        assert!(!said.text.contains('\n') && said.subject.contains("Verteilung 7"), "{said:?}");
    }
}
