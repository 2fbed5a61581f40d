//! `staffel log verify` on a real log, and on the same one with one byte changed.

use staffel_store::{LogSigner, NewEntry, SqliteLog, sign_checkpoint};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

const SECRET: &[u8] = b"the till in pharmacy seven runs version 1";

/// A log of forty entries with a signed checkpoint; the file and the log's key.
fn log_in(dir: &Path) -> (PathBuf, String) {
    let path = dir.join("log.sqlite");
    let signer = LogSigner::from_seed("staffel.example/log", &[7; 32]).expect("a plain name");
    let log = SqliteLog::open(&path).expect("a new log");
    for number in 0..40_u64 {
        let payload = if number == 20 { SECRET.to_vec() } else { format!("entry {number}").into_bytes() };
        let entry = NewEntry::new(1_000 + number, "test", payload).expect("an entry");
        log.append_next(vec![entry]).expect("appended");
    }
    sign_checkpoint(&log, &signer).expect("signed");
    drop(log);
    (path, signer.public().text())
}

fn verify(file: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_staffel"))
        .args(["log", "verify", "--file"])
        .arg(file)
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// A copy of the log with one bit changed at the first place where `pattern` stands; everything that SQLite keeps beside
/// the file is in it already, since the log was closed.
fn flipped(file: &Path, pattern: &[u8]) -> PathBuf {
    let mut bytes = std::fs::read(file).expect("the log is there");
    let at = bytes.windows(pattern.len()).position(|window| window == pattern).expect("it stands in the file");
    bytes[at + pattern.len() / 2] ^= 1;
    let copy = file.with_extension("flipped");
    std::fs::write(&copy, bytes).expect("written");
    copy
}

#[test]
fn a_sound_log_verifies_and_says_how_far_it_is_signed() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let (file, key) = log_in(dir.path());
    let output = verify(&file, &["--key", &key]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("40 verified") && text.contains("signed up to entry 40 of 40"), "{text}");
    let output = verify(&file, &["--key", &key, "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&value["sound"], &value["entries"], &value["checkpoint_size"]), (&true.into(), &40.into(), &40.into()));
}

#[test]
fn one_changed_bit_ends_with_code_3_and_names_the_entry() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let (file, key) = log_in(dir.path());
    let output = verify(&flipped(&file, SECRET), &["--key", &key]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("entry 20:") && text.contains("does NOT verify"), "{text}");
    let output = verify(&flipped(&file, b"SQLite format 3"), &["--key", &key]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn another_logs_key_and_a_missing_file_have_their_own_codes() {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let (file, _) = log_in(dir.path());
    let other = LogSigner::from_seed("staffel.example/log", &[8; 32]).expect("a plain name").public().text();
    assert_eq!(verify(&file, &["--key", &other]).status.code(), Some(3));
    assert_eq!(verify(&file, &["--key", "nonsense"]).status.code(), Some(1));
    assert_eq!(verify(&dir.path().join("none"), &[]).status.code(), Some(4));
    let without = verify(&file, &[]);
    assert!(without.status.success());
    assert!(String::from_utf8_lossy(&without.stdout).contains("no key was given"));
}
