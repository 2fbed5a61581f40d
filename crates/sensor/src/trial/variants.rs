//! Hostile variants that know what a pack is made of: its own words at their longest, its own parts in wrong places.
//! The same seed gives the same variants. What must stay out: running them.

use staffel_pack::{
    Catalogue, Pack, Value,
    format::{Ask, Glob, Piece, Rule, Scalar, Step, Test, Wild},
    record::{LONGEST_TEXT, encode},
};

/// Records of one hostile batch.
pub const BATCH: u64 = 16;
/// Most tests of a pack that get a record of their own.
const MOST_TESTS: usize = 200;
/// Most words of one test that are tried at their longest.
const MOST_WORDS: usize = 8;

/// Splitmix64 (Steele, Lea, Flood 2014): a stream that a seed repeats.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `end`; 0 if there is nothing.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// A text repeated to the longest that a field may have.
fn repeated(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    text.repeat(LONGEST_TEXT.div_ceil(text.len()))
}

/// Texts that make this test work hardest: what it looks for over and over, and never whole.
fn hard(test: &Test) -> Vec<String> {
    match &test.ask {
        Ask::Like(globs) | Ask::LikeCased(globs) => {
            let pieces = globs.iter().flat_map(|Glob(pieces)| pieces);
            let mut words: Vec<&str> = pieces
                .filter_map(|piece| match piece {
                    Piece::Text(text) => text.char_indices().next_back().map(|(last, _)| &text[..last]),
                    Piece::Wild(_) => None,
                })
                .filter(|word| !word.is_empty())
                .take(MOST_WORDS)
                .collect();
            words.dedup();
            words.into_iter().map(repeated).collect()
        }
        Ask::Regex(_) => ["a", "ab", "/", "0", " ", "A=", "\u{e4}"].map(repeated).into(),
        _ => Vec::new(),
    }
}

/// Records with one long text each, in the field of the test that it is hard for.
pub fn longest(pack: &Pack, catalogue: &Catalogue) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    for rule in &pack.rules {
        let Some((place, class)) = catalogue.class(&rule.class) else { continue };
        for test in &rule.tests {
            let field = match &test.field {
                Some(field) => field.as_str(),
                None => "Image",
            };
            if class.slot(field).is_none() || records.len() >= MOST_TESTS {
                continue;
            }
            for text in hard(test) {
                let mut batch = Vec::new();
                encode(&mut batch, catalogue, super::FIRST_RECORD, place, [(field, Value::Text(&text))]);
                let start: String = text.chars().take(12).collect();
                records.push((format!("{LONGEST_TEXT} bytes of {start:?} in {field} (rule {})", rule.id), batch));
            }
        }
    }
    records
}

/// Records of all classes: words of the pack in any field, extremes, and bytes that are no record.
pub fn batch(random: &mut Random, pack: &Pack, catalogue: &Catalogue) -> Vec<u8> {
    let mut words: Vec<String> =
        ["", "a", "/", "\0", "\u{10ffff}", "ä", "*", "%s%n", "../../.."].map(Into::into).into();
    for vector in &pack.vectors {
        words.extend(vector.fields.values().filter_map(|value| match value {
            Scalar::Text(text) => Some(text.clone()),
            Scalar::Number(_) => None,
        }));
    }
    let mut batch = Vec::new();
    for _ in 0..BATCH {
        let place = random.below(catalogue.classes.len());
        let class = &catalogue.classes[place];
        let mut texts = Vec::new();
        for field in &class.fields {
            let word = random.of(&words).cloned().unwrap_or_default();
            let other = random.of(&words).cloned().unwrap_or_default();
            let text = match random.below(8) {
                0 => repeated(&word),
                1 => word.to_uppercase() + &other,
                2 => word.chars().rev().collect(),
                _ => word,
            };
            texts.push((field.name.as_str(), text, random.below(4)));
        }
        let numbers = [i64::MIN, -1, 0, 1, i64::MAX, random.next() as i64];
        let number = random.of(&numbers).copied().unwrap_or_default();
        let named = texts.iter().zip(&class.fields).filter(|((_, _, chance), _)| *chance > 0);
        let named = named.map(|((name, text, _), field)| match field.kind {
            staffel_pack::Kind::Text => (*name, Value::Text(text)),
            staffel_pack::Kind::Number => (*name, Value::Number(number)),
        });
        encode(&mut batch, catalogue, random.next(), place as u16, named);
    }
    if random.below(4) == 0 {
        let at = random.below(batch.len());
        if let Some(byte) = batch.get_mut(at) {
            *byte = random.next() as u8;
        }
    }
    batch
}

