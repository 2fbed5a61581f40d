//! A server with an engine, on a free port of the loopback, and clients for it.

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use staffel_core::{
    ids::DeviceId,
    recovery::{Limits, ProbeRule},
};
use staffel_server::{
    api::{Caller, Role, TokenRequest},
    ca::Ca,
    config::EdgeConfig,
    edge::{EdgeError, serve},
    engine::{Engine, EngineConfig},
    operators, tls,
};
use staffel_store::LogSigner;
use staffel_trust::{
    statement::{
        SigningKey,
        keyring::{Keyring, RoleKeys},
        predicate::sign,
    },
    wire::{Attributes, Enrol, Enrolled},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Nothing here takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Server {
    pub dir: tempfile::TempDir,
    pub engine: Engine,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<Result<(), EdgeError>>>,
}

/// A log that can't write.
pub struct Held(rusqlite::Connection);

impl Held {
    /// Lets it write, after as long as an answer takes that does not wait for it. `writes` must be waiting until then.
    pub async fn let_go<T>(self, writes: &JoinHandle<T>) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!writes.is_finished(), "nothing is durable yet");
        self.0.execute_batch("COMMIT").unwrap();
    }
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub fn engine(dir: &Path) -> Engine {
    let role = |keys: &[u8], threshold| RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold };
    let keyring = Keyring {
        version: 1,
        root: role(&[1], 1),
        release: role(&[2], 1),
        gate: role(&[3], 1),
        releasers: role(&[4, 5], 2),
        online: role(&[6], 1),
        operators: role(&[7], 1),
        witnesses: Vec::new(),
    };
    Engine::open(EngineConfig {
        data_dir: dir.to_owned(),
        keyrings: vec![sign(&keyring, &[&key(1)])],
        online_key: key(6),
        log_signer: LogSigner::from_seed("staffel.test/log", &[8; 32]).unwrap(),
        witnesses: Vec::new(),
        idle_cadence_ms: 60_000,
        frontier_lifetime_ms: 60_000,
        tick_ms: 1_000,
        // Probes count as often as they come, so that no test has to wait.
        recovery: Limits {
            probe: ProbeRule { successes: 3, every_ms: 0, window_ms: 600_000 },
            case_silent_ms: 600_000,
            silent_after_ms: 600_000,
            ..Limits::demo()
        },
    })
    .unwrap()
}

