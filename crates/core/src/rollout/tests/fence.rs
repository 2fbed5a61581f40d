//! Who is fenced, and who halts everybody: customers whose devices die, with the counts of a rollout set by hand.

use super::*;
use crate::{
    evidence::{Arm, Metric, RiskSet},
    profile::{Profile, ProfileName},
    release::Kind,
    rollout::{Event, HoldReason, Rollout},
};
use world::START_MS;

/// What is decided in a fleet of so many equal customers once twelve devices of the guilty ones died, in turn.
fn decided(customers: u32, guilty: &[u32], change: impl FnOnce(&mut Rollout)) -> Vec<Event> {
    let fleet = fleet_of(1_000, customers as usize, 25, 1);
    let profile = Profile::named(ProfileName::Urgent);
    let authorisation = authorisation(1, 1, &profile);
    let mut rollout = Rollout::new(&fleet, release(1, Kind::Component), authorisation, profile, START_MS).unwrap();
    rollout.exposed_units = 100;
    rollout.exposed_of = (0..customers).map(|customer| (customer, u64::from(100 / customers))).collect();
    change(&mut rollout);
    for (death, customer) in guilty.iter().cycle().take(12).enumerate() {
        let unit = rollout.unit(*customer).unwrap();
        let values = rollout.values(&fleet, unit);
        let risk = RiskSet { treated: 100 - death as u64, control: 800 };
        rollout.evidence.observe(Metric::FirstCheckInMissed, Arm::Treated, &values, risk).unwrap();
    }
    assert!(rollout.ln_e() > rollout.ln_limits().1, "enough to halt: {}", rollout.ln_e());
    rollout.plan(&fleet, START_MS).actions
}

fn is_halted(events: &[Event]) -> bool {
    matches!(events, [Event::Halted { .. }])
}

#[test]
fn the_customer_that_brought_the_evidence_is_fenced_and_the_rest_held() {
    let events = decided(10, &[3], |_| {});
    let [Event::Fenced { tenant: 3 }, Event::Held { reason: HoldReason::OneCustomer { tenant, .. } }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(tenant, "tenant-3");
}

#[test]
fn evidence_of_several_customers_halts() {
    assert!(is_halted(&decided(10, &[3, 4], |_| {})));
}

#[test]
fn a_customer_that_had_most_of_the_release_halts() {
    let most = |units: u64| move |rollout: &mut Rollout| _ = rollout.exposed_of.insert(3, units);
    // Half of those that had it: the others had it as often. One more, and their silence says nothing.
    assert!(!is_halted(&decided(10, &[3], most(50))));
    assert!(is_halted(&decided(10, &[3], most(51))));
}

#[test]
fn a_customer_that_is_the_fleet_halts() {
    assert!(is_halted(&decided(1, &[0], |rollout| _ = rollout.exposed_of.insert(0, 0))));
}

#[test]
fn a_second_customer_is_not_fenced() {
    assert!(is_halted(&decided(10, &[3], |rollout| _ = rollout.fenced.insert(5))));
}

#[test]
fn a_fenced_customer_stops_nobody_again() {
    assert_eq!(decided(10, &[3], |rollout| _ = rollout.fenced.insert(3)), []);
}
