//! Keys, statements and a guard process for the tests.

use staffel_boot::{client, layout::Layout};
use staffel_core::{
    boot::{Generation, Mode},
    conditions::{Authorisation, Frontier, GateAttestation, Permit, Reach, Unit},
    evidence::Arm,
    ids::{DeviceId, Digest, Position, Share},
    policy::CustomerPolicy,
    profile::{CeilingStep, ProfileName},
    release::{Kind, StateCompatibility},
};
use staffel_statement::{
    Envelope, SigningKey,
    bundle::Bundle,
    guard::{Command, Installation, Reply, Status},
    keyring::{Keyring, RoleKeys},
    predicate::{
        Action, File, Gate, Halt, Headed, Header, Probe, Receipt, Release, Remedy, Service, TenantPolicy, Unhalt, sign,
    },
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// A time that statements are made at, Unix milliseconds; the device's clock is not asked.
pub const START: u64 = 1_000_000_000;

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn role(keys: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold }
}

pub fn keyring(version: u64) -> Envelope {
    let keyring = Keyring {
        version,
        root: role(&[1, 2, 3], 2),
        release: role(&[10], 1),
        gate: role(&[11, 12], 2),
        releasers: role(&[13, 14], 2),
        online: role(&[15], 1),
        operators: role(&[16, 17], 1),
        witnesses: Vec::new(),
    };
    sign(&keyring, &[&key(1), &key(2)])
}

pub fn device() -> DeviceId {
    DeviceId([7; 16])
}

pub fn headed<T>(body: T) -> Headed<T> {
    Headed { header: Header { issued_ms: START, expires_ms: u64::MAX, ..Header::default() }, body }
}

/// A release with the bytes of its files.
#[derive(Clone)]
pub struct Made {
    pub release: Release,
    pub bytes: BTreeMap<String, Vec<u8>>,
}

impl Made {
    /// A release without files.
    pub fn new(name: &str, version: u64) -> Self {
        let release = Release {
            name: name.into(),
            version: version.to_string(),
            sequence: version,
            kind: Kind::Content,
            security_floor: 0,
            state: StateCompatibility::None,
            files: Vec::new(),
            service: None,
            probes: Vec::new(),
            supplier: String::new(),
        };
        Made { release, bytes: BTreeMap::new() }
    }

    /// A component whose service is this shell script; `$1` is its state folder.
    pub fn service(name: &str, version: u64, script: &str) -> Self {
        let mut made = Made::new(name, version).file("run", format!("#!/bin/sh\n# {version}\n{script}\n"), true);
        made.release.kind = Kind::Component;
        made.release.service = Some(Service {
            exec: vec!["run".into(), "{state}".into()],
            environment: [("RELEASE_DIR".to_string(), "{dir}".to_string())].into(),
            stop_timeout_ms: 3_000,
        });
        made.release.probes = vec![Probe::Process];
        made
    }

    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>, executable: bool) -> Self {
        let bytes = bytes.into();
        self.release.files.push(File {
            path: path.into(),
            sha256: Digest::of(&bytes),
            size: bytes.len() as u64,
            executable,
        });
        self.bytes.insert(path.into(), bytes);
        self
    }

    pub fn envelope(&self) -> Envelope {
        sign(&self.release, &[&key(10)])
    }

    pub fn digest(&self) -> Digest {
        self.envelope().digest().unwrap()
    }
}

/// A service that stays up until somebody stops it.
pub fn stays(version: u64) -> Made {
    Made::service("till", version, "echo \"$RELEASE_DIR\" >> \"$1/log\"; exec sleep 1000")
}

/// One device with its folder and, most of the time, a running guard.
pub struct World {
    pub folder: tempfile::TempDir,
    pub layout: Layout,
    pub options: Vec<String>,
    /// A shell line that is put before the guard, for limits.
    pub before: Option<String>,
    guard: Option<Child>,
    sequence: Cell<u64>,
    boots: Cell<u64>,
}

