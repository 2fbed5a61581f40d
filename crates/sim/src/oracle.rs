//! What the simulator itself expects of a rollout, from what it did to the devices: so that a mistake in `core` shows even
//! where `core` agrees with itself. Must stay out: any use of what `core` decides by; whoever reads both learns nothing.

use crate::{
    scenario::{Scenario, Staffel},
    world::Running,
};
use staffel_core::{
    conditions::Unit,
    evidence::{Arm, Metric},
    fleet::DeviceIndex,
    rollout::{Event, Status},
};
use std::collections::{BTreeMap, BTreeSet};

/// Up to so many devices it remembers each one's deadline.
const REMEMBERED: u32 = 20_000;

pub(crate) struct Oracle {
    /// Every machine is well, on, and answers in time, whatever becomes of the server.
    is_quiet: bool,
    by_device: bool,
    remembers: bool,
    budget: Option<u64>,
    halted: BTreeSet<u64>,
    to_click: BTreeSet<u64>,
    /// Rollout and device to the deadline of its first word, Unix milliseconds.
    deadlines: BTreeMap<(u64, DeviceIndex), u64>,
    /// Treated devices that went dark with their permit: rollout and deadline, until they are back.
    dark: BTreeMap<DeviceIndex, (u64, u64)>,
    forgets: bool,
}

impl Oracle {
    pub fn new(scenario: &Scenario, ours: &Staffel) -> Self {
        let fleet = &scenario.fleet;
        // After a backup, a device may wait at leisure that the server takes for a control.
        let messages = scenario.server.is_none_or(|s| (s.lost, s.repeated, s.restored_s) == (0.0, 0.0, None));
        let always_on = fleet.night_off == 0.0 && fleet.away == 0.0 && scenario.outage.is_none();
        Oracle {
            is_quiet: scenario.fault.is_none() && fleet.silent == 0.0 && always_on && messages,
            by_device: ours.unit == Unit::Device,
            remembers: fleet.devices <= REMEMBERED && ours.unit == Unit::Device,
            budget: ours.budget.map(u64::from),
            halted: BTreeSet::new(),
            to_click: BTreeSet::new(),
            deadlines: BTreeMap::new(),
            dark: BTreeMap::new(),
            forgets: false,
        }
    }

    /// The server came back from a backup: it does not know of every permit any more.
    pub fn forgets(&mut self) {
        self.forgets = true;
    }

    /// Nobody has tried yet to let this halted rollout go on.
    pub fn is_to_click(&self, rollout: u64) -> bool {
        self.to_click.contains(&rollout)
    }

    pub fn clicked(&mut self, rollout: u64) {
        self.to_click.remove(&rollout);
    }

    /// A device went dark with its permit, or is back.
    pub fn goes_dark(&mut self, rollout: u64, device: DeviceIndex) {
        if let Some(deadline_ms) = self.deadlines.get(&(rollout, device)) {
            self.dark.insert(device, (rollout, *deadline_ms));
        }
    }

    pub fn is_back(&mut self, device: DeviceIndex) {
        self.dark.remove(&device);
    }

    /// An event was applied.
    pub fn look(&mut self, running: &Running, event: &Event) -> Result<(), String> {
        let rollout = &running.rollout;
        let is_halted = matches!(rollout.status, Status::Halted { .. });
        if self.halted.contains(&rollout.id) && !is_halted && !self.forgets {
            return Err(format!("rollout {} was halted and goes on", rollout.id));
        }
        match event {
            Event::Permitted { device, arm, deadline_ms } => {
                if self.remembers {
                    self.deadlines.insert((rollout.id, *device), *deadline_ms);
                }
                let exposed = rollout.counts.exposed;
                let budget = self.budget.filter(|budget| *arm == Arm::Treated && exposed > *budget);
                if let Some(budget) = budget {
                    return Err(format!("{exposed} are exposed, the releasers signed {budget}"));
                }
            }
            Event::Halted { reason } => {
                if !is_halted {
                    return Err(format!("a halt stopped nothing: {reason}"));
                }
                self.halted.insert(rollout.id);
                self.to_click.insert(rollout.id);
                if self.is_quiet {
                    return Err(format!("every machine is well, and it is halted: {reason}"));
                }
            }
            Event::Held { reason } if self.is_quiet => {
                return Err(format!("every machine is well, and it is held: {reason}"));
            }
            Event::Observed { metric, arm, .. } if self.is_quiet => {
                return Err(format!("every machine is well, and a {arm} one counts as {metric:?}"));
            }
            Event::ObservationGap { from_ms, to_ms } => {
                let shift_ms = to_ms.saturating_sub(*from_ms) + rollout.profile.cadence_ms;
                for ((of, _), deadline_ms) in &mut self.deadlines {
                    *deadline_ms += if *of == rollout.id { shift_ms } else { 0 };
                }
                for (of, deadline_ms) in self.dark.values_mut() {
                    *deadline_ms += if *of == rollout.id { shift_ms } else { 0 };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// No deadline counts as missed before it is over, the server's own downtime left out; those of the same moment count in
    /// the order of the hash, whichever arm they are of.
    pub fn order(&self, running: &Running, events: &[Event], now_ms: u64) -> Result<(), String> {
        if !self.remembers {
            return Ok(());
        }
        let mut last = None;
        for event in events {
            let Event::Observed { unit, metric: Metric::FirstCheckInMissed, .. } = event else { continue };
            let device = running.rollout.devices(*unit)[0];
            let Some(deadline_ms) = self.deadlines.get(&(running.rollout.id, device)) else { continue };
            if *deadline_ms > now_ms && !self.forgets {
                let early_s = (*deadline_ms - now_ms) / 1_000;
                return Err(format!("device {device} counts as silent {early_s} s before its deadline"));
            }
            let here = (*deadline_ms, running.position[device as usize]);
            if last.is_some_and(|(before_ms, position)| before_ms == here.0 && position > here.1) {
                return Err("of two that missed the same deadline the one with the higher hash counts first".into());
            }
            last = Some(here);
        }
        Ok(())
    }

    /// The plan came to rest: whoever is dark and past its deadline is known to be silent.
    pub fn at_rest(&self, rollouts: &[Running], now_ms: u64) -> Result<(), String> {
        if !self.by_device || self.forgets {
            return Ok(());
        }
        for running in rollouts {
            let rollout = &running.rollout;
            if !matches!(rollout.status, Status::Running | Status::Held { .. }) {
                continue;
            }
            let overdue = self.dark.values().filter(|(of, deadline_ms)| *of == rollout.id && *deadline_ms <= now_ms);
            let (overdue, known) = (overdue.count() as u64, rollout.counts.silent);
            if known < overdue {
                return Err(format!(
                    "{overdue} devices died of it and are past their deadlines, {known} are known to be silent"
                ));
            }
        }
        Ok(())
    }
}
