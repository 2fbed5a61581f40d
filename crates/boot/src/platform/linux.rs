//! Linux: processes, signals, clocks, local sockets, and files that somebody else may have prepared.

use super::{Ending, FileFacts, Launch, Noted, User};
use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    process::{Pid, Signal, WaitId, WaitIdOptions},
};
use staffel_core::boot::firmware::Counts;
use staffel_guard::variables::Variables;
use std::{
    fs::File,
    io::{self, PipeWriter},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _, chown, fchown, symlink},
            net::{UnixListener, UnixStream},
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// A local socket's two ends.
pub type Listener = UnixListener;
pub type Stream = UnixStream;

/// Milliseconds since the machine was started, sleep included; never goes back while it runs.
pub fn boot_time_ms() -> u64 {
    milliseconds(rustix::time::ClockId::Boottime)
}

/// The same without sleep, in which nothing could start, answer or be healthy.
pub fn awake_ms() -> u64 {
    milliseconds(rustix::time::ClockId::Monotonic)
}

fn milliseconds(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// The identity of this boot of the machine.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_string())
}

/// What the guard below the system has counted in the firmware's variables; nothing where there are none.
pub fn crash_counts() -> Counts {
    Variables::default().counts()
}

/// Writes what is to be counted from; writes nothing if that stands there already.
pub fn set_crash_counts(counts: &Counts) -> Result<(), String> {
    let variables = Variables::default();
    match variables.counts() == *counts {
        true => Ok(()),
        false => variables.set_counts(counts).map_err(|error| error.to_string()),
    }
}

/// True for the superuser.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What this machine lacks, one line each.
pub fn lacking() -> Vec<String> {
    let mut lacking = Vec::new();
    if !Path::new("/run/systemd/system").exists() {
        lacking.push("no systemd: the guard supervises the services itself".to_string());
    }
    if !Path::new("/dev/watchdog").exists() {
        lacking.push("no hardware watchdog: a kernel that hangs stays".to_string());
    }
    if !is_root() {
        lacking.push("not root: services and agent run as the guard's own user".to_string());
    }
    lacking
}

/// Bytes that may still be written below `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let facts = rustix::fs::statvfs(path)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Makes renames and deletions in this folder survive a power cut.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Points `link` at `target`; anybody who looks sees the old target or the new one.
pub fn switch_link(link: &Path, target: &Path) -> io::Result<()> {
    let temporary = link.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, &temporary)?;
    std::fs::rename(&temporary, link)?;
    sync_directory(link.parent().unwrap_or(Path::new("/")))
}

/// Copies a symbolic link as a link.
pub fn copy_link(from: &Path, to: &Path) -> io::Result<()> {
    symlink(std::fs::read_link(from)?, to)
}

/// Sets the permission bits.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// True if somebody may execute it.
pub fn is_executable(facts: &std::fs::Metadata) -> bool {
    facts.mode() & 0o111 != 0
}

/// Gives a path to a user; only root can.
pub fn give_to(path: &Path, user: User) -> io::Result<()> {
    chown(path, Some(user.user), Some(user.group))
}

/// Gives `to` the permission bits and, where root runs this, the owner of `from`.
pub fn copy_owner(from: &std::fs::Metadata, to: &Path) -> io::Result<()> {
    if is_root() {
        chown(to, Some(from.uid()), Some(from.gid()))?;
    }
    set_mode(to, from.mode() & 0o7777)
}

/// Gives an open file the permission bits and, where root runs this, the owner of another.
pub fn give_facts(from: &std::fs::Metadata, to: &File) -> io::Result<()> {
    if is_root() {
        fchown(to, Some(from.uid()), Some(from.gid()))?;
    }
    to.set_permissions(std::fs::Permissions::from_mode(from.mode() & 0o7777))
}

/// Stops a service of systemd and keeps anything from starting it.
pub fn mask_service(name: &str) -> io::Result<()> {
    systemctl(&["mask", "--now"], name)
}

/// Takes that back and starts it.
pub fn unmask_service(name: &str) -> io::Result<()> {
    systemctl(&["unmask"], name)?;
    systemctl(&["start"], name)
}

fn systemctl(arguments: &[&str], name: &str) -> io::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '\\');
    // Neither an option nor a unit of another kind: a masked target or mount could be the end of the machine.
    let kind_fits = name.rsplit_once('.').is_none_or(|(_, kind)| kind == "service");
    if name.is_empty() || name.len() > 255 || name.starts_with('-') || !name.chars().all(plain) || !kind_fits {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a service")));
    }
    if !Path::new("/run/systemd/system").exists() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no systemd runs on this machine"));
    }
    let unit = if name.ends_with(".service") { name.to_string() } else { format!("{name}.service") };
    let output = Command::new("systemctl").args(["--quiet", "--no-ask-password"]).args(arguments).arg(unit).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "systemctl {} ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// How long a program that a killed guard was just starting may hold the guard's lock: until it has become that program.
const LOCK_OF_A_CHILD: Duration = Duration::from_secs(3);

/// Takes the lock file for as long as the returned file lives; fails after a moment if another guard holds it.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let begin = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < LOCK_OF_A_CHILD => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result.map(|()| file).map_err(Into::into),
        }
    }
}

/// A folder held open, so that nobody can swap a part of its path while it is used.
pub struct Directory(OwnedFd);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
// Without NONBLOCK, opening a pipe that somebody put there would wait for ever.
const UNTRUSTED: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn link_is_refused(error: rustix::io::Errno) -> io::Error {
    match error {
        rustix::io::Errno::LOOP => io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"),
        other => other.into(),
    }
}

