//! Detection packs, from an author's folder through the gate: 19 July 2024 in small is refused there, a good pack passes.

use crate::fleet::{programs, sensor, show, skip};
use serde_json::Value;
use staffel_statement::{Envelope, predicate, predicate::Gate};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const RULE: &str = "title: Shell
id: 7c1fbb4e-0f1d-4a56-9c0c-3a3b4f6a1a01
logsource:
  product: linux
  category: process_creation
detection:
  shell:
    Image|endswith: /sh
  condition: shell
level: low
";

const EXAMPLES: &str = "{\"matches\": true, \"fields\": {\"Image\": \"/bin/sh\"}}
{\"matches\": false, \"fields\": {\"Image\": \"/bin/ls\"}}
";

pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let world = World { folder: tempfile::tempdir().expect("a folder") };
        let made = world.staffel(&["init", "--bins", "4", &world.text("staffel")]);
        assert!(made.status.success(), "{}", said(&made));
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn staffel(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_staffel")).args(arguments).output().expect("the program runs")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        fs::write(path, text).expect("it is written");
    }

    /// Builds the author's folder into a release of that name.
    fn pack(&self, name: &str, rule: &str, settings: &str) {
        self.write(&format!("{name}-pack/pack.toml"), &format!("name = \"{name}\"\nversion = 1\n{settings}"));
        self.write(&format!("{name}-pack/shell.yml"), rule);
        self.write(&format!("{name}-pack/shell.vectors.jsonl"), EXAMPLES);
        self.write(&format!("{name}/gate.toml"), "[hostile]\nseconds = 0.5\n");
        let release = format!("name = \"{name}\"\nversion = \"1\"\nsequence = 1\nkind = \"content\"\n");
        self.write(&format!("{name}/release.toml"), &release);
        fs::create_dir_all(self.path(&format!("{name}/files"))).expect("a folder");
        let (from, to) = (self.text(&format!("{name}-pack")), self.text(&format!("{name}/files/rules.pack.json")));
        let built = self.staffel(&["pack", "build", &from, "--out", &to]);
        assert!(built.status.success(), "{}", said(&built));
        let released = self.staffel(&["release", &self.text(name), "--dir", &self.text("staffel")]);
        assert!(released.status.success(), "{}", said(&released));
    }

    fn gate(&self, name: &str, guard: &Path, sensor: &Path) -> Output {
        let (guard, sensor) = (guard.display().to_string(), sensor.display().to_string());
        let folders = [self.text(name), self.text("staffel")];
        self.staffel(&[
            "gate",
            &folders[0],
            "--dir",
            &folders[1],
            "--soak",
            "1",
            "--guard",
            &guard,
            "--sensor",
            &sensor,
            "--report",
            &self.text(&format!("{name}.html")),
            "--report",
            &self.text(&format!("{name}.json")),
        ])
    }
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_gate_refuses_the_21st_field_of_20_and_attests_a_good_pack() {
    let guard = programs().guard;
    let Some(sensor) = sensor() else {
        return skip(
            "the_gate_refuses_the_21st_field",
            "the sensor's evaluator is missing (`./dev evaluator` makes it)",
        );
    };
    let world = World::new();

    // The author's events have a field more than devices supply. A wild card hides it from every example.
    let fields = world.staffel(&["pack", "fields", "--json"]);
    let mut catalogue: Value = serde_json::from_slice(&fields.stdout).expect("JSON");
    let process = catalogue["classes"][0]["fields"].as_array_mut().expect("a list");
    assert_eq!(process.len(), 20);
    process.push(serde_json::json!({ "name": "PipeName", "kind": "text" }));
    world.write("bad-pack/fields.json", &catalogue.to_string());
    let rule = RULE.replace("  condition: shell", "  pipe:\n    PipeName: '*'\n  condition: shell or pipe");
    world.pack("bad", &rule, "catalogue = \"fields.json\"\n");
    let refused = world.gate("bad", &guard, &sensor);
    let words = said(&refused);
    assert_eq!(refused.status.code(), Some(3), "{words}");
    let first = words.lines().next().unwrap_or_default();
    assert!(first.starts_with("FAILED  contract, rules.pack.json and sensor N"), "{words}");
    assert!(
        first.contains("the field PipeName of process_creation") && first.contains("supplies 20 fields"),
        "{words}"
    );
    show("19 July at the gate", first);
    let report = fs::read_to_string(world.path("bad.html")).expect("the report was written");
    assert!(report.contains("<p class=\"FAILED\">FAILED</p>") && report.contains("the field PipeName"), "{report}");
    let attestation = |name: &str| world.path(&format!("staffel/releases/{name}-1.gate.dsse.json"));
    assert!(!attestation("bad").exists(), "nothing was attested");

    world.pack("good", RULE, "");
    let passed = world.gate("good", &guard, &sensor);
    assert!(passed.status.success(), "{}", said(&passed));
    let envelope: Envelope =
        serde_json::from_slice(&fs::read(attestation("good")).expect("it was attested")).expect("an envelope");
    let gate: Gate = predicate::read(&envelope.payload().expect("a payload")).expect("a gate's statement");
    let consumers: Vec<&str> = gate.configuration.iter().map(|part| part.name.as_str()).collect();
    assert!(consumers.contains(&"staffel-sensor") && consumers.contains(&"evaluator.cwasm"), "{consumers:?}");
    for used in ["guard-ctl", "gate.toml", "release files", "recorded events ordinary.jsonl"] {
        assert!(consumers.contains(&used), "{used} in {consumers:?}");
    }
    assert_eq!(gate.passed_tests, ["contract", "consumers", "hostile", "undo", "budget", "lifecycle"]);
    assert_eq!(gate.attestation.checks, gate.passed_tests);
    let report = fs::read(world.path("good.json")).expect("the report was written");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!((&report["result"], report["passed"].as_array().map(Vec::len)), (&"PASSED".into(), Some(6)));
}

#[test]
fn an_author_reads_the_line_and_what_is_meant() {
    let world = World { folder: tempfile::tempdir().expect("a folder") };
    world.write("pack/pack.toml", "name = \"x\"\nversion = 1\n");
    world.write("pack/shell.yml", &RULE.replace("Image|", "Imagee|"));
    world.write("pack/shell.vectors.jsonl", EXAMPLES);
    let refused = world.staffel(&["pack", "build", &world.text("pack"), "--out", &world.text("out.json")]);
    let words = said(&refused);
    assert_eq!(refused.status.code(), Some(3), "{words}");
    assert!(words.contains("shell.yml:8: ") && words.contains("Image was meant?"), "{words}");
    assert!(!world.path("out.json").exists());
    let report = world.staffel(&["pack", "import", &world.text("pack")]);
    let words = said(&report);
    assert!(
        words.contains("0 of 1 files can be used") && words.contains("field Imagee of process_creation"),
        "{words}"
    );
}
