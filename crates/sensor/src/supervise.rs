//! The supervisor: takes what sources have said, has records made of it, has them evaluated, and spools what was found.
//!
//! Whatever ends below it is started again with the same chunk or the same records; what can't be done all the same is
//! counted and said. It holds no capability, reads no pack but for its form, and parses no source.

use crate::{
    collect::{Ask, Cursor, Source, hand::Hand},
    finding::{Found, Trouble},
    health::{Health, Seen, resident},
    platform::{self, Rights},
    process::Broken,
    protection::{About, Metrics, Protection},
    queue::{Chunk, Queue},
    reporter::Reporter,
    sight::Sight,
    source::{Blind, Sources, Wanted, locked, now_ms},
    spool::Spool,
    store::Folder,
    tamper::Sealed,
    trial::FIRST_RECORD,
    worker::Start,
};
use staffel_pack::{Catalogue, record::Batch};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long it waits for a source before it looks around.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at content, processes and what the agent took.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at files that should not change, and at folders that are not there.
const RARELY: Duration = Duration::from_secs(5);
/// Deaths of the collector on one chunk that may be somebody else's doing.
const FOREIGN_DEATHS: u32 = 3;

/// How it is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sensor's own folder.
    pub state: PathBuf,
    /// A pack to run; taken whenever the file is another one that passes.
    pub content: Option<PathBuf>,
    pub wanted: Wanted,
    /// Precompiled code of the evaluator.
    pub engine: PathBuf,
}

/// Why it can't run.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    #[error("{what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("listening for the system's signals")]
    Signals(#[source] io::Error),
    #[error("starting protection")]
    Protection(#[source] io::Error),
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Unable {
    let path = path.to_owned();
    move |source| Unable::File { what, path, source }
}

/// Runs until the system wants it to end.
pub fn run(options: &Options) -> Result<(), Unable> {
    platform::block_termination().map_err(Unable::Signals)?;
    let state = &options.state;
    fs::create_dir_all(state).map_err(file("making", state))?;
    let named = std::env::current_exe().map_err(file("finding this program from", state))?;
    // What is started later is what was started first, whatever lies at its path by then.
    let program = fs::File::open(&named).map_err(file("opening", &named))?;
    let held = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&program)));
    let mut start = Start::with(&held, &options.engine).map_err(file("reading", &options.engine))?;
    let sealed = [("the program", &named), ("the evaluator's code", &options.engine)];
    let sealed = sealed.map(|(what, path)| Sealed::new(what, path).map_err(file("reading", path)));
    let [program_sealed, engine_sealed] = sealed;
    let mut sealed = vec![program_sealed?, engine_sealed?];

    // Everything that takes rights, then they go. No thread may be older than the walls.
    let sources = Sources::open(&options.wanted);
    let rights = Rights::of(state, &options.wanted.log).map_err(file("giving away", state))?;
    let mut lacking = platform::drop_rights(rights);
    lacking.extend(platform::restrict_supervisor(&named, state));
    // Every one of them, not only up to the first that can't be seen.
    let unseen = sealed.iter_mut().map(Sealed::settle).filter(|seen| !seen).count();
    if unseen > 0 {
        lacking.push(format!("this user can't see {}: nobody would notice a change", named.display()));
    }
    // As whoever it is from here on: what root puts there, nobody else could change.
    let folder = Folder::open(state).map_err(file("opening", state))?;
    let root = state.join("spool");
    let spool = Spool::open(&root).map_err(file("opening", &root))?;
    let queue = Arc::new(Queue::default());
    let ending = queue.clone();
    std::thread::spawn(move || {
        platform::wait_for_termination();
        ending.close();
    });
    start.watch.begin();
    start.patience = Duration::from_secs(30);
    let catalogue = Catalogue::linux();
    let protection = Protection::start(start.clone(), catalogue.clone(), folder).map_err(Unable::Protection)?;
    let mut supervisor = Supervisor {
        blind: sources.blind(),
        processes: sources.processes(),
        options: options.clone(),
        start,
        catalogue,
        protection,
        sources,
        queue,
        hand: None,
        sequence: FIRST_RECORD,
        cursor: Cursor::default(),
        seen: BTreeMap::new(),
        sight: Sight::open(state),
        reporter: Reporter::new(now_ms()),
        drafts: Vec::new(),
        spool,
        sealed,
        mended: Vec::new(),
        lacking,
        looked: None,
        looked_rarely: None,
        beats: 0,
        metrics_left: None,
        _program: program,
    };
    supervisor.work();
    Ok(())
}

