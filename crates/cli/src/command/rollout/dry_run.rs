//! `staffel rollout start --dry-run`: what a release would do to this fleet, before anybody signs anything. The server says how
//! the fleet is made up, in numbers; the same decisions as in production run against a model of it. Must stay out: the model
//! and the questions, which are `staffel-sim`'s.

use super::authorise::Terms;
use crate::{
    command::sim::study,
    output::{Failure, json, table},
};
use anyhow::{Context as _, Result};
use serde::Serialize;
use staffel_core::conditions::{Authorisation, Unit};
use staffel_server::api::{FleetShape, NextRollout};
use staffel_sim::{FleetSpec, MOST_DEVICES, Outcome, Shares, Staffel, number, questions, time};
use staffel_statement::{
    Envelope,
    predicate::{Release, read},
};

/// Seed of the first run; the others follow it, so that the same fleet gives the same answer.
const SEED: u64 = 1;

/// One question and what came of it.
#[derive(Serialize)]
struct Answer {
    /// If the release ...
    release: &'static str,
    /// Mean and largest number of devices that got it.
    exposed: f64,
    exposed_most: u64,
    bricked: f64,
    /// Runs that were halted, that were held at the end, that were completed.
    halted: usize,
    held: usize,
    completed: usize,
    /// Mean times, seconds.
    halted_after_s: Option<u32>,
    completed_after_s: Option<u32>,
}

/// Runs it.
pub fn run(release: &Envelope, terms: &Terms, next: &NextRollout, runs: u32, as_json: bool) -> Result<()> {
    let bytes = release.payload().context("read the release")?;
    let release: Release = read(&bytes).context("read the release")?;
    let terms = terms.authorise(staffel_core::ids::Digest::of(&bytes), next).body;
    let fleet = model(&next.fleet)?;
    if !as_json {
        println!(
            "dry run of {} {} on {} devices of {} customers, {} OS builds, {} hardware models: {runs} simulated rollouts for \
             each question, seeds from {SEED} on\n",
            release.name,
            release.version,
            number(next.fleet.devices),
            next.fleet.customers.len(),
            next.fleet.os_builds.len(),
            next.fleet.hardware_models.len(),
        );
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = |run: u32| questions(&fleet, release.kind, &policy(&terms), SEED + u64::from(run));
    let all: Vec<_> = (0..runs).flat_map(asked).collect();
    let words: Vec<&'static str> = all.iter().map(|(words, _)| *words).collect();
    let outcomes = study::all(all.into_iter().map(|(_, scenario)| scenario).collect(), jobs, "dry run", as_json)?;
    let mut questions = words.clone();
    questions.truncate(words.len() / runs.max(1) as usize);
    let of = |question: &'static str| {
        let outcomes: Vec<&Outcome> =
            words.iter().zip(&outcomes).filter(|(w, _)| **w == question).map(|(_, o)| o).collect();
        answer(question, &outcomes)
    };
    let answers: Vec<Answer> = questions.into_iter().map(of).collect();
    if as_json {
        let profile = terms.profile;
        return json(&serde_json::json!({ "fleet": next.fleet, "profile": profile, "runs": runs, "answers": answers }));
    }
    print!("{}", table(&["IF THE RELEASE", "GOT IT", "AT MOST", "DIED", "STOPPED", "COMPLETED"], &rows(&answers)));
    println!(
        "\nProfile {}, nobody answers a hold of a bad release. Ordinary silence is taken to be 1 in 1,000.",
        format!("{:?}", terms.profile).to_lowercase()
    );
    Ok(())
}

fn model(shape: &FleetShape) -> Result<FleetSpec> {
    if shape.devices == 0 {
        let hint = "enrol devices first, or ask as somebody who sees all customers";
        return Err(Failure::refused("this server has no devices to simulate", hint).into());
    }
    if shape.devices > MOST_DEVICES {
        let what = format!("{} devices are more than the simulator takes ({MOST_DEVICES})", shape.devices);
        return Err(Failure::refused(what, "use a scenario with fewer devices: `staffel sim run`").into());
    }
    Ok(FleetSpec {
        devices: shape.devices as u32,
        customers: shape.customers.len() as u32,
        devices_per_site: (shape.devices / shape.sites.max(1)).max(1) as u32,
        os_builds: shape.os_builds.len() as u32,
        hardware_models: shape.hardware_models.len() as u32,
        silent: 0.001,
        shares: Some(Shares {
            customers: shape.customers.clone(),
            os_builds: shape.os_builds.clone(),
            hardware_models: shape.hardware_models.clone(),
        }),
        ..FleetSpec::default()
    })
}

