//! `staffel init`: a complete installation in one folder, ready for `staffel server`.

use crate::{
    command::repo,
    layout::{Config, LOG, Layout, write, write_secret},
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use serde_json::json;
use staffel_core::recovery::Limits;
use staffel_server::{api::Role, ca::Ca, config::EdgeConfig, operators};
use staffel_store::LogSigner;
use std::{net::SocketAddr, path::PathBuf};

/// Below this cadence, seconds, an installation is there to be watched: recovery goes by compressed times.
const WATCHED_S: u64 = 30;

/// Arguments of `staffel init`.
#[derive(clap::Args)]
pub struct Args {
    /// The new folder.
    #[arg(default_value = "staffel")]
    pub dir: PathBuf,
    /// Names or addresses under which devices and operators reach the server; the first goes into its URL.
    #[arg(long = "name", default_values = ["localhost", "127.0.0.1"])]
    pub names: Vec<String>,
    /// Where the server listens.
    #[arg(long, default_value = "[::]:8443")]
    pub listen: SocketAddr,
    /// Where the console listens; browsers are not asked for a certificate there.
    #[arg(long, default_value = "127.0.0.1:8444")]
    pub console: SocketAddr,
    /// Hashed bins of the TUF repository: more for more releases.
    #[arg(long, default_value_t = 256)]
    pub bins: u32,
    /// Seconds between two check-ins of a device while nothing goes on.
    #[arg(long, default_value_t = 900)]
    pub idle_cadence: u64,
    /// Witness of the log as `name+id+key` (`staffel log witness-key` makes one); may be given again.
    #[arg(long)]
    pub witness: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let layout = create(args)?;
    let config = layout.config()?;
    if as_json {
        return json(&json!({ "dir": layout.root, "url": config.url, "log_key": layout.log_key_text()? }));
    }
    let root = layout.root.display();
    println!("A new installation is in {root}.");
    println!("  keys/            every role's key; move root, release, releaser and gate keys to other machines");
    println!("  repository/      the TUF repository that devices read");
    println!("  server/          the server's data: back it up");
    println!("  operator.token   the first operator's password for the API: keep it secret");
    println!("Next: staffel user add NAME --role releaser --dir {root}   # to log in to the console");
    println!("      staffel server --dir {root}");
    Ok(())
}

/// Makes the installation; also used by the demo and the benchmarks.
pub fn create(args: &Args) -> Result<Layout> {
    let layout = Layout { root: args.dir.clone() };
    if layout.config_file().exists() {
        return Err(Failure::refused(
            format!("{} is an installation already", args.dir.display()),
            "choose another folder; nothing was changed",
        )
        .into());
    }
    std::fs::create_dir_all(&args.dir).with_context(|| format!("create {}", args.dir.display()))?;
    let host = args.names.first().map_or("localhost", String::as_str);
    let origin = format!("{host}/staffel-log");
    repo::make_keys(&layout)?;
    repo::make_repository(&layout, args.bins, &args.witness)?;

    let server = layout.server_dir();
    std::fs::create_dir_all(&server).with_context(|| format!("create {}", server.display()))?;
    let edge = EdgeConfig {
        listen: args.listen,
        data_dir: server.clone(),
        repository: layout.repo_dir(),
        ..EdgeConfig::default()
    };
    Ca::init(&edge.tls_dir(), &args.names).context("make the server's certificates")?;
    let ca = Ca::load(&edge.tls_dir()).context("read the server's certificates")?;
    write(&layout.ca_file(), ca.server_root_pem().as_bytes())?;
    let token = operators::add(&server, "admin", Role::Releaser, None).context("make the first operator")?;
    write_secret(&args.dir.join("operator.token"), format!("{token}\n").as_bytes())?;

    let seed = layout.key(LOG)?.seed();
    let signer = LogSigner::from_seed(&origin, &seed).context("make the log's key")?;
    write(&args.dir.join("log.vkey"), format!("{}\n", signer.public().text()).as_bytes())?;
    let config = Config {
        url: format!("https://{host}:{}", args.listen.port()),
        origin,
        witnesses: args.witness.clone(),
        idle_cadence_ms: args.idle_cadence.saturating_mul(1_000).max(1_000),
        console: Some(args.console),
        // Whoever wants to watch wants to see the end as well.
        recovery: if args.idle_cadence < WATCHED_S { Limits::demo() } else { Limits::default() },
        edge,
    };
    // Last: the folder is an installation from here on.
    write(&layout.config_file(), &serde_json::to_vec_pretty(&config)?)?;
    Ok(layout)
}