/// A variant of a pack, and in words what was done.
pub fn pack(random: &mut Random, pack: &Pack) -> (&'static str, Vec<u8>) {
    let mut changed = pack.clone();
    let kinds = [
        "all rules twice",
        "a value extended",
        "wild cards between",
        "a step changed",
        "another class",
        "another field",
        "numbers at their ends",
        "a field not declared",
        "an expression cut",
        "a byte changed",
        "the end cut off",
    ];
    let kind = random.below(kinds.len());
    let count = changed.rules.len();
    let at = random.below(count);
    match kind {
        0 => {
            let twice = changed.rules.iter().map(|rule| Rule { id: format!("{}-twice", rule.id), ..rule.clone() });
            let twice: Vec<Rule> = twice.collect();
            changed.rules.extend(twice);
        }
        4 => {
            let classes: Vec<String> = changed.needs.iter().map(|need| need.class.clone()).collect();
            if let (Some(class), Some(rule)) = (random.of(&classes), changed.rules.get_mut(at)) {
                rule.class.clone_from(class);
            }
        }
        7 => {
            let need = random.below(changed.needs.len());
            if let Some(need) = changed.needs.get_mut(need) {
                need.fields.pop();
            }
        }
        9 | 10 => {
            let mut bytes = changed.write();
            let at = random.below(bytes.len());
            if kind == 10 {
                bytes.truncate(at);
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte = random.next() as u8;
            }
            return (kinds[kind], bytes);
        }
        _ => {
            if let Some(rule) = changed.rules.get_mut(at) {
                alter(random, rule, kind);
            }
        }
    }
    (kinds[kind], changed.write())
}

fn alter(random: &mut Random, rule: &mut Rule, kind: usize) {
    let step = random.below(rule.condition.len());
    let test = random.below(rule.tests.len());
    let to = random.below(rule.condition.len() + 2) as u16;
    if kind == 3 {
        if let Some(step) = rule.condition.get_mut(step) {
            *step = [Step::Test(to), Step::Not, Step::IfYes(to), Step::IfNo(to)][random.below(4)];
        }
        return;
    }
    let fields: Vec<Option<String>> = rule.tests.iter().map(|test| test.field.clone()).chain([None]).collect();
    let Some(test) = rule.tests.get_mut(test) else { return };
    if kind == 5 {
        test.field = random.of(&fields).cloned().flatten();
        return;
    }
    match &mut test.ask {
        Ask::Like(globs) | Ask::LikeCased(globs) => {
            let at = random.below(globs.len());
            let Some(Glob(pieces)) = globs.get_mut(at) else { return };
            if kind == 1 {
                pieces.push(Piece::Text("x".repeat(1 + random.below(64))));
            } else {
                *pieces = pieces
                    .iter()
                    .flat_map(|piece| [piece.clone(), Piece::Wild(Wild::Many(())), Piece::Wild(Wild::One(()))])
                    .collect();
            }
        }
        Ask::Regex(texts) => {
            let at = random.below(texts.len());
            let Some(text) = texts.get_mut(at) else { return };
            if kind == 1 {
                text.push_str(".*x");
            } else {
                text.pop();
            }
        }
        Ask::Is(numbers) => numbers.extend([i64::MIN, i64::MAX]),
        Ask::Below(number) | Ask::AtMost(number) | Ask::Above(number) | Ask::AtLeast(number) => {
            *number = if random.below(2) == 0 { i64::MIN } else { i64::MAX };
        }
        Ask::Network(texts) => texts.push("::/0".into()),
        Ask::Present(wanted) => *wanted = !*wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_variants_and_each_kind_of_change_comes() {
        let (builtin, linux) = (Pack::builtin(), Catalogue::linux());
        let all = |seed| {
            let mut random = Random(seed);
            (0..200).map(|_| pack(&mut random, &builtin)).collect::<Vec<_>>()
        };
        let first = all(1);
        assert_eq!(first, all(1));
        assert_ne!(first, all(2));
        let kinds: std::collections::BTreeSet<_> = first.iter().map(|(how, _)| *how).collect();
        assert_eq!(kinds.len(), 11);
        let changed = first.iter().filter(|(_, bytes)| *bytes != builtin.write()).count();
        assert!(changed > 150, "{changed} of 200");
        assert!(longest(&builtin, &linux).iter().all(|(_, batch)| batch.len() > LONGEST_TEXT / 2));
        assert_eq!(batch(&mut Random(3), &builtin, &linux), batch(&mut Random(3), &builtin, &linux));
    }
}
