//! Customers, sites, how to reach them, and importing them: all of an import or nothing. Contacts are records of their own;
//! when others replace them, the old ones are erased from the log.

use super::super::{Engine, EngineError, device::check_name, digest_of, now_ms, record::Record, state::State};
use crate::api::{
    Caller, CustomerInfo, DeviceToken, ExpectedDevice, Import, Imported, SiteContacts, SiteInfo, SiteView, WrongRow,
};
use serde::{Deserialize, Serialize};
use staffel_core::recovery::{Channel, State as CaseState};
use staffel_store::Log as _;
use std::collections::{BTreeMap, BTreeSet};

const DEFAULT_TOKEN_HOURS: u64 = 24 * 14;
const MAX_TOKEN_HOURS: u64 = 24 * 90;
/// Ways to reach one site.
const MAX_CHANNELS: usize = 16;
/// Bytes of one field.
const MAX_FIELD: usize = 300;

/// A customer's data, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum Place {
    Customer {
        customer: CustomerInfo,
    },
    Site {
        site: SiteInfo,
    },
    /// Personal: erased from the log once others replace them.
    Contacts {
        contacts: SiteContacts,
    },
    /// A device that is to enrol.
    Expected {
        device: ExpectedDevice,
    },
}

impl Engine {
    /// Checks an import and, if every row is good, records it.
    pub async fn import(&self, who: &Caller, import: Import) -> Result<Imported, EngineError> {
        let now = now_ms();
        let hours = import.token_hours.unwrap_or(DEFAULT_TOKEN_HOURS).clamp(1, MAX_TOKEN_HOURS);
        let expires_ms = now + hours * 3_600_000;
        let dry_run = import.dry_run;
        let (imported, old, pending) = {
            let mut state = self.state();
            let wrong = wrong_rows(&state, who, &import);
            if !wrong.is_empty() {
                return Ok(Imported { wrong, ..Imported::default() });
            }
            let (mut imported, places) = changes(&state, import);
            if dry_run || places.is_empty() {
                return Ok(imported);
            }
            let mut records = Vec::new();
            let mut old = Vec::new();
            for place in places {
                if let Place::Contacts { contacts } = &place
                    && let Some(kept) = state.recovery.contacts.get(&(contacts.tenant.clone(), contacts.site.clone()))
                {
                    old.push(kept.position);
                }
                if let Place::Expected { device } = &place {
                    let token = new_token()?;
                    records.push(Record::TokenIssued {
                        token: digest_of(&token),
                        tenant: device.tenant.clone(),
                        site: device.site.clone(),
                        expires_ms,
                        by: who.name.clone(),
                    });
                    let ExpectedDevice { tenant, site, name } = device.clone();
                    imported.tokens.push(DeviceToken { tenant, site, name, token, expires_ms });
                }
                records.push(Record::Place { place, by: who.name.clone() });
            }
            let pending = self.commit(&mut state, &records, now)?;
            (imported, old, pending)
        };
        self.durable(pending).await?;
        self.erase(old).await;
        Ok(imported)
    }

    /// Contacts that were replaced are nobody's business any more; what can't be erased now is said and stays.
    async fn erase(&self, positions: Vec<u64>) {
        if positions.is_empty() {
            return;
        }
        let engine = self.clone();
        let erased = tokio::task::spawn_blocking(move || {
            for position in positions {
                if let Err(error) = engine.0.log.erase(position) {
                    tracing::warn!(position, error = super::super::chain(&error), "old contacts could not be erased");
                }
            }
        });
        let _ = erased.await;
    }

