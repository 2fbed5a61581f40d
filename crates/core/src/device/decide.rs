//! The transitions of the device. One handler for the closed set of events; late answers to a change that was dropped
//! meanwhile are recognised by their rollout and change nothing.

use super::{
    Asked, CONTROL_ASKS_AGAIN_MS, Change, Effect, Event, Failure, Guard, NONCE_FRESH_MS, Offer, PROBE_TRIES, Phase,
    RECEIPT_WITHIN_MS, RETRY_FIRST_MS, RETRY_MOST_MS, SOAK_DEFAULT_MS, Standing, State, TURN_MS, Verdict, Watch,
    standing::{may_ask_despite, may_be_fetched_anew},
    words::{CUT_OFF, as_reported, is_both_cut_off},
};
use crate::conditions::Refusal;
use std::cmp::Reverse;

type Effects = Vec<Effect>;

pub(super) fn decide(state: &mut State, event: Event, effects: &mut Effects) {
    match event {
        Event::Tick { now_ms, slept_ms, jitter } => {
            state.now_ms = state.now_ms.max(now_ms);
            match &mut state.phase {
                Phase::OnTrial { since_ms, .. } => *since_ms = since_ms.saturating_add(slept_ms).min(state.now_ms),
                Phase::Soaking { until_ms, .. } => *until_ms = until_ms.saturating_add(slept_ms),
                _ => {}
            }
            state.jitter = jitter.min(999);
            tick(state, effects);
        }
        Event::Board { offers } => board(state, offers, effects),
        Event::Fetched { rollout } => fetched(state, rollout, effects),
        Event::FetchFailed { rollout, problem } => {
            if matches!(&state.phase, Phase::Fetching { change } if change.rollout == rollout) {
                state.fail(rollout, problem, Vec::new());
                choose(state, effects);
            }
        }
        Event::Prepared { rollout, nonce } => {
            if let Phase::Preparing { change } = &state.phase
                && change.rollout == rollout
            {
                let (change, nonce_at_ms) = (change.clone(), state.now_ms);
                let since_ms = match state.asking {
                    Some((asked, since_ms)) if asked == rollout => since_ms,
                    _ => nonce_at_ms,
                };
                state.asking = Some((rollout, since_ms));
                state.phase = Phase::Ready { change, nonce, nonce_at_ms, since_ms, refusals: Vec::new() };
                effects.push(Effect::CheckIn);
            }
        }
        Event::GuardRefused { rollout, refusals } => {
            let why = format!("the guard refused: {}", super::words::joined(&refusals));
            guard_says_no(state, rollout, why, refusals, effects);
        }
        Event::GuardFailed { rollout, why } => guard_says_no(state, rollout, why, Vec::new(), effects),
        Event::Permit { rollout, nonce, frontier, refusals } => {
            permit(state, rollout, &nonce, frontier, refusals, effects);
        }
        Event::Armed { rollout } => {
            if let Phase::Arming { change, nonce, .. } = &state.phase
                && change.rollout == rollout
            {
                let (change, nonce) = (change.clone(), nonce.clone());
                state.failures.remove(&rollout);
                state.go_on_trial(change, nonce, effects);
            }
        }
        Event::ProbesPassed { rollout } => probes_passed(state, rollout, effects),
        Event::ProbesFailed { rollout, why } => probes_failed(state, rollout, why, effects),
        Event::ReceiptHeld { rollout } => {
            if let Phase::OnTrial { change, receipt, .. } = &mut state.phase
                && change.rollout == rollout
            {
                *receipt = true;
                begin_soak(state);
            }
        }
        Event::BeforeCheckIn => {
            if let Phase::Ready { change, nonce_at_ms, .. } = &state.phase
                && state.now_ms.saturating_sub(*nonce_at_ms) >= NONCE_FRESH_MS
            {
                let change = change.clone();
                effects.push(Effect::Prepare { change: change.clone() });
                state.phase = Phase::Preparing { change };
            } else if let Phase::Ready { change, .. } = &state.phase {
                let asked = Asked { release: change.release, refused: 0 };
                state.remembered.asked.entry(change.rollout).or_insert(asked);
            }
        }
        Event::CheckInFailed => {
            if let Phase::Reporting { lost_check_ins, .. } = &mut state.phase {
                *lost_check_ins = lost_check_ins.saturating_add(1);
            }
        }
        Event::GuardStatus(guard) => guard_status(state, guard, effects),
        Event::DeclineNoted { rollout } => {
            state.remembered.asked.remove(&rollout);
        }
        Event::OutcomeNoted { rollout } => outcome_noted(state, rollout, effects),
    }
}

