//! What SQLite adds to the contract: many callers in one commit, snapshots, one writer, and typed refusals.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

use rusqlite::Connection;
use staffel_store::{
    AppendError, At, Log, ReadLog, Snapshot, SqliteLog, SqliteOptions, SqliteReader, StoreError, Write,
};

use crate::support::{directory, entries, entry, payloads, sound};

#[test]
fn many_callers_share_commits_and_each_gets_its_own_positions() {
    const CALLERS: usize = 8;
    const EACH: usize = 40;
    let directory = directory();
    let log = SqliteLog::open(directory.path().join("log.db")).expect("open");
    let barrier = Barrier::new(CALLERS);
    let answered = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (log, barrier, answered) = (log.clone(), &barrier, &answered);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..EACH {
                    let id = format!("{caller}-{n}");
                    match n % 3 {
                        0 => {
                            let at = log.append_next(vec![entry(&id)]).expect("append");
                            let there = log.read(at.start, 1).expect("read");
                            assert_eq!(there[0].payload(), Some(id.as_bytes()));
                        }
                        1 => assert_eq!(log.submit(Write::next(vec![entry(&id)])).wait().expect("append").count(), 1),
                        _ => {
                            let answered = Arc::clone(answered);
                            log.append_then(Write::next(vec![entry(&id)]), move |outcome| {
                                assert!(outcome.is_ok());
                                answered.fetch_add(1, Ordering::SeqCst);
                            });
                        }
                    }
                }
            });
        }
    });
    let path = log.path().to_owned();
    drop(log);
    assert_eq!(answered.load(Ordering::SeqCst), CALLERS * (EACH / 3), "closing waits for all that was handed over");
    let log = SqliteLog::open(path).expect("open again");
    let mut all = payloads(&log);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), CALLERS * EACH);
    sound(&log);
}

#[test]
fn a_conflict_in_a_group_harms_nobody_else() {
    let directory = directory();
    let log = SqliteLog::open(directory.path().join("log.db")).expect("open");
    let (entered, wait_entered) = channel();
    let (release, wait_release) = channel::<()>();
    log.append_then(Write::next(entries(&["first"])), move |_| {
        entered.send(()).expect("the test waits");
        let _ = wait_release.recv();
    });
    wait_entered.recv().expect("the writer is held up now");
    // All of these meet in one group.
    let good = log.submit(Write::expecting(1, entries(&["a"])));
    let late = log.submit(Write::expecting(1, entries(&["x"])));
    let ahead = log.submit(Write {
        at: At::Next,
        entries: entries(&["y"]),
        snapshots: vec![Snapshot { name: "s".to_owned(), position: 4, bytes: Vec::new() }],
    });
    let next = log.submit(Write::next(entries(&["b", "c"])));
    release.send(()).expect("the writer waits");
    assert_eq!(good.wait(), Ok(1..2));
    assert_eq!(late.wait(), Err(AppendError::Conflict { expected: 1, head: 2 }));
    assert!(matches!(ahead.wait(), Err(AppendError::SnapshotAhead { position: 4, head: 3, .. })));
    assert_eq!(next.wait(), Ok(2..4));
    assert_eq!(payloads(&log), ["first", "a", "b", "c"]);
    sound(&log);
}

#[test]
fn too_many_waiting_appends_are_refused_not_piled_up() {
    let directory = directory();
    let options = SqliteOptions { waiting: 1, ..SqliteOptions::default() };
    let log = SqliteLog::open_with(directory.path().join("log.db"), options).expect("open");
    let (entered, wait_entered) = channel();
    let (release, wait_release) = channel::<()>();
    log.append_then(Write::next(entries(&["a"])), move |_| {
        entered.send(()).expect("the test waits");
        let _ = wait_release.recv();
    });
    wait_entered.recv().expect("the writer is held up now");
    let second = log.submit(Write::next(entries(&["b"])));
    let third = log.submit(Write::next(entries(&["c"])));
    assert_eq!(third.wait(), Err(AppendError::Overloaded { waiting: 1 }));
    release.send(()).expect("the writer waits");
    assert_eq!(second.wait(), Ok(1..2));
    assert_eq!(log.append(2, &entries(&["c"])), Ok(3));
    assert_eq!(payloads(&log), ["a", "b", "c"]);
}

