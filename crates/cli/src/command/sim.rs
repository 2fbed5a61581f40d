//! `staffel sim`: what a release would do to a fleet, before anybody publishes it. Must stay out: the simulation itself, which is
//! `staffel-sim`'s, and every decision, which is `core`'s.

pub(crate) mod study;

use crate::output::{self, Failure};
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use staffel_sim::{Comparison, Progress, Scenario, check_seed, compare, head};
use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Subcommands of `staffel sim`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Play a scenario and say what came of each policy.
    Run(Run),
    /// Play a scenario: one table and a chart of all its policies.
    Compare(Compare),
    /// Play fresh random scenarios against everything that must hold, for so long (`90s`, `10min`).
    Seeds(Seeds),
    /// Play the random scenario of one seed.
    Seed(Seed),
    /// How many a fault reaches, against what no method can do without, and what slower growth would save.
    Table(study::Table),
    /// How often healthy rollouts are held or halted, nights and outages included.
    FalseHalts(study::FalseHalts),
}

/// Arguments of `staffel sim run`.
#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
struct Which {
    /// The scenario, a text file; those of the project are in crates/sim/scenarios.
    file: PathBuf,
    /// The scenario's own seed otherwise.
    #[arg(long)]
    seed: Option<u64>,
    /// Fleet size instead of the scenario's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=staffel_sim::MOST_DEVICES as i64))]
    devices: Option<u32>,
}

/// Arguments of `staffel sim compare`.
#[derive(clap::Args)]
pub struct Compare {
    #[command(flatten)]
    which: Which,
    /// Folder for the chart, as SVG and PNG.
    #[arg(long, default_value = ".")]
    charts: PathBuf,
}

/// Arguments of `staffel sim seeds`.
#[derive(clap::Args)]
pub struct Seeds {
    /// How long, for example 90s or 10min.
    #[arg(value_parser = duration)]
    time: Duration,
    /// The first seed; drawn otherwise.
    #[arg(long)]
    from: Option<u64>,
}

/// Arguments of `staffel sim seed`.
#[derive(clap::Args)]
pub struct Seed {
    /// The seed, as `staffel sim seeds` printed it.
    seed: u64,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Run(args) => {
            let comparison = play(&args.which, as_json)?;
            if as_json {
                return output::json(&comparison);
            }
            print!("{}", comparison.body());
            Ok(())
        }
        Command::Compare(args) => {
            let comparison = play(&args.which, as_json)?;
            let charts = draw(&comparison, &args.charts)?;
            if as_json {
                return output::json(&comparison);
            }
            println!("{}\n{charts}", comparison.table());
            Ok(())
        }
        Command::Seeds(args) => seeds(args, as_json),
        Command::Seed(args) => seed(args.seed, as_json),
        Command::Table(args) => study::table(args, as_json),
        Command::FalseHalts(args) => study::false_halts(args, as_json),
    }
}

/// Prints seed and options first, so that a run that is interrupted can be repeated.
fn play(which: &Which, quiet: bool) -> Result<Comparison> {
    let text = std::fs::read_to_string(&which.file).map_err(|error| {
        Failure::not_found(format!("read {}: {error}", which.file.display()), "scenarios are in crates/sim/scenarios")
    })?;
    let mut scenario = Scenario::parse(&which.file.to_string_lossy(), &text)?;
    scenario.fleet.devices = which.devices.unwrap_or(scenario.fleet.devices);
    let seed = which.seed.unwrap_or(scenario.seed);
    if !quiet {
        println!("{}\n", head(&scenario, seed));
    }
    let bar = progress(quiet);
    let mut watcher = |progress: Progress<'_>| {
        bar.set_length(progress.devices);
        bar.set_position(progress.confirmed);
        bar.set_message(format!("{}, {} after publication", progress.policy, staffel_sim::time(progress.at_s)));
    };
    let comparison = compare(&scenario, seed, &mut watcher);
    bar.finish_and_clear();
    Ok(comparison?)
}

fn progress(quiet: bool) -> ProgressBar {
    if quiet || !output::is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1);
    let template = "{bar:30} {human_pos} of {human_len} confirmed, {msg} ({elapsed})";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message("building the fleet");
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Writes both forms of the chart; says where.
fn draw(comparison: &Comparison, folder: &Path) -> Result<String> {
    std::fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    let path = |form: &str| folder.join(format!("{}.{form}", comparison.scenario));
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).with_context(|| format!("write the chart {}", path.display()))
    };
    let (svg, png) = (path("svg"), path("png"));
    write(&svg, staffel_sim::svg(comparison)?.as_bytes())?;
    write(&png, &staffel_sim::png(comparison)?)?;
    Ok(format!("chart: {}, {}", svg.display(), png.display()))
}

fn seed(seed: u64, as_json: bool) -> Result<()> {
    let scenario = staffel_sim::random_scenario(seed);
    if !as_json {
        println!("{}\n{scenario:#?}", head(&scenario, seed));
    }
    let comparison = check_seed(seed).map_err(|error| refused(seed, &error.to_string()))?;
    if as_json {
        return output::json(&comparison);
    }
    print!("{}\nall that must hold holds\n", comparison.policies[0].text());
    Ok(())
}

fn refused(seed: u64, what: &str) -> Failure {
    Failure::refused(format!("seed {seed}: {what}"), format!("staffel sim seed {seed}"))
}

fn seeds(args: &Seeds, as_json: bool) -> Result<()> {
    let from = match args.from {
        Some(from) => from,
        None => {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).context("draw a first seed")?;
            u64::from(u32::from_le_bytes(bytes))
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    eprintln!("seeds from {from} on, for {} s, {workers} at a time", args.time.as_secs());
    let (next, played, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let failed: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    let end = Instant::now() + args.time;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while Instant::now() < end && !stop.load(Ordering::Relaxed) {
                    let seed = from.wrapping_add(next.fetch_add(1, Ordering::Relaxed));
                    if let Err(error) = check_seed(seed) {
                        stop.store(true, Ordering::Relaxed);
                        if let Ok(mut failed) = failed.lock() {
                            failed.push((seed, error.to_string()));
                        }
                    }
                    played.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort();
    let played = played.into_inner();
    if let Some((seed, what)) = failed.first() {
        return Err(refused(*seed, what).into());
    }
    if as_json {
        return output::json(&serde_json::json!({ "from": from, "played": played, "failed": 0 }));
    }
    println!("{played} random scenarios, in each of them held what must hold");
    Ok(())
}

/// `90s`, `10min`
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let scale = match text[digits.len()..].trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        _ => 0,
    };
    let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).filter(|s| *s > 0);
    let seconds = seconds.filter(|seconds| *seconds <= 7 * 86_400);
    seconds.map(Duration::from_secs).ok_or_else(|| "expected a time such as 90s or 10min".into())
}
