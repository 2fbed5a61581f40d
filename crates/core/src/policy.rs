//! A customer's policy, evaluated the same on the server (to skip) and on the device (to refuse).
//!
//! Precedence (trust.md): denylist > freeze and pin > urgent > N-1, defer, window. What must stay out: who signed it.

use crate::release::Release;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Minutes of a week in UTC during which a device may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Bit 0 is Monday, bit 6 is Sunday.
    pub days: u8,
    /// First minute of the day, 0 to 1,439.
    pub from_minute: u16,
    /// First minute after the window, up to 1,440. Less than `from_minute` means that it ends on the next day.
    pub to_minute: u16,
}

impl Window {
    fn contains(&self, unix_ms: u64) -> bool {
        let minutes = unix_ms / 60_000;
        let minute = (minutes % 1_440) as u16;
        // 1 January 1970 was a Thursday: day 3 when Monday is 0.
        let day = ((minutes / 1_440 + 3) % 7) as u8;
        let on = |day: u8| self.days & (1 << day) != 0;
        if self.from_minute <= self.to_minute {
            on(day) && (self.from_minute..self.to_minute).contains(&minute)
        } else {
            (on(day) && minute >= self.from_minute) || (on((day + 6) % 7) && minute < self.to_minute)
        }
    }
}

/// How many may be away at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisruptionLimits {
    /// At most this many devices of one site; 0 means no limit.
    #[serde(default)]
    pub max_unavailable_per_site: u32,
    /// Device name to redundancy group: never two members of one group at a time.
    #[serde(default)]
    pub redundancy_groups: BTreeMap<String, String>,
    /// Devices (by name) that change only when a person says so, for example medical ones.
    #[serde(default)]
    pub manual_only: Vec<String>,
}

/// The ring of devices that are no pilots: the last.
pub const EVERYBODY: u8 = u8::MAX;

/// What a customer allows. The default allows everything at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerPolicy {
    /// Nothing changes, except what is urgent where [`CustomerPolicy::urgent_over_freeze`] says so.
    #[serde(default)]
    pub freeze: Option<String>,
    /// Release name to the one version allowed.
    #[serde(default)]
    pub pin: BTreeMap<String, String>,
    /// Stay one version behind: a release is allowed once a newer one of its name is completed.
    #[serde(default)]
    pub n_minus_1: bool,
    /// Wait this long after the authorisation's start, milliseconds.
    #[serde(default)]
    pub defer_ms: u64,
    /// Empty means always.
    #[serde(default)]
    pub windows: Vec<Window>,
    #[serde(default)]
    pub urgent_over_freeze: bool,
    /// Device names by pilot ring, first ring first. Pilots are at most 5 % of the customer's devices, but one is
    /// always allowed.
    #[serde(default)]
    pub rings: Vec<Vec<String>>,
    #[serde(default)]
    pub limits: DisruptionLimits,
    /// Names of the gate's checks that a release must have passed. A waived gate has passed none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_checks: Vec<String>,
}

/// Why a policy says no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "kebab-case")]
pub enum PolicyRefusal {
    Frozen { reason: String },
    Pinned { to: String },
    NMinusOne,
    Deferred { until_ms: u64 },
    WindowClosed,
    ManualOnly,
}

impl std::fmt::Display for PolicyRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PolicyRefusal::Frozen { reason } => write!(f, "the customer has frozen its devices: {reason}"),
            PolicyRefusal::Pinned { to } => write!(f, "the customer pinned this release to version {to}"),
            PolicyRefusal::NMinusOne => {
                f.write_str("the customer stays one version behind, and no newer version is completed yet")
            }
            PolicyRefusal::Deferred { until_ms } => write!(f, "the customer waits until {until_ms} (Unix ms)"),
            PolicyRefusal::WindowClosed => f.write_str("outside the customer's maintenance windows"),
            PolicyRefusal::ManualOnly => f.write_str("the customer changes this device by hand only"),
        }
    }
}

/// What a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub device_name: &'a str,
    pub release: &'a Release,
    pub urgent: bool,
    /// Start of the authorisation, Unix milliseconds.
    pub authorised_ms: u64,
    /// Now, Unix milliseconds, from a source that the asker trusts.
    pub now_ms: u64,
    /// The highest sequence of this name whose rollout is completed.
    pub newest_completed: u64,
    /// A person asked for this very device.
    pub by_hand: bool,
}