struct Supervisor {
    options: Options,
    start: Start,
    catalogue: Catalogue,
    protection: Protection,
    sources: Sources,
    /// How starts of programs are seen.
    processes: Source,
    queue: Arc<Queue>,
    hand: Option<Hand>,
    /// Of the next record.
    sequence: u64,
    cursor: Cursor,
    seen: BTreeMap<Source, Seen>,
    blind: Blind,
    sight: Sight,
    reporter: Reporter,
    /// To be spooled.
    drafts: Vec<crate::finding::Draft>,
    spool: Spool,
    sealed: Vec<Sealed>,
    /// What was said of files that are not as they were written.
    mended: Vec<String>,
    lacking: Vec<String>,
    looked: Option<Instant>,
    looked_rarely: Option<Instant>,
    beats: u64,
    metrics_left: Option<Metrics>,
    /// Keeps what is started open.
    _program: fs::File,
}

impl Supervisor {
    fn work(&mut self) {
        self.begin();
        while !self.queue.is_closed() {
            if let Some(chunk) = self.queue.take(PAUSE) {
                self.chunk(&chunk);
            }
            self.look_around();
        }
        self.end();
    }

    fn begin(&mut self) {
        let marker = self.options.state.join("running");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // A machine that went down took the sensor along: that is no word on the sensor.
        if fs::read_to_string(&marker).is_ok_and(|left| left == boot) {
            self.say(Found::sensor(Trouble::Killed, "the supervisor ended without a goodbye"), 1);
        }
        if let Err(error) = fs::write(&marker, boot) {
            eprintln!("{}: {error}", marker.display());
        }
        for line in &self.lacking {
            eprintln!("lacking: {line}");
        }
        for (source, why) in self.sight.said() {
            eprintln!("said before, and not again while it is so: {}: {why}", source.name());
        }
        self.look_around();
        self.sources.begin(&self.queue);
    }

    /// What was in the middle of something is done; what the kernel still has is history to whoever starts next.
    fn end(&mut self) {
        while let Some(chunk) = self.queue.take(Duration::ZERO) {
            self.chunk(&chunk);
        }
        self.drafts.extend(self.reporter.due(now_ms(), true));
        self.spool_all();
        self.leave_word();
        let _ = fs::remove_file(self.options.state.join("running"));
        eprintln!("asked to end: {} findings wait for the agent", self.spool.waiting());
    }

    fn say(&mut self, found: Found, count: u64) {
        self.drafts.extend(self.reporter.found(found, count, now_ms()));
    }

    /// Has records made of a chunk and evaluates them. It stays at hand until one of them has answered, or three have died.
    fn chunk(&mut self, chunk: &Chunk) {
        let mut deaths = 0;
        loop {
            if self.hand.is_none() && !self.start_hand() {
                if self.queue.is_closed() {
                    return self.lose(chunk, "no collector can be started");
                }
                // No fault of the chunk: sources wait, and then the kernel counts.
                std::thread::sleep(LOOK);
                self.look_around();
                continue;
            }
            let Some(hand) = &mut self.hand else { return };
            let folders = match (&self.sources.folders, chunk.source) {
                (Some(folders), Source::Inotify) => folders.watched.clone(),
                _ => BTreeMap::new(),
            };
            let ask = Ask {
                source: chunk.source,
                sequence: self.sequence,
                at_ms: chunk.at_ms,
                cursor: self.cursor.clone(),
                folders,
            };
            match hand.collect(&ask, &chunk.bytes, &self.catalogue) {
                Ok((said, batch)) => return self.collected(chunk.source, said, &batch),
                Err(broken) => {
                    let pid = hand.pid();
                    self.hand = None;
                    deaths += 1;
                    self.hand_ended(pid, &broken);
                    if deaths >= FOREIGN_DEATHS {
                        return self.lose(chunk, &broken.to_string());
                    }
                }
            }
        }
    }

