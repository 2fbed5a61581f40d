//! The promises of `log.rs` as tests for any implementation. Call [`check`] and, if the log outlives its process,
//! [`check_durable`] from a test of the implementation. They panic at the first promise that is not kept.

use std::collections::BTreeSet;

use crate::entry::{MAX_PAYLOAD, NewEntry, Position, commitment};
use crate::log::{AppendError, EraseError, Log};

/// Opens an empty log, another one each time.
pub type Fresh<'a> = &'a dyn Fn() -> Box<dyn Log>;

fn entry(payload: &str) -> NewEntry {
    NewEntry {
        at_ms: 1_700_000_000_000,
        kind: "contract.test".to_owned(),
        payload: payload.as_bytes().to_vec(),
        salt: [9; 16],
    }
}

fn payloads(log: &dyn Log) -> Vec<String> {
    let entries = log.read(0, usize::MAX).expect("read");
    let text = |it: &crate::entry::Entry| String::from_utf8_lossy(it.payload().unwrap_or(b"(erased)")).into_owned();
    entries.iter().map(text).collect()
}

/// Every promise that a process can test on itself.
///
/// # Panics
/// If a promise is not kept.
pub fn check(fresh: Fresh<'_>) {
    compare_and_swap(&*fresh());
    all_or_nothing(&*fresh());
    reading(&*fresh());
    erasing(&*fresh());
    one_of_many_wins(&*fresh());
}

/// Durability: `open` opens the same log each time; what it answered before has been dropped by then.
///
/// # Panics
/// If the promise is not kept.
pub fn check_durable(open: Fresh<'_>) {
    let log = open();
    assert_eq!(log.append(0, &[entry("a"), entry("b")]), Ok(2));
    log.erase(0).expect("erase");
    drop(log);
    let log = open();
    assert_eq!(log.head(), Ok(2));
    assert_eq!(payloads(&*log), ["(erased)", "b"]);
    assert_eq!(log.append(1, &[entry("c")]), Err(AppendError::Conflict { expected: 1, head: 2 }));
    assert_eq!(log.append(2, &[entry("c")]), Ok(3));
    drop(log);
    assert_eq!(payloads(&*open()), ["(erased)", "b", "c"]);
}

fn compare_and_swap(log: &dyn Log) {
    assert_eq!(log.head(), Ok(0));
    assert_eq!(log.append(1, &[entry("x")]), Err(AppendError::Conflict { expected: 1, head: 0 }));
    assert_eq!(log.append(0, &[entry("a")]), Ok(1));
    assert_eq!(log.append(0, &[entry("x")]), Err(AppendError::Conflict { expected: 0, head: 1 }));
    assert_eq!(log.append(2, &[]), Err(AppendError::Conflict { expected: 2, head: 1 }));
    assert_eq!(log.append(1, &[]), Ok(1), "no entries: just compares");
    assert_eq!(log.append(u64::MAX, &[entry("x")]), Err(AppendError::Conflict { expected: u64::MAX, head: 1 }));
    assert_eq!(payloads(log), ["a"]);
}

fn all_or_nothing(log: &dyn Log) {
    assert_eq!(log.append(0, &[entry("a"), entry("b"), entry("c")]), Ok(3));
    let mut bad = entry("bad");
    bad.kind = "two words".to_owned();
    let refused = log.append(3, &[entry("d"), bad]);
    assert!(matches!(refused, Err(AppendError::Invalid { index: 1, .. })), "{refused:?}");
    let large = NewEntry { payload: vec![0; MAX_PAYLOAD + 1], ..entry("") };
    assert!(matches!(log.append(3, &[large]), Err(AppendError::Invalid { index: 0, .. })));
    assert_eq!(log.head(), Ok(3));
    let largest = NewEntry { payload: vec![7; MAX_PAYLOAD], ..entry("") };
    assert_eq!(log.append(3, &[largest]), Ok(4));
    let back = log.read(3, 1).expect("read");
    assert_eq!(back[0].payload().map(<[u8]>::len), Some(MAX_PAYLOAD));
}

fn reading(log: &dyn Log) {
    let new: Vec<NewEntry> = (0..10).map(|n| entry(&n.to_string())).collect();
    assert_eq!(log.append(0, &new), Ok(10));
    let positions = |from: Position, max| -> Vec<Position> {
        log.read(from, max).expect("read").iter().map(|it| it.position).collect()
    };
    assert_eq!(positions(0, usize::MAX), (0..10).collect::<Vec<_>>());
    assert_eq!(positions(3, 4), [3, 4, 5, 6]);
    assert_eq!(positions(8, 100), [8, 9]);
    assert_eq!(positions(0, 0), [0; 0]);
    assert_eq!(positions(10, 5), [0; 0]);
    assert_eq!(positions(u64::MAX, 5), [0; 0]);
    let all = log.read(0, 10).expect("read");
    for (read, new) in all.iter().zip(&new) {
        assert_eq!(*read, new.clone().at(read.position), "what is read is what was written");
        assert_eq!(read.commitment, commitment(&new.salt, &new.payload));
    }
}

fn erasing(log: &dyn Log) {
    assert_eq!(log.append(0, &[entry("a"), entry("b")]), Ok(2));
    let before = log.read(0, 1).expect("read").remove(0);
    assert_eq!(log.erase(2), Err(EraseError::NoSuchEntry { position: 2, head: 2 }));
    assert_eq!(log.erase(0), Ok(()));
    assert_eq!(log.erase(0), Ok(()), "erasing twice is no error");
    let after = log.read(0, 1).expect("read").remove(0);
    assert_eq!(after.content, None);
    assert_eq!(after.leaf_record(), before.leaf_record());
    assert_eq!(log.append(2, &[entry("c")]), Ok(3));
    assert_eq!(payloads(log), ["(erased)", "b", "c"]);
}

fn one_of_many_wins(log: &dyn Log) {
    const WRITERS: usize = 4;
    const EACH: usize = 25;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut head = 0;
                for n in 0..EACH {
                    let batch = [entry(&format!("{writer}-{n}-a")), entry(&format!("{writer}-{n}-b"))];
                    head = loop {
                        match log.append(head, &batch) {
                            Ok(head) => break head,
                            Err(AppendError::Conflict { head: there, .. }) => head = there,
                            Err(other) => panic!("{other}"),
                        }
                    };
                    let visible = log.read(head - 2, 2).expect("read");
                    assert_eq!(visible[0].payload(), Some(batch[0].payload.as_slice()), "durable on return");
                }
            });
        }
    });
    let all = payloads(log);
    assert_eq!(all.len(), 2 * WRITERS * EACH);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "nothing is there twice");
    for pair in all.chunks(2) {
        let name = |it: &str| it.rsplit_once('-').map(|(name, _)| name.to_owned());
        assert_eq!(name(&pair[0]), name(&pair[1]), "nothing comes between the entries of one call");
    }
}
