//! `staffel log witness`: a small program for another trust domain. It asks the server for its log's latest checkpoint, with
//! the proof that it continues the one seen last, co-signs it and sends the signature back.
//!
//! Must stay out: the one decision of a witness, which is `staffel_store::Witness`'s.

use crate::{
    client::{
        Client, Connect,
        time::{clock, now_ms},
    },
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use serde_json::json;
use staffel_store::{LogKey, StoreError, Witness, WitnessError, WitnessKey, WitnessRequest, WitnessSigner};
use staffel_trust::keyfile::KeyPair;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Arguments of `staffel log witness`.
#[derive(clap::Args)]
pub struct Args {
    /// The witness's memory; made at the first start. Whoever loses it needs a new key, too.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The witness's key, from `staffel log witness-key`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The log's public key, name+id+key [else the folder's].
    #[arg(long, value_name = "VKEY")]
    log_key: Option<String>,
    /// Seconds between two looks, with or without an `s` behind it.
    #[arg(long, default_value = "5s", value_parser = seconds)]
    every: Duration,
    /// Look once and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `staffel log witness-key`.
#[derive(clap::Args)]
pub struct KeyArgs {
    /// The witness's name, such as a host name: no white space, no plus sign.
    name: String,
    /// Where the private key goes. The public one lies beside it, with .vkey behind the name.
    file: PathBuf,
}

/// Makes a key.
pub fn make_key(args: &KeyArgs, as_json: bool) -> Result<()> {
    let pair = KeyPair::generate().context("make the witness's key")?;
    let text = signer(&args.name, &pair)?.public().text();
    pair.save(&args.file).context("keep the witness's key")?;
    let path = vkey_path(&args.file);
    std::fs::write(&path, format!("{text}\n")).with_context(|| format!("write {}", path.display()))?;
    if as_json {
        return json(&json!({ "name": args.name, "vkey": text, "key_file": args.file, "vkey_file": path }));
    }
    println!("{text}");
    eprintln!("give this line to the server (`staffel init --witness`) and to whoever verifies the log");
    Ok(())
}

/// Runs the witness.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let log = match &args.log_key {
        Some(text) => text.clone(),
        None => args.connect.layout()?.log_key_text()?,
    };
    let log = LogKey::parse(&log).context("read the log's public key")?;
    let origin = log.origin().to_string();
    let witness = Witness::open(&args.state, load(&args.key)?, vec![log]).context("open the witness's memory")?;
    let client = Client::anonymous(&args.connect)?;
    loop {
        match look(&client, &witness, &origin) {
            Ok(seen) => say(&seen, as_json),
            Err(error) if args.once || is_final(&error) => return Err(error),
            Err(error) => eprintln!("{} {error:#}", clock(now_ms())),
        }
        if args.once {
            return Ok(());
        }
        std::thread::sleep(args.every);
    }
}

/// What one look has led to.
enum Seen {
    /// Nothing new: what was signed stands.
    Same {
        size: u64,
    },
    Signed {
        from: u64,
        size: u64,
    },
}

fn look(client: &Client, witness: &Witness, origin: &str) -> Result<Seen> {
    let known = witness.known_size(origin);
    let text =
        client.get_text(&format!("/log/consistency?from={known}")).map_err(|error| alarm_if_shorter(error, known))?;
    let request = WitnessRequest::parse(&text).map_err(refused)?;
    // Signing the same checkpoint again is what tells devices the time, so it is done every time.
    let line = witness.cosign(&request, now_ms() / 1_000).map_err(refused)?;
    client.post_text("/log/cosignature", line).map_err(not_taken)?;
    let size = witness.known_size(origin);
    Ok(if size == known { Seen::Same { size } } else { Seen::Signed { from: known, size } })
}

/// A server that can't prove anything from the size that it showed before has lost entries, or never had them.
fn alarm_if_shorter(error: anyhow::Error, known: u64) -> anyhow::Error {
    match error.downcast_ref::<Failure>() {
        Some(Failure { code: 3, what, .. }) if known > 0 => {
            let what = format!("the log does not continue the {known} entries that it showed before: {what}");
            Failure::refused(what, ALARM).into()
        }
        _ => error,
    }
}

/// The server did not take the signature, perhaps because it has a later checkpoint by now: no reason for an alarm.
fn not_taken(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(failure) if failure.code == 3 => {
            Failure { code: 1, what: format!("the signature was not taken: {}", failure.what), ..failure }.into()
        }
        Ok(failure) => failure.into(),
        Err(error) => error,
    }
}

