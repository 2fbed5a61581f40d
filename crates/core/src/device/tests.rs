//! The course of one change, its interruptions, and what holds after any sequence of events.

use super::*;
use crate::conditions::Refusal;
use crate::ids::Position;
use proptest::prelude::*;

const NONCE: &str = "n1";

fn digest(n: u64) -> Digest {
    Digest::of(&n.to_be_bytes())
}

fn change(rollout: u64) -> Change {
    Change { rollout, release: digest(rollout) }
}

fn offer(rollout: u64) -> Offer {
    Offer {
        rollout,
        name: "till".into(),
        release: digest(rollout),
        priority: 2,
        soak_ms: 10_000,
        standing: Standing::Candidate,
        frontier: 5,
        refusals: vec![Refusal::PermitMissing],
    }
}

fn outcome(rollout: u64, committed: bool, why: &str) -> Outcome {
    Outcome { rollout, release: digest(rollout), committed, why: why.into() }
}

fn fresh() -> State {
    State::new(Remembered::default())
}

fn after(state: &State, events: Vec<Event>) -> (State, Vec<Effect>) {
    let mut state = state.clone();
    let mut effects = Vec::new();
    for event in events {
        let step = step(&state, event);
        assert!(!step.why.is_empty());
        state = step.state;
        effects.extend(step.effects);
    }
    (state, effects)
}

fn tick(now_ms: u64) -> Event {
    Event::Tick { now_ms, slept_ms: 0, jitter: 999 }
}

fn board(offers: &[Offer]) -> Event {
    Event::Board { offers: offers.to_vec() }
}

fn ready(rollout: u64) -> State {
    let events =
        vec![board(&[offer(rollout)]), Event::Fetched { rollout }, Event::Prepared { rollout, nonce: NONCE.into() }];
    after(&fresh(), events).0
}

fn permit(rollout: u64, refusals: Vec<Refusal>) -> Event {
    Event::Permit { rollout, nonce: NONCE.into(), frontier: 5, refusals }
}

fn on_trial(rollout: u64) -> State {
    after(&ready(rollout), vec![permit(rollout, vec![]), Event::Armed { rollout }]).0
}

#[test]
fn a_good_release_goes_once_around() {
    let (state, effects) = after(&fresh(), vec![board(&[offer(1)])]);
    assert_eq!(effects, [Effect::Fetch { change: change(1) }]);
    let (state, effects) = after(&state, vec![Event::Fetched { rollout: 1 }]);
    assert_eq!(effects, [Effect::Prepare { change: change(1) }]);
    let (state, effects) = after(&state, vec![Event::Prepared { rollout: 1, nonce: NONCE.into() }]);
    assert_eq!(effects, [Effect::CheckIn]);
    assert_eq!(state.ask().ready, Some((change(1), NONCE.into())));
    let (state, effects) = after(&state, vec![permit(1, vec![]), Event::Armed { rollout: 1 }]);
    assert_eq!(effects, [Effect::Arm { change: change(1) }, Effect::Probe { change: change(1) }]);
    assert_eq!(state.ask(), Ask::default(), "no receipt is asked for before the probes have passed");
    let (state, _) = after(&state, vec![Event::ProbesPassed { rollout: 1 }]);
    assert_eq!(state.ask().on_trial, Some((change(1), NONCE.into())));
    let (state, effects) = after(&state, vec![Event::ReceiptHeld { rollout: 1 }, tick(9_999)]);
    assert!(!effects.contains(&Effect::Confirm { change: change(1) }), "{effects:?}");
    let (state, effects) = after(&state, vec![Event::ProbesPassed { rollout: 1 }, tick(10_000)]);
    assert!(effects.contains(&Effect::Confirm { change: change(1) }), "{effects:?}");
    let running = [("till".to_string(), digest(1))];
    let guard =
        Guard { outcome: Some(outcome(1, true, "healthy")), running: running.clone().into(), ..Guard::default() };
    let (state, _) = after(&state, vec![Event::GuardStatus(guard)]);
    assert!(state.ask().outcome.is_some());
    let (state, effects) = after(&state, vec![Event::OutcomeNoted { rollout: 1 }]);
    assert_eq!(effects, [Effect::OutcomeReported]);
    assert_eq!(state.phase, Phase::Idle);
    assert_eq!(state.remembered.newest, [("till".to_string(), 1)].into());
}

