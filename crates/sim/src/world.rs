//! A fleet, a server that decides with `core`, and one clock. Devices that nothing happens to cost no events: what they
//! would have said is worked out when `core` is about to look.
//!
//! Read [`World::run`] for the loop, `member` for what a device in a wave does, `faults` for what happens to the server
//! and to messages, `oracle` for what is held against `core`'s decisions. Must stay out: decisions (they are `core`'s), and
//! what machines are like (`model`).

use crate::{
    begin::{Start, begin},
    faults::Server,
    model::Model,
    oracle::Oracle,
    outcome::{Curve, Outcome, Point},
    scenario::{Scenario, Staffel},
    way_back::starts_until_back,
};
use staffel_core::{
    conditions::{Identity, Unit},
    evidence::EvidenceError,
    fleet::{DeviceIndex, Fleet},
    ids::{Digest, Position},
    invariants,
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
    /// Applies it, will go back because it cuts the device off.
    WillBeCutOff,
    /// Went back because the server answered nobody.
    WasCutOff,
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
    /// The rollout that it does it for, by its place in [`World::rollouts`].
    pub of: Vec<u8>,
    /// Its next event, seconds; [`NEVER`] for none.
    pub next_s: Vec<u32>,
    /// Since when it has known that its turn is near.
    pub learned_s: Vec<u32>,
    /// When it got its treated permit, and since when it has been on trial.
    pub permit_s: Vec<u32>,
    pub trial_s: Vec<u32>,
    /// Permits that it ever got: numbers its draws.
    pub permits: Vec<u8>,
}

/// A rollout, and what the world keeps beside it.
pub(crate) struct Running {
    pub start: Start,
    pub rollout: Rollout,
    /// Where each device stands in the order: devices compare it with the frontier themselves.
    pub position: Vec<Position>,
    pub wave_open: bool,
    pub halted_s: Option<u32>,
    pub completed_s: Option<u32>,
}

