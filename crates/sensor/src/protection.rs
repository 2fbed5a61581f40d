//! The running pack: how another one takes its place, and what happens when it fails. Protection is never off: a record is
//! answered by some pack, or counted as lost.
//!
//! A pack passes in this order: known as bad? form, contract, throwaway sandbox, its own examples, a shadow run over what
//! was just seen. Only then is one file replaced and the process behind it changed.

use crate::{
    engine::Trouble,
    event::Alert,
    manifest::{Manifest, Quarantined, Taken},
    store::{Folder, digest},
    worker::{Start, Worker},
};
use serde::{Deserialize, Serialize};
use staffel_pack::{Catalogue, Pack, contract, record::Batch, vectors, wire::Answer};
use std::{
    collections::VecDeque,
    fs, io,
    path::Path,
    time::{Instant, SystemTime},
};

/// Bytes of recent batches that a new pack is tried on.
const SHADOW: usize = 4 << 20;
/// Alerts a thousand records above which a pack is a flood, not a finding.
const FLOOD_PER_THOUSAND: u64 = 500;
/// Hits before which nothing is called a flood.
const FLOOD_LEAST: u64 = 1_000;
/// Deaths of a process on one batch that may be somebody else's doing.
const FOREIGN_DEATHS: u32 = 3;

/// Which examination a pack did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Quarantine,
    /// No evaluator can be started here at the moment: no fault of the pack.
    Evaluator,
    Form,
    Contract,
    Sandbox,
    Examples,
    Shadow,
    Store,
}

/// A pack that was not taken. What ran goes on running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("not taken, {stage:?}: {why}")]
pub struct Refused {
    pub stage: Stage,
    pub why: String,
}

/// What this sensor has done so far. Times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    pub records: u64,
    /// Records that did not parse.
    pub dropped: u64,
    /// Records that no pack answered.
    pub lost: u64,
    pub alerts: u64,
    pub swaps: u64,
    /// Evaluators that ended when they should not have.
    pub failures: u64,
    /// Time without an active evaluator: all together, and the longest.
    pub gap_us: u64,
    pub longest_gap_us: u64,
}

/// What a piece of news is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Whatever a person may want to read.
    Course,
    /// This evaluator process ended, or did not answer: perhaps somebody else's doing.
    Process(u32),
    /// A pack was put aside.
    Quarantine,
    /// So many records were answered by nobody.
    Lost(u64),
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub about: About,
    /// For people.
    pub text: String,
}

impl std::fmt::Display for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The pack that runs, and its process.
struct Active {
    pack: Pack,
    bytes: Vec<u8>,
    worker: Worker,
}

/// The sensor's protection.
pub struct Protection {
    start: Start,
    catalogue: Catalogue,
    catalogue_bytes: Vec<u8>,
    folder: Folder,
    manifest: Manifest,
    /// When the file that [`Protection::offer_file`] read last had been changed.
    content_seen: Option<SystemTime>,
    /// None: no evaluator can be started at the moment.
    active: Option<Active>,
    /// Since when there is none.
    gap_since: Option<Instant>,
    recent: VecDeque<Vec<u8>>,
    recent_bytes: usize,
    /// What happened, for people, oldest first; taken by [`Protection::news`].
    news: Vec<News>,
    metrics: Metrics,
}

impl Protection {
    /// Starts what the folder says, or what is left of it.
    pub fn start(start: Start, catalogue: Catalogue, folder: Folder) -> io::Result<Self> {
        let catalogue_bytes = serde_json::to_vec(&catalogue)?;
        let manifest = folder.manifest();
        let mut protection = Protection {
            start,
            catalogue,
            catalogue_bytes,
            folder,
            manifest,
            content_seen: None,
            active: None,
            gap_since: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
            news: Vec::new(),
            metrics: Metrics::default(),
        };
        protection.restore();
        Ok(protection)
    }

    /// Name and version of the pack that runs.
    pub fn running(&self) -> Option<(&str, u64)> {
        self.active.as_ref().map(|active| (active.pack.name.as_str(), active.pack.version))
    }

