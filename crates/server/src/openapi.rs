//! The description of the operator API, the log and the health routes (OpenAPI 3.1), written by hand.
//!
//! Tests hold it to the truth: its paths are the router's, its roles the table's, its types those that are sent. What must
//! stay out: devices' API, which `staffel_trust::wire` describes.

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");
