//! Why a rollout holds, halts, or does nothing: values that a page can print. Must stay out: deciding any of it.

use super::Late;
use crate::{evidence::Metric, ids::Share};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a rollout is held: nobody new gets a permit, what runs goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "held", rename_all = "kebab-case")]
pub enum HoldReason {
    /// A treated device is past its deadline while few are exposed. Ends with its return.
    Silent { device: String, since_ms: u64, exposed: u64, shut_down: bool },
    /// The evidence is suspicious, not conclusive.
    Evidence { e: f64, at: f64, scope: String },
    /// Nearly all treated devices of a wave are silent or went back. Ends once enough of them are proven healthy.
    WaveLost { wave: u32, lost: u64, treated: u64 },
    /// Most of the evidence comes from one customer: it is fenced, a person decides about the rest.
    OneCustomer { tenant: String, e: f64 },
    /// A person.
    Operator { who: String, why: String },
}

impl HoldReason {
    /// True if it ends by itself once its cause is gone.
    pub fn ends_by_itself(&self) -> bool {
        matches!(self, HoldReason::Silent { .. } | HoldReason::Evidence { .. } | HoldReason::WaveLost { .. })
    }
}

impl HoldReason {
    /// True if a person who has seen this one learns nothing from the other.
    pub(super) fn is_same_cause(&self, other: &HoldReason) -> bool {
        use HoldReason::*;
        match (self, other) {
            (Silent { device: a, shut_down: x, .. }, Silent { device: b, shut_down: y, .. }) => a == b && x == y,
            (Evidence { .. }, Evidence { .. }) | (WaveLost { .. }, WaveLost { .. }) => true,
            _ => false,
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldReason::Silent { device, exposed, shut_down, .. } => {
                let announced = if *shut_down { " (it had announced a shutdown)" } else { "" };
                write!(f, "{device} got the release and is silent past its deadline{announced}; {exposed} exposed")
            }
            HoldReason::Evidence { e, at, scope } => {
                write!(f, "the evidence against the release is {e:.1} (held from {at} on), strongest in {scope}")
            }
            HoldReason::WaveLost { wave, lost, treated } => {
                write!(f, "{lost} of {treated} in wave {wave} are silent or went back")
            }
            HoldReason::OneCustomer { tenant, e } => {
                write!(f, "over 80 % of the evidence ({e:.1}) comes from {tenant}, which is fenced; a person decides")
            }
            HoldReason::Operator { who, why } => write!(f, "{who}: {why}"),
        }
    }
}

/// Why a rollout is halted, for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "halted", rename_all = "kebab-case")]
pub enum HaltReason {
    /// Small fleets: a treated device came back on its old version.
    RolledBack { device: String, why: String },
    /// Small fleets: a treated device came back in safe mode.
    SafeMode { device: String, why: String },
    /// Small fleets: a treated device did not come back.
    NotBack { device: String, deadlines: u32 },
    /// The evidence is conclusive.
    Evidence { e: f64, at: f64, metric: Metric, scope: String },
    /// A person.
    Operator { who: String, why: String },
    /// A later rollout replaces this one.
    Superseded { by: u64 },
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HaltReason::RolledBack { device, why } => {
                write!(f, "{device} came back on the version before: {why}")
            }
            HaltReason::SafeMode { device, why } => write!(f, "{device} came back in safe mode: {why}"),
            HaltReason::NotBack { device, deadlines } => {
                write!(f, "{device} got the release, went silent and missed {deadlines} deadlines")
            }
            HaltReason::Evidence { e, at, metric, scope } => {
                write!(f, "the evidence against the release is {e:.0} to 1 (halt at {at:.0}): {metric:?} in {scope}")
            }
            HaltReason::Operator { who, why } => write!(f, "{who}: {why}"),
            HaltReason::Superseded { by } => write!(f, "replaced by rollout {by}"),
        }
    }
}

/// Why a device was passed over in the order, for now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    Frozen,
    Pinned,
    NMinusOne,
    Deferred,
    WindowClosed,
    ManualOnly,
    RedundancyGroup,
    SiteLimit,
    OtherRollout,
    Cloned,
    Retired,
    Fenced,
    AboveCeiling,
    /// Not heard for three heartbeats: it would only block the wave.
    Offline,
    /// Its customer's pilots come first, and none of them is proven healthy yet.
    PilotsFirst,
    /// Gave its permit back unused: its own words stand with it. Tried again later.
    Declined,
    /// Got the release and has been silent since its deadline.
    Silent,
    /// Got the release and went back, or into safe mode.
    WentBack,
}

