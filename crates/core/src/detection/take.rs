//! What a device's delivery means. Nothing here changes the book.

use super::{
    About, AlertId, Book, Delivery, Found, MOST_ALERTS, MOST_FINDINGS, MOST_STREAM_NAME, MOST_SUBJECTS, Opening,
    RESERVE, Seen, Severity, Sighting, State, Subject, book::Alert,
};
use crate::fleet::DeviceIndex;
use std::{cmp::Reverse, collections::BTreeMap};

/// Why a delivery is not taken: no honest device sends such a thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the stream's name has {bytes} bytes; 1 to {MOST_STREAM_NAME} are expected")]
    StreamName { bytes: usize },
    #[error("finding {number} does not come after {before}: numbers begin with 1 and ascend")]
    Order { number: u64, before: u64 },
}

/// What a delivery means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What is to be written down; none: everything in it was known before.
    pub found: Option<Found>,
    /// Everything up to this number is done with, once `found` is durable.
    pub through: u64,
    /// Sightings whose fields are to be kept, by their place in the delivery, with their alert.
    pub keep: Vec<(usize, AlertId)>,
}

/// Findings of one subject, folded.
struct Group {
    severity: Severity,
    count: u64,
    first_ms: u64,
    last_ms: u64,
    /// Places in the delivery.
    places: Vec<usize>,
}

impl Book {
    /// Decides what a delivery of this device means.
    ///
    /// # Errors
    /// [`Fault`]: the delivery contradicts itself; nothing of it is taken.
    pub fn take(&self, device: DeviceIndex, delivery: &Delivery, now_ms: u64) -> Result<Taken, Fault> {
        let bytes = delivery.stream.len();
        if !(1..=MOST_STREAM_NAME).contains(&bytes) {
            return Err(Fault::StreamName { bytes });
        }
        ascending(delivery.sightings.iter().map(|sighting| sighting.number))?;
        ascending(delivery.unreadable.iter().copied())?;
        let source = self.source(device);
        let mut streams = source.into_iter().flat_map(|source| &source.streams);
        let known = streams.find(|stream| stream.name == delivery.stream);
        let (groups, reached) = fold(delivery, known.map_or(0, |stream| stream.through));
        let unreadable = delivery.unreadable.iter().filter(|number| reached.covers(**number)).count() as u64;
        let is_news = reached.through > reached.from || delivery.lost > known.map_or(0, |stream| stream.lost);
        if !is_news {
            return Ok(Taken { found: None, through: reached.from, keep: Vec::new() });
        }
        let mut found = Found {
            stream: delivery.stream.clone(),
            through: reached.through,
            lost: delivery.lost,
            missing: missing(&reached, &groups, unreadable),
            folded: 0,
            uncounted: unreadable,
            spent: 0,
            seen: Vec::new(),
        };
        let mut keep = Vec::new();
        let mut ranks: Vec<(usize, Reverse<Severity>, usize, AlertId)> = Vec::new();
        let mut credit = source.map_or(super::CREDIT, |source| source.credit(now_ms));
        let mut new = 0;
        for (subject, group) in groups {
            let Some(seen) = self.see(device, subject, &group, &delivery.sightings, &mut new, &mut credit, now_ms)
            else {
                found.uncounted += group.places.len() as u64;
                continue;
            };
            let with_fields = group.places.iter().rev().filter(|at| delivery.sightings[**at].has_fields);
            ranks.extend(with_fields.enumerate().map(|(n, at)| (n, Reverse(group.severity), *at, seen.alert)));
            found.seen.push(seen);
        }
        // One event of each subject before a second one of any, the worst first.
        ranks.sort_unstable();
        let room = credit.saturating_sub(RESERVE) as usize;
        found.folded = ranks.len().saturating_sub(room) as u64;
        keep.extend(ranks.into_iter().take(room).map(|(_, _, at, alert)| (at, alert)));
        keep.sort_unstable();
        credit -= keep.len() as u32;
        found.spent = source.map_or(super::CREDIT, |source| source.credit(now_ms)) - credit;
        Ok(Taken { through: reached.through, found: Some(found), keep })
    }