fn tick(state: &mut State, effects: &mut Effects) {
    let now = state.now_ms;
    let grace = state.start_grace_ms();
    match &mut state.phase {
        Phase::Idle | Phase::Waiting { .. } | Phase::Blocked { .. } => choose(state, effects),
        Phase::Ready { change, since_ms, .. } if now.saturating_sub(*since_ms) >= TURN_MS => {
            let rollout = change.rollout;
            give_way(state, rollout, effects);
        }
        Phase::OnTrial { since_ms, passed, receipt, watch, .. } => {
            let lasted = now.saturating_sub(*since_ms);
            if !*passed && lasted >= grace {
                let why = format!("the probes did not pass within {} s: {}", grace / 1_000, watch.last_failure);
                return end(state, Verdict::Abort { why }, effects);
            }
            if !*receipt && lasted >= RECEIPT_WITHIN_MS {
                let why = format!("{CUT_OFF} no receipt of the server within {} s", RECEIPT_WITHIN_MS / 1_000);
                return end(state, Verdict::Abort { why }, effects);
            }
            probe_if_due(state, effects);
        }
        Phase::Soaking { until_ms, watch, .. } if now >= *until_ms && watch.misses == 0 => {
            end(state, Verdict::Confirm, effects);
        }
        Phase::Soaking { .. } => probe_if_due(state, effects),
        Phase::Ending { retry_at_ms, .. } if now >= *retry_at_ms => carry_out(state, effects),
        _ => {}
    }
}

fn probe_if_due(state: &mut State, effects: &mut Effects) {
    let (now, every) = (state.now_ms, state.probe_every_ms());
    if let Phase::OnTrial { change, watch, .. } | Phase::Soaking { change, watch, .. } = &mut state.phase
        && now >= watch.probe_at_ms
    {
        watch.probe_at_ms = now.saturating_add(every);
        effects.push(Effect::Probe { change: change.clone() });
    }
}

fn board(state: &mut State, mut offers: Vec<Offer>, effects: &mut Effects) {
    // A later rollout of a product stands before an earlier one: fix-forward comes first.
    offers.sort_by_key(|offer| (offer.priority, Reverse(offer.rollout)));
    offers.dedup_by_key(|offer| offer.rollout);
    state.offers = offers;
    let on_board: Vec<u64> = state.offers.iter().map(|offer| offer.rollout).collect();
    state.failures.retain(|rollout, _| on_board.contains(rollout));
    state.control.retain(|rollout, _| on_board.contains(rollout));
    state.yielded.retain(|rollout, _| on_board.contains(rollout));
    let wanted = |state: &State, digest| {
        state.offers.iter().any(|o| o.release == digest && !o.refusals.iter().any(may_be_fetched_anew))
    };
    let keep: Vec<_> = state.fetched.iter().copied().filter(|digest| wanted(state, *digest)).collect();
    state.fetched = keep.into_iter().collect();
    match &state.phase {
        Phase::Idle | Phase::Waiting { .. } | Phase::Blocked { .. } => choose(state, effects),
        Phase::Fetching { change } | Phase::Preparing { change } | Phase::Ready { change, .. } => {
            let rollout = change.rollout;
            let still = state.offer(rollout).is_some_and(|offer| offer.standing == Standing::Candidate);
            let urgent = state.offer(rollout).is_some_and(|mine| {
                state.offers.iter().any(|o| o.priority < mine.priority && state.next_act(o).is_action())
            });
            if !still || urgent {
                choose(state, effects);
            } else if let Phase::Ready { .. } = state.phase {
                ready_still(state, rollout, effects);
            }
        }
        // From here on the guard decides; a halt reaches it by itself.
        _ => {}
    }
}

