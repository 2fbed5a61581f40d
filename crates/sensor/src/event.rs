//! Events as text: a JSON line with a class and named fields. What collectors of others write; ours write records.

use serde::{Deserialize, Serialize};
use staffel_pack::{Catalogue, Pack, Value, format::Level, format::Scalar, record::encode};
use std::collections::BTreeMap;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub class: String,
    pub fields: BTreeMap<String, Scalar>,
}

/// A rule matched a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Of the record.
    pub sequence: u64,
    pub rule: String,
    pub title: String,
    pub level: Level,
    pub class: String,
    /// Name and version of the pack.
    pub pack: String,
    pub version: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Alert {
    /// What a hit in this pack means. None: the pack has no such rule.
    pub fn of(hit: &staffel_pack::Hit, pack: &Pack) -> Option<Self> {
        let rule = pack.rules.get(usize::try_from(hit.rule).ok()?)?;
        Some(Alert {
            sequence: hit.sequence,
            rule: rule.id.clone(),
            title: rule.title.clone(),
            level: rule.level,
            class: rule.class.clone(),
            pack: pack.name.clone(),
            version: pack.version,
            tags: rule.tags.clone(),
        })
    }
}

impl Event {
    /// Appends it to a batch. False: this sensor has no such class, and nothing was appended.
    pub fn append(&self, batch: &mut Vec<u8>, catalogue: &Catalogue, sequence: u64) -> bool {
        let Some((class, _)) = catalogue.class(&self.class) else { return false };
        let named = self.fields.iter().map(|(name, value)| match value {
            Scalar::Number(number) => (name.as_str(), Value::Number(*number)),
            Scalar::Text(text) => (name.as_str(), Value::Text(text)),
        });
        // What the class does not have is no evidence for any rule.
        encode(batch, catalogue, sequence, class, named);
        true
    }
}