impl Directory {
    /// Opens a folder whose last part is not a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Directory(rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(link_is_refused)?))
    }

    /// Opens a folder in it, not through a symbolic link.
    pub fn directory(&self, name: &str) -> io::Result<Self> {
        Ok(Directory(rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty()).map_err(link_is_refused)?))
    }

    /// Opens a file in it for reading, not through a symbolic link.
    pub fn file(&self, name: &str) -> io::Result<(File, FileFacts)> {
        let file = File::from(rustix::fs::openat(&self.0, name, UNTRUSTED, Mode::empty()).map_err(link_is_refused)?);
        let facts = file.metadata()?;
        Ok((file, FileFacts { regular: facts.is_file(), links: facts.nlink(), size: facts.size() }))
    }

    /// The names in it, in order; those that are no UTF-8 are left out.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_string());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Creates a file in it that is not there yet.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o600))?))
    }

    /// Makes what was created and deleted in it survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Deletes a file in it and waits until that survives a power cut.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?;
        Ok(rustix::fs::fsync(&self.0)?)
    }
}

/// Listens on a local socket that only the owner, and the group of `shared_with`, may use.
pub fn listen(path: &Path, shared_with: Option<User>) -> io::Result<Listener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Between bind and chmod anybody could connect; the mask closes that gap. Called before any thread is started.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    if let Some(user) = shared_with {
        chown(path, None, Some(user.group))?;
        set_mode(path, 0o660)?;
    }
    Ok(listener)
}

/// Connects to a local socket.
pub fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path)
}

/// Waits for the next connection.
pub fn accept(listener: &Listener) -> io::Result<Stream> {
    listener.accept().map(|(stream, _)| stream)
}

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_stop(_signal: i32) {
    STOP.store(true, Ordering::SeqCst);
}

/// From now on SIGHUP, SIGINT and SIGTERM only set the flag that is returned.
#[expect(
    unsafe_code,
    reason = "registering a signal handler has no safe form in the libraries that the guard may link"
)]
pub fn stop_flag() -> &'static AtomicBool {
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    }
    for number in [Signal::HUP, Signal::INT, Signal::TERM] {
        // SAFETY: `signal` of the C library with a handler that only stores to an atomic.
        unsafe { signal(number.as_raw(), on_stop) };
    }
    &STOP
}

/// A child that leads a process group of its own.
pub struct Process {
    child: Child,
    pid: Pid,
}

/// Starts a program. It is killed when the calling *thread* ends, however that happens, so the caller must be a thread
/// that lives as long as the child may.
#[expect(unsafe_code, reason = "the parent-death signal must be set between fork and exec")]
pub fn start(launch: &Launch, output: PipeWriter) -> io::Result<Process> {
    let mut command = Command::new(&launch.program);
    if !launch.inherit_environment {
        command.env_clear();
    }
    command
        .args(&launch.arguments)
        .envs(&launch.environment)
        .current_dir(&launch.directory)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    if let Some(user) = launch.user {
        command.uid(user.user).gid(user.group);
    }
    let guard = rustix::process::getpid();
    // SAFETY: only raw system calls between fork and exec, no allocation, no lock.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The guard may have died before the line above.
            match rustix::process::getppid() == Some(guard) {
                true => Ok(()),
                false => Err(io::ErrorKind::BrokenPipe.into()),
            }
        });
    }
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    Ok(Process { child, pid })
}

impl Process {
    /// The process id, also that of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the whole group to end.
    pub fn ask_to_stop(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
    }

    /// True once it has ended; it keeps its id until [`Process::finish`].
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(rustix::process::waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Ends what is left of the group at once, and says how the process itself ended.
    pub fn finish(mut self) -> Ending {
        // While its leader is not waited for, the group's id can't be given to anybody else.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let (well, how) = match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => (code == 0, format!("ended with status {code}")),
                (None, Some(signal)) => (false, format!("ended by signal {signal}")),
                (None, None) => (false, "ended".to_string()),
            },
            Err(error) => (false, format!("ended, how is not known: {error}")),
        };
        Ending { well, how }
    }

    /// How to find it again.
    pub fn noted(&self) -> Noted {
        Noted { pid: self.id(), started: start_time(self.id()).unwrap_or(0) }
    }
}

/// Calls back from a thread of its own when this child has ended. The child is not waited for.
pub fn when_ended(pid: u32, then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    std::thread::Builder::new().name("waiter".into()).spawn(move || {
        while let Err(rustix::io::Errno::INTR) =
            rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
        then();
    })?;
    Ok(())
}

/// Field 22 of `/proc/PID/stat` (proc(5)): clock ticks between boot and the process's start. `None` for the dead.
fn start_time(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in brackets, may hold anything, brackets too.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Kills what a killed guard left behind: the noted processes, if they are still the same ones, and every process that
/// carries `marker` (`NAME=value`) in its environment. Returns how many were killed.
pub fn kill_leftovers(noted: &[Noted], marker: &str) -> usize {
    let mut killed = 0;
    // A process that forks while it is looked for is found in the next round.
    for _ in 0..20 {
        let found: Vec<u32> = leftovers(noted, marker);
        if found.is_empty() {
            break;
        }
        for pid in found {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
                && rustix::process::kill_process(pid, Signal::KILL).is_ok()
            {
                killed += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    killed
}

fn leftovers(noted: &[Noted], marker: &str) -> Vec<u32> {
    let mut found: Vec<u32> = noted.iter().filter(|n| start_time(n.pid) == Some(n.started)).map(|n| n.pid).collect();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let carries = || {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == marker.as_bytes())
        };
        if pid != std::process::id() && !found.contains(&pid) && start_time(pid).is_some() && carries() {
            found.push(pid);
        }
    }
    found
}
