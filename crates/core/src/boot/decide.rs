//! What each event leads to. What must stay out: the types, which are in `boot`, and how an effect is done.

use super::{Effect, Event, Generation, KEPT, Left, Mode, Outcome, POWER_TRIES, State, TRIAL_TRIES, Terms, Trial};
use crate::ids::Digest;

pub(super) fn decide(state: &mut State, event: Event) -> (Vec<Effect>, String) {
    match event {
        Event::Started { boot_id } => started(state, boot_id),
        Event::Arm { generation, rollout, release, terms } => arm(state, generation, rollout, release, terms),
        Event::Confirm { release } => confirm(state, release),
        Event::Abort { why } => match state.trial {
            Some(_) => roll_back(state, why),
            None => nothing("no trial is running"),
        },
        Event::ServiceDied { service, how } => service_died(state, service, &how),
        Event::Stable => {
            state.settle();
            nothing("stable: crash counters cleared")
        }
        Event::Deny { release, why, undo } => deny(state, release, why, undo),
        Event::Undeny { release } => match state.denied.remove(&release) | state.blocked.remove(&release) {
            true => nothing("no longer denied"),
            false => nothing("it was not denied"),
        },
        Event::Damaged { generation, why } => damaged(state, generation, why),
        Event::GoTo { generation } => go_to(state, generation),
        Event::StaySafe { why } => {
            end_trial(state, &why);
            enter_safe_mode(state, why)
        }
        Event::LeaveSafe => leave_safe_mode(state),
        Event::Stopping => {
            state.clean = true;
            nothing("clean stop recorded")
        }
        Event::OutcomeReported => {
            state.outcome = None;
            nothing("outcome delivered")
        }
    }
}

fn nothing(why: &str) -> (Vec<Effect>, String) {
    (Vec::new(), why.into())
}

fn run(state: &State, why: String) -> (Vec<Effect>, String) {
    match state.selected() {
        Some(generation) => (vec![Effect::Run(generation.clone()), Effect::Collect], why),
        None => (vec![Effect::RunSafeMode], why),
    }
}

fn started(state: &mut State, boot_id: String) -> (Vec<Effect>, String) {
    state.starts += 1;
    let power_cycle = boot_id != state.boot_id;
    let was_clean = std::mem::replace(&mut state.clean, false);
    state.boot_id = boot_id;
    if let Mode::Safe { why } = &state.mode {
        let why = format!("still in safe mode: {why}");
        return run(state, why);
    }
    if let Some(trial) = &mut state.trial {
        // Counted and persisted before anything of the trial runs: whatever it does to the machine, the count stands.
        if trial.tries_left == 0 {
            return roll_back(state, format!("the machine went down {TRIAL_TRIES} times on trial"));
        }
        trial.tries_left -= 1;
        let why = format!("trial start, {} left", trial.tries_left);
        return run(state, why);
    }
    if was_clean {
        return run(state, "start after a clean stop".into());
    }
    if power_cycle {
        state.power_cycles += 1;
        if state.power_cycles >= POWER_TRIES {
            return leave_committed(
                state,
                format!("the machine was started {POWER_TRIES} times without becoming stable"),
            );
        }
        return run(state, "start after a power cycle".into());
    }
    state.crashes += 1;
    let (crashes, patience) = (state.crashes, state.patience);
    if crashes >= patience.tries {
        return leave_committed(state, format!("the guard was killed {crashes} times without becoming stable"));
    }
    let (mut effects, why) = run(state, format!("start {crashes} after the guard was killed"));
    effects.insert(0, Effect::Wait { ms: patience.pause_ms(crashes) });
    (effects, why)
}

fn arm(
    state: &mut State,
    generation: Generation,
    rollout: u64,
    release: Digest,
    terms: Terms,
) -> (Vec<Effect>, String) {
    if state.trial.is_some() {
        return nothing("refused: another trial is running");
    }
    if state.blocked.contains(&release) || state.is_denied(&generation) {
        return nothing("refused: the generation holds a denied release");
    }
    let floor = generation.releases.iter().find(|(_, of)| **of == release).and_then(|(name, _)| state.floors.get(name));
    if floor.is_some_and(|floor| terms.sequence < *floor) {
        return nothing("refused: the release is below a security floor that was committed here");
    }
    if generation == state.last_known_good {
        state.outcome = Some(Outcome { rollout, release, committed: true, why: "already running".into() });
        return nothing("already the committed generation");
    }
    let from_safe = match std::mem::replace(&mut state.mode, Mode::Normal) {
        Mode::Safe { why } => Some(why),
        Mode::Normal => None,
    };
    state.outcome = None;
    state.sequences.insert(release, terms.sequence);
    state.trial = Some(Trial { generation, rollout, release, tries_left: TRIAL_TRIES - 1, terms, from_safe });
    run(state, "armed: trial starts".into())
}

