//! The faults, each as a scenario with a name. They run one after the other in one test, because each keeps a core busy.

use super::{
    machine::{Machine, OPTIONS, Said, set_up},
    measured, network,
    parts::{self, Parts},
};
use crate::{
    disk::{Disk, Window},
    machine::Whole,
    power_cut::{Leftovers, World},
    show, skip,
};
use std::collections::BTreeMap;

pub const SAFE: &str = "LAB: user space Safe";

pub fn up(number: u64, trial: bool) -> String {
    format!("LAB: user space Entry {{ number: {number}, trial: {trial} }}")
}

/// Says how long it took from the last line with `failure` to the line with `end`.
fn took(name: &str, said: &Said, failure: &str, end: &str) {
    let failed = said.times(failure).last();
    let ended = said.times(end).last();
    let (Some(failed), Some(ended)) = (failed, ended) else {
        panic!("{name}: it did not come to {failure:?} and {end:?}:\n{}", said.text());
    };
    assert!(failed < ended, "{name}: it failed after it came up:\n{}", said.text());
    show(&format!("{name}, seconds after the last failure"), format!("{:.1}", (ended - failed).as_secs_f64()));
}

fn three_panics(parts: &Parts) {
    let mut machine = Machine::new(parts);
    machine.arm(parts, None, "panic");
    let said = machine.run(None);
    assert_eq!(said.times(&up(2, true)).count(), 3, "{}", said.text());
    took("three panics to last-known-good", &said, "Kernel panic", &up(1, false));
    assert_eq!(machine.state(), (1, None), "{}", said.text());
}

fn corrupt_kernel(parts: &Parts) {
    let mut machine = Machine::new(parts);
    let mut damaged = parts.kernel.clone();
    // Not the same bytes everywhere, so that neither header nor contents hold.
    damaged.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x5a);
    machine.arm(parts, Some(&damaged), "works");
    let said = machine.run(None);
    assert_eq!(said.times(SAFE).count(), 1, "{}", said.text());
    show(
        "corrupt kernel to safe mode, seconds after power on",
        format!("{:.1}", said.times(SAFE).last().expect("it came up").as_secs_f64()),
    );
    // Safe mode commits nothing, and the next start is last-known-good.
    assert_eq!(machine.state(), (1, None), "{}", said.text());
    if all() {
        let said = machine.run(None);
        assert_eq!(said.times(&up(1, false)).count(), 1, "{}", said.text());
    }
}

fn hang(parts: &Parts) {
    let mut machine = Machine::new(parts);
    machine.arm(parts, None, "hang staffel.watchdog=20");
    let said = machine.run(None);
    assert_eq!(said.times(&up(2, true)).count(), 3, "{}", said.text());
    took("three hangs to last-known-good", &said, &up(2, true), &up(1, false));
    assert_eq!(machine.state(), (1, None), "{}", said.text());
}

fn good_trial_then_power_cycles(parts: &Parts) {
    let mut machine = Machine::new(parts);
    machine.arm(parts, None, "better");
    let said = machine.run(None);
    assert_eq!(machine.state(), (2, None), "{}", said.text());
    for _ in 0..5 {
        let said = machine.run(Some(&up(2, false)));
        assert_eq!(said.times("starting again").count(), 0, "{}", said.text());
    }
    assert_eq!(machine.state(), (2, None));
    show("power cycles of a healthy machine that rolled something back", 0);
}

fn module_that_panics(parts: &Parts) {
    let mut machine = Machine::new(parts);
    machine.content(2, "driver.ko", &parts.bad_module);
    // The same kernel and initramfs: what is new is the generation.
    machine.arm(parts, None, "works staffel.generation=2");
    let said = machine.run(None);
    assert_eq!(said.times("LAB: driver of generation 2").count(), 3, "{}", said.text());
    assert_eq!(said.times("LAB: it is loaded").count(), 0, "{}", said.text());
    took("module that panics at load to last-known-good", &said, "Kernel panic", &up(1, false));
    assert_eq!(machine.state(), (1, None), "{}", said.text());
}

fn content_after_commit(parts: &Parts) {
    let mut machine = Machine::new(parts);
    // One o'clock, 1 January 2026.
    machine.content(2, "panics-from", b"1767272400");
    machine.arm(parts, None, "stable staffel.generation=2");
    machine.clock = Some("2026-01-01T12:00:00");
    let said = machine.run(None);
    assert_eq!(machine.state(), (2, None), "{}", said.text());
    assert_eq!(said.times("stable: crashes before it count no more").count(), 1, "{}", said.text());
    machine.clock = Some("2026-01-01T13:00:05");
    let said = machine.run(None);
    assert_eq!(said.times(&up(2, false)).count(), 3, "{}", said.text());
    took("content that panics an hour after its commit to the earlier entry", &said, "Kernel panic", &up(1, false));
    assert_eq!(machine.state(), (1, None), "{}", said.text());
}

