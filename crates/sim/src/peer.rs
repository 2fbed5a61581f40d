//! Rules of others, as they are described in public, on the same fleet and fault. They look at the clock and at what
//! devices report; none of them counts silence. Must stay out: our own rule, which is `core`'s.

use crate::{
    model::Model,
    outcome::{Curve, Outcome, Point, number},
    random::Kind,
    scenario::{Amount, Fault, Harm, Pace, Peer, Scenario},
    way_back::starts_until_back,
};
use staffel_core::fleet::Fleet;
use std::collections::BTreeMap;

/// The clock's step, seconds.
const STEP_S: u32 = 30;
/// A device that reports a failure, or goes back because it is cut off, does so this long after it applied, seconds.
const REPORT_S: u32 = 60;

#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    succeeded: u64,
    failed: u64,
}

struct Run<'a> {
    scenario: &'a Scenario,
    peer: &'a Peer,
    model: &'a Model,
    fleet: &'a Fleet,
    starts_until_back: Option<u32>,
    point: Point,
    curve: Curve,
    /// By step and group: what will be reported then.
    coming: BTreeMap<(u32, u64), Answers>,
    /// By step: devices that come back, devices that go dark.
    back: BTreeMap<u32, u64>,
    dark: BTreeMap<u32, Vec<u32>>,
    all: Answers,
    group: u64,
    group_since_s: u32,
    group_answers: Answers,
}

/// Plays one rule to its end.
pub(crate) fn run(scenario: &Scenario, name: &str, peer: &Peer, model: &Model, fleet: &Fleet) -> Outcome {
    let mut run = Run {
        scenario,
        peer,
        model,
        fleet,
        starts_until_back: starts_until_back().filter(|_| peer.rolls_back),
        point: Point::default(),
        curve: Curve::default(),
        coming: BTreeMap::new(),
        back: BTreeMap::new(),
        dark: BTreeMap::new(),
        all: Answers::default(),
        group: 0,
        group_since_s: 0,
        group_answers: Answers::default(),
    };
    let devices = fleet.devices.len() as u64;
    let (mut halted, mut completed, mut why) = (None, None, String::new());
    let mut at_s = 0;
    while at_s <= scenario.horizon_s {
        run.point.at_s = at_s;
        run.answers(at_s);
        if halted.is_none() {
            if let Some(stop) = run.stop(at_s) {
                (halted, why) = (Some(at_s), stop);
            } else {
                run.widen(at_s);
                let has = run.has(at_s).min(devices);
                (run.point.exposed..has).for_each(|device| run.exposes(device as u32, at_s));
                run.point.exposed = run.point.exposed.max(has);
                // Those that are dark never say how it went.
                if completed.is_none() && run.all.succeeded + run.all.failed >= devices {
                    (completed, why) = (Some(at_s), "every device has it".into());
                }
            }
        }
        run.curve.add(run.point);
        let over = halted.is_some() || completed.is_some() || run.point.exposed == devices;
        let withdrawal = peer.withdrawn_after_s.is_some_and(|after_s| halted.is_none() && at_s < after_s);
        if over
            && run.coming.is_empty()
            && !(withdrawal && run.point.bricked > 0)
            && run.back.is_empty()
            && run.dark.is_empty()
        {
            break;
        }
        at_s += STEP_S;
    }
    if why.is_empty() {
        why = match &peer.pace {
            Pace::Groups { success, .. } => format!(
                "group {} waits: {} of it reported success, {:.0} % must; silence is not counted",
                run.group + 1,
                number(run.group_answers.succeeded),
                success * 100.0
            ),
            _ if run.point.exposed == devices => "every device has it, and not every one said how it went".into(),
            _ => "goes on when the simulation ends".into(),
        };
    }
    Outcome {
        name: name.into(),
        exposed: run.point.exposed,
        bricked: run.point.bricked,
        recovered: run.point.recovered,
        halted_after_s: halted,
        completed_after_s: completed,
        verdict: why,
        needs_a_person: false,
        holds: 0,
        waves: 0,
        busiest: 0,
        curve: run.curve.finish(),
    }
}

