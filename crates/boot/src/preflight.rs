//! What must be right before a change is worth starting: room, a writable folder, and something to go back to. The
//! clock is not asked; it may stand anywhere. What must stay out: the seven conditions.

use crate::{
    platform,
    slots::{Depth, Part, Slots},
};
use staffel_core::{boot::Generation, release::StateCompatibility};
use std::path::Path;

/// Kept free beyond what a change needs: records, logs, and what services write meanwhile. Bytes.
pub const RESERVE: u64 = 16 << 20;

/// Bytes that a change writes: blobs that are missing, the new slot, and a copy of the state where it is needed.
pub fn needed_bytes(slots: &Slots, generation: &Generation, parts: &[Part], changed: &Part) -> u64 {
    let mut need = slots.missing_bytes(&changed.release);
    if !slots.layout.generation(&generation.id).exists() {
        let sizes = parts.iter().flat_map(|part| &part.release.files).map(|file| file.size);
        need = sizes.fold(need, u64::saturating_add);
    }
    if changed.release.state == StateCompatibility::Snapshot {
        need = need.saturating_add(slots.state_bytes(&changed.name));
    }
    need.saturating_add(RESERVE)
}

/// A reason not to start if there is too little room.
pub fn room(folder: &Path, need: u64) -> Option<String> {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    match platform::free_bytes(folder) {
        Ok(free) if free >= need => None,
        Ok(free) => Some(format!(
            "too little room: the change needs {} MiB below {}, {} MiB are free; make room and try again",
            mib(need),
            folder.display(),
            free >> 20
        )),
        Err(error) => Some(format!("how much room is left below {} is not known: {error}", folder.display())),
    }
}

/// A reason not to start if the guard's folder can't be written.
pub fn writable(folder: &Path) -> Option<String> {
    let path = folder.join("preflight.tmp");
    let tried = std::fs::write(&path, b"staffel").and_then(|()| std::fs::remove_file(&path));
    tried.err().map(|error| format!("{} can't be written: {error}", folder.display()))
}

/// A reason not to start if there is nothing whole to go back to.
pub fn last_known_good(slots: &Slots, generation: &Generation, depth: Depth) -> Option<String> {
    slots.check(generation, depth).err().map(|error| format!("last-known-good is not whole: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_said_with_numbers() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(room(folder.path(), 1), None);
        let why = room(folder.path(), u64::MAX).unwrap();
        assert!(why.contains("needs 17592186044416 MiB") && why.contains("are free"), "{why}");
        assert!(room(&folder.path().join("none"), 1).is_some());
    }

    #[test]
    fn a_folder_that_is_not_there_can_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(writable(folder.path()), None);
        assert!(writable(&folder.path().join("none")).is_some());
    }
}