    /// All sites that are known, by customer and name.
    pub fn sites(&self, who: &Caller) -> Vec<SiteView> {
        let state = self.state();
        let seen = |tenant: &str| who.tenant.as_deref().is_none_or(|own| own == tenant);
        let recovery = &state.recovery;
        let mut keys: BTreeSet<(String, String)> = recovery.sites.keys().cloned().collect();
        keys.extend(recovery.contacts.keys().cloned());
        keys.extend(recovery.expected.iter().filter(|(_, devices)| !devices.is_empty()).map(|(key, _)| key.clone()));
        for site in &state.fleet.sites {
            keys.insert((state.fleet.tenants[site.tenant as usize].name.clone(), site.name.clone()));
        }
        keys.into_iter().filter(|(tenant, _)| seen(tenant)).map(|key| view(&state, &key)).collect()
    }

    /// One site.
    pub fn site(&self, who: &Caller, tenant: &str, site: &str) -> Result<SiteView, EngineError> {
        let found = self.sites(who).into_iter().find(|view| view.tenant == tenant && view.site == site);
        found.ok_or_else(|| EngineError::NotFound { what: format!("site {tenant}/{site}") })
    }
}

fn view(state: &State, key: &(String, String)) -> SiteView {
    let recovery = &state.recovery;
    let (tenant, site) = key;
    let info = recovery.sites.get(key);
    let customer = recovery.customers.get(tenant);
    let kept = recovery.contacts.get(key).map(|kept| &kept.contacts);
    let members = state.fleet.find_site(tenant, site).map_or(&[][..], |site| recovery.book.members(site));
    let open = |device: &u32| recovery.book.cases_of(*device).filter(|case| case.state != CaseState::Closed).count();
    SiteView {
        tenant: tenant.clone(),
        site: site.clone(),
        full_name: customer.map(|customer| customer.full_name.clone()),
        address: info.map(|info| info.address.clone()).filter(|address| !address.is_empty()),
        language: language(state, key),
        platform: info.map(|info| info.platform),
        segment: info.map(|info| info.segment),
        channels: kept.map(|contacts| contacts.channels.clone()).unwrap_or_default(),
        verified: kept.map(|contacts| contacts.verified.clone()).filter(|day| !day.is_empty()),
        devices: members.len() as u64,
        expected: recovery.expected.get(key).map(|devices| devices.keys().cloned().collect()).unwrap_or_default(),
        open_cases: members.iter().map(open).sum::<usize>() as u64,
    }
}

/// The site's language, or its customer's.
pub(super) fn language(state: &State, key: &(String, String)) -> Option<String> {
    let own = state.recovery.sites.get(key).map(|info| info.language.clone()).filter(|text| !text.is_empty());
    own.or_else(|| state.recovery.customers.get(&key.0).map(|customer| customer.language.clone()))
}

fn new_token() -> Result<String, EngineError> {
    let mut secret = [0; 20];
    getrandom::fill(&mut secret).map_err(|e| EngineError::Internal { why: format!("no randomness: {e}") })?;
    Ok(hex::encode(secret))
}

