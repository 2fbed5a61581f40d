//! A fleet, a server that decides with `core`, and one clock. Devices that nothing happens to cost no events: what they
//! would have said is worked out when `core` is about to look.
//!
//! Read [`World::run`] for the loop, `member` for what a device in a wave does. Must stay out: decisions (they are
//! `core`'s), and what machines are like (`model`).

use crate::{
    model::Model,
    outcome::{Curve, Outcome, Point},
    random::Kind,
    scenario::{Scenario, Staffel},
    way_back::starts_until_back,
};
use staffel_core::{
    conditions::{Authorisation, Identity, Unit},
    evidence::EvidenceError,
    fleet::{DeviceIndex, Fleet},
    ids::{Digest, Position, Share},
    invariants,
    profile::{CeilingStep, Profile, ceiling_at},
    release::{Release, StateCompatibility},
    rollout::{ByHand, Event, Rollout, Status, WaitingOn},
};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a simulation ended without an outcome.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SimError {
    /// Something that must never be false was false.
    #[error("{policy}, after {at_s} s: {what}")]
    Broken { policy: String, at_s: u32, what: String },
    #[error("begin the rollout of {policy}: {problem}")]
    Begin { policy: String, problem: EvidenceError },
}

/// How far a simulation is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub policy: &'a str,
    /// Simulated seconds.
    pub at_s: u32,
    pub confirmed: u64,
    pub devices: u64,
}

/// Takes word of the progress now and then.
pub type Watcher<'a> = dyn FnMut(Progress<'_>) + 'a;

/// What a device does, as the world sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Polls at leisure, or as a candidate.
    Nothing,
    /// In the open wave, has no permit yet.
    Asks,
    /// Has the permit of a control.
    Control,
    /// Applies the release.
    Applies,
    /// Runs it, not proven.
    Trial,
    /// Runs it, proven healthy.
    Proven,
    /// Applies it, will go back and say so.
    WillFail,
    /// Applies it, will go back because nobody answers.
    WillBeCutOff,
    /// Bricked.
    Dark,
    /// Runs the version before.
    Back,
}

/// No event is planned; nothing is known.
pub(crate) const NEVER: u32 = u32::MAX;

/// Facts of one device, packed: there are millions.
pub(crate) struct Devices {
    pub doing: Vec<Doing>,
    /// Its next event, seconds; [`NEVER`] for none.
    pub next_s: Vec<u32>,
    /// Since when it has known that its turn is near.
    pub learned_s: Vec<u32>,
    /// Since when it has been on trial.
    pub trial_s: Vec<u32>,
    /// Where it stands in the order: devices compare it with the frontier themselves.
    pub position: Vec<Position>,
    /// Permits that it ever got: numbers its draws.
    pub permits: Vec<u8>,
}

/// One policy on one fleet.
pub(crate) struct World<'a> {
    pub scenario: &'a Scenario,
    pub policy: &'a str,
    pub ours: &'a Staffel,
    pub model: &'a Model,
    pub fleet: &'a mut Fleet,
    pub rollout: Rollout,
    pub devices: Devices,
    pub now_s: u32,
    /// Second to the devices that have an event then, in the order in which it was planned.
    calendar: BTreeMap<u32, Vec<DeviceIndex>>,
    /// Second to the devices that reboot into their end then.
    pub reboots: BTreeMap<u32, Vec<DeviceIndex>>,
    plan_at_s: u32,
    pub said: bool,
    wave_open: bool,
    refreshed_s: Option<u32>,
    candidates: u64,
    scheduled: u64,
    pub point: Point,
    curve: Curve,
    holds: u32,
    waves: u32,
    busiest: u64,
    starts_until_back: Option<u32>,
    pub release: u64,
    /// Nobody more will get it: only what happened already goes on.
    pub over: bool,
}

/// A hold that nobody has looked at for so long is an end, too, seconds.
const FORGOTTEN_S: u32 = 86_400;

