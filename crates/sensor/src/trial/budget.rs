//! What a pack costs beside another one: both in turns, so that whatever else the machine does meets both.
//!
//! CPU time is the kernel's count for the evaluator's computing thread, so a busy machine does not make a pack slow. The
//! best of several rounds counts.

use super::{Corpus, Figures, Offered, catalogue_bytes};
use crate::{
    bench, health,
    worker::{Start, Worker},
};
use std::time::Instant;

const ROUNDS: usize = 5;
/// Times that each round runs the recorded events.
const REPEATS: usize = 4;

/// The best of all rounds.
#[derive(Clone, Copy)]
struct Cost {
    /// Microseconds of CPU an event.
    cpu_us: f64,
    /// Milliseconds of CPU until the pack was loaded.
    load_ms: f64,
    /// Most memory that its process had, in kibibytes.
    memory_kib: f64,
    alerts_per_thousand: f64,
}

const WORST: Cost = Cost { cpu_us: f64::MAX, load_ms: f64::MAX, memory_kib: f64::MAX, alerts_per_thousand: f64::MAX };

/// Both packs' figures, each named with `offered` or `before`.
pub fn measure(start: &Start, offered: &Offered, before: &Offered, corpora: &[Corpus]) -> Result<Figures, String> {
    let mut costs = [WORST; 2];
    for _ in 0..ROUNDS {
        for (best, pack) in costs.iter_mut().zip([offered, before]) {
            let cost = once(start, pack, corpora).map_err(|why| format!("{}: {why}", pack.called()))?;
            *best = Cost {
                cpu_us: best.cpu_us.min(cost.cpu_us),
                load_ms: best.load_ms.min(cost.load_ms),
                memory_kib: best.memory_kib.min(cost.memory_kib),
                alerts_per_thousand: cost.alerts_per_thousand,
            };
        }
    }
    let mut figures = Figures::new();
    for (cost, whose) in costs.iter().zip(["offered", "before"]) {
        for (name, figure) in [
            ("cpu_us", cost.cpu_us),
            ("load_ms", cost.load_ms),
            ("memory_kib", cost.memory_kib),
            ("alerts_per_thousand", cost.alerts_per_thousand),
        ] {
            figures.insert(format!("{name} {whose}"), figure);
        }
    }
    Ok(figures)
}

fn once(start: &Start, offered: &Offered, corpora: &[Corpus]) -> Result<Cost, String> {
    let words = |trouble: crate::engine::Trouble| trouble.to_string();
    let begun = Instant::now();
    let mut worker = Worker::with_pack(start, &offered.bytes, &catalogue_bytes()?).map_err(words)?;
    let spent = |worker: &Worker| bench::computed_ms(worker.pid()).unwrap_or(begun.elapsed().as_secs_f64() * 1_000.0);
    let load_ms = spent(&worker);
    let (mut events, mut alerts) = (0, 0);
    for _ in 0..REPEATS {
        for corpus in corpora {
            for batch in &corpus.batches {
                let answer = worker.evaluate(batch).map_err(words)?;
                alerts += answer.hits.len() as u64 + answer.left_out;
            }
            events += corpus.records;
        }
    }
    let events = events.max(1) as f64;
    Ok(Cost {
        cpu_us: (spent(&worker) - load_ms) * 1_000.0 / events,
        load_ms,
        memory_kib: health::most_memory(worker.pid()) as f64,
        alerts_per_thousand: alerts as f64 * 1_000.0 / events,
    })
}
