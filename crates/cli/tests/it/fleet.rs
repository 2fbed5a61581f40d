//! What the end-to-end tests share: the programs, a laboratory of their own, rollouts, and looking at machines from outside.
//! Must stay out: what is expected of them.

use serde_json::Value;
use staffel_agent::{directory::Directory, status::AgentStatus};
use staffel_cli::lab::{Lab, Options, Programs, Spec, release_folder};
use staffel_core::{
    conditions::{Authorisation, Unit},
    ids::{Digest, Share},
    policy::CustomerPolicy,
    profile::{CeilingStep, ProfileName},
};
use staffel_server::{api::RolloutView, engine::record::Record};
use staffel_statement::{
    Envelope,
    predicate::{Headed, Header, sign},
};
use staffel_store::{ReadLog as _, SqliteLog};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Longest wait for anything: a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Fleets that run at the same time. Each is a dozen processes a machine; more would only starve one another. `./dev test`
/// holds the last one's lock while it builds.
const FLEETS: usize = 3;

/// The right to run a fleet now; ends with the process at the latest.
pub struct Turn(#[allow(dead_code, reason = "holds the lock")] File);

/// Waits for a turn. The lock is a file's, because each test may be a process of its own.
pub fn turn() -> Turn {
    let folder = target().join("tmp");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    let open = |n: usize| File::create(folder.join(format!("fleet-{n}.lock"))).expect("the target folder is writable");
    let files: Vec<File> = (0..FLEETS).map(open).collect();
    loop {
        for (n, file) in files.iter().enumerate() {
            if file.try_lock().is_ok() {
                return Turn(files.into_iter().nth(n).expect("it was just locked"));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn profile() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_staffel")).parent().expect("programs lie in a folder")
}

fn target() -> &'static Path {
    profile().parent().expect("a profile lies in the target folder")
}

/// `staffel`, `staffel-agent` and `guard-ctl`; the last two are other packages' and are built if they are missing.
pub fn programs() -> Programs {
    let programs = Programs::in_folder(profile());
    let is_there = || programs.guard.is_file() && programs.agent.is_file();
    if !is_there() {
        let lock = File::create(target().join("programs.lock")).expect("the target folder is writable");
        lock.lock().expect("a lock");
        if !is_there() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-p", "staffel-agent", "-p", "staffel-boot", "--bins", "--target-dir"]).arg(target());
            if profile().ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo runs").success(), "staffel-agent and guard-ctl do not build");
        }
    }
    programs
}

/// `staffel-sensor`, which is another package's and is built if it is missing; none without its evaluator's code, which
/// `./dev` makes.
pub fn sensor() -> Option<PathBuf> {
    if !profile().join("evaluator.cwasm").is_file() {
        return None;
    }
    let sensor = profile().join("staffel-sensor");
    let lock = File::create(target().join("programs.lock")).expect("the target folder is writable");
    lock.lock().expect("a lock");
    if !sensor.is_file() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-p", "staffel-sensor", "--bins", "--target-dir"]).arg(target());
        assert!(build.status().expect("cargo runs").success(), "staffel-sensor does not build");
    }
    Some(sensor)
}

/// `staffel-press`, which is another package's and is built if it is missing; takes minutes then.
pub fn press() -> PathBuf {
    let press = profile().join("staffel-press");
    let lock = File::create(target().join("programs.lock")).expect("the target folder is writable");
    lock.lock().expect("a lock");
    if !press.is_file() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-p", "staffel-press", "--bins", "--target-dir"]).arg(target());
        if profile().ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "staffel-press does not build");
    }
    press
}

/// True if a tool is there. Its absence is a counted skip, and a failure where everything has to run.
pub fn has_tool(test: &str, tool: &str) -> bool {
    let there = if tool.contains('/') {
        Path::new(tool).exists()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
    };
    if !there {
        skip(test, &format!("{tool} is missing"));
    }
    there
}

/// Says that a test could not run.
pub fn skip(test: &str, why: &str) {
    let required = std::env::var_os("CI").is_some() || std::env::var_os("STAFFEL_REQUIRE_TOOLS").is_some();
    assert!(!required, "{test}: {why}");
    eprintln!("SKIP {test}: {why}");
}

/// A measured fact.
pub fn show(name: &str, value: impl std::fmt::Display) {
    eprintln!("SHOW {name}: {value}");
}

