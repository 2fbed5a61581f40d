//! Typed records as bytes. All numbers are little-endian.
//!
//! A batch is records one after the other: `length: u32` of what follows, `sequence: u64`, `class: u16`, `fields: u16`,
//! then for each field a tag: 0 missing, 1 text (`length: u32`, UTF-8), 2 number (`i64`). A record that is not so, or
//! whose number of fields or types are not those of its class, is dropped and counted; the length says where the next
//! begins. A length beyond the end drops the rest, which counts as one.

use crate::catalogue::{Catalogue, Kind, Slot};

/// Longest text of one field in bytes; the encoder cuts what is longer at a character.
pub const LONGEST_TEXT: usize = 16 * 1_024;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Counts up by one for each record of a source; a gap is a loss.
    pub sequence: u64,
    /// Place of the class in the catalogue.
    pub class: u16,
    values: Vec<Option<Value<'a>>>,
}

impl<'a> Record<'a> {
    /// The value, if the record has one there.
    pub fn value(&self, slot: Slot) -> Option<Value<'a>> {
        self.values.get(slot.0).copied().flatten()
    }

    /// All texts.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.values.iter().filter_map(|value| match value {
            Some(Value::Text(text)) => Some(*text),
            _ => None,
        })
    }
}

/// Appends a record to a batch. Fields that the class does not have are left out, as are values of another type: both
/// are counted in what is returned.
pub fn encode<'a>(
    batch: &mut Vec<u8>,
    catalogue: &Catalogue,
    sequence: u64,
    class: u16,
    named: impl IntoIterator<Item = (&'a str, Value<'a>)>,
) -> usize {
    let Some(described) = catalogue.classes.get(usize::from(class)) else { return 1 };
    let mut values: Vec<Option<Value<'_>>> = vec![None; described.fields.len()];
    let mut left_out = 0;
    for (name, value) in named {
        match (described.slot(name), value) {
            (Some((slot, Kind::Text)), Value::Text(_)) | (Some((slot, Kind::Number)), Value::Number(_)) => {
                values[slot.0] = Some(value);
            }
            _ => left_out += 1,
        }
    }
    let start = batch.len();
    batch.extend_from_slice(&[0; 4]);
    batch.extend_from_slice(&sequence.to_le_bytes());
    batch.extend_from_slice(&class.to_le_bytes());
    batch.extend_from_slice(&(values.len() as u16).to_le_bytes());
    for value in values {
        match value {
            None => batch.push(0),
            Some(Value::Text(text)) => {
                let text = cut(text, LONGEST_TEXT);
                batch.push(1);
                batch.extend_from_slice(&(text.len() as u32).to_le_bytes());
                batch.extend_from_slice(text.as_bytes());
            }
            Some(Value::Number(number)) => {
                batch.push(2);
                batch.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
    let length = (batch.len() - start - 4) as u32;
    batch[start..start + 4].copy_from_slice(&length.to_le_bytes());
    left_out
}

/// The text, or as much of it as fits into `most` bytes, whole characters.
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads a batch. What does not parse is counted in [`Batch::dropped`].
pub struct Batch<'a, 'c> {
    rest: &'a [u8],
    catalogue: &'c Catalogue,
    /// Records that were not as described above.
    pub dropped: u64,
}

impl<'a, 'c> Batch<'a, 'c> {
    pub fn new(bytes: &'a [u8], catalogue: &'c Catalogue) -> Self {
        Batch { rest: bytes, catalogue, dropped: 0 }
    }

    fn one(&mut self) -> Option<Option<Record<'a>>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((body, rest)) = framed(self.rest) else {
            self.rest = &[];
            return Some(None);
        };
        self.rest = rest;
        Some(decode(body, self.catalogue))
    }
}

impl<'a> Iterator for Batch<'a, '_> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            match self.one()? {
                Some(record) => return Some(record),
                None => self.dropped += 1,
            }
        }
    }
}

fn framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn decode<'a>(body: &'a [u8], catalogue: &Catalogue) -> Option<Record<'a>> {
    let (sequence, body) = body.split_first_chunk::<8>()?;
    let (class, body) = body.split_first_chunk::<2>()?;
    let (fields, mut body) = body.split_first_chunk::<2>()?;
    let class = u16::from_le_bytes(*class);
    let described = catalogue.classes.get(usize::from(class))?;
    if usize::from(u16::from_le_bytes(*fields)) != described.fields.len() {
        return None;
    }
    let mut values = Vec::with_capacity(described.fields.len());
    for field in &described.fields {
        let (tag, rest) = body.split_first()?;
        body = rest;
        values.push(match (tag, field.kind) {
            (0, _) => None,
            (1, Kind::Text) => {
                let (text, rest) = framed(body).filter(|(text, _)| text.len() <= LONGEST_TEXT)?;
                body = rest;
                Some(Value::Text(std::str::from_utf8(text).ok()?))
            }
            (2, Kind::Number) => {
                let (number, rest) = body.split_first_chunk::<8>()?;
                body = rest;
                Some(Value::Number(i64::from_le_bytes(*number)))
            }
            _ => return None,
        });
    }
    body.is_empty().then_some(Record { sequence: u64::from_le_bytes(*sequence), class, values })
}

#[cfg(test)]
mod tests;
