//! `staffel rollout start`. Must stay out: the terms (`authorise`), and whether they hold (the server says).

use super::{
    authorise::{self, Terms, read_file, read_release},
    dry_run, show_one,
};
use crate::{
    client::{Client, Connect, keys::signing_key},
    command::envelope::read_json,
    layout::RELEASERS,
    output::Failure,
};
use anyhow::Result;
use staffel_server::api::StartRollout;
use staffel_statement::{Envelope, predicate::sign};
use std::path::{Path, PathBuf};

/// Arguments of `staffel rollout start`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the release.
    name: String,
    /// Its version.
    version: String,
    /// The signed release [else the folder's].
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// The gate's attestation [else the folder's].
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// An authorisation that two releasers have signed (`staffel rollout authorise`); then the terms below don't count.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "unit", "supersedes", "budget", "days", "releasers"])]
    authorisation: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
    /// Releaser's key, a name in the folder or a file; given twice [else releaser-1 and releaser-2].
    #[arg(long = "releaser", value_name = "KEY")]
    releasers: Vec<String>,
    /// Start nothing: simulate what this release would do to this fleet, if it is well and if it is not. Takes no keys.
    #[arg(long, conflicts_with_all = ["authorisation", "releasers", "gate"])]
    dry_run: bool,
    /// Simulated rollouts for each question of the dry run.
    #[arg(long, default_value_t = 5, requires = "dry_run", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let in_folder = |given: &Option<PathBuf>, ending: &str| -> Result<PathBuf> {
        match given {
            Some(path) => Ok(path.clone()),
            None => {
                let folder = args.connect.layout()?.releases_dir();
                Ok(folder.join(format!("{}-{}{ending}", args.name, args.version)))
            }
        }
    };
    let (release, digest) = read_release(&in_folder(&args.release, ".dsse.json")?, &args.name, &args.version)?;
    if args.dry_run {
        let next = Client::from(&args.connect)?.next_rollout()?;
        return dry_run::run(&release, &args.terms, &next, args.runs, as_json);
    }
    let hint = format!(
        "run `staffel gate {} {}`: no device takes a release that the gate did not pass",
        args.name, args.version
    );
    let gate: Envelope = read_json(&in_folder(&args.gate, ".gate.dsse.json")?, &hint)?;
    let client = Client::from(&args.connect)?;
    let authorisation = match &args.authorisation {
        Some(path) => prepared(path, &digest)?,
        None => {
            let mut keys = Vec::new();
            for name in releasers(&args.releasers) {
                keys.push(signing_key(&args.connect, &name)?);
            }
            let headed = args.terms.authorise(digest, &client.next_rollout()?);
            tracing::info!("{}", authorise::text(&headed.body));
            sign(&headed, &keys.iter().collect::<Vec<_>>())
        }
    };
    let view = client.start_rollout(&StartRollout { release, gate, authorisation })?;
    show_one(&view, as_json)?;
    if !as_json {
        println!("Next: staffel rollout watch {}", view.rollout);
    }
    Ok(())
}

fn releasers(given: &[String]) -> Vec<String> {
    if given.is_empty() { RELEASERS[..2].iter().map(ToString::to_string).collect() } else { given.to_vec() }
}

/// What others have signed, if it is for this release. The server refuses that, too; here the file is named.
fn prepared(path: &Path, release: &staffel_core::ids::Digest) -> Result<Envelope> {
    let (envelope, authorisation) = read_file(path)?;
    if authorisation.release != *release {
        let what =
            format!("{} allows the release {}, not {}", path.display(), authorisation.release.short(), release.short());
        return Err(Failure::refused(what, "name the release that was authorised, or authorise this one").into());
    }
    Ok(envelope)
}
