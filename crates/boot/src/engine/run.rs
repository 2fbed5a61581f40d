//! How the effects are done: run a generation, run nothing, delete what nobody names. Each may be repeated.

use super::{Guard, os::Os};
use crate::{
    platform,
    slots::{Part, SlotError, state_folders},
    supervise::{self, AGENT, NotStarted},
};
use staffel_core::{
    boot::{Event, Generation},
    ids::Digest,
};

impl Guard {
    /// Makes a generation the running one. What fails here becomes an event; a trial is given up for anything, a
    /// committed generation is only left if it can't be made whole.
    pub(super) fn run(&mut self, generation: &Generation) {
        if self.safe_system.is_some() {
            // What it needs of the machine is not there.
            return eprintln!("guard-ctl: no service is run in the safe system");
        }
        let mut wanted: Vec<(String, Digest)> =
            generation.releases.iter().map(|(name, id)| (name.clone(), *id)).collect();
        wanted.retain(|(name, _)| !self.record.disabled.contains_key(name));
        if self.record.boot.trial.is_none() {
            // On a way back, what failed is stopped before anything is read; on the way to a trial, what runs goes on
            // until the new slot is known to be whole.
            self.supervisor.keep_only(&wanted);
        }
        let parts = match self.whole(generation) {
            Ok(parts) => parts,
            Err(error) => {
                self.running = None;
                return self.pending.push_back(Event::Damaged { generation: generation.id, why: error.to_string() });
            }
        };
        match self.os(generation, &parts) {
            Ok(Os::Runs) => {}
            Ok(Os::StartAgain) => {
                eprintln!("guard-ctl: the machine is started again for its operating system");
                return self.start_again();
            }
            Ok(Os::Left(why)) if self.record.boot.trial.is_some() => {
                return self.pending.push_back(Event::Abort { why: format!("the operating system was left: {why}") });
            }
            Err(error) if self.record.boot.trial.is_some() => {
                return self.pending.push_back(Event::Abort { why: error.to_string() });
            }
            // What is committed runs with whatever system there is: a machine without its services helps nobody.
            Ok(Os::Left(why)) => eprintln!("guard-ctl: the operating system was left: {why}"),
            Err(error) => eprintln!("guard-ctl: {error}"),
        }
        self.supervisor.keep_only(&wanted);
        let user = self.options.service_user.filter(|_| platform::is_root());
        let moved = self.move_states(generation).and_then(|()| {
            self.slots.switch(Some(generation))?;
            supervise::plans(&self.slots, generation, &parts, user)
        });
        let mut plans = match moved {
            Ok(plans) => plans,
            Err(error) if self.record.boot.trial.is_some() => {
                return self.pending.push_back(Event::Abort { why: error.to_string() });
            }
            Err(error) => {
                // Going back would meet the same disk; what can be started is started.
                eprintln!("guard-ctl: {error}");
                supervise::plans(&self.slots, generation, &parts, user).unwrap_or_default()
            }
        };
        plans.retain(|plan| !self.record.disabled.contains_key(&plan.name));
        self.running = Some(generation.id);
        if !self.in_use.contains(generation) {
            self.in_use.push(generation.clone());
        }
        let failed = self.supervisor.start(plans, platform::awake_ms());
        self.not_started(failed);
    }

    /// The generation's contents, every byte checked unless it runs already.
    fn whole(&mut self, generation: &Generation) -> Result<Vec<Part>, SlotError> {
        if self.running != Some(generation.id)
            && let Some(repaired) = self.slots.ensure(generation)?
        {
            eprintln!("guard-ctl: {repaired}");
            self.damage.push(repaired);
        }
        self.slots.parts(generation)
    }

    /// Copies the state of what goes on trial, and puts back what belongs to what was left. The services that use it
    /// are stopped.
    fn move_states(&mut self, generation: &Generation) -> Result<(), crate::DoneTo> {
        if let Some(trial) = &self.record.boot.trial {
            let own = self.record.snapshots.iter().rfind(|snapshot| snapshot.after == trial.release);
            own.map_or(Ok(()), |snapshot| self.slots.take_snapshot(snapshot))?;
        }
        let (back, stay) = state_folders::due(&self.record.snapshots, generation);
        for snapshot in &back {
            self.slots.restore_snapshot(snapshot)?;
            eprintln!("guard-ctl: the state of {} is back as it was before the change", snapshot.name);
        }
        if !back.is_empty() {
            self.record.snapshots = stay;
            // If this is lost, it is only found again that the copy was put back already.
            if let Err(error) = self.keeper.save(&self.record) {
                eprintln!("guard-ctl: {error}");
            }
        }
        Ok(())
    }

    pub(super) fn run_safe_mode(&mut self) {
        self.supervisor.keep_only(&[]);
        self.running = None;
        // Whoever looks at `current` in safe mode finds what was last good, unless that must not be used.
        let boot = &self.record.boot;
        let denied = boot.last_known_good.releases.values().any(|release| boot.denied.contains(release));
        if let Err(error) = self.slots.switch((!denied).then_some(&boot.last_known_good)) {
            eprintln!("guard-ctl: {error}");
        }
        self.collect_due = true;
    }

    pub(super) fn start_due(&mut self, now_ms: u64) {
        let failed = self.supervisor.start_due(now_ms);
        self.not_started(failed);
        if let Some(event) = self.pending.pop_front() {
            self.act(event);
        }
        self.note_processes();
    }

    fn not_started(&mut self, failed: Vec<NotStarted>) {
        for failed in failed {
            eprintln!("guard-ctl: {}", failed.why);
            if failed.name != AGENT {
                let how = format!("can't be started: {}", failed.why);
                self.pending.push_back(Event::ServiceDied { service: failed.name, how });
            }
        }
    }

    /// Deletes what nothing names, unless a slot is being built just now.
    pub(super) fn collect_if_due(&mut self) {
        if !self.collect_due {
            return;
        }
        let Ok(_nobody_builds) = self.building.try_lock() else { return };
        self.collect_due = false;
        let (layout, supervisor) = (&self.layout, &self.supervisor);
        self.in_use.retain(|generation| supervisor.uses(&layout.generation(&generation.id)));
        let boot = &self.record.boot;
        let mut keep = vec![boot.last_known_good.clone(), Generation::empty()];
        keep.extend(boot.earlier.iter().cloned());
        keep.extend(boot.left.iter().map(|left| left.generation.clone()));
        keep.extend(boot.trial.iter().map(|trial| trial.generation.clone()));
        keep.extend(self.prepared.iter().map(|prepared| prepared.generation.clone()));
        keep.extend(self.in_use.iter().cloned());
        for wrong in self.slots.collect(&keep, &self.record.snapshots) {
            eprintln!("guard-ctl: not tidied up: {wrong}");
        }
    }
}
