//! What the gate asks the sensor that devices run: each step on real evaluators, with facts and a first reason as the answer.
//!
//! `variants` makes hostile ones of a pack and of records. What must stay out: limits and verdicts on figures, which are the
//! gate's, and anything kinder than a device would be.

mod budget;
mod variants;

use crate::{
    engine::Trouble,
    event::{Alert, Event},
    protection::{self, Protection},
    store::Folder,
    worker::{Start, Worker},
};
use serde::Serialize;
use staffel_pack::{Catalogue, Pack, format::Scalar, vectors};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use variants::Random;

/// Real records are numbered from here on; examples count from 0.
pub const FIRST_RECORD: u64 = 1 << 56;
/// Records of one batch.
const BATCH: usize = 256;
/// Rounds of hostile variants that run whatever the time is.
const LEAST_ROUNDS: u64 = 16;
const DAY_MS: i64 = 24 * 3_600_000;

/// Figures by name; what a step measured.
pub type Figures = BTreeMap<String, f64>;

/// What came out of a step.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// None: it went well.
    pub why: Option<String>,
    pub figures: Figures,
}

impl From<Result<Figures, String>> for Outcome {
    fn from(result: Result<Figures, String>) -> Self {
        match result {
            Ok(figures) => Outcome { why: None, figures },
            Err(why) => Outcome { why: Some(why), figures: Figures::new() },
        }
    }
}

/// A pack with its bytes.
pub struct Offered {
    pack: Pack,
    bytes: Vec<u8>,
}

impl Offered {
    /// Reads a pack.
    pub fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let pack = Pack::read(&bytes).map_err(|error| error.to_string())?;
        Ok(Offered { pack, bytes })
    }

    fn of(pack: Pack) -> Self {
        Offered { bytes: pack.write(), pack }
    }

    /// What a device goes back to when nothing of its own ran before.
    pub fn builtin() -> Self {
        let mut pack = Pack::builtin();
        // Under a name of its own: the offered pack may be its next version.
        pack.name = "built-in".into();
        Offered::of(pack)
    }

    fn called(&self) -> String {
        format!("{} {}", self.pack.name, self.pack.version)
    }
}

/// Recorded events.
pub struct Corpus {
    name: String,
    batches: Vec<Vec<u8>>,
    records: u64,
}

impl Corpus {
    /// Reads a file of events, a JSON line each. A line that is none is an error: a corpus that is not what it was proves
    /// nothing.
    pub fn read(file: &Path) -> Result<Self, String> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))?;
        let (catalogue, mut batches, mut records) = (Catalogue::linux(), Vec::new(), 0);
        for (at, line) in text.lines().enumerate() {
            let event: Event =
                serde_json::from_str(line).map_err(|error| format!("{name}:{}: no event: {error}", at + 1))?;
            if records % BATCH as u64 == 0 {
                batches.push(Vec::new());
            }
            let Some(batch) = batches.last_mut() else { continue };
            if !event.append(batch, &catalogue, FIRST_RECORD + records) {
                return Err(format!("{name}:{}: this sensor has no class {}", at + 1, event.class));
            }
            records += 1;
        }
        Ok(Corpus { name, batches, records })
    }
}

fn catalogue_bytes() -> Result<Vec<u8>, String> {
    serde_json::to_vec(&Catalogue::linux()).map_err(|error| error.to_string())
}

/// Loads the pack, runs its examples and every recorded event.
pub fn consume(start: &Start, offered: &Offered, corpora: &[Corpus]) -> Result<Figures, String> {
    let mut worker =
        protection::check(start, &offered.pack, &offered.bytes, &Catalogue::linux()).map_err(|refused| refused.why)?;
    let (mut alerts, mut records) = (0, 0);
    for corpus in corpora {
        for batch in &corpus.batches {
            let answer = worker
                .evaluate(batch)
                .map_err(|trouble| format!("the recorded events of {}: {trouble}", corpus.name))?;
            alerts += answer.hits.len() as u64 + answer.left_out;
        }
        records += corpus.records;
    }
    let figures =
        [("examples", offered.pack.vectors.len() as f64), ("records", records as f64), ("alerts", alerts as f64)];
    Ok(figures.map(|(name, figure)| (name.to_string(), figure)).into())
}