impl Run<'_> {
    fn devices(&self, amount: Amount) -> u64 {
        let all = self.fleet.devices.len() as u64;
        match amount {
            Amount::Devices(devices) => devices.min(all),
            Amount::Share(share) => (share * all as f64).round() as u64,
        }
    }

    /// How many have it by now: those whose turn came, as soon as they looked.
    fn has(&self, at_s: u32) -> u64 {
        let looked = |since_s: u32, count: u64| {
            let waited = u64::from((at_s - since_s).min(self.peer.poll_s));
            if self.peer.poll_s == 0 { count } else { count * waited / u64::from(self.peer.poll_s) }
        };
        match &self.peer.pace {
            Pace::Waves(table) => {
                let mut before = 0;
                let due = table.iter().filter(|(since_s, _)| *since_s <= at_s);
                due.map(|(since_s, amount)| {
                    let to = self.devices(*amount).max(before);
                    let new = to - std::mem::replace(&mut before, to);
                    looked(*since_s, new)
                })
                .sum()
            }
            Pace::Ramp(table) => {
                let mut from = (0, 0);
                for (to_s, amount) in table {
                    let to = self.devices(*amount).max(from.1);
                    if at_s < *to_s {
                        let (passed, length) = (u64::from(at_s - from.0), u64::from(to_s - from.0));
                        return from.1 + (to - from.1) * passed / length.max(1);
                    }
                    from = (*to_s, to);
                }
                from.1
            }
            Pace::Groups { size, .. } => {
                let before = self.group * size;
                let here = (*size).min((self.fleet.devices.len() as u64).saturating_sub(before));
                before + looked(self.group_since_s, here)
            }
        }
    }

    /// The next group begins once enough of this one have reported success.
    fn widen(&mut self, at_s: u32) {
        let Pace::Groups { size, success } = self.peer.pace else { return };
        let all = self.fleet.devices.len() as u64;
        let full = self.point.exposed >= ((self.group + 1) * size).min(all);
        if full && self.point.exposed < all && self.group_answers.succeeded as f64 >= success * size as f64 {
            self.group += 1;
            self.group_since_s = at_s;
            self.group_answers = Answers::default();
        }
    }

    fn stop(&self, at_s: u32) -> Option<String> {
        if self.peer.withdrawn_after_s.is_some_and(|after_s| at_s >= after_s) {
            return Some("a person withdrew it".into());
        }
        let threshold = self.peer.failed_stop?;
        let (failed, of) = match self.peer.pace {
            // Of the group's devices, whether they answered or not.
            Pace::Groups { size, .. } => (self.group_answers.failed, size),
            _ => (self.all.failed, self.all.failed + self.all.succeeded),
        };
        let share = failed as f64 / of.max(1) as f64;
        (failed > 0 && of >= self.peer.failed_after && share >= threshold)
            .then(|| format!("{:.1} % reported a failure", share * 100.0))
    }

    /// What is reported, what comes back and what goes dark by now.
    fn answers(&mut self, at_s: u32) {
        while let Some(entry) = self.coming.first_entry()
            && entry.key().0 <= at_s
        {
            let ((_, group), answers) = entry.remove_entry();
            self.all.succeeded += answers.succeeded;
            self.all.failed += answers.failed;
            if group == self.group {
                self.group_answers.succeeded += answers.succeeded;
                self.group_answers.failed += answers.failed;
            }
        }
        while let Some(entry) = self.dark.first_entry()
            && *entry.key() <= at_s
        {
            for device in entry.remove() {
                self.goes_dark(device, at_s, false);
            }
        }
        while let Some(entry) = self.back.first_entry()
            && *entry.key() <= at_s
        {
            self.point.recovered += entry.remove();
        }
    }

    fn exposes(&mut self, device: u32, at_s: u32) {
        let fault: Option<&Fault> = self.scenario.fault.as_ref();
        let harm = fault.filter(|fault| self.model.is_hit(self.fleet, fault, device, 1));
        let run_s = at_s + self.model.apply_s(device, 1);
        match harm.map(|fault| (fault.harm, fault)) {
            Some((Harm::Brick, fault)) => self.goes_dark(device, at_s, fault.guard_helps),
            Some((Harm::Reported | Harm::CutOff, _)) => self.will_answer(run_s + REPORT_S, false),
            Some((Harm::Forged, _)) => {
                self.point.bricked += 1;
                self.will_answer(run_s, true);
            }
            Some((Harm::NextReboot | Harm::CleanReboot | Harm::Leak, fault)) => {
                let within = u64::from(fault.within_s.max(2));
                let drawn = self.model.streams.below(Kind::FaultTime, u64::from(device), 0, within) as u32;
                let after_s = if fault.harm == Harm::Leak { fault.within_s / 2 + drawn / 2 } else { drawn };
                self.dark.entry(step(run_s + after_s)).or_default().push(device);
                self.will_answer(run_s, true);
            }
            None => self.will_answer(run_s, true),
        }
    }

    fn will_answer(&mut self, at_s: u32, succeeded: bool) {
        let answers = self.coming.entry((step(at_s), self.group)).or_default();
        answers.succeeded += u64::from(succeeded);
        answers.failed += u64::from(!succeeded);
    }

    fn goes_dark(&mut self, device: u32, at_s: u32, may_roll_back: bool) {
        self.point.bricked += 1;
        let after_s = match self.starts_until_back.filter(|_| may_roll_back) {
            Some(starts) => (0..u64::from(starts)).map(|start| self.model.boot_s(device, start)).sum(),
            None => self.model.by_hand_s(device),
        };
        *self.back.entry(step(at_s.saturating_add(after_s))).or_insert(0) += 1;
        if self.starts_until_back.is_some() && may_roll_back {
            // Back on the version before, it says so.
            self.will_answer(at_s.saturating_add(after_s), false);
        }
    }
}

