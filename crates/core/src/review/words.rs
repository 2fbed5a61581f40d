//! The sentences of a review, German and English side by side. Must stay out: which facts there are.

use super::{
    DeviceFacts, Facts, Language, Mark, RemedyFacts, Section, Sentence, SuspectFacts,
    time::{moment, span},
};
use crate::recovery::Class;

pub(super) struct Words {
    pub language: Language,
}

impl Words {
    pub(super) fn pick(&self, de: impl Into<String>, en: impl Into<String>) -> String {
        match self.language {
            Language::De => de.into(),
            Language::En => en.into(),
        }
    }

    pub(super) fn say(&self, de: impl Into<String>, en: impl Into<String>, cites: &[u64]) -> Sentence {
        let mut cites = cites.to_vec();
        cites.sort_unstable();
        cites.dedup();
        Sentence { text: self.pick(de, en), cites }
    }

    pub(super) fn class(&self, class: Class) -> String {
        match class {
            Class::FaultyUpdate => self.pick("fehlerhafte Aktualisierung", "faulty update"),
            Class::Attack => self.pick("Angriff", "attack"),
            Class::Outage => self.pick("Ausfall", "outage"),
            Class::Foreign => self.pick("fremde Software", "foreign software"),
        }
    }

    pub fn title(&self, facts: &Facts) -> String {
        let class = self.class(facts.class);
        self.pick(
            format!("Nachbetrachtung zu Vorfall {}: {class}", facts.incident),
            format!("Review of incident {}: {class}", facts.incident),
        )
    }

    pub fn dossier_title(&self, facts: &Facts, customer: &str) -> String {
        let class = self.class(facts.class);
        self.pick(
            format!("Dossier {customer} zu Vorfall {}: {class}", facts.incident),
            format!("Dossier {customer} on incident {}: {class}", facts.incident),
        )
    }

    pub fn own_heading(&self) -> String {
        self.pick("Was geschah, und wann Sie benachrichtigt wurden", "What happened, and when you were told")
    }

    /// The supplier, or that it is not known.
    pub(super) fn supplier(&self, name: &str) -> String {
        if name.is_empty() { self.pick("unbekannt", "unknown") } else { name.into() }
    }

    pub fn affected_heading(&self) -> String {
        self.pick("Wer betroffen war", "Who was affected")
    }

    pub fn summary(&self, facts: &Facts, customers: usize) -> Section {
        let devices = facts.devices.len();
        let back: Vec<_> = facts.devices.iter().filter_map(|device| device.verified).collect();
        let opened: Vec<u64> = facts.devices.iter().map(|device| device.opened.position).collect();
        let mut sentences = vec![
            self.say(
                format!("{devices} Geräte von {customers} Kunden waren betroffen."),
                format!("{devices} devices of {customers} customers were affected."),
                &[&opened[..], &[facts.opened.position]].concat(),
            ),
            self.say(
                format!(
                    "Bekannt war es seit {} durch {} ({}).",
                    moment(facts.aware_at_ms),
                    facts.aware_who,
                    facts.aware_source
                ),
                format!(
                    "It was known since {} through {} ({}).",
                    moment(facts.aware_at_ms),
                    facts.aware_who,
                    facts.aware_source
                ),
                &[facts.opened.position],
            ),
        ];
        let proofs: Vec<u64> = back.iter().map(|mark| mark.position).collect();
        let last = back.iter().map(|mark| mark.at_ms).max();
        let took = last.map(|at| span(at.saturating_sub(facts.aware_at_ms)));
        sentences.push(match took {
            Some(took) if back.len() == devices => self.say(
                format!("Alle sind nachweislich zurück; das letzte nach {took}."),
                format!("All of them are proven to be back, the last one after {took}."),
                &proofs,
            ),
            _ => self.say(
                format!(
                    "{} von {devices} sind nachweislich zurück; die übrigen sind es bis {} nicht.",
                    back.len(),
                    moment(facts.until.at_ms)
                ),
                format!(
                    "{} of {devices} are proven to be back; the others were not until {}.",
                    back.len(),
                    moment(facts.until.at_ms)
                ),
                &[&proofs[..], &[facts.until.position]].concat(),
            ),
        });
        Section { heading: self.pick("Zusammenfassung", "Summary"), sentences, sections: Vec::new() }
    }

