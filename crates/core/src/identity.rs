//! Whether a device whose certificate has expired gets another one for its own key.
//!
//! A device that was off for longer than its certificate lasts can't speak to the server any more, and nobody should have to
//! visit it for that. It proves that it holds the key that was enrolled by signing a nonce of the server; here it is
//! decided what that proof is worth. What must stay out: checking the signature, drawing nonces, signing certificates.

use serde::{Deserialize, Serialize};

/// A nonce is good for so long after it was given out, milliseconds.
pub const NONCE_LIFETIME_MS: u64 = 120_000;

/// What is known of the nonce that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    /// This server gave it out so long ago, milliseconds. `used`: it was answered before.
    Ours { age_ms: u64, used: bool },
    /// Nobody here gave it out: it is made up, or from before a restart.
    Foreign,
}

/// What is known of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its device is out of the fleet for good.
    pub retired: bool,
    /// It was seen in two machines, and nobody has looked yet.
    pub cloned: bool,
}

/// Why there is no new certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "certificate_refused", rename_all = "kebab-case")]
pub enum Refusal {
    #[error("this server did not give that nonce out")]
    NonceForeign,
    #[error("the nonce is {} s old, it is good for {} s", age_ms / 1_000, NONCE_LIFETIME_MS / 1_000)]
    NonceOld { age_ms: u64 },
    #[error("the nonce was answered before")]
    NonceUsed,
    #[error("no device was enrolled with this key")]
    Unknown,
    #[error("the key belongs to a device that was retired")]
    Retired,
    #[error("the key was seen in two machines")]
    Cloned,
}

/// Decides whether whoever signed this nonce gets a certificate for the key that signed it. `standing`: none if no device
/// was ever enrolled with the key.
pub fn may_recover(nonce: Nonce, standing: Option<Standing>) -> Result<(), Refusal> {
    match nonce {
        Nonce::Foreign => return Err(Refusal::NonceForeign),
        // Before its age: whoever repeats what was sent learns nothing else.
        Nonce::Ours { used: true, .. } => return Err(Refusal::NonceUsed),
        Nonce::Ours { age_ms, .. } if age_ms > NONCE_LIFETIME_MS => return Err(Refusal::NonceOld { age_ms }),
        Nonce::Ours { .. } => {}
    }
    match standing {
        None => Err(Refusal::Unknown),
        Some(Standing { retired: true, .. }) => Err(Refusal::Retired),
        Some(Standing { cloned: true, .. }) => Err(Refusal::Cloned),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Nonce = Nonce::Ours { age_ms: NONCE_LIFETIME_MS, used: false };
    const MEMBER: Standing = Standing { retired: false, cloned: false };

    #[test]
    fn a_member_of_the_fleet_that_signs_a_fresh_nonce_gets_one() {
        assert_eq!(may_recover(FRESH, Some(MEMBER)), Ok(()));
    }

    #[test]
    fn everybody_else_is_refused_for_a_reason_of_their_own() {
        let retired = Standing { retired: true, ..MEMBER };
        let cloned = Standing { cloned: true, ..MEMBER };
        let both = Standing { retired: true, cloned: true };
        for (standing, refusal) in [
            (None, Refusal::Unknown),
            (Some(retired), Refusal::Retired),
            (Some(cloned), Refusal::Cloned),
            (Some(both), Refusal::Retired),
        ] {
            assert_eq!(may_recover(FRESH, standing), Err(refusal));
        }
    }

    #[test]
    fn a_nonce_counts_once_and_not_for_long_whoever_signs_it() {
        let old = NONCE_LIFETIME_MS + 1;
        for (nonce, refusal) in [
            (Nonce::Foreign, Refusal::NonceForeign),
            (Nonce::Ours { age_ms: old, used: false }, Refusal::NonceOld { age_ms: old }),
            (Nonce::Ours { age_ms: 0, used: true }, Refusal::NonceUsed),
            (Nonce::Ours { age_ms: old, used: true }, Refusal::NonceUsed),
        ] {
            for standing in [None, Some(MEMBER)] {
                assert_eq!(may_recover(nonce, standing), Err(refusal));
            }
        }
    }
}
