//! What each event in user space leads to. What must stay out: the start itself, which is in `begin`.

use super::{Effect, Ending, Entry, Event, KEPT, MAX_OPTIONS, REASON, Running, State, TRIES};
use crate::ids::Digest;

/// Effects and reason, or why it is refused.
type Decided = Result<(Vec<Effect>, String), String>;

pub(super) fn decide(state: &mut State, event: Event) -> Decided {
    match event {
        Event::Arm { kernel, initrd, options } => arm(state, kernel, initrd, options),
        Event::Reached { running, counts, loader_left } => {
            // What began before user space: the loader's count moves at each start, ours only when the guard ran.
            let trial = state.trial.as_ref().map_or(0, |trial| counts.of(trial.number));
            let began = trial > 0 || loader_left.is_some_and(|left| left < TRIES);
            reached(state, running, began, counts.of(state.good.number) >= TRIES)
        }
        Event::Healthy { running, counted } => commit(state, running, counted),
        Event::Unhealthy { running, why } => match (running, &state.trial) {
            (Running::Entry { number, .. }, Some(trial)) if number == trial.number => {
                end_trial(state, &why);
                Ok((vec![Effect::Restart], format!("the trial is given up: {why}")))
            }
            _ => nothing("no trial runs: what to do about it is for the guard of the services to decide"),
        },
        Event::Stable { running } => match running {
            Running::Entry { number, .. } if number == state.good.number => {
                Ok((vec![Effect::ForgetCounts], "stable: crashes before it count no more".into()))
            }
            _ => nothing("only last-known-good becomes stable"),
        },
        Event::RollBack { why } => roll_back(state, &why),
        Event::Quarantine { id, why } => quarantine(state, id, &why),
        Event::StaySafe { why } => {
            end_trial(state, &why);
            state.stay_safe = Some(short(&why));
            Ok((vec![Effect::Restart], format!("safe mode from the next start on: {why}")))
        }
        Event::LeaveSafe => leave_safe(state),
        Event::Reported => {
            state.endings.clear();
            nothing("endings delivered")
        }
    }
}

fn nothing(why: &str) -> Decided {
    Ok((Vec::new(), why.into()))
}

fn short(why: &str) -> String {
    // Control characters would grow sixfold in the written form.
    why.chars().filter(|c| !c.is_control()).take(REASON).collect()
}

fn note(state: &mut State, entry: &Entry, committed: bool, why: &str) {
    state.endings.push(Ending { number: entry.number, id: entry.id(), committed, why: short(why) });
    if state.endings.len() > KEPT {
        state.endings.remove(0);
    }
}

fn end_trial(state: &mut State, why: &str) {
    if let Some(trial) = state.trial.take() {
        note(state, &trial, false, why);
    }
}

fn arm(state: &mut State, kernel: Digest, initrd: Digest, options: String) -> Decided {
    // Such characters would let options become lines of the boot entry.
    if options.len() > MAX_OPTIONS || !options.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err(format!("the kernel options are no line of at most {MAX_OPTIONS} printable ASCII characters"));
    }
    let may_be_given =
        |word: &str| ["staffel.generation=", "staffel.watchdog="].iter().any(|key| word.starts_with(key));
    if options.split(' ').any(|word| word.starts_with("staffel.") && !may_be_given(word)) {
        return Err("the kernel options hold some that only the guard may give".into());
    }
    if state.trial.is_some() {
        return Err("another trial is armed; roll it back first".into());
    }
    if let Some(why) = &state.stay_safe {
        return Err(format!("the machine stays in safe mode ({why}); leave it first"));
    }
    let entry = Entry { number: state.next, kernel, initrd, options };
    if state.quarantined.contains(&entry.id()) {
        return Err("the same kernel, initramfs and options are quarantined".into());
    }
    if entry.id() == state.good.id() {
        return nothing("it is last-known-good already");
    }
    state.next += 1;
    let why = format!("entry {} is armed for {TRIES} starts; it is tried at the next one", entry.number);
    state.trial = Some(entry);
    Ok((Vec::new(), why))
}

