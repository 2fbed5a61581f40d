//! Detection packs and typed records: what authors, the gate, the sensor and its sandboxed evaluator have in common.
//!
//! `catalogue` names the fields that a sensor supplies, `record` carries their values, `format` is a pack, `contract` says
//! whether the two fit, `evaluate` runs one over the other. The same code runs natively and as the Wasm guest.
//! What must stay out: files, processes, clocks, Sigma (`staffel-sigma`), and any access to a field by a position that
//! did not come from its name.

#![forbid(unsafe_code)]

pub mod catalogue;
pub mod contract;
pub mod evaluate;
pub mod format;
mod glob;
mod linux;
mod matcher;
pub mod record;
pub mod vectors;
pub mod wire;

pub use catalogue::{Catalogue, Class, Field, Kind, Slot};
pub use contract::Breach;
pub use evaluate::{Evaluator, Hit};
pub use format::{Pack, PackError};
pub use record::{Record, Value};
