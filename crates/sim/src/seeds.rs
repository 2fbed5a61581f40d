//! Small random scenarios: in each of them, what must hold has to hold, and what is healthy has to arrive. Must stay out:
//! choosing seeds, printing (`staffel sim seeds`).

use crate::{
    compare,
    outcome::{Comparison, Outcome},
    random::{Kind, Streams},
    scenario::{Fault, FleetSpec, Harm, Outage, Policy, Rule, Scenario, Second, ServerFaults, Staffel, Thief},
    world::SimError,
};
use staffel_core::{
    conditions::Unit,
    profile::{Profile, ProfileName, ceiling_at},
    release::Kind as ReleaseKind,
};

const DAY_S: u32 = 86_400;

/// The scenario of a seed: up to 1,500 devices, one of our profiles, and whatever faults of release, machines, server and
/// network the seed brings.
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
        silent: [0.0, 0.0, 0.001, 0.01][draw(4) as usize],
        silent_for_s: 600 + draw(7_200) as u32,
        night_off: [0.0, 0.0, 0.3][draw(3) as usize],
        time_zones: 1 + draw(5) as u32,
        slow: [0.0, 0.1][draw(2) as usize],
        start_s: 1_700_000_000 + draw(7 * u64::from(DAY_S)),
        late: [0.0, 0.0, 0.05][draw(3) as usize],
        late_within_s: 3_600 + draw(2 * u64::from(DAY_S)) as u32,
        away: [0.0, 0.0, 0.0, 0.05][draw(4) as usize],
        away_for_s: 3_600 + draw(2 * u64::from(DAY_S)) as u32,
        cloned: [0.0, 0.0, 0.01][draw(3) as usize],
        lag_s: [0, 0, 600][draw(3) as usize],
        ..FleetSpec::default()
    };
    use Harm::*;
    let harms = [Brick, Brick, Brick, NextReboot, CleanReboot, Leak, Reported, CutOff];
    let fault = (draw(3) > 0).then(|| Fault {
        harm: harms[draw(8) as usize],
        probability: [1.0, 0.3, 0.05][draw(3) as usize],
        only: (draw(4) == 0).then(|| format!("os-{}", draw(u64::from(fleet.os_builds)))),
        guard_helps: draw(2) == 0,
        within_s: 3_600,
    });
    let outage =
        (draw(6) == 0).then(|| Outage { sites: 0.5, from_s: draw(3_600) as u32, for_s: 300 + draw(3_600) as u32 });
    let server = (draw(3) == 0).then(|| ServerFaults {
        crashes: 1 + draw(8) as u32,
        within_s: 1_800 + draw(7_200) as u32,
        away_s: [5, 60, 900][draw(3) as usize],
        lost: [0.0, 0.0, 0.02][draw(3) as usize],
        repeated: [0.0, 0.05][draw(2) as usize],
        two_controllers: draw(2) == 0,
        // Devices in flight at the moment of a backup look silent after it: see the scenario `restored-backup`.
        restored_s: None,
        backup_age_s: 0,
    });
    let second = (draw(5) == 0).then(|| Second { after_s: draw(3_600) as u32, kind: ReleaseKind::Component });
    let profile = [ProfileName::Urgent, ProfileName::Urgent, ProfileName::Standard][draw(3) as usize];
    let ours = Staffel {
        profile,
        unit: if site_servers { Unit::Site } else { Unit::Device },
        ceiling: draw(2) == 0,
        growth_percent: None,
        budget: (draw(4) == 0).then(|| 1 + draw(40) as u32),
        resume_after_s: Some(900),
        fix_after_s: (draw(4) == 0).then_some(1_800),
    };
    let rule = match draw(20) {
        0 => Rule::StolenKey(Thief { profile, poll_s: 60, halted_after_s: draw(4_000) as u32 }),
        _ => Rule::Staffel(ours),
    };
    Scenario {
        name: format!("seed-{seed}"),
        why: "Made up from its seed.".into(),
        seed,
        horizon_s: 14 * DAY_S - 3_600,
        fleet,
        kind: if draw(2) == 0 { ReleaseKind::Content } else { ReleaseKind::Component },
        fault,
        outage,
        server,
        second,
        policies: vec![Policy { name: "ours".into(), rule }],
    }
}

