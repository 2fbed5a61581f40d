//! The halt test of one metric in one cohort: an anytime-valid log-rank process with an onset mixture.
//!
//! For each of twelve suspected hazard ratios the process bets that the next event hits a treated device more often than
//! the risk set says. Without harm no betting strategy is expected to gain, so a large gain is evidence of harm, and it
//! may be looked at after every event. The onset mixture restarts the bets whenever a wave opens, so that a long healthy
//! past does not hide a fault that begins late.
//!
//! Source: ter Schure, Perez-Ortiz, Ly, Gruenwald, "The anytime-valid logrank test", NEJSDS 2024. The combination over
//! metrics and cohorts is in `scopes`.

use std::{fmt, num::NonZeroU32, sync::LazyLock};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{EvidenceError, exact, logspace};

/// Number of suspected hazard ratios.
pub const RATIOS: usize = 12;

/// The hazard ratios that the process bets on: how many times likelier an event is under treatment.
pub const HAZARD_RATIOS: [f64; RATIOS] = [1.03, 1.06, 1.12, 1.25, 1.5, 2.0, 3.0, 6.0, 12.0, 30.0, 100.0, 1000.0];

// Computed and not written down, so that every logarithm in the module comes from the same function.
static LN_HAZARD_RATIOS: LazyLock<[f64; RATIOS]> = LazyLock::new(|| HAZARD_RATIOS.map(libm::log));
static LN_RATIO_COUNT: LazyLock<f64> = LazyLock::new(|| libm::log(RATIOS as f64));

/// Which half of the comparison a device belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// Got the release.
    Treated,
    /// Did not get it, and is watched with the same deadlines.
    Control,
}

impl fmt::Display for Arm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Arm::Treated => "treated",
            Arm::Control => "control",
        })
    }
}

/// How many devices could have had the event just before it happened: those of the device's own slice and stratum,
/// itself included. After the event that arm's count falls by one; the caller keeps the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskSet {
    pub treated: u64,
    pub control: u64,
}

/// What one event adds to the twelve log-likelihood ratios. Computed once and applied to every cohort of the device.
pub(super) struct Increment([f64; RATIOS]);

impl Increment {
    pub(super) fn new(theta0: f64, risk: RiskSet, arm: Arm) -> Result<Self, EvidenceError> {
        let members = match arm {
            Arm::Treated => risk.treated,
            Arm::Control => risk.control,
        };
        if members == 0 {
            return Err(EvidenceError::ArmNotAtRisk { arm, treated: risk.treated, control: risk.control });
        }
        let treated = theta0 * risk.treated as f64;
        let control = risk.control as f64;
        let mut steps = [0.0; RATIOS];
        for (step, (ratio, ln_ratio)) in steps.iter_mut().zip(HAZARD_RATIOS.iter().zip(LN_HAZARD_RATIOS.iter())) {
            *step = libm::log((treated + control) / (treated * ratio + control));
            if arm == Arm::Treated {
                *step += ln_ratio;
            }
        }
        Ok(Increment(steps))
    }
}

/// The state of the test for one metric and one cohort: 208 bytes, whatever the size of the fleet.
///
/// Instead of a snapshot a wave, it keeps the logarithm of `A[j] = sum over waves k of exp(-l[j] at opening) / (k(k+1))`,
/// which is all that the mixture needs; logarithms, because `A` itself overflows once `l` is below -700.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    #[serde(with = "exact", rename = "l")]
    ln_ratio: [f64; RATIOS],
    #[serde(with = "exact", rename = "ln_a")]
    ln_onset: [f64; RATIOS],
    waves: NonZeroU32,
    #[serde(serialize_with = "store_theta0", deserialize_with = "restore_theta0")]
    theta0: f64,
}

fn store_theta0<S: serde::Serializer>(theta0: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    exact::serialize(&[*theta0], serializer)
}

fn restore_theta0<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let [theta0]: [f64; 1] = exact::deserialize(deserializer)?;
    check_theta0(theta0).map_err(D::Error::custom)
}

fn check_theta0(theta0: f64) -> Result<f64, EvidenceError> {
    if (1.0..=100.0).contains(&theta0) { Ok(theta0) } else { Err(EvidenceError::Theta0OutOfRange { theta0 }) }
}

impl Process {
    /// A process whose first wave is open and that has seen nothing: `E = 1`.
    ///
    /// `theta0` (`t0`) is the hazard ratio that is not yet harm: 1.5 where treated units restart and controls do not,
    /// 1 with a full sham or where nothing restarts. Must be from 1 to 100.
    pub fn new(theta0: f64) -> Result<Self, EvidenceError> {
        let theta0 = check_theta0(theta0)?;
        Ok(Process::before_the_first_event(theta0))
    }

