//! Linux: another user, Landlock, limits, and a list of system calls outside of which the kernel kills or refuses.
//!
//! The supervisor's own walls are in `supervisor`.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::{
    process::{Gid, Resource, Rlimit, Uid, geteuid, setrlimit},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::{collections::BTreeMap, path::Path};

/// User and group of an evaluator whose supervisor runs as root: "nobody" everywhere.
pub(super) const NOBODY: u32 = 65_534;
/// Most memory that the process may write to, in bytes.
const MEMORY: u64 = 512 << 20;

/// Closes what whoever started this process left open, but for input, output and errors. To be called before anything else
/// is opened.
pub fn close_others() -> std::io::Result<()> {
    // SAFETY: nothing in this process owns a descriptor above 2 yet.
    #[expect(unsafe_code, reason = "no safe call closes what nobody here opened")]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    // A kernel before 5.9 has no such call.
    let error = std::io::Error::last_os_error();
    if closed == 0 || error.raw_os_error() == Some(libc::ENOSYS) { Ok(()) } else { Err(error) }
}

/// If this thread is root's, makes it, and all that it starts, nobody's, without a capability. Not before: nobody may not
/// be able to reach this program's file. What can't be done, a line each.
pub fn leave_root() -> Vec<String> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let left = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(user, user, user));
    left.err().map(|error| format!("it runs as root: {error}")).into_iter().collect()
}

/// Takes every file and socket away, and all memory and descriptors beyond what it has. What can't be done, a line each.
pub fn restrict_files() -> Vec<String> {
    let mut lacking = grant(&[]);
    lacking.extend(limit(16));
    lacking
}

/// Leaves these files and folders to be read, and nothing else. What can't be done, a line each.
pub fn restrict_to_reading(paths: &[&str]) -> Vec<String> {
    let grants: Vec<_> = paths.iter().map(|path| (Path::new(path), AccessFs::ReadFile | AccessFs::ReadDir)).collect();
    let mut lacking = grant(&grants);
    lacking.extend(limit(64));
    lacking
}

/// Landlock with these grants: no other file, no TCP, no socket or process outside. What can't be done, a line each.
pub(super) fn grant(grants: &[(&Path, BitFlags<AccessFs>)]) -> Vec<String> {
    let ruled = || -> Result<RulesetStatus, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V9))?
            .handle_access(AccessNet::from_all(ABI::V9))?
            .scope(Scope::AbstractUnixSocket)?
            .scope(Scope::Signal)?
            .create()?;
        for (path, access) in grants {
            // A path that is missing needs no permission.
            let Ok(descriptor) = PathFd::new(path) else { continue };
            let access = if path.is_dir() { *access } else { *access & AccessFs::from_file(ABI::V9) };
            rules = rules.add_rule(PathBeneath::new(descriptor, access))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    };
    let line = match ruled() {
        Ok(RulesetStatus::FullyEnforced) => return Vec::new(),
        Ok(RulesetStatus::PartiallyEnforced) => {
            "this kernel knows only a part of Landlock: system calls are refused all the same".into()
        }
        Ok(RulesetStatus::NotEnforced) => "this kernel has no Landlock".into(),
        Err(error) => format!("Landlock could not be applied: {error}"),
    };
    vec![line]
}

fn limit(descriptors: u64) -> Vec<String> {
    let limits = [
        ("core dumps", Resource::Core, 0),
        ("file sizes", Resource::Fsize, 0),
        ("memory", Resource::Data, MEMORY),
        ("descriptors", Resource::Nofile, descriptors),
    ];
    let set = |(name, resource, limit)| {
        let error = setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) }).err()?;
        Some(format!("{name} are not limited: {error}"))
    };
    limits.into_iter().filter_map(set).collect()
}

/// What computing takes. Everything else ends the process.
const ALLOWED: [libc::c_long; 19] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_futex,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What reading files takes beside it.
const READING: [libc::c_long; 9] = [
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_faccessat,
    libc::SYS_fcntl,
];

/// What a process does all its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Nothing but compute: any other call ends it.
    Computing,
    /// Read files, too: any other call is refused. Not the end of it, because which calls a look into a file takes is up to
    /// the C library of the machine.
    Reading,
}

/// Closes all system calls but these, for every thread. No memory becomes code any more.
pub fn restrict_calls(calls: Calls) -> Vec<String> {
    match apply(calls) {
        Ok(()) => Vec::new(),
        Err(error) => vec![format!("system calls are not restricted: {error}")],
    }
}

fn apply(calls: Calls) -> Result<(), Box<dyn std::error::Error>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // The third argument of both is what the memory is for.
    let no_code = || {
        let executable = libc::PROT_EXEC as u64;
        let unset = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
        SeccompRule::new(vec![unset])
    };
    rules.insert(libc::SYS_mmap, vec![no_code()?]);
    rules.insert(libc::SYS_mprotect, vec![no_code()?]);
    let otherwise = match calls {
        Calls::Computing => SeccompAction::KillProcess,
        Calls::Reading => {
            rules.extend(READING.iter().map(|call| (*call, Vec::new())));
            #[cfg(target_arch = "x86_64")]
            rules.insert(libc::SYS_access, Vec::new());
            SeccompAction::Errno(libc::EPERM as u32)
        }
    };
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, architecture)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}
