//! `staffel-sensor`: events in, alerts out, by packs that can't hurt. See `staffel_sensor` for the parts.

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use staffel_pack::{Catalogue, Pack, contract};
use staffel_sensor::{
    bench, child,
    event::Event,
    protection::{self, Protection},
    store::{self, Folder},
    trial::{self, Corpus, FIRST_RECORD, Offered, Outcome},
    worker::{Start, Worker},
};
use std::{
    fs, io,
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    time::{Duration, SystemTime},
};

/// Detection by packs that run in a sandbox.
#[derive(Parser)]
#[command(name = "staffel-sensor", version, after_help = EXIT_CODES)]
struct Arguments {
    /// Precompiled code of the evaluator [default: `evaluator.cwasm` beside this program].
    #[arg(long, global = true)]
    engine: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; the message says what happened
  2  the command line is wrong
  3  the pack does not pass";

#[derive(Subcommand)]
enum Command {
    /// Load a pack as a device would, in a throwaway sandbox, and run its examples there.
    Check {
        /// The pack.
        pack: PathBuf,
    },
    /// One step of the gate on a pack; facts as JSON, and the reason if it does not go well.
    Trial {
        #[arg(value_enum)]
        step: Step,
        /// The pack.
        pack: PathBuf,
        /// The pack that ran before; the built-in one if not said.
        #[arg(long)]
        before: Option<PathBuf>,
        /// Recorded events, a JSON line each; may be given again.
        #[arg(long = "corpus")]
        corpora: Vec<PathBuf>,
        /// Seconds for hostile variants.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Of the hostile variants.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Clocks to try, in days from now.
        #[arg(long, value_delimiter = ',')]
        days: Vec<u32>,
        /// Empty folder for a sensor of its own.
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Say whether a pack runs here, and if not, why. For probes; the exit code is 3 if it does not.
    Status {
        /// Folder for packs and the manifest.
        #[arg(long)]
        state: PathBuf,
        /// The pack that should run.
        #[arg(long)]
        content: PathBuf,
    },
    /// Print the classes and fields that this sensor supplies, as JSON.
    Fields,
    /// Read events from standard input (a JSON line each) and write alerts to standard output (a JSON line each).
    Run {
        /// Folder for packs and the manifest.
        #[arg(long)]
        state: PathBuf,
        /// A pack to run; looked at again every second, and taken whenever it is another one that passes.
        #[arg(long)]
        content: Option<PathBuf>,
    },
    /// Say what this sensor sees, what it does not, and what this machine can't enforce.
    Doctor,
    /// Measure this machine with the built-in pack; figures as JSON.
    Bench,
    /// The evaluator process; started by the others.
    #[command(hide = true)]
    Evaluator,
}

/// What the gate asks for, one at a time.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Step {
    Consume,
    Hostile,
    Budget,
    Lifecycle,
    Undo,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Evaluator => child::run(io::stdin().lock(), io::stdout().lock()).context("serve").map(|()| true),
        Command::Check { pack } => start(&arguments).and_then(|start| check(&start, pack)),
        Command::Trial { .. } => start(&arguments).and_then(|start| try_step(&start, &arguments.command)),
        Command::Status { state, content } => status(state, content),
        Command::Fields => fields().map(|()| true),
        Command::Run { state, content } => {
            start(&arguments).and_then(|start| run(start, state, content.as_deref())).map(|()| true)
        }
        Command::Bench => start(&arguments).and_then(|start| measure(&start)).map(|()| true),
        Command::Doctor => start(&arguments).and_then(|start| doctor(&start)).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("staffel-sensor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<Start> {
    let start = match &arguments.engine {
        None => Start::here(),
        Some(engine) => Start::with(&std::env::current_exe().context("find this program")?, engine),
    };
    start.context("read the evaluator's code; `./dev build` makes it")
}

fn check(start: &Start, file: &Path) -> Result<bool> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let catalogue = Catalogue::linux();
    let pack = match Pack::read(&bytes) {
        Ok(pack) => pack,
        Err(error) => return refused("form", &error.to_string()),
    };
    let breaches = contract::check(&pack, &catalogue, None);
    if let Some(first) = breaches.first() {
        breaches.iter().skip(1).for_each(|breach| eprintln!("contract: {breach}"));
        return refused("contract", &first.to_string());
    }
    match protection::check(start, &pack, &bytes, &catalogue) {
        Err(no) => refused(&format!("{:?}", no.stage).to_lowercase(), &no.why),
        Ok(_) => {
            let (rules, examples) = (pack.rules.len(), pack.vectors.len());
            println!("passed: {} {}, {rules} rules, {examples} examples", pack.name, pack.version);
            Ok(true)
        }
    }
}

fn try_step(start: &Start, command: &Command) -> Result<bool> {
    let Command::Trial { step, pack, before, corpora, seconds, seed, days, state } = command else { return Ok(false) };
    let outcome: Outcome = (|| {
        let read = |file: &PathBuf| {
            let bytes = fs::read(file).map_err(|error| format!("read {}: {error}", file.display()))?;
            Offered::read(bytes)
        };
        let offered = read(pack)?;
        let before = before.as_ref().map_or_else(|| Ok(Offered::builtin()), read)?;
        let corpora = corpora.iter().map(|file| Corpus::read(file)).collect::<Result<Vec<_>, _>>()?;
        let folder = || state.as_deref().ok_or_else(|| "this step needs --state".to_string());
        let time = Duration::try_from_secs_f64(*seconds).map_err(|error| format!("--seconds: {error}"))?;
        match step {
            Step::Consume => trial::consume(start, &offered, &corpora),
            Step::Hostile => trial::hostile(start, &offered, time, *seed),
            Step::Budget => trial::budget(start, &offered, &before, &corpora),
            Step::Lifecycle => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
                trial::lifecycle(start, &offered, days, now_ms, folder()?)
            }
            Step::Undo => trial::undo(start, &offered, &before, folder()?),
        }
    })()
    .into();
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(outcome.why.is_none())
}

