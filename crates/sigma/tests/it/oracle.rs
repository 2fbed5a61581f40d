//! Another evaluator, rsigma-eval, says the same about every rule of the built-in pack: on its examples, and on records
//! made by mixing the words that rules ask for.

use rsigma_eval::{Engine, JsonEvent};
use staffel_pack::{
    Catalogue, Evaluator, Kind, Value,
    format::{Ask, Piece, Rule, Scalar},
    record::{Batch, encode},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Mixed records for each rule.
const MIXED: usize = 300;

/// Numbers that look random, the same in every run (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

type Fields = BTreeMap<String, Scalar>;

/// What rsigma-eval says to a record of this rule's own file.
fn theirs(engine: &Engine, fields: &Fields) -> bool {
    let event = serde_json::to_value(fields).expect("names and values are JSON");
    !engine.evaluate(&JsonEvent::borrow(&event)).is_empty()
}

fn ours(evaluator: &mut Evaluator, catalogue: &Catalogue, class: &str, fields: &Fields) -> BTreeSet<u32> {
    let (place, _) = catalogue.class(class).expect("it is there");
    let mut bytes = Vec::new();
    let named = fields.iter().map(|(name, value)| match value {
        Scalar::Number(number) => (name.as_str(), Value::Number(*number)),
        Scalar::Text(text) => (name.as_str(), Value::Text(text)),
    });
    assert_eq!(encode(&mut bytes, catalogue, 0, place, named), 0);
    let mut found = BTreeSet::new();
    Batch::new(&bytes, catalogue).for_each(|record| evaluator.evaluate(&record, |hit| _ = found.insert(hit.rule)));
    found
}

/// Texts that a rule asks for, and some that it does not.
fn words(rule: &Rule) -> Vec<String> {
    let mut words =
        vec![String::new(), "/bin/sh -c 'a | b'".into(), "10.1.2.3".into(), "192.0.2.1".into(), "::1".into()];
    for test in &rule.tests {
        if let Ask::Like(globs) | Ask::LikeCased(globs) = &test.ask {
            for piece in globs.iter().flat_map(|glob| &glob.0) {
                if let Piece::Text(text) = piece {
                    words.push(text.clone());
                    words.push(text.to_uppercase());
                }
            }
        }
    }
    words
}

fn mixed(class: &staffel_pack::Class, words: &[String], dice: &mut Dice) -> Fields {
    let mut fields = Fields::new();
    for field in &class.fields {
        if dice.below(4) == 0 {
            continue;
        }
        let value = match field.kind {
            Kind::Number => Scalar::Number([-1, 0, 1, 22, 1_000, i64::MAX][dice.below(6)]),
            Kind::Text => {
                let parts = (0..=dice.below(3)).map(|_| words[dice.below(words.len())].as_str());
                Scalar::Text(parts.collect::<Vec<_>>().join(["", " ", "/"][dice.below(3)]))
            }
        };
        fields.insert(field.name.clone(), value);
    }
    fields
}

#[test]
fn another_evaluator_says_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/linux");
    let pack = staffel_sigma::build(&folder).expect("the built-in pack is built");
    let catalogue = Catalogue::linux();
    let mut evaluator = Evaluator::bind(&pack, &catalogue).expect("it fits");
    let mut dice = Dice(20_240_719);
    let (mut compared, mut matched) = (0, 0);
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("folders").flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_dir());
    for file in files.iter().flat_map(|folder| std::fs::read_dir(folder).expect("files").flatten()) {
        let path = file.path();
        if path.extension().is_none_or(|end| end != "yml") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("it is readable");
        let collection = rsigma_parser::parse_sigma_yaml(&source).expect("it is Sigma");
        let mut engine = Engine::new();
        engine.add_collection(&collection).expect("they take it");
        let rule = &collection.rules[0];
        let id = rule.id.clone().expect("it has an id");
        let at = pack.rules.iter().position(|rule| rule.id == id).expect("it is in the pack") as u32;
        let words = words(&pack.rules[at as usize]);
        let class_name = pack.rules[at as usize].class.clone();
        let (_, class) = catalogue.class(&class_name).expect("it is there");
        let examples = pack.vectors.iter().filter(|vector| vector.rule == id).map(|vector| vector.fields.clone());
        let mut records: Vec<Fields> = examples.collect();
        records.extend((0..MIXED).map(|_| mixed(class, &words, &mut dice)));
        for fields in records {
            // A service is our test on the program; theirs trusts whoever routed the event.
            let meant = rule.logsource.service.as_deref().is_none_or(|service| {
                let program = match fields.get("Program") {
                    Some(Scalar::Text(program)) => program.as_str(),
                    _ => "",
                };
                service == "auth" || program.eq_ignore_ascii_case(service)
            });
            let expected = meant && theirs(&engine, &fields);
            let said = ours(&mut evaluator, &catalogue, &class_name, &fields).contains(&at);
            assert_eq!(said, expected, "{}: {fields:?}", path.display());
            compared += 1;
            matched += u32::from(expected);
        }
    }
    eprintln!("SHOW compared with rsigma-eval: {compared} records, {matched} matches, no difference");
    assert!(matched > 200, "{matched} matches prove little");
}
