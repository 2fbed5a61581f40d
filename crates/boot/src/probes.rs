//! Command probes: programs of the running releases that must end with status 0 in time. What must stay out: HTTP
//! probes (the guard has no network code, the agent does those), and what a failure means.

use crate::{
    platform::{self, Launch, User},
    slots::{Part, Slots},
    supervise::Places,
};
use staffel_core::boot::Generation;
use staffel_statement::predicate::Probe;
use std::{
    collections::BTreeMap,
    io::Read as _,
    sync::mpsc,
    time::{Duration, Instant},
};

/// No probe may take longer, whatever its release says: milliseconds.
const LONGEST_MS: u64 = 60_000;
/// Bytes of output that are kept for the reason.
const KEPT_OUTPUT: u64 = 300;

/// A probe that is ready to be run.
#[derive(Clone, Debug)]
pub struct CommandProbe {
    pub release: String,
    pub launch: Launch,
    /// Milliseconds.
    pub timeout_ms: u64,
}

/// The command probes of a generation; those that can't be run come back as failures.
pub fn of(
    slots: &Slots,
    generation: &Generation,
    parts: &[Part],
    user: Option<User>,
) -> (Vec<CommandProbe>, Vec<String>) {
    let (mut probes, mut failures) = (Vec::new(), Vec::new());
    for part in parts {
        let places = Places { dir: slots.folder(&generation.id, &part.name), state: slots.state_folder(&part.name) };
        for probe in &part.release.probes {
            let Probe::Command { exec, timeout_ms } = probe else { continue };
            let program = exec.first().map(|program| program.strip_prefix("./").unwrap_or(program));
            let known = program.is_some_and(|p| part.release.files.iter().any(|f| f.path == p && f.executable));
            match places.launch(exec, &BTreeMap::new(), user) {
                Some(launch) if known => probes.push(CommandProbe {
                    release: part.name.clone(),
                    launch,
                    timeout_ms: (*timeout_ms).min(LONGEST_MS),
                }),
                _ => failures.push(format!("{}: the probe {exec:?} is no program of the release", part.name)),
            }
        }
    }
    (probes, failures)
}

/// Runs one probe; `Err` says why it failed. It dies with the calling thread.
pub fn run(probe: &CommandProbe) -> Result<(), String> {
    let failed = |why: String| Err(format!("{}: the probe {} {why}", probe.release, probe.launch.program.display()));
    let started = std::io::pipe().and_then(|(reader, writer)| Ok((reader, platform::start(&probe.launch, writer)?)));
    let (mut reader, process) = match started {
        Ok(started) => started,
        Err(error) => return failed(format!("can't be started: {error}")),
    };
    // The pipe is emptied all the time, or a probe that says much would wait for us.
    let (said, output) = mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let _ = reader.by_ref().take(KEPT_OUTPUT).read_to_end(&mut kept);
        let _ = said.send(kept);
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    let begin = Instant::now();
    while !process.has_ended() {
        if begin.elapsed() >= Duration::from_millis(probe.timeout_ms) {
            process.finish();
            return failed(format!("did not end within {} ms", probe.timeout_ms));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ending = process.finish();
    if ending.well {
        return Ok(());
    }
    // A process that left the group may still hold the pipe; its words are not waited for.
    let output = output.recv_timeout(Duration::from_millis(200)).unwrap_or_default();
    failed(format!("{}: {}", ending.how, String::from_utf8_lossy(&output).trim()))
}
