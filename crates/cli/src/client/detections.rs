//! The routes of alerts. Must stay out: what the answers mean.

use super::{Client, encoded};
use anyhow::Result;
use serde_json::Value;
use staffel_server::api::{Acknowledge, DetectionPage, DetectionQuery, DetectionSheet, Erase};

/// A page of findings in the words of OCSF.
#[derive(serde::Deserialize)]
pub struct OcsfPage {
    pub findings: Vec<Value>,
    pub next: Option<u64>,
}

/// `?a=b&c=d` of what is said.
fn query_string(query: &DetectionQuery, format: Option<&str>) -> String {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    encoded(&[
        ("tenant", query.tenant.clone()),
        ("site", query.site.clone()),
        ("device", query.device.clone()),
        ("state", query.state.clone()),
        ("severity", query.severity.map(|severity| severity.word().into())),
        ("about", query.about.clone()),
        ("text", query.text.clone()),
        ("since", number(query.since)),
        ("before", number(query.before)),
        ("limit", query.limit.map(|limit| limit.to_string())),
        ("format", format.map(String::from)),
    ])
}

impl Client {
    /// A page of alerts, what changed last first.
    pub fn detections(&self, query: &DetectionQuery) -> Result<DetectionPage> {
        self.get(&format!("/detections{}", query_string(query, None)))
    }

    /// The same as OCSF Detection Findings.
    pub fn detections_as_ocsf(&self, query: &DetectionQuery) -> Result<OcsfPage> {
        self.get(&format!("/detections{}", query_string(query, Some("ocsf"))))
    }

    /// One alert with its latest events.
    pub fn detection(&self, id: u64) -> Result<DetectionSheet> {
        self.get(&format!("/detections/{id}"))
    }

    /// The same as an OCSF Detection Finding.
    pub fn detection_as_ocsf(&self, id: u64) -> Result<Value> {
        self.get(&format!("/detections/{id}?format=ocsf"))
    }

    /// Says that somebody has seen to it.
    pub fn acknowledge_detection(&self, id: u64, asked: &Acknowledge) -> Result<DetectionSheet> {
        self.post(&format!("/detections/{id}/acknowledgement"), asked)
    }

    /// Erases the fields of its events.
    pub fn erase_detection(&self, id: u64, asked: &Erase) -> Result<DetectionSheet> {
        self.post(&format!("/detections/{id}/erasure"), asked)
    }
}
