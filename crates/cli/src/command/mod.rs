//! The commands, one file each.

pub mod bench;
pub mod demo;
pub mod device;
pub mod evidence;
pub mod gate;
pub mod init;
pub mod log;
pub mod machine;
pub mod release;
pub mod repo;
pub mod rollout;
pub mod server;
pub mod tenant;
pub mod tuf;
