//! One device with its server, its TUF repository, its guard and the service that its release brings.

use super::{
    guard::{CONSUMER, FakeGuard},
    http::{Answer, Request, serve},
    keys::Authority,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};
use staffel_agent::{
    clock::wall_ms,
    directory::Directory,
    enrol::{self, Request as EnrolRequest},
    run::{Agent, Options},
    status::AgentStatus,
};
use staffel_core::{
    boot::Outcome,
    conditions::{Authorisation, Frontier, GateAttestation, Permit, Reach, Unit},
    evidence::Arm,
    ids::{DeviceId, Digest, Position, Share},
    policy::CustomerPolicy,
    profile::{CeilingStep, ProfileName},
    release::{Kind, StateCompatibility},
};
use staffel_trust::{
    keyfile::KeyPair,
    statement::{
        Envelope, SigningKey,
        keyring::{Keyring, RoleKeys},
        predicate::{File, Gate, Halt, Headed, Header, Predicate, Probe, Receipt, Release, TenantPolicy, sign},
    },
    tuf::writer::{self, KeySet, Repository, Source},
    wire::{
        Board, CheckIn, CheckInReply, Detections, DetectionsNoted, Enrol, Enrolled, Offer, Recover, RecoverNonce,
        Renew, gate_target, release_target,
    },
};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const FILE: &[u8] = b"the whole release";
pub const ROLLOUT: u64 = 1;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn role(keys: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold }
}

fn headed<T>(body: T) -> Headed<T> {
    let now = wall_ms();
    Headed { header: Header { issued_ms: now, expires_ms: now + 3_600_000, ..Header::default() }, body }
}

fn online<T>(body: T) -> Envelope
where
    Headed<T>: Predicate,
{
    sign(&headed(body), &[&key(15)])
}

/// What the server knows and decides.
pub struct Mock {
    pub authority: Authority,
    repository: PathBuf,
    pub release: Digest,
    authorisation: Envelope,
    pub board: Board,
    sequence: u64,
    device: DeviceId,
    /// Answer to `ready`; none withholds the permit.
    pub arm: Option<Arm>,
    pub receipts: bool,
    pub reachable: bool,
    pub check_ins: Vec<CheckIn>,
    pub outcomes: Vec<Outcome>,
    pub enrolments: u32,
    /// End of the certificates that it makes at an enrolment.
    pub enrolled_until: SystemTime,
    pub renewals: u32,
    /// A device may get a certificate by its key alone.
    pub recovers: bool,
    pub recoveries: u32,
    /// Requests for a certificate by the key alone.
    pub recovery_requests: u32,
    /// A renewal is answered with a certificate for a key of its own.
    pub lies: bool,
    /// The certificate that was last shown, DER.
    pub shown: Vec<u8>,
    pub byes: u32,
    /// Everything that was delivered, noted or not.
    pub detections: Vec<Detections>,
    pub note_detections: bool,
}

impl Mock {
    /// Puts another frontier on the board.
    pub fn move_frontier(&mut self, eligible_to: Option<Position>, candidate_to: Option<Position>) {
        self.sequence += 1;
        let reach =
            Reach { ring: staffel_core::policy::EVERYBODY, stratum: "debian-12/box".into(), eligible_to, candidate_to };
        let frontier = Frontier {
            rollout: ROLLOUT,
            release: self.release,
            sequence: self.sequence,
            halted: false,
            completed: false,
            issued_ms: wall_ms(),
            expires_ms: wall_ms() + 600_000,
            reach: vec![reach],
        };
        self.board.version += 1;
        self.board.offers = vec![Offer {
            rollout: ROLLOUT,
            name: "till".into(),
            version: "2".into(),
            release: self.release,
            soak_ms: 600,
            authorisation: self.authorisation.clone(),
            frontier: Some(online(frontier)),
        }];
    }

    /// Puts an operator's halt on the board.
    pub fn halt(&mut self) {
        let halt = Halt { release: self.release, rollout: Some(ROLLOUT), why: "dark devices".into() };
        self.board.halts.push(sign(&headed(halt), &[&key(16)]));
        self.board.version += 1;
    }

