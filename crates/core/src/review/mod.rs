//! The post-incident review as a document: sections of sentences, and every sentence names the entries of the log that it rests
//! on. What is not known is called unknown. Must stay out: reading the log, fonts and layout.
//!
//! [`Facts`] are what the log says (`facts`); [`review`] turns them into a [`Document`] in German or English, [`dossiers`] into one
//! for each customer. The order of a review's sections is: summary, what happened, what went wrong and why, who was told, who was
//! affected (each customer), what we change. Sentences stand in `words`, those about notices in `told`, the facts that a document
//! opens with in `sheet`.

mod facts;
mod sheet;
mod time;
mod told;
mod words;

pub use facts::{
    Acknowledgement, DeviceFacts, Facts, Mark, Means, NoticeFacts, Push, RecipientFacts, RemedyFacts, Sending,
    SendingEnd, SuspectFacts,
};
pub use time::moment;

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The document's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    De,
    En,
}

/// A document without a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub language: Language,
    pub title: String,
    /// What it opens with.
    #[serde(default)]
    pub facts: Vec<Fact>,
    pub sections: Vec<Section>,
}

/// A fact in one line with the positions in the log that it rests on: never none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub label: String,
    /// `None`: the log does not say it.
    pub value: Option<String>,
    pub cites: Vec<u64>,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    pub heading: String,
    pub sentences: Vec<Sentence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
}

/// A sentence with the positions in the log that it rests on: never none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentence {
    pub text: String,
    pub cites: Vec<u64>,
}

/// The review.
pub fn review(facts: &Facts, language: Language) -> Document {
    let words = words::Words { language };
    let customers = customers(facts);
    let dossiers = customers.iter().map(|customer| words.dossier(facts, customer)).collect();
    Document {
        language,
        title: words.title(facts),
        facts: words.sheet(facts, None),
        sections: vec![
            words.summary(facts, customers.len()),
            words.course(facts),
            words.causes(facts),
            words.told(facts),
            Section { heading: words.affected_heading(), sentences: Vec::new(), sections: dossiers },
            words.changes(facts),
        ],
    }
}

/// What each customer gets to read, by name: cause, its devices, when it was told. Names no other customer.
pub fn dossiers(facts: &Facts, language: Language) -> Vec<(String, Document)> {
    let words = words::Words { language };
    let dossier = |customer: &str| {
        let own = Section { heading: words.own_heading(), ..words.dossier(facts, customer) };
        let sheet = words.sheet(facts, Some(customer));
        Document { language, title: words.dossier_title(facts, customer), facts: sheet, sections: vec![own] }
    };
    customers(facts).into_iter().map(|customer| (customer.to_string(), dossier(customer))).collect()
}

/// Those with a device in the incident, or with a site that was told of it.
fn customers(facts: &Facts) -> BTreeSet<&str> {
    let told = facts.notices.iter().flat_map(|notice| &notice.recipients).map(|one| one.tenant.as_str());
    facts.devices.iter().map(|device| device.tenant.as_str()).chain(told).collect()
}

impl Document {
    /// The positions in the log that it rests on, ascending.
    pub fn cites(&self) -> BTreeSet<u64> {
        let sentences = self.sections.iter().flat_map(Section::all).flat_map(|sentence| &sentence.cites);
        self.facts.iter().flat_map(|fact| &fact.cites).chain(sentences).copied().collect()
    }
}

impl Section {
    /// All sentences, those of the sections below included.
    pub fn all(&self) -> Vec<&Sentence> {
        let below = self.sections.iter().flat_map(Section::all);
        self.sentences.iter().chain(below).collect()
    }
}

#[cfg(test)]
mod tests;