/// Runs variants of this very pack and records that are hostile to it. A variant may be refused or answered, nothing else.
pub fn hostile(start: &Start, offered: &Offered, time: Duration, seed: u64) -> Result<Figures, String> {
    let (catalogue, described) = (Catalogue::linux(), catalogue_bytes()?);
    let mut random = Random(seed);
    let mut worker = Worker::with_pack(start, &offered.bytes, &described).map_err(|trouble| trouble.to_string())?;
    let (mut records, mut packs, mut refused) = (0u64, 0u64, 0u64);
    for (what, batch) in variants::longest(&offered.pack, &catalogue) {
        worker.evaluate(&batch).map_err(|trouble| format!("a record with {what}: {trouble}"))?;
        records += 1;
    }
    let (begun, mut round) = (Instant::now(), 0);
    while round < LEAST_ROUNDS || begun.elapsed() < time {
        round += 1;
        let batch = variants::batch(&mut random, &offered.pack, &catalogue);
        let named = |trouble: &Trouble, what: &str| format!("{what} {round} of seed {seed}: {trouble}");
        worker.evaluate(&batch).map_err(|trouble| named(&trouble, "hostile records"))?;
        records += variants::BATCH;
        if round % 4 == 0 {
            packs += 1;
            let (how, bytes) = variants::pack(&mut random, &offered.pack);
            match Worker::with_pack(start, &bytes, &described) {
                Ok(mut other) => drop(
                    other.evaluate(&batch).map_err(|trouble| named(&trouble, &format!("a variant ({how}), round")))?,
                ),
                Err(Trouble::Refused(_)) => refused += 1,
                Err(trouble) => return Err(named(&trouble, &format!("loading a variant ({how}), round"))),
            }
        }
    }
    let figures = [("hostile records", records), ("variants", packs), ("of them refused", refused)];
    Ok(figures.map(|(name, figure)| (name.to_string(), figure as f64)).into())
}

/// Measures the pack beside another one, in turns on the same evaluators.
pub fn budget(start: &Start, offered: &Offered, before: &Offered, corpora: &[Corpus]) -> Result<Figures, String> {
    budget::measure(start, offered, before, corpora)
}

/// A sensor in a folder of its own, to which packs are offered as content is.
struct Scratch<'a> {
    start: &'a Start,
    folder: &'a Path,
    protection: Protection,
}

impl<'a> Scratch<'a> {
    fn new(start: &'a Start, folder: &'a Path) -> Result<Self, String> {
        let protection = Self::open(start, folder)?;
        Ok(Scratch { start, folder, protection })
    }

    fn open(start: &Start, folder: &Path) -> Result<Protection, String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
        Protection::start(start.clone(), Catalogue::linux(), Folder::open(folder).map_err(wrong)?).map_err(wrong)
    }

    fn offer(&mut self, offered: &Offered) -> Result<(), String> {
        self.protection.offer(&offered.bytes).map_err(|refused| format!("{} is {refused}", offered.called()))?;
        Ok(())
    }

    /// What runs says to these records; that it is this pack, before and after.
    fn says(&mut self, offered: &Offered, batch: &[u8], when: &str) -> Result<Vec<Alert>, String> {
        let alerts = self.protection.evaluate(batch);
        let running = self.protection.running();
        if running != Some((offered.pack.name.as_str(), offered.pack.version)) {
            let runs = running.map_or("nothing".into(), |(name, version)| format!("{name} {version}"));
            let why =
                self.protection.manifest().quarantined.last().map_or(String::new(), |bad| format!(": {}", bad.why));
            return Err(format!("{when}, {runs} runs instead of {}{why}", offered.called()));
        }
        Ok(alerts)
    }

    /// As after a reboot: everything from the folder.
    fn restart(&mut self) -> Result<(), String> {
        self.protection = Self::open(self.start, self.folder)?;
        Ok(())
    }
}

