//! `staffel server`: the edge and the engine in one process.

use crate::{
    command::repo,
    layout::{Layout, ONLINE},
};
use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use staffel_console::{
    Settings,
    oidc::{Oidc, OidcConfig},
    sessions::Lifetime,
};
use staffel_notice::{Manners, alert::Retry};
use staffel_server::{
    config::EdgeConfig,
    edge,
    engine::{
        Engine, EngineConfig,
        alerts::{AlertDesk, AlertsConfig},
        notices::{Desk, DeskConfig},
    },
};
use staffel_store::WitnessKey;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Browsers keep a connection for each open page.
const MOST_BROWSERS: usize = 2_000;

/// Arguments of `staffel server`.
#[derive(clap::Args)]
pub struct Args {
    /// Installation folder.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Listen here instead of where the configuration says.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// The console listens here instead of where the configuration says.
    #[arg(long, conflicts_with = "no_console")]
    pub console: Option<SocketAddr>,
    /// Run without the console.
    #[arg(long)]
    pub no_console: bool,
    /// Write the address that is really listened on into this file, for port 0.
    #[arg(long)]
    pub address_file: Option<PathBuf>,
    /// The same for the console's.
    #[arg(long)]
    pub console_file: Option<PathBuf>,
}

/// Runs the command until it is told to stop.
pub fn run(args: &Args) -> Result<()> {
    let layout = Layout::find(args.dir.as_deref())?;
    let config = layout.config()?;
    let mut edge_config = config.edge.clone();
    // The folder may have been moved since it was made.
    edge_config.data_dir = layout.server_dir();
    edge_config.repository = layout.repo_dir();
    if let Some(listen) = args.listen {
        edge_config.listen = listen;
    }
    let witnesses = config.witnesses.iter().map(|text| WitnessKey::parse(text)).collect::<Result<_, _>>();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let engine = Engine::open(EngineConfig {
            data_dir: layout.server_dir(),
            keyrings: layout.keyrings()?,
            online_key: layout.signing_key(ONLINE)?,
            log_signer: repo::log_signer(&layout, &config.origin)?,
            witnesses: witnesses.context("read the witnesses' keys")?,
            idle_cadence_ms: config.idle_cadence_ms,
            frontier_lifetime_ms: (config.idle_cadence_ms * 4).max(120_000),
            tick_ms: 50,
            recovery: config.recovery.clone(),
        })
        .context("start the engine")?;
        open_desk(&layout, &engine)?;
        let alert_desk = alert_desk(&layout)?;
        let oidc = optional::<OidcConfig>(&layout.oidc_file())?.map(Oidc::open).transpose();
        let oidc = oidc.context("prepare log-in with a provider")?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            wait_for_signal().await;
            let _ = stop.send(true);
        });
        let until = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let clockwork = {
            let (engine, stopped) = (engine.clone(), stopped.clone());
            tokio::spawn(async move { engine.run(until(stopped)).await })
        };
        let outbox = {
            let (engine, stopped) = (engine.clone(), stopped.clone());
            tokio::spawn(async move { engine.deliver_notices(until(stopped)).await })
        };
        let console = if args.no_console { None } else { args.console.or(config.console) };
        let console = console.map(|listen| {
            let settings = Settings { data_dir: layout.server_dir(), lifetime: Lifetime::default(), oidc };
            let edge_config = EdgeConfig { listen, max_connections: MOST_BROWSERS, ..edge_config.clone() };
            let (engine, stopped, file) = (engine.clone(), until(stopped.clone()), args.console_file.clone());
            tokio::spawn(async move {
                let ready = |address: SocketAddr| said("console on https://", address, file.as_deref());
                let served = staffel_console::serve(engine, &settings, edge_config, stopped, ready).await;
                // Devices must not be left alone because a page can't be shown.
                if let Err(error) = served {
                    eprintln!("staffel: no console: {:#}", anyhow::Error::from(error));
                }
            })
        });
        let alerts = {
            let (engine, stopped) = (engine.clone(), stopped.clone());
            tokio::spawn(async move {
                if let Some(desk) = alert_desk {
                    engine.send_alerts(desk, until(stopped)).await;
                }
            })
        };
        let address_file = args.address_file.clone();
        let ready = move |address: SocketAddr| said("listening on ", address, address_file.as_deref());
        edge::serve(edge_config, engine, until(stopped), ready).await.context("serve")?;
        clockwork.await.context("stop the engine")?;
        outbox.await.context("stop sending notices")?;
        if let Some(console) = console {
            console.await.context("stop the console")?;
        }
        alerts.await.context("stop sending alerts")?;
        println!("stopped");
        Ok(())
    })
}

/// A file that need not be there.
fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    toml::from_str(&text).map(Some).with_context(|| format!("understand {}", path.display()))
}

/// With `alerts.toml` the people on duty are told.
fn alert_desk(layout: &Layout) -> Result<Option<AlertDesk>> {
    let Some(config) = optional::<AlertsConfig>(&layout.alerts_file())? else { return Ok(None) };
    let folder = layout.server_dir().join("alerts");
    let waits = Retry::patient(&folder).waits;
    AlertDesk::open(config, &folder, waits).map(Some).context("prepare to alert people")
}

/// With a letterhead the server can write to customers.
fn open_desk(layout: &Layout, engine: &Engine) -> Result<()> {
    let Some(config) = optional::<DeskConfig>(&layout.notices_file())? else { return Ok(()) };
    let desk =
        Desk::open(config, &layout.server_dir().join("spool"), Manners::default()).context("open the carriers")?;
    engine.open_desk(desk).context("open the desk for notices")
}

/// Says where something listens, and writes it down for whoever started it.
fn said(what: &str, address: SocketAddr, file: Option<&Path>) {
    println!("{what}{address}");
    if let Some(path) = file
        && let Err(error) = crate::layout::write(path, address.to_string().as_bytes())
    {
        tracing::error!(%error, "the address could not be written down");
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
