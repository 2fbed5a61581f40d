//! The sandbox: applied to a thread of this process, and seen from outside on the real program.

use crate::support::world::World;
use staffel_agent::platform::{self, Allowed};
use std::{
    fs,
    io::ErrorKind,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

fn field(status: &str, name: &str) -> Option<String> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_string()))
}

#[test]
fn a_locked_in_thread_can_start_nothing_and_open_no_odd_socket() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(folder.path().join("other"), b"secret").unwrap();
    let foreign = folder.path().join("other");
    thread::spawn(move || {
        let allowed = Allowed { read: vec!["/proc".into()], write: vec![own.clone()], sockets: Vec::new() };
        let lacking = platform::sandbox(&allowed);
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        assert_eq!(field(&status, "Seccomp").as_deref(), Some("2"), "{lacking:?}");
        assert_eq!(field(&status, "NoNewPrivs").as_deref(), Some("1"));

        let started = Command::new("/bin/true").status();
        assert_eq!(started.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(packet_socket().unwrap_err().raw_os_error(), Some(1), "EPERM");
        std::net::TcpListener::bind("127.0.0.1:0").unwrap();

        fs::write(own.join("file"), b"mine").unwrap();
        fs::rename(own.join("file"), own.join("renamed")).unwrap();
        if lacking.iter().any(|line| line.contains("no Landlock")) {
            eprintln!("SKIP files in the sandbox: Landlock is missing in this kernel");
            assert!(std::env::var_os("STAFFEL_REQUIRE_TOOLS").is_none(), "{lacking:?}");
            return;
        }
        assert_eq!(fs::read(&foreign).unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(fs::write("/etc/hosts", b"").unwrap_err().kind(), ErrorKind::PermissionDenied);
    })
    .join()
    .unwrap();
}

/// Raw frames from the network card.
fn packet_socket() -> std::io::Result<()> {
    let opened = rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::DGRAM, None);
    opened.map(|_| ()).map_err(Into::into)
}

#[test]
fn the_program_locks_itself_in_before_it_calls_and_leaves_with_a_goodbye() {
    let world = World::new();
    world.enrol_until(SystemTime::now() + Duration::from_secs(86_400));
    let old = world.certificate();
    let mut child = Command::new(env!("CARGO_BIN_EXE_staffel-agent"))
        .args(["run", "--server", &world.url, "--dir"])
        .arg(world.directory().root())
        .arg("--guard-socket")
        .arg(world.folder.path().join("guard.sock"))
        .arg("--spool")
        .arg(world.folder.path().join("spool"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now();
    let committed = || world.mock(|mock| mock.outcomes.iter().any(|outcome| outcome.committed));
    let renewed = || world.certificate() != old && world.shows_its_certificate();
    while !(committed() && renewed())
        && patience.elapsed() < Duration::from_secs(300)
        && child.try_wait().unwrap().is_none()
    {
        thread::sleep(Duration::from_millis(20));
    }
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let statuses: Vec<String> =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(committed(), "a whole change inside the sandbox: {log}");
    assert!(renewed(), "a new certificate inside the sandbox: {log}");
    assert!(!statuses.is_empty());
    for status in &statuses {
        assert_eq!(field(status, "Seccomp").as_deref(), Some("2"), "{status}");
        assert_eq!(field(status, "NoNewPrivs").as_deref(), Some("1"), "{status}");
    }
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert_eq!(world.mock(|mock| mock.byes), 1, "{log}");

    let shown = Command::new(env!("CARGO_BIN_EXE_staffel-agent"))
        .args(["status", "--dir"])
        .arg(world.directory().root())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("ward-1"));
}
