//! How often something is said: at once the first time, then once a window with a count; never more than so many a minute,
//! of one rule and in all, so that one that is noisy drowns no other.
//!
//! Pure: time comes from outside. What is held back is counted and said, too.

use crate::finding::{Draft, Found, Trouble};
use std::collections::BTreeMap;

/// Repetitions within this time are one finding with a count, milliseconds.
pub const WINDOW_MS: i64 = 60_000;
/// Most findings a minute; as many may come at once after a quiet minute.
pub const A_MINUTE: u64 = 120;
/// Most findings a minute of one rule, or of one trouble of the sensor's.
pub const OF_ONE_A_MINUTE: u64 = 30;
/// Most different things that are counted at a time.
const MOST_OPEN: usize = 4_096;

/// Repetitions since the last time that it was said.
struct Open {
    what: Found,
    since_ms: i64,
    more: u64,
    first_ms: i64,
    last_ms: i64,
}

/// What may be said now, in thousandths of a finding.
struct Allowance {
    left: u64,
    a_minute: u64,
}

impl Allowance {
    fn new(a_minute: u64) -> Self {
        Allowance { left: a_minute * 1_000, a_minute }
    }

    fn pass(&mut self, milliseconds: u64) {
        // Thousandths a millisecond: 1,000 a finding, 60,000 ms a minute.
        self.left = (self.left + milliseconds.saturating_mul(self.a_minute) / 60).min(self.a_minute * 1_000);
    }

    fn is_spent(&self) -> bool {
        self.left < 1_000
    }
}

/// Counts and decides.
pub struct Reporter {
    open: BTreeMap<String, Open>,
    all: Allowance,
    /// Of rules and troubles that were said lately.
    each: BTreeMap<String, Allowance>,
    at_ms: i64,
    held_back: Option<Draft>,
}

impl Reporter {
    /// Nothing was said yet.
    pub fn new(now_ms: i64) -> Self {
        Reporter {
            open: BTreeMap::new(),
            all: Allowance::new(A_MINUTE),
            each: BTreeMap::new(),
            at_ms: now_ms,
            held_back: None,
        }
    }

    /// Something was found `count` times; what is to be said now.
    pub fn found(&mut self, what: Found, count: u64, now_ms: i64) -> Option<Draft> {
        self.pass(now_ms);
        let draft = |what| Draft { what, count, first_ms: now_ms, last_ms: now_ms };
        let key = what.key();
        if let Some(open) = self.open.get_mut(&key) {
            if open.more == 0 {
                open.first_ms = now_ms;
            }
            (open.more, open.last_ms, open.what) = (open.more + count, now_ms, what);
            return None;
        }
        let one = self.each.entry(what.subject()).or_insert_with(|| Allowance::new(OF_ONE_A_MINUTE));
        if self.all.is_spent() || one.is_spent() || self.open.len() >= MOST_OPEN {
            self.hold_back(count, now_ms);
            return None;
        }
        one.left -= 1_000;
        self.all.left -= 1_000;
        let open = Open { what: what.clone(), since_ms: now_ms, more: 0, first_ms: now_ms, last_ms: now_ms };
        self.open.insert(key, open);
        Some(draft(what))
    }

    fn hold_back(&mut self, count: u64, now_ms: i64) {
        let draft = self.held_back.get_or_insert_with(|| Draft {
            what: Found::sensor(
                Trouble::Blind,
                format!("findings held back: more than {A_MINUTE} a minute, or {OF_ONE_A_MINUTE} of one rule"),
            ),
            count: 0,
            first_ms: now_ms,
            last_ms: now_ms,
        });
        (draft.count, draft.last_ms) = (draft.count + count, now_ms);
    }

    /// Repetitions whose window has ended; `all`: every one, because this is the end.
    pub fn due(&mut self, now_ms: i64, all: bool) -> Vec<Draft> {
        self.pass(now_ms);
        // A clock that was set back ends windows, too.
        let over = |open: &Open| all || !(0..WINDOW_MS).contains(&now_ms.saturating_sub(open.since_ms));
        let mut due = Vec::new();
        self.open.retain(|_, open| {
            if !over(open) {
                return true;
            }
            if open.more == 0 {
                return false;
            }
            let Open { what, more, first_ms, last_ms, .. } = open;
            due.push(Draft { what: what.clone(), count: *more, first_ms: *first_ms, last_ms: *last_ms });
            (*more, open.since_ms) = (0, now_ms);
            true
        });
        let held_back = self.held_back.as_ref().is_some_and(|draft| all || now_ms - draft.first_ms >= WINDOW_MS);
        due.extend(if held_back { self.held_back.take() } else { None });
        due
    }

    fn pass(&mut self, now_ms: i64) {
        let passed = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        self.at_ms = now_ms;
        self.all.pass(passed);
        self.each.retain(|_, one| {
            one.pass(passed);
            one.left < OF_ONE_A_MINUTE * 1_000
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(what: &str) -> Found {
        Found::sensor(Trouble::Killed, what)
    }

    #[test]
    fn the_first_is_said_at_once_and_repetitions_once_with_their_count() {
        let mut reporter = Reporter::new(0);
        assert_eq!(reporter.found(killed("a"), 1, 10).map(|draft| draft.count), Some(1));
        for at in [20, 30, 40] {
            assert_eq!(reporter.found(killed("a"), 2, at), None);
        }
        assert!(reporter.found(killed("b"), 1, 50).is_some(), "another one is not the same");
        assert_eq!(reporter.due(60_000, false), []);
        let due = reporter.due(60_050, false);
        assert_eq!(due, [Draft { what: killed("a"), count: 6, first_ms: 20, last_ms: 40 }]);
        // It goes on: one a window.
        assert_eq!(reporter.found(killed("a"), 1, 60_060), None);
        assert_eq!(reporter.due(120_060, false).len(), 1);
        // A quiet window closes it: the next one is said at once.
        assert_eq!(reporter.due(180_070, false), []);
        assert!(reporter.found(killed("a"), 1, 180_080).is_some());
        assert_eq!(reporter.found(killed("a"), 1, 180_090), None);
        assert_eq!(reporter.due(180_100, true).len(), 1, "the end says all");
    }

    #[test]
    fn more_than_so_many_are_held_back_and_counted() {
        let mut reporter = Reporter::new(0);
        let said = (0..1_000).filter(|n| reporter.found(killed(&n.to_string()), 1, 5).is_some()).count() as u64;
        assert_eq!(said, OF_ONE_A_MINUTE);
        let stopped = |n: &u64| Found::sensor(Trouble::Stopped, n.to_string());
        assert!(reporter.found(stopped(&0), 1, 6).is_some(), "what is noisy drowns nothing else");
        let due = reporter.due(60_006, false);
        assert_eq!(due.iter().map(|draft| draft.count).sum::<u64>(), 1_000 - OF_ONE_A_MINUTE, "{due:?}");
        assert!(reporter.found(killed("later"), 1, 60_010).is_some());
    }

    #[test]
    fn alerts_of_one_rule_with_the_same_telling_fields_are_the_same() {
        let found = |command: &str, process: &str| Found::Match {
            rule: "r".into(),
            title: "t".into(),
            severity: staffel_pack::format::Level::Low,
            class: "process_creation".into(),
            pack: "linux".into(),
            version: 1,
            tags: Vec::new(),
            fields: [("CommandLine", command), ("ProcessId", process)]
                .map(|(name, text)| (name.into(), text.into()))
                .into(),
        };
        assert_eq!(found("a", "1").key(), found("a", "2").key());
        assert_ne!(found("a", "1").key(), found("b", "1").key());
    }
}
