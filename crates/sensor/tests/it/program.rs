//! The program, as people and services run it.

use crate::support::{finds, shipped};
use staffel_sensor::trial::FIRST_RECORD;
use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_staffel-sensor"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("an input").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn events_in_alerts_out() {
    if shipped("events_in_alerts_out").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (state, content) = (folder.path().join("state"), folder.path().join("content.json"));
    fs::write(&content, finds(7, "/bin/x").write()).expect("it is written");
    let event =
        |class: &str, image: &str| format!("{{\"class\": \"{class}\", \"fields\": {{\"Image\": \"{image}\"}}}}\n");
    let input = [
        event("process_creation", "/bin/x"),
        "this is no event\n".into(),
        event("registry", "/bin/x"),
        event("process_creation", "/bin/y"),
        event("process_creation", "/BIN/X"),
    ];
    let arguments =
        ["run", "--stdin", "--state", state.to_str().expect("a path"), "--content", content.to_str().expect("a path")];
    let output = run(&arguments, &input.concat());
    let (alerts, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    let sequences: Vec<u64> = alerts
        .lines()
        .map(|line| serde_json::from_str::<staffel_sensor::event::Alert>(line).expect("an alert"))
        .map(|alert| alert.sequence - FIRST_RECORD)
        .collect();
    assert_eq!(sequences, [0, 2], "{alerts}");
    assert!(said.contains("linux 7 runs") && said.contains("unreadable lines 2"), "{said}");
    assert!(said.contains("\"records\":3") && said.contains("\"lost\":0"), "{said}");
}

#[test]
fn a_pack_is_checked_as_a_device_would() {
    if shipped("a_pack_is_checked").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pack.json");
    let check = |bytes: Vec<u8>| {
        fs::write(&file, bytes).expect("it is written");
        let output = run(&["check", file.to_str().expect("a path")], "");
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(check(finds(7, "/bin/x").write()), (Some(0), "passed: linux 7, 1 rules, 2 examples\n".into()));
    let mut wrong = finds(7, "/bin/x");
    wrong.needs[0].fields[0].name = "Nowhere".into();
    wrong.rules[0].tests[0].field = Some("Nowhere".into());
    let (code, said) = check(wrong.write());
    assert_eq!(code, Some(3));
    assert!(said.starts_with("contract: "), "{said}");
    let (code, said) = check(b"{}".to_vec());
    assert_eq!(code, Some(3));
    assert!(said.starts_with("form: "), "{said}");
}
