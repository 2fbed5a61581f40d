//! Small random scenarios: in each of them, what must hold has to hold, and what is healthy has to arrive. Must stay out:
//! choosing seeds, printing (`staffel sim seeds`).

use crate::{
    compare,
    outcome::Comparison,
    random::{Kind, Streams},
    scenario::{Fault, FleetSpec, Harm, Outage, Policy, Rule, Scenario, Staffel},
    world::SimError,
};
use staffel_core::{conditions::Unit, profile::ProfileName, release::Kind as ReleaseKind};

/// The scenario of a seed: up to 1,500 devices, one of our profiles, and whatever fault the seed brings.
pub fn random_scenario(seed: u64) -> Scenario {
    let streams = Streams::new(seed);
    let mut drawn = 0;
    let mut draw = |limit: u64| {
        drawn += 1;
        streams.below(Kind::Scenario, 0, drawn, limit)
    };
    let devices = [1 + draw(20), 20 + draw(180), 200 + draw(1_300)][draw(3) as usize] as u32;
    let site_servers = draw(5) == 0;
    let fleet = FleetSpec {
        devices,
        customers: 1 + draw(8) as u32,
        devices_per_site: if site_servers { 6 } else { 1 + draw(30) as u32 },
        os_builds: 1 + draw(3) as u32,
        hardware_models: 1 + draw(6) as u32,
        site_servers,
        silent: [0.0, 0.001, 0.01][draw(3) as usize],
        silent_for_s: 600 + draw(7_200) as u32,
        night_off: [0.0, 0.0, 0.3][draw(3) as usize],
        time_zones: 1 + draw(5) as u32,
        slow: [0.0, 0.1][draw(2) as usize],
        start_s: 1_700_000_000 + draw(7 * 86_400),
        ..FleetSpec::default()
    };
    let harms = [Harm::Brick, Harm::Brick, Harm::NextReboot, Harm::Reported, Harm::CutOff];
    let fault = (draw(3) > 0).then(|| Fault {
        harm: harms[draw(5) as usize],
        probability: [1.0, 0.3, 0.05][draw(3) as usize],
        only: (draw(4) == 0).then(|| format!("os-{}", draw(u64::from(fleet.os_builds)))),
        guard_helps: draw(2) == 0,
        reboot_within_s: 3_600,
    });
    let outage =
        (draw(6) == 0).then(|| Outage { sites: 0.5, from_s: draw(3_600) as u32, for_s: 300 + draw(3_600) as u32 });
    let ours = Staffel {
        profile: [ProfileName::Urgent, ProfileName::Urgent, ProfileName::Standard][draw(3) as usize],
        unit: if site_servers { Unit::Site } else { Unit::Device },
        ceiling: draw(2) == 0,
        budget: (draw(4) == 0).then(|| 1 + draw(40) as u32),
        resume_after_s: Some(900),
        fix_after_s: (draw(4) == 0).then_some(1_800),
    };
    Scenario {
        name: format!("seed-{seed}"),
        why: "Made up from its seed.".into(),
        seed,
        horizon_s: 14 * 86_400 - 3_600,
        fleet,
        kind: if draw(2) == 0 { ReleaseKind::Content } else { ReleaseKind::Component },
        fault,
        outage,
        policies: vec![Policy { name: "ours".into(), rule: Rule::Staffel(ours) }],
    }
}

/// Plays the scenario of a seed: what `core` must never do, and whether it gets anywhere.
pub fn check_seed(seed: u64) -> Result<Comparison, SimError> {
    let scenario = random_scenario(seed);
    let comparison = compare(&scenario, seed, &mut |_| {})?;
    let outcome = &comparison.policies[0];
    let broken = |what: String| SimError::Broken { policy: outcome.name.clone(), at_s: 0, what };
    if outcome.halted_after_s.is_none() && outcome.completed_after_s.is_none() && !outcome.needs_a_person {
        return Err(broken(format!("it never ends: {}", outcome.verdict)));
    }
    // Ordinary silence may halt a small fleet's second release as well: that costs a click, and is no fault.
    let quiet = scenario.fleet.silent == 0.0 && scenario.fleet.night_off == 0.0 && scenario.outage.is_none();
    let fixed = matches!(&scenario.policies[0].rule, Rule::Staffel(ours) if ours.fix_after_s.is_some());
    if quiet && fixed && outcome.halted_after_s.is_some() && outcome.completed_after_s.is_none() {
        return Err(broken(format!("the release that mends it never arrives: {}", outcome.verdict)));
    }
    let dark = outcome.bricked - outcome.recovered;
    if dark > 0 && scenario.horizon_s > 13 * 86_400 && scenario.fault.as_ref().is_some_and(|fault| fault.guard_helps) {
        let reboots = scenario.fault.as_ref().is_some_and(|fault| fault.harm == Harm::NextReboot);
        if !reboots {
            return Err(broken(format!("{dark} devices have no way back")));
        }
    }
    // A release that kills whoever gets it: sequence and silence must keep it to the first few. A person here lets every
    // hold go on after a quarter of an hour, which is more than anybody would.
    if let Some(fault) = &scenario.fault
        && (fault.harm, fault.probability, fault.only.is_none()) == (Harm::Brick, 1.0, true)
        && let Rule::Staffel(ours) = &scenario.policies[0].rule
        && ours.unit == Unit::Device
        && outcome.bricked > 32
    {
        return Err(broken(format!("{} devices died of what kills every device", outcome.bricked)));
    }
    Ok(comparison)
}
