//! Who goes next: one release under one authorisation, from the first device to the last.
//!
//! [`Rollout`] is a projection: it changes only by [`Rollout::apply`], with events that stand in the log. What to do
//! next is decided by [`Rollout::plan`] (waves, verdicts) and [`Rollout::report`] (one device's word); both only return
//! events, which the caller makes durable and then applies. Nothing here scans the fleet for an event.
//!
//! Read `layout` for the order, `event` for what can happen, `reason` for what is said about doing nothing, `plan` for the decisions, `apply`
//! for the bookkeeping. What must stay out: signing, sending, clocks.

mod apply;
mod device;
mod event;
mod late;
mod layout;
mod look;
mod plan;
mod reached;
mod reason;
mod recount;
mod silence;
mod wave;
mod withdraw;

pub use device::{Answer, Report, Waiting};
pub use event::{CellWave, Event, UnitIndex};
pub use late::Late;
pub use look::WaveNow;
pub use plan::{ByHand, Plan};
pub use reached::Reached;
pub use reason::{HaltReason, HoldReason, Named, Skip, WaitingOn};

use crate::{
    conditions::{Authorisation, Reach},
    evidence::{
        Arm, DeadlineKey, DeadlineQueue, EvidenceError, Metric, PairCounts, Scopes, Thresholds, Weights, small,
        thresholds,
    },
    fleet::{DeviceIndex, Fleet},
    ids::Position,
    profile::Profile,
    release::{Kind, Release},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

/// Controls are at least this many where there are so many (evidence.md, "Assignment").
const CONTROLS: std::ops::RangeInclusive<u64> = 10_000..=200_000;
/// And at least this many in a stratum.
const CONTROLS_PER_STRATUM: u64 = 1_000;
/// From this many units on, one in a hundred is held out to the end.
const HOLD_OUT_FROM: u64 = 10_000;
/// More than this many of an arm are watched less closely.
const WATCHED_CLOSELY: usize = 200_000;

/// What the rollout as a whole does.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    Running,
    Held { reason: HoldReason, since_ms: u64 },
    Halted { reason: HaltReason, at_ms: u64 },
    Completed { at_ms: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Label {
    #[default]
    None,
    Treated,
    Control,
    /// Treated in a wave that is over.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Outcome {
    #[default]
    NoPermit,
    /// Has its permit, the first check-in after it is awaited.
    Awaited,
    /// Checked in; watched for heartbeats until the wave is over.
    Watched,
    /// Proven healthy.
    Proven,
    /// Past its deadline or silent, not back.
    Missed,
    /// Back on the old version or in safe mode.
    Failed,
}

impl UnitRow {
    /// Without any part in a wave yet.
    fn new(position: Position, cell: u32, first_member: u32) -> Self {
        UnitRow {
            position,
            cell,
            first_member,
            label: Label::None,
            outcome: Outcome::NoPermit,
            seen: 0,
            watched: false,
            judged: false,
            batch: NO_BATCH,
            permitted: 0,
            open: 0,
            permitted_ms: 0,
            deadline: None,
        }
    }

    /// Nothing has been observed of it in this wave.
    fn forget(&mut self) {
        (self.seen, self.watched, self.judged, self.batch, self.permitted) = (0, false, false, NO_BATCH, 0);
    }
}

impl Outcome {
    /// Something is still awaited: the wave can't be resolved.
    fn is_open(self) -> bool {
        matches!(self, Outcome::Awaited | Outcome::Watched)
    }
}

#[derive(Clone, Debug)]
struct UnitRow {
    position: Position,
    cell: u32,
    first_member: u32,
    label: Label,
    outcome: Outcome,
    /// Metrics (bits) that this unit had its event for in the open wave.
    seen: u8,
    /// Its heartbeats count.
    watched: bool,
    /// Its first check-in was in time.
    judged: bool,
    /// Whom its first check-in is compared with, [`NO_BATCH`] for nobody.
    batch: u16,
    /// Devices of the unit that got a permit in the open wave.
    permitted: u32,
    /// Devices that hold a treated or control permit and are not through. A treated unit with any is exposed.
    open: u32,
    /// When the last permit was given.
    permitted_ms: u64,
    deadline: Option<DeadlineKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    None,
    Permitted,
    OnTrial,
    Confirmed,
    Failed,
}

/// Devices of one ring and stratum (small fleets: of one ring), in the order of their positions.
#[derive(Clone, Debug)]
struct Cell {
    /// Who goes first: 0 those that the superseded rollout reached, 1 everybody else.
    turn: u8,
    ring: u8,
    stratum: u32,
    /// Rings and strata of all its devices: a site has devices of several.
    kinds: BTreeSet<(u8, u32)>,
    first: UnitIndex,
    end: UnitIndex,
    /// The first unit that was neither treated nor passed over.
    cursor: UnitIndex,
    passed: BTreeMap<UnitIndex, Skip>,
    pairs: PairCounts,
    eligible_to: Option<Position>,
    candidate_to: Option<Position>,
}

/// Members at risk, by metric and arm.
#[derive(Clone, Debug, Default)]
struct AtRisk([[u64; 2]; crate::evidence::metric::METRICS]);

impl AtRisk {
    fn of(&mut self, metric: Metric, arm: Arm) -> &mut u64 {
        &mut self.0[metric as usize][usize::from(arm == Arm::Control)]
    }
}

/// The bit of a metric in [`UnitRow::seen`].
fn bit(metric: Metric) -> u8 {
    1 << metric as u8
}

#[derive(Clone, Debug, Default)]
struct SliceCell {
    treated: Vec<UnitIndex>,
    control: Vec<UnitIndex>,
    at_risk: AtRisk,
    /// For the first check-in after the permit.
    batches: Vec<silence::Batch>,
}

/// The open wave.
#[derive(Clone, Debug)]
struct Slice {
    wave: u32,
    /// Of its cells.
    turn: u8,
    opened_ms: u64,
    /// Treated units.
    size: u64,
    /// Units of earlier waves that were exposed when it opened, because they are silent.
    carried: u64,
    cells: BTreeMap<u32, SliceCell>,
    /// Devices.
    treated_without_permit: u64,
    control_without_permit: u64,
    /// Treated units that hold a permit and have no outcome yet.
    treated_open: u64,
    /// Treated units that got a permit.
    treated_permitted: u64,
    /// Control units, and those of them that got a permit.
    controls: u64,
    controls_permitted: u64,
}

/// What is known of a treated unit that is not simply in time.
#[derive(Clone, Debug)]
struct Trouble {
    /// A deadline later counts as one missed.
    since_ms: u64,
    /// Safe mode, and its own words.
    returned: Option<(bool, String)>,
    /// Gave word from the new version after its deadline, not proven healthy yet.
    back: bool,
    /// A person let the rollout go on in spite of its silence.
    excused: bool,
}

/// How waves grow, apart for those that the superseded rollout reached: what is learned of the hurt says little about
/// the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Growth {
    /// Size of the next wave.
    next: u64,
    /// The most units treated in one wave that is over: what growth starts from.
    largest: u64,
}

/// How far a customer's pilot ring is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RingProgress {
    units: u64,
    proven: u64,
}

