//! Telling the server of foreign software: the digest when it changes, the whole when the server asks.
//!
//! What must stay out: reading the machine ([`crate::inventory`]).

use super::agent::Agent;
use crate::{api::ApiError, chain, inventory::Hashes};
use staffel_core::{foreign::Component, ids::Digest};
use staffel_trust::wire::Inventory;

/// Between two looks, milliseconds: ten heartbeats, within these limits.
const LOOK_EVERY_MS: std::ops::RangeInclusive<u64> = 2_000..=300_000;

/// What a look at the machine brought.
#[derive(Debug)]
pub(super) struct Looked {
    pub digest: Digest,
    pub components: Vec<Component>,
    pub problems: Vec<String>,
    pub hashes: Hashes,
}

/// What is known of foreign software, and what the server was told.
#[derive(Default)]
pub(super) struct Foreign {
    latest: Option<(Digest, Vec<Component>)>,
    /// The digest that the last check-in brought to the server.
    asked: Option<Digest>,
    told: Option<Digest>,
    hashes: Hashes,
    look_at_ms: u64,
    /// Of the last answer.
    cadence_ms: u64,
    /// A look or a sending is under way.
    busy: bool,
}

impl Foreign {
    /// What the next check-in says.
    pub fn unsent(&mut self) -> Option<Digest> {
        let latest = self.latest.as_ref().map(|(digest, _)| *digest);
        self.asked = latest;
        latest.filter(|_| latest != self.told)
    }

    /// The server may have forgotten it.
    pub fn tell_again(&mut self) {
        self.told = None;
    }
}

impl Agent {
    /// Looks at the machine if it is time.
    pub(super) fn look_for_foreign(&mut self) {
        let now = self.state.now_ms;
        if self.foreign.busy || now < self.foreign.look_at_ms {
            return;
        }
        let every = self.foreign.cadence_ms.saturating_mul(10).clamp(*LOOK_EVERY_MS.start(), *LOOK_EVERY_MS.end());
        self.foreign.look_at_ms = now.saturating_add(every);
        self.foreign.busy = true;
        self.work.inventory(self.options.inventory_root.clone(), std::mem::take(&mut self.foreign.hashes));
    }

    pub(super) fn take_inventory(&mut self, looked: Option<Box<Looked>>) {
        self.foreign.busy = false;
        let Some(looked) = looked else {
            return self.problem("inventory", Some("the look at foreign software was lost; it is tried again".into()));
        };
        self.problem("inventory", (!looked.problems.is_empty()).then(|| looked.problems.join("; ")));
        let changed = self.foreign.latest.as_ref().is_none_or(|(digest, _)| *digest != looked.digest);
        self.foreign.hashes = looked.hashes;
        self.foreign.latest = Some((looked.digest, looked.components));
        if changed {
            // What has changed may be about to stop this machine: it is told at once.
            self.check_in_at_ms = 0;
            self.check_in_again = self.checking_in;
        }
    }

    /// The server's answer to a check-in that may have named a digest.
    pub(super) fn foreign_told(&mut self, wanted: bool, cadence_ms: u64) {
        self.foreign.cadence_ms = cadence_ms;
        let asked = self.foreign.asked;
        match &self.foreign.latest {
            Some((digest, components)) if wanted && Some(*digest) == asked && !self.foreign.busy => {
                self.foreign.busy = true;
                self.work.send_inventory(self.api.clone(), Inventory { components: components.clone() });
            }
            _ if !wanted => self.foreign.told = asked,
            _ => {}
        }
    }

    pub(super) fn inventory_sent(&mut self, result: Result<(), ApiError>) {
        self.foreign.busy = false;
        match result {
            Ok(()) => self.foreign.told = self.foreign.asked,
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }
}