/// A freeze or a closed window that began after the preparation stops the asking.
fn ready_still(state: &mut State, rollout: u64, effects: &mut Effects) {
    let asks = state.offer(rollout).is_some_and(|offer| offer.refusals.iter().all(may_ask_despite));
    if !asks {
        choose(state, effects);
    }
}

fn fetched(state: &mut State, rollout: u64, effects: &mut Effects) {
    let Some(offer) = state.offer(rollout).cloned() else { return };
    let unusable: Vec<Refusal> = offer.refusals.iter().filter(|r| may_be_fetched_anew(r)).cloned().collect();
    let fetching = matches!(&state.phase, Phase::Fetching { change } if change.rollout == rollout);
    if unusable.is_empty() {
        state.fetched.insert(offer.release);
    } else if fetching {
        state.fail(rollout, "what was downloaded can't be used".into(), unusable);
    }
    if fetching {
        choose(state, effects);
    }
}

fn guard_says_no(state: &mut State, rollout: u64, why: String, refusals: Vec<Refusal>, effects: &mut Effects) {
    let retry_at = state.now_ms.saturating_add(state.spread(RETRY_FIRST_MS));
    let (now, asking) = (state.now_ms, state.asking);
    if matches!(state.phase, Phase::Arming { .. }) {
        // A refusal is a word; a failure may have come after the deed.
        state.unarmed = !refusals.is_empty();
    }
    let again = !refusals.is_empty() && refusals.iter().all(is_too_young) && state.may_ask_again(rollout);
    match &mut state.phase {
        // The guard saw the authorisation a little later than the agent, so its ceiling rises a little later, too. The
        // next check-in asks again: a pause as after a failure would look like a silence to the server.
        Phase::Arming { change, nonce, nonce_at_ms } if change.rollout == rollout && again => {
            let (change, nonce, nonce_at_ms) = (change.clone(), nonce.clone(), *nonce_at_ms);
            let since_ms = asking.filter(|(asked, _)| *asked == rollout).map_or(now, |(_, since_ms)| since_ms);
            state.phase = Phase::Ready { change, nonce, nonce_at_ms, since_ms, refusals };
        }
        Phase::Preparing { change } | Phase::Arming { change, .. } if change.rollout == rollout => {
            state.fail(rollout, why, refusals);
            choose(state, effects);
        }
        // Lost or refused, the verdict stands; the guard's status will tell if it was carried out all the same.
        Phase::Ending { change, retry_at_ms, .. } if change.rollout == rollout => *retry_at_ms = retry_at,
        _ => {}
    }
}

/// True if the next permit may be enough although this one is not: a frontier or permit that came late, an age that grows.
fn may_pass_soon(refusal: &Refusal) -> bool {
    matches!(refusal.condition(), 4 | 7) && *refusal != Refusal::Halted || is_too_young(refusal)
}

fn is_too_young(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::AboveCeiling { .. })
}

