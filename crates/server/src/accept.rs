//! Connections: taken up, spoken TLS with, served, and at a stop let finish within a bound. What must stay out: requests.

use crate::{
    config::{EdgeConfig, milliseconds},
    identity::{Peer, PeerCertificate},
    metrics::{Metrics, Present},
    stall::Stall,
};
use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Largest request line and headers, bytes.
const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 64;

/// What connections are taken up with.
#[derive(Clone)]
pub(crate) struct Accepting {
    pub acceptor: TlsAcceptor,
    pub config: Arc<EdgeConfig>,
    pub metrics: Arc<Metrics>,
}

/// Serves until `stop` becomes true, then lets what runs finish for at most `drain_ms`.
pub(crate) async fn run(listener: TcpListener, accepting: Accepting, router: Router, mut stop: watch::Receiver<bool>) {
    let Accepting { config, metrics, .. } = &accepting;
    let room = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // `Err` means that whoever could say stop is gone: stop, too.
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        // Those that have ended are not kept until the end.
        while tasks.try_join_next().is_some() {}
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly "too many open files": it passes, and asking at once again would only burn the processor.
                tracing::warn!(%error, "no connection could be taken up");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = Connection {
            accepting: accepting.clone(),
            router: router.clone(),
            watcher: graceful.watcher(),
            _open: Present::new(metrics, |metrics| &metrics.connections),
            _permit: permit,
        };
        tasks.spawn(connection.serve(stream, address));
    }
    drop(listener);
    let drain = milliseconds(config.drain_ms);
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(left = tasks.len(), "connections did not finish in time and are cut");
    }
    tasks.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, permit))
}

struct Connection {
    accepting: Accepting,
    router: Router,
    watcher: Watcher,
    _open: Present,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, address: SocketAddr) {
        let Accepting { acceptor, config, metrics } = &self.accepting;
        // Answers are small; waiting to fill a packet would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let stream = Stall::new(stream, milliseconds(config.stall_timeout_ms), metrics.clone());
        let handshake = timeout(milliseconds(config.handshake_timeout_ms), acceptor.accept(stream)).await;
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            failed => {
                metrics.handshakes_failed.fetch_add(1, Relaxed);
                let error = failed.err().map_or("TLS was not agreed on", |_| "it took too long");
                tracing::debug!(%address, error, "no handshake");
                return;
            }
        };
        metrics.handshakes.fetch_add(1, Relaxed);
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| PeerCertificate::of(chain.first()?));
        let peer = Peer { address, certificate };
        let service = self.router.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let connection = builder(config).serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%address, %error, "a connection ended early");
        }
    }
}

fn builder(config: &EdgeConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(milliseconds(config.header_timeout_ms))
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
}