/// Shell that kills every process of a machine of the fleet; the gate's machine has no such trigger.
pub const PANIC: &str = "trigger=\"$1/../../../sysrq-trigger\"; [ -e \"$trigger\" ] && echo c > \"$trigger\"";

const COUNTER: &str = "
name = \"counter\"
version = \"VERSION\"
sequence = VERSION
[service]
exec = [\"./bin/counter\", \"{state}\"]
[[probes]]
probe = \"process\"
[[probes]]
probe = \"command\"
exec = [\"./bin/check\", \"{state}\"]
timeout_ms = 20000
";
const COUNTS: &str = "#!/bin/sh
TROUBLE
n=0
while :; do n=$((n+1)); echo \"version VERSION, beat $n\" > \"$1/next\"; mv \"$1/next\" \"$1/beat\"; sleep 0.5; done
";
const IS_COUNTING: &str = "#!/bin/sh
grep -q 'version VERSION' \"$1/beat\"
";

/// A laboratory in a folder of its own, with `count` machines of one customer that have all checked in.
pub struct Fleet {
    pub lab: Lab,
    /// What the next authorisation allows to be exposed at a time; else what the profile says.
    pub budget: Option<u32>,
    /// The rollout that the next authorisation replaces.
    pub supersedes: Option<u64>,
    _folder: tempfile::TempDir,
    _turn: Turn,
}

impl Fleet {
    pub fn new(count: usize, options: Options) -> Fleet {
        let turn = turn();
        let folder = tempfile::Builder::new().prefix("staffel-it-").tempdir().expect("a folder");
        let lab = Lab::new(folder.path(), &programs(), options).expect("a laboratory");
        let mut fleet = Fleet { lab, budget: None, supersedes: None, _folder: folder, _turn: turn };
        fleet.lab.tenant("clinic", CustomerPolicy::default()).expect("a customer");
        for n in 1..=count {
            let name = format!("pc-{n}");
            let spec = Spec {
                tenant: "clinic",
                site: if n % 2 == 0 { "ward-a" } else { "ward-b" },
                name: &name,
                os_build: "debian-12.11",
                hardware_model: "terminal-x1",
            };
            fleet.lab.machine(spec).expect("a machine");
        }
        fleet.wait("every machine to check in", |lab| Ok(lab.client()?.status()?.alive as usize == count));
        fleet
    }

    pub fn wait(&self, what: &str, holds: impl FnMut(&Lab) -> anyhow::Result<bool>) {
        if let Err(error) = self.lab.wait_for(what, PATIENCE, holds) {
            panic!("{error:#}\n{}", self.tails());
        }
    }

    /// What the rollouts wait for, and the ends of all logs: what a person would look at first. The folder is gone once
    /// the test has failed.
    pub fn tails(&self) -> String {
        let rollouts = self.lab.staffel(&["rollout", "ls"]);
        let mut text = rollouts.map_or(String::new(), |said| String::from_utf8_lossy(&said.stdout).into_owned());
        let mut add = |path: PathBuf, lines: usize| {
            let content = std::fs::read_to_string(&path).unwrap_or_default();
            let all: Vec<&str> = content.lines().collect();
            text += &format!("--- {}\n{}\n", path.display(), all[all.len().saturating_sub(lines)..].join("\n"));
        };
        add(self.lab.folder.join("server.log"), 30);
        for machine in &self.lab.machines {
            add(machine.folder.join("guard.log"), 12);
            add(machine.folder.join("guard/logs/agent.log"), 12);
        }
        text
    }

    /// The folder of a release that counts in its state's folder, and whose probes look there. `trouble`: empty, or shell
    /// that runs before it, with that folder as `$1`.
    pub fn counter(&self, version: u64, trouble: &str) -> PathBuf {
        let source = self.lab.folder.join(format!("counter-{version}"));
        let fill = |text: &str| text.replace("VERSION", &version.to_string()).replace("TROUBLE", trouble);
        let (counts, check) = (fill(COUNTS), fill(IS_COUNTING));
        let files = [("bin/counter", counts.as_bytes()), ("bin/check", check.as_bytes())];
        release_folder(&source, &fill(COUNTER), &files).expect("a release folder");
        source
    }

    /// The folder of a release of content without state.
    pub fn rules(&self, version: u64) -> PathBuf {
        let source = self.lab.folder.join(format!("rules-{version}"));
        let description = format!(
            "name = \"rules\"\nversion = \"{version}\"\nsequence = {version}\nkind = \"content\"\nstate = \"none\"\n"
        );
        let rules = format!("a = {version}\n");
        release_folder(&source, &description, &[("rules.conf", rules.as_bytes())]).expect("a release folder");
        source
    }

    /// What a command prints with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.lab.staffel_ok(&[arguments, &["--json"]].concat()).expect("the command works");
        serde_json::from_str(&said).expect("JSON")
    }

    /// Exit code and message of a command that is expected to say no.
    pub fn refusal(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.lab.staffel(arguments).expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub fn rollout(&self, id: u64) -> RolloutView {
        serde_json::from_value(self.json(&["rollout", "status", &id.to_string()])).expect("a rollout")
    }

    /// Release, gate and start, with the commands that a person would type. `ceiling`: seconds and percent.
    pub fn ship(&self, source: &Path, ceiling: &[(u64, u32)]) -> u64 {
        self.release(source);
        self.lab.staffel_ok(&["gate", &source.to_string_lossy(), "--soak", "1"]).expect("the gate passes it");
        self.start(source, ceiling)
    }

    pub fn release(&self, source: &Path) -> Digest {
        let said = self.json(&["release", &source.to_string_lossy()]);
        serde_json::from_value(said["release"].clone()).expect("a digest")
    }

    /// Starts the rollout of a release that passed the gate, with a ceiling of our own: the ramp of the demo profile
    /// lasts 45 s, and waves, deadlines and soak are what matters here.
    pub fn start(&self, source: &Path, ceiling: &[(u64, u32)]) -> u64 {
        let (name, version, file) = self.authorise(source, ceiling);
        let view = self.json(&["rollout", "start", &name, &version, "--authorisation", &file.to_string_lossy()]);
        view["rollout"].as_u64().expect("a number")
    }

    /// Why such a rollout is refused.
    pub fn refused_start(&self, source: &Path, ceiling: &[(u64, u32)]) -> String {
        let (name, version, file) = self.authorise(source, ceiling);
        let start = ["rollout", "start", &name, &version, "--authorisation", &file.to_string_lossy()];
        let (code, error) = self.refusal(&start);
        assert!(matches!(code, Some(3 | 4)), "it was not refused: {code:?} {error}");
        error
    }

    fn authorise(&self, source: &Path, ceiling: &[(u64, u32)]) -> (String, String, PathBuf) {
        let (name, version) = name_and_version(source);
        let envelope = std::fs::read(self.lab.layout.releases_dir().join(format!("{name}-{version}.dsse.json")));
        let envelope: Envelope = serde_json::from_slice(&envelope.expect("it was released")).expect("an envelope");
        let next = self.lab.client().and_then(|client| client.next_rollout()).expect("the server answers");
        let step = |&(seconds, percent)| CeilingStep { age_ms: seconds * 1_000, share: Share::percent(percent) };
        let not_after_ms = next.now_ms + 3_600_000;
        let body = Authorisation {
            rollout: next.rollout,
            release: envelope.digest().expect("a payload"),
            log_root: next.log_root,
            unit: Unit::Device,
            profile: ProfileName::Demo,
            start_ms: next.now_ms,
            not_after_ms,
            ceiling: ceiling.iter().map(step).collect(),
            exposure_budget: self.budget,
            supersedes: self.supersedes,
            signers: 0,
        };
        let header = Header { issued_ms: next.now_ms, expires_ms: not_after_ms, ..Header::default() };
        let keys = ["releaser-1", "releaser-2"].map(|key| self.lab.layout.signing_key(key).expect("a releaser's key"));
        let signed = sign(&Headed { header, body }, &[&keys[0], &keys[1]]);
        let file = self.lab.folder.join(format!("authorisation-{}.json", next.rollout));
        std::fs::write(&file, serde_json::to_vec(&signed).expect("JSON")).expect("written");
        (name, version, file)
    }

    /// Waits until a rollout is over.
    pub fn ended(&self, id: u64) -> RolloutView {
        self.wait("the rollout to end", |lab| {
            let view = lab.client()?.rollout(id)?;
            Ok(matches!(view.state.as_str(), "completed" | "halted"))
        });
        self.rollout(id)
    }

    /// Waits until every machine is alive, in normal mode and runs this version, as `device ls` tells it.
    pub fn all_run(&self, name: &str, version: &str) {
        self.wait(&format!("every machine to run {name} {version}"), |_| {
            let devices = self.json(&["device", "ls"]);
            let runs = |d: &&Value| d["presence"] == "alive" && d["mode"] == "normal" && d["running"][name] == version;
            Ok(devices.as_array().is_some_and(|all| all.iter().filter(runs).count() == self.lab.machines.len()))
        });
    }

    /// `staffel log verify`; the number of entries.
    pub fn log_is_sound(&self) -> u64 {
        let verified = self.json(&["log", "verify"]);
        assert_eq!(verified["sound"], true, "{verified}");
        assert_eq!(verified["signatures_checked"], true, "{verified}");
        verified["entries"].as_u64().expect("a number")
    }

    /// Everything in the log, with position and time, read from its file. The server must be stopped.
    pub fn log(&self) -> Vec<(u64, u64, Record)> {
        let log = SqliteLog::open(self.lab.layout.server_dir().join("log.sqlite")).expect("the log opens");
        let mut records = Vec::new();
        loop {
            let page = log.read(records.len() as u64, 1_000).expect("the log is readable");
            if page.is_empty() {
                return records;
            }
            for entry in &page {
                assert_eq!(entry.position, records.len() as u64, "positions are dense");
                let record = Record::of(entry).unwrap_or_else(|| panic!("entry {} is not readable", entry.position));
                records.push((entry.position, entry.at_ms, record));
            }
        }
    }

    /// What the agent of a machine says of itself.
    pub fn status(&self, at: usize) -> Option<AgentStatus> {
        AgentStatus::read(&Directory::new(&self.lab.machines[at].folder.join("agent"))).ok().flatten()
    }

    /// Waits until some line of an agent's status holds: its reasons, problems, contact, the sentence.
    pub fn wait_for_words(&self, at: usize, what: &[&str]) -> String {
        let mut said = String::new();
        self.wait(&format!("{} to say {what:?}", self.lab.machines[at].name), |_| {
            let text = self.status(at).map(|status| status.to_string()).unwrap_or_default();
            let line = text.lines().find(|line| what.iter().all(|part| line.contains(part)));
            said = line.unwrap_or_default().trim().to_string();
            Ok(line.is_some())
        });
        said
    }

    /// Fails if a machine has a generation that is not exactly one of these releases, or a finished download that is not
    /// what its name says. `sources`: release folders.
    pub fn has_no_half_slot(&self, at: usize, sources: &[&Path]) {
        let guard = self.lab.machines[at].folder.join("guard");
        let whole: Vec<BTreeMap<PathBuf, Digest>> = sources.iter().map(|s| tree(&s.join("files"))).collect();
        for generation in folders(&guard.join("generations")) {
            if generation.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tmp-")) {
                continue;
            }
            for slot in folders(&generation) {
                let found = tree(&slot);
                assert!(whole.contains(&found), "{} is half a release: {found:?}", slot.display());
            }
        }
        for entry in std::fs::read_dir(guard.join("spool")).into_iter().flatten().flatten() {
            if let Some(digest) = entry.file_name().to_str().and_then(Digest::parse)
                && let Ok(bytes) = std::fs::read(entry.path())
            {
                assert_eq!(Digest::of(&bytes), digest, "{} is not what its name says", entry.path().display());
            }
        }
    }
}

fn name_and_version(source: &Path) -> (String, String) {
    let text = std::fs::read_to_string(source.join("release.toml")).expect("a description");
    let description: toml::Table = text.parse().expect("TOML");
    let field = |name: &str| description[name].as_str().expect("a text").to_string();
    (field("name"), field("version"))
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

/// Every file below a folder with its hash.
fn tree(root: &Path) -> BTreeMap<PathBuf, Digest> {
    let mut files = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            } else if let Ok(bytes) = std::fs::read(entry.path()) {
                let name = entry.path().strip_prefix(root).expect("it lies below").to_path_buf();
                files.insert(name, Digest::of(&bytes));
            }
        }
    }
    files
}

/// `GET` over a plain connection; the body of a 200, or what went wrong.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(text)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" { Ok(body.to_string()) } else { Err(format!("status {status}")) }
}

/// The agent's process of a machine.
pub fn agent_process(machine: &Path) -> Option<u32> {
    let folder = machine.join("agent");
    let is_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let agent = words.first().is_some_and(|program| program.ends_with(b"/staffel-agent"));
        agent && words.contains(&folder.as_os_str().as_encoded_bytes())
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it)
}

/// Seconds since a moment, for people.
pub fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
