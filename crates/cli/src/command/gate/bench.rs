//! The scratch machine of the gate: a real guard in a temporary folder, trusted keys of its own, one release, and the one
//! before it to come from and to go back to.

use super::{
    check::{Checks, Said},
    content::compared,
    settings::{Budget, Named, Settings},
};
use crate::command::release::Built;
use anyhow::{Context as _, Result, bail};
use staffel_agent::{guard_client::GuardClient, probe};
use staffel_core::{
    conditions::{Authorisation, Frontier, GateAttestation, Permit, Reach, Unit},
    device::PROBE_TRIES,
    evidence::Arm,
    ids::{DeviceId, Digest, Position, Share},
    policy::CustomerPolicy,
    profile::{CeilingStep, ProfileName},
};
use staffel_statement::{
    Envelope, SigningKey,
    bundle::Bundle,
    guard::{Command, Installation, Reply, Status},
    keyring::{Keyring, RoleKeys},
    predicate::{Gate, Headed, Header, Receipt, TenantPolicy, payload, sign},
};
use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

const DEVICE: DeviceId = DeviceId([0x9a; 16]);
const STRATUM: &str = "gate/scratch";
/// How long a step may take that has to do with the release.
const STEP: Duration = Duration::from_secs(30);
/// How long the guard may take to come up: that says nothing about the release, and the gate's machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The scratch machine.
pub struct TestBench {
    /// What is under test.
    offered: Built,
    /// What ran before, if anything did.
    before: Option<Built>,
    /// What was installed last.
    built: Built,
    label: String,
    costs: Costs,
    /// Why there is nothing to go back to, if there should be something.
    lost: Option<String>,
    guard_program: PathBuf,
    folder: tempfile::TempDir,
    key: SigningKey,
    second: SigningKey,
    guard: Option<Child>,
    client: GuardClient,
    runtime: tokio::runtime::Runtime,
    consumer: Option<Digest>,
    rollout: u64,
    starts: u32,
}

/// What a release costs on this machine.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Milliseconds from the command to install it until its probes pass.
    ready_ms: f64,
    /// Of its service's process.
    memory_kib: Option<f64>,
}

#[derive(Default)]
struct Costs {
    before: Option<Cost>,
    offered: Cost,
}

