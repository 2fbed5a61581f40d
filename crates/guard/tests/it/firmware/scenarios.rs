//! The faults, each as a scenario with a name. They run one after the other in one test, because each keeps a core busy.

use super::{
    machine::{Machine, Said},
    parts::{self, Parts},
};
use crate::{show, skip};

const SAFE: &str = "LAB: user space Safe";

fn up(number: u64, trial: bool) -> String {
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
    let said = machine.run(None);
    assert_eq!(said.times(&up(1, false)).count(), 1, "{}", said.text());
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

/// A name, whether `./dev test` has time for it without `--all`, and what is done.
type Scenario = (&'static str, bool, fn(&Parts));

/// Every scenario, or those that `./dev test` has time for.
fn run(all: bool) {
    if let Some(what) = parts::missing() {
        return skip("boot on real firmware", &what);
    }
    let place = tempfile::tempdir().expect("a folder");
    let parts = Parts::new(place.path());
    let scenarios: [Scenario; 4] = [
        ("three panics", true, three_panics),
        ("corrupt kernel", true, corrupt_kernel),
        ("hang", false, hang),
        ("good trial, then five power cycles", false, good_trial_then_power_cycles),
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
    run(std::env::var_os("STAFFEL_ALL").is_some());
}
