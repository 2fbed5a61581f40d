//! The operators' commands against a real server process: what they say, what they end with, what they leave in the log.

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

pub struct World {
    dir: tempfile::TempDir,
    server: Option<Child>,
    pub url: String,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

impl World {
    /// An installation with one witness, and its server.
    pub fn new() -> World {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let mut world = World { dir, server: None, url: String::new() };
        let key = world.path("witness.key");
        let vkey = said(&world.plain(&["log", "witness-key", "witness.example", &text(&key)]));
        let folder = text(&world.folder());
        said(&world.plain(&["init", &folder, "--bins", "4", "--name", "127.0.0.1", "--witness", vkey.trim()]));
        world.start();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn folder(&self) -> PathBuf {
        self.path("staffel")
    }

    fn start(&mut self) {
        let address = self.path("address");
        let _ = std::fs::remove_file(&address);
        let server = program()
            .args([
                "server",
                "--listen",
                "127.0.0.1:0",
                "--console",
                "127.0.0.1:0",
                "--dir",
                &text(&self.folder()),
                "--address-file",
                &text(&address),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        self.server = Some(server);
        let since = Instant::now();
        self.url = loop {
            if let Ok(address) = std::fs::read_to_string(&address) {
                break format!("https://{}", address.trim());
            }
            assert!(since.elapsed() < Duration::from_secs(300), "the server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        };
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    pub fn plain(&self, arguments: &[&str]) -> Output {
        program().args(arguments).output().expect("the program runs")
    }

    /// A command for this installation and its server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).args(["--dir", &text(&self.folder()), "--server", &self.url]);
        command
    }

    pub fn staffel(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs a command that works without a server.
    pub fn staffel_in_folder(&self, arguments: &[&str]) -> Output {
        self.plain(&[arguments, &["--dir", &text(&self.folder())]].concat())
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&said(&self.staffel(&[arguments, &["--json"]].concat()))).expect("JSON")
    }

    pub fn code(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.staffel(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn witness(&self, state: &str) -> Output {
        let key = text(&self.path("witness.key"));
        self.staffel(&["log", "witness", "--once", "--key", &key, "--state", &text(&self.path(state))])
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_staffel"));
    for name in ["STAFFEL_DIR", "STAFFEL_SERVER", "STAFFEL_TOKEN"] {
        command.env_remove(name);
    }
    command
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn customers_and_tokens() {
    let world = World::new();
    let token = world.json(&["device", "token", "--tenant", "clinic", "--site", "ward-3"]);
    assert!(token["token"].as_str().is_some_and(|token| token.len() == 40), "{token}");
    let line = said(&world.staffel(&["device", "token", "--tenant", "clinic", "--site", "ward-3", "--hours", "2"]));
    assert_eq!(line.lines().count(), 1, "the token alone, for scripts: {line}");
    assert!(said(&world.staffel(&["tenant", "ls"])).contains("clinic"));
    assert_eq!(world.json(&["device", "ls"]), Value::Array(Vec::new()));
    let (code, error) = world.code(&["device", "why", "nobody/there/ever"]);
    assert!(code == Some(4) && error.contains("what to do:"), "{error}");

    // A policy needs the customer's key; with it, each one takes the next number.
    let policy = world.path("policy.toml");
    std::fs::write(&policy, "freeze = \"quarter end\"\n").expect("written");
    let (code, error) = world.code(&["tenant", "policy", "clinic", &text(&policy)]);
    assert!(code == Some(4) && error.contains("tenant-clinic"), "{error}");
    let key = world.folder().join("keys/tenant-clinic.key");
    staffel_trust::keyfile::KeyPair::from_seed([4; 32]).save(&key).expect("saved");
    for sequence in 1..=2 {
        let view = world.json(&["tenant", "policy", "clinic", &text(&policy)]);
        assert_eq!((&view["policy_sequence"], &view["policy"]["freeze"]), (&sequence.into(), &"quarter end".into()));
    }
    assert!(said(&world.staffel(&["tenant", "show", "clinic"])).contains("frozen (quarter end)"));
    assert_eq!(world.code(&["tenant", "show", "clinik"]).0, Some(4));
    std::fs::write(&policy, "frezee = \"quarter end\"\n").expect("written");
    let (code, error) = world.code(&["tenant", "policy", "clinic", &text(&policy)]);
    assert!(code == Some(1) && error.contains("frezee"), "{error}");
}

#[test]
fn refusals_have_their_exit_codes() {
    let mut world = World::new();
    let (code, error) = world.code(&["rollout", "start", "till", "1"]);
    assert!(code == Some(4) && error.contains("till-1.dsse.json"), "no such release: {error}");
    for command in ["status", "why", "watch", "hold", "resume"] {
        assert_eq!(world.code(&["rollout", command, "7"]).0, Some(4), "{command}");
    }
    assert_eq!(world.code(&["rollout", "halt", "7", "--why", "x"]).0, Some(4));
    assert_eq!(world.code(&["rollout", "halt", "7"]).0, Some(2), "a halt says why");
    assert_eq!(world.json(&["rollout", "ls"]), Value::Array(Vec::new()));
    let nobody = world.path("token");
    std::fs::write(&nobody, "not-a-token").expect("written");
    assert_eq!(world.code(&["rollout", "ls", "--token-file", &text(&nobody)]).0, Some(3));
    let (code, error) = world.code(&["rollout", "ls", "--ca", &text(&world.folder().join("server/tls/device-ca.pem"))]);
    assert!(code == Some(5) && error.contains("--ca"), "another authority: {error}");
    world.stop();
    let (code, error) = world.code(&["rollout", "ls"]);
    assert!(code == Some(5) && error.contains("staffel server"), "{error}");
    assert_eq!(world.witness("state").status.code(), Some(5));
}

#[test]
fn the_log_is_witnessed_verified_and_an_older_one_gives_the_alarm() {
    let mut world = World::new();
    let entries = world.json(&["log", "ls"]);
    let before = entries.as_array().map_or(0, Vec::len);
    assert!(before > 0 && entries[0]["kind"] == "server.started", "{entries}");
    world.stop();
    let file = world.folder().join("server/log.sqlite");
    let copies = ["log.sqlite", "log.sqlite-wal"].map(|name| world.folder().join("server").join(name));
    let backup: Vec<_> = copies.iter().map(|path| std::fs::read(path).ok()).collect();
    world.start();
    said(&world.staffel(&["device", "token", "--tenant", "clinic", "--site", "ward-3"]));
    assert!(said(&world.witness("state")).contains("signed from 0 to"));
    said(&world.witness("state"));
    let verified = said(&world.staffel_in_folder(&["log", "verify", "--json"]));
    let verified: Value = serde_json::from_str(&verified).expect("JSON");
    assert_eq!(verified["sound"], true);
    assert_eq!(verified["witnesses"][0]["name"], "witness.example");

    // Somebody restores a backup: the server has no longer what it showed.
    world.stop();
    for (path, bytes) in copies.iter().zip(backup) {
        match bytes {
            Some(bytes) => std::fs::write(path, bytes).expect("written"),
            None => drop(std::fs::remove_file(path)),
        }
    }
    let _ = std::fs::remove_file(file.with_extension("sqlite-shm"));
    world.start();
    let output = world.witness("state");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && error.contains("tell the customers"), "{error}");
}
