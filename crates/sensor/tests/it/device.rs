//! A whole sensor on this machine: real processes, folders and logs in, findings in its spool; and what is done to it.

use crate::support::{finds, shipped, show};
use rustix::process::{Pid, Signal, kill_process};
use staffel_sensor::{
    collect::Source,
    finding::{Finding, Found, Trouble},
    health::Health,
};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Far more than any of this takes, on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(300);

struct Sensor {
    folder: TempDir,
    child: Child,
}

impl Drop for Sensor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("it is ours");
}

fn start(folder: &Path, processes: &str) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("said")).expect("a file");
    Command::new(env!("CARGO_BIN_EXE_staffel-sensor"))
        .arg("--engine")
        .arg(folder.join("evaluator.cwasm"))
        .args(["run", "--processes", processes, "--state"])
        .arg(folder.join("state"))
        .arg("--watch")
        .arg(folder.join(".ssh"))
        .arg("--auth-log")
        .arg(folder.join("auth.log"))
        .arg("--content")
        .arg(folder.join("content.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts")
}

impl Sensor {
    fn new(test: &str, processes: &str) -> Option<Self> {
        shipped(test)?;
        let folder = tempfile::tempdir().expect("a folder");
        // A sensor that was started by root becomes somebody else, and has to get here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let engine = Path::new(env!("CARGO_BIN_EXE_staffel-sensor")).with_file_name("evaluator.cwasm");
        fs::copy(engine, folder.path().join("evaluator.cwasm")).expect("copied");
        fs::create_dir(folder.path().join(".ssh")).expect("made");
        fs::write(folder.path().join("auth.log"), "").expect("written");
        let child = start(folder.path(), processes);
        let sensor = Sensor { folder, child };
        sensor.wait("a sign of life", |sensor| sensor.health().filter(|health| health.processes.len() == 3));
        Some(sensor)
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.folder.path().join("said")).unwrap_or_default();
                panic!("{what} did not come; it says\n{said}\n{:#?}\n{:#?}", self.findings(), self.health());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, and waits for that.
    fn end(&mut self) {
        signal(self.child.id(), Signal::TERM);
        self.child.wait().expect("it ends");
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("state/spool")
    }

    fn health(&self) -> Option<Health> {
        serde_json::from_slice(&fs::read(self.spool().join("alive.json")).ok()?).ok()
    }

    fn pid(&self, role: &str) -> u32 {
        let find = |health: Health| health.processes.into_iter().find(|(is, ..)| is == role).map(|(_, pid, _)| pid);
        self.wait(role, |sensor| sensor.health().and_then(find))
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = fs::read_dir(self.spool())
            .expect("a folder")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with('0'))
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
            .collect();
        findings.sort_by_key(|finding| finding.number);
        findings
    }

    /// The fields of an alert of this class, one of whose fields holds this.
    fn alert(&self, class: &str, field: &str, holds: &str) -> (Finding, BTreeMap<String, String>) {
        self.wait(holds, |sensor| sensor.find_alert(class, field, holds))
    }

    fn find_alert(&self, class: &str, field: &str, holds: &str) -> Option<(Finding, BTreeMap<String, String>)> {
        self.findings().into_iter().find_map(|finding| match &finding.draft.what {
            Found::Match { class: of, fields, .. }
                if of == class && fields.get(field).is_some_and(|text| text.contains(holds)) =>
            {
                let fields = fields.clone();
                Some((finding, fields))
            }
            _ => None,
        })
    }

    fn trouble(&self, expected: Trouble, holds: &str) {
        self.wait(holds, |sensor| {
            sensor.findings().into_iter().find(|finding| {
                matches!(&finding.draft.what, Found::Sensor { trouble, detail, .. }
                    if *trouble == expected && detail.contains(holds))
            })
        });
    }

    fn log(&self, line: &str) {
        let mut log = fs::File::options().append(true).open(self.folder.path().join("auth.log")).expect("the log");
        writeln!(log, "Nov 22 15:06:57 ward-1 {line}").expect("written");
    }

    /// Whether so many lines of the log have become records.
    fn logged(&self, lines: u64) -> Option<Health> {
        self.health()
            .filter(|health| health.seen.get(&Source::Authentication).is_some_and(|seen| seen.records >= lines))
    }
}

