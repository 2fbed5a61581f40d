//! Every sentence rests on the log, unknowns are called unknown, and a customer's dossier names no other.

use super::*;
use crate::recovery::{Channel, Class};

fn mark(position: u64) -> Mark {
    Mark { at_ms: 1_000_000 + position * 1_000, position }
}

fn device(tenant: &str, name: &str, first: u64) -> DeviceFacts {
    DeviceFacts {
        tenant: tenant.into(),
        site: "north".into(),
        name: name.into(),
        opened: mark(first),
        why: "silent".into(),
        pushed: None,
        notified: None,
        reached: None,
        heard: None,
        verified: None,
        closed: None,
        debts: Vec::new(),
        remedies: Vec::new(),
    }
}

fn notice() -> NoticeFacts {
    let sending = |attempt, channel, begun, ended| Sending { attempt, channel, begun: mark(begun), ended };
    let told = RecipientFacts {
        tenant: "clinic".into(),
        site: "north".into(),
        sendings: vec![
            sending(1, Channel::Email, 31, Some((mark(32), SendingEnd::NotSent))),
            sending(2, Channel::Fax, 33, Some((mark(34), SendingEnd::HandedOver))),
        ],
        calls: Vec::new(),
        acknowledged: Some(Acknowledgement { mark: mark(36), means: Means::CallBack, by: "ben".into() }),
    };
    let silent = RecipientFacts {
        tenant: "school".into(),
        site: "annex".into(),
        sendings: vec![sending(1, Channel::Letter, 35, None)],
        calls: vec![mark(37)],
        acknowledged: None,
    };
    NoticeFacts { number: 1, by: "ann".into(), drawn: mark(30), recipients: vec![told, silent] }
}

fn remedied() -> DeviceFacts {
    let remedy = |sequence, sent, answered| RemedyFacts {
        sequence,
        action: "leave safe mode".into(),
        by: "ann".into(),
        sent: mark(sent),
        answered,
    };
    let remedies = vec![
        remedy(1, 40, Some((mark(41), false, "no such file".into()))),
        remedy(2, 42, Some((mark(43), true, "left safe mode".into()))),
        remedy(3, 44, None),
    ];
    DeviceFacts { remedies, ..device("clinic", "till-3", 12) }
}

fn suspect() -> SuspectFacts {
    SuspectFacts {
        name: "shield".into(),
        version: "9".into(),
        supplier: String::new(),
        noticed: mark(5),
        counts: Some([6, 5, 20, 0]),
    }
}

fn facts() -> Facts {
    let back = DeviceFacts {
        pushed: Some(mark(3)),
        heard: Some(mark(20)),
        verified: Some(mark(21)),
        notified: Some(mark(18)),
        reached: Some(mark(19)),
        debts: vec![("in safe mode".into(), mark(15), Some(mark(16)))],
        ..device("clinic", "till-1", 11)
    };
    Facts {
        incident: 4,
        class: Class::FaultyUpdate,
        opened: mark(10),
        aware_at_ms: 1_010_000,
        aware_who: "staffel".into(),
        aware_source: "rollout 7".into(),
        why: "tills are dark".into(),
        push: Some(Push {
            rollout: 7,
            name: "till".into(),
            version: "2.0".into(),
            supplier: "Tills Ltd".into(),
            by: "ann".into(),
            started: mark(1),
            halted: Some((mark(9), "till-1 came back in safe mode".into())),
        }),
        component: None,
        suspects: vec![suspect()],
        devices: vec![back, device("school", "pc-9", 12), remedied()],
        notices: vec![notice()],
        until: mark(99),
    }
}

#[test]
fn every_sentence_cites_entries_that_the_facts_name() {
    let known: Vec<u64> =
        [1, 3, 5, 9, 10, 11, 12, 15, 16, 18, 19, 20, 21, 99].into_iter().chain(30..=37).chain(40..=44).collect();
    for language in [Language::De, Language::En] {
        let document = review(&facts(), language);
        let sentences: Vec<_> = document.sections.iter().flat_map(Section::all).collect();
        assert!(sentences.len() > 15, "{}", sentences.len());
        for sentence in sentences {
            assert!(!sentence.cites.is_empty(), "{}", sentence.text);
            assert!(sentence.cites.iter().all(|cite| known.contains(cite)), "{sentence:?}");
            assert!(sentence.text.ends_with('.'), "{}", sentence.text);
        }
        for fact in &document.facts {
            assert!(!fact.cites.is_empty() && fact.cites.iter().all(|cite| known.contains(cite)), "{fact:?}");
        }
    }
}

#[test]
fn what_is_not_known_is_called_so() {
    let unknown = Facts { push: None, ..facts() };
    let text = |facts: &Facts, language| serde_json::to_string(&review(facts, language)).unwrap();
    assert!(text(&unknown, Language::En).contains("The cause is unknown"));
    assert!(text(&unknown, Language::De).contains("Die Ursache ist unbekannt"));
    let known = text(&facts(), Language::En);
    assert!(known.contains("north/pc-9: down from an unknown moment before") && known.contains("not back until"));
    assert!(known.contains("north/pc-9: no notification is on record"));
    assert!(known.contains("1 of 3 are proven to be back"));
}

