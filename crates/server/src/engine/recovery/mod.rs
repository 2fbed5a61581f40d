//! Recovery cases around `staffel_core::recovery`: its projection, what devices and people bring to it, what is shown.
//!
//! `state` is the projection, `signs` what a check-in brings and what is asked of the device, `words` what people say, `sites`
//! customers, sites and imports, `view` what is shown, `report` what a review rests on (`telling` its notices), `describe` events in words. What must stay out: decisions.

mod describe;
mod report;
mod signs;
mod sites;
mod state;
mod telling;
mod view;
mod words;

pub use sites::Place;
pub(super) use state::Recovery;
pub(super) use view::{visible, visible_incident};
