//! No space left: appending says so, reading goes on, and appending works again once there is space.

use std::path::Path;
use std::process::Command;

use staffel_store::{AppendError, EraseError, Log, ReadLog, SqliteLog, SqliteOptions, sign_checkpoint};

use crate::disk::Disk;
use crate::support::{directory, entry, payloads, signer, sound};

const CHILD_LOG: &str = "STAFFEL_STORE_FULL_LOG";

/// Size limit for each file of the child, in bytes.
const LIMIT: u64 = 300 * 1024;

fn large(number: u64) -> staffel_store::NewEntry {
    entry(&format!("{number}{}", "-filling".repeat(1_000)))
}

/// Appends until it is full; answers how many entries there are then.
fn fill(log: &SqliteLog) -> u64 {
    for number in log.head().expect("head").. {
        match log.append(number, &[large(number)]) {
            Ok(head) => assert_eq!(head, number + 1),
            Err(error) => {
                assert!(matches!(error, AppendError::Full { .. }), "{error:?}");
                assert!(error.outcome_is_open());
                let text = error.to_string();
                assert!(text.contains("free some") && text.contains("log.db"), "says what to do: {text}");
                return number;
            }
        }
        assert!(number < 10_000, "never full");
    }
    unreachable!("numbers end later than space")
}

/// While it is full: reading goes on, everything that writes says so, as often as it is asked.
fn full_but_readable(log: &SqliteLog, count: u64) {
    assert_eq!(log.head(), Ok(count));
    assert_eq!(payloads(log).len() as u64, count);
    for _ in 0..3 {
        assert!(matches!(log.append_next(vec![large(count)]), Err(AppendError::Full { .. })));
        assert!(matches!(log.put_snapshot("s", 0, vec![7; 100_000]), Err(AppendError::Full { .. })));
    }
    assert_eq!(log.head(), Ok(count), "nothing of it is there");
    assert_eq!(payloads(log).len() as u64, count);
    sound(log);
}

/// With space again, without reopening.
fn goes_on(log: &SqliteLog, count: u64) {
    assert_eq!(log.append(count, &[large(count), large(count + 1)]), Ok(count + 2));
    assert_eq!(log.erase(0), Ok(()));
    sign_checkpoint(log, &signer()).expect("sign");
    assert_eq!(payloads(log).len() as u64, count + 2);
    let report = sound(log);
    assert_eq!(report.checkpoint_size, Some(count + 2));
}

#[test]
fn a_full_disk_stops_writing_only() {
    let directory = directory();
    let disk = Disk::new(None);
    let options = SqliteOptions { vfs: Some(disk.name()), ..SqliteOptions::default() };
    let log = SqliteLog::open_with(directory.path().join("log.db"), options).expect("open");
    for number in 0..5 {
        log.append(number, &[large(number)]).expect("append");
    }
    for round in 0..3 {
        disk.set_full(true);
        let count = fill(&log);
        full_but_readable(&log, count);
        assert!(matches!(log.erase(count), Err(EraseError::NoSuchEntry { .. } | EraseError::Store(_))), "{round}");
        disk.set_full(false);
        goes_on(&log, count);
    }
    drop(log);
}

/// Ends when it was full once, and then had space again, in a process with a real limit.
#[cfg(unix)]
#[test]
#[ignore = "started by the limit test, as a process whose files may not grow"]
fn child() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let path = std::env::var_os(CHILD_LOG).expect("only the limit test starts this");
    let log = SqliteLog::open(Path::new(&path)).expect("open");
    let unlimited = getrlimit(Resource::Fsize);
    let limit = Rlimit { current: Some(LIMIT), ..unlimited };
    setrlimit(Resource::Fsize, limit).expect("a lower limit is always allowed");
    let count = fill(&log);
    full_but_readable(&log, count);
    setrlimit(Resource::Fsize, unlimited).expect("back to what it was");
    goes_on(&log, count);
    println!("full at {count} entries, then went on");
}

/// The operating system itself refuses to write: a file size limit, which an ordinary user can set too.
#[cfg(unix)]
#[test]
fn a_real_limit_of_the_system_stops_writing_only() {
    let directory = directory();
    let program = std::env::current_exe().expect("own program");
    // A process that reaches the limit gets a signal, which would kill it; an ignored signal stays ignored in programs it starts.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" full_disk::child --exact --ignored --nocapture"])
        .arg(program)
        .env(CHILD_LOG, directory.path().join("log.db"))
        .output()
        .expect("start the child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("then went on"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