#[test]
fn a_customer_s_dossier_names_cause_times_and_nobody_else() {
    let document = review(&facts(), Language::En);
    let dossiers = &document.sections[4].sections;
    assert_eq!(dossiers.iter().map(|dossier| dossier.heading.as_str()).collect::<Vec<_>>(), ["clinic", "school"]);
    let own = serde_json::to_string(&dossiers[0]).unwrap();
    for part in [
        "Cause: till 2.0, pushed by ann from 1970-01-01 00:16:41 UTC on.",
        "north/till-1: down at the earliest from 1970-01-01 00:16:43 UTC (more is unknown), until 1970-01-01 00:17:00 UTC at \
         the latest, proven at 1970-01-01 00:17:01 UTC.",
        "north/till-1: notified on 1970-01-01 00:16:58 UTC, reached on 1970-01-01 00:16:59 UTC.",
    ] {
        assert!(own.contains(part), "{part} in {own}");
    }
    assert!(!own.contains("pc-9") && !own.contains("school"), "{own}");
}

#[test]
fn a_document_opens_with_its_facts_and_a_dossier_with_its_customer_s_own() {
    let line = |document: &Document, label: &str| {
        document.facts.iter().find(|fact| fact.label == label).unwrap_or_else(|| panic!("{label}")).value.clone()
    };
    let whole = review(&facts(), Language::En);
    assert_eq!(line(&whole, "Cause").as_deref(), Some("till 2.0 (Tills Ltd)"));
    assert_eq!(line(&whole, "Devices affected").as_deref(), Some("3"));
    assert_eq!(line(&whole, "Proven to be back").as_deref(), Some("1 of 3 until 1970-01-01 00:18:19 UTC"));
    assert_eq!(line(&whole, "Sites").as_deref(), Some("2 written to, 1 are proven to know"));
    let (_, school) = dossiers(&facts(), Language::En).remove(1);
    assert_eq!(line(&school, "Sites").as_deref(), Some("1 written to, 0 are proven to know"));
    let (_, clinic) = dossiers(&Facts { push: None, ..facts() }, Language::En).remove(0);
    assert_eq!(line(&clinic, "Cause"), None, "nobody knows it");
}

#[test]
fn the_course_is_in_the_order_of_the_log() {
    let document = review(&facts(), Language::De);
    let cites: Vec<u64> = document.sections[1].sentences.iter().map(|sentence| sentence.cites[0]).collect();
    assert!(cites.is_sorted(), "{cites:?}");
    assert_eq!(document.title, "Nachbetrachtung zu Vorfall 4: fehlerhafte Aktualisierung");
}

#[test]
fn notices_and_remedies_stand_in_the_review_with_what_is_not_known() {
    let text = serde_json::to_string(&review(&facts(), Language::En)).unwrap();
    for part in [
        "Notice 1 was made on 1970-01-01 00:17:10 UTC by ann for 2 sites.",
        "Notice 1: 1 of 2 have acknowledged it.",
        "Notice 1: not reached until 1970-01-01 00:18:19 UTC: school/annex.",
        "north: notice 1 went by e-mail 1970-01-01 00:17:12 UTC (not sent), fax 1970-01-01 00:17:14 UTC (handed over).",
        "north: notice 1 acknowledged on 1970-01-01 00:17:16 UTC (call back with the code, entered by ben).",
        "annex: notice 1 went by letter 1970-01-01 00:17:15 UTC (outcome unknown).",
        "annex: no acknowledgement of notice 1 until 1970-01-01 00:18:19 UTC, 1 calls that reached nobody.",
        "Remedies: 3 sent, 1 carried out, 1 failed, the outcome of 1 is unknown.",
        "shield 9 (supplier: unknown) was noticed on 1970-01-01 00:16:45 UTC: 5 of 6 devices that got it were in trouble, and 0 of \
         20 others.",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let nobody = Facts { notices: Vec::new(), ..facts() };
    let text = serde_json::to_string(&review(&nobody, Language::De)).unwrap();
    assert!(text.contains("ist keine Benachrichtigung verzeichnet"), "{text}");
}

#[test]
fn a_dossier_of_its_own_names_no_other_customer() {
    let dossiers = dossiers(&facts(), Language::De);
    let names: Vec<&str> = dossiers.iter().map(|(customer, _)| customer.as_str()).collect();
    assert_eq!(names, ["clinic", "school"]);
    for ((customer, document), (other, site)) in dossiers.iter().zip([("school", "annex"), ("clinic", "till-1")]) {
        let text = serde_json::to_string(document).unwrap();
        assert!(text.contains(customer.as_str()) && !text.contains(other) && !text.contains(site), "{text}");
        assert!(document.title.contains(customer.as_str()) && !document.cites().is_empty());
    }
    let school: Vec<u64> = dossiers[1].1.cites().into_iter().collect();
    assert_eq!(school, [1, 10, 12, 30, 35, 37, 99], "and cites nobody else's entries");
}
