//! A detection pack: data only. Rules are tests on named fields and a condition of forward jumps, so that evaluating one
//! ends after as many steps as it has.
//!
//! A pack is JSON. It is read within the limits below and refused as a whole if any of them, or any reference inside, does
//! not hold. What must stay out: whether a consumer has the fields (`contract`), and Sigma.

use crate::catalogue::{Class, Field};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The version of this format.
pub const FORMAT: u32 = 1;
/// Largest pack in bytes.
pub const LARGEST_PACK: usize = 16 * 1_024 * 1_024;
/// Most rules of a pack.
pub const MOST_RULES: usize = 10_000;
/// Most tests and most steps of one rule.
pub const MOST_STEPS: usize = 4_096;
/// Most values of one test.
pub const MOST_VALUES: usize = 4_096;
/// Longest name, title or value in bytes.
pub const LONGEST_WORD: usize = 4_096;
/// Most vectors of a pack.
pub const MOST_VECTORS: usize = 40_000;

/// Named rules, what they need, and examples of what they must and must not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// [`FORMAT`].
    pub format: u32,
    pub name: String,
    /// Higher is newer.
    pub version: u64,
    /// The classes that the rules use, as they were when the pack was compiled.
    pub needs: Vec<Need>,
    pub rules: Vec<Rule>,
    pub vectors: Vec<Vector>,
}

/// A class that rules use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    pub class: String,
    /// [`Class::hash`] of the class that the pack was compiled against.
    pub schema: String,
    /// The fields that rules name; a consumer may have more, never fewer.
    pub fields: Vec<Field>,
}

/// How bad a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique in the pack.
    pub id: String,
    pub title: String,
    pub level: Level,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub class: String,
    pub tests: Vec<Test>,
    /// Runs over one truth value, which begins as "no"; the rule matches if it is "yes" in the end.
    pub condition: Vec<Step>,
}

/// One step of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The value becomes the result of this test.
    Test(u16),
    /// The value is turned round.
    Not,
    /// If it is "yes", goes on at this step, which lies ahead.
    IfYes(u16),
    /// If it is "no", goes on at this step, which lies ahead.
    IfNo(u16),
}

/// What is asked of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Test {
    /// None: any text field will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// All values must match instead of one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every: bool,
    #[serde(flatten)]
    pub ask: Ask,
}

/// How a field is compared. A missing field gives "no" everywhere but in `Present(false)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The whole text is like this, in any case.
    Like(Vec<Glob>),
    /// The whole text is like this, upper and lower case told apart.
    LikeCased(Vec<Glob>),
    /// Somewhere in the text; see the crate `regex-lite` for what may be said.
    Regex(Vec<String>),
    /// The number is one of these.
    Is(Vec<i64>),
    Below(i64),
    AtMost(i64),
    Above(i64),
    AtLeast(i64),
    /// The text is an address in one of these networks (`10.0.0.0/8`, `fe80::/10`).
    Network(Vec<String>),
    /// The record has the field, or does not have it.
    Present(bool),
}

/// A text with wild cards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Glob(pub Vec<Piece>);

/// A part of a [`Glob`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    Text(String),
    Wild(Wild),
}

/// A wild card.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Wild {
    /// Any characters, or none.
    #[serde(rename = "many")]
    Many(()),
    /// One character.
    #[serde(rename = "one")]
    One(()),
}

/// An example: what one rule says to one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector {
    pub rule: String,
    pub matches: bool,
    pub fields: BTreeMap<String, Scalar>,
}

/// A value of a vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    Number(i64),
    Text(String),
}

/// Why bytes are no pack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("the pack has {0} bytes, at most {LARGEST_PACK} are allowed")]
    TooLarge(usize),
    #[error("the pack is not readable: {0}")]
    Malformed(String),
    #[error("the pack has format {0}, this program reads format {FORMAT}")]
    Format(u32),
    #[error("the pack has {found} {what}, at most {most} are allowed")]
    TooMany { what: &'static str, found: usize, most: usize },
    #[error("rule {rule}: {what}")]
    Rule { rule: String, what: String },
    #[error("{0}")]
    Inside(String),
}

impl Pack {
    /// Reads and checks a pack.
    pub fn read(bytes: &[u8]) -> Result<Self, PackError> {
        if bytes.len() > LARGEST_PACK {
            return Err(PackError::TooLarge(bytes.len()));
        }
        let pack: Pack = serde_json::from_slice(bytes).map_err(|e| PackError::Malformed(e.to_string()))?;
        pack.check()?;
        Ok(pack)
    }