impl World {
    /// A device that was just set up; its guard is not running.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("guard"));
        let world = World {
            folder,
            layout,
            options: Vec::new(),
            before: None,
            guard: None,
            sequence: Cell::new(0),
            boots: Cell::new(0),
        };
        let installation = Installation {
            device: device(),
            name: "ward-1".into(),
            tenant: "clinic".into(),
            site: "main".into(),
            stratum: "debian-12".into(),
            tenant_keys: vec![key(20).public()],
        };
        world.write("keyring.json", &serde_json::to_vec(&keyring(1)).unwrap());
        world.write("installation.json", &serde_json::to_vec(&installation).unwrap());
        let output = world.init();
        assert!(output.status.success(), "{output:?}");
        world.next_boot();
        world
    }

    /// A device whose guard runs.
    pub fn running() -> Self {
        let mut world = World::new();
        world.start();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub fn init(&self) -> std::process::Output {
        let mut command = program();
        command.arg("init").arg("--root").arg(&self.layout.root);
        command.arg("--keyring").arg(self.path("keyring.json"));
        command.arg("--installation").arg(self.path("installation.json")).output().unwrap()
    }

    /// From the next start on the machine was started anew.
    pub fn next_boot(&self) {
        self.boots.set(self.boots.get() + 1);
        self.write("boot-id", self.boots.get().to_string().as_bytes());
    }

    /// Starts the guard without waiting for it.
    pub fn spawn(&mut self) {
        assert!(self.guard.is_none());
        let log = fs::File::options().create(true).append(true).open(self.path("guard.log")).unwrap();
        let mut command = match &self.before {
            None => program(),
            Some(before) => {
                let mut shell = std::process::Command::new("/bin/sh");
                shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_guard-ctl")]);
                shell
            }
        };
        command.arg("serve").arg("--root").arg(&self.layout.root).arg("--boot-id-file").arg(self.path("boot-id"));
        // Not what the machine of the tests has been through.
        command.arg("--pstore").arg(self.path("pstore")).arg("--watchdogs").arg(self.path("watchdogs"));
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.guard = Some(command.spawn().unwrap());
    }

    /// Starts the guard and waits until it answers.
    pub fn start(&mut self) -> Status {
        self.spawn();
        let status = wait_for("the guard's first answer", || client::ask(&self.layout, &Command::Status).ok());
        as_status(status)
    }

    pub fn process_id(&self) -> u32 {
        self.guard.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut guard = self.guard.take().unwrap();
        guard.kill().unwrap();
        guard.wait().unwrap();
    }

    /// Waits until the guard has ended by itself.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        let mut guard = self.guard.take().unwrap();
        wait_for("the guard's end", || guard.try_wait().unwrap())
    }

    /// SIGTERM, and the end of it.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        signal(self.process_id(), "TERM");
        self.ended()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("guard.log")).unwrap_or_default()
    }

    pub fn ask(&self, command: Command) -> Reply {
        client::ask(&self.layout, &command).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    pub fn status(&self) -> Status {
        as_status(self.ask(Command::Status))
    }

    pub fn wait_status(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        wait_for(what, || Some(self.status()).filter(|status| holds(status)))
    }

    /// Puts a release's files where the agent would.
    pub fn spool(&self, made: &Made) {
        for bytes in made.bytes.values() {
            fs::write(self.layout.spool().join(Digest::of(bytes).to_string()), bytes).unwrap();
        }
    }

    /// Every statement that a change needs, and a permit for `nonce`.
    pub fn bundle(&self, made: &Made, nonce: &str) -> Bundle {
        self.bundle_for(made, nonce, program_digest())
    }

    pub fn bundle_for(&self, made: &Made, nonce: &str, consumer: Digest) -> Bundle {
        let release = made.digest();
        let rollout = made.release.sequence;
        self.sequence.set(self.sequence.get() + 1);
        let sequence = self.sequence.get();
        let authorisation = Authorisation {
            rollout,
            release,
            log_root: Digest::of(b"root"),
            unit: Unit::Device,
            profile: ProfileName::Demo,
            start_ms: START,
            not_after_ms: START + 86_400_000,
            ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
            exposure_budget: None,
            supersedes: None,
            signers: 0,
        };
        let reach = Reach {
            ring: staffel_core::policy::EVERYBODY,
            stratum: "debian-12".into(),
            eligible_to: Some(Position::END),
            candidate_to: Some(Position::END),
        };
        let frontier = Frontier {
            rollout,
            release,
            sequence,
            halted: false,
            completed: false,
            issued_ms: START + 1,
            expires_ms: START + 60_000,
            reach: vec![reach],
        };
        let permit = Permit {
            rollout,
            release,
            device: device(),
            arm: Arm::Treated,
            frontier_sequence: sequence,
            nonce: nonce.into(),
            issued_ms: START + 1,
            expires_ms: START + 60_000,
        };
        let gate = Gate {
            result: "PASSED".into(),
            configuration: Vec::new(),
            passed_tests: vec!["start".into()],
            failed_tests: Vec::new(),
            header: Header { expires_ms: u64::MAX, ..Header::default() },
            attestation: GateAttestation {
                release,
                passed: true,
                consumers: vec![consumer],
                checks: vec!["start".into()],
                waived: None,
                signers: 0,
            },
        };
        let policy = TenantPolicy { tenant: "clinic".into(), sequence: 1, policy: CustomerPolicy::default() };
        Bundle {
            release: Some(made.envelope()),
            gate: Some(sign(&gate, &[&key(11), &key(12)])),
            authorisation: Some(sign(&headed(authorisation), &[&key(13), &key(14)])),
            frontier: Some(sign(&headed(frontier), &[&key(15)])),
            policy: Some(sign(&headed(policy), &[&key(20)])),
            permit: Some(sign(&headed(permit), &[&key(15)])),
            checkpoint: None,
        }
    }

    pub fn prepare(&self, made: &Made) -> Reply {
        self.spool(made);
        self.ask(Command::Prepare { bundle: Box::new(self.bundle(made, "")) })
    }

    /// Prepares and arms; returns the nonce of the trial.
    pub fn arm(&self, made: &Made) -> String {
        let reply = self.prepare(made);
        let Reply::Prepared { release, nonce, .. } = reply else { panic!("{reply:?}") };
        assert_eq!(release, made.digest());
        let reply = self.ask(Command::Arm { bundle: Box::new(self.bundle(made, &nonce)) });
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        nonce
    }

    pub fn confirm(&self, made: &Made, nonce: &str) -> Reply {
        self.ask(Command::Confirm { receipt: receipt(made, nonce) })
    }

    /// The whole way of a good change.
    pub fn commit(&self, made: &Made) -> Status {
        let nonce = self.arm(made);
        let reply = self.confirm(made, &nonce);
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}\n{}", self.log());
        let status = self.status();
        assert_eq!(status.last_known_good.releases.get(&made.release.name), Some(&made.digest()));
        status
    }

    pub fn remedy(&self, sequence: u64, action: Action, signers: &[u8]) -> Reply {
        let keys: Vec<SigningKey> = signers.iter().map(|&n| key(n)).collect();
        let remedy = Remedy { device: device(), case: "c1".into(), sequence, action };
        self.ask(Command::Remedy { remedy: sign(&headed(remedy), &keys.iter().collect::<Vec<_>>()) })
    }

    /// Panics unless every file of the generation is there as it was made, and `current` points at it.
    pub fn assert_whole(&self, generation: &Generation, made: &[&Made]) {
        assert_eq!(self.current(), Some(self.layout.generation(&generation.id)));
        for (name, digest) in &generation.releases {
            let made = made.iter().find(|made| made.digest() == *digest).expect("a release that was made here");
            for (path, bytes) in &made.bytes {
                let path = self.layout.generation(&generation.id).join(name).join(path);
                assert_eq!(&fs::read(&path).unwrap(), bytes, "{}", path.display());
            }
        }
    }

    pub fn current(&self) -> Option<PathBuf> {
        fs::read_link(self.layout.current()).ok().map(|target| self.layout.root.join(target))
    }

    /// Names below a folder of the guard.
    pub fn names(&self, folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the guard said:\n{}", self.log());
        }
    }
}

