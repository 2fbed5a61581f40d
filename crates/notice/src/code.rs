//! The short code: what somebody reads out on the phone to say which notice reached whom.
//!
//! Seven random characters and one check character. The alphabet has 29 letters and digits that can't be mistaken for each
//! other in print (no 0 O Q, 1 I L, U). 29 is prime and each position has its own weight, so the check character betrays
//! every single wrong character and every two that were swapped.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

const ALPHABET: &[u8; 29] = b"23456789ABCDEFGHJKMNPRSTVWXYZ";
/// Characters with the check character.
const LENGTH: usize = 8;

/// A short code, in JSON and on paper as `K7MD-2RXA`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShortCode([u8; LENGTH]);

/// Why a text is no short code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    #[error("a code has 8 characters, this one has {count}")]
    Length { count: usize },
    #[error("{character:?} is in no code: there is no 0, O, Q, 1, I, L or U")]
    Character { character: char },
    #[error("a character is wrong or two are swapped: ask for it again")]
    Check,
}

impl ShortCode {
    /// The code for a random number. Numbers that differ by a multiple of 29^7 (about 1.7 * 10^10) give the same one.
    pub fn from_random(random: u64) -> ShortCode {
        let mut rest = random;
        let mut values = [0_u8; LENGTH];
        for value in &mut values[..LENGTH - 1] {
            *value = (rest % 29) as u8;
            rest /= 29;
        }
        values[LENGTH - 1] = check(&values);
        ShortCode(values)
    }
}

/// The value that makes the weighted sum a multiple of 29; its own weight is 28, which is -1.
fn check(values: &[u8; LENGTH]) -> u8 {
    let sum: u32 = (1..).zip(&values[..LENGTH - 1]).map(|(weight, value): (u32, &u8)| weight * u32::from(*value)).sum();
    (sum % 29) as u8
}

impl FromStr for ShortCode {
    type Err = BadCode;

    /// Forgives lower case, spaces and hyphens, and nothing else.
    fn from_str(text: &str) -> Result<Self, BadCode> {
        let written = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{2010}'..='\u{2014}'));
        let mut values = [0_u8; LENGTH];
        let mut count = 0;
        for character in written {
            let upper = character.to_ascii_uppercase();
            let value = ALPHABET.iter().position(|c| char::from(*c) == upper);
            let value = value.ok_or(BadCode::Character { character })?;
            if let Some(place) = values.get_mut(count) {
                *place = value as u8;
            }
            count += 1;
        }
        if count != LENGTH {
            return Err(BadCode::Length { count });
        }
        if check(&values) != values[LENGTH - 1] {
            return Err(BadCode::Check);
        }
        Ok(ShortCode(values))
    }
}

impl fmt::Display for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.0.iter().enumerate() {
            if at == LENGTH / 2 {
                f.write_str("-")?;
            }
            let character = ALPHABET.get(usize::from(*value)).copied().unwrap_or(b'?');
            write!(f, "{}", char::from(character))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for ShortCode {
    type Error = BadCode;

    fn try_from(text: String) -> Result<Self, BadCode> {
        text.parse()
    }
}

impl From<ShortCode> for String {
    fn from(code: ShortCode) -> String {
        code.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough different codes to see every character in every place.
    fn many() -> impl Iterator<Item = ShortCode> {
        (0..400_u64).map(|n| ShortCode::from_random(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    #[test]
    fn what_is_printed_is_read_again_also_when_typed_carelessly() {
        for code in many() {
            let text = code.to_string();
            assert_eq!(text.parse(), Ok(code));
            let careless = format!(" {} ", text.replace('-', " ").to_lowercase());
            assert_eq!(careless.parse(), Ok(code));
        }
    }

    #[test]
    fn every_wrong_character_is_noticed() {
        for code in many() {
            let good = code.to_string().replace('-', "");
            for at in 0..LENGTH {
                for wrong in ALPHABET.iter().filter(|c| **c != good.as_bytes()[at]) {
                    let mut bytes = good.clone().into_bytes();
                    bytes[at] = *wrong;
                    let typed = String::from_utf8(bytes).expect("letters and digits");
                    assert_eq!(typed.parse::<ShortCode>(), Err(BadCode::Check), "{good} typed as {typed}");
                }
            }
        }
    }

    #[test]
    fn every_two_swapped_characters_are_noticed() {
        for code in many() {
            let good = code.to_string().replace('-', "").into_bytes();
            for (a, b) in (0..LENGTH).flat_map(|a| (a + 1..LENGTH).map(move |b| (a, b))) {
                let mut swapped = good.clone();
                swapped.swap(a, b);
                if swapped != good {
                    let typed = String::from_utf8(swapped).expect("letters and digits");
                    assert_eq!(typed.parse::<ShortCode>(), Err(BadCode::Check), "{code} typed as {typed}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_code_is_refused_with_the_reason() {
        assert_eq!("K7MD".parse::<ShortCode>(), Err(BadCode::Length { count: 4 }));
        assert_eq!("K7MD-2RXAA".parse::<ShortCode>(), Err(BadCode::Length { count: 9 }));
        assert_eq!("K0MD-2RXA".parse::<ShortCode>(), Err(BadCode::Character { character: '0' }));
        assert_eq!("Ä7MD-2RXA".parse::<ShortCode>(), Err(BadCode::Character { character: 'Ä' }));
    }
}
