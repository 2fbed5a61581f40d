//! The release before the one under test: what devices run now, as far as this folder knows. What must stay out: whether it
//! ever reached them, which only the server knows.

use crate::{
    command::release::{Built, blob, read_envelope},
    layout::Layout,
};
use staffel_core::ids::Digest;
use staffel_statement::predicate::{Gate, Release, read};
use std::path::{Path, PathBuf};

/// The newest release of this name with a lower sequence that passed the gate and whose files are all here.
pub fn find(layout: &Layout, built: &Built) -> Option<Built> {
    let entries = std::fs::read_dir(layout.releases_dir()).ok()?.flatten().map(|entry| entry.path());
    let found = entries
        .filter_map(|path| read_one(layout, &path))
        .filter(|other| other.release.name == built.release.name && other.release.sequence < built.release.sequence);
    found.max_by_key(|other| other.release.sequence)
}

/// Another version of this name with the same sequence, if this folder has one: nobody could say which is newer.
pub fn same_place(layout: &Layout, built: &Built) -> Option<String> {
    let entries = std::fs::read_dir(layout.releases_dir()).ok()?.flatten().map(|entry| entry.path());
    let statements = entries.filter(|path| !path.to_string_lossy().ends_with(".gate.dsse.json"));
    let releases = statements.filter_map(|path| read::<Release>(&read_envelope(&path).ok()?.payload().ok()?).ok());
    let mut others = releases.filter(|other| {
        let (new, old) = (&built.release, other);
        old.name == new.name && old.version != new.version && old.sequence == new.sequence
    });
    others.next().map(|other| format!("{} {} has the same sequence {}", other.name, other.version, other.sequence))
}

fn read_one(layout: &Layout, path: &Path) -> Option<Built> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".dsse.json")?;
    if stem.ends_with(".gate") {
        return None;
    }
    let gate = read_envelope(&path.with_file_name(format!("{stem}.gate.dsse.json"))).ok()?;
    let gate: Gate = read(&gate.payload().ok()?).ok()?;
    let payload = read_envelope(path).ok()?.payload().ok()?;
    let release: Release = read(&payload).ok()?;
    let digest = Digest::of(&payload);
    if !gate.attestation.passed || gate.attestation.release != digest {
        return None;
    }
    let sources: Vec<PathBuf> = release.files.iter().map(|file| blob(layout, &file.sha256)).collect();
    sources.iter().all(|source| source.is_file()).then_some(Built { release, digest, sources })
}
