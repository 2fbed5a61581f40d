//! `staffel server`: the edge and the engine in one process.

use crate::{
    command::repo,
    layout::{Layout, ONLINE},
};
use anyhow::{Context as _, Result};
use staffel_server::{
    edge,
    engine::{Engine, EngineConfig},
};
use staffel_store::WitnessKey;
use std::{net::SocketAddr, path::PathBuf};

/// Arguments of `staffel server`.
#[derive(clap::Args)]
pub struct Args {
    /// Installation folder.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Listen here instead of where the configuration says.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Write the address that is really listened on into this file, for port 0.
    #[arg(long)]
    pub address_file: Option<PathBuf>,
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
        })
        .context("start the engine")?;
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
        let address_file = args.address_file.clone();
        let ready = move |address: SocketAddr| {
            println!("listening on {address}");
            if let Some(path) = address_file
                && let Err(error) = crate::layout::write(&path, address.to_string().as_bytes())
            {
                tracing::error!(%error, "the address could not be written down");
            }
        };
        edge::serve(edge_config, engine, until(stopped), ready).await.context("serve")?;
        clockwork.await.context("stop the engine")?;
        println!("stopped");
        Ok(())
    })
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