    /// What happened, in the order of the log.
    pub fn course(&self, facts: &Facts) -> Section {
        let mut steps: Vec<(Mark, Sentence)> = Vec::new();
        let mut step = |mark: Mark, de: String, en: String| {
            let at = moment(mark.at_ms);
            steps.push((mark, self.say(format!("{at}: {de}"), format!("{at}: {en}"), &[mark.position])));
        };
        if let Some(push) = &facts.push {
            let release = format!("{} {}", push.name, push.version);
            step(
                push.started,
                format!("{} startet die Verteilung {} von {release}.", push.by, push.rollout),
                format!("{} starts rollout {} of {release}.", push.by, push.rollout),
            );
            if let Some((mark, why)) = &push.halted {
                step(
                    *mark,
                    format!("Die Verteilung wird angehalten: {why}."),
                    format!("The rollout is halted: {why}."),
                );
            }
        }
        step(facts.opened, "Der Vorfall wird eröffnet.".into(), "The incident is opened.".into());
        for suspect in &facts.suspects {
            let what = format!("{} {}", suspect.name, suspect.version);
            step(suspect.noticed, format!("Verdacht gegen {what}."), format!("{what} is suspected."));
        }
        for device in &facts.devices {
            let name = format!("{}/{}/{}", device.tenant, device.site, device.name);
            if let Some(mark) = device.pushed {
                step(mark, format!("{name} darf die Version annehmen."), format!("{name} may take the release."));
            }
            let why = &device.why;
            step(device.opened, format!("{name} erhält einen Fall: {why}."), format!("{name} gets a case: {why}."));
            if let Some(mark) = device.heard {
                step(mark, format!("{name} meldet sich wieder."), format!("{name} speaks again."));
            }
            if let Some(mark) = device.verified {
                step(mark, format!("{name} ist nachweislich zurück."), format!("{name} is proven to be back."));
            }
            for (what, since, until) in &device.debts {
                step(
                    *since,
                    format!("Auf {name} ist der Schutz eingeschränkt: {what}."),
                    format!("Protection is off on {name}: {what}."),
                );
                if let Some(until) = until {
                    step(
                        *until,
                        format!("Auf {name} ist der Schutz wieder da: {what}."),
                        format!("Protection is on again on {name}: {what}."),
                    );
                }
            }
            for remedy in &device.remedies {
                let RemedyFacts { sequence, action, by, .. } = remedy;
                step(
                    remedy.sent,
                    format!("{by} sendet Abhilfe {sequence} an {name}: {action}."),
                    format!("{by} sends remedy {sequence} to {name}: {action}."),
                );
                match &remedy.answered {
                    Some((mark, true, why)) => step(
                        *mark,
                        format!("{name} hat Abhilfe {sequence} ausgeführt: {why}."),
                        format!("{name} has carried out remedy {sequence}: {why}."),
                    ),
                    Some((mark, false, why)) => step(
                        *mark,
                        format!("{name} konnte Abhilfe {sequence} nicht ausführen: {why}."),
                        format!("{name} could not carry out remedy {sequence}: {why}."),
                    ),
                    None => {}
                }
            }
        }
        steps.sort_by_key(|(mark, _)| mark.position);
        let sentences = steps.into_iter().map(|(_, sentence)| sentence).collect();
        Section { heading: self.pick("Was geschah", "What happened"), sentences, sections: Vec::new() }
    }

    /// Each finding with what limited it.
    pub fn causes(&self, facts: &Facts) -> Section {
        let mut sentences = Vec::new();
        match (&facts.push, &facts.component) {
            (Some(push), _) => {
                let release = format!("{} {}", push.name, push.version);
                let supplier = self.supplier(&push.supplier);
                sentences.push(self.say(
                    format!(
                        "Ausgelöst hat es {release} (Hersteller: {supplier}), verteilt von {} am {}.",
                        push.by,
                        moment(push.started.at_ms)
                    ),
                    format!(
                        "It was set off by {release} (supplier: {supplier}), pushed by {} on {}.",
                        push.by,
                        moment(push.started.at_ms)
                    ),
                    &[push.started.position],
                ));
                if let Some((mark, why)) = &push.halted {
                    let after = span(mark.at_ms.saturating_sub(push.started.at_ms));
                    sentences.push(self.say(
                        format!("Befund: {why}. Begrenzt wurde es dadurch, dass die Verteilung nach {after} angehalten wurde und seither kein Gerät die Version annimmt."),
                        format!("Finding: {why}. It was limited because the rollout was halted after {after} and no device takes the release since."),
                        &[push.started.position, mark.position],
                    ));
                }
            }
            (None, Some((name, version, supplier))) => {
                let supplier = self.supplier(supplier);
                sentences.push(self.say(
                    format!("Genannt wurde als Auslöser {name} {version} (Hersteller: {supplier}); dieses Programm hat Staffel nicht verteilt."),
                    format!("Named as its cause was {name} {version} (supplier: {supplier}), which Staffel did not ship."),
                    &[facts.opened.position],
                ));
            }
            (None, None) => sentences.push(self.say(
                format!("Die Ursache ist unbekannt; gemeldet wurde: {}.", facts.why),
                format!("The cause is unknown; what was reported is: {}.", facts.why),
                &[facts.opened.position],
            )),
        }
        sentences.extend(facts.suspects.iter().map(|suspect| self.suspicion(suspect)));
        sentences.extend(self.repair(facts));
        let owing: Vec<_> = facts.devices.iter().filter(|device| !device.debts.is_empty()).collect();
        if !owing.is_empty() {
            let cites: Vec<u64> =
                owing.iter().flat_map(|d| d.debts.iter().map(|(_, since, _)| since.position)).collect();
            let open = owing.iter().filter(|d| d.debts.iter().any(|(_, _, until)| until.is_none())).count();
            sentences.push(self.say(
                format!("Befund: auf {} Geräten war der Schutz eingeschränkt, auf {open} ist er es noch. Ein Fall schließt nicht, solange das so ist.", owing.len()),
                format!("Finding: protection was off on {} devices, on {open} it still is. No case closes while that is so.", owing.len()),
                &cites,
            ));
        }
        let heading = self.pick("Was falsch lief und warum", "What went wrong and why");
        Section { heading, sentences, sections: Vec::new() }
    }