fn policy(terms: &Authorisation) -> Staffel {
    let unit = if terms.unit == Unit::Site { Unit::Site } else { Unit::Device };
    Staffel { profile: terms.profile, unit, budget: terms.exposure_budget, ..Staffel::default() }
}

fn answer(release: &'static str, outcomes: &[&Outcome]) -> Answer {
    let mean = |figures: Vec<f64>| (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64);
    let of = |which: fn(&Outcome) -> Option<u32>| {
        let times: Vec<f64> = outcomes.iter().filter_map(|outcome| which(outcome).map(f64::from)).collect();
        (times.len(), mean(times).map(|seconds| seconds as u32))
    };
    let (halted, halted_after_s) = of(|outcome| outcome.halted_after_s);
    let (completed, completed_after_s) = of(|outcome| outcome.completed_after_s);
    Answer {
        release,
        exposed: mean(outcomes.iter().map(|outcome| outcome.exposed as f64).collect()).unwrap_or(0.0),
        exposed_most: outcomes.iter().map(|outcome| outcome.exposed).max().unwrap_or(0),
        bricked: mean(outcomes.iter().map(|outcome| outcome.bricked as f64).collect()).unwrap_or(0.0),
        halted,
        held: outcomes.len() - halted - completed,
        completed,
        halted_after_s,
        completed_after_s,
    }
}

fn rows(answers: &[Answer]) -> Vec<Vec<String>> {
    let row = |answer: &Answer| {
        let stopped = match (answer.halted, answer.held, answer.halted_after_s) {
            (0, 0, _) | (0, _, Some(_)) => "-".into(),
            (0, held, None) => format!("held {held}x"),
            (halted, 0, after) => format!("halted {halted}x after {}", time(after.unwrap_or(0))),
            (halted, held, after) => format!("halted {halted}x after {}, held {held}x", time(after.unwrap_or(0))),
        };
        let completed =
            answer.completed_after_s.map_or("-".into(), |after| format!("{}x after {}", answer.completed, time(after)));
        vec![
            answer.release.to_string(),
            format!("{:.1}", answer.exposed),
            number(answer.exposed_most),
            format!("{:.1}", answer.bricked),
            stopped,
            completed,
        ]
    };
    answers.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_asked_about_and_a_bad_release_is_told_from_a_good_one() {
        let shape = FleetShape {
            devices: 300,
            sites: 20,
            customers: vec![200, 90, 10],
            os_builds: vec![250, 50],
            hardware_models: vec![300],
        };
        let fleet = model(&shape).unwrap();
        let mut ours = Staffel { profile: staffel_core::profile::ProfileName::Urgent, ..Staffel::default() };
        ours.budget = Some(20);
        let asked = questions(&fleet, staffel_core::release::Kind::Content, &ours, 3);
        let outcomes: Vec<_> =
            asked.iter().map(|(words, scenario)| (*words, staffel_sim::play(scenario).unwrap())).collect();
        let of = |words: &str| outcomes.iter().find(|(w, _)| *w == words).map(|(_, outcome)| outcome).unwrap();
        assert_eq!((of("is well").exposed, of("is well").halted_after_s), (300, None));
        assert!(of("kills every device").exposed <= 4, "{:?}", of("kills every device"));
        let rows = rows(&[answer("is well", &[of("is well")]), answer("dies", &[of("kills every device")])]);
        assert!(rows[0][5].starts_with("1x after") && rows[1][4] != "-", "{rows:?}");
    }

    #[test]
    fn an_empty_fleet_is_refused_with_what_to_do() {
        assert!(model(&FleetShape::default()).unwrap_err().to_string().contains("no devices"));
    }
}
