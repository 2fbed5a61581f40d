//! `staffel bench checkins`: a real server process, real devices' certificates, real check-ins over TLS on loopback, and the
//! load generator on the same processors. Must stay out: shortcuts in the server; only its rate limits are lifted.

use super::{
    Figure, Goal, how_built,
    http::{Connection, post},
    memory::init_args,
    percentile,
    process::{Server, cpu_seconds},
    report,
};
use crate::{
    client,
    command::init,
    layout::{Layout, write},
};
use anyhow::{Context as _, Result, bail};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use staffel_core::{boot::Mode, ids::Digest};
use staffel_server::{
    api::{Token, TokenRequest},
    config::Rate,
};
use staffel_trust::wire::{Attributes, CheckIn, CheckInReply, Enrol, Enrolled};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Goal, check-ins a second on two processors.
const GOAL: f64 = 15_000.0;
/// Devices that enrol at the same time.
const ENROLLING: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `staffel bench checkins`.
#[derive(clap::Args)]
pub struct Args {
    /// Devices that enrol.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    devices: u32,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Connections at a time, each kept by one device [else 200, or one for each device].
    #[arg(long)]
    connections: Option<u32>,
    /// A new connection with a full or resumed handshake for each check-in, through all devices.
    #[arg(long)]
    fresh: bool,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let layout = init::create(&init_args(scratch.path().join("staffel")))?;
    lift_limits(&layout)?;
    let server = Server::start(&layout, PATIENCE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start a runtime")?;
    let connections = args.connections.unwrap_or(200).clamp(1, args.devices);
    let load = runtime.block_on(async {
        eprintln!("enrolling {} devices ...", args.devices);
        let since = Instant::now();
        let devices = enrol_all(&layout, server.address, args.devices).await?;
        let enrolled = f64::from(args.devices) / since.elapsed().as_secs_f64();
        eprintln!("checking in for {} s ...", args.seconds);
        let before = (cpu_seconds(&server.process())?, cpu_seconds("self")?);
        let mut load = drive(args, connections, server.address, devices).await?;
        load.enrolled = enrolled;
        load.server_cpu = cpu_seconds(&server.process())? - before.0;
        load.generator_cpu = cpu_seconds("self")? - before.1;
        Ok::<_, anyhow::Error>(load)
    })?;
    let rate = load.latencies_us.len() as f64 / load.seconds;
    let each_us = |cpu: f64| cpu / load.latencies_us.len().max(1) as f64 * 1e6;
    let latency = |share: f64| percentile(&load.latencies_us, share) as f64 / 1e3;
    let check_ins = Figure::new("check-ins", rate, "a second");
    let figures = [
        // The goal is for kept connections; a handshake costs more than everything else together.
        if args.fresh { check_ins } else { check_ins.with(Goal::AtLeast(GOAL)) },
        Figure::new("latency, median", latency(0.5), "ms"),
        Figure::new("latency, 99 % below", latency(0.99), "ms"),
        Figure::new("processor time of the server", load.server_cpu, "s"),
        Figure::new("processor time of the load generator", load.generator_cpu, "s"),
        Figure::new("server's processor time a check-in", each_us(load.server_cpu), "us"),
        Figure::new("enrolments, tokens included", load.enrolled, "a second"),
    ];
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kept = if args.fresh { "a new connection each" } else { "kept connections" };
    let remarks = [
        format!(
            "{} devices, {connections} at a time over {kept}, {processors} processors for both processes",
            args.devices
        ),
        "the server is a process of its own; its rate limits are lifted, everything else is as it ships".into(),
        how_built().into(),
    ];
    report(&figures, &remarks, as_json)
}

fn lift_limits(layout: &Layout) -> Result<()> {
    let mut config = layout.config()?;
    let unlimited = Rate { per_second: 0, burst: 1 };
    (config.edge.device_rate, config.edge.enrol_rate) = (unlimited, unlimited);
    write(&layout.config_file(), &serde_json::to_vec_pretty(&config)?)
}

/// A device with its certificate, ready to check in.
struct Device {
    tls: Arc<rustls::ClientConfig>,
    check_in: Vec<u8>,
}

async fn enrol_all(layout: &Layout, address: SocketAddr, devices: u32) -> Result<Vec<Device>> {
    let roots = client::roots(&layout.ca_file())?;
    let token: Arc<str> = layout.operator_token()?.into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..ENROLLING {
        let (roots, token, next) = (Arc::clone(&roots), Arc::clone(&token), Arc::clone(&next));
        tasks.spawn(async move {
            let anonymous = Arc::new(client::tls()?.with_root_certificates(Arc::clone(&roots)).with_no_client_auth());
            let mut connection = Connection::open(address, &anonymous).await?;
            let mut enrolled = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= devices as usize {
                    return Ok::<_, anyhow::Error>(enrolled);
                }
                enrolled.push(enrol(&mut connection, &token, number, &roots).await?);
            }
        });
    }
    let mut all = Vec::with_capacity(devices as usize);
    while let Some(done) = tasks.join_next().await {
        all.extend(done.context("enrol devices")??);
    }
    Ok(all)
}

