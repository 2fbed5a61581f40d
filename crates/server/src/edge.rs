//! The server's outside: puts routes, limits and TLS together and serves until told to stop. What must stay out: what any
//! single route does.
//!
//! Read next: `accept` (connections), `identity` (who asks), `device_api`, `operator_api`, `log_api`, `repository`.

pub use crate::identity::Peer;
use crate::{
    accept::{self, Accepting},
    ca::{Ca, CaError},
    config::{EdgeConfig, milliseconds},
    device_api,
    engine::{BoardBytes, Engine},
    identity::{caller, require, whole_fleet},
    limit::Limiter,
    log_api,
    metrics::Metrics,
    nonces::Nonces,
    observe::observe,
    operator_api,
    operators::Operators,
    problem::Failure,
    repository,
    tls::{self, TlsError},
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use staffel_core::ids::DeviceId;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;

/// New certificates for one key in place of expired ones: so many at once, then one in this time. Each attempt is an entry
/// in the log, and an honest device needs one a quarter.
const REGAIN_AT_ONCE: u32 = 5;
const REGAIN_EACH: Duration = Duration::from_secs(600);

/// Why the edge does not serve.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("load the server's certificates")]
    Certificates(#[from] CaError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("no random bytes for request ids and nonces: {0}")]
    Random(getrandom::Error),
}

/// What every route can reach.
pub(crate) struct Edge {
    pub config: EdgeConfig,
    pub engine: Engine,
    pub ca: Ca,
    pub metrics: Arc<Metrics>,
    pub operators: Operators,
    pub device_limit: Limiter<DeviceId>,
    pub enrol_limit: Limiter<IpAddr>,
    pub recover_limit: Limiter<IpAddr>,
    /// Of devices that are known and have signed a nonce.
    pub regain_limit: Limiter<DeviceId>,
    pub nonces: Nonces,
    pub log_limit: Limiter<IpAddr>,
    /// Deliveries of one device's sensor.
    pub detection_limit: Limiter<DeviceId>,
    /// True once the server stops: what waits must end.
    pub stop: watch::Receiver<bool>,
    /// The board whose digest was computed last, and that digest.
    pub board_tag: Mutex<Option<(Arc<BoardBytes>, String)>>,
    first_id: u32,
    requests: AtomicU64,
}

impl Edge {
    /// A name for one request: unlike any other of this process, and hardly like one of another.
    pub fn request_id(&self) -> String {
        format!("{:08x}-{:x}", self.first_id, self.requests.fetch_add(1, Relaxed))
    }

    /// Runs something that may read the disk where it delays nobody.
    pub async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let engine = self.engine.clone();
        tokio::task::spawn_blocking(move || work(&engine)).await.map_err(Failure::internal)
    }
}

/// Serves devices and operators until `shutdown` ends, then stops gracefully: nothing new, and what runs may finish for
/// [`EdgeConfig::drain_ms`]. `bound` is told the address, once it accepts connections. Stopping the engine is the caller's.
pub async fn serve(
    config: EdgeConfig,
    engine: Engine,
    shutdown: impl Future<Output = ()>,
    bound: impl FnOnce(SocketAddr),
) -> Result<(), EdgeError> {
    let ca = Ca::load(&config.tls_dir())?;
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&ca)?));
    let listen = |source| EdgeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (stop, stopped) = watch::channel(false);
    let edge = Arc::new(Edge {
        operators: Operators::new(&config.data_dir),
        device_limit: Limiter::new(config.device_rate, config.rate_table),
        enrol_limit: Limiter::new(config.enrol_rate, config.rate_table),
        recover_limit: Limiter::new(config.enrol_rate, config.rate_table),
        regain_limit: Limiter::one_each(REGAIN_EACH, REGAIN_AT_ONCE, config.rate_table),
        nonces: Nonces::new().map_err(EdgeError::Random)?,
        log_limit: Limiter::new(config.log_rate, config.rate_table),
        detection_limit: Limiter::one_each(
            milliseconds(config.detections_every_ms),
            config.detections_at_once,
            config.rate_table,
        ),
        metrics: Arc::default(),
        board_tag: Mutex::default(),
        first_id: getrandom::u32().map_err(EdgeError::Random)?,
        requests: AtomicU64::new(0),
        stop: stopped.clone(),
        config,
        engine,
        ca,
    });
    let router = router(edge.clone());
    tracing::info!(%address, "serving");
    bound(address);
    let accepting = Accepting { acceptor, config: Arc::new(edge.config.clone()), metrics: edge.metrics.clone() };
    until(shutdown, stop, accept::run(listener, accepting, router, stopped)).await;
    Ok(())
}

/// Serves these pages for people until `shutdown` ends, at an address of their own and with the server's certificate:
/// browsers are not asked for one. Requests carry their [`Peer`].
pub async fn serve_pages(
    config: EdgeConfig,
    router: Router,
    shutdown: impl Future<Output = ()>,
    bound: impl FnOnce(SocketAddr),
) -> Result<(), EdgeError> {
    let acceptor = TlsAcceptor::from(Arc::new(tls::pages_config(&Ca::load(&config.tls_dir())?)?));
    let listen = |source| EdgeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    tracing::info!(%address, "serving the console");
    bound(address);
    let (stop, stopped) = watch::channel(false);
    let accepting = Accepting { acceptor, config: Arc::new(config), metrics: Arc::default() };
    until(shutdown, stop, accept::run(listener, accepting, router, stopped)).await;
    Ok(())
}

async fn until(shutdown: impl Future<Output = ()>, stop: watch::Sender<bool>, accepting: impl Future<Output = ()>) {
    tokio::pin!(accepting);
    tokio::select! {
        () = &mut accepting => {}
        () = shutdown => {
            tracing::info!("stopping");
            // Nobody listening any more is fine, too.
            let _ = stop.send(true);
            accepting.await;
        }
    }
}

/// All routes.
pub(crate) fn router(edge: Arc<Edge>) -> Router {
    let open = Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
        .route("/repo/{*path}", get(repository::get));
    let router = open
        .merge(device_api::routes(&edge.config))
        .merge(log_api::routes(&edge.config))
        .merge(operator_api::router(&edge))
        .fallback(|| async {
            Failure::new(StatusCode::NOT_FOUND, "there is no such path", "see the API's description")
        })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not know this method",
                "see the API's description",
            )
        });
    router.layer(from_fn_with_state(edge.clone(), observe)).with_state(edge)
}

/// The process lives.
async fn healthy() -> &'static str {
    "ok\n"
}

/// The engine can work.
async fn ready(State(edge): State<Arc<Edge>>) -> Result<&'static str, Failure> {
    match edge.aside(Engine::ready).await? {
        Ok(()) => Ok("ready\n"),
        Err(why) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why, "see the server's log")),
    }
}

async fn figures(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Result<Response, Failure> {
    if !edge.config.open_metrics {
        let who = caller(&edge, headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()))?;
        require(&who, crate::api::Role::Viewer)?;
        whole_fleet(&who)?;
    }
    let mut text = edge.metrics.text(edge.ca.server_ends());
    text.push_str(&edge.aside(Engine::metrics).await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
