//! The sources of events: opened while there are rights to do so, then read as bytes, each by a thread of its own.
//!
//! Each works or is blind on its own; why is kept for whoever asks. The descriptors belong to the supervisor: the kernel goes
//! on filling them whatever happens to other processes. What must stay out: what the bytes say (`collect`).

use crate::{
    collect::{Source, inotify},
    platform::{self, Connector},
    queue::{Chunk, Queue},
};
use rustix::{
    fd::OwnedFd,
    fs::inotify::{CreateFlags, WatchFlags},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Between two looks at `/proc` where there is no connector.
const POLL: Duration = Duration::from_millis(500);
/// Between two looks at a log that has not grown.
const FOLLOW: Duration = Duration::from_millis(250);
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Folders that are watched if nothing is said: where rules of the built-in pack look.
const FOLDERS: [&str; 13] = [
    "/etc",
    "/etc/cron.d",
    "/etc/cron.daily",
    "/etc/cron.hourly",
    "/etc/cron.monthly",
    "/etc/cron.weekly",
    "/etc/systemd/system",
    "/etc/pam.d",
    "/etc/sudoers.d",
    "/var/spool/cron",
    "/var/spool/cron/crontabs",
    "/var/log",
    "/root/.ssh",
];

/// How starts of programs are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Processes {
    /// By the kernel's connector; where that is refused, by looking at `/proc`.
    #[default]
    Connector,
    /// By looking at `/proc` twice a second.
    Poll,
}

/// What is to be seen.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub processes: Processes,
    /// None: [`default_folders`].
    pub folders: Option<Vec<PathBuf>>,
    pub log: PathBuf,
}

/// Folders that are watched if nothing is said, those of this machine's users included.
pub fn default_folders() -> Vec<PathBuf> {
    let homes = fs::read_dir("/home").into_iter().flatten().flatten().map(|home| home.path().join(".ssh"));
    FOLDERS.iter().map(PathBuf::from).chain(homes).collect()
}

/// What can't be seen, and why.
pub type Blind = Arc<Mutex<BTreeMap<Source, String>>>;

/// Guards what is blind.
pub fn locked(blind: &Blind) -> MutexGuard<'_, BTreeMap<Source, String>> {
    blind.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Watched folders.
pub struct Folders {
    descriptor: Arc<OwnedFd>,
    /// Those that are watched.
    pub watched: BTreeMap<i32, String>,
    wanted: Vec<PathBuf>,
}

impl Folders {
    /// None is watched yet.
    pub fn open(wanted: Vec<PathBuf>) -> io::Result<Self> {
        let descriptor = rustix::fs::inotify::init(CreateFlags::CLOEXEC)?;
        Ok(Folders { descriptor: Arc::new(descriptor), watched: BTreeMap::new(), wanted })
    }

    /// Watches what is not watched yet. What can't be, a line each: a folder that is not there is no trouble.
    pub fn watch(&mut self) -> Vec<String> {
        let flags = WatchFlags::from_bits_retain(inotify::WANTED) | WatchFlags::ONLYDIR;
        let mut trouble = Vec::new();
        for folder in &self.wanted {
            let name = folder.to_string_lossy();
            if self.watched.values().any(|watched| *watched == *name) {
                continue;
            }
            match rustix::fs::inotify::add_watch(&self.descriptor, folder.as_path(), flags) {
                Ok(watch) => drop(self.watched.insert(watch, name.into_owned())),
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => trouble.push(format!("{name}: {error}")),
            }
        }
        trouble
    }

    /// The kernel has ended this watch; the folder.
    pub fn ended(&mut self, watch: i32) -> Option<String> {
        self.watched.remove(&watch)
    }
}

/// What is open.
pub struct Sources {
    connector: Option<Connector>,
    pub folders: Option<Folders>,
    log: Log,
    blind: Blind,
    /// What is less than it could be, a line each.
    pub notes: Vec<(Source, String)>,
}

