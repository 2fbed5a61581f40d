//! Findings that wait for the agent, in a folder: one file each, named by its number.
//!
//! Read and acknowledged by another user: `stream` names the numbering, `NUMBER.json` is a finding, `lost.json` says how many
//! were dropped because nobody took them, `alive.json` that the sensor lives; `acknowledged` is the agent's: a stream
//! and the number up to which all of it is noted. A number is never given twice: what was removed is remembered before it goes.

use crate::finding::{Draft, Finding};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Most findings that wait.
pub const MOST: usize = 10_000;
/// Most bytes that wait.
pub const MOST_BYTES: u64 = 16 << 20;

/// What has left the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Findings that were dropped because nobody took them.
    pub lost: u64,
    /// No file has a number up to this one any more.
    pub through: u64,
}

/// The folder.
pub struct Spool {
    root: PathBuf,
    stream: String,
    /// Number and bytes of what waits, ascending.
    waiting: VecDeque<(u64, u64)>,
    bytes: u64,
    next: u64,
    gone: Gone,
    most: usize,
}

impl Spool {
    /// Opens it, or makes it. Only its group may look inside.
    pub fn open(root: &Path) -> io::Result<Self> {
        if !root.is_dir() {
            fs::create_dir_all(root)?;
            // Whatever the mask of this process: the agent writes what it noted.
            fs::set_permissions(root, fs::Permissions::from_mode(0o770))?;
        }
        let gone: Gone = read(&root.join("lost.json"), 4_096)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let mut waiting = Vec::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok()) else {
                continue;
            };
            waiting.push((number, entry.metadata()?.len()));
        }
        waiting.sort_unstable();
        let known = read(&root.join("stream"), 64).and_then(|bytes| String::from_utf8(bytes).ok());
        let known = known.filter(|stream| !stream.is_empty() && stream.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let mut spool = Spool {
            root: root.into(),
            stream: String::new(),
            bytes: waiting.iter().map(|(_, bytes)| bytes).sum(),
            next: waiting.last().map_or(0, |(number, _)| *number).max(gone.through) + 1,
            waiting: waiting.into(),
            gone,
            most: MOST,
        };
        spool.stream = match known {
            Some(stream) => stream,
            None => {
                let stream = random()?;
                spool.replace("stream", stream.as_bytes())?;
                stream
            }
        };
        Ok(spool)
    }

    /// Names the numbering.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many were dropped.
    pub fn lost(&self) -> u64 {
        self.gone.lost
    }

    /// Writes findings; durable when this returns. What can't be written counts as lost.
    pub fn append(&mut self, drafts: Vec<Draft>) -> io::Result<()> {
        if drafts.is_empty() {
            return Ok(());
        }
        let (all, mut written) = (drafts.len() as u64, 0);
        let mut result = drafts.into_iter().try_for_each(|draft| self.one(draft).map(|()| written += 1));
        if written < all {
            self.gone.lost += all - written;
            // As durable as it gets on a disk that takes nothing: it is written again with the next loss.
            let _ = serde_json::to_vec(&self.gone).map(|gone| self.replace("lost.json", &gone));
        } else {
            result = self.sync();
        }
        result.and_then(|()| self.bound())
    }

    fn one(&mut self, draft: Draft) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Finding { number: self.next, draft })?;
        self.write(&format!("{:020}.json", self.next), &bytes)?;
        self.waiting.push_back((self.next, bytes.len() as u64));
        self.bytes += bytes.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Removes what was noted.
    pub fn take_acknowledged(&mut self) -> io::Result<()> {
        // Nobody can note what was never written.
        let through = self.acknowledged().min(self.next - 1);
        if through > self.gone.through {
            self.forget(through, 0)?;
        }
        Ok(())
    }

    /// Leaves word that the sensor lives. It may be lost in a power cut.
    pub fn alive(&self, word: &impl Serialize) -> io::Result<()> {
        let new = self.root.join("alive.new");
        let mut file = create(&new)?;
        file.write_all(&serde_json::to_vec(word)?)?;
        fs::rename(&new, self.root.join("alive.json"))
    }

    fn acknowledged(&self) -> u64 {
        let text = read(&self.root.join("acknowledged"), 128).and_then(|bytes| String::from_utf8(bytes).ok());
        let noted = text.as_deref().and_then(|text| text.trim().split_once(' '));
        // What was noted of another stream is no word on this one.
        noted.filter(|(stream, _)| *stream == self.stream).and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
    }

    /// Drops the oldest if there are too many.
    fn bound(&mut self) -> io::Result<()> {
        let (mut through, mut dropped, mut bytes) = (0, 0u64, self.bytes);
        for (number, size) in &self.waiting {
            if self.waiting.len() - dropped as usize <= self.most && bytes <= MOST_BYTES {
                break;
            }
            (through, dropped, bytes) = (*number, dropped + 1, bytes - size);
        }
        if dropped > 0 { self.forget(through, dropped) } else { Ok(()) }
    }

    fn forget(&mut self, through: u64, lost: u64) -> io::Result<()> {
        let gone = Gone { lost: self.gone.lost + lost, through };
        self.replace("lost.json", &serde_json::to_vec(&gone)?)?;
        self.gone = gone;
        while let Some((number, bytes)) = self.waiting.front().copied().filter(|(number, _)| *number <= through) {
            self.waiting.pop_front();
            self.bytes -= bytes;
            // One that stays is sent once more, and known to the server.
            let _ = fs::remove_file(self.root.join(format!("{number:020}.json")));
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.root.join("new");
        let mut file = create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.root.join(name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(name, bytes)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

/// For the sensor to write and its group to read.
fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// A file that somebody else may have written: no link, no more than this.
fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let options = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(options).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// 32 hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Found, Trouble};

    fn drafts(count: usize) -> Vec<Draft> {
        let what = Found::sensor(Trouble::Killed, "a test");
        vec![Draft { what, count: 1, first_ms: 1, last_ms: 2 }; count]
    }

    fn numbers(root: &Path) -> Vec<u64> {
        let mut numbers: Vec<u64> = fs::read_dir(root)
            .expect("a folder")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn findings_wait_until_they_are_noted_and_no_number_is_given_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("spool");
        let mut spool = Spool::open(&root).expect("it is made");
        let stream = spool.stream().to_string();
        spool.append(drafts(3)).expect("written");
        assert_eq!(numbers(&root), [1, 2, 3]);
        // What a crash left half written is no finding.
        fs::write(root.join("new"), b"{\"numb").expect("written");
        let mut spool = Spool::open(&root).expect("it is there");
        assert_eq!((spool.stream(), spool.waiting()), (stream.as_str(), 3));
        spool.append(drafts(1)).expect("written");
        fs::write(root.join("acknowledged"), "00 4").expect("written");
        spool.take_acknowledged().expect("read");
        assert_eq!(numbers(&root), [1, 2, 3, 4], "another stream");
        fs::write(root.join("acknowledged"), format!("{stream} 3")).expect("written");
        spool.take_acknowledged().expect("read");
        assert_eq!((numbers(&root), spool.lost()), (vec![4], 0));
        fs::write(root.join("acknowledged"), format!("{stream} 99999")).expect("written");
        spool.take_acknowledged().expect("read");
        assert_eq!(numbers(&root), [] as [u64; 0]);
        drop(spool);
        // All is gone but the memory of it.
        fs::remove_file(root.join("acknowledged")).expect("removed");
        let mut spool = Spool::open(&root).expect("it is there");
        spool.append(drafts(1)).expect("written");
        assert_eq!(numbers(&root), [5]);
        let text = fs::read(root.join(format!("{:020}.json", 5))).expect("it is there");
        assert_eq!(serde_json::from_slice::<Finding>(&text).expect("a finding").number, 5);
        // A stranger's words are no acknowledgement.
        fs::write(root.join("acknowledged"), [255_u8; 100]).expect("written");
        spool.take_acknowledged().expect("read");
        assert_eq!(numbers(&root), [5]);
    }

    #[test]
    fn too_many_drop_the_oldest_and_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spool = Spool::open(folder.path()).expect("it is made");
        spool.most = 5;
        spool.append(drafts(4)).expect("written");
        spool.append(drafts(4)).expect("written");
        assert_eq!((numbers(folder.path()), spool.lost(), spool.waiting()), (vec![4, 5, 6, 7, 8], 3, 5));
        let spool = Spool::open(folder.path()).expect("it is there");
        assert_eq!((spool.lost(), spool.waiting(), spool.next), (3, 5, 9));
    }

    #[test]
    fn what_can_not_be_written_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spool = Spool::open(folder.path()).expect("it is made");
        fs::create_dir(folder.path().join("new")).expect("it stands in the way");
        spool.append(drafts(3)).expect_err("there is no room");
        assert_eq!((spool.lost(), spool.waiting()), (3, 0));
        fs::remove_dir(folder.path().join("new")).expect("removed");
        spool.append(drafts(2)).expect("written");
        assert_eq!((spool.lost(), numbers(folder.path())), (3, vec![1, 2]));
    }

    #[test]
    fn a_lost_folder_is_another_stream() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Spool::open(&folder.path().join("a")).expect("it is made").stream().to_string();
        let second = Spool::open(&folder.path().join("b")).expect("it is made").stream().to_string();
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
    }
}
