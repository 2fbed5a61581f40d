//! What a document must have before it is set in type. A gap on paper is worse than no paper: nobody can ask a letter.

use crate::{Answer, Block, CallList, Document, FaxPage, Job, Letter, Report, SectionBlock, Sender, report::Cell};
use std::collections::BTreeSet;

/// Why a document is not printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{field} is empty")]
    Empty { field: String },
    #[error("{field} has {count} of {least} to {most}")]
    Count { field: String, count: usize, least: usize, most: usize },
    #[error("{field} holds a control character (U+{character:04X}): write one block a paragraph")]
    Control { field: String, character: u32 },
    #[error("{field} cites no entry of the log: {text:?}")]
    NoEntry { field: String, text: String },
    #[error("{field} cites entry {number}, which is not in the appendix")]
    UnlistedEntry { field: String, number: u64 },
    #[error("{name:?} is no name for a file: 1 to 100 of a-z A-Z 0-9 . _ -, not beginning with a dot")]
    Name { name: String },
}

/// Characters that a QR code on paper may have, so that its modules stay large.
const MOST_QR: usize = 120;

impl Job {
    /// `Err` with the first thing that is missing.
    pub fn check(&self) -> Result<(), Problem> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let length = (1..=100).contains(&self.name.len());
        if !length || self.name.starts_with('.') || !self.name.chars().all(good) {
            return Err(Problem::Name { name: self.name.chars().take(120).collect() });
        }
        self.document.check()
    }
}

impl Document {
    /// `Err` with the first thing that is missing.
    pub fn check(&self) -> Result<(), Problem> {
        match self {
            Document::Letter(letter) => letter.check(),
            Document::FaxPage(page) => page.check(),
            Document::CallList(list) => list.check(),
            Document::Review(report) | Document::Dossier(report) => report.check(),
        }
    }
}

fn text(field: &str, text: &str) -> Result<(), Problem> {
    if text.trim().is_empty() {
        return Err(Problem::Empty { field: field.into() });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(Problem::Control { field: field.into(), character: c.into() }),
        None => Ok(()),
    }
}

fn optional(field: &str, value: Option<&String>) -> Result<(), Problem> {
    value.map_or(Ok(()), |value| text(field, value))
}

fn lines(field: &str, lines: &[String], least: usize, most: usize) -> Result<(), Problem> {
    if !(least..=most).contains(&lines.len()) {
        return Err(Problem::Count { field: field.into(), count: lines.len(), least, most });
    }
    lines.iter().try_for_each(|line| text(field, line))
}

fn body(blocks: &[Block]) -> Result<(), Problem> {
    if blocks.is_empty() {
        return Err(Problem::Empty { field: "body".into() });
    }
    blocks.iter().try_for_each(|block| match block {
        Block::Paragraph(words) => text("paragraph", words),
        Block::Important(words) => text("important paragraph", words),
        Block::Steps(steps) => lines("steps", steps, 1, 50),
    })
}

impl Sender {
    fn check(&self) -> Result<(), Problem> {
        text("sender's name", &self.name)?;
        lines("sender's address", &self.address, 1, 3)?;
        text("sender's phone", &self.phone)?;
        optional("sender's phone hours", self.phone_hours.as_ref())?;
        optional("sender's fax", self.fax.as_ref())?;
        optional("sender's e-mail", self.email.as_ref())
    }
}

impl Answer {
    fn check(&self) -> Result<(), Problem> {
        text("short code", &self.code)?;
        text("text of the QR code", &self.qr)?;
        let count = self.qr.chars().count();
        if count > MOST_QR {
            return Err(Problem::Count { field: "text of the QR code".into(), count, least: 1, most: MOST_QR });
        }
        Ok(())
    }
}

impl Letter {
    fn check(&self) -> Result<(), Problem> {
        self.sender.check()?;
        lines("recipient's address", &self.recipient, 2, 6)?;
        text("incident", &self.incident)?;
        text("subject", &self.subject)?;
        text("greeting", &self.greeting)?;
        body(&self.body)?;
        text("closing", &self.closing)?;
        text("signature", &self.signature)?;
        self.answer.check()
    }
}

impl FaxPage {
    fn check(&self) -> Result<(), Problem> {
        self.sender.check()?;
        text("recipient", &self.recipient)?;
        text("recipient's number", &self.number)?;
        text("incident", &self.incident)?;
        text("subject", &self.subject)?;
        body(&self.body)?;
        self.answer.check()
    }
}

impl CallList {
    fn check(&self) -> Result<(), Problem> {
        for (field, value) in [
            ("incident", &self.incident),
            ("subject", &self.subject),
            ("time of making", &self.made_at),
            ("author", &self.by),
        ] {
            text(field, value)?;
        }
        self.calls.iter().try_for_each(|call| {
            text("site", &call.site)?;
            text("customer", &call.customer)?;
            optional("contact", call.contact.as_ref())?;
            optional("phone", call.phone.as_ref())?;
            text("short code", &call.code)?;
            text("what was tried", &call.tried)
        })
    }
}

impl Report {
    fn check(&self) -> Result<(), Problem> {
        text("title", &self.title)?;
        text("subject of the report", &self.about)?;
        text("author", &self.by)?;
        text("root of the log", &self.log.root)?;
        if self.sections.is_empty() {
            return Err(Problem::Empty { field: "sections".into() });
        }
        let listed: BTreeSet<u64> = self.entries.iter().map(|entry| entry.number).collect();
        let cited = |field: &str, words: &str, numbers: &[u64]| {
            if numbers.is_empty() {
                return Err(Problem::NoEntry { field: field.into(), text: words.chars().take(80).collect() });
            }
            match numbers.iter().find(|number| !listed.contains(number)) {
                Some(number) => Err(Problem::UnlistedEntry { field: field.into(), number: *number }),
                None => Ok(()),
            }
        };
        for entry in &self.entries {
            text("time of an entry", &entry.at)?;
            text("kind of an entry", &entry.kind)?;
            text("hash of an entry", &entry.hash)?;
        }
        for fact in &self.facts {
            text("label of a fact", &fact.label)?;
            cell("value of a fact", &fact.value)?;
            // What is unknown stands nowhere, so nothing can be cited for it.
            if matches!(fact.value, Cell::Known(_)) {
                cited("a fact", &fact.label, &fact.entries)?;
            }
        }
        for section in &self.sections {
            text("heading", &section.heading)?;
            for block in &section.blocks {
                match block {
                    SectionBlock::Paragraph(sentences) => {
                        for sentence in sentences {
                            text("sentence", &sentence.text)?;
                            cited("a sentence", &sentence.text, &sentence.entries)?;
                        }
                    }
                    SectionBlock::Table { columns, rows } => {
                        lines("columns", columns, 1, 8)?;
                        for row in rows {
                            let (count, wanted) = (row.cells.len(), columns.len());
                            if count != wanted {
                                let field = "cells of a row".into();
                                return Err(Problem::Count { field, count, least: wanted, most: wanted });
                            }
                            row.cells.iter().try_for_each(|value| cell("cell", value))?;
                            cited("a row", &format!("{:?}", row.cells), &row.entries)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn cell(field: &str, cell: &Cell) -> Result<(), Problem> {
    match cell {
        Cell::Known(words) => text(field, words),
        Cell::Unknown | Cell::NotApplicable => Ok(()),
    }
}
