//! The walls of an evaluator process. The only folder of this crate that knows the operating system; Linux so far.

mod linux;

pub use linux::{close_others, leave_root, restrict_calls, restrict_files};
