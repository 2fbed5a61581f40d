//! From what a device sent to core's types. Every text is cut to a length that a log can bear, and control characters become
//! spaces; a finding that this version does not understand is counted and keeps nobody waiting. What must stay out: what
//! it means.

use super::super::{EngineError, operate::refused};
use serde::Deserialize;
use serde_json::Value;
use staffel_core::detection::{About, Delivery, Sighting, Subject};
use staffel_trust::wire::{Finding, Found};
use std::collections::BTreeMap;

/// Characters of a rule's id, of the names of class and pack, and of a tag.
const NAME: usize = 128;
const TITLE: usize = 200;
const TAGS: usize = 12;
const DETAIL: usize = 300;
/// Fields of an event, characters of a field's name and of its value, and bytes of all values of one event.
const FIELDS: usize = 32;
const FIELD_NAME: usize = 64;
const FIELD: usize = 1_000;
const ALL_FIELDS: usize = 4_096;

/// `POST /v1/detections` as it is read: each finding by itself, so that one of a later version does not hold up the others.
#[derive(Clone, Debug, Deserialize)]
pub struct Sent {
    stream: String,
    findings: Vec<Value>,
    #[serde(default)]
    lost: u64,
}

/// A delivery in core's types, and the fields of each sighting's event.
pub(super) struct Arrived {
    pub delivery: Delivery,
    pub fields: Vec<BTreeMap<String, String>>,
}

pub(super) fn convert(sent: Sent) -> Result<Arrived, EngineError> {
    let mut delivery = Delivery { stream: sent.stream, lost: sent.lost, sightings: Vec::new(), unreadable: Vec::new() };
    let mut fields = Vec::new();
    for value in sent.findings {
        let number = value.get("number").and_then(Value::as_u64);
        match serde_json::from_value::<Finding>(value) {
            Ok(finding) => {
                let (sighting, found) = sighting(finding);
                delivery.sightings.push(sighting);
                fields.push(found);
            }
            Err(error) => {
                let hint = "number the findings of a stream from 1";
                let number = number.ok_or_else(|| refused(format!("a finding without a number: {error}"), hint))?;
                tracing::debug!(number, %error, "a finding is not understood");
                delivery.unreadable.push(number);
            }
        }
    }
    Ok(Arrived { delivery, fields })
}

fn sighting(finding: Finding) -> (Sighting, BTreeMap<String, String>) {
    let (subject, severity, about, fields) = match finding.what {
        Found::Match { rule, title, severity, class, pack, version, tags, fields } => {
            let about = About {
                title: cut(&title, TITLE),
                class: cut(&class, NAME),
                pack: cut(&pack, NAME),
                version,
                tags: tags.iter().take(TAGS).map(|tag| cut(tag, NAME)).collect(),
                detail: String::new(),
            };
            (Subject::Rule(cut(&rule, NAME)), severity, about, bounded(fields))
        }
        Found::Sensor { trouble, severity, detail } => {
            let about = About { detail: cut(&detail, DETAIL), ..About::default() };
            (Subject::Sensor(trouble), severity, about, BTreeMap::new())
        }
    };
    let sighting = Sighting {
        number: finding.number,
        subject,
        severity,
        about,
        count: finding.count,
        first_ms: finding.first_ms,
        last_ms: finding.last_ms.max(finding.first_ms),
        has_fields: !fields.is_empty(),
    };
    (sighting, fields)
}

/// The first characters, in one line. An ellipsis says that there were more.
fn cut(text: &str, most: usize) -> String {
    let mut rest = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut kept: String = rest.by_ref().take(most).collect();
    if rest.next().is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

/// As many fields as fit, in the order of their names.
fn bounded(fields: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut left = ALL_FIELDS;
    let mut kept = BTreeMap::new();
    for (name, value) in fields.into_iter().take(FIELDS) {
        let value = cut(&value, FIELD);
        let (name, bytes) = (cut(&name, FIELD_NAME), value.len());
        let Some(rest) = left.checked_sub(bytes + name.len()) else { continue };
        left = rest;
        kept.insert(name, value);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(number: u64, fields: Value) -> Value {
        json!({
            "number": number, "kind": "match", "rule": "r", "title": "t\u{1b}[31m\r\nBcc: x", "severity": "high",
            "class": "process_creation", "pack": "linux", "version": 3, "fields": fields,
            "count": 0, "first_ms": 5, "last_ms": 3,
        })
    }

    fn read(body: Value) -> Result<Arrived, EngineError> {
        convert(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn texts_are_cut_to_one_line_and_times_make_sense() {
        let long = "ä".repeat(5_000);
        let many: BTreeMap<String, String> = (0..500).map(|n| (format!("f{n:03}"), long.clone())).collect();
        let arrived = read(json!({ "stream": "s", "findings": [found(1, json!(many))] })).unwrap();
        let sighting = &arrived.delivery.sightings[0];
        assert_eq!(sighting.about.title, "t [31m  Bcc: x");
        assert_eq!((sighting.first_ms, sighting.last_ms), (5, 5));
        let bytes: usize = arrived.fields[0].iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(bytes <= ALL_FIELDS && !arrived.fields[0].is_empty(), "{bytes}");
        let kept = &arrived.fields[0]["f000"];
        assert!(kept.chars().count() == FIELD && kept.ends_with('…'));
    }

    #[test]
    fn a_finding_of_a_later_version_is_counted_and_the_others_go_on() {
        let odd = json!({ "number": 2, "kind": "dream", "count": 1, "first_ms": 0, "last_ms": 0 });
        let body = json!({ "stream": "s", "lost": 4, "new": true, "findings": [found(1, json!({})), odd] });
        let arrived = read(body).unwrap();
        assert_eq!((arrived.delivery.sightings.len(), &arrived.delivery.unreadable[..]), (1, &[2][..]));
        assert_eq!(arrived.delivery.lost, 4);
        let nameless = read(json!({ "stream": "s", "findings": [{ "kind": "dream" }] }));
        assert!(matches!(nameless, Err(EngineError::Refused { .. })));
    }
}
