//! Deliveries as devices send them: honest, repeated, cut short, and hostile.

use super::*;

const NOON: u64 = 1_800_000_000_000;

fn sighting(number: u64, rule: &str, severity: Severity) -> Sighting {
    Sighting {
        number,
        subject: Subject::Rule(rule.into()),
        severity,
        about: About { title: format!("title of {rule}"), ..About::default() },
        count: 1,
        first_ms: NOON,
        last_ms: NOON.saturating_add(number),
        has_fields: true,
    }
}

fn delivery(sightings: Vec<Sighting>) -> Delivery {
    Delivery { stream: "s".into(), lost: 0, sightings, unreadable: Vec::new() }
}

/// Takes a delivery at the given minute and writes it down; answers what was written.
fn put(book: &mut Book, minute: u64, delivery: &Delivery) -> Taken {
    let now = NOON + minute * 60_000;
    let taken = book.take(7, delivery, now).unwrap();
    if let Some(found) = &taken.found {
        book.found(7, found, now, 100 + minute);
        book.evidence(taken.keep.iter().map(|(_, alert)| *alert), 101 + minute);
    }
    taken
}

#[test]
fn repetitions_are_one_alert_and_nothing_is_taken_twice() {
    let mut book = Book::default();
    let first = delivery(vec![
        sighting(1, "a", Severity::Low),
        sighting(2, "b", Severity::High),
        Sighting { count: 40, ..sighting(3, "a", Severity::Low) },
    ]);
    let taken = put(&mut book, 0, &first);
    assert_eq!((taken.through, taken.keep.len()), (3, 3));
    let alerts = book.of(7);
    assert_eq!(alerts.iter().map(|(id, alert)| (*id, alert.count)).collect::<Vec<_>>(), [(2, 1), (1, 41)]);
    assert_eq!((alerts[1].1.first_ms, alerts[1].1.last_ms), (NOON, NOON + 3));
    // The same again, and an overlapping one.
    assert_eq!(put(&mut book, 1, &first), Taken { found: None, through: 3, keep: Vec::new() });
    let overlap = delivery(vec![sighting(3, "a", Severity::Low), sighting(4, "a", Severity::Low)]);
    let taken = put(&mut book, 1, &overlap);
    assert_eq!((taken.through, taken.found.unwrap().seen[0].opens), (4, None));
    assert_eq!(book.alert(1).unwrap().count, 42);
    // Another numbering begins anew.
    let other = Delivery { stream: "t".into(), ..delivery(vec![sighting(1, "a", Severity::Low)]) };
    assert_eq!(put(&mut book, 2, &other).through, 1);
    assert_eq!((book.alert(1).unwrap().count, book.losses(7)), (43, Losses::default()));
}

#[test]
fn an_acknowledged_alert_opens_again_unless_it_is_to_stay_quiet_and_got_no_worse() {
    let mut book = Book::default();
    let mut number = 0;
    let mut again = |book: &mut Book, minute, severity| {
        number += 1;
        put(book, minute, &delivery(vec![sighting(number, "a", severity)])).found.unwrap().seen[0].opens
    };
    let acknowledge = |book: &mut Book, minute: u64, quiet: Option<u64>| {
        let quiet_until_ms = quiet.map(|until| NOON + until * 60_000);
        let said = Acknowledgement { alert: 1, by: "ann".into(), why: "our backup".into(), quiet_until_ms };
        book.acknowledged(&said, NOON + minute * 60_000, 200 + minute);
    };
    assert_eq!(again(&mut book, 0, Severity::Low), Some(Opening::New));
    assert_eq!(again(&mut book, 1, Severity::Low), None, "it is open already");
    assert_eq!(again(&mut book, 1, Severity::High), Some(Opening::Worse));
    acknowledge(&mut book, 2, None);
    assert_eq!(book.open(7).all(), 0);
    assert_eq!(again(&mut book, 3, Severity::Low), Some(Opening::Again));
    acknowledge(&mut book, 4, Some(10));
    assert_eq!(again(&mut book, 9, Severity::High), None, "quiet");
    assert!(!book.alert(1).unwrap().is_open());
    assert_eq!(again(&mut book, 9, Severity::Critical), Some(Opening::Worse), "but not for what is worse");
    acknowledge(&mut book, 9, Some(10));
    assert_eq!(again(&mut book, 10, Severity::Critical), Some(Opening::Again), "the time is over");
    assert_eq!((book.open(7).worst(), book.alert(1).unwrap().count), (Some(Severity::Critical), 7));
}

