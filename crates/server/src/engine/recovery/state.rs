//! The projection: the book of cases, where in the log their history stands, who the customers and sites are.

use super::sites::Place;
use crate::api::{CustomerInfo, ExpectedDevice, SiteContacts, SiteInfo};
use staffel_core::{
    fleet::DeviceIndex,
    recovery::{Book, CaseId, Event, IncidentId, Limits},
};
use std::collections::BTreeMap;

/// Positions of a case's or incident's history kept in memory; the log has them all.
const HISTORY: usize = 500;

/// By customer and site.
pub type SiteKey = (String, String);

/// Contacts and where in the log they stand, so that they can be erased when others replace them.
pub struct KeptContacts {
    pub position: u64,
    pub contacts: SiteContacts,
}

#[derive(Default)]
pub struct Recovery {
    pub book: Book,
    pub customers: BTreeMap<String, CustomerInfo>,
    pub sites: BTreeMap<SiteKey, SiteInfo>,
    pub contacts: BTreeMap<SiteKey, KeptContacts>,
    /// Expected devices that have not enrolled, by site, then name.
    pub expected: BTreeMap<SiteKey, BTreeMap<String, ExpectedDevice>>,
    /// Where in the log the events of a case stand.
    pub case_history: BTreeMap<CaseId, Vec<u64>>,
    pub incident_history: BTreeMap<IncidentId, Vec<u64>>,
    // Forgotten at a restart:
    /// The question that a device has not answered yet.
    pub asked: BTreeMap<DeviceIndex, String>,
}

impl Recovery {
    pub fn new(limits: Limits) -> Self {
        Recovery { book: Book::new(limits), ..Recovery::default() }
    }

    /// Takes an event that stands in the log at `position`.
    pub fn apply(&mut self, event: &Event, at_ms: u64, position: u64) {
        self.book.apply(event, at_ms);
        match event {
            Event::IncidentOpened { incident, .. } => keep(&mut self.incident_history, *incident, position),
            Event::CasesOpened { incident, first, devices, .. } => {
                keep(&mut self.incident_history, *incident, position);
                for case in (*first..).take(devices.len()) {
                    keep(&mut self.case_history, case, position);
                }
            }
            _ => {
                if let Some(case) = event.case() {
                    keep(&mut self.case_history, case, position);
                }
            }
        }
    }

    /// Takes a customer's data.
    pub fn placed(&mut self, place: &Place, position: u64) {
        match place {
            Place::Customer { customer } => {
                self.customers.insert(customer.tenant.clone(), customer.clone());
            }
            Place::Site { site } => {
                self.sites.insert((site.tenant.clone(), site.site.clone()), site.clone());
            }
            Place::Contacts { contacts } => {
                let key = (contacts.tenant.clone(), contacts.site.clone());
                self.contacts.insert(key, KeptContacts { position, contacts: contacts.clone() });
            }
            Place::Expected { device } => {
                let site = self.expected.entry((device.tenant.clone(), device.site.clone())).or_default();
                site.insert(device.name.clone(), device.clone());
            }
        }
    }

    /// An expected device has come.
    pub fn enrolled(&mut self, tenant: &str, site: &str, name: &str) {
        if let Some(expected) = self.expected.get_mut(&(tenant.to_string(), site.to_string())) {
            expected.remove(name);
        }
    }
}

fn keep(history: &mut BTreeMap<u64, Vec<u64>>, id: u64, position: u64) {
    let positions = history.entry(id).or_default();
    if positions.len() < HISTORY {
        positions.push(position);
    }
}
