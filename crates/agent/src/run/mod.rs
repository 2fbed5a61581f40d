//! `staffel-agent run`: the loop around `staffel_core::device`.
//!
//! One thread, one loop, three sources of events: time, finished work, the wish to end. Work that takes long (downloads,
//! the guard, the server) runs beside the loop and reports back, so that a slow download never silences the device.
//! `agent` holds the state and feeds events, `check_in` speaks with the server, `health` proves that the device is
//! well when the server asks, `renew` keeps the certificate good, `work` is what runs beside.

mod agent;
mod check_in;
mod foreign;
mod health;
mod renew;
mod repair;
mod sensor;
mod work;

use crate::{
    directory::{Directory, FileError},
    findings,
    https::HttpsError,
    inventory,
    judge::JudgeError,
    platform::{Allowed, Termination},
};
use std::path::PathBuf;

pub use agent::Agent;

/// How the agent is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Instead of the one that the enrolment named.
    pub server: Option<String>,
    pub directory: Directory,
    pub guard_socket: PathBuf,
    /// Where the guard takes files from.
    pub spool: PathBuf,
    /// Where the machine's file system begins, for the inventory of foreign software.
    pub inventory_root: PathBuf,
    /// Where the sensor leaves its findings; none: [`findings::USUAL`], if there is such a folder.
    pub sensor: Option<PathBuf>,
}

/// Why the agent can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Judge(#[from] JudgeError),
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error("listening for the system's signals")]
    Signals(#[source] std::io::Error),
}

/// What the agent may touch.
pub fn allowed(options: &Options) -> Allowed {
    let folder = options.guard_socket.parent().map(PathBuf::from).unwrap_or_default();
    Allowed {
        read: inventory::reads(&options.inventory_root),
        write: vec![options.directory.root().to_owned(), options.spool.clone(), sensor_folder(options)],
        sockets: vec![folder],
    }
}

/// Where the sensor leaves its findings.
fn sensor_folder(options: &Options) -> PathBuf {
    options.sensor.clone().unwrap_or_else(|| findings::USUAL.into())
}

/// Runs until the system wants the program to end, then says goodbye. `lacking`: what the sandbox could not do.
pub async fn run(options: Options, boot_id: String, lacking: Vec<String>) -> Result<(), RunError> {
    let mut termination = Termination::listen().map_err(RunError::Signals)?;
    let mut agent = Agent::open(options, boot_id, lacking)?;
    tokio::select! {
        why = termination.wait() => agent.goodbye(why).await,
        never = agent.work() => match never {},
    }
    Ok(())
}
