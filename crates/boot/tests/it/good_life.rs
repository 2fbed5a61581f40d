//! Changes that go well.

use crate::support::*;
use staffel_core::release::StateCompatibility;
use staffel_statement::{
    guard::{Command, Reply},
    predicate::Probe,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

#[test]
fn a_release_is_prepared_armed_and_confirmed_and_the_next_one_replaces_it() {
    let world = World::running();
    let first = stays(1).file("etc/deep/conf", "a=1", false);
    let status = world.commit(&first);
    assert!(status.outcome.unwrap().committed);
    assert_eq!(status.services.len(), 1);
    assert!(status.services[0].running);
    world.assert_whole(&status.last_known_good, &[&first]);
    assert!(matches!(world.ask(Command::OutcomeReported), Reply::Done { .. }));

    let old_pid = status.services[0].process_id.unwrap();
    let second = stays(2);
    let nonce = world.arm(&second);
    let status = world.status();
    assert_eq!(status.readiness.nonce.as_deref(), Some(nonce.as_str()), "the receipt's nonce while on trial");
    assert!(status.trial.is_some() && status.outcome.is_none());
    assert!(!is_alive(old_pid), "the old service was stopped");
    assert!(matches!(world.confirm(&second, &nonce), Reply::Done { .. }));
    let status = world.status();
    world.assert_whole(&status.last_known_good, &[&second]);
    assert_eq!(status.earlier.len(), 2, "the first release and the empty generation are kept");
    let log = wait_for("both services' words", || {
        let log = fs::read_to_string(world.layout.states().join("till/log")).unwrap_or_default();
        (log.lines().count() == 2).then_some(log)
    });
    assert!(log.lines().all(|line| line.contains("/generations/") && line.ends_with("/till")), "{log}");
}

#[test]
fn content_is_swapped_under_a_service_that_goes_on() {
    let world = World::running();
    let service = stays(1);
    let pid = world.commit(&service).services[0].process_id;
    for version in 2..8 {
        let pack = Made::new("pack", version).file("rules", format!("rules {version}"), false);
        let status = world.commit(&pack);
        assert_eq!(status.services[0].process_id, pid, "not restarted");
        assert_eq!(fs::read_to_string(world.layout.current().join("pack/rules")).unwrap(), format!("rules {version}"));
        world.assert_whole(&status.last_known_good, &[&service, &pack]);
    }
    let kept = world.status().earlier;
    let folders = world.names(&world.layout.generations());
    let said = wait_for("the service's word", || {
        let log = fs::read_to_string(world.layout.states().join("till/log"));
        log.ok().filter(|log| log.ends_with('\n'))
    });
    let first = world.layout.root.join("generations").join(said.trim());
    assert!(first.join("run").exists(), "the folder that the service was started from stays");
    assert_eq!(folders.len(), kept.len() + 3, "kept, running, in use, empty: {folders:?}");
}

#[test]
fn command_probes_run_in_the_release_and_say_what_failed() {
    let world = World::running();
    let mut made = stays(1)
        .file("bin/good", "#!/bin/sh\ntest -f run && test -d \"$1\" && test -z \"$HOME\"\n", true)
        .file("bin/bad", "#!/bin/sh\necho no till here; exit 4\n", true)
        .file("bin/slow", "#!/bin/sh\nsleep 1000\n", true);
    let command = |exec: &[&str], timeout_ms| Probe::Command {
        exec: exec.iter().map(|part| part.to_string()).collect(),
        timeout_ms,
    };
    made.release.probes.push(command(&["bin/good", "{state}"], 20_000));
    world.commit(&made);
    let Reply::Probed { failures } = world.ask(Command::Probe) else { panic!("no probes were run") };
    assert_eq!(failures, Vec::<String>::new());

    made.release.sequence = 2;
    made.release.probes.push(command(&["bin/bad"], 20_000));
    made.release.probes.push(command(&["bin/slow"], 50));
    made.release.probes.push(command(&["/bin/true"], 50));
    world.arm(&made);
    let Reply::Probed { failures } = world.ask(Command::Probe) else { panic!("no probes were run") };
    assert_eq!(failures.len(), 3, "{failures:?}");
    assert!(failures[0].contains("no program of the release"), "{failures:?}");
    assert!(failures[1].contains("status 4: no till here"), "{failures:?}");
    assert!(failures[2].contains("within 50 ms"), "{failures:?}");
}

#[test]
fn a_stop_signal_ends_services_and_agent_and_counts_as_clean() {
    let mut world = World::new();
    let agent = world.write("agent", b"#!/bin/sh\necho \"$STAFFEL_GUARD_ROOT\" > \"$1\"; exec sleep 1000\n");
    make_executable(&agent);
    let told = world.path("told");
    world.options = ["--agent", agent.to_str().unwrap(), told.to_str().unwrap()].map(String::from).to_vec();
    world.start();
    let service = world.commit(&stays(1)).services[0].process_id.unwrap();
    let root = wait_for("the agent", || fs::read_to_string(&told).ok().filter(|text| text.ends_with('\n')));
    assert_eq!(root.trim(), world.layout.root.to_str().unwrap());
    assert!(world.stop().success());
    assert!(!is_alive(service));
    for _ in 0..4 {
        let status = world.start();
        assert!(status.services[0].running, "clean stops are no crashes");
        assert!(world.stop().success());
    }
}

#[test]
fn an_agent_that_ends_is_started_again() {
    let mut world = World::new();
    let agent = world.write("agent", b"#!/bin/sh\necho again >> \"$1\"\n");
    make_executable(&agent);
    let told = world.path("told");
    world.options = ["--agent", agent.to_str().unwrap(), told.to_str().unwrap()].map(String::from).to_vec();
    world.start();
    wait_for("a second start", || fs::read_to_string(&told).ok().filter(|text| text.lines().count() >= 2));
    assert!(!is_safe(&world.status()));
}

#[test]
fn a_reboot_on_trial_can_still_be_confirmed() {
    let mut world = World::running();
    let made = stays(1);
    let nonce = world.arm(&made);
    world.kill();
    world.next_boot();
    let status = world.start();
    assert_eq!(status.readiness.nonce.as_deref(), Some(nonce.as_str()));
    assert!(matches!(world.confirm(&made, &nonce), Reply::Done { .. }));
    assert!(world.status().outcome.unwrap().committed);
}

#[test]
fn state_that_older_versions_can_not_read_comes_back_with_them() {
    let world = World::running();
    world.commit(&stays(1));
    let ledger = world.layout.states().join("till/ledger");
    fs::write(&ledger, "format 1").unwrap();
    let mut newer = Made::service("till", 2, "echo format 2 > \"$1/ledger\"; exec sleep 1000");
    newer.release.state = StateCompatibility::Snapshot;
    world.arm(&newer);
    wait_for("the new format", || fs::read_to_string(&ledger).ok().filter(|text| text == "format 2\n"));
    assert!(matches!(world.ask(Command::Abort { why: "probe".into() }), Reply::Done { .. }));
    assert_eq!(fs::read_to_string(&ledger).unwrap(), "format 1");
    let left = world.layout.left().join("till/ledger");
    assert_eq!(fs::read_to_string(left).unwrap(), "format 2\n", "nothing is thrown away");
}

#[test]
fn the_next_keyring_is_taken_and_survives() {
    let mut world = World::running();
    assert!(matches!(world.ask(Command::Keyring { keyring: keyring(3) }), Reply::Failed { .. }));
    assert!(matches!(world.ask(Command::Keyring { keyring: keyring(2) }), Reply::Done { .. }));
    world.kill();
    assert_eq!(world.start().keyring_version, 2);
}

#[test]
fn the_command_line_shows_what_runs_and_refuses_a_second_set_up() {
    let world = World::running();
    world.commit(&stays(1));
    let run = |task: &[&str]| {
        let output = program().args(task).arg("--root").arg(&world.layout.root).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (well, text) = run(&["status"]);
    assert!(well && text.contains("till") && text.contains("runs as process"), "{text}");
    let (well, text) = run(&["status", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(well && value["services"][0]["running"] == true, "{text}");
    let (well, text) = run(&["doctor"]);
    assert!(well && text.contains("NOT protected") && text.contains("both copies of the record hold"), "{text}");
    assert!(!text.contains("WRONG"), "{text}");
    let output = world.init();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("already"));
    let second = program().args(["serve", "--root"]).arg(&world.layout.root).output().unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("another guard runs"), "{second:?}");
    assert!(program().arg("--help").output().unwrap().stdout.starts_with(b"guard-ctl:"));
}

#[test]
fn services_and_agent_run_as_their_own_users_and_still_die_with_the_guard() {
    if !staffel_boot::platform::is_root() {
        let required = ["CI", "STAFFEL_REQUIRE_TOOLS"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!required, "this test needs root");
        return eprintln!("SKIP services_and_agent_run_as_their_own_users: root is missing");
    }
    let mut world = World::new();
    make_executable(world.folder.path());
    let agent = world.write("agent", b"#!/bin/sh\nid -u > \"$STAFFEL_GUARD_ROOT/spool/who\"; exec sleep 1000\n");
    make_executable(&agent);
    world.options =
        ["--agent-user", "65533:65533", "--service-user", "65534:65534", "--agent", agent.to_str().unwrap()]
            .map(String::from)
            .to_vec();
    world.start();
    let made = Made::service("till", 1, "id -u > \"$1/who\"; exec sleep 1000");
    let service = world.commit(&made).services[0].process_id.unwrap();
    for (path, user) in
        [(world.layout.states().join("till/who"), "65534\n"), (world.layout.spool().join("who"), "65533\n")]
    {
        let who = wait_for("the user's name", || fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')));
        assert_eq!(who, user);
    }
    let socket = fs::metadata(world.layout.socket()).unwrap();
    assert_eq!((socket.permissions().mode() & 0o777, socket.gid()), (0o660, 65533));
    world.kill();
    wait_for("the service's end", || (!is_alive(service)).then_some(()));
}