    /// The same before the first event.
    pub(super) fn afresh(&self) -> Self {
        Process::before_the_first_event(self.theta0)
    }

    fn before_the_first_event(theta0: f64) -> Self {
        Process { ln_ratio: [0.0; RATIOS], ln_onset: [-libm::log(2.0); RATIOS], waves: NonZeroU32::MIN, theta0 }
    }

    /// Opens the next wave: from now on one more bet runs that has not lost anything yet. `E` stays as it is.
    ///
    /// The first wave is open from the start, so the first call opens wave 2.
    pub fn open_wave(&mut self) {
        let Some(wave) = self.waves.checked_add(1) else {
            return;
        };
        self.waves = wave;
        let wave = f64::from(wave.get());
        let ln_weight = libm::log(wave * (wave + 1.0));
        for (onset, ratio) in self.ln_onset.iter_mut().zip(self.ln_ratio.iter()) {
            *onset = logspace::add(*onset, -ratio - ln_weight);
        }
    }

    /// Counts one event: `treated` and `control` members of the device's own slice and stratum just before it, and the
    /// device's arm. Fails, changing nothing, if the device's arm has no member.
    pub fn observe(&mut self, treated: u64, control: u64, arm: Arm) -> Result<(), EvidenceError> {
        let increment = Increment::new(self.theta0, RiskSet { treated, control }, arm)?;
        self.apply(&increment);
        Ok(())
    }

    pub(super) fn apply(&mut self, increment: &Increment) {
        for (ratio, step) in self.ln_ratio.iter_mut().zip(increment.0.iter()) {
            *ratio += step;
        }
    }

    /// `ln E` of the onset mixture, the share `1/(K+1)` of waves still to come included. Always finite.
    pub fn ln_e(&self) -> f64 {
        let mut terms = self.ln_onset;
        for (term, ratio) in terms.iter_mut().zip(self.ln_ratio.iter()) {
            *term += ratio;
        }
        let opened = logspace::sum(&terms) - *LN_RATIO_COUNT;
        let to_come = -libm::log(f64::from(self.waves.get()) + 1.0);
        logspace::add(opened, to_come)
    }

    /// `ln E_1`: the bets that run since wave 1 alone, without the mixture. Always finite.
    pub fn ln_e_wave1(&self) -> f64 {
        logspace::sum(&self.ln_ratio) - *LN_RATIO_COUNT
    }

    /// Waves opened so far, at least 1.
    pub fn waves(&self) -> u32 {
        self.waves.get()
    }

    /// The hazard ratio that is not yet harm.
    pub fn theta0(&self) -> f64 {
        self.theta0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_outside_its_risk_set_changes_nothing() {
        let mut process = Process::new(1.5).unwrap();
        let before = process.clone();
        assert!(matches!(process.observe(0, 10, Arm::Treated), Err(EvidenceError::ArmNotAtRisk { .. })));
        assert!(matches!(process.observe(10, 0, Arm::Control), Err(EvidenceError::ArmNotAtRisk { .. })));
        assert_eq!(process, before);
    }

    #[test]
    fn theta0_must_be_an_allowance() {
        for theta0 in [0.0, 0.99, -1.0, 101.0, f64::NAN, f64::INFINITY] {
            assert!(Process::new(theta0).is_err(), "{theta0}");
        }
    }

    #[test]
    fn a_stored_state_comes_back_bit_for_bit_and_a_broken_one_does_not() {
        let mut process = Process::new(1.5).unwrap();
        process.observe(7, 1_234, Arm::Treated).unwrap();
        process.open_wave();
        process.observe(6, 1_233, Arm::Control).unwrap();
        let stored = serde_json::to_value(&process).unwrap();
        assert_eq!(serde_json::from_value::<Process>(stored.clone()).unwrap(), process);

        let broken = |field: &str, value: serde_json::Value| {
            let mut copy = stored.clone();
            copy[field] = value;
            serde_json::from_value::<Process>(copy).is_err()
        };
        assert!(broken("waves", 0.into()));
        assert!(broken("l", vec![0_u64; 11].into()));
        assert!(broken("l", vec![f64::NAN.to_bits(); 12].into()));
        assert!(broken("ln_a", vec![f64::INFINITY.to_bits(); 12].into()));
        assert!(broken("theta0", vec![0.5_f64.to_bits()].into()));
    }
}
