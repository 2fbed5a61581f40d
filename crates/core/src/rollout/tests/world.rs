//! Server and devices on one virtual clock: plan, append, apply, again until nothing is left to do. The log is a list.

use super::{
    super::{Answer, ByHand, Event, Plan, Report, Rollout, Status, WaitingOn},
    device::{Fault, Random, SimDevice},
};
use crate::{
    conditions::{Authorisation, Unit},
    fleet::{DeviceIndex, Fleet, Joining},
    ids::{DeviceId, Digest, Position},
    invariants,
    policy::CustomerPolicy,
    profile::{Profile, ProfileName, ceiling_at},
    release::{Kind, Release, StateCompatibility},
};
use std::collections::BTreeSet;

pub(super) const START_MS: u64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Start(Box<(Release, Authorisation, Profile)>),
    Rollout(usize, Event),
    Policy(u32, Box<CustomerPolicy>),
    Retired(DeviceIndex),
    Cloned(DeviceIndex),
    /// Name, customer, site, OS build, hardware model, stratum.
    Joined(DeviceId, [String; 6]),
}

type Faults = Box<dyn Fn(&mut Random, &Fleet, DeviceIndex, usize) -> Fault>;

pub(super) struct World {
    pub now_ms: u64,
    pub fleet: Fleet,
    before: Fleet,
    pub rollouts: Vec<Rollout>,
    pub log: Vec<(u64, Entry)>,
    pub devices: Vec<SimDevice>,
    queue: BTreeSet<(u64, DeviceIndex)>,
    plan_at_ms: u64,
    pub random: Random,
    /// What a release does to a device that takes it.
    pub fault: Faults,
    /// Share of devices that go dark for an hour right after a permit anyway, whichever arm.
    pub background: f64,
    /// Share of the server's answers that get lost.
    pub lost: f64,
    /// Check replays, counts and limits this often (share of events); each costs a look at the whole fleet.
    pub thorough: f64,
    pub apply_ms: u64,
    pub exposed_most: u64,
}

pub(super) fn release(number: u64, kind: Kind) -> Release {
    Release {
        name: "till".into(),
        version: number.to_string(),
        sequence: number,
        kind,
        security_floor: 0,
        state: StateCompatibility::None,
        digest: Digest::of(&number.to_be_bytes()),
    }
}

pub(super) fn authorisation(rollout: u64, seed: u64, profile: &Profile) -> Authorisation {
    Authorisation {
        rollout,
        release: Digest::of(&rollout.to_be_bytes()),
        log_root: Digest::of(&seed.to_be_bytes()),
        unit: Unit::Device,
        profile: profile.name,
        start_ms: START_MS,
        not_after_ms: START_MS + 14 * 24 * 3_600_000,
        ceiling: profile.ceiling.clone(),
        exposure_budget: None,
        supersedes: None,
        signers: 2,
    }
}

/// `size` devices: customers and sites in turn, `strata` builds; names are `d0`, `d1`, ...
pub(super) fn fleet_of(size: usize, tenants: usize, sites: usize, strata: usize) -> Fleet {
    let mut fleet = Fleet::default();
    for number in 0..size {
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(&(number as u64).to_be_bytes()).0[..16]);
        let (tenant, site) = (number % tenants, number / tenants % sites);
        let build = format!("build-{}", number % strata);
        fleet.join(&Joining {
            id: DeviceId(id),
            name: &format!("d{number}"),
            tenant: &format!("tenant-{tenant}"),
            site: &format!("site-{site}"),
            os_build: &build,
            hardware_model: &format!("model-{}", number % 7),
            stratum: &build,
        });
    }
    fleet
}

impl World {
    pub fn new(fleet: Fleet, seed: u64) -> Self {
        let mut random = Random(seed);
        let count = fleet.devices.len() as DeviceIndex;
        World {
            now_ms: START_MS,
            before: fleet.clone(),
            rollouts: Vec::new(),
            log: Vec::new(),
            devices: (0..count).map(SimDevice::new).collect(),
            queue: (0..count).map(|d| (START_MS + random.below(1_000), d)).collect(),
            fleet,
            plan_at_ms: 0,
            random,
            fault: Box::new(|_, _, _, _| Fault::None),
            background: 0.0,
            lost: 0.0,
            thorough: 0.0,
            apply_ms: 500,
            exposed_most: 0,
        }
    }

