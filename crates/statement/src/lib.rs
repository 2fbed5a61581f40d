//! Signed statements: DSSE envelopes around in-toto Statements, verified with Ed25519 alone.
//!
//! This is what the guard may link, so neither TUF nor TLS nor an async runtime comes in here. Verified statements
//! become the types of `staffel_core::conditions`; the decision is made there.
//!
//! Read [`dsse`] for the envelope, [`predicate`] for what can be said, [`keyring`] for who may say it, [`bundle`] for
//! all that one change needs, [`guard`] for what the agent may ask of the guard.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod dsse;
pub mod guard;
pub mod keyring;
pub mod predicate;
pub mod witness;

pub use dsse::{Envelope, PublicKey, SigningKey};
