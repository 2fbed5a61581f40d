//! The line format with which anybody recomputes a verdict from the logged events: `staffel evidence` and
//! `staffel evidence widen` read it line by line.
//!
//! ```text
//! event 4 10000 T     a treated device had the event; 4 treated and 10000 control devices were at risk
//! event 3 10000 C     the same for a control device
//! wave                the next wave opens (the first one is open from the start)
//! ```
//!
//! and, for the bound, one value of X and how often it occurred:
//!
//! ```text
//! -0.25 12            or -1/4 12
//! ```
//!
//! Empty lines and lines that start with `#` say nothing. Must stay out: reading files, and printing.

use std::fmt;

use thiserror::Error;

use super::{Arm, EvidenceError, PairCounts, PairDifference, Process, RiskSet};

/// What is wrong with a line. The number is the caller's, usually from 1.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("line {line}: {problem}")]
pub struct AuditError {
    pub line: usize,
    #[source]
    pub problem: AuditProblem,
}

/// The kinds of wrong lines. Quoted text is cut to 40 characters.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AuditProblem {
    #[error("{found:?} is not an instruction; expected `event N_T N_C T|C` or `wave`")]
    UnknownInstruction { found: String },
    #[error("{found} fields, expected {expected} as in `{form}`")]
    WrongFieldCount { found: usize, expected: usize, form: &'static str },
    #[error("{what} is {found:?}, expected a whole number from 0 to {}", u64::MAX)]
    NotACount { what: &'static str, found: String },
    #[error("arm is {found:?}, expected T (treated) or C (control)")]
    NotAnArm { found: String },
    #[error(
        "X is {found:?}, expected a decimal with at most 9 places or a fraction, from -1 to 1, as in -0.25 or -1/4"
    )]
    NotADifference { found: String },
    #[error(transparent)]
    Refused(#[from] EvidenceError),
}

/// A line that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLine {
    Event { risk: RiskSet, arm: Arm },
    Wave,
}

/// The evidence after one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuditStep {
    /// `ln E`, the onset mixture.
    pub ln_e: f64,
    /// `ln E_1`, the bets since wave 1 alone.
    pub ln_e_wave1: f64,
}

impl fmt::Display for AuditStep {
    /// Both numbers with 12 decimal places and a space between; zero has no sign.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", twelve_places(self.ln_e), twelve_places(self.ln_e_wave1))
    }
}

/// A number as the audit prints it: 12 decimal places, and zero without a sign.
pub fn twelve_places(number: f64) -> String {
    let text = format!("{number:.12}");
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) => digits.to_owned(),
        _ => text,
    }
}

/// Reads one line of the event format. None for an empty line or a comment.
pub fn parse_line(line: usize, text: &str) -> Result<Option<AuditLine>, AuditError> {
    parse_instruction(text).map_err(|problem| AuditError { line, problem })
}

fn parse_instruction(text: &str) -> Result<Option<AuditLine>, AuditProblem> {
    let Some((instruction, rest)) = fields(text) else {
        return Ok(None);
    };
    match (instruction, rest.as_slice()) {
        ("wave", []) => Ok(Some(AuditLine::Wave)),
        ("wave", rest) => Err(AuditProblem::WrongFieldCount { found: rest.len() + 1, expected: 1, form: "wave" }),
        ("event", [treated, control, arm]) => {
            let risk = RiskSet { treated: count("N_T", treated)?, control: count("N_C", control)? };
            let arm = match *arm {
                "T" => Arm::Treated,
                "C" => Arm::Control,
                other => {
                    return Err(AuditProblem::NotAnArm { found: quote(other) });
                }
            };
            Ok(Some(AuditLine::Event { risk, arm }))
        }
        ("event", rest) => {
            Err(AuditProblem::WrongFieldCount { found: rest.len() + 1, expected: 4, form: "event N_T N_C T|C" })
        }
        (other, _) => Err(AuditProblem::UnknownInstruction { found: quote(other) }),
    }
}

/// Reads one line of the format for the bound: X and how often it occurred. None for an empty line or a comment.
pub fn parse_pair_line(line: usize, text: &str) -> Result<Option<(PairDifference, u64)>, AuditError> {
    parse_pair(text).map_err(|problem| AuditError { line, problem })
}

fn parse_pair(text: &str) -> Result<Option<(PairDifference, u64)>, AuditProblem> {
    let Some((difference, rest)) = fields(text) else {
        return Ok(None);
    };
    let [times] = rest.as_slice() else {
        return Err(AuditProblem::WrongFieldCount { found: rest.len() + 1, expected: 2, form: "X COUNT" });
    };
    let parsed =
        parse_difference(difference).ok_or_else(|| AuditProblem::NotADifference { found: quote(difference) })?;
    Ok(Some((parsed, count("COUNT", times)?)))
}

// Exactly, without a detour over a floating-point number: -0.25 and -1/4 must share one count.
fn parse_difference(text: &str) -> Option<PairDifference> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (magnitude, denominator) = if let Some((numerator, denominator)) = digits.split_once('/') {
        (whole_number(numerator)?, whole_number(denominator)?)
    } else if let Some((whole, places)) = digits.split_once('.') {
        if places.len() > 9 {
            return None;
        }
        let denominator = 10_u64.pow(places.len() as u32);
        (whole_number(whole)?.checked_mul(denominator)?.checked_add(whole_number(places)?)?, denominator)
    } else {
        (whole_number(digits)?, 1)
    };
    let magnitude = i64::try_from(magnitude).ok()?;
    PairDifference::new(if negative { -magnitude } else { magnitude }, denominator).ok()
}

