//! From the agent's spool into the guard's own store of blobs, by hash. The spool belongs to somebody with fewer
//! rights, so nothing in it is followed, trusted or waited for.

use super::{SlotError, Slots, copy_checked};
use crate::{Doing as _, DoneTo, layout::TEMPORARY, platform, platform::Directory};
use staffel_core::ids::Digest;
use staffel_statement::predicate::{File, Release};
use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

impl Slots {
    /// Takes the payload of a verified release statement and all its files. After an error nothing new is left.
    pub fn take(&self, digest: Digest, payload: &[u8], release: &Release) -> Result<(), SlotError> {
        let mut added = Vec::new();
        let result = self.take_all(digest, payload, release, &mut added);
        if result.is_err() {
            for path in added {
                let _ = std::fs::remove_file(path);
            }
        }
        result
    }

    fn take_all(
        &self,
        digest: Digest,
        payload: &[u8],
        release: &Release,
        added: &mut Vec<PathBuf>,
    ) -> Result<(), SlotError> {
        let statement =
            File { path: "statement".into(), sha256: digest, size: payload.len() as u64, executable: false };
        if !self.holds(&statement) {
            added.push(self.store(&statement, payload)?);
        }
        let spool = self.layout.spool();
        let folder = Directory::open(&spool).doing("open", &spool)?;
        // One blob may stand behind several files of a release.
        let files: BTreeMap<Digest, &File> = release.files.iter().map(|file| (file.sha256, file)).collect();
        for file in files.into_values().filter(|file| !self.holds(file)) {
            let refuse = |why: String| SlotError::Spool { sha256: file.sha256, spool: spool.clone(), why };
            let (input, facts) = folder.file(&file.sha256.to_string()).map_err(|error| refuse(error.to_string()))?;
            if !facts.regular {
                return Err(refuse("it is not a plain file".into()));
            }
            if facts.links != 1 {
                return Err(refuse(format!("the file has {} names", facts.links)));
            }
            if facts.size != file.size {
                return Err(refuse(format!("it has {} bytes, {} were signed", facts.size, file.size)));
            }
            added.push(self.store(file, input)?);
        }
        platform::sync_directory(&self.layout.blobs()).doing("write to the disk", &self.layout.blobs())?;
        Ok(())
    }

    /// True if the blob is there with the right bytes.
    fn holds(&self, file: &File) -> bool {
        std::fs::File::open(self.layout.blob(&file.sha256))
            .is_ok_and(|input| copy_checked(input, &mut std::io::sink(), file).is_ok())
    }

    /// Bytes that [`Slots::take`] will have to write, blobs that are there not counted.
    pub fn missing_bytes(&self, release: &Release) -> u64 {
        let files: BTreeMap<Digest, u64> = release.files.iter().map(|file| (file.sha256, file.size)).collect();
        let there = |digest: &Digest| self.layout.blob(digest).exists();
        files.iter().filter(|(digest, _)| !there(digest)).fold(0, |sum, (_, size)| sum.saturating_add(*size))
    }

    fn store(&self, file: &File, input: impl Read) -> Result<PathBuf, DoneTo> {
        let path = self.layout.blob(&file.sha256);
        let temporary = self.layout.blobs().join(format!("{TEMPORARY}{}", file.sha256));
        let result = write_new(&temporary, file, input).and_then(|()| {
            std::fs::rename(&temporary, &path).doing("put in place", &path)?;
            Ok(path)
        });
        if result.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        result
    }
}

/// Writes the signed bytes into a new file and flushes it; permissions as signed, never writable.
pub(super) fn write_new(path: &Path, file: &File, input: impl Read) -> Result<(), DoneTo> {
    let _ = std::fs::remove_file(path);
    let mut output = std::fs::File::options().write(true).create_new(true).open(path).doing("create", path)?;
    copy_checked(input, &mut output, file).doing("copy into", path)?;
    platform::set_mode(path, if file.executable { 0o555 } else { 0o444 }).doing("set the permissions of", path)?;
    output.sync_all().doing("write to the disk", path)
}
