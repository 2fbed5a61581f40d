//! `gate.toml`: which checks a release has to pass, with what, and how much it may cost. What must stay out: running them.

use crate::{layout::Layout, output::Failure};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A check that devices can demand by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Named {
    /// Names, types, limits, and a version above the last.
    Contract,
    /// Those programs that the fleet runs load it and answer examples and recorded events.
    Consumers,
    /// Nothing made of this very content crashes, overruns or hangs them.
    Hostile,
    /// What it costs beside the release before.
    Budget,
    /// To it, back, and on.
    Undo,
    /// Killed, restarted, and at later times.
    Lifecycle,
}

impl Named {
    /// All, in the order in which they run.
    pub const ALL: [Named; 6] =
        [Named::Contract, Named::Consumers, Named::Hostile, Named::Undo, Named::Budget, Named::Lifecycle];

    /// As it stands in `gate.toml`, attestations and policies.
    pub fn name(self) -> &'static str {
        match self {
            Named::Contract => "contract",
            Named::Consumers => "consumers",
            Named::Hostile => "hostile",
            Named::Budget => "budget",
            Named::Undo => "undo",
            Named::Lifecycle => "lifecycle",
        }
    }
}

/// What `gate.toml` says; what it leaves out is as in [`Settings::default`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub checks: Vec<Named>,
    pub consumers: Consumers,
    /// Files with recorded events, besides those of an ordinary machine that come with this program.
    pub corpora: Vec<PathBuf>,
    pub hostile: Hostile,
    pub budget: Budget,
    pub lifecycle: Lifecycle,
}

/// Programs of earlier versions that the fleet still runs, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consumers {
    /// `staffel-sensor`, each with its `evaluator.cwasm` beside it.
    pub sensors: Vec<PathBuf>,
    /// `guard-ctl`.
    pub guards: Vec<PathBuf>,
}

/// How long hostile variants run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hostile {
    pub seconds: f64,
    /// The same seed makes the same variants.
    pub seed: u64,
}

/// Most that a release may cost: this many times what the one before costs in the same run, or up to a floor below which
/// nobody minds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    pub cpu: f64,
    pub memory: f64,
    pub load: f64,
    pub alerts: f64,
    /// CPU microseconds an event.
    pub cpu_floor_us: f64,
    pub memory_floor_mib: f64,
    /// Milliseconds until a pack is loaded, or until the probes of a component pass.
    pub load_floor_ms: f64,
    /// Alerts a thousand ordinary events.
    pub alerts_floor: f64,
}

/// Clocks of later days.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifecycle {
    pub days: Vec<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            checks: Named::ALL.to_vec(),
            consumers: Consumers::default(),
            corpora: Vec::new(),
            hostile: Hostile::default(),
            budget: Budget::default(),
            lifecycle: Lifecycle::default(),
        }
    }
}

impl Default for Hostile {
    fn default() -> Self {
        Hostile { seconds: 10.0, seed: 1 }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            cpu: 2.0,
            memory: 1.5,
            load: 3.0,
            alerts: 2.0,
            cpu_floor_us: 50.0,
            memory_floor_mib: 64.0,
            load_floor_ms: 500.0,
            alerts_floor: 1.0,
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle { days: vec![1, 7, 30] }
    }
}

impl Settings {
    /// Those of the release's folder, else of the installation, else the defaults; and the file that was read.
    pub fn find(source: &Path, layout: &Layout, named: Option<&Path>) -> Result<(Settings, Option<PathBuf>)> {
        let places = [source.join("gate.toml"), layout.root.join("gate.toml")];
        let file = named.map(Path::to_path_buf).or_else(|| places.into_iter().find(|place| place.is_file()));
        match file {
            None => Ok((Settings::default(), None)),
            Some(file) => Ok((Settings::read(&file)?, Some(file))),
        }
    }

    /// Reads a file; its paths are relative to its folder.
    pub fn read(file: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let mut settings: Settings = toml::from_str(&text).map_err(|error| {
            Failure::refused(format!("{}: {error}", file.display()), "see `staffel gate --help` for what it may say")
        })?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let Consumers { sensors, guards } = &mut settings.consumers;
        for path in sensors.iter_mut().chain(guards).chain(&mut settings.corpora) {
            *path = folder.join(&*path);
        }
        Ok(settings)
    }

    /// True if this check is to run.
    pub fn has(&self, check: Named) -> bool {
        self.checks.contains(&check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_usual_and_what_is_unknown_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gate.toml");
        std::fs::write(&file, "checks = [\"contract\", \"undo\"]\n[consumers]\nsensors = [\"old/staffel-sensor\"]\n")
            .unwrap();
        let settings = Settings::read(&file).unwrap();
        assert!(settings.has(Named::Undo) && !settings.has(Named::Budget));
        assert_eq!(settings.consumers.sensors, [dir.path().join("old/staffel-sensor")]);
        assert_eq!(settings.hostile, Hostile::default());
        for wrong in ["checks = [\"contrct\"]", "[budget]\nspeed = 1.0"] {
            std::fs::write(&file, wrong).unwrap();
            let error = Settings::read(&file).unwrap_err();
            assert_eq!(error.downcast_ref::<Failure>().map(|failure| failure.code), Some(3));
        }
    }
}