fn count(what: &'static str, text: &str) -> Result<u64, AuditProblem> {
    whole_number(text).ok_or_else(|| AuditProblem::NotACount { what, found: quote(text) })
}

// The standard parser also takes a leading plus sign, which the format does not have.
fn whole_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn fields(text: &str) -> Option<(&str, Vec<&str>)> {
    let mut fields = text.split_ascii_whitespace();
    let first = fields.next().filter(|first| !first.starts_with('#'))?;
    Some((first, fields.collect()))
}

fn quote(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Recomputes the evidence of one metric and scope, line by line.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    process: Process,
}

impl Audit {
    /// `theta0` as in [`Process::new`]; the test vectors of the specification use 1.
    pub fn new(theta0: f64) -> Result<Self, EvidenceError> {
        Ok(Audit { process: Process::new(theta0)? })
    }

    /// Reads and applies one line; the evidence if it was an event. A wrong line changes nothing.
    pub fn apply(&mut self, line: usize, text: &str) -> Result<Option<AuditStep>, AuditError> {
        match parse_line(line, text)? {
            None => Ok(None),
            Some(AuditLine::Wave) => {
                self.process.open_wave();
                Ok(None)
            }
            Some(AuditLine::Event { risk, arm }) => {
                self.process
                    .observe(risk.treated, risk.control, arm)
                    .map_err(|problem| AuditError { line, problem: problem.into() })?;
                Ok(Some(self.current()))
            }
        }
    }

    /// The evidence so far.
    pub fn current(&self) -> AuditStep {
        AuditStep { ln_e: self.process.ln_e(), ln_e_wave1: self.process.ln_e_wave1() }
    }
}

/// Recomputes the counts for the bound from all lines of a text, numbered from 1; ask the result for
/// [`PairCounts::upper_bound`].
pub fn read_pairs(text: &str) -> Result<PairCounts, AuditError> {
    let mut pairs = PairCounts::new();
    for (index, line) in text.lines().enumerate() {
        if let Some((difference, times)) = parse_pair_line(index + 1, line)? {
            pairs.add(difference, times);
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_event_lines_are_refused_with_their_number() {
        let long = "x".repeat(1_000_000);
        for (text, expected) in [
            ("event 1 2", "3 fields, expected 4"),
            ("event 1 2 T T", "5 fields"),
            ("event -1 2 T", "N_T is \"-1\""),
            ("event 1 +2 T", "N_C is \"+2\""),
            ("event 1 18446744073709551616 T", "N_C is"),
            ("event 1e3 2 T", "N_T is"),
            ("event ١ 2 T", "N_T is"),
            ("event 1 2 t", "arm is \"t\""),
            ("wave 2", "2 fields, expected 1"),
            ("WAVE", "not an instruction"),
            ("\u{feff}event 1 2 T", "not an instruction"),
            ("event\u{a0}1 2 T", "not an instruction"),
            ("\0", "not an instruction"),
            (long.as_str(), "not an instruction"),
        ] {
            let error = parse_line(17, text).unwrap_err().to_string();
            assert!(error.starts_with("line 17: ") && error.contains(expected), "{error}");
            assert!(error.len() < 200, "{}", error.len());
        }
    }

    #[test]
    fn hostile_pair_lines_are_refused_with_their_number() {
        for text in [
            "1.5 1",
            "-2 1",
            "1/0 1",
            "0/0 1",
            "/ 1",
            "- 1",
            "--1 1",
            "1/-2 1",
            "3/2 1",
            ". 1",
            "0. 1",
            ".5 1",
            "0.1234567890 1",
            "1e-1 1",
            "NaN 1",
            "inf 1",
            "99999999999999999999 1",
            "99999999999.5 1",
            "0.5",
            "0.5 1 1",
            "0.5 -1",
            "0.5 x",
            "18446744073709551615/18446744073709551615 1",
        ] {
            assert_eq!(parse_pair_line(3, text).unwrap_err().line, 3, "{text}");
        }
        assert_eq!(read_pairs("0 1\n\n2 1\n").unwrap_err().line, 3);
    }

    #[test]
    fn decimals_and_fractions_are_the_same_value() {
        let quarter = Some((PairDifference::new(-1, 4).unwrap(), 12));
        for text in ["-0.25 12", "-1/4 12", "  -25/100\t12 \r", "-0.250000000 12"] {
            assert_eq!(parse_pair_line(1, text), Ok(quarter), "{text}");
        }
        for text in ["", "   ", "# 1 2", "#"] {
            assert_eq!(parse_pair_line(1, text), Ok(None));
            assert_eq!(parse_line(1, text), Ok(None));
        }
    }

    #[test]
    fn a_wrong_line_changes_nothing() {
        let mut audit = Audit::new(1.0).unwrap();
        let before = audit.clone();
        assert!(audit.apply(1, "event 0 10 T").unwrap_err().to_string().contains("line 1: count an event"));
        assert!(audit.apply(2, "bogus").is_err());
        assert_eq!(audit, before);
        assert_eq!(audit.current().to_string(), "0.000000000000 0.000000000000");
        assert_eq!(audit.apply(3, "wave"), Ok(None));
    }

    #[test]
    fn zero_is_printed_without_a_sign_and_nothing_else_loses_it() {
        assert_eq!(twelve_places(-1e-14), "0.000000000000");
        assert_eq!(twelve_places(-0.014391591119), "-0.014391591119");
        assert_eq!(twelve_places(3.805789672957), "3.805789672957");
    }
}