#[test]
fn a_control_keeps_what_it_runs_and_asks_again_when_the_rollout_moves() {
    let (state, effects) = after(&ready(1), vec![permit(1, vec![Refusal::ControlArm])]);
    assert_eq!(effects, []);
    assert_eq!(state.phase, Phase::Waiting { rollout: 1, refusals: vec![Refusal::ControlArm] });
    assert_eq!(state.ask(), Ask::default());
    let (state, effects) = after(&state, vec![board(&[offer(1)]), tick(60_000)]);
    assert_eq!(effects, [], "nothing moved");
    let mut moved = offer(1);
    moved.frontier = 6;
    let (_, effects) = after(&state, vec![board(&[moved.clone()])]);
    assert_eq!(effects, [Effect::Prepare { change: change(1) }], "a new nonce comes from preparing again");

    // The wave was over before its permit came.
    let (_, effects) = after(&ready(1), vec![board(&[moved]), permit(1, vec![Refusal::ControlArm])]);
    assert_eq!(effects, [Effect::Prepare { change: change(1) }]);
}

#[test]
fn a_control_permit_for_another_nonce_is_no_control() {
    let (state, _) = after(&ready(1), vec![permit(1, vec![Refusal::PermitReplayed, Refusal::ControlArm])]);
    assert!(matches!(state.phase, Phase::Ready { .. }));
}

#[test]
fn a_halt_ends_everything_before_the_trial() {
    let halted = Offer { standing: Standing::Dropped { refusal: Refusal::Halted }, ..offer(1) };
    let (fetching, _) = after(&fresh(), vec![board(&[offer(1)])]);
    for state in [fetching, ready(1)] {
        let (state, effects) = after(&state, vec![board(std::slice::from_ref(&halted)), permit(1, vec![])]);
        assert_eq!((state.phase, effects), (Phase::Idle, vec![]));
    }
}

#[test]
fn probes_that_never_pass_and_probes_that_stop_passing_lead_back() {
    let (state, effects) = after(
        &on_trial(1),
        vec![Event::ProbesFailed { rollout: 1, why: "status 500".into() }, tick(9_999), tick(10_000)],
    );
    let Some(Effect::Abort { why, .. }) = effects.last() else { panic!("{effects:?}") };
    assert!(why.contains("status 500"));
    assert!(matches!(state.phase, Phase::Ending { .. }));

    let passed = vec![Event::ProbesPassed { rollout: 1 }, Event::ReceiptHeld { rollout: 1 }];
    let (soaking, _) = after(&on_trial(1), passed);
    let failed = || Event::ProbesFailed { rollout: 1, why: "closed".into() };
    let (state, effects) = after(&soaking, vec![failed()]);
    assert_eq!(effects, [Effect::Probe { change: change(1) }], "asked again at once");
    let (_, effects) = after(&state, vec![Event::ProbesPassed { rollout: 1 }, failed()]);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Abort { .. })), "one lost probe is no verdict");
    let (_, effects) = after(&state, vec![failed()]);
    assert!(matches!(effects[..], [Effect::Abort { .. }]), "{effects:?}");
}

#[test]
fn a_soak_does_not_end_while_a_probe_fails() {
    let passed = vec![Event::ProbesPassed { rollout: 1 }, Event::ReceiptHeld { rollout: 1 }];
    let (soaking, _) = after(&on_trial(1), passed);
    let (state, effects) = after(&soaking, vec![Event::ProbesFailed { rollout: 1, why: "x".into() }, tick(20_000)]);
    assert!(!effects.contains(&Effect::Confirm { change: change(1) }));
    let (_, effects) = after(&state, vec![Event::ProbesPassed { rollout: 1 }]);
    assert_eq!(effects, [Effect::Confirm { change: change(1) }]);
}

