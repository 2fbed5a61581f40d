//! `guard-ctl firmware`: the guard below the operating system, by hand. What must stay out: deciding, and the order of
//! writes, which are `staffel_guard`'s.

use crate::arguments::Task as Any;
use staffel_core::{
    boot::firmware::{Entry, Event, Step},
    ids::Digest,
};
use staffel_guard::{
    partition::{Images, Partition, PartitionError},
    volume::Folder,
};
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What was done by hand, for those who read the endings later.
const BY_HAND: &str = "somebody at the machine asked for it";

/// What is to be done, and where.
pub struct Task {
    partition: PathBuf,
    act: Act,
}

struct Change {
    kernel: PathBuf,
    initrd: PathBuf,
    options: String,
}

enum Act {
    SetUp { change: Change, safe: PathBuf },
    Arm(Change),
    Status,
    Tell(Event),
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Partition(#[from] PartitionError),
}

/// Reads the words after `firmware`.
pub fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Any, String> {
    let act = words.next().ok_or("`firmware` needs an act")?.to_string_lossy().into_owned();
    let mut given = std::collections::BTreeMap::new();
    while let Some(option) = words.next() {
        let option = option.to_string_lossy().into_owned();
        let known: &[&str] = match act.as_str() {
            "set-up" => &["--kernel", "--initrd", "--options", "--safe"],
            "arm" => &["--kernel", "--initrd", "--options"],
            "quarantine" => &["--id"],
            _ => &[],
        };
        match option.as_str() {
            "--help" => return Ok(Any::Help),
            "--system-partition" => {}
            other if known.contains(&other) => {}
            _ => return Err(format!("`firmware {act}` has no option {option:?}")),
        }
        let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
        given.insert(option, value);
    }
    let mut take = |option: &str| given.remove(option).ok_or_else(|| format!("{option} is missing"));
    let partition = take("--system-partition")?.into();
    let mut change = || -> Result<Change, String> {
        let (kernel, initrd) = (take("--kernel")?.into(), take("--initrd")?.into());
        Ok(Change { kernel, initrd, options: take("--options")?.to_string_lossy().into_owned() })
    };
    let act = match act.as_str() {
        "set-up" => Act::SetUp { change: change()?, safe: take("--safe")?.into() },
        "arm" => Act::Arm(change()?),
        "status" => Act::Status,
        "roll-back" => Act::Tell(Event::RollBack { why: BY_HAND.into() }),
        "quarantine" => {
            let id = take("--id")?.to_str().and_then(Digest::parse).ok_or("--id needs 64 hex digits")?;
            Act::Tell(Event::Quarantine { id, why: BY_HAND.into() })
        }
        "stay-safe" => Act::Tell(Event::StaySafe { why: BY_HAND.into() }),
        "leave-safe" => Act::Tell(Event::LeaveSafe),
        other => return Err(format!("`firmware` has no act {other:?}")),
    };
    Ok(Any::Firmware(Task { partition, act }))
}

fn read(path: &Path) -> Result<Vec<u8>, FirmwareError> {
    std::fs::read(path).map_err(|source| FirmwareError::Read { path: path.into(), source })
}

/// Does it.
pub fn run(task: &Task) -> Result<ExitCode, FirmwareError> {
    let folder = Folder::new(&task.partition);
    let step = match &task.act {
        Act::SetUp { change, safe } => {
            let (kernel, initrd) = (read(&change.kernel)?, read(&change.initrd)?);
            let images = Images { kernel: &kernel, initrd: &initrd, options: &change.options };
            Partition::set_up(folder, images, &read(safe)?)?;
            println!("set up: entry 1 is last-known-good from the next start on");
            return Ok(ExitCode::SUCCESS);
        }
        Act::Status => {
            status(&Partition::open(folder)?);
            return Ok(ExitCode::SUCCESS);
        }
        Act::Arm(change) => {
            let (kernel, initrd) = (read(&change.kernel)?, read(&change.initrd)?);
            Partition::open(folder)?.arm(Images { kernel: &kernel, initrd: &initrd, options: &change.options })?
        }
        Act::Tell(event) => Partition::open(folder)?.apply(event.clone())?,
    };
    Ok(said(&step))
}

fn said(step: &Step) -> ExitCode {
    match step.refused {
        true => eprintln!("refused: {}", step.why),
        false => println!("{}", step.why),
    }
    if !step.effects.is_empty() {
        println!("it takes effect when the machine is started again");
    }
    if step.refused { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn status(partition: &Partition<Folder>) {
    let state = partition.state();
    let line = |name: &str, entry: &Entry| {
        println!("{name:<16} {} {} ({})", entry.number, entry.id(), entry.options);
    };
    line("last-known-good", &state.good);
    state.earlier.iter().for_each(|entry| line("earlier", entry));
    state.trial.iter().for_each(|entry| line("on trial", entry));
    for ending in &state.endings {
        println!(
            "{:<16} {} {}: {}",
            if ending.committed { "committed" } else { "left" },
            ending.number,
            ending.id,
            ending.why
        );
    }
    state.quarantined.iter().for_each(|id| println!("{:<16} {id}", "quarantined"));
    state.stay_safe.iter().for_each(|why| println!("{:<16} {why}", "safe mode"));
    partition.damage().iter().for_each(|what| println!("{:<16} {what}", "damaged"));
}
