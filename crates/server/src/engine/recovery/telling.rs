//! The notices of an incident, read from the log for its review. Must stay out: sentences, and addresses.

use super::super::notices::to_core;
use staffel_core::{
    recovery::IncidentId,
    review::{Acknowledgement, Mark, Means, NoticeFacts, RecipientFacts, Sending, SendingEnd},
};
use staffel_notice::{Event, Found, Notice, Outcome};
use std::collections::BTreeMap;

/// What is being found out.
pub(super) struct Telling {
    incident: IncidentId,
    /// Only this customer's sites.
    tenant: Option<String>,
    notices: BTreeMap<u64, Kept>,
}

struct Kept {
    facts: NoticeFacts,
    /// Place in the audience to place in the facts.
    places: BTreeMap<u32, usize>,
}

impl Telling {
    pub fn about(incident: IncidentId, tenant: Option<String>) -> Self {
        Telling { incident, tenant, notices: BTreeMap::new() }
    }

    /// Takes what stands in the log at this mark.
    pub fn take(&mut self, event: &Event, mark: Mark) {
        match event {
            Event::Drawn { notice } if notice.incident == self.incident => self.drawn(notice, mark),
            Event::Drawn { .. } => {}
            Event::Started { notice, recipient, attempt, channel, .. } => {
                let sending = Sending { attempt: *attempt, channel: to_core(*channel), begun: mark, ended: None };
                self.change(*notice, *recipient, |one| one.sendings.push(sending));
            }
            Event::Ended { notice, recipient, attempt, outcome } => {
                let end = match outcome {
                    Outcome::HandedOver { .. } => SendingEnd::HandedOver,
                    Outcome::TryLater { .. } | Outcome::Failed { .. } => SendingEnd::NotSent,
                    Outcome::Unknown { .. } => SendingEnd::Unknown,
                };
                self.ended(*notice, *recipient, *attempt, (mark, end));
            }
            Event::LookedUp { notice, recipient, attempt, found } => {
                let end = match found {
                    Found::There => SendingEnd::HandedOver,
                    Found::NotThere => SendingEnd::NotSent,
                    Found::CannotTell => SendingEnd::Unknown,
                };
                self.ended(*notice, *recipient, *attempt, (mark, end));
            }
            Event::Called { notice, recipient, .. } => {
                self.change(*notice, *recipient, |one| one.calls.push(mark));
            }
            Event::Acknowledged { notice, recipient, means, by } => {
                let means = match means {
                    staffel_notice::Means::CallBack => Means::CallBack,
                    staffel_notice::Means::Call => Means::Call,
                    staffel_notice::Means::Page => Means::Page,
                    staffel_notice::Means::Fax => Means::Fax,
                    staffel_notice::Means::Mail => Means::Mail,
                };
                let said = Acknowledgement { mark, means, by: by.clone() };
                self.change(*notice, *recipient, |one| {
                    one.acknowledged.get_or_insert(said);
                });
            }
        }
    }

    fn drawn(&mut self, notice: &Notice, drawn: Mark) {
        let (mut places, mut recipients) = (BTreeMap::new(), Vec::new());
        for (place, one) in (0..).zip(&notice.audience) {
            if self.tenant.as_ref().is_some_and(|own| *own != one.tenant) {
                continue;
            }
            places.insert(place, recipients.len());
            recipients.push(RecipientFacts {
                tenant: one.tenant.clone(),
                site: one.site.clone(),
                sendings: Vec::new(),
                calls: Vec::new(),
                acknowledged: None,
            });
        }
        // A notice to others only is nobody else's business.
        if recipients.is_empty() {
            return;
        }
        let facts = NoticeFacts { number: notice.id, by: notice.by.clone(), drawn, recipients };
        self.notices.insert(notice.id, Kept { facts, places });
    }

    fn ended(&mut self, notice: u64, recipient: u32, attempt: u32, end: (Mark, SendingEnd)) {
        self.change(notice, recipient, |one| {
            let begun = one.sendings.iter_mut().find(|sending| sending.attempt == attempt);
            if let Some(sending) = begun {
                sending.ended = Some(end);
            }
        });
    }

    fn change(&mut self, notice: u64, recipient: u32, change: impl FnOnce(&mut RecipientFacts)) {
        let Some(kept) = self.notices.get_mut(&notice) else { return };
        let place = kept.places.get(&recipient);
        if let Some(one) = place.and_then(|place| kept.facts.recipients.get_mut(*place)) {
            change(one);
        }
    }

    /// Oldest first.
    pub fn into_facts(self) -> Vec<NoticeFacts> {
        self.notices.into_values().map(|kept| kept.facts).collect()
    }
}
