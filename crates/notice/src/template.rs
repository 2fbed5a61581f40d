//! The texts of notices, in German and English, and filling them in.
//!
//! A template is a text file with `{placeholders}`; which values it takes, and of which type, stands in [`Kind::fields`]. A
//! value that is missing, empty or unknown is an error before anything is sent: nobody gets a sentence with a hole. Texts
//! never change in place: a better wording is a new version, so that the log says what people were told.

use crate::{code::ShortCode, time::LocalTime};
use serde::{Deserialize, Serialize};
use staffel_paper::{Block, Language};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// What a notice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    FirstInformation,
    /// A workaround or what to do.
    Instruction,
    AllClear,
    /// Something in an earlier notice was wrong.
    Correction,
}

/// The kind and the wording's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRef {
    pub kind: Kind,
    pub version: u32,
}

/// What a placeholder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldKind {
    Text,
    Time,
    Steps,
}

/// A placeholder that whoever writes a notice fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    pub name: &'static str,
    pub kind: FieldKind,
    /// What belongs there.
    pub meaning: &'static str,
}

/// What a writer put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    Text(String),
    Time(LocalTime),
    Steps(Vec<String>),
}

/// The values of a notice: those for all languages, and those for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    #[serde(default)]
    pub all: BTreeMap<String, Value>,
    #[serde(default)]
    pub de: BTreeMap<String, Value>,
    #[serde(default)]
    pub en: BTreeMap<String, Value>,
}

/// What every notice of an operator has in common, and what differs for each recipient.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Who writes, short enough for an SMS.
    pub sender: &'a str,
    pub phone: &'a str,
    /// The incident as people name it.
    pub incident: &'a str,
    pub code: ShortCode,
}

/// A notice in one recipient's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub language: Language,
    pub subject: String,
    pub blocks: Vec<Block>,
    pub sms: String,
}

/// Why a notice can't be worded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "unfilled", rename_all = "kebab-case")]
pub enum Unfilled {
    #[error("{kind} has no wording {version}; there are 1 to {newest}")]
    Version { kind: Kind, version: u32, newest: u32 },
    #[error("the value {name} is missing for {language} ({meaning})")]
    Missing { name: String, language: Language, meaning: String },
    #[error("the value {name} is empty in {language}")]
    Empty { name: String, language: Language },
    #[error("the value {name} has to be a {wanted:?} in {language}")]
    WrongKind { name: String, language: Language, wanted: FieldKind },
    #[error("{kind} takes no value {name}")]
    Unknown { kind: Kind, name: String },
    #[error("the value {name} has a control character in {language}: one line each")]
    Control { name: String, language: Language },
    #[error("the SMS in {language} takes {parts} parts of at most {MOST_SMS_PARTS}: shorten {longest}")]
    SmsTooLong { language: Language, parts: usize, longest: String },
}

/// More than that and networks drop or reorder them.
const MOST_SMS_PARTS: usize = 3;

const fn field(name: &'static str, kind: FieldKind, meaning: &'static str) -> Field {
    Field { name, kind, meaning }
}

const PROBLEM: Field = field("problem", FieldKind::Text, "what does not work, as the subject says it");
const SINCE: Field = field("since", FieldKind::Time, "when it began");

const FIRST_INFORMATION: &[Field] = &[
    PROBLEM,
    SINCE,
    field("affected", FieldKind::Text, "who or what is affected"),
    field("known", FieldKind::Text, "what is known of the cause; whole sentences"),
    field("do_now", FieldKind::Text, "what the reader should do or leave alone; whole sentences"),
    field("next_update", FieldKind::Time, "when the next message comes at the latest"),
];
const INSTRUCTION: &[Field] = &[
    PROBLEM,
    field("purpose", FieldKind::Text, "what the steps achieve"),
    field("duration", FieldKind::Text, "how long they take"),
    field("steps", FieldKind::Steps, "one action each"),
    field(
        "protection",
        FieldKind::Text,
        "what happens to the protection meanwhile, and when it is back; whole sentences",
    ),
];
const ALL_CLEAR: &[Field] = &[
    PROBLEM,
    SINCE,
    field("until", FieldKind::Time, "when it was solved"),
    field("cause", FieldKind::Text, "the cause; whole sentences"),
    field("check", FieldKind::Steps, "what the reader should still check"),
    field("report", FieldKind::Time, "until when the review is sent"),
];
const CORRECTION: &[Field] = &[
    PROBLEM,
    field("earlier", FieldKind::Time, "when the wrong message was sent"),
    field("wrong", FieldKind::Text, "what was wrong"),
    field("right", FieldKind::Text, "what is right"),
    field("remedy", FieldKind::Text, "what to do after having acted on it; whole sentences"),
];

