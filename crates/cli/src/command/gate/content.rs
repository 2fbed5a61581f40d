//! Detection packs in a release (`*.pack.json`): the program that devices run says what it supplies, loads the pack in its
//! sandbox, and runs the examples there. A pack that names what the consumer does not supply ends here, whether an example
//! looks at it or not. What must stay out: an evaluator of the gate's own, which could be kinder than the real one.

use super::bench::Check;
use crate::command::release::Built;
use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use staffel_core::ids::Digest;
use staffel_pack::{Catalogue, Pack, contract, format::LARGEST_PACK};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

/// How a file is called that holds a pack.
const ENDING: &str = ".pack.json";

/// The sensor that devices run: the program, and the code of its evaluator beside it.
pub struct Sensor<'a> {
    program: &'a Path,
}

/// The packs of a release, by their files.
pub fn packs(built: &Built) -> Vec<PathBuf> {
    let files = built.release.files.iter().zip(&built.sources);
    files.filter(|(file, _)| file.path.ends_with(ENDING)).map(|(_, source)| source.clone()).collect()
}

impl<'a> Sensor<'a> {
    /// With this program.
    pub fn new(program: &'a Path) -> Self {
        Sensor { program }
    }

    /// What an attestation names: each file of the consumer with its digest.
    pub fn digests(&self) -> Result<Vec<(&'static str, Digest)>> {
        let engine = self.program.with_file_name("evaluator.cwasm");
        let digest = |path: &Path| -> Result<Digest> {
            let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            Ok(Digest::of(&bytes))
        };
        Ok(vec![("staffel-sensor", digest(self.program)?), ("evaluator.cwasm", digest(&engine)?)])
    }

    /// Both checks on each pack; stops at the first that fails.
    pub fn run(&self, packs: &[PathBuf], checks: &mut Vec<Check>, progress: &ProgressBar) {
        type Step<'s> = (&'static str, fn(&Sensor<'s>, &Path) -> Result<()>);
        let steps: [Step<'a>; 2] = [
            ("keeps the sensor's contract", Sensor::contract),
            ("the sensor loads it and its examples pass", Sensor::loads),
        ];
        for (name, step) in steps {
            progress.set_message(name);
            let begun = Instant::now();
            let failure = packs.iter().find_map(|pack| step(self, pack).err()).map(|error| format!("{error:#}"));
            let failed = failure.is_some();
            checks.push(Check { name, failure, ms: begun.elapsed().as_millis() as u64 });
            if failed {
                return;
            }
        }
    }

    fn contract(&self, file: &Path) -> Result<()> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let size = std::fs::metadata(file).with_context(|| format!("read {name}"))?.len();
        if size > LARGEST_PACK as u64 {
            bail!("{name} has {size} bytes, at most {LARGEST_PACK} are allowed");
        }
        let pack = Pack::read(&std::fs::read(file).with_context(|| format!("read {name}"))?)
            .with_context(|| format!("{name} is no pack"))?;
        let output = self.ask(&["fields"])?;
        let supplied: Catalogue =
            serde_json::from_slice(&output.stdout).context("staffel-sensor does not say what it supplies")?;
        let breaches = contract::check(&pack, &supplied, None);
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
        Ok(())
    }

    fn loads(&self, file: &Path) -> Result<()> {
        let output = self.ask(&["check", &file.display().to_string()])?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        bail!("{}", String::from_utf8_lossy(&said).trim())
    }

    fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let run = Command::new(self.program).args(arguments).stdin(Stdio::null()).output();
        run.with_context(|| format!("run {}", self.program.display()))
    }
}
