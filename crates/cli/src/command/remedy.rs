//! `staffel remedy`: signed acts of repair for one device, from the first signature to the guard's word on how it went.
//! What must stay out: carrying it out, and counting who signed (the device's guard does both).

use crate::{
    client::{
        Client, Connect,
        time::{moment, span},
    },
    command::envelope::{add_signature, confirm, keep, read_json},
    output::{json, table},
};
use anyhow::{Context as _, Result};
use staffel_core::ids::Digest;
use staffel_server::api::{DeviceRemedies, RemedyView};
use staffel_statement::{
    Envelope,
    predicate::{Action, Headed, Header, Remedy, payload, read},
};
use std::path::{Path, PathBuf};

const HOUR_MS: u64 = 3_600_000;

/// Subcommands of `staffel remedy`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Write a remedy into a file and sign it.
    Sign(Sign),
    /// Sign a remedy in a file as the second operator.
    Approve(Approve),
    /// Send a remedy to its device; it takes it with its next check-in, in safe mode, too.
    Send {
        /// The remedy.
        file: PathBuf,
        #[command(flatten)]
        connect: Connect,
    },
    /// List remedies and what became of them.
    Ls {
        /// Only this device's: its id, `customer/site/name`, or its name if only one has it.
        #[arg(long)]
        device: Option<String>,
        #[command(flatten)]
        connect: Connect,
    },
}

/// Arguments of `staffel remedy sign`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  take a file away that a foreign update brought (`staffel software suspects` names path and hash), then let the machine start:
    staffel remedy sign ward-a-1 --case c1 --out r1.json quarantine-file \"/opt/acme/*.dat\" SHA256
    staffel remedy approve r1.json --key operator-2
    staffel remedy send r1.json
    staffel remedy sign ward-a-1 --case c1 --out r2.json leave-safe
    staffel remedy send r2.json
  go back to a generation that the device keeps (`staffel device why ward-a-1` names it):
    staffel remedy sign ward-a-1 --case c2 --out r.json go-to GENERATION")]
pub struct Sign {
    /// The device: its id, `customer/site/name`, or its name if only one has it.
    device: String,
    /// Where the remedy goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The case that it belongs to, or why it is done.
    #[arg(long)]
    case: String,
    /// Hours until it is worthless.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
    hours: u64,
    /// Operator's key, a name in the folder or a file; may be given again.
    #[arg(long = "key", value_name = "KEY", default_value = "operator-1")]
    keys: Vec<String>,
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    act: Act,
}

/// Arguments of `staffel remedy approve`.
#[derive(clap::Args)]
pub struct Approve {
    /// The remedy.
    file: PathBuf,
    /// Your key: a file, or a name in the folder.
    #[arg(long)]
    key: String,
    /// Sign without asking; else it is shown and you are asked on a terminal.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connect: Connect,
}

/// The closed set. Acts on what Staffel did not install need two operators.
#[derive(clap::Subcommand)]
enum Act {
    /// Run this generation, earlier or left; `staffel device why` names those that are kept.
    GoTo {
        #[arg(value_parser = digest)]
        generation: Digest,
    },
    /// Never run what this generation changed.
    QuarantineGeneration {
        #[arg(value_parser = digest)]
        generation: Digest,
    },
    /// Move foreign files away that match the pattern and have this hash; two operators.
    QuarantineFile {
        /// Absolute; `*` and `?` within one part of the path. Only under the roots that the device's guard allows.
        pattern: String,
        #[arg(value_parser = digest)]
        sha256: Digest,
    },
    /// Move files with this hash back to where they were; two operators.
    RestoreFile {
        #[arg(value_parser = digest)]
        sha256: Digest,
    },
    /// Stop a service and keep it from starting; two operators.
    DisableService { name: String },
    /// Take that back; two operators.
    EnableService { name: String },
    /// Go to safe mode and stay there.
    StaySafe { why: String },
    /// Leave safe mode.
    LeaveSafe,
}

