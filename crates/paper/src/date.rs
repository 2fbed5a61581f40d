//! A calendar date and its long form in both languages.

use crate::Language;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A date of the Gregorian calendar, 1900 to 2199, in JSON as `2026-11-22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// The text is not a date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a date like 2026-11-22")]
pub struct NoDate {
    text: String,
}

const GERMAN: [&str; 12] = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];
const ENGLISH: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Date {
    /// The day that Unix time begins with.
    pub const EPOCH: Date = Date { year: 1970, month: 1, day: 1 };

    /// `None` if there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        ((1900..=2199).contains(&year) && (1..=days).contains(&day)).then_some(Date { year, month, day })
    }

    pub fn year(self) -> u16 {
        self.year
    }

    /// 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// 1 to 31.
    pub fn day(self) -> u8 {
        self.day
    }

    /// `22. November 2026`, `22 November 2026`.
    pub fn long(self, language: Language) -> String {
        let month = usize::from(self.month - 1);
        match language {
            Language::De => format!("{}. {} {}", self.day, GERMAN[month], self.year),
            Language::En => format!("{} {} {}", self.day, ENGLISH[month], self.year),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = NoDate;

    fn from_str(text: &str) -> Result<Self, NoDate> {
        let bad = || NoDate { text: text.chars().take(40).collect() };
        let bytes = text.as_bytes();
        let shape = bytes.len() == 10
            && bytes.iter().enumerate().all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() });
        if !shape {
            return Err(bad());
        }
        let number = |from: usize, to: usize| text[from..to].parse::<u16>().unwrap_or(0);
        let (month, day) = (number(5, 7) as u8, number(8, 10) as u8);
        Date::new(number(0, 4), month, day).ok_or_else(bad)
    }
}

impl TryFrom<String> for Date {
    type Error = NoDate;

    fn try_from(text: String) -> Result<Self, NoDate> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> String {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_there_are() {
        for good in ["2026-11-22", "2024-02-29", "2000-02-29", "2026-12-31"] {
            assert_eq!(good.parse::<Date>().map(|d| d.to_string()), Ok(good.into()));
        }
        for bad in [
            "2026-02-29",
            "2100-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-11-31",
            "22.11.2026",
            "",
            "2026-1-01",
            "１026-11-22",
        ] {
            assert!(bad.parse::<Date>().is_err(), "{bad}");
        }
    }

    #[test]
    fn both_languages() {
        let date = Date::new(2026, 3, 1).expect("a day");
        assert_eq!(date.long(Language::De), "1. März 2026");
        assert_eq!(date.long(Language::En), "1 March 2026");
    }
}
