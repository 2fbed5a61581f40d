//! How long a committed generation may crash before it is left. What must stay out: clocks; the pauses themselves are
//! what stretches a crash loop over minutes, so counting crashes is enough, and a count survives `kill -9`.

use crate::profile::ProfileName;
use serde::{Deserialize, Serialize};

/// Crashes that are borne, and the growing pauses between them.
///
/// A database that is away for ten seconds must not take a device back a version for good; a program that can't run
/// must not be tried for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// The crash with this number, without a stable time between, leaves the generation; at least 2.
    pub tries: u32,
    /// Pause before the start after the first crash, milliseconds; doubles with each further one.
    pub first_pause_ms: u64,
    /// Longest pause, milliseconds.
    pub longest_pause_ms: u64,
}

impl Patience {
    /// What two releasers sign by naming a profile: about four minutes, and about three seconds in the demo.
    pub fn of(profile: ProfileName) -> Self {
        match profile {
            ProfileName::Demo => Patience { tries: 6, first_pause_ms: 100, longest_pause_ms: 2_000 },
            ProfileName::Urgent | ProfileName::Standard | ProfileName::Careful => {
                Patience { tries: 10, first_pause_ms: 1_000, longest_pause_ms: 60_000 }
            }
        }
    }

    /// Pause before the start that follows this crash (the first is 1), milliseconds.
    pub fn pause_ms(&self, crash: u32) -> u64 {
        let doubled = self.first_pause_ms.saturating_mul(1 << crash.saturating_sub(1).min(32));
        doubled.min(self.longest_pause_ms)
    }

    /// A crash loop lasts at least this long before its generation is left, milliseconds.
    pub fn lasts_ms(&self) -> u64 {
        (1..self.tries).map(|crash| self.pause_ms(crash)).sum()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience::of(ProfileName::Standard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_for_ten_seconds_leaves_nothing() {
        let real = Patience::of(ProfileName::Standard);
        assert_eq!((1..=8).map(|n| real.pause_ms(n) / 1_000).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(real.lasts_ms(), 243_000);
        assert_eq!(Patience::of(ProfileName::Demo).lasts_ms(), 3_100);
        assert_eq!(real.pause_ms(u32::MAX), real.longest_pause_ms);
    }
}
