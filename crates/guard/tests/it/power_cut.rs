//! A power cut at every write of arm, copy, count, commit, quarantine and roll back: whatever the disk kept of what was
//! not yet flushed, and however a sector was torn, the machine comes up and the guard puts its entries in order.

use crate::{
    disk::{Contents, Disk, SECTOR, Sector, Window},
    machine::{LOADER, LOADER_IMAGE, Machine, SAFE_IMAGE, Whole},
    show,
};
use staffel_core::boot::firmware::{Event, Running, invariant};
use staffel_guard::{
    partition::{Images, Partition},
    volume::{Volume, VolumeError},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

const OPTIONS: &str = "panic=1 oops=panic";
/// More states than this in one window would mean that a write is not as small as it should be.
const MOST: usize = 200_000;
/// Of a window with more states than this, `./dev test` takes every so many; with `--all` it takes all of them.
const SOME: usize = 1_000;

/// A machine as it was set up, and what changes are made of.
pub struct World<'a> {
    pub disk: Disk,
    pub whole: Whole,
    pub initrd: &'a [u8],
    /// The kernel of the change with this name, and options before those of the name.
    pub kernel: &'a dyn Fn(&'static str) -> Vec<u8>,
    pub options: &'a str,
}

impl World<'_> {
    fn open(&self) -> Partition<Disk> {
        Partition::open(self.disk.clone()).expect("the guard opens its partition")
    }

    /// Puts the change with this name on trial.
    pub fn arm(&self, name: &'static str) {
        let (kernel, options) = ((self.kernel)(name), format!("{} lab={name}", self.options));
        let step = self.open().arm(Images { kernel: &kernel, initrd: self.initrd, options: &options });
        assert!(!step.expect("armed").refused);
    }

    /// Arm, count, commit, give up, quarantine and roll back, each with the windows of its writes.
    pub fn life(&self) -> Vec<(&'static str, Window)> {
        let (mut all, disk) = (Vec::new(), self.disk.clone());
        disk.windows();
        let mut took = |name: &'static str| all.extend(disk.windows().into_iter().map(|window| (name, window)));
        let mut machine = Machine::new(self.disk.clone(), self.whole.clone());

        self.arm("second");
        took("arm");
        let up = machine.up().expect("it comes up");
        assert_eq!(up.running, Running::Entry { number: 2, trial: true });
        took("count");
        machine.user_space(up.running, true).expect("committed");
        assert_eq!(self.open().state().good.number, 2);
        took("commit");
        self.arm("panic");
        took("arm again");
        let up = machine.up().expect("it comes up");
        assert_eq!((up.running, up.starts), (Running::Entry { number: 2, trial: false }, 4));
        took("count to the end");
        machine.user_space(up.running, true).expect("given up");
        assert_eq!(self.open().state().trial, None);
        took("give up");
        let id = self.open().state().good.id();
        self.open().apply(Event::Quarantine { id, why: "bad".into() }).expect("quarantined");
        assert_eq!(self.open().state().good.number, 1);
        took("quarantine");
        self.arm("third");
        let up = machine.up().expect("it comes up");
        machine.user_space(up.running, true).expect("committed");
        took("arm and commit");
        self.open().apply(Event::RollBack { why: "a person".into() }).expect("rolled back");
        assert_eq!(self.open().state().good.number, 1);
        took("roll back");
        all
    }
}

/// What a power cut in a window can leave: each sector keeps what it had or any of what was written to it, which is every
/// prefix, every subset, every order. What was written twice with the same bytes is one.
pub struct Leftovers<'a> {
    window: &'a Window,
    versions: Vec<(u64, Vec<Option<Sector>>)>,
}

impl<'a> Leftovers<'a> {
    pub fn new(window: &'a Window) -> Self {
        let mut versions: BTreeMap<u64, Vec<Option<Sector>>> = BTreeMap::new();
        for (at, sector) in &window.writes {
            let of = versions.entry(*at).or_insert_with(|| vec![window.before.get(at).cloned()]);
            let is_zero = **sector == [0; SECTOR];
            if !of.iter().any(|old| old.as_deref().map_or(is_zero, |old| *old == **sector)) {
                of.push(Some(sector.clone()));
            }
        }
        Leftovers { window, versions: versions.into_iter().collect() }
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.versions.iter().map(|(_, versions)| versions.len()).product()
    }