/// A shell that a built-in rule matches; it ends with its input.
fn suspicious(marker: &str) -> Child {
    let script = format!("read line; : /dev/tcp/192.0.2.1/{marker}");
    Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("a shell")
}

#[test]
fn a_program_that_a_built_in_rule_matches_becomes_a_finding() {
    let mut by = Vec::new();
    for processes in ["connector", "poll"] {
        let Some(sensor) = Sensor::new("a_program_that_a_built_in_rule_matches", processes) else { return };
        let marker = format!("{processes}{}", std::process::id());
        // The kernel may drop one, and says so; a busy machine may still prepare one when it is looked at.
        let (mut children, begun) = (vec![suspicious(&marker)], Instant::now());
        let (finding, fields) = loop {
            if let Some(found) = sensor.find_alert("process_creation", "CommandLine", &marker) {
                break found;
            }
            if begun.elapsed() > 5 * children.len() as u32 * Duration::from_secs(1) {
                children.push(suspicious(&marker));
            }
            assert!(children.len() < 18, "{:#?}\n{:#?}", sensor.findings(), sensor.health());
            std::thread::sleep(Duration::from_millis(20));
        };
        let processes: Vec<String> = children.iter().map(|child| child.id().to_string()).collect();
        for mut child in children {
            drop(child.stdin.take());
            child.wait().expect("it ends");
        }
        let Found::Match { rule, severity, pack, tags, .. } = &finding.draft.what else { panic!("{finding:?}") };
        assert_eq!((rule.as_str(), pack.as_str()), ("89987b77-4908-5e78-93ec-c8dac730490d", "linux"));
        assert_eq!(serde_json::to_string(severity).expect("JSON"), "\"high\"");
        assert!(tags.contains(&"attack.t1059.004".to_string()), "{tags:?}");
        assert_eq!(finding.draft.count, 1);
        assert!(processes.contains(&fields["ProcessId"]), "{fields:?}");
        assert_eq!(fields["ParentProcessId"], std::process::id().to_string());
        assert!(fields["Image"].ends_with("/sh"), "{fields:?}");
        assert_eq!(fields["UserId"], rustix::process::getuid().as_raw().to_string());
        assert!(fields["CommandLine"].starts_with("sh -c read line"), "{fields:?}");
        by.push(sensor.health().expect("it lives").starts_by);
    }
    show("starts of programs are seen by", by[0].name());
    assert_eq!(by[1], Source::Poll);
}

#[test]
fn files_and_log_ins_become_findings_too() {
    let Some(sensor) = Sensor::new("files_and_log_ins_become_findings", "connector") else { return };
    let keys = sensor.folder.path().join(".ssh/authorized_keys");
    fs::write(&keys, "ssh-ed25519 AAAA").expect("written");
    let (_, fields) = sensor.alert("file_event", "TargetFilename", &keys.to_string_lossy());
    assert!(["create", "modify"].contains(&fields["Operation"].as_str()), "{fields:?}");
    sensor.log("sshd[411]: Failed password for root from 192.0.2.44 port 5001 ssh2");
    let (finding, fields) = sensor.alert("authentication", "SourceIp", "192.0.2.44");
    let fields: Vec<&str> = ["Program", "User", "Outcome", "Host"].map(|name| fields[name].as_str()).into();
    assert_eq!(fields, ["sshd", "root", "failure", "ward-1"]);

    // The same again is one finding with a count, when its time has come or the sensor ends.
    (0..20)
        .for_each(|port| sensor.log(&format!("sshd[411]: Failed password for root from 192.0.2.44 port {port} ssh2")));
    sensor.wait("all lines", |sensor| sensor.logged(21));
    signal(sensor.child.id(), Signal::TERM);
    let again = sensor.wait("the count", |sensor| {
        sensor
            .findings()
            .into_iter()
            .find(|other| other.number > finding.number && other.draft.what.key() == finding.draft.what.key())
    });
    assert_eq!(again.draft.count, 20);
}

