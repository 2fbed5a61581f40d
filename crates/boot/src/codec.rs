//! How every record of the guard lies on disk: one codec, two copies, one atomic write each.
//!
//! The bytes are those of [`staffel_core::boot::codec`], the body is JSON. [`Records::save`] writes the first copy (to a temporary file, fsync, rename, fsync of the folder), which is the
//! moment from which it counts, then the second. [`Records::load`] takes the newest copy that holds and says what was
//! wrong with the other. What must stay out: what the records mean.

use crate::{Doing as _, DoneTo, platform};
use serde::{Serialize, de::DeserializeOwned};
pub use staffel_core::boot::codec::{CodecError, decode, encode};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// No record is longer, bytes.
pub const MAX_RECORD: u64 = 64 << 20;

/// Why a record can't be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Io(#[from] DoneTo),
    #[error("the record {name:?} can't be written as JSON: {source}")]
    Json { name: &'static str, source: serde_json::Error },
    #[error("no copy of the record {name:?} holds: {}", why.join("; "))]
    Lost { name: &'static str, why: Vec<String> },
}

/// What a write must outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlives {
    /// A power cut.
    PowerCut,
    /// The guard's own process; enough for what means nothing after a reboot.
    Process,
}

/// A record as it was found.
#[derive(Debug)]
pub struct Loaded<T> {
    pub value: T,
    /// What was wrong with the other copy, if anything.
    pub damaged: Vec<String>,
}

/// The records in one folder.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
    sequences: BTreeMap<&'static str, u64>,
}

impl Records {
    /// The records in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Records { folder: folder.into(), sequences: BTreeMap::new() }
    }

    /// The two copies of a record.
    pub fn copies(&self, name: &str) -> [PathBuf; 2] {
        [self.folder.join(name), self.folder.join(format!("{name}.copy"))]
    }

    /// True if there is a file for it, whole or not.
    pub fn exists(&self, name: &str) -> bool {
        self.copies(name).iter().any(|path| path.symlink_metadata().is_ok())
    }

    /// The newest copy that holds.
    pub fn load<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Loaded<T>, RecordError> {
        let mut best: Option<(u64, T)> = None;
        let mut damaged = Vec::new();
        for path in self.copies(name) {
            match read(name, &path) {
                Ok((sequence, value)) if best.as_ref().is_none_or(|(newest, _)| sequence > *newest) => {
                    best = Some((sequence, value));
                }
                Ok(_) => {}
                Err(why) => damaged.push(format!("{}: {why}", path.display())),
            }
        }
        match best {
            Some((sequence, value)) => {
                self.sequences.insert(name, sequence);
                Ok(Loaded { value, damaged })
            }
            None => Err(RecordError::Lost { name, why: damaged }),
        }
    }

    /// Writes both copies. After an error the old record or the new one is there, never a mixture.
    pub fn save<T: Serialize>(&mut self, name: &'static str, value: &T, outlives: Outlives) -> Result<(), RecordError> {
        let body = serde_json::to_vec(value).map_err(|source| RecordError::Json { name, source })?;
        let sequence = self.sequences.get(name).map_or(1, |last| last + 1);
        let bytes = encode(name, sequence, &body);
        let [first, second] = self.copies(name);
        self.write(&first, &bytes, outlives)?;
        // From here on the new record counts, whatever becomes of the second copy.
        self.sequences.insert(name, sequence);
        if let Err(error) = self.write(&second, &bytes, outlives) {
            eprintln!("guard-ctl: {error}");
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8], outlives: Outlives) -> Result<(), DoneTo> {
        let temporary = path.with_extension(match path.extension() {
            Some(_) => "copy.tmp",
            None => "tmp",
        });
        let result = self.write_to(&temporary, path, bytes, outlives);
        if result.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        result
    }

    fn write_to(&self, temporary: &Path, path: &Path, bytes: &[u8], outlives: Outlives) -> Result<(), DoneTo> {
        let mut file = File::create(temporary).doing("create", temporary)?;
        platform::set_mode(temporary, 0o600).doing("set the permissions of", temporary)?;
        file.write_all(bytes).doing("write", temporary)?;
        if outlives == Outlives::PowerCut {
            file.sync_all().doing("write to the disk", temporary)?;
        }
        drop(file);
        std::fs::rename(temporary, path).doing("put in place", path)?;
        if outlives == Outlives::PowerCut {
            platform::sync_directory(&self.folder).doing("write to the disk", &self.folder)?;
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(name: &str, path: &Path) -> Result<(u64, T), String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_RECORD).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let (sequence, body) = decode(name, &bytes).map_err(|error| error.to_string())?;
    Ok((sequence, serde_json::from_slice(body).map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests;
