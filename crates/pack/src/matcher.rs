//! A test that is bound to a field and ready to run.

use crate::{
    catalogue::Slot,
    format::{Ask, Test},
    glob::Pattern,
    record::{Record, Value},
};
use regex_lite::{Regex, RegexBuilder};
use std::net::IpAddr;

/// Bytes that one compiled expression may take.
const REGEX_BYTES: usize = 1 << 20;
/// Deepest nesting of an expression.
const REGEX_DEPTH: u32 = 50;

/// The values of one test, prepared.
#[derive(Debug)]
enum Prepared {
    /// Compared with the text in lower case.
    Like(Vec<Pattern>),
    LikeCased(Vec<Pattern>),
    Regex(Vec<Regex>),
    Network(Vec<Network>),
    /// An inclusive range of numbers each.
    Within(Vec<(i64, i64)>),
    Present(bool),
}

/// A test on a field of one class.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// None: any text.
    field: Option<Slot>,
    every: bool,
    prepared: Prepared,
}

/// Texts of the record at hand in lower case, made when first asked for.
#[derive(Debug, Default)]
pub(crate) struct Lowered(Vec<Option<String>>);

impl Lowered {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    fn of(&mut self, slot: Slot, text: &str) -> &str {
        if self.0.len() <= slot.0 {
            self.0.resize(slot.0 + 1, None);
        }
        self.0[slot.0].get_or_insert_with(|| text.to_lowercase())
    }
}

impl Matcher {
    /// Prepares a test; `field` is where its field was found by name. The error says what can't be prepared.
    pub(crate) fn new(test: &Test, field: Option<Slot>) -> Result<Self, String> {
        let prepared = match &test.ask {
            Ask::Like(globs) => Prepared::Like(globs.iter().map(|glob| Pattern::new(glob, true)).collect()),
            Ask::LikeCased(globs) => Prepared::LikeCased(globs.iter().map(|glob| Pattern::new(glob, false)).collect()),
            Ask::Regex(texts) => Prepared::Regex(texts.iter().map(|text| regex(text)).collect::<Result<_, _>>()?),
            Ask::Network(texts) => {
                let network = |text: &String| Network::parse(text).ok_or(format!("{text:?} is no network"));
                Prepared::Network(texts.iter().map(network).collect::<Result<_, _>>()?)
            }
            Ask::Is(numbers) => Prepared::Within(numbers.iter().map(|&number| (number, number)).collect()),
            &Ask::Below(number) => {
                Prepared::Within(number.checked_sub(1).map(|most| (i64::MIN, most)).into_iter().collect())
            }
            &Ask::AtMost(number) => Prepared::Within(vec![(i64::MIN, number)]),
            &Ask::Above(number) => {
                Prepared::Within(number.checked_add(1).map(|least| (least, i64::MAX)).into_iter().collect())
            }
            &Ask::AtLeast(number) => Prepared::Within(vec![(number, i64::MAX)]),
            &Ask::Present(wanted) => Prepared::Present(wanted),
        };
        Ok(Matcher { field, every: test.every, prepared })
    }

    pub(crate) fn matches(&self, record: &Record<'_>, lowered: &mut Lowered) -> bool {
        let Some(slot) = self.field else {
            return record.texts().any(|text| self.text(text, &text.to_lowercase()));
        };
        let value = record.value(slot);
        match (&self.prepared, value) {
            (Prepared::Present(wanted), _) => value.is_some() == *wanted,
            (Prepared::Within(ranges), Some(Value::Number(number))) => {
                self.quantify(ranges, |(least, most)| (*least..=*most).contains(&number))
            }
            (Prepared::Like(_), Some(Value::Text(text))) => self.text(text, lowered.of(slot, text)),
            (_, Some(Value::Text(text))) => self.text(text, ""),
            _ => false,
        }
    }

    fn text(&self, text: &str, lower: &str) -> bool {
        match &self.prepared {
            Prepared::Like(patterns) => self.quantify(patterns, |pattern| pattern.matches(lower)),
            Prepared::LikeCased(patterns) => self.quantify(patterns, |pattern| pattern.matches(text)),
            Prepared::Regex(regexes) => self.quantify(regexes, |regex| regex.is_match(text)),
            Prepared::Network(networks) => {
                text.parse::<IpAddr>().is_ok_and(|address| self.quantify(networks, |network| network.contains(address)))
            }
            Prepared::Within(_) | Prepared::Present(_) => false,
        }
    }

    fn quantify<T>(&self, values: &[T], holds: impl FnMut(&T) -> bool) -> bool {
        if self.every { values.iter().all(holds) } else { values.iter().any(holds) }
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(REGEX_BYTES).nest_limit(REGEX_DEPTH).build();
    built.map_err(|error| format!("the expression {text:?} can't be used: {error}"))
}

/// An address range by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = bits.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Network { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        // Addresses of both kinds as 128 bits, the four bytes of the old kind on the left.
        let left = |address: IpAddr| match address {
            IpAddr::V4(old) => u128::from(old.to_bits()) << 96,
            IpAddr::V6(new) => new.to_bits(),
        };
        let differing = left(self.address) ^ left(address);
        self.address.is_ipv4() == address.is_ipv4() && (self.bits == 0 || differing >> (128 - self.bits) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let holds = |network: &str, address: &str| {
            Network::parse(network).expect("a network").contains(address.parse().expect("an address"))
        };
        assert!(holds("10.0.0.0/8", "10.255.1.2") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fe80::/10", "fe80::1") && !holds("fe80::/10", "fec0::1"));
        assert!(holds("1.2.3.4/32", "1.2.3.4") && !holds("1.2.3.4/32", "1.2.3.5"));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_expression_that_would_take_all_memory_is_refused() {
        assert!(regex("a{1000}{1000}").is_err());
        assert!(regex(&"(".repeat(100)).is_err());
        assert!(regex("^/tmp/[a-z]+$").is_ok());
    }
}