#[test]
fn a_callback_may_panic_or_hold_the_last_handle() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let log = SqliteLog::open(&path).expect("open");
    log.append_then(Write::next(entries(&["a"])), |_| panic!("a caller's mistake (this panic is part of the test)"));
    assert_eq!(log.append_next(entries(&["b"])), Ok(1..2));
    let (done, wait_done) = channel();
    let last = log.clone();
    log.append_then(Write::next(entries(&["c"])), move |outcome| {
        drop(last);
        done.send(outcome).expect("the test waits");
    });
    drop(log);
    assert_eq!(wait_done.recv().expect("answered"), Ok(2..3));
    // The writer may still be closing; it has no more than its file to close.
    let log = loop {
        match SqliteLog::open(&path) {
            Err(StoreError::Locked { .. }) => std::thread::yield_now(),
            other => break other.expect("open again"),
        }
    };
    assert_eq!(payloads(&log), ["a", "b", "c"]);
}

#[test]
fn snapshots_come_with_their_entries() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let log = SqliteLog::open(&path).expect("open");
    let snapshot = |position, bytes: &[u8]| Snapshot { name: "devices".to_owned(), position, bytes: bytes.to_vec() };
    assert_eq!(log.get_snapshot("devices"), Ok(None));
    let both =
        |at, position| Write { at, entries: entries(&["a", "b"]), snapshots: vec![snapshot(position, b"state")] };
    assert!(matches!(log.write(both(At::Next, 3)), Err(AppendError::SnapshotAhead { .. })));
    assert!(matches!(log.write(both(At::Expected(1), 2)), Err(AppendError::Conflict { .. })));
    assert_eq!((log.head(), log.get_snapshot("devices")), (Ok(0), Ok(None)), "neither, then");
    assert_eq!(log.write(both(At::Expected(0), 2)), Ok(0..2));
    drop(log);
    let log = SqliteLog::open(&path).expect("open again");
    assert_eq!(log.get_snapshot("devices"), Ok(Some(snapshot(2, b"state"))));
    assert_eq!(log.put_snapshot("devices", 1, b"older".to_vec()), Ok(()));
    assert_eq!(log.get_snapshot("devices"), Ok(Some(snapshot(1, b"older"))));
    assert!(log.put_snapshot("devices", 3, Vec::new()).is_err());
    assert_eq!(log.head(), Ok(2));
}

#[test]
fn erased_content_is_gone_from_every_file() {
    let directory = directory();
    let log = SqliteLog::open(directory.path().join("log.db")).expect("open");
    let large = format!("LARGE-{}-SECRET", "x".repeat(20_000));
    assert_eq!(log.append(0, &entries(&["SMALL-SECRET", &large, "stays-SECRET"])), Ok(3));
    let holds = |text: &str| {
        std::fs::read_dir(directory.path())
            .expect("list")
            .map(|file| std::fs::read(file.expect("entry").path()).expect("read"))
            .any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(holds("SMALL-SECRET") && holds("xxxxxxxx-SECRET"));
    log.erase(0).expect("erase");
    log.erase(1).expect("erase");
    assert!(!holds("SMALL-SECRET") && !holds("LARGE-") && !holds("xxxxxxxx"));
    assert!(holds("stays-SECRET"));
    let report = sound(&log);
    assert_eq!((report.entries, report.erased), (3, 2));
}

#[test]
fn only_one_process_writes_and_the_other_is_told_who() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let log = SqliteLog::open(&path).expect("open");
    let second = SqliteLog::open(&path).expect_err("locked");
    assert!(matches!(second, StoreError::Locked { holder: Some(id), .. } if id == std::process::id()), "{second}");
    assert!(second.to_string().contains("stop that one first"), "{second}");
    log.append_next(entries(&["a"])).expect("append");
    let reader = SqliteReader::open(&path).expect("reading needs no lock");
    assert_eq!(payloads(&reader), ["a"]);
    drop(log);
    assert_eq!(payloads(&reader), ["a"], "reading goes on after the writer has gone");
    drop(reader);
    let reader = SqliteReader::open(&path).expect("nobody else is there");
    assert_eq!(payloads(&reader), ["a"]);
    SqliteLog::open(&path).expect("the lock is free").append_next(entries(&["b"])).expect("append");
    assert_eq!(payloads(&reader), ["a", "b"], "a reader sees what came later");
}

fn change(path: &Path, sql: &str) {
    Connection::open(path).expect("open").execute_batch(sql).expect("change");
}

