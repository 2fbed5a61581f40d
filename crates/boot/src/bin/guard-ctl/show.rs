//! Answers of the guard in words.

use staffel_core::boot::{Generation, Mode};
use staffel_statement::guard::{Reply, Status};
use std::{fmt::Write as _, process::ExitCode};

/// Prints a reply as JSON on standard output, and for people on standard error what went wrong.
pub fn reply(reply: &Reply) -> ExitCode {
    match serde_json::to_string(reply) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("guard-ctl: {error}"),
    }
    match reply {
        Reply::Failed { why } => eprintln!("failed: {why}"),
        Reply::Refused { refusals } => refusals.iter().for_each(|r| eprintln!("refused ({}): {r}", r.condition())),
        Reply::Probed { failures } if !failures.is_empty() => failures.iter().for_each(|f| eprintln!("failed: {f}")),
        _ => return ExitCode::SUCCESS,
    }
    ExitCode::FAILURE
}

fn generation(generation: &Generation) -> String {
    let releases: Vec<String> =
        generation.releases.iter().map(|(name, digest)| format!("{name} {}", digest.short())).collect();
    let releases = if releases.is_empty() { "nothing".to_string() } else { releases.join(", ") };
    format!("{} ({releases})", generation.id.short())
}

/// The status for people.
pub fn status(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        // Writing into a string can't fail.
        let _ = writeln!(out, "{name:<16} {text}");
    };
    match &status.mode {
        Mode::Normal => line("mode", "normal".into()),
        Mode::Safe { why } => line("mode", format!("SAFE MODE: {why}")),
    }
    line("running", status.selected.as_ref().map_or("nothing".into(), generation));
    line("last-known-good", generation(&status.last_known_good));
    for earlier in &status.earlier {
        line("earlier", generation(earlier));
    }
    for left in &status.left {
        line("left", format!("{}: {}", generation(&left.generation), left.why));
    }
    if let Some(trial) = &status.trial {
        line("on trial", format!("rollout {}, {} starts left", trial.rollout, trial.tries_left));
    }
    if let Some(prepared) = &status.prepared {
        line("prepared", prepared.short());
    }
    if let Some(outcome) = &status.outcome {
        let how = if outcome.committed { "committed" } else { "rolled back" };
        line("last change", format!("rollout {}: {how}: {}", outcome.rollout, outcome.why));
    }
    for trace in status.start.iter().flat_map(|start| &start.traces) {
        line("before this", trace.to_string());
    }
    for service in &status.services {
        let runs = match service.process_id {
            Some(pid) if service.running => format!("runs as process {pid}"),
            _ => "does not run".to_string(),
        };
        let last = service.last_exit.as_ref().map(|how| format!(", last time it {how}")).unwrap_or_default();
        line("service", format!("{}: {runs}, {} starts{last}", service.name, service.starts));
    }
    for (name, by) in &status.disabled {
        line("disabled", format!("service {name}, by {by}"));
    }
    for remedy in &status.remedies {
        let how = if remedy.done { "carried out" } else { "not carried out" };
        line("remedy", format!("{}: {how}: {}", remedy.sequence, remedy.why));
    }
    for why in &status.readiness.preflight {
        line("not ready", why.clone());
    }
    line("guard", format!("{} starts, keyring {}", status.starts, status.keyring_version));
    for lacking in &status.lacking {
        line("lacking", lacking.clone());
    }
    out
}
