//! Carries out signed acts of repair, in safe mode too, and keeps how each went. What must stay out: any act that is not
//! in the closed set.

use super::{
    Guard,
    commands::{done, failed},
    prepare::push_snapshot,
};
use crate::{
    platform,
    quarantine::{self, Allowed},
};
use staffel_core::{
    boot::{Event, Generation, step},
    ids::Digest,
    release::StateCompatibility,
};
use staffel_statement::{
    Envelope,
    guard::{RemedyOutcome, Reply},
    predicate::{Action, Remedy},
};
use std::collections::BTreeSet;

/// Outcomes that are kept; each is asked for by the server until it has it.
const OUTCOMES: usize = 16;

impl Guard {
    pub(super) fn remedy(&mut self, envelope: &Envelope) -> Reply {
        let device = self.pins.installation.device;
        let remedy = match self.verifier.accept_remedy(envelope, device, crate::wall_clock_ms()) {
            Ok(remedy) => remedy,
            Err(error) => return failed(error.to_string()),
        };
        let sequence = remedy.sequence;
        // Its sequence is used up before it is carried out. A disk that takes nothing is no reason to leave a machine
        // unrepaired: the worst is that the same remedy is taken once more after a restart.
        let begun = "it was begun, and the guard was stopped before it was over: look at the device";
        self.note_outcome(RemedyOutcome { sequence, done: false, why: begun.into() });
        let (stay, leave) =
            (matches!(remedy.action, Action::StaySafe { .. }), matches!(remedy.action, Action::LeaveSafe));
        let mut reply = self.carry_out(remedy);
        if let Reply::Done { why } = &mut reply
            && !stay
            && let Some(partition) = self.safe_system.clone()
        {
            match self.start_normally(&partition, leave) {
                Ok(next) => why.push_str(&format!("; {next}")),
                Err(error) => why.push_str(&format!("; the machine stays in its safe system: {error}")),
            }
        }
        let (done, why) = match &reply {
            Reply::Done { why } => (true, why.clone()),
            Reply::Failed { why } => (false, why.clone()),
            other => (false, format!("{other:?}")),
        };
        self.note_outcome(RemedyOutcome { sequence, done, why });
        reply
    }

    fn note_outcome(&mut self, outcome: RemedyOutcome) {
        let noted = self.note(|record| {
            record.remedies.retain(|other| other.sequence != outcome.sequence);
            record.remedies.push(outcome);
            let surplus = record.remedies.len().saturating_sub(OUTCOMES);
            record.remedies.drain(..surplus);
        });
        if let Err(error) = noted {
            eprintln!("guard-ctl: {error}");
        }
    }

    fn carry_out(&mut self, remedy: Remedy) -> Reply {
        let by = format!("remedy {} of case {}", remedy.sequence, remedy.case);
        match remedy.action {
            Action::GoTo { generation } => self.go_to(generation),
            Action::QuarantineGeneration { generation } => self.quarantine_generation(&generation, &by),
            Action::StaySafe { why } => done(self.handle(Event::StaySafe { why: format!("{why} ({by})") })),
            Action::LeaveSafe => done(self.handle(Event::LeaveSafe)),
            Action::QuarantineFile { pattern, sha256 } => {
                let allowed = Allowed { host: &self.options.host_root, roots: &self.options.quarantine_roots };
                said(quarantine::quarantine(&self.layout, allowed, &pattern, &sha256, &by), &by)
            }
            Action::RestoreFile { sha256 } => {
                said(quarantine::restore(&self.layout, &self.options.quarantine_roots, &sha256), &by)
            }
            Action::DisableService { name } => self.disable_service(name, by),
            Action::EnableService { name } => self.enable_service(&name),
            Action::DisableModule { name } => failed(format!(
                "the module {name} was not disabled: in its service form the guard does not manage kernel modules; \
                 the firmware guard does"
            )),
        }
    }

    fn go_to(&mut self, generation: Digest) -> Reply {
        let event = Event::GoTo { generation };
        if !step(&self.record.boot, event.clone()).effects.is_empty()
            && let Err(error) = self.copy_states_before(&generation)
        {
            return failed(format!("nothing was done: {error}"));
        }
        done(self.handle(event))
    }

