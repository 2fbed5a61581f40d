//! How long a decision takes in a fleet of 1,000,000 devices, and how much memory a device costs. Prints, judges nothing.
//!
//! `cargo run -p staffel-core --example bench_plan [devices]`
#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock; the code that it measures does not")]

use staffel_core::{
    conditions::{Authorisation, Unit},
    fleet::{Fleet, Joining},
    ids::{DeviceId, Digest, Share},
    profile::{CeilingStep, Profile, ProfileName},
    release::{Kind, Release, StateCompatibility},
    rollout::{Answer, Event, Report, Rollout},
};
use std::time::Instant;

const START_MS: u64 = 1_700_000_000_000;

fn main() {
    let devices: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let empty = resident_bytes();
    let mut fleet = fleet(devices);
    let with_fleet = resident_bytes();
    let started = Instant::now();
    let mut rollout = rollout(&fleet);
    println!("{devices} devices: a rollout is laid out in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    let with_rollout = resident_bytes();
    println!(
        "memory: {} bytes a device for the fleet, {} for the rollout",
        with_fleet.saturating_sub(empty) / devices as u64,
        with_rollout.saturating_sub(with_fleet) / devices as u64
    );

    let mut now_ms = START_MS + 1_000;
    (0..devices as u32).for_each(|device| fleet.heard(device, now_ms));
    for wave in 1..=24 {
        now_ms += 1_000;
        let started = Instant::now();
        let plan = rollout.plan(&fleet, now_ms);
        let planned = started.elapsed();
        let started = Instant::now();
        apply(&mut rollout, &mut fleet, plan.actions, now_ms);
        let opened = started.elapsed();
        let idle = idle_micros(&mut rollout, &fleet, now_ms);
        let treated = serve(&mut rollout, &mut fleet, devices, now_ms);
        let started = Instant::now();
        let open = rollout.plan(&fleet, now_ms);
        let resolving = started.elapsed();
        apply(&mut rollout, &mut fleet, open.actions, now_ms);
        println!(
            "wave {wave}: {treated} treated; plan the opening {:.2} ms, apply it {:.2} ms, idle {idle:.2} us, resolve {:.2} ms",
            planned.as_secs_f64() * 1e3,
            opened.as_secs_f64() * 1e3,
            resolving.as_secs_f64() * 1e3
        );
        if treated == 0 {
            break;
        }
    }
    println!("the end: {}", rollout.waiting_on(&fleet, now_ms));

    let started = Instant::now();
    let kept = resident_bytes().saturating_sub(empty) / devices as u64;
    println!(
        "memory at the end: {kept} bytes a device for both ({:.0} ms to look)",
        started.elapsed().as_secs_f64() * 1e3
    );
    frozen(devices);
}

/// A fleet in which nobody may go: the most that a look for a next wave can cost.
fn frozen(devices: usize) {
    let mut fleet = fleet(devices);
    for tenant in &mut fleet.tenants {
        tenant.policy.defer_ms = 3_600_000;
    }
    let mut rollout = rollout(&fleet);
    let started = Instant::now();
    rollout.plan(&fleet, START_MS + 1_000);
    let looked = started.elapsed();
    let idle = idle_micros(&mut rollout, &fleet, START_MS + 1_001);
    println!(
        "all deferred: one look a cadence costs {:.1} ms, the calls between {idle:.2} us",
        looked.as_secs_f64() * 1e3
    );
}

fn idle_micros(rollout: &mut Rollout, fleet: &Fleet, now_ms: u64) -> f64 {
    const CALLS: u32 = 1_000;
    let started = Instant::now();
    for _ in 0..CALLS {
        std::hint::black_box(rollout.plan(fleet, now_ms));
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}

/// Every device asks; who may, changes and is well.
fn serve(rollout: &mut Rollout, fleet: &mut Fleet, devices: usize, now_ms: u64) -> u64 {
    let before = rollout.counts.exposed_ever;
    for device in 0..devices as u32 {
        let (events, answer) = rollout.report(fleet, device, &Report::Ready, now_ms);
        apply(rollout, fleet, events, now_ms);
        if let Some(Answer::Permit { .. }) = answer {
            for report in [Report::OnTrial, Report::Committed] {
                let (events, _) = rollout.report(fleet, device, &report, now_ms);
                apply(rollout, fleet, events, now_ms);
            }
        }
    }
    rollout.counts.exposed_ever - before
}

fn apply(rollout: &mut Rollout, fleet: &mut Fleet, events: Vec<Event>, now_ms: u64) {
    for event in events {
        rollout.apply(fleet, &event, now_ms);
    }
}

fn fleet(devices: usize) -> Fleet {
    let mut fleet = Fleet::default();
    for number in 0..devices as u64 {
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(&number.to_be_bytes()).0[..16]);
        let (build, model) = (format!("build-{}", number % 5), format!("model-{}", number % 8));
        fleet.join(&Joining {
            id: DeviceId(id),
            name: &format!("device-{number}"),
            tenant: &format!("tenant-{}", number % 1_000),
            site: &format!("site-{}", number / 1_000 % 20),
            os_build: &build,
            hardware_model: &model,
            stratum: &format!("{build}/{model}"),
        });
    }
    fleet
}

fn rollout(fleet: &Fleet) -> Rollout {
    let release = Release {
        name: "sensor".into(),
        version: "1".into(),
        sequence: 1,
        kind: Kind::Content,
        security_floor: 0,
        state: StateCompatibility::None,
        digest: Digest::of(b"sensor 1"),
    };
    let profile = Profile::named(ProfileName::Urgent);
    let authorisation = Authorisation {
        rollout: 1,
        release: release.digest,
        log_root: Digest::of(b"root"),
        unit: Unit::Device,
        profile: profile.name,
        start_ms: START_MS,
        not_after_ms: START_MS + 86_400_000,
        ceiling: vec![CeilingStep { age_ms: 0, share: Share::ALL }],
        exposure_budget: None,
        supersedes: None,
        signers: 2,
    };
    Rollout::new(fleet, release, authorisation, profile, START_MS).expect("the standard weights are in order")
}

/// What the kernel says that this process holds; 0 where it does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}
