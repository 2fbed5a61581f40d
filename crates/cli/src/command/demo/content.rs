//! `staffel demo --content`: 19 July 2024, played at three lines. On each machine runs the real sensor, and its evaluator is
//! the one of that day, which takes inputs by their number. The gate refuses the pack; then two releasers waive the gate, and
//! what happens stays on the first machines. Must stay out: anything that tells the product what is wrong.

use super::{PATIENCE, ended, seconds, show::Screen, stopped, summary::Content};
use crate::{
    command::gate::sibling,
    lab::{Lab, Spec, release_folder},
};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use staffel_core::policy::CustomerPolicy;
use staffel_pack::{
    Catalogue, Field, Kind, Pack,
    format::{Ask, FORMAT, Glob, Level, Piece, Rule, Scalar, Step, Test, Vector, Wild},
};
use staffel_server::api::RolloutView;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

const MACHINES: usize = 4;
/// What its pack calls a failed log-in.
const LOG_IN: &str = "Failed log-in as root";
/// K: at most this many exposed at a time.
const BUDGET: &str = "2";

/// Feeds the sensor with an ordinary machine's events. The guard's folder lies three above a release's.
const RUN: &str = "#!/bin/sh
root=$(cd ../../.. && pwd)
while :; do echo '{\"class\": \"process_creation\", \"fields\": {\"Image\": \"/usr/bin/true\"}}'; sleep 0.3; done |
  exec PROGRAMS/staffel-sensor --engine PROGRAMS/hostile.cwasm run --stdin --state \"$1\" --content \"$root/current/pack/rules.pack.json\"
";
const SENSOR: &str = "name = \"sensor\"\nversion = \"1\"\nsequence = 1\n[service]\nexec = [\"./bin/run\", \"{state}\"]\n\
[[probes]]\nprobe = \"process\"\n";

