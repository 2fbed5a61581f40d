//! The model: frozen audience, next channel, call list, call-backs.

use crate::support::{MINUTE, World, draft, failed, handed, later, letterhead, person, usual};
use staffel_notice::{
    Book, CallResult, Done, Event, Found, Kind, Language, Means, Outcome, Refusal, Step, Unfilled, Value, Waiting,
    address::Channel, call_list,
};
use staffel_paper::Date;

#[test]
fn an_e_mail_that_nobody_answers_leads_to_the_fax_and_then_to_a_call() {
    let mut world = World::new();
    let notice = world.draw(draft(Kind::FirstInformation, vec![usual("nord")])).id;
    let key = world.start(notice, 0);
    assert_eq!(world.next(notice, 0), Step::Wait { until_ms: None, why: Waiting::Attempt { channel: Channel::Email } });
    world.end(key, handed());
    let until_ms = Some(world.now_ms + 30 * MINUTE);
    assert_eq!(world.next(notice, 0), Step::Wait { until_ms, why: Waiting::Answer { channel: Channel::Email } });
    world.now_ms += 30 * MINUTE;
    assert_eq!(world.next(notice, 0), Step::Send { route: 1, channel: Channel::Fax, attempt: 2 });
    let key = world.start(notice, 0);
    world.end(key, handed());
    world.now_ms += 60 * MINUTE;
    assert_eq!(world.next(notice, 0), Step::Call);
}

#[test]
fn a_refused_address_leads_to_the_next_channel_at_once() {
    let mut world = World::new();
    let notice = world.draw(draft(Kind::FirstInformation, vec![usual("nord")])).id;
    let key = world.start(notice, 0);
    world.end(key, failed("550 no such mailbox"));
    assert_eq!(world.next(notice, 0), Step::Send { route: 1, channel: Channel::Fax, attempt: 2 });
}

#[test]
fn a_busy_line_is_tried_again_with_growing_waits_and_then_given_up() {
    let mut world = World::new();
    let notice = world.draw(draft(Kind::FirstInformation, vec![usual("nord")])).id;
    let mut waits = Vec::new();
    loop {
        let key = world.start(notice, 0);
        world.end(key, later("busy"));
        match world.next(notice, 0) {
            Step::Wait { until_ms: Some(until_ms), why: Waiting::Route { why, .. } } => {
                assert_eq!(why, "busy");
                waits.push((until_ms - world.now_ms) / MINUTE);
                world.now_ms = until_ms;
            }
            step => {
                assert_eq!(step, Step::Send { route: 1, channel: Channel::Fax, attempt: 6 });
                break;
            }
        }
    }
    assert_eq!(waits, [1, 2, 4, 8]);
}

#[test]
fn an_unknown_outcome_is_looked_up_and_never_repeated_blindly() {
    for (found, after) in [
        (Found::NotThere, Step::Send { route: 0, channel: Channel::Email, attempt: 2 }),
        (Found::There, Step::Send { route: 1, channel: Channel::Fax, attempt: 2 }),
        (Found::CannotTell, Step::Send { route: 1, channel: Channel::Fax, attempt: 2 }),
    ] {
        let mut world = World::new();
        let notice = world.draw(draft(Kind::FirstInformation, vec![usual("nord")])).id;
        let key = world.start(notice, 0);
        world.restart();
        assert_eq!(world.next(notice, 0), Step::LookUp { attempt: 1, channel: Channel::Email });
        assert_eq!(world.book.start(key, &world.manners, world.now_ms), Err(Refusal::NotNext { attempt: key }));
        let event = world.book.looked_up(key, found).expect("it is unknown");
        world.record(event);
        if found != Found::NotThere {
            assert!(matches!(world.next(notice, 0), Step::Wait { why: Waiting::Answer { .. }, .. }));
            world.now_ms += 30 * MINUTE;
        }
        assert_eq!(world.next(notice, 0), after, "{found:?}");
        assert_eq!(world.book.looked_up(key, found), Err(Refusal::NotUnknown { attempt: key }));
    }
}