/// Every row that can't be taken, with the column to blame.
fn wrong_rows(state: &State, who: &Caller, import: &Import) -> Vec<WrongRow> {
    let mut wrong = Vec::new();
    let mut customers: BTreeSet<&str> = state.fleet.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    customers.extend(state.recovery.customers.keys().map(String::as_str));
    let mut check = |row: usize, column: &str, what: Option<String>| {
        if let Some(what) = what {
            wrong.push(WrongRow { row: row as u64, column: column.into(), what });
        }
    };
    let own = |tenant: &str| match &who.tenant {
        Some(own) if own != tenant => Some(format!("{tenant:?} is another customer")),
        _ => name_trouble(tenant),
    };
    let mut seen = BTreeSet::new();
    for (row, customer) in import.customers.iter().enumerate() {
        check(row, "customer", own(&customer.tenant));
        check(row, "customer", twice(&mut seen, vec![customer.tenant.clone()]));
        check(row, "name", text_trouble(&customer.full_name, true));
        check(row, "language", language_trouble(&customer.language, true));
        customers.insert(&customer.tenant);
    }
    let known = |tenant: &str| match customers.contains(tenant) {
        true => None,
        false => Some(format!("there is no customer {tenant:?}: import customers first")),
    };
    for (row, site) in import.sites.iter().enumerate() {
        check(row, "customer", own(&site.tenant).or_else(|| known(&site.tenant)));
        check(row, "site", name_trouble(&site.site));
        check(row, "site", twice(&mut seen, vec![site.tenant.clone(), site.site.clone()]));
        check(row, "address", text_trouble(&site.address, false));
        check(row, "language", language_trouble(&site.language, false));
    }
    let new_sites: BTreeSet<_> = import.sites.iter().map(|site| (site.tenant.as_str(), site.site.as_str())).collect();
    let known_site = |tenant: &str, site: &str| {
        let there = new_sites.contains(&(tenant, site))
            || state.recovery.sites.contains_key(&(tenant.to_string(), site.to_string()))
            || state.fleet.find_site(tenant, site).is_some();
        (!there).then(|| format!("{tenant} has no site {site:?}: import sites first"))
    };
    for (row, contacts) in import.contacts.iter().enumerate() {
        check(row, "customer", own(&contacts.tenant));
        check(row, "site", known_site(&contacts.tenant, &contacts.site));
        check(row, "site", twice(&mut seen, vec!["contacts".into(), contacts.tenant.clone(), contacts.site.clone()]));
        check(row, "verified", date_trouble(&contacts.verified));
        let many = contacts.channels.is_empty() || contacts.channels.len() > MAX_CHANNELS;
        check(row, "channel", many.then(|| format!("a site has 1 to {MAX_CHANNELS} ways to be reached")));
        for channel in &contacts.channels {
            check(row, "address", address_trouble(channel.channel, &channel.address));
            check(row, "name", text_trouble(&channel.name, false));
        }
    }
    for (row, device) in import.devices.iter().enumerate() {
        check(row, "customer", own(&device.tenant).or_else(|| known(&device.tenant)));
        check(row, "site", name_trouble(&device.site));
        check(row, "device", name_trouble(&device.name));
        let key = vec!["device".into(), device.tenant.clone(), device.site.clone(), device.name.clone()];
        check(row, "device", twice(&mut seen, key));
    }
    wrong
}

/// What an import would change.
fn changes(state: &State, import: Import) -> (Imported, Vec<Place>) {
    let (mut imported, mut places) = (Imported::default(), Vec::new());
    let recovery = &state.recovery;
    let mut take = |before: Option<bool>, place: Place| match before {
        Some(true) => imported.unchanged += 1,
        Some(false) => {
            imported.changed += 1;
            places.push(place);
        }
        None => {
            imported.new += 1;
            places.push(place);
        }
    };
    for customer in import.customers {
        let before = recovery.customers.get(&customer.tenant).map(|known| *known == customer);
        take(before, Place::Customer { customer });
    }
    for site in import.sites {
        let before = recovery.sites.get(&(site.tenant.clone(), site.site.clone())).map(|known| *known == site);
        take(before, Place::Site { site });
    }
    for contacts in import.contacts {
        let key = (contacts.tenant.clone(), contacts.site.clone());
        let before = recovery.contacts.get(&key).map(|known| known.contacts == contacts);
        take(before, Place::Contacts { contacts });
    }
    for device in import.devices {
        let enrolled = state.named(&device.tenant, &device.site, &device.name).is_some();
        let key = (device.tenant.clone(), device.site.clone());
        let expected = recovery.expected.get(&key).is_some_and(|devices| devices.contains_key(&device.name));
        take((enrolled || expected).then_some(true), Place::Expected { device });
    }
    (imported, places)
}

fn name_trouble(name: &str) -> Option<String> {
    check_name(name).err().map(|_| format!("{name:?} is no name: 1 to 64 letters, digits, hyphens, underscores, dots"))
}

fn text_trouble(text: &str, needed: bool) -> Option<String> {
    if needed && text.trim().is_empty() {
        return Some("it is empty".into());
    }
    if text.len() > MAX_FIELD {
        return Some(format!("it is longer than {MAX_FIELD} bytes"));
    }
    text.chars().any(char::is_control).then(|| "it has control characters".into())
}

