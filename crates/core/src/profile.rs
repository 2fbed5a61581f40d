//! The four speeds of a rollout, and the ceiling that two releasers sign. What must stay out: any state.

use crate::ids::Share;
use serde::{Deserialize, Serialize};

/// From this age on, at most this share of all units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CeilingStep {
    /// Age of the authorisation, milliseconds.
    pub age_ms: u64,
    pub share: Share,
}

/// The share of all units that may have changed at this age: the last step reached, nothing before the first.
pub fn ceiling_at(steps: &[CeilingStep], age_ms: u64) -> Share {
    steps.iter().filter(|step| step.age_ms <= age_ms).map(|step| step.share).max().unwrap_or_default()
}

/// When the ceiling first reaches `share`, as an age in milliseconds.
pub fn age_for(steps: &[CeilingStep], share: Share) -> Option<u64> {
    steps.iter().filter(|step| step.share > share || step.share == Share::ALL).map(|step| step.age_ms).min()
}

/// A ceiling lets at least so many units go from the start, on average: positions are hashes, so it is a share and no count.
const UNITS_FROM_THE_START: u64 = 8;

/// How fast a rollout may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileName {
    /// Compressed times, so that a person can watch: never for real fleets.
    Demo,
    /// A security fix that can't wait: passes defer, window and N-1, but no freeze and no pin.
    Urgent,
    Standard,
    /// A day of soak a wave; Staffel's own updates always take this one.
    Careful,
}

/// The times of a profile, milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    pub name: ProfileName,
    /// Between two check-ins of a device in a wave.
    pub cadence_ms: u64,
    /// Between two check-ins of everybody else.
    pub idle_cadence_ms: u64,
    /// From the permit to the first check-in that says how it went.
    pub deadline_ms: u64,
    /// A device must stay healthy for this long before it counts as proven.
    pub soak_ms: u64,
    /// Treated units of the first wave (small fleets always start with one).
    pub first_wave: u32,
    /// At most this many units exposed at the same time; `None`: the wave is the only limit.
    pub exposure_budget: Option<u32>,
    pub ceiling: Vec<CeilingStep>,
    /// A device that was not heard for so long keeps no rollout from being completed.
    #[serde(default = "a_day")]
    pub away_ms: u64,
    /// How much larger a wave may be than the one before, percent. What a fault reaches grows with it, and so does the
    /// speed.
    #[serde(default = "doubling")]
    pub growth_percent: u32,
}

fn doubling() -> u32 {
    200
}

fn a_day() -> u64 {
    24 * 3_600_000
}

impl Profile {
    /// The profile of that name.
    pub fn named(name: ProfileName) -> Self {
        const SECOND: u64 = 1_000;
        const MINUTE: u64 = 60 * SECOND;
        const HOUR: u64 = 60 * MINUTE;
        let steps = |unit: u64, table: &[(u64, u32)]| {
            table.iter().map(|&(age, ppm)| CeilingStep { age_ms: age * unit, share: Share(ppm * 1_000) }).collect()
        };
        let real = Profile {
            name,
            cadence_ms: MINUTE,
            idle_cadence_ms: 15 * MINUTE,
            deadline_ms: 3 * MINUTE,
            soak_ms: 15 * MINUTE,
            first_wave: 3,
            exposure_budget: None,
            ceiling: Vec::new(),
            away_ms: a_day(),
            growth_percent: doubling(),
        };
        match name {
            ProfileName::Demo => Profile {
                cadence_ms: SECOND,
                idle_cadence_ms: SECOND,
                deadline_ms: 5 * SECOND,
                soak_ms: 3 * SECOND,
                first_wave: 1,
                exposure_budget: Some(8),
                away_ms: 30 * SECOND,
                ceiling: steps(SECOND, &[(0, 200_000), (5, 350_000), (15, 500_000), (30, 750_000), (45, 1_000_000)]),
                ..real
            },
            // Doubling every 3 minutes from 3 of 8.5 million takes 64 minutes; the ceiling lies a factor above that
            // path and far below everybody.
            ProfileName::Urgent => Profile {
                soak_ms: 3 * MINUTE,
                ceiling: steps(
                    MINUTE,
                    &[(0, 100), (15, 1_000), (30, 20_000), (45, 250_000), (52, 500_000), (60, 1_000_000)],
                ),
                ..real
            },
            ProfileName::Standard => Profile {
                ceiling: steps(
                    HOUR,
                    &[(0, 1_000), (1, 10_000), (2, 50_000), (3, 250_000), (4, 500_000), (5, 1_000_000)],
                ),
                ..real
            },
            ProfileName::Careful => Profile {
                soak_ms: 24 * HOUR,
                ceiling: steps(
                    24 * HOUR,
                    &[(0, 1_000), (2, 10_000), (4, 50_000), (6, 250_000), (8, 500_000), (10, 1_000_000)],
                ),
                ..real
            },
        }
    }
}

