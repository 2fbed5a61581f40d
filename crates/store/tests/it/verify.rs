//! Verification finds every change of a log, wherever it is.

use std::path::Path;

use rusqlite::{Connection, params, types::Value};
use staffel_store::{
    Log, MemoryLog, Problem, ReadLog, SqliteLog, SqliteReader, StoredCheckpoint, Tree, TreeHead, Witness,
    WitnessRequest, add_cosignatures, root, sign_checkpoint, verify_file, verify_log,
};

use crate::support::{Numbers, ORIGIN, directory, entries, keys, signer, witness_signer};

const IDS: [&str; 11] = ["{}", "b", "{\"device\":7}", "d", "e", "", "g", "h", "i", "j", "k"];

/// A log with an erased entry, a co-signed checkpoint, a later one, and an entry after both. Closed.
fn write_log(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("log.db");
    let log = SqliteLog::open(&path).expect("open");
    log.append_next(entries(&IDS[..6])).expect("append");
    log.erase(3).expect("erase");
    let checkpoint = sign_checkpoint(&log, &signer()).expect("sign");
    let witness = Witness::open(directory.join("witness.json"), witness_signer(1), vec![keys(&[]).log]).expect("open");
    let request = WitnessRequest { old_size: 0, proof: Vec::new(), checkpoint: checkpoint.note.clone() };
    let line = witness.cosign(&request, 1_721_347_200).expect("sign");
    let keys = keys(&[1]);
    add_cosignatures(&log, &keys.log, &keys.witnesses, &checkpoint, &line).expect("keep");
    log.append_next(entries(&IDS[6..10])).expect("append");
    sign_checkpoint(&log, &signer()).expect("sign");
    log.append_next(entries(&IDS[10..])).expect("append");
    path
}

#[test]
fn a_sound_log_is_reported_as_it_is() {
    let directory = directory();
    let path = write_log(directory.path());
    let report = verify_file(&path, Some(&keys(&[1]))).expect("open");
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.entries, report.erased), (11, 1));
    assert_eq!((report.checkpoint_size, report.witnessed_size), (Some(10), Some(6)));
    assert_eq!(report.witnessed[0].unix_seconds, 1_721_347_200);
    assert_eq!(Ok(report.root), root(&SqliteReader::open(&path).expect("open"), 11));
    let empty = verify_log(&MemoryLog::new(), Some(&keys(&[])));
    assert!(empty.is_sound());
    assert_eq!((empty.entries, empty.checkpoint_size), (0, None));
}

/// One bit in every byte of every column that the log consists of, one at a time.
#[test]
fn every_changed_byte_in_a_row_is_found() {
    let directory = directory();
    let path = write_log(directory.path());
    let reader = SqliteReader::open(&path).expect("open");
    let keys = keys(&[1]);
    let before = verify_log(&reader, Some(&keys));
    let connection = Connection::open(&path).expect("open");
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA ignore_check_constraints = ON").expect("set");
    let mut flips = 0;
    for (table, key, column) in [
        ("entry", "position", "at_ms"),
        ("entry", "position", "kind"),
        ("entry", "position", "commitment"),
        ("entry", "position", "salt"),
        ("entry", "position", "payload"),
        ("node", "idx", "hash"),
        ("checkpoint", "size", "note"),
    ] {
        let update = format!("UPDATE {table} SET {column} = ?1 WHERE {key} = ?2");
        let rows: Vec<(i64, Value)> = connection
            .prepare(&format!("SELECT {key}, {column} FROM {table}"))
            .expect("prepare")
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("query")
            .collect::<Result<_, _>>()
            .expect("read");
        for (row, value) in rows {
            for changed in flipped(&value) {
                connection.execute(&update, params![changed, row]).expect("change");
                let report = verify_log(&reader, Some(&keys));
                // A witness's line under a changed name is an unknown witness's: counted, but no problem.
                let found = !report.is_sound() || (column == "note" && report.unknown_signatures == 1);
                assert!(found, "{table}.{column} of {row}: {value:?} -> {changed:?}");
                flips += 1;
            }
            connection.execute(&update, params![value, row]).expect("restore");
        }
    }
    assert_eq!(verify_log(&reader, Some(&keys)), before, "all is restored");
    println!("{flips} flips, each found");
    assert!(flips > 2_000, "{flips}");
}

/// Values that differ from `value` in one bit of one byte, for each of its bytes, and that its column can hold.
fn flipped(value: &Value) -> Vec<Value> {
    let bits = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let flip = |at: usize| {
            let mut changed = bytes.to_vec();
            // The highest bits are left out: in text they would give no valid text, and change nothing.
            changed[at] ^= 1 << (at % 7);
            changed
        };
        (0..bytes.len()).map(flip).collect()
    };
    match value {
        Value::Integer(number) => (0..63).map(|bit| Value::Integer(number ^ (1 << bit))).collect(),
        Value::Text(text) => {
            let valid = |bytes| String::from_utf8(bytes).ok().map(Value::Text);
            bits(text.as_bytes()).into_iter().filter_map(valid).collect()
        }
        Value::Blob(bytes) => bits(bytes).into_iter().map(Value::Blob).collect(),
        Value::Null | Value::Real(_) => Vec::new(),
    }
}

