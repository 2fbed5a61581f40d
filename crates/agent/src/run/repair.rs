//! Remedies on their way from the server to the guard, and the guard's word on them back. What must stay out: carrying one
//! out, and counting who signed it (the guard does both).

use super::{agent::Agent, work::Purpose};
use crate::{api::ApiError, chain, guard_client::GuardError};
use staffel_core::boot::{Generation, Mode};
use staffel_trust::{
    statement::{
        Envelope,
        guard::{Command, RemedyOutcome, Reply, Status},
        predicate::{Headed, Remedy, read},
    },
    wire::Remedied,
};
use std::collections::{BTreeMap, BTreeSet};

/// What the server waits to hear of.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    asked: BTreeSet<u64>,
    /// With the guard now.
    passed_on: BTreeSet<u64>,
    /// Not carried out, and why: neither agent nor guard took it for a remedy of this device.
    refused: BTreeMap<u64, String>,
    telling: bool,
}

impl Agent {
    /// What the server has not heard the end of: passed on, unless the guard has done it already.
    pub(super) fn take_remedies(&mut self, remedies: Vec<Envelope>) {
        let now_ms = self.now_ms();
        let read_one = |envelope: Envelope| {
            let payload = envelope.payload().ok()?;
            Some((read::<Headed<Remedy>>(&payload).ok()?.body.sequence, envelope))
        };
        let remedies: BTreeMap<u64, Envelope> = remedies.into_iter().filter_map(read_one).collect();
        self.repairs.asked = remedies.keys().copied().collect();
        self.repairs.refused.retain(|sequence, _| remedies.contains_key(sequence));
        for (sequence, remedy) in remedies {
            if self.outcome_of(sequence).is_some() || self.repairs.passed_on.contains(&sequence) {
                continue;
            }
            match self.judge.remedy(&remedy, now_ms) {
                Ok(()) => {
                    self.repairs.passed_on.insert(sequence);
                    self.work.guard(Purpose::Repair(sequence), Some(Command::Remedy { remedy }));
                }
                Err(error) => {
                    tracing::warn!("remedy {sequence} is not passed on: {error}");
                    self.repairs.refused.insert(sequence, error.to_string());
                }
            }
        }
        self.tell_remedied();
    }

    /// The guard's answer; how it went stands in its status, which follows.
    pub(super) fn take_repair(&mut self, sequence: u64, reply: Result<Reply, GuardError>) {
        self.repairs.passed_on.remove(&sequence);
        match reply {
            Ok(Reply::Done { why }) => tracing::info!("remedy {sequence}: {why}"),
            Ok(Reply::Failed { why }) => {
                tracing::warn!("remedy {sequence}: {why}");
                self.repairs.refused.insert(sequence, why);
            }
            Ok(other) => tracing::warn!("guard: remedy {sequence} was answered with {other:?}"),
            // It may have been carried out or not: the server asks again.
            Err(error) => tracing::warn!("remedy {sequence}: {}", chain(&error)),
        }
    }

    /// The guard's own record goes before what it answered: a remedy that was carried out before is no refusal.
    fn outcome_of(&self, sequence: u64) -> Option<RemedyOutcome> {
        let kept = self.guard.iter().flat_map(|guard| &guard.remedies).find(|kept| kept.sequence == sequence);
        let refused = self.repairs.refused.get(&sequence);
        kept.cloned().or_else(|| refused.map(|why| RemedyOutcome { sequence, done: false, why: why.clone() }))
    }

    /// Says how remedies went, if the server waits for that.
    pub(super) fn tell_remedied(&mut self) {
        let ended = |sequence: &&u64| !self.repairs.passed_on.contains(sequence);
        let outcomes: Vec<RemedyOutcome> =
            self.repairs.asked.iter().filter(ended).filter_map(|sequence| self.outcome_of(*sequence)).collect();
        if !outcomes.is_empty() && !self.repairs.telling {
            self.repairs.telling = true;
            self.work.remedied(self.api.clone(), Remedied { outcomes });
        }
    }

    pub(super) fn take_told(&mut self, sequences: &[u64], result: Result<(), ApiError>) {
        self.repairs.telling = false;
        match result {
            Ok(()) => self.repairs.asked.retain(|sequence| !sequences.contains(sequence)),
            // The next check-in asks again.
            Err(error) => {
                self.repairs.asked.clear();
                tracing::warn!("{}", chain(&error));
            }
        }
    }
}

/// What a person who mends this machine has to know: what was left and could be returned to, and in safe mode all else
/// that is kept.
pub(super) fn ways_back(guard: &Status) -> Vec<String> {
    let named = |generation: &Generation| {
        let releases: Vec<_> =
            generation.releases.iter().map(|(name, release)| format!("{name} {}", release.short())).collect();
        format!("{} ({})", generation.id, releases.join(", "))
    };
    let mut lines: Vec<String> = guard
        .left
        .iter()
        .map(|left| {
            let generation = named(&left.generation);
            format!("left and kept: generation {generation}: {}; a remedy can return to it", left.why)
        })
        .collect();
    if matches!(guard.mode, Mode::Safe { .. }) {
        let kept = [&guard.last_known_good].into_iter().chain(&guard.earlier);
        let kept = kept.filter(|generation| !generation.releases.is_empty());
        lines.extend(kept.map(|generation| format!("kept: generation {}", named(generation))));
    }
    lines
}
