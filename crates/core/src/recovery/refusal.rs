//! Why a step about a case is not taken: values that a page can print. Must stay out: deciding any of it.

use super::{CaseId, Debt, Doubt, IncidentId, State};
use serde::{Deserialize, Serialize};

/// A "no" with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum Refusal {
    #[error("there is no case {case}")]
    UnknownCase { case: CaseId },
    #[error("there is no incident {incident}")]
    UnknownIncident { incident: IncidentId },
    #[error("case {case} is closed")]
    Closed { case: CaseId },
    #[error("case {case} is not closed")]
    NotClosed { case: CaseId },
    #[error(
        "not verified by a probe: {passed} of {needed} passed{}",
        if doubts.is_empty() { String::new() } else { format!("; {}", doubts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")) }
    )]
    NotVerified { passed: u32, needed: u32, doubts: Vec<Doubt> },
    #[error("protection is off: {debt}")]
    DebtOpen { debt: Debt },
    #[error("only a probe makes a case verified; what people say is noted as working")]
    OnlyAProbeVerifies,
    #[error("a case is closed with `close`, once a probe has verified it")]
    CloseItInstead,
    #[error("the device itself proves more than {state:?} now")]
    DeviceSaysMore { state: State },
    #[error("the device shows this debt itself: it is lifted when the device shows that it is over")]
    LiftedByTheDeviceOnly,
    #[error("case {case} has no such open debt")]
    NoSuchDebt { case: CaseId },
    #[error("case {case} has this debt already")]
    SameDebt { case: CaseId },
    #[error("say in words what happened")]
    NothingSaid,
    #[error("the time to call back is over")]
    CallBackInThePast,
    #[error("an incident concerns at least one device; none fits")]
    NoDevices,
    #[error("every device named has an open case in incident {incident} already")]
    AllHaveCases { incident: IncidentId },
}
