//! Studies: many rollouts of one kind, and what they say on average. How much a fault reaches against what no method can do
//! without, what a slower growth saves, how often healthy updates are stopped. Must stay out: threads and printing (`staffel
//! sim` plays the runs, in any order), and any figure that was not simulated.

use crate::{
    compare,
    outcome::Outcome,
    random::{Kind, Streams},
    scenario::{Fault, FleetSpec, Harm, Outage, Policy, Rule, Scenario, Staffel},
    world::SimError,
};
use serde::Serialize;
use staffel_core::{profile::ProfileName, release::Kind as ReleaseKind};

/// Shares of devices that go silent anyway, and that the release bricks, of the specification's table.
pub const SILENT: [f64; 3] = [0.001, 0.01, 0.05];
pub const BRICKED: [f64; 5] = [1.0, 0.3, 0.05, 0.01, 0.003];

/// One cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Share of devices that go silent after a permit anyway.
    pub q: f64,
    /// Share of devices that the release bricks.
    pub p: f64,
}

impl Cell {
    /// All fifteen.
    pub fn all() -> Vec<Cell> {
        SILENT.iter().flat_map(|&q| BRICKED.iter().map(move |&p| Cell { q, p })).collect()
    }

    /// What no method with an error probability of 1 in 1,000 can do without, devices, at least 1:
    /// `ln(1000) / KL(q' || q)` with `q' = q + p (1 - q)` (Wald; Kaufmann, Cappé, Garivier: "On the complexity of best-arm
    /// identification", 2016).
    pub fn bound(&self) -> f64 {
        let (q, bad) = (self.q, self.q + self.p * (1.0 - self.q));
        let term = |a: f64, b: f64| if a > 0.0 { a * libm::log(a / b) } else { 0.0 };
        let divergence = term(bad, q) + term(1.0 - bad, 1.0 - q);
        (libm::log(1_000.0) / divergence).max(1.0)
    }

    /// Runs that make a mean worth printing: fewer where each is long.
    pub fn runs(&self) -> u32 {
        if self.bound() < 3_000.0 { 200 } else { 40 }
    }

    /// A fleet in which what a fault reaches is a small part, and which is no larger than need be.
    pub fn devices(&self) -> u32 {
        (self.bound() * 40.0).clamp(100_000.0, 8_500_000.0) as u32
    }

    /// One rollout of it. `growth_percent` as in a profile, `resumed`: a person lets every hold go on after a quarter of
    /// an hour, so that the statistics alone must stop it.
    pub fn scenario(&self, seed: u64, growth_percent: u32, resumed: bool) -> Scenario {
        let fleet = FleetSpec { devices: self.devices(), customers: 300, silent: self.q, ..FleetSpec::default() };
        let fault = Fault { harm: Harm::Brick, probability: self.p, only: None, guard_helps: false, within_s: 1 };
        let ours = Staffel {
            profile: ProfileName::Urgent,
            ceiling: false,
            growth_percent: Some(growth_percent),
            resume_after_s: resumed.then_some(900),
            ..Staffel::default()
        };
        let mut scenario = study(format!("q {} p {}", self.q, self.p), seed, fleet, Some(fault), None, ours);
        if !resumed {
            // Twice as long as a rollout takes. A hold that nobody answers changes nothing more, and costs the most to play.
            scenario.horizon_s = 6 * 3_600;
        }
        scenario
    }
}

fn study(
    name: String,
    seed: u64,
    fleet: FleetSpec,
    fault: Option<Fault>,
    outage: Option<Outage>,
    ours: Staffel,
) -> Scenario {
    Scenario {
        name,
        why: "One of many.".into(),
        seed,
        horizon_s: 3 * 86_400,
        fleet,
        kind: ReleaseKind::Content,
        fault,
        outage,
        server: None,
        second: None,
        policies: vec![Policy { name: "ours".into(), rule: Rule::Staffel(ours) }],
    }
}

/// A healthy rollout: how long it takes at this growth.
pub fn healthy(devices: u32, seed: u64, growth_percent: u32) -> Scenario {
    let fleet = FleetSpec { devices, customers: 300, silent: 0.001, ..FleetSpec::default() };
    let ours = Staffel {
        profile: ProfileName::Urgent,
        ceiling: false,
        growth_percent: Some(growth_percent),
        resume_after_s: Some(900),
        ..Staffel::default()
    };
    study("healthy".into(), seed, fleet, None, None, ours)
}