    /// One of them, below [`Leftovers::number`].
    pub fn subset(&self, mut choice: usize) -> Contents {
        let mut contents = self.window.before.clone();
        for (at, versions) in &self.versions {
            put(&mut contents, *at, versions[choice % versions.len()].clone());
            choice /= versions.len();
        }
        contents
    }

    /// Every prefix with the next sector torn every `step` bytes: its beginning is new and its end is old, or the other
    /// way round.
    fn torn(&self, step: usize, mut try_it: impl FnMut(Contents)) {
        let mut contents = self.window.before.clone();
        for (at, sector) in &self.window.writes {
            let old = contents.get(at).cloned().unwrap_or_else(|| Arc::new([0; SECTOR]));
            for cut in (64..SECTOR).step_by(step) {
                for (begin, end) in [(sector, &old), (&old, sector)] {
                    let mut torn = **begin;
                    torn[cut..].copy_from_slice(&end[cut..]);
                    let mut contents = contents.clone();
                    put(&mut contents, *at, Some(Arc::new(torn)));
                    try_it(contents);
                }
            }
            put(&mut contents, *at, Some(sector.clone()));
        }
    }
}

/// Those of a window for which there is time, each handed to `try_it`.
fn states(window: &Window, mut try_it: impl FnMut(Contents)) {
    let left = Leftovers::new(window);
    let number = left.number();
    assert!(number <= MOST, "{}: {number} states in one window", window.what);
    let all = std::env::var_os("STAFFEL_ALL").is_some();
    let step = if all { 1 } else { number.div_ceil(SOME) };
    // An even step would leave out whole sectors, whose versions are counted like digits.
    (0..number).step_by(step | 1).for_each(|choice| try_it(left.subset(choice)));
    left.torn(if all { 64 } else { 192 }, try_it);
}

fn put(contents: &mut Contents, at: u64, sector: Option<Sector>) {
    match sector {
        Some(sector) if *sector != [0; SECTOR] => drop(contents.insert(at, sector)),
        _ => drop(contents.remove(&at)),
    }
}

/// Where the machine came up first.
#[derive(Default)]
struct Ends {
    good: AtomicUsize,
    trial: AtomicUsize,
    safe: AtomicUsize,
}

/// Starts what is left, and lives on: `Err` says what is wrong with it.
fn live(contents: Contents, ends: &Ends) -> Result<(), String> {
    let mut machine = Machine::new(Disk::of(contents), Whole::model());
    let mut first = true;
    for _ in 0..6 {
        let up = machine.up().ok_or_else(|| format!("nothing starts: {:?}", machine.story))?;
        if std::mem::take(&mut first) {
            let end = match up.running {
                Running::Safe => &ends.safe,
                Running::Entry { trial: true, .. } => &ends.trial,
                _ => &ends.good,
            };
            end.fetch_add(1, Ordering::Relaxed);
        }
        machine.user_space(up.running, true)?;
        let partition = Partition::open(machine.disk.clone()).map_err(|error| error.to_string())?;
        invariant(partition.state())?;
        let settled = Running::Entry { number: partition.state().good.number, trial: false };
        if up.running == settled && partition.state().trial.is_none() && partition.damage().is_empty() {
            return Ok(());
        }
    }
    Err("it does not settle on last-known-good".into())
}

/// What happens to a disk on which a guard was set up.
fn life_on(disk: Disk) -> Vec<(&'static str, Window)> {
    let kernel = |name| format!("{name} kernel").into_bytes();
    World { disk, whole: Whole::model(), initrd: b"initramfs", kernel: &kernel, options: OPTIONS }.life()
}

