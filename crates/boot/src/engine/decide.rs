//! Decide, write down, act; and what is due by the clock. What must stay out: how each effect is done.

use super::Guard;
use crate::{codec::RecordError, platform, record::Record};
use staffel_core::boot::{Effect, Event, Mode, invariant, step};

/// The memory's ages are written at least this often, milliseconds.
const SAVE_EVERY_MS: u64 = 60_000;

/// What may only happen if it was written down. Everything else makes a machine safer, and is done even if the disk
/// takes nothing any more.
fn needs_the_disk(event: &Event) -> bool {
    matches!(
        event,
        Event::Arm { .. }
            | Event::Confirm { .. }
            | Event::Undeny { .. }
            | Event::Stable
            | Event::Stopping
            | Event::OutcomeReported
    )
}

impl Guard {
    /// Takes an event and everything that follows from it. The text says what was decided.
    pub(super) fn handle(&mut self, event: Event) -> Result<String, RecordError> {
        self.handle_with(event, |_| {})
    }

    /// The same; `change` adds to the record what belongs to a trial, if one begins.
    pub(super) fn handle_with(
        &mut self,
        event: Event,
        change: impl FnOnce(&mut Record),
    ) -> Result<String, RecordError> {
        let result = self.handle_one(event, change);
        // Each of these leads down the ladder or waits for its next start, so there is an end to it.
        while let Some(event) = self.pending.pop_front() {
            if let Err(error) = self.handle_one(event, |_| {}) {
                eprintln!("guard-ctl: {error}");
            }
        }
        self.note_processes();
        self.collect_if_due();
        result
    }

    /// Takes an event of which nobody waits for the result.
    pub(super) fn act(&mut self, event: Event) {
        if let Err(error) = self.handle(event) {
            eprintln!("guard-ctl: {error}");
        }
    }

    fn handle_one(&mut self, event: Event, change: impl FnOnce(&mut Record)) -> Result<String, RecordError> {
        let must_be_written = needs_the_disk(&event);
        let is_start = matches!(event, Event::Started { .. });
        let step = step(&self.record.boot, event);
        let mut next = Record { boot: step.state, memory: self.verifier.memory.clone(), ..self.record.clone() };
        match (&self.record.boot.trial, &next.boot.trial) {
            (_, None) => next.trial_nonce = None,
            (None, Some(_)) => change(&mut next),
            (Some(_), Some(_)) => {}
        }
        debug_assert_eq!(invariant(&next.boot), Ok(()));
        if let Err(error) = self.write(&next) {
            if must_be_written {
                return Err(error);
            }
            self.unsaved = Some(error.to_string());
            eprintln!("guard-ctl: going on although it can't be written down: {error}");
            if is_start && next.boot.trial.is_some() {
                // A start of a trial that can't be counted would be one of endlessly many.
                self.record = next;
                self.pending.push_back(Event::Abort { why: "the start of the trial can't be written down".into() });
                return Ok(step.why);
            }
        }
        eprintln!("guard-ctl: {}", step.why);
        self.set_timers(&next, &step.effects, is_start);
        self.record = next;
        let is = |wanted: fn(&Effect) -> bool| step.effects.iter().any(wanted);
        if is(|effect| matches!(effect, Effect::Run(_))) && !is(|effect| matches!(effect, Effect::Wait { .. })) {
            // Whoever chooses what runs wants it now.
            self.supervisor.wait_until(0);
        }
        for effect in step.effects {
            match effect {
                Effect::Run(generation) => self.run(&generation),
                Effect::Restart { service, after_ms } => {
                    self.supervisor.restart_at(&service, platform::awake_ms().saturating_add(after_ms));
                }
                Effect::Wait { ms } => self.supervisor.wait_until(platform::awake_ms().saturating_add(ms)),
                Effect::RunSafeMode => self.run_safe_mode(),
                Effect::Collect => self.collect_due = true,
            }
        }
        Ok(step.why)
    }

    fn write(&mut self, next: &Record) -> Result<(), RecordError> {
        if *next == self.record && self.unsaved.is_none() {
            return Ok(());
        }
        self.keeper.save(next)?;
        self.unsaved = None;
        self.saved_ms = platform::boot_time_ms();
        Ok(())
    }

    /// Changes the record outside of the boot state, and writes it with what the verifier remembers.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Record)) -> Result<(), RecordError> {
        let mut next = Record { memory: self.verifier.memory.clone(), ..self.record.clone() };
        change(&mut next);
        let written = self.write(&next).inspect_err(|error| self.unsaved = Some(error.to_string()));
        // It holds for this run even if it could not be written.
        self.record = next;
        written
    }

    /// Writes what the verifier remembers, if it is more than what is written.
    pub(super) fn remember(&mut self) -> Result<(), RecordError> {
        let next = Record { memory: self.verifier.memory.clone(), ..self.record.clone() };
        self.write(&next).inspect_err(|error| self.unsaved = Some(error.to_string()))?;
        self.record = next;
        Ok(())
    }

    /// Lets time pass for what the verifier has seen.
    pub(super) fn tick(&mut self) {
        let now = platform::boot_time_ms();
        self.verifier.tick(now.saturating_sub(self.ticked_ms));
        self.ticked_ms = now;
    }

    fn set_timers(&mut self, next: &Record, effects: &[Effect], is_start: bool) {
        let pause_ms = |effect: &Effect| match effect {
            Effect::Restart { after_ms: ms, .. } | Effect::Wait { ms } => *ms,
            _ => 0,
        };
        let pause_ms = effects.iter().map(pause_ms).max().unwrap_or(0);
        // A machine that sleeps starts nothing, hears nothing and crashes nowhere.
        let now = platform::awake_ms();
        let before = &self.record.boot;
        match &next.boot.trial {
            // Time to start and to be heard, and then the soak time that two releasers signed.
            Some(trial) if before.trial.is_none() || is_start => {
                let patience = self.options.trial_timeout_ms.saturating_add(trial.terms.soak_ms);
                self.trial_until_ms = Some(now.saturating_add(patience));
            }
            Some(_) => {}
            None => self.trial_until_ms = None,
        }
        let boot = &next.boot;
        let unsettled = boot.trial.is_none() && boot.mode == Mode::Normal && !boot.is_settled();
        let more = (boot.crashes, boot.power_cycles, &boot.service_crashes)
            != (before.crashes, before.power_cycles, &before.service_crashes);
        match unsettled {
            true if more || is_start || self.stable_at_ms.is_none() => {
                // A pause is no time without a crash.
                let stable_ms = self.options.stable_after_ms.saturating_add(pause_ms);
                self.stable_at_ms = Some(now.saturating_add(stable_ms));
            }
            true => {}
            false => self.stable_at_ms = None,
        }
    }

    /// Does what the clock asks for.
    pub(super) fn do_what_is_due(&mut self) {
        self.tick();
        let now = platform::awake_ms();
        let past = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if past(self.trial_until_ms) {
            self.trial_until_ms = None;
            self.act(Event::Abort { why: "no receipt in time".into() });
        }
        if past(self.stable_at_ms) {
            self.stable_at_ms = None;
            self.act(Event::Stable);
        }
        if past(self.supervisor.next_due_ms()) {
            self.start_due(now);
        }
        let now = platform::boot_time_ms();
        if now.saturating_sub(self.saved_ms) >= SAVE_EVERY_MS {
            self.saved_ms = now;
            if let Err(error) = self.remember() {
                eprintln!("guard-ctl: {error}");
            }
        }
        self.collect_if_due();
    }
}
