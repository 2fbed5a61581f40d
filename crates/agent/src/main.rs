//! The program `staffel-agent`: arguments, logging, and the sandbox before anything from the network is read.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use staffel_agent::{
    directory::Directory,
    enrol::{self, Request},
    platform,
    run::{self, Options},
    status::AgentStatus,
};
use staffel_trust::statement::PublicKey;
use std::{io::Write as _, path::PathBuf};

/// The unprivileged network half of a Staffel device.
#[derive(Parser)]
#[command(name = "staffel-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Get a certificate for a one-time token and write down what the guard must be told. May be repeated.
    Enrol {
        /// For example https://staffel.example:8443
        #[arg(long)]
        server: String,
        /// PEM file of the one authority that may speak for the server
        #[arg(long)]
        ca: PathBuf,
        /// From `staffel device token`
        #[arg(long)]
        token: String,
        /// What people call this device
        #[arg(long)]
        name: String,
        /// The agent's own folder
        #[arg(long)]
        dir: PathBuf,
        /// Instead of what is detected
        #[arg(long)]
        os_build: Option<String>,
        /// Instead of what is detected
        #[arg(long)]
        hardware_model: Option<String>,
        /// The first keyring
        #[arg(long)]
        keyring: PathBuf,
        /// The first TUF root
        #[arg(long)]
        tuf_root: PathBuf,
        /// Who signs the customer's policy: Ed25519 public key, 64 hex digits; may be repeated
        #[arg(long = "tenant-key", required = true, num_args = 1.., value_parser = public_key)]
        tenant_keys: Vec<PublicKey>,
    },
    /// Serve this device until told to stop.
    Run {
        /// Instead of the server that it was enrolled with
        #[arg(long)]
        server: Option<String>,
        /// The agent's own folder
        #[arg(long)]
        dir: PathBuf,
        /// The guard's socket
        #[arg(long)]
        guard_socket: PathBuf,
        /// Where the guard takes files from
        #[arg(long)]
        spool: PathBuf,
        /// Where the machine's file system begins, for the inventory of foreign software
        #[arg(long, default_value = "/")]
        inventory_root: PathBuf,
        /// Where this machine's sensor leaves its findings [default: /var/lib/staffel/sensor/spool, if there is one]
        #[arg(long)]
        sensor: Option<PathBuf>,
        /// File with the identity of this boot, where several machines share one kernel; else the kernel's own
        #[arg(long)]
        boot_id_file: Option<PathBuf>,
    },
    /// Say what this device does and why.
    Status {
        /// The agent's own folder
        #[arg(long)]
        dir: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).ok_or_else(|| "expected 64 hex digits".into())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("staffel-agent: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("STAFFEL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,staffel_agent=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match arguments.command {
        Command::Enrol { server, ca, token, name, dir, os_build, hardware_model, keyring, tuf_root, tenant_keys } => {
            let directory = Directory::new(&dir);
            let request = Request {
                server,
                authority: ca,
                token,
                name,
                os_build,
                hardware_model,
                keyring,
                tuf_root,
                tenant_keys,
            };
            let installation = runtime()?.block_on(enrol::enrol(&directory, &request))?;
            println!("{} is device {} of {}", installation.name, installation.device, installation.tenant);
            println!("for `guard-ctl init`: {}", directory.installation().display());
            Ok(())
        }
        Command::Run { server, dir, guard_socket, spool, inventory_root, sensor, boot_id_file } => {
            std::fs::create_dir_all(&spool).with_context(|| format!("creating {}", spool.display()))?;
            let directory = Directory::new(&dir);
            directory.create()?;
            let options = Options { server, directory, guard_socket, spool, inventory_root, sensor };
            let boot_id = match boot_id_file {
                Some(file) => {
                    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
                    text.trim().to_string()
                }
                None => platform::boot_id(),
            };
            // No thread may be older than the sandbox: the runtime is made afterwards.
            let lacking = platform::sandbox(&run::allowed(&options));
            runtime()?.block_on(run::run(options, boot_id, lacking))?;
            Ok(())
        }
        Command::Status { dir, json } => {
            let status = AgentStatus::read(&Directory::new(&dir))?
                .with_context(|| format!("no agent has run in {}", dir.display()))?;
            let text = if json { serde_json::to_string_pretty(&status)? + "\n" } else { status.to_string() };
            std::io::stdout().write_all(text.as_bytes()).context("writing to the terminal")
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")
}