#[test]
fn a_code_finds_its_recipient_and_a_typo_finds_nobody() {
    let mut world = World::new();
    let notice = world.draw(draft(Kind::FirstInformation, vec![usual("nord"), usual("sued")]));
    let code = notice.audience[1].code.to_string();
    assert_eq!(world.book.find(&code.to_lowercase()), Ok((notice.id, 1)));
    let mut typo = code.clone().into_bytes();
    typo[0] = if typo[0] == b'A' { b'B' } else { b'A' };
    let typo = String::from_utf8(typo).expect("ASCII");
    assert!(matches!(world.book.find(&typo), Err(Refusal::BadCode(_))));
    let unused = staffel_notice::ShortCode::from_random(987_654_321);
    assert_eq!(world.book.find(&unused.to_string()), Err(Refusal::NoSuchCode { code: unused }));
}

#[test]
fn whoever_called_back_is_off_the_list_and_the_others_stay() {
    let mut world = World::new();
    let mut critical = person("insel", &[]);
    critical.critical = true;
    let notice = world.draw(draft(Kind::FirstInformation, vec![usual("nord"), usual("sued"), critical])).id;
    let key = world.start(notice, 0);
    world.end(key, failed("550 unknown"));
    let event = world.book.called(notice, 0, CallResult::NoAnswer, "m.weiss").expect("a recipient");
    world.record(event);
    let (found, recipient) = world.book.find(&code(&world.book, notice, 1)).expect("a code");
    let event = world.book.acknowledge(found, recipient, Means::CallBack, "m.weiss").expect("not yet said");
    world.record(event);
    assert_eq!(world.next(notice, 1), Step::Nothing { why: Done::Acknowledged });
    assert!(
        matches!(world.book.acknowledge(notice, 1, Means::Fax, "x"), Err(Refusal::Acknowledged { by }) if by == "m.weiss")
    );

    let progress = world.book.notice(notice).expect("a notice");
    let clock = |ms: u64| format!("t{}", ms - 1_800_000_000_000);
    let rows = call_list::rows(progress, &world.addresses[0], &world.manners, world.now_ms, Language::De, clock);
    let seen: Vec<(&str, bool, Option<&str>)> =
        rows.iter().map(|r| (r.site.as_str(), r.due, r.phone.as_deref())).collect();
    assert_eq!(seen, [("insel", true, None), ("nord", false, Some("0351 555 77 00"))]);
    assert_eq!(rows[1].tried, "E-Mail t0: geht nicht (550 unknown); Anruf t0: niemand nahm ab");
    let csv = call_list::csv(&rows);
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.lines().all(|line| line.split(',').count() == 10), "{csv}");

    let heading = call_list::Heading {
        language: Language::De,
        incident: "V-2026-007".into(),
        subject: "Kassenplätze".into(),
        date: Date::new(2026, 11, 22).expect("a day"),
        made_at: "22. November 2026, 09:30 Uhr".into(),
        by: "m.weiss".into(),
        audience: 3,
    };
    let list = staffel_paper::Document::CallList(call_list::paper(&rows, heading));
    assert_eq!(list.check(), Ok(()));
}

fn code(book: &Book, notice: u64, recipient: usize) -> String {
    book.notice(notice).expect("a notice").notice.audience[recipient].code.to_string()
}

#[test]
fn csv_cells_are_never_formulas() {
    let row = call_list::Row {
        recipient: 0,
        tenant: "=1+1".into(),
        site: "-2".into(),
        language: Language::De,
        critical: false,
        due: true,
        phone: Some("+49 711 555".into()),
        code: "X".into(),
        attempts: 0,
        calls: 0,
        tried: "a \"b\", c".into(),
    };
    let csv = call_list::csv(&[row]);
    assert_eq!(csv.lines().nth(1), Some("'=1+1,'-2,no,yes,de,+49 711 555,X,0,0,\"a \"\"b\"\", c\""));
}

