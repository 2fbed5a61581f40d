//! What `{state}` stands for: a folder a release that survives updates, and its copy for a way back.
//!
//! Before a release whose state older versions can't read is started, the folder is copied; on a way back to what ran
//! before, the copy is put back and the newer one is kept under `left/`. Both may be repeated after a crash. What must
//! stay out: when either is due.

use super::Slots;
use crate::{
    Doing as _, DoneTo,
    layout::{self, TEMPORARY},
    platform,
    platform::User,
    record::Snapshot,
};
use staffel_core::{boot::Generation, ids::Digest};
use std::path::{Path, PathBuf};

impl Slots {
    /// The folder of a release's state.
    pub fn state_folder(&self, name: &str) -> PathBuf {
        self.layout.states().join(name)
    }

    /// Makes the folder of a release's state if it is missing, and gives it to the user that services run as.
    pub fn make_state_folder(&self, name: &str, user: Option<User>) -> Result<PathBuf, DoneTo> {
        let path = self.state_folder(name);
        if path.symlink_metadata().is_err() {
            std::fs::create_dir(&path).doing("create the folder", &path)?;
            platform::set_mode(&path, 0o700).doing("set the permissions of", &path)?;
            if let (Some(user), true) = (user, platform::is_root()) {
                platform::give_to(&path, user).doing("give to the services' user", &path)?;
            }
        }
        Ok(path)
    }

    /// Bytes below a release's state folder.
    pub fn state_bytes(&self, name: &str) -> u64 {
        tree_bytes(&self.state_folder(name))
    }

    /// Copies the state of a release whose services are stopped; does nothing if the copy is there.
    pub fn take_snapshot(&self, snapshot: &Snapshot) -> Result<(), DoneTo> {
        let copy = self.layout.snapshots().join(&snapshot.folder);
        let state = self.state_folder(&snapshot.name);
        if copy.symlink_metadata().is_ok() {
            return Ok(());
        }
        let temporary = self.layout.snapshots().join(format!("{TEMPORARY}{}", snapshot.folder));
        layout::remove(&temporary)?;
        let result = match state.symlink_metadata() {
            Ok(_) => copy_tree(&state, &temporary),
            // Nothing was there: the way back is an empty folder.
            Err(_) => std::fs::create_dir(&temporary)
                .and_then(|()| platform::set_mode(&temporary, 0o700))
                .doing("create the folder", &temporary),
        };
        let result = result.and_then(|()| {
            std::fs::rename(&temporary, &copy).doing("put in place", &copy)?;
            platform::sync_directory(&self.layout.snapshots()).doing("write to the disk", &self.layout.snapshots())
        });
        if result.is_err() {
            let _ = layout::remove(&temporary);
        }
        result
    }

    /// Puts a copy back; if it is not there (never made, or put back before a crash), the state stays as it is.
    pub fn restore_snapshot(&self, snapshot: &Snapshot) -> Result<(), DoneTo> {
        let copy = self.layout.snapshots().join(&snapshot.folder);
        if copy.symlink_metadata().is_err() {
            return Ok(());
        }
        let state = self.state_folder(&snapshot.name);
        if state.symlink_metadata().is_ok() {
            let left = self.layout.left().join(&snapshot.name);
            layout::remove(&left)?;
            std::fs::rename(&state, &left).doing("move aside", &state)?;
        }
        std::fs::rename(&copy, &state).doing("put back", &state)?;
        platform::sync_directory(&self.layout.states()).doing("write to the disk", &self.layout.states())
    }
}

/// Which snapshots must be put back to run `generation`, and which stay.
///
/// One is put back if the generation holds the release that ran before it; later ones of the same name go with it.
/// Nothing is put back as long as the release runs for which the latest one was made.
pub fn due(snapshots: &[Snapshot], generation: &Generation) -> (Vec<Snapshot>, Vec<Snapshot>) {
    let mut back: Vec<(usize, &Snapshot)> = Vec::new();
    for (at, snapshot) in snapshots.iter().enumerate() {
        let now: Option<&Digest> = generation.releases.get(&snapshot.name);
        let latest = snapshots.iter().rfind(|other| other.name == snapshot.name);
        if now == snapshot.before.as_ref() && latest.is_some_and(|latest| now != Some(&latest.after)) {
            back.retain(|(_, other)| other.name != snapshot.name);
            back.push((at, snapshot));
        }
    }
    let stays =
        |at: usize, snapshot: &Snapshot| back.iter().all(|(from, other)| other.name != snapshot.name || at < *from);
    let stay = snapshots.iter().enumerate().filter(|(at, s)| stays(*at, s)).map(|(_, s)| s.clone()).collect();
    (back.into_iter().map(|(_, snapshot)| snapshot.clone()).collect(), stay)
}

