//! `staffel evidence`: whoever audits a verdict recomputes it from the logged events. Must stay out: the arithmetic and the
//! line format, which are `staffel_core::evidence`'s.

use crate::output::Failure;
use anyhow::{Context as _, Result};
use serde_json::json;
use staffel_core::evidence::{
    EvidenceError, PairCounts,
    audit::{Audit, AuditError, parse_pair_line, twelve_places},
};
use std::io::{BufRead, Read as _, Write};

/// Longer lines mean nothing in either format; reading stops there.
const MAX_LINE: u64 = 4_096;

/// Arguments of `staffel evidence`.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Lines on standard input, one event each:
  event N_T N_C T|C   a treated (T) or control (C) device had its event; N_T and N_C were at risk just before
  wave                the next wave opens; the first is open from the start
  # ...               a remark
After each event one line is printed: ln E, the evidence, and ln E_1, the part of it since wave 1.
Halt is at ln E >= 6.907755278982 (E = 1000), hold at 2.995732273554 (E = 20)."
)]
pub struct Args {
    /// Hazard ratio that counts as harmless: 1.5 where treated devices restart and controls do not, 1 otherwise.
    #[arg(long, default_value_t = 1.0)]
    theta0: f64,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Recompute the bound U on the excess harm from lines `X COUNT`.
    Widen {
        /// The bound fails with at most this probability; between 0 and 1.
        #[arg(long)]
        beta: f64,
    },
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let mut input = std::io::stdin().lock();
    // Line by line, so that it can follow a log that grows.
    let mut output = std::io::stdout().lock();
    match args.command {
        None => events(args.theta0, as_json, &mut input, &mut output),
        Some(Command::Widen { beta }) => widen(beta, as_json, &mut input, &mut output),
    }
}

fn events(theta0: f64, as_json: bool, input: &mut impl BufRead, output: &mut impl Write) -> Result<()> {
    let mut audit = Audit::new(theta0).map_err(|error| bad_number("--theta0", &error))?;
    each_line(input, |number, line| {
        if let Some(step) = audit.apply(number, line).map_err(bad_line)? {
            if as_json {
                writeln!(output, "{}", json!({ "line": number, "ln_e": step.ln_e, "ln_e_1": step.ln_e_wave1 }))?;
            } else {
                writeln!(output, "{step}")?;
            }
        }
        Ok(())
    })
}

fn widen(beta: f64, as_json: bool, input: &mut impl BufRead, output: &mut impl Write) -> Result<()> {
    let mut pairs = PairCounts::new();
    // Asked first: nobody should type a thousand lines to hear that beta is wrong.
    pairs.upper_bound(beta).map_err(|error| bad_number("--beta", &error))?;
    each_line(input, |number, line| {
        if let Some((difference, times)) = parse_pair_line(number, line).map_err(bad_line)? {
            pairs.add(difference, times);
        }
        Ok(())
    })?;
    let bound = pairs.upper_bound(beta).map_err(|error| bad_number("--beta", &error))?;
    if as_json {
        writeln!(output, "{}", json!({ "u": bound, "beta": beta, "devices": pairs.devices() }))?;
    } else {
        writeln!(output, "{}", twelve_places(bound))?;
    }
    Ok(())
}

/// Calls `take` with each line and its number from 1.
fn each_line(input: &mut impl BufRead, mut take: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes).context("read standard input")?;
        if read == 0 {
            break;
        }
        let wrong = |what: &str| failed(format!("line {number}: {what}"));
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 == MAX_LINE {
            return Err(wrong("longer than 4,095 bytes").into());
        }
        let line = std::str::from_utf8(&bytes).map_err(|_| wrong("no UTF-8 text"))?;
        take(number, line)?;
    }
    Ok(())
}

fn bad_line(error: AuditError) -> anyhow::Error {
    failed(error.to_string()).into()
}

fn bad_number(option: &str, error: &EvidenceError) -> anyhow::Error {
    failed(format!("{option}: {error}")).into()
}

fn failed(what: String) -> Failure {
    Failure { code: 1, what, hint: "correct it; `staffel evidence --help` has the format".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_events(text: &str) -> (Result<()>, String) {
        let mut output = Vec::new();
        let result = events(1.0, false, &mut text.as_bytes(), &mut output);
        (result, String::from_utf8(output).unwrap())
    }

    #[test]
    fn what_came_before_a_wrong_line_was_printed_already() {
        let (result, output) = run_events("# V1\nevent 1 10000 T\nwave\nevent 1 T\n");
        assert_eq!(output, "3.805789672957 4.487753741659\n");
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("line 4: ") && error.contains("event N_T N_C T|C"), "{error}");
    }

    #[test]
    fn a_line_without_end_and_one_that_is_no_text_are_refused() {
        let long = "#".repeat(MAX_LINE as usize);
        assert!(run_events(&long).0.unwrap_err().to_string().starts_with("line 1: longer"));
        assert!(run_events(&format!("{}\n", &long[1..])).0.is_ok());
        let mut output = Vec::new();
        let result = events(1.0, false, &mut &b"wave\n\xff\n"[..], &mut output);
        assert!(result.unwrap_err().to_string().starts_with("line 2: no UTF-8"));
        assert_eq!(run_events("event 1 10000 T").1, "3.805789672957 4.487753741659\n", "no line break at the end");
    }

    #[test]
    fn a_bound_without_devices_is_one_and_a_wrong_beta_is_refused() {
        let bound = |beta: f64, text: &str| {
            let mut output = Vec::new();
            let result = widen(beta, false, &mut text.as_bytes(), &mut output);
            result.map(|()| String::from_utf8(output).unwrap())
        };
        assert_eq!(bound(0.01, "").unwrap(), "1.000000000000\n");
        assert_eq!(bound(0.01, "0 10\n").unwrap(), "0.419843057134\n");
        for beta in [0.0, 1.5, f64::NAN, -1.0] {
            assert!(bound(beta, "").unwrap_err().to_string().starts_with("--beta"), "{beta}");
        }
    }
}
