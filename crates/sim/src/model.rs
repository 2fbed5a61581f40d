//! The fleet as `core` sees it, and what `core` can't see: which machines are on, how long things take, whom a fault hits.
//! Everything is a function of the seed and of the device's number, so nothing of it has to be stored. Must stay out:
//! events, and every decision.

use crate::{
    random::{Kind, Streams},
    scenario::{Fault, FleetSpec, Outage, Scenario},
};
use staffel_core::{
    fleet::{Device, Fleet, Site, Tenant},
    ids::DeviceId,
    policy::CustomerPolicy,
};

/// Up to so many devices have names; above, they would only cost memory.
const NAMED: u32 = 100_000;
const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;

/// The machines of a scenario.
#[derive(Clone, Debug)]
pub struct Model {
    pub streams: Streams,
    spec: FleetSpec,
    outage: Option<Outage>,
    /// No device is ever off, so nobody has to look.
    always_on: bool,
}

impl Model {
    /// The machines of this scenario, drawn from this seed.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let spec = scenario.fleet.clone();
        let always_on = spec.night_off == 0.0 && spec.away == 0.0 && scenario.outage.is_none() && !spec.site_servers;
        Model { streams: Streams::new(seed), spec, outage: scenario.outage, always_on }
    }

    /// The tables that `core` decides from. Filled directly: at 8.5 million devices, looking each up by name would take
    /// longer than the rollout.
    pub fn fleet(&self) -> Fleet {
        let spec = &self.spec;
        let mut fleet = Fleet::default();
        for customer in 0..spec.customers {
            let name = format!("customer-{customer}");
            let policy = CustomerPolicy::default();
            fleet.tenants.push(Tenant { name, policy, policy_sequence: 0, devices: 0 });
        }
        for os in 0..spec.os_builds {
            fleet.os_builds.number(&format!("os-{os}"));
        }
        for model in 0..spec.hardware_models {
            fleet.hardware_models.number(&format!("model-{model}"));
        }
        let strata = self.strata(&mut fleet);
        let (tail, whole) = self.tail();
        let present = self.present();
        fleet.devices.reserve_exact(spec.devices as usize);
        for number in 0..present {
            self.add(&mut fleet, number, &strata, (&tail, whole));
        }
        fleet
    }

    /// The next of those that come late joins; returns its number.
    pub fn join(&self, fleet: &mut Fleet) -> u32 {
        let number = fleet.devices.len() as u32;
        let strata = self.strata(fleet);
        let (tail, whole) = self.tail();
        self.add(fleet, number, &strata, (&tail, whole));
        number
    }

    /// Devices that are there from the start on: the first in the order of their numbers.
    pub fn present(&self) -> u32 {
        self.spec.devices - self.late()
    }

    fn late(&self) -> u32 {
        (f64::from(self.spec.devices) * self.spec.late) as u32
    }

    /// When the others join, seconds, the first first.
    pub fn joins(&self) -> Vec<u32> {
        let within = u64::from(self.spec.late_within_s.max(1));
        let at = |number| self.streams.below(Kind::Late, number, 0, within) as u32;
        let mut joins: Vec<u32> = (0..u64::from(self.late())).map(at).collect();
        joins.sort_unstable();
        joins
    }

    /// When whose key turns out to be used by two machines.
    pub fn clones(&self) -> Vec<(u32, u32)> {
        if self.spec.cloned == 0.0 {
            return Vec::new();
        }
        let cloned = |device: &u32| self.streams.chance(Kind::Clone, u64::from(*device), 0, self.spec.cloned);
        let at = |device| (self.streams.below(Kind::Clone, u64::from(device), 1, DAY_S) as u32, device);
        (0..self.spec.devices).filter(cloned).map(at).collect()
    }

    /// So far what a device can prove of the time lags behind, seconds.
    pub fn lag_s(&self, device: u32) -> u32 {
        self.streams.below(Kind::Lag, u64::from(device), 0, u64::from(self.spec.lag_s) + 1) as u32
    }

    /// Sums of the shares of hardware models, and their total.
    fn tail(&self) -> (Vec<f64>, f64) {
        let sum = |sum: &mut f64, model: u32| {
            *sum += 1.0 / f64::from(model + 1);
            Some(*sum)
        };
        let tail: Vec<f64> = (0..self.spec.hardware_models).scan(0.0, sum).collect();
        let whole = tail.last().copied().unwrap_or(1.0);
        (tail, whole)
    }

    /// Numbers of the strata: by OS build, hardware model, and whether it is a site's server.
    fn strata(&self, fleet: &mut Fleet) -> Vec<u32> {
        let spec = &self.spec;
        let number = |at: u32| {
            let (kind, server) = (at / 2, if at % 2 == 1 { "/server" } else { "" });
            let (os, model) = (kind / spec.hardware_models, kind % spec.hardware_models);
            if at % 2 == 1 && !spec.site_servers {
                return 0;
            }
            fleet.strata.number(&format!("os-{os}/model-{model}{server}"))
        };
        (0..spec.os_builds * spec.hardware_models * 2).map(number).collect()
    }

    fn add(&self, fleet: &mut Fleet, number: u32, strata: &[u32], (tail, whole): (&[f64], f64)) {
        let (spec, streams) = (&self.spec, &self.streams);
        let site = self.site(number);
        if site as usize == fleet.sites.len() {
            // Customers have a long tail, too.
            let share = streams.unit(Kind::Customer, u64::from(site), 0);
            let tenant = match &spec.shares {
                Some(shares) => drawn_from(&shares.customers, share),
                None => (share * share * f64::from(spec.customers)) as u32,
            };
            fleet.sites.push(Site { name: format!("site-{site}"), tenant });
        }
        let subject = u64::from(number);
        let drawn = streams.unit(Kind::HardwareModel, subject, 0);
        let (os_build, hardware_model) = match &spec.shares {
            Some(shares) => {
                let os = drawn_from(&shares.os_builds, streams.unit(Kind::OsBuild, subject, 0));
                (os, drawn_from(&shares.hardware_models, drawn))
            }
            None => {
                let os = streams.below(Kind::OsBuild, subject, 0, u64::from(spec.os_builds)) as u32;
                let model = tail.partition_point(|sum| *sum <= drawn * whole) as u32;
                (os, model.min(spec.hardware_models - 1))
            }
        };
        let kind = (os_build * spec.hardware_models + hardware_model) * 2 + u32::from(self.is_server(number));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&subject.to_be_bytes());
        let name = if spec.devices <= NAMED { format!("d{number}").into() } else { Box::default() };
        let tenant = fleet.sites[site as usize].tenant as usize;
        fleet.tenants[tenant].devices += 1;
        fleet.devices.push(Device {
            id: DeviceId(id),
            name,
            site,
            os_build,
            hardware_model,
            stratum: strata[kind as usize],
            retired: false,
            cloned: false,
            member_of: 0,
            last_seen_ms: 0,
        });
    }

    fn site(&self, device: u32) -> u32 {
        device / self.spec.devices_per_site
    }

    /// True for the server of a site, where sites have one.
    pub fn is_server(&self, device: u32) -> bool {
        self.spec.site_servers && device.is_multiple_of(self.spec.devices_per_site)
    }

    /// The device through which this one reaches the world.
    pub fn behind(&self, device: u32) -> Option<u32> {
        let server = self.site(device) * self.spec.devices_per_site;
        (self.spec.site_servers && server != device).then_some(server)
    }

    /// True if no device is ever off.
    pub fn is_always_on(&self) -> bool {
        self.always_on
    }

    /// From the news of a release until it is there, seconds.
    pub fn download_s(&self, device: u32, release: u64) -> u32 {
        let slow = self.streams.chance(Kind::Network, u64::from(self.site(device)), 0, self.spec.slow);
        let mean = f64::from(self.spec.download_s) * if slow { 10.0 } else { 1.0 };
        (mean * self.streams.exponential(Kind::Network, u64::from(device), release)) as u32
    }

    /// From the permit until the release runs, seconds: at least four ninths of the mean, at most 3.8 times the mean.
    pub fn apply_s(&self, device: u32, release: u64) -> u32 {
        let spread = self.streams.exponential(Kind::Apply, u64::from(device), release);
        ((f64::from(self.spec.apply_s) * (4.0 + 5.0 * spread) / 9.0) as u32).max(1)
    }

    /// One boot, seconds.
    pub fn boot_s(&self, device: u32, number: u64) -> u32 {
        let spread = self.streams.exponential(Kind::Boot, u64::from(device), number);
        ((f64::from(self.spec.boot_s) * (1.0 + spread) / 2.0) as u32).max(1)
    }

    /// Until a person has repaired it, seconds.
    pub fn by_hand_s(&self, device: u32) -> u32 {
        (f64::from(self.spec.by_hand_s) * self.streams.exponential(Kind::WayBack, u64::from(device), 0)) as u32
    }

    /// True if the device goes silent after this permit although nothing is wrong with the release.
    pub fn goes_silent(&self, device: u32, permit: u64) -> bool {
        self.streams.chance(Kind::Silence, u64::from(device), permit, self.spec.silent)
    }

    /// Where a device checks in at leisure, within its cadence.
    pub fn poll_phase_s(&self, device: u32, cadence_s: u32) -> u32 {
        self.streams.below(Kind::PollPhase, u64::from(device), 0, u64::from(cadence_s)) as u32
    }

    /// True if the fault of a release hits this device.
    pub fn is_hit(&self, fleet: &Fleet, fault: &Fault, device: u32, release: u64) -> bool {
        if let Some(only) = fault.only.as_deref() {
            let row = fleet.device(device);
            let concerned = match only {
                "server" => self.is_server(device),
                _ if only.starts_with("os-") => fleet.os_builds.name(row.os_build) == only,
                _ => fleet.hardware_models.name(row.hardware_model) == only,
            };
            if !concerned {
                return false;
            }
        }
        self.streams.chance(Kind::Fault, u64::from(device), release, fault.probability)
    }

    /// Says goodbye when it is switched off in the evening of this day.
    pub fn says_goodbye(&self, device: u32, at_s: u32) -> bool {
        self.streams.chance(Kind::NightTime, u64::from(device), u64::from(at_s), self.spec.goodbye)
    }

    fn is_night_machine(&self, device: u32) -> bool {
        self.spec.night_off > 0.0 && self.streams.chance(Kind::NightMachine, u64::from(device), 0, self.spec.night_off)
    }

    /// Local time of a device as (day, second of the day); day 0 is a Thursday.
    fn local(&self, device: u32, at_s: u32) -> (u64, u64) {
        let zone = self.streams.below(Kind::Site, u64::from(self.site(device)), 1, u64::from(self.spec.time_zones));
        let local = self.spec.start_s + u64::from(at_s) + zone * HOUR_S;
        (local / DAY_S, local % DAY_S)
    }

    /// When it is switched on and off on a working day, seconds of the day.
    fn hours(&self, device: u32) -> (u64, u64) {
        let later = |number| self.streams.below(Kind::NightTime, u64::from(device), number, 2 * HOUR_S);
        (7 * HOUR_S + later(1 << 40), 18 * HOUR_S + later(1 << 41))
    }

    /// When this device can first be reached at or after `at_s`, leaving aside a dark server before it.
    pub fn on_at(&self, device: u32, at_s: u32) -> u32 {
        if self.always_on {
            return at_s;
        }
        let mut at_s = at_s;
        // An outage may end at night, and a night in an outage.
        for _ in 0..4 {
            let next = self.night_over_at(device, self.outage_over_at(device, self.away_until(device, at_s)));
            if next == at_s {
                break;
            }
            at_s = next;
        }
        at_s
    }

    /// Who is away at the start, and when they are back.
    pub fn away(&self) -> Vec<(u32, u32)> {
        if self.spec.away == 0.0 {
            return Vec::new();
        }
        let back = |device| Some((device, self.away_until(device, 0))).filter(|(_, back_s)| *back_s > 0);
        (0..self.present()).filter_map(back).collect()
    }

    /// Away from the start on, for days or weeks.
    fn away_until(&self, device: u32, at_s: u32) -> u32 {
        let away = self.spec.away > 0.0 && self.streams.chance(Kind::Late, u64::from(device), 1, self.spec.away);
        if !away {
            return at_s;
        }
        at_s.max(self.streams.below(Kind::Late, u64::from(device), 2, u64::from(self.spec.away_for_s.max(1))) as u32)
    }

    fn outage_over_at(&self, device: u32, at_s: u32) -> u32 {
        let Some(outage) = self.outage else { return at_s };
        let end_s = outage.from_s + outage.for_s;
        let hit = || self.streams.chance(Kind::Outage, u64::from(self.site(device)), 0, outage.sites);
        if (outage.from_s..end_s).contains(&at_s) && hit() { end_s } else { at_s }
    }

    fn night_over_at(&self, device: u32, at_s: u32) -> u32 {
        if !self.is_night_machine(device) {
            return at_s;
        }
        let ((day, second), (on, off)) = (self.local(device, at_s), self.hours(device));
        if is_working_day(day) && (on..off).contains(&second) {
            return at_s;
        }
        let mut next = if second < on { day } else { day + 1 };
        while !is_working_day(next) {
            next += 1;
        }
        at_s + ((next - day) * DAY_S + on - second) as u32
    }

    /// True in the second in which it is switched off.
    pub fn goes_off(&self, device: u32, at_s: u32) -> bool {
        at_s > 0 && self.off_at(device, at_s - 1) == Some(at_s)
    }

    /// When a device that is on now is switched off next, if it is one that is.
    pub fn off_at(&self, device: u32, at_s: u32) -> Option<u32> {
        if !self.is_night_machine(device) {
            return None;
        }
        let ((_, second), (_, off)) = (self.local(device, at_s), self.hours(device));
        Some(at_s + off.saturating_sub(second) as u32)
    }
}