#[test]
fn what_never_arrived_is_counted_once_whether_the_device_says_so_or_its_numbers_do() {
    let mut book = Book::default();
    put(&mut book, 0, &delivery(vec![sighting(1, "a", Severity::Low), sighting(4, "a", Severity::Low)]));
    assert_eq!(book.losses(7).lost, 2, "2 and 3 are missing");
    // It admits them later, and loses one more.
    let later = Delivery { lost: 3, ..delivery(vec![sighting(6, "a", Severity::Low)]) };
    put(&mut book, 1, &later);
    assert_eq!(book.losses(7).lost, 3);
    // Nothing but a loss is news, too.
    let only = Delivery { lost: 9, ..delivery(Vec::new()) };
    assert!(put(&mut book, 2, &only).found.is_some());
    assert_eq!((book.losses(7).lost, put(&mut book, 2, &only).found), (9, None));
}

#[test]
fn what_contradicts_itself_is_not_taken() {
    let book = Book::default();
    let order = |numbers: [u64; 2]| {
        book.take(7, &delivery(numbers.map(|n| sighting(n, "a", Severity::Low)).into()), NOON).unwrap_err()
    };
    assert_eq!(order([2, 2]), Fault::Order { number: 2, before: 2 });
    assert_eq!(order([0, 1]), Fault::Order { number: 0, before: 0 });
    for (stream, bytes) in [(String::new(), 0), ("x".repeat(65), 65)] {
        let bad = Delivery { stream, ..delivery(Vec::new()) };
        assert_eq!(book.take(7, &bad, NOON), Err(Fault::StreamName { bytes }));
    }
    // The highest number there is ends a stream; nothing overflows.
    let last = Delivery { lost: u64::MAX, ..delivery(vec![sighting(u64::MAX, "a", Severity::Low)]) };
    let mut book = Book::default();
    assert_eq!(put(&mut book, 0, &last).through, u64::MAX);
    assert_eq!(put(&mut book, 0, &Delivery { stream: "t".into(), ..last }).through, u64::MAX);
    assert_eq!(book.losses(7).lost, u64::MAX);
}

#[test]
fn what_is_not_understood_is_counted_and_does_not_stop_the_rest() {
    let mut book = Book::default();
    let mixed = Delivery {
        unreadable: vec![2, 4],
        ..delivery(vec![sighting(1, "a", Severity::Low), sighting(3, "a", Severity::Low)])
    };
    assert_eq!(put(&mut book, 0, &mixed).through, 4);
    let only = Delivery { unreadable: vec![5], ..delivery(Vec::new()) };
    assert_eq!(put(&mut book, 0, &only).through, 5);
    assert_eq!(book.losses(7), Losses { uncounted: 3, ..Losses::default() });
    assert_eq!(put(&mut book, 0, &only).found, None);
}

#[test]
fn one_delivery_brings_no_more_than_fits_and_the_rest_comes_with_the_next() {
    let mut book = Book::default();
    let many: Vec<_> = (1..=300).map(|n| sighting(n, "a", Severity::Low)).collect();
    assert_eq!(put(&mut book, 0, &delivery(many.clone())).through, MOST_FINDINGS as u64);
    assert_eq!(put(&mut book, 0, &delivery(many)).through, 300);
    assert_eq!(book.alert(1).unwrap().count, 300);
    let different: Vec<_> = (301..=400).map(|n| sighting(n, &n.to_string(), Severity::Low)).collect();
    assert_eq!(put(&mut book, 1, &delivery(different)).through, 300 + MOST_SUBJECTS as u64);
}