impl Sources {
    /// Opens what can be opened. To be called while the rights to do so are there.
    pub fn open(wanted: &Wanted) -> Self {
        let (blind, mut notes) = (Blind::default(), Vec::new());
        let mut connector = None;
        match wanted.processes {
            Processes::Connector => match platform::subscribe() {
                Ok(open) => connector = Some(open),
                Err(error) => {
                    let why = format!("the kernel refuses its process connector ({error}): ");
                    notes.push((Source::Poll, why + "programs that run for less than a second are missed"));
                }
            },
            Processes::Poll => {
                notes.push((Source::Poll, "programs that run for less than a second are missed".into()));
            }
        }
        let folders = match Folders::open(wanted.folders.clone().unwrap_or_else(default_folders)) {
            Ok(mut folders) => {
                let trouble = folders.watch();
                if !trouble.is_empty() {
                    locked(&blind).insert(Source::Inotify, trouble.join("; "));
                }
                Some(folders)
            }
            Err(error) => {
                locked(&blind).insert(Source::Inotify, error.to_string());
                None
            }
        };
        let log = Log::open(&wanted.log, &blind);
        Sources { connector, folders, log, blind, notes }
    }

    /// What is blind at the moment.
    pub fn blind(&self) -> Blind {
        self.blind.clone()
    }

    /// How starts of programs are seen.
    pub fn processes(&self) -> Source {
        if self.connector.is_some() { Source::Connector } else { Source::Poll }
    }

    /// Begins to read, in threads.
    pub fn begin(&mut self, queue: &Arc<Queue>) {
        let into = queue.clone();
        let blind = self.blind.clone();
        match self.connector.take() {
            Some(mut connector) => spawn(move || {
                while !into.is_closed() {
                    match connector.read() {
                        Ok(bytes) => into.push(Chunk { source: Source::Connector, bytes, at_ms: now_ms() }),
                        Err(error) => {
                            locked(&blind).insert(Source::Connector, format!("it can't be read any more: {error}"));
                            return;
                        }
                    }
                }
            }),
            None => spawn(move || {
                while !into.is_closed() {
                    // Looks that wait are one look.
                    into.push(Chunk { source: Source::Poll, bytes: Vec::new(), at_ms: now_ms() });
                    std::thread::sleep(POLL);
                }
            }),
        }
        if let Some(folders) = &self.folders {
            let (descriptor, into, blind) = (folders.descriptor.clone(), queue.clone(), self.blind.clone());
            spawn(move || {
                let mut buffer = vec![0; CHUNK];
                while !into.is_closed() {
                    match rustix::io::read(&descriptor, buffer.as_mut_slice()) {
                        Ok(read) => {
                            let bytes = buffer.get(..read).unwrap_or_default().to_vec();
                            into.push(Chunk { source: Source::Inotify, bytes, at_ms: now_ms() });
                        }
                        Err(rustix::io::Errno::INTR) => {}
                        Err(error) => {
                            locked(&blind).insert(Source::Inotify, format!("it can't be read any more: {error}"));
                            return;
                        }
                    }
                }
            });
        }
        let mut log = std::mem::replace(&mut self.log, Log { path: PathBuf::new(), file: None, rest: Vec::new() });
        let (into, blind) = (queue.clone(), self.blind.clone());
        spawn(move || {
            while !into.is_closed() {
                match log.read(&blind) {
                    Some(bytes) => into.push(Chunk { source: Source::Authentication, bytes, at_ms: now_ms() }),
                    None => std::thread::sleep(FOLLOW),
                }
            }
        });
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

/// A log that grows, is renamed and begun again, or cut.
struct Log {
    path: PathBuf,
    file: Option<File>,
    /// Of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl Log {
    /// From its end on: what stands there was seen, or is history.
    fn open(path: &Path, blind: &Blind) -> Self {
        let mut log = Log { path: path.into(), file: None, rest: Vec::new() };
        log.open_again(blind);
        if let Some(file) = &mut log.file
            && let Err(error) = file.seek(SeekFrom::End(0))
        {
            locked(blind).insert(Source::Authentication, format!("{}: {error}", path.display()));
        }
        log
    }

    fn open_again(&mut self, blind: &Blind) {
        match File::open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                locked(blind).remove(&Source::Authentication);
            }
            Err(error) => {
                let why = format!("{}: {error}", self.path.display());
                locked(blind).insert(Source::Authentication, why);
            }
        }
    }

