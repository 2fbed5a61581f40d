//! Whoever gets at the socket can waste time, and nothing else.

use crate::support::*;
use staffel_statement::guard::{Command, Reply};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    time::Duration,
};

fn connect(world: &World) -> UnixStream {
    let stream = UnixStream::connect(world.layout.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn say(world: &World, bytes: &[u8]) -> Option<Reply> {
    let mut stream = connect(world);
    // The guard may close while we write.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    (!answer.is_empty()).then(|| serde_json::from_str(&answer).unwrap())
}

#[test]
fn nonsense_gets_an_answer_and_the_guard_goes_on() {
    let world = World::running();
    let deep = "[".repeat(100_000);
    let long = format!("{{\"command\":\"abort\",\"why\":\"{}\"}}\n", "x".repeat(3 << 20));
    for bytes in [
        &b"\n"[..],
        b"hello\n",
        b"\xff\xfe\x00\n",
        b"{\"command\":\"fly\"}\n",
        b"{\"command\":\"arm\",\"bundle\":7}\n",
        b"{\"command\":\"confirm\",\"receipt\":{\"payloadType\":\"x\",\"payload\":\"!\",\"signatures\":[]}}\n",
        b"{\"command\":\"abort\",\"why\":\"no newline\"}",
        format!("{deep}\n").as_bytes(),
        format!("{{\"command\":\"arm\",\"bundle\":{deep}\n").as_bytes(),
    ] {
        let reply = say(&world, bytes);
        assert!(matches!(reply, Some(Reply::Failed { .. })), "{reply:?}");
    }
    assert!(matches!(say(&world, long.as_bytes()), Some(Reply::Done { .. })), "a long line is no crime");
    assert!(say(&world, b"").is_none());
    assert_eq!(world.status().starts, 1);
}

#[test]
fn a_line_without_an_end_is_cut_off_at_the_limit() {
    let world = World::running();
    let mut stream = connect(&world);
    let block = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while sent <= staffel_statement::guard::MAX_LINE && stream.write_all(&block).is_ok() {
        sent += block.len();
    }
    let mut answer = String::new();
    let _ = BufReader::new(&stream).read_line(&mut answer);
    // The answer may be lost where we were still writing; that the guard is there is what counts.
    assert!(answer.is_empty() || answer.contains("longer than"), "{answer}");
    assert_eq!(world.status().starts, 1);
}

#[test]
fn several_connections_are_served_and_too_many_are_told() {
    let world = World::running();
    let mut open: Vec<UnixStream> = (0..staffel_boot::socket::MOST_CONNECTIONS).map(|_| connect(&world)).collect();
    for stream in &mut open {
        stream.write_all(b"{\"command\":\"status\"}\n{\"command\":\"status\"}\n").unwrap();
        let mut reader = BufReader::new(&*stream);
        for _ in 0..2 {
            let mut answer = String::new();
            reader.read_line(&mut answer).unwrap();
            assert!(answer.contains("\"reply\":\"status\""), "{answer}");
        }
    }
    let mut answer = String::new();
    connect(&world).read_to_string(&mut answer).unwrap();
    assert!(answer.contains("connections"), "{answer}");
    drop(open);
    wait_for("a free place", || {
        let mut answer = String::new();
        let mut stream = connect(&world);
        let _ = stream.write_all(b"{\"command\":\"status\"}\n");
        let _ = BufReader::new(stream).read_line(&mut answer);
        answer.contains("\"mode\"").then_some(())
    });
}

#[test]
fn the_socket_and_the_records_are_the_owners_alone() {
    let world = World::running();
    for name in ["guard.sock", "record", "record.copy", "keyring", "installation"] {
        let facts = std::fs::symlink_metadata(world.layout.root.join(name)).unwrap();
        assert_eq!(facts.permissions().mode() & 0o077, 0, "{name}");
    }
}

#[test]
fn a_command_on_standard_input_is_sent() {
    let world = World::running();
    let mut send = program();
    send.arg("send").arg("--root").arg(&world.layout.root);
    send.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = send.spawn().unwrap();
    let text = serde_json::to_string(&Command::Abort { why: "by hand".into() }).unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("no trial is running"));
}