/// Counts that a page shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub units: u64,
    /// Devices that ever got a treated permit and did not give it back unused.
    pub exposed_ever: u64,
    /// Units that hold a treated permit and are not yet proven healthy.
    pub exposed: u64,
    /// Devices proven healthy on the release.
    pub confirmed: u64,
    /// Devices that went back or into safe mode.
    pub failed: u64,
    /// Treated units past their deadline that have not come back.
    pub silent: u64,
    /// Treated permits that came back unused.
    pub withdrawn: u64,
}

/// A rollout and all that its decisions rest on.
#[derive(Clone, Debug)]
pub struct Rollout {
    pub id: u64,
    pub release: Release,
    pub authorisation: Authorisation,
    pub profile: Profile,
    pub status: Status,
    pub counts: Counts,
    /// Grows with every change of the frontier.
    pub frontier_sequence: u64,
    /// Waves opened.
    pub wave: u32,
    small: bool,
    units: Vec<UnitRow>,
    members: Vec<DeviceIndex>,
    unit_of: Vec<UnitIndex>,
    phases: Vec<Phase>,
    cells: Vec<Cell>,
    slice: Option<Slice>,
    /// By turn.
    growth: [Growth; 2],
    last_bound: Option<f64>,
    evidence: Scopes,
    limits: Thresholds,
    pairs: PairCounts,
    queue: DeadlineQueue,
    troubled: BTreeMap<UnitIndex, Trouble>,
    /// Members that said goodbye, and when.
    left: BTreeMap<UnitIndex, u64>,
    /// Devices that gave a permit back, until they are on trial.
    withdrawals: BTreeMap<DeviceIndex, withdraw::Withdrawal>,
    /// When the server did not look, oldest first.
    gaps: VecDeque<(u64, u64)>,
    fenced: BTreeSet<u32>,
    /// By customer and ring, for customers that have pilot rings.
    rings: BTreeMap<(u32, u8), RingProgress>,
    /// Units that ever got a treated permit, and how many of them each customer has.
    exposed_units: u64,
    exposed_of: BTreeMap<u32, u64>,
    late: late::Latecomers,
    /// `ln E` that a person has seen and let pass.
    excused_ln_e: f64,
    /// Silence before this moment says nothing (server start, gap).
    observing_since_ms: u64,
    // Forgotten at a restart: what the last look for a next wave came to, and when another is worth it.
    skipped: BTreeMap<Skip, u64>,
    named: Vec<Named>,
    look_again_ms: u64,
}

