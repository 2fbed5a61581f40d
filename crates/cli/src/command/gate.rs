//! `staffel gate`: runs a release as a device would, with the very programs that devices run, and attests what passed.
//!
//! `settings` is `gate.toml`, `content` what is asked of detection packs, `bench` the scratch machine on which the release
//! runs, `before` what devices run now, `report` what a person reads, `attest` the signed word. The scratch machine has keys
//! of its own, made for this run and forgotten, so nothing here can stand in for a real signature. What must stay out:
//! signing anything that did not run.

pub mod attest;
mod before;
mod bench;
pub mod check;
pub mod content;
mod report;
pub mod settings;

use crate::{
    command::release,
    layout::{GATE, Layout},
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use bench::TestBench;
use check::{Checks, Said};
use content::Content;
use report::Report;
use settings::{Named, Settings};
use staffel_core::ids::Digest;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Arguments of `staffel gate`.
#[derive(clap::Args)]
#[command(after_help = "gate.toml, beside release.toml or in the installation folder (what is left out is as usual):
  checks = [\"contract\", \"consumers\", \"hostile\", \"budget\", \"undo\", \"lifecycle\"]
  corpora = [\"events.jsonl\"]                       recorded events besides those of an ordinary machine
  [consumers]   sensors = [\"1.3/staffel-sensor\"]   guards = [\"1.3/guard-ctl\"]      what the fleet still runs, newest first
  [hostile]     seconds = 10.0   seed = 1
  [budget]      cpu = 2.0   memory = 1.5   load = 3.0   alerts = 2.0                  times what the release before costs
  [lifecycle]   days = [1, 7, 30]
The names that passed are attested; a customer's policy demands them with `required_checks`.")]
pub struct Args {
    /// Folder of the release (as for `staffel release`).
    pub source: PathBuf,
    /// Installation folder.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Seconds that the probes must pass.
    #[arg(long, default_value_t = 10)]
    pub soak: u64,
    /// The guard that devices run: the consumer that is attested. Beside this program if not said.
    #[arg(long)]
    pub guard: Option<PathBuf>,
    /// The sensor that devices run, for releases with detection packs. Beside this program if not said.
    #[arg(long)]
    pub sensor: Option<PathBuf>,
    /// Which checks, and how [else gate.toml of the release or of the installation].
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Also write the report: as text, JSON or HTML, by the ending. May be given again.
    #[arg(long = "report", value_name = "FILE")]
    pub reports: Vec<PathBuf>,
    /// Run the checks, sign nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Run nothing: two releasers let it pass, for this reason. At most 100 may then be exposed at a time.
    #[arg(long, value_name = "WHY", conflicts_with_all = ["dry_run", "reports", "settings"])]
    pub waive: Option<String>,
    /// A releaser's key for a waiver, a name in the folder or a file; given twice [else releaser-1 and releaser-2].
    #[arg(long = "releaser", value_name = "KEY", requires = "waive")]
    pub releasers: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let layout = Layout::find(args.dir.as_deref())?;
    let built = release::build(&args.source)?;
    let (name, version) = (&built.release.name, &built.release.version);
    let statement = release::statement_file(&layout, name, version);
    let signed = release::read_envelope(&statement).ok().and_then(|envelope| envelope.digest().ok());
    if signed != Some(built.digest) {
        return Err(Failure::refused(
            format!("{name} {version} as it stands in {} is not released", args.source.display()),
            format!("run `staffel release {}` first; a gate attests exactly what was signed", args.source.display()),
        )
        .into());
    }
    if let Some(why) = &args.waive {
        attest::waive(&layout, &built, why, &args.releasers)?;
        if !as_json {
            println!("The gate is waived for {name} {version}: {why}. No check ran.");
            println!("Next: staffel rollout start {name} {version} --budget 100");
        }
        return Ok(());
    }
    let (settings, file) = Settings::find(&args.source, &layout, args.settings.as_deref())?;
    let before = before::find(&layout, &built);
    let mut checks = Checks::new(as_json);
    let mut used: Vec<(String, Digest)> = vec![("release files".into(), built.release.content_digest())];
    if let Some(file) = &file {
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        used.push(("gate.toml".into(), Digest::of(&bytes)));
    }
    if let Some(before) = &before {
        used.push((format!("the release before, {} {}", before.release.name, before.release.version), before.digest));
    }
    if settings.has(Named::Contract) {
        checks.run(Named::Contract, "its place among the releases", || {
            before::same_place(&layout, &built).map_or_else(|| Ok(Said::default()), |why| Err(anyhow::anyhow!(why)))
        });
    }
    let candidates = content::candidates(&built, before.as_ref());
    if !candidates.is_empty() {
        let newest = or_sibling(args.sensor.as_deref(), "staffel-sensor")?;
        let content = Content::new(&settings, &newest, candidates)?;
        used.extend(content.used()?);
        content.run(&mut checks);
    }
    let newest = or_sibling(args.guard.as_deref(), "guard-ctl")?;
    // Nothing else needs what ran before on the machine.
    let before = before.filter(|_| settings.has(Named::Undo) || settings.has(Named::Budget));
    let mut guards = Vec::new();
    for (at, guard) in std::iter::once(&newest).chain(&settings.consumers.guards).enumerate() {
        // What has failed already need not be tried on a machine.
        if checks.first_failure().is_some() {
            break;
        }
        let mut machine = TestBench::new(guard, &built, before.as_ref(), at).context("set up the scratch machine")?;
        machine.run(Duration::from_secs(args.soak), &settings, &mut checks);
        let digest = machine.consumer();
        used.extend(digest.map(|digest| (machine.label(), digest)));
        guards.extend(digest);
    }
    checks.finish();
    let report = Report { name, version, release: built.digest, checks: &checks, used: &used };
    for file in &args.reports {
        keep(&report, file)?;
    }
    if as_json {
        json(&report.json())?
    } else {
        print!("{}", report.text())
    }
    if let Some(failed) = checks.first_failure() {
        let why = failed.failure.clone().unwrap_or_default();
        return Err(Failure::refused(
            format!("the gate refuses {name} {version}: {}: {why}", failed.check.name()),
            "mend the release; nothing was attested",
        )
        .into());
    }
    if args.dry_run {
        return Ok(());
    }
    let Some(consumer) = guards.first().copied() else {
        let hint = "name `consumers` among the checks: no device takes what its own consumer did not run";
        return Err(Failure::refused("the gate did not learn its consumer", hint).into());
    };
    attest::attest(&layout, &built, guards, &used, checks.passed())?;
    if !as_json {
        let passed = checks.passed().join(", ");
        println!("Attested for consumer {} by {} gate keys: {passed}.", consumer.short(), GATE.len());
        println!("Next: staffel rollout start {name} {version}");
    }
    Ok(())
}

fn keep(report: &Report<'_>, file: &Path) -> Result<()> {
    let text = match file.extension().and_then(|ending| ending.to_str()) {
        Some("html") => report.html(),
        Some("json") => serde_json::to_string_pretty(&report.json())? + "\n",
        _ => report.text(),
    };
    std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

fn or_sibling(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    given.map_or_else(|| sibling(name), |given| Ok(given.to_path_buf()))
}

/// A program that was installed beside this one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("find this program")?;
    let path = here.with_file_name(name);
    if !path.is_file() {
        return Err(Failure::not_found(
            format!("{} is not there", path.display()),
            "build it (`./dev build`) or say where it is",
        )
        .into());
    }
    Ok(path)
}
