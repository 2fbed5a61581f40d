//! The course of a change: enrolment, download, permit, trial, receipt, soak, outcome, and what interrupts it.

use crate::support::{block_on, world::World};
use staffel_agent::{enrol, status::Contact};
use staffel_core::{conditions::Refusal, device::Phase, evidence::Arm, ids::Position};
use std::sync::atomic::Ordering;

fn committed(world: &World) -> bool {
    world.mock(|mock| mock.outcomes.iter().any(|outcome| outcome.committed))
}

fn settled(world: &World) -> bool {
    world.status().is_some_and(|status| matches!(status.phase, Phase::Idle))
}

#[test]
fn a_good_release_is_fetched_prepared_permitted_tried_and_committed() {
    let world = World::new();
    world.run_until(world.agent(), "the outcome", |world| committed(world) && world.commands("outcome-reported") > 0);
    for (command, times) in [("prepare", 1), ("arm", 1), ("confirm", 1), ("abort", 0)] {
        assert_eq!(world.commands(command), times, "{command}");
    }
    let running = world.guard.lock().unwrap().state.last_known_good.releases.clone();
    assert_eq!(running.get("till"), Some(&world.mock(|mock| mock.release)));
    world.mock(|mock| {
        assert_eq!(mock.check_ins.iter().filter(|c| c.attributes.is_some()).count(), 1, "sent once");
        let asked = mock.check_ins.iter().filter(|c| c.ready.is_some()).count();
        assert!(asked >= 1);
    });
    // A second agent in the same folder finds nothing to do.
    let before = world.mock(|mock| mock.check_ins.len());
    let later = |world: &World| settled(world) && world.mock(|mock| mock.check_ins.len() > before + 2);
    world.run_until(world.agent(), "quiet", later);
    assert_eq!(world.commands("prepare"), 1);
}

#[test]
fn enrolling_again_changes_nothing_and_another_name_is_refused() {
    let world = World::new();
    let again = block_on(enrol::enrol(&world.directory(), &world.enrol)).unwrap();
    assert_eq!((again.name.as_str(), again.stratum.as_str()), ("ward-1", "debian-12/box"));
    assert_eq!(world.mock(|mock| mock.enrolments), 1);
    let other = enrol::Request { name: "ward-2".into(), ..world.enrol.clone() };
    assert!(matches!(
        block_on(enrol::enrol(&world.directory(), &other)),
        Err(enrol::EnrolError::Another(device)) if device == again.device
    ));
}

#[test]
fn an_enrolment_that_broke_off_goes_on_with_the_same_key() {
    let world = World::new();
    let directory = world.directory();
    let before = std::fs::read(directory.installation()).unwrap();
    std::fs::remove_file(directory.installation()).unwrap();
    block_on(enrol::enrol(&directory, &world.enrol)).unwrap();
    assert_eq!(std::fs::read(directory.installation()).unwrap(), before);
}

#[test]
fn a_release_that_does_not_answer_goes_back_and_is_not_tried_again() {
    let world = World::new();
    world.service.store(500, Ordering::SeqCst);
    world.run_until(world.agent(), "the way back", |world| {
        settled(world) && world.mock(|mock| !mock.outcomes.is_empty()) && world.commands("outcome-reported") > 0
    });
    let outcome = world.mock(|mock| mock.outcomes[0].clone());
    assert!(!outcome.committed && outcome.why.contains("answers 500"), "{outcome:?}");
    assert_eq!((world.commands("arm"), world.commands("abort")), (1, 1));
    assert!(world.status().unwrap().why.contains("not tried again"));
}

#[test]
fn a_control_changes_nothing_until_the_rollout_moves_on() {
    let world = World::new();
    world.mock(|mock| {
        mock.arm = Some(Arm::Control);
        mock.move_frontier(None, Some(Position::END));
    });
    let control = |world: &World| {
        let told = |status: staffel_agent::status::AgentStatus| matches!(&status.phase, Phase::Waiting { refusals, .. } if refusals.contains(&Refusal::ControlArm));
        world.status().is_some_and(told)
    };
    let agent = world.run_until(world.agent(), "the control's permit", control);
    assert_eq!((world.commands("prepare"), world.commands("arm")), (1, 0));
    world.mock(|mock| {
        mock.arm = Some(Arm::Treated);
        mock.move_frontier(Some(Position::END), Some(Position::END));
    });
    world.run_until(agent, "the outcome", committed);
    assert_eq!((world.commands("prepare"), world.commands("arm")), (2, 1));
}

#[test]
fn an_agent_killed_on_trial_resumes_from_the_guard_alone() {
    let mut world = World::new();
    world.mock(|mock| mock.receipts = false);
    let asks = |world: &World| world.mock(|mock| mock.check_ins.iter().any(|c| c.on_trial.is_some()));
    let agent = world.run_until(world.agent(), "the trial", asks);
    world.kill(agent);
    std::fs::remove_file(world.directory().device()).ok();
    world.mock(|mock| mock.receipts = true);
    world.run_until(world.agent(), "the outcome", committed);
    assert_eq!((world.commands("arm"), world.commands("confirm")), (1, 1));
}

#[test]
fn a_halt_reaches_the_guard_and_stops_a_device_that_is_prepared() {
    let world = World::new();
    world.mock(|mock| mock.arm = None);
    let prepared = |world: &World| world.mock(|mock| mock.check_ins.iter().any(|c| c.ready.is_some()));
    let agent = world.run_until(world.agent(), "the question for a permit", prepared);
    world.mock(|mock| {
        mock.halt();
        mock.arm = Some(Arm::Treated);
    });
    world.run_until(agent, "the halt", |world| world.commands("deny") == 1 && settled(world));
    let status = world.status().unwrap();
    assert_eq!(world.commands("arm"), 0);
    assert!(matches!(status.reasons[0].refusals[..], [Refusal::ReleaseDenied { .. }]), "{status:?}");
    // Not told to the guard twice, and still known after a restart.
    world.mock(|mock| mock.board.offers.clear());
    assert!(std::fs::read_to_string(world.directory().memory()).unwrap().contains("dark devices"));
}

#[test]
fn a_server_that_is_gone_is_called_again_and_said_so() {
    let world = World::new();
    world.mock(|mock| mock.reachable = false);
    let gone = |world: &World| {
        world.status().is_some_and(|status| matches!(status.contact, Contact::Gone { failures: 1.., .. }))
    };
    let agent = world.run_until(world.agent(), "the gone server", gone);
    assert!(world.status().unwrap().to_string().contains("goes on running"));
    world.mock(|mock| mock.reachable = true);
    let mut agent = world.run_until(agent, "the outcome", committed);
    world.block_on(agent.goodbye("test"));
    assert_eq!(world.mock(|mock| mock.byes), 1);
}

#[test]
fn a_device_without_a_guard_still_gives_a_sign_of_life() {
    let world = World::new();
    std::fs::remove_file(world.folder.path().join("guard.sock")).unwrap();
    world.run_until(world.agent(), "a check-in", |world| world.mock(|mock| mock.check_ins.len() >= 2));
    assert!(world.status().unwrap().problems.iter().any(|problem| problem.contains("connecting to the guard")));
    assert_eq!(world.commands("prepare"), 0);
}