    fn start_hand(&mut self) -> bool {
        match Hand::start(&self.start.program, &self.start.watch) {
            Ok(hand) => {
                self.hand = Some(hand);
                locked(&self.blind).remove(&Source::Collector);
                true
            }
            Err(broken) => {
                locked(&self.blind).insert(Source::Collector, format!("no collector can be started: {broken}"));
                false
            }
        }
    }

    fn hand_ended(&mut self, pid: u32, broken: &Broken) {
        eprintln!("the collector is started again: {broken}");
        self.seen.entry(Source::Collector).or_default().restarts += 1;
        self.process_ended("the collector", pid, &broken.to_string());
    }

    /// One that was found stopped is said to have been; how it ended then is our own doing.
    fn process_ended(&mut self, what: &str, pid: u32, how: &str) {
        self.say_stopped();
        if !self.start.watch.was_stopped(pid) {
            self.say(Found::sensor(Trouble::Killed, format!("{what}: {how}")), 1);
        }
    }

    fn say_stopped(&mut self) {
        for (role, pid) in self.start.watch.stopped() {
            eprintln!("the {role} (process {pid}) was stopped, and is ended");
            self.say(
                Found::sensor(Trouble::Stopped, format!("the {role} was stopped: it is ended and started again")),
                1,
            );
        }
    }

    fn lose(&mut self, chunk: &Chunk, why: &str) {
        let seen = self.seen.entry(chunk.source).or_default();
        seen.chunks_lost += 1;
        seen.bytes_lost += chunk.bytes.len() as u64;
        let detail = format!("{}: {} bytes are lost: {why}", chunk.source.name(), chunk.bytes.len());
        eprintln!("{detail}");
        self.say(Found::sensor(Trouble::Blind, detail), 1);
    }

    fn collected(&mut self, source: Source, said: crate::collect::Collected, batch: &[u8]) {
        let seen = self.seen.entry(source).or_default();
        seen.chunks += 1;
        seen.records += said.records;
        seen.unreadable += said.unreadable;
        seen.lost += said.lost;
        seen.overflows += u64::from(said.overflowed);
        seen.gone += said.gone;
        self.cursor = said.cursor;
        self.sequence += said.records;
        let name = source.name();
        if said.lost > 0 {
            self.say(Found::sensor(Trouble::Blind, format!("{name}: the kernel dropped messages")), said.lost);
        }
        if said.overflowed {
            self.say(
                Found::sensor(Trouble::Blind, format!("{name}: the kernel dropped events, and does not say how many")),
                1,
            );
        }
        for watch in said.unwatched {
            if let Some(folder) = self.sources.folders.as_mut().and_then(|folders| folders.ended(watch)) {
                self.say(
                    Found::sensor(Trouble::Blind, format!("{name}: {folder} is gone, and is not watched any more")),
                    1,
                );
            }
        }
        if batch.is_empty() {
            return;
        }
        let alerts = self.protection.evaluate(batch);
        if !alerts.is_empty() {
            let catalogue = self.catalogue.clone();
            let records: BTreeMap<u64, _> =
                Batch::new(batch, &catalogue).map(|record| (record.sequence, record)).collect();
            for alert in &alerts {
                // An evaluator that names another record lies: it is said with what there is, not left out.
                match records.get(&alert.sequence) {
                    Some(record) => self.say(Found::of(alert, record, &catalogue), 1),
                    None => {
                        let detail = format!(
                            "the evaluator of {} {} names a record that was not asked",
                            alert.pack, alert.version
                        );
                        self.say(Found::sensor(Trouble::Blind, detail), 1);
                    }
                }
            }
        }
        self.hear_news();
        self.spool_all();
    }

    fn hear_news(&mut self) {
        for news in self.protection.news() {
            eprintln!("{news}");
            match news.about {
                About::Course => {}
                About::Process(pid) => self.process_ended("the evaluator", pid, &news.text),
                About::Quarantine => self.say(Found::sensor(Trouble::Quarantined, news.text), 1),
                About::Lost(records) => self.say(Found::sensor(Trouble::Blind, news.text), records),
            }
        }
    }