impl<'a> World<'a> {
    /// The world at the moment of publication.
    pub fn new(
        scenario: &'a Scenario,
        policy: &'a str,
        ours: &'a Staffel,
        model: &'a Model,
        fleet: &'a mut Fleet,
        seed: u64,
    ) -> Result<Self, SimError> {
        let count = fleet.devices.len();
        let rollout = begin(scenario, policy, ours, fleet, seed, 1, 0, None)?;
        let mut world = World {
            scenario,
            policy,
            ours,
            model,
            fleet,
            rollout,
            devices: Devices {
                doing: vec![Doing::Nothing; count],
                next_s: vec![NEVER; count],
                learned_s: vec![NEVER; count],
                trial_s: vec![0; count],
                position: Vec::new(),
                permits: vec![0; count],
            },
            now_s: 0,
            calendar: BTreeMap::new(),
            reboots: BTreeMap::new(),
            plan_at_s: 0,
            said: true,
            wave_open: false,
            refreshed_s: None,
            candidates: 0,
            scheduled: 0,
            point: Point::default(),
            curve: Curve::default(),
            holds: 0,
            waves: 0,
            busiest: 0,
            starts_until_back: starts_until_back(),
            release: 1,
            over: false,
        };
        world.work_out_positions();
        world.look_at_the_frontier();
        world.curve.add(world.point);
        Ok(world)
    }

    pub fn now_ms(&self) -> u64 {
        (self.scenario.fleet.start_s + u64::from(self.now_s)) * 1_000
    }

    fn work_out_positions(&mut self) {
        let authorisation = &self.rollout.authorisation;
        let fleet = &*self.fleet;
        let position = |device: &staffel_core::fleet::Device| {
            let site = &fleet.sites[device.site as usize];
            let identity = |name: &str, site: &str| Identity {
                device: device.id,
                name: String::new(),
                tenant: name.into(),
                site: site.into(),
                ring: 0,
                stratum: String::new(),
                consumer: Digest::default(),
            };
            let key = match authorisation.unit {
                Unit::Device => device.id.0.to_vec(),
                Unit::Site => {
                    identity(&fleet.tenants[site.tenant as usize].name, &site.name).unit_key(authorisation.unit)
                }
            };
            Position::of(&authorisation.log_root, &authorisation.release, &key)
        };
        self.devices.position = fleet.devices.iter().map(position).collect();
    }

    /// Runs to the end: everybody has it or nobody more gets it, and nothing is left to happen.
    pub fn run(mut self, watcher: &mut Watcher<'_>) -> Result<Outcome, SimError> {
        let (mut halted, mut completed, mut shown_s) = (None, None, 0);
        self.plan_all()?;
        loop {
            self.over = match self.rollout.status {
                Status::Halted { .. } => {
                    halted.get_or_insert(self.now_s);
                    true
                }
                Status::Completed { .. } => {
                    completed.get_or_insert(self.now_s);
                    true
                }
                Status::Held { since_ms, .. } => self.now_ms() - since_ms >= u64::from(FORGOTTEN_S) * 1_000,
                Status::Running => false,
            };
            let over = self.over;
            let fix_at = halted.and_then(|at| Some(at + self.ours.fix_after_s?)).filter(|_| self.release == 1);
            let next = [
                self.calendar.keys().next().copied(),
                self.reboots.keys().next().copied(),
                (!over).then_some(self.plan_at_s),
                self.resume_at(),
                fix_at,
            ];
            let Some(next) = next.into_iter().flatten().min() else { break };
            if next > self.scenario.horizon_s {
                break;
            }
            self.now_s = next.max(self.now_s);
            if self.resume_at().is_some_and(|at| at <= self.now_s) {
                let events = self.rollout.by_hand(ByHand::Resume { who: "ada".into() });
                self.append(events)?;
                self.said = true;
            }
            if fix_at.is_some_and(|at| at <= self.now_s) {
                self.begin_fix()?;
            }
            self.happens()?;
            if self.said || (!over && self.now_s >= self.plan_at_s) {
                self.plan_all()?;
            }
            self.curve.add(Point { at_s: self.now_s, ..self.point });
            if self.now_s >= shown_s {
                shown_s = self.now_s + 60;
                let (confirmed, devices) = (self.rollout.counts.confirmed, self.fleet.devices.len() as u64);
                watcher(Progress { policy: self.policy, at_s: self.now_s, confirmed, devices });
            }
        }
        self.check_the_books()?;
        let waiting = self.rollout.waiting_on(self.fleet, self.now_ms());
        let needs_a_person = match &waiting {
            WaitingOn::Held { .. } => true,
            WaitingOn::Skipped { reasons, .. } => reasons.iter().all(|(skip, _)| !skip.is_temporary()),
            _ => false,
        };
        Ok(Outcome {
            name: self.policy.into(),
            exposed: self.point.exposed,
            bricked: self.point.bricked,
            recovered: self.point.recovered,
            halted_after_s: halted,
            completed_after_s: completed,
            verdict: waiting.to_string(),
            needs_a_person,
            holds: self.holds,
            waves: self.waves,
            busiest: self.busiest,
            curve: self.curve.finish(),
        })
    }

