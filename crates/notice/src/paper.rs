//! A notice on paper and in words: what the letterhead adds to a message.

use crate::{
    address::Address,
    code::ShortCode,
    template::{Frame, Message},
};
use serde::{Deserialize, Serialize};
use staffel_paper::{Answer, Block, Date, FaxPage, Language, Letter, Sender};

/// Who an operator is to its customers; the same on every channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letterhead {
    pub sender: Sender,
    /// For an SMS: at most 20 characters.
    pub short_name: String,
    /// Who signs, in German and in English.
    pub signature_de: String,
    pub signature_en: String,
    /// The QR code says this with the short code behind it, such as `https://status.example/c/`.
    pub answer_address: String,
}

impl Letterhead {
    /// What a template needs of it.
    pub fn frame<'a>(&'a self, incident: &'a str, code: ShortCode) -> Frame<'a> {
        Frame { sender: &self.short_name, phone: &self.sender.phone, incident, code }
    }

    /// Who signs.
    pub fn signature(&self, language: Language) -> &str {
        match language {
            Language::De => &self.signature_de,
            Language::En => &self.signature_en,
        }
    }

    fn answer(&self, code: ShortCode) -> Answer {
        Answer { code: code.to_string(), qr: format!("{}{code}", self.answer_address) }
    }

    /// The letter for a window envelope.
    pub fn letter(&self, message: &Message, to: &[String], incident: &str, code: ShortCode, date: Date) -> Letter {
        Letter {
            language: message.language,
            sender: self.sender.clone(),
            recipient: to.to_vec(),
            date,
            incident: incident.into(),
            subject: message.subject.clone(),
            greeting: greeting(message.language).into(),
            body: message.blocks.clone(),
            closing: closing(message.language).into(),
            signature: self.signature(message.language).into(),
            answer: self.answer(code),
        }
    }

    /// The fax page.
    pub fn fax_page(
        &self,
        message: &Message,
        to: &str,
        number: &str,
        incident: &str,
        code: ShortCode,
        date: Date,
    ) -> FaxPage {
        FaxPage {
            language: message.language,
            sender: self.sender.clone(),
            recipient: to.into(),
            number: number.into(),
            date,
            incident: incident.into(),
            subject: message.subject.clone(),
            body: message.blocks.clone(),
            answer: self.answer(code),
        }
    }

    /// The message as lines for a screen that shows only text.
    pub fn plain(&self, message: &Message, code: ShortCode) -> String {
        let language = message.language;
        let mut text = format!("{}\n\n", greeting(language));
        for block in &message.blocks {
            match block {
                Block::Paragraph(words) => text.push_str(words),
                Block::Important(words) => text.push_str(&format!(">> {words}")),
                Block::Steps(steps) => {
                    let steps: Vec<String> = (1..).zip(steps).map(|(n, step)| format!("{n}. {step}")).collect();
                    text.push_str(&steps.join("\n"));
                }
            }
            text.push_str("\n\n");
        }
        let (confirm, phone) = answer_words(language);
        text.push_str(&format!(
            "{}\n{}\n\n-- \n{}\n{phone}: {}\n{confirm}: {code}\n{}{code}\n",
            closing(language),
            self.signature(language),
            self.sender.name,
            self.sender.phone,
            self.answer_address,
        ));
        text
    }

    /// The message as a page that loads nothing from anywhere.
    pub fn html(&self, message: &Message, code: ShortCode) -> String {
        let language = message.language;
        let mut body = format!("<p>{}</p>\n", escape(greeting(language)));
        for block in &message.blocks {
            match block {
                Block::Paragraph(words) => body.push_str(&format!("<p>{}</p>\n", escape(words))),
                Block::Important(words) => body.push_str(&format!(
                    "<p style=\"border-left:4px solid #000;padding-left:12px\"><strong>{}</strong></p>\n",
                    escape(words)
                )),
                Block::Steps(steps) => {
                    let steps: String = steps.iter().map(|step| format!("<li>{}</li>\n", escape(step))).collect();
                    body.push_str(&format!("<ol>\n{steps}</ol>\n"));
                }
            }
        }
        let (confirm, phone) = answer_words(language);
        let link = escape(&format!("{}{code}", self.answer_address));
        format!(
            "<!doctype html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\"><title>{}</title></head>\n\
             <body style=\"font-family:sans-serif;font-size:16px;line-height:1.5;max-width:40em\">\n\
             {body}<p>{}<br>{}</p>\n<hr>\n<p>{}<br>{phone}: {}<br>{confirm}: <strong>{code}</strong><br>\
             <a href=\"{link}\">{link}</a></p>\n</body></html>\n",
            escape(&message.subject),
            escape(closing(language)),
            escape(self.signature(language)),
            escape(&self.sender.name),
            escape(&self.sender.phone),
        )
    }
}

/// A postal address names its recipient in its first line.
pub fn first_line(address: &Address) -> Option<&str> {
    match address {
        Address::Letter(lines) => lines.first().map(String::as_str),
        _ => None,
    }
}

fn greeting(language: Language) -> &'static str {
    match language {
        Language::De => "Guten Tag,",
        Language::En => "Dear customer,",
    }
}

fn closing(language: Language) -> &'static str {
    match language {
        Language::De => "Mit freundlichen Grüßen",
        Language::En => "Yours sincerely",
    }
}

fn answer_words(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::De => ("Bitte bestätigen Sie mit dem Code", "Telefon"),
        Language::En => ("Please confirm with the code", "Phone"),
    }
}

/// Words as HTML shows them, in text and in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