/// Who releases a hold whose cause is gone. A person's release excuses what there was, this one does not.
const BY_ITSELF: &str = "its cause is gone";

fn first_size(small: bool, profile: &Profile) -> u64 {
    if small { small::FIRST_WAVE } else { u64::from(profile.first_wave) }
}

const NO_UNIT: UnitIndex = UnitIndex::MAX;
const NO_BATCH: u16 = u16::MAX;

impl Rollout {
    /// A rollout over the devices that are in the fleet now. Costs a sort of the fleet, once.
    pub fn new(
        fleet: &Fleet,
        release: Release,
        authorisation: Authorisation,
        profile: Profile,
        now_ms: u64,
    ) -> Result<Self, EvidenceError> {
        Rollout::after(None, fleet, release, authorisation, profile, now_ms)
    }

    /// The same for one that supersedes another: the devices that the other one reached go first, in waves that grow on
    /// their own. Where they stand above the signed ceiling they wait for it like everybody.
    pub fn after(
        superseded: Option<&Rollout>,
        fleet: &Fleet,
        release: Release,
        authorisation: Authorisation,
        profile: Profile,
        now_ms: u64,
    ) -> Result<Self, EvidenceError> {
        let reached = |device| superseded.is_some_and(|superseded| superseded.has_reached(device));
        let mut builder = layout::Units::build(fleet, &authorisation, reached);
        let units = builder.keys.len() as u64;
        let small = small::is_small(units);
        builder.sort(small);
        // Content is swapped without a restart, so both arms are disturbed alike; everything else restarts something.
        let theta0 = if release.kind == Kind::Content { 1.0 } else { 1.5 };
        let (evidence, limits) = if small {
            small::evidence(theta0)?
        } else {
            let dimensions = layout::dimensions(fleet, authorisation.unit);
            (Scopes::new(Weights::standard(), theta0, dimensions)?, Thresholds::new(thresholds::ALPHA)?)
        };
        let mut rollout = Rollout {
            id: authorisation.rollout,
            release,
            growth: [Growth { next: first_size(small, &profile), largest: 0 }; 2],
            authorisation,
            profile,
            status: Status::Running,
            counts: Counts { units, ..Counts::default() },
            frontier_sequence: 1,
            wave: 0,
            small,
            units: Vec::new(),
            members: builder.members,
            unit_of: vec![NO_UNIT; fleet.devices.len()],
            phases: vec![Phase::None; fleet.devices.len()],
            cells: Vec::new(),
            slice: None,
            last_bound: None,
            evidence,
            limits,
            pairs: PairCounts::new(),
            queue: DeadlineQueue::new(),
            troubled: BTreeMap::new(),
            left: BTreeMap::new(),
            withdrawals: BTreeMap::new(),
            gaps: VecDeque::new(),
            fenced: BTreeSet::new(),
            rings: BTreeMap::new(),
            exposed_units: 0,
            exposed_of: BTreeMap::new(),
            late: late::Latecomers::default(),
            excused_ln_e: f64::NEG_INFINITY,
            observing_since_ms: now_ms,
            skipped: BTreeMap::new(),
            named: Vec::new(),
            look_again_ms: 0,
        };
        rollout.lay_out(fleet, builder.keys);
        rollout.first_candidates();
        Ok(rollout)
    }

    /// `ln E_total`.
    pub fn ln_e(&self) -> f64 {
        self.evidence.ln_e_total()
    }

    /// The limits that `ln E_total` is compared with: hold, halt.
    pub fn ln_limits(&self) -> (f64, f64) {
        (self.limits.ln_hold(), self.limits.ln_halt())
    }

    /// The bound on the excess harm at the last wave's end.
    pub fn bound(&self) -> Option<f64> {
        self.last_bound
    }

    /// True if the rules for small fleets apply.
    pub fn is_small(&self) -> bool {
        self.small
    }

    /// K, at most this many units exposed at the same time: what profile and authorisation say, and the open wave with
    /// those of earlier waves that are silent.
    pub fn budget(&self) -> u64 {
        let wave = match &self.slice {
            Some(slice) => slice.size.saturating_add(slice.carried),
            None if matches!(self.status, Status::Completed { .. }) => {
                let others = self.counts.exposed.saturating_sub(self.late_exposed());
                self.late_budget().saturating_add(others)
            }
            None => {
                let next = self.growth.iter().map(|growth| growth.next).max().unwrap_or(1);
                next.saturating_add(self.counts.exposed)
            }
        };
        self.signed_budget().min(wave)
    }