    /// Everything that happens in this second.
    fn happens(&mut self) -> Result<(), SimError> {
        let mut check_ins = 0;
        while let Some(entry) = self.reboots.first_entry()
            && *entry.key() <= self.now_s
        {
            for device in entry.remove() {
                self.reboots_into_the_dark(device);
            }
        }
        while let Some(entry) = self.calendar.first_entry()
            && *entry.key() <= self.now_s
        {
            let (at_s, devices) = entry.remove_entry();
            for device in devices {
                // A later plan for the same device replaced this one.
                if self.devices.next_s[device as usize] == at_s {
                    self.devices.next_s[device as usize] = NEVER;
                    self.scheduled -= 1;
                    check_ins += 1;
                    self.check_in(device)?;
                }
            }
        }
        // Those that are not looked at one by one come at their cadence.
        let cadence_s = self.rollout.profile.cadence_ms / 1_000;
        let idle_s = self.rollout.profile.idle_cadence_ms / 1_000;
        let others = (self.fleet.devices.len() as u64).saturating_sub(self.scheduled + self.candidates);
        self.busiest = self.busiest.max(check_ins + self.candidates / cadence_s.max(1) + others / idle_s.max(1));
        Ok(())
    }

    /// Plans a device's next event, in place of the one that was planned before.
    pub fn schedule(&mut self, device: DeviceIndex, at_s: u32) {
        let at_s = at_s.max(self.now_s + 1);
        let next = &mut self.devices.next_s[device as usize];
        self.scheduled += u64::from(*next == NEVER);
        *next = at_s;
        self.calendar.entry(at_s).or_default().push(device);
    }

    fn resume_at(&self) -> Option<u32> {
        let Status::Held { since_ms, .. } = self.rollout.status else { return None };
        let since_s = (since_ms / 1_000 - self.scenario.fleet.start_s) as u32;
        Some(since_s + self.ours.resume_after_s?)
    }

    /// Makes events durable and applies them, as the server's engine does, and looks whether all that must hold does.
    pub fn append(&mut self, events: Vec<Event>) -> Result<(), SimError> {
        let now_ms = self.now_ms();
        for event in events {
            let before = invariants::Snapshot::of(&self.rollout);
            self.rollout.apply(self.fleet, &event, now_ms);
            invariants::rollout(&before, &self.rollout).map_err(|what| self.broken(what))?;
            match event {
                Event::WaveOpened { .. } => {
                    self.waves += 1;
                    self.wave_open = true;
                    self.look_at_the_frontier();
                }
                Event::WaveResolved { .. } => {
                    self.wave_open = false;
                    self.refreshed_s = None;
                }
                Event::Held { .. } => self.holds += 1,
                _ => {}
            }
        }
        Ok(())
    }

    pub fn broken(&self, what: impl Into<String>) -> SimError {
        SimError::Broken { policy: self.policy.into(), at_s: self.now_s, what: what.into() }
    }

    fn plan_all(&mut self) -> Result<(), SimError> {
        self.said = false;
        for _ in 0..100_000 {
            if !self.wave_open {
                self.hear_everybody();
            }
            let plan = self.rollout.plan(self.fleet, self.now_ms());
            if plan.actions.is_empty() {
                let again_s = plan.again_at_ms.map_or(NEVER, |at| {
                    u32::try_from(at.div_ceil(1_000).saturating_sub(self.scenario.fleet.start_s)).unwrap_or(NEVER)
                });
                self.plan_at_s = again_s.max(self.now_s + 1);
                return Ok(());
            }
            self.append(plan.actions)?;
        }
        Err(self.broken("the plan does not come to rest"))
    }