impl TestBench {
    /// Makes the machine; nothing runs yet. `at`: how many versions the guard is behind.
    pub fn new(guard_program: &Path, offered: &Built, before: Option<&Built>, at: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("staffel-gate-").tempdir().context("make a temporary folder")?;
        let root = folder.path().join("guard");
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("make a key")?;
        let key = SigningKey::from_seed(&seed);
        getrandom::fill(&mut seed).context("make a key")?;
        let second = SigningKey::from_seed(&seed);
        let role = |threshold| RoleKeys { keys: vec![key.public(), second.public()], threshold };
        let keyring = Keyring {
            version: 1,
            root: role(2),
            release: role(1),
            gate: role(2),
            releasers: role(2),
            online: role(1),
            operators: role(1),
            witnesses: Vec::new(),
        };
        let installation = Installation {
            device: DEVICE,
            name: "gate".into(),
            tenant: "gate".into(),
            site: "scratch".into(),
            stratum: STRATUM.into(),
            tenant_keys: vec![key.public()],
        };
        let (keyring_file, installation_file) =
            (folder.path().join("keyring.json"), folder.path().join("installation.json"));
        std::fs::write(&keyring_file, serde_json::to_vec(&sign(&keyring, &[&key, &second]))?)?;
        std::fs::write(&installation_file, serde_json::to_vec(&installation)?)?;
        let made = std::process::Command::new(guard_program)
            .arg("init")
            .arg("--root")
            .arg(&root)
            .arg("--keyring")
            .arg(&keyring_file)
            .arg("--installation")
            .arg(&installation_file)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {}", guard_program.display()))?;
        if !made.status.success() {
            bail!("{} init: {}", guard_program.display(), String::from_utf8_lossy(&made.stderr).trim());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = GuardClient::new(&root.join("guard.sock")).with_patience(PATIENCE);
        Ok(TestBench {
            offered: offered.clone(),
            before: before.cloned(),
            built: offered.clone(),
            label: if at == 0 { "guard-ctl".into() } else { format!("guard-ctl (N-{at})") },
            costs: Costs::default(),
            lost: None,
            guard_program: guard_program.to_path_buf(),
            folder,
            key,
            second,
            guard: None,
            client,
            runtime,
            consumer: None,
            rollout: 0,
            starts: 0,
        })
    }

    /// SHA-256 of the guard that ran the release.
    pub fn consumer(&self) -> Option<Digest> {
        self.consumer
    }

    /// Which guard this is.
    pub fn label(&self) -> String {
        self.label.clone()
    }

    /// Runs the checks that the settings name; stops at the first that fails.
    pub fn run(&mut self, soak: Duration, settings: &Settings, checks: &mut Checks) {
        type Step = fn(&mut TestBench, Duration) -> Result<()>;
        let on = format!("on {}", self.label);
        let mut plain = |bench: &mut TestBench, check: Named, part: &str, step: Step| {
            checks.run(check, format!("{part} {on}"), || {
                step(bench, soak)?;
                let left_out = bench.lost.clone().filter(|_| check == Named::Undo);
                Ok(Said { left_out, ..Said::default() })
            })
        };
        // The others need what runs after these, so they run in any case.
        plain(self, Named::Consumers, "starts as on a device", |bench, _| bench.starts());
        plain(self, Named::Consumers, "probes pass for the soak time", |bench, soak| bench.soaks(soak));
        if settings.has(Named::Undo) {
            plain(self, Named::Undo, "can be taken back", |bench, _| bench.goes_back());
            plain(self, Named::Undo, "can be installed again", |bench, _| bench.install_offered());
        }
        if settings.has(Named::Lifecycle) {
            plain(self, Named::Lifecycle, "is committed", |bench, _| bench.commits());
            plain(self, Named::Lifecycle, "comes back when its process is killed", |bench, _| bench.survives_a_crash());
            plain(self, Named::Lifecycle, "comes back when the guard is killed", |bench, _| {
                bench.survives_a_dead_guard()
            });
        }
        if settings.has(Named::Budget) && self.offered.release.service.is_some() && self.before.is_some() {
            checks.run(Named::Budget, format!("beside the release before {on}"), || self.within(&settings.budget));
        }
        if settings.has(Named::Lifecycle) && self.offered.release.service.is_some() {
            for &days in &settings.lifecycle.days {
                checks.run(Named::Lifecycle, format!("starts with the clock at +{days} days {on}"), || {
                    self.starts_later(days)
                });
            }
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("guard")
    }

    fn start_guard(&mut self) -> Result<()> {
        self.starts += 1;
        let log = std::fs::File::create(self.folder.path().join("guard.log"))?;
        let boot = self.folder.path().join("boot-id");
        std::fs::write(&boot, "gate")?;
        let child = std::process::Command::new(&self.guard_program)
            .arg("serve")
            .arg("--root")
            .arg(self.root())
            .arg("--boot-id-file")
            .arg(&boot)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.guard_program.display()))?;
        self.guard = Some(child);
        let status = self.until_within(PATIENCE, "the guard answers", |_| true)?;
        self.consumer = Some(status.consumer);
        Ok(())
    }

    fn status(&self) -> Result<Status> {
        Ok(self.runtime.block_on(self.client.status())?)
    }