    /// Units of a first wave.
    fn first_size(&self) -> u64 {
        first_size(self.small, &self.profile)
    }

    /// True if the device got the release, or was to get it first because one before had reached it.
    fn has_reached(&self, device: DeviceIndex) -> bool {
        let Some(unit) = self.unit(device) else { return false };
        let got = self.arm(unit) == Some(Arm::Treated) && self.phases[device as usize] != Phase::None;
        got || self.cells[self.units[unit as usize].cell as usize].turn == 0
    }

    fn signed_budget(&self) -> u64 {
        let signed = [self.profile.exposure_budget, self.authorisation.exposure_budget];
        signed.into_iter().flatten().min().map_or(u64::MAX, u64::from)
    }

    /// How far the rollout has come, for the frontier: for each ring and stratum, the furthest of the cells that have
    /// such devices. It bounds; who goes now is what permits say.
    pub fn reach(&self, fleet: &Fleet) -> Vec<Reach> {
        if matches!(self.status, Status::Completed { .. }) {
            return self.everybody(fleet);
        }
        let mut reach: BTreeMap<(u8, u32), (Option<Position>, Option<Position>)> = BTreeMap::new();
        for cell in &self.cells {
            for kind in &cell.kinds {
                let (eligible_to, candidate_to) = reach.entry(*kind).or_default();
                *eligible_to = (*eligible_to).max(cell.eligible_to);
                *candidate_to = (*candidate_to).max(cell.candidate_to);
            }
        }
        let reach = reach.into_iter().map(|((ring, stratum), (eligible_to, candidate_to))| Reach {
            ring,
            stratum: fleet.strata.name(stratum).to_string(),
            eligible_to,
            candidate_to,
        });
        reach.collect()
    }

    /// What this device's place in the rollout is, for `device why`.
    pub fn place(&self, device: DeviceIndex) -> Cow<'static, str> {
        let Some(unit) = self.unit(device) else {
            return match self.status {
                Status::Completed { .. } => "joined after the start: gets the release, a few at a time".into(),
                _ => "joined after the start: gets the release when it is completed".into(),
            };
        };
        if let Some(withdrawal) = self.withdrawals.get(&device).filter(|_| self.has_withdrawn(device)) {
            return format!("gave its permit back unused, is tried again later: {}", withdrawal.why).into();
        }
        let unit = &self.units[unit as usize];
        let phase = self.phases.get(device as usize).copied().unwrap_or_default();
        let place = match (phase, unit.label, unit.outcome) {
            (Phase::Confirmed, ..) => "proven healthy on the release",
            (Phase::Failed, ..) => "had the release and went back",
            (Phase::OnTrial, ..) if self.is_back(device) => "runs the release on trial, came back after its deadline",
            (_, Label::Treated | Label::Done, Outcome::Missed) => {
                "got the release and has been silent since its deadline"
            }
            (Phase::OnTrial, ..) => "runs the release on trial",
            (Phase::Permitted, Label::Treated | Label::Done, _) => "has the permit, its first word is awaited",
            (_, Label::Treated, _) => "in the open wave, has not asked for its permit",
            (_, Label::Control, Outcome::NoPermit) => "control of the open wave, has not asked for its permit",
            (_, Label::Control, _) => "control of the open wave: keeps what it runs",
            _ if matches!(self.status, Status::Completed { .. }) => {
                "was left out when the rollout was completed: gets the release, a few at a time"
            }
            (_, Label::None, _) if self.cells[unit.cell as usize].turn == 0 => {
                "was reached by the rollout that this one replaces: goes first"
            }
            _ => "waits for its turn in the order",
        };
        place.into()
    }

    fn is_back(&self, device: DeviceIndex) -> bool {
        self.unit(device).and_then(|unit| self.troubled.get(&unit)).is_some_and(|trouble| trouble.back)
    }

    fn unit(&self, device: DeviceIndex) -> Option<UnitIndex> {
        self.unit_of.get(device as usize).copied().filter(|unit| *unit != NO_UNIT)
    }

    /// The devices of a unit: one, or a whole site. Numbers of units come from events of this rollout.
    pub fn devices(&self, unit: UnitIndex) -> &[DeviceIndex] {
        let first = self.units[unit as usize].first_member as usize;
        let last = self.units.get(unit as usize + 1).map_or(self.members.len(), |next| next.first_member as usize);
        &self.members[first..last]
    }

    fn arm(&self, unit: UnitIndex) -> Option<Arm> {
        match self.units[unit as usize].label {
            Label::Treated | Label::Done => Some(Arm::Treated),
            Label::Control => Some(Arm::Control),
            Label::None => None,
        }
    }
}

#[cfg(test)]
mod tests;
