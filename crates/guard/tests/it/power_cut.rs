//! A power cut at every write of arm, copy, count, commit, quarantine and roll back: whatever the disk kept of what was
//! not yet flushed, and however a sector was torn, the machine comes up and the guard puts its entries in order.

use crate::{
    disk::{Contents, Disk, SECTOR, Sector, Window},
    machine::{LOADER, LOADER_IMAGE, Machine, SAFE_IMAGE},
    show,
};
use staffel_core::boot::firmware::{Event, Running, invariant};
use staffel_guard::{
    partition::{Images, Partition},
    volume::Volume as _,
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

fn images(kernel: &'static [u8]) -> Images<'static> {
    Images { kernel, initrd: b"initramfs", options: OPTIONS }
}

fn set_up() -> Machine {
    let mut disk = Disk::formatted();
    disk.make_folder("EFI/BOOT").expect("a folder");
    disk.create(LOADER, LOADER_IMAGE).expect("a loader");
    Partition::set_up(disk.clone(), images(b"first kernel"), SAFE_IMAGE).expect("the guard is set up");
    disk.windows();
    Machine::new(disk, b"panic")
}

/// A machine on which this event was carried out, and the windows of its writes.
fn life() -> Vec<(&'static str, Window)> {
    let mut all = Vec::new();
    let mut machine = set_up();
    let disk = machine.disk.clone();
    let mut took = |name: &'static str| all.extend(disk.windows().into_iter().map(|window| (name, window)));
    let open = |machine: &Machine| Partition::open(machine.disk.clone()).expect("the guard opens its partition");

    open(&machine).arm(images(b"second kernel")).expect("armed");
    took("arm");
    let up = machine.up().expect("it comes up");
    assert_eq!(up.running, Running::Entry { number: 2, trial: true });
    took("count");
    machine.user_space(up.running, true).expect("committed");
    assert_eq!(open(&machine).state().good.number, 2);
    took("commit");
    open(&machine).arm(images(b"panic kernel")).expect("armed");
    took("arm again");
    let up = machine.up().expect("it comes up");
    assert_eq!((up.running, up.starts), (Running::Entry { number: 2, trial: false }, 4));
    took("count to the end");
    machine.user_space(up.running, true).expect("given up");
    assert_eq!(open(&machine).state().trial, None);
    took("give up");
    let id = open(&machine).state().good.id();
    open(&machine).apply(Event::Quarantine { id, why: "bad".into() }).expect("quarantined");
    assert_eq!(open(&machine).state().good.number, 1);
    took("quarantine");
    open(&machine).arm(images(b"third kernel")).expect("armed");
    let up = machine.up().expect("it comes up");
    machine.user_space(up.running, true).expect("committed");
    took("arm and commit");
    open(&machine).apply(Event::RollBack { why: "a person".into() }).expect("rolled back");
    assert_eq!(open(&machine).state().good.number, 1);
    took("roll back");
    all
}

/// Everything that a window can leave, each handed to `try_it`.
fn states(window: &Window, mut try_it: impl FnMut(Contents)) {
    // Each sector keeps what it had or any of what was written to it: every prefix, every subset, every order. What was
    // written twice with the same bytes is one.
    let mut versions: BTreeMap<u64, Vec<Option<Sector>>> = BTreeMap::new();
    for (at, sector) in &window.writes {
        let of = versions.entry(*at).or_insert_with(|| vec![window.before.get(at).cloned()]);
        let is_zero = **sector == [0; SECTOR];
        if !of.iter().any(|old| old.as_deref().map_or(is_zero, |old| *old == **sector)) {
            of.push(Some(sector.clone()));
        }
    }
    let of: Vec<(u64, Vec<Option<Sector>>)> = versions.into_iter().collect();
    let number: usize = of.iter().map(|(_, versions)| versions.len()).product();
    assert!(number <= MOST, "{}: {number} states in one window", window.what);
    let all = std::env::var_os("STAFFEL_ALL").is_some();
    let step = if all { 1 } else { number.div_ceil(SOME) };
    // An even step would leave out whole sectors, whose versions are counted like digits.
    for mut choice in (0..number).step_by(step | 1) {
        let mut contents = window.before.clone();
        for (at, versions) in &of {
            put(&mut contents, *at, versions[choice % versions.len()].clone());
            choice /= versions.len();
        }
        try_it(contents);
    }
    // Every prefix with the next sector torn: its beginning is new and its end is old, or the other way round.
    let mut contents = window.before.clone();
    for (at, sector) in &window.writes {
        let old = contents.get(at).cloned().unwrap_or_else(|| Arc::new([0; SECTOR]));
        for cut in (64..SECTOR).step_by(if all { 64 } else { 192 }) {
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
    let mut machine = Machine::new(Disk::of(contents), b"panic");
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

#[test]
fn no_power_cut_leaves_a_machine_that_does_not_start() {
    let windows = life();
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
    let first: Vec<_> = failed.iter().take(10).collect();
    assert!(failed.is_empty(), "{} of them, the first: {first:#?}", failed.len());
    assert!(good > 0 && trial > 0, "the model never came to both");
}