    fn spool_all(&mut self) {
        if let Err(error) = self.spool.append(std::mem::take(&mut self.drafts)) {
            eprintln!("findings can't be spooled: {error}");
        }
    }

    fn look_around(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        if let Some(content) = &self.options.content {
            self.protection.offer_file(content);
        }
        self.protection.look();
        if let Some(how) = self.hand.as_mut().and_then(Hand::ended) {
            let pid = self.hand.take().map_or(0, |hand| hand.pid());
            self.hand_ended(pid, &Broken::Gone(how));
        }
        if self.hand.is_none() {
            self.start_hand();
        }
        if self.protection.running().is_some() {
            locked(&self.blind).remove(&Source::Evaluator);
        } else {
            locked(&self.blind).insert(Source::Evaluator, "none can be started".into());
        }
        self.say_stopped();
        self.hear_news();
        if self.looked_rarely.is_none_or(|at| at.elapsed() >= RARELY) {
            self.looked_rarely = Some(Instant::now());
            self.look_rarely();
        }
        self.say_blind();
        let due = self.reporter.due(now_ms(), false);
        self.drafts.extend(due);
        self.spool_all();
        if let Err(error) = self.sight.keep() {
            eprintln!("what is blind can't be kept: {error}");
        }
        if let Err(error) = self.spool.take_acknowledged() {
            eprintln!("what the agent noted can't be removed: {error}");
        }
        self.leave_word();
    }

    fn look_rarely(&mut self) {
        let changed: Vec<String> = self.sealed.iter_mut().filter_map(Sealed::look).collect();
        let files = self.protection.mend_files();
        let news = if files == self.mended { Vec::new() } else { files.clone() };
        self.mended = files;
        let written = news.into_iter().map(|what| format!("{what} is not what the sensor wrote"));
        for detail in changed.into_iter().chain(written) {
            eprintln!("modified: {detail}");
            self.say(Found::sensor(Trouble::Modified, detail), 1);
        }
        if let Some(folders) = &mut self.sources.folders {
            let trouble = folders.watch();
            let mut blind = locked(&self.blind);
            if trouble.is_empty() {
                blind.remove(&Source::Inotify);
            } else {
                blind.insert(Source::Inotify, trouble.join("; "));
            }
        }
    }

    /// Says what has become blind since the last time.
    fn say_blind(&mut self) {
        let mut now = locked(&self.blind).clone();
        now.extend(self.sources.notes.iter().cloned());
        for (source, why) in self.sight.look(now) {
            eprintln!("blind: {}: {why}", source.name());
            self.say(Found::sensor(Trouble::Blind, format!("{}: {why}", source.name())), 1);
        }
    }

    fn leave_word(&mut self) {
        self.beats += 1;
        let pids = [
            ("supervisor", Some(std::process::id())),
            ("collector", self.hand.as_ref().map(Hand::pid)),
            ("evaluator", self.protection.pid()),
        ];
        let health = Health {
            beats: self.beats,
            at_ms: now_ms(),
            pack: self.protection.running().map(|(name, version)| format!("{name} {version}")),
            processes: pids
                .into_iter()
                .filter_map(|(role, pid)| Some((role.to_string(), pid?, resident(pid?))))
                .collect(),
            starts_by: self.processes,
            seen: self.seen.clone(),
            blind: locked(&self.blind).clone(),
            watched: self.sources.folders.iter().flat_map(|folders| folders.watched.values().cloned()).collect(),
            notes: self.sources.notes.iter().map(|(source, note)| format!("{}: {note}", source.name())).collect(),
            lacking: [
                self.lacking.clone(),
                self.hand.iter().flat_map(|hand| hand.lacking.iter().cloned()).collect(),
                self.protection.lacking().to_vec(),
            ]
            .concat(),
            metrics: self.protection.metrics().clone(),
            waiting: self.spool.waiting() as u64,
            lost: self.spool.lost(),
        };
        if let Err(error) = self.spool.alive(&health) {
            eprintln!("no word of life can be left: {error}");
        }
        if self.metrics_left.as_ref() != Some(self.protection.metrics()) {
            self.metrics_left = Some(self.protection.metrics().clone());
            if let Err(error) = self.protection.leave_metrics() {
                eprintln!("the figures can't be left: {error}");
            }
        }
    }
}