    fn answer(&mut self, request: Request) -> Answer {
        if !self.reachable {
            return Answer::status(503);
        }
        let path = request.path.as_str();
        if let Some(file) = path.strip_prefix("/repo/") {
            if file.starts_with("blobs/") {
                return Answer::ok(FILE);
            }
            let bytes = std::fs::read(self.repository.join(file));
            return bytes.map_or_else(|_| Answer::status(404), Answer::ok);
        }
        if path == "/v1/enrol" {
            let request: Enrol = serde_json::from_slice(&request.body).unwrap();
            let (certificate_pem, public_key) = self.authority.sign(&request.csr_pem, self.enrolled_until);
            self.enrolments += 1;
            self.device = DeviceId::of_public_key(&public_key);
            let (tenant, site) = ("clinic".into(), "main".into());
            return Answer::json(&Enrolled { device: self.device, tenant, site, certificate_pem });
        }
        if path == "/v1/recover" {
            return self.recover(&request);
        }
        let Some(shown) = request.certificate else { return Answer::status(401) };
        self.shown = shown;
        match path {
            "/v1/renew" => {
                let Renew { csr_pem } = serde_json::from_slice(&request.body).unwrap();
                let csr_pem = if self.lies { other_request() } else { csr_pem };
                let (certificate_pem, _) = self.authority.sign(&csr_pem, far());
                self.renewals += 1;
                let (tenant, site) = ("clinic".into(), "main".into());
                Answer::json(&Enrolled { device: self.device, tenant, site, certificate_pem })
            }
            "/v1/board" => Answer::json(&self.board),
            "/v1/policy" => {
                let policy = CustomerPolicy::default();
                let policy = TenantPolicy { tenant: "clinic".into(), sequence: 1, policy };
                Answer::json(&sign(&headed(policy), &[&key(20)]))
            }
            "/v1/bye" => {
                self.byes += 1;
                Answer::status(200)
            }
            "/v1/detections" => {
                let delivery: Detections = serde_json::from_slice(&request.body).unwrap();
                let through = delivery.findings.last().map_or(0, |finding| finding.number);
                self.detections.push(delivery);
                if self.note_detections { Answer::json(&DetectionsNoted { through }) } else { Answer::status(503) }
            }
            "/v1/checkin" => self.check_in(serde_json::from_slice(&request.body).unwrap()),
            _ => Answer::status(404),
        }
    }

    /// Gives a nonce out, or takes it signed.
    fn recover(&mut self, request: &Request) -> Answer {
        const NONCE: &str = "6e6f6e6365";
        assert_eq!(request.certificate, None, "an expired certificate would end the connection");
        if request.body.is_empty() {
            return Answer::json(&RecoverNonce { nonce: NONCE.into() });
        }
        self.recovery_requests += 1;
        let Recover { csr_pem } = serde_json::from_slice(&request.body).unwrap();
        let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes()).unwrap();
        let signed = der.windows(NONCE.len()).any(|window| window == NONCE.as_bytes());
        if !signed || !self.recovers {
            return Answer::status(403);
        }
        let csr_pem = if self.lies { other_request() } else { csr_pem };
        let (certificate_pem, _) = self.authority.sign(&csr_pem, far());
        self.recoveries += 1;
        let (tenant, site) = ("clinic".into(), "main".into());
        Answer::json(&Enrolled { device: self.device, tenant, site, certificate_pem })
    }

    fn check_in(&mut self, request: CheckIn) -> Answer {
        let now = wall_ms();
        let permit = request.ready.as_ref().zip(self.arm).map(|(ready, arm)| {
            online(Permit {
                rollout: ready.rollout,
                release: ready.release,
                device: self.device,
                arm,
                frontier_sequence: self.sequence,
                nonce: ready.nonce.clone(),
                issued_ms: now,
                expires_ms: now + 60_000,
            })
        });
        let receipt = request.on_trial.as_ref().filter(|_| self.receipts).map(|trial| {
            let (rollout, release, nonce) = (trial.rollout, trial.release, trial.nonce.clone());
            online(Receipt { device: self.device, rollout, release, nonce })
        });
        let outcome_noted = request.outcome.is_some();
        let declined_noted = !request.declined.is_empty();
        let start_noted = request.start.is_some();
        self.outcomes.extend(request.outcome.clone());
        self.check_ins.push(request);
        Answer::json(&CheckInReply {
            probe: None,
            server_ms: now,
            cadence_ms: 100,
            board: self.board.version,
            policy: 1,
            permit,
            receipt,
            remedies: Vec::new(),
            outcome_noted,
            inventory_wanted: false,
            declined_noted,
            start_noted,
        })
    }
}

