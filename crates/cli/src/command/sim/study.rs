//! `staffel sim table` and `staffel sim false-halts`: many simulated rollouts, and their figures. Must stay out: what a run is
//! (`staffel_sim`'s studies say).

use crate::output::{self, Failure};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use staffel_sim::{Cell, Outcome, Scenario, healthy, number, ordinary, play};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Arguments of `staffel sim table`.
#[derive(clap::Args)]
pub struct Table {
    /// Runs a cell; 200 where what no method can do without is below 3,000 devices, 40 elsewhere, otherwise.
    #[arg(long)]
    runs: Option<u32>,
    /// Leaves out cells in which a fault reaches more than so many devices in any case.
    #[arg(long, default_value_t = f64::INFINITY)]
    most: f64,
    /// Devices of the healthy rollout that the trade-off is measured with.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(200..=8_500_000))]
    healthy: u32,
    #[command(flatten)]
    how: How,
}

/// Arguments of `staffel sim false-halts`.
#[derive(clap::Args)]
pub struct FalseHalts {
    /// Rollouts of fleets of 1,000 to 4,000 devices; of each small size a fifth of it.
    #[arg(long, default_value_t = 5_000)]
    runs: u32,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
struct How {
    /// The first seed; each run has the next.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// So many runs at a time; one for each processor otherwise.
    #[arg(long)]
    jobs: Option<usize>,
}

/// What a fault of one kind reached.
#[derive(Serialize)]
struct Reached {
    q: f64,
    p: f64,
    /// Devices that no method can do without.
    bound: f64,
    devices: u32,
    runs: usize,
    /// Mean number of devices that got the release, where nobody answers a hold, and where a person lets every hold go on.
    exposed: f64,
    exposed_resumed: f64,
    /// Of these, over the bound.
    ratio: f64,
    ratio_resumed: f64,
    /// Share of runs that were halted; where nobody answers, the others end held.
    halted: f64,
    halted_resumed: f64,
}

/// What a growth costs and saves.
#[derive(Serialize)]
struct Growth {
    percent: u32,
    exposed: f64,
    /// Mean hours until a healthy rollout is completed.
    hours: f64,
}

/// Growths of a wave that are compared, percent.
const GROWTHS: [u32; 4] = [125, 150, 200, 300];
/// The cell that they are compared in.
const COMPARED: Cell = Cell { q: 0.01, p: 0.05 };

/// Plays the fifteen cells.
pub fn table(args: &Table, as_json: bool) -> Result<()> {
    let jobs = jobs(&args.how);
    let seeds = |runs: u32| (0..u64::from(runs)).map(move |run| args.how.from + run);
    if !as_json {
        println!("cells of the specification's table, seeds from {} on, {jobs} at a time\n", args.how.from);
        println!("    q      p    bound  devices  runs  exposed  ratio  halted  | resumed  ratio  halted");
    }
    let mut cells = Vec::new();
    for cell in Cell::all().into_iter().filter(|cell| cell.bound() <= args.most) {
        let runs = args.runs.unwrap_or_else(|| cell.runs());
        let played = |resumed: bool| {
            let scenarios = seeds(runs).map(|seed| cell.scenario(seed, 200, resumed)).collect();
            all(scenarios, jobs, &format!("q {} p {}", cell.q, cell.p), as_json)
        };
        let (alone, resumed) = (played(false)?, played(true)?);
        let exposed = |outcomes: &[Outcome]| mean(outcomes.iter().map(|outcome| outcome.exposed as f64));
        let halted = |outcomes: &[Outcome]| {
            mean(outcomes.iter().map(|outcome| if outcome.halted_after_s.is_some() { 1.0 } else { 0.0 }))
        };
        let reached = Reached {
            q: cell.q,
            p: cell.p,
            bound: cell.bound(),
            devices: cell.devices(),
            runs: alone.len(),
            exposed: exposed(&alone),
            exposed_resumed: exposed(&resumed),
            ratio: exposed(&alone) / cell.bound(),
            ratio_resumed: exposed(&resumed) / cell.bound(),
            halted: halted(&alone),
            halted_resumed: halted(&resumed),
        };
        if !as_json {
            println!(
                "{:>5}  {:>5}  {:>7.1}  {:>7}  {:>4}  {:>7.1}  {:>5.2}  {:>5.0} %  | {:>7.1}  {:>5.2}  {:>4.0} %",
                reached.q,
                reached.p,
                reached.bound,
                reached.devices,
                reached.runs,
                reached.exposed,
                reached.ratio,
                reached.halted * 100.0,
                reached.exposed_resumed,
                reached.ratio_resumed,
                reached.halted_resumed * 100.0,
            );
        }
        cells.push(reached);
    }
    let ratios = |which: fn(&Reached) -> f64| mean(cells.iter().map(which));
    let (ratio, ratio_resumed) = (ratios(|cell| cell.ratio), ratios(|cell| cell.ratio_resumed));
    if !as_json {
        println!("\nmean ratio of {} cells: {ratio:.2}, {ratio_resumed:.2} resumed (aim 1.5)", cells.len());
        println!("\ngrowth a wave   exposed (q {}, p {})   hours to complete", COMPARED.q, COMPARED.p);
    }
    let mut growths = Vec::new();
    for percent in GROWTHS {
        let runs = args.runs.unwrap_or_else(|| COMPARED.runs());
        let bad =
            all(seeds(runs).map(|seed| COMPARED.scenario(seed, percent, true)).collect(), jobs, "growth", as_json)?;
        let well = seeds(runs.clamp(1, 5)).map(|seed| healthy(args.healthy, seed, percent)).collect();
        let well = all(well, jobs, "healthy", as_json)?;
        let hours = mean(well.iter().filter_map(|outcome| outcome.completed_after_s).map(|at| f64::from(at) / 3_600.0));
        let growth = Growth { percent, exposed: mean(bad.iter().map(|outcome| outcome.exposed as f64)), hours };
        if !as_json {
            println!("{:>11} %   {:>21.1}   {:>17.2}", growth.percent, growth.exposed, growth.hours);
        }
        growths.push(growth);
    }
    if as_json {
        let whole = serde_json::json!({
            "cells": cells, "mean_ratio": ratio, "mean_ratio_resumed": ratio_resumed,
            "growth": growths, "healthy_devices": args.healthy,
        });
        return output::json(&whole);
    }
    Ok(())
}

/// Healthy rollouts of one size.
#[derive(Serialize)]
struct Stopped {
    units: String,
    runs: usize,
    /// Rollouts that were halted.
    halted: usize,
    /// Rollouts that were held at least once, and holds in all.
    held: usize,
    holds: u64,
    completed: usize,
    /// What the halts said, the first few.
    why: Vec<String>,
}

/// Plays healthy rollouts, and counts those that are stopped.
pub fn false_halts(args: &FalseHalts, as_json: bool) -> Result<()> {
    let jobs = jobs(&args.how);
    if !as_json {
        println!("healthy rollouts, seeds from {} on, {jobs} at a time\n", args.how.from);
        println!("        units   runs  halted    held   holds  completed");
    }
    let small = (args.runs / 5).max(1);
    // The large ones are spread evenly over their sizes.
    let large = |run: u64| 1_000 + (run * 611 % 3_001) as u32;
    let sizes: [(&str, u32, Option<u32>); 4] =
        [("1,000-4,000", args.runs, None), ("20", small, Some(20)), ("60", small, Some(60)), ("200", small, Some(200))];
    let mut rows = Vec::new();
    for (units, runs, size) in sizes {
        let scenario = |run: u64| ordinary(size.unwrap_or_else(|| large(run)), args.how.from + run);
        let played = all((0..u64::from(runs)).map(scenario).collect(), jobs, units, as_json)?;
        let halted: Vec<&Outcome> = played.iter().filter(|outcome| outcome.halted_after_s.is_some()).collect();
        let row = Stopped {
            units: units.into(),
            runs: played.len(),
            halted: halted.len(),
            held: played.iter().filter(|outcome| outcome.holds > 0).count(),
            holds: played.iter().map(|outcome| u64::from(outcome.holds)).sum(),
            completed: played.iter().filter(|outcome| outcome.completed_after_s.is_some()).count(),
            why: halted.iter().take(5).map(|outcome| format!("{}: {}", outcome.name, outcome.verdict)).collect(),
        };
        if !as_json {
            println!(
                "{:>13}  {:>5}  {:>6}  {:>6}  {:>6}  {:>9}",
                row.units,
                number(row.runs as u64),
                row.halted,
                row.held,
                row.holds,
                row.completed
            );
            row.why.iter().for_each(|why| println!("    {why}"));
        }
        rows.push(row);
    }
    if as_json {
        return output::json(&serde_json::json!({ "from": args.how.from, "sizes": rows }));
    }
    Ok(())
}

fn mean(figures: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = figures.fold((0.0, 0_u64), |(sum, count), figure| (sum + figure, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

fn jobs(how: &How) -> usize {
    how.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Plays all of them, some at a time; the outcomes are in the order of the scenarios, whoever was done first.
pub(crate) fn all(scenarios: Vec<Scenario>, jobs: usize, what: &str, quiet: bool) -> Result<Vec<Outcome>> {
    let bar =
        if quiet || !output::is_terminal() { ProgressBar::hidden() } else { ProgressBar::new(scenarios.len() as u64) };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} rollouts, {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.set_message(what.to_string());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Outcome, String>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(scenarios.len()) {
            scope.spawn(|| {
                let take = || {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    scenarios.get(at).map(|scenario| (at, scenario))
                };
                while let Some((at, scenario)) = take() {
                    let outcome =
                        play(scenario).map_err(|error| format!("{}, seed {}: {error}", scenario.name, scenario.seed));
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    let outcomes = done.into_iter().map(|(_, outcome)| outcome).collect::<Result<Vec<_>, _>>();
    outcomes.map_err(|error| Failure::refused(error, "a simulated rollout broke what must hold: see the seed").into())
}
