//! The decisions of Staffel, and nothing else.
//!
//! Everything here is a function of its arguments. There is no I/O, no clock, no random source, no async and no
//! container whose order differs between two runs; `clippy.toml` beside this crate and the dependency check in
//! `./dev test` enforce it. Production, the tests and the simulator call the same code.
//!
//! Where to start reading: [`conditions`] for what lets one device change, [`rollout`] for who goes next,
//! [`evidence`] for why a rollout widens, holds or halts, [`boot`] for how a machine comes back, [`recovery`] for who sees to
//! those that do not, [`detection`] for what sensors found.
#![forbid(unsafe_code)]

pub mod boot;
pub mod conditions;
pub mod detection;
pub mod device;
pub mod evidence;
pub mod fleet;
pub mod foreign;
pub mod identity;
pub mod ids;
pub mod invariants;
pub mod policy;
pub mod profile;
pub mod recovery;
pub mod release;
pub mod review;
pub mod rollout;
