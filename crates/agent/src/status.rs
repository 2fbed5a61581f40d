//! What the agent writes down for people: `staffel-agent status`.

use crate::directory::{self, Directory, FileError};
use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::Mode,
    device::{Phase, Reason},
    ids::{DeviceId, Digest},
};
use std::{collections::BTreeMap, fmt};

/// How it goes with the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "server", rename_all = "kebab-case")]
pub enum Contact {
    /// Nobody was asked yet.
    Starting,
    Reached,
    /// What runs goes on running.
    Gone {
        failures: u32,
        why: String,
    },
}

/// The last state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub device: DeviceId,
    pub name: String,
    /// Unix milliseconds, by the time that this device trusts.
    pub written_ms: u64,
    /// One sentence.
    pub why: String,
    pub phase: Phase,
    pub contact: Contact,
    /// From the guard; none until it has answered.
    pub mode: Option<Mode>,
    pub running: BTreeMap<String, Digest>,
    /// What is said of each rollout.
    pub reasons: Vec<Reason>,
    /// Trouble of the device as a whole, and what this machine lacks.
    pub problems: Vec<String>,
    /// Of this machine's sensor, one sentence.
    #[serde(default)]
    pub sensor: String,
}

impl AgentStatus {
    /// The state that the agent wrote last; none if it never ran.
    pub fn read(directory: &Directory) -> Result<Option<Self>, FileError> {
        directory::read_json(&directory.status())
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "device   {} ({})", self.name, self.device)?;
        match &self.contact {
            Contact::Starting => writeln!(f, "server   not asked yet")?,
            Contact::Reached => writeln!(f, "server   reached")?,
            Contact::Gone { failures, why } => {
                writeln!(f, "server   gone, {failures} attempts failed: {why}")?;
                writeln!(f, "         what runs goes on running; nothing changes until it is back")?;
            }
        }
        match &self.mode {
            None => writeln!(f, "guard    has not answered")?,
            Some(Mode::Normal) => writeln!(f, "guard    normal")?,
            Some(Mode::Safe { why }) => writeln!(f, "guard    SAFE MODE: {why}")?,
        }
        for (name, release) in &self.running {
            writeln!(f, "runs     {name} {}", release.short())?;
        }
        if !self.sensor.is_empty() {
            writeln!(f, "sensor   {}", self.sensor)?;
        }
        writeln!(f, "now      {}", self.why)?;
        for reason in &self.reasons {
            for refusal in &reason.refusals {
                writeln!(f, "why      rollout {}: condition {}: {refusal}", reason.rollout, refusal.condition())?;
            }
            for problem in &reason.problems {
                writeln!(f, "why      rollout {}: {problem}", reason.rollout)?;
            }
        }
        for problem in &self.problems {
            writeln!(f, "problem  {problem}")?;
        }
        Ok(())
    }
}