/// Whether the sensor runs this pack. The gate's machine has no sensor of its own: there the gate asks it itself.
const CHECK: &str = "#!/bin/sh
sensor=$(dirname \"$1\")/sensor
[ -d \"$sensor\" ] || exit 0
exec PROGRAMS/staffel-sensor status --state \"$sensor\" --content rules.pack.json
";
const PACK: &str = "name = \"pack\"\nversion = \"VERSION\"\nsequence = VERSION\nkind = \"content\"\n[[probes]]\n\
probe = \"command\"\nexec = [\"./bin/check\", \"{state}\"]\n";

/// Runs all of it in a laboratory without machines.
pub fn run(lab: &mut Lab, screen: &mut Screen) -> Result<Content> {
    lab.tenant("clinic", CustomerPolicy::default())?;
    for n in 1..=MACHINES {
        let name = format!("ward-{n}");
        let (os_build, hardware_model) = ("debian-12.11", "terminal-x1");
        // The first one has a sensor that sees for itself, beside the one of that day, which is fed.
        lab.options.sensors = n == 1;
        lab.machine(Spec { tenant: "clinic", site: "ward", name: &name, os_build, hardware_model })?;
    }
    lab.wait_for("all machines to check in", PATIENCE, |lab| Ok(lab.client()?.status()?.alive as usize == MACHINES))?;
    install(lab)?;
    let content = lab.machines[0].folder.join("guard/current/pack/rules.pack.json");
    let (_sensor, log) = lab.start_sensor(0, &sibling("staffel-sensor")?, Some(&content))?;
    let sensor = lab.folder.join("sensor-1");
    let program = RUN.replace("PROGRAMS", &programs(lab));
    release_folder(&sensor, SENSOR, &[("bin/run", program.as_bytes())])?;
    let sensor = sensor.to_string_lossy().into_owned();
    screen.run(lab, &["release", &sensor], "release sensor-1/")?;
    screen.run(lab, &["gate", &sensor, "--soak", "2"], "gate sensor-1/ --soak 2")?;
    completed(lab, screen, "sensor", 1)?;
    release(lab, screen, 1, &pack("good", 1, None))?;
    let (folder, consumer) = (folder(lab, 1), sibling("staffel-sensor")?.to_string_lossy().into_owned());
    screen.run(lab, &["gate", &folder, "--soak", "2", "--sensor", &consumer], "gate pack-1/ --soak 2")?;
    completed(lab, screen, "pack", 1)?;
    all_run(lab, "good 1")?;

    screen.say("");
    screen.say("A pack whose rule uses a 21st field where devices supply 20; a wild card hides it from every example.");
    release(lab, screen, 2, &pack("good", 2, Some("PipeName")))?;
    let refused = screen.refused(lab, &["gate", &self::folder(lab, 2), "--sensor", &consumer], "gate pack-2/")?;
    let waived = waived(lab, screen, 2, "the field PipeName of process_creation")?;

    screen.say("");
    screen.say("A pack that only the evaluator of that day dies of: it takes the 21st of 20 inputs.");
    release(lab, screen, 3, &pack("by-position", 3, None))?;
    let contained = self::waived(lab, screen, 3, "out of bounds memory access")?;
    let gap_ms = longest_gap_ms(lab);

    screen.say("");
    screen.say(
        "What all of this is for: somebody tries to log in to ward-1 as root, and the first pack still runs there.",
    );
    let alert = log_in(lab, screen, &log)?;
    Ok(Content {
        machines: MACHINES,
        refused: refused.lines().next().unwrap_or_default().trim_start_matches("staffel: ").into(),
        waived,
        contained,
        longest_gap_ms: gap_ms.context("no sensor says how long it had no evaluator")?,
        alert,
    })
}

/// Writes a failed log-in into the log that the sensor of the first machine follows, until it is an alert at the terminal.
fn log_in(lab: &Lab, screen: &mut Screen, log: &Path) -> Result<super::summary::Alert> {
    let line = "2026-11-22T08:15:00+00:00 ward-1 sshd[411]: Failed password for root from 192.0.2.44 port 5001 ssh2\n";
    screen.say(&format!("  /var/log/auth.log: {}", line.trim_end()));
    let begun = Instant::now();
    std::fs::OpenOptions::new().append(true).open(log)?.write_all(line.as_bytes())?;
    let list = ["alert", "ls", "--device", "ward-1", "--text", LOG_IN];
    let mut found = None;
    lab.wait_for("the failed log-in to be an alert", PATIENCE, |lab| {
        found = lab.staffel_ok(&list)?.lines().find(|line| line.contains(LOG_IN)).map(String::from);
        Ok(found.is_some())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    screen.run(lab, &list, &format!("alert ls --device ward-1 --text {LOG_IN:?}"))?;
    let line = found.context("the alert is gone")?;
    Ok(super::summary::Alert { line: line.split_whitespace().collect::<Vec<_>>().join(" "), seconds })
}

/// Sensor and evaluator where every user of the machine may run them.
fn install(lab: &Lab) -> Result<()> {
    let folder = lab.folder.join("programs");
    std::fs::create_dir_all(&folder)?;
    for name in ["staffel-sensor", "hostile.cwasm"] {
        let from = sibling(name)?;
        std::fs::copy(&from, folder.join(name)).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(())
}

fn programs(lab: &Lab) -> String {
    lab.folder.join("programs").display().to_string()
}

fn folder(lab: &Lab, version: u64) -> String {
    lab.folder.join(format!("pack-{version}")).display().to_string()
}

fn release(lab: &Lab, screen: &mut Screen, version: u64, pack: &Pack) -> Result<()> {
    let source = PathBuf::from(folder(lab, version));
    let check = CHECK.replace("PROGRAMS", &programs(lab));
    let files = [("rules.pack.json", pack.write()), ("bin/check", check.into_bytes())];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    release_folder(&source, &PACK.replace("VERSION", &version.to_string()), &files)?;
    screen.run(lab, &["release", &source.to_string_lossy()], &format!("release pack-{version}/"))
}

/// Rolls out; answers how it ended.
fn roll_out(lab: &Lab, screen: &mut Screen, name: &str, version: u64) -> Result<RolloutView> {
    ended(lab, screen, &["rollout", "start", name, &version.to_string(), "--profile", "demo", "--budget", BUDGET])
}

fn completed(lab: &Lab, screen: &mut Screen, name: &str, version: u64) -> Result<()> {
    let view = roll_out(lab, screen, name, version)?;
    if view.state == "completed" { Ok(()) } else { Err(stopped(lab, &view, "it should have reached every machine")) }
}

/// Waives the gate and rolls out. The rollout must be halted for this reason, and every sensor runs the pack before.
fn waived(lab: &Lab, screen: &mut Screen, version: u64, why: &str) -> Result<super::summary::Waived> {
    let waive = ["gate", &folder(lab, version), "--waive", "an attack is under way"];
    screen.run(lab, &waive, &format!("gate pack-{version}/ --waive \"an attack is under way\""))?;
    // It buys little: more than a hundred at a time are never exposed to what no gate has seen.
    let all = ["rollout", "start", "pack", &version.to_string(), "--profile", "demo", "--budget", "101"];
    screen.refused(lab, &all, &all.join(" "))?;
    let view = roll_out(lab, screen, "pack", version)?;
    if view.state != "halted" {
        return Err(stopped(lab, &view, "it should have been halted"));
    }
    all_run(lab, "good 1")?;
    let told = lab.staffel_ok(&["rollout", "why", &view.rollout.to_string()])?;
    let Some(evidence) = told.lines().find(|line| line.contains(why)) else {
        bail!("nobody was told {why:?}: {told}");
    };
    let touched = (0..lab.machines.len()).filter(|&at| aside(lab, at).contains(why)).count();
    // Behind the path of the probe's program, which is long here.
    let why = evidence.rsplit_once("ended with status 3: ").map_or(evidence, |(_, why)| why).trim().into();
    Ok(super::summary::Waived { exposed: view.exposed_ever, touched, seconds: seconds(&view), why })
}

/// Waits until every machine's sensor runs this pack.
fn all_run(lab: &Lab, pack: &str) -> Result<()> {
    lab.wait_for(&format!("every sensor to run {pack}"), PATIENCE, |lab| {
        Ok((0..lab.machines.len()).all(|at| {
            let active = &manifest(lab, at)["active"];
            format!("{} {}", active["name"].as_str().unwrap_or_default(), active["version"]) == pack
        }))
    })
}

fn of_sensor(lab: &Lab, at: usize, file: &str) -> Value {
    let path = lab.machines[at].folder.join("guard/state/sensor").join(file);
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn manifest(lab: &Lab, at: usize) -> Value {
    of_sensor(lab, at, "manifest.json")
}

/// What a sensor put aside or did not take.
fn aside(lab: &Lab, at: usize) -> String {
    let manifest = manifest(lab, at);
    format!("{} {}", manifest["quarantined"], manifest["refused"])
}

/// Over all machines.
fn longest_gap_ms(lab: &Lab) -> Option<f64> {
    let gaps = (0..lab.machines.len()).filter_map(|at| of_sensor(lab, at, "metrics.json")["longest_gap_us"].as_f64());
    gaps.map(|gap| gap / 1_000.0).max_by(f64::total_cmp)
}

/// A pack that alerts on one program and on failed log-ins. `hidden`: a field that a wild card asks for and no example needs.
fn pack(name: &str, version: u64, hidden: Option<&str>) -> Pack {
    let mut authors = Catalogue::linux();
    authors.classes[0].fields.extend(hidden.map(|name| Field { name: name.into(), kind: Kind::Text }));
    let like =
        |field: &str, piece| Test { field: Some(field.into()), every: false, ask: Ask::Like(vec![Glob(vec![piece])]) };
    let text = |text: &str| Piece::Text(text.into());
    let mut tests = vec![like("Image", text("/opt/evil"))];
    tests.extend(hidden.map(|field| like(field, Piece::Wild(Wild::Many(())))));
    // "Or": the hidden field never decides.
    let mut condition = vec![Step::Test(0)];
    if hidden.is_some() {
        condition.extend([Step::IfYes(3), Step::Test(1)]);
    }
    let rule = |id: &str, title: &str, class: &str, tests, condition| Rule {
        id: id.into(),
        title: title.into(),
        level: Level::High,
        tags: Vec::new(),
        class: class.into(),
        tests,
        condition,
    };
    let failed = vec![like("User", text("root")), like("Outcome", text("failure"))];
    let both = vec![Step::Test(0), Step::IfNo(3), Step::Test(1)];
    let rules = vec![
        rule("r", "A program that nobody wants", "process_creation", tests, condition),
        rule("l", LOG_IN, "authentication", failed, both),
    ];
    let need = |rule: &Rule| {
        let fields = rule.tests.iter().filter_map(|test| test.field.clone()).collect();
        let class = authors.classes.iter().find(|class| class.name == rule.class);
        class.map(|class| Pack::need_of(class, &fields))
    };
    let needs = rules.iter().filter_map(need).collect();
    let vector = |rule: &str, matches, fields: &[(&str, &str)]| Vector {
        rule: rule.into(),
        matches,
        fields: fields.iter().map(|(name, text)| (name.to_string(), Scalar::Text(text.to_string()))).collect(),
    };
    let vectors = vec![
        vector("r", true, &[("Image", "/opt/evil")]),
        vector("r", false, &[("Image", "/bin/good")]),
        vector("l", true, &[("User", "root"), ("Outcome", "failure")]),
        vector("l", false, &[("User", "root"), ("Outcome", "success")]),
    ];
    Pack { format: FORMAT, name: name.into(), version, needs, rules, vectors }
}
