//! What was committed and fails later: down the ladder, and up again by a remedy.

use crate::support::*;
use staffel_statement::{
    guard::{Command, Reply},
    predicate::Action,
};
use std::fs;

/// Runs until somebody creates a file `crash` beside its state.
fn fragile(version: u64) -> Made {
    Made::service("till", version, "while [ ! -e \"$1/crash\" ]; do sleep 0.02; done; exit 1")
}

fn crashed(world: &World) {
    let (one, two) = (fragile(1), fragile(2));
    world.commit(&one);
    world.commit(&two);
    fs::write(world.layout.states().join("till/crash"), "").unwrap();
    let status = world.wait_status("safe mode", is_safe);
    assert!(status.services.is_empty() && status.selected.is_none());
    // Second to first, first to nothing: the ladder was gone down rung by rung.
    assert_eq!(status.last_known_good.releases["till"], one.digest());
    assert!(world.log().contains("back to an earlier generation"));
}

#[test]
fn a_committed_crash_loop_ends_in_safe_mode_where_the_agent_goes_on() {
    let mut world = World::new();
    let agent = world.write("agent", b"#!/bin/sh\nexec sleep 1000\n");
    make_executable(&agent);
    world.options = ["--agent".to_string(), agent.to_str().unwrap().to_string()].to_vec();
    world.start();
    crashed(&world);
    let agent = || {
        let children = format!("/proc/{0}/task/{0}/children", world.process_id());
        fs::read_to_string(children).unwrap().split_whitespace().next().map(|pid| pid.parse::<u32>().unwrap())
    };
    assert!(agent().is_some_and(is_alive), "the agent runs in safe mode");

    fs::remove_file(world.layout.states().join("till/crash")).unwrap();
    assert!(matches!(world.remedy(1, Action::LeaveSafe, &[16]), Reply::Done { .. }));
    let status = world.wait_status("a service", |status| status.services.iter().any(|service| service.running));
    assert!(!is_safe(&status));
}