/// Filled in by the frame, in every text.
const FRAME: [&str; 4] = ["sender", "phone", "incident", "code"];

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::FirstInformation, Kind::Instruction, Kind::AllClear, Kind::Correction];

    /// For programs and the command line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::FirstInformation => "first-information",
            Kind::Instruction => "instruction",
            Kind::AllClear => "all-clear",
            Kind::Correction => "correction",
        }
    }

    /// What a writer has to fill in.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Kind::FirstInformation => FIRST_INFORMATION,
            Kind::Instruction => INSTRUCTION,
            Kind::AllClear => ALL_CLEAR,
            Kind::Correction => CORRECTION,
        }
    }

    /// The newest wording.
    pub fn newest(self) -> TemplateRef {
        TemplateRef { kind: self, version: 1 }
    }

    fn text(self, language: Language) -> &'static str {
        match (self, language) {
            (Kind::FirstInformation, Language::De) => include_str!("../templates/first-information.de.txt"),
            (Kind::FirstInformation, Language::En) => include_str!("../templates/first-information.en.txt"),
            (Kind::Instruction, Language::De) => include_str!("../templates/instruction.de.txt"),
            (Kind::Instruction, Language::En) => include_str!("../templates/instruction.en.txt"),
            (Kind::AllClear, Language::De) => include_str!("../templates/all-clear.de.txt"),
            (Kind::AllClear, Language::En) => include_str!("../templates/all-clear.en.txt"),
            (Kind::Correction, Language::De) => include_str!("../templates/correction.de.txt"),
            (Kind::Correction, Language::En) => include_str!("../templates/correction.en.txt"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = || Kind::ALL.map(Kind::word).join(", ");
        Kind::ALL.into_iter().find(|k| k.word() == text).ok_or_else(|| format!("{text} is not one of {}", words()))
    }
}

impl Values {
    fn of(&self, language: Language) -> &BTreeMap<String, Value> {
        match language {
            Language::De => &self.de,
            Language::En => &self.en,
        }
    }

    fn get(&self, name: &str, language: Language) -> Option<&Value> {
        self.of(language).get(name).or_else(|| self.all.get(name))
    }
}

impl TemplateRef {
    /// `Ok` if every recipient of these languages gets whole sentences.
    pub fn check(self, values: &Values, languages: &[Language], frame: &Frame<'_>) -> Result<(), Unfilled> {
        let known = |name: &String| self.kind.fields().iter().any(|field| field.name == name);
        let mut names = values.all.keys().chain(values.de.keys()).chain(values.en.keys());
        if let Some(name) = names.find(|name| !known(name)) {
            return Err(Unfilled::Unknown { kind: self.kind, name: name.clone() });
        }
        for language in languages {
            let message = self.fill(values, *language, frame)?;
            let parts = sms_parts(&message.sms);
            if parts > MOST_SMS_PARTS {
                return Err(Unfilled::SmsTooLong {
                    language: *language,
                    parts,
                    longest: self.longest(values, *language),
                });
            }
        }
        Ok(())
    }

    /// Which value makes the SMS long.
    fn longest(self, values: &Values, language: Language) -> String {
        let sms = section(self.kind.text(language), "sms");
        let used = self.kind.fields().iter().filter(|field| sms.contains(&format!("{{{}}}", field.name)));
        let length = |field: &&Field| match values.get(field.name, language) {
            Some(Value::Text(text)) => text.chars().count(),
            _ => 0,
        };
        used.max_by_key(length).map_or_else(String::new, |field| field.name.into())
    }

