//! The fields that a sensor supplies: classes of records with named, typed fields, and the hash of each class.
//!
//! A field is found by its name only. What the search returns, a [`Slot`], can't be made from a number outside this crate.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// UTF-8.
    Text,
    /// A whole number from -2^63 to 2^63-1.
    Number,
}

/// A named, typed field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
}

/// A class of records, such as the start of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    pub name: String,
    /// In the order in which a record carries them.
    pub fields: Vec<Field>,
}

/// Where a record of one class carries a field. Only [`Class::slot`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub(crate) usize);

impl Class {
    /// The field's place, if this class has it.
    pub fn slot(&self, field: &str) -> Option<(Slot, Kind)> {
        let at = self.fields.iter().position(|known| known.name == field)?;
        Some((Slot(at), self.fields[at].kind))
    }

    /// SHA-256 in hexadecimal over the class's name and its fields in their order: a line each, `name` then `field:kind`.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        for field in &self.fields {
            let kind = match field.kind {
                Kind::Text => "text",
                Kind::Number => "number",
            };
            hash.update(format!("\n{}:{kind}", field.name));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Everything that a sensor supplies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    pub classes: Vec<Class>,
}

impl Catalogue {
    /// What the sensor of this version supplies on Linux.
    pub fn linux() -> Self {
        crate::linux::catalogue()
    }

    /// The class and its place, by its name.
    pub fn class(&self, name: &str) -> Option<(u16, &Class)> {
        let at = self.classes.iter().position(|class| class.name == name)?;
        Some((u16::try_from(at).ok()?, &self.classes[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_follows_names_types_and_order() {
        let linux = Catalogue::linux();
        let (_, process) = linux.class("process_creation").expect("it is there");
        let mut changed = [process.clone(), process.clone(), process.clone()];
        changed[0].fields[0].name.push('x');
        changed[1].fields[0].kind = if changed[1].fields[0].kind == Kind::Text { Kind::Number } else { Kind::Text };
        changed[2].fields.swap(0, 1);
        for other in changed {
            assert_ne!(other.hash(), process.hash());
        }
        assert_eq!(process.clone().hash(), process.hash());
    }
}
