//! `staffel bench plan`: the time of one `plan` call over a large fleet, through all waves of a rollout in which every device
//! is healthy. Must stay out: HTTP, the log, signing; only the decision is measured.

use super::{Figure, Goal, fleet::Made, percentile, report};
use anyhow::{Context as _, Result};
use staffel_core::{
    conditions::{Authorisation, Unit},
    evidence::Arm,
    fleet::{DeviceIndex, Fleet, Joining},
    ids::{Digest, Share},
    profile::{CeilingStep, Profile, ProfileName},
    release::{Kind, Release, StateCompatibility},
    rollout::{Answer, Event, Report, Rollout, Status},
};
use std::time::Instant;

/// Where the made-up time begins: Unix milliseconds.
const START_MS: u64 = 1_700_000_000_000;
/// Idle calls, and calls of each wave.
const SAMPLES: usize = 1_000;
/// Goal for one call, milliseconds.
const GOAL_MS: f64 = 1.0;

/// Arguments of `staffel bench plan`.
#[derive(clap::Args)]
pub struct Args {
    /// Devices in the fleet.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(100..=20_000_000))]
    devices: u32,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let measured = measure(args.devices)?;
    let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let of = |name: &str, times: &[u64], share: f64| Figure::new(name, milliseconds(percentile(times, share)), "ms");
    let goal = Goal::AtMost(GOAL_MS);
    let figures = [
        of("plan, nothing due, median", &measured.idle, 0.5).with(goal),
        of("plan after a device's word, median", &measured.busy, 0.5).with(goal),
        of("plan after a device's word, 99 % below", &measured.busy, 0.99),
        of("plan that opens or ends a wave, median", &measured.waves, 0.5),
        of("plan that opens or ends a wave, longest", &measured.waves, 1.0),
        Figure::new("begin a rollout (once)", measured.begin_ms, "ms"),
    ];
    let remarks = [
        format!(
            "{} devices, {} waves, {} calls after a word",
            args.devices,
            measured.waves_opened,
            measured.busy.len()
        ),
        "plan alone, in memory, one thread; the lock, the log and the signatures of a server are not in it".into(),
    ];
    report(&figures, &remarks, as_json)
}

/// Nanoseconds, sorted.
struct Measured {
    begin_ms: f64,
    idle: Vec<u64>,
    busy: Vec<u64>,
    waves: Vec<u64>,
    waves_opened: u32,
}

fn measure(devices: u32) -> Result<Measured> {
    let mut fleet = fleet_of(devices);
    let since = Instant::now();
    let rollout = Rollout::new(&fleet, release(), authorisation(), Profile::named(ProfileName::Standard), START_MS);
    let mut rollout = rollout.context("begin the rollout")?;
    let begin_ms = since.elapsed().as_secs_f64() * 1e3;
    let mut measured = Measured { begin_ms, idle: Vec::new(), busy: Vec::new(), waves: Vec::new(), waves_opened: 0 };
    let mut now = START_MS;
    // Twice as many steps as a doubling from four needs; a rollout that stands still must not keep us for ever.
    for _ in 0..2_000 {
        hear(&mut fleet, now);
        settle(&mut rollout, &mut fleet, now, &mut measured);
        if matches!(rollout.status, Status::Completed { .. } | Status::Halted { .. }) {
            break;
        }
        let treated = permits(&mut rollout, &mut fleet, now);
        if measured.idle.is_empty() {
            measured.idle = (0..SAMPLES).map(|_| timed(&mut rollout, &fleet, now).0).collect();
        }
        // What a device says on its way to health; the first ones of each wave are measured.
        for (at, device) in treated.iter().enumerate() {
            for word in [Report::OnTrial, Report::Committed] {
                let (events, _) = rollout.report(&fleet, *device, &word, now);
                apply(&mut rollout, &mut fleet, events, now);
                if at < SAMPLES / 2 {
                    let (time, actions) = timed(&mut rollout, &fleet, now);
                    if actions.is_empty() {
                        measured.busy.push(time);
                    }
                }
            }
        }
        now += rollout.profile.cadence_ms;
    }
    measured.waves_opened = rollout.wave;
    for times in [&mut measured.idle, &mut measured.busy, &mut measured.waves] {
        times.sort_unstable();
    }
    Ok(measured)
}

/// Plans and applies until nothing is left to do now.
fn settle(rollout: &mut Rollout, fleet: &mut Fleet, now: u64, measured: &mut Measured) {
    loop {
        let (time, actions) = timed(rollout, fleet, now);
        if actions.is_empty() {
            return;
        }
        if actions.iter().any(|event| matches!(event, Event::WaveOpened { .. } | Event::WaveResolved { .. })) {
            measured.waves.push(time);
        }
        apply(rollout, fleet, actions, now);
    }
}

fn timed(rollout: &mut Rollout, fleet: &Fleet, now: u64) -> (u64, Vec<Event>) {
    let since = Instant::now();
    let plan = std::hint::black_box(rollout.plan(fleet, now));
    let time = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    (time, plan.actions)
}

fn apply(rollout: &mut Rollout, fleet: &mut Fleet, events: Vec<Event>, now: u64) {
    for event in events {
        rollout.apply(fleet, &event, now);
    }
}

/// Everybody who may have a permit asks for it; answers those who were treated just now.
fn permits(rollout: &mut Rollout, fleet: &mut Fleet, now: u64) -> Vec<DeviceIndex> {
    let mut treated = Vec::new();
    for device in 0..fleet.devices.len() as DeviceIndex {
        let (events, answer) = rollout.report(fleet, device, &Report::Ready, now);
        if let Some(Answer::Permit { arm: Arm::Treated, event: Some(_) }) = answer {
            treated.push(device);
        }
        apply(rollout, fleet, events, now);
    }
    treated
}

fn hear(fleet: &mut Fleet, now: u64) {
    for device in 0..fleet.devices.len() as DeviceIndex {
        fleet.heard(device, now);
    }
}

/// The made-up fleet.
pub fn fleet_of(devices: u32) -> Fleet {
    let mut fleet = Fleet::default();
    for number in 0..devices {
        let made = Made::device(number);
        fleet.join(&Joining {
            id: made.id,
            name: &made.name,
            tenant: &made.tenant,
            site: &made.site,
            os_build: &made.os_build,
            hardware_model: &made.hardware_model,
            stratum: &made.stratum(),
        });
    }
    fleet
}

fn release() -> Release {
    Release {
        name: "till".into(),
        version: "2".into(),
        sequence: 2,
        kind: Kind::Component,
        security_floor: 0,
        state: StateCompatibility::None,
        digest: Digest::of(b"till 2"),
    }
}

fn authorisation() -> Authorisation {
    Authorisation {
        rollout: 1,
        release: release().digest,
        log_root: Digest::of(b"root"),
        unit: Unit::Device,
        profile: ProfileName::Standard,
        start_ms: START_MS,
        not_after_ms: START_MS + 14 * 24 * 3_600_000,
        // The ceiling would only add waiting; deciding costs the same below it.
        ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
        exposure_budget: None,
        supersedes: None,
        signers: 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rollout_that_is_measured_goes_through_its_waves() {
        let measured = measure(2_000).unwrap();
        assert!(measured.waves_opened >= 5, "{} waves", measured.waves_opened);
        assert_eq!(measured.idle.len(), SAMPLES);
        assert!(measured.busy.len() >= SAMPLES && measured.waves.len() >= 2 * 5);
    }
}