/// Nothing in the machine has a way to a server, so it is gone for all of the three days.
fn days_without_a_server(parts: &Parts) {
    const DAYS: [&str; 3] = ["2026-01-01T12:00:00", "2026-01-02T12:00:00", "2026-01-03T12:00:00"];
    let mut machine = Machine::new(parts);
    machine.arm(parts, None, "stable");
    for clock in DAYS {
        machine.clock = Some(clock);
        let said = machine.run(None);
        assert_eq!(machine.state(), (2, None), "{}", said.text());
        assert_eq!(said.times("starting again").count(), 0, "{}", said.text());
    }
    show("days without a server, each with a start and nothing rolled back", DAYS.len());
}

/// Starts what power cuts can leave of a disk: as the firmware finds it, nothing is checked before.
fn power_cuts(parts: &Parts, all: bool) {
    let disk = set_up(parts);
    let whole = Whole { loader: parts.loader.as_slice().into(), safe: parts.safe.as_slice().into() };
    let kernel = |_| parts.kernel.clone();
    let world = World { disk: disk.clone(), whole, initrd: &parts.initrd, kernel: &kernel, options: OPTIONS };
    let windows = match all {
        true => world.life(),
        false => {
            disk.windows();
            world.arm("second");
            disk.windows().into_iter().map(|window| ("arm", window)).collect()
        }
    };
    let mut steps: BTreeMap<&str, Vec<Window>> = BTreeMap::new();
    windows.into_iter().for_each(|(step, window)| steps.entry(step).or_default().push(window));
    let (mut tried, mut ends) = (0, BTreeMap::<String, usize>::new());
    for (step, windows) in &steps {
        // Those with the most writes can go wrong in the most ways.
        let mut windows: Vec<_> = windows.iter().map(|window| (Leftovers::new(window), window)).collect();
        windows.sort_by_key(|(left, _)| std::cmp::Reverse(left.number()));
        for (left, window) in windows.iter().take(if all { 3 } else { 1 }) {
            tried += 1;
            // Neither none of the writes nor all of them.
            let choice = left.number() / 3 + 1;
            let mut machine = Machine::with(parts, Disk::of(left.subset(choice)));
            let said = machine.run(Some("LAB: up"));
            let up = said.lines.iter().find_map(|(_, line)| line.split_once("LAB: up ")).map(|(_, running)| running);
            let up = up.unwrap_or_else(|| panic!("{step}, {}: it did not come up:\n{}", window.what, said.text()));
            *ends.entry(up.into()).or_default() += 1;
        }
    }
    show("disks as power cuts leave them, started on real firmware, all of them came up", tried);
    show("where they came up", format!("{ends:?}"));
}

/// A name, whether `./dev test` has time for it without `--all`, and what is done.
type Scenario = (&'static str, bool, fn(&Parts));

/// There is time for everything.
fn all() -> bool {
    std::env::var_os("STAFFEL_ALL").is_some()
}

/// Every scenario, or those that `./dev test` has time for.
fn run(all: bool) {
    if let Some(what) = parts::missing() {
        return skip("boot on real firmware", &what);
    }
    let place = tempfile::tempdir().expect("a folder");
    let parts = Parts::new(place.path());
    let scenarios: [Scenario; 11] = [
        ("three panics", true, three_panics),
        ("corrupt kernel", true, corrupt_kernel),
        ("power cut", true, |parts| power_cuts(parts, false)),
        ("module that panics at load", false, module_that_panics),
        ("content an hour after its commit", false, content_after_commit),
        ("hang", false, hang),
        ("good trial, then five power cycles", false, good_trial_then_power_cycles),
        ("three days without a server", false, days_without_a_server),
        ("many power cuts", false, |parts| power_cuts(parts, true)),
        ("measured boot", false, measured::measured_boot),
        ("network of the safe system", false, network::network),
    ];
    let only = std::env::var("STAFFEL_SCENARIO").unwrap_or_default();
    for (name, fast, scenario) in scenarios {
        if (all || fast) && name.contains(&only) {
            let begin = std::time::Instant::now();
            scenario(&parts);
            show(&format!("scenario {name:?}, seconds in all"), format!("{:.1}", begin.elapsed().as_secs_f64()));
        }
    }
}

#[test]
fn a_machine_comes_up_whatever_was_armed() {
    run(all());
}
