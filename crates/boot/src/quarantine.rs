//! Takes a foreign file away: by pattern and hash, only under allow-listed roots, the previous copy kept. What must stay
//! out: who may ask for it (two operators; the verifier counts them).

use crate::{Doing as _, DoneTo, layout::Layout, platform, platform::Directory};
use sha2::{Digest as _, Sha256};
use staffel_core::ids::Digest;
use std::{
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
    #[error("no file that matches {pattern:?} has the hash {sha256}; {seen} were looked at")]
    NoMatch { pattern: String, sha256: Digest, seen: usize },
    #[error(transparent)]
    Io(#[from] DoneTo),
}

/// What was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub from: PathBuf,
    pub kept_as: PathBuf,
}

/// Moves every plain file that matches `pattern` (`*` and `?` within one part of the path) and has this hash into the
/// guard's quarantine. Symbolic links are not followed anywhere below the root.
pub fn quarantine(
    layout: &Layout,
    roots: &[PathBuf],
    pattern: &str,
    sha256: &Digest,
) -> Result<Vec<Taken>, QuarantineError> {
    let parts: Vec<&str> = pattern.strip_prefix('/').unwrap_or("").split('/').collect();
    if parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return Err(QuarantineError::Pattern { pattern: pattern.into() });
    }
    let under = roots.iter().find_map(|root| Some((root, Path::new(pattern).strip_prefix(root).ok()?.to_str()?)));
    let Some((root, below)) = under.filter(|(_, below)| !below.is_empty()) else {
        let roots = roots.iter().map(|root| root.display().to_string()).collect();
        return Err(QuarantineError::NotAllowed { pattern: pattern.into(), roots });
    };
    let mut search = Search { layout, sha256, seen: 0, taken: Vec::new() };
    let folder = Directory::open(root).doing("open", root)?;
    search.below(&folder, root, &below.split('/').collect::<Vec<_>>())?;
    if search.taken.is_empty() {
        return Err(QuarantineError::NoMatch { pattern: pattern.into(), sha256: *sha256, seen: search.seen });
    }
    Ok(search.taken)
}

struct Search<'a> {
    layout: &'a Layout,
    sha256: &'a Digest,
    seen: usize,
    taken: Vec<Taken>,
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
        let kept_as = self.keep(&mut file, path)?;
        folder.remove_file(name).doing("delete", path)?;
        self.taken.push(Taken { from: path.into(), kept_as });
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
        output.sync_all().doing("write to the disk", &copy)?;
        let note = folder.join("was-at");
        let mut output = File::create(&note).doing("create", &note)?;
        output.write_all(path.as_os_str().as_encoded_bytes()).doing("write", &note)?;
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
        std::os::unix::fs::symlink(drivers.join("D-1.sys"), drivers.join("C-291-3.sys")).unwrap();
        let roots = [base.join("drivers")];
        let bad = Digest::of(b"zeros");
        let pattern = |below: &str| base.join(below).display().to_string();
        let taken = quarantine(&layout, &roots, &pattern("drivers/*/C-291*.sys"), &bad).unwrap();
        assert_eq!(taken.iter().map(|t| t.from.clone()).collect::<Vec<_>>(), [drivers.join("C-291-1.sys")]);
        assert_eq!(std::fs::read_to_string(&taken[0].kept_as).unwrap(), "zeros");
        assert!(drivers.join("C-291-2.sys").exists() && drivers.join("D-1.sys").exists());
        let again = quarantine(&layout, &roots, &pattern("drivers/*/C-291*.sys"), &bad);
        assert!(matches!(again, Err(QuarantineError::NoMatch { .. })), "{again:?}");
        for outside in ["guard/lock", "driversx/a"] {
            let refused = quarantine(&layout, &roots, &pattern(outside), &bad);
            assert!(matches!(refused, Err(QuarantineError::NotAllowed { .. })), "{refused:?}");
        }
        let climbs = quarantine(&layout, &roots, &pattern("drivers/../guard/x"), &bad);
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
        let refused = quarantine(&layout, &[base.join("root")], &pattern, &Digest::of(b"x"));
        assert!(matches!(refused, Err(QuarantineError::NoMatch { seen: 0, .. })), "{refused:?}");
        assert!(base.join("outside/f").exists());
    }
}