impl CustomerPolicy {
    /// `Ok` if the customer lets this device take this release now.
    pub fn allows(&self, q: &Question<'_>) -> Result<(), PolicyRefusal> {
        if let Some(reason) = &self.freeze
            && !(q.urgent && self.urgent_over_freeze)
        {
            return Err(PolicyRefusal::Frozen { reason: reason.clone() });
        }
        if let Some(to) = self.pin.get(&q.release.name)
            && *to != q.release.version
        {
            return Err(PolicyRefusal::Pinned { to: to.clone() });
        }
        if !q.by_hand && self.limits.manual_only.iter().any(|name| name == q.device_name) {
            return Err(PolicyRefusal::ManualOnly);
        }
        if q.urgent {
            return Ok(());
        }
        if self.n_minus_1 && q.newest_completed <= q.release.sequence {
            return Err(PolicyRefusal::NMinusOne);
        }
        let until_ms = q.authorised_ms.saturating_add(self.defer_ms);
        if q.now_ms < until_ms {
            return Err(PolicyRefusal::Deferred { until_ms });
        }
        if !self.windows.is_empty() && !self.windows.iter().any(|w| w.contains(q.now_ms)) {
            return Err(PolicyRefusal::WindowClosed);
        }
        Ok(())
    }

    /// The ring of a device: 0 for the first pilot ring, [`EVERYBODY`] for all that no ring names, whatever their
    /// customer has: pilots go first in the whole fleet, not only in their own customer's.
    pub fn ring(&self, device_name: &str) -> u8 {
        let at = self.rings.iter().position(|ring| ring.iter().any(|name| name == device_name));
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or(EVERYBODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::Digest,
        release::{Kind, StateCompatibility},
    };

    fn release() -> Release {
        Release {
            name: "till".into(),
            version: "2".into(),
            sequence: 2,
            kind: Kind::Component,
            security_floor: 0,
            state: StateCompatibility::None,
            digest: Digest::of(b"till 2"),
        }
    }

    fn ask(policy: &CustomerPolicy, urgent: bool, now_ms: u64) -> Result<(), PolicyRefusal> {
        policy.allows(&Question {
            device_name: "till-1",
            release: &release(),
            urgent,
            authorised_ms: 0,
            now_ms,
            newest_completed: 0,
            by_hand: false,
        })
    }

    #[test]
    fn freeze_and_pin_stand_above_urgent_unless_the_customer_said_otherwise() {
        let mut policy = CustomerPolicy { freeze: Some("quarter end".into()), ..Default::default() };
        assert!(matches!(ask(&policy, true, 0), Err(PolicyRefusal::Frozen { .. })));
        policy.urgent_over_freeze = true;
        assert_eq!(ask(&policy, true, 0), Ok(()));
        assert!(ask(&policy, false, 0).is_err());
        let policy = CustomerPolicy { pin: [("till".into(), "1".into())].into(), ..Default::default() };
        assert!(matches!(ask(&policy, true, 0), Err(PolicyRefusal::Pinned { .. })));
    }

    #[test]
    fn urgent_passes_defer_window_and_n_minus_1() {
        let policy = CustomerPolicy {
            n_minus_1: true,
            defer_ms: 10,
            windows: vec![Window { days: 0, from_minute: 0, to_minute: 1 }],
            ..Default::default()
        };
        assert_eq!(ask(&policy, true, 0), Ok(()));
        assert_eq!(ask(&policy, false, 0), Err(PolicyRefusal::NMinusOne));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
        let monday_22_to_2 = Window { days: 1, from_minute: 22 * 60, to_minute: 120 };
        let minute = |day: u64, minute: u64| ((day + 4) * 1_440 + minute) * 60_000; // day 0 is Monday 5 January 1970
        assert!(monday_22_to_2.contains(minute(0, 23 * 60)));
        assert!(monday_22_to_2.contains(minute(1, 60)));
        assert!(!monday_22_to_2.contains(minute(0, 60)));
        assert!(!monday_22_to_2.contains(minute(1, 23 * 60)));
    }

    #[test]
    fn rings_are_counted_from_the_first_pilot_ring() {
        let policy = CustomerPolicy { rings: vec![vec!["a".into()], vec!["b".into()]], ..Default::default() };
        assert_eq!((policy.ring("a"), policy.ring("b"), policy.ring("c")), (0, 1, EVERYBODY));
    }
}