impl Server {
    /// A server with these changes to the default settings.
    pub async fn start(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = EdgeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.path().to_owned(),
            repository: dir.path().join("repository"),
            ..EdgeConfig::default()
        };
        change(&mut config);
        std::fs::create_dir_all(&config.repository).unwrap();
        Ca::init(&config.tls_dir(), &["127.0.0.1".into(), "localhost".into()]).unwrap();
        let engine = engine(&dir.path().join("engine"));
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = oneshot::channel();
        let serving = tokio::spawn(serve(
            config,
            engine.clone(),
            async {
                let _ = stopped.await;
            },
            |address| bound.send(address).unwrap(),
        ));
        let address = address.await.unwrap();
        Server { dir, engine, address, stop: Some(stop), serving: Some(serving) }
    }

    /// Keeps the log from writing until what is answered is let go of; it gives up after five seconds.
    pub fn hold_the_log(&self) -> Held {
        let connection = rusqlite::Connection::open(self.dir.path().join("engine/log.sqlite")).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Held(connection)
    }

    pub fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub async fn stopped(&mut self) {
        tokio::time::timeout(PATIENCE, self.serving.take().unwrap()).await.expect("it stops").unwrap().unwrap();
    }

    /// TLS as a client speaks it that trusts this server.
    pub fn tls(&self, identity: Option<&Identity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let root = Ca::server_root_path(&self.dir.path().join("tls"));
        roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.serialize_pem().as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    pub fn client(&self, identity: Option<&Identity>) -> reqwest::Client {
        reqwest::Client::builder().tls_backend_preconfigured(self.tls(identity)).timeout(PATIENCE).build().unwrap()
    }

    /// A client that speaks with an operator's token; one operator a role and customer.
    pub fn operator(&self, role: Role, tenant: Option<&str>) -> reqwest::Client {
        let name = format!("{role:?}-{}", tenant.unwrap_or("all"));
        let token = operators::add(self.dir.path(), &name, role, tenant).unwrap();
        self.bearer(&token)
    }

    pub fn bearer(&self, token: &str) -> reqwest::Client {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls(None))
            .default_headers(headers)
            .timeout(PATIENCE)
            .build()
            .unwrap()
    }

    pub async fn token(&self) -> String {
        let who = Caller { name: "test".into(), role: Role::Releaser, tenant: None };
        let request = TokenRequest { tenant: "clinic".into(), site: "north".into(), hours: None };
        self.engine.token(&who, request).await.unwrap().token
    }

    /// A device that has enrolled over the network.
    pub async fn device(&self, name: &str) -> Identity {
        self.enrolled(self.token().await, name).await
    }

    /// The same of any customer, at its site `north`.
    pub async fn device_of(&self, tenant: &str, name: &str) -> Identity {
        let who = Caller { name: "test".into(), role: Role::Releaser, tenant: None };
        let request = TokenRequest { tenant: tenant.into(), site: "north".into(), hours: None };
        self.enrolled(self.engine.token(&who, request).await.unwrap().token, name).await
    }

    async fn enrolled(&self, token: String, name: &str) -> Identity {
        let key = new_key();
        let request = enrolment(token, name, &key);
        let answer = self.client(None).post(self.url("/v1/enrol")).json(&request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let enrolled: Enrolled = answer.json().await.unwrap();
        assert_eq!(enrolled.device, id(&key));
        Identity { key, certificate_pem: enrolled.certificate_pem }
    }

    /// A certificate of the real authority that says what this test wants.
    pub fn forge(&self, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let read = |name: &str| std::fs::read_to_string(self.dir.path().join("tls").join(name)).unwrap();
        let authority = KeyPair::from_pem(&read("device-ca.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("device-ca.pem"), authority).unwrap();
        let mut params = client_params();
        change(&mut params);
        let certificate_pem = params.signed_by(&key, &issuer).unwrap().pem();
        Identity { key, certificate_pem }
    }

    /// One TLS connection, for what no well-behaved client would send.
    pub async fn raw(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.tls(None))).connect(name, stream).await.unwrap()
    }

    /// Sends these bytes and reads until the server closes; what came before an abrupt end counts, too.
    pub async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.raw().await;
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let reading = async {
            let mut part = [0; 4_096];
            while let Ok(read @ 1..) = stream.read(&mut part).await {
                answer.extend_from_slice(&part[..read]);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the server closes the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// A device's key and certificate.
pub struct Identity {
    pub key: KeyPair,
    pub certificate_pem: String,
}

impl Identity {
    pub fn id(&self) -> DeviceId {
        id(&self.key)
    }

    /// A certificate of an authority that nobody knows.
    pub fn foreign() -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = Issuer::new(root, new_key());
        let key = new_key();
        let certificate_pem = client_params().signed_by(&key, &issuer).unwrap().pem();
        Identity { key, certificate_pem }
    }
}

fn client_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "device");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params
}

pub fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub fn id(key: &KeyPair) -> DeviceId {
    use rcgen::PublicKeyData;
    DeviceId::of_public_key(&key.subject_public_key_info())
}

pub fn request_pem(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

/// The same with a server's nonce as its challenge password (RFC 2985, 5.4.1).
pub fn signed_nonce(key: &KeyPair, nonce: &str) -> String {
    const CHALLENGE_PASSWORD: &[u64] = &[1, 2, 840, 113_549, 1, 9, 7];
    let length = nonce.len() as u8;
    let values = [&[0x31, length + 2, 0x0c, length], nonce.as_bytes()].concat();
    let attributes = vec![rcgen::Attribute { oid: CHALLENGE_PASSWORD, values }];
    CertificateParams::default().serialize_request_with_attributes(key, attributes).unwrap().pem().unwrap()
}

pub fn enrolment(token: String, name: &str, key: &KeyPair) -> Enrol {
    Enrol {
        token,
        csr_pem: request_pem(key),
        name: name.into(),
        attributes: Attributes { os_build: "debian-12".into(), hardware_model: "box".into() },
    }
}

/// Somebody who may look at everything.
pub fn viewer() -> Caller {
    Caller { name: "test".into(), role: Role::Viewer, tenant: None }
}

/// A first sign of life.
pub fn check_in() -> serde_json::Value {
    serde_json::json!({ "boot_id": "1", "mode": { "mode": "normal" } })
}

/// Every error says what happened and what to do.
pub async fn problem(answer: reqwest::Response, status: u16) -> String {
    assert_eq!(answer.status(), status);
    let problem: staffel_trust::wire::Problem = answer.json().await.expect("a Problem");
    assert!(!problem.error.is_empty() && !problem.hint.is_empty(), "{problem:?}");
    problem.error
}
