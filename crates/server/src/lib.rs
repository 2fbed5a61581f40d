//! The server: the HTTP edge that devices and operators talk to, and the engine behind it.
//!
//! The edge ([`edge`], [`tls`], [`ca`], [`operators`], the routes) knows transport, identity and limits, and decides nothing
//! about rollouts. The [`engine`] decides, and knows nothing of HTTP. What both say to the outside is in [`api`] and
//! `staffel_trust::wire`.

pub mod api;
pub mod ca;
pub mod config;
pub mod edge;
pub mod engine;
pub mod files;
pub mod limit;
pub mod openapi;
pub mod operators;
pub mod pages;
pub mod roster;
pub mod tls;

mod accept;
mod detection_api;
mod device_api;
mod identity;
mod input;
mod log_api;
mod metrics;
mod nonces;
mod notice_api;
mod observe;
mod operator_api;
mod problem;
mod recovery_api;
mod repair_api;
mod repository;
mod stall;
