//! What time alone brings about: silence, and the closing of what stayed verified. Must stay out: signs of life (`signs`).

use super::{
    Book, Concern, Event, Origin, State,
    open::{Concerned, Ran},
    watch::{LOOKS, Silence},
};
use crate::fleet::{DeviceIndex, Fleet};
use std::collections::BTreeMap;

impl Book {
    /// Everything that is due by now. The caller makes the events durable, applies them and asks again at its next turn;
    /// one turn looks at a bounded number of devices and cases.
    pub fn due(&mut self, fleet: &Fleet, now_ms: u64, ran: Ran<'_>) -> Vec<Event> {
        let mut events = self.silences(fleet, now_ms, ran);
        for _ in 0..LOOKS {
            let Some(&(at_ms, id)) = self.looks.first() else { break };
            if at_ms > now_ms {
                break;
            }
            self.looks.pop_first();
            events.extend(self.look(fleet, id, now_ms));
        }
        events
    }

    fn silences(&mut self, fleet: &Fleet, now_ms: u64, ran: Ran<'_>) -> Vec<Event> {
        let mut watch = std::mem::take(&mut self.watch);
        let (device_after, site_after) = (self.limits.silent_after_ms, self.limits.site_silent_after_ms);
        let found = watch.due(fleet, now_ms, device_after, site_after, |device| self.is_seen_to(device));
        self.watch = watch;
        let mut by_site: BTreeMap<u32, (u64, bool, Vec<Concerned>)> = BTreeMap::new();
        let concerned = |device, since_ms| Concerned { device, why: Concern::Silent { since_ms } };
        for silence in found {
            match silence {
                Silence::Site { site, since_ms } => {
                    let entry = by_site.entry(site).or_insert((since_ms, true, Vec::new()));
                    let open = |d: &&DeviceIndex| self.watch.may_be_silent(fleet, **d) && !self.is_seen_to(**d);
                    entry.2.extend(self.watch.members(site).iter().filter(open).map(|d| concerned(*d, since_ms)));
                }
                Silence::Device { device, since_ms } => {
                    let site = fleet.device(device).site;
                    let entry = by_site.entry(site).or_insert((since_ms, false, Vec::new()));
                    if !entry.2.iter().any(|known| known.device == device) {
                        entry.2.push(concerned(device, since_ms));
                    }
                }
            }
        }
        let (mut numbers, mut events) = (self.numbers(), Vec::new());
        for (site, (since_ms, whole_site, concerned)) in by_site {
            let name = fleet.sites.get(site as usize).map_or("", |site| &site.name);
            let why = if whole_site {
                format!("no device of the site {name} has been heard, and none said goodbye")
            } else {
                format!("{} of the site {name} not heard for too long, and no goodbye", concerned.len())
            };
            let origin = Origin::Silence { site, since_ms, whole_site };
            events.extend(self.open_at_site(&mut numbers, origin, why, now_ms, concerned, ran));
        }
        events
    }

    /// It has a case, or had one not long ago that opens again by itself.
    fn is_seen_to(&self, device: DeviceIndex) -> bool {
        self.cases_of(device).next().is_some()
    }

    /// What time brings to one case; if nothing, when to look again.
    fn look(&mut self, fleet: &Fleet, id: u64, now_ms: u64) -> Option<Event> {
        let limits = &self.limits;
        let case = self.cases.get(&id)?;
        let heard_ms = fleet.device(case.device).last_seen_ms;
        // A restart forgets when a device was heard; it has until now to speak.
        let silent_since = self.watch.silent_since(heard_ms.max(case.since_ms));
        let silent_ms = silent_since.saturating_add(limits.case_silent_ms);
        let may_be_silent = case.alive && self.watch.may_be_silent(fleet, case.device);
        let (mut next_ms, mut event) = (u64::MAX, None);
        match case.state {
            State::Closed => {
                let until_ms = case.closed_ms().unwrap_or(0).saturating_add(limits.reopen_within_ms);
                if now_ms >= until_ms {
                    self.of_device.remove(&(case.device, id));
                } else if may_be_silent && silent_ms <= now_ms {
                    event = Some(Event::Reopened { case: id, why: "silent again".into() });
                } else {
                    next_ms = until_ms.min(if may_be_silent { silent_ms } else { now_ms + limits.case_silent_ms });
                }
            }
            _ if may_be_silent && silent_ms <= now_ms => {
                event = Some(Event::FellSilent { case: id, since_ms: heard_ms.max(case.since_ms) });
            }
            State::Verified => {
                let close_ms = case.since_ms.saturating_add(limits.close_after_ms);
                if case.debts().is_empty() && close_ms <= now_ms {
                    event = Some(Event::Closed { case: id, by: None });
                } else {
                    let silent_ms = if may_be_silent { silent_ms } else { now_ms + limits.case_silent_ms };
                    next_ms = if case.debts().is_empty() { close_ms.min(silent_ms) } else { silent_ms };
                }
            }
            _ if case.alive => next_ms = if may_be_silent { silent_ms } else { now_ms + limits.case_silent_ms },
            _ => {}
        }
        if event.is_none() && next_ms != u64::MAX {
            self.look_at(id, next_ms.max(now_ms + 1));
        }
        event
    }

    pub(super) fn look_at(&mut self, id: u64, at_ms: u64) {
        if let Some(case) = self.cases.get_mut(&id) {
            self.looks.remove(&(case.look_ms, id));
            case.look_ms = at_ms;
            self.looks.insert((at_ms, id));
        }
    }
}