    /// The pack that comes with the sensor: what runs when nothing else can. Its rules are in `packs/linux`.
    pub fn builtin() -> Self {
        // A test reads it; an empty pack is the answer that protects least and can't fail.
        Pack::read(include_bytes!("linux.pack.json")).unwrap_or(Pack {
            format: FORMAT,
            name: "linux".into(),
            version: 0,
            needs: Vec::new(),
            rules: Vec::new(),
            vectors: Vec::new(),
        })
    }

    /// The bytes of a pack: the same for the same pack.
    pub fn write(&self) -> Vec<u8> {
        // No map with keys that are no strings, no value that fails: nothing here can.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What must hold inside a pack, whoever consumes it.
    pub fn check(&self) -> Result<(), PackError> {
        if self.format != FORMAT {
            return Err(PackError::Format(self.format));
        }
        let limit = |what, found: usize, most: usize| {
            if found > most { Err(PackError::TooMany { what, found, most }) } else { Ok(()) }
        };
        limit("rules", self.rules.len(), MOST_RULES)?;
        limit("vectors", self.vectors.len(), MOST_VECTORS)?;
        limit("classes", self.needs.len(), 256)?;
        word(&self.name).map_err(PackError::Inside)?;
        let mut needs = BTreeMap::new();
        for need in &self.needs {
            let fields: BTreeSet<&str> = need.fields.iter().map(|field| field.name.as_str()).collect();
            if fields.len() != need.fields.len() || needs.insert(need.class.as_str(), fields).is_some() {
                return Err(PackError::Inside(format!("class {} or one of its fields is named twice", need.class)));
            }
        }
        let mut rules = BTreeSet::new();
        for rule in &self.rules {
            let wrong = |what: String| PackError::Rule { rule: rule.id.chars().take(80).collect(), what };
            if !rules.insert(rule.id.as_str()) {
                return Err(wrong("another rule has the same id".into()));
            }
            let Some(fields) = needs.get(rule.class.as_str()) else {
                return Err(wrong(format!("its class {} is not among the classes that the pack needs", rule.class)));
            };
            rule.check(fields).map_err(wrong)?;
        }
        match self.vectors.iter().find(|vector| !rules.contains(vector.rule.as_str())) {
            Some(vector) => Err(PackError::Inside(format!("a vector is for rule {}, which is not there", vector.rule))),
            None => Ok(()),
        }
    }

    /// What rules that name these fields of a class need.
    pub fn need_of(class: &Class, fields: &BTreeSet<String>) -> Need {
        let used = class.fields.iter().filter(|field| fields.contains(&field.name)).cloned().collect();
        Need { class: class.name.clone(), schema: class.hash(), fields: used }
    }
}

fn word(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("a name is empty".into()),
        length if length > LONGEST_WORD => Err(format!("a name or value has {length} bytes")),
        _ => Ok(()),
    }
}

impl Rule {
    fn check(&self, fields: &BTreeSet<&str>) -> Result<(), String> {
        word(&self.id)?;
        word(&self.title)?;
        if self.tests.len() > MOST_STEPS || self.condition.len() > MOST_STEPS {
            return Err(format!("more than {MOST_STEPS} tests or steps"));
        }
        for test in &self.tests {
            if let Some(field) = &test.field
                && !fields.contains(field.as_str())
            {
                return Err(format!("it names the field {field}, which its class does not declare"));
            }
            test.ask.check()?;
        }
        for (at, step) in self.condition.iter().enumerate() {
            match *step {
                Step::Test(test) if usize::from(test) >= self.tests.len() => {
                    return Err(format!("step {at} runs test {test}, and there are {}", self.tests.len()));
                }
                Step::IfYes(to) | Step::IfNo(to) if usize::from(to) <= at || usize::from(to) > self.condition.len() => {
                    return Err(format!("step {at} goes to step {to}, which is not ahead"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Ask {
    fn check(&self) -> Result<(), String> {
        let count = match self {
            Ask::Like(globs) | Ask::LikeCased(globs) => {
                for Glob(pieces) in globs {
                    let text = |piece: &Piece| if let Piece::Text(text) = piece { text.len() } else { 1 };
                    if pieces.iter().map(text).sum::<usize>() > LONGEST_WORD {
                        return Err(format!("a text has more than {LONGEST_WORD} bytes"));
                    }
                }
                globs.len()
            }
            Ask::Regex(texts) | Ask::Network(texts) => {
                texts.iter().try_for_each(|text| word(text))?;
                texts.len()
            }
            Ask::Is(numbers) => numbers.len(),
            _ => 1,
        };
        if count == 0 || count > MOST_VALUES {
            return Err(format!("a test has {count} values; 1 to {MOST_VALUES} are allowed"));
        }
        Ok(())
    }
}
