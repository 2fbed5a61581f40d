//! A document as one HTML page that needs nothing else: no script, no font, no network. Must stay out: what it says.

use staffel_core::review::{Document, Language, Section};
use staffel_notice::paper::escape;
use std::fmt::Write as _;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
sup{color:#555;font-size:.7em}@media print{body{margin:0}}";

/// The page.
pub fn page(document: &Document) -> String {
    let (language, note, unknown) = match document.language {
        Language::De => ("de", "Hochgestellt: Einträge des Protokolls, auf denen der Satz beruht.", "unbekannt"),
        Language::En => ("en", "Raised numbers: entries of the log that the sentence rests on.", "unknown"),
    };
    let title = escape(&document.title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n\
         <p><small>{note}</small></p>\n"
    );
    if !document.facts.is_empty() {
        text.push_str("<dl>\n");
        for fact in &document.facts {
            let value = fact.value.as_deref().map_or_else(|| format!("<em>{unknown}</em>"), escape);
            let _ = writeln!(text, "<dt>{}</dt><dd>{value}{}</dd>", escape(&fact.label), cites(&fact.cites));
        }
        text.push_str("</dl>\n");
    }
    for part in &document.sections {
        section(&mut text, part, 2);
    }
    text.push_str("</body>\n</html>\n");
    text
}

fn section(text: &mut String, section_: &Section, level: u8) {
    let level = level.min(6);
    let _ = writeln!(text, "<h{level}>{}</h{level}>", escape(&section_.heading));
    if !section_.sentences.is_empty() {
        text.push_str("<ul>\n");
        for sentence in &section_.sentences {
            let _ = writeln!(text, "<li>{}{}</li>", escape(&sentence.text), cites(&sentence.cites));
        }
        text.push_str("</ul>\n");
    }
    for below in &section_.sections {
        section(text, below, level + 1);
    }
}

fn cites(positions: &[u64]) -> String {
    let numbers: Vec<_> = positions.iter().map(|position| format!("#{position}")).collect();
    format!("<sup> {}</sup>", numbers.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_core::review::{Fact, Sentence};

    #[test]
    fn words_of_devices_and_people_stay_words() {
        let sentence = Sentence { text: "<script>alert(\"x\")</script> & more.".into(), cites: vec![7, 12] };
        let inner = Section { heading: "clinic".into(), sentences: vec![sentence], sections: Vec::new() };
        let outer = Section { heading: "Wer?".into(), sentences: Vec::new(), sections: vec![inner] };
        let fact = |value: Option<String>| Fact { label: "<b>".into(), value, cites: vec![3] };
        let facts = vec![fact(Some("1 < 2".into())), fact(None)];
        let page = page(&Document { language: Language::De, title: "Ärger".into(), facts, sections: vec![outer] });
        assert!(
            page.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; more.<sup> #7 #12</sup>"),
            "{page}"
        );
        assert!(page.contains("<dt>&lt;b&gt;</dt><dd>1 &lt; 2<sup> #3</sup></dd>"), "{page}");
        assert!(page.contains("<dd><em>unbekannt</em><sup> #3</sup></dd>"), "{page}");
        assert!(page.contains("<html lang=\"de\">") && page.contains("<h3>clinic</h3>") && !page.contains("<script"));
    }
}