/// A power cut everywhere: what is wrong with those states that are not well.
fn cut_everywhere(windows: &[(&'static str, Window)]) -> Vec<String> {
    let (next, tried, ends) = (AtomicUsize::new(0), AtomicUsize::new(0), Ends::default());
    let failed: Mutex<Vec<String>> = Mutex::default();
    let by_name: Mutex<BTreeMap<&str, usize>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, window)) = windows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut number = 0;
                    states(window, |contents| {
                        number += 1;
                        if let Err(why) = live(contents, &ends) {
                            failed.lock().expect("a list").push(format!("{name}, {}: {why}", window.what));
                        }
                    });
                    tried.fetch_add(number, Ordering::Relaxed);
                    *by_name.lock().expect("a table").entry(name).or_default() += number;
                }
            });
        }
    });
    let failed = failed.into_inner().expect("a list");
    show("power cuts tried on the model", tried.load(Ordering::Relaxed));
    for (name, number) in by_name.into_inner().expect("a table") {
        show(&format!("power cuts during `{name}`"), number);
    }
    let [good, trial, safe] = [&ends.good, &ends.trial, &ends.safe].map(|end| end.load(Ordering::Relaxed));
    show("came up with last-known-good / trial / safe mode", format!("{good} / {trial} / {safe}"));
    show("unbootable states", failed.len());
    assert!(good > 0 && trial > 0, "the model never came to both");
    failed
}

/// A disk with a loader.
fn with_loader() -> Disk {
    let mut disk = Disk::formatted();
    disk.make_folder("EFI/BOOT").expect("a folder");
    disk.create(LOADER, LOADER_IMAGE).expect("a loader");
    disk
}

const FIRST: Images<'_> = Images { kernel: b"first kernel", initrd: b"initramfs", options: OPTIONS };

#[test]
fn no_power_cut_leaves_a_machine_that_does_not_start() {
    let disk = with_loader();
    Partition::set_up(disk.clone(), FIRST, SAFE_IMAGE).expect("the guard is set up");
    none(&cut_everywhere(&life_on(disk)));
}

fn none(failed: &[String]) {
    let first: Vec<_> = failed.iter().take(10).collect();
    assert!(failed.is_empty(), "{} of them, the first: {first:#?}", failed.len());
}

/// Sets up without making room in folders beforehand.
#[derive(Clone)]
struct Small(Disk);

impl Volume for Small {
    fn names(&self, folder: &str) -> Result<Vec<String>, VolumeError> {
        self.0.names(folder)
    }

    fn read(&self, path: &str, at_most: u64) -> Result<Option<Vec<u8>>, VolumeError> {
        self.0.read(path, at_most)
    }

    fn make_folder(&mut self, path: &str) -> Result<(), VolumeError> {
        self.0.make_folder(path)
    }

    fn create(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError> {
        if path.ends_with(".tmp") { Ok(()) } else { self.0.create(path, bytes) }
    }

    fn overwrite(&mut self, path: &str, bytes: &[u8]) -> Result<(), VolumeError> {
        self.0.overwrite(path, bytes)
    }

    fn remove(&mut self, path: &str) -> Result<(), VolumeError> {
        self.0.remove(path)
    }

    fn free(&self) -> Result<u64, VolumeError> {
        self.0.free()
    }
}

/// A folder that grows while something is written. The model's file system writes an entry of a folder field by field, and
/// with a power cut between two fields a deleted entry comes back whose clusters the grown folder has by now; 62 such states
/// ended in nothing that starts once the file system had been checked. An operating system writes sectors, so what follows one
/// another in a sector is one write here.
#[test]
fn folders_that_grow_are_no_trouble_where_sectors_are_written_whole() {
    if std::env::var_os("STAFFEL_ALL").is_none() {
        return;
    }
    let disk = with_loader();
    Partition::set_up(Small(disk.clone()), FIRST, SAFE_IMAGE).expect("the guard is set up");
    let mut windows = life_on(disk);
    for (_, window) in &mut windows {
        let writes = std::mem::take(&mut window.writes);
        for (at, sector) in writes {
            match window.writes.last_mut() {
                Some(last) if last.0 == at => last.1 = sector,
                _ => window.writes.push((at, sector)),
            }
        }
    }
    none(&cut_everywhere(&windows));
}
