use super::*;
use crate::profile::ProfileName;
use proptest::prelude::*;

fn generation(n: u8) -> Generation {
    Generation::of([("till".to_string(), Digest([n; 32]))].into())
}

fn arm_event(n: u8) -> Event {
    Event::Arm { generation: generation(n), rollout: u64::from(n), release: Digest([n; 32]), terms: Terms::default() }
}

/// A later version has a higher sequence, and each bars what lies more than two below it.
fn with_floor(n: u8) -> Event {
    let terms = Terms { sequence: u64::from(n), security_floor: u64::from(n.saturating_sub(2)), ..Terms::default() };
    Event::Arm { generation: generation(n), rollout: u64::from(n), release: Digest([n; 32]), terms }
}

fn died() -> Event {
    Event::ServiceDied { service: "till".into(), how: "ended with status 1".into() }
}

fn tries() -> u32 {
    Patience::default().tries
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
    for _ in 0..tries() {
        state = step(&state, died()).state;
    }
    assert_eq!(state.selected(), Some(&generation(1)));
    for _ in 0..tries() {
        state = step(&state, died()).state;
    }
    assert!(matches!(state.mode, Mode::Safe { .. }));
    assert_eq!(step(&state, Event::LeaveSafe).state.selected(), Some(&generation(1)));
}

