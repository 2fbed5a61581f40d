//! Packs made by hand. Must stay out: what the gate should say to them.

use staffel_pack::{
    Catalogue, Pack,
    format::{Ask, FORMAT, Glob, Level, Need, Piece, Rule, Scalar, Step, Test, Vector, Wild},
};
use std::collections::BTreeSet;

pub const PROCESS: &str = "process_creation";
const MANY: Piece = Piece::Wild(Wild::Many(()));

/// A pattern; `*` stands for any characters.
pub fn glob(text: &str) -> Glob {
    let mut pieces = Vec::new();
    for (at, part) in text.split('*').enumerate() {
        if at > 0 {
            pieces.push(MANY);
        }
        if !part.is_empty() {
            pieces.push(Piece::Text(part.into()));
        }
    }
    Glob(pieces)
}

pub fn ask(field: &str, ask: Ask) -> Test {
    Test { field: Some(field.into()), every: false, ask }
}

/// The field is like this.
pub fn like(field: &str, text: &str) -> Test {
    ask(field, Ask::Like(vec![glob(text)]))
}

pub fn text(field: &str, text: &str) -> (String, Scalar) {
    (field.into(), Scalar::Text(text.into()))
}

pub fn number(field: &str, number: i64) -> (String, Scalar) {
    (field.into(), Scalar::Number(number))
}

/// A rule for which all tests must hold.
pub fn rule(id: &str, class: &str, tests: Vec<Test>) -> Rule {
    let mut condition = Vec::new();
    let end = (2 * tests.len()).saturating_sub(1) as u16;
    for at in 0..tests.len() {
        condition.push(Step::Test(at as u16));
        if at + 1 < tests.len() {
            condition.push(Step::IfNo(end));
        }
    }
    Rule {
        id: id.into(),
        title: format!("rule {id}"),
        level: Level::Low,
        tags: Vec::new(),
        class: class.into(),
        tests,
        condition,
    }
}

pub fn vector<const N: usize>(rule: &str, matches: bool, fields: [(String, Scalar); N]) -> Vector {
    Vector { rule: rule.into(), matches, fields: fields.into() }
}

/// A pack of these rules, with what they need of this catalogue.
pub fn pack_for(catalogue: &Catalogue, version: u64, rules: Vec<Rule>, vectors: Vec<Vector>) -> Pack {
    let classes: BTreeSet<&str> = rules.iter().map(|rule| rule.class.as_str()).collect();
    let needs = classes.into_iter().map(|name| {
        let fields: BTreeSet<String> = rules
            .iter()
            .filter(|rule| rule.class == name)
            .flat_map(|rule| rule.tests.iter().filter_map(|test| test.field.clone()))
            .collect();
        match catalogue.class(name) {
            Some((_, class)) => Pack::need_of(class, &fields),
            None => Need { class: name.into(), schema: String::new(), fields: Vec::new() },
        }
    });
    Pack { format: FORMAT, name: "seed".into(), version, needs: needs.collect(), rules, vectors }
}

pub fn pack(rules: Vec<Rule>, vectors: Vec<Vector>) -> Pack {
    pack_for(&Catalogue::linux(), 7, rules, vectors)
}

/// One rule `r` over process starts, with examples that match and do not.
pub fn one<const M: usize, const N: usize>(
    tests: Vec<Test>,
    matching: [(String, Scalar); M],
    other: [(String, Scalar); N],
) -> Pack {
    pack(vec![rule("r", PROCESS, tests)], vec![vector("r", true, matching), vector("r", false, other)])
}

/// The plainest: a program by its path.
pub fn plain() -> Pack {
    one(vec![like("Image", "/opt/seed")], [text("Image", "/opt/seed")], [text("Image", "/bin/other")])
}

/// The same under another version.
pub fn version(pack: &Pack, version: u64) -> Pack {
    Pack { version, ..pack.clone() }
}
