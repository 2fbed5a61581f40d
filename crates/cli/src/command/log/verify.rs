//! `staffel log verify`. Must stay out: how it is verified (`staffel_store::verify_file`).

use crate::{
    client::time::moment,
    layout::Layout,
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use serde_json::json;
use staffel_server::engine::chain;
use staffel_store::{CheckpointKeys, LogKey, Report, StoreError, WitnessKey, verify_file};
use std::{fmt::Write as _, path::PathBuf};

/// Arguments of `staffel log verify`.
#[derive(clap::Args)]
pub struct Args {
    /// The log's file; a copy will do [else the folder's server/log.sqlite].
    #[arg(long)]
    file: Option<PathBuf>,
    /// The log's public key, name+id+key [else the folder's]. Take it from a place that the server can't write to.
    #[arg(long, value_name = "VKEY")]
    key: Option<String>,
    /// A witness's public key; may be given again [else the folder's].
    #[arg(long, value_name = "VKEY")]
    witness: Vec<String>,
    /// Installation folder [else: STAFFEL_DIR, else ./staffel].
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => Layout::find(args.dir.as_deref())?.server_dir().join("log.sqlite"),
    };
    if !path.is_file() {
        return Err(Failure::not_found(format!("there is no log at {}", path.display()), "name it with --file").into());
    }
    let keys = keys(args)?;
    let report = verify_file(&path, keys.as_ref()).map_err(|error| unreadable(&error))?;
    if as_json {
        json(&as_value(&report, keys.is_some()))?;
    } else {
        print!("{}", text(&report, keys.is_some()));
    }
    if report.is_sound() {
        return Ok(());
    }
    let what = format!("the log does not verify: {} problems", report.problem_count);
    Err(Failure::refused(what, "keep this file as it is, and compare it with a backup and with what witnesses saw")
        .into())
}

/// The keys that were named, else those of the folder; a file alone is verified without.
fn keys(args: &Args) -> Result<Option<CheckpointKeys>> {
    // A named file says nothing about a folder, unless one is named, too.
    let layout = match (&args.file, &args.dir) {
        (Some(_), None) => None,
        (_, dir) => Some(Layout::find(dir.as_deref())?),
    };
    let log = match (&args.key, &layout) {
        (Some(text), _) => text.clone(),
        (None, Some(layout)) => layout.log_key_text()?,
        (None, None) => return Ok(None),
    };
    let witnesses = match &layout {
        Some(layout) if args.witness.is_empty() => layout.config()?.witnesses,
        _ => args.witness.clone(),
    };
    let witnesses: Result<_, _> = witnesses.iter().map(|text| WitnessKey::parse(text)).collect();
    Ok(Some(CheckpointKeys {
        log: LogKey::parse(&log).context("read the log's public key")?,
        witnesses: witnesses.context("read a witness's public key")?,
    }))
}

/// A file that is no log any more is damage; one that may not be opened, or that a later version wrote, is not.
fn unreadable(error: &StoreError) -> Failure {
    match error {
        StoreError::Corrupt { .. } | StoreError::NotALog { .. } => {
            Failure::refused(error.to_string(), "keep this file as it is, and restore a backup elsewhere")
        }
        _ => Failure { code: 1, what: error.to_string(), hint: String::new() },
    }
}

fn as_value(report: &Report, with_keys: bool) -> serde_json::Value {
    json!({
        "sound": report.is_sound(),
        "entries": report.entries,
        "erased": report.erased,
        "root": hex::encode(report.root),
        "signatures_checked": with_keys,
        "checkpoint_size": report.checkpoint_size,
        "witnessed_size": report.witnessed_size,
        "witnesses": report.witnessed.iter().map(|w| json!({ "name": w.witness, "unix_seconds": w.unix_seconds })).collect::<Vec<_>>(),
        "problem_count": report.problem_count,
        "problems": report.problems.iter().map(|p| chain(p)).collect::<Vec<_>>(),
    })
}

fn text(report: &Report, with_keys: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11}{value}");
    };
    let erased = if report.erased > 0 { format!(", {} of them erased", report.erased) } else { String::new() };
    line("entries", format!("{} verified{erased}", report.entries));
    line("root", hex::encode(report.root));
    let signed = match (with_keys, report.checkpoint_size) {
        (false, _) => "not checked: no key was given (--key), so a log rewritten as a whole would go unnoticed".into(),
        (true, None) => "none that verifies".into(),
        (true, Some(size)) => format!("signed up to entry {size} of {}", report.entries),
    };
    line("checkpoint", signed);
    if with_keys {
        let witnessed = report.witnessed_size.map_or("by nobody that was named".into(), |size| {
            let who = report.witnessed.iter();
            let who = who.map(|w| format!("{} at {}", w.witness, moment(w.unix_seconds.saturating_mul(1_000))));
            format!("up to entry {size} by {}", who.collect::<Vec<_>>().join(", "))
        });
        line("witnessed", witnessed);
    }
    for problem in &report.problems {
        line("problem", chain(problem));
    }
    let listed = report.problems.len() as u64;
    if report.problem_count > listed {
        line("", format!("and {} more", report.problem_count - listed));
    }
    line("verdict", if report.is_sound() { "the log verifies" } else { "the log does NOT verify" }.into());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_store::Problem;

    fn report() -> Report {
        Report {
            entries: 7,
            erased: 1,
            root: [0xab; 32],
            checkpoint_size: Some(6),
            witnessed_size: None,
            witnessed: Vec::new(),
            unknown_signatures: 0,
            problems: Vec::new(),
            problem_count: 0,
        }
    }

    #[test]
    fn a_sound_log_says_how_far_it_is_signed() {
        let shown = text(&report(), true);
        assert!(shown.contains("entries    7 verified, 1 of them erased"), "{shown}");
        assert!(shown.contains("signed up to entry 6 of 7") && shown.ends_with("the log verifies\n"), "{shown}");
        assert!(text(&report(), false).contains("no key was given"));
        assert_eq!(as_value(&report(), true)["sound"], true);
    }

    #[test]
    fn every_listed_problem_and_the_number_of_the_others_is_said() {
        let problems = vec![Problem::Content { position: 3 }, Problem::Root { size: 6 }];
        let shown = text(&Report { problems, problem_count: 5, ..report() }, true);
        assert!(
            shown.contains("entry 3: payload") && shown.contains("rewritten") && shown.contains("and 3 more"),
            "{shown}"
        );
        assert!(shown.ends_with("does NOT verify\n"));
    }
}
