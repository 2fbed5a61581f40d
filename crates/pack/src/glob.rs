//! Texts with wild cards, brought to the cheapest form that says the same.

use crate::format::{Glob, Piece, Wild};

/// A [`Glob`] that is ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Anything,
    Whole(String),
    Start(String),
    End(String),
    Inside(String),
    /// Everything else, piece by piece.
    General(Vec<Piece>),
}

const MANY: Piece = Piece::Wild(Wild::Many(()));

impl Pattern {
    /// `lower`: the text that will be compared is in lower case, so the pattern becomes it, too.
    pub(crate) fn new(glob: &Glob, lower: bool) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in &glob.0 {
            match (piece, pieces.last_mut()) {
                (Piece::Text(text), _) if text.is_empty() => {}
                (Piece::Text(text), Some(Piece::Text(before))) => before.push_str(&fold(text, lower)),
                (Piece::Text(text), _) => pieces.push(Piece::Text(fold(text, lower))),
                (Piece::Wild(Wild::Many(())), Some(Piece::Wild(Wild::Many(())))) => {}
                (wild, _) => pieces.push(wild.clone()),
            }
        }
        match pieces.as_slice() {
            [] => Pattern::Whole(String::new()),
            [MANY] => Pattern::Anything,
            [Piece::Text(text)] => Pattern::Whole(text.clone()),
            [Piece::Text(text), MANY] => Pattern::Start(text.clone()),
            [MANY, Piece::Text(text)] => Pattern::End(text.clone()),
            [MANY, Piece::Text(text), MANY] => Pattern::Inside(text.clone()),
            _ => Pattern::General(pieces),
        }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Anything => true,
            Pattern::Whole(whole) => text == whole,
            Pattern::Start(start) => text.starts_with(start.as_str()),
            Pattern::End(end) => text.ends_with(end.as_str()),
            Pattern::Inside(part) => text.contains(part.as_str()),
            Pattern::General(pieces) => general(pieces, text),
        }
    }
}

fn fold(text: &str, lower: bool) -> String {
    if lower { text.to_lowercase() } else { text.into() }
}

/// Goes back to the last "many" only: what stands before it never needs another look.
fn general(pieces: &[Piece], text: &str) -> bool {
    let (mut piece, mut at) = (0, 0);
    let mut last_many: Option<(usize, usize)> = None;
    loop {
        let step = match pieces.get(piece) {
            None if at == text.len() => return true,
            None => None,
            Some(&MANY) => {
                last_many = Some((piece, at));
                Some(at)
            }
            Some(Piece::Wild(Wild::One(()))) => text[at..].chars().next().map(|one| at + one.len_utf8()),
            Some(Piece::Text(part)) => text[at..].starts_with(part.as_str()).then_some(at + part.len()),
        };
        match (step, last_many) {
            (Some(next), _) => {
                piece += 1;
                at = next;
            }
            (None, Some((many, from))) => {
                let Some(one) = text[from..].chars().next() else { return false };
                last_many = Some((many, from + one.len_utf8()));
                piece = many + 1;
                at = from + one.len_utf8();
            }
            (None, None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> Glob {
        let piece = |c: char| match c {
            '*' => MANY,
            '?' => Piece::Wild(Wild::One(())),
            c => Piece::Text(c.into()),
        };
        Glob(text.chars().map(piece).collect())
    }

    /// The definition, without any cleverness.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            Some(('?', rest)) => !text.is_empty() && slow(rest, &text[1..]),
            Some((c, rest)) => text.first() == Some(c) && slow(rest, &text[1..]),
        }
    }

    #[test]
    fn the_cheapest_form_is_taken() {
        assert_eq!(Pattern::new(&glob("**"), true), Pattern::Anything);
        assert_eq!(Pattern::new(&glob("*/SH"), true), Pattern::End("/sh".into()));
        assert_eq!(Pattern::new(&glob("*/SH"), false), Pattern::End("/SH".into()));
        assert_eq!(Pattern::new(&glob("*curl*"), true), Pattern::Inside("curl".into()));
        assert!(matches!(Pattern::new(&glob("a*b"), true), Pattern::General(_)));
    }

    proptest! {
        #[test]
        fn it_says_what_the_definition_says(pattern in "[ab*?ä]{0,7}", text in "[abä]{0,9}") {
            let letters: Vec<char> = text.chars().collect();
            let expected = slow(&pattern.chars().collect::<Vec<_>>(), &letters);
            prop_assert_eq!(Pattern::new(&glob(&pattern), false).matches(&text), expected);
        }
    }
}