#[test]
fn sleep_is_neither_healthy_time_nor_lost_time() {
    let woken = |now_ms, slept_ms| Event::Tick { now_ms, slept_ms, jitter: 999 };
    let (state, effects) = after(&on_trial(1), vec![woken(3_600_000, 3_595_000)]);
    assert!(matches!(state.phase, Phase::OnTrial { .. }), "five seconds are not too long for its probes: {effects:?}");
    let (_, effects) = after(&state, vec![tick(3_605_000)]);
    assert!(effects.iter().any(|e| matches!(e, Effect::Abort { .. })), "ten are: {effects:?}");

    let passed = vec![Event::ProbesPassed { rollout: 1 }, Event::ReceiptHeld { rollout: 1 }];
    let (soaking, _) = after(&on_trial(1), passed);
    let (state, effects) = after(&soaking, vec![woken(3_600_000, 3_595_000)]);
    assert!(!effects.contains(&Effect::Confirm { change: change(1) }), "it was well for five seconds");
    let (_, effects) = after(&state, vec![tick(3_605_000)]);
    assert!(effects.contains(&Effect::Confirm { change: change(1) }), "{effects:?}");
}

#[test]
fn a_trial_without_a_receipt_goes_back_and_says_what_was_cut_off() {
    let (state, effects) = after(&on_trial(1), vec![Event::ProbesPassed { rollout: 1 }, tick(RECEIPT_WITHIN_MS)]);
    let Some(Effect::Abort { why, .. }) = effects.last() else { panic!("{effects:?}") };
    let guard = Guard { outcome: Some(outcome(1, false, why)), ..Guard::default() };
    let (state, _) = after(&state, vec![Event::GuardStatus(guard)]);
    assert!(state.ask().outcome.unwrap().why.starts_with("trial-cut-off:"));
    let (state, _) = after(&state, vec![Event::CheckInFailed]);
    assert!(state.ask().outcome.unwrap().why.starts_with("both-cut-off:"));
}

#[test]
fn a_release_that_was_taken_back_is_not_tried_again() {
    let guard = Guard { outcome: Some(outcome(1, false, "probe")), ..Guard::default() };
    let events = vec![board(&[offer(1)]), Event::GuardStatus(guard), Event::OutcomeNoted { rollout: 1 }];
    let (state, effects) = after(&fresh(), events);
    assert_eq!(state.phase, Phase::Idle);
    assert!(effects.contains(&Effect::OutcomeReported));
    assert!(state.why().contains("not tried again"), "{}", state.why());
    let (restarted, effects) = after(&State::new(state.remembered), vec![board(&[offer(1)])]);
    assert_eq!((restarted.phase, effects), (Phase::Idle, vec![]));
}

#[test]
fn an_older_rollout_never_takes_back_a_newer_one() {
    let guard = Guard { running: [("till".to_string(), digest(2))].into(), ..Guard::default() };
    let (state, effects) = after(&fresh(), vec![Event::GuardStatus(guard), board(&[offer(1), offer(2)])]);
    assert_eq!((state.phase, effects), (Phase::Idle, vec![]));
}

#[test]
fn urgent_goes_first_and_interrupts_only_before_the_trial() {
    let urgent = Offer { priority: 0, name: "fix".into(), ..offer(2) };
    let (_, effects) = after(&ready(1), vec![board(&[offer(1), urgent.clone()])]);
    assert_eq!(effects, [Effect::Fetch { change: change(2) }]);
    let (state, effects) = after(&on_trial(1), vec![board(&[offer(1), urgent])]);
    assert_eq!(effects, []);
    assert!(matches!(state.phase, Phase::OnTrial { .. }));
}

#[test]
fn rollouts_of_one_priority_take_turns_while_no_permit_comes() {
    let other = Offer { name: "printer".into(), ..offer(2) };
    let (state, _) = after(&ready(1), vec![board(&[offer(1), other])]);
    assert!(matches!(state.phase, Phase::Ready { .. }));
    let (state, effects) = after(&state, vec![tick(TURN_MS)]);
    assert_eq!(effects, [Effect::Fetch { change: change(2) }]);
    let events =
        vec![Event::Fetched { rollout: 2 }, Event::Prepared { rollout: 2, nonce: NONCE.into() }, tick(2 * TURN_MS)];
    let (_, effects) = after(&state, events);
    assert_eq!(effects.last(), Some(&Effect::Prepare { change: change(1) }));
}

