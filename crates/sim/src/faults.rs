//! What happens to the server and to messages: crashes at any event, requests and answers that are lost, reports that arrive
//! twice and late, a second controller for a moment, a backup that is restored. Must stay out: what devices do (`member`).
//!
//! The log is a list here. A server that comes back reads it from its beginning, as the real one does, and notes the gap.

use crate::{
    begin::{Start, begin},
    model::Model,
    random::{Kind, Streams},
    scenario::{Scenario, ServerFaults},
    world::{Doing, NEVER, SimError, World},
};
use staffel_core::{
    fleet::{DeviceIndex, Fleet},
    ids::Position,
    rollout::{Counts, Event, Report, Rollout, Status},
};
use std::collections::BTreeMap;

/// One entry of the log.
enum Entry {
    Begins(Start),
    Happened { place: usize, event: Event },
    Joined,
    Cloned(DeviceIndex),
}

/// The server as something that can fail.
pub(crate) struct Server {
    faults: Option<ServerFaults>,
    streams: Streams,
    /// Seconds of the crashes to come, the next one last.
    crashes: Vec<u32>,
    restores_s: Option<u32>,
    /// Second at which the next device joins, the next one last; and those whose key turns out to be cloned.
    joins: Vec<u32>,
    clones: Vec<(u32, DeviceIndex)>,
    log: Vec<(u64, Entry)>,
    /// Down since and until.
    down: Option<(u32, u32)>,
    up_since_s: u64,
    /// Second to what devices say again then, because nobody answered, or because it was on its way twice.
    again: BTreeMap<u32, Vec<(DeviceIndex, usize, Report)>>,
    drawn: u64,
    forgets: bool,
    second: Option<Second>,
}

/// A second controller: what it has read of the log, and when it takes over.
struct Second {
    fleet: Fleet,
    rollouts: Vec<Rollout>,
    read: usize,
    since_s: u32,
    until_s: u32,
}

/// Two controllers run beside one another for so long, seconds.
const SECOND_S: u32 = 240;

/// What a server has to have again after it died.
#[derive(Clone, Debug, PartialEq)]
struct Memory {
    status: Status,
    counts: Counts,
    ln_e: u64,
    frontier: (u64, u64),
    budget: u64,
}

impl Server {
    pub fn new(scenario: &Scenario, model: &Model) -> Self {
        let faults = scenario.server;
        let streams = model.streams;
        let mut crashes: Vec<u32> = faults.map_or(Vec::new(), |faults| {
            let at = |number| streams.below(Kind::ServerTime, 0, number, u64::from(faults.within_s.max(1))) as u32;
            (0..u64::from(faults.crashes)).map(at).collect()
        });
        crashes.sort_unstable_by_key(|at_s| std::cmp::Reverse(*at_s));
        let (mut joins, mut clones) = (model.joins(), model.clones());
        joins.reverse();
        clones.sort_unstable();
        clones.reverse();
        Server {
            faults,
            streams,
            crashes,
            restores_s: faults.and_then(|faults| faults.restored_s),
            joins,
            clones,
            log: Vec::new(),
            down: None,
            up_since_s: 0,
            again: BTreeMap::new(),
            drawn: 0,
            forgets: false,
            second: None,
        }
    }

    pub fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// Unix seconds since when the server has been listening; 0 if it always has.
    pub fn up_since_s(&self) -> u64 {
        self.up_since_s
    }

    pub fn loses_messages(&self) -> bool {
        self.faults.is_some()
    }

    /// It came back from a backup: it does not know of every permit.
    pub fn forgets(&self) -> bool {
        self.forgets
    }

    pub fn has_joined(&self, device: DeviceIndex, fleet: &Fleet) -> bool {
        (device as usize) < fleet.devices.len()
    }