fn language_trouble(language: &str, needed: bool) -> Option<String> {
    let fits = matches!(language, "de" | "en") || (!needed && language.is_empty());
    (!fits).then(|| format!("{language:?} is neither de nor en"))
}

/// `YYYY-MM-DD`, with days that the month has; empty is fine.
fn date_trouble(day: &str) -> Option<String> {
    let parts: Vec<&str> = day.split('-').collect();
    let number = |text: &str, digits: usize| (text.len() == digits).then(|| text.parse::<u32>().ok()).flatten();
    let fits = match parts[..] {
        [""] => true,
        [year, month, day] => match (number(year, 4), number(month, 2), number(day, 2)) {
            (Some(year), Some(month @ 1..=12), Some(day)) => {
                let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
                let days = match month {
                    2 if leap => 29,
                    2 => 28,
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                (1..=days).contains(&day)
            }
            _ => false,
        },
        _ => false,
    };
    (!fits).then(|| format!("{day:?} is no day: write YYYY-MM-DD"))
}

/// Only what can't be right is wrong: whether somebody answers shows when it is used.
fn address_trouble(channel: Channel, address: &str) -> Option<String> {
    if let Some(trouble) = text_trouble(address, true) {
        return Some(trouble);
    }
    match channel {
        Channel::Email => {
            let parts: Vec<&str> = address.split('@').collect();
            let fits = matches!(parts[..], [name, host] if !name.is_empty() && host.contains('.')
                && !host.starts_with('.') && !host.ends_with('.'))
                && !address.contains(char::is_whitespace);
            (!fits).then(|| format!("{address:?} is no e-mail address"))
        }
        Channel::Sms | Channel::Fax | Channel::Phone => {
            let plain = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '/' | '(' | ')' | '+' | '.');
            let digits = address.chars().filter(char::is_ascii_digit).count();
            let fits = address.chars().all(plain) && (3..=20).contains(&digits) && !address[1..].contains('+');
            (!fits).then(|| format!("{address:?} is no phone number"))
        }
        Channel::Letter | Channel::Visit => None,
    }
}

fn twice(seen: &mut BTreeSet<Vec<String>>, key: Vec<String>) -> Option<String> {
    let words = key.last().cloned().unwrap_or_default();
    (!seen.insert(key)).then(|| format!("{words:?} stands here twice"))
}

/// First channels of a kind, for whoever has to call.
pub(super) fn contacts(state: &State, key: &(String, String)) -> BTreeMap<Channel, String> {
    let kept = state.recovery.contacts.get(key);
    let mut first = BTreeMap::new();
    for channel in kept.iter().flat_map(|kept| &kept.contacts.channels) {
        first.entry(channel.channel).or_insert_with(|| channel.address.clone());
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_not_be_right_is_wrong() {
        for good in ["+49 30 123456", "030/123-45", "110", "(0221) 47 11 0"] {
            assert_eq!(address_trouble(Channel::Phone, good), None, "{good}");
        }
        for bad in ["", "call me", "12", "1+2345", "0123456789012345678901"] {
            assert!(address_trouble(Channel::Fax, bad).is_some(), "{bad}");
        }
        assert_eq!(address_trouble(Channel::Email, "a.b@c.example"), None);
        for bad in ["a", "a@b", "a@b@c.de", "a @b.de", "@b.de", "a@.de"] {
            assert!(address_trouble(Channel::Email, bad).is_some(), "{bad}");
        }
        for good in ["", "2026-02-28", "2024-02-29", "2000-02-29"] {
            assert_eq!(date_trouble(good), None, "{good}");
        }
        for bad in ["2026-2-28", "2026-02-29", "1900-02-29", "2026-13-01", "2026-04-31", "28.02.2026", "2026-00-01"] {
            assert!(date_trouble(bad).is_some(), "{bad}");
        }
    }
}