#[test]
fn a_guard_whose_ceiling_rises_later_is_asked_again_without_a_pause() {
    let permit = || Event::Permit { rollout: 1, nonce: NONCE.into(), frontier: 5, refusals: Vec::new() };
    let too_young = Refusal::AboveCeiling {
        position: Position(7),
        ceiling: crate::ids::Share::percent(50),
        age_ms: 4_900,
        reached_at_age_ms: Some(5_000),
    };
    let no = Event::GuardRefused { rollout: 1, refusals: vec![too_young.clone()] };
    let (state, _) = after(&ready(1), vec![permit(), no]);
    assert!(
        matches!(&state.phase, Phase::Ready { refusals, .. } if *refusals == [too_young.clone()]),
        "{:?}",
        state.phase
    );
    assert!(state.ask().ready.is_some() && state.failures.is_empty());
    let (state, effects) = after(&state, vec![permit(), Event::Armed { rollout: 1 }]);
    assert!(effects.contains(&Effect::Arm { change: change(1) }));
    assert!(matches!(state.phase, Phase::OnTrial { .. }));
    // Anything else is a failure like others.
    let no = Event::GuardRefused { rollout: 1, refusals: vec![too_young, Refusal::GateMissing] };
    let (state, _) = after(&ready(1), vec![permit(), no]);
    assert!(!state.failures.is_empty());
}

#[test]
fn a_permit_that_is_not_used_is_given_back_with_the_reason() {
    let frozen = || Refusal::Policy(crate::policy::PolicyRefusal::Frozen { reason: "quarter end".into() });
    let asked = after(&ready(1), vec![Event::GuardStatus(Guard::default()), Event::BeforeCheckIn]).0;
    assert_eq!(asked.ask().declined, [], "it still asks");
    // The freeze comes with the permit, or the permit's answer was lost and the freeze came later: the same.
    let later = Offer { refusals: vec![frozen(), Refusal::PermitMissing], ..offer(1) };
    let said = after(&asked, vec![board(std::slice::from_ref(&later)), permit(1, vec![frozen()])]).0.ask();
    assert_eq!(said.ready, None);
    let [declined] = &said.declined[..] else { panic!("{said:?}") };
    assert_eq!((&declined.change, &declined.refusals), (&change(1), &vec![frozen()]));
    // Also by an agent that was killed meanwhile, once the guard has said that nothing is on trial.
    let again = after(&State::new(asked.remembered.clone()), vec![board(&[later]), Event::Fetched { rollout: 1 }]).0;
    assert_eq!(again.ask().declined, []);
    let again = after(&again, vec![Event::GuardStatus(Guard::default())]).0;
    assert_eq!(again.ask().declined.len(), 1);
    let noted = after(&again, vec![Event::DeclineNoted { rollout: 1 }]).0;
    assert_eq!(noted.ask(), Ask::default());
}

#[test]
fn whoever_goes_on_trial_gives_nothing_back() {
    let asked = after(&ready(1), vec![Event::GuardStatus(Guard::default()), Event::BeforeCheckIn]).0;
    let arming = after(&asked, vec![permit(1, vec![])]).0;
    // The guard's word is lost: nothing is said until its status came.
    let unknown = after(&arming, vec![Event::GuardFailed { rollout: 1, why: "closed".into() }]).0;
    assert_eq!(unknown.ask().declined, []);
    let trial = Guard { trial: Some(change(1)), nonce: Some(NONCE.into()), ..Guard::default() };
    let armed = after(&unknown, vec![Event::GuardStatus(trial)]).0;
    assert!(armed.ask().declined.is_empty() && armed.remembered.asked.is_empty());
    let back = Guard { outcome: Some(outcome(1, false, "crashed")), ..Guard::default() };
    let back = after(&unknown, vec![Event::GuardStatus(back)]).0;
    assert!(back.ask().declined.is_empty() && back.ask().outcome.is_some());
    // It never was armed: now it is given back.
    let free = after(&unknown, vec![Event::GuardStatus(Guard::default())]).0;
    assert_eq!(free.ask().declined.len(), 1);
}

