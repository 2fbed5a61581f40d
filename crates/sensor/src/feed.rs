//! Events from standard input, alerts to standard output: for whoever has a collector of their own, and where nothing can be
//! collected, as in the safe system.

use crate::{event::Event, protection::Protection, store::Folder, trial::FIRST_RECORD, worker::Start};
use staffel_pack::Catalogue;
use std::{
    io,
    io::{BufRead as _, Write as _},
    path::Path,
    sync::mpsc,
    time::{Duration, SystemTime},
};

/// Largest batch, in bytes, that waits for more events.
const BATCH: usize = 64 << 10;
/// How long an event waits for others.
const WAIT: Duration = Duration::from_millis(50);
/// How often the content is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until the input ends. True: an evaluator runs at the end.
pub fn run(start: Start, state: &Path, content: Option<&Path>) -> io::Result<bool> {
    let folder = Folder::open(state)?;
    let catalogue = Catalogue::linux();
    let mut protection = Protection::start(start, catalogue.clone(), folder)?;
    // A source that is faster than we are waits: nothing is dropped between the pipe and a batch.
    let (send, lines) = mpsc::sync_channel(4_096);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let (mut sequence, mut unreadable) = (FIRST_RECORD, 0u64);
    let mut looked = None::<SystemTime>;
    let mut open = true;
    while open {
        if let Some(content) = content
            && looked.is_none_or(|at| at.elapsed().unwrap_or(LOOK) >= LOOK)
        {
            looked = Some(SystemTime::now());
            protection.offer_file(content);
        }
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let line = match lines.recv_timeout(if batch.is_empty() { LOOK } else { WAIT }) {
                Ok(line) => line?,
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            };
            let event: Option<Event> = serde_json::from_str(&line).ok();
            if event.is_some_and(|event| event.append(&mut batch, &catalogue, sequence)) {
                sequence += 1;
            } else {
                unreadable += 1;
            }
        }
        if !batch.is_empty() {
            let alerts = protection.evaluate(&batch);
            let mut out = io::stdout().lock();
            for alert in alerts {
                serde_json::to_writer(&mut out, &alert)?;
                writeln!(out)?;
            }
            out.flush()?;
        }
        let news = protection.news();
        if !news.is_empty() {
            protection.leave_metrics()?;
        }
        news.iter().for_each(|line| eprintln!("{line}"));
    }
    let metrics = serde_json::to_string(protection.metrics())?;
    eprintln!("metrics {metrics}, unreadable lines {unreadable}");
    Ok(protection.running().is_some())
}
