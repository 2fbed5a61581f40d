//! The system partition as the guard keeps it: the state in two places, the entries that follow from it, the kernels.
//!
//! The order of every change: files that a new entry needs, then the state in one write, then the entries. The state has
//! two files of fixed length that are overwritten in turn, so that one of them always holds and the file system's own
//! tables are not touched. After a power cut the file system has to be checked (`fsck.vfat`, as Debian does it for
//! `/boot/efi`) before anything is written here. What must stay out: deciding, and the loader's texts.

use crate::{
    entries::{self, Change, ENTRIES, FOLDER, Listing, SAFE_ENTRY, SAFE_IMAGE, initrd_path, kernel_path},
    volume::{Volume, VolumeError},
};
use staffel_core::{
    boot::{
        codec::{self, CodecError},
        firmware::{Counts, Event, FORMAT, Running, State, Step, step},
    },
    ids::Digest,
};

/// The two places of the state.
pub const RECORDS: [&str; 2] = ["EFI/staffel/record.0", "EFI/staffel/record.1"];
/// Their length, bytes.
pub const RECORD_SIZE: usize = 4096;
/// Kept free beyond what a change needs, bytes: room for entries, and for folders to grow by a cluster.
pub const RESERVE: u64 = 256 << 10;
/// No kernel, initramfs or safe system is longer, bytes.
pub const MAX_IMAGE: u64 = 512 << 20;
const MAX_ENTRY: u64 = 16 << 10;
const NAME: &str = "firmware";

/// Why the system partition can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("the state does not fit its place: {0}")]
    Codec(#[from] CodecError),
    #[error("the state can't be written as JSON: {0}")]
    Json(serde_json::Error),
    #[error("the guard is set up on this system partition already")]
    Exists,
    #[error("the guard's state is lost and no committed entry can be read: {}", why.join("; "))]
    Lost { why: Vec<String> },
    #[error("refused: {}", why.join("; "))]
    Refused { why: Vec<String> },
    #[error("{path} does not hold what was written to it")]
    NotWritten { path: String },
}

/// What is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub kernel: &'a [u8],
    pub initrd: &'a [u8],
    /// Kernel options.
    pub options: &'a str,
}

/// The state as it was found.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub state: State,
    sequence: u64,
    /// Which of [`RECORDS`] holds it.
    place: usize,
    /// What was wrong, for people.
    pub damage: Vec<String>,
}

/// Reads the state, and writes nothing.
pub fn load(volume: &impl Volume) -> Result<Loaded, PartitionError> {
    let mut best: Option<Loaded> = None;
    let mut damage = Vec::new();
    for (place, path) in RECORDS.into_iter().enumerate() {
        match read_record(volume, path) {
            Ok((sequence, state)) if best.as_ref().is_none_or(|best| sequence > best.sequence) => {
                best = Some(Loaded { state, sequence, place, damage: Vec::new() });
            }
            Ok(_) => {}
            Err(why) => damage.push(format!("{path}: {why}")),
        }
    }
    match best {
        Some(best) => Ok(Loaded { damage, ..best }),
        None => rebuild(volume, damage),
    }
}

fn read_record(volume: &impl Volume, path: &str) -> Result<(u64, State), String> {
    let bytes = volume.read(path, RECORD_SIZE as u64).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("it is not there")?;
    read_state(&bytes)
}

/// Reads the bytes of one of [`RECORDS`]: its sequence and the state.
pub fn read_state(bytes: &[u8]) -> Result<(u64, State), String> {
    let (sequence, body) = codec::decode(NAME, bytes).map_err(|error| error.to_string())?;
    let state: State = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match state.format {
        FORMAT => Ok((sequence, state)),
        other => Err(format!("the state has format {other}, this program knows {FORMAT}")),
    }
}

/// The bytes of one of [`RECORDS`].
pub fn write_state(sequence: u64, state: &State) -> Result<Vec<u8>, PartitionError> {
    let body = serde_json::to_vec(state).map_err(PartitionError::Json)?;
    Ok(codec::encode_sized(NAME, sequence, &body, RECORD_SIZE)?)
}

/// A state from the committed entries that are there: last-known-good, never a trial.
fn rebuild(volume: &impl Volume, mut damage: Vec<String>) -> Result<Loaded, PartitionError> {
    let listing = list(volume)?;
    let highest = listing.ours().map(|(name, _)| name.number).max().unwrap_or(0);
    let mut committed = listing.committed().into_iter();
    let Some(good) = committed.next() else { return Err(PartitionError::Lost { why: damage }) };
    let safe = volume.read(SAFE_IMAGE, MAX_IMAGE)?.map_or_else(Digest::default, |bytes| Digest::of(&bytes));
    let mut state = State::new(good.kernel, good.initrd, good.options.clone(), safe);
    state.next = highest.saturating_add(1);
    (state.good, state.earlier) = (good, committed.next());
    damage.push(format!("the state is rebuilt from the entries: {} is last-known-good", state.good.number));
    Ok(Loaded { state, sequence: 0, place: 1, damage })
}