    /// When something happens to it next; `over`: nobody waits for it any more.
    pub fn next_s(&self, over: bool) -> Option<u32> {
        let backup_s = self.restores_s.filter(|_| !over && self.down.is_none());
        let down_s = self.down.map(|(_, until_s)| until_s);
        let again_s = self.again.keys().next().copied();
        let join_s = self.joins.last().copied().filter(|_| self.down.is_none());
        let clone_s = self.clones.last().map(|(at_s, _)| *at_s).filter(|_| !over && self.down.is_none());
        let second_s = self.second.as_ref().map(|second| second.until_s).filter(|_| self.down.is_none());
        [backup_s, down_s, again_s, join_s, clone_s, second_s].into_iter().flatten().min()
    }

    pub fn begins(&mut self, start: &Start, at_ms: u64) {
        if self.faults.is_some() {
            self.log.push((at_ms, Entry::Begins(*start)));
        }
    }

    pub fn writes(&mut self, at_ms: u64, place: usize, event: &Event) {
        if self.faults.is_some() {
            self.log.push((at_ms, Entry::Happened { place, event: event.clone() }));
        }
    }

    /// If it dies over the event at hand: whether that is durable.
    pub fn dies_now(&mut self, now_s: u32) -> Option<bool> {
        self.crashes.last().filter(|at_s| **at_s <= now_s)?;
        self.crashes.pop();
        Some(self.draws(Kind::ServerTime, 0.5))
    }

    fn draws(&mut self, kind: Kind, probability: f64) -> bool {
        self.drawn += 1;
        probability > 0.0 && self.streams.chance(kind, 1, self.drawn, probability)
    }

    /// A request that never arrives.
    pub fn loses_request(&mut self) -> bool {
        let lost = self.faults.map_or(0.0, |faults| faults.lost);
        self.is_down() || self.draws(Kind::Message, lost)
    }

    /// An answer that never arrives.
    pub fn loses_answer(&mut self) -> bool {
        let lost = self.faults.map_or(0.0, |faults| faults.lost);
        self.is_down() || self.draws(Kind::Message, lost)
    }
}