    /// A world with one rollout of a component, under a profile.
    pub fn with_rollout(fleet: Fleet, seed: u64, profile: ProfileName) -> Self {
        let mut world = World::new(fleet, seed);
        world.thorough = 0.05;
        let profile = Profile::named(profile);
        world.start(release(1, Kind::Component), authorisation(1, seed, &profile), profile);
        world
    }

    pub fn start(&mut self, release: Release, authorisation: Authorisation, profile: Profile) {
        let old = superseded(&self.rollouts, &authorisation);
        let (release_, authorisation_, profile_) = (release.clone(), authorisation.clone(), profile.clone());
        let rollout = Rollout::after(old, &self.fleet, release_, authorisation_, profile_, self.now_ms).unwrap();
        self.rollouts.push(rollout);
        self.log.push((self.now_ms, Entry::Start(Box::new((release, authorisation, profile)))));
        self.plan_at_ms = 0;
    }

    pub fn change(&mut self, entry: Entry) {
        apply_change(&mut self.fleet, &entry);
        self.log.push((self.now_ms, entry));
    }

    /// A device joins now.
    pub fn join(&mut self, joining: &Joining<'_>) -> DeviceIndex {
        let owned = |text: &str| text.to_string();
        let [name, tenant, site] = [joining.name, joining.tenant, joining.site].map(owned);
        let [os_build, model, stratum] = [joining.os_build, joining.hardware_model, joining.stratum].map(owned);
        self.change(Entry::Joined(joining.id, [name, tenant, site, os_build, model, stratum]));
        let index = self.fleet.devices.len() as DeviceIndex - 1;
        self.devices.push(SimDevice::new(index));
        self.queue.insert((self.now_ms + 500, index));
        index
    }

    pub fn offline(&mut self, device: DeviceIndex, until_ms: u64) {
        self.devices[device as usize].dark_until_ms = until_ms;
    }

    pub fn by_hand(&mut self, word: ByHand) {
        let events = self.rollouts[0].by_hand(word);
        self.append(0, events);
        self.plan_all();
    }

    /// Makes events durable and applies them.
    pub fn append(&mut self, rollout: usize, events: Vec<Event>) {
        for event in events {
            let before = invariants::Snapshot::of(&self.rollouts[rollout]);
            self.log.push((self.now_ms, Entry::Rollout(rollout, event.clone())));
            if let Event::Permitted { device, arm: crate::evidence::Arm::Treated, .. } = &event {
                self.below_the_ceiling(rollout, *device);
            }
            self.rollouts[rollout].apply(&mut self.fleet, &event, self.now_ms);
            invariants::rollout(&before, &self.rollouts[rollout]).unwrap();
            self.exposed_most = self.exposed_most.max(self.rollouts[rollout].counts.exposed);
            if self.random.chance(self.thorough) {
                invariants::counts(&self.rollouts[rollout]).unwrap();
                self.limits_hold();
                self.replay_agrees();
            }
        }
    }

    fn below_the_ceiling(&self, rollout: usize, device: DeviceIndex) {
        let rollout = &self.rollouts[rollout];
        let share = ceiling_at(&rollout.authorisation.ceiling, self.now_ms - rollout.authorisation.start_ms);
        let position = rollout.position_of(&self.fleet, device);
        assert!(position < Position::from_share(share) || share == crate::ids::Share::ALL, "above the ceiling");
    }

    /// What customers demand, counted on the devices themselves.
    fn limits_hold(&self) {
        let mut groups = BTreeSet::new();
        let mut sites = std::collections::BTreeMap::new();
        let changing = |device: &&SimDevice| device.is_changing() && !self.fleet.device(device.index).retired;
        for device in self.devices.iter().filter(changing) {
            if let Some(group) = self.fleet.group(device.index) {
                assert!(groups.insert(group), "two members of a redundancy group at a time");
            }
            *sites.entry(self.fleet.device(device.index).site).or_insert(0) += 1;
        }
        for (site, away) in sites {
            let tenant = self.fleet.sites[site as usize].tenant as usize;
            let limit = self.fleet.tenants[tenant].policy.limits.max_unavailable_per_site;
            assert!(limit == 0 || away <= limit, "{away} of a site are away, {limit} may be");
        }
    }