/// What lies there.
pub fn list(volume: &impl Volume) -> Result<Listing, VolumeError> {
    let mut entries = Vec::new();
    for name in volume.names(ENTRIES)? {
        let read = volume.read(&format!("{ENTRIES}/{name}"), MAX_ENTRY);
        let text = read.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        entries.push((name, text));
    }
    Ok(Listing { entries, files: volume.names(FOLDER)? })
}

/// The system partition, held for writing.
pub struct Partition<V> {
    pub volume: V,
    loaded: Loaded,
}

impl<V: Volume> Partition<V> {
    /// Sets the guard up: `images` is what the machine starts with today, `safe` the safe system.
    pub fn set_up(mut volume: V, images: Images<'_>, safe: &[u8]) -> Result<Self, PartitionError> {
        if RECORDS.iter().any(|path| volume.read(path, RECORD_SIZE as u64).is_ok_and(|found| found.is_some())) {
            return Err(PartitionError::Exists);
        }
        for folder in [FOLDER, ENTRIES] {
            volume.make_folder(folder)?;
            make_room(&mut volume, folder)?;
        }
        // Safe mode first: from here on there is always something to start.
        write_image(&mut volume, SAFE_IMAGE, safe)?;
        volume.remove(SAFE_ENTRY)?;
        volume.create(SAFE_ENTRY, entries::safe_text().as_bytes())?;
        let (kernel, initrd) = write_images(&mut volume, images)?;
        let state = State::new(kernel, initrd, images.options.into(), Digest::of(safe));
        // The records come last: their presence says that all of it is there.
        let loaded = Loaded { state, sequence: 1, place: 0, damage: Vec::new() };
        let mut partition = Partition { volume, loaded };
        partition.put_in_order()?;
        for path in RECORDS {
            let bytes = write_state(1, &partition.loaded.state)?;
            partition.volume.create(path, &bytes)?;
        }
        Ok(partition)
    }

    /// Opens what was set up.
    pub fn open(volume: V) -> Result<Self, PartitionError> {
        let loaded = load(&volume)?;
        Ok(Partition { volume, loaded })
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.loaded.state
    }

    /// What was found damaged.
    pub fn damage(&self) -> &[String] {
        &self.loaded.damage
    }

    /// Decides about an event, writes the state, makes the entries fit it. A refusal is no error; nothing was changed.
    pub fn apply(&mut self, event: Event) -> Result<Step, PartitionError> {
        let step = step(&self.loaded.state, event);
        if step.state != self.loaded.state || !self.loaded.damage.is_empty() {
            self.save(step.state.clone())?;
        }
        self.put_in_order()?;
        Ok(step)
    }

    /// User space was reached.
    pub fn reached(&mut self, running: Running, counts: &Counts) -> Result<Step, PartitionError> {
        let trial = self.loaded.state.trial.as_ref().map(|trial| trial.number);
        let listing = list(&self.volume)?;
        let loader_left = trial.and_then(|number| listing.left(number));
        self.apply(Event::Reached { running, counts: counts.clone(), loader_left })
    }

    /// Puts a change on trial, after the preflight.
    pub fn arm(&mut self, images: Images<'_>) -> Result<Step, PartitionError> {
        let why = self.preflight(images);
        if !why.is_empty() {
            return Err(PartitionError::Refused { why });
        }
        let event = Event::Arm {
            kernel: Digest::of(images.kernel),
            initrd: Digest::of(images.initrd),
            options: images.options.into(),
        };
        // Asked first, so that nothing is copied for what is refused.
        let asked = step(&self.loaded.state, event.clone());
        if asked.refused {
            return Ok(asked);
        }
        self.put_in_order()?;
        write_images(&mut self.volume, images)?;
        let armed = self.apply(event);
        if let Err(error) = &armed {
            // An entry that could not be written must not appear by itself later.
            let _ = self.apply(Event::RollBack { why: error.to_string() });
        }
        armed
    }

