//! Every wording in both languages, and every hole that must not get through.

use super::*;

fn frame() -> Frame<'static> {
    Frame { sender: "Musterhaus", phone: "0711 555 01 99", incident: "V-7", code: ShortCode::from_random(42) }
}

/// A value of the right type for every field, in both languages.
fn complete(kind: Kind) -> Values {
    let value = |field: &Field| match field.kind {
        FieldKind::Text => Value::Text(format!("Wert {}", field.name)),
        FieldKind::Time => Value::Time("2026-11-22T06:10+01:00".parse().expect("a time")),
        FieldKind::Steps => Value::Steps(vec!["Erstens.".into(), "Zweitens.".into()]),
    };
    Values { all: kind.fields().iter().map(|f| (f.name.into(), value(f))).collect(), ..Values::default() }
}

fn words(blocks: &[Block]) -> String {
    let one = |block: &Block| match block {
        Block::Paragraph(text) | Block::Important(text) => text.clone(),
        Block::Steps(steps) => steps.join(" "),
    };
    blocks.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_wording_uses_every_value_and_leaves_no_hole() {
    for kind in Kind::ALL {
        for language in Language::ALL {
            let message = kind.newest().fill(&complete(kind), language, &frame()).expect("complete");
            let all = format!("{}\n{}\n{}", message.subject, message.sms, words(&message.blocks));
            assert!(!all.contains(['{', '}', '#']), "{kind} {language}: {all}");
            for field in kind.fields().iter().filter(|f| f.kind == FieldKind::Text) {
                assert!(
                    words(&message.blocks).contains(&format!("Wert {}", field.name)),
                    "{kind} {language} {}",
                    field.name
                );
            }
            for wanted in ["0711 555 01 99", "V-7", &frame().code.to_string()] {
                assert!(
                    words(&message.blocks).contains(wanted) && !message.subject.is_empty(),
                    "{kind} {language}: {wanted}"
                );
            }
            assert!(message.sms.contains("0711 555 01 99") && message.sms.contains(&frame().code.to_string()));
            let lists = kind.fields().iter().filter(|f| f.kind == FieldKind::Steps).count();
            assert_eq!(message.blocks.iter().filter(|b| matches!(b, Block::Steps(_))).count(), lists, "{kind}");
            assert!(message.blocks.iter().any(|b| matches!(b, Block::Important(_))), "{kind}: what matters stands out");
        }
    }
}

#[test]
fn a_missing_value_is_named() {
    for kind in Kind::ALL {
        for field in kind.fields() {
            let mut values = complete(kind);
            values.all.remove(field.name);
            let refused = kind.newest().check(&values, &[Language::En], &frame());
            assert!(matches!(&refused, Err(Unfilled::Missing { name, .. }) if name == field.name), "{refused:?}");
        }
    }
}

#[test]
fn empty_unknown_and_mistyped_values_are_refused() {
    let check = |name: &str, value: Value| {
        let mut values = complete(Kind::Instruction);
        values.all.insert(name.into(), value);
        Kind::Instruction.newest().check(&values, &Language::ALL, &frame()).err()
    };
    assert_eq!(check("purpose", Value::Text("gut".into())), None);
    assert!(matches!(check("purpose", Value::Text("  ".into())), Some(Unfilled::Empty { .. })));
    assert!(matches!(check("steps", Value::Steps(vec![])), Some(Unfilled::Empty { .. })));
    assert!(matches!(check("steps", Value::Steps(vec![String::new()])), Some(Unfilled::Empty { .. })));
    assert!(matches!(check("steps", Value::Text("x".into())), Some(Unfilled::WrongKind { .. })));
    assert!(matches!(check("purpse", Value::Text("x".into())), Some(Unfilled::Unknown { .. })));
    assert!(matches!(check("purpose", Value::Text("a\nb".into())), Some(Unfilled::Control { .. })));
    assert!(
        matches!(check("duration", Value::Text("x".repeat(600))), Some(Unfilled::SmsTooLong { longest, .. }) if longest == "duration")
    );
}

#[test]
fn a_language_without_its_own_words_is_an_error_for_those_who_read_it() {
    let mut values = complete(Kind::Correction);
    let wrong = values.all.remove("wrong").expect("a value");
    values.de.insert("wrong".into(), wrong);
    let template = Kind::Correction.newest();
    assert_eq!(template.check(&values, &[Language::De], &frame()), Ok(()));
    assert!(matches!(
        template.check(&values, &Language::ALL, &frame()),
        Err(Unfilled::Missing { language: Language::En, .. })
    ));
}

#[test]
fn braces_in_a_value_stay_what_they_are() {
    let mut values = complete(Kind::Correction);
    values.all.insert("wrong".into(), Value::Text("{code} und {right}".into()));
    let message = Kind::Correction.newest().fill(&values, Language::De, &frame()).expect("complete");
    assert!(words(&message.blocks).contains("Falsch war: {code} und {right}"));
}

#[test]
fn a_wording_that_is_not_there_is_refused() {
    let template = TemplateRef { kind: Kind::AllClear, version: 2 };
    let refused = template.fill(&complete(Kind::AllClear), Language::De, &frame());
    assert_eq!(refused, Err(Unfilled::Version { kind: Kind::AllClear, version: 2, newest: 1 }));
}

#[test]
fn sms_are_counted_as_networks_count_them() {
    for (text, parts) in [
        ("ä".repeat(160), 1),
        ("ä".repeat(161), 2),
        ("€".repeat(80), 1),
        ("€".repeat(81), 2),
        ("a".repeat(459), 3),
        ("a".repeat(460), 4),
        ("Ł".repeat(70), 1),
        ("Ł".repeat(71), 2),
    ] {
        assert_eq!(sms_parts(&text), parts, "{} of {:?}", text.chars().count(), text.chars().next());
    }
}
