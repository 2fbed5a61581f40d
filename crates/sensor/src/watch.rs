//! Whether one of our processes was stopped (SIGSTOP): it neither works nor ends, so it is ended and another one starts.
//!
//! The kernel tells a parent of it once; a descriptor of the process is what is killed, so that never another process with
//! the same number is. What must stay out: what is said about it.

use rustix::{
    fd::{AsFd, OwnedFd},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// So many numbers of processes that were stopped are remembered.
const REMEMBERED: usize = 16;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

struct Guest {
    role: &'static str,
    pid: u32,
    descriptor: OwnedFd,
}

#[derive(Default)]
struct Seen {
    guests: Vec<Guest>,
    stopped: Vec<(&'static str, u32)>,
    /// The last ones that were found stopped.
    remembered: VecDeque<u32>,
}

/// All processes that are looked after. Without [`Watch::begin`] nobody looks.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

/// As long as this lives, its process is looked after.
pub struct Guarded {
    watch: Watch,
    pid: u32,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.watch.seen().guests.retain(|guest| guest.pid != self.pid);
    }
}

impl Watch {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after a child of this process. None: this kernel gives no descriptor of it (before 5.3).
    pub fn guard(&self, role: &'static str, pid: u32) -> Option<Guarded> {
        let descriptor = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        self.seen().guests.push(Guest { role, pid, descriptor });
        Some(Guarded { watch: self.clone(), pid })
    }

    /// Begins to look, in a thread of its own.
    pub fn begin(&self) {
        let watch = self.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LOOK);
                watch.look();
            }
        });
    }

    fn look(&self) {
        let mut seen = self.seen();
        let is_stopped = |guest: &&Guest| {
            let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
            waitid(WaitId::PidFd(guest.descriptor.as_fd()), options).is_ok_and(|status| status.is_some())
        };
        let stopped: Vec<_> = seen
            .guests
            .iter()
            .filter(is_stopped)
            .map(|guest| {
                // It fails only for one that has ended.
                let _ = pidfd_send_signal(&guest.descriptor, Signal::KILL);
                (guest.role, guest.pid)
            })
            .collect();
        for (role, pid) in stopped {
            seen.remembered.push_back(pid);
            seen.stopped.push((role, pid));
        }
        while seen.remembered.len() > REMEMBERED {
            seen.remembered.pop_front();
        }
    }

    /// True if this process was lately found stopped and was ended for that.
    pub fn was_stopped(&self, pid: u32) -> bool {
        self.seen().remembered.contains(&pid)
    }

    /// Role and number of the processes that were found stopped, and were ended, since the last call.
    pub fn stopped(&self) -> Vec<(&'static str, u32)> {
        std::mem::take(&mut self.seen().stopped)
    }
}
