//! Taking a halt back: two releasers sign, the second signature sends it. The rollout stays halted; its release may go out
//! again by a rollout of its own. What must stay out: believing it (server and devices count the releasers).

use super::show_one;
use crate::{
    client::{Client, Connect},
    command::envelope::{add_signature, confirm, keep, read_json},
    output::{Failure, json},
};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use staffel_core::{conditions::RELEASERS, ids::Digest};
use staffel_server::api::{NextUnhalt, Unhalting};
use staffel_statement::{
    Envelope,
    predicate::{Headed, Header, Unhalt, payload, read},
};
use std::path::{Path, PathBuf};

/// Arguments of `staffel rollout unhalt`.
#[derive(clap::Args)]
#[command(after_help = "Two people with two keys:
  staffel rollout unhalt 7 --why \"the power had failed\" --releaser releaser-1 --file unhalt.json
  staffel rollout unhalt 7 --releaser releaser-2 --file unhalt.json          the second signature sends it
The rollout itself stays halted: start a new one for the release.")]
pub struct Args {
    /// Number of the rollout.
    id: u64,
    /// Why: it stands in the log with your name. Only the first to sign says it.
    #[arg(long, default_value = "")]
    why: String,
    /// Releaser's key, a name in the folder or a file; may be given again.
    #[arg(long = "releaser", value_name = "KEY", required = true)]
    releasers: Vec<String>,
    /// Where the statements wait for the other releaser.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Sign without asking; else it is shown and you are asked on a terminal, if somebody has signed before.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connect: Connect,
}

/// The statements on their way.
#[derive(Serialize, Deserialize)]
struct Paper {
    rollout: u64,
    release: Digest,
    why: String,
    unhalts: Vec<Envelope>,
}

impl Paper {
    fn new(next: &NextUnhalt, why: &str) -> Self {
        // A halt that was a mistake stays one.
        let header = Header { issued_ms: next.now_ms, expires_ms: u64::MAX, ..Header::default() };
        let one = |halt: &Digest| {
            let body = Unhalt { release: next.release, why: why.into(), halt: *halt };
            Envelope::sign(&payload(&Headed { header: header.clone(), body }), &[])
        };
        let unhalts = next.halts.iter().map(one).collect();
        Paper { rollout: next.rollout, release: next.release, why: why.into(), unhalts }
    }

    fn load(path: &Path, id: u64) -> Result<Self> {
        let paper: Paper = read_json(path, "the first releaser makes it with --why and --file")?;
        let says = |envelope: &Envelope| read::<Headed<Unhalt>>(&envelope.payload().ok()?).ok();
        // What is signed is what was shown: the words beside the statements are not believed.
        let fits = |envelope: &Envelope| {
            says(envelope).is_some_and(|u| u.body.release == paper.release && u.body.why == paper.why)
        };
        if paper.rollout != id || !paper.unhalts.iter().all(fits) {
            let what = format!("{} does not take back the halt of rollout {id}", path.display());
            return Err(Failure::refused(what, "name the file of the rollout that you mean").into());
        }
        Ok(paper)
    }

    fn signatures(&self) -> usize {
        self.unhalts.iter().map(|unhalt| unhalt.signatures.len()).min().unwrap_or(0)
    }
}

/// Signs, and sends once two have signed.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let client = Client::from(&args.connect)?;
    let waiting = args.file.as_deref().filter(|path| path.exists());
    let mut paper = match waiting {
        Some(path) => Paper::load(path, args.id)?,
        None if args.why.trim().is_empty() => {
            return Err(Failure::refused("nobody has said why the halt is taken back", "say it with --why").into());
        }
        None => Paper::new(&client.next_unhalt(args.id)?, &args.why),
    };
    if paper.unhalts.is_empty() {
        let hint = format!("see `staffel rollout why {}`", args.id);
        return Err(Failure::refused(format!("no halt stands against the release of rollout {}", args.id), hint).into());
    }
    if waiting.is_some() && !args.yes {
        eprintln!("rollout {}: release {} may run again, because: {}", paper.rollout, paper.release, paper.why);
        confirm()?;
    }
    for key in &args.releasers {
        for unhalt in &mut paper.unhalts {
            add_signature(unhalt, &args.connect, key)?;
        }
    }
    if paper.signatures() < RELEASERS as usize {
        let Some(path) = &args.file else {
            let hint = "name another with --releaser, or a file for the other releaser with --file";
            return Err(Failure::refused("one releaser has signed, two have to", hint).into());
        };
        keep(path, &paper)?;
        if as_json {
            return json(&serde_json::json!({ "file": path, "signatures": paper.signatures() }));
        }
        println!("signed by {} of {RELEASERS}", paper.signatures());
        println!(
            "Next: the other releaser runs  staffel rollout unhalt {} --releaser KEY --file {}",
            args.id,
            path.display()
        );
        return Ok(());
    }
    show_one(&client.unhalt(args.id, &Unhalting { why: paper.why, unhalts: paper.unhalts })?, as_json)
}
