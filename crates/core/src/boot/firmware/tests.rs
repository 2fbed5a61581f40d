use super::*;
use proptest::prelude::*;

fn arm(n: u8) -> Event {
    Event::Arm { kernel: Digest([n; 32]), initrd: Digest([n; 32]), options: "quiet panic=1".into() }
}

fn on(number: u64, trial: bool) -> Running {
    Running::Entry { number, trial }
}

fn healthy(number: u64) -> Event {
    Event::Healthy { running: on(number, true), counted: Some(number) }
}

fn reached(running: Running, counts: &Counts, loader_left: Option<u32>) -> Event {
    Event::Reached { running, counts: counts.clone(), loader_left }
}

fn after(events: impl IntoIterator<Item = Event>) -> State {
    let first = State::new(Digest([1; 32]), Digest([1; 32]), "quiet panic=1".into(), Digest([9; 32]));
    events.into_iter().fold(first, |state, event| {
        let step = step(&state, event);
        assert!(!step.refused, "{}", step.why);
        step.state
    })
}

/// Starts an entry; `crash` names traces that the start before left.
fn start(state: &State, counts: &mut Counts, running: Running, crash: Option<u8>) -> Go {
    let traces = crash.map(|n| Digest([n; 32]));
    let found = Found { running, state: Some(state), counts, traces, highest_uncounted: None };
    let begin = begin(&found);
    if let Some(changed) = begin.counts {
        *counts = changed;
    }
    begin.go
}

#[test]
fn a_trial_is_given_three_starts_even_if_the_loader_never_counts() {
    let (state, mut counts) = (after([arm(2)]), Counts::default());
    let mut went = Vec::new();
    for _ in 0..6 {
        went.push(start(&state, &mut counts, on(2, true), None));
    }
    assert_eq!(went[..3], [Go::Continue; 3]);
    assert_eq!(went[3..5], [Go::Restart(Target::Entry(1)); 2]);
    assert_eq!(went[5], Go::Restart(Target::Safe));
    let state = step(&state, reached(on(1, false), &counts, Some(TRIES))).state;
    assert_eq!((state.trial.clone(), state.good.number), (None, 1));
    assert!(!state.endings[0].committed);
}

#[test]
fn five_power_cycles_roll_nothing_back_and_write_nothing() {
    let (state, mut counts) = (after([arm(2), healthy(2)]), Counts::default());
    for _ in 0..5 {
        assert_eq!(start(&state, &mut counts, on(2, false), None), Go::Continue);
    }
    assert_eq!(counts, Counts::default());
}

#[test]
fn a_committed_entry_is_left_after_three_crashes_and_old_traces_count_once() {
    let (state, mut counts) = (after([arm(2), healthy(2)]), Counts::default());
    assert_eq!(start(&state, &mut counts, on(2, false), Some(1)), Go::Continue);
    for _ in 0..4 {
        assert_eq!(start(&state, &mut counts, on(2, false), Some(1)), Go::Continue, "the same crash");
    }
    assert_eq!(start(&state, &mut counts, on(2, false), Some(2)), Go::Continue);
    assert_eq!(start(&state, &mut counts, on(2, false), Some(3)), Go::Restart(Target::Entry(1)));
    assert_eq!(start(&state, &mut counts, on(1, false), Some(3)), Go::Continue);
    let step = step(&state, reached(on(1, false), &counts, None));
    assert_eq!((step.state.good.number, step.state.earlier), (1, None));
    assert_eq!(step.effects, [Effect::ForgetCounts]);
}

#[test]
fn crashes_before_a_stable_time_do_not_add_up_with_those_after_it() {
    let state = after([arm(2), healthy(2)]);
    let step = step(&state, Event::Stable { running: on(2, false) });
    assert_eq!(step.effects, [Effect::ForgetCounts]);
}

#[test]
fn the_crashes_of_a_trial_are_not_those_of_last_known_good() {
    let (state, mut counts) = (after([arm(2)]), Counts::default());
    for crash in [None, Some(1), Some(2)] {
        start(&state, &mut counts, on(2, true), crash);
    }
    assert_eq!(start(&state, &mut counts, on(1, false), Some(3)), Go::Continue);
    assert_eq!(counts.of(1), 0);
}

#[test]
fn when_everything_crashes_it_ends_in_safe_mode() {
    let (state, mut counts) = (after([arm(2), healthy(2)]), Counts::default());
    (1..=3)
        .for_each(|crash| assert_ne!(start(&state, &mut counts, on(2, false), Some(crash)), Go::Restart(Target::Safe)));
    let earlier = (4..=6).map(|crash| start(&state, &mut counts, on(1, false), Some(crash)));
    assert_eq!(earlier.last(), Some(Go::Restart(Target::Safe)));
}

#[test]
fn a_lost_state_means_last_known_good_and_never_a_trial() {
    let counts = Counts::default();
    let lost = |running, highest_uncounted| {
        begin(&Found { running, state: None, counts: &counts, traces: None, highest_uncounted }).go
    };
    assert_eq!(lost(on(7, true), Some(6)), Go::Restart(Target::Entry(6)));
    assert_eq!(lost(on(7, true), None), Go::Restart(Target::Safe));
    assert_eq!(lost(on(6, false), Some(6)), Go::Continue);
}

