//! Random pauses, so that a million devices don't call at once. Not for keys or nonces.

/// A small generator (SplitMix64, Steele et al. 2014), seeded by the operating system.
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Seeded from the operating system; from the process id if that has nothing to give, because a device that calls at
    /// an unlucky time is better than one that does not call.
    pub fn from_system() -> Self {
        let mut seed = [0; 8];
        match getrandom::fill(&mut seed) {
            Ok(()) => Jitter(u64::from_le_bytes(seed)),
            Err(_) => Jitter(u64::from(std::process::id())),
        }
    }

    /// A fixed sequence, for tests.
    pub fn from_seed(seed: u64) -> Self {
        Jitter(seed)
    }

    /// 0 to 999.
    pub fn permille(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % 1_000) as u16
    }

    /// `pause_ms` give or take a tenth.
    pub fn around(&mut self, pause_ms: u64) -> u64 {
        let pause_ms = pause_ms.min(u64::MAX / 2_000);
        pause_ms - pause_ms / 10 + pause_ms / 5 * u64::from(self.permille()) / 999
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_spread_over_a_fifth_and_no_further() {
        let mut jitter = Jitter::from_seed(1);
        let pauses: Vec<u64> = (0..10_000).map(|_| jitter.around(60_000)).collect();
        assert!(pauses.iter().all(|pause| (54_000..=66_000).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause < 55_000) && pauses.iter().any(|pause| *pause > 65_000));
        assert_eq!(jitter.around(0), 0);
        assert!(jitter.around(u64::MAX) > 0);
    }
}
