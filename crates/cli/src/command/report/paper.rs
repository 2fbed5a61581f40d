//! A review or dossier as what `staffel-press` prints: each sentence with its entries, and the entries in the appendix. Must stay
//! out: what it says.

use crate::client::time::now_ms;
use anyhow::{Context as _, Result};
use staffel_core::review::{self, moment};
use staffel_paper::{Cell, CitedEntry, Document, Fact, Language, LogState, Report, Section, SectionBlock, Sentence};
use staffel_server::api::{Dossier, ReviewSheet};

/// The review.
pub fn review(sheet: &ReviewSheet, incident: u64) -> Result<Document> {
    report(sheet, format!("V-{incident}")).map(Document::Review)
}

/// What one customer gets.
pub fn dossier(dossier: &Dossier, incident: u64) -> Result<Document> {
    report(&dossier.sheet, format!("{}, V-{incident}", dossier.tenant)).map(Document::Dossier)
}

fn report(sheet: &ReviewSheet, about: String) -> Result<Report> {
    let mut sections = Vec::new();
    for section in &sheet.document.sections {
        flatten(section, "", &mut sections);
    }
    let entry = |entry: &staffel_server::api::CitedEntry| CitedEntry {
        number: entry.position,
        at: moment(entry.at_ms),
        kind: entry.kind.clone(),
        hash: entry.hash.clone(),
    };
    let fact = |fact: &review::Fact| Fact {
        label: line(&fact.label),
        value: fact.value.as_deref().map_or(Cell::Unknown, |value| Cell::Known(line(value))),
        entries: fact.cites.clone(),
    };
    let today = moment(now_ms());
    Ok(Report {
        language: match sheet.document.language {
            review::Language::De => Language::De,
            review::Language::En => Language::En,
        },
        title: line(&sheet.document.title),
        about,
        date: today.get(..10).and_then(|date| date.parse().ok()).context("find today's date")?,
        by: line(&sheet.issuer),
        facts: sheet.document.facts.iter().map(fact).collect(),
        sections,
        entries: sheet.entries.iter().map(entry).collect(),
        log: LogState { size: sheet.log_size, root: sheet.log_root.clone() },
    })
}

/// Paper has one level of headings: a part's heading stands before those of the parts below it.
fn flatten(section: &review::Section, above: &str, sections: &mut Vec<Section>) {
    let heading = format!("{above}{}", line(&section.heading));
    if !section.sentences.is_empty() || section.sections.is_empty() {
        let sentence = |one: &review::Sentence| vec![Sentence { text: line(&one.text), entries: one.cites.clone() }];
        let blocks = section.sentences.iter().map(sentence).map(SectionBlock::Paragraph).collect();
        sections.push(Section { heading: heading.clone(), blocks });
    }
    for below in &section.sections {
        flatten(below, &format!("{heading}: "), sections);
    }
}

/// Words of devices and people may have line breaks, which the press refuses.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_to_the_press_is_complete() {
        let sentence = |text: &str| review::Sentence { text: text.into(), cites: vec![3] };
        let own = review::Section { heading: "clinic".into(), sentences: vec![sentence("Gut.")], sections: Vec::new() };
        let sections = vec![
            review::Section { heading: "Überblick".into(), sentences: vec![sentence("a\nb.")], sections: Vec::new() },
            review::Section { heading: "Wer".into(), sentences: Vec::new(), sections: vec![own] },
        ];
        let fact = |value: Option<&str>| review::Fact {
            label: "Ursache".into(),
            value: value.map(Into::into),
            cites: vec![3],
        };
        let facts = vec![fact(Some("counter 2")), fact(None)];
        let title = "Nachbetrachtung".into();
        let document = review::Document { language: review::Language::De, title, facts, sections };
        let entry = staffel_server::api::CitedEntry { position: 3, at_ms: 0, kind: "x".into(), hash: "ab".into() };
        let (issuer, log_root) = ("Staffel".to_string(), "cd".to_string());
        let sheet = ReviewSheet { document, issuer, entries: vec![entry], log_size: 9, log_root };
        let Document::Review(report) = review(&sheet, 4).unwrap() else { panic!("it is a review") };
        let headings: Vec<_> = report.sections.iter().map(|section| section.heading.as_str()).collect();
        assert_eq!(headings, ["Überblick", "Wer: clinic"]);
        let values: Vec<_> = report.facts.iter().map(|fact| fact.value.clone()).collect();
        assert_eq!(values, [Cell::Known("counter 2".into()), Cell::Unknown]);
        assert_eq!(Document::Review(report).check(), Ok(()));
        // A sentence on an entry that is not listed is no page.
        let sheet = ReviewSheet { entries: Vec::new(), ..sheet };
        assert!(review(&sheet, 4).unwrap().check().is_err());
    }
}