/// The first step at or after this second.
fn step(at_s: u32) -> u32 {
    at_s.div_ceil(STEP_S).saturating_mul(STEP_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Rule;

    fn play(text: &str) -> Outcome {
        let scenario = Scenario::parse("t.txt", &format!("Why.\n{text}")).unwrap();
        let model = Model::new(&scenario, 1);
        let Rule::Peer(peer) = &scenario.policies[0].rule else { panic!("no peer") };
        run(&scenario, "peer", peer, &model, &model.fleet())
    }

    const FLEET: &str = "[fleet]\ndevices = 100_000\n";

    #[test]
    fn waves_by_the_clock_expose_what_their_table_says() {
        let rule = "[policy t]\nrule = waves\npoll = 0 s\nwaves = 0 s: 10, 15 min: 100, 30 min: 1_000, 45 min: 100 %\n";
        let stopped = play(&format!("{FLEET}[fault]\n{rule}withdrawn after = 40 min\n"));
        assert_eq!((stopped.exposed, stopped.bricked, stopped.halted_after_s), (1_000, 1_000, Some(2_400)));
        let healthy = play(&format!("{FLEET}{rule}"));
        assert_eq!((healthy.exposed, healthy.bricked), (100_000, 0));
        assert!(healthy.completed_after_s.is_some_and(|at| at >= 2_700));
    }

    #[test]
    fn a_ramp_grows_evenly_between_its_entries() {
        let rule = "[policy t]\nrule = ramp\nwaves = 100 min: 100 %\nwithdrawn after = 25 min\n";
        assert_eq!(play(&format!("{FLEET}{rule}")).exposed, 24_500);
    }

    #[test]
    fn a_failure_threshold_sees_reports_and_no_silence() {
        let rule = "[policy t]\nrule = waves\npoll = 0 s\nwaves = 0 s: 100, 15 min: 10_000, 30 min: 100 %\nstops at failed = 5 %\n";
        let reported = play(&format!("{FLEET}[fault]\nkind = reported\nshare = 0.3\n{rule}"));
        assert_eq!(reported.exposed, 100);
        assert!(reported.verdict.contains("reported a failure"), "{}", reported.verdict);
        let silent = play(&format!("{FLEET}[fault]\nshare = 0.3\n{rule}"));
        assert_eq!((silent.exposed, silent.halted_after_s), (100_000, None));
    }

    #[test]
    fn groups_wait_for_success_for_ever() {
        let rule = "[policy t]\nrule = groups\nsize = 2_000\nsuccess = 0.5\nstops at failed = 0.5\n";
        let dead = play(&format!("{FLEET}[fault]\n{rule}"));
        assert_eq!(dead.exposed, 2_000);
        assert!(dead.verdict.contains("silence is not counted"), "{}", dead.verdict);
        let some = play(&format!("{FLEET}[fault]\nshare = 0.3\n{rule}"));
        assert_eq!(some.exposed, 100_000);
    }
}
