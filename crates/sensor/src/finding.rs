//! What the sensor tells the server, by way of the agent: rules that matched, and what happened to the sensor itself.
//!
//! The JSON is that of `staffel_trust::wire::Finding`, which this crate does not link: the same text is read in the tests of
//! both. What must stay out: how often something is said (`reporter`) and where it waits (`spool`).

use crate::event::Alert;
use serde::{Deserialize, Serialize};
use staffel_pack::{Catalogue, Record, Value, format::Level, record::cut};
use std::collections::BTreeMap;

/// Longest text of a field in bytes.
pub const LONGEST: usize = 1_024;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of this sensor's stream, from 1.
    pub number: u64,
    #[serde(flatten)]
    pub draft: Draft,
}

/// A finding that has no number yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    #[serde(flatten)]
    pub what: Found,
    /// How often, at least 1.
    pub count: u64,
    /// The first and the last time, Unix milliseconds of this machine's clock.
    pub first_ms: i64,
    pub last_ms: i64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Found {
    /// A rule matched an event.
    Match {
        rule: String,
        title: String,
        severity: Level,
        class: String,
        /// Name and version of the pack.
        pack: String,
        version: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// The event's fields as text, cut at [`LONGEST`].
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fields: BTreeMap<String, String>,
    },
    /// Something happened to the sensor itself.
    Sensor { trouble: Trouble, severity: Level, detail: String },
}

/// What happened to the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// One of its processes was ended by somebody else.
    Killed,
    /// One of its processes was stopped and did not answer.
    Stopped,
    /// Its program or one of its files is another than it was.
    Modified,
    /// A source of events is gone, or lost some.
    Blind,
    /// A pack was taken out of service.
    Quarantined,
}

impl Trouble {
    fn severity(self) -> Level {
        match self {
            Trouble::Blind => Level::Medium,
            Trouble::Killed | Trouble::Stopped | Trouble::Modified | Trouble::Quarantined => Level::High,
        }
    }
}

/// Fields that tell two events of one class apart, for whoever looks at them; all others differ from event to event.
const TELLING: [(&str, &[&str]); 4] = [
    ("process_creation", &["Image", "CommandLine", "UserId", "ParentImage"]),
    ("file_event", &["Image", "TargetFilename", "Operation"]),
    ("network_connection", &["Image", "DestinationIp", "DestinationPort"]),
    ("authentication", &["Program", "User", "TargetUser", "SourceIp", "Outcome"]),
];

impl Found {
    /// A rule matched this record.
    pub fn of(alert: &Alert, record: &Record<'_>, catalogue: &Catalogue) -> Self {
        let class = catalogue.classes.get(usize::from(record.class));
        let fields = class.into_iter().flat_map(|class| {
            class.fields.iter().filter_map(|field| {
                let (slot, _) = class.slot(&field.name)?;
                let text = match record.value(slot)? {
                    Value::Text(text) => cut(text, LONGEST).to_string(),
                    Value::Number(number) => number.to_string(),
                };
                Some((field.name.clone(), text))
            })
        });
        Found::Match {
            rule: alert.rule.clone(),
            title: alert.title.clone(),
            severity: alert.level,
            class: alert.class.clone(),
            pack: alert.pack.clone(),
            version: alert.version,
            tags: alert.tags.clone(),
            fields: fields.collect(),
        }
    }

    /// Something happened to the sensor.
    pub fn sensor(trouble: Trouble, detail: impl Into<String>) -> Self {
        Found::Sensor { trouble, severity: trouble.severity(), detail: detail.into() }
    }

    /// What may be said so many times a minute: a rule, or a trouble.
    pub fn subject(&self) -> String {
        match self {
            Found::Match { rule, .. } => rule.clone(),
            Found::Sensor { trouble, .. } => format!("{trouble:?}"),
        }
    }

    /// Findings with the same key are one with a count.
    pub fn key(&self) -> String {
        match self {
            Found::Match { rule, class, fields, .. } => {
                let telling = TELLING.iter().find(|(name, _)| name == class).map_or(&[][..], |(_, fields)| fields);
                let mut key = rule.clone();
                for name in telling {
                    key.push('\0');
                    key.push_str(fields.get(*name).map_or("", String::as_str));
                }
                key
            }
            Found::Sensor { trouble, detail, .. } => format!("{trouble:?}\0{detail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text is read in `crates/trust/src/wire/detections.rs`.
    const ON_THE_WIRE: [&str; 2] = [
        r#"{"number":7,"kind":"match","rule":"r","title":"t","severity":"high","class":"process_creation","pack":"linux","version":2,"tags":["attack.t1059"],"fields":{"Image":"/bin/x"},"count":3,"first_ms":10,"last_ms":20}"#,
        r#"{"number":8,"kind":"sensor","trouble":"killed","severity":"high","detail":"the collector","count":1,"first_ms":10,"last_ms":10}"#,
    ];

    #[test]
    fn it_is_written_as_the_server_reads_it() {
        let what = Found::Match {
            rule: "r".into(),
            title: "t".into(),
            severity: Level::High,
            class: "process_creation".into(),
            pack: "linux".into(),
            version: 2,
            tags: vec!["attack.t1059".into()],
            fields: [("Image".to_string(), "/bin/x".to_string())].into(),
        };
        let matched = Finding { number: 7, draft: Draft { what, count: 3, first_ms: 10, last_ms: 20 } };
        let what = Found::sensor(Trouble::Killed, "the collector");
        let killed = Finding { number: 8, draft: Draft { what, count: 1, first_ms: 10, last_ms: 10 } };
        for (finding, text) in [matched, killed].into_iter().zip(ON_THE_WIRE) {
            assert_eq!(serde_json::to_string(&finding).expect("it is JSON"), text);
            assert_eq!(serde_json::from_str::<Finding>(text).expect("it is one"), finding);
        }
    }
}