    /// The notice in one language for one recipient.
    pub fn fill(self, values: &Values, language: Language, frame: &Frame<'_>) -> Result<Message, Unfilled> {
        let newest = self.kind.newest().version;
        if self.version == 0 || self.version > newest {
            return Err(Unfilled::Version { kind: self.kind, version: self.version, newest });
        }
        let mut words: BTreeMap<&str, String> = BTreeMap::new();
        let mut lists: BTreeMap<&str, &[String]> = BTreeMap::new();
        for field in self.kind.fields() {
            let name = || field.name.to_owned();
            let missing = || Unfilled::Missing { name: name(), language, meaning: field.meaning.to_owned() };
            let value = values.get(field.name, language).ok_or_else(missing)?;
            match (field.kind, value) {
                (FieldKind::Text, Value::Text(text)) => {
                    whole(text, field.name, language)?;
                    words.insert(field.name, text.trim().into());
                }
                (FieldKind::Time, Value::Time(time)) => {
                    words.insert(field.name, time.words(language));
                }
                (FieldKind::Steps, Value::Steps(steps)) => {
                    if steps.is_empty() {
                        return Err(Unfilled::Empty { name: name(), language });
                    }
                    steps.iter().try_for_each(|step| whole(step, field.name, language))?;
                    lists.insert(field.name, steps);
                }
                (wanted, _) => return Err(Unfilled::WrongKind { name: name(), language, wanted }),
            }
        }
        let code = frame.code.to_string();
        words.extend(FRAME.into_iter().zip([frame.sender, frame.phone, frame.incident, &code].map(String::from)));
        let text = self.kind.text(language);
        let blocks = section(text, "body").split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
        let blocks = blocks.map(|paragraph| {
            let list = paragraph.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if let Some(steps) = list.and_then(|name| lists.get(name)) {
                return Block::Steps(steps.to_vec());
            }
            match paragraph.strip_prefix("! ") {
                Some(paragraph) => Block::Important(replace(paragraph, &words)),
                None => Block::Paragraph(replace(paragraph, &words)),
            }
        });
        Ok(Message {
            language,
            subject: replace(section(text, "subject").trim(), &words),
            blocks: blocks.collect(),
            sms: replace(section(text, "sms").trim(), &words),
        })
    }
}

fn whole(text: &str, name: &str, language: Language) -> Result<(), Unfilled> {
    if text.trim().is_empty() {
        return Err(Unfilled::Empty { name: name.into(), language });
    }
    if text.chars().any(char::is_control) {
        return Err(Unfilled::Control { name: name.into(), language });
    }
    Ok(())
}

/// What stands between `#name` and the next heading.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let mut parts = text.split('#').filter_map(|part| part.split_once('\n'));
    parts.find(|(heading, _)| *heading == name).map_or("", |(_, body)| body)
}

/// Replaces each placeholder once, from left to right: braces in a value stay braces.
fn replace(text: &str, words: &BTreeMap<&str, String>) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        out.push_str(before);
        match from.split_once('}').and_then(|(name, after)| Some((words.get(name)?, after))) {
            Some((word, after)) => {
                // A sentence of the template follows: it brings its own full stop.
                let doubled = after.starts_with('.') && word.ends_with(['.', '!', '?']);
                out.push_str(word);
                rest = if doubled { &after[1..] } else { after };
            }
            None => {
                out.push('{');
                rest = from;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Parts that an SMS is sent in: 160 characters of the GSM alphabet (3GPP TS 23.038) or 70 others; less each if several.
pub fn sms_parts(text: &str) -> usize {
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    const EXTENDED: &str = "^{}\\[~]|€";
    let septets = text.chars().try_fold(0_usize, |sum, c| {
        let cost = if BASIC.contains(c) {
            1
        } else if EXTENDED.contains(c) {
            2
        } else {
            return None;
        };
        Some(sum + cost)
    });
    match septets {
        Some(count) if count <= 160 => 1,
        Some(count) => count.div_ceil(153),
        None => match text.encode_utf16().count() {
            count if count <= 70 => 1,
            count => count.div_ceil(67),
        },
    }
}

#[cfg(test)]
mod tests;
