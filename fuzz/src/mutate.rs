//! How one input becomes another. What must stay out: what inputs mean.

/// A small generator (splitmix64, Steele, Lea and Flood 2014): the same numbers from the same seed everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 for an end of 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }
}

/// A number that stands for a text.
pub fn number(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// No input grows beyond this, bytes: small ones find the same and run more often.
const LONGEST: usize = 64 << 10;

/// What parsers stumble over.
const AWKWARD: [&[u8]; 30] = [
    b"0",
    b"-1",
    b"1e400",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775808",
    b"4294967296",
    b"0.1",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xc3",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\0",
    b"../",
    b"/",
    b"\"",
    b",",
    b"=",
    "\u{2014} ".as_bytes(),
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":",
    b"99999999999999999999999999999999999999",
];

/// Texts in quotes and between spaces: field names, kinds, numbers.
pub fn words(corpus: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words = std::collections::BTreeSet::new();
    for input in corpus {
        let parts = input.split(|byte| matches!(byte, b'"' | b' ' | b'\n' | b':' | b','));
        words.extend(parts.filter(|part| !part.is_empty() && part.len() <= 64).map(<[u8]>::to_vec));
    }
    words.into_iter().collect()
}

/// Changes an input in one to four places.
pub fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(4) {
        one(input, corpus, words, random);
    }
    input.truncate(LONGEST);
}

fn one(input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let largest = 1 << random.below(8);
    let length = 1 + random.below(largest);
    let end = (at + length).min(input.len());
    match random.below(10) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.number() as u8,
        2 => drop(input.drain(at..end)),
        3 => input.truncate(at),
        4 => {
            let piece = input[at..end].to_vec();
            drop(input.splice(at..at, piece));
        }
        5 => {
            let piece = AWKWARD[random.below(AWKWARD.len())];
            drop(input.splice(at..end.min(at + random.below(4)), piece.iter().copied()));
        }
        6 => replace_token(input, at, words, random),
        7 => replace_number(input, at, random),
        8 => {
            // A piece of another input.
            if let Some(other) = corpus.get(random.below(corpus.len())) {
                let from = random.below(other.len() + 1);
                let to = (from + length).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
        }
        _ => {
            // Two pieces change places.
            let other = random.below(input.len() + 1);
            if at < input.len() && other < input.len() {
                input.swap(at, other);
            }
        }
    }
}

/// Puts another known word where one stands.
fn replace_token(input: &mut Vec<u8>, at: usize, words: &[Vec<u8>], random: &mut Random) {
    let Some(word) = words.get(random.below(words.len())) else { return };
    let quote = |byte: &u8| *byte == b'"';
    let Some(start) = input[..at].iter().rposition(quote).map(|start| start + 1) else { return };
    let Some(length) = input[start..].iter().position(quote) else { return };
    drop(input.splice(start..start + length, word.iter().copied()));
}

/// Puts another number where the next one stands.
fn replace_number(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|start| at + start) else { return };
    let length = input[start..].iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(input.len() - start);
    let number = match random.below(4) {
        0 => 0,
        1 => u64::MAX,
        2 => random.number(),
        _ => 1 << random.below(64),
    };
    drop(input.splice(start..start + length, number.to_string().into_bytes()));
}
