//! Signed acts of repair.

use crate::support::*;
use staffel_core::ids::Digest;
use staffel_statement::{guard::Reply, predicate::Action};
use std::fs;

fn failed(reply: Reply) -> String {
    match reply {
        Reply::Failed { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn stay_safe_and_leave_safe() {
    let mut world = World::running();
    world.commit(&stays(1));
    assert!(matches!(world.remedy(1, Action::StaySafe { why: "look at it".into() }, &[16]), Reply::Done { .. }));
    let status = world.status();
    assert!(is_safe(&status) && status.services.is_empty());
    world.kill();
    assert!(is_safe(&world.start()), "it stays after a restart");
    assert!(failed(world.remedy(1, Action::LeaveSafe, &[16])).contains("before"), "a sequence is used once");
    assert!(matches!(world.remedy(2, Action::LeaveSafe, &[16]), Reply::Done { .. }));
    assert!(world.status().services[0].running);
}

#[test]
fn a_quarantined_generation_is_left_and_does_not_come_back() {
    let world = World::running();
    let (good, bad) = (stays(1), stays(2));
    world.commit(&good);
    let generation = world.commit(&bad).last_known_good.id;
    assert!(matches!(world.remedy(1, Action::QuarantineGeneration { generation }, &[16]), Reply::Done { .. }));
    world.assert_whole(&world.status().selected.unwrap(), &[&good]);
    assert!(matches!(world.prepare(&bad), Reply::Refused { .. }));
    let unknown = Action::QuarantineGeneration { generation: Digest::of(b"x") };
    assert!(failed(world.remedy(2, unknown, &[16])).contains("not kept"));
}

#[test]
fn a_foreign_file_is_taken_away_in_safe_mode_by_two_operators_only() {
    let mut world = World::new();
    let drivers = world.path("drivers");
    fs::create_dir(&drivers).unwrap();
    fs::write(drivers.join("C-291.sys"), [0; 512]).unwrap();
    world.options = ["--quarantine-root".to_string(), drivers.display().to_string()].to_vec();
    world.start();
    world.remedy(1, Action::StaySafe { why: "boot loop".into() }, &[16]);
    let pattern = drivers.canonicalize().unwrap().join("C-*.sys").display().to_string();
    let action = Action::QuarantineFile { pattern, sha256: Digest::of(&[0; 512]) };
    failed(world.remedy(2, action.clone(), &[16]));
    assert!(drivers.join("C-291.sys").exists());
    let reply = world.remedy(3, action, &[16, 17]);
    let Reply::Done { why } = reply else { panic!("{reply:?}") };
    assert!(why.contains("kept as"), "{why}");
    assert!(!drivers.join("C-291.sys").exists());
    let outside = Action::QuarantineFile { pattern: "/etc/passwd".into(), sha256: Digest::of(b"x") };
    assert!(failed(world.remedy(4, outside, &[16, 17])).contains("--quarantine-root"));
}

#[test]
fn foreign_services_and_modules_say_what_they_need() {
    let world = World::running();
    let service = Action::DisableService { name: "falcon".into() };
    let module = Action::DisableModule { name: "csagent".into() };
    for (sequence, action) in [(1, service), (2, module)] {
        assert!(failed(world.remedy(sequence, action, &[16, 17])).contains("firmware guard"));
    }
}