#[test]
fn no_process_has_a_right_that_it_does_not_need() {
    let Some(mut sensor) = Sensor::new("no_process_has_a_right", "connector") else { return };
    let health = sensor.health().expect("it lives");
    let mut all = 0;
    for (role, pid, kib) in &health.processes {
        let mut threads = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").flatten() {
            let status = fs::read_to_string(task.path().join("status")).expect("it is readable");
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.map(str::trim).unwrap_or_default().to_string()
            };
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(field(set), "0000000000000000", "{role}: {status}");
            }
            assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"), "{role}: {status}");
            if rustix::process::geteuid().is_root() {
                assert_eq!(field("CapBnd"), "0000000000000000", "{role}: {status}");
                assert_eq!(field("Uid"), "65534\t65534\t65534\t65534", "{role}: {status}");
            }
            threads += 1;
        }
        assert!(threads > 0, "{role}");
        show(&format!("memory of the {role}, KiB"), kib);
        all += kib;
    }
    assert_eq!(health.processes.len(), 3);
    show("memory of all processes of a sensor, MiB (aim 60)", format!("{:.1}", all as f64 / 1_024.0));
    show("lacking on this machine", format!("{:?}", health.lacking));
    // The sockets and files of others stay theirs.
    for role in ["collector", "evaluator"] {
        let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", sensor.pid(role)))
            .expect("its descriptors")
            .flatten()
            .filter_map(|link| fs::read_link(link.path()).ok())
            .map(|target| target.display().to_string())
            .filter(|target| {
                !["pipe:", "/dev/null", "/memfd:wasm", "/proc"].iter().any(|usual| target.starts_with(usual))
            })
            .collect();
        assert_eq!(open, [] as [String; 0], "{role}");
    }

    // Its own end takes the others along, and is known afterwards.
    let pids: Vec<u32> = ["collector", "evaluator"].map(|role| sensor.pid(role)).into();
    sensor.child.kill().expect("it is ours");
    sensor.child.wait().expect("it ends");
    // One that nobody has buried yet has no arguments any more.
    let ended = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |arguments| arguments.is_empty());
    sensor.wait("the end of all", |_| pids.iter().all(ended).then_some(()));
    sensor.child = start(sensor.folder.path(), "connector");
    sensor.trouble(Trouble::Killed, "without a goodbye");
}

#[test]
fn kills_and_stops_are_findings_and_lose_nothing() {
    let Some(sensor) = Sensor::new("kills_and_stops_are_findings", "connector") else { return };
    let (mut lines, rounds) = (0, 4);
    for round in 0..rounds {
        for role in ["collector", "evaluator"] {
            let pid = sensor.pid(role);
            let say = |count: u64| (0..count).for_each(|n| sensor.log(&format!("cron[{round}]: {role} {n}")));
            say(20);
            signal(pid, if round == 0 { Signal::STOP } else { Signal::KILL });
            say(20);
            lines += 40;
            let another =
                |health: Health| health.processes.iter().any(|(is, now, _)| is == role && *now != pid).then_some(());
            sensor.wait("another process", |sensor| another(sensor.health()?));
        }
    }
    for role in ["collector", "evaluator"] {
        sensor.trouble(Trouble::Stopped, role);
        sensor.trouble(Trouble::Killed, role);
    }
    let health = sensor.wait("all lines", |sensor| sensor.logged(lines));
    let seen = &health.seen[&Source::Authentication];
    assert_eq!((seen.records, seen.unreadable, seen.chunks_lost), (lines, 0, 0));
    assert_eq!((health.metrics.lost, health.metrics.dropped), (0, 0), "{:?}", health.metrics);
    let made: u64 = health.seen.values().map(|seen| seen.records).sum();
    assert_eq!(health.metrics.records, made, "every record was evaluated");
    let connector = health.seen.get(&Source::Connector).cloned().unwrap_or_default();
    show("process starts seen, messages that the kernel dropped", format!("{}, {}", connector.records, connector.lost));
    show("kills and stops, lines of the log, lost", format!("{}, {lines}, 0", 2 * rounds));
}