fn status(state: &Path, content: &Path) -> Result<bool> {
    let bytes = fs::read(content).with_context(|| format!("read {}", content.display()))?;
    let manifest = Folder::look(state).manifest();
    match manifest.fate(&store::digest(&bytes)) {
        Ok(()) => {
            let runs = manifest.active.map_or(String::new(), |active| format!("{} {}", active.name, active.version));
            println!("{runs} runs");
            Ok(true)
        }
        Err(fate) => {
            let now = manifest.active.map_or("the built-in pack".into(), |a| format!("{} {}", a.name, a.version));
            println!("{fate}; {now} runs");
            Ok(false)
        }
    }
}

fn refused(stage: &str, why: &str) -> Result<bool> {
    println!("{stage}: {why}");
    Ok(false)
}

fn fields() -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &Catalogue::linux())?;
    writeln!(out)?;
    Ok(())
}

fn doctor(start: &Start) -> Result<()> {
    let worker = Worker::start(start).context("start an evaluator")?;
    if worker.lacking.is_empty() {
        println!("enforced  no file, no socket, no program, no memory that becomes code, limits on memory");
    }
    worker.lacking.iter().for_each(|line| println!("lacking   {line}"));
    println!("seen      what others write to standard input of `staffel-sensor run`");
    for class in Catalogue::linux().classes {
        println!("blind     {}: no collector of this sensor's own yet", class.name);
    }
    Ok(())
}

fn measure(start: &Start) -> Result<()> {
    let figures = bench::run(start).context("measure")?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

/// Largest batch, in bytes, that waits for more events.
const BATCH: usize = 64 << 10;
/// How long an event waits for others.
const WAIT: Duration = Duration::from_millis(50);
/// How often the content is looked at.
const LOOK: Duration = Duration::from_secs(1);

fn run(start: Start, state: &Path, content: Option<&Path>) -> Result<()> {
    let folder = Folder::open(state).with_context(|| format!("open {}", state.display()))?;
    let catalogue = Catalogue::linux();
    let mut protection = Protection::start(start, catalogue.clone(), folder)?;
    // A source that is faster than we are waits: nothing is dropped between the pipe and a batch.
    let (send, lines) = mpsc::sync_channel(4_096);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let (mut sequence, mut unreadable) = (FIRST_RECORD, 0u64);
    let (mut looked, mut seen) = (None::<SystemTime>, None::<SystemTime>);
    let mut open = true;
    while open {
        if let Some(content) = content
            && looked.is_none_or(|at| at.elapsed().unwrap_or(LOOK) >= LOOK)
        {
            looked = Some(SystemTime::now());
            offer(&mut protection, content, &mut seen);
        }
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let line = match lines.recv_timeout(if batch.is_empty() { LOOK } else { WAIT }) {
                Ok(line) => line.context("read events")?,
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            };
            let event: Option<Event> = serde_json::from_str(&line).ok();
            if event.is_some_and(|event| event.append(&mut batch, &catalogue, sequence)) {
                sequence += 1;
            } else {
                unreadable += 1;
            }
        }
        if !batch.is_empty() {
            let alerts = protection.evaluate(&batch);
            let mut out = io::stdout().lock();
            for alert in alerts {
                serde_json::to_writer(&mut out, &alert)?;
                writeln!(out)?;
            }
            out.flush()?;
        }
        let news = protection.news();
        if !news.is_empty() {
            protection.leave_metrics().context("leave the figures")?;
        }
        news.iter().for_each(|line| eprintln!("{line}"));
    }
    let metrics = serde_json::to_string(protection.metrics())?;
    eprintln!("metrics {metrics}, unreadable lines {unreadable}");
    if protection.running().is_none() {
        bail!("no evaluator runs");
    }
    Ok(())
}

/// Offers the content if its file is another one than last time. What is refused is said among the news.
fn offer(protection: &mut Protection, content: &Path, seen: &mut Option<SystemTime>) {
    let Ok(changed) = fs::metadata(content).and_then(|metadata| metadata.modified()) else { return };
    if *seen == Some(changed) {
        return;
    }
    *seen = Some(changed);
    match fs::read(content) {
        Ok(bytes) => {
            // Both outcomes are news.
            let _ = protection.offer(&bytes);
        }
        Err(error) => eprintln!("{} can't be read: {error}", content.display()),
    }
}