    fn ask(&self, command: &Command) -> Result<String> {
        match self.runtime.block_on(self.client.ask(command))? {
            Reply::Done { why } => Ok(why),
            Reply::Prepared { nonce, .. } => Ok(nonce),
            Reply::Failed { why } => bail!("{why}"),
            Reply::Refused { refusals } => {
                bail!("{}", refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            other => bail!("the guard answered {other:?}"),
        }
    }

    fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Result<Status> {
        self.until_within(STEP, what, holds)
    }

    fn until_within(&self, time: Duration, what: &str, holds: impl Fn(&Status) -> bool) -> Result<Status> {
        let end = Instant::now() + time;
        let mut last = None;
        while Instant::now() < end {
            match self.status() {
                Ok(status) if holds(&status) => return Ok(status),
                Ok(status) => last = Some(describe(&status)),
                Err(error) => last = Some(error.to_string()),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("waited {} s until {what}; last seen: {}", time.as_secs(), last.unwrap_or_default())
    }

    fn starts(&mut self) -> Result<()> {
        self.start_guard()?;
        if let Some(before) = self.before.clone() {
            match self.install(before).and_then(|cost| self.commits().map(|()| cost)) {
                Ok(cost) => self.costs.before = Some(cost),
                Err(error) => self.do_without(&error)?,
            }
        }
        self.install_offered()
    }

    /// A release that mends one that no longer starts must not fail for that.
    fn do_without(&mut self, error: &anyhow::Error) -> Result<()> {
        self.before = None;
        self.lost = Some(format!("the release before does not run here: {error:#}"));
        // It may have gone back by itself; then there is nothing to end.
        let _ = self.ask(&Command::Abort { why: "the gate goes on without it".into() });
        self.until("the release before is gone", |status| status.trial.is_none())?;
        let _ = self.ask(&Command::OutcomeReported);
        Ok(())
    }

    fn install_offered(&mut self) -> Result<()> {
        self.costs.offered = self.install(self.offered.clone())?;
        Ok(())
    }

    /// Spool, prepare, arm: what an agent does.
    fn install(&mut self, built: Built) -> Result<Cost> {
        let begun = Instant::now();
        self.built = built;
        self.rollout += 1;
        let spool = self.root().join("spool");
        std::fs::create_dir_all(&spool)?;
        for (file, from) in self.built.release.files.iter().zip(&self.built.sources) {
            std::fs::copy(from, spool.join(file.sha256.to_string()))?;
        }
        let mut bundle = self.bundle();
        let nonce = self.ask(&Command::Prepare { bundle: Box::new(bundle.clone()) })?;
        bundle.permit = Some(self.permit(&nonce));
        self.ask(&Command::Arm { bundle: Box::new(bundle) })?;
        self.probes_pass()?;
        let ready_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        Ok(Cost { ready_ms, memory_kib: self.memory_kib()? })
    }

    /// Of the service's process, from `/proc/PID/status`.
    fn memory_kib(&self) -> Result<Option<f64>> {
        let name = &self.built.release.name;
        let status = self.status()?;
        let pid = status.services.iter().find(|service| service.name == *name).and_then(|service| service.process_id);
        let Some(pid) = pid else { return Ok(None) };
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()))
    }

    fn within(&self, budget: &Budget) -> Result<Said> {
        let Costs { before: Some(before), offered } = self.costs else { bail!("the release before was not measured") };
        let mut lines = vec![compared(
            "milliseconds until its probes pass",
            offered.ready_ms,
            before.ready_ms,
            budget.load,
            budget.load_floor_ms.max(2_000.0),
        )];
        if let (Some(offered), Some(before)) = (offered.memory_kib, before.memory_kib) {
            let floor = budget.memory_floor_mib * 1_024.0;
            lines.push(compared("KiB of memory", offered, before, budget.memory, floor));
        }
        let beyond: Vec<&String> = lines.iter().filter_map(|line| line.as_ref().err()).collect();
        match beyond.first() {
            Some(first) => bail!("{first}"),
            None => Ok(Said { figures: lines.into_iter().flatten().collect(), left_out: None }),
        }
    }

    /// The same files as a trial, their service under a clock that is ahead.
    fn starts_later(&mut self, days: u32) -> Result<Said> {
        let Some(library) = fake_clock() else {
            let why = "the clock was not moved: faketime is missing (apt-get install faketime)".to_string();
            return Ok(Said { left_out: Some(why), ..Said::default() });
        };
        let mut later = self.offered.clone();
        if let Some(service) = &mut later.release.service {
            let environment = &mut service.environment;
            environment.insert("LD_PRELOAD".into(), library.display().to_string());
            environment.insert("FAKETIME".into(), format!("+{days}d"));
            environment.insert("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into());
        }
        later.digest = Digest::of(&payload(&later.release));
        self.install(later)?;
        self.soaks(Duration::from_secs(1))?;
        self.ask(&Command::Abort { why: "the gate takes it back".into() })?;
        self.built = self.offered.clone();
        self.until("the clock is right again", |status| status.trial.is_none() && self.runs_it(status))?;
        self.ask(&Command::OutcomeReported)?;
        Ok(Said::default())
    }

    fn header(&self) -> Header {
        let now = crate::command::repo::now_ms();
        Header { issued_ms: now, expires_ms: now + 100_000, ..Header::default() }
    }

    fn bundle(&self) -> Bundle {
        let (header, digest) = (self.header(), self.built.digest);
        let now = header.issued_ms;
        let both = [&self.key, &self.second];
        let everybody = vec![CeilingStep { age_ms: 0, share: Share::ALL }];
        let gate = Gate {
            result: "PASSED".into(),
            configuration: Vec::new(),
            passed_tests: Vec::new(),
            failed_tests: Vec::new(),
            header: header.clone(),
            attestation: GateAttestation {
                release: digest,
                passed: true,
                consumers: self.consumer.into_iter().collect(),
                checks: Vec::new(),
                waived: None,
                signers: 0,
            },
        };
        let authorisation = Authorisation {
            rollout: self.rollout,
            release: digest,
            log_root: Digest::default(),
            unit: Unit::Device,
            profile: ProfileName::Demo,
            start_ms: now,
            not_after_ms: now + 3_600_000,
            ceiling: everybody,
            exposure_budget: None,
            supersedes: None,
            signers: 0,
        };
        let frontier = Frontier {
            rollout: self.rollout,
            release: digest,
            sequence: 1,
            halted: false,
            completed: false,
            issued_ms: now,
            expires_ms: now + 100_000,
            reach: vec![Reach {
                ring: staffel_core::policy::EVERYBODY,
                stratum: STRATUM.into(),
                eligible_to: Some(Position::END),
                candidate_to: Some(Position::END),
            }],
        };
        let policy = TenantPolicy { tenant: "gate".into(), sequence: 1, policy: CustomerPolicy::default() };
        let headed = |body| Headed { header: header.clone(), body };
        Bundle {
            release: Some(sign(&self.built.release, &[&self.key])),
            gate: Some(sign(&gate, &both)),
            authorisation: Some(sign(&headed(authorisation), &both)),
            frontier: Some(sign(&Headed { header: header.clone(), body: frontier }, &[&self.key])),
            policy: Some(sign(&Headed { header: header.clone(), body: policy }, &[&self.key])),
            permit: None,
            checkpoint: None,
        }
    }

    fn permit(&self, nonce: &str) -> Envelope {
        let header = self.header();
        let body = Permit {
            rollout: self.rollout,
            release: self.built.digest,
            device: DEVICE,
            arm: Arm::Treated,
            frontier_sequence: 1,
            nonce: nonce.into(),
            issued_ms: header.issued_ms,
            expires_ms: header.expires_ms,
        };
        sign(&Headed { header, body }, &[&self.key])
    }

    fn runs_it(&self, status: &Status) -> bool {
        let selected = status.selected.as_ref();
        selected.is_some_and(|generation| generation.releases.values().any(|release| *release == self.built.digest))
    }

    /// All probes pass within the time for a step.
    fn probes_pass(&self) -> Result<()> {
        let end = Instant::now() + STEP;
        loop {
            let status = self.status()?;
            if !self.runs_it(&status) {
                let why = status.outcome.map_or("it is not running".to_string(), |outcome| outcome.why);
                bail!("the release did not stay: {why}");
            }
            let failures = self.runtime.block_on(probe::run(&self.built.release, &status, &self.client))?;
            if failures.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{}", failures.join("; "));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn soaks(&mut self, soak: Duration) -> Result<()> {
        let end = Instant::now() + soak;
        // As on a device: once is no verdict, and it does not end on a miss.
        let mut misses = 0;
        while misses > 0 || Instant::now() < end {
            let status = self.status()?;
            if !self.runs_it(&status) {
                let why = status.outcome.map_or("it is not running".to_string(), |outcome| outcome.why);
                bail!("the release did not stay: {why}");
            }
            let failures = self.runtime.block_on(probe::run(&self.built.release, &status, &self.client))?;
            misses = if failures.is_empty() { 0 } else { misses + 1 };
            if misses >= PROBE_TRIES {
                bail!("{}", failures.join("; "));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn goes_back(&mut self) -> Result<()> {
        self.ask(&Command::Abort { why: "the gate takes it back".into() })?;
        match self.before.clone() {
            Some(before) => {
                self.built = before;
                self.until("the release before runs again", |status| status.trial.is_none() && self.runs_it(status))?;
                // Its state was written by the one under test; the probes say whether it can be read.
                self.probes_pass().context("the release before, after the way back")?;
            }
            None => {
                let gone =
                    |status: &Status| status.trial.is_none() && status.services.iter().all(|service| !service.running);
                self.until("the way back is done", gone)?;
            }
        }
        self.ask(&Command::OutcomeReported)?;
        Ok(())
    }

    fn commits(&mut self) -> Result<()> {
        let status = self.status()?;
        let nonce = status.readiness.nonce.context("the guard gave no nonce for the receipt")?;
        let body = Receipt { device: DEVICE, rollout: self.rollout, release: self.built.digest, nonce };
        let receipt = sign(&Headed { header: self.header(), body }, &[&self.key]);
        self.ask(&Command::Confirm { receipt })?;
        let status = self.status()?;
        if !status.last_known_good.releases.values().any(|release| *release == self.built.digest) {
            bail!("it was not committed: {}", describe(&status));
        }
        Ok(())
    }

    fn survives_a_crash(&mut self) -> Result<()> {
        let status = self.status()?;
        let Some(pid) = status.services.iter().find_map(|service| service.process_id) else { return Ok(()) };
        kill(pid)?;
        self.until("its process runs again", |status| {
            status.services.iter().any(|service| service.running && service.process_id != Some(pid))
        })?;
        self.probes_pass()
    }

    fn survives_a_dead_guard(&mut self) -> Result<()> {
        self.stop_guard();
        self.start_guard()?;
        self.until("the release runs again", |status| {
            self.runs_it(status) && status.services.iter().all(|service| service.running)
        })?;
        self.probes_pass()
    }

    fn stop_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // It may be dead already; then there is nothing to stop.
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

impl Drop for TestBench {
    fn drop(&mut self) {
        // First in an orderly way, so that the release's processes end with it.
        if let Some(guard) = &self.guard
            && let Some(pid) = rustix::process::Pid::from_raw(guard.id() as i32)
            && rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
        {
            let end = Instant::now() + Duration::from_secs(15);
            while Instant::now() < end && self.guard.as_mut().is_some_and(|g| matches!(g.try_wait(), Ok(None))) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.stop_guard();
    }
}

/// The library that moves a program's clock, where Debian and others have it.
fn fake_clock() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let places = folders.chain(["/usr/lib".into()]).map(|folder| folder.join("faketime/libfaketime.so.1"));
    places.into_iter().find(|place| place.is_file())
}

fn kill(pid: u32) -> Result<()> {
    let pid =
        i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("the process id is not usable")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).context("kill the release's process")
}

fn describe(status: &Status) -> String {
    let services: Vec<String> = status
        .services
        .iter()
        .map(|s| match &s.last_exit {
            Some(exit) if !s.running => format!("{} ended: {exit}", s.name),
            _ => format!("{} {}", s.name, if s.running { "runs" } else { "does not run" }),
        })
        .collect();
    format!("mode {:?}, services: {}", status.mode, services.join(", "))
}
