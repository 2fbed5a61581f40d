//! Rules, conditions and the contract, on small packs made by hand.

use super::*;
use crate::{
    catalogue::{Field, Kind},
    format::{Ask, FORMAT, Glob, Level, Need, PackError, Piece, Rule, Scalar, Vector, Wild},
    record::{Batch, Value, encode},
    vectors,
};

fn many() -> Piece {
    Piece::Wild(Wild::Many(()))
}

fn ends(field: &str, text: &str) -> Test {
    let ask = Ask::Like(vec![Glob(vec![many(), Piece::Text(text.into())])]);
    Test { field: Some(field.into()), every: false, ask }
}

/// A rule of process starts over these tests and steps.
fn pack(tests: Vec<Test>, condition: Vec<Step>) -> Pack {
    let linux = Catalogue::linux();
    let (_, class) = linux.class("process_creation").unwrap();
    let fields = tests.iter().filter_map(|test| test.field.clone()).collect();
    Pack {
        format: FORMAT,
        name: "test".into(),
        version: 1,
        needs: vec![Pack::need_of(class, &fields)],
        rules: vec![Rule {
            id: "one".into(),
            title: "One".into(),
            level: Level::Low,
            tags: Vec::new(),
            class: "process_creation".into(),
            tests,
            condition,
        }],
        vectors: Vec::new(),
    }
}

