//! Processes of the service form: the services of the running generation, and the agent.
//!
//! Every process leads a group of its own and dies with the guard. When a crashed service is started again is decided by
//! `staffel_core::boot`; the agent, on which nothing depends, is started again here with growing pauses. All of it is
//! called from one thread that lives as long as the guard. What must stay out: what a crash means.

mod output;
mod plan;

pub use plan::{AgentProgram, Places, ServicePlan, plans};

use crate::{
    Doing as _, DoneTo,
    layout::Layout,
    platform::{self, Launch, Noted, Process},
};
use staffel_core::ids::Digest;
use staffel_statement::guard::ServiceStatus;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// First pause before a crashed agent is started again, milliseconds; doubles each time.
const FIRST_PAUSE_MS: u64 = 250;
/// Longest pause, milliseconds.
const LONGEST_PAUSE_MS: u64 = 30_000;
/// An agent that ran this long starts again with the first pause, milliseconds.
const SETTLED_MS: u64 = 60_000;
/// No service is waited for longer than this when it is stopped, whatever its release says: milliseconds.
const LONGEST_STOP_MS: u64 = 60_000;
/// Environment variable by which a new guard finds what a killed one left behind.
pub const MARKER: &str = "STAFFEL_GUARD_RUN";

/// The agent's name among the processes; a release can't have it, `/` is not allowed there.
pub const AGENT: &str = "/agent";

/// Called from another thread when the process of that name and id has ended.
pub type Ended = std::sync::Arc<dyn Fn(String, u32) + Send + Sync>;

struct Supervised {
    /// The release it belongs to; another digest means another program.
    release: Digest,
    launch: Launch,
    stop_timeout_ms: u64,
    process: Option<Process>,
    started_ms: u64,
    starts: u32,
    crashes: u32,
    /// When it is to be started again, on the boot-time clock.
    due_ms: Option<u64>,
    last_exit: Option<String>,
}

/// All supervised processes.
pub struct Supervisor {
    layout: Layout,
    marker: String,
    ended: Ended,
    all: BTreeMap<String, Supervised>,
    /// No service is started before, on the boot-time clock.
    not_before_ms: u64,
}

/// A process that could not be started.
#[derive(Debug)]
pub struct NotStarted {
    pub name: String,
    pub why: DoneTo,
}

impl Supervisor {
    /// Supervises nothing yet. `marker` is the value of [`MARKER`] in every process.
    pub fn new(layout: Layout, marker: String, ended: Ended) -> Self {
        Supervisor { layout, marker, ended, all: BTreeMap::new(), not_before_ms: 0 }
    }

    /// Stops every service that is not among `wanted`, in parallel. The agent is no service.
    pub fn keep_only(&mut self, wanted: &[(String, Digest)]) {
        let keep = |name: &str, has: &Supervised| {
            name == AGENT || wanted.iter().any(|(wanted, release)| wanted == name && *release == has.release)
        };
        let names: Vec<String> =
            self.all.iter().filter(|(name, has)| !keep(name, has)).map(|(name, _)| name.clone()).collect();
        self.stop(&names);
    }

    /// Starts what is wanted and neither runs nor waits for its next start.
    pub fn start(&mut self, wanted: Vec<ServicePlan>, now_ms: u64) -> Vec<NotStarted> {
        for plan in wanted {
            match self.all.get_mut(&plan.name).filter(|has| has.release == plan.release) {
                None => self.add(&plan.name, plan.release, plan.launch, plan.stop_timeout_ms, now_ms),
                // It crashed, and what followed from that was more than starting it again.
                Some(has) if has.process.is_none() && has.due_ms.is_none() => has.due_ms = Some(now_ms),
                Some(_) => {}
            }
        }
        self.start_due(now_ms)
    }

    /// Supervises the agent from now on.
    pub fn start_agent(&mut self, launch: Launch, now_ms: u64) -> Vec<NotStarted> {
        self.add(AGENT, Digest::default(), launch, 5_000, now_ms);
        self.start_due(now_ms)
    }

    fn add(&mut self, name: &str, release: Digest, mut launch: Launch, stop_timeout_ms: u64, now_ms: u64) {
        launch.environment.insert(MARKER.into(), self.marker.clone().into());
        let supervised = Supervised {
            release,
            launch,
            stop_timeout_ms: stop_timeout_ms.min(LONGEST_STOP_MS),
            process: None,
            started_ms: now_ms,
            starts: 0,
            crashes: 0,
            due_ms: Some(now_ms),
            last_exit: None,
        };
        self.all.insert(name.into(), supervised);
    }

    /// Starts what is due.
    pub fn start_due(&mut self, now_ms: u64) -> Vec<NotStarted> {
        let mut not_started = Vec::new();
        for (name, has) in &mut self.all {
            let not_before_ms = if name == AGENT { 0 } else { self.not_before_ms };
            if has.process.is_some() || has.due_ms.is_none_or(|due| due.max(not_before_ms) > now_ms) {
                continue;
            }
            match start_one(&self.layout, name, &has.launch, &self.ended) {
                Ok(process) => {
                    (has.process, has.due_ms, has.started_ms) = (Some(process), None, now_ms);
                    has.starts += 1;
                }
                Err(why) => {
                    has.last_exit = Some(why.to_string());
                    has.ended(name, now_ms);
                    not_started.push(NotStarted { name: name.clone(), why });
                }
            }
        }
        not_started
    }

