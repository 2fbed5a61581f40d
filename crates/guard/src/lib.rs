//! The guard below the operating system: boot entries on the system partition of the firmware, and the two programs that
//! watch over a start, `guard-init` in the initramfs and `guard-commit` in user space.
//!
//! Every decision is [`staffel_core::boot::firmware`]'s. This package is apart from `boot`, so that what runs before
//! everything else links no more than it needs: no network code, no signatures, no supervision. Read [`partition`] for
//! the order of writes, [`entries`] for what the loader reads, [`variables`] for the firmware's memory. What must stay
//! out: services and content, which the service form in `boot` looks after.

pub mod command_line;
pub mod doctor;
pub mod entries;
pub mod partition;
#[cfg(target_os = "linux")]
pub mod variables;
pub mod volume;