fn reached(state: &mut State, running: Running, began: bool, crashed: bool) -> Decided {
    match running {
        Running::Safe if began => {
            end_trial(state, "it did not reach user space; the machine came up in safe mode");
            nothing("safe mode, and the trial is given up")
        }
        Running::Safe => nothing("safe mode: nothing is committed here"),
        Running::Foreign => nothing("this entry is not the guard's: nothing follows from its start"),
        Running::Entry { number, .. } if state.trial.as_ref().is_some_and(|trial| trial.number == number) => {
            nothing("on trial")
        }
        Running::Entry { number, .. } if number == state.good.number => {
            if state.trial.is_some() && began {
                end_trial(state, "it did not reach user space; the machine came up with last-known-good");
                return Ok((vec![Effect::ForgetCounts], "the trial is given up, last-known-good runs".into()));
            }
            nothing("last-known-good runs")
        }
        Running::Entry { number, .. } if state.earlier.as_ref().is_some_and(|earlier| earlier.number == number) => {
            match crashed {
                true => leave_good(state, &format!("it crashed {TRIES} times without becoming stable")),
                false => nothing("somebody chose the earlier entry; last-known-good stays what it is"),
            }
        }
        Running::Entry { .. } => nothing("this entry is no longer known: nothing follows from its start"),
    }
}

/// Goes from last-known-good to the earlier entry for good.
fn leave_good(state: &mut State, why: &str) -> Decided {
    let Some(earlier) = state.earlier.take() else {
        return Err("there is no earlier entry to go back to".into());
    };
    end_trial(state, why);
    let left = std::mem::replace(&mut state.good, earlier);
    note(state, &left, false, why);
    Ok((vec![Effect::ForgetCounts], format!("entry {} is left: {why}", left.number)))
}

fn commit(state: &mut State, running: Running, counted: Option<u64>) -> Decided {
    let Running::Entry { number, trial: true } = running else {
        return match running {
            Running::Safe => Err("never in safe mode".into()),
            _ => nothing("nothing is on trial"),
        };
    };
    if number == state.good.number {
        return nothing("committed already");
    }
    let Some(trial) = state.trial.take_if(|trial| trial.number == number) else {
        return Err(format!("entry {number} runs, and the guard knows of no such trial"));
    };
    match counted {
        // Left over from an entry that did not start: to commit here would bless what is broken.
        Some(other) if other != number => return Err(format!("the loader counted entry {other}, {number} runs")),
        None => return Err("the loader did not count this start".into()),
        Some(_) => {}
    }
    note(state, &trial, true, "every check passed");
    state.earlier = Some(std::mem::replace(&mut state.good, trial));
    Ok((vec![Effect::ForgetCounts], format!("entry {number} is last-known-good")))
}

fn roll_back(state: &mut State, why: &str) -> Decided {
    if state.trial.is_some() {
        end_trial(state, why);
        return Ok((vec![Effect::Restart], format!("the trial is given up: {why}")));
    }
    let (mut effects, why) = leave_good(state, why)?;
    effects.push(Effect::Restart);
    Ok((effects, why))
}

fn quarantine(state: &mut State, id: Digest, why: &str) -> Decided {
    if !state.quarantined.contains(&id) {
        state.quarantined.push(id);
        if state.quarantined.len() > KEPT {
            state.quarantined.remove(0);
        }
    }
    if state.earlier.as_ref().is_some_and(|earlier| earlier.id() == id) {
        state.earlier = None;
    }
    let mut effects = Vec::new();
    if state.trial.as_ref().is_some_and(|trial| trial.id() == id) {
        end_trial(state, why);
        effects.push(Effect::Restart);
    }
    if state.good.id() == id {
        effects = vec![Effect::Restart];
        if state.earlier.is_some() {
            leave_good(state, why)?;
        } else {
            end_trial(state, why);
            state.stay_safe = Some(short(why));
        }
    }
    Ok((effects, format!("{} is quarantined: {why}", id.short())))
}

fn leave_safe(state: &mut State) -> Decided {
    if state.quarantined.contains(&state.good.id()) {
        return Err("last-known-good is quarantined and there is nothing earlier".into());
    }
    state.stay_safe = None;
    Ok((vec![Effect::ForgetCounts, Effect::Restart], "left safe mode: last-known-good at the next start".into()))
}
