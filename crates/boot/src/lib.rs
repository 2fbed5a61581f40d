//! The privileged half of a device: it decides nothing that `staffel_core::boot` has not decided, and does it.
//!
//! `guard-ctl` keeps the record of what runs, builds and checks slots, supervises services and the agent, and takes a
//! closed set of signed commands over a local socket (`staffel_statement::guard`). It links no network code and no
//! async runtime. This is the *service form*, for machines on which no firmware part counts starts: it covers content
//! and component crash loops, and says what it can't cover.
//!
//! Read [`engine`] for the order "decide, write down, act", [`record`] and [`codec`] for what survives `kill -9`,
//! [`slots`] for generations on disk, [`supervise`] for processes, [`socket`] for who may ask, [`platform`] for the rest.

pub mod client;
pub mod codec;
pub mod engine;
pub mod install;
pub mod layout;
pub mod platform;
pub mod preflight;
pub mod probes;
pub mod quarantine;
pub mod record;
pub mod slots;
pub mod socket;
pub mod supervise;
pub mod traces;

/// An input or output error with what was being done, and to what.
#[derive(Debug, thiserror::Error)]
#[error("can't {operation} {}: {source}", path.display())]
pub struct DoneTo {
    /// An infinitive without `to`.
    pub operation: &'static str,
    pub path: std::path::PathBuf,
    pub source: std::io::Error,
}

/// Names what was being done when an input or output operation failed.
pub trait Doing<T> {
    /// `operation` is an infinitive without `to`, `path` its subject.
    fn doing(self, operation: &'static str, path: &std::path::Path) -> Result<T, DoneTo>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, operation: &'static str, path: &std::path::Path) -> Result<T, DoneTo> {
        self.map_err(|source| DoneTo { operation, path: path.to_path_buf(), source })
    }
}

/// `bytes` random bytes as lower-case hex digits.
pub fn random_hex(bytes: usize) -> Result<String, getrandom::Error> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer)?;
    Ok(hex::encode(buffer))
}

/// The wall clock in Unix milliseconds; may be wrong by years, so it is only used where nothing better is known.
pub fn wall_clock_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
