//! What a person does when a device needs help: remedies from the first signature to the guard's word on them, and taking a
//! halt back. Real processes, the commands that a person would type.

use crate::fleet::{Fleet, show};
use serde_json::Value;
use staffel_cli::lab::{Options, Spec, release_folder};
use staffel_core::ids::Digest;
use std::path::PathBuf;

const AT_ONCE: [(u64, u32); 1] = [(0, 100)];

/// Runs into a file `crash` beside its state, which says how often, and removes it after the last time: a test that is held up
/// must not find that the patience of the guard is over meanwhile.
const CRASH: &str = "if [ -e \"$1/crash\" ]; then left=$(cat \"$1/crash\"); \
    if [ \"$left\" -gt 1 ]; then echo $((left - 1)) > \"$1/crash.next\"; mv -f \"$1/crash.next\" \"$1/crash\"; \
    else rm -f \"$1/crash\"; fi; exit 7; fi; ";

/// Beats for as long as nobody puts a file `crash` beside its state.
fn write_release(fleet: &Fleet, version: u64) -> PathBuf {
    let source = fleet.lab.folder.join(format!("counter-{version}"));
    let description = format!(
        "name = \"counter\"\nversion = \"{version}\"\nsequence = {version}\n[service]\n\
         exec = [\"./bin/counter\", \"{{state}}\"]\n[[probes]]\nprobe = \"process\"\n"
    );
    let crash = if version == 2 { CRASH } else { "" };
    let counter = format!("#!/bin/sh\nwhile :; do {crash}echo {version} >> \"$1/beats\"; sleep 0.1; done\n");
    release_folder(&source, &description, &[("bin/counter", counter.as_bytes())]).expect("a release folder");
    source
}

struct Patient<'a> {
    fleet: &'a Fleet,
    folder: PathBuf,
}

impl Patient<'_> {
    fn state(&self, name: &str) -> PathBuf {
        self.folder.join("guard/state/counter").join(name)
    }

    /// The service crashes so many times.
    fn crashes(&self, times: u32) {
        std::fs::write(self.state("crash.new"), times.to_string()).expect("written");
        std::fs::rename(self.state("crash.new"), self.state("crash")).expect("renamed");
    }

    fn beats(&self) -> usize {
        std::fs::read_to_string(self.state("beats")).unwrap_or_default().lines().count()
    }

    fn beats_on(&self) {
        let before = self.beats();
        self.fleet.wait("the service to go on", |_| Ok(self.beats() > before));
    }

    fn runs(&self) -> Value {
        self.fleet.json(&["device", "show", "pc-1"])["running"]["counter"].clone()
    }

    /// Signs with these keys; the file.
    fn signed(&self, keys: &[&str], act: &[&str]) -> String {
        let file = self.fleet.lab.folder.join("remedy.json").to_string_lossy().into_owned();
        let keys = keys.iter().flat_map(|key| ["--key", *key]);
        let line: Vec<&str> =
            ["remedy", "sign", "pc-1", "--out", &file, "--case", "c1"].into_iter().chain(keys).collect();
        self.fleet.lab.staffel_ok(&[&line, act].concat()).expect("it is signed");
        file
    }

    /// Sends a remedy and waits for the guard's word on it.
    fn sent(&self, file: &str) -> Value {
        let sent = self.fleet.json(&["remedy", "send", file]);
        assert_eq!(sent["state"], "waiting", "{sent}");
        let mut heard = Value::Null;
        self.fleet.wait("the guard's word on the remedy", |_| {
            let all = self.fleet.json(&["remedy", "ls", "--device", "pc-1"]);
            let ours = |view: &&Value| view["sequence"] == sent["sequence"];
            heard = all.as_array().and_then(|all| all.iter().find(ours)).cloned().unwrap_or_default();
            Ok(heard["state"] != "waiting")
        });
        heard
    }

    fn done(&self, keys: &[&str], act: &[&str]) -> Value {
        let heard = self.sent(&self.signed(keys, act));
        assert_eq!(heard["state"], "done", "{heard}");
        heard
    }
}

