//! The folder of a sensor: `manifest.json` and `packs/DIGEST.json`. Each file is replaced as a whole or not at all.

use crate::manifest::{Manifest, Taken};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a file in hexadecimal, however large it is.
pub fn digest_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// The folder.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes it if it is not there.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("packs"))?;
        Ok(Folder { root: root.into() })
    }

    /// One that may not be there, to be read only.
    pub fn look(root: &Path) -> Self {
        Folder { root: root.into() }
    }

    /// The manifest; an empty one if there is none or it can't be read: then the built-in pack runs.
    pub fn manifest(&self) -> Manifest {
        let read = fs::read(self.root.join("manifest.json"));
        read.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces the manifest, and removes packs that it no longer names.
    pub fn write_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        self.replace("manifest.json", &serde_json::to_vec_pretty(manifest)?)?;
        let kept = [&manifest.active, &manifest.previous].map(|taken| taken.as_ref().map(|taken| &taken.digest));
        for entry in fs::read_dir(self.root.join("packs"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !kept.iter().flatten().any(|digest| name == format!("{digest}.json")) {
                // One that stays takes room, nothing else.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Keeps a pack.
    pub fn keep(&self, digest: &str, pack: &[u8]) -> io::Result<()> {
        self.replace(&format!("packs/{digest}.json"), pack)
    }

    /// Leaves a file that may be lost in a power cut.
    pub fn leave(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, new) = (self.root.join(name), self.root.join(name).with_extension("new"));
        fs::write(&new, bytes)?;
        fs::rename(new, path)
    }

    /// What [`Folder::leave`] left.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.root.join(name))
    }

    /// A kept pack, if its bytes are still those that were kept.
    pub fn pack(&self, taken: &Taken) -> Option<Vec<u8>> {
        let bytes = fs::read(self.root.join(format!("packs/{}.json", taken.digest))).ok()?;
        (digest(&bytes) == taken.digest).then_some(bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(name);
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        // The rename is durable with its folder.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}