    /// Whole lines that have come; none if there are none now.
    fn read(&mut self, blind: &Blind) -> Option<Vec<u8>> {
        let Some(file) = &mut self.file else {
            self.open_again(blind);
            return None;
        };
        let mut buffer = vec![0; CHUNK];
        match file.read(&mut buffer) {
            Ok(0) => {
                self.turn(blind);
                None
            }
            Ok(read) => {
                self.rest.extend_from_slice(buffer.get(..read).unwrap_or_default());
                let end = self.rest.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                // A line without an end is cut, and read as one that is not understood.
                let end = end.or((self.rest.len() >= CHUNK).then_some(self.rest.len()))?;
                let after = self.rest.split_off(end);
                Some(std::mem::replace(&mut self.rest, after))
            }
            Err(error) => {
                locked(blind).insert(Source::Authentication, format!("{}: {error}", self.path.display()));
                self.file = None;
                None
            }
        }
    }

    /// At the end: is this still the file of that name, and as long as it was?
    fn turn(&mut self, blind: &Blind) {
        let Some(file) = &mut self.file else { return };
        let (Ok(open), Ok(at)) = (file.metadata(), file.stream_position()) else { return };
        match fs::metadata(&self.path) {
            Ok(named) if (named.dev(), named.ino()) == (open.dev(), open.ino()) => {
                locked(blind).remove(&Source::Authentication);
                if open.len() < at {
                    // Cut: from its new beginning. It fails for no file.
                    let _ = file.seek(SeekFrom::Start(0));
                    self.rest.clear();
                }
            }
            // Another one: the old one was read to its end.
            Ok(_) => {
                self.rest.clear();
                self.open_again(blind);
            }
            Err(error) => {
                // Between two files, or removed: what is open still grows.
                locked(blind).insert(Source::Authentication, format!("{}: {error}", self.path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn all(log: &mut Log, blind: &Blind) -> String {
        let mut text = Vec::new();
        // Turning to another file takes one empty look.
        for _ in 0..4 {
            while let Some(bytes) = log.read(blind) {
                text.extend(bytes);
            }
        }
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_log_is_followed_over_rotation_cutting_and_absence() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, blind) = (folder.path().join("auth.log"), Blind::default());
        let append = |text: &str| {
            let mut file = File::options().append(true).create(true).open(&path).expect("it opens");
            file.write_all(text.as_bytes()).expect("written");
        };
        let mut log = Log::open(&path, &blind);
        assert!(locked(&blind)[&Source::Authentication].contains("No such file"));
        append("history\n");
        assert_eq!(all(&mut log, &blind), "history\n", "a log that begins is read from its beginning");
        assert_eq!(locked(&blind).len(), 0);
        append("one\ntw");
        assert_eq!(all(&mut log, &blind), "one\n");
        append("o\n");
        assert_eq!(all(&mut log, &blind), "two\n");
        append("last of the old\n");
        fs::rename(&path, folder.path().join("auth.log.1")).expect("renamed");
        append("first of the new\n");
        assert_eq!(all(&mut log, &blind), "last of the old\nfirst of the new\n");
        File::options().write(true).truncate(true).open(&path).expect("cut");
        assert_eq!(all(&mut log, &blind), "");
        append("after the cut\n");
        assert_eq!(all(&mut log, &blind), "after the cut\n");
        append(&"x".repeat(3 * CHUNK));
        assert!(all(&mut log, &blind).len() >= 2 * CHUNK, "a line without an end takes no memory without an end");
        fs::remove_file(&path).expect("removed");
        all(&mut log, &blind);
        assert_eq!(locked(&blind).len(), 1);
        let again = Log::open(&path, &Blind::default());
        assert!(again.file.is_none());
    }

    #[test]
    fn folders_that_are_missing_are_no_trouble_and_come_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let later = folder.path().join("later");
        let mut folders = Folders::open(vec![folder.path().into(), later.clone()]).expect("a descriptor");
        assert_eq!(folders.watch(), [] as [String; 0]);
        assert_eq!(folders.watched.len(), 1);
        fs::create_dir(&later).expect("made");
        assert_eq!(folders.watch(), [] as [String; 0]);
        assert_eq!(folders.watched.len(), 2);
        let watch = *folders.watched.keys().next().expect("one");
        assert_eq!(folders.ended(watch).as_deref(), Some(&*folder.path().to_string_lossy()));
    }
}