impl Act {
    fn action(&self) -> Action {
        match self {
            Act::GoTo { generation } => Action::GoTo { generation: *generation },
            Act::QuarantineGeneration { generation } => Action::QuarantineGeneration { generation: *generation },
            Act::QuarantineFile { pattern, sha256 } => {
                Action::QuarantineFile { pattern: pattern.clone(), sha256: *sha256 }
            }
            Act::RestoreFile { sha256 } => Action::RestoreFile { sha256: *sha256 },
            Act::DisableService { name } => Action::DisableService { name: name.clone() },
            Act::EnableService { name } => Action::EnableService { name: name.clone() },
            Act::StaySafe { why } => Action::StaySafe { why: why.clone() },
            Act::LeaveSafe => Action::LeaveSafe,
        }
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| "expected 64 hex digits".into())
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Sign(args) => sign(args, as_json),
        Command::Approve(args) => approve(args, as_json),
        Command::Send { file, connect } => {
            let (envelope, _) = load(file)?;
            let view = Client::from(connect)?.send_remedy(&envelope)?;
            if as_json {
                return json(&view);
            }
            println!("sent to {}: {}; {}", view.name, view.action, view.why);
            println!("Next: staffel remedy ls --device {}", view.name);
            Ok(())
        }
        Command::Ls { device, connect } => ls(device.as_deref(), connect, as_json),
    }
}

fn sign(args: &Sign, as_json: bool) -> Result<()> {
    let next = Client::from(&args.connect)?.device_remedies(&args.device)?;
    let headed = remedy(&next, args);
    let mut envelope = Envelope::sign(&payload(&headed), &[]);
    for key in &args.keys {
        add_signature(&mut envelope, &args.connect, key)?;
    }
    keep(&args.out, &envelope)?;
    tell(&args.out, &envelope, &headed, as_json)
}

fn remedy(next: &DeviceRemedies, args: &Sign) -> Headed<Remedy> {
    let expires_ms = next.now_ms.saturating_add(args.hours * HOUR_MS);
    let header = Header { issued_ms: next.now_ms, expires_ms, ..Header::default() };
    let (device, sequence, action) = (next.device, next.next_sequence, args.act.action());
    Headed { header, body: Remedy { device, case: args.case.clone(), sequence, action } }
}

fn approve(args: &Approve, as_json: bool) -> Result<()> {
    let (mut envelope, headed) = load(&args.file)?;
    if !args.yes {
        eprint!("{}", text(&headed));
        confirm()?;
    }
    add_signature(&mut envelope, &args.connect, &args.key)?;
    keep(&args.file, &envelope)?;
    tell(&args.file, &envelope, &headed, as_json)
}

/// The remedy in a file. Its signatures are not verified: whoever takes it does that.
fn load(path: &Path) -> Result<(Envelope, Headed<Remedy>)> {
    let envelope: Envelope = read_json(path, "write it with `staffel remedy sign`")?;
    let bytes = envelope.payload().with_context(|| format!("read {}", path.display()))?;
    let headed = read(&bytes).with_context(|| format!("{} is no remedy", path.display()))?;
    Ok((envelope, headed))
}

fn tell(path: &Path, envelope: &Envelope, headed: &Headed<Remedy>, as_json: bool) -> Result<()> {
    let (have, need) = (envelope.signatures.len(), headed.body.action.threshold() as usize);
    if as_json {
        return json(&serde_json::json!({ "file": path, "signatures": have, "needed": need, "remedy": headed.body }));
    }
    print!("{}", text(headed));
    println!("  signatures  {have} of {need}");
    let file = path.display();
    match have < need {
        true => println!("Next: another operator runs  staffel remedy approve {file} --key KEY"),
        false => println!("Next: staffel remedy send {file}"),
    }
    Ok(())
}