#[test]
fn a_refusal_that_may_pass_is_asked_about_once_more_and_then_given_back() {
    let late = || vec![Refusal::PermitExpired];
    let asked = after(&ready(1), vec![Event::GuardStatus(Guard::default()), Event::BeforeCheckIn]).0;
    let once = after(&asked, vec![permit(1, late()), Event::BeforeCheckIn]).0;
    assert!(once.ask().ready.is_some() && once.ask().declined.is_empty());
    let twice = after(&once, vec![permit(1, late())]).0;
    assert_eq!((twice.ask().ready, twice.ask().declined.len()), (None, 1));
    // What can't pass by itself is given back at once.
    let full = Refusal::PreflightFailed { why: vec!["no room".into()] };
    let at_once =
        after(&asked, vec![permit(1, vec![]), Event::GuardRefused { rollout: 1, refusals: vec![full.clone()] }]).0;
    assert_eq!(at_once.ask().declined[0].refusals, [full]);
}

#[test]
fn cut_off_from_everybody_is_no_verdict_and_is_tried_again() {
    let why = format!("{} no receipt", words::CUT_OFF);
    let back = Guard { outcome: Some(outcome(1, false, &why)), ..Guard::default() };
    let told = after(&on_trial(1), vec![Event::GuardStatus(back), Event::CheckInFailed]).0;
    assert!(is_both_cut_off(&told.ask().outcome.unwrap()));
    let noted = after(&told, vec![Event::OutcomeNoted { rollout: 1 }]).0;
    assert!(!noted.remembered.ended.contains_key(&1));
    let told = after(&told, vec![Event::CheckInFailed]).0;
    let alone = State { phase: Phase::Reporting { outcome: outcome(1, false, &why), lost_check_ins: 0 }, ..told };
    assert!(!is_both_cut_off(&alone.ask().outcome.unwrap()), "the server was there");
    let noted = after(&alone, vec![Event::OutcomeNoted { rollout: 1 }]).0;
    assert_eq!(noted.remembered.ended.get(&1), Some(&false));
}

#[test]
fn an_old_nonce_is_replaced_before_the_next_question_and_the_turn_goes_on() {
    let (fresh_nonce, effects) = after(&ready(1), vec![tick(NONCE_FRESH_MS - 1), Event::BeforeCheckIn]);
    assert_eq!(effects, []);
    let (state, effects) = after(&fresh_nonce, vec![tick(NONCE_FRESH_MS), Event::BeforeCheckIn]);
    assert_eq!(effects, [Effect::Prepare { change: change(1) }]);
    let (state, effects) = after(&state, vec![Event::Prepared { rollout: 1, nonce: "n2".into() }]);
    assert_eq!(effects, [Effect::CheckIn]);
    assert_eq!(state.ask().ready, Some((change(1), "n2".into())));
    assert!(matches!(state.phase, Phase::Ready { since_ms: 0, .. }), "its turn began with the first question");
    let (state, _) = after(&state, vec![permit(1, vec![])]);
    assert!(matches!(state.phase, Phase::Ready { .. }), "a permit for the old nonce arms nothing");
}

#[test]
fn failures_pause_twice_as_long_each_time_and_no_longer_than_a_quarter_of_an_hour() {
    let (mut state, _) = after(&fresh(), vec![board(&[offer(1)])]);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let failed = step(&state, Event::FetchFailed { rollout: 1, problem: "disk full".into() }).state;
        let Phase::Blocked { retry_at_ms, .. } = failed.phase else { panic!("{:?}", failed.phase) };
        pauses.push(retry_at_ms - failed.now_ms);
        assert!(failed.why().contains("disk full"));
        let again = step(&failed, tick(retry_at_ms));
        assert_eq!(again.effects, [Effect::Fetch { change: change(1) }]);
        state = again.state;
    }
    assert!(pauses.windows(2).all(|w| w[1] >= w[0]), "{pauses:?}");
    assert_eq!(pauses.last(), Some(&RETRY_MOST_MS));
    let hasty = step(&state, Event::Tick { now_ms: 0, slept_ms: 0, jitter: 0 }).state;
    let failed = step(&hasty, Event::FetchFailed { rollout: 1, problem: "x".into() }).state;
    assert_eq!(failed.wake_at_ms(), Some(failed.now_ms + RETRY_MOST_MS / 2));
}