fn says(pack: &Pack, named: &[(&str, Value<'_>)]) -> bool {
    let catalogue = Catalogue::linux();
    let pack = Pack::read(&pack.write()).expect("it is a pack");
    let mut evaluator = Evaluator::bind(&pack, &catalogue).expect("it fits");
    let mut bytes = Vec::new();
    assert_eq!(encode(&mut bytes, &catalogue, 5, 0, named.iter().copied()), 0);
    let mut hits = Vec::new();
    Batch::new(&bytes, &catalogue).for_each(|record| evaluator.evaluate(&record, |hit| hits.push(hit)));
    assert!(hits.iter().all(|hit| *hit == Hit { sequence: 5, rule: 0 }));
    !hits.is_empty()
}

#[test]
fn conditions_jump_ahead() {
    // (shell and not root) or terminal
    let tests = || vec![ends("Image", "/sh"), ends("User", "root"), ends("Terminal", "tty1")];
    let steps = vec![Step::Test(0), Step::IfNo(4), Step::Test(1), Step::Not, Step::IfYes(6), Step::Test(2)];
    let pack = pack(tests(), steps);
    let cases = [
        (vec![("Image", "/bin/SH"), ("User", "max")], true),
        (vec![("Image", "/bin/sh"), ("User", "root")], false),
        (vec![("Image", "/bin/sh"), ("User", "root"), ("Terminal", "tty1")], true),
        (vec![("Terminal", "tty1")], true),
        (vec![], false),
    ];
    for (named, expected) in cases {
        let named: Vec<_> = named.into_iter().map(|(name, text)| (name, Value::Text(text))).collect();
        assert_eq!(says(&pack, &named), expected, "{named:?}");
    }
}

#[test]
fn a_missing_field_is_no_match_in_every_question_but_one() {
    let field =
        |name: &str, ask: Ask| pack(vec![Test { field: Some(name.into()), every: false, ask }], vec![Step::Test(0)]);
    let anything = Ask::Like(vec![Glob(vec![many()])]);
    assert!(!says(&field("Image", anything.clone()), &[]));
    assert!(says(&field("Image", anything), &[("Image", Value::Text(""))]));
    assert!(!says(&field("UserId", Ask::AtLeast(i64::MIN)), &[]));
    assert!(!says(&field("Image", Ask::Regex(vec!["^".into()])), &[]));
    assert!(says(&field("Image", Ask::Present(false)), &[]));
    assert!(!says(&field("Image", Ask::Present(true)), &[]));
}

#[test]
fn numbers_compare_at_their_ends() {
    let asks = |ask: Ask, number: i64| {
        let test = Test { field: Some("UserId".into()), every: false, ask };
        says(&pack(vec![test], vec![Step::Test(0)]), &[("UserId", Value::Number(number))])
    };
    assert!(asks(Ask::Below(5), 4) && !asks(Ask::Below(5), 5));
    assert!(asks(Ask::AtMost(5), 5) && !asks(Ask::AtMost(5), 6));
    assert!(asks(Ask::Above(5), 6) && !asks(Ask::Above(5), 5));
    assert!(asks(Ask::AtLeast(5), 5) && !asks(Ask::AtLeast(5), 4));
    assert!(!asks(Ask::Below(i64::MIN), i64::MIN) && !asks(Ask::Above(i64::MAX), i64::MAX));
    assert!(asks(Ask::Is(vec![1, 0]), 0) && !asks(Ask::Is(vec![1]), 0));
}

#[test]
fn a_field_that_is_not_supplied_is_refused_though_no_example_looks_at_it() {
    let mut consumer = Catalogue::linux();
    let author = {
        let mut author = consumer.clone();
        author.classes[0].fields.push(Field { name: "PipeName".into(), kind: Kind::Text });
        author
    };
    assert_eq!(consumer.classes[0].fields.len(), 20);
    let hidden = Test { field: Some("PipeName".into()), every: false, ask: Ask::Like(vec![Glob(vec![many()])]) };
    let mut pack = pack(vec![ends("Image", "/sh"), hidden], vec![Step::Test(0), Step::IfYes(3), Step::Test(1)]);
    let used = ["Image", "PipeName"].map(String::from).into();
    pack.needs = vec![Pack::need_of(&author.classes[0], &used)];
    let fields = [("Image".to_string(), Scalar::Text("/bin/sh".into()))].into();
    pack.vectors = vec![Vector { rule: "one".into(), matches: true, fields }];
    pack.check().expect("nothing is wrong with the pack itself");

    let breach = Evaluator::bind(&pack, &consumer).unwrap_err();
    let expected = Breach::NoField { class: "process_creation".into(), field: "PipeName".into(), supplied: 20 };
    assert_eq!(breach, [expected]);
    // Who supplies it runs it, and every example passes.
    consumer = author;
    let mut evaluator = Evaluator::bind(&pack, &consumer).expect("it fits");
    assert_eq!(vectors::run(&pack, &consumer, &mut evaluator), []);
}

#[test]
fn names_types_hash_and_version_are_the_contract() {
    let linux = Catalogue::linux();
    let good = pack(vec![ends("Image", "/sh")], vec![Step::Test(0)]);
    assert_eq!(contract::check(&good, &linux, None), []);
    assert_eq!(contract::check(&good, &linux, Some(0)), []);
    let not_newer = Breach::NotNewer { offered: 1, running: 1 };
    assert_eq!(contract::check(&good, &linux, Some(1)), [not_newer]);

    let mut other = good.clone();
    other.needs[0].fields[0].kind = Kind::Number;
    let class = || "process_creation".to_string();
    let breaches = contract::check(&other, &linux, None);
    assert!(breaches.contains(&Breach::FalseHash { class: class() }), "{breaches:?}");
    other.needs[0].schema = "of another version".into();
    let (wanted, supplied) = (Kind::Number, Kind::Text);
    let breaches = contract::check(&other, &linux, None);
    assert!(breaches.contains(&Breach::OtherType { class: class(), field: "Image".into(), wanted, supplied }));
    assert!(breaches.contains(&Breach::WrongQuestion { rule: "one".into(), field: "Image".into(), kind: wanted }));

    let mut strange = good.clone();
    strange.needs.push(Need { class: "registry".into(), schema: String::new(), fields: Vec::new() });
    assert_eq!(contract::check(&strange, &linux, None), [Breach::NoClass { class: "registry".into() }]);

    // Fields may move and be joined by others.
    let mut newer = linux.clone();
    newer.classes[0].fields.reverse();
    newer.classes[0].fields.push(Field { name: "New".into(), kind: Kind::Text });
    assert_eq!(contract::check(&good, &newer, None), []);
}

#[test]
fn what_is_wrong_inside_a_pack_is_refused_by_name() {
    let good = pack(vec![ends("Image", "/sh")], vec![Step::Test(0)]);
    let wrong = |change: &dyn Fn(&mut Pack), words: &str| {
        let mut pack = good.clone();
        change(&mut pack);
        let said = Pack::read(&pack.write()).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    };
    wrong(&|pack| pack.format = 2, "format 2");
    wrong(&|pack| pack.rules[0].condition = vec![Step::Test(1)], "runs test 1");
    wrong(&|pack| pack.rules[0].condition.push(Step::IfYes(1)), "not ahead");
    wrong(&|pack| pack.rules[0].condition.push(Step::IfNo(9)), "not ahead");
    wrong(&|pack| pack.rules[0].tests[0].field = Some("User".into()), "does not declare");
    wrong(&|pack| pack.rules[0].tests[0].ask = Ask::Is(Vec::new()), "0 values");
    wrong(&|pack| pack.rules[0].class = "x".into(), "not among the classes");
    wrong(&|pack| pack.rules.push(pack.rules[0].clone()), "same id");
    let vector = Vector { rule: "two".into(), matches: true, fields: Default::default() };
    wrong(&|pack| pack.vectors.push(vector.clone()), "rule two");
    assert_eq!(Pack::read(&vec![b' '; crate::format::LARGEST_PACK + 1]), Err(PackError::TooLarge(16_777_217)));
    assert!(matches!(Pack::read(b"{}"), Err(PackError::Malformed(_))));
}

#[test]
fn examples_find_what_a_rule_misses_and_what_it_says_too_much() {
    let linux = Catalogue::linux();
    let mut pack = pack(vec![ends("Image", "/sh")], vec![Step::Test(0)]);
    let vector = |matches, field: &str, text: &str| Vector {
        rule: "one".into(),
        matches,
        fields: [(field.to_string(), Scalar::Text(text.into()))].into(),
    };
    pack.vectors = vec![
        vector(true, "Image", "/bin/sh"),
        vector(true, "Image", "/bin/ls"),
        vector(false, "Image", "/bin/sh"),
        vector(false, "Imaged", "/bin/sh"),
    ];
    let mut evaluator = Evaluator::bind(&pack, &linux).expect("it fits");
    let rule = || "one".to_string();
    let expected = [
        vectors::Failure::Strange { rule: rule(), vector: 3, fields: 1 },
        vectors::Failure::Missed { rule: rule(), vector: 1 },
        vectors::Failure::FalseAlarm { rule: rule(), vector: 2 },
    ];
    assert_eq!(vectors::run(&pack, &linux, &mut evaluator), expected);
}