fn confirm(state: &mut State, release: Digest) -> (Vec<Effect>, String) {
    let Some(trial) = state.trial.take() else { return nothing("refused: no trial is running") };
    if trial.release != release {
        state.trial = Some(trial);
        return nothing("refused: the receipt is for another release");
    }
    let before = std::mem::replace(&mut state.last_known_good, trial.generation);
    state.earlier.retain(|g| *g != state.last_known_good && *g != before);
    state.earlier.insert(0, before);
    state.earlier.truncate(KEPT);
    if let Some((name, _)) = state.last_known_good.releases.iter().find(|(_, of)| **of == release) {
        // What was left is behind us once the same product has gone on.
        let changed =
            |left: &Left| left.brought_by.is_none_or(|(_, by)| left.generation.releases.get(name) == Some(&by));
        state.left.retain(|left| !changed(left));
        let floor = state.floors.entry(name.clone()).or_insert(0);
        // A release can't bar itself.
        *floor = (*floor).max(trial.terms.security_floor.min(trial.terms.sequence));
    }
    state.left.retain(|left| left.generation != state.last_known_good);
    state.patience = trial.terms.patience;
    state.settle();
    state.committed_by = Some((trial.rollout, release));
    state.outcome = Some(Outcome {
        rollout: trial.rollout,
        release,
        committed: true,
        why: "healthy for the whole soak time".into(),
    });
    (vec![Effect::Collect], "committed".into())
}

fn end_trial(state: &mut State, why: &str) {
    if let Some(trial) = state.trial.take() {
        state.outcome =
            Some(Outcome { rollout: trial.rollout, release: trial.release, committed: false, why: why.into() });
    }
}

fn roll_back(state: &mut State, why: String) -> (Vec<Effect>, String) {
    let from_safe = state.trial.as_ref().and_then(|trial| trial.from_safe.clone());
    end_trial(state, &why);
    if let Some(before) = from_safe {
        return enter_safe_mode(state, before);
    }
    if !state.may_run(&state.last_known_good) {
        return go_down(state, why, false);
    }
    run(state, format!("back to last-known-good: {why}"))
}

/// Goes one rung down from a committed generation that does not hold, and keeps it.
fn leave_committed(state: &mut State, why: String) -> (Vec<Effect>, String) {
    go_down(state, why, true)
}

/// Goes one rung down from a committed generation; `keep`: it may be returned to.
fn go_down(state: &mut State, why: String, keep: bool) -> (Vec<Effect>, String) {
    // What was committed and is left was not as good as it looked: its rollout has to hear of it.
    let told = state.outcome.as_ref().is_some_and(|outcome| !outcome.committed);
    let brought_by = state.committed_by.take();
    if let Some((rollout, release)) = brought_by
        && !told
    {
        state.outcome = Some(Outcome { rollout, release, committed: false, why: why.clone() });
    }
    state.settle();
    while !state.earlier.is_empty() {
        let earlier = state.earlier.remove(0);
        // The empty generation protects nothing; safe mode says so, an empty machine would look healthy.
        if !state.may_run(&earlier) || earlier.releases.is_empty() {
            continue;
        }
        let left = std::mem::replace(&mut state.last_known_good, earlier);
        if keep && !state.is_denied(&left) {
            mark_left(state, Left { generation: left, brought_by, why: why.clone() });
        }
        return run(state, format!("back to an earlier generation: {why}"));
    }
    enter_safe_mode(state, why)
}

fn mark_left(state: &mut State, left: Left) {
    state.left.retain(|other| other.generation != left.generation);
    state.left.insert(0, left);
    state.left.truncate(KEPT);
}

fn enter_safe_mode(state: &mut State, why: String) -> (Vec<Effect>, String) {
    state.mode = Mode::Safe { why: why.clone() };
    (vec![Effect::RunSafeMode], format!("safe mode: {why}"))
}

