//! One part of a check and how it went, and the list of them. What must stay out: running anything.

use super::settings::Named;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;

/// One part of a named check.
pub struct Check {
    pub check: Named,
    /// What was looked at, in words.
    pub part: String,
    /// None: passed.
    pub failure: Option<String>,
    /// Why it could not be looked at; then its check is not attested as a whole.
    pub left_out: Option<String>,
    /// What was measured, a phrase each.
    pub figures: Vec<String>,
    pub ms: u64,
}

/// All parts that ran so far.
pub struct Checks {
    pub all: Vec<Check>,
    progress: ProgressBar,
}

/// What a part has to say besides that it passed.
#[derive(Default)]
pub struct Said {
    pub figures: Vec<String>,
    pub left_out: Option<String>,
}

impl Checks {
    /// None yet. `quiet`: nobody looks on.
    pub fn new(quiet: bool) -> Self {
        Checks { all: Vec::new(), progress: progress(quiet) }
    }

    /// Runs a part unless one has failed before: the others would only repeat it. True if all is well so far.
    pub fn run(&mut self, check: Named, part: impl Into<String>, step: impl FnOnce() -> Result<Said>) -> bool {
        if self.first_failure().is_some() {
            return false;
        }
        let part = part.into();
        self.progress.set_message(format!("{}: {part}", check.name()));
        tracing::info!("{}: {part}", check.name());
        let begun = Instant::now();
        let (failure, said) = match step() {
            Ok(said) => (None, said),
            Err(error) => (Some(format!("{error:#}")), Said::default()),
        };
        let ms = begun.elapsed().as_millis() as u64;
        let Said { figures, left_out } = said;
        self.all.push(Check { check, part, failure, left_out, figures, ms });
        self.first_failure().is_none()
    }

    /// What a person has to mend first.
    pub fn first_failure(&self) -> Option<&Check> {
        self.all.iter().find(|check| check.failure.is_some())
    }

    /// Names for an attestation: of checks all of whose parts passed. One of which a part was left out has another name.
    pub fn passed(&self) -> Vec<String> {
        let named = |check: &Named| {
            let mut parts = self.all.iter().filter(|part| part.check == *check).peekable();
            parts.peek()?;
            let mut whole = true;
            for part in parts {
                if part.failure.is_some() {
                    return None;
                }
                whole &= part.left_out.is_none();
            }
            Some(if whole { check.name().to_string() } else { format!("{} in part", check.name()) })
        };
        Named::ALL.iter().filter_map(named).collect()
    }

    /// Takes the moving line away.
    pub fn finish(&self) {
        self.progress.finish_and_clear();
    }
}

/// A spinner on a terminal, nothing elsewhere.
fn progress(quiet: bool) -> ProgressBar {
    if quiet || !crate::output::is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passed_as_a_whole_has_its_name() {
        let mut checks = Checks::new(true);
        assert!(checks.run(Named::Contract, "a", || Ok(Said::default())));
        let left_out = Some("faketime is missing".to_string());
        assert!(checks.run(Named::Lifecycle, "b", || Ok(Said { left_out, ..Said::default() })));
        assert_eq!(checks.passed(), ["contract", "lifecycle in part"]);
        assert!(!checks.run(Named::Undo, "c", || anyhow::bail!("no")));
        assert!(!checks.run(Named::Hostile, "d", || panic!("nothing runs after a failure")));
        assert_eq!(checks.passed(), ["contract", "lifecycle in part"]);
        assert_eq!(checks.first_failure().map(|check| check.part.as_str()), Some("c"));
    }
}
