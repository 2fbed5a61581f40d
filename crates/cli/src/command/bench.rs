//! `staffel bench`: what this machine does with this program. Figures, not tests: nothing fails because a machine is slow.
//! Must stay out: anything that makes it easier than real use without saying so.

mod checkins;
mod console;
mod fleet;
mod http;
mod memory;
mod plan;
mod process;

use crate::output::{json, table};
use anyhow::Result;
use serde::Serialize;

/// Subcommands of `staffel bench`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Check-ins a second through mutual TLS, a real server process beside the load generator.
    Checkins(checkins::Args),
    /// Bytes of memory a device in a large fleet.
    Memory(memory::Args),
    /// Time of one look at a rollout in a large fleet.
    Plan(plan::Args),
    /// Time of the console's pages with a large fleet, and of a change on its way to an open page.
    Console(console::Args),
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Checkins(args) => checkins::run(args, as_json),
        Command::Memory(args) => memory::run(args, as_json),
        Command::Plan(args) => plan::run(args, as_json),
        Command::Console(args) => console::run(args, as_json),
    }
}

/// What its figures are worth.
fn how_built() -> &'static str {
    if cfg!(debug_assertions) {
        "built for debugging: build with --release for figures that count"
    } else {
        "built for release"
    }
}

/// One measured figure.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
}

/// What was aimed at.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "goal", content = "value", rename_all = "kebab-case")]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Figure { what: what.into(), value, unit, goal: None }
    }

    fn with(self, goal: Goal) -> Self {
        Figure { goal: Some(goal), ..self }
    }

    /// How many times as good as the goal; below 1 it is missed.
    fn ratio(&self) -> Option<f64> {
        match self.goal? {
            Goal::AtLeast(goal) => Some(self.value / goal),
            Goal::AtMost(goal) => Some(goal / self.value),
        }
    }

    fn row(&self) -> Vec<String> {
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::AtLeast(goal)) => format!("at least {}", number(goal)),
            Some(Goal::AtMost(goal)) => format!("at most {}", number(goal)),
        };
        let ratio = self.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"));
        vec![self.what.clone(), format!("{} {}", number(self.value), self.unit), goal, ratio]
    }
}

/// Three digits that count; whole from 100 on.
fn number(value: f64) -> String {
    let before = value.abs().log10().floor();
    let places = if before.is_finite() { (2.0 - before).clamp(0.0, 9.0) as usize } else { 0 };
    format!("{value:.places$}")
}

/// Prints the figures with their goals and what has to be known about them.
fn report(figures: &[Figure], remarks: &[String], as_json: bool) -> Result<()> {
    if as_json {
        return json(&serde_json::json!({ "figures": figures, "remarks": remarks }));
    }
    let rows: Vec<_> = figures.iter().map(Figure::row).collect();
    print!("{}", table(&["FIGURE", "MEASURED", "GOAL", "TIMES AS GOOD"], &rows));
    for remark in remarks {
        println!("  {remark}");
    }
    Ok(())
}

/// The value that `share` (0 to 1) of the sorted values do not exceed; 0 of none.
fn percentile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_better_in_both_directions() {
        let rate = Figure::new("rate", 30_000.0, "/s").with(Goal::AtLeast(15_000.0));
        let size = Figure::new("size", 600.0, "B").with(Goal::AtMost(300.0));
        assert_eq!((rate.ratio(), size.ratio()), (Some(2.0), Some(0.5)));
        assert_eq!(rate.row(), ["rate", "30000 /s", "at least 15000", "2.00"]);
        assert_eq!(Figure::new("x", 0.5, "ms").row(), ["x", "0.500 ms", "", ""]);
        let shown = [0.0, 0.000_123_4, 1.0, 12.34, 123.4, 15_000.0].map(number);
        assert_eq!(shown, ["0", "0.000123", "1.00", "12.3", "123", "15000"]);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99), percentile(&values, 1.0)), (50, 99, 100));
        assert_eq!((percentile(&[7], 0.5), percentile(&[], 0.5)), (7, 0));
    }
}
