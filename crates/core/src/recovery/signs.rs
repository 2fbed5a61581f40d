//! What a sign of life means for the device's cases. Must stay out: what counts as proof (`probe`).

use super::{
    Book, Case, Concern, Debt, Event, Origin, Proof, State,
    open::{Concerned, Ran},
    probe::{Doubt, Evidence, doubts},
};
use crate::fleet::{DeviceIndex, Fleet};

impl Book {
    /// A device joined the fleet.
    pub fn joined(&mut self, device: DeviceIndex, site: u32, at_ms: u64) {
        let due_ms = at_ms.saturating_add(self.limits.silent_after_ms.min(self.limits.site_silent_after_ms));
        self.watch.joined(device, site, at_ms, due_ms);
    }

    /// A device said goodbye (true), or spoke again.
    pub fn left(&mut self, device: DeviceIndex, left: bool) {
        self.watch.left(device, left);
    }

    /// The server was started at this moment: silence before it says nothing.
    pub fn observing_since(&mut self, at_ms: u64) {
        self.watch.since(at_ms);
    }

    /// The server did not look from `from_ms` to `to_ms`.
    pub fn gap(&mut self, from_ms: u64, to_ms: u64) {
        self.watch.gap(from_ms, to_ms);
    }

    /// True if the device should be asked to prove that it is well.
    pub fn wants_probe(&self, device: DeviceIndex) -> bool {
        self.cases_of(device).any(|case| case.state != State::Closed)
    }

    /// A sign of life of a device. Cheap for a device without a case: `evidence` is asked for only if there is one.
    pub fn heard(
        &mut self,
        fleet: &Fleet,
        device: DeviceIndex,
        safe_mode: Option<&str>,
        now_ms: u64,
        ran: Ran<'_>,
        evidence: impl FnOnce() -> Evidence,
    ) -> Vec<Event> {
        let row = fleet.device(device);
        self.watch.heard(row.site, now_ms);
        let ids: Vec<u64> = self.cases_of(device).map(|case| case.id).collect();
        if ids.is_empty() {
            // While a rollout still waits for its outcome, that rollout sees to it.
            return match safe_mode {
                Some(why) if row.member_of == 0 => self.in_safe_mode(fleet, device, why, now_ms, ran),
                _ => Vec::new(),
            };
        }
        let evidence = evidence();
        let mut events = Vec::new();
        for id in ids {
            let Some(case) = self.cases.get(&id) else { continue };
            if case.state == State::Closed {
                if let Some(why) = &evidence.safe_mode {
                    events.push(Event::Reopened { case: id, why: format!("in safe mode: {why}") });
                }
                continue;
            }
            events.extend(self.evidence(id, &evidence, now_ms));
        }
        events
    }

    fn in_safe_mode(&self, fleet: &Fleet, device: DeviceIndex, why: &str, now_ms: u64, ran: Ran<'_>) -> Vec<Event> {
        let row = fleet.device(device);
        let origin = Origin::SafeMode { site: row.site };
        let words = format!("{} is in safe mode: {why}", row.name);
        let concerned = vec![Concerned { device, why: Concern::SafeMode { why: why.into() } }];
        let mut numbers = self.numbers();
        self.open_at_site(&mut numbers, origin, words, now_ms, concerned, ran)
    }

    /// What the evidence changes about one case that is not closed.
    fn evidence(&mut self, id: u64, evidence: &Evidence, now_ms: u64) -> Vec<Event> {
        let Some(case) = self.cases.get(&id) else { return Vec::new() };
        let mut events = Vec::new();
        if !case.alive {
            events.push(Event::Heard { case: id });
        }
        let ran = self.baselines.get(case.ran as usize).map_or(&[][..], Vec::as_slice);
        let doubts = doubts(evidence, ran);
        // What agent and guard were not asked about may still be off: known debts stay until they answer.
        if evidence.health.is_some() || evidence.safe_mode.is_some() {
            events.extend(debts(case, evidence, ran));
        }
        let verified = case.state == State::Verified;
        let rule = self.limits.probe.clone();
        let running = self.proofs.entry(id).or_default();
        // No answer is no failure: the question may still be on its way.
        let silent = doubts == [Doubt::NotAnswered];
        if silent {
            if running.passed == 0 {
                running.doubts = doubts;
            }
            return events;
        }
        running.doubts = doubts;
        let generation = evidence.health.as_ref().and_then(|health| health.generation);
        let (true, Some(generation)) = (running.doubts.is_empty(), generation) else {
            running.passed = 0;
            // A change that goes on is no relapse, and debts speak for themselves.
            let relapse = running.doubts.iter().any(|d| matches!(d, Doubt::Denied { .. } | Doubt::ProbesFailed { .. }));
            if verified && relapse {
                events.push(Event::Doubted { case: id, doubts: running.doubts.clone() });
            }
            return events;
        };
        let same = running.boot == evidence.boot && running.generation == Some(generation);
        let in_time = now_ms.saturating_sub(running.first_ms) <= rule.window_ms;
        if running.passed == 0 || !same || !in_time {
            *running = super::probe::Running {
                passed: 1,
                first_ms: now_ms,
                last_ms: now_ms,
                boot: evidence.boot,
                generation: Some(generation),
                doubts: Vec::new(),
            };
        } else if now_ms.saturating_sub(running.last_ms) >= rule.every_ms {
            running.passed = running.passed.saturating_add(1);
            running.last_ms = now_ms;
        }
        if !verified && running.passed >= rule.successes.max(1) {
            let checked = evidence.health.as_ref().map_or(0, |health| health.checked);
            let (passed, first_ms, last_ms) = (running.passed, running.first_ms, running.last_ms);
            let proof = Proof { passed, first_ms, last_ms, generation, checked };
            events.push(Event::Verified { case: id, proof });
        }
        events
    }

    /// Probes that passed in a row, and what keeps the device from being proven.
    pub fn progress(&self, case: &Case) -> (u32, &[Doubt]) {
        match (case.proof(), self.proofs.get(&case.id)) {
            (Some(proof), _) => (proof.passed, &[]),
            (None, Some(running)) => (running.passed, &running.doubts),
            (None, None) => (0, &[]),
        }
    }
}

/// Debts that the device shows against those that the case knows.
fn debts(case: &Case, evidence: &Evidence, ran: &[String]) -> Vec<Event> {
    let mut shown: Vec<Debt> = Vec::new();
    if evidence.safe_mode.is_some() {
        shown.push(Debt::SafeMode);
    } else {
        let missing = ran.iter().filter(|name| !evidence.running.contains(name));
        shown.extend(missing.map(|name| Debt::NotRunning { name: name.clone() }));
        let reported = evidence.health.iter().flat_map(|health| &health.debts);
        shown.extend(reported.map(|what| Debt::Reported { what: what.clone() }));
    }
    shown.sort();
    shown.dedup();
    let open = |debt: &Debt| case.debts().iter().any(|open| open.debt == *debt);
    let mut events = Vec::new();
    for debt in shown.iter().filter(|debt| !open(debt)) {
        events.push(Event::DebtOpened { case: case.id, debt: debt.clone(), by: None });
    }
    for open in case.debts().iter().filter(|open| open.debt.is_evidence() && !shown.contains(&open.debt)) {
        let why = "the device shows that it is over".into();
        events.push(Event::DebtLifted { case: case.id, debt: open.debt.clone(), by: None, why });
    }
    events
}
