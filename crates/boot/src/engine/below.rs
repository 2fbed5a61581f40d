//! The guard below the system (`staffel_guard`), on a machine that has one: in its safe system nothing of ours but the agent
//! runs, and a repair that was carried out there is followed by another attempt to start normally. What must stay out:
//! which entry is started, which is `staffel_core::boot::firmware`'s to decide.

use super::{Guard, Options};
use crate::platform;
use staffel_core::boot::{
    Event, Mode,
    firmware::{self, Counts, Running},
};
use staffel_guard::{
    command_line,
    partition::{self, Partition, PartitionError},
    volume::Folder,
};
use std::path::{Path, PathBuf};

/// Begins the reason of a safe mode that lasts as long as the machine's safe system runs.
const BELOW: &str = "the machine came up in its safe system";

/// Why the machine can't be told to start normally.
#[derive(Debug, thiserror::Error)]
pub(super) enum BelowError {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error("the guard below the system refused: {0}")]
    Refused(String),
    #[error("crashes can't be forgotten: {0}")]
    Counts(String),
}

/// The system partition of a machine that runs the safe system which the guard below has started.
pub(super) fn safe_system(options: &Options) -> Option<PathBuf> {
    let partition = options.system_partition.clone()?;
    let line = std::fs::read_to_string(&options.command_line_file).unwrap_or_default();
    (command_line::running(&line) == Running::Safe).then_some(partition)
}

/// Why it does, for people.
fn why_safe(partition: &Path) -> String {
    let state = match partition::load(&Folder::new(partition)) {
        Ok(loaded) => loaded.state,
        Err(error) => return error.to_string(),
    };
    let crashes = platform::crash_counts().of(state.good.number);
    match (&state.stay_safe, state.endings.last()) {
        (Some(why), _) => why.clone(),
        (None, _) if crashes > 0 => format!("entry {} crashed {crashes} times", state.good.number),
        (None, Some(ending)) if !ending.committed => format!("entry {} was left: {}", ending.number, ending.why),
        _ => "no entry could be started".into(),
    }
}

impl Guard {
    /// In the safe system the guard is in safe mode, before anything is started.
    pub(super) fn enter_safe_system(&mut self) {
        if let (Some(partition), Mode::Normal) = (&self.safe_system, &self.record.boot.mode) {
            let why = format!("{BELOW}: {}", why_safe(partition));
            self.act(Event::StaySafe { why });
        }
    }

    /// A safe mode that began with the safe system ends with it; one that somebody asked for does not.
    pub(super) fn leave_safe_system(&mut self) {
        if let (None, Mode::Safe { why }) = (&self.safe_system, &self.record.boot.mode)
            && why.starts_with(BELOW)
        {
            self.act(Event::LeaveSafe);
        }
    }

    /// Ends this guard so that the machine is started again, with last-known-good. If that does not hold, it comes back
    /// to the safe system as it came before. `asked`: also where somebody had asked for the safe system.
    pub(super) fn start_normally(&mut self, partition: &Path, asked: bool) -> Result<String, BelowError> {
        let mut partition = Partition::open(Folder::new(partition))?;
        if let Some(why) = partition.state().stay_safe.clone().filter(|_| !asked) {
            return Ok(format!("the machine stays in its safe system: {why}"));
        }
        let step = partition.apply(firmware::Event::LeaveSafe)?;
        if step.refused {
            return Err(BelowError::Refused(step.why));
        }
        // What crashed stays known, so that it does not count again.
        let counts = Counts { traces: platform::crash_counts().traces, ..Counts::default() };
        platform::set_crash_counts(&counts).map_err(BelowError::Counts)?;
        self.start_again();
        Ok(step.why)
    }
}