/// A healthy rollout of `units` devices among whatever else happens to machines: ordinary silence, slow networks, in every
/// second one nights and weekends, in every third one an outage of half of all sites in the middle of it.
pub fn ordinary(units: u32, seed: u64) -> Scenario {
    let streams = Streams::new(seed);
    let draw = |number: u64, limit: u64| streams.below(Kind::Scenario, 1, number, limit);
    let fleet = FleetSpec {
        devices: units,
        customers: 1 + draw(0, 20) as u32,
        devices_per_site: 1 + draw(1, 40) as u32,
        os_builds: 1 + draw(2, 3) as u32,
        hardware_models: 1 + draw(3, 8) as u32,
        silent: [0.0, 0.001, 0.01][draw(4, 3) as usize],
        silent_for_s: 600 + draw(5, 7_200) as u32,
        night_off: [0.0, 0.3][draw(6, 2) as usize],
        time_zones: 1 + draw(7, 8) as u32,
        slow: [0.0, 0.1][draw(8, 2) as usize],
        start_s: 1_700_000_000 + draw(9, 7 * 86_400),
        ..FleetSpec::default()
    };
    let outage = Outage { sites: 0.5, from_s: draw(11, 7_200) as u32, for_s: 300 + draw(12, 5_400) as u32 };
    let outage = (draw(10, 3) == 0).then_some(outage);
    let profile = [ProfileName::Urgent, ProfileName::Standard][draw(13, 2) as usize];
    let ours = Staffel { profile, resume_after_s: Some(900), ..Staffel::default() };
    let mut scenario = study(format!("ordinary {units}"), seed, fleet, None, outage, ours);
    // Half of all releases restart something.
    scenario.kind = [ReleaseKind::Content, ReleaseKind::Component][draw(14, 2) as usize];
    scenario.horizon_s = 13 * 86_400;
    scenario
}

/// What a person asks before a release goes out to a fleet: what if it is well, and what if it is not? A hold of a bad
/// release is answered by nobody here, one of a good release after a quarter of an hour.
pub fn questions(fleet: &FleetSpec, kind: ReleaseKind, ours: &Staffel, seed: u64) -> Vec<(&'static str, Scenario)> {
    let harms = [
        ("is well", None),
        ("kills every device", Some((Harm::Brick, 1.0))),
        ("kills three in ten", Some((Harm::Brick, 0.3))),
        ("kills one in twenty", Some((Harm::Brick, 0.05))),
        ("kills at the next reboot, within a day", Some((Harm::NextReboot, 1.0))),
        ("fails on every device, and says so", Some((Harm::Reported, 1.0))),
    ];
    let scenario = |(words, harm): (&'static str, Option<(Harm, f64)>)| {
        let fault = harm.map(|(harm, probability)| Fault {
            harm,
            probability,
            only: None,
            guard_helps: true,
            within_s: 86_400,
        });
        let ours = Staffel { resume_after_s: fault.is_none().then_some(900), ..ours.clone() };
        let mut scenario = study(words.into(), seed, fleet.clone(), fault, None, ours);
        (scenario.kind, scenario.horizon_s) = (kind, 13 * 86_400);
        (words, scenario)
    };
    harms.into_iter().map(scenario).collect()
}

/// Plays one of these.
pub fn play(scenario: &Scenario) -> Result<Outcome, SimError> {
    let mut comparison = compare(scenario, scenario.seed, &mut |_| {})?;
    Ok(comparison.policies.swap_remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_the_specification() {
        let bounds: Vec<f64> = Cell::all().iter().map(Cell::bound).collect();
        let printed =
            [1.0, 4.7, 46.0, 421.0, 2_714.0, 1.5, 8.6, 119.0, 1_797.0, 16_957.0, 2.3, 17.0, 367.0, 7_693.0, 82_232.0];
        for (bound, printed) in bounds.iter().zip(printed) {
            assert!((bound / printed - 1.0_f64).abs() < 0.03, "{bound}, the specification says {printed}");
        }
    }

    #[test]
    fn a_study_is_played_and_its_figures_make_sense() {
        let cell = Cell { q: 0.001, p: 1.0 };
        let mut scenario = cell.scenario(1, 200, true);
        scenario.fleet.devices = 2_000;
        let outcome = play(&scenario).unwrap();
        assert!((1..=8).contains(&outcome.exposed) && outcome.halted_after_s.is_some(), "{outcome:?}");
        let healthy = play(&healthy(1_000, 1, 150)).unwrap();
        assert_eq!((healthy.exposed, healthy.halted_after_s), (1_000, None));
        assert!(play(&ordinary(300, 1)).unwrap().bricked == 0);
    }
}
