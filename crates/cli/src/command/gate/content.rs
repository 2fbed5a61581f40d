//! Detection packs in a release (`*.pack.json`): the very programs that devices run say what they supply, load the pack in
//! their sandbox, and run whatever is asked on it. A pack that names what a consumer does not supply ends here, whether an
//! example looks at it or not. What must stay out: an evaluator of the gate's own, which could be kinder than the real one.

use super::{
    check::{Checks, Said},
    settings::{Budget, Named, Settings},
};
use crate::command::release::Built;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use staffel_core::ids::Digest;
use staffel_pack::{Catalogue, Pack, contract, format::LARGEST_PACK};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// How a file is called that holds a pack.
const ENDING: &str = ".pack.json";
/// Events of an ordinary development machine.
const ORDINARY: &str = include_str!("../../../../../packs/corpora/ordinary.jsonl");

/// A sensor that devices run: the program, and the code of its evaluator beside it.
pub struct Sensor {
    /// `N`, `N-1` and so on.
    pub label: String,
    pub program: PathBuf,
}

/// A pack under test.
pub struct Candidate {
    pub file: PathBuf,
    /// The pack that devices run now.
    pub before: Option<PathBuf>,
}

/// All that the checks of packs need.
pub struct Content<'a> {
    settings: &'a Settings,
    sensors: Vec<Sensor>,
    candidates: Vec<Candidate>,
    corpora: Vec<PathBuf>,
    scratch: tempfile::TempDir,
}

/// What a sensor answers to `trial`.
#[derive(Deserialize)]
struct Outcome {
    why: Option<String>,
    figures: BTreeMap<String, f64>,
}

/// The packs of a release, each with the one at its place in the release before.
pub fn candidates(built: &Built, before: Option<&Built>) -> Vec<Candidate> {
    fn packs(built: &Built) -> impl Iterator<Item = (&str, &PathBuf)> {
        let files = built.release.files.iter().zip(&built.sources);
        files.map(|(file, source)| (file.path.as_str(), source)).filter(|(path, _)| path.ends_with(ENDING))
    }
    let old: BTreeMap<&str, &PathBuf> = before.into_iter().flat_map(packs).collect();
    packs(built)
        .map(|(path, source)| Candidate { file: source.clone(), before: old.get(path).map(|&file| file.clone()) })
        .collect()
}

impl<'a> Content<'a> {
    /// With the newest sensor, and those that the settings name.
    pub fn new(settings: &'a Settings, newest: &Path, candidates: Vec<Candidate>) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("staffel-gate-").tempdir().context("make a temporary folder")?;
        let ordinary = scratch.path().join("ordinary.jsonl");
        std::fs::write(&ordinary, ORDINARY).with_context(|| format!("write {}", ordinary.display()))?;
        let older = settings.consumers.sensors.iter().enumerate();
        let older = older.map(|(at, program)| Sensor { label: format!("N-{}", at + 1), program: program.clone() });
        let sensors = std::iter::once(Sensor { label: "N".into(), program: newest.into() }).chain(older).collect();
        let corpora = std::iter::once(ordinary).chain(settings.corpora.iter().cloned()).collect();
        Ok(Content { settings, sensors, candidates, corpora, scratch })
    }

    /// What an attestation names: each file that was used, with its digest.
    pub fn used(&self) -> Result<Vec<(String, Digest)>> {
        let mut used = Vec::new();
        let mut add = |name: String, path: &Path| -> Result<()> {
            let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            used.push((name, Digest::of(&bytes)));
            Ok(())
        };
        for Sensor { label, program } in &self.sensors {
            let label = if label == "N" { String::new() } else { format!(" ({label})") };
            add(format!("staffel-sensor{label}"), program)?;
            add(format!("evaluator.cwasm{label}"), &program.with_file_name("evaluator.cwasm"))?;
        }
        for corpus in &self.corpora {
            add(format!("recorded events {}", name(corpus)), corpus)?;
        }
        for before in self.candidates.iter().filter_map(|candidate| candidate.before.as_ref()) {
            add("the pack before".into(), before)?;
        }
        Ok(used)
    }

    /// All checks that the settings name, on each pack; stops at the first that fails.
    pub fn run(&self, checks: &mut Checks) {
        for check in Named::ALL.into_iter().filter(|check| self.settings.has(*check)) {
            for candidate in &self.candidates {
                let pack = name(&candidate.file);
                match check {
                    Named::Contract | Named::Consumers => {
                        for sensor in &self.sensors {
                            let part = format!("{pack} and sensor {}", sensor.label);
                            checks.run(check, part, || match check {
                                Named::Contract => contract(sensor, candidate),
                                _ => self.plain(sensor, "consume", candidate, &[]),
                            });
                        }
                    }
                    Named::Hostile => {
                        let time = self.settings.hostile.seconds.to_string();
                        let seed = self.settings.hostile.seed.to_string();
                        let arguments = ["--seconds", &time, "--seed", &seed];
                        checks.run(check, format!("variants of {pack}"), || {
                            self.plain(&self.sensors[0], "hostile", candidate, &arguments)
                        });
                    }
                    Named::Budget => {
                        checks.run(check, format!("{pack} beside the one before"), || {
                            let outcome = self.ask(&self.sensors[0], "budget", candidate, &[])?;
                            within(&self.settings.budget, &outcome.figures)
                        });
                    }
                    Named::Undo => {
                        checks.run(check, format!("to {pack} and back"), || {
                            self.plain(&self.sensors[0], "undo", candidate, &[])
                        });
                    }
                    Named::Lifecycle => {
                        let days: Vec<String> = self.settings.lifecycle.days.iter().map(ToString::to_string).collect();
                        let days = days.join(",");
                        let arguments: &[&str] = if days.is_empty() { &[] } else { &["--days", &days] };
                        checks.run(check, format!("{pack} killed, restarted, and later"), || {
                            self.plain(&self.sensors[0], "lifecycle", candidate, arguments)
                        });
                    }
                }
            }
        }
    }

