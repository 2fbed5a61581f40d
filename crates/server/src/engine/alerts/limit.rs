//! Not the same alert again and again, and not more than people can read. What devices say about themselves has half of that at
//! most, and one device a sixth: none that lies can keep the rest from being read. Must stay out: what is worth an alert.

use super::AlertsConfig;
use staffel_core::ids::DeviceId;
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
    /// Of these, what devices said, and which.
    of_devices: VecDeque<(u64, DeviceId)>,
    held_back: u64,
}

impl Limit {
    pub fn new(config: &AlertsConfig) -> Self {
        Limit {
            quiet_ms: config.quiet_minutes.saturating_mul(60_000),
            most: config.most_an_hour.max(1) as usize,
            said: BTreeMap::new(),
            sent: VecDeque::new(),
            of_devices: VecDeque::new(),
            held_back: 0,
        }
    }

    /// Whether it is sent now. `source`: the device whose words it repeats.
    pub fn admits(&mut self, alert: &Alert, source: Option<DeviceId>, now: u64) -> bool {
        let quiet_ms = self.quiet_ms;
        self.said.retain(|_, at_ms| now.saturating_sub(*at_ms) < quiet_ms);
        let key = (alert.kind.clone(), alert.subject.clone());
        if self.said.contains_key(&key) {
            return false;
        }
        if !self.has_room(now) || source.is_some_and(|device| !self.has_room_for(device, now)) {
            self.held_back += 1;
            return false;
        }
        self.of_devices.extend(source.map(|device| (now, device)));
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

    fn has_room_for(&mut self, device: DeviceId, now: u64) -> bool {
        while self.of_devices.front().is_some_and(|(at_ms, _)| now.saturating_sub(*at_ms) >= HOUR_MS) {
            self.of_devices.pop_front();
        }
        let of_it = self.of_devices.iter().filter(|(_, of)| *of == device).count();
        self.of_devices.len() < (self.most / 2).max(1) && of_it < (self.most / 6).max(1)
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
        assert!(limit.admits(&alert("a"), None, 0));
        assert!(!limit.admits(&alert("a"), None, 599_999));
        assert!(limit.admits(&alert("b"), None, 599_999));
        assert!(limit.admits(&alert("a"), None, 600_000));
        assert_eq!(limit.held_back(600_000), None, "a repetition is not missed");
    }

    #[test]
    fn no_device_and_not_all_of_them_keep_the_rest_from_being_read() {
        let mut limit = limit(12);
        let mut number = 0;
        let mut admitted = |limit: &mut Limit, device: u8, now| {
            let source = Some(DeviceId([device; 16]));
            (0..20)
                .filter(|_| {
                    number += 1;
                    limit.admits(&alert(&number.to_string()), source, now)
                })
                .count()
        };
        assert_eq!([1, 2, 3, 4].map(|device| admitted(&mut limit, device, 0)), [2, 2, 2, 0]);
        assert!(limit.admits(&alert("a rollout"), None, 0));
        assert_eq!(admitted(&mut limit, 1, HOUR_MS), 2);
    }

    #[test]
    fn what_is_too_much_is_counted_and_said_once_there_is_room() {
        let mut limit = limit(2);
        let admitted = (0..5).filter(|n| limit.admits(&alert(&n.to_string()), None, 0)).count();
        assert_eq!(admitted, 2);
        assert_eq!(limit.held_back(HOUR_MS - 1), None);
        assert_eq!(limit.held_back(HOUR_MS), Some(3));
        assert_eq!(limit.held_back(HOUR_MS), None, "said once");
        assert!(limit.admits(&alert("later"), None, HOUR_MS));
    }
}