    fn suspicion(&self, suspect: &SuspectFacts) -> Sentence {
        let SuspectFacts { name, version, noticed, .. } = suspect;
        let (supplier, at) = (self.supplier(&suspect.supplier), moment(noticed.at_ms));
        let (de, en) = suspect.counts.map_or_else(Default::default, |[got, troubled, others, others_troubled]| {
            (
                format!(
                    ": {troubled} von {got} Geräten, die es bekamen, waren in Not, und {others_troubled} von {others} anderen"
                ),
                format!(": {troubled} of {got} devices that got it were in trouble, and {others_troubled} of {others} others"),
            )
        });
        self.say(
            format!(
                "Befund: {name} {version} (Hersteller: {supplier}) fiel am {at} auf{de}. Ein Verdacht ist kein Beweis."
            ),
            format!(
                "Finding: {name} {version} (supplier: {supplier}) was noticed on {at}{en}. A suspicion is no proof."
            ),
            &[noticed.position],
        )
    }

    /// What was done about it by signed acts.
    fn repair(&self, facts: &Facts) -> Option<Sentence> {
        let remedies: Vec<_> = facts.devices.iter().flat_map(|device| &device.remedies).collect();
        let done: Vec<_> = remedies.iter().filter(|r| matches!(r.answered, Some((_, true, _)))).collect();
        let failed = remedies.iter().filter(|r| matches!(r.answered, Some((_, false, _)))).count();
        let open = remedies.len() - done.len() - failed;
        let sent = remedies.iter().map(|remedy| remedy.sent.position);
        let answers = remedies.iter().filter_map(|remedy| remedy.answered.as_ref()).map(|(mark, _, _)| mark.position);
        let mut cites: Vec<u64> = sent.chain(answers).collect();
        if open > 0 {
            cites.push(facts.until.position);
        }
        (!remedies.is_empty()).then(|| {
            self.say(
                format!(
                    "Abhilfe: {} gesendet, {} ausgeführt, {failed} gescheitert, bei {open} ist der Ausgang unbekannt.",
                    remedies.len(),
                    done.len()
                ),
                format!(
                    "Remedies: {} sent, {} carried out, {failed} failed, the outcome of {open} is unknown.",
                    remedies.len(),
                    done.len()
                ),
                &cites,
            )
        })
    }

    /// What one customer gets to read.
    pub fn dossier(&self, facts: &Facts, customer: &str) -> Section {
        let devices = facts.devices.iter().filter(|device| device.tenant == customer);
        let mut sentences = Vec::new();
        match (&facts.push, &facts.component) {
            (Some(push), _) => sentences.push(self.say(
                format!(
                    "Ursache: {} {}, verteilt von {} ab {}.",
                    push.name,
                    push.version,
                    push.by,
                    moment(push.started.at_ms)
                ),
                format!(
                    "Cause: {} {}, pushed by {} from {} on.",
                    push.name,
                    push.version,
                    push.by,
                    moment(push.started.at_ms)
                ),
                &[push.started.position],
            )),
            (None, Some((name, version, _))) => sentences.push(self.say(
                format!("Genannte Ursache: {name} {version}; wer es wann verteilt hat, ist unbekannt."),
                format!("Named cause: {name} {version}; who pushed it and when is unknown."),
                &[facts.opened.position],
            )),
            (None, None) => sentences.push(self.say(
                "Ursache, und wer was wann verteilt hat: unbekannt.",
                "Cause, and who pushed what and when: unknown.",
                &[facts.opened.position],
            )),
        }
        for device in devices {
            sentences.push(self.fate(facts, device));
            sentences.push(self.reached(facts, device));
            sentences.extend(self.repaired(facts, device));
        }
        sentences.extend(self.notices_to(facts, customer));
        Section { heading: customer.to_string(), sentences, sections: Vec::new() }
    }

