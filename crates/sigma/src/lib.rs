//! Sigma rules in, detection packs out: the only crate that reads YAML. It never runs on a device.
//!
//! `compile` turns one file into rules, `folder` a folder into a pack, `import` says what of somebody else's collection can
//! be used. What must stay out: how rules are evaluated (`staffel-pack`).

#![forbid(unsafe_code)]

mod compile;
mod condition;
mod folder;
mod import;
mod place;
mod test;

pub use compile::compile;
pub use folder::build;
pub use import::{Report, import, pack_of};

use std::fmt;

/// Why a rule is no rule for this sensor. Grouped by [`Reason::kind`] in reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("this is no Sigma rule: {0}")]
    NoRule(String),
    #[error("a {0} is not evaluated on devices; only rules over single events are")]
    OtherDocument(&'static str),
    #[error("no sensor here supplies events of logsource {0}")]
    NoClass(String),
    #[error("events of class {class} have no field {field}{}", guess(.like))]
    NoField { class: String, field: String, like: Option<String> },
    #[error("the modifier |{0} is not known to this compiler")]
    Modifier(String),
    #[error("{field} is a {kind}: {what}")]
    Value { field: String, kind: &'static str, what: String },
    #[error("the condition says {0:?}, which this compiler does not know")]
    Condition(String),
    #[error("the condition names {0}, and no such selection is there")]
    NoSelection(String),
    #[error("{0}")]
    Form(String),
}

fn guess(like: &Option<String>) -> String {
    like.as_ref().map(|like| format!("; {like} was meant?")).unwrap_or_default()
}

impl Reason {
    /// A few words for all reasons of this kind.
    pub fn kind(&self) -> String {
        match self {
            Reason::NoRule(_) => "not readable as Sigma".into(),
            Reason::OtherDocument(what) => format!("a {what}"),
            Reason::NoClass(source) => format!("logsource {source}"),
            Reason::NoField { class, field, .. } => format!("field {field} of {class}"),
            Reason::Modifier(modifier) => format!("modifier |{modifier}"),
            Reason::Value { .. } => "a value that its field can't have".into(),
            Reason::Condition(_) | Reason::NoSelection(_) => "condition".into(),
            Reason::Form(_) => "form".into(),
        }
    }
}

/// Something to mend, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub file: String,
    /// The first is 1.
    pub line: usize,
    pub reason: Reason,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}