/// Everything around one agent.
pub struct World {
    pub folder: TempDir,
    pub server: Arc<Mutex<Mock>>,
    pub url: String,
    pub guard: Arc<Mutex<FakeGuard>>,
    /// What the release's service answers.
    pub service: Arc<AtomicU16>,
    pub enrol: EnrolRequest,
    runtime: Runtime,
}

impl World {
    /// A rollout for which this device is eligible, and an enrolled device.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = Arc::new(AtomicU16::new(200));
        let answers = Arc::clone(&service);
        let port = serve(None, move |_| Answer::status(answers.load(Ordering::SeqCst))).port();
        let (repository, release) = publish(&folder, port);
        let authorisation = authorise(release);
        let authority = Authority::new((2020, 2090));
        let tls = authority.server();
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        let mut mock = Mock {
            authority,
            repository,
            release,
            authorisation,
            board: Board::default(),
            sequence: 0,
            device: DeviceId::default(),
            arm: Some(Arm::Treated),
            receipts: true,
            reachable: true,
            check_ins: Vec::new(),
            outcomes: Vec::new(),
            enrolments: 0,
            enrolled_until: far(),
            renewals: 0,
            recovers: true,
            recoveries: 0,
            recovery_requests: 0,
            lies: false,
            shown: Vec::new(),
            byes: 0,
            detections: Vec::new(),
            note_detections: true,
        };
        mock.move_frontier(Some(Position::END), Some(Position::END));
        let server = Arc::new(Mutex::new(mock));
        let shared = Arc::clone(&server);
        let address = serve(Some(tls), move |request| shared.lock().unwrap().answer(request));
        let spool = folder.path().join("spool");
        std::fs::create_dir(&spool).unwrap();
        let guard = FakeGuard::listen(&folder.path().join("guard.sock"), &spool);
        let keyring = Keyring {
            version: 1,
            root: role(&[1, 2, 3], 2),
            release: role(&[10], 1),
            gate: role(&[11, 12], 2),
            releasers: role(&[13, 14], 2),
            online: role(&[15], 1),
            operators: role(&[16, 17], 1),
            witnesses: Vec::new(),
        };
        let envelope = serde_json::to_vec(&sign(&keyring, &[&key(1), &key(2)])).unwrap();
        std::fs::write(folder.path().join("keyring.json"), envelope).unwrap();
        let url = format!("https://{address}");
        let enrol = EnrolRequest {
            server: url.clone(),
            authority: folder.path().join("ca.pem"),
            token: "token".into(),
            name: "ward-1".into(),
            os_build: Some("debian-12".into()),
            hardware_model: Some("box".into()),
            keyring: folder.path().join("keyring.json"),
            tuf_root: folder.path().join("tuf-root.json"),
            tenant_keys: vec![key(20).public()],
        };
        let world = World { folder, server, url, guard, service, enrol, runtime: runtime() };
        super::block_on(enrol::enrol(&world.directory(), &world.enrol)).unwrap();
        world
    }

    pub fn directory(&self) -> Directory {
        Directory::new(&self.folder.path().join("agent"))
    }

    /// Enrols the device anew, with a certificate that was made in 2020 and ends then.
    pub fn enrol_until(&self, end: SystemTime) {
        self.mock(|mock| mock.enrolled_until = end);
        std::fs::remove_file(self.directory().installation()).unwrap();
        super::block_on(enrol::enrol(&self.directory(), &self.enrol)).unwrap();
        self.mock(|mock| mock.enrolled_until = far());
    }

    /// The device's certificate on disk.
    pub fn certificate(&self) -> String {
        std::fs::read_to_string(self.directory().certificate()).unwrap()
    }

    /// True if the server was last shown the certificate that is on disk.
    pub fn shows_its_certificate(&self) -> bool {
        let der = CertificateDer::from_pem_slice(self.certificate().as_bytes()).unwrap();
        self.mock(|mock| mock.shown == *der)
    }

    pub fn agent(&self) -> Agent {
        let options = Options {
            server: None,
            directory: self.directory(),
            guard_socket: self.folder.path().join("guard.sock"),
            spool: self.folder.path().join("spool"),
            inventory_root: self.folder.path().join("host"),
            sensor: Some(self.folder.path().join("sensor")),
        };
        Agent::open(options, "boot-1".into(), Vec::new()).unwrap()
    }

    /// Kills an agent and everything that it had begun.
    pub fn kill(&mut self, agent: Agent) {
        drop(agent);
        self.runtime = runtime();
    }

    /// In the event loop of the agent, where its connections live.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Lets an agent work until `condition` holds; then it stands still until it is let to work again. Five minutes
    /// are far more than any of this takes.
    pub fn run_until(&self, agent: Agent, what: &str, condition: impl Fn(&World) -> bool) -> Agent {
        self.runtime.block_on(async {
            let mut agent = agent;
            let wait = async {
                while !condition(self) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let ended = tokio::select! {
                () = wait => true,
                never = agent.work() => match never {},
                () = tokio::time::sleep(Duration::from_secs(300)) => false,
            };
            assert!(ended, "{what} did not come: {:?}", self.status());
            agent
        })
    }

    pub fn status(&self) -> Option<AgentStatus> {
        AgentStatus::read(&self.directory()).unwrap()
    }

    pub fn mock<T>(&self, look: impl FnOnce(&mut Mock) -> T) -> T {
        look(&mut self.server.lock().unwrap())
    }

    pub fn commands(&self, name: &str) -> usize {
        self.guard.lock().unwrap().commands.iter().filter(|command| *command == name).count()
    }
}