#[test]
fn a_device_that_left_its_version_is_brought_back_and_foreign_things_take_two_people() {
    let mut fleet = Fleet::new(2, Options::default());
    for version in [1, 2] {
        let source = write_release(&fleet, version);
        assert_eq!(fleet.ended(fleet.ship(&source, &AT_ONCE)).confirmed, 2);
    }
    let folder = fleet.lab.machines[0].folder.clone();
    let patient = Patient { fleet: &fleet, folder: folder.clone() };
    patient.beats_on();

    // What it needs is away for a moment, and somebody pulls the plug meanwhile: nothing is taken back.
    patient.crashes(4);
    let log = || std::fs::read_to_string(folder.join("guard.log")).unwrap_or_default();
    fleet.wait("two crashes", |_| Ok(log().contains("crash 2 of 6")));
    std::fs::write(folder.join("sysrq-trigger"), "c").expect("written");
    fleet.wait("a crash after the power came back", |_| Ok(log().contains("crash 3 of 6")));
    patient.beats_on();
    fleet.all_run("counter", "2");

    // It stays away: the device goes back by itself, says why, and keeps what it left.
    patient.crashes(1_000);
    fleet.wait("version 1", |_| Ok(patient.runs() == "1"));
    let said = fleet.wait_for_words(0, &["left and kept: generation", "counter crashed 6 times"]);
    show("left", &said);
    let kept = said.split("generation ").nth(1).and_then(|rest| rest.split(' ').next()).expect("its id");
    fleet.wait("the operator to see it", |_| Ok(fleet.json(&["device", "why", "pc-1"]).to_string().contains(kept)));
    std::fs::remove_file(patient.state("crash")).expect("it was there");
    let heard = patient.done(&["operator-1"], &["go-to", kept]);
    assert_eq!(heard["why"], "remedy: the generation that was left");
    fleet.all_run("counter", "2");

    // A foreign file: one operator is not enough, two are, and it can be put back.
    let driver = folder.join("host/opt/C-00000291-1.sys");
    std::fs::write(&driver, [0; 4096]).expect("written");
    let hash = Digest::of(&[0; 4096]).to_string();
    let file = patient.signed(&["operator-1"], &["quarantine-file", "/opt/C-*.sys", &hash]);
    let (code, error) = fleet.refusal(&["remedy", "send", &file]);
    assert!(code == Some(3) && error.contains("remedy approve"), "{error}");
    assert_eq!(fleet.refusal(&["remedy", "approve", &file, "--key", "operator-1", "--yes"]).0, Some(3), "twice");
    assert_eq!(fleet.json(&["remedy", "approve", &file, "--key", "operator-2", "--yes"])["signatures"], 2);
    let heard = patient.sent(&file);
    assert!(
        heard["state"] == "done" && heard["why"].as_str().is_some_and(|why| why.contains("was moved to")),
        "{heard}"
    );
    assert!(!driver.exists());
    let (code, error) = fleet.refusal(&["remedy", "send", &file]);
    assert!(code == Some(3) && error.contains("sequence"), "sent again: {error}");
    let both = ["operator-1", "operator-2"];
    patient.done(&both, &["restore-file", &hash]);
    assert_eq!(std::fs::read(&driver).expect("it is back"), [0; 4096]);
    let outside = patient.sent(&patient.signed(&both, &["quarantine-file", "/etc/hostname", &hash]));
    assert!(outside["state"] == "failed" && outside["why"].to_string().contains("--quarantine-root"), "{outside}");

    // A service is disabled and enabled; safe mode is entered and left.
    patient.done(&both, &["disable-service", "counter"]);
    let before = patient.beats();
    patient.done(&["operator-2"], &["stay-safe", "somebody looks at it"]);
    fleet.wait("safe mode", |_| {
        Ok(fleet.json(&["device", "show", "pc-1"])["mode"] == "safe: somebody looks at it (remedy 6 of case c1)")
    });
    patient.done(&["operator-2"], &["leave-safe"]);
    assert_eq!(patient.beats(), before, "it is disabled");
    patient.done(&both, &["enable-service", "counter"]);
    patient.beats_on();
    let why = fleet.lab.staffel_ok(&["device", "why", "pc-1"]).expect("it answers");
    for part in
        ["remedy 1: go to generation", "done: remedy: the generation that was left", "remedy 7: leave safe mode"]
    {
        assert!(why.contains(part), "{part} in {why}");
    }

    // Who asked for what and what came of it stands in the log, and survives the server.
    fleet.lab.kill_server();
    fleet.lab.start_server().expect("it starts");
    let after: Vec<Value> = serde_json::from_value(fleet.json(&["remedy", "ls"])).expect("a list");
    let states: Vec<&str> = after.iter().filter_map(|view| view["state"].as_str()).collect();
    assert_eq!(states, ["done", "done", "done", "failed", "done", "done", "done", "done"]);
    assert!(after.iter().all(|view| view["by"] == "admin" && view["name"] == "clinic/ward-b/pc-1"), "{after:?}");
    fleet.log_is_sound();
}

