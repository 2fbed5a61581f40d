//! What this machine's sensor left for the server, in a folder that it shares with the agent; and what the agent itself has to
//! say of the sensor, which nobody else would say: that it is silent.
//!
//! The folder belongs to the sensor (`crates/sensor/src/spool.rs`). Nothing in it is believed but for its form: it is passed
//! on. What must stay out: when it is looked at (`run::sensor`).

use crate::directory::{self, FileError, file_error};
use serde::{Deserialize, Serialize};
use staffel_trust::wire::{Detections, Finding, Found, SensorTrouble, Severity};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where a sensor leaves its findings if nothing else is said.
pub const USUAL: &str = "/var/lib/staffel/sensor/spool";
/// Most findings of one delivery.
const MOST: usize = 128;
/// Most bytes of the findings of one delivery.
const MOST_BYTES: usize = 512 << 10;
/// Longest file that is a finding.
const LONGEST: u64 = 64 << 10;
/// The agent's own file in the folder.
const NOTED: &str = "acknowledged";
/// Most findings of the agent's own that wait.
const MOST_OWN: usize = 64;

/// How a sensor says that it lives: as far as it is shown to people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Alive {
    /// Grows with every sign of life.
    pub beats: u64,
    #[serde(default)]
    pub pack: Option<String>,
    /// Source and why it sees nothing.
    #[serde(default)]
    pub blind: std::collections::BTreeMap<String, String>,
    /// Findings that wait.
    #[serde(default)]
    pub waiting: u64,
}

/// What lies in the folder now.
#[derive(Debug, Default)]
pub struct Looked {
    pub alive: Option<Alive>,
    /// What the server should hear; none if nothing waits.
    pub delivery: Option<Detections>,
    /// More waits than this delivery takes.
    pub more: bool,
    /// Findings whose files are not readable, in words; their numbers are missing from the delivery, and the server counts that.
    pub problem: Option<String>,
}

#[derive(Default, Deserialize)]
struct Lost {
    lost: u64,
}

/// Looks into a sensor's folder.
pub fn look(folder: &Path) -> Result<Looked, FileError> {
    let alive = directory::read(&folder.join("alive.json"))?;
    let alive = alive.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let stream = directory::read(&folder.join("stream"))?.and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(stream) = stream.map(|stream| stream.trim().to_string()) else {
        return Ok(Looked { alive, ..Looked::default() });
    };
    // The sensor may not have removed it yet.
    let noted = directory::read(&folder.join(NOTED))?.and_then(|bytes| String::from_utf8(bytes).ok());
    let noted = noted.as_deref().and_then(|text| text.split_once(' ')).filter(|(of, _)| *of == stream);
    let noted: u64 = noted.and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
    let lost: Lost = directory::read(&folder.join("lost.json"))?
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let entries = fs::read_dir(folder).map_err(|source| file_error("reading", folder, source))?;
    let mut numbers: Vec<u64> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok()).collect();
    numbers.retain(|number| *number > noted);
    numbers.sort_unstable();
    let (mut findings, mut bytes, mut problem) = (Vec::new(), 0, None);
    let mut more = false;
    for number in numbers {
        if findings.len() >= MOST || bytes >= MOST_BYTES {
            more = true;
            break;
        }
        match finding(folder, number) {
            Ok(Some((finding, length))) => {
                bytes += length;
                findings.push(finding);
            }
            // Taken back by the sensor since the folder was read.
            Ok(None) => {}
            Err(what) => problem = Some(what),
        }
    }
    let delivery = Detections { stream, findings, lost: lost.lost };
    let delivery = (!delivery.findings.is_empty()).then_some(delivery);
    Ok(Looked { alive, delivery, more, problem })
}

fn finding(folder: &Path, number: u64) -> Result<Option<(Finding, usize)>, String> {
    let path = folder.join(format!("{number:020}.json"));
    let wrong = |what: String| format!("the sensor's finding {number}: {what}");
    let about = match fs::symlink_metadata(&path) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    if !about.is_file() || about.len() > LONGEST {
        return Err(wrong("it is no file of at most 64 KiB".into()));
    }
    let bytes = directory::read(&path).map_err(|error| wrong(crate::chain(&error)))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let finding: Finding = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if finding.number != number {
        return Err(wrong(format!("it calls itself {}", finding.number)));
    }
    Ok(Some((finding, bytes.len())))
}

/// Tells the sensor that everything of this stream up to this number is noted.
pub fn acknowledge(folder: &Path, stream: &str, through: u64) -> Result<(), FileError> {
    directory::write(&folder.join(NOTED), format!("{stream} {through}").as_bytes())
}

