//! Generations on disk: whole or not there.
//!
//! A slot is built under a temporary name, flushed and renamed, so a name below `generations/` that is a digest was
//! complete once. Before it is run it is hashed again, and repaired from the blobs if it rotted. Files are copied, not
//! linked: a program that writes into its own folder must not change last-known-good. What must stay out: which
//! generation is to run.

mod build;
mod intake;
pub mod state_folders;

use crate::{
    Doing as _, DoneTo,
    layout::{self, Layout, TEMPORARY},
    platform,
    record::Snapshot,
};
use sha2::{Digest as _, Sha256};
use staffel_core::{boot::Generation, ids::Digest};
use staffel_statement::predicate::{File, Release, StatementError, is_safe_path, read};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// Why a slot can't be built or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error(transparent)]
    Io(#[from] DoneTo),
    #[error("{path} does not hold: {why}")]
    Bad { path: PathBuf, why: String },
    #[error("the release statement {digest} is not readable: {source}")]
    Statement { digest: Digest, source: StatementError },
    #[error("the release {digest} can't be used: {why}")]
    Release { digest: Digest, why: String },
    #[error("the agent has not put {sha256} into {spool}: {why}")]
    Spool { sha256: Digest, spool: PathBuf, why: String },
}

/// One release in a generation.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: String,
    pub digest: Digest,
    pub release: Release,
}

/// How closely a slot is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every file is there with its size and permissions.
    Sizes,
    /// Its bytes as well.
    Bytes,
}

/// The slots below one folder.
#[derive(Clone, Debug)]
pub struct Slots {
    pub layout: Layout,
}

impl Slots {
    /// The folder of one release of a generation.
    pub fn folder(&self, generation: &Digest, name: &str) -> PathBuf {
        self.layout.generation(generation).join(name)
    }

    /// The signed contents of every release of a generation. The generation's id vouches for them: it was armed with
    /// verified statements, and each payload must have the digest that it names.
    pub fn parts(&self, generation: &Generation) -> Result<Vec<Part>, SlotError> {
        generation.releases.iter().map(|(name, digest)| self.part(name, *digest)).collect()
    }

    fn part(&self, name: &str, digest: Digest) -> Result<Part, SlotError> {
        let path = self.layout.blob(&digest);
        let payload = std::fs::read(&path).doing("read", &path)?;
        if Digest::of(&payload) != digest {
            return Err(SlotError::Bad { path, why: "its bytes have changed".into() });
        }
        let release = read::<Release>(&payload).map_err(|source| SlotError::Statement { digest, source })?;
        let part = Part { name: name.into(), digest, release };
        part.problems().map_or(Ok(part), |why| Err(SlotError::Release { digest, why }))
    }

    /// `Ok` if every file of the generation is there as it was signed.
    pub fn check(&self, generation: &Generation, depth: Depth) -> Result<(), SlotError> {
        let folder = self.layout.generation(&generation.id);
        let facts = folder.symlink_metadata().doing("look at", &folder)?;
        if !facts.is_dir() {
            return Err(SlotError::Bad { path: folder, why: "it is not a folder".into() });
        }
        for part in self.parts(generation)? {
            for file in &part.release.files {
                check_file(&folder.join(&part.name).join(&file.path), file, depth)?;
            }
        }
        Ok(())
    }

    /// Checks every byte of a generation and builds it anew from the blobs where it does not hold. Nothing of it may
    /// be running. The text says what was repaired.
    pub fn ensure(&self, generation: &Generation) -> Result<Option<String>, SlotError> {
        let Err(why) = self.check(generation, Depth::Bytes) else { return Ok(None) };
        let parts = self.parts(generation)?;
        self.build(generation, &parts)?;
        self.check(generation, Depth::Bytes)?;
        Ok(Some(format!("generation {} was repaired: {why}", generation.id.short())))
    }

    /// Points `current` at a generation, or removes it.
    pub fn switch(&self, generation: Option<&Generation>) -> Result<(), DoneTo> {
        let link = self.layout.current();
        match generation {
            Some(generation) => {
                let target = Path::new("generations").join(generation.id.to_string());
                if std::fs::read_link(&link).is_ok_and(|now| now == target) {
                    return Ok(());
                }
                platform::switch_link(&link, &target).doing("switch", &link)
            }
            None => layout::remove(&link),
        }
    }

    /// Deletes every generation, blob and snapshot that nothing names, and what was not finished. Says what went wrong;
    /// what stays behind is tried again next time.
    pub fn collect(&self, keep: &[Generation], snapshots: &[Snapshot]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut blobs = BTreeSet::new();
        for generation in keep {
            match self.parts(generation) {
                Ok(parts) => {
                    for part in parts {
                        blobs.insert(part.digest.to_string());
                        blobs.extend(part.release.files.iter().map(|file| file.sha256.to_string()));
                    }
                }
                // What a damaged generation needs is not known, so no blob is deleted.
                Err(error) => return vec![error.to_string()],
            }
        }
        let generations = keep.iter().map(|generation| generation.id.to_string()).collect();
        let snapshots = snapshots.iter().map(|snapshot| snapshot.folder.clone()).collect();
        for (folder, named) in [
            (self.layout.generations(), generations),
            (self.layout.blobs(), blobs),
            (self.layout.snapshots(), snapshots),
            (self.layout.left(), BTreeSet::new()),
        ] {
            let only_unfinished = folder == self.layout.left();
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let unfinished = name.starts_with(TEMPORARY);
                if (unfinished || (!only_unfinished && !named.contains(&name)))
                    && let Err(error) = layout::remove(&entry.path())
                {
                    wrong.push(error.to_string());
                }
            }
        }
        wrong
    }
}

impl Part {
    /// What is wrong with it, checked here again whoever checked it before.
    fn problems(&self) -> Option<String> {
        let mut problems = self.release.problems();
        if self.release.name != self.name {
            problems.push(format!("it is {:?} where {:?} was meant", self.release.name, self.name));
        }
        problems
            .extend(self.release.files.iter().filter(|f| !is_safe_path(&f.path)).map(|f| format!("path {:?}", f.path)));
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

fn check_file(path: &Path, file: &File, depth: Depth) -> Result<(), SlotError> {
    let bad = |why: &str| SlotError::Bad { path: path.into(), why: why.into() };
    let facts = path.symlink_metadata().doing("look at", path)?;
    if !facts.is_file() {
        return Err(bad("it is not a plain file"));
    }
    if facts.len() != file.size {
        return Err(bad(&format!("it has {} bytes, {} were signed", facts.len(), file.size)));
    }
    if file.executable && !platform::is_executable(&facts) {
        return Err(bad("it is not executable"));
    }
    if depth == Depth::Bytes {
        let input = std::fs::File::open(path).doing("open", path)?;
        copy_checked(input, &mut std::io::sink(), file).doing("check", path)?;
    }
    Ok(())
}

/// Copies while hashing. An error unless it was exactly the signed bytes; at most one byte more than those is read.
fn copy_checked(input: impl Read, output: &mut impl Write, file: &File) -> std::io::Result<()> {
    let wrong = |why: String| Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    let mut input = input.take(file.size.saturating_add(1));
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0u64;
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        if size > file.size {
            return wrong(format!("it is longer than the {} bytes that were signed", file.size));
        }
        hash.update(&buffer[..read]);
        output.write_all(&buffer[..read])?;
    }
    if size != file.size {
        return wrong(format!("it has {size} bytes, {} were signed", file.size));
    }
    if Digest(hash.finalize().into()) != file.sha256 {
        return wrong("its hash is not the one that was signed".into());
    }
    Ok(())
}
