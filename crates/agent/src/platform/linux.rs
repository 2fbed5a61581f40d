//! Linux: CLOCK_BOOTTIME, Unix sockets, and the sandbox of Landlock and seccomp.
//!
//! The sandbox is applied by the thread that later starts every other one, so all of them inherit it.

use super::{Allowed, syscalls};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use staffel_trust::wire::Attributes;
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A connection to a program on this machine.
pub type LocalSocket = tokio::net::UnixStream;

/// Milliseconds since the machine was started, time asleep included.
pub fn running_ms() -> u64 {
    milliseconds(rustix::time::ClockId::Boottime)
}

/// The same without the time that it slept.
pub fn awake_ms() -> u64 {
    milliseconds(rustix::time::ClockId::Monotonic)
}

fn milliseconds(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0))
}

/// Identity of this boot of the machine.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| "unknown".into(), |id| id.trim().to_string())
}

/// OS build and hardware model as the machine itself tells them.
pub fn attributes() -> Attributes {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or("unknown").trim_matches('"').to_string()
    };
    let model = fs::read_to_string("/sys/class/dmi/id/product_name").unwrap_or_default();
    let model = if model.trim().is_empty() { "unknown" } else { model.trim() };
    Attributes { os_build: format!("{}-{}", field("ID"), field("VERSION_ID")), hardware_model: model.into() }
}

/// Connects to the guard.
pub async fn connect(path: &Path) -> io::Result<LocalSocket> {
    tokio::net::UnixStream::connect(path).await
}

/// Creates a file that only its owner may read. Fails if it exists.
pub fn create_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes renames in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)?.sync_all()
}

/// The system's wish that this program ends.
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Begins to listen for SIGTERM and SIGINT.
    pub fn listen() -> io::Result<Self> {
        Ok(Termination { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the wish; in words.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "the agent was asked to stop (SIGTERM)",
            _ = self.interrupt.recv() => "the agent was interrupted (SIGINT)",
        }
    }
}

/// Locks the calling thread, and all that it will start, in. What this machine can't do is returned, a line each.
pub fn sandbox(allowed: &Allowed) -> Vec<String> {
    let mut lacking = Vec::new();
    // Both halves set no_new_privs themselves.
    match restrict_files(allowed) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(RulesetStatus::PartiallyEnforced) => {
            lacking.push("this kernel knows only a part of Landlock: some kinds of file access stay open".into());
        }
        Ok(RulesetStatus::NotEnforced) => lacking.push("this kernel has no Landlock: files are not restricted".into()),
        Err(error) => lacking.push(format!("Landlock could not be applied: {error}")),
    }
    if let Err(error) = restrict_calls() {
        lacking.push(format!("system calls are not restricted: {error}"));
    }
    lacking
}

/// What the resolver of names reads, wherever it lies.
const RESOLVER: [&str; 12] = [
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/run/systemd/resolve",
    "/usr/lib",
    "/lib",
    "/lib64",
    "/dev/urandom",
];

fn restrict_files(allowed: &Allowed) -> Result<RulesetStatus, RulesetError> {
    // The newest set of rules that this crate knows; an older kernel takes what it understands.
    let abi = ABI::V9;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::AbstractUnixSocket)?
        .scope(Scope::Signal)?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in RESOLVER.iter().map(PathBuf::from).chain(allowed.read.iter().cloned()) {
        rules = add(rules, &path, read)?;
    }
    for path in &allowed.write {
        let devices_and_programs = AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev;
        rules = add(rules, path, AccessFs::from_all(abi) & !devices_and_programs)?;
    }
    for path in allowed.sockets.iter().map(PathBuf::as_path).chain([Path::new("/run/systemd/resolve")]) {
        rules = add(rules, path, AccessFs::ResolveUnix.into())?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// A path that is missing needs no permission.
fn add(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(rules) };
    let access = if metadata.is_dir() { access } else { access & AccessFs::from_file(ABI::V9) };
    match PathFd::new(path) {
        Ok(descriptor) => rules.add_rule(PathBeneath::new(descriptor, access)),
        Err(_) => Ok(rules),
    }
}

fn restrict_calls() -> Result<(), Box<dyn std::error::Error>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        syscalls::refused().into_iter().map(|call| (call, Vec::new())).collect();
    // A family that equals none of those allowed.
    let others = syscalls::FAMILIES
        .iter()
        .map(|family| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *family as u64));
    let others = SeccompRule::new(others.collect::<Result<Vec<_>, _>>()?)?;
    rules.insert(libc::SYS_socket, vec![others]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = std::env::consts::ARCH.try_into()?;
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