    /// Brings the times at which idle devices were heard last up to date: the next wave is drawn from them.
    fn hear_everybody(&mut self) {
        if self.refreshed_s == Some(self.now_s) {
            return;
        }
        self.refreshed_s = Some(self.now_s);
        self.candidates = 0;
        let cadence_s = (self.rollout.profile.cadence_ms / 1_000) as u32;
        let idle_s = (self.rollout.profile.idle_cadence_ms / 1_000) as u32;
        for device in 0..self.fleet.devices.len() as DeviceIndex {
            let at = device as usize;
            if self.devices.next_s[at] != NEVER || self.devices.doing[at] == Doing::Dark {
                continue;
            }
            let learned_s = self.devices.learned_s[at];
            let candidate = self.devices.doing[at] == Doing::Nothing && learned_s <= self.now_s;
            self.candidates += u64::from(candidate);
            let ago_s = if candidate {
                (self.now_s - learned_s) % cadence_s
            } else {
                let phase = self.model.poll_phase_s(device, idle_s);
                (self.now_s + idle_s - phase) % idle_s
            };
            if let Some(heard_s) = self.heard_before(device, ago_s) {
                self.fleet.heard(device, heard_s * 1_000);
            }
        }
    }

    /// When a device that checks in every so often was heard last, Unix seconds.
    fn heard_before(&self, device: DeviceIndex, ago_s: u32) -> Option<u64> {
        let start_s = self.scenario.fleet.start_s;
        let heard_s = start_s + u64::from(self.now_s) - u64::from(ago_s);
        if self.model.is_always_on() {
            return Some(heard_s);
        }
        if let Some(server) = self.model.behind(device)
            && self.devices.doing[server as usize] == Doing::Dark
        {
            return None;
        }
        (self.model.on_at(device, self.now_s) == self.now_s).then_some(heard_s)
    }

    /// Devices look at the frontier with their next check-in, those that are in the wave come to ask.
    fn look_at_the_frontier(&mut self) {
        let mut candidate_to: Vec<Option<Position>> = vec![None; self.fleet.strata.len()];
        for reach in self.rollout.reach(self.fleet) {
            if let Some(stratum) = self.fleet.strata.find(&reach.stratum) {
                let to = &mut candidate_to[stratum as usize];
                *to = (*to).max(reach.candidate_to);
            }
        }
        let idle_s = (self.rollout.profile.idle_cadence_ms / 1_000) as u32;
        let cadence_s = (self.rollout.profile.cadence_ms / 1_000) as u32;
        for device in 0..self.fleet.devices.len() as DeviceIndex {
            let at = device as usize;
            let row = &self.fleet.devices[at];
            let (member, stratum) = (row.member_of == self.rollout.id, row.stratum as usize);
            let near = candidate_to[stratum].is_some_and(|to| self.devices.position[at] <= to);
            if !near && !member {
                continue;
            }
            if self.devices.learned_s[at] == NEVER {
                let phase = self.model.poll_phase_s(device, idle_s);
                let wait_s = (phase + idle_s - self.now_s % idle_s) % idle_s;
                self.devices.learned_s[at] = self.model.on_at(device, self.now_s + wait_s);
            }
            if member && matches!(self.devices.doing[at], Doing::Nothing | Doing::Control) {
                self.devices.doing[at] = Doing::Asks;
                if self.devices.next_s[at] == NEVER {
                    let learned_s = self.devices.learned_s[at];
                    let since_s = self.now_s.saturating_sub(learned_s);
                    let next_s = learned_s.max(self.now_s + (cadence_s - since_s % cadence_s) % cadence_s);
                    self.schedule(device, next_s);
                }
            }
        }
    }

