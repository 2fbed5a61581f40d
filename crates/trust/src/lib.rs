//! Trust over the network: the TUF repository and its client, key files, and what devices and the server say.
//!
//! Signed statements themselves live in `staffel_statement`, which the guard may link; it is re-exported here for those
//! that may not name it directly.
#![forbid(unsafe_code)]

pub mod keyfile;
pub mod tuf;
pub mod wire;

pub use staffel_statement as statement;