    fn plan_all(&mut self) {
        let mut next = u64::MAX;
        for rollout in 0..self.rollouts.len() {
            let mut rounds = 0;
            loop {
                let Plan { actions, again_at_ms, .. } = self.rollouts[rollout].plan(&self.fleet, self.now_ms);
                if actions.is_empty() {
                    next = next.min(again_at_ms.unwrap_or(u64::MAX));
                    break;
                }
                rounds += 1;
                assert!(rounds < 1_000, "the plan does not come to rest: {actions:?}");
                self.append(rollout, actions);
            }
        }
        self.plan_at_ms = next.max(self.now_ms + 1);
    }

    /// Runs until `end_ms`, or until `done` says so.
    pub fn run_until(&mut self, end_ms: u64, done: impl Fn(&World) -> bool) {
        self.plan_all();
        while self.now_ms < end_ms && !done(self) {
            let next = self.queue.first().map_or(u64::MAX, |first| first.0).min(self.plan_at_ms);
            self.now_ms = next.min(end_ms);
            let mut said = self.now_ms >= self.plan_at_ms;
            while let Some(&(at, device)) = self.queue.first()
                && at <= self.now_ms
            {
                self.queue.pop_first();
                said |= self.check_in(device);
            }
            if said {
                self.plan_all();
            }
        }
    }

    /// Runs for so long.
    pub fn run(&mut self, ms: u64) {
        self.run_until(self.now_ms + ms, |_| false);
    }

    /// Runs until the first rollout is over, at most `ms`; returns what it waits for.
    pub fn finish(&mut self, ms: u64) -> WaitingOn {
        self.run_until(self.now_ms + ms, |world| {
            matches!(world.rollouts[0].status, Status::Halted { .. } | Status::Completed { .. })
        });
        self.rollouts[0].waiting_on(&self.fleet, self.now_ms)
    }

    fn check_in(&mut self, index: DeviceIndex) -> bool {
        let dark_until_ms = self.devices[index as usize].dark_until_ms;
        if dark_until_ms > self.now_ms {
            if dark_until_ms != u64::MAX {
                self.queue.insert((dark_until_ms, index));
            }
            return false;
        }
        self.fleet.heard(index, self.now_ms);
        let logged = self.log.len();
        let soak_ms = self.rollouts.first().map_or(0, |r| r.profile.soak_ms);
        let reports = self.devices[index as usize].says(self.rollouts.len(), self.now_ms, soak_ms);
        let lost = self.random.chance(self.lost);
        for (rollout, report) in reports {
            let (events, answer) = self.rollouts[rollout].report(&self.fleet, index, &report, self.now_ms);
            self.append(rollout, events.clone());
            if lost {
                continue;
            }
            match answer {
                Some(Answer::Permit { arm, event }) => {
                    if event.is_some() && self.random.chance(self.background) {
                        self.devices[index as usize].dark_until_ms = self.now_ms + 3_600_000;
                    }
                    if arm == crate::evidence::Arm::Treated {
                        let fault = (self.fault)(&mut self.random, &self.fleet, index, rollout);
                        let dark = self.devices[index as usize].dark_until_ms;
                        self.devices[index as usize].change(rollout, fault, self.now_ms, self.apply_ms);
                        let device = &mut self.devices[index as usize];
                        device.dark_until_ms = device.dark_until_ms.max(dark);
                        break;
                    }
                }
                Some(Answer::Wait(_)) => {}
                None => self.devices[index as usize].heard_by_server(),
            }
        }
        let cadence = self.rollouts.iter().map(|r| r.next_check_in_ms(index, self.now_ms)).min().unwrap_or(60_000);
        let next = self.now_ms + cadence * 9 / 10 + self.random.below(cadence / 10);
        let dark = self.devices[index as usize].dark_until_ms;
        if dark != u64::MAX {
            self.queue.insert((next.max(dark), index));
        }
        self.log.len() > logged
    }

