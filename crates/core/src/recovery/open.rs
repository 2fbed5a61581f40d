//! Opening incidents: after a halt, for silence, for safe mode, by hand. Must stay out: what becomes of the cases.

use super::{Awareness, Book, CaseId, Class, Concern, Event, IncidentId, Origin, Refusal};
use crate::{
    fleet::DeviceIndex,
    rollout::{Reached, Rollout},
};
use std::collections::BTreeMap;

/// Devices that one event opens cases for: a record of the log stays readable.
const AT_ONCE: usize = 5_000;
/// As the one who noticed, where no person did.
const ITSELF: &str = "staffel";

/// A device that gets a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concerned {
    pub device: DeviceIndex,
    pub why: Concern,
}

/// An incident that a person opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub class: Class,
    pub origin: Origin,
    pub aware: Awareness,
    pub why: String,
    pub devices: Vec<DeviceIndex>,
    /// Adds to this one instead.
    pub incident: Option<IncidentId>,
}

/// Names of the releases that a device ran when it was last well.
pub type Ran<'a> = &'a dyn Fn(DeviceIndex) -> Vec<String>;

/// Numbers for what is opened before it is applied.
pub(super) struct Numbers {
    pub incident: IncidentId,
    pub case: CaseId,
    /// Incidents of sites that were opened just now.
    pub at_site: BTreeMap<u32, IncidentId>,
}

impl Book {
    pub(super) fn numbers(&self) -> Numbers {
        Numbers { incident: self.next_incident(), case: self.next_case(), at_site: BTreeMap::new() }
    }

    /// One case for each device that a halted rollout reached and that is not proven healthy on it; none if it was looked
    /// through before. Costs a look at every device of the rollout, once.
    pub fn open_for_halt(&mut self, rollout: &Rollout, why: &str, at_ms: u64, ran: Ran<'_>) -> Vec<Event> {
        let id = rollout.id;
        if !self.halts_seen.insert(id) || self.of_rollout(id).is_some() {
            return Vec::new();
        }
        let open = rollout.reached().filter(|(_, how)| *how != Reached::Proven);
        let concern = |how| Concern::Rollout { rollout: id, how };
        let concerned: Vec<_> = open.map(|(device, how)| Concerned { device, why: concern(how) }).collect();
        if concerned.is_empty() {
            return Vec::new();
        }
        let mut numbers = self.numbers();
        let incident = numbers.incident;
        let aware = Awareness { at_ms, who: ITSELF.into(), source: format!("rollout {id}") };
        let origin = Origin::HaltedRollout { rollout: id };
        let opened = Event::IncidentOpened { incident, class: Class::FaultyUpdate, origin, aware, why: why.into() };
        let mut events = vec![opened];
        events.extend(cases(&mut numbers, incident, concerned, ran));
        events
    }

    /// An incident that a person opens, or devices that a person adds to one.
    pub fn open_by_hand(&self, opening: Opening, ran: Ran<'_>) -> Result<Vec<Event>, Refusal> {
        let Opening { class, origin, aware, why, mut devices, incident } = opening;
        if why.trim().is_empty() {
            return Err(Refusal::NothingSaid);
        }
        devices.sort_unstable();
        devices.dedup();
        if devices.is_empty() {
            return Err(Refusal::NoDevices);
        }
        let mut numbers = self.numbers();
        let mut events = Vec::new();
        let by = aware.who.clone();
        let id = match incident {
            Some(id) => {
                self.incident(id).ok_or(Refusal::UnknownIncident { incident: id })?;
                // A device may get a second case in an incident once the first is closed for good.
                devices.retain(|device| !self.cases_of(*device).any(|case| case.incident == id));
                if devices.is_empty() {
                    return Err(Refusal::AllHaveCases { incident: id });
                }
                id
            }
            None => {
                let incident = numbers.incident;
                events.push(Event::IncidentOpened { incident, class, origin, aware, why });
                incident
            }
        };
        let named = |device| Concerned { device, why: Concern::Named { by: by.clone() } };
        events.extend(cases(&mut numbers, id, devices.into_iter().map(named).collect(), ran));
        Ok(events)
    }

    /// Devices of a site that are in the same trouble: into the site's open incident of that kind, or a new one.
    pub(super) fn open_at_site(
        &self,
        numbers: &mut Numbers,
        origin: Origin,
        why: String,
        at_ms: u64,
        concerned: Vec<Concerned>,
        ran: Ran<'_>,
    ) -> Vec<Event> {
        let Some(site) = origin.site() else { return Vec::new() };
        let before = || self.of_site.get(&site).copied().filter(|id| self.incident(*id).is_some_and(|i| i.open() > 0));
        let mut events = Vec::new();
        let incident = match numbers.at_site.get(&site.0).copied().or_else(before) {
            Some(incident) => incident,
            None => {
                let incident = numbers.incident;
                numbers.incident += 1;
                let source = match origin {
                    Origin::SafeMode { .. } => "the device's own word",
                    _ => "missing signs of life",
                };
                let aware = Awareness { at_ms, who: ITSELF.into(), source: source.into() };
                events.push(Event::IncidentOpened { incident, class: Class::Outage, origin, aware, why });
                incident
            }
        };
        numbers.at_site.insert(site.0, incident);
        events.extend(cases(numbers, incident, concerned, ran));
        events
    }
}

/// The cases, in one event for all devices that ran the same and are concerned for the same reason.
fn cases(numbers: &mut Numbers, incident: IncidentId, concerned: Vec<Concerned>, ran: Ran<'_>) -> Vec<Event> {
    let mut alike: Vec<(Vec<String>, Concern, Vec<DeviceIndex>)> = Vec::new();
    let mut places: BTreeMap<(Vec<String>, String), usize> = BTreeMap::new();
    for Concerned { device, why } in concerned {
        let names = ran(device);
        // Reasons have no order of their own; their words tell them apart well enough to share an event.
        let key = (names.clone(), format!("{why:?}"));
        let next = alike.len();
        match places.get(&key) {
            Some(place) if alike[*place].2.len() < AT_ONCE => alike[*place].2.push(device),
            _ => {
                places.insert(key, next);
                alike.push((names, why, vec![device]));
            }
        }
    }
    let mut events = Vec::new();
    for (ran, why, devices) in alike {
        let first = numbers.case;
        numbers.case += devices.len() as CaseId;
        events.push(Event::CasesOpened { incident, first, devices, ran, why });
    }
    events
}
