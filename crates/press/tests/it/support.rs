//! Documents to print, and poppler to read them back.

use staffel_paper::{
    Answer, Block, Call, CallList, Cell, CitedEntry, Date, Document, Fact, FaxPage, Job, Language, Letter, LogState,
    Report, Row, Section, SectionBlock, Sender, Sentence,
};
use staffel_press::{Paper, Press};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

pub const CODE: &str = "K7MD-2RXA";
pub const QR: &str = "https://status.example/c/K7MD-2RXA";
/// Letters that a font or an encoding may lose.
pub const UMLAUTS: &str = "äöüßÄÖÜ";
pub const NAME: &str = "Dr. Änne Größe, Łódź";

/// One press for all tests: loading the fonts takes longer than a page.
pub fn press() -> &'static Press {
    static PRESS: OnceLock<Press> = OnceLock::new();
    PRESS.get_or_init(|| Press::new().expect("the embedded fonts and templates load"))
}

pub fn print(document: Document) -> Paper {
    press().print(&job("page", document)).expect("a complete document is printed")
}

pub fn job(name: &str, document: Document) -> Job {
    Job { name: name.into(), document }
}

/// Whether poppler is there. Without it a test is skipped, except in CI.
pub fn poppler(test: &str) -> bool {
    let there = Command::new("pdftotext").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{test}: pdftotext is missing in CI");
        eprintln!("SKIP {test}: pdftotext is missing");
    }
    there
}

/// Runs a program of poppler on a document; answers what it prints.
pub fn ask(program: &str, paper: &Paper, before: &[&str], after: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.pdf");
    std::fs::write(&file, &paper.pdf).expect("the file is written");
    ask_file(program, &file, before, after)
}

fn ask_file(program: &str, file: &Path, before: &[&str], after: &[&str]) -> Vec<u8> {
    let out = Command::new(program).args(before).arg(file).args(after).output().expect("poppler runs");
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "{program} complains: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

pub fn text_of(paper: &Paper) -> String {
    String::from_utf8(ask("pdftotext", paper, &["-layout"], &["-"])).expect("poppler writes UTF-8")
}

fn sender() -> Sender {
    Sender {
        name: "Musterhaus Apothekensoftware GmbH".into(),
        address: vec!["Lange Straße 12".into(), "70173 Stuttgart".into()],
        phone: "0711 555 01 99".into(),
        phone_hours: Some("täglich 6 bis 22 Uhr".into()),
        fax: Some("0711 555 01 98".into()),
        email: Some("hilfe@musterhaus.example".into()),
    }
}

fn body() -> Vec<Block> {
    vec![
        Block::Paragraph(format!(
            "Ihre Kassenplätze starten nicht, weil ein Update fehlerhaft war. Prüfzeile: {UMLAUTS}."
        )),
        Block::Steps(vec![
            "Umschalttaste gedrückt halten und den Rechner starten.".into(),
            "„Letzter guter Stand“ wählen und vier Minuten warten.".into(),
        ]),
        Block::Important("Schalten Sie den Virenschutz nicht ab.".into()),
    ]
}

fn answer() -> Answer {
    Answer { code: CODE.into(), qr: QR.into() }
}

fn date() -> Date {
    Date::new(2026, 11, 22).expect("a day")
}

pub fn letter(language: Language) -> Letter {
    Letter {
        language,
        sender: sender(),
        recipient: vec!["Löwen-Apotheke".into(), NAME.into(), "Öhringer Weg 7".into(), "01097 Dresden".into()],
        date: date(),
        incident: "V-2026-007".into(),
        subject: "Kassenplätze starten nach einem Update nicht".into(),
        greeting: "Guten Tag,".into(),
        body: body(),
        closing: "Mit freundlichen Grüßen".into(),
        signature: "Jürgen Weiß, Kundendienst".into(),
        answer: answer(),
    }
}

pub fn fax(language: Language) -> FaxPage {
    FaxPage {
        language,
        sender: sender(),
        recipient: format!("Löwen-Apotheke, {NAME}"),
        number: "0351 555 77 01".into(),
        date: date(),
        incident: "V-2026-007".into(),
        subject: "So starten Sie Ihre Kassenplätze wieder".into(),
        body: body(),
        answer: answer(),
    }
}

pub fn call_list(language: Language) -> CallList {
    let call = |site: &str, phone: Option<&str>| Call {
        site: site.into(),
        customer: "Größe e. K.".into(),
        contact: phone.map(|_| NAME.into()),
        phone: phone.map(Into::into),
        code: CODE.into(),
        critical: phone.is_some(),
        tried: format!("E-Mail 06:31 abgewiesen; Fax fünfmal besetzt {UMLAUTS}"),
    };
    CallList {
        language,
        incident: "V-2026-007".into(),
        subject: "Kassenplätze starten nicht".into(),
        date: date(),
        made_at: "22. November 2026, 09:30 Uhr".into(),
        by: "m.weiss".into(),
        audience: 240,
        calls: vec![call("Apotheke am Łódźer Platz", Some("0351 555 77 00")), call("Bären-Apotheke", None)],
    }
}

pub fn report(language: Language) -> Report {
    let entry = |number: u64, kind: &str| CitedEntry {
        number,
        at: "2026-11-22 05:10:04 UTC".into(),
        kind: kind.into(),
        hash: format!("{number:064x}"),
    };
    Report {
        language,
        title: "Kassenplätze starteten nach einem Update nicht".into(),
        about: format!("Vorfall V-2026-007, {NAME}"),
        date: date(),
        by: "Musterhaus Apothekensoftware GmbH".into(),
        facts: vec![
            Fact { label: "Von".into(), value: Cell::Known("22. November 2026, 06:10".into()), entries: vec![101] },
            Fact { label: "Bis".into(), value: Cell::Unknown, entries: vec![] },
            Fact { label: "Art. 33 DSGVO".into(), value: Cell::NotApplicable, entries: vec![] },
        ],
        sections: vec![
            Section {
                heading: "Was geschah".into(),
                blocks: vec![SectionBlock::Paragraph(vec![
                    Sentence { text: "Um 06:10 Uhr öffnete sich die zweite Welle.".into(), entries: vec![101] },
                    Sentence { text: format!("Danach schwiegen fünf Geräte {UMLAUTS}."), entries: vec![102, 105] },
                ])],
            },
            Section {
                heading: "Wer betroffen war".into(),
                blocks: vec![SectionBlock::Table {
                    columns: vec!["Standort".into(), "erreicht".into()],
                    rows: vec![Row {
                        cells: vec![Cell::Known("Löwen-Apotheke".into()), Cell::Unknown],
                        entries: vec![102],
                    }],
                }],
            },
        ],
        entries: vec![entry(101, "rollout.wave-opened"), entry(102, "rollout.observed"), entry(105, "rollout.halted")],
        log: LogState { size: 4_711, root: format!("{:064x}", 77) },
    }
}

/// One of each kind in each language.
pub fn all() -> Vec<(String, Document)> {
    let kinds = |language: Language| {
        [
            ("letter", Document::Letter(letter(language))),
            ("fax", Document::FaxPage(fax(language))),
            ("call-list", Document::CallList(call_list(language))),
            ("review", Document::Review(report(language))),
            ("dossier", Document::Dossier(report(language))),
        ]
        .map(|(kind, document)| (format!("{kind}-{language}"), document))
    };
    Language::ALL.into_iter().flat_map(kinds).collect()
}
