//! The executor: asks `staffel_core` what to do, makes it durable, then carries it out.
//!
//! One lock guards the projections. Whoever holds it decides, applies the records in memory and hands them to the log in
//! the same order; only after the log has answered "durable" is anything signed or sent. If the log fails, the memory is
//! ahead of it: it is thrown away and rebuilt from the log, and until then the server reads and explains but changes
//! nothing. A start after `kill -9` is the same rebuild.
//!
//! What lives here: `record` (what stands in the log), `state` (projections), `device` (what devices ask), `operate`
//! (what people ask), `remedies` and `unhalt` (repair, and taking a halt back), `recovery` (incidents, cases, sites),
//! `notices` (who is told, and telling them), `drive` (the clockwork: plans, frontiers, checkpoints), `foreign` (what devices
//! have that Staffel did not bring), `erase` (personal data), `alerts` (people on duty), `detections` (what devices' sensors
//! found), `view` and `pages` (what is shown), `series` (how rollouts came to where they are), `refuse` (attempts that were
//! refused), `identity` (keys whose certificate has expired), `starts` (how machines came to start). What must stay out:
//! HTTP and TLS, and any decision about a rollout.

pub mod alerts;
mod behind;
pub mod detections;
mod device;
mod drive;
mod erase;
mod foreign;
mod identity;
pub mod notices;
mod operate;
mod pages;
pub mod record;
mod recovery;
mod refuse;
mod remedies;
mod response;
mod retire;
mod series;
mod starts;
mod state;
mod unhalt;
mod view;

use crate::engine::{record::Record, recovery::Recovery, state::State};
use bytes::Bytes;
use staffel_core::{ids::Digest, recovery::Limits};
use staffel_store::{
    AppendError, CheckpointError, Entry, KeyError, LogSigner, ReadLog as _, SqliteLog, StoreError, WitnessKey, Write,
};
use staffel_trust::{
    statement::{
        Envelope, SigningKey,
        keyring::{Keyring, WitnessKey as DeviceWitness},
    },
    wire::Board,
};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{oneshot, watch};

/// What an engine needs.
pub struct EngineConfig {
    /// Folder for the log (`log.sqlite`) and small files of ours; created if it is missing.
    pub data_dir: PathBuf,
    /// The chain of keyrings, the pinned one first.
    pub keyrings: Vec<Envelope>,
    /// Signs frontiers, permits, receipts, automatic halts.
    pub online_key: SigningKey,
    /// Signs the log's checkpoints.
    pub log_signer: LogSigner,
    /// Witnesses whose cosignatures are kept.
    pub witnesses: Vec<WitnessKey>,
    /// Between two check-ins while nothing is going on, milliseconds.
    pub idle_cadence_ms: u64,
    /// How long a frontier is good for, milliseconds.
    pub frontier_lifetime_ms: u64,
    /// Between two looks at the rollouts while nothing happens, milliseconds.
    pub tick_ms: u64,
    /// The times that recovery cases go by.
    pub recovery: Limits,
}

/// Why the engine does not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{what} is not known here")]
    NotFound { what: String },
    #[error("{why}")]
    Refused { why: String, hint: String },
    #[error("{why}")]
    Conflict { why: String, hint: String },
    #[error("nothing can be changed at the moment: {why}")]
    ReadOnly { why: String },
    #[error("{why}")]
    Forbidden { why: String },
    #[error("{why}")]
    Internal { why: String },
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open the log in {path}")]
    Log { path: PathBuf, source: StoreError },
    #[error("the keyrings that the server was given do not hold: {why}")]
    Keyring { why: String },
    #[error("{operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: std::io::Error },
    #[error("write the first record")]
    Append(#[from] AppendError),
    #[error("a witness's key is not readable")]
    Witness(#[from] KeyError),
    #[error("erase what was to be erased: {why}")]
    Erase { why: String },
    #[error("record the start: {why}")]
    Record { why: String },
}

/// The board as it is sent.
pub struct BoardBytes {
    pub version: u64,
    pub json: Bytes,
}

/// A handle; clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    log: SqliteLog,
    state: Mutex<State>,
    config: EngineConfig,
    keyring: Keyring,
    board: RwLock<Arc<BoardBytes>>,
    checkpoint: RwLock<Option<String>>,
    read_only: Mutex<Option<String>>,
    changes: watch::Sender<u64>,
    /// One turn of the clockwork at a time: frontiers are signed in the order of their sequences.
    turn: tokio::sync::Mutex<()>,
    started_ms: u64,
    check_ins: AtomicU64,
    permits: AtomicU64,
    signatures: AtomicU64,
    /// Letterhead and carriers; without it notices are kept and shown, but none is drawn or sent.
    desk: OnceLock<notices::Desk>,
    refusals: refuse::Refusals,
}

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// A log write that was handed over in order.
type Durable = oneshot::Receiver<Result<std::ops::Range<u64>, AppendError>>;

