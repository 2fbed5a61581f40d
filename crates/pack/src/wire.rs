//! What a host and the evaluator inside its sandbox say to each other: one buffer in, one buffer out.
//!
//! To load: `length: u32` of the pack, the pack, the catalogue (JSON). To evaluate: a batch of records. The answer to a
//! batch: `dropped: u64`, `left_out: u64`, then for each hit `sequence: u64` and `rule: u32`. All little-endian.

use crate::evaluate::Hit;

/// Most hits that one answer carries; more are counted.
pub const MOST_HITS: usize = 65_536;

/// What a batch led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Records that did not parse.
    pub dropped: u64,
    /// Hits beyond [`MOST_HITS`].
    pub left_out: u64,
    pub hits: Vec<Hit>,
}

impl Answer {
    /// Takes a hit, or counts it if there are too many.
    pub fn push(&mut self, hit: Hit) {
        if self.hits.len() < MOST_HITS {
            self.hits.push(hit);
        } else {
            self.left_out += 1;
        }
    }

    /// Its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.dropped.to_le_bytes());
        out.extend_from_slice(&self.left_out.to_le_bytes());
        for hit in &self.hits {
            out.extend_from_slice(&hit.sequence.to_le_bytes());
            out.extend_from_slice(&hit.rule.to_le_bytes());
        }
    }

    /// None if the bytes are no answer, or have more hits than allowed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (dropped, bytes) = bytes.split_first_chunk::<8>()?;
        let (left_out, bytes) = bytes.split_first_chunk::<8>()?;
        if bytes.len() % 12 != 0 || bytes.len() / 12 > MOST_HITS {
            return None;
        }
        let hit = |bytes: &[u8]| {
            let (sequence, rule) = bytes.split_first_chunk::<8>()?;
            let (rule, _) = rule.split_first_chunk::<4>()?;
            Some(Hit { sequence: u64::from_le_bytes(*sequence), rule: u32::from_le_bytes(*rule) })
        };
        let hits = bytes.chunks_exact(12).map(hit).collect::<Option<_>>()?;
        Some(Answer { dropped: u64::from_le_bytes(*dropped), left_out: u64::from_le_bytes(*left_out), hits })
    }
}

/// The input of a load.
pub fn encode_load(pack: &[u8], catalogue: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + pack.len() + catalogue.len());
    bytes.extend_from_slice(&(pack.len() as u32).to_le_bytes());
    bytes.extend_from_slice(pack);
    bytes.extend_from_slice(catalogue);
    bytes
}

/// The pack and the catalogue of a load.
pub fn decode_load(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_written_and_bounded() {
        let mut answer = Answer { dropped: 3, ..Answer::default() };
        (0..MOST_HITS as u64 + 2).for_each(|sequence| answer.push(Hit { sequence, rule: 7 }));
        assert_eq!((answer.hits.len(), answer.left_out), (MOST_HITS, 2));
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        assert_eq!(Answer::decode(&bytes), Some(answer));
        bytes.extend_from_slice(&[0; 12]);
        assert_eq!(Answer::decode(&bytes), None, "one hit too many");
        assert_eq!(Answer::decode(&bytes[..17]), None);
        assert_eq!(Answer::decode(&[]), None);
    }
}