#[test]
fn a_guard_killed_on_the_same_boot_counts_as_a_crash() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    for _ in 0..tries() {
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
    for _ in 0..tries() {
        state = step(&state, died()).state;
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

#[test]
fn what_was_left_is_kept_marked_and_can_be_returned_to() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    state = step(&state, Event::OutcomeReported).state;
    for _ in 0..tries() {
        state = step(&state, died()).state;
    }
    assert_eq!(state.selected(), Some(&generation(1)));
    assert_eq!(state.left[0].generation, generation(2));
    assert!(state.left[0].why.contains("till crashed 10 times"), "{}", state.left[0].why);
    assert!(state.denied.is_empty(), "it is marked, not denied");
    let back = step(&state, Event::GoTo { generation: generation(2).id });
    assert_eq!(back.effects[0], Effect::Run(generation(2)));
    assert_eq!((back.state.left.len(), back.state.committed_by), (0, Some((2, Digest([2; 32])))));
    // The next release of the same name goes on from there by itself.
    let next = [arm_event(3), Event::Confirm { release: Digest([3; 32]) }];
    let next = next.into_iter().fold(state.clone(), |state, event| step(&state, event).state);
    assert_eq!((next.left.len(), next.selected()), (0, Some(&generation(3))));
    // A halt denies it, and then nothing is kept of it.
    let halted = step(&state, Event::Deny { release: Digest([2; 32]), why: "bad".into(), undo: true }).state;
    assert!(halted.left.is_empty());
    assert!(step(&halted, Event::GoTo { generation: generation(2).id }).why.starts_with("refused"));
}

#[test]
fn services_are_counted_one_by_one_and_a_trial_is_given_nothing() {
    let mut state = after(committed(1).into_iter().chain(committed(2)));
    for n in 0..20u32 {
        let service = format!("service-{}", n % 4);
        state = step(&state, Event::ServiceDied { service, how: "ended".into() }).state;
    }
    assert_eq!(state.selected(), Some(&generation(2)), "each of four crashed five times for one and the same reason");
    state = step(&state, Event::Stable).state;
    assert!(state.is_settled());
    state = step(&step(&state, arm_event(3)).state, died()).state;
    assert_eq!(state.selected(), Some(&generation(2)), "the trial went back at its first crash");
    assert!(state.left.is_empty());
}

#[test]
fn no_way_back_leads_below_a_security_floor() {
    let change = |n| [with_floor(n), Event::Confirm { release: Digest([n; 32]) }];
    let mut state = after([boot("0")].into_iter().chain(change(1)).chain(change(2)).chain(change(5)));
    assert_eq!(state.floors["till"], 3);
    assert!(step(&state, Event::GoTo { generation: generation(2).id }).why.contains("security floor"));
    assert!(step(&state, with_floor(2)).why.contains("security floor"));
    for _ in 0..tries() {
        state = step(&state, died()).state;
    }
    assert!(matches!(state.mode, Mode::Safe { .. }), "safe mode, not a version with a hole");
    assert_eq!(step(&state, Event::LeaveSafe).state.selected(), Some(&generation(5)));
    // A security fix that fails its trial does not cost the machine its services.
    let mut state = after([boot("0")].into_iter().chain(change(1)));
    state = step(&step(&state, with_floor(5)).state, died()).state;
    assert_eq!(state.selected(), Some(&generation(1)));
}

#[test]
fn a_state_of_an_earlier_guard_is_read() {
    let state = after(committed(1).into_iter().chain([arm_event(2), died(), arm_event(3)]));
    let mut old = serde_json::to_value(&state).unwrap();
    for field in ["left", "patience", "sequences", "floors", "service_crashes"] {
        assert!(old.as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    for field in ["patience", "sequence", "security_floor"] {
        assert!(old["trial"].as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    let read: State = serde_json::from_value(old).unwrap();
    assert_eq!((read.trial, read.earlier), (state.trial, state.earlier));
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3u8).prop_map(|n| boot(&n.to_string())),
        (1..5u8).prop_map(arm_event),
        (1..8u8).prop_map(with_floor),
        Just(died()),
        Just(died()),
        (1..5u8).prop_map(|n| Event::Confirm { release: Digest([n; 32]) }),
        Just(Event::Abort { why: "probe".into() }),
        Just(died()),
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

    /// Crashes and killed guards in any order, each as soon as the pause before it allows: whoever is left by them was
    /// given its time, and is kept.
    #[test]
    fn a_committed_generation_is_left_only_after_its_time_and_never_lost(
        before in proptest::collection::vec(any_event(), 0..30),
        profile in prop_oneof![Just(ProfileName::Demo), Just(ProfileName::Careful)],
        crashes in proptest::collection::vec((0..4u8, 0..5_000u64), 1..120),
    ) {
        let mut state = after(before);
        let terms = Terms { patience: Patience::of(profile), sequence: 9, ..Terms::default() };
        for name in ["base", "top"] {
            let mut releases = state.last_known_good.releases.clone();
            releases.insert("till".into(), Digest::of(name.as_bytes()));
            let release = Digest::of(name.as_bytes());
            let arm = Event::Arm { generation: Generation::of(releases), rollout: 99, release, terms };
            let abort = Event::Abort { why: "make room".into() };
            for event in [abort, arm, Event::Confirm { release }, Event::OutcomeReported] {
                state = step(&state, event).state;
            }
        }
        let top = state.last_known_good.clone();
        let patience = Patience::of(profile);
        prop_assert_eq!((state.patience, &state.mode), (patience, &Mode::Normal));
        let mut elapsed_ms = 0;
        let mut due = BTreeMap::new();
        for (what, extra_ms) in crashes {
            let event = match what {
                0 => boot(&state.boot_id),
                n => Event::ServiceDied { service: format!("s{n}"), how: "ended".into() },
            };
            let from: u64 = *due.get(&what).unwrap_or(&0);
            elapsed_ms = from.max(elapsed_ms) + extra_ms;
            let next = step(&state, event);
            prop_assert_eq!(invariant(&next.state), Ok(()));
            if next.state.last_known_good != top {
                prop_assert!(elapsed_ms >= patience.lasts_ms(), "left after {} ms", elapsed_ms);
                prop_assert_eq!(&next.state.left[0].generation, &top);
                prop_assert!(next.state.outcome.is_some_and(|outcome| !outcome.committed && outcome.rollout == 99));
                break;
            }
            for effect in &next.effects {
                if let Effect::Restart { after_ms: ms, .. } | Effect::Wait { ms } = effect {
                    due.insert(what, elapsed_ms + ms);
                }
            }
            state = next.state;
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