    /// The process of the evaluator that runs.
    pub fn pid(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.worker.pid())
    }

    /// What the machine could not enforce around the evaluator.
    pub fn lacking(&self) -> &[String] {
        self.active.as_ref().map_or(&[], |active| &active.worker.lacking)
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Leaves its figures in the folder, for people and tests; they are no memory.
    pub fn leave_metrics(&self) -> io::Result<()> {
        self.folder.leave("metrics.json", &serde_json::to_vec(&self.metrics)?)
    }

    /// What happened since the last call.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    fn tell(&mut self, about: About, text: impl Into<String>) {
        self.news.push(News { about, text: text.into() });
    }

    /// Starts another evaluator if the one that runs has ended while nobody asked it anything, or none runs.
    pub fn look(&mut self) {
        if let Some(active) = &mut self.active
            && let Some(how) = active.worker.ended()
        {
            let pid = active.worker.pid();
            self.metrics.failures += 1;
            self.active = None;
            self.tell(About::Process(pid), format!("the evaluator is started again: its process ended: {how}"));
        }
        if self.active.is_none() {
            self.gap_since.get_or_insert_with(Instant::now);
            self.restore();
        }
    }

    /// Whether the files in the folder are still those that it wrote; what is not, a line each. They are written again.
    pub fn mend_files(&mut self) -> Vec<String> {
        let mut changed = Vec::new();
        if self.folder.manifest() != self.manifest {
            changed.push("the manifest".to_string());
            self.remember();
        }
        let taken = [&self.manifest.active, &self.manifest.previous];
        for taken in taken.into_iter().flatten() {
            if self.folder.pack(taken).is_some() {
                continue;
            }
            changed.push(format!("the file of the pack {} {}", taken.name, taken.version));
            // Only what runs is known otherwise; the one before is found out again when it is needed.
            if let Some(active) = self.active.as_ref().filter(|active| digest(&active.bytes) == taken.digest)
                && let Err(error) = self.folder.keep(&taken.digest, &active.bytes)
            {
                self.news.push(News { about: About::Course, text: format!("a pack can't be written again: {error}") });
            }
        }
        changed
    }

    /// Offers what a file holds if it is another one than at the last call. What comes of it is among the news.
    pub fn offer_file(&mut self, content: &Path) {
        let Ok(changed) = fs::metadata(content).and_then(|about| about.modified()) else { return };
        if self.content_seen.replace(changed) == Some(changed) {
            return;
        }
        match fs::read(content) {
            Ok(bytes) => match self.offer(&bytes) {
                // Not said by the examinations.
                Err(no) if matches!(no.stage, Stage::Quarantine | Stage::Form | Stage::Store) => {
                    self.tell(About::Course, format!("{}: {no}", content.display()));
                }
                _ => {}
            },
            Err(error) => self.tell(About::Course, format!("{} can't be read: {error}", content.display())),
        }
    }

    /// Examines a pack, and runs it if it passes.
    pub fn offer(&mut self, bytes: &[u8]) -> Result<Taken, Refused> {
        let digest = digest(bytes);
        if self.manifest.active.as_ref().is_some_and(|active| active.digest == digest)
            && let Some(active) = self.manifest.active.clone()
        {
            return Ok(active);
        }
        let refused = |stage, why: String| Refused { stage, why };
        if let Some(bad) = self.manifest.refusal(&digest) {
            return Err(refused(Stage::Quarantine, bad.why.clone()));
        }
        let pack = Pack::read(bytes).map_err(|error| refused(Stage::Form, error.to_string()))?;
        let taken = Taken { digest: digest.clone(), name: pack.name.clone(), version: pack.version };
        match self.examine(&pack, bytes, &digest) {
            Ok(worker) => {
                let kept = self.folder.keep(&digest, bytes);
                kept.map_err(|error| refused(Stage::Store, error.to_string()))?;
                let before = self.manifest.clone();
                self.manifest.accept(taken.clone());
                // The manifest is the swap; the process follows. A crash between them starts what the manifest says.
                if let Err(error) = self.folder.write_manifest(&self.manifest) {
                    self.manifest = before;
                    return Err(refused(Stage::Store, error.to_string()));
                }
                self.metrics.swaps += 1;
                self.activate(Active { pack, bytes: bytes.to_vec(), worker });
                self.tell(About::Course, format!("{} {} runs", taken.name, taken.version));
                Ok(taken)
            }
            Err(refusal) => {
                // What this sensor lacks may come with its next version, and a machine in need may recover. All else would
                // fail again.
                let about = if matches!(refusal.stage, Stage::Contract | Stage::Evaluator) {
                    let Taken { digest, name, version } = taken.clone();
                    self.manifest.refused = Some(Quarantined { digest, name, version, why: refusal.to_string() });
                    About::Course
                } else {
                    self.manifest.reject(&taken, &refusal.to_string());
                    About::Quarantine
                };
                self.remember();
                self.tell(about, format!("{} {}: {refusal}", taken.name, taken.version));
                Err(refusal)
            }
        }
    }

    /// All examinations; what comes out is a fresh process with the pack, not the one that was used up.
    fn examine(&self, pack: &Pack, bytes: &[u8], digest: &str) -> Result<Worker, Refused> {
        let running = self.manifest.running(&pack.name).filter(|_| !self.manifest.leads_back(digest));
        let breaches = contract::check(pack, &self.catalogue, running);
        if !breaches.is_empty() {
            let why = breaches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Err(Refused { stage: Stage::Contract, why });
        }
        let mut throwaway = check(&self.start, pack, bytes, &self.catalogue)?;
        let (mut hits, mut records) = (0, 0);
        for batch in &self.recent {
            let answer = throwaway.evaluate(batch).map_err(|trouble| failed(Stage::Shadow, &trouble))?;
            hits += answer.hits.len() as u64 + answer.left_out;
            records += Batch::new(batch, &self.catalogue).count() as u64;
        }
        if flood(hits, records) {
            let why = format!("{hits} alerts over the last {records} records");
            return Err(Refused { stage: Stage::Shadow, why });
        }
        drop(throwaway);
        Worker::with_pack(&self.start, bytes, &self.catalogue_bytes).map_err(|trouble| failed(Stage::Sandbox, &trouble))
    }

    /// Answers a batch with whatever runs. Records that nothing can answer are counted as lost.
    pub fn evaluate(&mut self, batch: &[u8]) -> Vec<Alert> {
        let records = Batch::new(batch, &self.catalogue).count() as u64;
        self.metrics.records += records;
        let mut deaths = 0;
        loop {
            if self.active.is_none() {
                self.gap_since.get_or_insert_with(Instant::now);
                self.restore();
            }
            let Some(active) = &mut self.active else {
                self.metrics.lost += records;
                self.tell(About::Lost(records), format!("{records} records are lost: no evaluator can be started"));
                return Vec::new();
            };
            match active.worker.evaluate(batch) {
                Ok(answer) if !flood(answer.hits.len() as u64 + answer.left_out, records) => {
                    return self.answered(batch, &answer);
                }
                Ok(answer) if self.manifest.active.is_none() => {
                    // The built-in pack has no way back: what it says is said.
                    return self.answered(batch, &answer);
                }
                Ok(answer) => {
                    let hits = answer.hits.len() as u64 + answer.left_out;
                    self.blame(&format!("a flood: {hits} alerts over {records} records"));
                }
                Err(trouble) => {
                    let pid = active.worker.pid();
                    self.metrics.failures += 1;
                    self.active = None;
                    self.gap_since.get_or_insert_with(Instant::now);
                    deaths += 1;
                    if trouble.may_be_foreign() && deaths < FOREIGN_DEATHS {
                        self.tell(About::Process(pid), format!("the evaluator is started again: {trouble}"));
                        continue;
                    }
                    if self.manifest.active.is_none() {
                        if deaths < FOREIGN_DEATHS {
                            continue;
                        }
                        self.metrics.lost += records;
                        let why = format!("{records} records are lost: the built-in pack fails on them: {trouble}");
                        self.tell(About::Lost(records), why);
                        return Vec::new();
                    }
                    self.blame(&trouble.to_string());
                    deaths = 0;
                }
            }
        }
    }

    fn answered(&mut self, batch: &[u8], answer: &Answer) -> Vec<Alert> {
        self.metrics.dropped += answer.dropped;
        self.recent.push_back(batch.to_vec());
        self.recent_bytes += batch.len();
        while self.recent_bytes > SHADOW
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_bytes -= oldest.len();
        }
        let Some(active) = &self.active else { return Vec::new() };
        let alerts: Vec<Alert> = answer.hits.iter().filter_map(|hit| Alert::of(hit, &active.pack)).collect();
        self.metrics.alerts += alerts.len() as u64 + answer.left_out;
        alerts
    }

    /// Puts the running pack aside and starts the one before it.
    fn blame(&mut self, why: &str) {
        let what = self.running().map_or_else(|| "the pack".into(), |(name, version)| format!("{name} {version}"));
        self.active = None;
        self.gap_since.get_or_insert_with(Instant::now);
        self.manifest.fall_back(why);
        self.restore();
        self.remember();
        let now = self.running().map_or_else(|| "nothing".into(), |(name, version)| format!("{name} {version}"));
        self.tell(About::Quarantine, format!("{what} is quarantined: {why}; {now} runs"));
    }

    /// Starts what the manifest says; what can't be started is put aside, down to the built-in pack.
    fn restore(&mut self) {
        while let Some(taken) = self.manifest.active.clone() {
            let why = match self.folder.pack(&taken).map(|bytes| self.run(bytes)) {
                Some(Ok(())) => return,
                // That is no fault of the pack, and no other pack would fare better.
                Some(Err(trouble @ Trouble::Unloadable(_))) => return self.tell(About::Course, trouble.to_string()),
                Some(Err(trouble)) => trouble.to_string(),
                None => "its file is gone or changed".into(),
            };
            let what = format!("{} {} can't be started: {why}", taken.name, taken.version);
            self.tell(About::Quarantine, what);
            self.manifest.fall_back(&why);
            self.remember();
        }
        if let Err(trouble) = self.run(Pack::builtin().write()) {
            self.tell(About::Course, format!("the built-in pack can't be started: {trouble}"));
        }
    }

    fn run(&mut self, bytes: Vec<u8>) -> Result<(), Trouble> {
        // One retry: whoever killed the last process may kill this one.
        let again = |_| Worker::with_pack(&self.start, &bytes, &self.catalogue_bytes);
        let worker = Worker::with_pack(&self.start, &bytes, &self.catalogue_bytes).or_else(again)?;
        let pack = Pack::read(&bytes).map_err(|error| Trouble::Refused(error.to_string()))?;
        self.activate(Active { pack, bytes, worker });
        Ok(())
    }

    /// The one moment in which protection changes hands.
    fn activate(&mut self, active: Active) {
        let swapping = Instant::now();
        let old = self.active.replace(active);
        let since = self.gap_since.take();
        // The very first one takes over from nobody.
        if old.is_some() || since.is_some() {
            let gap = since.unwrap_or(swapping).elapsed();
            let gap = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
            self.metrics.gap_us += gap;
            self.metrics.longest_gap_us = self.metrics.longest_gap_us.max(gap);
        }
        // Ending the old process takes its time, and takes it from nobody.
        drop(old);
    }

    fn remember(&mut self) {
        if let Err(error) = self.folder.write_manifest(&self.manifest) {
            self.tell(About::Course, format!("the manifest can't be written: {error}"));
        }
    }

    /// The bytes of the pack that runs.
    pub fn running_bytes(&self) -> Option<&[u8]> {
        self.active.as_ref().map(|active| active.bytes.as_slice())
    }
}