    fn plain(&self, sensor: &Sensor, step: &str, candidate: &Candidate, arguments: &[&str]) -> Result<Said> {
        let outcome = self.ask(sensor, step, candidate, arguments)?;
        let figures = outcome.figures.iter().map(|(name, figure)| format!("{name} {}", rounded(*figure))).collect();
        Ok(Said { figures, left_out: None })
    }

    /// One step by the real program; an error is its reason.
    fn ask(&self, sensor: &Sensor, step: &str, candidate: &Candidate, arguments: &[&str]) -> Result<Outcome> {
        let state = tempfile::tempdir_in(self.scratch.path()).context("make a temporary folder")?;
        let mut all: Vec<OsString> = vec!["trial".into(), step.into(), candidate.file.clone().into()];
        all.extend(["--state".into(), state.path().into()]);
        if let Some(before) = &candidate.before {
            all.extend(["--before".into(), before.into()]);
        }
        for corpus in &self.corpora {
            all.extend(["--corpus".into(), corpus.into()]);
        }
        all.extend(arguments.iter().map(Into::into));
        let output = sensor.ask(&all)?;
        let outcome: Outcome = serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            format!("sensor {} does not answer ({}): {said}", sensor.label, output.status)
        })?;
        match outcome.why {
            Some(why) => bail!("{}: {why}", name(&candidate.file)),
            None => Ok(outcome),
        }
    }
}

impl Sensor {
    fn ask(&self, arguments: &[OsString]) -> Result<Output> {
        let run = Command::new(&self.program).args(arguments).stdin(Stdio::null()).output();
        run.with_context(|| format!("run {}", self.program.display()))
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn rounded(figure: f64) -> String {
    if figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

fn read(file: &Path) -> Result<Pack> {
    let name = name(file);
    let size = std::fs::metadata(file).with_context(|| format!("read {name}"))?.len();
    if size > LARGEST_PACK as u64 {
        bail!("{name} has {size} bytes, at most {LARGEST_PACK} are allowed");
    }
    Pack::read(&std::fs::read(file).with_context(|| format!("read {name}"))?)
        .with_context(|| format!("{name} is no pack"))
}

fn contract(sensor: &Sensor, candidate: &Candidate) -> Result<Said> {
    let (pack, name) = (read(&candidate.file)?, name(&candidate.file));
    let before = candidate.before.as_deref().map(read).transpose()?;
    let output = sensor.ask(&["fields".into()])?;
    let supplied: Catalogue =
        serde_json::from_slice(&output.stdout).context("staffel-sensor does not say what it supplies")?;
    if let Some(before) = before.as_ref().filter(|before| before.name != pack.name) {
        bail!("{name} is called {:?}, the one before {:?}: no version can follow", pack.name, before.name);
    }
    let breaches = contract::check(&pack, &supplied, before.map(|before| before.version));
    if !breaches.is_empty() {
        bail!("{name}: {}", breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    for rule in &pack.rules {
        for (matches, word) in [(true, "must match"), (false, "must not match")] {
            if !pack.vectors.iter().any(|vector| vector.rule == rule.id && vector.matches == matches) {
                bail!("{name}: rule {} has no example that it {word}", rule.id);
            }
        }
    }
    Ok(Said { figures: vec![format!("rules {}", pack.rules.len())], left_out: None })
}

/// Compares figures with the budget; the reason names all that are beyond it.
fn within(budget: &Budget, figures: &BTreeMap<String, f64>) -> Result<Said> {
    let limits = [
        ("cpu_us", "CPU microseconds an event", budget.cpu, budget.cpu_floor_us),
        ("memory_kib", "KiB of memory", budget.memory, budget.memory_floor_mib * 1_024.0),
        ("load_ms", "milliseconds to load", budget.load, budget.load_floor_ms),
        ("alerts_per_thousand", "alerts a thousand ordinary events", budget.alerts, budget.alerts_floor),
    ];
    let (mut said, mut beyond) = (Vec::new(), Vec::new());
    for (key, words, ratio, floor) in limits {
        let of = |whose: &str| figures.get(&format!("{key} {whose}")).copied().context("the sensor did not measure");
        let line = compared(words, of("offered")?, of("before")?, ratio, floor);
        match line {
            Ok(line) => said.push(line),
            Err(line) => beyond.push(line),
        }
    }
    if beyond.is_empty() { Ok(Said { figures: said, left_out: None }) } else { bail!("{}", beyond.join("; ")) }
}

/// One figure against that of the release before, in words.
pub fn compared(words: &str, offered: f64, before: f64, ratio: f64, floor: f64) -> Result<String, String> {
    let line = format!("{} {words}, {} before", rounded(offered), rounded(before));
    if offered <= floor || offered <= before * ratio {
        Ok(line)
    } else {
        Err(format!("{line}: more than {ratio} times as much"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_counts_against_the_one_before_and_a_floor() {
        assert!(compared("KiB", 10.0, 1.0, 2.0, 10.0).is_ok(), "nobody minds");
        assert!(compared("KiB", 20.0, 10.0, 2.0, 5.0).is_ok());
        let beyond = compared("KiB", 20.5, 10.0, 2.0, 5.0).unwrap_err();
        assert_eq!(beyond, "20.50 KiB, 10 before: more than 2 times as much");
    }
}