/// Bytes of the file itself, SQLite's own structures included: either it is found, or nothing of the log has changed.
#[test]
fn a_flipped_byte_of_the_file_is_found_or_changes_nothing() {
    const TRIES: u64 = 600;
    let directory = directory();
    let path = write_log(directory.path());
    let whole = std::fs::read(&path).expect("read");
    let content =
        |reader: &SqliteReader| (reader.read(0, usize::MAX), reader.hash_range(0, usize::MAX), reader.checkpoints());
    let before = content(&SqliteReader::open(&path).expect("open"));
    let sound = verify_file(&path, Some(&keys(&[1]))).expect("open");
    let mut numbers = Numbers(20_240_719);
    let mut found = 0;
    for _ in 0..TRIES {
        // Rows fill pages from the end, so half of the tries go where the bytes are.
        let page = numbers.below(whole.len() as u64 / 4096) * 4096;
        let within = if numbers.below(2) == 0 { 4096 - 1 - numbers.below(900) } else { numbers.below(4096) };
        let at = usize::try_from(page + within).expect("small");
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << numbers.below(8);
        std::fs::write(&path, &bytes).expect("write");
        match verify_file(&path, Some(&keys(&[1]))) {
            Err(_) => found += 1,
            Ok(report) if report != sound => found += 1,
            Ok(_) => {
                let reader = SqliteReader::open(&path).expect("it verified");
                assert!(content(&reader) == before, "byte {at}: changed, and not found");
            }
        }
    }
    println!("{found} of {TRIES} flipped bytes of the file mattered, each found");
    assert!(found > 50, "{found}");
}

#[test]
fn missing_and_added_rows_are_named() {
    let found = |sql: &str| {
        let directory = directory();
        let path = write_log(directory.path());
        Connection::open(&path).expect("open").execute_batch(sql).expect("change");
        verify_file(&path, Some(&keys(&[1]))).expect("open").problems
    };
    assert_eq!(found("DELETE FROM entry WHERE position = 4")[0], Problem::Missing { expected: 4 });
    assert_eq!(found("DELETE FROM node WHERE idx = 0"), [Problem::Hash { position: 0, index: 0, level: 0 }]);
    assert!(matches!(
        found("INSERT INTO node VALUES (99, zeroblob(32))")[..],
        [Problem::ExtraHashes { stored: 20, expected: 19 }]
    ));
    // Two payloads change places, each with its salt and commitment: every row is sound by itself.
    let swap = "CREATE TABLE t AS SELECT * FROM entry WHERE position IN (1, 2);
        UPDATE entry SET (kind, at_ms, commitment, salt, payload) =
            (SELECT kind, at_ms, commitment, salt, payload FROM t WHERE t.position = 3 - entry.position)
        WHERE position IN (1, 2)";
    assert!(matches!(found(swap)[0], Problem::Hash { position: 1, .. }));
    // The log was cut, tree and all, but its checkpoints were forgotten.
    let cut = "DELETE FROM entry WHERE position >= 7; DELETE FROM node WHERE idx >= 11";
    assert_eq!(found(cut), [Problem::Cut { size: 10, entries: 7 }]);
}

#[test]
fn a_rewritten_log_differs_from_its_checkpoint_and_a_forged_checkpoint_is_not_signed() {
    let honest = MemoryLog::new();
    honest.append(0, &entries(&["a", "b", "c"])).expect("append");
    let signed = sign_checkpoint(&honest, &signer()).expect("sign");
    // Everything is computed anew over other payloads, consistently, but the signature is the old one.
    let rewritten = MemoryLog::new();
    rewritten.append(0, &entries(&["a", "B", "c"])).expect("append");
    rewritten.keep_checkpoint(&signed).expect("keep");
    assert_eq!(verify_log(&rewritten, Some(&keys(&[]))).problems, [Problem::Root { size: 3 }]);
    assert!(verify_log(&rewritten, None).is_sound(), "without keys there is nothing to compare with");

    let body = TreeHead { origin: ORIGIN.to_owned(), size: 3, root: root(&rewritten, 3).expect("root") }.body();
    let (_, old_signature) = signed.note.split_once("\n\n").expect("a note");
    let forged = StoredCheckpoint { note: format!("{body}\n{old_signature}"), ..signed };
    rewritten.keep_checkpoint(&forged).expect("keep");
    let problems = verify_log(&rewritten, Some(&keys(&[]))).problems;
    assert!(matches!(problems[..], [Problem::Checkpoint { size: 3, .. }]), "{problems:?}");
}