impl Engine {
    /// Opens or begins the log in the data folder and rebuilds everything from it.
    pub fn open(config: EngineConfig) -> Result<Self, OpenError> {
        let keyring = verified_keyring(&config.keyrings)?;
        if !keyring.online.keys.contains(&config.online_key.public()) {
            return Err(OpenError::Keyring { why: "the online key of this server is not in the keyring".into() });
        }
        let dir = config.data_dir.clone();
        std::fs::create_dir_all(&dir).map_err(|source| OpenError::File {
            operation: "create the data folder",
            path: dir.clone(),
            source,
        })?;
        let path = dir.join("log.sqlite");
        let log = SqliteLog::open(&path).map_err(|source| OpenError::Log { path: path.clone(), source })?;
        let unreadable = |source| OpenError::Log { path: path.clone(), source };
        let (mut state, last_ms) = rebuild(&log, &config.recovery).map_err(unreadable)?;
        // A crash may have come between the word and the deed.
        let erased = erase::erase_all(&log, state.erased.iter().copied()).map_err(|why| OpenError::Erase { why })?;
        if erased > 0 {
            state = rebuild(&log, &config.recovery).map_err(unreadable)?.0;
        }
        let now = now_ms();
        let inner = Inner {
            log,
            state: Mutex::new(state),
            keyring,
            board: RwLock::new(Arc::new(BoardBytes { version: 0, json: Bytes::from_static(b"{\"version\":0}") })),
            checkpoint: RwLock::new(None),
            read_only: Mutex::new(None),
            changes: watch::Sender::new(0),
            turn: tokio::sync::Mutex::new(()),
            started_ms: now,
            config,
            check_ins: AtomicU64::new(0),
            permits: AtomicU64::new(0),
            signatures: AtomicU64::new(0),
            desk: OnceLock::new(),
            refusals: refuse::Refusals::default(),
        };
        let engine = Engine(Arc::new(inner));
        engine.record_start(last_ms, now)?;
        engine.sign_halts(now);
        engine.publish_checkpoint();
        engine.publish_board();
        Ok(engine)
    }

    /// The start, and for each rollout the gap in which nobody looked: a server that was down saw nobody die.
    fn record_start(&self, last_ms: u64, now: u64) -> Result<(), OpenError> {
        // The alive file is written every second; the log's last entry may be much older.
        let from_ms = self.read_alive().max(last_ms).min(now);
        let mut records =
            vec![Record::ServerStarted { version: env!("CARGO_PKG_VERSION").into(), from_ms, to_ms: now }];
        let mut state = self.state();
        let active: Vec<u64> = state.active().collect();
        for rollout in active {
            records.push(gap(rollout, from_ms, now));
        }
        let entries = records.iter().map(|r| r.to_entry(now)).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|why| OpenError::Record { why })?;
        self.0.log.write(Write::expecting(state.head, entries))?;
        for record in &records {
            state.apply(record, now);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock leaves records applied that the log may lack: the rebuild that a failed append
        // triggers is the cure for both, so poisoning adds nothing.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the records and hands them to the log, in this order, while the caller holds the lock.
    fn commit(&self, state: &mut State, records: &[Record], now: u64) -> Result<Durable, EngineError> {
        if let Some(why) = self.read_only() {
            return Err(EngineError::ReadOnly { why });
        }
        let entries = records.iter().map(|r| r.to_entry(now)).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|why| EngineError::Internal { why })?;
        let (sender, receiver) = oneshot::channel();
        let expected = state.head;
        #[cfg(debug_assertions)]
        let before: Vec<_> =
            state.rollouts.iter().map(|(id, r)| (*id, staffel_core::invariants::Snapshot::of(&r.rollout))).collect();
        for record in records {
            state.apply(record, now);
        }
        #[cfg(debug_assertions)]
        for (id, snapshot) in before {
            if let Some(running) = state.rollouts.get(&id)
                && let Err(broken) = staffel_core::invariants::rollout(&snapshot, &running.rollout)
            {
                tracing::error!(rollout = id, broken, "an invariant does not hold");
                debug_assert!(false, "{broken}");
            }
        }
        #[cfg(debug_assertions)]
        for record in records {
            if let Record::Recovery { event } = record
                && let Some(case) = event.case().and_then(|id| state.recovery.book.case(id))
                && let Err(broken) = staffel_core::invariants::case(case)
            {
                tracing::error!(broken, "an invariant does not hold");
                debug_assert!(false, "{broken}");
            }
        }
        let engine = self.clone();
        self.0.log.append_then(Write::expecting(expected, entries), move |outcome| {
            if let Err(error) = &outcome {
                engine.fell_behind(error);
            }
            let _ = sender.send(outcome);
        });
        self.0.changes.send_modify(|version| *version += 1);
        Ok(receiver)
    }

