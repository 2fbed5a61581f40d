//! How everything of the guard lies on disk, in firmware variables and on the system partition of the firmware: one codec.
//!
//! A record is a line `staffel-record 1 <name> <sequence> <length> <sha256>` and a body; the digest covers all of that.
//! What must stay out: files, and what the body means.

use crate::ids::Digest;

const MAGIC: &str = "staffel-record";
/// Version of the header line.
const VERSION: u32 = 1;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the header line is not readable")]
    Header,
    #[error("the format is version {found}, this program knows {VERSION}")]
    Version { found: u32 },
    #[error("it is a record of {found:?}")]
    Name { found: String },
    #[error("it has {found} bytes where the header says {said}")]
    Length { said: usize, found: usize },
    #[error("the checksum does not match")]
    Checksum,
    #[error("it needs {needed} bytes where there is room for {size}")]
    TooLarge { needed: usize, size: usize },
}

fn digest(name: &str, sequence: u64, body: &[u8]) -> Digest {
    let mut covered = format!("{VERSION} {name} {sequence} {}\n", body.len()).into_bytes();
    covered.extend_from_slice(body);
    Digest::of(&covered)
}

/// The bytes of a record.
pub fn encode(name: &str, sequence: u64, body: &[u8]) -> Vec<u8> {
    let digest = digest(name, sequence, body);
    let mut out = format!("{MAGIC} {VERSION} {name} {sequence} {} {digest}\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

/// The bytes of a record of exactly `size` bytes: spaces follow the body, which JSON allows. Such a record is
/// overwritten in place, so that no file system has to find or free room for it.
pub fn encode_sized(name: &str, sequence: u64, body: &[u8], size: usize) -> Result<Vec<u8>, CodecError> {
    // The header grows with the number of digits of the length that stands in it, so the room for the body is searched
    // for among the few lengths that are possible.
    let header = encode(name, sequence, &[]).len();
    let needed = header + body.len();
    let room = (0..20).rev().filter_map(|digits| size.checked_sub(header + digits));
    for length in room.filter(|length| *length >= body.len()) {
        let mut padded = body.to_vec();
        padded.resize(length, b' ');
        let bytes = encode(name, sequence, &padded);
        if bytes.len() == size {
            return Ok(bytes);
        }
    }
    Err(CodecError::TooLarge { needed, size })
}

/// Sequence and body of a record.
pub fn decode<'a>(name: &str, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), CodecError> {
    let end = bytes.iter().take(512).position(|byte| *byte == b'\n').ok_or(CodecError::Header)?;
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| CodecError::Header)?;
    let body = &bytes[end + 1..];
    let fields: Vec<&str> = line.split(' ').collect();
    let [MAGIC, version, found, sequence, length, _] = fields[..] else { return Err(CodecError::Header) };
    let version: u32 = version.parse().map_err(|_| CodecError::Header)?;
    if version != VERSION {
        return Err(CodecError::Version { found: version });
    }
    if found != name {
        return Err(CodecError::Name { found: found.into() });
    }
    let sequence: u64 = sequence.parse().map_err(|_| CodecError::Header)?;
    let said: usize = length.parse().map_err(|_| CodecError::Header)?;
    if said != body.len() {
        return Err(CodecError::Length { said, found: body.len() });
    }
    // The line as we would have written it, to the letter: no sign, leading zero or capital digit slips through.
    let expected = format!("{MAGIC} {VERSION} {name} {sequence} {said} {}", digest(name, sequence, body));
    match line == expected {
        true => Ok((sequence, body)),
        false => Err(CodecError::Checksum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(sequence in any::<u64>(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = encode("state", sequence, &body);
            prop_assert_eq!(decode("state", &bytes), Ok((sequence, &body[..])));
            prop_assert_eq!(decode("keyring", &bytes), Err(CodecError::Name { found: "state".into() }));
        }

        #[test]
        fn any_flipped_bit_is_noticed(body in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0..8u8) {
            let mut bytes = encode("state", 7, &body);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(decode("state", &bytes).is_err());
        }

        #[test]
        fn any_cut_or_tail_is_noticed(body in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), tail in 1..9usize) {
            let mut bytes = encode("state", 7, &body);
            let at = at % bytes.len();
            prop_assert!(decode("state", &bytes[..at]).is_err());
            bytes.extend(std::iter::repeat_n(b'x', tail));
            prop_assert!(decode("state", &bytes).is_err());
        }

        #[test]
        fn a_sized_record_has_its_size_or_says_what_it_needs(sequence in any::<u64>(), body in "[a-z]{0,120}", size in 0..1200usize) {
            match encode_sized("state", sequence, body.as_bytes(), size) {
                Ok(bytes) => {
                    prop_assert_eq!(bytes.len(), size);
                    let (found, padded) = decode("state", &bytes).unwrap();
                    prop_assert_eq!(found, sequence);
                    prop_assert_eq!(padded.trim_ascii_end(), body.as_bytes());
                }
                Err(CodecError::TooLarge { needed, size: said }) => {
                    prop_assert_eq!(said, size);
                    // Where the length gets one more digit, one size can't be met.
                    let hole = [10, 101, 1002].contains(&(size.saturating_sub(needed - body.len())));
                    prop_assert!(size < needed + 4 || hole, "{needed} bytes do not fit into {size}");
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }

        #[test]
        fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "staffel-record [ -~\n]{0,120}") {
            prop_assert!(decode("state", &bytes).is_err());
            prop_assert!(decode("state", text.as_bytes()).is_err());
        }
    }
}
