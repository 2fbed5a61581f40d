//! How a rollout of the simulation begins: release, authorisation, profile. Must stay out: what happens then (`world`).

use crate::{
    random::{Kind as Draw, Streams},
    scenario::{Scenario, Staffel},
};
use staffel_core::{
    conditions::{AUTHORISATION_LIFETIME_MS, Authorisation, Unit},
    evidence::EvidenceError,
    fleet::Fleet,
    ids::{Digest, Share},
    profile::{CeilingStep, Profile},
    release::{Kind, Release, StateCompatibility},
    rollout::Rollout,
};

/// What is known of a rollout beforehand: with its log, all that it takes to have it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// 1 for the release that the scenario is about, 2 for another product's, 3 for the successor of the first.
    pub number: u64,
    /// It has the scenario's fault.
    pub faulty: bool,
    pub kind: Kind,
    /// By its place among the rollouts.
    pub supersedes: Option<usize>,
    pub at_s: u32,
}

/// The rollout before its first wave.
pub(crate) fn begin(
    scenario: &Scenario,
    ours: &Staffel,
    fleet: &Fleet,
    seed: u64,
    start: &Start,
    superseded: Option<&Rollout>,
) -> Result<Rollout, EvidenceError> {
    let profile = profile(ours);
    let digest = Digest::of(format!("release {}", start.number).as_bytes());
    let release = Release {
        name: if start.number == 2 { "other".into() } else { "release".into() },
        version: start.number.to_string(),
        sequence: start.number,
        kind: start.kind,
        security_floor: 0,
        state: StateCompatibility::None,
        digest,
    };
    let root = if start.number == 1 { seed } else { Streams::new(seed).bits(Draw::Scenario, start.number, 0) };
    let authorisation = Authorisation {
        rollout: start.number,
        release: digest,
        log_root: Digest::of(&root.to_be_bytes()),
        unit: ours.unit,
        profile: ours.profile,
        start_ms: (scenario.fleet.start_s + u64::from(start.at_s)) * 1_000,
        not_after_ms: (scenario.fleet.start_s + u64::from(start.at_s)) * 1_000 + AUTHORISATION_LIFETIME_MS,
        ceiling: ceiling(ours, &profile, fleet),
        exposure_budget: ours.budget,
        supersedes: superseded.map(|old| old.id),
        signers: 2,
    };
    let now_ms = authorisation.start_ms;
    Rollout::after(superseded, fleet, release, authorisation, profile, now_ms)
}

/// The profile that the policy names.
pub(crate) fn profile(ours: &Staffel) -> Profile {
    let mut profile = Profile::named(ours.profile);
    profile.growth_percent = ours.growth_percent.unwrap_or(profile.growth_percent);
    profile
}

/// What the releasers sign for a fleet of this size.
pub(crate) fn ceiling(ours: &Staffel, profile: &Profile, fleet: &Fleet) -> Vec<CeilingStep> {
    if !ours.ceiling {
        return vec![CeilingStep { age_ms: 0, share: Share::ALL }];
    }
    let units = match ours.unit {
        Unit::Device => fleet.devices.len(),
        Unit::Site => fleet.sites.len(),
    };
    profile.ceiling_for(units as u64)
}
