//! A device of the test world: polls, asks, changes, and fails as it is told to. Must stay out: the server's half.

use super::super::Report;
use crate::fleet::DeviceIndex;

/// What the release does to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Dark from the permit on.
    Brick,
    /// Goes on checking in, and the release never starts.
    Stuck,
    /// On trial for ever.
    NeverProven,
    /// Dark for so long, then all is well.
    Late(u64),
    /// Dark for so long, then back on the version before.
    RolledBack(u64),
    /// Dark for so long, then in safe mode.
    SafeMode(u64),
    /// Gives its permit back unused.
    Declines,
    /// Says that it gives its permit back, and changes all the same.
    Lies,
    /// Says goodbye during the trial, is away for so long, then all is well.
    ShutDown(u64),
}

/// Numbers that look random, the same for a seed everywhere (SplitMix64, Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Doing {
    Nothing,
    /// The new version comes up at this time.
    Changing {
        rollout: usize,
        fault: Fault,
        at_ms: u64,
    },
    Trial {
        rollout: usize,
        fault: Fault,
        until_ms: u64,
    },
    /// Does not use its permit.
    Declining {
        rollout: usize,
        report: Report,
        lies: bool,
        at_ms: u64,
    },
    /// Has something to say that the server has not confirmed yet.
    Telling {
        rollout: usize,
        report: Report,
    },
}

/// One device. Time in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct SimDevice {
    pub index: DeviceIndex,
    /// Not reachable before this time; `u64::MAX`: for good.
    pub dark_until_ms: u64,
    doing: Doing,
    /// Rollouts that ended here.
    pub ended: Vec<usize>,
    /// Rollouts whose release it runs.
    pub running: Vec<usize>,
}

impl SimDevice {
    pub fn new(index: DeviceIndex) -> Self {
        SimDevice { index, dark_until_ms: 0, doing: Doing::Nothing, ended: Vec::new(), running: Vec::new() }
    }

    /// Took a permit and is not done: it may be out of service.
    pub fn is_changing(&self) -> bool {
        matches!(self.doing, Doing::Changing { .. } | Doing::Trial { .. })
    }

    /// What it has to say at this check-in: rollout and report.
    pub fn says(&mut self, rollouts: usize, now_ms: u64, soak_ms: u64) -> Vec<(usize, Report)> {
        match self.doing.clone() {
            Doing::Nothing => (0..rollouts).filter(|r| !self.ended.contains(r)).map(|r| (r, Report::Ready)).collect(),
            Doing::Changing { at_ms, .. } if now_ms < at_ms => Vec::new(),
            Doing::Changing { rollout, fault, .. } => match fault {
                Fault::Stuck | Fault::Brick => Vec::new(),
                Fault::RolledBack(_) | Fault::SafeMode(_) => {
                    let safe_mode = matches!(fault, Fault::SafeMode(_));
                    let report = Report::Failed { safe_mode, why: "the probe failed".into() };
                    self.doing = Doing::Telling { rollout, report: report.clone() };
                    vec![(rollout, report)]
                }
                _ => {
                    self.doing = Doing::Trial { rollout, fault, until_ms: now_ms + soak_ms };
                    vec![(rollout, Report::OnTrial)]
                }
            },
            Doing::Trial { rollout, fault: Fault::ShutDown(ms), until_ms } => {
                self.doing = Doing::Trial { rollout, fault: Fault::None, until_ms: until_ms + ms };
                self.dark_until_ms = now_ms + ms;
                vec![(rollout, Report::Leaving)]
            }
            // The receipt for `OnTrial` may have been lost.
            Doing::Trial { rollout, fault, until_ms } if now_ms < until_ms || fault == Fault::NeverProven => {
                vec![(rollout, Report::OnTrial)]
            }
            Doing::Trial { rollout, .. } => {
                self.running.push(rollout);
                self.doing = Doing::Telling { rollout, report: Report::Committed };
                vec![(rollout, Report::Committed)]
            }
            Doing::Declining { rollout, report, .. } | Doing::Telling { rollout, report } => vec![(rollout, report)],
        }
    }

    /// The server has what it said.
    pub fn heard_by_server(&mut self) {
        if let Doing::Declining { rollout, lies, at_ms, .. } = self.doing {
            self.doing = match lies {
                true => Doing::Changing { rollout, fault: Fault::None, at_ms },
                false => Doing::Nothing,
            };
        }
        if let Doing::Telling { rollout, .. } = self.doing {
            self.ended.push(rollout);
            self.doing = Doing::Nothing;
        }
    }

    /// Has given the permit back and asks again.
    fn declines(&mut self, rollout: usize, fault: Fault, now_ms: u64) {
        let report = Report::Declined { why: "frozen".into(), unchanged: true };
        self.doing = Doing::Declining { rollout, report, lies: fault == Fault::Lies, at_ms: now_ms };
    }

    /// A treated permit arrived.
    pub fn change(&mut self, rollout: usize, fault: Fault, now_ms: u64, apply_ms: u64) {
        if matches!(fault, Fault::Declines | Fault::Lies) {
            return self.declines(rollout, fault, now_ms);
        }
        let away = match fault {
            Fault::Late(ms) | Fault::RolledBack(ms) | Fault::SafeMode(ms) => ms,
            _ => apply_ms,
        };
        self.dark_until_ms = match fault {
            Fault::Brick => u64::MAX,
            Fault::Stuck => 0,
            _ => now_ms + away,
        };
        self.doing = Doing::Changing { rollout, fault, at_ms: now_ms + away };
    }
}
