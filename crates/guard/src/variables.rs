//! The firmware's variables, as Linux shows them in `efivarfs`: our counts, and what the loader says and is told (Boot Loader
//! Interface). What must stay out: what the counts mean.

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use staffel_core::boot::{
    codec,
    firmware::{Counts, FORMAT, Target},
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

/// Where `efivarfs` is mounted.
pub const FOLDER: &str = "/sys/firmware/efi/efivars";
const OURS: &str = "StaffelCounts-7e5c1d6a-4b1f-4c0e-9a53-2f6d8c51b3a7";
const ONE_SHOT: &str = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const BOOT_COUNT_PATH: &str = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const LOADER_INFO: &str = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Kept over a power cut, visible to loader and system (UEFI 8.2).
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];
/// No variable that we read is longer, bytes.
const MOST: u64 = 4096;
const NAME: &str = "counts";

/// A variable that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    #[error("can't {operation} the firmware variable {name}: {source}")]
    Io { operation: &'static str, name: &'static str, source: io::Error },
    #[error("the counts can't be written as JSON: {0}")]
    Json(serde_json::Error),
}

/// The variables.
#[derive(Clone, Debug)]
pub struct Variables(PathBuf);

impl Default for Variables {
    fn default() -> Self {
        Variables(FOLDER.into())
    }
}

impl Variables {
    /// Those in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Variables(folder.into())
    }

    /// Our counts: none where nothing was ever counted, and where what stands there is not ours or damaged.
    pub fn counts(&self) -> Counts {
        let read = self.read(OURS).ok().flatten();
        let counts = read.and_then(|bytes| {
            let (_, body) = codec::decode(NAME, &bytes).ok()?;
            serde_json::from_slice::<Counts>(body).ok()
        });
        counts.filter(|counts| counts.format == FORMAT).unwrap_or_default()
    }

    /// Writes our counts.
    pub fn set_counts(&self, counts: &Counts) -> Result<(), VariableError> {
        let body = serde_json::to_vec(counts).map_err(VariableError::Json)?;
        self.write(OURS, &codec::encode(NAME, 1, &body))
    }

    /// Tells the loader what to take at the next start, and only then.
    pub fn set_one_shot(&self, target: Target) -> Result<(), VariableError> {
        let name = match target {
            Target::Entry(number) => crate::entries::name(number, None),
            Target::Safe => crate::entries::SAFE_ENTRY.rsplit('/').next().unwrap_or_default().to_string(),
        };
        let bytes: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        self.write(ONE_SHOT, &bytes)
    }

    /// The entry of ours whose start the loader says it has counted.
    pub fn counted(&self) -> Option<u64> {
        let path = self.text(BOOT_COUNT_PATH)?;
        crate::entries::Name::parse(path.rsplit('\\').next()?).map(|name| name.number)
    }

    /// The loader's name and version.
    pub fn loader(&self) -> Option<String> {
        self.text(LOADER_INFO)
    }

    /// Whether the firmware starts signed programs only.
    pub fn secure_boot(&self) -> Option<bool> {
        Some(*self.read(SECURE_BOOT).ok().flatten()?.first()? == 1)
    }

    fn text(&self, name: &'static str) -> Option<String> {
        let bytes = self.read(name).ok().flatten()?;
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        Some(String::from_utf16(&units).ok()?.trim_end_matches('\0').to_string())
    }

    fn read(&self, name: &'static str) -> Result<Option<Vec<u8>>, VariableError> {
        let io = |source| VariableError::Io { operation: "read", name, source };
        let file = match File::open(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes).map_err(io)?;
        Ok((bytes.len() >= ATTRIBUTES.len()).then(|| bytes.split_off(ATTRIBUTES.len())))
    }

    fn write(&self, name: &'static str, value: &[u8]) -> Result<(), VariableError> {
        let path = self.0.join(name);
        let write = || -> io::Result<()> {
            if let Ok(file) = File::open(&path) {
                // Linux protects variables from a careless `rm`; other file systems have no such flag.
                if let Ok(flags) = ioctl_getflags(&file) {
                    ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
                }
            }
            // The whole of it in one write: that is one call into the firmware.
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?
                .write_all(&[&ATTRIBUTES, value].concat())
        };
        write().map_err(|source| VariableError::Io { operation: "write", name, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_they_were_written_and_damage_is_none() {
        let place = tempfile::tempdir().unwrap();
        let variables = Variables::new(place.path());
        assert_eq!(variables.counts(), Counts::default());
        let counts = Counts { of: vec![(7, 2)], redirects: 1, ..Counts::default() };
        variables.set_counts(&counts).unwrap();
        assert_eq!(variables.counts(), counts);
        std::fs::write(place.path().join(OURS), [7, 0, 0, 0, b'x']).unwrap();
        assert_eq!(variables.counts(), Counts::default());
    }

    #[test]
    fn the_loader_is_spoken_to_in_its_own_way() {
        let place = tempfile::tempdir().unwrap();
        let variables = Variables::new(place.path());
        variables.set_one_shot(Target::Entry(7)).unwrap();
        let written = std::fs::read(place.path().join(ONE_SHOT)).unwrap();
        assert_eq!(written.len(), 4 + 2 * "staffel-7.conf\0".len());
        assert_eq!(written[..8], [7, 0, 0, 0, b's', 0, b't', 0]);
        assert_eq!(variables.counted(), None);
        for (path, number) in [("\\loader\\entries\\staffel-7+2-1.conf\0", Some(7)), ("\\EFI\\Linux\\x+1.efi\0", None)]
        {
            let text: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
            std::fs::write(place.path().join(BOOT_COUNT_PATH), [&ATTRIBUTES[..], &text].concat()).unwrap();
            assert_eq!(variables.counted(), number);
        }
    }
}
