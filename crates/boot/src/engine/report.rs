//! The guard's state as the agent and a person see it.

use super::{Guard, commands::failed};
use crate::platform;
use staffel_core::ids::Digest;
use staffel_statement::guard::{Reply, Status};

impl Guard {
    pub(super) fn status(&self) -> Status {
        let boot = &self.record.boot;
        Status {
            mode: boot.mode.clone(),
            selected: boot.selected().cloned(),
            last_known_good: boot.last_known_good.clone(),
            earlier: boot.earlier.clone(),
            left: boot.left.clone(),
            trial: boot.trial.clone(),
            outcome: boot.outcome.clone(),
            start: self.found.clone().and_then(|found| found.without(&self.record.told)),
            readiness: self.readiness(None),
            services: self.supervisor.status(),
            disabled: self.record.disabled.clone(),
            remedies: self.record.remedies.clone(),
            starts: boot.starts,
            boot_id: boot.boot_id.clone(),
            consumer: self.consumer,
            prepared: self.prepared.as_ref().map(|prepared| prepared.release),
            keyring_version: self.verifier.keyring().version,
            lacking: self.lacking(),
        }
    }

    /// The server has heard of these: they are not told again for as long as they are found.
    pub(super) fn start_reported(&mut self, heard: &[Digest]) -> Reply {
        let Some(found) = &self.found else { return Reply::Done { why: "nothing was found".into() } };
        let ids = found.traces.iter().map(|trace| trace.id(&found.boot_id));
        let told: Vec<Digest> = ids.filter(|id| heard.contains(id) || self.record.told.contains(id)).collect();
        match self.note(|record| record.told = told) {
            Ok(()) => Reply::Done { why: "the server knows how this machine came to start".into() },
            Err(error) => failed(format!("nothing was done: {error}")),
        }
    }

    fn lacking(&self) -> Vec<String> {
        let mut lacking = Vec::new();
        if self.options.system_partition.is_none() {
            lacking.push("service form: a kernel or initramfs that does not start is not covered".to_string());
        }
        lacking.extend(platform::lacking());
        lacking.extend(self.damage.iter().map(|what| format!("damaged: {what}")));
        lacking.extend(self.unsaved.iter().map(|why| format!("the record can't be written: {why}")));
        lacking
    }
}
