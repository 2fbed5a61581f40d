//! `staffel sim` as a person runs it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_staffel")).arg("sim").args(arguments).output().expect("the program ends")
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/scenarios").join(name)
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_run_prints_the_golden_output() {
    let file = scenario("small-clinic-20.txt");
    let golden = std::fs::read_to_string(file.with_extension("golden")).expect("the golden output");
    assert_eq!(printed(&sim(&["run", &file.to_string_lossy()])), golden);
}

#[test]
fn a_comparison_has_figures_and_charts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, charts) = (scenario("small-clinic-20.txt"), folder.path().to_string_lossy().into_owned());
    let output = sim(&["compare", "--json", "--seed", "5", "--charts", &charts, &file.to_string_lossy()]);
    let json: serde_json::Value = serde_json::from_str(&printed(&output)).expect("JSON");
    assert_eq!((json["seed"].as_u64(), json["policies"][0]["name"].as_str()), (Some(5), Some("standard")));
    assert_eq!(json["policies"][0]["exposed"].as_u64(), Some(1), "{json}");
    assert!(json["policies"][0]["halted_after_s"].as_u64().is_some(), "{json}");
    let svg = std::fs::read_to_string(folder.path().join("small-clinic-20.svg")).expect("the chart");
    assert!(svg.contains("everybody-at-once 20"), "{svg}");
    assert!(folder.path().join("small-clinic-20.png").exists());
}

#[test]
fn what_is_wrong_with_a_scenario_is_said_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.txt");
    std::fs::write(&file, "Why.\n[fleet]\ndevises = 3\n").expect("write it");
    let output = sim(&["run", &file.to_string_lossy()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("wrong.txt:3: [fleet] has no key \"devises\""), "{error}");
    assert_eq!(sim(&["run", "no-such-file.txt"]).status.code(), Some(4));
}

#[test]
fn random_scenarios_are_played_for_the_time_that_was_asked_for() {
    let text = printed(&sim(&["seeds", "1s", "--from", "1"]));
    assert!(text.contains("random scenarios, in each of them held what must hold"), "{text}");
    let text = printed(&sim(&["seed", "1"]));
    assert!(text.starts_with("scenario seed-1, seed 1: ") && text.contains("all that must hold holds"), "{text}");
}
