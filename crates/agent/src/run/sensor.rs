//! Passing on what the sensor found, and noticing that nothing is heard of it.
//!
//! What must stay out: the files (`findings`), and what the findings mean.

use super::agent::Agent;
use crate::{
    api::ApiError,
    chain, directory,
    findings::{Alive, Own},
};
use std::path::PathBuf;

/// Between two looks at the sensor's folder, milliseconds.
const LOOK_EVERY_MS: u64 = 2_000;
/// Between two deliveries, in the long run; the server takes as many.
const DELIVER_EVERY_MS: u64 = 15_000;
/// So many need not wait for one another after a quiet time. The server takes some more.
const AT_ONCE: u64 = 20;
/// After a delivery that failed.
const AGAIN_MS: u64 = 30_000;
/// Without a new sign of life for so long a sensor is silent, milliseconds in which the machine was awake.
const SILENT_AFTER_MS: u64 = 60_000;

/// What a look at the sensor's folder and a delivery brought.
#[derive(Debug, Default)]
pub(super) struct Sensed {
    pub alive: Option<Alive>,
    /// The server has noted the agent's own findings up to this number.
    pub own_noted: Option<u64>,
    /// It wants to be called again at once.
    pub more: bool,
    /// Something was delivered.
    pub delivered: bool,
    /// The folder, in words.
    pub problem: Option<String>,
    /// The server.
    pub refused: Option<ApiError>,
}

/// What is known of the sensor.
#[derive(Default)]
pub(super) struct Sensor {
    /// None: this machine has no sensor, or nobody said where.
    folder: Option<PathBuf>,
    own: Own,
    look_at_ms: u64,
    deliver_at_ms: u64,
    /// When [`AT_ONCE`] deliveries may be made again.
    rested_at_ms: u64,
    busy: bool,
    /// The last sign of life.
    alive: Option<Alive>,
    /// Since when there is no new one, on the running clock; time asleep is left out.
    quiet_since_ms: Option<u64>,
}

impl Sensor {
    /// `folder`: as it was said; `usual`: it was not said, so a folder that is not there is no trouble.
    pub fn open(folder: PathBuf, usual: bool, own: Own) -> Self {
        let expected = !usual || own.known.is_some() || folder.is_dir();
        Sensor { folder: expected.then_some(folder), own, ..Sensor::default() }
    }

    /// When it wants to be looked at; never if there is none or it is being looked at.
    pub fn wake_at_ms(&self) -> u64 {
        if self.folder.is_none() || self.busy { u64::MAX } else { self.look_at_ms }
    }

    /// The machine slept for so long, milliseconds: its sensor slept, too.
    pub fn slept(&mut self, slept_ms: u64) {
        self.quiet_since_ms = self.quiet_since_ms.map(|since| since.saturating_add(slept_ms));
    }

    /// A sign of life, or none; what is to be said now.
    fn hear(&mut self, alive: Option<Alive>, now: u64, wall_ms: u64) -> Option<String> {
        let beat = alive.as_ref().map(|alive| alive.beats);
        if beat.is_some() && beat != self.alive.as_ref().map(|alive| alive.beats) {
            // What lies there at the first look may be old.
            if self.quiet_since_ms.is_some() {
                self.own.silent = false;
                self.own.known.clone_from(&self.folder);
            }
            (self.alive, self.quiet_since_ms) = (alive, Some(now));
            return None;
        }
        let since = *self.quiet_since_ms.get_or_insert(now);
        if self.own.silent || now.saturating_sub(since) < SILENT_AFTER_MS {
            return None;
        }
        let folder = self.folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
        let detail = format!("the sensor has given no sign of life in {folder} for {} s", SILENT_AFTER_MS / 1_000);
        self.own.say_silent(detail.clone(), wall_ms);
        (self.look_at_ms, self.deliver_at_ms) = (now, now);
        Some(detail)
    }

    /// Something was delivered: when the next may be.
    fn delivered(&mut self, now: u64) {
        self.rested_at_ms = self.rested_at_ms.max(now).saturating_add(DELIVER_EVERY_MS);
        self.deliver_at_ms = self.rested_at_ms.saturating_sub((AT_ONCE - 1) * DELIVER_EVERY_MS);
    }

    /// For people.
    pub fn describe(&self) -> String {
        let Some(folder) = &self.folder else { return "none on this machine".into() };
        if self.own.silent {
            return format!("SILENT: no new sign of life in {}", folder.display());
        }
        match &self.alive {
            None => format!("nothing heard yet in {}", folder.display()),
            Some(alive) => {
                let mut text = format!("{} runs", alive.pack.as_deref().unwrap_or("no pack"));
                for (source, why) in &alive.blind {
                    text.push_str(&format!("; blind: {source}: {why}"));
                }
                text
            }
        }
    }
}

