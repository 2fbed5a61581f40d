//! Takes a foreign file away and puts it back: by pattern and hash, only under allow-listed roots, never deleted. What
//! must stay out: who may ask for it (two operators; the verifier counts them).

use crate::{Doing as _, DoneTo, layout::Layout, platform, platform::Directory};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use staffel_core::ids::Digest;
use std::{
    fmt,
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// No remedy looks at more files than this.
const MOST_FILES: usize = 10_000;

/// Why nothing, or not everything, was taken away.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    #[error("{pattern:?} is under none of the roots that --quarantine-root allows ({})", roots.join(", "))]
    NotAllowed { pattern: String, roots: Vec<String> },
    #[error("{pattern:?} is not an absolute path without `.` and `..`")]
    Pattern { pattern: String },
    #[error("nothing with the hash {sha256} was taken away here, or all of it is back")]
    NothingKept { sha256: Digest },
    #[error("no file that matches {pattern:?} has the hash {sha256}; {seen} were looked at")]
    NoMatch { pattern: String, sha256: Digest, seen: usize },
    #[error(transparent)]
    Io(#[from] DoneTo),
}

/// A file that was moved into the quarantine or out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: PathBuf,
    pub to: PathBuf,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was moved to {}", self.from.display(), self.to.display())
    }
}

/// What is noted beside a file in the quarantine.
#[derive(Serialize, Deserialize)]
struct Note {
    was_at: String,
    /// Which remedy took it away.
    by: String,
}

/// What remedies may touch.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    /// Where the machine's own file system begins.
    pub host: &'a Path,
    /// Folders, as seen from here.
    pub roots: &'a [PathBuf],
}

/// A path that the machine itself names, as seen from here.
pub fn on_host(host: &Path, path: &Path) -> PathBuf {
    path.strip_prefix("/").map_or_else(|_| path.to_path_buf(), |below| host.join(below))
}

/// Moves every plain file that matches `pattern` (`*` and `?` within one part of the path) and has this hash into the
/// guard's quarantine. Symbolic links are not followed anywhere below the root.
pub fn quarantine(
    layout: &Layout,
    allowed: Allowed<'_>,
    pattern: &str,
    sha256: &Digest,
    by: &str,
) -> Result<Vec<Moved>, QuarantineError> {
    let parts: Vec<&str> = pattern.strip_prefix('/').unwrap_or("").split('/').collect();
    if parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return Err(QuarantineError::Pattern { pattern: pattern.into() });
    }
    let (roots, path) = (allowed.roots, on_host(allowed.host, Path::new(pattern)));
    let under = roots.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?.to_str()?)));
    let Some((root, below)) = under.filter(|(_, below)| !below.is_empty()) else {
        let roots = roots.iter().map(|root| root.display().to_string()).collect();
        return Err(QuarantineError::NotAllowed { pattern: pattern.into(), roots });
    };
    let mut search = Search { layout, sha256, by, seen: 0, moved: Vec::new() };
    let folder = Directory::open(root).doing("open", root)?;
    search.below(&folder, root, &below.split('/').collect::<Vec<_>>())?;
    if search.moved.is_empty() {
        return Err(QuarantineError::NoMatch { pattern: pattern.into(), sha256: *sha256, seen: search.seen });
    }
    Ok(search.moved)
}

/// Puts every kept file with this hash back to where it was, if that still lies under an allowed root and nothing else
/// is there now.
pub fn restore(layout: &Layout, roots: &[PathBuf], sha256: &Digest) -> Result<Vec<Moved>, QuarantineError> {
    let all = layout.quarantine();
    let mut moved = Vec::new();
    for entry in std::fs::read_dir(&all).doing("list", &all)? {
        let folder = entry.doing("list", &all)?.path();
        let ours = folder
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.rsplit_once('-').is_some_and(|(digest, _)| digest == sha256.to_string()));
        let kept = folder.join("file");
        if !ours || kept.symlink_metadata().is_err() {
            continue;
        }
        let path = PathBuf::from(note(&folder)?.was_at);
        put_back(roots, &kept, &path)?;
        crate::layout::remove(&kept)?;
        moved.push(Moved { from: kept, to: path });
    }
    if moved.is_empty() {
        return Err(QuarantineError::NothingKept { sha256: *sha256 });
    }
    Ok(moved)
}

fn note(folder: &Path) -> Result<Note, DoneTo> {
    let path = folder.join("note.json");
    let text = std::fs::read(&path).doing("read", &path)?;
    serde_json::from_slice(&text).map_err(std::io::Error::from).doing("read", &path)
}

