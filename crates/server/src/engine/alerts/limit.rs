//! Not the same alert again and again, and not more than people can read. Must stay out: what is worth one.

use super::AlertsConfig;
use staffel_notice::alert::Alert;
use std::collections::{BTreeMap, VecDeque};

const HOUR_MS: u64 = 3_600_000;

pub(super) struct Limit {
    quiet_ms: u64,
    most: usize,
    /// When something of this kind and subject was said last.
    said: BTreeMap<(String, String), u64>,
    /// Times of the alerts of the last hour.
    sent: VecDeque<u64>,
    held_back: u64,
}

impl Limit {
    pub fn new(config: &AlertsConfig) -> Self {
        Limit {
            quiet_ms: config.quiet_minutes.saturating_mul(60_000),
            most: config.most_an_hour.max(1) as usize,
            said: BTreeMap::new(),
            sent: VecDeque::new(),
            held_back: 0,
        }
    }

    /// Whether it is sent now.
    pub fn admits(&mut self, alert: &Alert, now: u64) -> bool {
        let quiet_ms = self.quiet_ms;
        self.said.retain(|_, at_ms| now.saturating_sub(*at_ms) < quiet_ms);
        let key = (alert.kind.clone(), alert.subject.clone());
        if self.said.contains_key(&key) {
            return false;
        }
        if !self.has_room(now) {
            self.held_back += 1;
            return false;
        }
        self.said.insert(key, now);
        self.sent.push_back(now);
        true
    }

    /// How many were held back, once there is room again to say so.
    pub fn held_back(&mut self, now: u64) -> Option<u64> {
        if self.held_back == 0 || !self.has_room(now) {
            return None;
        }
        self.sent.push_back(now);
        Some(std::mem::take(&mut self.held_back))
    }

    fn has_room(&mut self, now: u64) -> bool {
        while self.sent.front().is_some_and(|at_ms| now.saturating_sub(*at_ms) >= HOUR_MS) {
            self.sent.pop_front();
        }
        self.sent.len() < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(subject: &str) -> Alert {
        let (id, kind) = (format!("entry-{subject}"), "rollout.held".into());
        Alert { id, at_ms: 0, kind, subject: subject.into(), text: String::new(), entry: None }
    }

    fn limit(most_an_hour: u32) -> Limit {
        let config = serde_json::json!({ "most_an_hour": most_an_hour, "quiet_minutes": 10 });
        Limit::new(&serde_json::from_value(config).unwrap())
    }

    #[test]
    fn the_same_is_not_said_again_before_its_time() {
        let mut limit = limit(30);
        assert!(limit.admits(&alert("a"), 0));
        assert!(!limit.admits(&alert("a"), 599_999));
        assert!(limit.admits(&alert("b"), 599_999));
        assert!(limit.admits(&alert("a"), 600_000));
        assert_eq!(limit.held_back(600_000), None, "a repetition is not missed");
    }

    #[test]
    fn what_is_too_much_is_counted_and_said_once_there_is_room() {
        let mut limit = limit(2);
        let admitted = (0..5).filter(|n| limit.admits(&alert(&n.to_string()), 0)).count();
        assert_eq!(admitted, 2);
        assert_eq!(limit.held_back(HOUR_MS - 1), None);
        assert_eq!(limit.held_back(HOUR_MS), Some(3));
        assert_eq!(limit.held_back(HOUR_MS), None, "said once");
        assert!(limit.admits(&alert("later"), HOUR_MS));
    }
}
