//! `staffel-sensor doctor`: what would be seen here and what not, and what else sits in this machine.

use crate::{
    collect::Source,
    health::Health,
    kernel::{self, Kernel},
    platform,
    source::{Folders, default_folders},
    worker::{Start, Worker},
};
use serde::Serialize;
use staffel_inventory::{self as inventory, Hashes};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Something that is seen, or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// A class of records, or a field of one.
    pub what: String,
    /// How it is seen, or why not.
    pub how: String,
}

fn line(what: &str, how: impl Into<String>) -> Line {
    Line { what: what.into(), how: how.into() }
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub seen: Vec<Line>,
    pub blind: Vec<Line>,
    /// What this machine can't enforce around an evaluator; nothing is how it should be.
    pub lacking: Vec<String>,
    pub kernel: Kernel,
    /// What changes itself without a package: name, version, supplier.
    pub updaters: Vec<(String, String, String)>,
    /// What the sensor of the given folder said of itself last.
    pub running: Option<Health>,
    /// What could not be looked at.
    pub problems: Vec<String>,
}

/// Fields that no source of this version supplies.
const NEVER: [(&str, &str); 5] = [
    ("process_creation: CurrentDirectory, Hashes, Container", "their owner alone may see them"),
    ("process_creation: programs that end at once", "they are gone before they can be looked at; how many is counted"),
    ("file_event: Image, User", "inotify does not say who: a rule that leaves programs out speaks of them, too"),
    ("file_event below the watched folders", "inotify watches one folder, not what lies deeper"),
    ("network_connection", "it takes BPF, which this version does not load"),
];

/// Tries every source as `run` would, and lets go of it.
pub fn look(start: &Start, state: Option<&Path>, log: &Path) -> io::Result<Report> {
    let worker = Worker::start(start).map_err(io::Error::other)?;
    let (mut seen, mut blind) = (Vec::new(), Vec::new());
    match platform::subscribe() {
        Ok(_) => seen.push(line("process_creation", "every start of a program, by the kernel's process connector")),
        Err(error) => {
            seen.push(line("process_creation", "programs that run for a second and longer, by looking at /proc"));
            let why = format!("the kernel refuses its process connector: {error}");
            blind.push(line("process_creation: shorter programs", why));
        }
    }
    seen.push(line(
        "process_creation: Image",
        "as the program was called by whoever started it; OriginalFileName is the kernel's own name of it",
    ));
    match Folders::open(default_folders()) {
        Ok(mut folders) => {
            let trouble = folders.watch();
            let watched: Vec<_> = folders.watched.into_values().collect();
            if !watched.is_empty() {
                seen.push(line("file_event", format!("changes in {}", watched.join(", "))));
            }
            blind.extend(trouble.into_iter().map(|why| line("file_event", why)));
        }
        Err(error) => blind.push(line("file_event", error.to_string())),
    }
    match fs::File::open(log) {
        Ok(_) => seen.push(line("authentication", format!("lines of {}", log.display()))),
        Err(error) => blind.push(line("authentication", format!("{}: {error}", log.display()))),
    }
    blind.extend(NEVER.iter().map(|(what, why)| line(what, *why)));
    let (components, mut problems) = inventory::collect(Path::new("/"), &mut Hashes::default());
    let updaters = components.into_iter().filter(|one| one.kind == inventory::ComponentKind::SelfUpdater);
    let running = state.and_then(|state| match running(&state.join("spool/alive.json")) {
        Ok(health) => Some(health),
        Err(error) => {
            problems.push(format!("no sensor has left word in {}: {error}", state.display()));
            None
        }
    });
    Ok(Report {
        seen,
        blind,
        lacking: worker.lacking.clone(),
        kernel: kernel::look(Path::new("/")),
        updaters: updaters.map(|one| (one.name, one.version, one.supplier)).collect(),
        running,
        problems,
    })
}

fn running(path: &PathBuf) -> io::Result<Health> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { what, how } in &self.seen {
            writeln!(f, "seen      {what}: {how}")?;
        }
        for Line { what, how } in &self.blind {
            writeln!(f, "blind     {what}: {how}")?;
        }
        if self.lacking.is_empty() {
            writeln!(f, "enforced  no file, no socket, no program, no memory that becomes code, limits on memory")?;
        }
        self.lacking.iter().try_for_each(|what| writeln!(f, "lacking   {what}"))?;
        let (unusual, usual): (Vec<_>, Vec<_>) =
            self.kernel.modules.iter().partition(|module| !module.unusual.is_empty());
        writeln!(f, "kernel    {} modules that came with it", usual.len())?;
        for module in unusual {
            writeln!(f, "kernel    module {}: {}", module.name, module.unusual.join(", "))?;
        }
        self.kernel.marks.iter().try_for_each(|mark| writeln!(f, "kernel    {mark}"))?;
        match &self.kernel.programs_hidden {
            Some(why) => writeln!(f, "kernel    BPF programs can't be seen: {why}")?,
            None => writeln!(f, "kernel    {} BPF programs", self.kernel.programs.len())?,
        }
        for program in &self.kernel.programs {
            let name = if program.name.is_empty() { "without a name" } else { &program.name };
            writeln!(f, "kernel    BPF program {}: {name}, type {}", program.id, program.kind)?;
        }
        for (name, version, supplier) in &self.updaters {
            writeln!(f, "updates   {name} {version} by {supplier}")?;
        }
        if let Some(health) = &self.running {
            describe(health, f)?;
        }
        self.problems.iter().try_for_each(|problem| writeln!(f, "problem   {problem}"))
    }
}

fn describe(health: &Health, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "runs      {}", health.pack.as_deref().unwrap_or("no pack"))?;
    for (role, pid, kib) in &health.processes {
        writeln!(f, "runs      {role}, process {pid}, {:.1} MiB", *kib as f64 / 1_024.0)?;
    }
    let all: u64 = health.processes.iter().map(|(_, _, kib)| kib).sum();
    writeln!(f, "runs      {:.1} MiB in all", all as f64 / 1_024.0)?;
    for (source, seen) in &health.seen {
        let lost = seen.lost + seen.overflows + seen.chunks_lost;
        writeln!(
            f,
            "runs      {}: {} records, {lost} losses, {} not understood, {} ended too soon",
            source.name(),
            seen.records,
            seen.unreadable,
            seen.gone
        )?;
    }
    let blind = |(source, why): (&Source, &String)| writeln!(f, "runs      BLIND: {}: {why}", source.name());
    health.blind.iter().try_for_each(blind)?;
    health.notes.iter().chain(&health.lacking).try_for_each(|note| writeln!(f, "runs      {note}"))?;
    writeln!(f, "runs      {} findings wait for the agent, {} were dropped", health.waiting, health.lost)
}
