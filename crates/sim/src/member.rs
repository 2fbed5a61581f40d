//! What a device does at its check-in, and what that leads to. Must stay out: when it comes next at leisure (`world`), and what
//! becomes of its messages (`faults`).

use crate::{
    random::Kind,
    scenario::Harm,
    world::{Doing, NEVER, SimError, World},
};
use staffel_core::{
    device::RECEIPT_WITHIN_MS,
    evidence::Arm,
    fleet::DeviceIndex,
    rollout::{Answer, Reached, Report, Status},
};

impl World<'_> {
    pub(crate) fn check_in(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        let doing = self.devices.doing[at];
        if doing != Doing::Dark
            && let Some(later_s) = self.off_until(device)
        {
            if self.model.goes_off(device, self.now_s) && self.model.says_goodbye(device, self.now_s) {
                self.fleet.heard(device, self.now_ms());
                self.say(device, &Report::Leaving)?;
            }
            self.schedule(device, later_s);
            return Ok(());
        }
        if doing == Doing::Dark {
            self.point.recovered += 1;
            self.oracle.is_back(device);
            let replaced = self.rollouts.iter().any(|running| running.start.supersedes == Some(0));
            // Of a rollout that was replaced: its turn comes again.
            self.devices.doing[at] = if replaced { Doing::Nothing } else { Doing::Back };
        }
        if self.server.loses_request() {
            return self.finds_nobody(device);
        }
        self.fleet.heard(device, self.now_ms());
        match doing {
            Doing::Dark => {
                let why = "the machine went down again and again".into();
                self.say(device, &Report::Failed { safe_mode: false, why })?;
            }
            Doing::WillFail => {
                self.devices.doing[at] = Doing::Back;
                self.say(device, &Report::Failed { safe_mode: false, why: "its probe failed".into() })?;
            }
            Doing::WillBeCutOff => {
                self.devices.doing[at] = Doing::Back;
                self.say(device, &Report::Failed { safe_mode: false, why: "trial-cut-off".into() })?;
            }
            // Nobody answered the version before either: its turn comes again.
            Doing::WasCutOff => {
                self.devices.doing[at] = Doing::Nothing;
                self.say(device, &Report::CutOff { why: "both-cut-off".into() })?;
            }
            Doing::Asks => self.asks(device)?,
            Doing::Applies => {
                self.devices.doing[at] = Doing::Trial;
                self.devices.trial_s[at] = self.now_s;
                self.say(device, &Report::OnTrial)?;
            }
            // The signed halt ends a trial.
            Doing::Trial if matches!(self.rollout_of(device).status, Status::Halted { .. }) => {
                self.devices.doing[at] = Doing::Back;
            }
            Doing::Trial if self.now_s >= self.proven_at_s(device) => self.is_proven(device)?,
            Doing::Nothing => self.comes_late(device)?,
            // Each check-in says what runs.
            Doing::Proven if !self.is_settled(device) => self.say(device, &Report::Committed)?,
            Doing::Trial | Doing::Control | Doing::Proven | Doing::Back => {}
        }
        self.comes_again(device)
    }

    /// The server does not answer: what a device has to say it says again, and one on trial goes back after a while.
    fn finds_nobody(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        let cadence_s = (self.rollout_of(device).profile.cadence_ms / 1_000) as u32;
        match self.devices.doing[at] {
            Doing::Applies => {
                let waited_ms = u64::from(self.now_s - self.devices.permit_s[at]) * 1_000;
                if waited_ms >= RECEIPT_WITHIN_MS {
                    self.devices.doing[at] = Doing::WasCutOff;
                }
            }
            // It proves itself without anybody's help.
            Doing::Trial if self.now_s >= self.proven_at_s(device) => self.is_proven(device)?,
            Doing::Back => {
                let why = "the machine went down again and again".into();
                self.say(device, &Report::Failed { safe_mode: false, why })?;
                return Ok(());
            }
            _ => {}
        }
        let wait_s = (u64::from(cadence_s) / 2) as u32 + (device % cadence_s.max(2)) / 2;
        self.schedule(device, self.now_s + wait_s.max(1));
        Ok(())
    }

    /// The server knows what came of it.
    fn is_settled(&self, device: DeviceIndex) -> bool {
        matches!(self.rollout_of(device).reached_by(device), Some(Reached::Proven | Reached::WentBack))
    }

    /// When a device on trial is proven, seconds.
    fn proven_at_s(&self, device: DeviceIndex) -> u32 {
        self.devices.trial_s[device as usize] + (self.rollout_of(device).profile.soak_ms / 1_000) as u32
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

    /// A device that joined late, or was away, finds a rollout that is completed and asks for its release.
    fn comes_late(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        let completed = |place: &usize| matches!(self.rollouts[*place].rollout.status, Status::Completed { .. });
        if let Some(place) = (0..self.rollouts.len()).rfind(completed) {
            self.devices.doing[at] = Doing::Asks;
            self.devices.of[at] = place as u8;
            self.devices.learned_s[at] = self.devices.learned_s[at].min(self.now_s);
            return self.asks(device);
        }
        if device >= self.model.present() && !(0..self.rollouts.len()).all(|place| self.is_over(place)) {
            let idle_s = (self.rollouts[0].rollout.profile.idle_cadence_ms / 1_000).max(1) as u32;
            self.schedule(device, self.now_s + idle_s);
        }
        Ok(())
    }

    /// The next check-in of a device that is watched; one that is not any more is left to its leisure.
    fn comes_again(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        if self.devices.next_s[at] != NEVER || self.devices.doing[at] == Doing::Dark {
            return Ok(());
        }
        let place = usize::from(self.devices.of[at]);
        let rollout = &self.rollouts[place].rollout;
        let member = self.fleet.device(device).member_of == rollout.id;
        let completed = matches!(rollout.status, Status::Completed { .. });
        let over = self.is_over(place);
        if matches!(self.devices.doing[at], Doing::Asks | Doing::Control) && (!member || over) {
            if completed && self.devices.doing[at] == Doing::Asks && rollout.reached_by(device).is_none() {
                // Its turn comes, a few at a time.
                let idle_s = (rollout.profile.idle_cadence_ms / 1_000).max(1) as u32;
                self.devices.doing[at] = Doing::Nothing;
                self.schedule(device, self.now_s + idle_s);
                return Ok(());
            }
            self.devices.doing[at] = Doing::Nothing;
            self.devices.learned_s[at] = self.devices.learned_s[at].min(self.now_s);
            return self.looks_around(device);
        }
        let profile = &rollout.profile;
        let cadence_ms = rollout.cadence_ms(device);
        let next_ms = rollout.next_check_in_ms(device, self.now_ms());
        let on_its_way = matches!(self.devices.doing[at], Doing::Applies | Doing::Trial);
        if cadence_ms >= profile.idle_cadence_ms && profile.idle_cadence_ms > profile.cadence_ms && !on_its_way {
            if self.devices.doing[at] == Doing::Asks {
                // Its site's turn is over without it, and comes again.
                self.devices.doing[at] = Doing::Nothing;
            }
            return self.looks_around(device);
        }
        if over && !on_its_way {
            return self.looks_around(device);
        }
        let mut next_s = self.now_s + (next_ms / 1_000).max(1) as u32;
        if self.devices.doing[at] == Doing::Trial {
            // The agent wakes when its soak is over, it does not wait for its turn.
            next_s = next_s.min(self.proven_at_s(device).max(self.now_s + 1));
        }
        self.schedule(device, self.or_off_at(device, next_s));
        Ok(())
    }

    /// When something is next to be heard of it: its check-in, or its goodbye if it is switched off before.
    fn or_off_at(&self, device: DeviceIndex, next_s: u32) -> u32 {
        self.model.off_at(device, self.now_s).map_or(next_s, |off_s| off_s.min(next_s))
    }

    /// Free of one rollout, another may have it in its wave already.
    fn looks_around(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        let member_of = self.fleet.device(device).member_of;
        let waits = |place: &usize| self.rollouts[*place].rollout.id == member_of;
        let Some(place) =
            (0..self.rollouts.len()).find(waits).filter(|place| *place != usize::from(self.devices.of[at]))
        else {
            return Ok(());
        };
        if matches!(self.devices.doing[at], Doing::Nothing | Doing::Proven | Doing::Back) && !self.is_over(place) {
            self.devices.doing[at] = Doing::Asks;
            self.devices.of[at] = place as u8;
            self.devices.learned_s[at] = self.devices.learned_s[at].min(self.now_s);
            self.schedule(device, self.now_s + 1);
        }
        Ok(())
    }

    fn asks(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        let place = usize::from(self.devices.of[at]);
        let number = self.rollouts[place].start.number;
        let ready_s = self.devices.learned_s[at].saturating_add(self.model.download_s(device, number));
        // What the device can prove of the time that has passed may lag behind; it does not ask for what it would refuse.
        let rollout = &self.rollouts[place].rollout;
        let age_ms = self.now_ms().saturating_sub(rollout.authorisation.start_ms);
        let proven_ms = age_ms.saturating_sub(u64::from(self.model.lag_s(device)) * 1_000);
        let lags = self.model.lag_s(device) > 0;
        if self.now_s < ready_s || (lags && rollout.is_too_young_for(device, proven_ms)) {
            return Ok(());
        }
        let (events, answer) = rollout.report(self.fleet, device, &Report::Ready, self.now_ms());
        let granted = !events.is_empty();
        if granted && matches!(answer, Some(Answer::Permit { arm: Arm::Treated, .. })) {
            self.check_permit(device)?;
        }
        self.said |= granted;
        let answered = self.append(place, events)?;
        match answer {
            Some(Answer::Permit { arm, .. }) if answered && !self.server.loses_answer() => self.takes(device, arm),
            _ => Ok(()),
        }
    }

    /// A permit arrived.
    fn takes(&mut self, device: DeviceIndex, arm: Arm) -> Result<(), SimError> {
        let at = device as usize;
        let number = self.rollouts[usize::from(self.devices.of[at])].start.number;
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
        self.devices.permit_s[at] = self.now_s;
        let run_s = self.now_s + self.model.apply_s(device, number);
        let fault = self.scenario.fault.as_ref().filter(|_| self.is_faulty(device));
        let harm = fault.filter(|fault| self.model.is_hit(self.fleet, fault, device, number));
        let (doing, next_s) = match harm.map(|fault| (fault.harm, fault)) {
            None => (Doing::Applies, run_s + silent_s),
            Some((Harm::Brick, fault)) => {
                self.point.bricked += 1;
                let id = self.rollout_of(device).id;
                self.oracle.goes_dark(id, device);
                (Doing::Dark, self.way_back_s(device, fault.guard_helps).max(run_s))
            }
            Some((Harm::Forged, _)) => {
                self.point.bricked += 1;
                (Doing::Applies, run_s)
            }
            Some((Harm::NextReboot | Harm::Leak | Harm::CleanReboot, fault)) => {
                let within = fault.within_s.max(2);
                let drawn = self.model.streams.below(Kind::FaultTime, u64::from(device), 0, u64::from(within)) as u32;
                // A leak takes its time, a reboot may come at once.
                let after_s = if fault.harm == Harm::Leak { within / 2 + drawn / 2 } else { drawn };
                self.ends.entry(run_s + after_s).or_default().push(device);
                (Doing::Applies, run_s + silent_s)
            }
            Some((Harm::Reported, _)) => (Doing::WillFail, run_s),
            Some((Harm::CutOff, _)) => (Doing::WillBeCutOff, self.now_s + (RECEIPT_WITHIN_MS / 1_000) as u32),
        };
        self.devices.doing[at] = doing;
        let is_heard = doing != Doing::Dark && !silent;
        self.schedule(device, if is_heard { self.or_off_at(device, next_s) } else { next_s });
        Ok(())
    }

    fn is_faulty(&self, device: DeviceIndex) -> bool {
        self.rollouts[usize::from(self.devices.of[device as usize])].start.faulty
    }

    fn is_proven(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        self.devices.doing[device as usize] = Doing::Proven;
        self.say(device, &Report::Committed)
    }

    /// A device that was healthy so far does not come back from a reboot, or is eaten up by a leak.
    pub(crate) fn ends_in_the_dark(&mut self, device: DeviceIndex) -> Result<(), SimError> {
        let at = device as usize;
        if !matches!(self.devices.doing[at], Doing::Applies | Doing::Trial | Doing::Proven) || !self.is_faulty(device) {
            return Ok(());
        }
        // A machine that is off does not reboot.
        if self.off_until(device).is_none() && self.scenario.fault.as_ref().is_some_and(|f| f.harm == Harm::CleanReboot)
        {
            self.say(device, &Report::Leaving)?;
        }
        // What is committed is not on trial: the guard gives it more time, and then a person comes.
        let guard_helps = self.devices.doing[at] != Doing::Proven
            && self.scenario.fault.as_ref().is_some_and(|fault| fault.guard_helps);
        self.point.bricked += 1;
        self.devices.doing[at] = Doing::Dark;
        self.schedule(device, self.way_back_s(device, guard_helps));
        Ok(())
    }

    /// A treated permit for a device above the ceiling, with a cloned key, or that it has already, must never be.
    fn check_permit(&self, device: DeviceIndex) -> Result<(), SimError> {
        use staffel_core::{
            ids::{Position, Share},
            profile::ceiling_at,
        };
        let running = &self.rollouts[usize::from(self.devices.of[device as usize])];
        let authorisation = &running.rollout.authorisation;
        let share = ceiling_at(&authorisation.ceiling, self.now_ms() - authorisation.start_ms);
        let position = running.position[device as usize];
        if share < Share::ALL && position >= Position::from_share(share) {
            return Err(self.broken(format!("device {device} got a permit above the ceiling of {share}")));
        }
        if self.devices.doing[device as usize] != Doing::Asks {
            return Err(self.broken(format!("device {device} got a second permit")));
        }
        if self.fleet.device(device).cloned {
            return Err(self.broken(format!("device {device} got a permit, and two machines use its key")));
        }
        Ok(())
    }
}
