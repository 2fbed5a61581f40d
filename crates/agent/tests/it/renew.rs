//! The device's certificate: renewed in time, not replaced by a wrong one, and what happens where it was not renewed.

use crate::support::{block_on, world::World};
use staffel_agent::{
    clock::{Kept, wall_ms},
    directory,
    enrol::{self, Enrolment},
    status::Contact,
};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

fn check_ins(world: &World) -> usize {
    world.mock(|mock| mock.check_ins.len())
}

fn has_problem(world: &World, part: &str) -> bool {
    world.status().is_some_and(|status| status.problems.iter().any(|problem| problem.contains(part)))
}

#[test]
fn a_certificate_that_ends_soon_is_renewed_once_and_used_from_then_on() {
    let world = World::new();
    world.enrol_until(SystemTime::now() + DAY);
    let (old, key) = (world.certificate(), std::fs::read(world.directory().key()).unwrap());
    let renewed = |world: &World| world.certificate() != old && world.shows_its_certificate();
    let agent = world.run_until(world.agent(), "the new certificate", renewed);
    let (new, before) = (world.certificate(), check_ins(&world));
    // The new one lasts, for this agent and for the next.
    let agent = world.run_until(agent, "later check-ins", |world| check_ins(world) > before + 2);
    drop(agent);
    let before = check_ins(&world);
    world.run_until(world.agent(), "check-ins after a restart", |world| check_ins(world) > before + 2);
    assert_eq!(world.mock(|mock| mock.renewals), 1);
    assert_eq!((world.certificate(), std::fs::read(world.directory().key()).unwrap()), (new, key));
    assert!(world.shows_its_certificate());
    assert!(!has_problem(&world, "certificate"));
}

#[test]
fn a_certificate_that_lasts_is_left_alone() {
    let world = World::new();
    let old = world.certificate();
    world.run_until(world.agent(), "check-ins", |world| check_ins(world) > 2);
    assert_eq!((world.mock(|mock| mock.renewals), world.certificate()), (0, old));
}

#[test]
fn a_certificate_for_another_key_is_refused_and_the_old_one_kept() {
    let world = World::new();
    world.enrol_until(SystemTime::now() + DAY);
    let old = world.certificate();
    world.mock(|mock| mock.lies = true);
    let told = |world: &World| has_problem(world, "certificate for another key");
    let agent = world.run_until(world.agent(), "the problem", told);
    let before = check_ins(&world);
    world.run_until(agent, "later check-ins", |world| check_ins(world) > before + 2);
    assert!(world.shows_its_certificate() && world.certificate() == old);
    assert_eq!(world.mock(|mock| mock.renewals), 1, "the server is not asked again at once");
    assert_eq!(world.status().unwrap().contact, Contact::Reached);
}

/// A device that knows the time, or one that only hears it from the server.
fn expired(world: &World, knows_the_time: bool) {
    world.enrol_until(SystemTime::now() - DAY);
    if knows_the_time {
        directory::write_json(&world.directory().clock(), &Kept { floor_ms: wall_ms(), ..Kept::default() }).unwrap();
    }
}

#[test]
fn a_device_with_an_expired_certificate_comes_back_by_its_key_whatever_its_clock_says() {
    for knows_the_time in [true, false] {
        let world = World::new();
        expired(&world, knows_the_time);
        let (old, key) = (world.certificate(), std::fs::read(world.directory().key()).unwrap());
        let installation = std::fs::read(world.directory().installation()).unwrap();
        let back = |world: &World| check_ins(world) > 2 && !has_problem(world, "certificate");
        let agent = world.run_until(world.agent(), "the way back", back);
        assert!(world.shows_its_certificate() && world.certificate() != old);
        assert_eq!(std::fs::read(world.directory().key()).unwrap(), key);
        assert_eq!(std::fs::read(world.directory().installation()).unwrap(), installation);
        assert_eq!(world.mock(|mock| (mock.recoveries, mock.renewals)), (1, 0));
        drop(agent);
        // And for the next agent.
        let before = check_ins(&world);
        world.run_until(world.agent(), "check-ins after a restart", |world| check_ins(world) > before + 2);
        assert_eq!(world.mock(|mock| mock.recoveries), 1);
    }
}

#[test]
fn without_a_network_nobody_says_that_the_server_refuses_an_expired_certificate() {
    let world = World::new();
    expired(&world, true);
    let file = world.directory().enrolment();
    let mut enrolment: Enrolment = directory::must_read_json(&file, "it was enrolled").unwrap();
    // Nobody listens there.
    enrolment.server = "https://127.0.0.1:1".into();
    directory::write_json(&file, &enrolment).unwrap();
    let agent = world.run_until(world.agent(), "the problem", |world| has_problem(world, "the server is not reached"));
    assert!(has_problem(&world, "has expired") && !has_problem(&world, "does not take"), "{:?}", world.status());
    drop(agent);
    enrolment.server = world.url.clone();
    directory::write_json(&file, &enrolment).unwrap();
    let back = |world: &World| check_ins(world) > 0 && !has_problem(world, "certificate");
    world.run_until(world.agent(), "the way back", back);
}

#[test]
fn a_certificate_by_the_key_for_another_key_is_refused() {
    let world = World::new();
    expired(&world, true);
    let old = world.certificate();
    world.mock(|mock| mock.lies = true);
    world.run_until(world.agent(), "the problem", |world| has_problem(world, "certificate for another key"));
    assert_eq!((check_ins(&world), world.certificate()), (0, old));
}

#[test]
fn a_key_that_gets_no_certificate_is_told_and_the_device_comes_back_when_it_is_enrolled_again() {
    let world = World::new();
    expired(&world, true);
    world.mock(|mock| mock.recovers = false);
    let told = |world: &World| has_problem(world, "enrol it again with a new token");
    let agent = world.run_until(world.agent(), "the problem", told);
    assert_eq!((check_ins(&world), world.mock(|mock| mock.renewals)), (0, 0));
    assert_eq!(world.mock(|mock| mock.recovery_requests), 1, "the server is not asked again at once");
    let before = std::fs::read(world.directory().installation()).unwrap();
    block_on(enrol::enrol(&world.directory(), &world.enrol)).unwrap();
    assert_eq!(std::fs::read(world.directory().installation()).unwrap(), before);
    // Nobody has to restart the agent.
    let back = |world: &World| check_ins(world) > 2 && !has_problem(world, "certificate");
    world.run_until(agent, "the way back", back);
    assert!(world.shows_its_certificate());
}