/// The examples as real records, `days` from now: each has the time at which a device would see it.
fn examples(pack: &Pack, days: u32, now_ms: i64) -> Pack {
    let mut later = pack.clone();
    let (catalogue, shift) = (Catalogue::linux(), i64::from(days) * DAY_MS);
    for vector in &mut later.vectors {
        let class = pack.rules.iter().find(|rule| rule.id == vector.rule).map(|rule| &rule.class);
        let class = class.and_then(|class| catalogue.class(class));
        if class.is_some_and(|(_, class)| class.slot("UtcTime").is_some()) {
            let then = match vector.fields.get("UtcTime") {
                Some(Scalar::Number(said)) => said.saturating_add(shift),
                _ => now_ms.saturating_add(shift),
            };
            vector.fields.insert("UtcTime".into(), Scalar::Number(then));
        }
    }
    later
}

/// Takes the pack, kills its evaluator, starts all again; then its examples at later times. `folder` is empty before.
pub fn lifecycle(
    start: &Start,
    offered: &Offered,
    days: &[u32],
    now_ms: i64,
    folder: &Path,
) -> Result<Figures, String> {
    let mut scratch = Scratch::new(start, folder)?;
    scratch.offer(offered)?;
    let (batch, _) = vectors::batch(&offered.pack, &Catalogue::linux());
    let first = scratch.says(offered, &batch, "at first")?;
    let pid = scratch.protection.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or("its evaluator has no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).map_err(|error| format!("kill it: {error}"))?;
    let mut gap_us = 0;
    for when in ["after its evaluator was killed", "after a restart"] {
        if scratch.says(offered, &batch, when)? != first {
            return Err(format!("{when}, its examples lead to other alerts"));
        }
        gap_us = scratch.protection.metrics().longest_gap_us.max(gap_us);
        scratch.restart()?;
    }
    let gap_ms = gap_us as f64 / 1_000.0;
    for &days in std::iter::once(&0).chain(days) {
        let later = examples(&offered.pack, days, now_ms);
        let mut worker =
            Worker::with_pack(start, &offered.bytes, &catalogue_bytes()?).map_err(|trouble| trouble.to_string())?;
        let (batch, _) = vectors::batch(&later, &Catalogue::linux());
        let answer = worker.evaluate(&batch).map_err(|trouble| format!("with the clock at +{days} days: {trouble}"))?;
        if let Some(failure) = vectors::judge(&later, &answer.hits).first() {
            return Err(format!("with the clock at +{days} days: {failure}"));
        }
    }
    Ok([("longest gap, ms".to_string(), gap_ms), ("clocks".to_string(), days.len() as f64)].into())
}

/// From the pack before to this one, back, and on to a next one. `folder` is empty before.
pub fn undo(start: &Start, offered: &Offered, before: &Offered, folder: &Path) -> Result<Figures, String> {
    let mut scratch = Scratch::new(start, folder)?;
    let (batch, _) = vectors::batch(&before.pack, &Catalogue::linux());
    scratch.offer(before).map_err(|why| format!("there is no way back: {why}"))?;
    let first = scratch.says(before, &batch, "at first")?;
    scratch.offer(offered)?;
    scratch.says(offered, &batch, "after the change")?;
    scratch.offer(before).map_err(|why| format!("the way back fails: {why}"))?;
    if scratch.says(before, &batch, "after the way back")? != first {
        return Err(format!("after the way back, {} says something else than before", before.called()));
    }
    scratch.restart()?;
    scratch.says(before, &batch, "after the way back and a restart")?;
    let Some(version) = offered.pack.version.checked_add(1) else {
        return Err(format!("after version {} nothing newer can come", offered.pack.version));
    };
    scratch.offer(offered).map_err(|why| format!("after the way back, it can't be taken again: {why}"))?;
    let next = Offered::of(Pack { version, ..offered.pack.clone() });
    scratch.offer(&next).map_err(|why| format!("the next version can't be taken: {why}"))?;
    Ok([("changes".to_string(), scratch.protection.metrics().swaps as f64)].into())
}
