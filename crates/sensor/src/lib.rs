//! The sensor: what happens on a machine becomes typed records, packs are run over them in Wasm, in processes that may do
//! nothing but compute, and what was found waits for the agent.
//!
//! `supervise` is the process that keeps the others running and `source` what it reads; `collect` makes records, in a process of
//! its own; `protection` holds the running pack and swaps it, `manifest` decides what runs next, `worker` is the supervisor's
//! end of an evaluator process and `child` that process, `engine` the Wasm inside it, `platform` all walls; `finding`, `reporter`
//! and `spool` are what is said and how it waits; `trial` is what the gate asks of it, `feed` evaluates events of others. What
//! must stay out: the network, decisions about rollouts, and any parsing of content outside the sandbox but for its digest and
//! form.

pub mod bench;
pub mod child;
pub mod collect;
pub mod doctor;
pub mod engine;
pub mod event;
pub mod feed;
pub mod finding;
pub mod frame;
pub mod health;
pub mod kernel;
pub mod manifest;
pub mod platform;
pub mod process;
pub mod protection;
pub mod queue;
pub mod reporter;
pub mod sight;
pub mod source;
pub mod spool;
pub mod store;
pub mod supervise;
pub mod tamper;
pub mod trial;
pub mod watch;
pub mod worker;
