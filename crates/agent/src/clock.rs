//! Which time counts. The wall clock of a device may stand in 1970 or in 2099; neither may stop or start anything.
//!
//! Signed statements tell the time at which they were made; from then on the machine's running clock counts. The wall
//! clock is taken only if it agrees with them within [`AGREES_MS`], or if there is no statement yet and it lies where it
//! could be right. Time never goes below a floor that is kept on disk; a new keyring, which is how a stolen online key
//! is got rid of, clears what the old key had claimed. What must stay out: reading any clock; both are handed in.

use serde::{Deserialize, Serialize};

/// The wall clock and signed statements agree if they differ by no more: 5 minutes in milliseconds.
pub const AGREES_MS: u64 = 5 * 60_000;
/// Without a statement, a wall clock further ahead of the last known time is doubted: 30 days in milliseconds.
pub const DOUBTED_AHEAD_MS: u64 = 30 * 24 * 3_600_000;

/// What is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Unix milliseconds; time never goes below.
    pub floor_ms: u64,
    /// The boot in which `running_ms` was read.
    #[serde(default)]
    pub boot_id: String,
    /// The running clock up to which authorisations have aged.
    #[serde(default)]
    pub running_ms: u64,
}

/// The time as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct TrustedTime {
    floor_ms: u64,
    /// Time of the newest statement, and the running clock when it came.
    statement: Option<(u64, u64)>,
}

impl TrustedTime {
    /// Starts from the floor on disk.
    pub fn new(floor_ms: u64) -> Self {
        TrustedTime { floor_ms, statement: None }
    }

    /// A verified statement was made at `issued_ms` (Unix milliseconds).
    pub fn note(&mut self, issued_ms: u64, running_ms: u64) {
        if self.by_statement(running_ms).is_none_or(|known| issued_ms > known) {
            self.statement = Some((issued_ms, running_ms));
        }
        self.floor_ms = self.floor_ms.max(issued_ms);
    }

    /// The online key was replaced: what it claimed counts no more.
    pub fn forget(&mut self) {
        *self = TrustedTime::default();
    }

    /// Unix milliseconds.
    pub fn floor_ms(&self) -> u64 {
        self.floor_ms
    }

    fn by_statement(&self, running_ms: u64) -> Option<u64> {
        self.statement.map(|(issued, at)| issued.saturating_add(running_ms.saturating_sub(at)))
    }

    /// The time to go by, Unix milliseconds. `wall_ms`: the wall clock.
    pub fn now_ms(&self, wall_ms: u64, running_ms: u64) -> u64 {
        let now = match self.by_statement(running_ms) {
            Some(known) if wall_ms.abs_diff(known) <= AGREES_MS => wall_ms,
            Some(known) => known,
            None if self.is_doubtful(wall_ms) => self.floor_ms,
            None => wall_ms,
        };
        now.max(self.floor_ms)
    }

    /// True while nothing signed tells the time and the wall clock can't be right.
    pub fn is_unknown(&self, wall_ms: u64) -> bool {
        self.statement.is_none() && self.is_doubtful(wall_ms)
    }

    fn is_doubtful(&self, wall_ms: u64) -> bool {
        wall_ms < self.floor_ms || wall_ms - self.floor_ms > DOUBTED_AHEAD_MS
    }

    /// What is wrong with the wall clock, in words; nothing if it is believed.
    pub fn problem(&self, wall_ms: u64, running_ms: u64) -> Option<String> {
        let signed = self.by_statement(running_ms);
        let wrong = match signed {
            Some(known) => wall_ms.abs_diff(known) > AGREES_MS,
            None => self.is_doubtful(wall_ms),
        };
        wrong.then(|| {
            let by = if signed.is_some() { "signed statements" } else { "what was known last" };
            let known = signed.unwrap_or(0).max(self.floor_ms);
            let hours = wall_ms.abs_diff(known) / 3_600_000;
            let way = if wall_ms < known { "behind" } else { "ahead of" };
            format!("this machine's clock is {} h {way} {by}; it is not used", hours.max(1))
        })
    }
}

/// The machine's wall clock, Unix milliseconds; 0 before 1970.
pub fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const YEAR: u64 = 365 * 24 * 3_600_000;

    #[test]
    fn a_signed_time_beats_a_clock_in_1970_and_one_in_2099() {
        let mut time = TrustedTime::new(NOW - YEAR);
        time.note(NOW, 1_000);
        for wall in [0, NOW + 70 * YEAR] {
            assert_eq!(time.now_ms(wall, 61_000), NOW + 60_000);
            assert!(time.problem(wall, 61_000).is_some());
        }
        let wall = NOW + 60_000 + AGREES_MS;
        assert_eq!(time.now_ms(wall, 61_000), wall);
        assert_eq!(time.problem(wall, 61_000), None);
    }

    #[test]
    fn without_a_statement_an_impossible_clock_gives_way_to_the_floor() {
        let time = TrustedTime::new(NOW);
        for wall in [0, NOW + 70 * YEAR] {
            assert_eq!(time.now_ms(wall, 5), NOW);
            assert!(time.is_unknown(wall));
        }
        assert_eq!(time.now_ms(NOW + 1, 5), NOW + 1);
        assert!(!time.is_unknown(NOW + 1));
    }

    #[test]
    fn an_old_statement_turns_nothing_back_and_a_new_keyring_forgets_a_lie() {
        let mut time = TrustedTime::new(0);
        time.note(NOW, 1_000);
        time.note(NOW - YEAR, 2_000);
        assert_eq!(time.now_ms(0, 2_000), NOW + 1_000);
        assert_eq!(time.floor_ms(), NOW);
        time.note(NOW + 70 * YEAR, 3_000);
        time.forget();
        time.note(NOW, 4_000);
        assert_eq!(time.now_ms(0, 4_000), NOW);
    }
}