    /// What goes forward again to a generation that was left needs a new way back for its state, too.
    fn copy_states_before(&mut self, id: &Digest) -> Result<(), String> {
        let left = self.record.boot.left.iter().find(|left| left.generation.id == *id);
        let Some(generation) = left.map(|left| left.generation.clone()) else { return Ok(()) };
        let parts = self.slots.parts(&generation).map_err(|error| error.to_string())?;
        let before = self.record.boot.last_known_good.releases.clone();
        let needs = |part: &&crate::slots::Part| {
            part.release.state == StateCompatibility::Snapshot && before.get(&part.name) != Some(&part.digest)
        };
        let needed: Vec<(String, Digest)> =
            parts.iter().filter(needs).map(|part| (part.name.clone(), part.digest)).collect();
        if needed.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = needed.iter().map(|(name, _)| name.clone()).collect();
        self.supervisor.stop(&names);
        for (name, after) in needed {
            self.note(|record| push_snapshot(record, &name, before.get(&name), after)).map_err(|e| e.to_string())?;
            let snapshot = self.record.snapshots.iter().rfind(|snapshot| snapshot.after == after);
            snapshot.map_or(Ok(()), |snapshot| self.slots.take_snapshot(snapshot)).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// A service of ours is not started any more; one of the system is stopped and masked.
    fn disable_service(&mut self, name: String, by: String) -> Reply {
        if !self.is_ours(&name) {
            return system_service(platform::mask_service(&name), "stopped and masked", &name);
        }
        self.supervisor.stop(std::slice::from_ref(&name));
        let why = format!("service {name} is stopped and not started any more");
        match self.note(|record| drop(record.disabled.insert(name, by))) {
            Ok(()) => Reply::Done { why },
            Err(error) => failed(format!("{why}, until the guard is started again: {error}")),
        }
    }

    fn enable_service(&mut self, name: &str) -> Reply {
        if !self.record.disabled.contains_key(name) {
            if self.is_ours(name) {
                return failed(format!("the service {name} is not disabled"));
            }
            return system_service(platform::unmask_service(name), "unmasked and started", name);
        }
        let noted = self.note(|record| drop(record.disabled.remove(name)));
        if let Some(generation) = self.record.boot.selected().cloned() {
            self.run(&generation);
            if let Some(event) = self.pending.pop_front() {
                self.act(event);
            }
        }
        let why = format!("service {name} is started again");
        match noted {
            Ok(()) => Reply::Done { why },
            Err(error) => failed(format!("{why}, until the guard is started again: {error}")),
        }
    }

    /// True if a generation that may run here has a part of this name.
    fn is_ours(&self, name: &str) -> bool {
        let boot = &self.record.boot;
        let kept = boot.earlier.iter().chain(boot.left.iter().map(|left| &left.generation));
        let kept = kept.chain([&boot.last_known_good]).chain(boot.trial.iter().map(|trial| &trial.generation));
        kept.into_iter().any(|generation| generation.releases.contains_key(name))
    }

    /// Denies what that generation changed, so that neither it nor anything with the same release runs again.
    fn quarantine_generation(&mut self, id: &Digest, by: &str) -> Reply {
        let Some(changed) = self.changed_in(id) else {
            return failed("that generation is not kept on this device".into());
        };
        if changed.is_empty() {
            return failed("that generation changed nothing that could be denied".into());
        }
        let why = format!("quarantined by {by}");
        let mut said = Vec::new();
        for release in changed {
            self.verifier.memory.denied.insert(release, why.clone());
            match self.handle(Event::Deny { release, why: why.clone(), undo: true }) {
                Ok(what) => said.push(format!("{}: {what}", release.short())),
                Err(error) => return failed(error.to_string()),
            }
        }
        Reply::Done { why: said.join("; ") }
    }

    /// The releases of a kept generation that the one before it did not have; `None` if it is not kept.
    fn changed_in(&self, id: &Digest) -> Option<BTreeSet<Digest>> {
        let boot = &self.record.boot;
        let left = boot.left.iter().map(|left| &left.generation);
        let trial = boot.trial.iter().map(|trial| &trial.generation);
        // Newest first: each stands before the one that it replaced.
        let kept: Vec<&Generation> = left.chain(trial).chain([&boot.last_known_good]).chain(&boot.earlier).collect();
        let at = kept.iter().position(|generation| generation.id == *id)?;
        let before: BTreeSet<Digest> =
            kept.get(at + 1).map(|before| before.releases.values().copied().collect()).unwrap_or_default();
        Some(kept[at].releases.values().filter(|release| !before.contains(release)).copied().collect())
    }
}

fn said(result: Result<Vec<quarantine::Moved>, quarantine::QuarantineError>, by: &str) -> Reply {
    match result {
        Ok(moved) => {
            let list: Vec<String> = moved.iter().map(ToString::to_string).collect();
            Reply::Done { why: format!("{by}: {}", list.join(", ")) }
        }
        Err(error) => failed(error.to_string()),
    }
}

fn system_service(result: std::io::Result<()>, done: &str, name: &str) -> Reply {
    match result {
        Ok(()) => Reply::Done { why: format!("the system's service {name} is {done}") },
        Err(error) => failed(format!("there is no service {name} of ours, and the system's was not touched: {error}")),
    }
}
