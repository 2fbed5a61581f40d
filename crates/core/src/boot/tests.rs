use super::*;
use proptest::prelude::*;

fn generation(n: u8) -> Generation {
    Generation::of([("till".to_string(), Digest([n; 32]))].into())
}

fn arm_event(n: u8) -> Event {
    Event::Arm { generation: generation(n), rollout: u64::from(n), release: Digest([n; 32]), soak_ms: 0 }
}

fn boot(boot: &str) -> Event {
    Event::Started { boot_id: boot.into() }
}

fn after(events: impl IntoIterator<Item = Event>) -> State {
    events.into_iter().fold(State::new(), |state, event| step(&state, event).state)
}

fn committed(n: u8) -> Vec<Event> {
    vec![boot("0"), arm_event(n), Event::Confirm { release: Digest([n; 32]) }]
}

#[test]
fn a_trial_that_kills_the_machine_comes_back_on_last_known_good_after_three_starts() {
    let mut state = after(committed(1));
    state = step(&state, arm_event(2)).state;
    for n in 0..2 {
        state = step(&state, boot(&format!("b{n}"))).state;
        assert_eq!(state.selected(), Some(&generation(2)), "start {n} still tries");
    }
    let last = step(&state, boot("b3"));
    assert_eq!(last.state.selected(), Some(&generation(1)));
    assert_eq!(last.effects[0], Effect::Run(generation(1)));
    assert_eq!(last.state.outcome.as_ref().map(|o| o.committed), Some(false));
}

#[test]
fn five_quick_power_cycles_roll_nothing_back() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    for n in 0..5 {
        state = step(&state, boot(&format!("cycle {n}"))).state;
    }
    assert_eq!(state.selected(), Some(&generation(2)));
}

#[test]
fn a_crash_loop_goes_down_the_ladder_to_safe_mode() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    let crash = || Event::ServiceDied { service: "till".into() };
    for _ in 0..CRASH_TRIES {
        state = step(&state, crash()).state;
    }
    assert_eq!(state.selected(), Some(&generation(1)));
    for _ in 0..CRASH_TRIES {
        state = step(&state, crash()).state;
    }
    assert!(matches!(state.mode, Mode::Safe { .. }));
    assert_eq!(step(&state, Event::LeaveSafe).state.selected(), Some(&generation(1)));
}

#[test]
fn a_guard_killed_on_the_same_boot_counts_as_a_crash() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    for _ in 0..CRASH_TRIES {
        state = step(&state, boot("0")).state;
    }
    assert_eq!(state.selected(), Some(&generation(1)));
}

#[test]
fn a_halt_undoes_a_committed_release_and_stays_denied() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    state = step(&state, Event::Deny { release: Digest([2; 32]), why: "bad".into(), undo: true }).state;
    assert_eq!(state.selected(), Some(&generation(1)));
    let again = step(&state, arm_event(2));
    assert_eq!(again.state.selected(), Some(&generation(1)));
    assert!(again.why.starts_with("refused"), "{}", again.why);
}

#[test]
fn a_halt_without_an_operator_ends_a_trial_and_leaves_what_is_committed_alone() {
    let halt = |n| Event::Deny { release: Digest([n; 32]), why: "stop".into(), undo: false };
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    state = step(&state, halt(2)).state;
    assert_eq!(state.selected(), Some(&generation(2)), "it has proven itself here");
    state = step(&step(&state, arm_event(3)).state, halt(3)).state;
    assert_eq!(state.selected(), Some(&generation(2)), "the trial is over");
    assert!(step(&state, arm_event(3)).why.starts_with("refused"));
}

#[test]
fn a_committed_release_that_is_left_is_reported_to_its_rollout() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    state = step(&state, Event::OutcomeReported).state;
    for _ in 0..CRASH_TRIES {
        state = step(&state, Event::ServiceDied { service: "till".into() }).state;
    }
    let outcome = state.outcome.clone().unwrap();
    assert_eq!((outcome.rollout, outcome.committed), (2, false));
}

#[test]
fn a_trial_that_began_in_safe_mode_ends_there_again() {
    let mut state = after(committed(1));
    state = step(&state, Event::StaySafe { why: "asked".into() }).state;
    state = step(&state, arm_event(2)).state;
    assert_eq!(state.selected(), Some(&generation(2)));
    state = step(&state, Event::Abort { why: "probe".into() }).state;
    assert_eq!(state.mode, Mode::Safe { why: "asked".into() });
}

#[test]
fn a_receipt_for_another_release_commits_nothing() {
    let mut state = after(committed(1));
    state = step(&state, arm_event(2)).state;
    state = step(&state, Event::Confirm { release: Digest([9; 32]) }).state;
    assert!(state.trial.is_some());
}

#[test]
fn a_damaged_slot_is_left_down_the_ladder_and_an_un_halt_starts_nothing() {
    let damaged = |n: u8| Event::Damaged { generation: generation(n).id, why: "bit rot".into() };
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    state = step(&state, arm_event(3)).state;
    for (bad, then) in [(3, 2), (2, 1)] {
        state = step(&state, damaged(bad)).state;
        assert_eq!(state.selected(), Some(&generation(then)));
    }
    assert_eq!(step(&state, damaged(2)).state, state, "what is not selected is not left");
    state = step(&state, damaged(1)).state;
    assert_eq!(state.selected(), None);
    let halted = step(&state, Event::Deny { release: Digest([4; 32]), why: "bad".into(), undo: true }).state;
    let free = step(&halted, Event::Undeny { release: Digest([4; 32]) });
    assert_eq!((free.state, free.effects), (state, vec![]));
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3u8).prop_map(|n| boot(&n.to_string())),
        (1..5u8).prop_map(arm_event),
        (1..5u8).prop_map(|n| Event::Confirm { release: Digest([n; 32]) }),
        Just(Event::Abort { why: "probe".into() }),
        Just(Event::ServiceDied { service: "till".into() }),
        Just(Event::Stable),
        (1..5u8, any::<bool>()).prop_map(|(n, undo)| Event::Deny { release: Digest([n; 32]), why: "bad".into(), undo }),
        (1..5u8).prop_map(|n| Event::Undeny { release: Digest([n; 32]) }),
        (0..5u8).prop_map(|n| Event::Damaged { generation: generation(n).id, why: "bit rot".into() }),
        (0..5u8).prop_map(|n| Event::GoTo { generation: generation(n).id }),
        Just(Event::StaySafe { why: "asked".into() }),
        Just(Event::LeaveSafe),
        Just(Event::Stopping),
        Just(Event::OutcomeReported),
    ]
}

proptest! {
    #[test]
    fn every_state_has_something_to_run(events in proptest::collection::vec(any_event(), 0..60)) {
        let mut state = State::new();
        for event in events {
            state = step(&state, event).state;
            prop_assert_eq!(invariant(&state), Ok(()));
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &state);
        }
    }

    #[test]
    fn whatever_happened_a_machine_that_only_restarts_leaves_its_trial(
        events in proptest::collection::vec(any_event(), 0..40)
    ) {
        let mut state = after(events);
        for n in 0..=TRIAL_TRIES {
            state = step(&state, boot(&format!("again {n}"))).state;
        }
        prop_assert!(state.trial.is_none());
    }
}