    /// The alert that gets these findings; none if there is no room or no credit for a new one.
    #[expect(clippy::too_many_arguments, reason = "two of them are what is left to spend")]
    fn see(
        &self,
        device: DeviceIndex,
        subject: &Subject,
        group: &Group,
        sightings: &[Sighting],
        new: &mut u64,
        credit: &mut u32,
        now_ms: u64,
    ) -> Option<Seen> {
        let latest = &sightings[*group.places.last()?].about;
        let mut pay = || {
            let left = credit.checked_sub(1)?;
            *credit = left;
            Some(())
        };
        let known = self.source(device).and_then(|source| source.alerts.get(subject));
        let known = known.and_then(|id| Some((*id, self.alert(*id)?)));
        let (alert, named, about, opens) = match known {
            Some((id, alert)) => {
                let about = (alert.about != *latest).then(&mut pay).flatten().map(|()| latest.clone());
                (id, None, about, opening(alert, group.severity, now_ms))
            }
            None => {
                self.has_room(device, *new, group.severity).then(&mut pay).flatten()?;
                let id = self.next_id() + *new;
                *new += 1;
                (id, Some(subject.clone()), Some::<About>(latest.clone()), Some(Opening::New))
            }
        };
        let Group { severity, count, first_ms, last_ms, .. } = *group;
        Some(Seen { alert, subject: named, about, severity, count, first_ms, last_ms, opens })
    }

    /// True if one more alert is kept, after `new` others of the same delivery.
    fn has_room(&self, device: DeviceIndex, new: u64, severity: Severity) -> bool {
        let kept = self.source(device).map_or(0, |source| source.alerts.len()) + new as usize;
        // While there is no room, only one at a time takes another's place: which one goes is known for the first only.
        kept < MOST_ALERTS
            || new == 0 && self.victim(device).is_some_and(|(_, alert)| !alert.is_open() || alert.severity < severity)
    }
}

/// Whether new findings are a reason to look now.
fn opening(alert: &Alert, severity: Severity, now_ms: u64) -> Option<Opening> {
    let worse = (severity > alert.severity).then_some(Opening::Worse);
    match &alert.state {
        State::Open { .. } => worse,
        State::Acknowledged { quiet_until_ms, .. } => {
            let quiet = quiet_until_ms.is_some_and(|until_ms| now_ms < until_ms);
            worse.or((!quiet).then_some(Opening::Again))
        }
    }
}

fn ascending(numbers: impl Iterator<Item = u64>) -> Result<(), Fault> {
    let mut before = 0;
    for number in numbers {
        if number <= before {
            return Err(Fault::Order { number, before });
        }
        before = number;
    }
    Ok(())
}

/// Which numbers are taken: those after `from`, up to and with `through`.
struct Reached {
    from: u64,
    through: u64,
}

impl Reached {
    fn covers(&self, number: u64) -> bool {
        number > self.from && number <= self.through
    }
}

/// Findings after `from` by their subject, in the order in which the subjects appear, as many as one delivery may bring.
fn fold(delivery: &Delivery, from: u64) -> (Vec<(&Subject, Group)>, Reached) {
    let mut order: BTreeMap<&Subject, usize> = BTreeMap::new();
    let mut groups: Vec<(&Subject, Group)> = Vec::new();
    let (mut through, mut taken, mut all) = (from, 0, true);
    for (at, sighting) in delivery.sightings.iter().enumerate().filter(|(_, sighting)| sighting.number > from) {
        let is_new = !order.contains_key(&sighting.subject);
        if taken == MOST_FINDINGS || is_new && groups.len() == MOST_SUBJECTS {
            all = false;
            break;
        }
        taken += 1;
        through = sighting.number;
        let count = sighting.count.max(1);
        let place = *order.entry(&sighting.subject).or_insert(groups.len());
        let Some((_, group)) = groups.get_mut(place) else {
            let Sighting { severity, first_ms, last_ms, .. } = *sighting;
            groups.push((&sighting.subject, Group { severity, count, first_ms, last_ms, places: vec![at] }));
            continue;
        };
        group.severity = group.severity.max(sighting.severity);
        group.count = group.count.saturating_add(count);
        group.first_ms = group.first_ms.min(sighting.first_ms);
        group.last_ms = group.last_ms.max(sighting.last_ms);
        group.places.push(at);
    }
    // What could not be understood is done with as far as what stands beside it is.
    if all {
        through = through.max(delivery.unreadable.last().copied().unwrap_or(0));
    }
    (groups, Reached { from, through })
}

/// How many of the numbers up to `through` no finding came with.
fn missing(reached: &Reached, groups: &[(&Subject, Group)], unreadable: u64) -> u64 {
    let arrived: u64 = groups.iter().map(|(_, group)| group.places.len() as u64).sum();
    (reached.through - reached.from).saturating_sub(arrived).saturating_sub(unreadable)
}
