//! What stands on the pages: text that can be copied out, archive format, the address in the window, citations.

use crate::support::{
    CODE, NAME, QR, UMLAUTS, all, ask, call_list, fax, job, letter, poppler, press, print, report, text_of,
};
use staffel_paper::{Block, Document, Language};
use staffel_press::PressError;

/// Points a millimetre.
const MM: f64 = 72.0 / 25.4;

#[test]
fn umlauts_and_names_can_be_read_out_of_every_document() {
    if !poppler("umlauts_and_names_can_be_read_out_of_every_document") {
        return;
    }
    for (name, document) in all() {
        let text = text_of(&print(document));
        for wanted in [UMLAUTS, "Größe", "Łódź"] {
            assert!(text.contains(wanted), "{name} lacks {wanted}:\n{text}");
        }
    }
}

#[test]
fn every_document_says_that_it_is_pdf_a_2b_and_embeds_its_fonts() {
    let poppler = poppler("every_document_says_that_it_is_pdf_a_2b_and_embeds_its_fonts");
    for (name, document) in all() {
        let paper = print(document);
        let raw = String::from_utf8_lossy(&paper.pdf);
        for wanted in
            ["%PDF-1.7", "<pdfaid:part>2</pdfaid:part>", "<pdfaid:conformance>B</pdfaid:conformance>", "/OutputIntent"]
        {
            assert!(raw.contains(wanted), "{name} lacks {wanted}");
        }
        if !poppler {
            continue;
        }
        let fonts = String::from_utf8(ask("pdffonts", &paper, &[], &[])).expect("UTF-8");
        let fonts: Vec<&str> = fonts.lines().skip(2).collect();
        assert!(!fonts.is_empty(), "{name} has no font");
        for font in fonts {
            // ... emb sub uni object ID
            let columns: Vec<&str> = font.split_whitespace().rev().take(5).collect();
            assert_eq!(columns[2..], ["yes", "yes", "yes"], "{name}: not embedded, subset and readable: {font}");
        }
    }
}

#[test]
fn the_address_stands_in_the_envelopes_window() {
    if !poppler("the_address_stands_in_the_envelopes_window") {
        return;
    }
    for language in Language::ALL {
        let words = ask("pdftotext", &print(Document::Letter(letter(language))), &["-bbox"], &["-"]);
        let words = String::from_utf8(words).expect("UTF-8");
        // The first of each stands in the address; DIN 5008 form B: 20 to 105 mm from the left, 62.7 to 90 mm from the top.
        for wanted in ["Löwen-Apotheke", "Größe,", "Öhringer", "01097"] {
            let line = words.lines().find(|line| line.contains(&format!(">{wanted}<"))).expect(wanted);
            let number = |key: &str| -> f64 {
                let from = line.find(key).expect(key) + key.len() + 2;
                line[from..].split('"').next().and_then(|n| n.parse().ok()).expect("a number")
            };
            let (left, right) = (number("xMin") / MM, number("xMax") / MM);
            let (top, bottom) = (number("yMin") / MM, number("yMax") / MM);
            assert!(left >= 20.0 && right <= 105.0, "{wanted}: {left} to {right} mm from the left");
            assert!(top >= 60.0 && bottom <= 90.0, "{wanted}: {top} to {bottom} mm from the top");
        }
    }
}

#[test]
fn letters_and_fax_pages_carry_code_and_phone_number_on_paper() {
    if !poppler("letters_and_fax_pages_carry_code_and_phone_number_on_paper") {
        return;
    }
    for language in Language::ALL {
        for document in [Document::Letter(letter(language)), Document::FaxPage(fax(language))] {
            let text = text_of(&print(document));
            for wanted in [CODE, "0711 555 01 99", "V-2026-007"] {
                assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
            }
        }
    }
}