#[test]
fn a_loader_that_does_not_listen_keeps_nobody_in_a_circle() {
    let (state, mut counts) = (after([Event::StaySafe { why: "a person".into() }]), Counts::default());
    let went: Vec<Go> = (0..=MAX_REDIRECTS).map(|_| start(&state, &mut counts, on(1, false), None)).collect();
    assert_eq!(went[MAX_REDIRECTS as usize], Go::Continue);
    assert!(went[..MAX_REDIRECTS as usize].iter().all(|go| *go == Go::Restart(Target::Safe)));
}

#[test]
fn only_what_command_line_loader_and_guard_agree_on_is_committed() {
    let state = after([arm(2)]);
    for (running, counted) in [
        (on(2, true), None),
        (on(2, true), Some(1)),
        (on(3, true), Some(3)),
        // The loader's count survives the fall through to the safe system.
        (Running::Safe, Some(2)),
    ] {
        let step = step(&state, Event::Healthy { running, counted });
        assert!(step.refused && step.state == state, "{running:?} {counted:?}: {}", step.why);
    }
    assert_eq!(step(&state, healthy(2)).state.good.number, 2);
}

#[test]
fn a_trial_that_never_began_stays_armed() {
    let state = after([arm(2)]);
    for running in [on(1, false), Running::Safe] {
        for left in [None, Some(TRIES)] {
            assert!(step(&state, reached(running, &Counts::default(), left)).state.trial.is_some());
        }
        assert!(step(&state, reached(running, &Counts::default(), Some(0))).state.trial.is_none());
    }
}

#[test]
fn a_quarantined_system_is_left_and_not_armed_again() {
    let state = after([arm(2), healthy(2)]);
    let id = state.good.id();
    let state = step(&state, Event::Quarantine { id, why: "bad".into() }).state;
    assert_eq!((state.good.number, state.earlier.clone()), (1, None));
    assert!(step(&state, arm(2)).refused);
    // With nothing to go back to, it is safe mode.
    let last = step(&state, Event::Quarantine { id: state.good.id(), why: "bad, too".into() }).state;
    assert!(last.stay_safe.is_some() && step(&last, Event::LeaveSafe).refused);
}

#[test]
fn options_can_not_become_lines_of_a_boot_entry_or_speak_for_the_guard() {
    let state = after([]);
    for options in ["quiet\ninitrd /evil", "staffel.entry=1", "staffel.trial", "\u{e4}", &"x".repeat(MAX_OPTIONS + 1)] {
        let event = Event::Arm { kernel: Digest([3; 32]), initrd: Digest([3; 32]), options: options.into() };
        assert!(step(&state, event).refused, "{options:?} was taken");
    }
}

fn running() -> impl Strategy<Value = Running> {
    prop_oneof![
        (0..7u64, any::<bool>()).prop_map(|(number, trial)| on(number, trial)),
        Just(Running::Safe),
        Just(Running::Foreign)
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let counts =
        (0..7u64, 0..5u32).prop_map(|(number, count)| Counts { of: vec![(number, count)], ..Counts::default() });
    let id = (1..5u8).prop_map(|n| {
        Entry { number: 0, kernel: Digest([n; 32]), initrd: Digest([n; 32]), options: "quiet panic=1".into() }.id()
    });
    prop_oneof![
        (1..5u8).prop_map(arm),
        (running(), counts, proptest::option::of(0..4u32)).prop_map(|(running, counts, loader_left)| Event::Reached {
            running,
            counts,
            loader_left
        }),
        (running(), proptest::option::of(0..7u64)).prop_map(|(running, counted)| Event::Healthy { running, counted }),
        running().prop_map(|running| Event::Unhealthy { running, why: "\u{1}".repeat(500) }),
        running().prop_map(|running| Event::Stable { running }),
        Just(Event::RollBack { why: "a person".into() }),
        id.prop_map(|id| Event::Quarantine { id, why: "bad".into() }),
        Just(Event::StaySafe { why: "a person".into() }),
        Just(Event::LeaveSafe),
        Just(Event::Reported),
    ]
}

proptest! {
    #[test]
    fn the_invariant_holds_whatever_happens(events in proptest::collection::vec(event(), 0..60)) {
        let mut state = after([]);
        for event in events {
            let step = step(&state, event.clone());
            prop_assert_eq!(invariant(&step.state), Ok(()), "after {:?}", event);
            prop_assert!(!step.refused || step.state == state);
            state = step.state;
        }
    }

    #[test]
    fn every_start_ends_in_a_bounded_number_of_redirects(events in proptest::collection::vec(event(), 0..20), at in running()) {
        let state = events.into_iter().fold(after([]), |state, event| step(&state, event).state);
        let mut counts = Counts::default();
        let went: Vec<Go> = (0..=MAX_REDIRECTS + TRIES).map(|_| start(&state, &mut counts, at, None)).collect();
        prop_assert!(went.contains(&Go::Continue));
    }
}
