//! Whether a pack and a consumer fit: by names and types of fields, never by how many there are or where.
//!
//! This is what was missing on 19 July 2024: the content used a 21st field, the code supplied 20, and no example touched
//! the last one. Here every field that a rule *names* must be supplied, whether an example looks at it or not.

use crate::{
    catalogue::{Catalogue, Kind},
    format::{Ask, Pack},
    matcher::Matcher,
};
use std::collections::BTreeSet;

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Breach {
    #[error("the rules use records of class {class}, which this consumer does not supply")]
    NoClass { class: String },
    #[error(
        "the rules use the field {field} of {class}, which this consumer does not supply (it supplies {supplied} fields)"
    )]
    NoField { class: String, field: String, supplied: usize },
    #[error("the field {field} of {class} is a {supplied:?} here, the pack was made for a {wanted:?}")]
    OtherType { class: String, field: String, wanted: Kind, supplied: Kind },
    #[error("the pack says that it was made for this very class {class}, and names other fields than that has")]
    FalseHash { class: String },
    #[error("rule {rule} asks the {kind:?} field {field} what only the other type can answer")]
    WrongQuestion { rule: String, field: String, kind: Kind },
    #[error("rule {rule}: {what}")]
    Unusable { rule: String, what: String },
    #[error("version {offered} is not above {running}, which runs")]
    NotNewer { offered: u64, running: u64 },
}

/// All that does not fit, in a fixed order; nothing if the consumer can run the pack. `running`: version of the pack of
/// that name that the consumer has, if any.
pub fn check(pack: &Pack, catalogue: &Catalogue, running: Option<u64>) -> Vec<Breach> {
    let mut breaches = BTreeSet::new();
    if let Some(running) = running.filter(|&running| pack.version <= running) {
        breaches.insert(Breach::NotNewer { offered: pack.version, running });
    }
    for need in &pack.needs {
        let class = &need.class;
        let Some((_, supplied)) = catalogue.class(class) else {
            breaches.insert(Breach::NoClass { class: class.clone() });
            continue;
        };
        for field in &need.fields {
            match supplied.slot(&field.name) {
                Some((_, kind)) if kind == field.kind => {}
                _ if need.schema == supplied.hash() => {
                    breaches.insert(Breach::FalseHash { class: class.clone() });
                }
                Some((_, kind)) => {
                    let (field, wanted) = (field.name.clone(), field.kind);
                    breaches.insert(Breach::OtherType { class: class.clone(), field, wanted, supplied: kind });
                }
                None => {
                    let (field, supplied) = (field.name.clone(), supplied.fields.len());
                    breaches.insert(Breach::NoField { class: class.clone(), field, supplied });
                }
            }
        }
    }
    questions(pack, &mut breaches);
    breaches.into_iter().collect()
}

/// Whether each test can be prepared, and asks a field what its declared type can answer.
fn questions(pack: &Pack, breaches: &mut BTreeSet<Breach>) {
    for rule in &pack.rules {
        let declared = pack.needs.iter().find(|need| need.class == rule.class);
        for test in &rule.tests {
            let numeric = match &test.ask {
                Ask::Present(_) => None,
                Ask::Is(_) | Ask::Below(_) | Ask::AtMost(_) | Ask::Above(_) | Ask::AtLeast(_) => Some(true),
                _ => Some(false),
            };
            let named = test.field.as_ref();
            let field = declared.zip(named).and_then(|(need, name)| need.fields.iter().find(|f| f.name == *name));
            if let (Some(field), Some(numeric)) = (field, numeric)
                && (field.kind == Kind::Number) != numeric
            {
                let (rule, field, kind) = (rule.id.clone(), field.name.clone(), field.kind);
                breaches.insert(Breach::WrongQuestion { rule, field, kind });
            }
            if named.is_none() && numeric != Some(false) {
                let what = "a test on any field can ask for text only".into();
                breaches.insert(Breach::Unusable { rule: rule.id.clone(), what });
            }
            if let Err(what) = Matcher::new(test, None) {
                breaches.insert(Breach::Unusable { rule: rule.id.clone(), what });
            }
        }
    }
}
