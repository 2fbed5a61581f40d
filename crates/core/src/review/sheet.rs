//! The sheet of facts that a review or dossier opens with: a line each, with its entries, and "unknown" where the log does not
//! say it. Must stay out: sentences (`words`).

use super::{Fact, Facts, time::moment, words::Words};

impl Words {
    /// The facts of an incident; with a customer, of that customer's part alone.
    pub fn sheet(&self, facts: &Facts, customer: Option<&str>) -> Vec<Fact> {
        let opened = facts.opened.position;
        let (cause, pushed) = match (&facts.push, &facts.component) {
            (Some(push), _) => (Some(self.product(&push.name, &push.version, &push.supplier)), push.started.position),
            (None, Some((name, version, supplier))) => (Some(self.product(name, version, supplier)), opened),
            (None, None) => (None, opened),
        };
        vec![
            self.fact("Art", "Kind", Some(self.class(facts.class)), vec![opened]),
            self.fact("Bemerkt", "Noticed", Some(moment(facts.aware_at_ms)), vec![opened]),
            self.fact("Ursache", "Cause", cause, vec![pushed]),
            self.affected(facts, customer),
            self.back(facts, customer),
            self.knows(facts, customer),
        ]
    }

    fn affected(&self, facts: &Facts, customer: Option<&str>) -> Fact {
        let own = facts.devices.iter().filter(|device| customer.is_none_or(|customer| device.tenant == customer));
        let mut cites: Vec<u64> = own.map(|device| device.opened.position).collect();
        let devices = cites.len();
        cites.push(facts.opened.position);
        self.fact("Betroffene Geräte", "Devices affected", Some(devices.to_string()), cites)
    }

    fn back(&self, facts: &Facts, customer: Option<&str>) -> Fact {
        let own: Vec<_> =
            facts.devices.iter().filter(|device| customer.is_none_or(|customer| device.tenant == customer)).collect();
        let proofs: Vec<_> = own.iter().filter_map(|device| device.verified).collect();
        let mut cites: Vec<u64> = proofs.iter().map(|mark| mark.position).collect();
        let value = match proofs.iter().map(|mark| mark.at_ms).max() {
            Some(last) if proofs.len() == own.len() => {
                self.pick(format!("alle, das letzte am {}", moment(last)), format!("all, the last on {}", moment(last)))
            }
            _ => {
                cites.push(facts.until.position);
                let (back, of, until) = (proofs.len(), own.len(), moment(facts.until.at_ms));
                self.pick(format!("{back} von {of} bis {until}"), format!("{back} of {of} until {until}"))
            }
        };
        self.fact("Nachweislich zurück", "Proven to be back", Some(value), cites)
    }

    fn knows(&self, facts: &Facts, customer: Option<&str>) -> Fact {
        let of_them = |notice: &&super::NoticeFacts| {
            notice.recipients.iter().any(|one| customer.is_none_or(|customer| one.tenant == customer))
        };
        let notices: Vec<_> = facts.notices.iter().filter(of_them).collect();
        let (mut told, mut know) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        let mut cites: Vec<u64> = notices.iter().map(|notice| notice.drawn.position).collect();
        for one in notices.iter().flat_map(|notice| &notice.recipients) {
            if customer.is_some_and(|customer| one.tenant != customer) {
                continue;
            }
            told.insert((&one.tenant, &one.site));
            if let Some(said) = &one.acknowledged {
                know.insert((&one.tenant, &one.site));
                cites.push(said.mark.position);
            }
        }
        if cites.is_empty() {
            cites.push(facts.until.position);
        }
        let (told, know) = (told.len(), know.len());
        let value = match told {
            0 => self.pick("keine Benachrichtigung verzeichnet", "no notification is on record"),
            _ => self.pick(
                format!("{told} angeschrieben, {know} wissen nachweislich Bescheid"),
                format!("{told} written to, {know} are proven to know"),
            ),
        };
        self.fact("Standorte", "Sites", Some(value), cites)
    }

    fn product(&self, name: &str, version: &str, supplier: &str) -> String {
        format!("{name} {version} ({})", self.supplier(supplier))
    }

    fn fact(&self, de: &str, en: &str, value: Option<String>, mut cites: Vec<u64>) -> Fact {
        cites.sort_unstable();
        cites.dedup();
        Fact { label: self.pick(de, en), value, cites }
    }
}
