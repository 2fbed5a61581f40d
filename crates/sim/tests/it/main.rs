//! What the simulator says, held against what it said before, against itself, and against what must hold.

mod mutations;

use staffel_sim::{Comparison, Scenario, check_seed, compare};
use std::path::{Path, PathBuf};

/// Larger fleets are cut to this size here: the whole ones are `staffel sim run`'s.
const CUT_TO: u32 = 20_000;

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(folder).expect("the scenarios").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    files.sort();
    files
}

fn scenario(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).expect("a scenario");
    let mut scenario = Scenario::parse(&path.to_string_lossy(), &text).expect("it is well formed");
    scenario.fleet.devices = scenario.fleet.devices.min(CUT_TO);
    scenario
}

fn named(name: &str) -> Scenario {
    scenario(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.txt")))
}

fn play(scenario: &Scenario) -> Comparison {
    compare(scenario, scenario.seed, &mut |_| {}).unwrap_or_else(|error| panic!("{}: {error}", scenario.name))
}

#[test]
fn every_scenario_gives_its_golden_output() {
    let mut differ = Vec::new();
    for path in scenarios() {
        let scenario = scenario(&path);
        let text = play(&scenario).text(&scenario);
        let golden = path.with_extension("golden");
        if std::env::var_os("STAFFEL_GOLDEN").is_some() {
            std::fs::write(&golden, &text).expect("write the golden output");
        }
        let before = std::fs::read_to_string(&golden).unwrap_or_default();
        if before != text {
            differ.push(format!("{}\n--- golden\n{before}\n--- now\n{text}", scenario.name));
        }
    }
    assert!(
        differ.is_empty(),
        "{}\nIf that is as it should be: STAFFEL_GOLDEN=1 cargo test -p staffel-sim golden",
        differ.join("\n")
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let scenario = named("stratum-2-percent");
    let bytes = |seed| {
        let comparison = compare(&scenario, seed, &mut |_| {}).expect("it runs");
        let curves: Vec<_> = comparison.policies.iter().map(|policy| policy.curve.clone()).collect();
        (comparison.text(&scenario), serde_json::to_string(&comparison).expect("JSON"), curves)
    };
    assert_eq!(bytes(7), bytes(7));
    assert_ne!(bytes(7).2, bytes(8).2);
}

#[test]
fn what_was_asked_of_19_july_2024_holds() {
    let comparison = play(&named("2024-07-19"));
    let exposed = |name: &str| {
        comparison.policies.iter().find(|policy| policy.name == name).map(|policy| policy.exposed).expect("a policy")
    };
    assert_eq!(exposed("then"), u64::from(CUT_TO));
    for profile in ["urgent", "standard", "careful"] {
        assert!(exposed(profile) <= 8, "{profile}: {}", exposed(profile));
    }
}

#[test]
fn a_simulation_in_which_silence_does_not_count_shows_the_harm() {
    let hidden = named("silence-hidden");
    let mut seen = hidden.clone();
    if let Some(fault) = &mut seen.fault {
        fault.harm = staffel_sim::Harm::Brick;
    }
    let (hidden, seen) = (play(&hidden).policies[0].bricked, play(&seen).policies[0].bricked);
    assert_eq!(hidden, 1_000);
    assert!(seen <= 4, "{seen}");
}

#[test]
fn what_must_hold_holds_in_random_scenarios() {
    let play = |seed: u64| check_seed(seed).err().map(|error| format!("staffel sim seed {seed}   # {error}"));
    let half = |first: u64| (first..200).step_by(2).filter_map(play).collect::<Vec<_>>();
    let failed = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut failed = half(0);
        failed.extend(other.join().expect("the other half was played"));
        failed
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn seeds_that_once_failed_do_not_fail_any_more() {
    for line in include_str!("../../seeds.txt").lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| panic!("seeds.txt: {line:?} does not begin with a seed"));
        check_seed(seed).unwrap_or_else(|error| panic!("staffel sim seed {seed}: {error}"));
    }
}