#[test]
fn a_replaced_notice_asks_nobody_any_more() {
    let mut world = World::new();
    let first = world.draw(draft(Kind::FirstInformation, vec![usual("nord")])).id;
    let refused = world.try_draw(draft(Kind::Correction, vec![usual("nord")]));
    assert_eq!(refused, Err(Refusal::CorrectsNothing));
    let correction = || {
        let mut draft = draft(Kind::Correction, vec![usual("nord")]);
        draft.supersedes = Some(first);
        draft
    };
    let mut other = correction();
    other.incident = 8;
    assert_eq!(world.try_draw(other), Err(Refusal::OtherIncident { notice: first, incident: 7 }));
    let second = world.draw(correction()).id;
    assert_eq!(world.next(first, 0), Step::Nothing { why: Done::Superseded { by: second } });
    assert_eq!(world.book.due(&world.manners, world.now_ms, 10).len(), 1, "only the newer one is sent");
    assert_eq!(world.try_draw(correction()), Err(Refusal::Replaced { notice: first, by: second }));
}

#[test]
fn a_draft_with_a_hole_a_double_or_nobody_is_refused() {
    let mut world = World::new();
    assert_eq!(world.try_draw(draft(Kind::AllClear, vec![])), Err(Refusal::NoAudience));
    let twice = world.try_draw(draft(Kind::AllClear, vec![usual("nord"), usual("nord")]));
    assert_eq!(twice, Err(Refusal::Twice { tenant: "loewen".into(), site: "nord".into() }));
    let mut english = usual("west");
    english.language = Language::En;
    let mut hole = draft(Kind::AllClear, vec![usual("nord"), english]);
    let cause = hole.values.all.remove("cause").expect("a value");
    hole.values.de.insert("cause".into(), cause);
    let refused = world.try_draw(hole);
    let missing = matches!(&refused, Err(Refusal::Unfilled(Unfilled::Missing { name, language: Language::En, .. })) if name == "cause");
    assert!(missing, "{refused:?}");
    let mut extra = draft(Kind::AllClear, vec![usual("nord")]);
    extra.values.all.insert("ursache".into(), Value::Text("x".into()));
    assert!(matches!(world.try_draw(extra), Err(Refusal::Unfilled(Unfilled::Unknown { .. }))));
}

#[test]
fn the_log_holds_no_address_and_gives_the_same_book_again() {
    let mut world = World::new();
    let notice = world.draw(draft(Kind::Instruction, vec![usual("nord"), usual("sued")])).id;
    let key = world.start(notice, 0);
    world.end(key, handed());
    let event = world.book.acknowledge(notice, 1, Means::CallBack, "m.weiss").expect("not yet said");
    world.record(event);
    let json = serde_json::to_string(&world.log).expect("events are JSON");
    for secret in ["kunde.example", "555 77"] {
        assert!(!json.contains(secret), "{secret} stands in the log");
    }
    let read: Vec<(u64, Event)> = serde_json::from_str(&json).expect("and come back");
    let mut again = Book::default();
    read.iter().for_each(|(at_ms, event)| again.apply(event, *at_ms));
    assert_eq!(again, world.book);
}

#[test]
fn ends_that_do_not_fit_are_refused() {
    let mut world = World::new();
    let notice = world.draw(draft(Kind::FirstInformation, vec![usual("nord")])).id;
    let key = world.start(notice, 0);
    world.end(key, handed());
    assert_eq!(world.book.end(key, handed()), Err(Refusal::NotUnderWay { attempt: key }));
    let other = staffel_notice::AttemptKey { attempt: 0, ..key };
    assert_eq!(
        world.book.end(other, Outcome::TryLater { why: "x".into() }),
        Err(Refusal::NotUnderWay { attempt: other })
    );
    assert_eq!(key.to_string().parse(), Ok(key));
}

#[test]
fn letters_and_fax_pages_of_every_kind_are_complete() {
    let letterhead = letterhead();
    let code = staffel_notice::ShortCode::from_random(5);
    let day = Date::new(2026, 11, 22).expect("a day");
    for kind in Kind::ALL {
        for language in Language::ALL {
            let values = crate::support::values(kind);
            let message = kind.newest().fill(&values, language, &letterhead.frame("V-7", code)).expect("complete");
            let to = ["Löwen-Apotheke".to_owned(), "01097 Dresden".to_owned()];
            let letter = letterhead.letter(&message, &to, "V-7", code, day);
            let page = letterhead.fax_page(&message, "Löwen-Apotheke", "0351 555", "V-7", code, day);
            for document in [staffel_paper::Document::Letter(letter), staffel_paper::Document::FaxPage(page)] {
                assert_eq!(document.check(), Ok(()), "{kind} {language}");
            }
        }
    }
}