impl Profile {
    /// The ceiling for a fleet of so many units. The table is made for millions; in a small fleet its first steps allow
    /// nobody or hardly anybody, so that a rollout waits for hours, or stands held on the word of two devices. There the
    /// ceiling follows the path of a rollout that doubles once a soak time, from eight units on. The demo's table is made
    /// for its few machines.
    pub fn ceiling_for(&self, units: u64) -> Vec<CeilingStep> {
        if self.name == ProfileName::Demo {
            return self.ceiling.clone();
        }
        let path = |age_ms: u64| {
            let doublings = age_ms.checked_div(self.soak_ms).unwrap_or(0).min(32);
            let share = u128::from(UNITS_FROM_THE_START << doublings) * u128::from(Share::ALL.0);
            Share(u32::try_from(share / u128::from(units.max(1))).unwrap_or(Share::ALL.0).min(Share::ALL.0))
        };
        let mut steps: Vec<CeilingStep> = Vec::with_capacity(self.ceiling.len());
        for step in &self.ceiling {
            let share = step.share.max(path(step.age_ms));
            if steps.last().is_none_or(|before| before.share < share) {
                steps.push(CeilingStep { share, ..*step });
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_leaves_a_small_fleet_its_first_waves_and_is_the_table_in_a_large_one() {
        for name in [ProfileName::Urgent, ProfileName::Standard, ProfileName::Careful] {
            let profile = Profile::named(name);
            assert_eq!(profile.ceiling_for(8_500_000), profile.ceiling, "{name:?}");
            let small = profile.ceiling_for(1_000);
            assert_eq!(small[0], CeilingStep { age_ms: 0, share: Share(8_000_000) }, "{name:?}");
            assert!(small.windows(2).all(|w| w[0].age_ms < w[1].age_ms && w[0].share < w[1].share), "{name:?}");
            assert_eq!(ceiling_at(&small, u64::MAX), Share::ALL);
            assert_eq!(profile.ceiling_for(3), [CeilingStep { age_ms: 0, share: Share::ALL }]);
            assert_eq!(profile.ceiling_for(0), [CeilingStep { age_ms: 0, share: Share::ALL }]);
        }
    }

    #[test]
    fn no_real_profile_lets_everybody_go_in_the_first_quarter_of_an_hour() {
        for name in [ProfileName::Urgent, ProfileName::Standard, ProfileName::Careful] {
            let profile = Profile::named(name);
            assert!(ceiling_at(&profile.ceiling, 15 * 60_000) <= Share::percent(1), "{name:?}");
            assert_eq!(ceiling_at(&profile.ceiling, u64::MAX), Share::ALL);
        }
    }

    #[test]
    fn a_ceiling_never_falls_with_age() {
        for name in [ProfileName::Demo, ProfileName::Urgent, ProfileName::Standard, ProfileName::Careful] {
            let steps = Profile::named(name).ceiling;
            assert!(steps.windows(2).all(|w| w[0].age_ms < w[1].age_ms && w[0].share < w[1].share), "{name:?}");
        }
    }

    #[test]
    fn an_empty_ceiling_lets_nobody_go() {
        assert_eq!(ceiling_at(&[], u64::MAX), Share(0));
        assert_eq!(age_for(&[], Share(1)), None);
    }
}