#[test]
fn what_is_not_a_log_or_of_a_later_layout_is_left_alone() {
    let directory = directory();
    let refused = |name: &str| {
        let path = directory.path().join(name);
        let before = std::fs::read(&path).expect("read");
        let writing = SqliteLog::open(&path).expect_err("refused");
        let reading = SqliteReader::open(&path).expect_err("refused");
        assert_eq!(std::fs::read(&path).expect("read"), before, "{name} was changed");
        assert_eq!(std::mem::discriminant(&writing), std::mem::discriminant(&reading), "{writing} {reading}");
        writing
    };
    std::fs::write(directory.path().join("text"), "dear diary, ".repeat(1000)).expect("write");
    assert!(matches!(refused("text"), StoreError::NotALog { .. }));
    change(&directory.path().join("cookies"), "CREATE TABLE cookie (x)");
    assert!(matches!(refused("cookies"), StoreError::NotALog { .. }));
    let later = directory.path().join("later");
    drop(SqliteLog::open(&later).expect("create"));
    change(&later, "PRAGMA user_version = 7");
    assert!(matches!(refused("later"), StoreError::TooNew { found: 7, supported: 1, .. }));
    let missing = directory.path().join("missing");
    assert!(matches!(SqliteReader::open(&missing), Err(StoreError::Unavailable { .. })));
    assert!(!missing.exists(), "reading creates nothing");
    let nowhere = directory.path().join("no/such/directory/log.db");
    assert!(matches!(SqliteLog::open(nowhere), Err(StoreError::Unavailable { .. })));
}

#[test]
fn damage_is_a_typed_error() {
    let directory = directory();
    let path = directory.path().join("log.db");
    let log = SqliteLog::open(&path).expect("create");
    let ids: Vec<String> = (0..500).map(|n| format!("entry number {n}")).collect();
    log.append_next(ids.iter().map(|id| entry(id)).collect()).expect("append");
    drop(log);
    let whole = std::fs::read(&path).expect("read");
    // The right edge of the tree is read on opening, so losing it is noticed at once.
    for (name, sql) in [
        ("hash", "DELETE FROM node WHERE idx = (SELECT max(idx) FROM node)"),
        ("entry", "DELETE FROM entry WHERE position = 499"),
        ("extra", "INSERT INTO entry VALUES (500, 0, 'x', zeroblob(32), NULL, NULL)"),
        ("version", "PRAGMA user_version = 0"),
        ("negative", "PRAGMA user_version = -1"),
        ("table", "DROP TABLE node"),
    ] {
        std::fs::write(&path, &whole).expect("restore");
        change(&path, sql);
        let refused = SqliteLog::open(&path).expect_err(name);
        assert!(matches!(refused, StoreError::Corrupt { .. } | StoreError::Unavailable { .. }), "{name}: {refused}");
    }
    // Whole pages overwritten, the first one excepted: whatever is hit, nothing panics and the damage is named.
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0xA5);
        std::fs::write(&path, &bytes).expect("damage");
        let found = match SqliteReader::open(&path) {
            Err(error) => error,
            Ok(reader) => match reader.read(0, usize::MAX) {
                Err(error) => error,
                Ok(_) => continue, // a page of hashes or an empty table: for `verify`, not for reading entries
            },
        };
        assert!(matches!(found, StoreError::Corrupt { .. }), "page {page}: {found}");
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("cut");
    let cut = SqliteLog::open(&path).and_then(|log| log.read(0, usize::MAX)).expect_err("half a file");
    assert!(matches!(cut, StoreError::Corrupt { .. }), "{cut}");
}

#[test]
fn another_programs_entry_stops_the_writer_before_it_does_harm() {
    let directory = directory();
    let log = SqliteLog::open(directory.path().join("log.db")).expect("open");
    log.append_next(entries(&["a"])).expect("append");
    change(log.path(), "INSERT INTO entry VALUES (1, 0, 'x', zeroblob(32), NULL, NULL)");
    let refused = log.append_next(entries(&["b"])).expect_err("refused");
    assert!(matches!(&refused, AppendError::Unavailable(StoreError::Corrupt { .. })), "{refused:?}");
    change(log.path(), "DELETE FROM entry WHERE position = 1");
    assert_eq!(log.append_next(entries(&["b"])), Ok(1..2), "once that is undone it goes on");
    sound(&log);
}

#[test]
fn the_sqlite3_program_can_read_it() {
    let directory = directory();
    let log = SqliteLog::open(directory.path().join("log.db")).expect("open");
    log.append_next(entries(&["{\"a\":1}", "gone"])).expect("append");
    log.erase(1).expect("erase");
    let Ok(output) = Command::new("sqlite3")
        .args(["-readonly", "-separator", "|"])
        .arg(log.path())
        .arg("SELECT * FROM journal")
        .output()
    else {
        let required = std::env::var_os("CI").is_some() || std::env::var_os("STAFFEL_REQUIRE_TOOLS").is_some();
        assert!(!required, "sqlite3 is missing");
        eprintln!("SKIP the_sqlite3_program_can_read_it: sqlite3 is missing");
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0|2024-07-19T00:00:00.007Z|test.entry|{\"a\":1}\n1|2024-07-19T00:00:00.004Z|test.entry|(erased)\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
