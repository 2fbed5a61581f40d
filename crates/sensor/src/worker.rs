//! The supervisor's end of one evaluator process. It waits for nothing without an end: a process that neither answers nor
//! ends is killed.

use crate::{
    engine::Trouble,
    frame::{self, Kind},
};
use staffel_pack::wire::{Answer, encode_load};
use std::{
    io::{self, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
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
        Ok(Start { program: program.into(), engine: code.into(), patience: Duration::from_secs(30) })
    }
}

type Reply = io::Result<Option<(Kind, Vec<u8>)>>;

/// An evaluator process behind its walls.
pub struct Worker {
    child: Child,
    requests: mpsc::Sender<(Kind, Vec<u8>)>,
    replies: mpsc::Receiver<Reply>,
    patience: Duration,
    /// What this machine could not enforce, a line each.
    pub lacking: Vec<String>,
}

impl Worker {
    /// Starts a process; its walls stand when this returns.
    pub fn start(start: &Start) -> Result<Self, Trouble> {
        let mut child = Command::new(&start.program)
            .env_clear()
            .current_dir("/")
            .arg("evaluator")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Trouble::Unloadable(format!("{}: {error}", start.program.display())))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Trouble::Unloadable("the process has no pipes".into()));
        };
        let (requests, asked) = mpsc::channel();
        let (answer, replies) = mpsc::channel();
        // Apart, because a pipe to a stopped process blocks. It ends when the process has ended or nobody asks any more.
        std::thread::spawn(move || exchange(input, BufReader::new(output), &asked, &answer));
        let mut worker = Worker { child, requests, replies, patience: start.patience, lacking: Vec::new() };
        let ready = worker.ask(Kind::Engine, start.engine.to_vec(), Kind::Ready)?;
        worker.lacking = serde_json::from_slice(&ready).map_err(|error| Trouble::Nonsense(error.to_string()))?;
        Ok(worker)
    }

    /// A process with this pack.
    pub fn with_pack(start: &Start, pack: &[u8], catalogue: &[u8]) -> Result<Self, Trouble> {
        let mut worker = Worker::start(start)?;
        worker.ask(Kind::Load, encode_load(pack, catalogue), Kind::Loaded)?;
        Ok(worker)
    }

    /// Runs a batch.
    pub fn evaluate(&mut self, batch: &[u8]) -> Result<Answer, Trouble> {
        let bytes = self.ask(Kind::Batch, batch.to_vec(), Kind::Answer)?;
        Answer::decode(&bytes).ok_or_else(|| Trouble::Nonsense("its process changed the answer".into()))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ask(&mut self, kind: Kind, bytes: Vec<u8>, expected: Kind) -> Result<Vec<u8>, Trouble> {
        if self.requests.send((kind, bytes)).is_err() {
            return Err(self.gone("nobody is there"));
        }
        match self.replies.recv_timeout(self.patience) {
            Ok(Ok(Some((kind, bytes)))) if kind == expected => Ok(bytes),
            Ok(Ok(Some((Kind::Trouble, bytes)))) => {
                Err(serde_json::from_slice(&bytes).unwrap_or_else(|error| Trouble::Nonsense(error.to_string())))
            }
            Ok(Ok(Some((kind, _)))) => Err(Trouble::Nonsense(format!("{kind:?} where {expected:?} belongs"))),
            Ok(Ok(None)) => Err(self.gone("it ended")),
            Ok(Err(error)) => Err(self.gone(&error.to_string())),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(Trouble::Silent(u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX)))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.gone("nobody is there")),
        }
    }

    fn gone(&mut self, why: &str) -> Trouble {
        // Its pipes are closed, so it ends at once, or is ended.
        let _ = self.child.kill();
        match self.child.wait() {
            Ok(status) => Trouble::Gone(format!("{why} ({status})")),
            Err(error) => Trouble::Gone(format!("{why} ({error})")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing in there is worth a goodbye. Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exchange(
    mut input: ChildStdin,
    mut output: BufReader<ChildStdout>,
    asked: &mpsc::Receiver<(Kind, Vec<u8>)>,
    answer: &mpsc::Sender<Reply>,
) {
    while let Ok((kind, bytes)) = asked.recv() {
        let reply = frame::write(&mut input, kind, &bytes).and_then(|()| frame::read(&mut output));
        // Before it ended it may have said why.
        let reply = match reply {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => frame::read(&mut output).or(Err(error)),
            other => other,
        };
        let over = !matches!(reply, Ok(Some(_)));
        if answer.send(reply).is_err() || over {
            return;
        }
    }
}
