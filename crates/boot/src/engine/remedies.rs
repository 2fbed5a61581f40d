//! Carries out signed acts of repair, in safe mode too. What must stay out: any act that is not in the closed set.

use super::{
    Guard,
    commands::{done, failed},
};
use crate::quarantine::quarantine;
use staffel_core::{
    boot::{Event, Generation},
    ids::Digest,
};
use staffel_statement::{
    Envelope,
    guard::Reply,
    predicate::{Action, Remedy},
};
use std::collections::BTreeSet;

impl Guard {
    pub(super) fn remedy(&mut self, envelope: &Envelope) -> Reply {
        let device = self.pins.installation.device;
        let remedy = match self.verifier.accept_remedy(envelope, device, crate::wall_clock_ms()) {
            Ok(remedy) => remedy,
            Err(error) => return failed(error.to_string()),
        };
        // Its sequence is used up before it is carried out. A disk that takes nothing is no reason to leave a machine
        // unrepaired: the worst is that the same remedy is taken once more after a restart.
        if let Err(error) = self.remember() {
            eprintln!("guard-ctl: {error}");
        }
        self.carry_out(remedy)
    }

    fn carry_out(&mut self, remedy: Remedy) -> Reply {
        let by = format!("remedy {} of case {}", remedy.sequence, remedy.case);
        match remedy.action {
            Action::GoTo { generation } => done(self.handle(Event::GoTo { generation })),
            Action::QuarantineGeneration { generation } => self.quarantine_generation(&generation, &by),
            Action::StaySafe { why } => done(self.handle(Event::StaySafe { why: format!("{why} ({by})") })),
            Action::LeaveSafe => done(self.handle(Event::LeaveSafe)),
            Action::QuarantineFile { pattern, sha256 } => self.quarantine_file(&pattern, &sha256, &by),
            Action::DisableService { name } => failed(format!(
                "the service {name} was not disabled: in its service form the guard does not manage foreign services; \
                 the firmware guard does"
            )),
            Action::DisableModule { name } => failed(format!(
                "the module {name} was not disabled: in its service form the guard does not manage kernel modules; \
                 the firmware guard does"
            )),
        }
    }

    fn quarantine_file(&self, pattern: &str, sha256: &Digest, by: &str) -> Reply {
        match quarantine(&self.layout, &self.options.quarantine_roots, pattern, sha256) {
            Ok(taken) => {
                let list: Vec<String> =
                    taken.iter().map(|t| format!("{} (kept as {})", t.from.display(), t.kept_as.display())).collect();
                Reply::Done { why: format!("{by}: taken away: {}", list.join(", ")) }
            }
            Err(error) => failed(error.to_string()),
        }
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
        let trial = boot.trial.iter().map(|trial| &trial.generation);
        // Newest first: each stands before the one that it replaced.
        let kept: Vec<&Generation> = trial.chain([&boot.last_known_good]).chain(&boot.earlier).collect();
        let at = kept.iter().position(|generation| generation.id == *id)?;
        let before: BTreeSet<Digest> =
            kept.get(at + 1).map(|before| before.releases.values().copied().collect()).unwrap_or_default();
        Some(kept[at].releases.values().filter(|release| !before.contains(release)).copied().collect())
    }
}