const ALARM: &str =
    "a backup was restored, or the log was cut or forked: tell the customers, keep this witness's files";

fn refused(error: WitnessError) -> anyhow::Error {
    let what = format!("{:#}", anyhow::Error::new(error.clone()));
    match error {
        WitnessError::Rollback { .. } | WitnessError::Fork { .. } | WitnessError::Inconsistent { .. } => {
            Failure::refused(format!("not signed: {what}"), ALARM).into()
        }
        WitnessError::UnknownLog { .. } | WitnessError::Signature(_) => {
            Failure::refused(format!("not signed: {what}"), "is --log-key the key of the log at this server?").into()
        }
        WitnessError::Malformed { .. } | WitnessError::OtherSize { .. } => Failure {
            code: 1,
            what: format!("not signed: {what}"),
            hint: "try again; look at the server's version".into(),
        }
        .into(),
        WitnessError::State(StoreError::Full { .. }) => {
            Failure { code: 1, what: format!("not signed: {what}"), hint: "make room; it goes on by itself".into() }
                .into()
        }
        WitnessError::State(_) => Failure { code: 1, what: format!("not signed: {what}"), hint: String::new() }.into(),
    }
}

/// A witness that has seen two histories stops: going on would let the alarm scroll away.
fn is_final(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.code == 3)
}

fn say(seen: &Seen, as_json: bool) {
    match (seen, as_json) {
        (Seen::Same { size }, false) => tracing::info!(size, "nothing new; signed again"),
        (Seen::Signed { from, size }, false) => println!("{} signed from {from} to {size}", clock(now_ms())),
        (Seen::Same { size }, true) => println!("{}", json!({ "at_ms": now_ms(), "size": size, "new": 0 })),
        (Seen::Signed { from, size }, true) => {
            println!("{}", json!({ "at_ms": now_ms(), "size": size, "new": size - from }));
        }
    }
}

fn signer(name: &str, pair: &KeyPair) -> Result<WitnessSigner> {
    let key = ed25519_dalek::SigningKey::from_bytes(&pair.seed());
    WitnessSigner::new(name, key).context("use the witness's name")
}

/// The key and, from the file beside it, the name that it signs under.
fn load(path: &Path) -> Result<WitnessSigner> {
    let pair = KeyPair::load(path).context("read the witness's key")?;
    let beside = vkey_path(path);
    let text = std::fs::read_to_string(&beside).with_context(|| format!("read {}", beside.display()))?;
    let public = WitnessKey::parse(&text).with_context(|| format!("read {}", beside.display()))?;
    let signer = signer(public.name(), &pair)?;
    if *signer.public() != public {
        let what = format!("{} does not belong to the key in {}", beside.display(), path.display());
        return Err(Failure { code: 1, what, hint: "bring both files from where the key was made".into() }.into());
    }
    Ok(signer)
}

fn vkey_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".vkey");
    PathBuf::from(name)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    number
        .filter(|seconds| (0.1..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds from 0.1 to 86400, as in 5s".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_name_and_a_mixed_up_pair_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let args = |name: &str| KeyArgs { name: name.into(), file: dir.path().join(name) };
        make_key(&args("one.example"), false).unwrap();
        make_key(&args("two.example"), false).unwrap();
        let one = dir.path().join("one.example");
        assert_eq!(load(&one).unwrap().public().name(), "one.example");
        assert!(make_key(&args("one.example"), false).is_err(), "an existing key is kept");
        std::fs::copy(vkey_path(&dir.path().join("two.example")), vkey_path(&one)).unwrap();
        assert!(load(&one).unwrap_err().to_string().contains("does not belong"));
        assert!(make_key(&args("two words"), false).is_err());
    }

    #[test]
    fn only_a_log_that_went_back_is_an_alarm() {
        let refused = || anyhow::Error::new(Failure::refused("no such size", "ask another"));
        let text = alarm_if_shorter(refused(), 7).to_string();
        assert!(text.contains("7 entries") && text.contains("tell the customers"), "{text}");
        assert!(!alarm_if_shorter(refused(), 0).to_string().contains("customers"));
        let gone = anyhow::Error::new(Failure::unreachable("gone", ""));
        assert!(!is_final(&alarm_if_shorter(gone, 7)));
    }

    #[test]
    fn times_have_a_range() {
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "s", "0", "-1", "nan", "inf", "5m", "100000"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
