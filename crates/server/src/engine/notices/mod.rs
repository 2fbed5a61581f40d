//! Notices around `staffel_notice`: its projection, what people ask, sending.
//!
//! `desk` is who we are to customers and over which carriers we send, `words` what people ask for, `outbox` the sending: each
//! attempt is durable in the log before anything leaves, its end after. What must stay out: what comes next for a recipient.

mod desk;
mod outbox;
mod view;
mod words;

pub use desk::{Desk, DeskConfig, DeskError, GatewayConfig, SmtpConfig};
pub(super) use desk::{TIMEOUT, read, read_line};
pub(super) use view::{sheet, summary};
pub(super) use words::to_core;

use staffel_notice::{Book, address::Address};
use std::collections::BTreeMap;

/// The projection.
#[derive(Default)]
pub struct Notices {
    pub book: Book,
    /// By notice. Missing if they were erased.
    pub addresses: BTreeMap<u64, KeptAddresses>,
}

/// A notice's addresses and where in the log they stand, so that they can be erased.
pub struct KeptAddresses {
    pub position: u64,
    /// One list for each recipient.
    pub lists: Vec<Vec<Address>>,
}

/// How an incident is called in letters and on the phone.
pub fn incident_name(incident: u64) -> String {
    format!("V-{incident}")
}