/// The place in a list of counts that a number from 0 to 1 stands for.
fn drawn_from(counts: &[u64], unit: f64) -> u32 {
    let wanted = unit * counts.iter().sum::<u64>() as f64;
    let mut sum = 0.0;
    let place = counts.iter().position(|count| {
        sum += *count as f64;
        wanted < sum
    });
    place.unwrap_or(counts.len().saturating_sub(1)) as u32
}

fn is_working_day(day: u64) -> bool {
    // 1 January 1970 was a Thursday: 3 when Monday is 0.
    (day + 3) % 7 < 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(lines: &str) -> (Scenario, Model) {
        let text = format!("Why.\n[fleet]\n{lines}\n[policy ours]\n");
        let scenario = Scenario::parse("t.txt", &text).unwrap();
        let model = Model::new(&scenario, 1);
        (scenario, model)
    }

    #[test]
    fn the_fleet_has_what_was_asked_for() {
        let (_, model) = model("devices = 10_000\ncustomers = 30\nos builds = 3\nhardware models = 40");
        let fleet = model.fleet();
        assert_eq!((fleet.devices.len(), fleet.sites.len(), fleet.tenants.len()), (10_000, 500, 30));
        let share = |name: &str| {
            let number = fleet.hardware_models.find(name).unwrap();
            fleet.devices.iter().filter(|device| device.hardware_model == number).count()
        };
        assert!((2_200..2_500).contains(&share("model-0")), "{}", share("model-0"));
        assert!((150..250).contains(&share("model-11")), "{}", share("model-11"));
        assert_eq!(fleet.tenants.iter().map(|tenant| tenant.devices).sum::<u32>(), 10_000);
    }

    #[test]
    fn a_night_machine_sleeps_at_night_and_at_weekends() {
        let (_, model) = model("devices = 10\noff at night = 1");
        // The clock starts on a Tuesday, 22:13 UTC.
        let on = model.on_at(3, 0);
        assert!((8 * 3_600..12 * 3_600).contains(&on), "{on}");
        assert_eq!(model.on_at(3, on), on);
        let off = model.off_at(3, on).unwrap();
        assert!(model.on_at(3, off) > off + 10 * 3_600);
        // Three more working days, then a weekend of more than two nights.
        let friday = off + 2 * 86_400;
        assert!(model.on_at(3, friday) > friday + 2 * 86_400);
    }

    #[test]
    fn an_outage_silences_its_sites_for_its_time() {
        let text = "Why.\n[outage]\nsites = 1\nfrom = 10 min\nfor = 5 min\n[policy ours]\n";
        let model = Model::new(&Scenario::parse("t.txt", text).unwrap(), 1);
        assert_eq!([599, 600, 899, 900].map(|at| model.on_at(7, at)), [599, 900, 900, 900]);
    }

    #[test]
    fn clients_stand_behind_their_server() {
        let (_, model) = model("devices = 12\ndevices per site = 6\nsite servers = yes");
        assert_eq!((model.behind(0), model.behind(5), model.behind(7)), (None, Some(0), Some(6)));
        assert!(model.is_server(6) && !model.is_server(7));
    }
}
