//! What a device does at its check-in, and what that leads to. Must stay out: when it comes next at leisure (`world`).

use crate::{
    scenario::Harm,
    world::{Doing, NEVER, SimError, World},
};
use staffel_core::{
    evidence::Arm,
    fleet::DeviceIndex,
    rollout::{Answer, Report, Status},
};

/// A device whose release cut it off waits so long for a receipt before it goes back, seconds.
const RECEIPT_S: u32 = 180;

impl World<'_> {
    pub(crate) fn check_in(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        let doing = self.devices.doing[at];
        if doing != Doing::Dark
            && let Some(later_s) = self.off_until(device)
        {
            self.schedule(device, later_s);
            return Ok(());
        }
        self.fleet.heard(device, self.now_ms());
        match doing {
            Doing::Dark => {
                self.point.recovered += 1;
                // Of a rollout that was replaced: its turn comes again.
                self.devices.doing[at] = if self.release == 1 { Doing::Back } else { Doing::Nothing };
                let why = "the machine went down again and again".into();
                self.say(device, &Report::Failed { safe_mode: false, why })?;
            }
            Doing::WillFail => {
                self.devices.doing[at] = Doing::Back;
                self.say(device, &Report::Failed { safe_mode: false, why: "its probe failed".into() })?;
            }
            Doing::WillBeCutOff => {
                self.devices.doing[at] = Doing::Back;
                self.say(device, &Report::CutOff { why: "trial-cut-off".into() })?;
            }
            Doing::Asks => self.asks(device)?,
            Doing::Applies => {
                self.devices.doing[at] = Doing::Trial;
                self.devices.trial_s[at] = self.now_s;
                self.say(device, &Report::OnTrial)?;
            }
            // The signed halt ends a trial.
            Doing::Trial if matches!(self.rollout.status, Status::Halted { .. }) => {
                self.devices.doing[at] = Doing::Back;
            }
            Doing::Trial if self.now_s >= self.devices.trial_s[at] + self.soak_s() => self.is_proven(device)?,
            Doing::Trial | Doing::Control | Doing::Proven | Doing::Back | Doing::Nothing => {}
        }
        self.comes_again(device)
    }

    fn soak_s(&self) -> u32 {
        (self.rollout.profile.soak_ms / 1_000) as u32
    }

    /// When a device that can't be reached now can be.
    fn off_until(&mut self, device: DeviceIndex) -> Option<u32> {
        if self.model.is_always_on() {
            return None;
        }
        let on_s = self.model.on_at(device, self.now_s);
        if on_s > self.now_s {
            return Some(on_s);
        }
        let server = self.model.behind(device)?;
        (self.devices.doing[server as usize] == Doing::Dark).then_some(self.now_s + 60)
    }

    /// The next check-in of a device that is watched; one that is not any more is left to its leisure.
    fn comes_again(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        if self.devices.next_s[at] != NEVER || self.devices.doing[at] == Doing::Dark {
            return Ok(());
        }
        let member = self.fleet.device(device).member_of == self.rollout.id;
        let over = self.over || matches!(self.rollout.status, Status::Halted { .. } | Status::Completed { .. });
        if matches!(self.devices.doing[at], Doing::Asks | Doing::Control) && (!member || over) {
            self.devices.doing[at] = Doing::Nothing;
            self.devices.learned_s[at] = self.devices.learned_s[at].min(self.now_s);
            return Ok(());
        }
        let profile = &self.rollout.profile;
        let cadence_ms = self.rollout.cadence_ms(device);
        let on_its_way = matches!(self.devices.doing[at], Doing::Applies | Doing::Trial);
        if cadence_ms >= profile.idle_cadence_ms && profile.idle_cadence_ms > profile.cadence_ms && !on_its_way {
            return Ok(());
        }
        if over && !on_its_way {
            return Ok(());
        }
        let mut next_s = self.now_s + (cadence_ms / 1_000).max(1) as u32;
        if self.devices.doing[at] == Doing::Trial {
            // The agent wakes when its soak is over, it does not wait for its turn.
            next_s = next_s.min((self.devices.trial_s[at] + self.soak_s()).max(self.now_s + 1));
        }
        if let Some(off_s) = self.model.off_at(device, self.now_s).filter(|off_s| *off_s <= next_s) {
            if self.model.says_goodbye(device, off_s) {
                self.say(device, &Report::Leaving)?;
            }
            next_s = self.model.on_at(device, off_s.max(self.now_s + 1));
        }
        self.schedule(device, next_s);
        Ok(())
    }

    fn asks(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        let ready_s = self.devices.learned_s[at].saturating_add(self.model.download_s(device, self.release));
        if self.now_s < ready_s {
            return Ok(());
        }
        let (events, answer) = self.rollout.report(self.fleet, device, &Report::Ready, self.now_ms());
        let granted = !events.is_empty();
        if let Some(Answer::Permit { arm: Arm::Treated, .. }) = answer {
            self.check_permit(device)?;
        }
        self.said |= granted;
        self.append(events)?;
        match answer {
            Some(Answer::Permit { arm, .. }) => self.takes(device, arm),
            _ => Ok(()),
        }
    }

    /// A permit arrived.
    fn takes(&mut self, device: DeviceIndex, arm: Arm) -> Result<(), SimError> {
        let at = device as usize;
        let permit = u64::from(self.devices.permits[at]);
        self.devices.permits[at] = self.devices.permits[at].saturating_add(1);
        let silent = self.model.goes_silent(device, permit);
        let silent_s = if silent { self.scenario.fleet.silent_for_s } else { 0 };
        if arm == Arm::Control {
            self.devices.doing[at] = Doing::Control;
            if silent {
                self.schedule(device, self.now_s + silent_s);
            }
            return Ok(());
        }
        self.point.exposed += 1;
        let run_s = self.now_s + self.model.apply_s(device, self.release);
        let fault = self.scenario.fault.as_ref().filter(|_| self.release == 1);
        let harm = fault.filter(|fault| self.model.is_hit(self.fleet, fault, device, self.release));
        let (doing, next_s) = match harm.map(|fault| fault.harm) {
            None => (Doing::Applies, run_s + silent_s),
            Some(Harm::Brick) => {
                self.point.bricked += 1;
                let guard_helps = harm.is_some_and(|fault| fault.guard_helps);
                (Doing::Dark, self.way_back_s(device, guard_helps).max(run_s))
            }
            Some(Harm::Forged) => {
                self.point.bricked += 1;
                (Doing::Applies, run_s)
            }
            Some(Harm::NextReboot) => {
                let within = harm.map_or(1, |fault| fault.reboot_within_s.max(1));
                let after_s =
                    self.model.streams.below(crate::random::Kind::FaultTime, u64::from(device), 0, u64::from(within));
                self.reboots.entry(run_s + after_s as u32).or_default().push(device);
                (Doing::Applies, run_s + silent_s)
            }
            Some(Harm::Reported) => (Doing::WillFail, run_s),
            Some(Harm::CutOff) => (Doing::WillBeCutOff, run_s + RECEIPT_S),
        };
        self.devices.doing[at] = doing;
        self.schedule(device, next_s);
        Ok(())
    }

    fn is_proven(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        self.devices.doing[device as usize] = Doing::Proven;
        self.say(device, &Report::Committed)
    }

    /// A device that was healthy so far reboots, and does not come back by itself at once.
    pub(crate) fn reboots_into_the_dark(&mut self, device: DeviceIndex) {
        let at = device as usize;
        if !matches!(self.devices.doing[at], Doing::Applies | Doing::Trial | Doing::Proven) || self.release != 1 {
            return;
        }
        // What is committed is not on trial: the guard gives it more time, and then a person comes.
        let guard_helps = self.devices.doing[at] != Doing::Proven
            && self.scenario.fault.as_ref().is_some_and(|fault| fault.guard_helps);
        self.point.bricked += 1;
        self.devices.doing[at] = Doing::Dark;
        self.schedule(device, self.way_back_s(device, guard_helps));
    }

    fn say(&mut self, device: DeviceIndex, report: &Report) -> Result<(), SimError> {
        let (events, _) = self.rollout.report(self.fleet, device, report, self.now_ms());
        self.said |= !events.is_empty();
        self.append(events)
    }
}
