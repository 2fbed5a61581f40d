//! `staffel bench memory`: bytes a device in a server that has read a large fleet from its log. Must stay out: anything that
//! the real server would not hold; it is the real server, as a process of its own.

use super::{
    Figure, Goal,
    fleet::Made,
    process::{Server, resident_bytes},
    report,
};
use crate::{
    client::time::now_ms,
    command::init,
    layout::{GATE, Layout, RELEASE, RELEASERS},
};
use anyhow::{Context as _, Result};
use staffel_core::{
    conditions::{Authorisation, GateAttestation, Unit},
    ids::{Digest, Share},
    profile::{CeilingStep, Profile, ProfileName},
    release::{Kind, StateCompatibility},
};
use staffel_server::engine::record::Record;
use staffel_statement::{
    Envelope,
    predicate::{Gate, Headed, Header, Release, sign},
};
use staffel_store::{SqliteLog, Write};
use staffel_trust::wire::Attributes;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Goal, bytes a device.
const GOAL: f64 = 300.0;
/// Records in one write.
const BATCH: usize = 4_096;
/// A million devices are read in well under a minute by a program that was built for release.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Arguments of `staffel bench memory`.
#[derive(clap::Args)]
pub struct Args {
    /// Devices in the fleet. The log on disk takes about 2 KB for each.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    devices: u32,
    /// Where the log goes for that time [else the folder for temporary files].
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let scratch = match &args.scratch {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.context("make a scratch folder")?;
    let layout = init::create(&init_args(scratch.path().join("staffel")))?;
    let empty = held(&layout)?.bytes;
    eprintln!("writing a log with {} devices ...", args.devices);
    write_fleet(&layout, args.devices)?;
    eprintln!("the server reads it ...");
    let enrolled = held(&layout)?;
    write_rollout(&layout)?;
    eprintln!("the server reads it again, with a rollout over all of them ...");
    let rolling = held(&layout)?;

    let each = |bytes: u64| bytes.saturating_sub(empty) as f64 / f64::from(args.devices);
    let figures = [
        Figure::new("memory a device, enrolled", each(enrolled.bytes), "bytes").with(Goal::AtMost(GOAL)),
        Figure::new("memory a device, with a rollout over all", each(rolling.bytes), "bytes"),
        Figure::new("memory of the server without devices", empty as f64 / f64::from(1 << 20), "MiB"),
        Figure::new("start of the server, reading the log", enrolled.start.as_secs_f64(), "s"),
    ];
    let remarks = [
        format!(
            "{} devices; resident memory of the server's process after its start, less that of an empty one",
            args.devices
        ),
        "for each device: its used enrolment token, its enrolment, and what it runs".into(),
    ];
    report(&figures, &remarks, as_json)
}

/// What a server holds once it is ready.
struct Held {
    bytes: u64,
    start: Duration,
}

fn held(layout: &Layout) -> Result<Held> {
    let since = Instant::now();
    let server = Server::start(layout, PATIENCE)?;
    let start = since.elapsed();
    // The first plans, frontiers and checkpoints belong to it.
    std::thread::sleep(Duration::from_secs(3));
    Ok(Held { bytes: resident_bytes(&server.process())?, start })
}

/// A small installation for a server on this machine.
pub fn init_args(dir: PathBuf) -> init::Args {
    init::Args {
        dir,
        names: vec!["127.0.0.1".into()],
        listen: ([127, 0, 0, 1], 0).into(),
        console: ([127, 0, 0, 1], 0).into(),
        bins: 16,
        idle_cadence: 900,
        witness: Vec::new(),
    }
}

/// A log with this many devices.
pub fn write_fleet(layout: &Layout, devices: u32) -> Result<()> {
    let release = Digest::of(b"baseline");
    let now = now_ms();
    let mut writer = Writer::open(layout)?;
    for number in 0..devices {
        let made = Made::device(number);
        let token = Digest::of(format!("token {number}").as_bytes());
        writer.push(&Record::TokenIssued {
            token,
            tenant: made.tenant.clone(),
            site: made.site.clone(),
            expires_ms: now,
            by: "admin".into(),
        })?;
        writer.push(&Record::DeviceEnrolled {
            device: made.id,
            name: made.name,
            tenant: made.tenant,
            site: made.site,
            attributes: Attributes { os_build: made.os_build, hardware_model: made.hardware_model },
            token,
        })?;
        writer.push(&Record::DeviceChanged {
            device: made.id,
            running: [("till".to_string(), release)].into(),
            safe_mode: None,
            attributes: None,
        })?;
    }
    writer.finish()
}

/// A rollout over all of them, which two releasers have authorised.
pub fn write_rollout(layout: &Layout) -> Result<()> {
    let now = now_ms();
    let header = Header { issued_ms: now, expires_ms: u64::MAX, ..Header::default() };
    let signed =
        |names: &[&str], statement: &dyn Fn(&[&staffel_statement::SigningKey]) -> Envelope| -> Result<Envelope> {
            let keys = names.iter().map(|name| layout.signing_key(name)).collect::<Result<Vec<_>>>()?;
            Ok(statement(&keys.iter().collect::<Vec<_>>()))
        };
    let release = signed(&RELEASE, &|keys| sign(&content(), keys))?;
    let digest = release.digest()?;
    let gate = signed(&GATE, &|keys| sign(&passed(digest, header.clone()), keys))?;
    let headed = Headed { header: header.clone(), body: authorisation(digest, now) };
    let authorisation = signed(&RELEASERS[..2], &|keys| sign(&headed, keys))?;
    let mut writer = Writer::open(layout)?;
    let profile = Profile::named(ProfileName::Demo);
    writer.push(&Record::RolloutStarted { rollout: 1, release, gate, authorisation, profile, by: "admin".into() })?;
    writer.finish()
}

fn content() -> Release {
    Release {
        name: "till".into(),
        version: "2".into(),
        sequence: 2,
        kind: Kind::Content,
        security_floor: 0,
        state: StateCompatibility::None,
        files: Vec::new(),
        service: None,
        probes: Vec::new(),
        supplier: String::new(),
    }
}

fn passed(release: Digest, header: Header) -> Gate {
    let attestation =
        GateAttestation { release, passed: true, consumers: Vec::new(), checks: Vec::new(), waived: None, signers: 0 };
    Gate {
        result: "PASSED".into(),
        configuration: Vec::new(),
        passed_tests: Vec::new(),
        failed_tests: Vec::new(),
        header,
        attestation,
    }
}

fn authorisation(release: Digest, now: u64) -> Authorisation {
    Authorisation {
        rollout: 1,
        release,
        log_root: Digest::of(b"root"),
        unit: Unit::Device,
        profile: ProfileName::Standard,
        start_ms: now,
        not_after_ms: now + 24 * 3_600_000,
        ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
        exposure_budget: None,
        supersedes: None,
        signers: 0,
    }
}

/// Appends records in large writes.
struct Writer {
    log: SqliteLog,
    batch: Vec<staffel_store::NewEntry>,
}

impl Writer {
    fn open(layout: &Layout) -> Result<Writer> {
        let log = SqliteLog::open(layout.server_dir().join("log.sqlite")).context("open the log")?;
        Ok(Writer { log, batch: Vec::with_capacity(BATCH) })
    }

    fn push(&mut self, record: &Record) -> Result<()> {
        let entry = record.to_entry(now_ms()).map_err(|why| anyhow::anyhow!("write a record: {why}"))?;
        self.batch.push(entry);
        if self.batch.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let entries = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.log.write(Write::next(entries)).context("write the log").map(drop)
    }

    fn finish(mut self) -> Result<()> {
        self.flush()
    }
}
