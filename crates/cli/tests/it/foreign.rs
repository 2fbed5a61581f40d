//! Software that Staffel did not bring: what a machine has is known, what came is told, and what harms nobody is no suspect.
//! What harms is in the demo (`demo.rs`).

use crate::fleet::Fleet;
use serde_json::Value;
use staffel_cli::lab::Options;
use std::path::PathBuf;

const MACHINES: usize = 3;

fn content(fleet: &Fleet, at: usize) -> PathBuf {
    fleet.lab.machines[at].folder.join("host/opt/acme-shield/content")
}

fn shield(fleet: &Fleet, at: usize, recent: bool) -> Option<Value> {
    let name = &fleet.lab.machines[at].name;
    let words = ["software", "ls", name, "--recent"];
    let found = fleet.json(if recent { &words } else { &words[..3] });
    found["software"].as_array()?.iter().find(|one| one["name"] == "acme-shield").cloned()
}

#[test]
fn an_update_of_foreign_software_that_harms_nobody_is_told_and_not_suspected() {
    let fleet = Fleet::new(MACHINES, Options::default());
    for at in 0..MACHINES {
        std::fs::create_dir_all(content(&fleet, at).parent().expect("a folder")).expect("a folder");
        std::fs::write(content(&fleet, at), "signatures of yesterday\n").expect("a file");
    }
    fleet.wait("every machine to say what it has", |_| Ok((0..MACHINES).all(|at| shield(&fleet, at, false).is_some())));
    let before = shield(&fleet, 0, false).expect("it is there");
    // Nothing on this machine says who makes it: the folder's own name.
    assert_eq!((&before["kind"], &before["supplier"]), (&"self-updater".into(), &"acme-shield".into()), "{before}");
    for at in 0..MACHINES {
        std::fs::write(content(&fleet, at), "signatures of today\n").expect("a file");
    }
    let is_new = |found: Option<Value>| found.is_some_and(|found| found["version"] != before["version"]);
    fleet.wait("every machine to tell the update", |_| Ok((0..MACHINES).all(|at| is_new(shield(&fleet, at, true)))));
    let after = shield(&fleet, 0, true).expect("it came");
    assert_eq!(after["files"][0]["path"], "/opt/acme-shield/content", "{after}");
    assert_eq!(fleet.json(&["software", "suspects"]), serde_json::json!([]));
    fleet.log_is_sound();
}
