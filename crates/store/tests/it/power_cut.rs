//! Each write, truncation, sync and deletion of a workload fails once, in every way that a disk can fail. After
//! reopening: nothing acknowledged is missing, nothing is there twice, the log verifies, and the workload can go on.

use std::path::Path;

use staffel_store::{
    At, Log, ReadLog, Snapshot, SqliteLog, SqliteOptions, StoreError, Write, consistency_proof, root, sign_checkpoint,
    verify_checkpoint, verify_consistency,
};

use crate::disk::{Disk, Fault, Unsynced};
use crate::support::{directory, entry, keys, payloads, signer, sound};

/// What the workload was told, so what has to be true ever after.
#[derive(Debug, Default)]
struct Told {
    /// Acknowledged entries with their positions.
    appended: Vec<(String, u64)>,
    /// Position of the newest snapshot that was acknowledged.
    snapshot: Option<u64>,
    erased: bool,
    /// Checkpoints that were handed out.
    published: Vec<String>,
}

/// Entry that the workload erases.
const ERASED: u64 = 1;

/// Ids of the appends in order; an append's entries become durable together. One is larger than a page.
fn batches() -> Vec<Vec<String>> {
    let plain = |batch: usize, count: usize| (0..count).map(|n| format!("{batch}-{n}")).collect();
    let mut all: Vec<Vec<String>> = [2, 1, 3, 1, 2, 4, 1, 1].iter().enumerate().map(|(at, n)| plain(at, *n)).collect();
    all[2][1].push_str(&"-large".repeat(2_000));
    all
}

/// Which batches the log holds. Each must be whole.
fn batches_there(log: &SqliteLog) -> usize {
    let there = payloads(log);
    let mut expected: Vec<String> = Vec::new();
    for (count, batch) in batches().into_iter().enumerate() {
        if expected.len() == there.len() {
            return count;
        }
        expected.extend(batch);
        if expected.len() > usize::try_from(ERASED).expect("small") && there.len() > 1 && there[1] == "(erased)" {
            expected[1] = "(erased)".to_owned();
        }
        let same = there.iter().zip(&expected).all(|(there, expected)| there == expected);
        assert!(same, "the entries are not the workload's, in order and once each");
    }
    assert_eq!(there.len(), expected.len(), "part of an append is there, or more than all");
    batches().len()
}

/// Tries once more what failed for the disk's sake, as promise 5 of `Log` tells callers to.
fn twice<T, E>(mut run: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    run().or_else(|_| run())
}

fn open(path: &Path, disk: Option<&Disk>) -> Result<SqliteLog, StoreError> {
    let options = SqliteOptions { vfs: disk.map(Disk::name), ..SqliteOptions::default() };
    twice(|| SqliteLog::open_with(path, options.clone()))
}