async fn enrol(
    connection: &mut Connection,
    operator: &str,
    number: usize,
    roots: &Arc<rustls::RootCertStore>,
) -> Result<Device> {
    let request = TokenRequest { tenant: "bench".into(), site: format!("site-{:03}", number / 50), hours: None };
    let answer = connection.ask(&post("/api/v1/tokens", Some(operator), &serde_json::to_vec(&request)?)).await?;
    let token: Token = serde_json::from_slice(&answer).context("read a token")?;
    let key = rcgen::KeyPair::generate().context("make a device's key")?;
    let csr = rcgen::CertificateParams::default().serialize_request(&key).context("make a certificate request")?;
    let request = Enrol {
        token: token.token,
        csr_pem: csr.pem().context("make a certificate request")?,
        name: format!("till-{number}"),
        attributes: Attributes { os_build: "debian-12".into(), hardware_model: "model-01".into() },
    };
    let answer = connection.ask(&post("/v1/enrol", None, &serde_json::to_vec(&request)?)).await?;
    let enrolled: Enrolled = serde_json::from_slice(&answer).context("read an enrolment")?;
    let chain = CertificateDer::pem_slice_iter(enrolled.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| anyhow::anyhow!("read a device's certificate: {error:?}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes());
    let key = key.map_err(|error| anyhow::anyhow!("read a device's key: {error:?}"))?;
    let tls = client::tls()?.with_root_certificates(Arc::clone(roots)).with_client_auth_cert(chain, key);
    let check_in = CheckIn {
        settled: true,
        checkpoint_ahead: None,
        probed: None,
        boot_id: format!("boot-{number}"),
        mode: Mode::Normal,
        running: [("till".to_string(), Digest::of(b"till 1"))].into(),
        consumer: None,
        attributes: None,
        ready: None,
        on_trial: None,
        outcome: None,
        start: None,
        declined: Vec::new(),
        why: None,
        inventory: None,
        board: 0,
    };
    let check_in = post("/v1/checkin", None, &serde_json::to_vec(&check_in)?);
    Ok(Device { tls: Arc::new(tls.context("use a device's certificate")?), check_in })
}

#[derive(Default)]
struct Load {
    /// Of each check-in, sorted, microseconds.
    latencies_us: Vec<u64>,
    seconds: f64,
    enrolled: f64,
    server_cpu: f64,
    generator_cpu: f64,
}

async fn drive(args: &Args, connections: u32, address: SocketAddr, devices: Vec<Device>) -> Result<Load> {
    let devices = Arc::new(devices);
    // One device for each kept connection, its first check-in before the clock starts: it is the one that writes the log.
    let mut kept = Vec::new();
    for number in 0..connections as usize {
        let device = &devices[number % devices.len()];
        let mut connection = Connection::open(address, &device.tls).await?;
        let reply = connection.ask(&device.check_in).await?;
        serde_json::from_slice::<CheckInReply>(&reply).context("read the answer to a check-in")?;
        kept.push(connection);
    }
    let since = Instant::now();
    let end = since + Duration::from_secs(args.seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for (number, mut connection) in kept.into_iter().enumerate() {
        let (devices, fresh, step) = (Arc::clone(&devices), args.fresh, connections as usize);
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let mut at = number;
            while Instant::now() < end {
                let since = Instant::now();
                let device = &devices[at % devices.len()];
                if fresh {
                    connection = Connection::open(address, &device.tls).await?;
                    at += step;
                }
                connection.ask(&device.check_in).await?;
                latencies.push(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut load = Load::default();
    while let Some(done) = tasks.join_next().await {
        load.latencies_us.extend(done.context("drive check-ins")??);
    }
    load.seconds = since.elapsed().as_secs_f64();
    if load.latencies_us.is_empty() {
        bail!("no check-in was answered");
    }
    load.latencies_us.sort_unstable();
    Ok(load)
}