#[test]
fn what_is_blind_as_before_is_not_said_again_after_a_restart() {
    let Some(mut sensor) = Sensor::new("what_is_blind_as_before", "poll") else { return };
    let log = sensor.folder.path().join("auth.log");
    let said = |sensor: &Sensor| -> Vec<String> {
        let found = sensor.findings().into_iter().filter_map(|finding| match finding.draft.what {
            Found::Sensor { trouble: Trouble::Blind, detail, .. } => Some(detail),
            _ => None,
        });
        found.collect()
    };
    let restart = |sensor: &mut Sensor| {
        sensor.end();
        sensor.child = start(sensor.folder.path(), "poll");
        let pid = sensor.child.id();
        let runs =
            |health: &Health| health.processes.len() == 3 && health.processes.iter().any(|(_, one, _)| *one == pid);
        sensor.wait("the next start", |sensor| sensor.health().filter(runs))
    };
    fs::remove_file(&log).expect("removed");
    sensor.trouble(Trouble::Blind, "auth.log");
    let first = said(&sensor);
    assert!(first.iter().any(|detail| detail.starts_with("looks at /proc")), "{first:?}");
    // It is so, and it is known.
    assert!(restart(&mut sensor).blind.contains_key(&Source::Authentication));
    assert_eq!(said(&sensor), first);
    // It was seen, and then no more.
    fs::write(&log, "").expect("written");
    let kept = sensor.folder.path().join("state/blind.json");
    let seen = || fs::read_to_string(&kept).is_ok_and(|text| !text.contains("auth.log"));
    sensor.wait("sight", |_| seen().then_some(()));
    fs::remove_file(&log).expect("removed");
    restart(&mut sensor);
    let now = said(&sensor);
    assert!(now.len() == first.len() + 1 && now.last().is_some_and(|detail| detail.contains("auth.log")), "{now:?}");
}

#[test]
fn content_is_kept_in_a_folder_that_was_somebody_elses_already() {
    let Some(mut sensor) = Sensor::new("content_is_kept_in_a_folder", "poll") else { return };
    // As the system makes it: the sensor's user has a folder, and nothing is in it.
    sensor.end();
    fs::remove_dir_all(sensor.folder.path().join("state/packs")).expect("removed");
    sensor.child = start(sensor.folder.path(), "poll");
    let offer = |bytes: &[u8]| {
        let new = sensor.folder.path().join("new");
        fs::write(&new, bytes).expect("written");
        fs::rename(new, sensor.folder.path().join("content.json")).expect("renamed");
    };
    offer(b"no pack");
    let said = || fs::read_to_string(sensor.folder.path().join("said")).unwrap_or_default();
    sensor.wait("the refusal", |_| said().contains("content.json: not taken, Form").then_some(()));
    offer(&finds(7, "/opt/x").write());
    sensor.wait("the pack", |sensor| sensor.health()?.pack.filter(|pack| pack == "linux 7"));
}

#[test]
fn changed_files_are_findings() {
    let Some(sensor) = Sensor::new("changed_files_are_findings", "connector") else { return };
    fs::write(sensor.folder.path().join("evaluator.cwasm"), "another").expect("written");
    sensor.trouble(Trouble::Modified, "evaluator.cwasm");
    let manifest = sensor.folder.path().join("state/manifest.json");
    fs::write(&manifest, "{\"active\":{\"digest\":\"00\",\"name\":\"evil\",\"version\":9},\"previous\":null}")
        .expect("written");
    sensor.trouble(Trouble::Modified, "the manifest");
    let mended = || fs::read_to_string(&manifest).is_ok_and(|text| !text.contains("evil"));
    sensor.wait("the mending", |_| mended().then_some(()));
    // What is gone is said, and its return is seen.
    fs::remove_file(sensor.folder.path().join("auth.log")).expect("removed");
    sensor.trouble(Trouble::Blind, "auth.log");
    fs::write(sensor.folder.path().join("auth.log"), "").expect("written");
    sensor.wait("sight", |sensor| (!sensor.health()?.blind.contains_key(&Source::Authentication)).then_some(()));
}
