//! `staffel-press`: JSON lines on standard input, PDF/A-2b files in a folder, one result line each on standard output.

use anyhow::Context as _;
use clap::Parser;
use staffel_press::{Press, run};
use std::{io, path::PathBuf, process::ExitCode};

/// Sets documents in type: one JSON document a line on standard input, PDF/A-2b files in a folder, one JSON line each on
/// standard output. Ends with 0 if all were printed, 2 if some were refused (the others are there), 1 if it could not work.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder for the files; created if it is missing
    #[arg(long)]
    out: PathBuf,
    /// How many at a time; as many as there are cores if not given
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let press = Press::new().context("load fonts and templates")?;
    let threads = arguments.jobs.unwrap_or_else(cores);
    let tally = run::run(&press, io::stdin().lock(), io::stdout(), &arguments.out, threads)?;
    eprintln!("{} printed, {} refused", tally.written, tally.refused);
    Ok(if tally.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