    /// Down from and to.
    fn fate(&self, facts: &Facts, device: &DeviceFacts) -> Sentence {
        let name = format!("{}/{}", device.site, device.name);
        let mut cites = vec![device.opened.position];
        // When exactly it stopped to serve is not in the log: only from when on it may have.
        let (de_from, en_from) = match device.pushed {
            Some(mark) => {
                cites.push(mark.position);
                let at = moment(mark.at_ms);
                (
                    format!("frühestens ab {at} (genauer unbekannt)"),
                    format!("at the earliest from {at} (more is unknown)"),
                )
            }
            None => {
                let at = moment(device.opened.at_ms);
                (format!("von einem unbekannten Zeitpunkt vor {at}"), format!("from an unknown moment before {at}"))
            }
        };
        let (de_to, en_to) = match (device.verified, device.heard) {
            (Some(proven), heard) => {
                cites.push(proven.position);
                cites.extend(heard.map(|mark| mark.position));
                let spoke = heard.map_or(proven, |heard| heard.min(proven));
                let (spoke, proven) = (moment(spoke.at_ms), moment(proven.at_ms));
                (
                    format!("bis spätestens {spoke}, nachgewiesen {proven}"),
                    format!("until {spoke} at the latest, proven at {proven}"),
                )
            }
            (None, Some(heard)) => {
                cites.push(heard.position);
                let at = moment(heard.at_ms);
                (format!("meldet sich seit {at}, ein Nachweis fehlt"), format!("speaks since {at}, a proof is missing"))
            }
            (None, None) => {
                cites.push(facts.until.position);
                let at = moment(facts.until.at_ms);
                (format!("bis {at} nicht zurück"), format!("not back until {at}"))
            }
        };
        self.say(
            format!("{name}: ausgefallen {de_from}, {de_to}."),
            format!("{name}: down {en_from}, {en_to}."),
            &cites,
        )
    }

    /// When somebody there was told.
    fn reached(&self, facts: &Facts, device: &DeviceFacts) -> Sentence {
        let name = format!("{}/{}", device.site, device.name);
        match (device.notified, device.reached) {
            (Some(mark), None) => self.say(
                format!("{name}: benachrichtigt am {}, eine Antwort ist nicht verzeichnet.", moment(mark.at_ms)),
                format!("{name}: notified on {}, no answer is on record.", moment(mark.at_ms)),
                &[mark.position, facts.until.position],
            ),
            (sent, Some(mark)) => {
                let first = sent.map_or(mark, |sent| sent.min(mark));
                self.say(
                    format!("{name}: benachrichtigt am {}, erreicht am {}.", moment(first.at_ms), moment(mark.at_ms)),
                    format!("{name}: notified on {}, reached on {}.", moment(first.at_ms), moment(mark.at_ms)),
                    &[first.position, mark.position],
                )
            }
            (None, None) => self.say(
                format!("{name}: eine Benachrichtigung ist nicht verzeichnet."),
                format!("{name}: no notification is on record."),
                &[facts.until.position],
            ),
        }
    }

    fn repaired(&self, facts: &Facts, device: &DeviceFacts) -> Vec<Sentence> {
        let name = format!("{}/{}", device.site, device.name);
        let sentence = |remedy: &RemedyFacts| {
            let (action, at) = (&remedy.action, moment(remedy.sent.at_ms));
            let (de, en, mark) = match &remedy.answered {
                Some((mark, true, _)) => {
                    let at = moment(mark.at_ms);
                    (format!("ausgeführt {at}"), format!("carried out {at}"), *mark)
                }
                Some((mark, false, why)) => {
                    let at = moment(mark.at_ms);
                    (format!("gescheitert {at} ({why})"), format!("failed {at} ({why})"), *mark)
                }
                None => ("Ausgang unbekannt".into(), "outcome unknown".into(), facts.until),
            };
            self.say(
                format!("{name}: Abhilfe „{action}“ gesendet am {at}, {de}."),
                format!("{name}: remedy \"{action}\" sent on {at}, {en}."),
                &[remedy.sent.position, mark.position],
            )
        };
        device.remedies.iter().map(sentence).collect()
    }

    pub fn changes(&self, facts: &Facts) -> Section {
        let sentence = self.say(
            "Unbekannt: im Protokoll steht noch nicht, was geändert wird.",
            "Unknown: the log does not say yet what is going to change.",
            &[facts.until.position],
        );
        Section {
            heading: self.pick("Was wir ändern", "What we change"),
            sentences: vec![sentence],
            sections: Vec::new(),
        }
    }
}