    /// Waits until what was handed over is durable.
    async fn durable(&self, pending: Durable) -> Result<(), EngineError> {
        match pending.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(EngineError::ReadOnly { why: chain(&error) }),
            Err(_) => Err(EngineError::Internal { why: "the log was closed".into() }),
        }
    }

    /// The entry at this position; none if the log has none. Memory is ahead of the disk: what it speaks of is waited for.
    /// Blocks as long as a write to the disk.
    fn entry_at(&self, position: u64) -> Result<Option<Entry>, EngineError> {
        let read = || {
            let mut read = self.0.log.read(position, 1).map_err(|e| EngineError::Internal { why: chain(&e) })?;
            Ok(read.pop().filter(|entry| entry.position == position))
        };
        let found = read()?;
        if found.is_some() || position >= self.state().head {
            return Ok(found);
        }
        self.wait_for_the_disk();
        read()
    }

    /// For whoever reads the log up to its end: how many entries it has once all that memory speaks of is there. Blocks as
    /// long as a write to the disk.
    fn settled_head(&self) -> Result<u64, EngineError> {
        let ahead = self.state().head;
        let head = || self.0.log.head().map_err(|e| EngineError::Internal { why: chain(&e) });
        if head()? < ahead {
            self.wait_for_the_disk();
        }
        head()
    }

    /// Waits until everything that was handed to the log before is on the disk, or was refused.
    fn wait_for_the_disk(&self) {
        let (sender, receiver) = mpsc::channel();
        self.0.log.append_then(Write::next(Vec::new()), move |_| {
            // Whoever asked may be gone.
            let _ = sender.send(());
        });
        // If the log refused it, what it has is read all the same.
        let _ = receiver.recv();
    }

    /// The log refused a write that memory has applied: nothing changes until memory was rebuilt.
    fn fell_behind(&self, error: &AppendError) {
        let why = chain(error);
        tracing::error!(why, "the log can't be written: reading goes on, nothing changes until it works again");
        let mut read_only = self.0.read_only.lock().unwrap_or_else(PoisonError::into_inner);
        read_only.get_or_insert(why);
    }

    fn read_only(&self) -> Option<String> {
        self.0.read_only.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After the log refused a write: tries to write again, and if that works, rebuilds the memory from the log.
    fn try_to_recover(&self) {
        if self.read_only().is_none() {
            return;
        }
        // While nothing may be changed the log stands still, so it can be read without holding up the check-ins.
        let (log, now) = (&self.0.log, now_ms());
        let Ok(head) = log.head() else { return };
        let from_ms = self.read_alive().min(now);
        let started = Record::ServerStarted { version: env!("CARGO_PKG_VERSION").into(), from_ms, to_ms: now };
        // A write that proves nothing would be no proof of space; this one is real.
        let Ok(entry) = started.to_entry(now) else { return };
        if log.write(Write::expecting(head, vec![entry])).is_err() {
            return;
        }
        let mut fresh = match rebuild(log, &self.0.config.recovery) {
            Ok((fresh, _)) => fresh,
            Err(error) => return tracing::error!(error = chain(&error), "the log can't be read"),
        };
        // Nobody's report was taken in the meantime: that was our silence, not theirs.
        let gaps: Vec<Record> = fresh.active().map(|rollout| gap(rollout, from_ms, now)).collect();
        let Ok(entries) = gaps.iter().map(|r| r.to_entry(now)).collect::<Result<Vec<_>, _>>() else { return };
        if log.write(Write::expecting(fresh.head, entries)).is_err() {
            return;
        }
        for record in &gaps {
            fresh.apply(record, now);
        }
        let mut state = self.state();
        for (old, new) in state.fleet.devices.iter().zip(&mut fresh.fleet.devices) {
            new.last_seen_ms = old.last_seen_ms;
        }
        for (old, new) in state.info.iter_mut().zip(&mut fresh.info) {
            (new.boot, new.boot_before, new.cadence_ms, new.why) =
                (old.boot, old.boot_before, old.cadence_ms, old.why.take());
        }
        *state = fresh;
        drop(state);
        *self.0.read_only.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.sign_halts(now);
        self.publish_board();
        tracing::info!("the log can be written again; everything was rebuilt from it");
    }

    /// The board, ready to be sent.
    pub fn board(&self) -> Arc<BoardBytes> {
        self.0.board.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the board from what is signed now.
    fn publish_board(&self) {
        let state = self.state();
        let offers = state.rollouts.values().filter_map(|running| drive::offer(running, now_ms())).collect();
        let board = Board {
            version: self.next_board_version(),
            keyrings: self.0.config.keyrings.iter().skip(1).cloned().collect(),
            halts: state.halts.clone(),
            unhalts: state.unhalts.clone(),
            offers,
            checkpoint: self.checkpoint(),
        };
        let json = serde_json::to_vec(&board).unwrap_or_default();
        let bytes = Arc::new(BoardBytes { version: board.version, json: json.into() });
        *self.0.board.write().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// The latest checkpoint of the log, cosigned if a witness was there.
    pub fn checkpoint(&self) -> Option<String> {
        self.0.checkpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A version that no board had before, also over restarts and restored backups: the time, or one more than the last.
    fn next_board_version(&self) -> u64 {
        self.board().version.saturating_add(1).max(now_ms())
    }

    /// Bumps on every change, for those who wait for one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// `Err` with the reason while the server should get no traffic.
    pub fn ready(&self) -> Result<(), String> {
        self.read_only().map_or(Ok(()), Err)
    }

    fn online(&self) -> &SigningKey {
        self.0.signatures.fetch_add(1, Ordering::Relaxed);
        &self.0.config.online_key
    }

    fn alive_file(&self) -> PathBuf {
        self.0.config.data_dir.join("alive")
    }

    fn read_alive(&self) -> u64 {
        let text = std::fs::read_to_string(self.alive_file()).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Notes that the server is looking. Losing it only makes the gap after a crash longer, which is safe.
    fn write_alive(&self, now: u64) {
        let next = self.0.config.data_dir.join("alive.next");
        let written = std::fs::write(&next, now.to_string()).and_then(|()| std::fs::rename(&next, self.alive_file()));
        if let Err(error) = written {
            tracing::warn!(%error, "the file `alive` can't be written");
        }
    }

    /// Runs until `stop` completes: plans, signs, publishes.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut tick = tokio::time::interval(Duration::from_millis(self.0.config.tick_ms.max(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        let mut last_ms = now_ms();
        let mut last_second = 0;
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = tick.tick() => {}
            }
            let now = now_ms();
            let second = now / 1_000 != last_second;
            last_second = now / 1_000;
            if second {
                let engine = self.clone();
                // Both touch the disk; a slow one must not stall the check-ins.
                let done = tokio::task::spawn_blocking(move || {
                    engine.try_to_recover();
                    // What can't be recorded is not observed.
                    if engine.ready().is_ok() {
                        engine.write_alive(now);
                    }
                    engine.publish_checkpoint();
                });
                let _ = done.await;
            }
            self.drive(last_ms, now).await;
            last_ms = now;
        }
        self.write_alive(now_ms());
    }
}

/// From when to when nobody looked at this rollout's devices.
fn gap(rollout: u64, from_ms: u64, to_ms: u64) -> Record {
    Record::Rollout { rollout, event: staffel_core::rollout::Event::ObservationGap { from_ms, to_ms } }
}

fn verified_keyring(envelopes: &[Envelope]) -> Result<Keyring, OpenError> {
    let bad = |why: String| OpenError::Keyring { why };
    let (first, rest) = envelopes.split_first().ok_or_else(|| bad("there is none".into()))?;
    let pinned = Keyring::pinned(first).map_err(|e| bad(e.to_string()))?;
    rest.iter().try_fold(pinned, |keyring, next| keyring.next(next).map_err(|e| bad(e.to_string())))
}

/// Reads the whole log; answers the projections and the time of the last entry.
fn rebuild(log: &SqliteLog, limits: &Limits) -> Result<(State, u64), StoreError> {
    let mut state = State::default();
    state.recovery = Recovery::new(limits.clone());
    let mut last_ms = 0;
    loop {
        let entries = log.read(state.head, 4_096)?;
        if entries.is_empty() {
            return Ok((state, last_ms));
        }
        for entry in &entries {
            last_ms = entry.at_ms;
            match Record::of(entry) {
                Some(record) => state.apply(&record, entry.at_ms),
                // Erased, or from a later version: it keeps its place.
                None => state.head += 1,
            }
        }
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Witnesses as devices know them, from the keyring.
fn device_witnesses(keyring: &Keyring) -> &[DeviceWitness] {
    &keyring.witnesses
}

fn checkpoint_error(error: &CheckpointError) -> EngineError {
    EngineError::Refused { why: chain(error), hint: "see `staffel log witness --help`".into() }
}

fn digest_of(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}