fn permit(state: &mut State, rollout: u64, nonce: &str, frontier: u64, why_not: Vec<Refusal>, effects: &mut Effects) {
    let now = state.now_ms;
    let again = why_not.iter().all(may_pass_soon);
    let Phase::Ready { change, nonce: mine, nonce_at_ms, refusals, .. } = &mut state.phase else { return };
    if change.rollout != rollout || mine != nonce {
        return;
    }
    if why_not.is_empty() {
        let (change, nonce, nonce_at_ms) = (change.clone(), mine.clone(), *nonce_at_ms);
        effects.push(Effect::Arm { change: change.clone() });
        state.phase = Phase::Arming { change, nonce, nonce_at_ms };
        state.unarmed = false;
        return;
    }
    let control = why_not.contains(&Refusal::ControlArm)
        && !why_not.iter().any(|refusal| refusal.condition() == 7 && *refusal != Refusal::ControlArm);
    if !control {
        *refusals = why_not.clone();
        if !(again && state.may_ask_again(rollout)) {
            state.fail(rollout, "the permit is not used".into(), why_not);
            choose(state, effects);
        }
        return;
    }
    // It is no treated one: nothing has to be given back.
    state.remembered.asked.remove(&rollout);
    state.control.insert(rollout, (frontier, now));
    state.asking = None;
    choose(state, effects);
}

fn probes_passed(state: &mut State, rollout: u64, effects: &mut Effects) {
    match &mut state.phase {
        Phase::OnTrial { change, passed, watch, .. } if change.rollout == rollout => {
            watch.misses = 0;
            if !std::mem::replace(passed, true) {
                effects.push(Effect::CheckIn);
            }
            begin_soak(state);
        }
        Phase::Soaking { change, watch, until_ms, .. } if change.rollout == rollout => {
            watch.misses = 0;
            if state.now_ms >= *until_ms {
                end(state, Verdict::Confirm, effects);
            }
        }
        _ => {}
    }
}

fn probes_failed(state: &mut State, rollout: u64, why: String, effects: &mut Effects) {
    let now = state.now_ms;
    // Before the first success the service is still starting; `tick` ends that time.
    let (proven, watch) = match &mut state.phase {
        Phase::OnTrial { change, passed, watch, .. } if change.rollout == rollout => (*passed, watch),
        Phase::Soaking { change, watch, .. } if change.rollout == rollout => (true, watch),
        _ => return,
    };
    watch.misses = watch.misses.saturating_add(1);
    watch.last_failure = why;
    if !proven {
        return;
    }
    if watch.misses >= PROBE_TRIES {
        let why = format!("a probe failed: {}", watch.last_failure);
        return end(state, Verdict::Abort { why }, effects);
    }
    watch.probe_at_ms = now;
    probe_if_due(state, effects);
}

fn begin_soak(state: &mut State) {
    if let Phase::OnTrial { change, nonce, passed: true, receipt: true, watch, .. } = &state.phase {
        let (change, nonce, watch) = (change.clone(), nonce.clone(), watch.clone());
        let until_ms = state.now_ms.saturating_add(state.soak_ms(change.rollout));
        state.phase = Phase::Soaking { change, nonce, until_ms, watch };
    }
}

fn end(state: &mut State, verdict: Verdict, effects: &mut Effects) {
    if let Phase::OnTrial { change, nonce, .. } | Phase::Soaking { change, nonce, .. } = &state.phase {
        let (change, nonce) = (change.clone(), nonce.clone());
        state.phase = Phase::Ending { change, nonce, verdict, retry_at_ms: state.now_ms };
        carry_out(state, effects);
    }
}

fn carry_out(state: &mut State, effects: &mut Effects) {
    let retry_at = state.now_ms.saturating_add(state.spread(RETRY_FIRST_MS)).saturating_add(1);
    if let Phase::Ending { change, verdict, retry_at_ms, .. } = &mut state.phase {
        *retry_at_ms = retry_at;
        let change = change.clone();
        effects.push(match verdict {
            Verdict::Confirm => Effect::Confirm { change },
            Verdict::Abort { why } => Effect::Abort { change, why: why.clone() },
        });
    }
}

