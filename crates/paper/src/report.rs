//! Reviews and dossiers: sentences that each cite the log.

use crate::{Date, Language};
use serde::{Deserialize, Serialize};

/// A report made from the log. Every sentence and row cites entries of it; each cited entry stands in the appendix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub language: Language,
    pub title: String,
    /// What and whom it is about, one line.
    pub about: String,
    pub date: Date,
    /// Who issues it.
    pub by: String,
    /// The sheet of facts on the first page.
    pub facts: Vec<Fact>,
    pub sections: Vec<Section>,
    /// Every entry that is cited, in ascending order.
    pub entries: Vec<CitedEntry>,
    /// The log as it was when the report was made.
    pub log: LogState,
}

/// A line of the sheet of facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub label: String,
    pub value: Cell,
    /// Numbers of log entries.
    pub entries: Vec<u64>,
}

/// A value, or the word that it is not known. An empty text is neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    Known(String),
    Unknown,
    NotApplicable,
}

/// A part with its heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub heading: String,
    pub blocks: Vec<SectionBlock>,
}

/// What a section is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SectionBlock {
    Paragraph(Vec<Sentence>),
    /// As many cells in each row as there are columns.
    Table {
        columns: Vec<String>,
        rows: Vec<Row>,
    },
}

/// A sentence and the entries that bear it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sentence {
    pub text: String,
    pub entries: Vec<u64>,
}

/// A row of a table and the entries that bear it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub cells: Vec<Cell>,
    pub entries: Vec<u64>,
}

/// An entry of the log, so that a reader can ask for it and check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CitedEntry {
    pub number: u64,
    /// When it was written, in words.
    pub at: String,
    /// The entry's kind, such as `rollout.halted`.
    pub kind: String,
    /// SHA-256 of the entry, hexadecimal.
    pub hash: String,
}

/// Size and root of the log's Merkle tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    pub size: u64,
    /// Hexadecimal.
    pub root: String,
}