fn leave_safe_mode(state: &mut State) -> (Vec<Effect>, String) {
    if state.mode == Mode::Normal {
        return nothing("not in safe mode");
    }
    if state.is_denied(&state.last_known_good) {
        return nothing("refused: last-known-good holds a denied release; send a remedy that names a generation");
    }
    if state.is_below_floor(&state.last_known_good) {
        return nothing("refused: last-known-good lies below a security floor; send a release that does not");
    }
    state.mode = Mode::Normal;
    state.settle();
    run(state, "left safe mode".into())
}

fn service_died(state: &mut State, service: String, how: &str) -> (Vec<Effect>, String) {
    if state.trial.is_some() {
        return roll_back(state, format!("service {service} ended on trial: it {how}"));
    }
    if state.selected().is_none() {
        return nothing("safe mode: no service is started again");
    }
    let crashes = state.service_crashes.entry(service.clone()).or_insert(0);
    *crashes = crashes.saturating_add(1);
    let (crashes, patience) = (*crashes, state.patience);
    if crashes >= patience.tries {
        let seconds = patience.lasts_ms() / 1_000;
        return leave_committed(
            state,
            format!("service {service} crashed {crashes} times in {seconds} s or more, the last time it {how}"),
        );
    }
    let after_ms = patience.pause_ms(crashes);
    let why = format!("service {service} {how}: crash {crashes} of {}, started again in {after_ms} ms", patience.tries);
    (vec![Effect::Restart { service, after_ms }], why)
}

fn deny(state: &mut State, release: Digest, why: String, undo: bool) -> (Vec<Effect>, String) {
    let blocked = state.blocked.insert(release);
    let denied = undo && state.denied.insert(release);
    if !blocked && !denied {
        return nothing("already denied");
    }
    // What must not run is no way back either, so nothing is kept of it.
    if undo {
        state.left.retain(|left| left.generation.releases.values().all(|of| *of != release));
    }
    let on_trial = |trial: &Trial| trial.release == release || (undo && state.is_denied(&trial.generation));
    if state.trial.as_ref().is_some_and(on_trial) {
        return roll_back(state, format!("halted: {why}"));
    }
    // A trial of another release goes on: if it fails, the way back skips what is denied.
    if undo && state.trial.is_none() && state.is_denied(&state.last_known_good) {
        return go_down(state, format!("halted: {why}"), false);
    }
    nothing("denied; not running here")
}

fn damaged(state: &mut State, id: Digest, why: String) -> (Vec<Effect>, String) {
    if state.selected().is_none_or(|selected| selected.id != id) {
        return nothing("the damaged generation is not selected");
    }
    let why = format!("the slot is damaged: {why}");
    match state.trial {
        Some(_) => roll_back(state, why),
        None => go_down(state, why, false),
    }
}

fn go_to(state: &mut State, id: Digest) -> (Vec<Effect>, String) {
    let earlier = state.earlier.iter().position(|generation| generation.id == id);
    let left = state.left.iter().position(|left| left.generation.id == id);
    let chosen = match (earlier, left) {
        _ if state.last_known_good.id == id => &state.last_known_good,
        (Some(at), _) => &state.earlier[at],
        (None, Some(at)) => &state.left[at].generation,
        (None, None) => return nothing("refused: that generation is not kept on this device"),
    };
    if state.is_denied(chosen) {
        return nothing("refused: that generation holds a denied release");
    }
    if state.is_below_floor(chosen) {
        return nothing("refused: that generation lies below a security floor that was committed here");
    }
    let chosen = chosen.clone();
    end_trial(state, "a remedy chose another generation");
    state.mode = Mode::Normal;
    state.settle();
    if chosen == state.last_known_good {
        return run(state, "remedy: last-known-good".into());
    }
    state.committed_by = left.and_then(|at| state.left[at].brought_by);
    state.earlier.retain(|generation| *generation != chosen);
    state.left.retain(|left| left.generation != chosen);
    let before = std::mem::replace(&mut state.last_known_good, chosen);
    state.earlier.insert(0, before);
    state.earlier.truncate(KEPT);
    let what = if left.is_some() { "the generation that was left" } else { "an earlier generation" };
    run(state, format!("remedy: {what}"))
}
