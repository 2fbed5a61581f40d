//! The scratch machine of the gate: a real guard in a temporary folder, trusted keys of its own, one release.

use crate::command::release::Built;
use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use staffel_agent::{guard_client::GuardClient, probe};
use staffel_core::{
    conditions::{Authorisation, Frontier, GateAttestation, Permit, Reach, Unit},
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
    predicate::{Gate, Headed, Header, Receipt, TenantPolicy, sign},
};
use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

const DEVICE: DeviceId = DeviceId([0x9a; 16]);
const STRATUM: &str = "gate/scratch";
/// How long a step may take that has nothing to do with the release.
const STEP: Duration = Duration::from_secs(30);

/// One check and how it went.
pub struct Check {
    pub name: &'static str,
    /// None: passed.
    pub failure: Option<String>,
    pub ms: u64,
}

/// A spinner on a terminal, nothing elsewhere.
pub fn progress(quiet: bool) -> ProgressBar {
    if quiet || !crate::output::is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// The scratch machine.
pub struct TestBench<'a> {
    built: &'a Built,
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

impl<'a> TestBench<'a> {
    /// Makes the machine; nothing runs yet.
    pub fn new(guard_program: &Path, built: &'a Built) -> Result<Self> {
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
        let client = GuardClient::new(&root.join("guard.sock")).with_patience(Duration::from_secs(120));
        Ok(TestBench {
            built,
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

    /// Runs all checks; stops at the first that fails, because the others would only repeat it.
    pub fn run(&mut self, soak: Duration, checks: &mut Vec<Check>, progress: &ProgressBar) {
        type Step<'a> = (&'static str, fn(&mut TestBench<'a>, Duration) -> Result<()>);
        let steps: [Step<'a>; 6] = [
            ("starts as on a device", |bench, _| bench.starts()),
            ("probes pass for the soak time", |bench, soak| bench.soaks(soak)),
            ("can be taken back", |bench, _| bench.goes_back()),
            ("can be installed again and committed", |bench, _| bench.commits()),
            ("comes back when its process is killed", |bench, _| bench.survives_a_crash()),
            ("comes back when the guard is killed", |bench, _| bench.survives_a_dead_guard()),
        ];
        for (name, step) in steps {
            progress.set_message(name);
            let begun = Instant::now();
            let failure = step(self, soak).err().map(|error| format!("{error:#}"));
            let failed = failure.is_some();
            checks.push(Check { name, failure, ms: begun.elapsed().as_millis() as u64 });
            if failed {
                return;
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
        let status = self.until("the guard answers", |_| true)?;
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
        let end = Instant::now() + STEP;
        let mut last = None;
        while Instant::now() < end {
            match self.status() {
                Ok(status) if holds(&status) => return Ok(status),
                Ok(status) => last = Some(describe(&status)),
                Err(error) => last = Some(error.to_string()),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("waited {} s until {what}; last seen: {}", STEP.as_secs(), last.unwrap_or_default())
    }

    fn starts(&mut self) -> Result<()> {
        self.start_guard()?;
        self.install()
    }

    /// Spool, prepare, arm: what an agent does.
    fn install(&mut self) -> Result<()> {
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
        self.probes_pass()
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
        while Instant::now() < end {
            let status = self.status()?;
            if !self.runs_it(&status) {
                let why = status.outcome.map_or("it is not running".to_string(), |outcome| outcome.why);
                bail!("the release did not stay: {why}");
            }
            let failures = self.runtime.block_on(probe::run(&self.built.release, &status, &self.client))?;
            if !failures.is_empty() {
                bail!("{}", failures.join("; "));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn goes_back(&mut self) -> Result<()> {
        self.ask(&Command::Abort { why: "the gate takes it back".into() })?;
        let gone = |status: &Status| status.trial.is_none() && status.services.iter().all(|service| !service.running);
        self.until("the way back is done", gone)?;
        self.ask(&Command::OutcomeReported)?;
        Ok(())
    }

    fn commits(&mut self) -> Result<()> {
        self.install()?;
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

impl Drop for TestBench<'_> {
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