/// Loads a pack in a throwaway sandbox and runs its examples there; the process that did so.
pub fn check(start: &Start, pack: &Pack, bytes: &[u8], catalogue: &Catalogue) -> Result<Worker, Refused> {
    let words = |error: serde_json::Error| Refused { stage: Stage::Form, why: error.to_string() };
    let catalogue_bytes = serde_json::to_vec(catalogue).map_err(words)?;
    let mut worker =
        Worker::with_pack(start, bytes, &catalogue_bytes).map_err(|trouble| failed(Stage::Sandbox, &trouble))?;
    let (batch, mut failures) = vectors::batch(pack, catalogue);
    let answer = worker.evaluate(&batch).map_err(|trouble| failed(Stage::Examples, &trouble))?;
    failures.extend(vectors::judge(pack, &answer.hits));
    match failures.first() {
        None => Ok(worker),
        Some(first) => {
            let why = format!("{first}{}", if failures.len() > 1 { ", and others" } else { "" });
            Err(Refused { stage: Stage::Examples, why })
        }
    }
}

fn failed(stage: Stage, trouble: &Trouble) -> Refused {
    let stage = if matches!(trouble, Trouble::Unloadable(_)) { Stage::Evaluator } else { stage };
    Refused { stage, why: trouble.to_string() }
}

fn flood(hits: u64, records: u64) -> bool {
    hits >= FLOOD_LEAST && hits.saturating_mul(1_000) > records.saturating_mul(FLOOD_PER_THOUSAND)
}
