//! Releases of kind `os` on a machine with a guard below the system: the files `linux` and `initrd`, and `options` if the kernel
//! options change, become an entry that is put on trial for three starts. Which entry is started and committed is
//! `staffel_core::boot::firmware`'s to decide; here the entries are made to follow what the trial of the generation says.

use super::Guard;
use crate::slots::{Part, SlotError};
use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::{
        Generation,
        firmware::{Effect, Entry, Event, Running, State},
    },
    ids::Digest,
    release::Kind,
};
use staffel_guard::{
    command_line,
    partition::{Images, MAX_IMAGE, Partition, PartitionError},
    volume::{Folder, Volume as _, VolumeError},
};

const KERNEL: &str = "linux";
const INITRAMFS: &str = "initrd";
const OPTIONS: &str = "options";

/// The release of kind `os` that was armed last, and the entry that it became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    pub release: Digest,
    /// Identity of what the entry starts.
    pub entry: Digest,
}

/// What a generation's operating system asks for before its services may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Os {
    /// Nothing: it runs, or there is none.
    Runs,
    /// The machine has to be started again.
    StartAgain,
    /// It was tried, and left.
    Left(String),
}

/// Why an operating system can't be put on trial.
#[derive(Debug, thiserror::Error)]
pub(super) enum OsError {
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error("the release {name} has no file {file}")]
    Missing { name: String, file: &'static str },
    #[error("the release {name} has kernel options that are no text")]
    Options { name: String },
    #[error("refused: {0}")]
    Refused(String),
    #[error("the guard below the system is not set up (`guard-ctl firmware set-up`, `serve --system-partition`)")]
    NotSetUp,
}

struct Wanted {
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    options: String,
}

impl Wanted {
    /// Identity of the entry that these would become.
    fn id(&self) -> Digest {
        let (kernel, initrd) = (Digest::of(&self.kernel), Digest::of(&self.initrd));
        Entry { number: 0, kernel, initrd, options: self.options.clone() }.id()
    }
}

impl Guard {
    /// Makes the entries follow a generation that is about to run.
    pub(super) fn os(&mut self, generation: &Generation, parts: &[Part]) -> Result<Os, OsError> {
        if let Some(armed) = self.record.os.filter(|armed| !generation.releases.values().any(|of| *of == armed.release))
        {
            let again = self.leave_os(armed)?;
            if let Err(error) = self.note(|record| record.os = None) {
                // It is found again that it was left.
                eprintln!("guard-ctl: {error}");
            }
            if again {
                return Ok(Os::StartAgain);
            }
        }
        match parts.iter().find(|part| part.release.kind == Kind::Os) {
            Some(part) => self.want_os(generation, part),
            None => Ok(Os::Runs),
        }
    }

    fn open_partition(&self) -> Result<Partition<Folder>, OsError> {
        let path = self.options.system_partition.as_ref().ok_or(OsError::NotSetUp)?;
        Ok(Partition::open(Folder::new(path))?)
    }

    fn want_os(&mut self, generation: &Generation, part: &Part) -> Result<Os, OsError> {
        let mut partition = self.open_partition()?;
        let wanted = self.wanted(generation, part, &partition.state().good)?;
        let (id, state) = (wanted.id(), partition.state());
        if state.good.id() == id {
            return Ok(Os::Runs);
        }
        if let Some(trial) = state.trial.as_ref().filter(|trial| trial.id() == id) {
            let runs = self.running_entry() == Running::Entry { number: trial.number, trial: true };
            return Ok(if runs { Os::Runs } else { Os::StartAgain });
        }
        // After a start it is no longer there: the machine came up with what was good before.
        if self.running.is_none()
            && let Some(why) = left(state, id)
        {
            return Ok(Os::Left(why));
        }
        let images = Images { kernel: &wanted.kernel, initrd: &wanted.initrd, options: &wanted.options };
        let step = partition.arm(images)?;
        if step.refused {
            return Err(OsError::Refused(step.why));
        }
        eprintln!("guard-ctl: {}", step.why);
        if let Err(error) = self.note(|record| record.os = Some(Armed { release: part.digest, entry: id })) {
            let _ = partition.apply(Event::RollBack { why: error.to_string() });
            return Err(OsError::Refused(error.to_string()));
        }
        Ok(Os::StartAgain)
    }

    fn wanted(&self, generation: &Generation, part: &Part, good: &Entry) -> Result<Wanted, OsError> {
        let folder = Folder::new(self.slots.folder(&generation.id, &part.name));
        let file = |file: &'static str| -> Result<Vec<u8>, OsError> {
            folder.read(file, MAX_IMAGE)?.ok_or_else(|| OsError::Missing { name: part.name.clone(), file })
        };
        let options = match folder.read(OPTIONS, MAX_IMAGE)? {
            None => good.options.clone(),
            Some(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| OsError::Options { name: part.name.clone() })?;
                text.trim_end().to_string()
            }
        };
        Ok(Wanted { kernel: file(KERNEL)?, initrd: file(INITRAMFS)?, options })
    }

    /// Goes back from an entry whose release no longer runs; true if the machine has to be started again for that.
    fn leave_os(&self, armed: Armed) -> Result<bool, OsError> {
        let mut partition = self.open_partition()?;
        let state = partition.state();
        let number = state.entries().find(|entry| entry.id() == armed.entry).map(|entry| entry.number);
        let is = |entry: &Entry| entry.id() == armed.entry;
        if !is(&state.good) && !state.trial.as_ref().is_some_and(is) {
            return Ok(false);
        }
        let step = partition.apply(Event::RollBack { why: "its release was left".into() })?;
        if step.refused {
            return Err(OsError::Refused(step.why));
        }
        let runs = matches!(self.running_entry(), Running::Entry { number: of, .. } if Some(of) == number);
        Ok(runs && step.effects.contains(&Effect::Restart))
    }

    /// Whether the operating system on trial has proven that it starts; none if there is none.
    pub(super) fn os_unproven(&self) -> Option<String> {
        let (armed, trial) = (self.record.os?, self.record.boot.trial.as_ref()?);
        let good = match self.open_partition() {
            Ok(partition) => partition.state().good.id(),
            Err(error) => return Some(error.to_string()),
        };
        let unproven = armed.release == trial.release && good != armed.entry;
        unproven.then(|| "the start of this operating system is not committed yet (guard-commit)".into())
    }

    fn running_entry(&self) -> Running {
        command_line::running(&std::fs::read_to_string(&self.options.command_line_file).unwrap_or_default())
    }
}

/// Why it was left the last time; none if it never was, or was committed after that.
fn left(state: &State, id: Digest) -> Option<String> {
    let last = state.endings.iter().rfind(|ending| ending.id == id)?;
    (!last.committed).then(|| last.why.clone())
}