#[test]
fn a_flood_is_folded_and_counted_and_what_names_an_attack_still_has_room() {
    let mut book = Book::default();
    let flood: Vec<_> = (1..=256).map(|n| sighting(n, "noise", Severity::Low)).collect();
    let taken = put(&mut book, 0, &delivery(flood));
    let kept = (CREDIT - RESERVE - 1) as usize;
    assert_eq!(taken.keep.len(), kept);
    assert_eq!(taken.keep.last(), Some(&(255, 1)), "the latest are kept");
    assert_eq!(book.losses(7).folded, 256 - kept as u64);
    // A later attack is named, though none of its fields are kept.
    let taken = put(&mut book, 0, &delivery(vec![sighting(257, "attack", Severity::Critical)]));
    assert_eq!((taken.keep.len(), book.open(7).worst()), (0, Some(Severity::Critical)));
    // A device that invents rule after rule comes to its end, is counted, and gets one back a minute.
    let mut number = 257;
    for _ in 0..4 {
        let invented: Vec<_> =
            (number + 1..=number + 64).map(|n| sighting(n, &n.to_string(), Severity::Critical)).collect();
        number = put(&mut book, 0, &delivery(invented)).through;
    }
    let alerts = book.of(7).len();
    assert_eq!(alerts, RESERVE as usize + 1, "the flood's alert and one for each of the reserve");
    assert_eq!(book.losses(7).uncounted, 256 - (RESERVE as u64 - 1));
    put(&mut book, 1, &delivery(vec![sighting(number + 1, "x", Severity::Low)]));
    assert_eq!(book.of(7).len(), alerts + 1);
    put(&mut book, 1, &delivery(vec![sighting(number + 2, "y", Severity::Low)]));
    assert_eq!(book.of(7).len(), alerts + 1);
}

#[test]
fn a_devices_alerts_are_bounded_and_the_least_worth_makes_room() {
    let mut book = Book::default();
    let mut number = 0;
    let mut one = |book: &mut Book, minute: u64, severity| {
        number += 1;
        put(book, minute, &delivery(vec![sighting(number, &number.to_string(), severity)]));
    };
    for n in 0..MOST_ALERTS as u64 {
        one(&mut book, n * 2, Severity::Medium);
    }
    let later = MOST_ALERTS as u64 * 2;
    one(&mut book, later, Severity::Medium);
    assert_eq!((book.of(7).len(), book.losses(7).uncounted), (MOST_ALERTS, 1), "worth no more than what is there");
    one(&mut book, later + 2, Severity::High);
    assert_eq!((book.of(7).len(), book.losses(7).dropped), (MOST_ALERTS, 1));
    assert!(book.alert(1).is_none(), "the oldest of the least severe went");
    let said = Acknowledgement { alert: 3, by: "ann".into(), why: "seen".into(), quiet_until_ms: None };
    book.acknowledged(&said, NOON, 900);
    one(&mut book, later + 4, Severity::Informational);
    assert!(book.alert(3).is_none() && book.alert(2).is_some(), "what was seen to goes first");
    assert_eq!(book.before(u64::MAX).count(), MOST_ALERTS);
}

#[test]
fn the_latest_come_first_and_what_is_erased_is_not_offered() {
    let mut book = Book::default();
    put(&mut book, 0, &delivery(vec![sighting(1, "a", Severity::Low)]));
    put(&mut book, 10, &delivery(vec![sighting(2, "b", Severity::Low)]));
    put(&mut book, 20, &delivery(vec![sighting(3, "a", Severity::Low)]));
    assert_eq!(book.before(u64::MAX).map(|(id, _)| id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(book.before(120).map(|(id, _)| id).collect::<Vec<_>>(), [2]);
    assert_eq!(book.alert(1).unwrap().evidence, [101, 121]);
    book.erased(121);
    assert_eq!(book.alert(1).unwrap().evidence, [101]);
}