/// Runs from wherever the log is to the end, or until the disk is gone.
fn run(path: &Path, disk: Option<&Disk>, told: &mut Told) -> Result<(), Box<dyn std::error::Error>> {
    let all = batches();
    let mut log = open(path, disk)?;
    for (number, batch) in all.iter().enumerate().skip(batches_there(&log)) {
        let entries: Vec<_> = batch.iter().map(|id| entry(id)).collect();
        let expected = log.head()?;
        let head = if number % 3 == 1 {
            let write = Write {
                at: At::Expected(expected),
                entries,
                snapshots: vec![Snapshot {
                    name: "state".to_owned(),
                    position: expected,
                    bytes: number.to_string().into_bytes(),
                }],
            };
            let positions = twice(|| log.write(write.clone()))?;
            told.snapshot = Some(expected);
            positions.end
        } else {
            twice(|| log.append(expected, &entries))?
        };
        assert_eq!(head, expected + batch.len() as u64);
        told.appended.extend(batch.iter().cloned().zip(expected..));
        match number {
            2 | 6 => told.published.push(twice(|| sign_checkpoint(&log, &signer()))?.note),
            3 => {
                twice(|| log.erase(ERASED))?;
                told.erased = true;
            }
            4 => {
                // Closing copies the write-ahead log into the file and deletes it.
                drop(log);
                log = open(path, disk)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks what is left, then finishes the workload on it.
fn check(path: &Path, told: &Told) {
    let log = SqliteLog::open(path).expect("open after the crash");
    let head = log.head().expect("head");
    batches_there(&log);
    let there = payloads(&log);
    for (id, position) in &told.appended {
        let at = usize::try_from(*position).expect("small");
        let erased = *position == ERASED && there.get(at).is_some_and(|text| text == "(erased)");
        assert!(erased || there.get(at) == Some(id), "acknowledged entry {position} is missing");
    }
    assert!(!told.erased || there[1] == "(erased)", "what was erased has come back");
    let snapshot = log.get_snapshot("state").expect("read").map(|snapshot| snapshot.position);
    assert!(snapshot >= told.snapshot, "an acknowledged snapshot is missing");
    assert!(snapshot.is_none_or(|position| position <= head), "a snapshot without its entries");
    sound(&log);
    for note in &told.published {
        let published = verify_checkpoint(note, &keys(&[]).log, &[]).expect("own signature").head;
        let proof = consistency_proof(&log, head, published.size).expect("what was published is there");
        let now = root(&log, head).expect("root");
        verify_consistency(&proof, head, &now, published.size, &published.root).expect("the same history");
    }
    drop(log);

    let mut rest = Told::default();
    run(path, None, &mut rest).expect("the disk works again");
    let log = SqliteLog::open(path).expect("open at the end");
    assert_eq!(batches_there(&log), batches().len());
    sound(&log);
}

/// Tries one fault at one operation; answers whether the workload got that far.
fn try_point(at: u64, fault: Fault) -> bool {
    let before = directory();
    let path = before.path().join("log.db");
    let disk = Disk::new(Some((at, fault)));
    let mut told = Told::default();
    let ended = run(&path, Some(&disk), &mut told);
    if !disk.fired() {
        ended.expect("no fault, no failure");
        return false;
    }
    let goes_on = matches!(fault, Fault::Failed | Fault::FailedButPersisted);
    let left: &[Unsynced] = if goes_on { &[Unsynced::Kept, Unsynced::Dropped] } else { &[Unsynced::Kept] };
    for unsynced in left {
        let after = directory();
        disk.write_out(after.path(), *unsynced);
        check(&after.path().join("log.db"), &told);
    }
    true
}

fn every_point(fault: Fault) {
    let mut points = 0;
    while try_point(points + 1, fault) {
        points += 1;
    }
    println!("{fault:?}: {points} points tried");
    assert!(points > 100, "the workload has become too small: {points} points");
}

#[test]
fn unsynced_writes_are_lost() {
    every_point(Fault::Lost);
}

#[test]
fn any_part_of_the_unsynced_writes_is_lost() {
    every_point(Fault::Scattered);
}

#[test]
fn a_write_is_torn_and_its_front_is_left() {
    every_point(Fault::TornFront);
}

#[test]
fn a_write_is_torn_and_its_back_is_left() {
    every_point(Fault::TornBack);
}

#[test]
fn a_write_is_reported_as_failed_but_persisted() {
    every_point(Fault::FailedButPersisted);
}

#[test]
fn a_write_is_reported_as_failed_but_persisted_and_then_the_power_goes() {
    every_point(Fault::FailedButPersistedThenDead);
}

#[test]
fn a_write_fails() {
    every_point(Fault::Failed);
}

/// The disk itself: without a fault it changes nothing, and a model that is written out is the same log.
#[test]
fn the_faulty_disk_is_honest_without_a_fault() {
    let before = directory();
    let path = before.path().join("log.db");
    let disk = Disk::new(None);
    let mut told = Told::default();
    run(&path, Some(&disk), &mut told).expect("no fault");
    assert!(disk.operations() > 100);
    for unsynced in [Unsynced::Kept, Unsynced::Dropped] {
        let after = directory();
        disk.write_out(after.path(), unsynced);
        let copy = after.path().join("log.db");
        assert_eq!(payloads(&SqliteLog::open(&copy).expect("open")), payloads(&SqliteLog::open(&path).expect("open")));
        check(&copy, &told);
    }
}

/// Without the sync that an append waits for, the tests above must fail: they can see a lost append.
#[test]
fn the_faulty_disk_does_lose_what_was_not_synced() {
    let before = directory();
    let path = before.path().join("log.db");
    let disk = Disk::new(None);
    let log = open(&path, Some(&disk)).expect("open");
    assert_eq!(log.append(0, &[entry("synced")]), Ok(1));
    let kept = directory();
    disk.write_out(kept.path(), Unsynced::Dropped);
    assert_eq!(payloads(&SqliteLog::open(kept.path().join("log.db")).expect("open")), ["synced"]);
    drop(log);

    let connection = rusqlite::Connection::open_with_flags_and_vfs(
        &path,
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE,
        disk.name().as_str(),
    )
    .expect("open");
    connection
        .execute_batch("PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0; DELETE FROM node; DELETE FROM entry")
        .expect("change without a sync");
    let lost = directory();
    disk.write_out(lost.path(), Unsynced::Dropped);
    assert_eq!(payloads(&SqliteLog::open(lost.path().join("log.db")).expect("open")), ["synced"]);
    let kept = directory();
    disk.write_out(kept.path(), Unsynced::Kept);
    assert_eq!(payloads(&SqliteLog::open(kept.path().join("log.db")).expect("open")), [""; 0]);
}