impl Agent {
    /// Looks into the sensor's folder if it is time, and delivers what waits there.
    pub(super) fn look_for_findings(&mut self) {
        let now = self.state.now_ms;
        if now < self.sensor.wake_at_ms() {
            return;
        }
        let Some(folder) = self.sensor.folder.clone() else { return };
        self.sensor.busy = true;
        self.sensor.look_at_ms = now.saturating_add(LOOK_EVERY_MS);
        let own = self.sensor.own.delivery();
        let deliver = (now >= self.sensor.deliver_at_ms).then(|| self.api.clone());
        self.work.findings(folder, deliver, own);
    }

    pub(super) fn take_findings(&mut self, sensed: Sensed) {
        let now = self.state.now_ms;
        self.sensor.busy = false;
        let before = self.sensor.own.clone();
        if let Some(through) = sensed.own_noted {
            self.sensor.own.noted(through);
        }
        if sensed.delivered {
            self.sensor.delivered(now);
        }
        if let Some(error) = &sensed.refused {
            tracing::warn!("{}", chain(error));
            self.sensor.deliver_at_ms = now.saturating_add(AGAIN_MS);
        } else if sensed.more {
            self.sensor.look_at_ms = now;
        }
        if sensed.refused.is_some() || sensed.delivered || sensed.problem.is_some() {
            self.problem("sensor", sensed.refused.as_ref().map(|error| chain(error)).or(sensed.problem));
        }
        let wall_ms = self.now_ms();
        if let Some(detail) = self.sensor.hear(sensed.alive, now, wall_ms) {
            tracing::warn!("{detail}");
        }
        if self.sensor.own != before {
            let written = directory::write_json(&self.options.directory.findings(), &self.sensor.own);
            self.problem("findings", written.err().map(|error| chain(&error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(beats: u64) -> Option<Alive> {
        Some(Alive { beats, ..Alive::default() })
    }

    #[test]
    fn silence_is_said_once_until_the_sensor_is_heard_again() {
        let mut sensor = Sensor::open("/sensor".into(), false, Own::default());
        // An old word lies there, and no new one comes.
        assert_eq!(sensor.hear(alive(7), 0, 1), None);
        assert_eq!(sensor.hear(alive(7), SILENT_AFTER_MS - 1, 2), None);
        assert!(sensor.hear(alive(7), SILENT_AFTER_MS, 3).is_some_and(|said| said.contains("/sensor for 60 s")));
        assert_eq!(sensor.hear(alive(7), 10 * SILENT_AFTER_MS, 4), None);
        assert_eq!((sensor.own.last, sensor.own.silent, sensor.own.known.is_some()), (1, true, false));
        assert!(sensor.describe().starts_with("SILENT"));
        assert_eq!(sensor.hear(alive(8), 700_000, 5), None);
        assert_eq!((sensor.own.silent, sensor.own.known.is_some()), (false, true));
        assert_eq!(sensor.hear(None, 700_001, 6), None);
        assert!(sensor.hear(None, 700_000 + SILENT_AFTER_MS, 7).is_some());
        assert_eq!(sensor.own.last, 2);
    }

    #[test]
    fn a_sensor_is_not_silent_because_its_machine_slept() {
        let mut sensor = Sensor::open("/sensor".into(), false, Own::default());
        assert_eq!(sensor.hear(alive(7), 0, 1), None);
        sensor.slept(3_600_000);
        assert_eq!(sensor.hear(alive(7), 3_600_000 + SILENT_AFTER_MS - 1, 2), None);
        assert!(sensor.hear(alive(7), 3_600_000 + SILENT_AFTER_MS, 3).is_some());
    }

    #[test]
    fn a_finding_waits_for_the_one_before_only_where_there_are_many() {
        let mut sensor = Sensor::default();
        for now in (0..AT_ONCE).map(|n| 1_000 + n) {
            assert!(sensor.deliver_at_ms <= now, "{now}");
            sensor.delivered(now);
        }
        // From here on one in fifteen seconds.
        for n in 1..4 {
            assert_eq!(sensor.deliver_at_ms, 1_000 + n * DELIVER_EVERY_MS);
            sensor.delivered(sensor.deliver_at_ms);
        }
        // A quiet time: all of it is there again.
        sensor.delivered(3_600_000);
        assert_eq!(sensor.deliver_at_ms, 3_600_000 - (AT_ONCE - 2) * DELIVER_EVERY_MS);
    }

    #[test]
    fn a_machine_without_a_sensor_is_not_silent() {
        let none = Sensor::open("/no/such/folder".into(), true, Own::default());
        assert_eq!((none.wake_at_ms(), none.describe().as_str()), (u64::MAX, "none on this machine"));
        // It had one: whoever removed the folder is not believed.
        let known = Own { known: Some("/no/such/folder".into()), ..Own::default() };
        assert_eq!(Sensor::open("/no/such/folder".into(), true, known).wake_at_ms(), 0);
    }
}