/// What somebody is about to sign.
fn text(headed: &Headed<Remedy>) -> String {
    let (header, remedy) = (&headed.header, &headed.body);
    let act = serde_json::to_string(&remedy.action).unwrap_or_default();
    let lifetime = span(header.expires_ms.saturating_sub(header.issued_ms));
    format!(
        "remedy {} for device {}\n  act         {}\n  exactly     {act}\n  case        {}\n  until       {} ({lifetime})\n",
        remedy.sequence,
        remedy.device,
        remedy.action,
        remedy.case,
        moment(header.expires_ms),
    )
}

fn ls(device: Option<&str>, connect: &Connect, as_json: bool) -> Result<()> {
    let client = Client::from(connect)?;
    let remedies = match device {
        Some(device) => client.device_remedies(device)?.remedies,
        None => client.remedies()?,
    };
    if as_json {
        return json(&remedies);
    }
    print!("{}", listing(&remedies));
    Ok(())
}

fn listing(remedies: &[RemedyView]) -> String {
    let row = |view: &RemedyView| {
        let (number, state) = (view.sequence.to_string(), view.state.clone());
        vec![
            view.name.clone(),
            number,
            view.action.clone(),
            view.by.clone(),
            moment(view.sent_ms),
            state,
            view.why.clone(),
        ]
    };
    let head = ["DEVICE", "REMEDY", "ACT", "SENT BY", "AT", "STATE", "SAYS"];
    table(&head, &remedies.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Failure;
    use clap::Parser as _;
    use staffel_core::ids::DeviceId;
    use staffel_trust::keyfile::KeyPair;

    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(line: &str) -> Result<Command, String> {
        let line = Line::try_parse_from(std::iter::once("remedy").chain(line.split_whitespace()));
        line.map(|line| line.command).map_err(|error| error.to_string())
    }

    fn signed(line: &str) -> Headed<Remedy> {
        let Ok(Command::Sign(args)) = parse(line) else { panic!("{line} is a good line") };
        let next = DeviceRemedies { device: DeviceId([7; 16]), next_sequence: 3, now_ms: 1_000, remedies: Vec::new() };
        remedy(&next, &args)
    }

    #[test]
    fn a_line_becomes_what_is_signed() {
        let hash = "ab".repeat(32);
        let headed = signed(&format!("sign pc-1 --out r --case c9 --hours 2 quarantine-file /drivers/C-*.sys {hash}"));
        assert_eq!((headed.body.sequence, headed.body.case.as_str()), (3, "c9"));
        assert_eq!(headed.header.expires_ms, 1_000 + 2 * HOUR_MS);
        let expected = Action::QuarantineFile { pattern: "/drivers/C-*.sys".into(), sha256: Digest([0xab; 32]) };
        assert_eq!(headed.body.action, expected);
        let text = text(&headed);
        for part in ["remedy 3", "/drivers/C-*.sys", hash.as_str(), "case        c9", "(2 h)"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(
            parse("sign pc-1 --out r --case c go-to 12").err().is_some_and(|error| error.contains("64 hex digits"))
        );
        assert!(parse("sign pc-1 --out r --case c --hours 0 leave-safe").is_err());
    }

    #[test]
    fn two_operators_sign_one_file_and_neither_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("remedy.json");
        let headed = signed("sign pc-1 --out r --case c9 disable-service falcon");
        keep(&path, &Envelope::sign(&payload(&headed), &[])).unwrap();
        for seed in [1, 2] {
            let file = dir.path().join(format!("{seed}.key"));
            KeyPair::from_seed([seed; 32]).save(&file).unwrap();
            let key = file.to_string_lossy().into_owned();
            let again = || {
                let (file, key, connect) = (path.clone(), key.clone(), Connect::default());
                approve(&Approve { file, key, yes: true, connect }, true)
            };
            again().unwrap();
            assert_eq!(again().unwrap_err().downcast_ref::<Failure>().map(|failure| failure.code), Some(3));
        }
        let (envelope, read) = load(&path).unwrap();
        assert_eq!((envelope.signatures.len(), read), (2, headed));
        let missing = load(&dir.path().join("none")).unwrap_err();
        assert_eq!(missing.downcast_ref::<Failure>().map(|failure| failure.code), Some(4));
    }
}
