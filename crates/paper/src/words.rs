//! The two languages.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What somebody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    #[default]
    De,
    En,
}

impl Language {
    /// All there are.
    pub const ALL: [Language; 2] = [Language::De, Language::En];

    /// The code of ISO 639-1.
    pub fn code(self) -> &'static str {
        match self {
            Language::De => "de",
            Language::En => "en",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Language::ALL.into_iter().find(|l| l.code() == text).ok_or_else(|| format!("{text} is not de or en"))
    }
}