#[test]
fn a_policy_that_says_no_is_waited_for_after_the_download_and_stops_the_asking() {
    let frozen = Refusal::Policy(crate::policy::PolicyRefusal::Frozen { reason: "audit".into() });
    let held = Offer { refusals: vec![frozen.clone(), Refusal::PermitMissing], ..offer(1) };
    let (state, _) = after(&fresh(), vec![board(std::slice::from_ref(&held)), Event::Fetched { rollout: 1 }]);
    assert_eq!(state.phase, Phase::Waiting { rollout: 1, refusals: vec![frozen] });
    let (_, effects) = after(&state, vec![board(&[offer(1)])]);
    assert_eq!(effects, [Effect::Prepare { change: change(1) }]);
    let (state, _) = after(&ready(1), vec![board(&[held])]);
    assert_eq!(state.ask(), Ask::default());
}

#[test]
fn a_lost_answer_of_the_guard_is_settled_by_its_status() {
    let (state, _) = after(&ready(1), vec![permit(1, vec![])]);
    let (state, _) = after(&state, vec![Event::GuardFailed { rollout: 1, why: "socket closed".into() }]);
    assert!(matches!(state.phase, Phase::Blocked { .. }));
    let guard = Guard { trial: Some(change(1)), nonce: Some(NONCE.into()), ..Guard::default() };
    let (state, _) = after(&state, vec![Event::GuardStatus(guard)]);
    assert!(matches!(state.phase, Phase::OnTrial { .. }));
}

/// The guard and the server around one device, true to what was sent and in any order.
#[derive(Clone, Debug)]
enum Move {
    Time(u64),
    Offers(Vec<(u64, u8, u8)>),
    Succeed,
    Fail,
    Lose,
    Permit(bool),
    Control,
    Probe(bool),
    Receipt,
    Noted,
    Asks,
    Restart,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0..30_000_u64).prop_map(Move::Time),
        2 => proptest::collection::vec((1..4_u64, 0..3_u8, 0..4_u8), 0..4).prop_map(Move::Offers),
        6 => Just(Move::Succeed),
        1 => Just(Move::Fail),
        1 => Just(Move::Lose),
        3 => any::<bool>().prop_map(Move::Permit),
        1 => Just(Move::Control),
        4 => prop_oneof![4 => Just(true), 1 => Just(false)].prop_map(Move::Probe),
        3 => Just(Move::Receipt),
        3 => Just(Move::Noted),
        2 => Just(Move::Asks),
        1 => Just(Move::Restart),
    ]
}

/// A world that checks each effect against what may be done.
#[derive(Default)]
struct World {
    guard: Guard,
    permitted: Option<u64>,
    probed: bool,
    received: bool,
    healthy_since: Option<u64>,
    pending: Vec<Effect>,
}