fn guard_status(state: &mut State, guard: Guard, effects: &mut Effects) {
    state.running = guard.running;
    if let Some(trial) = guard.trial {
        let known = matches!(&state.phase, Phase::OnTrial { change, .. } | Phase::Soaking { change, .. }
            | Phase::Ending { change, .. } if *change == trial);
        if !known {
            state.go_on_trial(trial, guard.nonce.unwrap_or_default(), effects);
        }
        return;
    }
    state.unarmed = true;
    if let Some(outcome) = guard.outcome {
        state.remembered.asked.remove(&outcome.rollout);
        if state.remembered.ended.contains_key(&outcome.rollout) {
            // The server has it, only the guard was not told.
            effects.push(Effect::OutcomeReported);
        } else if !matches!(&state.phase, Phase::Reporting { outcome: known, .. } if *known == outcome) {
            state.phase = Phase::Reporting { outcome, lost_check_ins: 0 };
            effects.push(Effect::CheckIn);
            return;
        } else {
            return;
        }
    }
    match &state.phase {
        Phase::OnTrial { .. } | Phase::Soaking { .. } | Phase::Ending { .. } | Phase::Reporting { .. } => {
            choose(state, effects);
        }
        Phase::Idle | Phase::Waiting { .. } | Phase::Blocked { .. } => choose(state, effects),
        _ => {}
    }
}

fn outcome_noted(state: &mut State, rollout: u64, effects: &mut Effects) {
    let Phase::Reporting { outcome, lost_check_ins } = &state.phase else { return };
    if outcome.rollout != rollout {
        return;
    }
    let committed = outcome.committed;
    // Nobody answered, whatever ran: that says nothing about the release, and it may be tried again.
    if !is_both_cut_off(&as_reported(outcome, *lost_check_ins)) {
        state.remembered.ended.insert(rollout, committed);
    }
    if committed && let Some(offer) = state.offer(rollout) {
        let name = offer.name.clone();
        let newest = state.remembered.newest.entry(name).or_default();
        *newest = rollout.max(*newest);
    }
    effects.push(Effect::OutcomeReported);
    choose(state, effects);
}

fn give_way(state: &mut State, rollout: u64, effects: &mut Effects) {
    let Some(mine) = state.offer(rollout) else { return };
    let others = state
        .offers
        .iter()
        .any(|o| o.rollout != rollout && o.priority <= mine.priority && state.next_act(o).is_action());
    if others {
        state.yielded.insert(rollout, state.now_ms);
        state.asking = None;
        choose(state, effects);
    }
}

/// What one offer asks for now.
enum Act {
    Fetch,
    Prepare,
    Wait(Vec<Refusal>),
    Blocked(Failure),
    Nothing,
}

impl Act {
    fn is_action(&self) -> bool {
        matches!(self, Act::Fetch | Act::Prepare)
    }
}

/// Takes up the first offer that something can be done about; otherwise says what the first one waits for.
fn choose(state: &mut State, effects: &mut Effects) {
    state.phase = Phase::Idle;
    let mut order: Vec<&Offer> = state.offers.iter().collect();
    let yielded = |offer: &Offer| state.yielded.get(&offer.rollout).copied().unwrap_or(0);
    order.sort_by_key(|offer| (offer.priority, yielded(offer), Reverse(offer.rollout)));
    let mut otherwise = None;
    for offer in order {
        let change = Change { rollout: offer.rollout, release: offer.release };
        match state.next_act(offer) {
            Act::Fetch => {
                effects.push(Effect::Fetch { change: change.clone() });
                state.phase = Phase::Fetching { change };
                return;
            }
            Act::Prepare => {
                effects.push(Effect::Prepare { change: change.clone() });
                state.phase = Phase::Preparing { change };
                return;
            }
            Act::Wait(refusals) => {
                otherwise.get_or_insert(Phase::Waiting { rollout: offer.rollout, refusals });
            }
            Act::Blocked(Failure { problem, refusals, retry_at_ms, .. }) => {
                otherwise.get_or_insert(Phase::Blocked { rollout: offer.rollout, problem, refusals, retry_at_ms });
            }
            Act::Nothing => {}
        }
    }
    state.phase = otherwise.unwrap_or(Phase::Idle);
}

