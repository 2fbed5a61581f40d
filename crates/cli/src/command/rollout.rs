//! `staffel rollout`: start, watch and stop rollouts. Must stay out: any decision about one (the server's core decides, two
//! releasers allow).

mod authorise;
mod dry_run;
mod show;
mod start;
mod unhalt;
mod watch;

use crate::{
    client::{
        Client, Connect,
        keys::signing_key,
        time::{moment, now_ms},
    },
    layout::OPERATORS,
    output::{json, table},
};
use anyhow::Result;
use staffel_core::ids::Digest;
use staffel_server::api::{RolloutView, Word};
use staffel_statement::{
    Envelope, SigningKey,
    predicate::{Halt, Headed, Header, sign},
};

/// Subcommands of `staffel rollout`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Start a rollout of a release that passed the gate.
    Start(start::Args),
    /// Write an authorisation into a file, so that releasers can sign it on their own machines.
    Authorise(authorise::Args),
    /// Sign an authorisation in a file.
    Sign(authorise::SignArgs),
    /// List rollouts.
    Ls {
        #[command(flatten)]
        connect: Connect,
    },
    /// Show a rollout in figures.
    Status {
        /// Number of the rollout.
        id: u64,
        #[command(flatten)]
        connect: Connect,
    },
    /// Follow a rollout to its end: exit code 0 if it completes, 6 if it is halted.
    Watch(watch::Args),
    /// What happened to a rollout, what it waits for, and why.
    Why {
        /// Number of the rollout.
        id: u64,
        #[command(flatten)]
        connect: Connect,
    },
    /// Nobody new gets a permit until somebody resumes; what runs goes on running.
    Hold(Said),
    /// Go on with a rollout that is held.
    Resume(Said),
    /// Stop a rollout for good; its release must not run any more.
    Halt(HaltArgs),
    /// Take a halt back with two releasers: the release may go out again, by a rollout of its own.
    Unhalt(unhalt::Args),
}

/// A rollout, and a word about it.
#[derive(clap::Args)]
pub struct Said {
    /// Number of the rollout.
    id: u64,
    /// Why: it stands in the log with your name.
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `staffel rollout halt`.
#[derive(clap::Args)]
pub struct HaltArgs {
    /// Number of the rollout.
    id: u64,
    /// Why: it stands in the log with your name, and devices show it.
    #[arg(long)]
    why: String,
    /// Operator's key that signs the halt, a name in the folder or a file; with it devices believe the halt from any file,
    /// without the server [else operator-1 if it is in the folder].
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Start(args) => start::run(args, as_json),
        Command::Authorise(args) => authorise::run(args, as_json),
        Command::Sign(args) => authorise::sign_file(args, as_json),
        Command::Ls { connect } => ls(connect, as_json),
        Command::Status { id, connect } => show_one(&Client::from(connect)?.rollout(*id)?, as_json),
        Command::Watch(args) => watch::run(args, as_json),
        Command::Why { id, connect } => why(*id, connect, as_json),
        Command::Hold(said) => word(said, "hold", as_json),
        Command::Resume(said) => word(said, "resume", as_json),
        Command::Halt(args) => halt(args, as_json),
        Command::Unhalt(args) => unhalt::run(args, as_json),
    }
}

fn ls(connect: &Connect, as_json: bool) -> Result<()> {
    let rollouts = Client::from(connect)?.rollouts()?;
    if as_json {
        return json(&rollouts);
    }
    let row = |view: &RolloutView| {
        vec![
            view.rollout.to_string(),
            format!("{} {}", view.name, view.version),
            view.state.clone(),
            format!("{}/{}", view.confirmed, view.devices),
            moment(view.started_ms),
            view.why.clone(),
        ]
    };
    let rows: Vec<_> = rollouts.iter().map(row).collect();
    print!("{}", table(&["ROLLOUT", "RELEASE", "STATE", "PROVEN", "STARTED", "WAITS FOR"], &rows));
    Ok(())
}

fn show_one(view: &RolloutView, as_json: bool) -> Result<()> {
    if as_json {
        return json(view);
    }
    print!("{}", show::status(view, now_ms()));
    Ok(())
}

fn why(id: u64, connect: &Connect, as_json: bool) -> Result<()> {
    let client = Client::from(connect)?;
    let (view, history) = (client.rollout(id)?, client.history(id)?);
    if as_json {
        return json(&serde_json::json!({ "rollout": view, "history": history }));
    }
    print!("{}", show::history(&view, &history));
    Ok(())
}

fn word(said: &Said, verb: &str, as_json: bool) -> Result<()> {
    let word = Word { why: said.why.clone(), halt: None };
    show_one(&Client::from(&said.connect)?.word(said.id, verb, &word)?, as_json)
}

fn halt(args: &HaltArgs, as_json: bool) -> Result<()> {
    let client = Client::from(&args.connect)?;
    let key = match &args.key {
        Some(name) => Some(signing_key(&args.connect, name)?),
        None => own_key(&args.connect)?,
    };
    let view = client.rollout(args.id)?;
    let halt = key.map(|key| signed_halt(view.release, args.id, &args.why, now_ms(), &key));
    if halt.is_none() {
        eprintln!("no operator's key is here: devices hear of this halt from the server alone");
    }
    show_one(&client.word(args.id, "halt", &Word { why: args.why.clone(), halt })?, as_json)
}

/// The operator's key of the folder, if there is a folder and it has one. A key that is there and unusable is an error.
fn own_key(connect: &Connect) -> Result<Option<SigningKey>> {
    match connect.layout() {
        Ok(layout) if layout.key_file(OPERATORS[0]).exists() => layout.signing_key(OPERATORS[0]).map(Some),
        _ => Ok(None),
    }
}

fn signed_halt(release: Digest, rollout: u64, why: &str, now: u64, key: &SigningKey) -> Envelope {
    // A release that was bad stays bad.
    let header = Header { issued_ms: now, expires_ms: u64::MAX, ..Header::default() };
    sign(&Headed { header, body: Halt { release, rollout: Some(rollout), why: why.into() } }, &[key])
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_statement::predicate::verify;

    #[test]
    fn a_halt_names_its_release_and_never_expires() {
        let key = SigningKey::from_seed(&[5; 32]);
        let release = Digest::of(b"release");
        let envelope = signed_halt(release, 3, "tills hang", 1_000, &key);
        let (halt, _, signers) = verify::<Headed<Halt>>(&envelope, "operators", &[key.public()], 1).unwrap();
        assert_eq!((halt.body.release, halt.body.rollout, signers), (release, Some(3), 1));
        assert_eq!((halt.body.why.as_str(), halt.header.expires_ms), ("tills hang", u64::MAX));
    }

    #[test]
    fn without_a_folder_a_halt_goes_without_a_signature_and_a_broken_key_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let connect = Connect { dir: Some(dir.path().to_path_buf()), ..Connect::default() };
        assert!(own_key(&connect).unwrap().is_none());
        let folder = crate::layout::Layout { root: dir.path().to_path_buf() };
        std::fs::write(folder.config_file(), "{}").unwrap();
        assert!(own_key(&connect).unwrap().is_none());
        std::fs::create_dir_all(dir.path().join("keys")).unwrap();
        std::fs::write(folder.key_file(OPERATORS[0]), "{}").unwrap();
        assert!(own_key(&connect).is_err());
    }
}