fn put_back(roots: &[PathBuf], kept: &Path, path: &Path) -> Result<(), QuarantineError> {
    let under = roots.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?.to_str()?)));
    let Some((root, below)) = under.filter(|(_, below)| !below.is_empty()) else {
        let roots = roots.iter().map(|root| root.display().to_string()).collect();
        return Err(QuarantineError::NotAllowed { pattern: path.display().to_string(), roots });
    };
    let (folders, name) = below.rsplit_once('/').unwrap_or(("", below));
    let mut folder = Directory::open(root).doing("open", root)?;
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        folder = folder.directory(part).doing("open the folder of", path)?;
    }
    let mut input = File::open(kept).doing("read", kept)?;
    let facts = input.metadata().doing("read", kept)?;
    let mut output = folder.create_file(name).doing("create", path)?;
    let written = std::io::copy(&mut input, &mut output)
        .and_then(|_| platform::give_facts(&facts, &output))
        .and_then(|()| output.sync_all())
        .and_then(|()| folder.sync());
    if written.is_err() {
        // Half a file is worse than none; the kept one is still there.
        let _ = folder.remove_file(name);
    }
    Ok(written.doing("put back", path)?)
}

struct Search<'a> {
    layout: &'a Layout,
    sha256: &'a Digest,
    by: &'a str,
    seen: usize,
    moved: Vec<Moved>,
}

impl Search<'_> {
    fn below(&mut self, folder: &Directory, path: &Path, parts: &[&str]) -> Result<(), DoneTo> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        for name in folder.names().doing("list", path)? {
            if !matches(part, &name) || self.seen >= MOST_FILES {
                continue;
            }
            let path = path.join(&name);
            if rest.is_empty() {
                self.seen += 1;
                self.file(folder, &path, &name)?;
            } else if let Ok(inner) = folder.directory(&name) {
                self.below(&inner, &path, rest)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &Directory, path: &Path, name: &str) -> Result<(), DoneTo> {
        // Links, devices and what vanished meanwhile are not what was meant.
        let Ok((mut file, facts)) = folder.file(name) else { return Ok(()) };
        if !facts.regular || hash(&mut file).doing("read", path)? != *self.sha256 {
            return Ok(());
        }
        let kept = self.keep(&mut file, path)?;
        folder.remove_file(name).doing("take away", path)?;
        self.moved.push(Moved { from: path.into(), to: kept });
        Ok(())
    }

    fn keep(&self, file: &mut File, path: &Path) -> Result<PathBuf, DoneTo> {
        let all = self.layout.quarantine();
        let mut number = 1;
        let folder = loop {
            let folder = all.join(format!("{}-{number}", self.sha256));
            match std::fs::create_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                result => break result.map(|()| folder.clone()).doing("create the folder", &folder)?,
            }
        };
        let copy = folder.join("file");
        file.rewind().doing("read", path)?;
        let mut output = File::create(&copy).doing("create", &copy)?;
        std::io::copy(file, &mut output).doing("copy into", &copy)?;
        let facts = file.metadata().doing("read", path)?;
        platform::give_facts(&facts, &output).doing("set owner and permissions of", &copy)?;
        output.sync_all().doing("write to the disk", &copy)?;
        let note = folder.join("note.json");
        let text = serde_json::to_vec(&Note { was_at: path.display().to_string(), by: self.by.into() });
        let text = text.map_err(std::io::Error::from).doing("write", &note)?;
        let mut output = File::create(&note).doing("create", &note)?;
        output.write_all(&text).doing("write", &note)?;
        output.sync_all().doing("write to the disk", &note)?;
        platform::sync_directory(&folder).doing("write to the disk", &folder)?;
        platform::sync_directory(&all).doing("write to the disk", &all)?;
        Ok(copy)
    }
}

