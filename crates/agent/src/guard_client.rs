//! Asking the guard over its local socket: one command, one reply, one line of JSON each.
//!
//! Used by the agent and by the gate. What must stay out: what to ask.

use crate::platform;
use staffel_trust::statement::guard::{Command, MAX_LINE, Reply, Status};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// How long the guard may take for one command. Preparing hashes and copies a whole release.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("connecting to the guard at {}", path.display())]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("asking the guard: {operation}")]
    Socket {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the guard ended the connection without a reply")]
    Closed,
    #[error("the guard did not reply within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the guard's reply is not readable")]
    Malformed(#[source] serde_json::Error),
    #[error("the guard's reply does not fit the command: {0}")]
    Unexpected(String),
}

/// The guard of this machine.
#[derive(Clone, Debug)]
pub struct GuardClient {
    path: PathBuf,
    patience: Duration,
}

impl GuardClient {
    /// `path`: its socket (a named pipe on Windows). Nothing is connected yet.
    pub fn new(path: &Path) -> Self {
        GuardClient { path: path.to_owned(), patience: PATIENCE }
    }

    /// Waits no longer than this for a reply.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends one command over a connection of its own and waits for the reply.
    pub async fn ask(&self, command: &Command) -> Result<Reply, GuardError> {
        match tokio::time::timeout(self.patience, self.exchange(command)).await {
            Ok(reply) => reply,
            Err(_) => Err(GuardError::Silent(self.patience)),
        }
    }

    /// What runs, what is on trial, what is ready.
    pub async fn status(&self) -> Result<Status, GuardError> {
        match self.ask(&Command::Status).await? {
            Reply::Status(status) => Ok(*status),
            Reply::Failed { why } => Err(GuardError::Unexpected(why)),
            other => Err(GuardError::Unexpected(format!("{other:?}"))),
        }
    }

    async fn exchange(&self, command: &Command) -> Result<Reply, GuardError> {
        let socket = |operation| move |source| GuardError::Socket { operation, source };
        let mut line = serde_json::to_vec(command).map_err(GuardError::Malformed)?;
        line.push(b'\n');
        let connected = platform::connect(&self.path).await;
        let mut stream = connected.map_err(|source| GuardError::Connect { path: self.path.clone(), source })?;
        stream.write_all(&line).await.map_err(socket("sending"))?;
        stream.flush().await.map_err(socket("sending"))?;
        let mut reply = Vec::new();
        let mut reader = BufReader::new(stream.take(MAX_LINE as u64));
        reader.read_until(b'\n', &mut reply).await.map_err(socket("reading the reply"))?;
        if reply.last() != Some(&b'\n') {
            return Err(GuardError::Closed);
        }
        serde_json::from_slice(&reply).map_err(GuardError::Malformed)
    }
}
