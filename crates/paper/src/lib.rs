//! Printed documents as data: letters, fax pages, call lists, reviews and dossiers, and the lines that the program
//! `staffel-press` reads and answers.
//!
//! Whoever wants paper writes these types; only the press knows how they look. So a typesetting system stands in one program
//! and in nobody else's address space (docs/adr/0009-press.md). What must stay out: layout, files, fonts.

#![forbid(unsafe_code)]

mod check;
mod date;
mod report;
mod words;

pub use check::Problem;
pub use date::{Date, NoDate};
pub use report::{Cell, CitedEntry, Fact, LogState, Report, Row, Section, SectionBlock, Sentence};
pub use words::Language;

use serde::{Deserialize, Serialize};

/// One line of the press's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The file's name without `.pdf`: 1 to 100 of `a-z A-Z 0-9 . _ -`, not beginning with a dot.
    pub name: String,
    pub document: Document,
}

/// One line of the press's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Printed {
    Written {
        name: String,
        /// The file's name in the output folder.
        file: String,
        pages: usize,
        bytes: usize,
    },
    Refused {
        /// The input line, counted from 1.
        line: usize,
        /// None: the line was not readable as a job.
        name: Option<String>,
        /// For programs: `unreadable`, `incomplete`, `name`, `typesetting` or `file`.
        error: String,
        /// For people.
        message: String,
    },
}

/// What can be printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Document {
    Letter(Letter),
    FaxPage(FaxPage),
    CallList(CallList),
    /// The post-incident review.
    Review(Report),
    /// What one customer can show its own customers, insurer or authority.
    Dossier(Report),
}

/// Who writes, as it stands on paper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub name: String,
    /// Street, postal code and town, for the return line above the address: 1 to 3 lines.
    pub address: Vec<String>,
    /// The number that is answered in an incident.
    pub phone: String,
    /// When it is answered, in words; none: always.
    pub phone_hours: Option<String>,
    /// Where a signed fax page is sent back to.
    pub fax: Option<String>,
    pub email: Option<String>,
}

/// What the reader does to say "I know".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The short code as it is read aloud, with its check character.
    pub code: String,
    /// What the QR code says: an address with the short code, at most 120 characters.
    pub qr: String,
}

/// A piece of running text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    Paragraph(String),
    /// Numbered steps.
    Steps(Vec<String>),
    /// What must be seen first.
    Important(String),
}

/// A letter for a window envelope (DIN 5008 form B geometry in both languages).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letter {
    pub language: Language,
    pub sender: Sender,
    /// The address as it stands in the window: 2 to 6 lines.
    pub recipient: Vec<String>,
    pub date: Date,
    /// What it is about, as people name it on the phone.
    pub incident: String,
    pub subject: String,
    pub greeting: String,
    pub body: Vec<Block>,
    pub closing: String,
    /// Who signs.
    pub signature: String,
    pub answer: Answer,
}

/// A page for a fax machine: black and white, large type, legible after a bad line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaxPage {
    pub language: Language,
    pub sender: Sender,
    /// Who it is for, one line.
    pub recipient: String,
    /// The number it goes to.
    pub number: String,
    pub date: Date,
    pub incident: String,
    pub subject: String,
    pub body: Vec<Block>,
    pub answer: Answer,
}

/// Whom people have to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallList {
    pub language: Language,
    pub incident: String,
    pub subject: String,
    pub date: Date,
    /// When it was made, in words.
    pub made_at: String,
    pub by: String,
    /// Who was asked in all, so that the length of the list can be judged.
    pub audience: usize,
    pub calls: Vec<Call>,
}

/// One site that nobody has reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub site: String,
    pub customer: String,
    /// None: no person is known there.
    pub contact: Option<String>,
    /// None: no number is known; the line says so.
    pub phone: Option<String>,
    pub code: String,
    pub critical: bool,
    /// What was tried so far and how it ended, in words.
    pub tried: String,
}