impl State {
    pub(super) fn offer(&self, rollout: u64) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.rollout == rollout)
    }

    /// True while this device is a control of the rollout: until a wave opened or ended, or a while later. How far the
    /// frontier reaches does not tell: a wave of units below its furthest point does not move it.
    pub(super) fn is_control(&self, offer: &Offer) -> bool {
        self.control.get(&offer.rollout).is_some_and(|(frontier, since)| {
            offer.frontier <= *frontier && self.now_ms.saturating_sub(*since) < CONTROL_ASKS_AGAIN_MS
        })
    }

    fn next_act(&self, offer: &Offer) -> Act {
        if self.nothing_to_do(offer).is_some() {
            return Act::Nothing;
        }
        match &offer.standing {
            Standing::Dropped { .. } => return Act::Nothing,
            Standing::NotYet { refusal } => return Act::Wait(vec![refusal.clone()]),
            Standing::Candidate => {}
        }
        // A later rollout of the same product that this device may prepare makes this one pointless.
        let overtaken = |other: &Offer| {
            other.name == offer.name
                && other.rollout > offer.rollout
                && other.standing == Standing::Candidate
                && !self.remembered.ended.contains_key(&other.rollout)
        };
        if self.offers.iter().any(overtaken) {
            return Act::Nothing;
        }
        if let Some(failure) = self.failures.get(&offer.rollout)
            && failure.retry_at_ms > self.now_ms
        {
            return Act::Blocked(failure.clone());
        }
        if !self.fetched.contains(&offer.release) {
            return Act::Fetch;
        }
        let holding: Vec<Refusal> = offer.refusals.iter().filter(|r| !may_ask_despite(r)).cloned().collect();
        if !holding.is_empty() {
            return Act::Wait(holding);
        }
        if self.is_control(offer) {
            return Act::Wait(vec![Refusal::ControlArm]);
        }
        Act::Prepare
    }

    fn go_on_trial(&mut self, change: Change, nonce: String, effects: &mut Effects) {
        self.remembered.asked.remove(&change.rollout);
        self.asking = None;
        let since_ms = self.now_ms;
        let watch = Watch { probe_at_ms: since_ms, ..Watch::default() };
        self.phase = Phase::OnTrial { change, nonce, since_ms, passed: false, receipt: false, watch };
        probe_if_due(self, effects);
    }

    /// Counts a permit that was not enough: one may be.
    fn may_ask_again(&mut self, rollout: u64) -> bool {
        let Some(asked) = self.remembered.asked.get_mut(&rollout) else { return true };
        asked.refused = asked.refused.saturating_add(1);
        asked.refused <= 1
    }

    fn fail(&mut self, rollout: u64, problem: String, refusals: Vec<Refusal>) {
        let count = self.failures.get(&rollout).map_or(0, |failure| failure.count).saturating_add(1);
        let pause = RETRY_FIRST_MS.saturating_mul(1 << (count - 1).min(16)).min(RETRY_MOST_MS);
        let retry_at_ms = self.now_ms.saturating_add(self.spread(pause));
        self.failures.insert(rollout, Failure { count, problem, refusals, retry_at_ms });
    }

    /// Between half of `pause_ms` and all of it.
    fn spread(&self, pause_ms: u64) -> u64 {
        pause_ms / 2 + pause_ms / 2 * u64::from(self.jitter) / 999
    }

    fn soak_ms(&self, rollout: u64) -> u64 {
        self.offer(rollout).map_or(SOAK_DEFAULT_MS, |offer| offer.soak_ms)
    }

    /// A tenth of the soak time, 0.25 s to 10 s.
    fn probe_every_ms(&self) -> u64 {
        let soak = self.change().map_or(SOAK_DEFAULT_MS, |change| self.soak_ms(change.rollout));
        (soak / 10).clamp(250, 10_000)
    }

    /// How long a service may take until its probes pass: the soak time, 5 s to 60 s.
    fn start_grace_ms(&self) -> u64 {
        let soak = self.change().map_or(SOAK_DEFAULT_MS, |change| self.soak_ms(change.rollout));
        soak.clamp(5_000, 60_000)
    }
}
