//! The fleet simulator: what happens if this update bricks machines, before anyone publishes it.
//!
//! A deterministic model of machines, networks and faults around the production code of `core`: rollouts are planned,
//! reported to and applied by `core`, and machines come back by `core`'s boot machine. Nothing here decides; rules of others
//! (`peer`) are there for comparison only. The same seed gives the same bytes.
//!
//! Read `scenario` for what can be asked, `world` for the loop, `member` for what a device does, `model` for the machines,
//! `seeds` for random scenarios. Must stay out: files, clocks, threads, printing (`staffel sim` does that), and any crate of
//! ours but `core`.

mod begin;
mod chart;
mod faults;
mod member;
mod model;
mod oracle;
mod outcome;
mod peer;
mod random;
mod scenario;
mod seeds;
mod study;
mod text;
mod thief;
mod way_back;
mod world;

pub use chart::{ChartError, png, svg};
pub use outcome::{Comparison, Outcome, Point, head, number, time};
pub use scenario::{
    Amount, Fault, FleetSpec, Harm, MOST_DEVICES, MOST_WITH_FAULTS, Outage, Pace, Peer, Policy, Rule, Scenario, Second,
    ServerFaults, Shares, Staffel, Thief,
};
pub use seeds::{check_seed, random_scenario};
pub use study::{BRICKED, Cell, SILENT, healthy, ordinary, play, questions};
pub use text::ScenarioError;
pub use world::{Progress, SimError, Watcher};

use model::Model;
use staffel_core::fleet::Fleet;
use world::World;

/// Plays all policies of a scenario, each on the same fleet as it was before.
///
/// Fails if `core` broke one of its invariants, or if a rollout could not begin.
pub fn compare(scenario: &Scenario, seed: u64, watcher: &mut Watcher<'_>) -> Result<Comparison, SimError> {
    let model = Model::new(scenario, seed);
    let mut fleet = model.fleet();
    let mut policies = Vec::with_capacity(scenario.policies.len());
    for policy in &scenario.policies {
        let outcome = match &policy.rule {
            Rule::Peer(peer) => peer::run(scenario, &policy.name, peer, &model, &fleet),
            Rule::StolenKey(thief) => thief::run(scenario, &policy.name, thief, &model, &fleet, seed),
            Rule::Staffel(ours) => {
                let world = World::new(scenario, &policy.name, ours, &model, &mut fleet, seed)?;
                let outcome = world.run(watcher)?;
                forget(&mut fleet, model.present());
                outcome
            }
        };
        policies.push(outcome);
    }
    Ok(Comparison { scenario: scenario.name.clone(), seed, devices: scenario.fleet.devices, policies })
}

/// The fleet as it was before a rollout. At 8.5 million devices a second copy would not fit.
fn forget(fleet: &mut Fleet, present: u32) {
    for device in 0..fleet.devices.len() as u32 {
        fleet.is_back(device);
        let row = &mut fleet.devices[device as usize];
        (row.member_of, row.last_seen_ms, row.cloned) = (0, 0, false);
    }
    for joined in fleet.devices.drain(present as usize..) {
        fleet.tenants[fleet.sites[joined.site as usize].tenant as usize].devices -= 1;
    }
    fleet.completed.clear();
}
