//! Numbers that look random and are the same for a seed on every machine.
//!
//! There is one stream for each kind of thing, and a draw is a function of (seed, kind, subject, number), so that one
//! more draw of one kind, or of one device, disturbs nothing else. Must stay out: any source of real randomness.

/// What a number is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    Customer = 1,
    Site,
    OsBuild,
    HardwareModel,
    Network,
    PollPhase,
    Apply,
    Silence,
    Fault,
    FaultTime,
    WayBack,
    NightMachine,
    NightTime,
    Outage,
    Boot,
    Scenario,
    ServerTime,
    Message,
    Late,
    Clone,
    Lag,
}

/// All draws of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    seed: u64,
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Streams {
    /// The streams of a seed.
    pub fn new(seed: u64) -> Self {
        Streams { seed }
    }

    /// 64 bits for draw `number` of `subject`.
    pub fn bits(&self, kind: Kind, subject: u64, number: u64) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let kind = mix(self.seed.wrapping_add(STEP.wrapping_mul(kind as u64 + 1)));
        mix(mix(kind ^ subject.wrapping_mul(STEP)).wrapping_add(STEP.wrapping_mul(number + 1)))
    }

    /// From 0 (included) to 1 (excluded).
    pub fn unit(&self, kind: Kind, subject: u64, number: u64) -> f64 {
        (self.bits(kind, subject, number) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&self, kind: Kind, subject: u64, number: u64, probability: f64) -> bool {
        self.unit(kind, subject, number) < probability
    }

    /// From 0 to `limit - 1`; 0 for a limit of 0.
    pub fn below(&self, kind: Kind, subject: u64, number: u64, limit: u64) -> u64 {
        ((u128::from(self.bits(kind, subject, number)) * u128::from(limit)) >> 64) as u64
    }

    /// Exponentially distributed with mean 1, cut off at 6 (which one in 400 reaches).
    pub fn exponential(&self, kind: Kind, subject: u64, number: u64) -> f64 {
        (-libm::log(1.0 - self.unit(kind, subject, number))).min(6.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_seed_kind_subject_and_number_and_on_nothing_else() {
        let here = Streams::new(1).bits(Kind::Apply, 2, 3);
        assert_eq!(here, Streams::new(1).bits(Kind::Apply, 2, 3));
        assert_ne!(here, Streams::new(2).bits(Kind::Apply, 2, 3));
        assert_ne!(here, Streams::new(1).bits(Kind::Fault, 2, 3));
        assert_ne!(here, Streams::new(1).bits(Kind::Apply, 3, 3));
        assert_ne!(here, Streams::new(1).bits(Kind::Apply, 2, 4));
    }

    #[test]
    fn shares_come_out_as_asked_for() {
        let streams = Streams::new(7);
        let hits = (0..100_000).filter(|n| streams.chance(Kind::Silence, *n, 0, 0.01)).count();
        assert!((900..1_100).contains(&hits), "{hits}");
        let mean = (0..100_000).map(|n| streams.exponential(Kind::Apply, n, 0)).sum::<f64>() / 1e5;
        assert!((0.97..1.01).contains(&mean), "{mean}");
        assert!((0..1_000).all(|n| streams.below(Kind::Site, n, 0, 7) < 7));
    }
}
