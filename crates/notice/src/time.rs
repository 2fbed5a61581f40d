//! A point in time as the reader's clock shows it. Whoever writes a notice gives it with its offset from UTC, so nothing here
//! needs a table of time zones.

use serde::{Deserialize, Serialize};
use staffel_paper::{Date, Language};
use std::{fmt, str::FromStr};

/// Local date, hour and minute with the offset, in JSON as `2026-11-22T06:10+01:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalTime {
    date: Date,
    hour: u8,
    minute: u8,
    /// Minutes east of Greenwich, -14 to 14 hours.
    offset: i16,
}

/// The text is not a time with an offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time like 2026-11-22T06:10+01:00")]
pub struct NoTime {
    text: String,
}

impl LocalTime {
    pub fn date(self) -> Date {
        self.date
    }

    /// `22. November 2026, 06:10 Uhr`, `22 November 2026, 06:10`.
    pub fn words(self, language: Language) -> String {
        let clock = match language {
            Language::De => " Uhr",
            Language::En => "",
        };
        format!("{}, {:02}:{:02}{clock}", self.date.long(language), self.hour, self.minute)
    }
}

impl FromStr for LocalTime {
    type Err = NoTime;

    /// Seconds may be there and are dropped; the offset must be there, `Z` for UTC.
    fn from_str(text: &str) -> Result<Self, NoTime> {
        let read = || {
            let (date, rest) = (text.get(..10)?, text.get(10..)?.strip_prefix(['T', ' '])?);
            let pair = |text: &str, most: u8| {
                let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
                text.parse::<u8>().ok().filter(|n| digits && *n <= most)
            };
            let clock = |text: &str, hours: u8| {
                let (hour, minute) = (text.get(..2)?, text.get(2..)?.strip_prefix(':')?);
                Some((pair(hour, hours)?, pair(minute, 59)?))
            };
            let (hour, minute) = clock(rest.get(..5)?, 23)?;
            let mut rest = rest.get(5..)?;
            if let Some(seconds) = rest.strip_prefix(':') {
                pair(seconds.get(..2)?, 59)?;
                rest = seconds.get(2..)?;
            }
            let offset = match rest.split_at_checked(1)? {
                ("Z", "") => 0,
                (sign @ ("+" | "-"), offset) => {
                    let (hours, minutes) = clock(offset, 14)?;
                    let east = i16::from(hours) * 60 + i16::from(minutes);
                    if sign == "-" { -east } else { east }
                }
                _ => return None,
            };
            Some(LocalTime { date: date.parse().ok()?, hour, minute, offset })
        };
        read().ok_or_else(|| NoTime { text: text.chars().take(40).collect() })
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, east) = if self.offset < 0 { ('-', -self.offset) } else { ('+', self.offset) };
        write!(f, "{}T{:02}:{:02}{sign}{:02}:{:02}", self.date, self.hour, self.minute, east / 60, east % 60)
    }
}

impl TryFrom<String> for LocalTime {
    type Error = NoTime;

    fn try_from(text: String) -> Result<Self, NoTime> {
        text.parse()
    }
}

impl From<LocalTime> for String {
    fn from(time: LocalTime) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        for (text, written) in [
            ("2026-11-22T06:10+01:00", "2026-11-22T06:10+01:00"),
            ("2026-11-22 06:10:30-03:30", "2026-11-22T06:10-03:30"),
            ("2026-11-22T06:10Z", "2026-11-22T06:10+00:00"),
        ] {
            assert_eq!(text.parse::<LocalTime>().map(|t| t.to_string()), Ok(written.into()));
        }
        for bad in [
            "2026-11-22T06:10",
            "2026-11-22",
            "2026-11-22T24:10Z",
            "2026-11-22T06:60Z",
            "2026-02-30T06:10Z",
            "ä",
            "2026-11-22T06:10+0100",
            "2026-11-22T+6:10Z",
        ] {
            assert!(bad.parse::<LocalTime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn in_words() {
        let time: LocalTime = "2026-03-01T06:05+01:00".parse().expect("a time");
        assert_eq!(time.words(Language::De), "1. März 2026, 06:05 Uhr");
        assert_eq!(time.words(Language::En), "1 March 2026, 06:05");
    }
}
