//! The press: sets documents of `staffel-paper` in type and writes PDF/A-2b.
//!
//! Templates and fonts are in the program; it reads no other file and no network, so a page looks the same everywhere and in
//! ten years. What lives here: [`Press`] (one document to bytes), [`run`] (lines to files, over all cores), `qr` (the QR
//! code's modules), `world` (what the templates may read). What must stay out: what is printed and for whom.

#![forbid(unsafe_code)]

mod qr;
pub mod run;
mod world;

use qr::QrCode;
use serde::Serialize;
use staffel_paper::{Date, Document, Job, Language, Problem};
use typst::{diag::SourceDiagnostic, foundations::Smart};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};
use world::{Shared, World};

/// Why a document was not printed.
#[derive(Debug, thiserror::Error)]
pub enum PressError {
    #[error(transparent)]
    Incomplete(#[from] Problem),
    #[error("no font here has the character {character:?} (U+{code:04X})")]
    NoGlyph { character: char, code: u32 },
    #[error("the QR code can't hold its text: {why}")]
    QrCode { why: String },
    #[error("write the document's data for the template")]
    Data(#[source] serde_json::Error),
    #[error("set {name} in type: {why}")]
    Typesetting { name: String, why: String },
}

impl PressError {
    /// The word for programs in [`staffel_paper::Printed::Refused`].
    pub fn word(&self) -> &'static str {
        match self {
            PressError::Incomplete(Problem::Name { .. }) => "name",
            PressError::Incomplete(_) | PressError::NoGlyph { .. } | PressError::QrCode { .. } => "incomplete",
            PressError::Data(_) | PressError::Typesetting { .. } => "typesetting",
        }
    }
}

/// A printed document.
pub struct Paper {
    pub pdf: Vec<u8>,
    pub pages: usize,
}

/// Fonts and templates, loaded once; shared by all threads.
pub struct Press {
    shared: Shared,
    standards: PdfStandards,
}

/// What a template reads as `/data.json`.
#[derive(Serialize)]
struct Data<'a> {
    document: &'a Document,
    date: DateWords,
    qr: Option<QrCode>,
}

#[derive(Serialize)]
struct DateWords {
    year: u16,
    month: u8,
    day: u8,
    long: String,
}

impl DateWords {
    fn of(date: Date, language: Language) -> Self {
        DateWords { year: date.year(), month: date.month(), day: date.day(), long: date.long(language) }
    }
}

impl Press {
    /// Loads what is embedded.
    pub fn new() -> Result<Self, PressError> {
        let broken = |why: String| PressError::Typesetting { name: "the press".into(), why };
        Ok(Press {
            shared: Shared::load().map_err(broken)?,
            standards: PdfStandards::new(&[PdfStandard::A_2b]).map_err(|e| broken(e.message().to_string()))?,
        })
    }

    /// One document. Takes some milliseconds in an optimised build.
    pub fn print(&self, job: &Job) -> Result<Paper, PressError> {
        job.check()?;
        let (template, date, language, qr) = match &job.document {
            Document::Letter(letter) => ("letter.typ", letter.date, letter.language, Some(&letter.answer.qr)),
            Document::FaxPage(page) => ("fax.typ", page.date, page.language, Some(&page.answer.qr)),
            Document::CallList(list) => ("call-list.typ", list.date, list.language, None),
            Document::Review(report) | Document::Dossier(report) => ("report.typ", report.date, report.language, None),
        };
        let data = Data {
            document: &job.document,
            date: DateWords::of(date, language),
            qr: qr.map(|text| QrCode::of(text)).transpose().map_err(|why| PressError::QrCode { why })?,
        };
        let json = serde_json::to_vec(&data).map_err(PressError::Data)?;
        if let Some(character) = self.shared.without_glyph(&String::from_utf8_lossy(&json)) {
            return Err(PressError::NoGlyph { character, code: character.into() });
        }
        let unset = |why: String| PressError::Typesetting { name: job.name.clone(), why };
        let world = World::new(&self.shared, template, json);
        let world = world.ok_or_else(|| unset(format!("{template} is missing")))?;
        let failed = |errors: &[SourceDiagnostic]| {
            let why: Vec<String> = errors.iter().map(|e| format!("{}{}", world.place(e), e.message)).collect();
            unset(why.join("; "))
        };
        let pages = typst::compile::<PagedDocument>(&world).output.map_err(|e| failed(&e))?;
        let options = PdfOptions {
            ident: Smart::Custom(job.name.clone()),
            creator: Smart::Custom(Some("Staffel".into())),
            standards: self.standards.clone(),
            ..PdfOptions::default()
        };
        let pdf = typst_pdf::pdf(&pages, &options).map_err(|e| failed(&e))?;
        Ok(Paper { pdf, pages: pages.pages().len() })
    }
}