impl World {
    fn feed(&mut self, state: &mut State, event: Event) -> Result<(), TestCaseError> {
        let step = step(state, event);
        prop_assert!(!step.why.is_empty());
        *state = step.state;
        for effect in step.effects {
            match &effect {
                Effect::Fetch { change } | Effect::Prepare { change } => {
                    let wanted =
                        state.offers.iter().any(|o| o.rollout == change.rollout && o.standing == Standing::Candidate);
                    prop_assert!(wanted, "{effect:?} without being a candidate");
                    prop_assert!(self.guard.trial.is_none(), "{effect:?} during a trial");
                    prop_assert!(!state.remembered.ended.contains_key(&change.rollout));
                }
                Effect::Arm { change } => {
                    prop_assert_eq!(self.permitted, Some(change.rollout), "armed without a permit that holds");
                }
                Effect::Confirm { .. } => {
                    prop_assert!(self.probed && self.received, "confirmed without probes and receipt");
                    let since = self.healthy_since.unwrap_or(u64::MAX);
                    prop_assert!(state.now_ms.saturating_sub(since) >= 10_000, "confirmed before the soak was over");
                }
                _ => {}
            }
            self.pending.push(effect);
        }
        let asks = state.ask();
        let questions = [asks.ready.is_some(), asks.on_trial.is_some(), asks.outcome.is_some()];
        prop_assert!(questions.iter().filter(|asked| **asked).count() <= 1, "one change at a time");
        for declined in asks.declined {
            let tried = self.guard.trial.as_ref().map(|trial| trial.rollout);
            let ended = self.guard.outcome.as_ref().map(|outcome| outcome.rollout);
            let rollout = Some(declined.change.rollout);
            prop_assert!(tried != rollout && ended != rollout, "a trial is hidden behind a refusal");
        }
        Ok(())
    }

    fn begin_trial(&mut self, change: &Change) {
        self.guard.trial = Some(change.clone());
        self.guard.nonce = Some(NONCE.into());
        (self.probed, self.received, self.healthy_since) = (false, false, None);
    }

    fn end_trial(&mut self, committed: bool) {
        if let Some(trial) = self.guard.trial.take() {
            if committed {
                self.guard.running.insert("till".into(), trial.release);
            }
            self.guard.outcome = Some(outcome(trial.rollout, committed, "over"));
        }
    }

    /// Carries out the latest effect; `reply` false: it happened and the answer was lost.
    fn carry_out(&mut self, state: &mut State, reply: bool) -> Result<(), TestCaseError> {
        let Some(effect) = self.pending.pop() else { return Ok(()) };
        let event = match effect {
            Effect::Fetch { change } => Event::Fetched { rollout: change.rollout },
            Effect::Prepare { change } => Event::Prepared { rollout: change.rollout, nonce: NONCE.into() },
            Effect::Arm { change } => {
                if self.guard.trial.is_none() && self.guard.outcome.is_none() {
                    self.begin_trial(&change);
                }
                self.permitted = None;
                Event::Armed { rollout: change.rollout }
            }
            Effect::Confirm { change } if self.guard.trial.as_ref() == Some(&change) => {
                self.end_trial(true);
                Event::GuardStatus(self.guard.clone())
            }
            Effect::Abort { change, .. } if self.guard.trial.as_ref() == Some(&change) => {
                self.end_trial(false);
                Event::GuardStatus(self.guard.clone())
            }
            Effect::OutcomeReported => {
                self.guard.outcome = None;
                Event::GuardStatus(self.guard.clone())
            }
            _ => return Ok(()),
        };
        if reply { self.feed(state, event) } else { self.feed(state, Event::GuardStatus(self.guard.clone())) }
    }

