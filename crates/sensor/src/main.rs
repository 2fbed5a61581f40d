//! `staffel-sensor`: what happens on a machine in, findings out, by packs that can't hurt. See `staffel_sensor` for the parts.

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use staffel_pack::{Catalogue, Pack, contract};
use staffel_sensor::{
    bench, child, collect, doctor, feed, protection,
    source::{Processes, Wanted},
    store::{self, Folder},
    supervise::{self, Options},
    trial::{self, Corpus, Offered, Outcome},
    worker::Start,
};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
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
    /// See what happens on this machine, evaluate it, and leave findings in STATE/spool for the agent, until told to end.
    ///
    /// Needs no rights. Started by root it opens its sources, becomes the owner of its folder, and keeps no capability.
    Run {
        /// Folder for packs, the manifest and the spool.
        #[arg(long)]
        state: PathBuf,
        /// A pack to run; looked at again every second, and taken whenever it is another one that passes.
        #[arg(long)]
        content: Option<PathBuf>,
        /// Collect nothing: read events from standard input (a JSON line each), write alerts to standard output (a JSON line
        /// each), end with the input.
        #[arg(long)]
        stdin: bool,
        /// How starts of programs are seen.
        #[arg(long, value_enum, default_value_t)]
        processes: Processes,
        /// A folder whose files are watched, instead of the usual ones; may be given again.
        #[arg(long = "watch", value_name = "FOLDER")]
        folders: Vec<PathBuf>,
        /// The log of log-ins.
        #[arg(long, default_value = LOG)]
        auth_log: PathBuf,
    },
    /// Say what this sensor sees, what it does not and why, and what sits in this machine's kernel or updates itself.
    Doctor {
        /// The folder of a sensor that runs: what it has seen, and what its processes take.
        #[arg(long)]
        state: Option<PathBuf>,
        /// The log of log-ins.
        #[arg(long, default_value = LOG)]
        auth_log: PathBuf,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Measure this machine with the built-in pack; figures as JSON.
    Bench,
    /// The evaluator process; started by the others.
    #[command(hide = true)]
    Evaluator,
    /// The collector process; started by `run`.
    #[command(hide = true)]
    Collector,
}

/// Where Debian's log-ins are written.
const LOG: &str = "/var/log/auth.log";

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
        Command::Collector => {
            collect::child::run(io::stdin().lock(), io::stdout().lock()).context("collect").map(|()| true)
        }
        Command::Check { pack } => start(&arguments).and_then(|start| check(&start, pack)),
        Command::Trial { .. } => start(&arguments).and_then(|start| try_step(&start, &arguments.command)),
        Command::Status { state, content } => status(state, content),
        Command::Fields => fields().map(|()| true),
        Command::Run { state, content, stdin: true, .. } => start(&arguments)
            .and_then(|start| feed::run(start, state, content.as_deref()).context("evaluate events"))
            .and_then(|runs| if runs { Ok(true) } else { bail!("no evaluator runs") }),
        Command::Run { .. } => run(&arguments).map(|()| true),
        Command::Bench => start(&arguments).and_then(|start| measure(&start)).map(|()| true),
        Command::Doctor { state, auth_log, json } => {
            start(&arguments).and_then(|start| doctor(&start, state.as_deref(), auth_log, *json)).map(|()| true)
        }
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

fn run(arguments: &Arguments) -> Result<()> {
    let Command::Run { state, content, processes, folders, auth_log, .. } = &arguments.command else { return Ok(()) };
    let beside = || Ok::<_, io::Error>(std::env::current_exe()?.with_file_name("evaluator.cwasm"));
    let engine = arguments.engine.clone().map_or_else(beside, Ok).context("find this program")?;
    let folders = (!folders.is_empty()).then(|| folders.clone());
    let wanted = Wanted { processes: *processes, folders, log: auth_log.clone() };
    supervise::run(&Options { state: state.clone(), content: content.clone(), wanted, engine })?;
    Ok(())
}

fn doctor(start: &Start, state: Option<&Path>, log: &Path, json: bool) -> Result<()> {
    let report = doctor::look(start, state, log).context("look at this machine")?;
    let text = if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    io::stdout().write_all(text.as_bytes()).context("write to the terminal")
}

fn measure(start: &Start) -> Result<()> {
    let figures = bench::run(start).context("measure")?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}
