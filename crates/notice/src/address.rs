//! Channels and the addresses they need. An address that can't work is refused when it is entered, not at three in the night.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    Email,
    Sms,
    Fax,
    Letter,
    /// People call; nothing is sent.
    Phone,
}

impl Channel {
    /// All there are.
    pub const ALL: [Channel; 5] = [Channel::Email, Channel::Sms, Channel::Fax, Channel::Letter, Channel::Phone];

    /// For programs and the command line.
    pub fn word(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Sms => "sms",
            Channel::Fax => "fax",
            Channel::Letter => "letter",
            Channel::Phone => "phone",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where a channel ends. Personal data: it never stands in the same record as the notice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "channel", content = "address", rename_all = "kebab-case")]
pub enum Address {
    Email(String),
    Sms(String),
    Fax(String),
    /// Lines as they stand in an envelope's window, 2 to 6.
    Letter(Vec<String>),
    Phone(String),
}

/// Why an address can't work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address for {channel}: {why}")]
pub struct BadAddress {
    pub channel: Channel,
    pub text: String,
    pub why: String,
}

impl Address {
    /// Reads an address; the lines of a postal address are separated by commas or line ends.
    pub fn parse(channel: Channel, text: &str) -> Result<Address, BadAddress> {
        let bad = |why: &str| BadAddress { channel, text: text.chars().take(80).collect(), why: why.into() };
        let number = || phone_number(text).map_err(|why| bad(&why));
        Ok(match channel {
            Channel::Email => {
                let parsed: lettre::Address = text.trim().parse().map_err(|e| bad(&format!("{e}")))?;
                Address::Email(parsed.to_string())
            }
            Channel::Sms => Address::Sms(number()?),
            Channel::Fax => Address::Fax(number()?),
            Channel::Phone => Address::Phone(number()?),
            Channel::Letter => {
                let lines = text.split([',', '\n']).map(str::trim).filter(|line| !line.is_empty());
                let lines: Vec<String> = lines.map(Into::into).collect();
                if !(2..=6).contains(&lines.len()) {
                    return Err(bad("a postal address has 2 to 6 lines"));
                }
                if lines.iter().any(|line| line.chars().any(char::is_control) || line.chars().count() > 60) {
                    return Err(bad("a line is longer than 60 characters or has control characters"));
                }
                Address::Letter(lines)
            }
        })
    }

    pub fn channel(&self) -> Channel {
        match self {
            Address::Email(_) => Channel::Email,
            Address::Sms(_) => Channel::Sms,
            Address::Fax(_) => Channel::Fax,
            Address::Letter(_) => Channel::Letter,
            Address::Phone(_) => Channel::Phone,
        }
    }
}

/// As people write it, without what only looks nice: digits, one leading `+`, blanks.
fn phone_number(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (plus, rest) = text.strip_prefix('+').map_or(("", text), |rest| ("+", rest));
    if let Some(bad) = rest.chars().find(|c| !c.is_ascii_digit() && !matches!(c, ' ' | '-' | '/' | '(' | ')' | '.')) {
        return Err(format!("{bad:?} is in no number"));
    }
    let groups: Vec<&str> = rest.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let digits: usize = groups.iter().map(|group| group.len()).sum();
    // E.164 allows 15 digits; short numbers are those of a house's own exchange.
    if !(3..=15).contains(&digits) {
        return Err(format!("{digits} digits of 3 to 15"));
    }
    Ok(format!("{plus}{}", groups.join(" ")))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Email(text) | Address::Sms(text) | Address::Fax(text) | Address::Phone(text) => f.write_str(text),
            Address::Letter(lines) => f.write_str(&lines.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_is_taken_and_tidied() {
        let parsed = |channel, text| Address::parse(channel, text).map(|a| a.to_string()).map_err(|e| e.why);
        assert_eq!(parsed(Channel::Phone, "+49 (711) 555-01/99"), Ok("+49 711 555 01 99".into()));
        assert_eq!(parsed(Channel::Email, " hilfe@haus.example "), Ok("hilfe@haus.example".into()));
        assert_eq!(parsed(Channel::Letter, "Haus, Weg 7,\n01097 Dresden"), Ok("Haus, Weg 7, 01097 Dresden".into()));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (channel, text) in [
            (Channel::Phone, "12"),
            (Channel::Phone, "0711 oder 0712"),
            (Channel::Sms, "1234567890123456"),
            (Channel::Fax, ""),
            (Channel::Email, "niemand"),
            (Channel::Email, "a@b.example\r\nBcc: c@d.example"),
            (Channel::Letter, "nur eine Zeile"),
            (Channel::Letter, "1,2,3,4,5,6,7"),
        ] {
            assert!(Address::parse(channel, text).is_err(), "{channel}: {text}");
        }
    }
}
