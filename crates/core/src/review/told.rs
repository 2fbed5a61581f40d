//! The sentences about notices: who was told when and over which channel, who said that they know, who was not reached. Must stay
//! out: the words of the notices themselves.

use super::{
    Acknowledgement, Facts, Means, NoticeFacts, RecipientFacts, Section, Sending, SendingEnd, Sentence, time::moment,
    words::Words,
};
use crate::recovery::Channel;

impl Words {
    /// Each notice as a whole.
    pub(super) fn told(&self, facts: &Facts) -> Section {
        let mut sentences = Vec::new();
        if facts.notices.is_empty() {
            sentences.push(self.say(
                format!("Bis {} ist keine Benachrichtigung verzeichnet.", moment(facts.until.at_ms)),
                format!("Until {} no notice is on record.", moment(facts.until.at_ms)),
                &[facts.until.position],
            ));
        }
        for notice in &facts.notices {
            let NoticeFacts { number, by, drawn, recipients } = notice;
            let (count, at) = (recipients.len(), moment(drawn.at_ms));
            sentences.push(self.say(
                format!("Benachrichtigung {number} entstand am {at} durch {by} für {}.", count_de(count)),
                format!("Notice {number} was made on {at} by {by} for {}.", count_en(count)),
                &[drawn.position],
            ));
            let known: Vec<u64> =
                recipients.iter().filter_map(|one| one.acknowledged.as_ref()).map(|said| said.mark.position).collect();
            sentences.push(self.say(
                format!("Benachrichtigung {number}: {} von {count} haben bestätigt.", known.len()),
                format!("Notice {number}: {} of {count} have acknowledged it.", known.len()),
                &[&known[..], &[drawn.position, facts.until.position]].concat(),
            ));
            let silent: Vec<String> = recipients
                .iter()
                .filter(|one| one.acknowledged.is_none())
                .map(|one| format!("{}/{}", one.tenant, one.site))
                .collect();
            if !silent.is_empty() {
                let names = silent.join(", ");
                sentences.push(self.say(
                    format!("Benachrichtigung {number}: bis {} nicht erreicht: {names}.", moment(facts.until.at_ms)),
                    format!("Notice {number}: not reached until {}: {names}.", moment(facts.until.at_ms)),
                    &[drawn.position, facts.until.position],
                ));
            }
        }
        let heading = self.pick("Wer benachrichtigt wurde", "Who was told");
        Section { heading, sentences, sections: Vec::new() }
    }

    /// What a customer's sites got, and what came back.
    pub(super) fn notices_to(&self, facts: &Facts, customer: &str) -> Vec<Sentence> {
        let mut sentences = Vec::new();
        for notice in &facts.notices {
            for one in notice.recipients.iter().filter(|one| one.tenant == customer) {
                sentences.push(self.sent(facts, notice, one));
                sentences.push(self.answered(facts, notice, one));
            }
        }
        sentences
    }

    fn sent(&self, facts: &Facts, notice: &NoticeFacts, one: &RecipientFacts) -> Sentence {
        let (site, number) = (&one.site, notice.number);
        if one.sendings.is_empty() {
            return self.say(
                format!("{site}: Benachrichtigung {number} ist bis {} nicht gesendet.", moment(facts.until.at_ms)),
                format!("{site}: notice {number} was not sent until {}.", moment(facts.until.at_ms)),
                &[notice.drawn.position, facts.until.position],
            );
        }
        let mut cites = Vec::new();
        let words = |sending: &Sending| {
            let channel = self.channel(sending.channel);
            let (end, mark) = match sending.ended {
                Some((mark, SendingEnd::HandedOver)) => (self.pick("übergeben", "handed over"), mark),
                Some((mark, SendingEnd::NotSent)) => (self.pick("nicht gesendet", "not sent"), mark),
                Some((mark, SendingEnd::Unknown)) => (self.pick("Ausgang unbekannt", "outcome unknown"), mark),
                None => (self.pick("Ausgang unbekannt", "outcome unknown"), sending.begun),
            };
            cites.extend([sending.begun.position, mark.position]);
            format!("{channel} {} ({end})", moment(mark.at_ms))
        };
        let list = one.sendings.iter().map(words).collect::<Vec<_>>().join(", ");
        self.say(
            format!("{site}: Benachrichtigung {number} ging über {list}."),
            format!("{site}: notice {number} went by {list}."),
            &cites,
        )
    }

    fn answered(&self, facts: &Facts, notice: &NoticeFacts, one: &RecipientFacts) -> Sentence {
        let (site, number) = (&one.site, notice.number);
        let calls: Vec<u64> = one.calls.iter().map(|mark| mark.position).collect();
        match &one.acknowledged {
            Some(Acknowledgement { mark, means, by }) => {
                let (at, how) = (moment(mark.at_ms), self.means(*means));
                self.say(
                    format!("{site}: Benachrichtigung {number} bestätigt am {at} ({how}, eingetragen von {by})."),
                    format!("{site}: notice {number} acknowledged on {at} ({how}, entered by {by})."),
                    &[mark.position],
                )
            }
            None => {
                let (until, tried) = (moment(facts.until.at_ms), calls.len());
                self.say(
                    format!("{site}: auf Benachrichtigung {number} bis {until} keine Bestätigung, {tried} Anrufe ohne Erfolg."),
                    format!("{site}: no acknowledgement of notice {number} until {until}, {tried} calls that reached nobody."),
                    &[&calls[..], &[notice.drawn.position, facts.until.position]].concat(),
                )
            }
        }
    }

    fn channel(&self, channel: Channel) -> String {
        match channel {
            Channel::Email => self.pick("E-Mail", "e-mail"),
            Channel::Sms => self.pick("SMS", "SMS"),
            Channel::Fax => self.pick("Fax", "fax"),
            Channel::Letter => self.pick("Brief", "letter"),
            Channel::Phone => self.pick("Telefon", "phone"),
            Channel::Visit => self.pick("Besuch", "visit"),
        }
    }

    fn means(&self, means: Means) -> String {
        match means {
            Means::CallBack => self.pick("Rückruf mit Code", "call back with the code"),
            Means::Call => self.pick("Anruf bei der Stelle", "we called"),
            Means::Page => self.pick("Seite des QR-Codes", "page of the QR code"),
            Means::Fax => self.pick("Fax zurück", "fax sent back"),
            Means::Mail => self.pick("Post zurück", "mail sent back"),
        }
    }
}

fn count_de(count: usize) -> String {
    if count == 1 { "1 Standort".into() } else { format!("{count} Standorte") }
}

fn count_en(count: usize) -> String {
    if count == 1 { "1 site".into() } else { format!("{count} sites") }
}