#[test]
fn two_releasers_take_a_halt_back_and_every_device_believes_them() {
    let mut fleet = Fleet::new(2, Options::default());
    assert_eq!(fleet.ended(fleet.ship(&write_release(&fleet, 1), &AT_ONCE)).confirmed, 2);
    // Nobody's turn yet, and halted by an operator: every device denies what it has never run.
    let second = write_release(&fleet, 2);
    let id = fleet.ship(&second, &[(3_600, 100)]);
    fleet.json(&["rollout", "halt", &id.to_string(), "--why", "a mistake of ours"]);
    for machine in &fleet.lab.machines {
        let log = machine.folder.join("guard.log");
        fleet.wait("the guard to deny it", |_| Ok(std::fs::read_to_string(&log)?.contains("denied; not running here")));
    }
    assert!(fleet.refused_start(&second, &AT_ONCE).contains("was halted"));

    // What the server had signed by itself is the same after a restart, so what was signed against it still holds.
    let file = fleet.lab.folder.join("unhalt.json");
    let say = |fleet: &Fleet, releaser: &str, more: &[&str]| {
        let file = file.to_string_lossy();
        let line = ["rollout", "unhalt", "2", "--releaser", releaser, "--file", &file];
        fleet.lab.staffel(&[&line, more].concat()).expect("the program runs")
    };
    let one = say(&fleet, "releaser-1", &["--why", "it was the power"]);
    assert!(one.status.success(), "{one:?}");
    assert_eq!(say(&fleet, "releaser-1", &["--yes"]).status.code(), Some(3), "one person is not two");
    fleet.lab.kill_server();
    fleet.lab.start_server().expect("it starts");
    let two = say(&fleet, "releaser-3", &["--yes"]);
    assert!(two.status.success(), "{two:?}");
    assert!(String::from_utf8_lossy(&two.stdout).contains("it was the power"), "{two:?}");
    assert_eq!(say(&fleet, "releaser-2", &["--yes"]).status.code(), Some(3), "there is nothing left to take back");
    assert_eq!(fleet.rollout(id).state, "halted", "a halted rollout stays halted");

    // Its release goes out by a rollout of its own, also after the server has forgotten everything but its log.
    fleet.lab.kill_server();
    fleet.lab.start_server().expect("it starts");
    assert_eq!(fleet.ended(fleet.start(&second, &AT_ONCE)).confirmed, 2);
    fleet.all_run("counter", "2");
    let kinds = fleet.json(&["log", "ls", "--max", "1000"]);
    assert!(kinds.as_array().is_some_and(|all| all.iter().any(|entry| entry["kind"] == "halt.taken-back")), "{kinds}");
    fleet.log_is_sound();
}

#[test]
fn a_policy_counts_only_with_the_customers_own_key() {
    let fleet = Fleet::new(1, Options::default());
    let file = fleet.lab.folder.join("policy.toml");
    std::fs::write(&file, "freeze = \"quarter end\"").expect("written");
    let file = file.to_string_lossy().into_owned();
    let (code, error) = fleet.refusal(&["tenant", "policy", "clinic", &file, "--key", "operator-1"]);
    assert!(code == Some(3) && error.contains("the policy does not hold"), "{error}");
    assert_eq!(fleet.json(&["tenant", "policy", "clinic", &file])["policy_sequence"], 2);
}

#[test]
fn a_retired_device_is_heard_no_more_and_its_name_is_free() {
    let mut fleet = Fleet::new(1, Options::default());
    fleet.json(&["device", "retire", "pc-1", "--why", "stolen"]);
    // Its key is good for nothing, and its own words say what to do.
    fleet.wait_for_words(0, &["does not take this device's certificate"]);
    let devices = fleet.json(&["device", "ls"]);
    assert_eq!((&devices[0]["presence"], devices.as_array().map(Vec::len)), (&"retired".into(), Some(1)), "{devices}");
    assert_eq!(fleet.refusal(&["device", "retire", "pc-1", "--why", "again"]).0, Some(4), "nobody has that name now");
    let id = devices[0]["device"].as_str().expect("an id").to_string();
    assert_eq!(fleet.refusal(&["device", "clear-clone", &id, "--why", "it is one"]).0, Some(3));
    let spec = Spec { tenant: "clinic", site: "ward-b", name: "pc-1", os_build: "debian-12.11", hardware_model: "box" };
    fleet.lab.machine(spec).expect("another machine takes its name");
    fleet.wait("the new one to check in", |lab| Ok(lab.client()?.device_why("pc-1")?.device.presence == "alive"));
}
