//! The supervisor's end of one process behind two pipes. It waits for nothing without an end: a process that neither
//! answers nor ends is killed. What must stay out: what is asked.

use crate::{
    frame::{self, Kind},
    watch::{Guarded, Watch},
};
use std::{
    io::{self, BufReader},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Why a process gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("it can't be started: {0}")]
    Start(String),
    #[error("its process ended: {0}")]
    Gone(String),
    #[error("its process did not answer within {0} ms")]
    Silent(u64),
    #[error("what it answered is no answer: {0}")]
    Nonsense(String),
    /// It says itself what went wrong: the bytes of a [`Kind::Trouble`].
    #[error("it says what went wrong")]
    Told(Vec<u8>),
}

/// None: only an answer is waited for.
type Request = Option<(Kind, Vec<u8>)>;
type Reply = io::Result<Option<(Kind, Vec<u8>)>>;

/// A process of this program in another role.
pub struct Process {
    child: Child,
    requests: mpsc::Sender<Request>,
    replies: mpsc::Receiver<Reply>,
    patience: Duration,
    _guarded: Option<Guarded>,
}

impl Process {
    /// Starts `program role`, without an environment.
    pub fn start(program: &Path, role: &'static str, patience: Duration, watch: &Watch) -> Result<Self, Broken> {
        let mut child = Command::new(program)
            .env_clear()
            .current_dir("/")
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Broken::Start(format!("{}: {error}", program.display())))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Broken::Start("the process has no pipes".into()));
        };
        let guarded = watch.guard(role, child.id());
        let (requests, asked) = mpsc::channel();
        let (answer, replies) = mpsc::channel();
        // Apart, because a pipe to a stopped process blocks. It ends when the process has ended or nobody asks any more.
        std::thread::spawn(move || exchange(input, BufReader::new(output), &asked, &answer));
        Ok(Process { child, requests, replies, patience, _guarded: guarded })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has: nobody asked it to.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Sends a frame and waits for the answer of the expected kind.
    pub fn ask(&mut self, kind: Kind, bytes: Vec<u8>, expected: Kind) -> Result<Vec<u8>, Broken> {
        if self.requests.send(Some((kind, bytes))).is_err() {
            return Err(self.gone("nobody is there"));
        }
        self.receive(expected)
    }

    /// Waits for a frame of the expected kind that nobody asked for.
    pub fn hear(&mut self, expected: Kind) -> Result<Vec<u8>, Broken> {
        if self.requests.send(None).is_err() {
            return Err(self.gone("nobody is there"));
        }
        self.receive(expected)
    }

    fn receive(&mut self, expected: Kind) -> Result<Vec<u8>, Broken> {
        match self.replies.recv_timeout(self.patience) {
            Ok(Ok(Some((kind, bytes)))) if kind == expected => Ok(bytes),
            Ok(Ok(Some((Kind::Trouble, bytes)))) => Err(Broken::Told(bytes)),
            Ok(Ok(Some((kind, _)))) => Err(Broken::Nonsense(format!("{kind:?} where {expected:?} belongs"))),
            Ok(Ok(None)) => Err(self.gone("it ended")),
            Ok(Err(error)) => Err(self.gone(&error.to_string())),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(Broken::Silent(u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX)))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.gone("nobody is there")),
        }
    }

    fn gone(&mut self, why: &str) -> Broken {
        // Its pipes are closed, so it ends at once, or is ended.
        let _ = self.child.kill();
        match self.child.wait() {
            Ok(status) => Broken::Gone(format!("{why} ({status})")),
            Err(error) => Broken::Gone(format!("{why} ({error})")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing in there is worth a goodbye. Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exchange(
    mut input: ChildStdin,
    mut output: BufReader<ChildStdout>,
    asked: &mpsc::Receiver<Request>,
    answer: &mpsc::Sender<Reply>,
) {
    while let Ok(request) = asked.recv() {
        let written = request.map_or(Ok(()), |(kind, bytes)| frame::write(&mut input, kind, &bytes));
        let reply = written.and_then(|()| frame::read(&mut output));
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