    fn play(&mut self, state: &mut State, one: Move) -> Result<(), TestCaseError> {
        let at_hand = state.change().map(|change| change.rollout);
        match one {
            Move::Time(ms) => self.feed(state, Event::Tick { now_ms: state.now_ms + ms, slept_ms: 0, jitter: 7 }),
            Move::Offers(list) => {
                let offers = list.into_iter().map(|(rollout, priority, kind)| Offer {
                    priority,
                    standing: match kind {
                        0 => Standing::Dropped { refusal: Refusal::Halted },
                        1 => Standing::NotYet { refusal: Refusal::FrontierMissing },
                        _ => Standing::Candidate,
                    },
                    ..offer(rollout)
                });
                self.feed(state, Event::Board { offers: offers.collect() })
            }
            Move::Succeed => self.carry_out(state, true),
            Move::Lose => self.carry_out(state, false),
            Move::Fail => {
                let failed = match self.pending.pop() {
                    Some(Effect::Fetch { change }) => {
                        Event::FetchFailed { rollout: change.rollout, problem: "disk full".into() }
                    }
                    Some(Effect::Prepare { change } | Effect::Arm { change } | Effect::Confirm { change }) => {
                        Event::GuardFailed { rollout: change.rollout, why: "busy".into() }
                    }
                    _ => Event::CheckInFailed,
                };
                self.feed(state, failed)
            }
            Move::Permit(holds) => {
                let Some((change, nonce)) = state.ask().ready else { return Ok(()) };
                let refusals = if holds { vec![] } else { vec![Refusal::PermitExpired] };
                self.permitted = holds.then_some(change.rollout);
                self.feed(state, Event::Permit { rollout: change.rollout, nonce, frontier: 5, refusals })
            }
            Move::Control => {
                let Some(rollout) = at_hand else { return Ok(()) };
                self.permitted = None;
                self.feed(state, permit(rollout, vec![Refusal::ControlArm]))
            }
            Move::Probe(passes) => {
                let Some(trial) = self.guard.trial.clone() else { return Ok(()) };
                self.probed |= passes && matches!(state.phase, Phase::OnTrial { .. } | Phase::Soaking { .. });
                self.mark_health(state);
                let rollout = trial.rollout;
                let failed = Event::ProbesFailed { rollout, why: "closed".into() };
                self.feed(state, if passes { Event::ProbesPassed { rollout } } else { failed })
            }
            Move::Receipt => {
                let Some((trial, _)) = state.ask().on_trial else { return Ok(()) };
                self.received = true;
                self.mark_health(state);
                self.feed(state, Event::ReceiptHeld { rollout: trial.rollout })
            }
            Move::Noted => {
                let Some(outcome) = state.ask().outcome else { return Ok(()) };
                self.feed(state, Event::OutcomeNoted { rollout: outcome.rollout })
            }
            Move::Asks => self.feed(state, Event::BeforeCheckIn),
            Move::Restart => {
                let now_ms = state.now_ms;
                *state = State::new(state.remembered.clone());
                (self.pending, self.permitted, self.healthy_since) = (Vec::new(), None, None);
                (self.probed, self.received) = (false, false);
                self.feed(state, tick(now_ms))?;
                self.feed(state, Event::GuardStatus(self.guard.clone()))?;
                prop_assert_eq!(state.change(), self.guard.trial.as_ref(), "the guard's status alone resumes a trial");
                Ok(())
            }
        }
    }

    fn mark_health(&mut self, state: &State) {
        if self.probed && self.received && self.healthy_since.is_none() {
            self.healthy_since = Some(state.now_ms);
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_no_rule_is_broken_and_a_healthy_world_gets_there(
        list in proptest::collection::vec(moves(), 1..120),
    ) {
        let mut state = fresh();
        let mut world = World::default();
        for one in list {
            world.play(&mut state, one)?;
        }
        // Liveness: from wherever that led, a restart and a world that answers bring rollout 9 to its end.
        world.play(&mut state, Move::Restart)?;
        world.play(&mut state, Move::Offers(vec![(9, 1, 3)]))?;
        for _ in 0..200 {
            for one in [Move::Succeed, Move::Permit(true), Move::Succeed, Move::Probe(true), Move::Receipt, Move::Noted] {
                world.play(&mut state, one)?;
            }
            world.play(&mut state, Move::Time(5_000))?;
            if state.remembered.ended.get(&9) == Some(&true) {
                return Ok(());
            }
        }
        prop_assert!(false, "stuck: {}", state.why());
    }

    #[test]
    fn the_same_status_twice_changes_nothing(trial in any::<bool>(), over in any::<bool>(), passed in any::<bool>()) {
        let mut state = on_trial(1);
        if passed {
            state = step(&state, Event::ProbesPassed { rollout: 1 }).state;
        }
        let guard = Guard {
            trial: trial.then(|| change(1)),
            outcome: over.then(|| outcome(1, false, "probe")),
            ..Guard::default()
        };
        let once = step(&state, Event::GuardStatus(guard.clone()));
        let twice = step(&once.state, Event::GuardStatus(guard));
        prop_assert_eq!(&twice.state, &once.state);
        prop_assert_eq!(twice.effects, vec![]);
    }
}
