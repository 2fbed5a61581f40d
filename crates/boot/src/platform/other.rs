//! Systems on which nothing is installed yet: the portable half compiles, and everything here says so when it is asked.

use super::{Ending, FileFacts, Launch, Noted, User};
use staffel_core::boot::firmware::Counts;
use std::{
    convert::Infallible,
    fs::File,
    io::{self, PipeWriter, Read, Write},
    path::Path,
    sync::{OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

/// Nothing is counted here.
pub fn crash_counts() -> Counts {
    Counts::default()
}

/// Nothing can be counted here.
pub fn set_crash_counts(_counts: &Counts) -> Result<(), String> {
    unsupported().map_err(|error: io::Error| error.to_string())
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the guard does not do this on this operating system yet"))
}

/// Cannot be made here.
pub struct Listener(Infallible);

/// Cannot be made here.
pub struct Stream(Infallible);

impl Stream {
    pub fn set_read_timeout(&self, _timeout: Option<Duration>) -> io::Result<()> {
        match self.0 {}
    }

    pub fn set_write_timeout(&self, _timeout: Option<Duration>) -> io::Result<()> {
        match self.0 {}
    }

    pub fn try_clone(&self) -> io::Result<Stream> {
        match self.0 {}
    }
}

impl Read for Stream {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for Stream {
    fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

impl Write for &Stream {
    fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

/// Milliseconds since the first call in this process.
pub fn boot_time_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The same: sleep is not told apart here.
pub fn awake_ms() -> u64 {
    boot_time_ms()
}

pub fn boot_id() -> io::Result<String> {
    unsupported()
}

pub fn is_root() -> bool {
    false
}

pub fn lacking() -> Vec<String> {
    vec!["the guard supervises nothing on this operating system yet".into()]
}

pub fn free_bytes(_path: &Path) -> io::Result<u64> {
    unsupported()
}

/// A rename is as durable as the system makes it.
pub fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

pub fn switch_link(_link: &Path, _target: &Path) -> io::Result<()> {
    unsupported()
}

pub fn copy_link(_from: &Path, _to: &Path) -> io::Result<()> {
    unsupported()
}

pub fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

pub fn is_executable(_facts: &std::fs::Metadata) -> bool {
    true
}

pub fn give_to(_path: &Path, _user: User) -> io::Result<()> {
    unsupported()
}

pub fn copy_owner(_from: &std::fs::Metadata, _to: &Path) -> io::Result<()> {
    Ok(())
}

pub fn give_facts(_from: &std::fs::Metadata, _to: &File) -> io::Result<()> {
    Ok(())
}

pub fn mask_service(_name: &str) -> io::Result<()> {
    unsupported()
}

pub fn unmask_service(_name: &str) -> io::Result<()> {
    unsupported()
}

pub fn lock(_path: &Path) -> io::Result<File> {
    unsupported()
}

/// Cannot be made here.
pub struct Directory(Infallible);

impl Directory {
    pub fn open(_path: &Path) -> io::Result<Self> {
        unsupported()
    }

    pub fn directory(&self, _name: &str) -> io::Result<Self> {
        match self.0 {}
    }

    pub fn file(&self, _name: &str) -> io::Result<(File, FileFacts)> {
        match self.0 {}
    }

    pub fn names(&self) -> io::Result<Vec<String>> {
        match self.0 {}
    }

    pub fn create_file(&self, _name: &str) -> io::Result<File> {
        match self.0 {}
    }

    pub fn sync(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub fn remove_file(&self, _name: &str) -> io::Result<()> {
        match self.0 {}
    }
}

pub fn listen(_path: &Path, _shared_with: Option<User>) -> io::Result<Listener> {
    unsupported()
}

pub fn connect(_path: &Path) -> io::Result<Stream> {
    unsupported()
}

pub fn accept(listener: &Listener) -> io::Result<Stream> {
    match listener.0 {}
}

pub fn stop_flag() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    &STOP
}

/// Cannot be made here.
pub struct Process(Infallible);

pub fn start(_launch: &Launch, _output: PipeWriter) -> io::Result<Process> {
    unsupported()
}

impl Process {
    pub fn id(&self) -> u32 {
        match self.0 {}
    }

    pub fn ask_to_stop(&self) {
        match self.0 {}
    }

    pub fn has_ended(&self) -> bool {
        match self.0 {}
    }

    pub fn finish(self) -> Ending {
        match self.0 {}
    }

    pub fn noted(&self) -> Noted {
        match self.0 {}
    }
}

pub fn when_ended(_pid: u32, _then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    unsupported()
}

pub fn kill_leftovers(_noted: &[Noted], _marker: &str) -> usize {
    0
}