fn hash(file: &mut File) -> std::io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finalize().into())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// `*` stands for any run of characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands and how much it has taken: the only place to come back to.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn anywhere(roots: &[PathBuf]) -> Allowed<'_> {
        Allowed { host: Path::new("/"), roots }
    }

    #[test]
    fn paths_of_the_machine_lie_below_its_own_root() {
        assert_eq!(on_host(Path::new("/mnt"), Path::new("/opt/a")), Path::new("/mnt/opt/a"));
        assert_eq!(on_host(Path::new("/"), Path::new("/opt/a")), Path::new("/opt/a"));
        assert_eq!(on_host(Path::new("/mnt"), Path::new("opt/a")), Path::new("opt/a"));
    }

    #[test]
    fn patterns_match_within_one_part() {
        for (pattern, name, holds) in [
            ("C-00000291*.sys", "C-00000291-00000000-00000032.sys", true),
            ("C-00000291*.sys", "C-00000285-00000000-00000032.sys", false),
            ("*", "", true),
            ("a?c*", "abc", true),
            ("a?c", "ac", false),
            ("*a*b", "xxaxxbxb", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), holds, "{pattern} {name}");
        }
    }

    #[test]
    fn only_the_named_file_under_an_allowed_root_is_taken_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let layout = Layout::new(base.join("guard"));
        layout.create(None).unwrap();
        let drivers = base.join("drivers/acme");
        std::fs::create_dir_all(&drivers).unwrap();
        for (name, text) in [("C-291-1.sys", "zeros"), ("C-291-2.sys", "fine"), ("D-1.sys", "zeros")] {
            std::fs::write(drivers.join(name), text).unwrap();
        }
        let permissions = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(drivers.join("C-291-1.sys"), permissions).unwrap();
        std::os::unix::fs::symlink(drivers.join("D-1.sys"), drivers.join("C-291-3.sys")).unwrap();
        let roots = [base.join("drivers")];
        let bad = Digest::of(b"zeros");
        let pattern = |below: &str| base.join(below).display().to_string();
        let taken = quarantine(&layout, anywhere(&roots), &pattern("drivers/*/C-291*.sys"), &bad, "remedy 1").unwrap();
        assert_eq!(taken.iter().map(|t| t.from.clone()).collect::<Vec<_>>(), [drivers.join("C-291-1.sys")]);
        assert_eq!(std::fs::read_to_string(&taken[0].to).unwrap(), "zeros");
        assert!(drivers.join("C-291-2.sys").exists() && drivers.join("D-1.sys").exists());
        let again = quarantine(&layout, anywhere(&roots), &pattern("drivers/*/C-291*.sys"), &bad, "remedy 1");
        assert!(matches!(again, Err(QuarantineError::NoMatch { .. })), "{again:?}");
        // It goes back to where it was, once, with its permissions; never over something else.
        let back = restore(&layout, &roots, &bad).unwrap();
        assert_eq!(back[0].to, drivers.join("C-291-1.sys"));
        assert_eq!(std::fs::metadata(&back[0].to).unwrap().permissions().mode() & 0o777, 0o640);
        let nothing = restore(&layout, &roots, &bad);
        assert!(matches!(nothing, Err(QuarantineError::NothingKept { .. })), "{nothing:?}");
        quarantine(&layout, anywhere(&roots), &pattern("drivers/*/C-291*.sys"), &bad, "remedy 2").unwrap();
        assert!(restore(&layout, &[base.join("other")], &bad).is_err(), "the roots still count");
        std::fs::write(drivers.join("C-291-1.sys"), "new").unwrap();
        assert!(restore(&layout, &roots, &bad).is_err());
        assert_eq!(std::fs::read_to_string(drivers.join("C-291-1.sys")).unwrap(), "new");
        for outside in ["guard/lock", "driversx/a"] {
            let refused = quarantine(&layout, anywhere(&roots), &pattern(outside), &bad, "r");
            assert!(matches!(refused, Err(QuarantineError::NotAllowed { .. })), "{refused:?}");
        }
        let climbs = quarantine(&layout, anywhere(&roots), &pattern("drivers/../guard/x"), &bad, "r");
        assert!(matches!(climbs, Err(QuarantineError::Pattern { .. })), "{climbs:?}");
    }

    #[test]
    fn a_link_to_a_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let layout = Layout::new(base.join("guard"));
        layout.create(None).unwrap();
        std::fs::create_dir_all(base.join("root")).unwrap();
        std::fs::create_dir_all(base.join("outside")).unwrap();
        std::fs::write(base.join("outside/f"), "x").unwrap();
        std::os::unix::fs::symlink(base.join("outside"), base.join("root/in")).unwrap();
        let pattern = base.join("root/in/f").display().to_string();
        let refused = quarantine(&layout, anywhere(&[base.join("root")]), &pattern, &Digest::of(b"x"), "r");
        assert!(matches!(refused, Err(QuarantineError::NoMatch { seen: 0, .. })), "{refused:?}");
        assert!(base.join("outside/f").exists());
    }
}