/// One policy on one fleet.
pub(crate) struct World<'a> {
    pub scenario: &'a Scenario,
    pub policy: &'a str,
    pub ours: &'a Staffel,
    pub model: &'a Model,
    pub fleet: &'a mut Fleet,
    pub rollouts: Vec<Running>,
    pub devices: Devices,
    pub server: Server,
    pub oracle: Oracle,
    pub seed: u64,
    pub now_s: u32,
    /// Second to the devices that have an event then, in the order in which it was planned.
    calendar: BTreeMap<u32, Vec<DeviceIndex>>,
    /// Second to the devices that go dark then, some time after they took the release.
    pub ends: BTreeMap<u32, Vec<DeviceIndex>>,
    plan_at_s: u32,
    pub said: bool,
    pub refreshed_s: Option<u32>,
    candidates: u64,
    scheduled: u64,
    pub point: Point,
    curve: Curve,
    holds: u32,
    waves: u32,
    busiest: u64,
    starts_until_back: Option<u32>,
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
        let count = scenario.fleet.devices as usize;
        let mut world = World {
            scenario,
            policy,
            ours,
            model,
            fleet,
            rollouts: Vec::new(),
            devices: Devices {
                doing: vec![Doing::Nothing; count],
                of: vec![0; count],
                next_s: vec![NEVER; count],
                learned_s: vec![NEVER; count],
                permit_s: vec![0; count],
                trial_s: vec![0; count],
                permits: vec![0; count],
            },
            server: Server::new(scenario, model),
            oracle: Oracle::new(scenario, ours),
            seed,
            now_s: 0,
            calendar: BTreeMap::new(),
            ends: BTreeMap::new(),
            plan_at_s: 0,
            said: true,
            refreshed_s: None,
            candidates: 0,
            scheduled: 0,
            point: Point::default(),
            curve: Curve::default(),
            holds: 0,
            waves: 0,
            busiest: 0,
            starts_until_back: starts_until_back(),
        };
        world.start_rollout(Start { number: 1, faulty: true, kind: scenario.kind, supersedes: None, at_s: 0 })?;
        for (device, back_s) in model.away() {
            world.schedule(device, back_s);
        }
        world.curve.add(world.point);
        Ok(world)
    }

    pub fn now_ms(&self) -> u64 {
        self.at_ms(self.now_s)
    }

    pub fn at_ms(&self, at_s: u32) -> u64 {
        (self.scenario.fleet.start_s + u64::from(at_s)) * 1_000
    }

    /// A rollout begins.
    pub fn start_rollout(&mut self, start: Start) -> Result<(), SimError> {
        let old = start.supersedes.and_then(|place| self.rollouts.get(place)).map(|running| &running.rollout);
        let rollout = begin(self.scenario, self.ours, self.fleet, self.seed, &start, old);
        let rollout = rollout.map_err(|problem| SimError::Begin { policy: self.policy.into(), problem })?;
        let place = self.rollouts.len();
        self.server.begins(&start, self.at_ms(start.at_s));
        let (halted_s, completed_s) = (None, None);
        self.rollouts.push(Running { start, position: Vec::new(), rollout, wave_open: false, halted_s, completed_s });
        self.work_out_positions(place);
        self.look_at_the_frontier(place);
        (self.said, self.refreshed_s) = (true, None);
        Ok(())
    }

    /// Also for devices that are still to join.
    pub fn work_out_positions(&mut self, place: usize) {
        let authorisation = &self.rollouts[place].rollout.authorisation;
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
        self.rollouts[place].position = fleet.devices.iter().map(position).collect();
    }

    /// The rollout that a device is busy with, or was last.
    pub fn rollout_of(&self, device: DeviceIndex) -> &Rollout {
        &self.rollouts[usize::from(self.devices.of[device as usize])].rollout
    }

    /// Nobody more will get it: only what happened already goes on.
    pub fn is_over(&self, place: usize) -> bool {
        match self.rollouts[place].rollout.status {
            Status::Halted { .. } | Status::Completed { .. } => true,
            Status::Held { since_ms, .. } => {
                self.ours.resume_after_s.is_none() && self.now_ms() - since_ms >= u64::from(FORGOTTEN_S) * 1_000
            }
            Status::Running => false,
        }
    }

    /// No rollout goes on, and none is still to come.
    fn is_all_over(&self) -> bool {
        (0..self.rollouts.len()).all(|place| self.is_over(place)) && self.second_at().is_none()
    }

    /// Runs to the end: everybody has it or nobody more gets it, and nothing is left to happen.
    pub fn run(mut self, watcher: &mut Watcher<'_>) -> Result<Outcome, SimError> {
        let (mut shown_s, mut stood) = (0, 0);
        self.plan_all()?;
        loop {
            self.note_ends();
            let over = self.is_all_over();
            let next = [
                self.calendar.keys().next().copied(),
                self.ends.keys().next().copied(),
                (!over && !self.server.is_down()).then_some(self.plan_at_s),
                self.resume_at(),
                self.click_at(),
                self.fix_at(),
                self.second_at(),
                self.server.next_s(over),
            ];
            let Some(next) = next.into_iter().flatten().min() else { break };
            if next > self.scenario.horizon_s {
                break;
            }
            stood = if next > self.now_s { 0 } else { stood + 1 };
            if stood > 10_000 {
                return Err(self.broken("the simulation's clock stands still"));
            }
            self.now_s = next.max(self.now_s);
            self.server_faults()?;
            self.people_and_plans()?;
            self.happens()?;
            let over = self.is_all_over();
            if !self.server.is_down() && (self.said || (!over && self.now_s >= self.plan_at_s)) {
                self.plan_all()?;
            }
            self.curve.add(Point { at_s: self.now_s, ..self.point });
            if self.now_s >= shown_s {
                shown_s = self.now_s + 60;
                let confirmed = self.rollouts.last().map_or(0, |running| running.rollout.counts.confirmed);
                let devices = self.fleet.devices.len() as u64;
                watcher(Progress { policy: self.policy, at_s: self.now_s, confirmed, devices });
            }
        }
        self.check_the_books()?;
        Ok(self.outcome())
    }

    fn outcome(self) -> Outcome {
        let waiting: Vec<WaitingOn> =
            self.rollouts.iter().map(|running| running.rollout.waiting_on(self.fleet, self.now_ms())).collect();
        let needs_a_person = |waiting: &WaitingOn| match waiting {
            // Whoever is silent for good is for a person to mend.
            WaitingOn::Held { .. } | WaitingOn::Budget { .. } => true,
            WaitingOn::Skipped { reasons, .. } => reasons.iter().all(|(skip, _)| !skip.is_temporary()),
            _ => false,
        };
        // Of a release and its successor the successor's words count, of two that have nothing to do with one another both.
        let replaced = |place: usize| self.rollouts.iter().any(|running| running.start.supersedes == Some(place));
        let standing: Vec<usize> = (0..self.rollouts.len()).filter(|place| !replaced(*place)).collect();
        let words: Vec<String> = standing.iter().map(|place| waiting[*place].to_string()).collect();
        let done = |place: &&usize| self.rollouts[**place].halted_s.is_none();
        let completed: Option<Vec<u32>> =
            standing.iter().filter(done).map(|place| self.rollouts[*place].completed_s).collect();
        Outcome {
            name: self.policy.into(),
            exposed: self.point.exposed,
            bricked: self.point.bricked,
            recovered: self.point.recovered,
            halted_after_s: self.rollouts.iter().filter_map(|running| running.halted_s).min(),
            completed_after_s: completed.and_then(|all| all.into_iter().max()),
            verdict: words.join("; the other rollout: "),
            needs_a_person: standing.iter().any(|place| needs_a_person(&waiting[*place])),
            holds: self.holds,
            waves: self.waves,
            busiest: self.busiest,
            curve: self.curve.finish(),
        }
    }

    fn note_ends(&mut self) {
        for running in &mut self.rollouts {
            match running.rollout.status {
                Status::Halted { .. } => _ = running.halted_s.get_or_insert(self.now_s),
                Status::Completed { .. } => _ = running.completed_s.get_or_insert(self.now_s),
                _ => {}
            }
        }
    }

    /// When a person lets the rollout that has been held longest go on.
    fn resume_at(&self) -> Option<u32> {
        let after_s = self.ours.resume_after_s.filter(|_| !self.server.is_down())?;
        let held = self.rollouts.iter().filter_map(|running| match running.rollout.status {
            Status::Held { since_ms, .. } => {
                Some((since_ms / 1_000).saturating_sub(self.scenario.fleet.start_s) as u32)
            }
            _ => None,
        });
        held.min().map(|since_s| since_s + after_s)
    }

    /// Somebody clicks on "resume" after the halt: it must come to nothing.
    fn click_at(&self) -> Option<u32> {
        let halted = self.rollouts.iter().filter(|running| self.oracle.is_to_click(running.rollout.id));
        halted.filter_map(|running| running.halted_s).min().map(|at_s| at_s + 60).filter(|_| !self.server.is_down())
    }

    /// When the successor of a halted release goes out.
    fn fix_at(&self) -> Option<u32> {
        let replaced = self.rollouts.iter().any(|running| running.start.supersedes == Some(0));
        let at_s = self.rollouts[0].halted_s? + self.ours.fix_after_s?;
        (!replaced && !self.server.is_down()).then_some(at_s)
    }

    fn second_at(&self) -> Option<u32> {
        let second = self.scenario.second?;
        let begun = self.rollouts.iter().any(|running| running.start.number == 2);
        (!begun && !self.server.is_down()).then_some(second.after_s)
    }

    fn people_and_plans(&mut self) -> Result<(), SimError> {
        let is_due = |at: Option<u32>, now_s: u32| at.is_some_and(|at| at <= now_s);
        if is_due(self.resume_at(), self.now_s) {
            self.word(|status| matches!(status, Status::Held { .. }))?;
        }
        if is_due(self.click_at(), self.now_s) {
            self.word(|status| matches!(status, Status::Halted { .. }))?;
        }
        if is_due(self.fix_at(), self.now_s) {
            self.begin_fix()?;
        }
        if is_due(self.second_at(), self.now_s)
            && let Some(second) = self.scenario.second
        {
            let (number, at_s) = (2, self.now_s);
            self.start_rollout(Start { number, faulty: false, kind: second.kind, supersedes: None, at_s })?;
        }
        Ok(())
    }

    /// A person says "resume" to the rollouts that stand so.
    fn word(&mut self, stands: fn(&Status) -> bool) -> Result<(), SimError> {
        for place in 0..self.rollouts.len() {
            let running = &self.rollouts[place];
            if !stands(&running.rollout.status) {
                continue;
            }
            self.oracle.clicked(running.rollout.id);
            let events = running.rollout.by_hand(ByHand::Resume { who: "ada".into() });
            self.append(place, events)?;
            self.said = true;
        }
        Ok(())
    }

    /// Everything that happens in this second.
    fn happens(&mut self) -> Result<(), SimError> {
        let mut check_ins = 0;
        while let Some(entry) = self.ends.first_entry()
            && *entry.key() <= self.now_s
        {
            for device in entry.remove() {
                self.ends_in_the_dark(device)?;
            }
        }
        self.told_again()?;
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
        let profile = &self.rollouts[0].rollout.profile;
        let (cadence_s, idle_s) = (profile.cadence_ms / 1_000, profile.idle_cadence_ms / 1_000);
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

    /// Makes events durable and applies them, as the server's engine does, and looks whether all that must hold does.
    /// False if the server died over it: whoever asked gets no answer.
    pub fn append(&mut self, place: usize, events: Vec<Event>) -> Result<bool, SimError> {
        let now_ms = self.now_ms();
        for event in events {
            let dies = self.server.dies_now(self.now_s);
            if dies.is_some_and(|durable| !durable) {
                self.goes_down();
                return Ok(false);
            }
            self.server.writes(now_ms, place, &event);
            self.apply(place, event, now_ms)?;
            if dies.is_some() {
                self.goes_down();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn apply(&mut self, place: usize, event: Event, now_ms: u64) -> Result<(), SimError> {
        let running = &mut self.rollouts[place];
        let before = invariants::Snapshot::of(&running.rollout);
        running.rollout.apply(self.fleet, &event, now_ms);
        let held = invariants::rollout(&before, &running.rollout);
        held.map_err(|what| self.broken(what))?;
        self.oracle.look(&self.rollouts[place], &event).map_err(|what| self.broken(what))?;
        match event {
            Event::WaveOpened { .. } => {
                self.waves += 1;
                self.rollouts[place].wave_open = true;
                self.look_at_the_frontier(place);
            }
            Event::WaveResolved { .. } => {
                self.rollouts[place].wave_open = false;
                self.refreshed_s = None;
            }
            Event::Held { .. } => self.holds += 1,
            _ => {}
        }
        Ok(())
    }

    pub fn broken(&self, what: impl Into<String>) -> SimError {
        SimError::Broken { policy: self.policy.into(), at_s: self.now_s, what: what.into() }
    }

    pub fn plan_all(&mut self) -> Result<(), SimError> {
        self.said = false;
        self.plan_at_s = NEVER;
        for place in 0..self.rollouts.len() {
            let mut rounds = 0;
            loop {
                if self.server.is_down() {
                    return Ok(());
                }
                if !self.rollouts[place].wave_open {
                    self.hear_everybody();
                }
                let now_ms = self.now_ms();
                let plan = self.rollouts[place].rollout.plan(self.fleet, now_ms);
                if plan.actions.is_empty() {
                    let start_s = self.scenario.fleet.start_s;
                    let again_s = plan
                        .again_at_ms
                        .map_or(NEVER, |at| u32::try_from(at.div_ceil(1_000).saturating_sub(start_s)).unwrap_or(NEVER));
                    self.plan_at_s = self.plan_at_s.min(again_s.max(self.now_s + 1));
                    break;
                }
                rounds += 1;
                if rounds > 100_000 {
                    return Err(self.broken("the plan does not come to rest"));
                }
                let running = &self.rollouts[place];
                self.oracle.order(running, &plan.actions, now_ms).map_err(|what| self.broken(what))?;
                self.append(place, plan.actions)?;
            }
        }
        self.oracle.at_rest(&self.rollouts, self.now_ms()).map_err(|what| self.broken(what))
    }

    /// Brings the times at which idle devices were heard last up to date: the next wave is drawn from them.
    fn hear_everybody(&mut self) {
        if self.refreshed_s == Some(self.now_s) {
            return;
        }
        self.refreshed_s = Some(self.now_s);
        self.candidates = 0;
        let profile = &self.rollouts[0].rollout.profile;
        let cadence_s = (profile.cadence_ms / 1_000) as u32;
        let idle_s = (profile.idle_cadence_ms / 1_000) as u32;
        let several = self.rollouts.len() > 1;
        for device in 0..self.fleet.devices.len() as DeviceIndex {
            let at = device as usize;
            let doing = self.devices.doing[at];
            if self.devices.next_s[at] != NEVER || doing == Doing::Dark {
                continue;
            }
            let learned_s = self.devices.learned_s[at];
            let free = doing == Doing::Nothing || (several && matches!(doing, Doing::Proven | Doing::Back));
            let candidate = free && learned_s <= self.now_s;
            self.candidates += u64::from(candidate);
            let ago_s = if candidate {
                (self.now_s - learned_s) % cadence_s
            } else {
                let phase = self.model.poll_phase_s(device, idle_s);
                (self.now_s + idle_s - phase) % idle_s
            };
            let heard_s = self.heard_before(device, ago_s).filter(|heard_s| *heard_s >= self.server.up_since_s());
            if let Some(heard_s) = heard_s {
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
    pub fn look_at_the_frontier(&mut self, place: usize) {
        let running = &self.rollouts[place];
        let mut candidate_to: Vec<Option<Position>> = vec![None; self.fleet.strata.len()];
        for reach in running.rollout.reach(self.fleet) {
            if let Some(stratum) = self.fleet.strata.find(&reach.stratum) {
                let to = &mut candidate_to[stratum as usize];
                *to = (*to).max(reach.candidate_to);
            }
        }
        let (id, profile) = (running.rollout.id, &running.rollout.profile);
        let idle_s = (profile.idle_cadence_ms / 1_000) as u32;
        let cadence_s = (profile.cadence_ms / 1_000) as u32;
        for device in 0..self.fleet.devices.len() as DeviceIndex {
            let at = device as usize;
            let row = &self.fleet.devices[at];
            let (member, stratum) = (row.member_of == id, row.stratum as usize);
            let position = self.rollouts[place].position.get(at);
            let near = candidate_to[stratum].is_some_and(|to| position.is_some_and(|position| *position <= to));
            if !near && !member {
                continue;
            }
            if self.devices.learned_s[at] == NEVER {
                let phase = self.model.poll_phase_s(device, idle_s);
                let wait_s = (phase + idle_s - self.now_s % idle_s) % idle_s;
                self.devices.learned_s[at] = self.model.on_at(device, self.now_s + wait_s);
            }
            let doing = self.devices.doing[at];
            // Done with another rollout, it is free for this one.
            let done = matches!(doing, Doing::Proven | Doing::Back) && usize::from(self.devices.of[at]) != place;
            if member && (done || matches!(doing, Doing::Nothing | Doing::Control)) {
                self.devices.doing[at] = Doing::Asks;
                self.devices.of[at] = place as u8;
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
        let (number, supersedes, at_s) = (3, Some(0), self.now_s);
        for at in 0..self.devices.doing.len() {
            let elsewhere = self.devices.of[at] != 0 && !matches!(self.devices.doing[at], Doing::Nothing);
            if self.devices.doing[at] == Doing::Dark || elsewhere {
                continue;
            }
            self.devices.learned_s[at] = NEVER;
            self.devices.doing[at] = Doing::Nothing;
            if self.server.has_joined(at as DeviceIndex, self.fleet) {
                self.scheduled -= u64::from(self.devices.next_s[at] != NEVER);
                self.devices.next_s[at] = NEVER;
            }
        }
        for (device, back_s) in self.model.away().into_iter().filter(|(_, back_s)| *back_s > at_s) {
            self.schedule(device, back_s);
        }
        self.start_rollout(Start { number, faulty: false, kind: self.scenario.kind, supersedes, at_s })
    }

    /// The world's own counts against those of `core`.
    fn check_the_books(&self) -> Result<(), SimError> {
        // The second look at 8.5 million devices would cost more than it tells: the same code runs small.
        if self.fleet.devices.len() <= 20_000 {
            for running in &self.rollouts {
                invariants::counts(&running.rollout).map_err(|what| self.broken(what))?;
            }
        }
        let counts = self.rollouts.iter().map(|running| running.rollout.counts);
        let counted: u64 = counts.map(|counts| counts.exposed_ever + counts.withdrawn).sum();
        // A permit whose answer was lost may never have been used, one that a backup does not know is not counted.
        let agrees = counted == self.point.exposed
            || (counted > self.point.exposed && self.server.loses_messages())
            || self.server.forgets();
        if !agrees {
            let what = format!("core counts {counted} exposed devices, {} got a permit", self.point.exposed);
            return Err(self.broken(what));
        }
        Ok(())
    }
}
