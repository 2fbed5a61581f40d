//! `kill -9` at random moments: what was acknowledged is there, nothing is there twice, and the log verifies.
//!
//! The test starts itself as a child process that appends from many threads, and kills it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use staffel_store::{AppendError, Log, ReadLog, Snapshot, SqliteLog, StoreError, Write, sign_checkpoint};

use crate::support::{Numbers, entry, signer, sound};

const ROUNDS: u64 = 40;
const CHILD_LOG: &str = "STAFFEL_STORE_KILL_LOG";
const CHILD_ROUND: &str = "STAFFEL_STORE_KILL_ROUND";

/// Says an acknowledged position in one write, so that a kill leaves whole lines and perhaps one torn one.
fn acknowledge(id: &str, position: u64) {
    let line = format!("ack {id} {position}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
}

/// Appends for ever; the parent ends it.
#[test]
#[ignore = "started by the kill test, as the process to be killed"]
fn child() {
    let path = std::env::var_os(CHILD_LOG).expect("only the kill test starts this");
    let round = std::env::var(CHILD_ROUND).expect("only the kill test starts this");
    let log = SqliteLog::open(Path::new(&path)).expect("open after the last kill");
    let (log, round) = (&log, &round);
    std::thread::scope(|scope| {
        for caller in 0..3 {
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("{round}/next-{caller}/{n}");
                    let positions = log.append_next(vec![entry(&id)]).expect("append");
                    acknowledge(&id, positions.start);
                }
            });
        }
        scope.spawn(move || {
            let mut head = log.head().expect("head");
            for n in 0.. {
                let ids = [format!("{round}/swap-a/{n}"), format!("{round}/swap-b/{n}")];
                match log.append(head, &[entry(&ids[0]), entry(&ids[1])]) {
                    Ok(new) => {
                        acknowledge(&ids[0], new - 2);
                        acknowledge(&ids[1], new - 1);
                        head = new;
                    }
                    Err(AppendError::Conflict { head: there, .. }) => head = there,
                    Err(other) => panic!("{other}"),
                }
            }
        });
        scope.spawn(move || {
            for n in 0.. {
                let id = format!("{round}/snapshot/{n}");
                let head = log.head().expect("head");
                let snapshot = Snapshot { name: "newest".to_owned(), position: head, bytes: id.clone().into_bytes() };
                let write = Write { snapshots: vec![snapshot], ..Write::next(vec![entry(&id)]) };
                acknowledge(&id, log.write(write).expect("append").start);
                sign_checkpoint(log, &signer()).expect("sign");
            }
        });
    });
}

struct Victim {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

fn start(path: &Path, round: u64) -> Victim {
    let mut process = Command::new(std::env::current_exe().expect("own program"))
        .args(["kill::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD_LOG, path)
        .env(CHILD_ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("start the child");
    let output = BufReader::new(process.stdout.take().expect("piped"));
    Victim { process, output }
}

/// Reads `count` acknowledgements, kills at a random moment after, and answers all that was acknowledged.
fn kill_after(mut victim: Victim, count: u64, pause: Duration, path: &Path) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    let mut line = String::new();
    let mut killed = false;
    loop {
        if !killed && acknowledged.len() as u64 >= count {
            if count > 0 {
                let other = SqliteLog::open(path).expect_err("the child has it");
                let holder = victim.process.id();
                assert!(matches!(other, StoreError::Locked { holder: Some(id), .. } if id == holder), "{other}");
            }
            std::thread::sleep(pause);
            victim.process.kill().expect("SIGKILL");
            killed = true;
        }
        line.clear();
        if victim.output.read_line(&mut line).expect("read") == 0 {
            break;
        }
        let mut words = line.trim_end_matches('\n').split(' ');
        if let (true, Some("ack"), Some(id), Some(position)) =
            (line.ends_with('\n'), words.next(), words.next(), words.next())
        {
            acknowledged.insert(id.to_owned(), position.parse().expect("a position"));
        }
    }
    assert!(killed, "the child ended by itself");
    victim.process.wait().expect("wait");
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let seed = 20_240_719;
    println!("seed {seed}, {ROUNDS} rounds");
    let mut numbers = Numbers(seed);
    // On a real disk, where commits take as long as they take.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("log.db");
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let mut not_acknowledged = 0;
    for round in 0..ROUNDS {
        // Every fifth child is killed while it opens and recovers.
        let count = if round % 5 == 4 { 0 } else { 1 + numbers.below(120) };
        let pause = Duration::from_micros(numbers.below(if count == 0 { 25_000 } else { 4_000 }));
        all.extend(kill_after(start(&path, round), count, pause, &path));

        let log = SqliteLog::open(&path).expect("open after the kill");
        let entries = log.read(0, usize::MAX).expect("read");
        let mut there = BTreeMap::new();
        for entry in &entries {
            let id = String::from_utf8(entry.payload().expect("nothing is erased").to_vec()).expect("text");
            let before = there.insert(id, entry.position);
            assert_eq!(before, None, "round {round}: position {} is there twice", entry.position);
        }
        for (id, position) in &all {
            assert_eq!(there.get(id), Some(position), "round {round}: {id} was acknowledged");
        }
        pairs_are_whole(&there);
        if let Some(snapshot) = log.get_snapshot("newest").expect("read") {
            let id = String::from_utf8(snapshot.bytes).expect("text");
            let newest = there.keys().filter(|id| id.contains("/snapshot/")).map(|id| there[id]).max();
            assert_eq!(there.get(&id).copied(), newest, "snapshot and entry came together");
        }
        let report = sound(&log);
        assert_eq!(report.entries, entries.len() as u64);
        not_acknowledged = entries.len() - all.len();
    }
    println!("{} entries acknowledged, {not_acknowledged} more were durable before their acknowledgement", all.len());
    assert!(all.len() > 200, "the children did get to work: {}", all.len());
}

/// The two entries of one append are both there, side by side, or neither is.
fn pairs_are_whole(there: &BTreeMap<String, u64>) {
    let half = |name: &str| -> BTreeSet<(String, u64)> {
        let pair = |(id, position): (&String, &u64)| (id.replace(name, ""), *position);
        there.iter().filter(|(id, _)| id.contains(name)).map(pair).collect()
    };
    let first: BTreeSet<_> = half("swap-a").into_iter().map(|(id, position)| (id, position + 1)).collect();
    assert_eq!(first, half("swap-b"));
}
