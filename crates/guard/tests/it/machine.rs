//! A machine around the disk: firmware with two boot entries, a loader that counts as systemd-boot does, kernels that work
//! or panic, and the guard's own code where it runs. What is modelled is what the specification of the loader says.

use crate::disk::{self, Disk};
use staffel_core::{
    boot::firmware::{Counts, Effect, Event, Found, Go, Running, Target, begin},
    ids::Digest,
};
use staffel_guard::{
    command_line,
    entries::{self, ENTRIES, Name},
    partition::{self, Partition},
    volume::Volume as _,
};
use std::sync::Arc;

/// Starts after which a machine that was never up is called dead.
const STARTS: u32 = 16;
/// The loader itself.
pub const LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// Contents of the loader, and of the safe system.
pub const LOADER_IMAGE: &[u8] = b"loader";
pub const SAFE_IMAGE: &[u8] = b"safe system";
/// How long the longest of our files is, bytes.
const MOST: u64 = 1 << 26;

/// A machine's memory beside its disk.
pub struct Machine {
    pub disk: Disk,
    pub counts: Counts,
    /// What the loader is to take once.
    one_shot: Option<Target>,
    /// What it has counted.
    counted: Option<u64>,
    crashes: u8,
    /// What was started, and what became of it, for a person.
    pub story: Vec<String>,
    /// What loader and safe system must be to start.
    whole: Whole,
}

/// The bytes of loader and safe system.
#[derive(Clone)]
pub struct Whole {
    pub loader: Arc<[u8]>,
    pub safe: Arc<[u8]>,
}

impl Whole {
    /// Those of the model.
    pub fn model() -> Self {
        Whole { loader: LOADER_IMAGE.into(), safe: SAFE_IMAGE.into() }
    }
}

/// User space is never reached: its options say so.
pub const PANICS: &str = "lab=panic";

/// Where a machine came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up {
    pub running: Running,
    /// Starts that it took.
    pub starts: u32,
}

impl Machine {
    /// A machine that was never started.
    pub fn new(disk: Disk, whole: Whole) -> Self {
        Machine { disk, counts: Counts::default(), one_shot: None, counted: None, crashes: 0, story: Vec::new(), whole }
    }

    /// Starts it until user space is reached; none if that never happens.
    pub fn up(&mut self) -> Option<Up> {
        for starts in 1..=STARTS {
            let Some(line) = self.firmware() else {
                self.story.push("the firmware finds nothing".into());
                return None;
            };
            let running = command_line::running(&line);
            if running == Running::Safe {
                return Some(Up { running, starts });
            }
            let go = self.guard_init(running);
            self.story.push(format!("{running:?}: {go:?}"));
            if go == Go::Continue {
                if !line.contains(PANICS) {
                    return Some(Up { running, starts });
                }
                self.crashes += 1;
            }
        }
        None
    }

    /// The firmware: the loader, and if that gives up the safe system. The command line of what runs.
    fn firmware(&mut self) -> Option<String> {
        if self.file(LOADER).as_deref() == Some(&*self.whole.loader)
            && let Some(started) = self.loader()
        {
            return Some(started);
        }
        self.one_shot = None;
        self.safe()
    }

    fn safe(&mut self) -> Option<String> {
        let safe = self.file(entries::SAFE_IMAGE)?;
        (*safe == *self.whole.safe).then(|| command_line::SAFE.to_string())
    }

    /// A file that the firmware starts. That it can't be read must not be the guard's doing.
    fn file(&mut self, path: &str) -> Option<Vec<u8>> {
        match self.disk.read(path, MOST) {
            Ok(found) => found,
            Err(error) => {
                self.story.push(error.to_string());
                None
            }
        }
    }

    fn loader(&mut self) -> Option<String> {
        let mut found: Vec<(Name, String, String)> = Vec::new();
        for name in self.disk.names(ENTRIES).ok()? {
            let text = self.disk.read(&format!("{ENTRIES}/{name}"), MOST).ok().flatten();
            if let (Some(of), Some(text)) = (Name::parse(&name), text.and_then(|text| String::from_utf8(text).ok())) {
                found.push((of, name, text));
            }
        }
        // Those without starts left come last, then the highest version first.
        found.sort_by_key(|(name, ..)| (name.left == Some(0), std::cmp::Reverse(name.number)));
        let chosen = match self.one_shot.take() {
            Some(Target::Safe) => None,
            Some(Target::Entry(number)) => found.iter().find(|(name, ..)| name.number == number).or(found.first()),
            None => found.first(),
        };
        let Some((name, file, text)) = chosen else {
            return self.safe();
        };
        if let Some(left) = name.left {
            // The loader's variable stays as it is if a later entry is not counted.
            self.counted = Some(name.number);
            if left > 0 {
                self.disk.rename(ENTRIES, file, &entries::name(name.number, Some(left - 1))).ok()?;
            }
        }
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" "));
        let image = |path: Option<&str>| {
            let path = path?.strip_prefix('/')?;
            let bytes = self.disk.read(path, MOST).ok()??;
            // A kernel that is not what its name says does not start.
            let digest = path.rsplit_once('/')?.1.split_once('.')?.0;
            (Digest::of(&bytes).to_string() == digest).then_some(bytes)
        };
        image(value("linux"))?;
        image(value("initrd"))?;
        Some(value("options")?.to_string())
    }

    fn guard_init(&mut self, running: Running) -> Go {
        let loaded = partition::load(&self.disk).ok();
        let committed = partition::list(&self.disk).map(|listing| listing.committed()).unwrap_or_default();
        let begin = begin(&Found {
            running,
            state: loaded.as_ref().map(|loaded| &loaded.state),
            counts: &self.counts,
            traces: (self.crashes > 0).then_some(Digest([self.crashes; 32])),
            highest_uncounted: committed.first().map(|entry| entry.number),
        });
        if let Some(counts) = begin.counts {
            self.counts = counts;
        }
        if let Go::Restart(target) = begin.go {
            self.one_shot = Some(target);
        }
        begin.go
    }

    /// User space after a start: the file system is checked, then `guard-commit` does its work. True if the machine
    /// has to be started again.
    pub fn user_space(&mut self, running: Running, healthy: bool) -> Result<bool, String> {
        disk::check(&self.disk);
        let mut partition = Partition::open(self.disk.clone()).map_err(|error| error.to_string())?;
        let step = partition.reached(running, &self.counts).map_err(|error| error.to_string())?;
        let mut effects = step.effects;
        if matches!(running, Running::Entry { trial: true, .. }) {
            let verdict = match healthy {
                true => Event::Healthy { running, counted: self.counted },
                false => Event::Unhealthy { running, why: "a check failed".into() },
            };
            effects.extend(partition.apply(verdict).map_err(|error| error.to_string())?.effects);
        }
        if effects.contains(&Effect::ForgetCounts) {
            self.counts = Counts { traces: self.counts.traces, ..Counts::default() };
        }
        Ok(effects.contains(&Effect::Restart))
    }
}