/// What the agent says of the sensor: a stream of its own, because the sensor can't say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Names the numbering; empty until something is said.
    pub stream: String,
    /// Number of the last finding.
    pub last: u64,
    pub waiting: Vec<Finding>,
    /// Findings that were dropped because nobody took them.
    pub lost: u64,
    /// Signs of life were seen in this folder once: a sensor belongs to this machine.
    pub known: Option<PathBuf>,
    /// It was said that the sensor is silent, and nothing was heard since.
    pub silent: bool,
}

impl Own {
    /// "Nothing is heard of the sensor", once until it is heard again.
    pub fn say_silent(&mut self, detail: String, now_ms: u64) {
        if self.stream.is_empty() {
            let mut bytes = [0; 16];
            // Without random numbers the time has to tell two streams apart.
            if getrandom::fill(&mut bytes).is_err() {
                bytes[..8].copy_from_slice(&now_ms.to_le_bytes());
            }
            self.stream = format!("agent-{}", bytes.map(|byte| format!("{byte:02x}")).concat());
        }
        self.silent = true;
        self.last += 1;
        let what = Found::Sensor { trouble: SensorTrouble::Silent, severity: Severity::High, detail };
        self.waiting.push(Finding { number: self.last, what, count: 1, first_ms: now_ms, last_ms: now_ms });
        if self.waiting.len() > MOST_OWN {
            self.waiting.remove(0);
            self.lost += 1;
        }
    }

    /// What the server should hear; none if nothing waits.
    pub fn delivery(&self) -> Option<Detections> {
        let delivery = Detections { stream: self.stream.clone(), findings: self.waiting.clone(), lost: self.lost };
        (!self.waiting.is_empty()).then_some(delivery)
    }

    /// Forgets what was noted.
    pub fn noted(&mut self, through: u64) {
        self.waiting.retain(|finding| finding.number > through);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, number: u64, text: &str) {
        fs::write(folder.join(format!("{number:020}.json")), text).unwrap();
    }

    fn text(number: u64) -> String {
        format!(
            "{{\"number\":{number},\"kind\":\"sensor\",\"trouble\":\"killed\",\"severity\":\"high\",\"detail\":\"x\",\
             \"count\":1,\"first_ms\":1,\"last_ms\":1}}"
        )
    }

    #[test]
    fn what_waits_is_read_in_order_and_what_is_no_finding_is_left_out_and_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(look(folder.path()).unwrap().delivery.is_none(), "nobody is there");
        fs::write(folder.path().join("stream"), "abc").unwrap();
        fs::write(folder.path().join("lost.json"), "{\"lost\":4,\"through\":1}").unwrap();
        fs::write(folder.path().join("alive.json"), "{\"beats\":3,\"pack\":\"linux 1\",\"more\":1}").unwrap();
        assert!(look(folder.path()).unwrap().delivery.is_none(), "nothing waits");
        for number in [12, 2, 3] {
            put(folder.path(), number, &text(number));
        }
        put(folder.path(), 4, "{\"cut");
        put(folder.path(), 5, &text(6));
        let looked = look(folder.path()).unwrap();
        let delivery = looked.delivery.unwrap();
        assert_eq!((delivery.stream.as_str(), delivery.lost), ("abc", 4));
        assert_eq!(delivery.findings.iter().map(|finding| finding.number).collect::<Vec<_>>(), [2, 3, 12]);
        assert!(looked.problem.unwrap().contains("it calls itself 6"));
        assert_eq!(looked.alive.unwrap().pack.as_deref(), Some("linux 1"));
        (100..300).for_each(|number| put(folder.path(), number, &text(number)));
        let looked = look(folder.path()).unwrap();
        assert_eq!((looked.delivery.unwrap().findings.len(), looked.more), (MOST, true));
        acknowledge(folder.path(), "abc", 290).unwrap();
        assert_eq!(fs::read(folder.path().join("acknowledged")).unwrap(), b"abc 290");
        assert_eq!(look(folder.path()).unwrap().delivery.unwrap().findings.len(), 9, "what is noted is not sent again");
        acknowledge(folder.path(), "other", 290).unwrap();
        assert_eq!(look(folder.path()).unwrap().delivery.unwrap().findings.len(), MOST);
    }

    #[test]
    fn silence_is_said_with_numbers_of_its_own_and_forgotten_when_noted() {
        let mut own = Own::default();
        assert_eq!(own.delivery(), None);
        (0..MOST_OWN as u64 + 2).for_each(|n| own.say_silent("gone".into(), n));
        let delivery = own.delivery().unwrap();
        assert!(delivery.stream.starts_with("agent-") && delivery.stream.len() <= 64);
        assert_eq!((delivery.findings[0].number, delivery.lost), (3, 2));
        own.noted(65);
        assert_eq!(own.waiting.len(), 1);
        own.noted(66);
        assert_eq!(own.delivery(), None);
        assert_eq!(own.last, 66);
    }
}