impl World<'_> {
    /// What a device says, until it has an answer. Now and then it arrives a second time, after what it said later.
    pub(crate) fn say(&mut self, device: DeviceIndex, report: &Report) -> Result<(), SimError> {
        let place = usize::from(self.devices.of[device as usize]);
        self.tell(device, place, report)
    }

    fn tell(&mut self, device: DeviceIndex, place: usize, report: &Report) -> Result<(), SimError> {
        let cadence_s = (self.rollouts[place].rollout.profile.cadence_ms / 1_000) as u32;
        if self.server.loses_request() {
            self.say_again(device, place, report, cadence_s);
            return Ok(());
        }
        let (events, _) = self.rollouts[place].rollout.report(self.fleet, device, report, self.now_ms());
        self.said |= !events.is_empty();
        let answered = self.append(place, events)?;
        if !answered || self.server.loses_answer() {
            self.say_again(device, place, report, cadence_s);
            return Ok(());
        }
        let repeated = self.server.faults.map_or(0.0, |faults| faults.repeated);
        if self.server.draws(Kind::Message, repeated) {
            let after_s = self.server.streams.below(Kind::Message, 2, self.server.drawn, 600) as u32;
            self.say_again(device, place, report, after_s + 1);
        }
        Ok(())
    }

    fn say_again(&mut self, device: DeviceIndex, place: usize, report: &Report, after_s: u32) {
        self.server.again.entry(self.now_s + after_s.max(1)).or_default().push((device, place, report.clone()));
    }

    /// What was on its way for long, and what is said again.
    pub(crate) fn told_again(&mut self) -> Result<(), SimError> {
        while let Some(entry) = self.server.again.first_entry()
            && *entry.key() <= self.now_s
        {
            for (device, place, report) in entry.remove() {
                // Whoever is dark says nothing, and what it was about to say is lost with its memory.
                if self.devices.doing[device as usize] != Doing::Dark {
                    self.tell(device, place, &report)?;
                }
            }
        }
        Ok(())
    }

    /// The server dies: what it knew is gone, devices find nobody.
    pub(crate) fn goes_down(&mut self) {
        let mean_s = self.server.faults.map_or(0, |faults| faults.away_s);
        let spread = self.server.streams.exponential(Kind::ServerTime, 2, self.server.drawn);
        let away_s = ((f64::from(mean_s) * spread) as u32).max(1);
        self.server.down = Some((self.now_s, self.now_s + away_s));
    }

    /// Comes back, is restored, learns of new devices and of cloned keys.
    pub(crate) fn server_faults(&mut self) -> Result<(), SimError> {
        if let Some((since_s, until_s)) = self.server.down
            && until_s <= self.now_s
        {
            self.server.down = None;
            self.comes_back(since_s, true)?;
        }
        if self.server.is_down() {
            return Ok(());
        }
        if self.server.restores_s.is_some_and(|at_s| at_s <= self.now_s) {
            self.server.restores_s = None;
            self.is_restored()?;
        }
        if let Some(second) = self.server.second.take_if(|second| second.until_s <= self.now_s) {
            self.takes_over(second)?;
        }
        while self.server.joins.last().is_some_and(|at_s| *at_s <= self.now_s) {
            self.server.joins.pop();
            self.joins();
        }
        while let Some((at_s, device)) = self.server.clones.last().copied()
            && at_s <= self.now_s
        {
            self.server.clones.pop();
            if (device as usize) < self.fleet.devices.len() {
                self.fleet.devices[device as usize].cloned = true;
                self.note(Entry::Cloned(device));
            }
        }
        Ok(())
    }

    fn note(&mut self, entry: Entry) {
        if self.server.faults.is_some() {
            let now_ms = self.now_ms();
            self.server.log.push((now_ms, entry));
        }
    }

    fn joins(&mut self) {
        let device = self.model.join(self.fleet);
        self.note(Entry::Joined);
        for place in 0..self.rollouts.len() {
            let authorisation = &self.rollouts[place].rollout.authorisation;
            let id = self.fleet.device(device).id;
            let site = &self.fleet.sites[self.fleet.device(device).site as usize];
            let key = match authorisation.unit {
                staffel_core::conditions::Unit::Device => id.0.to_vec(),
                staffel_core::conditions::Unit::Site => {
                    format!("{}/{}", self.fleet.tenants[site.tenant as usize].name, site.name).into_bytes()
                }
            };
            let position = Position::of(&authorisation.log_root, &authorisation.release, &key);
            self.rollouts[place].position.push(position);
        }
        self.schedule(device, self.now_s + 60);
    }

    /// The server reads its log, as it does after every start. `whole`: nothing is missing from it.
    fn comes_back(&mut self, since_s: u32, whole: bool) -> Result<(), SimError> {
        let known = self.memories();
        let (mut fleet, mut rollouts) = (self.model.fleet(), Vec::new());
        self.reads_on(&mut fleet, &mut rollouts, 0)?;
        if self.server.faults.is_some_and(|faults| faults.two_controllers) {
            let (read, now_s) = (self.server.log.len(), self.now_s);
            let (fleet, rollouts) = (fleet.clone(), rollouts.clone());
            self.server.second = Some(Second { fleet, rollouts, read, since_s: now_s, until_s: now_s + SECOND_S });
        }
        *self.fleet = fleet;
        for (running, rollout) in self.rollouts.iter_mut().zip(rollouts) {
            running.rollout = rollout;
        }
        if whole && known != self.memories() {
            return Err(self.broken("the server came back from its log and knows something else"));
        }
        self.goes_on_after(since_s)
    }

    /// Nobody listened since then.
    fn goes_on_after(&mut self, since_s: u32) -> Result<(), SimError> {
        self.server.up_since_s = self.scenario.fleet.start_s + u64::from(self.now_s);
        let (from_ms, to_ms) = (self.at_ms(since_s), self.now_ms());
        for place in 0..self.rollouts.len() {
            let rollout = &self.rollouts[place].rollout;
            let goes_on = match rollout.status {
                Status::Halted { .. } => false,
                Status::Completed { .. } => rollout.awaits_latecomers(),
                _ => true,
            };
            let before = self.server.log.len();
            if goes_on && !self.append(place, vec![Event::ObservationGap { from_ms, to_ms }])? {
                // It died over this very word. If that was not written, nobody listened all the while.
                let written = self.server.log.len() > before;
                if let Some(down) = self.server.down.as_mut().filter(|_| !written) {
                    down.0 = since_s;
                }
                return Ok(());
            }
        }
        for place in 0..self.rollouts.len() {
            self.rollouts[place].wave_open = self.rollouts[place].rollout.wave_now().is_some();
            self.look_at_the_frontier(place);
        }
        (self.said, self.refreshed_s) = (true, None);
        Ok(())
    }

    /// For a moment two servers believe that they are the controller. The second decides from what it knew; the log takes
    /// nothing that does not follow its last entry, so nothing comes of it. It reads on, and takes over in truth.
    fn takes_over(&mut self, mut second: Second) -> Result<(), SimError> {
        for rollout in &mut second.rollouts {
            let _refused_by_the_log = rollout.plan(&second.fleet, self.now_ms()).actions;
        }
        self.reads_on(&mut second.fleet, &mut second.rollouts, second.read)?;
        let known = self.memories();
        *self.fleet = second.fleet;
        for (running, rollout) in self.rollouts.iter_mut().zip(second.rollouts) {
            running.rollout = rollout;
        }
        if known != self.memories() {
            return Err(
                self.broken("a controller that followed the log knows something else than the one that wrote it")
            );
        }
        // It has heard nobody since it read the log for the first time.
        self.goes_on_after(second.since_s)
    }

    fn memories(&self) -> Vec<Memory> {
        let of = |rollout: &Rollout| Memory {
            status: rollout.status.clone(),
            counts: rollout.counts,
            ln_e: rollout.ln_e().to_bits(),
            frontier: (rollout.frontier_sequence, rollout.reach_version(self.fleet)),
            budget: rollout.budget(),
        };
        self.rollouts.iter().map(|running| of(&running.rollout)).collect()
    }

    /// Applies the log from an entry on.
    fn reads_on(&self, fleet: &mut Fleet, rollouts: &mut Vec<Rollout>, from: usize) -> Result<(), SimError> {
        for (at_ms, entry) in &self.server.log[from..] {
            match entry {
                Entry::Begins(start) => {
                    let old = start.supersedes.and_then(|place| rollouts.get(place));
                    let begun = begin(self.scenario, self.ours, fleet, self.seed, start, old);
                    let problem = |problem| SimError::Begin { policy: self.policy.into(), problem };
                    rollouts.push(begun.map_err(problem)?);
                }
                Entry::Happened { place, event } => {
                    if let Some(rollout) = rollouts.get_mut(*place) {
                        rollout.apply(fleet, event, *at_ms);
                    }
                }
                Entry::Joined => _ = self.model.join(fleet),
                Entry::Cloned(device) => fleet.devices[*device as usize].cloned = true,
            }
        }
        Ok(())
    }

    /// Back to a backup that is some time old: what was written since is gone, and so are the permits of that time.
    fn is_restored(&mut self) -> Result<(), SimError> {
        let Some(faults) = self.server.faults else { return Ok(()) };
        let from_s = self.now_s.saturating_sub(faults.backup_age_s);
        let until_ms = self.at_ms(from_s);
        // The start of the rollout is older than the backup, and those that joined are still there to enrol.
        let before = self.server.log.len();
        self.server.log.retain(|(at_ms, entry)| *at_ms <= until_ms || !matches!(entry, Entry::Happened { .. }));
        self.server.forgets = before > self.server.log.len();
        self.server.second = None;
        self.oracle.forgets();
        self.comes_back(from_s, false)?;
        // Whoever has the release says so with its next check-in.
        let idle_s = (self.rollouts[0].rollout.profile.idle_cadence_ms / 1_000) as u32;
        for device in 0..self.fleet.devices.len() as DeviceIndex {
            let at = device as usize;
            if self.devices.doing[at] == Doing::Proven && self.devices.next_s[at] == NEVER {
                self.schedule(device, self.now_s + self.model.poll_phase_s(device, idle_s));
            }
        }
        Ok(())
    }
}
