//! The Update Framework: our repository writer, our client, and the adapter for the public conformance suite.
//!
//! - [`canonical`]: the JSON form that signatures cover.
//! - [`path`]: which target paths are allowed, the same for writing and reading.
//! - [`metadata`] and [`envelope`]: the files as Rust types, signing, and thresholds counted by key material.
//! - [`writer`]: makes and publishes a repository. Needs private keys; a device never links a use of it.
//! - [`client`]: what a device does: refresh, resolve, download, all verified.
//! - [`conformance`]: the library half of `staffel tuf`.
//!
//! Verification on the device is that of `sigstore-tuf`; the writer verifies with its own code, so the two check each other
//! in tests, and python-tuf checks both. Statements that are not TUF (frontier, policy, permit) do not belong here.

pub mod canonical;
pub mod client;
pub mod conformance;
pub mod envelope;
pub mod metadata;
pub mod path;
pub mod writer;
