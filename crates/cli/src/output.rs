//! What is printed, and how the program ends. Must stay out: what is to be said (the commands know).

use serde::Serialize;
use std::{fmt, io::IsTerminal as _, process::ExitCode};

/// Documented in `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; the message says what happened and what to do
  2  the command line is wrong
  3  refused: a check did not hold (gate failed, log does not verify, policy says no, a case that no probe verified,
     a file with bad rows, open alerts where `alert ls --check` wants none)
  4  not found
  5  the server can't be reached
  6  the rollout is held or halted (`rollout watch`)";

/// An error with an exit code and advice.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub what: String,
    pub hint: String,
}

impl Failure {
    /// A check did not hold.
    pub fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { code: 3, what: what.into(), hint: hint.into() }
    }

    /// Something that was named is not there.
    pub fn not_found(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { code: 4, what: what.into(), hint: hint.into() }
    }

    /// The server does not answer.
    pub fn unreachable(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { code: 5, what: what.into(), hint: hint.into() }
    }

    /// The rollout that was watched ended badly.
    pub fn stopped(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { code: 6, what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  what to do: {}", self.hint) }
    }
}

impl std::error::Error for Failure {}

/// Ends the program.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    // A reader that went away (`| head`) is not our failure.
    if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("staffel: {error:#}");
    ExitCode::from(error.downcast_ref::<Failure>().map_or(1, |failure| failure.code))
}

/// Prints a value as JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    std::io::Write::write_all(&mut out, b"\n")?;
    Ok(())
}

/// True if a person looks at standard output.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Sends log lines to standard error.
pub fn log_to_stderr(verbose: u8, json: bool) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("STAFFEL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal();
    // A second subscriber in one process would be a programming error of ours, not the user's.
    let _ = if json { logs.json().try_init() } else { logs.with_ansi(colours).try_init() };
}

/// `2 high, 1 low`: what there is any of; nothing if there is nothing.
pub fn counted(counts: &[(u64, &str)]) -> Option<String> {
    let said: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Lines up columns with two spaces between them.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    };
    line(&head.iter().map(|cell| cell.to_string()).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
    text
}
