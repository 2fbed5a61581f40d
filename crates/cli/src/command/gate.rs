//! `staffel gate`: runs a release as a device would, with the very programs that devices run, and attests what passed.
//!
//! The scratch machine has keys of its own, made for this run and forgotten, so nothing here can stand in for a real
//! signature. Checks: detection packs keep the contract of the sensor that devices run, and it loads them; the release
//! starts and its probes pass for the soak time; it can be taken back; it survives being killed; it survives a guard that
//! is killed. What must stay out: signing anything that did not run.

mod bench;
mod content;

use crate::{
    command::{release, repo},
    layout::{GATE, Layout, write},
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use bench::{Check, TestBench};
use content::Sensor;
use serde_json::json;
use staffel_core::{conditions::GateAttestation, ids::Digest};
use staffel_statement::predicate::{Descriptor, Gate, Header, sign};
use staffel_trust::{tuf::writer::Source, wire::gate_target};
use std::{path::PathBuf, time::Duration};

/// Arguments of `staffel gate`.
#[derive(clap::Args)]
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
    /// Run the checks, sign nothing.
    #[arg(long)]
    pub dry_run: bool,
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
    let guard = match &args.guard {
        Some(guard) => guard.clone(),
        None => sibling("guard-ctl")?,
    };
    let progress = bench::progress(as_json);
    let mut checks = Vec::new();
    let mut consumers = Vec::new();
    let packs = content::packs(&built);
    if !packs.is_empty() {
        let program = match &args.sensor {
            Some(sensor) => sensor.clone(),
            None => sibling("staffel-sensor")?,
        };
        let sensor = Sensor::new(&program);
        consumers = sensor.digests()?;
        sensor.run(&packs, &mut checks, &progress);
    }
    // What has failed already need not be tried on a machine.
    let consumer = if checks.iter().any(|check| check.failure.is_some()) {
        None
    } else {
        let mut test = TestBench::new(&guard, &built).context("set up the scratch machine")?;
        test.run(Duration::from_secs(args.soak), &mut checks, &progress);
        test.consumer()
    };
    progress.finish_and_clear();
    report(&checks, as_json, built.digest, consumer)?;
    if let Some(failed) = checks.iter().find(|check| check.failure.is_some()) {
        let why = failed.failure.clone().unwrap_or_default();
        return Err(Failure::refused(
            format!("the gate refuses {name} {version}: {}: {why}", failed.name),
            "mend the release; nothing was attested",
        )
        .into());
    }
    if args.dry_run {
        return Ok(());
    }
    let Some(consumer) = consumer else {
        return Err(Failure::refused("the gate did not learn its consumer", "run it again").into());
    };
    attest(&layout, &built, consumer, consumers, &checks)?;
    if !as_json {
        println!("Attested for consumer {} by {} gate keys.", consumer.short(), GATE.len());
        println!("Next: staffel rollout start {name} {version}");
    }
    Ok(())
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

fn report(checks: &[Check], as_json: bool, release: Digest, consumer: Option<Digest>) -> Result<()> {
    if as_json {
        let checks: Vec<_> = checks
            .iter()
            .map(|check| {
                json!({ "check": check.name, "passed": check.failure.is_none(), "why": check.failure, "ms": check.ms })
            })
            .collect();
        return json(&json!({ "release": release, "consumer": consumer, "checks": checks }));
    }
    // The first failure stands on top: it is what a person has to mend.
    for check in checks.iter().filter(|check| check.failure.is_some()) {
        println!("FAILED  {}: {}", check.name, check.failure.as_deref().unwrap_or_default());
    }
    for check in checks.iter().filter(|check| check.failure.is_none()) {
        println!("passed  {} ({:.1} s)", check.name, check.ms as f64 / 1_000.0);
    }
    Ok(())
}

fn attest(
    layout: &Layout,
    built: &release::Built,
    consumer: Digest,
    consumers: Vec<(&'static str, Digest)>,
    checks: &[Check],
) -> Result<()> {
    let now = repo::now_ms();
    let names: Vec<String> = checks.iter().map(|check| check.name.to_string()).collect();
    let descriptor = |name: &str, digest: Digest| Descriptor {
        name: name.into(),
        digest: [("sha256".to_string(), digest.to_string())].into(),
    };
    let gate = Gate {
        result: "PASSED".into(),
        configuration: [("guard-ctl", consumer), ("release files", built.release.content_digest())]
            .into_iter()
            .chain(consumers)
            .map(|(name, digest)| descriptor(name, digest))
            .collect(),
        passed_tests: names.clone(),
        failed_tests: Vec::new(),
        header: Header { issued_ms: now, expires_ms: u64::MAX, ..Header::default() },
        attestation: GateAttestation {
            release: built.digest,
            passed: true,
            consumers: vec![consumer],
            checks: names,
            signers: 0,
        },
    };
    let keys = GATE.iter().map(|name| layout.signing_key(name)).collect::<Result<Vec<_>>>()?;
    let envelope = sign(&gate, &keys.iter().collect::<Vec<_>>());
    let bytes = serde_json::to_vec(&envelope)?;
    write(&release::gate_file(layout, &built.release.name, &built.release.version), &bytes)?;
    let mut repository = repo::open(layout)?;
    repository.add_target(&gate_target(&built.digest), Source::Bytes(&bytes), None).context("add the attestation")?;
    repository.publish(repo::now_ms()).context("publish the repository")?;
    Ok(())
}
