//! The demo as a stranger starts it: as the current user, and as an ordinary one where that is root.

use crate::fleet::{has_tool, programs, show, turn};
use serde_json::Value;
use std::{
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::{Command, Stdio},
};

const NOBODY: u32 = 65_534;

fn run(command: &mut Command, who: &str) {
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
    assert!(bad["why"].as_str().is_some_and(|why| why.starts_with("halted: ")), "{outcome}");
    assert!(number(&outcome["log_entries"]) > 100, "{outcome}");
    show(
        &format!("demo as {who}"),
        format!(
            "24 of 24 in {} waves, {} s; bad one: {} exposed, {} dark and back, {} s; {} entries; {} s in all",
            outcome["version_1"]["waves"],
            outcome["version_1"]["seconds"],
            bad["exposed"],
            bad["dark"],
            bad["seconds"],
            outcome["log_entries"],
            outcome["seconds"]
        ),
    );
}

#[test]
fn as_the_current_user() {
    let _turn = turn();
    let programs = programs();
    let who = if rustix::process::getuid().is_root() { "root" } else { "an ordinary user" };
    run(Command::new(programs.staffel).args(["demo", "--json"]), who);
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
        let copy = folder.path().join(program.file_name().expect("a name"));
        std::fs::copy(program, &copy).expect("copied");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("executable");
    }
    own(folder.path());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(folder.path().join("staffel"))
        .args(["demo", "--json"])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path());
    run(&mut command, "nobody");
}
