//! An evaluator process as the supervisor sees it: a pack goes in once, batches go in and answers come out.

use crate::{
    engine::Trouble,
    frame::Kind,
    process::{Broken, Process},
    watch::Watch,
};
use staffel_pack::wire::{Answer, encode_load};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What every evaluator is started from.
#[derive(Clone)]
pub struct Start {
    /// This program; `evaluator` is the argument that makes it one.
    pub program: PathBuf,
    /// Precompiled code of the guest.
    pub engine: Arc<[u8]>,
    /// How long any answer may take. Far above what the epoch allows: the last backstop.
    pub patience: Duration,
    /// Who looks whether a process was stopped.
    pub watch: Watch,
}

impl Start {
    /// With the code beside this program (`evaluator.cwasm`).
    pub fn here() -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let engine = program.with_file_name("evaluator.cwasm");
        Start::with(&program, &engine)
    }

    /// With this program and this code.
    pub fn with(program: &Path, engine: &Path) -> io::Result<Self> {
        let code = std::fs::read(engine)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", engine.display())))?;
        let (program, engine) = (program.into(), code.into());
        Ok(Start { program, engine, patience: Duration::from_secs(30), watch: Watch::default() })
    }
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Start(why) => Trouble::Unloadable(why),
            Broken::Gone(why) => Trouble::Gone(why),
            Broken::Silent(after) => Trouble::Silent(after),
            Broken::Nonsense(what) => Trouble::Nonsense(what),
            Broken::Told(bytes) => {
                serde_json::from_slice(&bytes).unwrap_or_else(|error| Trouble::Nonsense(error.to_string()))
            }
        }
    }
}

/// An evaluator process behind its walls.
pub struct Worker {
    process: Process,
    /// What this machine could not enforce, a line each.
    pub lacking: Vec<String>,
}

impl Worker {
    /// Starts a process; its walls stand when this returns.
    pub fn start(start: &Start) -> Result<Self, Trouble> {
        let mut process = Process::start(&start.program, "evaluator", start.patience, &start.watch)?;
        let ready = process.ask(Kind::Engine, start.engine.to_vec(), Kind::Ready)?;
        let lacking = serde_json::from_slice(&ready).map_err(|error| Trouble::Nonsense(error.to_string()))?;
        Ok(Worker { process, lacking })
    }

    /// A process with this pack.
    pub fn with_pack(start: &Start, pack: &[u8], catalogue: &[u8]) -> Result<Self, Trouble> {
        let mut worker = Worker::start(start)?;
        worker.process.ask(Kind::Load, encode_load(pack, catalogue), Kind::Loaded)?;
        Ok(worker)
    }

    /// Runs a batch.
    pub fn evaluate(&mut self, batch: &[u8]) -> Result<Answer, Trouble> {
        let bytes = self.process.ask(Kind::Batch, batch.to_vec(), Kind::Answer)?;
        Answer::decode(&bytes).ok_or_else(|| Trouble::Nonsense("its process changed the answer".into()))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How it ended, if it has without being asked anything.
    pub fn ended(&mut self) -> Option<String> {
        self.process.ended()
    }
}
