//! The demo as a stranger starts it: as the current user, and as an ordinary one where that is root.

use crate::fleet::{has_tool, programs, show, turn};
use serde_json::Value;
use staffel_cli::lab::put_program;
use std::{
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::{Command, Stdio},
};

const NOBODY: u32 = 65_534;

/// Checks what `staffel demo --json` says. `acts`: as in its `--acts`.
fn run(command: &mut Command, who: &str, acts: u64) {
    let output = command.stdin(Stdio::null()).output().expect("the demo starts");
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}{progress}", output.status);
    let outcome: Value = serde_json::from_str(&said).expect("nothing but JSON on standard output");
    assert_eq!(outcome["devices"], 24, "{outcome}");
    assert_eq!(outcome["version_1"]["confirmed"], 24, "{outcome}");
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} is no number in {outcome}"));
    let bad = &outcome["version_2"];
    assert!((1..=4).contains(&number(&bad["exposed"])), "{outcome}");
    // Dark is real: every process of such a machine was killed.
    assert!(number(&bad["dark"]) >= 1 && bad["dark"] == bad["back"], "{outcome}");
    // Each of them had a case, and nothing but its own proof closed it.
    assert!(number(&bad["cases_opened"]) >= number(&bad["dark"]), "{outcome}");
    assert_eq!(bad["cases_opened"], bad["cases_closed_by_probe"], "{outcome}");
    assert_eq!(bad["dark_without_case"], 0, "{outcome}");
    assert!(bad["why"].as_str().is_some_and(|why| why.starts_with("halted: ")), "{outcome}");
    assert!(number(&outcome["log_entries"]) > 100, "{outcome}");
    let foreign = &outcome["foreign"];
    assert_eq!(foreign.is_null(), acts < 3, "{outcome}");
    if acts == 3 {
        named_and_taken_away(foreign);
    }
    show(
        &format!("demo as {who}"),
        format!(
            "24 of 24 in {} waves, {} s; bad one: {} exposed, {} dark and back, {} s; {} cases closed by probe; {} entries; {} s in all",
            outcome["version_1"]["waves"],
            outcome["version_1"]["seconds"],
            bad["exposed"],
            bad["dark"],
            bad["seconds"],
            bad["cases_closed_by_probe"],
            outcome["log_entries"],
            outcome["seconds"]
        ),
    );
}

/// The third act.
fn named_and_taken_away(foreign: &Value) {
    let number = |name: &str| foreign[name].as_u64().unwrap_or_else(|| panic!("{name} is no number in {foreign}"));
    assert_eq!((&foreign["name"], &foreign["supplier"]), (&"acme-shield".into(), &"Acme Security".into()), "{foreign}");
    // Those that got it, and not the others; it may be named before the last machine has fallen.
    assert!((3..=5).contains(&number("got_in_trouble")) && number("got") <= 5, "{foreign}");
    assert!(number("others_in_trouble") <= 1, "{foreign}");
    assert!(foreign["chance"].as_f64().is_some_and(|chance| chance <= 0.001), "{foreign}");
    // Afterwards nothing else is suspected: what the machines got while being mended is no cause.
    assert_eq!(number("suspects"), 1, "{foreign}");
    assert_eq!((number("hurt"), number("files_taken_away"), number("left_alone")), (5, 5, 19), "{foreign}");
    assert_eq!((number("cases_opened"), number("cases_closed_by_probe")), (5, 5), "{foreign}");
    // Where nobody answers and no machine proves anything, nobody can close the case.
    assert_eq!(foreign["call_list"], serde_json::json!(["pharmacies/island"]), "{foreign}");
    let island = &foreign["unreachable"];
    assert_eq!((&island["attempts"], &island["phone"]), (&3.into(), &"+49 40 66969 204".into()), "{foreign}");
    assert!(island["refused"].as_str().is_some_and(|why| why.contains("not verified by a probe")), "{foreign}");
    show(
        "foreign software",
        format!(
            "named after {} s, {} of {} in trouble, {} of {} others; back after {} s",
            foreign["named_after_seconds"],
            foreign["got_in_trouble"],
            foreign["got"],
            foreign["others_in_trouble"],
            foreign["others"],
            foreign["back_after_seconds"]
        ),
    );
}

#[test]
fn as_the_current_user() {
    let _turn = turn();
    let programs = programs();
    let who = if rustix::process::getuid().is_root() { "root" } else { "an ordinary user" };
    run(Command::new(programs.staffel).args(["demo", "--json"]), who, 3);
}

#[test]
fn as_an_ordinary_user() {
    // Whoever is no root has seen this in the other test.
    if !rustix::process::getuid().is_root() || !has_tool("demo as an ordinary user", "setpriv") {
        return;
    }
    let _turn = turn();
    let programs = programs();
    let folder = tempfile::Builder::new().prefix("staffel-user-").tempdir().expect("a folder");
    let own = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    for program in [&programs.staffel, &programs.guard, &programs.agent] {
        // Where the programs lie may be closed to others.
        let there = put_program(program, folder.path()).expect("it is put there");
        std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }
    own(folder.path());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(folder.path().join("staffel"))
        // The third act is the same for everybody.
        .args(["demo", "--json", "--acts", "2"])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path());
    run(&mut command, "nobody", 2);
}