    /// When [`Supervisor::start_due`] has something to do next.
    pub fn next_due_ms(&self) -> Option<u64> {
        let due = |(name, has): (&String, &Supervised)| {
            has.due_ms.map(|due| if name == AGENT { due } else { due.max(self.not_before_ms) })
        };
        self.all.iter().filter_map(due).min()
    }

    /// Starts a service again at this moment, on the boot-time clock, if it does not run.
    pub fn restart_at(&mut self, name: &str, at_ms: u64) {
        if let Some(has) = self.all.get_mut(name)
            && has.process.is_none()
        {
            has.due_ms = Some(at_ms);
        }
    }

    /// Starts no service before this moment, on the boot-time clock.
    pub fn wait_until(&mut self, at_ms: u64) {
        self.not_before_ms = at_ms;
    }

    /// Takes note that a process has ended by itself. `None` if it was stopped or replaced meanwhile.
    pub fn has_ended(&mut self, name: &str, pid: u32, now_ms: u64) -> Option<String> {
        let has = self.all.get_mut(name)?;
        if !has.process.as_ref().is_some_and(|process| process.id() == pid && process.has_ended()) {
            return None;
        }
        let how = has.process.take()?.finish().how;
        if now_ms.saturating_sub(has.started_ms) >= SETTLED_MS {
            has.crashes = 0;
        }
        has.last_exit = Some(how.clone());
        has.ended(name, now_ms);
        Some(how)
    }

    /// Stops these, all at the same time: a polite signal, the time that each asked for, then the final one.
    pub fn stop(&mut self, names: &[String]) {
        let mut stopping: Vec<(String, Process, u64)> = Vec::new();
        for name in names {
            if let Some(mut has) = self.all.remove(name)
                && let Some(process) = has.process.take()
            {
                process.ask_to_stop();
                stopping.push((name.clone(), process, has.stop_timeout_ms));
            }
        }
        let begin = Instant::now();
        while !stopping.is_empty() {
            let waited_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            let (done, still): (Vec<_>, Vec<_>) = stopping
                .into_iter()
                .partition(|(_, process, timeout_ms)| process.has_ended() || waited_ms >= *timeout_ms);
            for (name, process, _) in done {
                let in_time = process.has_ended();
                let how = process.finish().how;
                if !in_time {
                    eprintln!("guard-ctl: {} did not stop in time and was killed ({how})", shown(&name));
                }
            }
            stopping = still;
            if !stopping.is_empty() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Stops the agent first, which depends on the guard, then the services.
    pub fn stop_all(&mut self) {
        self.stop(&[AGENT.to_string()]);
        self.keep_only(&[]);
    }

    /// The services as a person sees them.
    pub fn status(&self) -> Vec<ServiceStatus> {
        let services = self.all.iter().filter(|(name, _)| *name != AGENT);
        services
            .map(|(name, has)| ServiceStatus {
                name: name.clone(),
                running: has.process.as_ref().is_some_and(|process| !process.has_ended()),
                process_id: has.process.as_ref().map(Process::id),
                starts: has.starts,
                last_exit: has.last_exit.clone(),
            })
            .collect()
    }

    /// What to look for after the guard was killed.
    pub fn noted(&self) -> Vec<Noted> {
        self.all.values().filter_map(|has| has.process.as_ref()).map(Process::noted).collect()
    }

    /// Folders of generations from which something runs: they must stay.
    pub fn uses(&self, folder: &std::path::Path) -> bool {
        self.all.iter().any(|(name, has)| name != AGENT && has.launch.directory.starts_with(folder))
    }
}

impl Supervised {
    fn ended(&mut self, name: &str, now_ms: u64) {
        if name != AGENT {
            self.due_ms = None;
            return;
        }
        let pause = FIRST_PAUSE_MS.saturating_mul(1 << self.crashes.min(16)).min(LONGEST_PAUSE_MS);
        self.crashes = self.crashes.saturating_add(1);
        self.due_ms = Some(now_ms.saturating_add(pause));
    }
}

/// A process's name for people and log files.
fn shown(name: &str) -> String {
    match name {
        AGENT => "agent".into(),
        service => format!("service-{service}"),
    }
}

fn start_one(layout: &Layout, name: &str, launch: &Launch, ended: &Ended) -> Result<Process, DoneTo> {
    let log = layout.logs().join(format!("{}.log", shown(name)));
    let output = output::to_log(&log).doing("open the log", &log)?;
    let process = platform::start(launch, output).doing("start", &launch.program)?;
    let (pid, name, ended) = (process.id(), name.to_string(), ended.clone());
    platform::when_ended(pid, move || ended(name, pid)).doing("watch", &launch.program)?;
    Ok(process)
}
