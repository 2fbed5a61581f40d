//! The unprivileged network half of a device: talks to the server, verifies, downloads, probes, and asks the guard.
//!
//! Decisions are made in `staffel_core::device`; this crate carries them out. It may not execute anything, it may not
//! write outside its own folders, and the guard trusts none of its words.
//!
//! Where to start reading: [`run`] for the loop, [`judge`] for what is believed, [`clock`] for which time counts,
//! [`blobs`] for downloads, [`guard_client`] and [`probe`] (both used by the gate too), [`platform`] for what differs
//! between systems and for the sandbox.

pub mod api;
pub mod blobs;
pub mod clock;
pub mod directory;
pub mod enrol;
pub mod findings;
pub mod guard_client;
pub mod https;
pub mod jitter;
pub mod judge;
pub mod platform;
pub mod probe;
pub mod run;
pub mod statements;
pub mod status;

pub use staffel_inventory as inventory;

/// An error with everything beneath it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Some libraries repeat their source in their own text.
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