/// An end that is far away.
fn far() -> SystemTime {
    SystemTime::now() + Duration::from_secs(20 * 365 * 86_400)
}

/// A signing request of somebody else.
fn other_request() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn authorise(release: Digest) -> Envelope {
    let start_ms = wall_ms() - 3_600_000;
    let body = Authorisation {
        rollout: ROLLOUT,
        release,
        log_root: Digest::of(b"root"),
        unit: Unit::Device,
        profile: ProfileName::Demo,
        start_ms,
        not_after_ms: start_ms + 86_400_000,
        ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
        exposure_budget: None,
        supersedes: None,
        signers: 0,
    };
    sign(&headed(body), &[&key(13), &key(14)])
}

/// A TUF repository with one release of one file, and its root beside it.
fn publish(folder: &TempDir, port: u16) -> (PathBuf, Digest) {
    let file = File { path: "bin/till".into(), sha256: Digest::of(FILE), size: FILE.len() as u64, executable: true };
    let release = Release {
        name: "till".into(),
        version: "2".into(),
        sequence: 2,
        kind: Kind::Component,
        security_floor: 0,
        state: StateCompatibility::None,
        files: vec![file],
        service: None,
        probes: vec![
            Probe::Process,
            Probe::Http { port, path: "/healthy".into(), status: 200, timeout_ms: 20_000 },
            Probe::Command { exec: vec!["bin/till".into()], timeout_ms: 1_000 },
        ],
        supplier: "us".into(),
    };
    let envelope = sign(&release, &[&key(10)]);
    let digest = envelope.digest().unwrap();
    let gate = Gate {
        result: "PASSED".into(),
        configuration: Vec::new(),
        passed_tests: vec!["start".into()],
        failed_tests: Vec::new(),
        header: Header { expires_ms: u64::MAX, ..Header::default() },
        attestation: GateAttestation {
            release: digest,
            passed: true,
            consumers: vec![Digest::of(CONSUMER)],
            checks: vec!["start".into()],
            waived: None,
            signers: 0,
        },
    };
    let gate = sign(&gate, &[&key(11), &key(12)]);
    let pair = KeyPair::from_seed([30; 32]);
    let one = || KeySet::single(pair.public());
    let roles =
        writer::RoleKeys { root: one(), targets: one(), bins: one(), gate: one(), snapshot: one(), timestamp: one() };
    let path = folder.path().join("repository");
    let mut keyring = writer::Keyring::default();
    keyring.insert(pair.clone());
    let options = writer::Options { bins: 4, ..writer::Options::default() };
    let mut repository = Repository::init(&path, &roles, keyring, &options, wall_ms()).unwrap();
    std::fs::write(folder.path().join("tuf-root.json"), repository.first_root().unwrap()).unwrap();
    let targets = [(release_target("till", "2"), envelope), (gate_target(&digest), gate)];
    for (target, envelope) in targets {
        let bytes = serde_json::to_vec(&envelope).unwrap();
        repository.add_target(&target, Source::Bytes(&bytes), None).unwrap();
    }
    repository.publish(wall_ms()).unwrap();
    (path, digest)
}
