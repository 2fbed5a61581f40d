//! The walls of this program's processes, and the calls that the standard library lacks. The only folder of this crate that
//! knows the operating system; Linux so far.

mod bpf;
mod connector;
mod linux;
mod supervisor;

pub use bpf::bpf_programs;
pub use connector::{Connector, subscribe};
pub use linux::{Calls, close_others, leave_root, restrict_calls, restrict_files, restrict_to_reading};
pub use supervisor::{Rights, block_termination, drop_rights, restrict_supervisor, wait_for_termination};
