//! What a device's sensor found, on its way to the server: `POST /v1/detections`, [`Detections`] -> [`DetectionsNoted`].
//!
//! Findings are numbered on the device and sent until they are noted, so that one may arrive twice and none is lost without
//! being counted. What must stay out: what the server makes of them.

use serde::{Deserialize, Serialize};
pub use staffel_core::detection::{Severity, Trouble as SensorTrouble};
use std::collections::BTreeMap;

/// Findings that the server has not noted yet, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detections {
    /// Names the numbering: random, and a new one where the sensor's folder was lost. At most 64 bytes.
    pub stream: String,
    /// Ascending by number.
    pub findings: Vec<Finding>,
    /// Findings of this stream that were dropped on the device because nobody took them for too long.
    #[serde(default)]
    pub lost: u64,
}

/// One finding; repetitions within a while are one with a count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of this stream, from 1.
    pub number: u64,
    #[serde(flatten)]
    pub what: Found,
    /// How often, at least 1.
    pub count: u64,
    /// The first and the last time, Unix milliseconds of the device's clock.
    pub first_ms: u64,
    pub last_ms: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Found {
    /// A rule of a detection pack matched an event.
    Match {
        /// The rule's id and title.
        rule: String,
        title: String,
        severity: Severity,
        /// The event's class, for example `process_creation`.
        class: String,
        /// Name and version of the pack.
        pack: String,
        version: u64,
        /// For example `attack.t1059.004`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        /// The event's fields as text, cut where they are long.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fields: BTreeMap<String, String>,
    },
    /// Something happened to the sensor itself.
    Sensor {
        trouble: SensorTrouble,
        severity: Severity,
        /// For people: what exactly.
        detail: String,
    },
}

/// The answer: everything up to this number is durable on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionsNoted {
    pub through: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text is written by the sensor in `crates/sensor/src/finding.rs`.
    const ON_THE_WIRE: [&str; 2] = [
        r#"{"number":7,"kind":"match","rule":"r","title":"t","severity":"high","class":"process_creation","pack":"linux","version":2,"tags":["attack.t1059"],"fields":{"Image":"/bin/x"},"count":3,"first_ms":10,"last_ms":20}"#,
        r#"{"number":8,"kind":"sensor","trouble":"killed","severity":"high","detail":"the collector","count":1,"first_ms":10,"last_ms":10}"#,
    ];

    #[test]
    fn what_a_sensor_writes_is_read_and_passed_on_unchanged() {
        for text in ON_THE_WIRE {
            let finding: Finding = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&finding).unwrap(), text);
        }
    }
}
