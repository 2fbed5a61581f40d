//! The console: web pages for whoever runs a fleet, beside the server's engine and with no state of its own but sessions.
//!
//! Every page is a projection of the log that the engine keeps; every button ends in one of the engine's functions, with the
//! person's name. Pages are made here (askama), in two languages (`words`), and refresh themselves by htmx when the engine
//! says that something changed (`live`); they can be read without scripts. `auth` knows who asks, `oidc` takes a provider's
//! word for it, `web` what every page has, `pages/` holds one file a page. What must stay out: decisions, and anything that
//! the log does not say.

pub mod accounts;
mod assets;
mod auth;
mod live;
pub mod oidc;
mod pages;
pub mod sessions;
mod times;
mod web;
mod words;

pub use assets::has_scripts;

use crate::{accounts::Accounts, auth::Doors, oidc::Oidc, sessions::Lifetime, web::Console};
use axum::Router;
use staffel_server::{
    config::EdgeConfig,
    edge::{self, EdgeError},
    engine::Engine,
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::sync::watch;

/// What the console needs beside the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds `console-users.json`.
    pub data_dir: PathBuf,
    pub lifetime: Lifetime,
    /// A provider that people can log in with, too.
    pub oidc: Option<Oidc>,
}

/// Largest form, bytes.
const MAX_FORM: usize = 64 << 10;

/// All pages. `stopped` becomes true when what waits has to end.
pub fn router(engine: Engine, settings: &Settings, stopped: watch::Receiver<bool>) -> Router {
    let console = Arc::new(Console {
        engine,
        accounts: Accounts::new(&settings.data_dir),
        sessions: sessions::Sessions::new(settings.lifetime),
        doors: Doors::default(),
        oidc: settings.oidc.clone(),
        stopped,
    });
    let router =
        pages::routes().merge(auth::routes()).merge(oidc::routes()).merge(live::routes()).merge(assets::routes());
    let router = router.fallback(|| async { web::Stop::NotFound });
    router
        .layer(axum::extract::DefaultBodyLimit::max(MAX_FORM))
        .layer(axum::middleware::from_fn(web::dress))
        .with_state(console)
}

/// Serves the console until `shutdown` ends. `edge` says where, and where the server's certificate lies.
pub async fn serve(
    engine: Engine,
    settings: &Settings,
    edge: EdgeConfig,
    shutdown: impl Future<Output = ()>,
    bound: impl FnOnce(SocketAddr),
) -> Result<(), EdgeError> {
    let (stop, stopped) = watch::channel(false);
    let router = router(engine, settings, stopped);
    let shutdown = async move {
        shutdown.await;
        // Nobody waiting is fine, too.
        let _ = stop.send(true);
    };
    edge::serve_pages(edge, router, shutdown, bound).await
}
