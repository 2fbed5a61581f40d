//! A server at the real one's address, with its certificate, that says to each device what the test wants. The
//! repository behind it is the real one: what is signed offline can't be made up. Must stay out: what the lies are.

use axum::{
    Router,
    body::Bytes,
    extract::{
        ConnectInfo, State,
        connect_info::{Connected, IntoMakeServiceWithConnectInfo},
    },
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::{get, post},
    serve::{IncomingStream, Listener},
};
use staffel_cli::{Layout, lab::Lab};
use staffel_core::ids::DeviceId;
use staffel_server::{ca::Ca, tls};
use staffel_statement::{
    Envelope, SigningKey,
    predicate::{Headed, Header, Receipt, sign},
};
use staffel_trust::wire::{Board, CheckIn, CheckInReply, Offer, Ready};
use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Above every position of the real log.
const FIRST_BOARD: u64 = 1_000_000;
/// How often devices shall call, milliseconds.
const CADENCE_MS: u64 = 300;

/// Makes a permit for a device that is ready, or none.
pub type Permits = Box<dyn Fn(&Ready) -> Option<Envelope> + Send>;

/// What one device is told, and what it says.
struct Script {
    board: Board,
    /// Sequence of the policy that the server claims to have, and what it hands out.
    policy: (u64, Option<Envelope>),
    permits: Option<Permits>,
    /// The last check-in, and how many there were since the board was last changed.
    heard: Option<CheckIn>,
    since: u32,
}

struct Shared {
    scripts: Mutex<BTreeMap<DeviceId, Script>>,
    online: SigningKey,
    repository: PathBuf,
}

/// The server; it is gone once this is dropped.
pub struct LyingServer {
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl LyingServer {
    /// Takes the address of the laboratory's server, which must be gone.
    pub fn start(lab: &Lab) -> LyingServer {
        let layout: &Layout = &lab.layout;
        let ca = Ca::load(&layout.server_dir().join("tls")).expect("the server's certificate");
        let tls = TlsAcceptor::from(Arc::new(tls::server_config(&ca).expect("TLS")));
        let port = lab.url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            online: layout.signing_key("online-1").expect("the online key"),
            repository: layout.repo_dir(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let tcp = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port))).expect("the server's address");
        let routes = Router::new()
            .route("/v1/checkin", post(check_in))
            .route("/v1/board", get(board))
            .route("/v1/policy", get(policy))
            .route("/v1/bye", post(async || StatusCode::NO_CONTENT))
            .fallback(repository)
            .with_state(shared.clone());
        let service: IntoMakeServiceWithConnectInfo<_, Caller> = routes.into_make_service_with_connect_info();
        runtime.spawn(async move { axum::serve(TlsListener { tcp, tls }, service).await });
        LyingServer { shared, runtime: Some(runtime) }
    }

    /// Replaces what a device finds on the board, and how its questions for permits are answered.
    pub fn tell(&self, device: DeviceId, offers: Vec<Offer>, permits: Option<Permits>) {
        let mut scripts = self.shared.scripts();
        let script = scripts.entry(device).or_insert_with(Script::new);
        script.board = Board { version: script.board.version + 1, offers, ..Board::default() };
        (script.permits, script.since) = (permits, 0);
    }

    /// Claims to have a policy of this sequence and hands this one out.
    pub fn hand_out_policy(&self, device: DeviceId, sequence: u64, policy: Envelope) {
        let mut scripts = self.shared.scripts();
        let script = scripts.entry(device).or_insert_with(Script::new);
        (script.policy, script.since) = ((sequence, Some(policy)), 0);
    }

    /// What the device asks for, if its last word was about the present board.
    pub fn asks(&self, device: DeviceId) -> Option<Ready> {
        let scripts = self.shared.scripts();
        let script = scripts.get(&device)?;
        script.heard.as_ref().filter(|heard| heard.board == script.board.version)?.ready.clone()
    }

    /// Check-ins since the device was last told something else.
    pub fn check_ins(&self, device: DeviceId) -> u32 {
        self.shared.scripts().get(&device).map_or(0, |script| script.since)
    }
}

impl Drop for LyingServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Script {
    fn new() -> Self {
        let board = Board { version: FIRST_BOARD, ..Board::default() };
        Script { board, policy: (1, None), permits: None, heard: None, since: 0 }
    }
}

impl Shared {
    fn scripts(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Script>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Server = State<Arc<Shared>>;
type Peer = ConnectInfo<Caller>;

async fn check_in(State(server): Server, ConnectInfo(Caller(device)): Peer, body: Bytes) -> Response {
    let Ok(said) = serde_json::from_slice::<CheckIn>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let mut scripts = server.scripts();
    let script = scripts.entry(device).or_insert_with(Script::new);
    let now = super::now_ms();
    let receipt = said.on_trial.as_ref().map(|trial| {
        let body = Receipt { device, rollout: trial.rollout, release: trial.release, nonce: trial.nonce.clone() };
        let header = Header { issued_ms: now, expires_ms: now + 60_000, ..Header::default() };
        sign(&Headed { header, body }, &[&server.online])
    });
    let permit = match (&script.permits, &said.ready) {
        (Some(permits), Some(ready)) => permits(ready),
        _ => None,
    };
    let reply = CheckInReply {
        probe: None,
        server_ms: now,
        cadence_ms: CADENCE_MS,
        board: script.board.version,
        policy: script.policy.0,
        permit,
        receipt,
        remedies: Vec::new(),
        outcome_noted: said.outcome.is_some(),
        inventory_wanted: false,
        declined_noted: !said.declined.is_empty(),
        start_noted: said.start.is_some(),
    };
    script.since += u32::from(said.board == script.board.version);
    script.heard = Some(said);
    axum::Json(reply).into_response()
}

async fn board(State(server): Server, ConnectInfo(Caller(device)): Peer) -> axum::Json<Board> {
    axum::Json(server.scripts().entry(device).or_insert_with(Script::new).board.clone())
}

async fn policy(State(server): Server, ConnectInfo(Caller(device)): Peer) -> Response {
    match server.scripts().get(&device).and_then(|script| script.policy.1.clone()) {
        Some(policy) => axum::Json(policy).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn repository(State(server): Server, uri: Uri) -> Response {
    let name = uri.path().strip_prefix("/repo/").filter(|name| !name.contains(".."));
    let path = name.map(|name| match name.strip_prefix("blobs/") {
        Some(blob) => server.repository.join("blobs").join(blob.get(..2).unwrap_or_default()).join(blob),
        None => server.repository.join(name),
    });
    match path.and_then(|path| std::fs::read(path).ok()) {
        Some(bytes) => bytes.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The device at the other end, known by its key.
#[derive(Clone, Copy, Debug)]
struct Caller(DeviceId);

impl Connected<IncomingStream<'_, TlsListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        *stream.remote_addr()
    }
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Caller;

    async fn accept(&mut self) -> (Self::Io, Caller) {
        loop {
            let Ok((stream, _)) = self.tcp.accept().await else { continue };
            let shaken = tokio::time::timeout(Duration::from_secs(5), self.tls.accept(stream)).await;
            let Ok(Ok(stream)) = shaken else { continue };
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            if let Some(device) = shown.and_then(|certificate| device(certificate)) {
                return (stream, Caller(device));
            }
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn device(certificate: &[u8]) -> Option<DeviceId> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(DeviceId::of_public_key(certificate.public_key().raw))
}
