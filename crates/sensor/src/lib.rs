//! The sensor's evaluation half: packs run in Wasm, in a process that may do nothing but compute.
//!
//! `protection` holds the running pack and swaps it, `manifest` decides what runs next, `worker` is the supervisor's end of
//! an evaluator process and `child` that process, `engine` the Wasm inside it, `platform` its walls; `trial` is what the gate asks
//! of it. What must stay out:
//! the network, decisions about rollouts, and any parsing of content outside the sandbox but for its digest and form.

pub mod bench;
pub mod child;
pub mod engine;
pub mod event;
pub mod frame;
pub mod manifest;
pub mod platform;
pub mod protection;
pub mod store;
pub mod trial;
pub mod worker;
