//! Windows, as far as it goes: named pipes and Ctrl-C work, the sandbox is not written yet and says so.

use super::Allowed;
use staffel_trust::wire::Attributes;
use std::{fs, io, path::Path, sync::OnceLock, time::Instant};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient};

/// A connection to a program on this machine.
pub type LocalSocket = NamedPipeClient;

/// Milliseconds since this program first asked, time asleep included as far as the system counts it.
pub fn running_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The same: what this system counts while it sleeps is not told apart.
pub fn awake_ms() -> u64 {
    running_ms()
}

/// Identity of this run of the program: the clock above begins with it, so ages never count what it did not see.
pub fn boot_id() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let mut id = [0; 8];
        match getrandom::fill(&mut id) {
            Ok(()) => format!("run-{:016x}", u64::from_le_bytes(id)),
            Err(_) => format!("run-{}", std::process::id()),
        }
    })
    .clone()
}

/// OS build and hardware model as the machine itself tells them.
pub fn attributes() -> Attributes {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "unknown".into());
    Attributes { os_build: variable("OS"), hardware_model: variable("PROCESSOR_IDENTIFIER") }
}

/// Connects to the guard.
pub async fn connect(path: &Path) -> io::Result<LocalSocket> {
    ClientOptions::new().open(path)
}

/// Creates a file. Its folder's access list, set by the installer, keeps others out.
pub fn create_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}

/// Folders can't be synced here; the file system's journal orders renames.
pub fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// The system's wish that this program ends.
pub struct Termination {
    close: tokio::signal::windows::CtrlClose,
    interrupt: tokio::signal::windows::CtrlC,
}

impl Termination {
    /// Begins to listen.
    pub fn listen() -> io::Result<Self> {
        Ok(Termination { close: tokio::signal::windows::ctrl_close()?, interrupt: tokio::signal::windows::ctrl_c()? })
    }

    /// Waits for the wish; in words.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.close.recv() => "the agent was asked to stop",
            _ = self.interrupt.recv() => "the agent was interrupted",
        }
    }
}

/// Says that there is no sandbox here.
pub fn sandbox(_allowed: &Allowed) -> Vec<String> {
    vec!["the sandbox for this system is not written yet".into()]
}