/// Runs as long as its database, a file, is there; notes each start. The database is back at the start with the number in
/// `back-at`, if there is one: a test that is held up can't bring it back too late.
fn needs_database(version: u64) -> Made {
    let script = "echo start >> \"$1/starts\"
        [ ! -e \"$1/back-at\" ] || [ \"$(wc -l < \"$1/starts\")\" -lt \"$(cat \"$1/back-at\")\" ] || : > \"$1/database\"
        while [ -e \"$1/database\" ]; do sleep 0.02; done; exit 1";
    Made::service("till", version, script)
}

fn starts(world: &World) -> usize {
    fs::read_to_string(world.layout.states().join("till/starts")).unwrap_or_default().lines().count()
}

#[test]
fn a_database_that_is_away_for_a_moment_takes_no_version_back_and_one_that_stays_away_can_be_mended() {
    let mut world = World::running();
    let (one, two) = (stays(1), needs_database(2));
    world.commit(&one);
    let database = world.layout.states().join("till/database");
    fs::write(&database, "").unwrap();
    let second = world.commit(&two).last_known_good;
    assert!(matches!(world.ask(Command::OutcomeReported), Reply::Done { .. }));

    // Away for four crashes, a kill -9 of everything among them: longer than three within seconds.
    let before = starts(&world);
    let back_at = world.layout.states().join("till/back-at");
    fs::write(&back_at, (before + 4).to_string()).unwrap();
    fs::remove_file(&database).unwrap();
    wait_for("three crashes", || (starts(&world) >= before + 2).then_some(()));
    world.kill();
    world.start();
    wait_for("another crash", || (starts(&world) >= before + 4).then_some(()));
    world.wait_status("the second version again", |status| status.services.iter().any(|service| service.running));
    assert_eq!(world.status().last_known_good, second, "it was given its time");
    // Its start is noted before it brings the database back.
    wait_for("the database", || database.exists().then_some(()));

    // Away for good: the generation is left, kept, marked and reported.
    fs::remove_file(&back_at).unwrap();
    fs::remove_file(&database).unwrap();
    let status = world.wait_status("the first version", |status| !status.left.is_empty());
    assert_eq!(status.last_known_good.releases["till"], one.digest());
    assert_eq!((&status.left[0].generation, status.left.len()), (&second, 1));
    let outcome = status.outcome.expect("its rollout hears of it");
    assert!(!outcome.committed && outcome.why.contains("till crashed 6 times"), "{}", outcome.why);
    world.kill();
    assert_eq!(world.start().left[0].generation, second, "the mark survives");

    // The database is back, and an operator returns to what was left: it is whole, and nothing is marked any more.
    fs::write(&database, "").unwrap();
    let reply = world.remedy(1, Action::GoTo { generation: second.id }, &[16]);
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    let status = world.status();
    assert!(status.left.is_empty() && status.services[0].running);
    world.assert_whole(&second, &[&two]);
}

#[test]
fn the_next_release_of_the_same_name_goes_on_by_itself() {
    let world = World::running();
    world.commit(&stays(1));
    fs::write(world.layout.states().join("till/database"), "").unwrap();
    world.commit(&needs_database(2));
    fs::remove_file(world.layout.states().join("till/database")).unwrap();
    world.wait_status("the first version", |status| !status.left.is_empty());
    assert!(world.commit(&stays(3)).left.is_empty());
}

#[test]
fn safe_mode_survives_restarts_and_a_remedy_names_what_is_to_run() {
    let mut world = World::running();
    crashed(&world);
    let good = world.status().last_known_good.id;
    world.kill();
    world.next_boot();
    assert!(is_safe(&world.start()));
    fs::remove_file(world.layout.states().join("till/crash")).unwrap();
    let unknown = world.remedy(1, Action::GoTo { generation: staffel_core::ids::Digest::of(b"x") }, &[16]);
    assert!(matches!(unknown, Reply::Failed { .. }), "{unknown:?}");
    assert!(matches!(world.remedy(2, Action::GoTo { generation: good }, &[16]), Reply::Done { .. }));
    assert!(world.status().services[0].running);
}

#[test]
fn a_release_can_be_armed_from_safe_mode() {
    let world = World::running();
    crashed(&world);
    let fixed = stays(3);
    world.commit(&fixed);
    assert!(!is_safe(&world.status()));
}

#[test]
fn crashes_are_forgotten_once_it_was_stable() {
    let mut world = World::new();
    world.options = ["--stable-after-ms", "100"].map(String::from).to_vec();
    world.start();
    world.commit(&stays(1));
    for round in 0..5 {
        let status = world.wait_status("a service", |status| status.services.iter().any(|service| service.running));
        let before = world.log().matches("crash counters cleared").count();
        signal(status.services[0].process_id.unwrap(), "KILL");
        wait_for("stable again", || (world.log().matches("crash counters cleared").count() > before).then_some(()));
        assert!(!is_safe(&world.status()), "round {round}");
    }
}

#[test]
fn a_service_of_a_killed_guard_does_not_outlive_it() {
    let mut world = World::running();
    // The grandchild is in the service's group; it neither dies with the guard nor carries its parent's death signal.
    let made = Made::service("till", 1, "sleep 1000 & echo $! > \"$1/child\"; wait");
    let service = world.commit(&made).services[0].process_id.unwrap();
    let child = wait_for("the grandchild", || {
        fs::read_to_string(world.layout.states().join("till/child")).ok()?.trim().parse::<u32>().ok()
    });
    world.kill();
    wait_for("the service's end", || (!is_alive(service)).then_some(()));
    assert!(is_alive(child));
    world.start();
    assert!(!is_alive(child), "the next guard ends what was left");
    assert!(matches!(world.ask(Command::Status), Reply::Status(_)));
}
