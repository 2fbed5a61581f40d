//! Builds the folder of a generation from verified blobs, under a temporary name until it is whole.

use super::{Part, SlotError, Slots, intake::write_new};
use crate::{
    Doing as _, DoneTo,
    layout::{self, TEMPORARY},
    platform,
};
use staffel_core::boot::Generation;
use staffel_statement::predicate::{Release, is_safe_path};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

impl Slots {
    /// Builds a generation. After an error nothing new is left; a slot of that name that was there before is replaced.
    pub fn build(&self, generation: &Generation, parts: &[Part]) -> Result<(), SlotError> {
        let temporary = self.layout.generations().join(format!("{TEMPORARY}{}", generation.id));
        layout::remove(&temporary)?;
        let result = self.build_in(&temporary, parts).and_then(|()| Ok(self.put_in_place(generation, &temporary)?));
        if result.is_err() {
            let _ = layout::remove(&temporary);
        }
        result
    }

    fn build_in(&self, folder: &Path, parts: &[Part]) -> Result<(), SlotError> {
        let mut folders = BTreeSet::new();
        make_folder(folder, &mut folders)?;
        for part in parts {
            let below = folder.join(&part.name);
            make_folder(&below, &mut folders)?;
            self.fill(&below, &part.release, &mut folders)?;
        }
        // Innermost first, so that a name that is on the disk never points at nothing.
        for folder in folders.iter().rev() {
            platform::sync_directory(folder).doing("write to the disk", folder)?;
        }
        Ok(())
    }

    fn fill(&self, below: &Path, release: &Release, folders: &mut BTreeSet<PathBuf>) -> Result<(), SlotError> {
        for file in &release.files {
            let path = below.join(&file.path);
            if !is_safe_path(&file.path) {
                return Err(SlotError::Bad { path, why: "the path would leave the slot".into() });
            }
            let mut folder = below.to_path_buf();
            if let Some((parents, _)) = file.path.rsplit_once('/') {
                for part in parents.split('/') {
                    folder.push(part);
                    make_folder(&folder, folders)?;
                }
            }
            let blob = self.layout.blob(&file.sha256);
            let input = std::fs::File::open(&blob).doing("open", &blob)?;
            write_new(&path, file, input)?;
        }
        Ok(())
    }

    fn put_in_place(&self, generation: &Generation, temporary: &Path) -> Result<(), DoneTo> {
        let path = self.layout.generation(&generation.id);
        if path.symlink_metadata().is_ok() {
            let old = self.layout.generations().join(format!("{TEMPORARY}old-{}", generation.id));
            layout::remove(&old)?;
            std::fs::rename(&path, &old).doing("move away", &path)?;
        }
        std::fs::rename(temporary, &path).doing("put in place", &path)?;
        platform::sync_directory(&self.layout.generations()).doing("write to the disk", &self.layout.generations())
    }
}

fn make_folder(path: &Path, made: &mut BTreeSet<PathBuf>) -> Result<(), DoneTo> {
    if !made.insert(path.to_path_buf()) {
        return Ok(());
    }
    std::fs::create_dir(path).doing("create the folder", path)?;
    platform::set_mode(path, 0o755).doing("set the permissions of", path)
}