    /// The server as it would be after a restart: from the log alone.
    pub fn replayed(&self) -> (Fleet, Vec<Rollout>) {
        let mut fleet = self.before.clone();
        let mut rollouts: Vec<Rollout> = Vec::new();
        for (at_ms, entry) in &self.log {
            match entry {
                Entry::Start(parts) => {
                    let (release, authorisation, profile) = (**parts).clone();
                    let old = superseded(&rollouts, &authorisation);
                    rollouts.push(Rollout::after(old, &fleet, release, authorisation, profile, *at_ms).unwrap());
                }
                Entry::Rollout(rollout, event) => {
                    // As it comes back from the disk.
                    let text = serde_json::to_string(event).unwrap();
                    let event: Event = serde_json::from_str(&text).unwrap();
                    rollouts[*rollout].apply(&mut fleet, &event, *at_ms);
                }
                change => apply_change(&mut fleet, change),
            }
        }
        (fleet, rollouts)
    }

    /// A replay decides the same.
    pub fn replay_agrees(&self) {
        let (mut fleet, replayed) = self.replayed();
        for (row, live) in fleet.devices.iter_mut().zip(&self.fleet.devices) {
            assert_eq!((row.member_of, row.id), (live.member_of, live.id));
            row.last_seen_ms = live.last_seen_ms;
        }
        for (mut replay, live) in replayed.into_iter().zip(&self.rollouts) {
            let mut live = live.clone();
            (live.look_again_ms, replay.look_again_ms) = (0, 0);
            assert_eq!(live.status, replay.status);
            assert_eq!(live.counts, replay.counts);
            assert_eq!(live.ln_e().to_bits(), replay.ln_e().to_bits());
            assert_eq!(live.reach(&self.fleet), replay.reach(&fleet));
            assert_eq!((live.budget(), live.frontier_sequence), (replay.budget(), replay.frontier_sequence));
            let (wanted, got) = (live.plan(&self.fleet, self.now_ms), replay.plan(&fleet, self.now_ms));
            assert_eq!(wanted.actions, got.actions);
            if got.actions.is_empty() {
                assert_eq!(lasting(wanted.waiting_on), lasting(got.waiting_on));
            }
        }
    }

    /// The server is away for so long, then comes back from its log.
    pub fn restart(&mut self, ms: u64) {
        let from_ms = self.now_ms;
        let end_ms = from_ms + ms;
        while let Some(&(at, device)) = self.queue.first()
            && at < end_ms
        {
            // Devices find nobody.
            self.queue.pop_first();
            self.queue.insert((at.max(from_ms) + 1_000 + self.random.below(500), device));
        }
        (self.fleet, self.rollouts) = self.replayed();
        self.now_ms = end_ms;
        for rollout in 0..self.rollouts.len() {
            if matches!(self.rollouts[rollout].status, Status::Running | Status::Held { .. }) {
                self.append(rollout, vec![Event::ObservationGap { from_ms, to_ms: end_ms }]);
            }
        }
        self.plan_all();
    }

    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.log.iter().filter_map(|(_, entry)| match entry {
            Entry::Rollout(_, event) => Some(event),
            _ => None,
        })
    }

    pub fn bricked(&self) -> usize {
        self.devices.iter().filter(|d| d.is_changing() && d.dark_until_ms == u64::MAX).count()
    }
}

fn superseded<'a>(rollouts: &'a [Rollout], authorisation: &Authorisation) -> Option<&'a Rollout> {
    rollouts.iter().find(|rollout| Some(rollout.id) == authorisation.supersedes)
}

/// Without what a restart may forget: until when heartbeats are waited for.
fn lasting(waiting: WaitingOn) -> WaitingOn {
    match waiting {
        WaitingOn::Outcomes { wave, open, .. } => WaitingOn::Outcomes { wave, open, next_deadline_ms: None },
        other => other,
    }
}

fn apply_change(fleet: &mut Fleet, entry: &Entry) {
    match entry {
        Entry::Policy(tenant, policy) => fleet.tenants[*tenant as usize].policy = (**policy).clone(),
        Entry::Retired(device) => fleet.retire(*device),
        Entry::Cloned(device) => fleet.devices[*device as usize].cloned = true,
        Entry::Joined(id, [name, tenant, site, os_build, hardware_model, stratum]) => {
            fleet.join(&Joining { id: *id, name, tenant, site, os_build, hardware_model, stratum });
        }
        Entry::Start(_) | Entry::Rollout(..) => {}
    }
}

/// Says what was reported, for tests that speak for a device themselves.
pub(super) fn say(world: &mut World, device: DeviceIndex, report: &Report) -> Option<Answer> {
    let (events, answer) = world.rollouts[0].report(&world.fleet, device, report, world.now_ms);
    world.append(0, events);
    answer
}