pub fn receipt(made: &Made, nonce: &str) -> Envelope {
    let receipt =
        Receipt { device: device(), rollout: made.release.sequence, release: made.digest(), nonce: nonce.into() };
    sign(&headed(receipt), &[&key(15)])
}

pub fn halt(made: &Made) -> Envelope {
    let halt = Halt { release: made.digest(), rollout: None, why: "it goes dark".into() };
    sign(&headed(halt), &[&key(16)])
}

pub fn unhalt(made: &Made) -> Envelope {
    let unhalt = Unhalt { release: made.digest(), why: "a mistake".into(), halt: halt(made).digest().unwrap() };
    sign(&headed(unhalt), &[&key(13), &key(14)])
}

pub fn program() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_guard-ctl"))
}

fn program_digest() -> Digest {
    static DIGEST: std::sync::OnceLock<Digest> = std::sync::OnceLock::new();
    *DIGEST.get_or_init(|| Digest::of(&fs::read(env!("CARGO_BIN_EXE_guard-ctl")).unwrap()))
}

fn as_status(reply: Reply) -> Status {
    match reply {
        Reply::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

pub fn is_safe(status: &Status) -> bool {
    matches!(status.mode, Mode::Safe { .. })
}

/// Waits for what is bound to come; only a hang makes this fail.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(300), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("/bin/sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(status.unwrap().success());
}

/// True while a process of that id is there and no zombie.
pub fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|text| !text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

pub fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