#[test]
fn every_page_of_a_long_fax_says_what_it_belongs_to() {
    if !poppler("every_page_of_a_long_fax_says_what_it_belongs_to") {
        return;
    }
    let mut long = fax(Language::De);
    long.body = (0..14)
        .map(|n| Block::Paragraph(format!("Absatz {n}. {}", "Weitere Worte für die Seite. ".repeat(8))))
        .collect();
    let paper = print(Document::FaxPage(long));
    assert!(paper.pages >= 3, "{} pages", paper.pages);
    let text = text_of(&paper);
    for (number, page) in text.split('\u{c}').take(paper.pages).enumerate() {
        assert!(page.contains(CODE), "page {} lacks the code", number + 1);
        assert!(page.contains(&format!("Seite {} von {}", number + 1, paper.pages)), "{page}");
    }
}

#[test]
fn a_report_names_its_entries_and_calls_unknown_what_is_unknown() {
    if !poppler("a_report_names_its_entries_and_calls_unknown_what_is_unknown") {
        return;
    }
    let german = text_of(&print(Document::Dossier(report(Language::De))));
    let english = text_of(&print(Document::Review(report(Language::En))));
    let plain: String = german.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in ["zweite Welle. [101]", "[102, 105]", "unbekannt", "entfällt", "rollout.halted", "DOSSIER"] {
        assert!(plain.contains(wanted), "{wanted} is missing:\n{german}");
    }
    assert!(english.contains("unknown") && english.contains("not applicable"), "{english}");
}

#[test]
fn the_call_list_says_when_no_number_is_known_and_when_nobody_is_left() {
    if !poppler("the_call_list_says_when_no_number_is_known_and_when_nobody_is_left") {
        return;
    }
    let mut list = call_list(Language::De);
    let text = text_of(&print(Document::CallList(list.clone())));
    assert!(
        text.contains("2 von 240 Empfängern") && text.contains("nicht bekannt") && text.contains("zuerst"),
        "{text}"
    );
    list.calls.clear();
    let text = text_of(&print(Document::CallList(list)));
    assert!(text.contains("Es ist niemand anzurufen"), "{text}");
}

#[test]
fn text_is_never_run_as_markup() {
    if !poppler("text_is_never_run_as_markup") {
        return;
    }
    let hostile = r#"#panic("x") $1/0$ *fett* @quelle <marke> // Rest \u{41}"#;
    let mut letter = letter(Language::De);
    letter.subject = hostile.into();
    letter.body = vec![Block::Paragraph(hostile.into())];
    let text = text_of(&print(Document::Letter(letter)));
    assert!(text.matches("*fett* @quelle <marke> // Rest").count() >= 2, "{text}");
}

#[test]
fn the_same_document_gives_the_same_bytes() {
    for (name, document) in all() {
        assert!(print(document.clone()).pdf == print(document).pdf, "{name} differs from itself");
    }
}

#[test]
fn what_is_missing_is_refused_by_name() {
    let refused = |change: fn(&mut staffel_paper::Letter)| {
        let mut letter = letter(Language::En);
        change(&mut letter);
        press().print(&job("x", Document::Letter(letter))).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(|l| l.subject = "  ".into()), "subject is empty");
    assert_eq!(refused(|l| l.body.clear()), "body is empty");
    assert_eq!(refused(|l| l.recipient.truncate(1)), "recipient's address has 1 of 2 to 6");
    assert!(refused(|l| l.greeting = "two\nlines".into()).contains("control character"));
    assert!(refused(|l| l.answer.qr = "x".repeat(121)).contains("121 of 1 to 120"));
    let mut uncited = report(Language::De);
    uncited.entries.remove(1);
    let error = press().print(&job("x", Document::Review(uncited))).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("a sentence cites entry 102, which is not in the appendix"));
}

#[test]
fn a_name_that_no_font_can_show_is_refused_instead_of_printed_as_a_box() {
    let mut letter = letter(Language::De);
    letter.recipient[1] = format!("{NAME} 薬局");
    let error = press().print(&job("x", Document::Letter(letter))).err();
    assert!(matches!(error, Some(PressError::NoGlyph { character: '薬', .. })), "{error:?}");
    assert!(QR.len() < 60, "the sample's QR code is one of ordinary size");
}
