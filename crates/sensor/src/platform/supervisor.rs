//! The supervisor's walls: it may start this one program, read, and write its own folder. No capability, no socket.
//!
//! Its processes are started inside these walls and build narrower ones.

use super::linux::{NOBODY, grant};
use landlock::{ABI, Access, AccessFs};
use rustix::{
    fs::{Gid as FsGid, Uid as FsUid},
    process::{Gid, Uid, geteuid},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// Who the supervisor becomes when it was started by root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    pub user: u32,
    pub group: u32,
    /// The group that may read the authentication log, if there is one.
    pub log_group: Option<u32>,
}

impl Rights {
    /// The owner of the sensor's folder; nobody if that is root, and then the folder becomes nobody's. None: not root now.
    pub fn of(folder: &Path, log: &Path) -> io::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let owner = fs::metadata(folder)?;
        let log_group =
            fs::metadata(log).ok().filter(|log| log.mode() & 0o040 != 0 && log.gid() != 0).map(|log| log.gid());
        let (user, group) = if owner.uid() == 0 { (NOBODY, NOBODY) } else { (owner.uid(), owner.gid()) };
        // Only root has put anything there so far; later its owner may have put links there.
        if owner.uid() == 0 {
            own(folder, user, group)?;
        }
        Ok(Some(Rights { user, group, log_group }))
    }
}

/// Gives a folder and what lies in it to somebody. Links are not followed.
fn own(path: &Path, user: u32, group: u32) -> io::Result<()> {
    let (user_id, group_id) = (FsUid::from_raw(user), FsGid::from_raw(group));
    rustix::fs::chownat(rustix::fs::CWD, path, Some(user_id), Some(group_id), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}

/// Gives up every capability, and root. Not before the sources are open. What can't be done, a line each.
pub fn drop_rights(rights: Option<Rights>) -> Vec<String> {
    let mut lacking = Vec::new();
    for bit in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        // Without the right to do so the set stays, and leads nowhere: no program that is started may gain from it.
        if remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    if let Some(Rights { user, group, log_group }) = rights {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        let groups: Vec<Gid> = log_group.into_iter().map(Gid::from_raw).collect();
        let left = set_thread_groups(&groups)
            .and_then(|()| set_thread_res_gid(group, group, group))
            .and_then(|()| set_thread_res_uid(user, user, user));
        if let Err(error) = left {
            lacking.push(format!("the supervisor runs as root: {error}"));
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // A kernel before 4.3 has no ambient set.
    let _ = clear_ambient_capability_set();
    if let Err(error) = set_capabilities(None, none) {
        lacking.push(format!("the supervisor keeps its capabilities: {error}"));
    }
    if let Err(error) = set_no_new_privs(true) {
        lacking.push(format!("programs that it starts may gain rights: {error}"));
    }
    lacking
}

/// The programs that load a program, where they lie on the systems that we know.
const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Leaves one program to be started, one folder to be written, everything that its user may read to be read. Not after
/// another thread was started. What can't be done, a line each.
pub fn restrict_supervisor(program: &Path, folder: &Path) -> Vec<String> {
    let odd = AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev | AccessFs::MakeSock;
    let mut grants = vec![
        (Path::new("/"), AccessFs::ReadFile | AccessFs::ReadDir),
        (Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile),
        (folder, AccessFs::from_all(ABI::V9) & !odd),
        (program, AccessFs::Execute | AccessFs::ReadFile),
    ];
    grants.extend(LOADERS.iter().map(|loader| (Path::new(*loader), AccessFs::Execute | AccessFs::ReadFile)));
    let mut lacking = grant(&grants);
    if let Err(error) = refuse_calls() {
        lacking.push(format!("system calls are not restricted: {error}"));
    }
    lacking
}

/// What neither the supervisor nor a process of it ever does.
const REFUSED: [libc::c_long; 42] = [
    // The network, and other programs' sockets.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Another view of the machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Carries out other system calls past this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keys of others.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Clock of the machine.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_personality,
];

fn refuse_calls() -> Result<(), Box<dyn std::error::Error>> {
    let rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = std::env::consts::ARCH.try_into()?;
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

fn termination() -> libc::sigset_t {
    // SAFETY: the set is filled before it is used.
    #[expect(unsafe_code, reason = "the standard library has no signals")]
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        set
    }
}

/// Keeps SIGTERM and SIGINT for [`wait_for_termination`]. To be called before any thread is started.
pub fn block_termination() -> io::Result<()> {
    let set = termination();
    // SAFETY: a filled set; the old one is not asked for.
    #[expect(unsafe_code, reason = "the standard library has no signals")]
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Waits until the system wants this program to end.
pub fn wait_for_termination() {
    let (set, mut signal) = (termination(), 0);
    // SAFETY: a filled set and a place for the signal. It fails only for a set that is none.
    #[expect(unsafe_code, reason = "the standard library has no signals")]
    unsafe {
        libc::sigwait(&raw const set, &raw mut signal);
    }
}