    /// When a bricked device comes back, seconds; drawn once.
    pub fn way_back_s(&self, device: DeviceIndex, guard_helps: bool) -> u32 {
        let guard = self.starts_until_back.filter(|_| guard_helps && self.scenario.fleet.guard);
        let after_s = match guard {
            Some(starts) => (0..u64::from(starts)).map(|number| self.model.boot_s(device, number)).sum(),
            None => self.model.by_hand_s(device),
        };
        self.now_s.saturating_add(after_s)
    }

    /// A release without the fault replaces the halted one.
    fn begin_fix(&mut self) -> Result<(), SimError> {
        self.release = 2;
        let (id, now_s, seed) = (2, self.now_s, self.model.streams.bits(Kind::Scenario, 2, 0));
        let old = Some(&self.rollout);
        self.rollout = begin(self.scenario, self.policy, self.ours, self.fleet, seed, id, now_s, old)?;
        for at in 0..self.devices.doing.len() {
            self.devices.learned_s[at] = NEVER;
            if self.devices.doing[at] != Doing::Dark {
                self.devices.doing[at] = Doing::Nothing;
                self.scheduled -= u64::from(self.devices.next_s[at] != NEVER);
                self.devices.next_s[at] = NEVER;
            }
        }
        (self.wave_open, self.refreshed_s, self.said, self.over) = (false, None, true, false);
        self.work_out_positions();
        self.look_at_the_frontier();
        Ok(())
    }

    /// A treated permit for a device above the ceiling, or from a rollout that is stopped, must never be.
    pub fn check_permit(&self, device: DeviceIndex) -> Result<(), SimError> {
        let authorisation = &self.rollout.authorisation;
        let share = ceiling_at(&authorisation.ceiling, self.now_ms() - authorisation.start_ms);
        let position = self.devices.position[device as usize];
        if share < Share::ALL && position >= Position::from_share(share) {
            return Err(self.broken(format!("device {device} got a permit above the ceiling of {share}")));
        }
        if self.devices.doing[device as usize] != Doing::Asks {
            return Err(self.broken(format!("device {device} got a second permit")));
        }
        Ok(())
    }

    /// The world's own counts against those of `core`.
    fn check_the_books(&self) -> Result<(), SimError> {
        // The second look at 8.5 million devices would cost more than it tells: the same code runs small.
        if self.fleet.devices.len() <= 20_000 {
            invariants::counts(&self.rollout).map_err(|what| self.broken(what))?;
        }
        let counted = self.rollout.counts.exposed_ever + self.rollout.counts.withdrawn;
        if self.release == 1 && counted != self.point.exposed {
            let what = format!("core counts {counted} exposed devices, {} got a permit", self.point.exposed);
            return Err(self.broken(what));
        }
        Ok(())
    }
}

#[expect(clippy::too_many_arguments, reason = "each is another part of one authorisation")]
fn begin(
    scenario: &Scenario,
    policy: &str,
    ours: &Staffel,
    fleet: &Fleet,
    seed: u64,
    number: u64,
    now_s: u32,
    superseded: Option<&Rollout>,
) -> Result<Rollout, SimError> {
    let profile = Profile::named(ours.profile);
    let digest = Digest::of(format!("release {number}").as_bytes());
    let release = Release {
        name: "release".into(),
        version: number.to_string(),
        sequence: number,
        kind: scenario.kind,
        security_floor: 0,
        state: StateCompatibility::None,
        digest,
    };
    let now_ms = (scenario.fleet.start_s + u64::from(now_s)) * 1_000;
    let everybody = vec![CeilingStep { age_ms: 0, share: Share::ALL }];
    let authorisation = Authorisation {
        rollout: number,
        release: digest,
        log_root: Digest::of(&seed.to_be_bytes()),
        unit: ours.unit,
        profile: ours.profile,
        start_ms: now_ms,
        not_after_ms: now_ms + staffel_core::conditions::AUTHORISATION_LIFETIME_MS,
        ceiling: if ours.ceiling { profile.ceiling.clone() } else { everybody },
        exposure_budget: ours.budget,
        supersedes: superseded.map(|old| old.id),
        signers: 2,
    };
    Rollout::after(superseded, fleet, release, authorisation, profile, now_ms)
        .map_err(|problem| SimError::Begin { policy: policy.into(), problem })
}
