//! Nonces that devices without a certificate sign (`POST /v1/recover`): given out without being remembered, so that nobody can
//! fill the memory by asking for them, and good once. What must stay out: what a good one leads to.
//!
//! A nonce is the time at which it was made, on this process's own clock, 16 random bytes, and a MAC over both with a
//! key that lives as long as the process: after a restart, devices ask again.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use staffel_core::identity::{NONCE_LIFETIME_MS, Nonce};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

const TIME: usize = 8;
const RANDOM: usize = 16;
const MAC: usize = 32;

/// Gives nonces out and knows them again.
pub(crate) struct Nonces {
    key: [u8; 32],
    start: Instant,
    /// The random parts of those that were answered by a device of the fleet, and when they were made.
    used: Mutex<BTreeMap<[u8; RANDOM], u64>>,
}

impl Nonces {
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Nonces { key, start: Instant::now(), used: Mutex::default() })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of every length: the error can't happen, and an empty key would only fail to verify.
        let mac = Hmac::<Sha256>::new_from_slice(&self.key);
        mac.unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default())).chain_update(body)
    }

    /// A new one, hex.
    pub fn give(&self) -> Result<String, getrandom::Error> {
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random)?;
        Ok(self.give_at(random, self.now_ms()))
    }

    fn give_at(&self, random: [u8; RANDOM], now_ms: u64) -> String {
        let mut nonce = now_ms.to_be_bytes().to_vec();
        nonce.extend_from_slice(&random);
        let mac = self.mac(&nonce).finalize().into_bytes();
        nonce.extend_from_slice(&mac);
        hex::encode(nonce)
    }

    /// What is known of a nonce. `spend`: whoever signed it is known here, so it is good no second time.
    pub fn take(&self, text: &str, spend: bool) -> Nonce {
        self.take_at(text, spend, self.now_ms())
    }

    fn take_at(&self, text: &str, spend: bool, now_ms: u64) -> Nonce {
        let mut bytes = [0; TIME + RANDOM + MAC];
        if hex::decode_to_slice(text, &mut bytes).is_err() {
            return Nonce::Foreign;
        }
        let (body, mac) = bytes.split_at(TIME + RANDOM);
        if self.mac(body).verify_slice(mac).is_err() {
            return Nonce::Foreign;
        }
        let (mut time, mut random) = ([0; TIME], [0; RANDOM]);
        time.copy_from_slice(&body[..TIME]);
        random.copy_from_slice(&body[TIME..]);
        let made_ms = u64::from_be_bytes(time);
        let age_ms = now_ms.saturating_sub(made_ms);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // An old one is refused for its age.
        used.retain(|_, made_ms| now_ms.saturating_sub(*made_ms) <= NONCE_LIFETIME_MS);
        let is_used = used.contains_key(&random);
        if spend && age_ms <= NONCE_LIFETIME_MS {
            used.insert(random, made_ms);
        }
        Nonce::Ours { age_ms, used: is_used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_ours_for_its_time_and_good_once() {
        let nonces = Nonces::new().unwrap();
        let nonce = nonces.give_at([7; RANDOM], 1_000);
        let ours = |age_ms, used| Nonce::Ours { age_ms, used };
        assert_eq!(nonces.take_at(&nonce, false, 1_500), ours(500, false));
        assert_eq!(nonces.take_at(&nonce, true, 1_500), ours(500, false), "a stranger did not use it up");
        assert_eq!(nonces.take_at(&nonce, true, 1_600), ours(600, true));
        let late = 1_000 + NONCE_LIFETIME_MS + 1;
        assert_eq!(nonces.take_at(&nonce, true, late), ours(NONCE_LIFETIME_MS + 1, false), "refused for its age");
        assert!(nonces.used.lock().unwrap().is_empty(), "and not remembered any more");
    }

    #[test]
    fn every_changed_byte_and_every_other_process_makes_it_foreign() {
        let nonces = Nonces::new().unwrap();
        let nonce = nonces.give().unwrap();
        let bytes = hex::decode(&nonce).unwrap();
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            assert_eq!(nonces.take(&hex::encode(&bent), true), Nonce::Foreign, "byte {at}");
            assert_eq!(nonces.take(&hex::encode(&bytes[..at]), true), Nonce::Foreign, "{at} bytes");
        }
        for text in ["", "x", &format!("{nonce}00"), &"00".repeat(56)] {
            assert_eq!(nonces.take(text, true), Nonce::Foreign, "{text}");
        }
        assert_eq!(Nonces::new().unwrap().take(&nonce, true), Nonce::Foreign);
        assert!(matches!(nonces.take(&nonce, true), Nonce::Ours { used: false, .. }));
    }
}
