//! The commands, one file each.

pub mod bench;
pub mod case;
pub mod demo;
pub mod device;
pub mod envelope;
pub mod evidence;
pub mod gate;
pub mod import;
pub mod incident;
pub mod init;
pub mod log;
pub mod machine;
pub mod notice;
pub mod press;
pub mod release;
pub mod remedy;
pub mod repo;
pub mod report;
pub mod rollout;
pub mod server;
pub mod sim;
pub mod site;
pub mod software;
pub mod tenant;
pub mod tuf;
pub mod user;
