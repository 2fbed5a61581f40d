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
    assert!(why.contains("was moved to"), "{why}");
    assert!(!drivers.join("C-291.sys").exists());
    let back = Action::RestoreFile { sha256: Digest::of(&[0; 512]) };
    failed(world.remedy(5, back.clone(), &[17]));
    assert!(matches!(world.remedy(6, back, &[16, 17]), Reply::Done { .. }));
    assert_eq!(fs::read(drivers.join("C-291.sys")).unwrap(), [0; 512]);
    // How each went is kept for the server, also across a kill; one operator too few is no remedy at all.
    world.kill();
    let went: Vec<_> = world.start().remedies.iter().map(|went| (went.sequence, went.done)).collect();
    assert_eq!(went, [(1, true), (3, true), (6, true)]);
    let outside = Action::QuarantineFile { pattern: "/etc/passwd".into(), sha256: Digest::of(b"x") };
    assert!(failed(world.remedy(7, outside, &[16, 17])).contains("--quarantine-root"));
}

#[test]
fn a_service_of_ours_is_disabled_until_two_operators_enable_it() {
    let mut world = World::running();
    world.commit(&stays(1));
    let disable = Action::DisableService { name: "till".into() };
    failed(world.remedy(1, disable.clone(), &[16]));
    assert!(matches!(world.remedy(2, disable, &[16, 17]), Reply::Done { .. }));
    assert!(world.status().services.is_empty());
    world.kill();
    let status = world.start();
    assert!(status.services.is_empty(), "it stays off");
    assert!(status.disabled["till"].contains("remedy 2 of case c1"), "{:?}", status.disabled);
    // The next release of the same name could not prove itself, so it is not begun; others go on.
    let Reply::Refused { refusals } = world.prepare(&stays(2)) else { panic!("it was prepared") };
    assert!(refusals[0].to_string().contains("disabled"), "{refusals:?}");
    world.commit(&Made::service("door", 1, "exec sleep 1000"));
    assert!(matches!(world.remedy(3, Action::EnableService { name: "till".into() }, &[16, 17]), Reply::Done { .. }));
    assert!(world.status().services.iter().all(|service| service.running));
    assert_eq!(world.status().services.len(), 2);
    world.commit(&stays(2));
}

#[test]
fn foreign_services_and_modules_say_what_they_need() {
    let world = World::running();
    // On a machine with systemd this would ask systemd, which knows no service of such a name.
    let strange = Action::DisableService { name: "staffel-test-is-not-there".into() };
    assert!(failed(world.remedy(1, strange, &[16, 17])).contains("no service staffel-test-is-not-there of ours"));
    let option = Action::DisableService { name: "--root=/".into() };
    assert!(failed(world.remedy(2, option, &[16, 17])).contains("is no name of a service"));
    let target = Action::DisableService { name: "basic.target".into() };
    assert!(failed(world.remedy(3, target, &[16, 17])).contains("is no name of a service"));
    let module = Action::DisableModule { name: "csagent".into() };
    assert!(failed(world.remedy(4, module, &[16, 17])).contains("firmware guard"));
}