fn tree_bytes(path: &Path) -> u64 {
    match path.symlink_metadata() {
        Ok(facts) if facts.is_dir() => std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .fold(0, |sum, entry| sum.saturating_add(tree_bytes(&entry.path()))),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    }
}

/// Copies a folder with links, permissions and owners. Sockets and pipes mean nothing in a copy and are left out.
fn copy_tree(from: &Path, to: &Path) -> Result<(), DoneTo> {
    let facts = from.symlink_metadata().doing("look at", from)?;
    if facts.is_symlink() {
        return platform::copy_link(from, to).doing("copy", from);
    }
    if facts.is_file() {
        std::fs::copy(from, to).doing("copy", from)?;
        platform::copy_owner(&facts, to).doing("set the owner of", to)?;
        return std::fs::File::open(to).and_then(|file| file.sync_all()).doing("write to the disk", to);
    }
    if !facts.is_dir() {
        return Ok(());
    }
    std::fs::create_dir(to).doing("create the folder", to)?;
    for entry in std::fs::read_dir(from).doing("list", from)? {
        let entry = entry.doing("list", from)?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    platform::copy_owner(&facts, to).doing("set the owner of", to)?;
    platform::sync_directory(to).doing("write to the disk", to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(n: u64, before: Option<u8>, after: u8) -> Snapshot {
        let digest = |n: u8| Digest([n; 32]);
        Snapshot { folder: format!("till-{n}"), name: "till".into(), before: before.map(digest), after: digest(after) }
    }

    fn running(n: u8) -> Generation {
        Generation::of([("till".to_string(), Digest([n; 32]))].into())
    }

    #[test]
    fn only_a_way_back_puts_a_copy_back() {
        let all = [snapshot(1, Some(1), 2), snapshot(2, Some(2), 3)];
        assert_eq!(due(&all, &running(3)), (vec![], all.to_vec()));
        assert_eq!(due(&all, &running(2)), (vec![all[1].clone()], vec![all[0].clone()]));
        assert_eq!(due(&all, &running(1)), (vec![all[0].clone()], vec![]));
        assert_eq!(due(&all, &running(9)), (vec![], all.to_vec()));
        let there_and_forward = [snapshot(1, Some(1), 2), snapshot(2, Some(2), 1)];
        assert_eq!(due(&there_and_forward, &running(1)), (vec![], there_and_forward.to_vec()));
    }

    #[test]
    fn a_first_installation_goes_back_to_nothing() {
        let all = [snapshot(1, None, 1)];
        assert_eq!(due(&all, &Generation::empty()), (all.to_vec(), vec![]));
    }

    #[test]
    fn a_copy_is_whole_and_both_ways_may_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots { layout: crate::layout::Layout::new(folder.path()) };
        slots.layout.create(None).unwrap();
        let state = slots.make_state_folder("till", None).unwrap();
        std::fs::create_dir(state.join("deep")).unwrap();
        std::fs::write(state.join("deep/ledger"), "old").unwrap();
        let snapshot = snapshot(1, Some(1), 2);
        slots.take_snapshot(&snapshot).unwrap();
        std::fs::write(state.join("deep/ledger"), "new").unwrap();
        slots.take_snapshot(&snapshot).unwrap();
        for _ in 0..2 {
            slots.restore_snapshot(&snapshot).unwrap();
            assert_eq!(std::fs::read_to_string(state.join("deep/ledger")).unwrap(), "old");
        }
        assert_eq!(std::fs::read_to_string(slots.layout.left().join("till/deep/ledger")).unwrap(), "new");
    }
}
