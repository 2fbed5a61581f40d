//! Asks a running guard, as `guard-ctl status` and `guard-ctl send` do. What must stay out: showing the answer.

use crate::{Doing as _, DoneTo, layout::Layout, platform};
use staffel_statement::guard::{Command, MAX_LINE, Reply};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    time::Duration,
};

/// The guard answers at once, except while it stops services or builds a slot.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the guard does not answer (is `guard-ctl serve` running?): {0}")]
    Io(#[from] DoneTo),
    #[error("the guard's answer is not readable: {0}")]
    Answer(serde_json::Error),
    #[error("the command can't be written as JSON: {0}")]
    Command(serde_json::Error),
}

/// Sends one command and waits for the reply.
pub fn ask(layout: &Layout, command: &Command) -> Result<Reply, AskError> {
    let mut line = serde_json::to_vec(command).map_err(AskError::Command)?;
    line.push(b'\n');
    let path = layout.socket();
    let mut stream = platform::connect(&path).doing("connect to", &path)?;
    stream.set_read_timeout(Some(PATIENCE)).doing("use", &path)?;
    stream.write_all(&line).doing("write to", &path)?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(MAX_LINE as u64).read_until(b'\n', &mut answer).doing("read from", &path)?;
    serde_json::from_slice(&answer).map_err(AskError::Answer)
}
