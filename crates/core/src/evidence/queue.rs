//! Which open deadline expires next.
//!
//! Events that happen at the same moment have to be put in some order, and the order is evidence: with treated devices
//! first, 75 % of healthy rollouts halted. The order here is (deadline, hash of the device id, unit number). The key has
//! no field for the arm and is built from nothing that depends on it, so "treated first" cannot be expressed. Callers
//! keep two promises that a type cannot: the hash is one of the device id alone, and both arms get the same deadline.
//!
//! Must stay out: what a missed deadline means (the caller looks up the unit's arm and metric afterwards).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The place of one deadline in the queue, given out by [`DeadlineQueue::insert`] and needed to remove it again. Stays
/// valid when deadlines are shifted. A plain value: keep it with the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadlineKey {
    // The deadline before all shifts, so that a shift does not touch the entries. The derived order is the pop order.
    before_shifts_ms: i64,
    hash: u64,
    unit: u32,
}

impl DeadlineKey {
    /// The unit whose deadline this is.
    pub fn unit(&self) -> u32 {
        self.unit
    }
}

/// A deadline that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// When it expired, shifts included, in milliseconds on the caller's clock.
    pub deadline_ms: u64,
    /// Hash of the device id.
    pub hash: u64,
    /// The caller's number for the unit.
    pub unit: u32,
}

/// Open deadlines in the only order in which they can be taken out.
///
/// Insert and remove cost O(log n), a shift O(1). Deadlines above `i64::MAX` milliseconds count as that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeadlineQueue {
    open: BTreeSet<DeadlineKey>,
    shifted_ms: u64,
}

impl DeadlineQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a deadline. `hash` must be a hash of the device id alone (for a site: of the site id). The same triple a
    /// second time is the same entry.
    pub fn insert(&mut self, deadline_ms: u64, hash: u64, unit: u32) -> DeadlineKey {
        let key = DeadlineKey { before_shifts_ms: clamp(deadline_ms) - clamp(self.shifted_ms), hash, unit };
        self.open.insert(key);
        key
    }

    /// Closes a deadline because the unit was heard, or censored. False if it is not open any more.
    pub fn remove(&mut self, key: &DeadlineKey) -> bool {
        self.open.remove(key)
    }

    /// Takes out the first deadline that is at or before `now_ms`. Apply the check-ins of that moment first: a unit
    /// heard exactly at its deadline is in time.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<Due> {
        if self.next_deadline()? > now_ms {
            return None;
        }
        let key = self.open.pop_first()?;
        Some(Due { deadline_ms: self.deadline_of(&key), hash: key.hash, unit: key.unit })
    }

    /// Moves every open deadline later. For an `ObservationGap`, pass the gap plus one cadence: the server's own
    /// downtime is not a wave of deaths. Deadlines that are opened afterwards are not moved.
    pub fn shift_all(&mut self, by_ms: u64) {
        self.shifted_ms = self.shifted_ms.saturating_add(by_ms);
    }

    /// The earliest open deadline, shifts included.
    pub fn next_deadline(&self) -> Option<u64> {
        self.open.first().map(|key| self.deadline_of(key))
    }

    /// When the deadline behind a key expires, shifts included (whether or not it is still open).
    pub fn deadline_of(&self, key: &DeadlineKey) -> u64 {
        key.before_shifts_ms.saturating_add(clamp(self.shifted_ms)).max(0) as u64
    }

    /// Number of open deadlines.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// True if no deadline is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

// Both operands of the subtraction above are then in 0..=i64::MAX, so it cannot overflow.
fn clamp(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_due_when_it_is_reached_and_not_before() {
        let mut queue = DeadlineQueue::new();
        queue.insert(1_000, 7, 1);
        assert_eq!(queue.pop_due(999), None);
        assert_eq!(queue.pop_due(1_000), Some(Due { deadline_ms: 1_000, hash: 7, unit: 1 }));
        assert_eq!(queue.pop_due(u64::MAX), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_gap_moves_what_was_open_and_only_that() {
        let mut queue = DeadlineQueue::new();
        let early = queue.insert(1_000, 1, 1);
        queue.shift_all(60_000);
        let late = queue.insert(1_500, 2, 2);
        assert_eq!(queue.deadline_of(&early), 61_000);
        assert_eq!(queue.next_deadline(), Some(1_500));
        assert!(queue.remove(&late));
        assert!(!queue.remove(&late));
        assert_eq!(queue.pop_due(60_999), None);
        assert_eq!(queue.pop_due(61_000).map(|due| due.unit), Some(1));
    }

    #[test]
    fn extreme_deadlines_and_shifts_do_not_overflow() {
        let mut queue = DeadlineQueue::new();
        let key = queue.insert(u64::MAX, 1, 1);
        for _ in 0..3 {
            queue.shift_all(u64::MAX);
        }
        assert_eq!(queue.deadline_of(&key), i64::MAX as u64);
        queue.insert(0, 2, 2);
        assert_eq!(queue.next_deadline(), Some(0));
    }
}
