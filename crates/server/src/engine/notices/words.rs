//! What people ask for: drawing a notice, and entering what somebody said on the phone.

use super::{
    super::{Engine, EngineError, now_ms, record::Record, state::State},
    incident_name, view,
};
use crate::api::{CallBack, Caller, NewNotice, NoticeSheet, Segment};
use staffel_core::recovery::{self, State as CaseState};
use staffel_notice::{
    Book, Draft, Event, Language, Person, Refusal, ShortCode,
    address::{Address, Channel},
};
use std::collections::BTreeSet;

impl Engine {
    /// Freezes the audience and begins to send, or shows what would be sent.
    pub async fn draw_notice(&self, who: &Caller, asked: NewNotice) -> Result<NoticeSheet, EngineError> {
        let Some(desk) = self.0.desk.get() else {
            return Err(EngineError::Refused {
                why: "this server has no letterhead, so it can't write to anybody".into(),
                hint: "write `notices.toml` into the installation folder and start the server again".into(),
            });
        };
        let now = now_ms();
        let (id, pending) = {
            let mut state = self.state();
            if state.recovery.book.incident(asked.incident).is_none() {
                return Err(EngineError::NotFound { what: format!("incident {}", asked.incident) });
            }
            let draft = Draft {
                incident: asked.incident,
                kind: asked.template,
                values: asked.values,
                supersedes: asked.supersedes,
                by: who.name.clone(),
                audience: audience(&state, asked.incident, &asked.sites)?,
            };
            let name = incident_name(asked.incident);
            // Only its length matters before the real one is drawn.
            let frame = desk.letterhead.frame(&name, ShortCode::from_random(0));
            let seed = seed()?;
            let mut drawn = 0_u64;
            let random = || {
                drawn += 1;
                // SplitMix64's step over a seed from the system: codes need to be scattered, not secret.
                let mixed = seed.wrapping_add(drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
            };
            let drawn = state.notices.book.draw(draft, &frame, now, random).map_err(refused)?;
            if asked.dry_run {
                let mut book = Book::default();
                book.apply(&drawn.event, now);
                let progress = book.notices().next();
                let mut sheet = progress
                    .map(|progress| view::sheet(progress, Some(desk), now, &view::everybody))
                    .ok_or_else(lost)?;
                sheet.notice.notice = None;
                return Ok(sheet);
            }
            let id = state.notices.book.next_id();
            let addresses = Record::NoticeAddresses { notice: id, addresses: drawn.addresses };
            let records = [Record::Notice { event: drawn.event }, addresses];
            (id, self.commit(&mut state, &records, now)?)
        };
        self.durable(pending).await?;
        self.notice(id)
    }

    /// What somebody who holds a code said, or that nobody was reached. Cases of that site learn of it, too.
    pub async fn call_back(&self, who: &Caller, said: CallBack) -> Result<NoticeSheet, EngineError> {
        let now = now_ms();
        let (notice, pending) = {
            let mut state = self.state();
            let (notice, recipient) = state.notices.book.find(&said.code).map_err(refused)?;
            let (event, contact) = match said.said.meaning() {
                Ok(means) => {
                    (state.notices.book.acknowledge(notice, recipient, means, &who.name), recovery::Contact::Reached)
                }
                Err(result) => (
                    state.notices.book.called(notice, recipient, result, &who.name),
                    match result {
                        staffel_notice::CallResult::NoAnswer => recovery::Contact::NoAnswer,
                        staffel_notice::CallResult::WrongNumber => recovery::Contact::WrongAddress,
                    },
                ),
            };
            let mut records = vec![Record::Notice { event: event.map_err(refused)? }];
            let told = (notice, recipient, Channel::Phone, contact);
            records.extend(tell_cases(&state, told, &who.name, now));
            (notice, self.commit(&mut state, &records, now)?)
        };
        self.durable(pending).await?;
        self.notice(notice)
    }

    /// After a start: attempts that were under way are unknown, and are looked up.
    pub fn open_desk(&self, desk: super::Desk) -> Result<(), EngineError> {
        let now = now_ms();
        let mut state = self.state();
        let records: Vec<Record> =
            state.notices.book.after_restart().into_iter().map(|event| Record::Notice { event }).collect();
        if !records.is_empty() {
            drop(self.commit(&mut state, &records, now)?);
        }
        drop(state);
        let again = |_| EngineError::Internal { why: "the desk is open already".into() };
        self.0.desk.set(desk).map_err(again)
    }
}

fn lost() -> EngineError {
    EngineError::Internal { why: "a drawn notice is not in its book".into() }
}

fn seed() -> Result<u64, EngineError> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|e| EngineError::Internal { why: format!("no random numbers: {e}") })?;
    Ok(u64::from_le_bytes(seed))
}

pub(super) fn refused(refusal: Refusal) -> EngineError {
    let why = refusal.to_string();
    match refusal {
        Refusal::NoNotice { .. } | Refusal::NoRecipient { .. } | Refusal::NoSuchCode { .. } => {
            EngineError::NotFound { what: why.trim_start_matches("there is no ").into() }
        }
        Refusal::Acknowledged { .. } | Refusal::Replaced { .. } => {
            EngineError::Conflict { why, hint: "look at it with `staffel notice show`".into() }
        }
        _ => EngineError::Refused { why, hint: "see `staffel notice send --help`".into() },
    }
}

