//! Figures of this machine: events a second natively and in the sandbox, an evaluator's crash to ready, its memory.

use crate::{
    engine::Trouble,
    health::resident,
    worker::{Start, Worker},
};
use staffel_pack::{Catalogue, Evaluator, Pack, Value, record::Batch, record::encode};
use std::time::{Duration, Instant};

/// Records of one batch.
const BATCH: u64 = 256;
/// How long each figure is measured.
const TIME: Duration = Duration::from_secs(3);
/// Crashes that are timed.
const CRASHES: usize = 20;

/// What was measured.
#[derive(Debug, serde::Serialize)]
pub struct Figures {
    pub rules: usize,
    /// Events a second on one core, by the same code outside the sandbox.
    pub native: u64,
    /// Events a second on one core in Wasm with fuel and epoch, pipes included.
    pub sandboxed: u64,
    /// Milliseconds from a killed evaluator to the answer of the next one, in the median.
    pub crash_to_answer_ms: f64,
    /// Kibibytes that the evaluator's process has in memory.
    pub evaluator_kib: u64,
}

/// An ordinary machine's events: starts of programs with all that is known of them, now and then another class.
fn ordinary(catalogue: &Catalogue) -> Vec<u8> {
    let programs =
        ["/usr/bin/git", "/usr/bin/cc", "/usr/lib/systemd/systemd-executor", "/usr/bin/python3.11", "/bin/sh"];
    let mut batch = Vec::new();
    for sequence in 0..BATCH {
        let image = programs[(sequence % 5) as usize];
        let command = format!("{image} --verbose --output=/srv/build/{sequence}/result.o -c src/module_{sequence}.c");
        let common =
            [("Image", Value::Text(image)), ("User", Value::Text("builder")), ("ProcessId", Value::Number(4_711))];
        let process = [
            ("CommandLine", Value::Text(&command)),
            ("CurrentDirectory", Value::Text("/srv/build")),
            ("ParentImage", Value::Text("/usr/bin/make")),
            ("ParentCommandLine", Value::Text("make -j 2 all")),
            ("UserId", Value::Number(1_000)),
            ("EffectiveUserId", Value::Number(1_000)),
        ];
        let file = [("TargetFilename", Value::Text("/srv/build/result.o")), ("Operation", Value::Text("create"))];
        if sequence % 8 == 7 {
            encode(&mut batch, catalogue, sequence, 1, common.into_iter().chain(file));
        } else {
            encode(&mut batch, catalogue, sequence, 0, common.into_iter().chain(process));
        }
    }
    batch
}

/// Measures with the built-in pack.
pub fn run(start: &Start) -> Result<Figures, Trouble> {
    let (catalogue, pack) = (Catalogue::linux(), Pack::builtin());
    let words = |error: serde_json::Error| Trouble::Unloadable(error.to_string());
    let catalogue_bytes = serde_json::to_vec(&catalogue).map_err(words)?;
    let pack_bytes = pack.write();
    let batch = ordinary(&catalogue);
    let mut evaluator = Evaluator::bind(&pack, &catalogue).map_err(|breaches| {
        Trouble::Refused(breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let native = rate(|| {
        Batch::new(&batch, &catalogue).for_each(|record| evaluator.evaluate(&record, |_| ()));
        Ok(())
    })?;
    let mut worker = Worker::with_pack(start, &pack_bytes, &catalogue_bytes)?;
    let sandboxed = rate(|| worker.evaluate(&batch).map(drop))?;
    let evaluator_kib = resident(worker.pid());
    let mut times = Vec::new();
    for _ in 0..CRASHES {
        let begun = Instant::now();
        // Dropping one kills it.
        worker = Worker::with_pack(start, &pack_bytes, &catalogue_bytes)?;
        worker.evaluate(&batch)?;
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    let crash_to_answer_ms = times[CRASHES / 2];
    Ok(Figures { rules: pack.rules.len(), native, sandboxed, crash_to_answer_ms, evaluator_kib })
}

fn rate(mut once: impl FnMut() -> Result<(), Trouble>) -> Result<u64, Trouble> {
    let begun = Instant::now();
    let mut batches = 0;
    while begun.elapsed() < TIME {
        once()?;
        batches += 1;
    }
    Ok(((batches * BATCH) as f64 / begun.elapsed().as_secs_f64()) as u64)
}

/// Milliseconds that the first thread of a process was on a CPU (`/proc/PID/schedstat`, sched-stats.rst of the kernel).
/// None: this kernel does not count it.
pub fn computed_ms(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    (nanoseconds > 0.0).then_some(nanoseconds / 1_000_000.0)
}