    /// Why a change must not be started: the way back would not hold.
    pub fn preflight(&mut self, images: Images<'_>) -> Vec<String> {
        let mut why = check_options(images.options);
        match self.volume.read(SAFE_IMAGE, MAX_IMAGE) {
            Ok(Some(bytes)) if Digest::of(&bytes) == self.loaded.state.safe => {}
            Ok(Some(_)) => why.push(format!("the safe system {SAFE_IMAGE} is damaged; put it back")),
            Ok(None) => why.push(format!("the safe system {SAFE_IMAGE} is not there; put it back")),
            Err(error) => why.push(error.to_string()),
        }
        let safe_entry = self.volume.read(SAFE_ENTRY, MAX_ENTRY).ok().flatten();
        if safe_entry.as_deref() != Some(entries::safe_text().as_bytes()) {
            why.push(format!("the safe system's entry {SAFE_ENTRY} is not as it was written; put it back"));
        }
        let need = (images.kernel.len() as u64).saturating_add(images.initrd.len() as u64).saturating_add(RESERVE);
        match self.volume.free() {
            Ok(free) if free >= need => {}
            Ok(free) => why.push(format!(
                "too little room on the system partition: {} KiB are needed, {} KiB are free; make room",
                need.div_ceil(1 << 10),
                free >> 10
            )),
            Err(error) => why.push(error.to_string()),
        }
        let probe = format!("{FOLDER}/probe");
        let written = self.volume.remove(&probe).and_then(|()| self.volume.create(&probe, b"staffel"));
        if let Err(error) = written.and_then(|()| self.volume.remove(&probe)) {
            why.push(format!("{error}; check the file system (fsck.vfat) and mount it for writing"));
        }
        why
    }

    fn save(&mut self, state: State) -> Result<(), PartitionError> {
        let (sequence, place) = (self.loaded.sequence + 1, 1 - self.loaded.place);
        let (path, bytes) = (RECORDS[place], write_state(sequence, &state)?);
        if self.volume.overwrite(path, &bytes).is_err() {
            // Not there, or of another length: it can't be what holds the state.
            self.volume.remove(path)?;
            self.volume.create(path, &bytes)?;
        }
        self.loaded = Loaded { state, sequence, place, damage: Vec::new() };
        Ok(())
    }

    fn put_in_order(&mut self) -> Result<(), PartitionError> {
        for change in entries::changes(&self.loaded.state, &list(&self.volume)?) {
            match change {
                Change::Create { path, text } => self.volume.create(&path, text.as_bytes())?,
                Change::Remove { path } => self.volume.remove(&path)?,
            }
        }
        Ok(())
    }
}

/// What kernel options lack for a way back: without them a kernel that panics stands still for ever.
pub fn check_options(options: &str) -> Vec<String> {
    let mut why = Vec::new();
    let panic = crate::command_line::value(options, "panic=").and_then(|text| text.parse::<i64>().ok());
    if panic.is_none_or(|seconds| seconds == 0) {
        why.push("the kernel options lack panic=SECONDS: a kernel that panics would not start again".into());
    }
    if !options.split(' ').any(|word| word == "oops=panic") {
        why.push("the kernel options lack oops=panic: a kernel that is damaged would go on".into());
    }
    why
}

/// Makes a folder as large as it will ever have to be. A folder of FAT never shrinks; one that grows while an entry is
/// written, or while the loader counts, changes its own chain of clusters, where a power cut can tear it.
fn make_room(volume: &mut impl Volume, folder: &str) -> Result<(), VolumeError> {
    /// Each takes 20 places in the folder, a kernel's name takes 7 and an entry's 3.
    const FILLERS: u32 = 4;
    let paths = (1..=FILLERS).map(|number| format!("{folder}/{:x<240}{number}.tmp", ""));
    let paths: Vec<String> = paths.collect();
    for path in &paths {
        // A power cut may have left one.
        volume.remove(path)?;
        volume.create(path, b"")?;
    }
    paths.iter().try_for_each(|path| volume.remove(path))
}

fn write_images(volume: &mut impl Volume, images: Images<'_>) -> Result<(Digest, Digest), PartitionError> {
    let (kernel, initrd) = (Digest::of(images.kernel), Digest::of(images.initrd));
    write_image(volume, &kernel_path(&kernel), images.kernel)?;
    write_image(volume, &initrd_path(&initrd), images.initrd)?;
    Ok((kernel, initrd))
}

fn write_image(volume: &mut impl Volume, path: &str, bytes: &[u8]) -> Result<(), PartitionError> {
    // One that a power cut left half-written has the right name and the wrong contents.
    if holds(volume, path, bytes).unwrap_or(false) {
        return Ok(());
    }
    volume.remove(path)?;
    volume.create(path, bytes)?;
    match holds(volume, path, bytes)? {
        true => Ok(()),
        false => Err(PartitionError::NotWritten { path: path.into() }),
    }
}

fn holds(volume: &impl Volume, path: &str, bytes: &[u8]) -> Result<bool, VolumeError> {
    Ok(volume.read(path, MAX_IMAGE)?.as_deref() == Some(bytes))
}
