//! Prints how many appends a second the SQLite log makes durable, with one caller and with many. Not a test.
//!
//! `cargo run --release -p staffel-store --example bench_append [DIRECTORY] [SECONDS]`; the directory decides the disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use staffel_store::{NewEntry, ReadLog as _, SqliteLog, verify_log};

const PAYLOAD: usize = 200;

fn run(log: &SqliteLog, callers: usize, duration: Duration) -> Result<(u64, Duration), Box<dyn std::error::Error>> {
    let before = log.head()?;
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let entry = NewEntry::new(0, "bench.append", vec![b'x'; PAYLOAD]);
                let entry = entry.map_err(|error| error.to_string())?;
                log.append_next(vec![entry]).map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        };
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(work)).collect();
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err("a caller panicked".to_owned())))
    })?;
    Ok((log.head()? - before, started.elapsed()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let directory = tempfile::tempdir_in(directory)?;
    let log = SqliteLog::open(directory.path().join("log.db"))?;
    println!("payload {PAYLOAD} bytes, every append durable (synchronous = FULL), in {}", directory.path().display());
    for callers in [1, 64] {
        let (count, took) = run(&log, callers, Duration::from_secs(seconds))?;
        println!("{callers:>3} callers: {:>9.0} appends/s", count as f64 / took.as_secs_f64());
    }
    let started = Instant::now();
    let report = verify_log(&log, None);
    println!(
        "verified {} entries in {:.2} s ({} problems); {:.0} bytes an entry on disk",
        report.entries,
        started.elapsed().as_secs_f64(),
        report.problem_count,
        std::fs::metadata(log.path())?.len() as f64 / report.entries as f64
    );
    Ok(())
}