/// The sites named, or those with an open case of the incident.
fn audience(state: &State, incident: u64, named: &[String]) -> Result<Vec<Person>, EngineError> {
    let mut keys = BTreeSet::new();
    for name in named {
        let unknown = || EngineError::NotFound { what: format!("site {name:?}: write customer/site") };
        let (tenant, site) = name.split_once('/').ok_or_else(unknown)?;
        let key = (tenant.to_owned(), site.to_owned());
        if state.fleet.find_site(tenant, site).is_none() && !state.recovery.sites.contains_key(&key) {
            return Err(unknown());
        }
        keys.insert(key);
    }
    if named.is_empty() {
        let cases = state.recovery.book.incident(incident).into_iter().flat_map(|found| &found.cases);
        let open = cases.filter_map(|id| state.recovery.book.case(*id)).filter(|case| case.state != CaseState::Closed);
        keys.extend(open.map(|case| {
            let site = &state.fleet.sites[state.fleet.device(case.device).site as usize];
            (state.fleet.tenant_of(case.device).name.clone(), site.name.clone())
        }));
    }
    Ok(keys.into_iter().map(|key| person(state, key)).collect())
}

/// A site as a notice addresses it. An address that can't work is left out: the call list shows that none is known.
fn person(state: &State, key: (String, String)) -> Person {
    let recovery = &state.recovery;
    let (info, customer) = (recovery.sites.get(&key), recovery.customers.get(&key.0));
    let language = info.map(|info| info.language.as_str()).filter(|language| !language.is_empty());
    let language = language.or(customer.map(|customer| customer.language.as_str()));
    let critical = |segment: Segment| segment == Segment::Critical;
    let channels = recovery.contacts.get(&key).map(|kept| kept.contacts.channels.as_slice()).unwrap_or_default();
    let mut addresses: Vec<Address> = Vec::new();
    for way in channels {
        let Some(channel) = channel_of(way.channel) else { continue };
        let mut text = way.address.clone();
        if channel == Channel::Letter && !text.contains(&key.1) {
            // A window envelope needs a name in its first line.
            let name = customer.map_or(key.1.as_str(), |customer| customer.full_name.as_str());
            text = format!("{name}, {text}");
        }
        match Address::parse(channel, &text) {
            Ok(address) => addresses.push(address),
            Err(error) => {
                tracing::warn!(tenant = key.0, site = key.1, %channel, why = error.why, "left out of a notice")
            }
        }
    }
    Person {
        language: language.and_then(|word| word.parse().ok()).unwrap_or(Language::De),
        critical: info.is_some_and(|info| critical(info.segment))
            || customer.is_some_and(|customer| critical(customer.segment)),
        tenant: key.0,
        site: key.1,
        addresses,
    }
}

fn channel_of(channel: recovery::Channel) -> Option<Channel> {
    match channel {
        recovery::Channel::Email => Some(Channel::Email),
        recovery::Channel::Sms => Some(Channel::Sms),
        recovery::Channel::Fax => Some(Channel::Fax),
        recovery::Channel::Letter => Some(Channel::Letter),
        recovery::Channel::Phone => Some(Channel::Phone),
        recovery::Channel::Visit => None,
    }
}

/// The channel as cases know it.
pub(in super::super) fn to_core(channel: Channel) -> recovery::Channel {
    match channel {
        Channel::Email => recovery::Channel::Email,
        Channel::Sms => recovery::Channel::Sms,
        Channel::Fax => recovery::Channel::Fax,
        Channel::Letter => recovery::Channel::Letter,
        Channel::Phone => recovery::Channel::Phone,
    }
}

/// The open cases of a recipient's site learn that it was told, or that somebody answered.
pub(super) fn tell_cases(
    state: &State,
    (notice, recipient, channel, contact): (u64, u32, Channel, recovery::Contact),
    by: &str,
    now: u64,
) -> Vec<Record> {
    let Some(progress) = state.notices.book.notice(notice) else { return Vec::new() };
    let Some(one) = progress.notice.audience.get(recipient as usize) else { return Vec::new() };
    let Some(site) = state.fleet.find_site(&one.tenant, &one.site) else { return Vec::new() };
    let channel = to_core(channel);
    let book = &state.recovery.book;
    let cases = book.members(site).iter().flat_map(|device| book.cases_of(*device));
    let cases = cases.filter(|case| case.incident == progress.notice.incident && case.state != CaseState::Closed);
    let word = |case: &recovery::Case| {
        let text = format!("notice {notice}");
        let word = recovery::Word::Contact { channel, outcome: contact, text };
        // A case that takes no word stays as it is; the notice's own record stands.
        book.word(case.id, by, word, now).unwrap_or_default()
    };
    cases.flat_map(word).map(|event| Record::Recovery { event }).collect()
}

/// The event as a record.
pub(super) fn record(event: Event) -> Record {
    Record::Notice { event }
}
