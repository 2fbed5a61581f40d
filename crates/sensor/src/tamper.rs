//! Whether the sensor's own programs are still those that were started.
//!
//! Looks at what a file system says first, and reads the bytes only when that has changed. What must stay out: the packs and
//! the manifest (`protection` knows what it wrote).

use crate::store::digest_of;
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// What a file system says of a file without its bytes.
type Mark = (u64, u64, u64, i64, i64, i64, i64);

/// A file that should stay what it is.
pub struct Sealed {
    path: PathBuf,
    what: &'static str,
    mark: Option<Mark>,
    digest: String,
    /// It was said already.
    broken: bool,
}

fn mark(path: &Path) -> Option<Mark> {
    let about = fs::metadata(path).ok()?;
    let (changed, written) = ((about.ctime(), about.ctime_nsec()), (about.mtime(), about.mtime_nsec()));
    Some((about.dev(), about.ino(), about.size(), changed.0, changed.1, written.0, written.1))
}

impl Sealed {
    /// As it is now.
    pub fn new(what: &'static str, path: &Path) -> io::Result<Self> {
        Ok(Sealed { path: path.into(), what, mark: mark(path), digest: digest_of(path)?, broken: false })
    }

    /// The sensor has become another user: what that one sees of the file now is how it should stay. False: nothing.
    pub fn settle(&mut self) -> bool {
        self.mark = mark(&self.path);
        self.mark.is_some()
    }

    /// What has happened to it, once.
    pub fn look(&mut self) -> Option<String> {
        let now = mark(&self.path);
        if now == self.mark {
            return None;
        }
        self.mark = now;
        let found = digest_of(&self.path);
        let same = found.as_ref().is_ok_and(|found| *found == self.digest);
        let news = !same && !self.broken;
        self.broken = !same;
        news.then(|| match found {
            Ok(_) => format!("{} {} is another one than was started", self.what, self.path.display()),
            Err(error) => format!("{} {} can't be read any more: {error}", self.what, self.path.display()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_or_removed_is_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        fs::write(&path, "good").expect("written");
        let mut sealed = Sealed::new("the program", &path).expect("it is there");
        assert_eq!(sealed.look(), None);
        fs::write(folder.path().join("new"), "good").expect("written");
        fs::rename(folder.path().join("new"), &path).expect("renamed");
        assert_eq!(sealed.look(), None, "the same bytes are the same program");
        fs::write(folder.path().join("new"), "evil").expect("written");
        fs::rename(folder.path().join("new"), &path).expect("renamed");
        assert!(sealed.look().is_some_and(|what| what.contains("another one")));
        assert_eq!(sealed.look(), None);
        fs::remove_file(&path).expect("removed");
        assert_eq!(sealed.look(), None, "it was said");
        fs::write(&path, "good").expect("written");
        assert_eq!(sealed.look(), None);
        fs::remove_file(&path).expect("removed");
        assert!(sealed.look().is_some_and(|what| what.contains("can't be read")));
    }
}
