//! Whether it is this device's turn to prepare: position against the frontier, before anything was downloaded.

use crate::{
    conditions::{Authorisation, Frontier, Identity, Memory, Presented, Refusal, position},
    ids::Digest,
};
use serde::{Deserialize, Serialize};

/// What a rollout wants of this device at this time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// Its position is at or below `candidate_to`: it prepares and asks.
    Candidate,
    /// Not its turn, or a statement is missing.
    NotYet { refusal: Refusal },
    /// Halted or on the denylist: forgotten at once, whatever was downloaded.
    Dropped { refusal: Refusal },
}

/// Works out the standing from what is known without the release itself, and the sequence of the frontier it is under (0
/// for none). `now_ms`: Unix milliseconds that this device has reason to trust.
pub fn standing(
    identity: &Identity,
    memory: &Memory,
    release: &Digest,
    authorisation: &Presented<Authorisation>,
    frontier: &Presented<Frontier>,
    now_ms: u64,
) -> (Standing, u64) {
    let not_yet = |refusal| (Standing::NotYet { refusal }, 0);
    let dropped = |refusal| (Standing::Dropped { refusal }, 0);
    if let Some(why) = memory.denied.get(release) {
        return dropped(Refusal::ReleaseDenied { why: why.clone() });
    }
    let authorisation = match authorisation {
        Presented::Missing => return not_yet(Refusal::AuthorisationMissing),
        Presented::Rejected(why) => return not_yet(Refusal::AuthorisationRejected { why: why.clone() }),
        Presented::Verified(authorisation) => authorisation,
    };
    if authorisation.release != *release {
        return not_yet(Refusal::AuthorisationForOtherRelease);
    }
    if now_ms > authorisation.not_after_ms {
        return not_yet(Refusal::AuthorisationExpired { not_after_ms: authorisation.not_after_ms });
    }
    let frontier = match frontier {
        Presented::Missing => return not_yet(Refusal::FrontierMissing),
        Presented::Rejected(why) => return not_yet(Refusal::FrontierRejected { why: why.clone() }),
        Presented::Verified(frontier) => frontier,
    };
    if frontier.rollout != authorisation.rollout || frontier.release != authorisation.release {
        return not_yet(Refusal::FrontierForOther);
    }
    if frontier.halted {
        return dropped(Refusal::Halted);
    }
    if let Some(&sequence) = memory.forked.get(&frontier.rollout) {
        return not_yet(Refusal::FrontierForked { sequence });
    }
    match memory.frontiers.get(&frontier.rollout) {
        Some(&(seen, _)) if frontier.sequence < seen => {
            return not_yet(Refusal::FrontierReplayed { sequence: frontier.sequence, seen });
        }
        _ => {}
    }
    let Some(reach) = frontier.reach(identity.ring, &identity.stratum) else {
        return not_yet(Refusal::RingOrStratumUnknown { ring: identity.ring, stratum: identity.stratum.clone() });
    };
    let position = position(identity, authorisation);
    // A frontier that says "eligible" further than "candidate" means both.
    let to = reach.candidate_to.max(reach.eligible_to);
    if to.is_none_or(|to| position > to) {
        let refusal = Refusal::FrontierNotReached { position, eligible_to: reach.eligible_to };
        return (Standing::NotYet { refusal }, frontier.sequence);
    }
    (Standing::Candidate, frontier.sequence)
}

/// True if a device with this refusal asks for a permit all the same: both arms ask before they know what they are, and
/// a control lies beyond `eligible_to` and may lie above the ceiling.
pub(super) fn may_ask_despite(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::PermitMissing | Refusal::FrontierNotReached { .. } | Refusal::AboveCeiling { .. })
}

/// True if fetching the statements again may help.
pub(super) fn may_be_fetched_anew(refusal: &Refusal) -> bool {
    use Refusal::*;
    matches!(
        refusal,
        ReleaseMissing
            | ReleaseRejected { .. }
            | GateMissing
            | GateRejected { .. }
            | GateForOtherRelease
            | GateFailed
            | GateTooFewSigners { .. }
            | GateWithoutThisConsumer { .. }
            | GateWithoutCheck { .. }
            | WaiverTooFewSigners { .. }
    )
}