/// Plays the scenario of a seed: what `core` must never do, and whether it gets anywhere.
pub fn check_seed(seed: u64) -> Result<Comparison, SimError> {
    let scenario = random_scenario(seed);
    let comparison = compare(&scenario, seed, &mut |_| {})?;
    let outcome = &comparison.policies[0];
    let checked = match &scenario.policies[0].rule {
        Rule::Staffel(ours) => check_ours(&scenario, ours, outcome),
        Rule::StolenKey(thief) => check_thief(&scenario, thief, outcome),
        Rule::Peer(_) => Ok(()),
    };
    checked.map_err(|what| SimError::Broken { policy: outcome.name.clone(), at_s: 0, what })?;
    Ok(comparison)
}

fn check_ours(scenario: &Scenario, ours: &Staffel, outcome: &Outcome) -> Result<(), String> {
    let fleet = &scenario.fleet;
    if outcome.halted_after_s.is_none() && outcome.completed_after_s.is_none() && !outcome.needs_a_person {
        return Err(format!("it never ends: {}", outcome.verdict));
    }
    // Ordinary silence may halt a small fleet's second release as well: that costs a click, and is no fault.
    let messages = scenario.server.is_none_or(|server| (server.lost, server.restored_s) == (0.0, None));
    let always_on = fleet.night_off == 0.0 && fleet.away == 0.0 && scenario.outage.is_none();
    let quiet = fleet.silent == 0.0 && always_on && messages;
    if quiet && ours.fix_after_s.is_some() && outcome.halted_after_s.is_some() && outcome.completed_after_s.is_none() {
        return Err(format!("the release that mends it never arrives: {}", outcome.verdict));
    }
    if quiet && scenario.fault.is_none() && outcome.completed_after_s.is_none() {
        return Err(format!("nothing is wrong, and it is not completed: {}", outcome.verdict));
    }
    let Some(fault) = &scenario.fault else { return Ok(()) };
    let dark = outcome.bricked - outcome.recovered;
    let later = matches!(fault.harm, Harm::NextReboot | Harm::CleanReboot | Harm::Leak);
    if dark > 0 && scenario.horizon_s > 13 * DAY_S && fault.guard_helps && !later {
        return Err(format!("{dark} devices have no way back"));
    }
    // A release that kills whoever gets it: sequence and silence must keep it to the first few. A person here lets every
    // hold go on after a quarter of an hour, which is more than anybody would.
    let kills_everybody = (fault.harm, fault.probability, fault.only.is_none()) == (Harm::Brick, 1.0, true);
    let forgets = scenario.server.is_some_and(|server| server.restored_s.is_some());
    if kills_everybody && ours.unit == Unit::Device && !forgets && outcome.bricked > MOST_DEAD {
        return Err(format!("{} devices died of what kills every device", outcome.bricked));
    }
    Ok(())
}

/// So many die at most of a release that kills every device, however often a person lets it go on.
const MOST_DEAD: u64 = 32;

/// The devices' own ceiling is all that stands against a stolen key: nobody above it goes.
fn check_thief(scenario: &Scenario, thief: &Thief, outcome: &Outcome) -> Result<(), String> {
    let fleet = &scenario.fleet;
    let ceiling = Profile::named(thief.profile).ceiling_for(u64::from(fleet.devices));
    let share = ceiling_at(&ceiling, u64::from(thief.halted_after_s) * 1_000);
    let allowed = f64::from(fleet.devices) * f64::from(share.0) / 1e9;
    // Positions are hashes: five standard deviations more than the share says.
    let most = allowed + 5.0 * libm::sqrt(allowed) + 1.0;
    if outcome.exposed as f64 > most {
        return Err(format!("{} devices took it, the ceiling let about {allowed:.0} of them go", outcome.exposed));
    }
    Ok(())
}
