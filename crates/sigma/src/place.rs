//! The line of a rule's source that a complaint is about: the parser keeps values, not places.

/// The line of a key below others (`["detection", "selection", "Image"]`), or the deepest of them that is found.
/// Modifiers behind a key (`Image|endswith`) belong to it.
pub(crate) fn of_key(source: &str, path: &[&str]) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = 0;
    let mut from = 0;
    for key in path {
        let Some(at) = lines.iter().skip(from).position(|line| has_key(line, key)) else { break };
        found = from + at;
        from = found + 1;
    }
    found + 1
}

fn has_key(line: &str, key: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ").trim_start().trim_start_matches(['"', '\'']);
    line.strip_prefix(key).is_some_and(|rest| rest.starts_with([':', '|', '"', '\'']))
}

/// The line that a message of the parser is about: the one it names, or the first with a word that it quotes.
pub(crate) fn of_message(source: &str, message: &str) -> usize {
    let named = message.split("line ").nth(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    if let Some(line) = named.flatten().and_then(|digits| digits.parse().ok()) {
        return line;
    }
    if message.starts_with("Condition") {
        return of_key(source, &["detection", "condition"]);
    }
    let quoted = message.split('\'').skip(1).step_by(2).find(|word| !word.is_empty());
    let at = quoted.and_then(|word| source.lines().position(|line| line.contains(word)));
    at.map_or(1, |at| at + 1)
}

/// The name that is most like another, if it is like it at all: the same letters in other cases, or one mistake.
pub(crate) fn like<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let distance = |known: &&str| one_mistake(&wanted.to_lowercase(), &known.to_lowercase());
    known.filter(|known| *known != wanted).find(distance).map(String::from)
}

fn one_mistake(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Equal => a.is_empty() || a[1..] == b[1..],
        std::cmp::Ordering::Less => a == &b[1..],
        std::cmp::Ordering::Greater => &a[1..] == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_below_their_parents() {
        let source = "title: x\nImage: no\ndetection:\n  one:\n    Image: a\n  two:\n    - Image|endswith: b\n";
        assert_eq!(of_key(source, &["detection", "two", "Image"]), 7);
        assert_eq!(of_key(source, &["detection", "one", "Image"]), 5);
        assert_eq!(of_key(source, &["detection", "three", "Image"]), 3);
        assert_eq!(of_key(source, &["nothing"]), 1);
    }

    #[test]
    fn messages_lead_to_lines() {
        assert_eq!(of_message("a\nb\n", "bad indent at line 2 column 1"), 2);
        assert_eq!(of_message("a\nImage|foo: b\n", "Unknown modifier 'foo'"), 2);
        assert_eq!(of_message("a\n", "something else"), 1);
    }

    #[test]
    fn a_guess_is_one_mistake_away() {
        let known = ["Image", "CommandLine", "User"];
        assert_eq!(like("image", known.into_iter()).as_deref(), Some("Image"));
        assert_eq!(like("Comandline", known.into_iter()).as_deref(), Some("CommandLine"));
        assert_eq!(like("Users", known.into_iter()).as_deref(), Some("User"));
        assert_eq!(like("Registry", known.into_iter()), None);
    }
}