impl Skip {
    /// True if waiting alone may end it.
    pub fn is_temporary(self) -> bool {
        use Skip::*;
        match self {
            Deferred | WindowClosed | RedundancyGroup | SiteLimit | OtherRollout | AboveCeiling | Offline
            | PilotsFirst | Declined => true,
            Frozen | Pinned | NMinusOne | ManualOnly | Cloned | Retired | Fenced | Silent | WentBack => false,
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Skip::*;
        f.write_str(match self {
            Frozen => "frozen by their customer",
            Pinned => "pinned to another version",
            NMinusOne => "staying one version behind",
            Deferred => "deferred by their customer",
            WindowClosed => "outside their maintenance window",
            ManualOnly => "changed by hand only",
            RedundancyGroup => "whose redundancy partner is away",
            SiteLimit => "on a site with as many away as it allows",
            OtherRollout => "busy with another rollout",
            Cloned => "with a key that two machines use",
            Retired => "retired",
            Fenced => "of a fenced customer",
            AboveCeiling => "above the signed ceiling",
            Offline => "not heard lately",
            PilotsFirst => "whose customer's pilots come first",
            Declined => "that gave their permit back",
            Silent => "that got it and are silent",
            WentBack => "that got it and went back",
        })
    }
}

/// A unit that was passed over, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// `customer/site/device`, or `customer/site` where sites change as a whole.
    pub unit: String,
    pub skip: Skip,
    /// Its own words, where it gave some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => write!(f, "{} ({why})", self.unit),
            None => f.write_str(&self.unit),
        }
    }
}

/// What a rollout that does nothing waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "waiting_on", rename_all = "kebab-case")]
pub enum WaitingOn {
    /// The authorisation's start, Unix milliseconds.
    Start {
        at_ms: u64,
    },
    /// Devices of the open wave that have not asked for their permit.
    Permits {
        wave: u32,
        treated: u64,
        control: u64,
    },
    /// Outcomes of the open wave.
    Outcomes {
        wave: u32,
        open: u64,
        next_deadline_ms: Option<u64>,
    },
    /// The ceiling that two releasers signed.
    Ceiling {
        share: Share,
        until_ms: u64,
    },
    /// As many units are exposed (silent since their deadline) as profile and authorisation allow.
    Budget {
        exposed: u64,
        budget: u64,
    },
    /// Devices that may not go now.
    Skipped {
        reasons: Vec<(Skip, u64)>,
        /// The first few of those that a person can do something about.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        named: Vec<Named>,
    },
    Held {
        reason: HoldReason,
    },
    Halted {
        reason: HaltReason,
    },
    /// Nothing: every device has it, but for those left out for good.
    Completed {
        /// When it was completed; those that got it and are not well, as they are now.
        left_out: Vec<(Skip, u64)>,
        /// The first few of those that a person can do something about.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        named: Vec<Named>,
        /// Who came since.
        #[serde(default, skip_serializing_if = "Late::is_empty")]
        late: Late,
    },
    /// The authorisation is over; what has not changed stays as it is.
    Expired {
        at_ms: u64,
    },
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |reasons: &[(Skip, u64)], named: &[Named]| {
            let one = |(skip, count): &(Skip, u64)| {
                let names: Vec<_> = named.iter().filter(|n| n.skip == *skip).map(Named::to_string).collect();
                let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
                format!("{count} {skip}{names}")
            };
            reasons.iter().map(one).collect::<Vec<_>>().join("; ")
        };
        match self {
            WaitingOn::Start { at_ms } => write!(f, "the start at {at_ms} (Unix ms)"),
            WaitingOn::Permits { wave, treated, control } => {
                write!(f, "wave {wave}: {treated} to treat and {control} controls have not asked for their permit")
            }
            WaitingOn::Outcomes { wave, open, .. } => {
                write!(f, "wave {wave}: {open} devices are not yet proven healthy")
            }
            WaitingOn::Ceiling { share, until_ms } => {
                write!(f, "the signed ceiling of {share}; it rises at {until_ms} (Unix ms)")
            }
            WaitingOn::Budget { exposed, budget } => {
                write!(f, "{exposed} devices that got the release and are silent, {budget} may be exposed at a time")
            }
            WaitingOn::Skipped { reasons, named } => {
                write!(f, "devices that may not go now: {}", list(reasons, named))
            }
            WaitingOn::Held { reason } => write!(f, "held: {reason}"),
            WaitingOn::Halted { reason } => write!(f, "halted: {reason}"),
            WaitingOn::Completed { left_out, named, late } => {
                match left_out.is_empty() {
                    true => f.write_str("nothing: every device has it")?,
                    false => write!(f, "nothing; left out: {}", list(left_out, named))?,
                }
                if late.exposed + late.proven > 0 {
                    write!(f, "; since then {} more have it and {} are on their way", late.proven, late.exposed)?;
                }
                match &late.stopped_by {
                    Some(unit) => {
                        write!(f, "; {unit} came late and is not well, which stops the others until you resume")
                    }
                    None => Ok(()),
                }
            }
            WaitingOn::Expired { .. } => f.write_str("nothing: the authorisation is over"),
        }
    }
}
