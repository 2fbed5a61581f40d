//! The projections: everything the server knows, rebuilt from the log by [`State::apply`].
//!
//! `apply` runs when a record is made and again at every start, so it decides nothing. What is not in the log (when a
//! device was last heard, its own words about waiting) lives beside it and is allowed to be forgotten.

use super::{
    foreign::SuspectNoted,
    identity::Attempt,
    notices::{KeptAddresses, Notices},
    record::Record,
    recovery::Recovery,
    remedies::Sent,
    series::{Series, Trail, device_of},
    starts::StartNoted,
};
use staffel_core::{
    conditions::Authorisation,
    detection::Book as Detections,
    fleet::{DeviceIndex, Fleet, Joining},
    foreign::{Inventories, Restarts},
    ids::{DeviceId, Digest},
    profile::Profile,
    rollout::{Event, HaltReason, Rollout, Status},
};
use staffel_trust::{
    statement::{
        Envelope, PublicKey,
        guard::RemedyOutcome,
        predicate::{Headed, Release, TenantPolicy, read},
    },
    wire::{Attributes, Why},
};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of a rollout's history kept in memory; the log has them all.
const HISTORY: usize = 10_000;
/// Rollouts of which a device's last refusal is kept in memory; the log has them all.
const REFUSED: usize = 16;

/// What is known of a device beyond its place in the fleet.
#[derive(Clone, Debug, Default)]
pub struct DeviceInfo {
    /// Number of a set in [`Releases`]: what it runs. A fleet has few different sets.
    pub running: u32,
    /// The last set that it ran in normal mode.
    pub last_well: u32,
    pub left: bool,
    #[allow(clippy::box_collection, reason = "8 bytes instead of 24 a device, and hardly any has something to say")]
    pub safe_mode: Option<Box<String>>,
    /// Start of the hash of the token that it was enrolled with.
    pub token: u64,
    // Forgotten at a restart:
    pub boot: u64,
    pub boot_before: u64,
    pub cadence_ms: u32,
    /// Records about itself that it may still cause, and the minute in which that was counted.
    credit: u8,
    credit_minute: u32,
    #[allow(clippy::box_collection, reason = "8 bytes instead of 24 a device, and most have nothing to say")]
    pub why: Option<Box<Vec<Why>>>,
}

/// Records about itself that a device may cause at once; one more comes back each minute. Honest devices change a few
/// times a day; a hostile one must not be able to fill the disk of all.
const RECORDS: u8 = 60;

impl DeviceInfo {
    /// True if the device may cause so many records now.
    pub fn may_record(&mut self, records: usize, now_ms: u64) -> bool {
        let minute = u32::try_from(now_ms / 60_000).unwrap_or(u32::MAX);
        let back = minute.saturating_sub(self.credit_minute).min(u32::from(RECORDS)) as u8;
        self.credit = self.credit.saturating_add(back).min(RECORDS);
        self.credit_minute = minute;
        match u8::try_from(records).ok().and_then(|records| self.credit.checked_sub(records)) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

/// Something that a device refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the server heard of it, Unix milliseconds.
    pub at_ms: u64,
    pub why: Why,
}

/// A one-time token.
#[derive(Clone, Debug)]
pub struct TokenInfo {
    pub tenant: String,
    pub site: String,
    pub expires_ms: u64,
}

/// The frontier that stands in the log.
#[derive(Clone, Debug, Default)]
pub struct FrontierState {
    pub sequence: u64,
    /// [`Rollout::reach_version`] that it shows.
    pub shows: u64,
    pub issued_ms: u64,
    pub expires_ms: u64,
    /// Signed after the record was durable.
    pub envelope: Option<Envelope>,
    pub digest: Option<Digest>,
    /// Sequence of the envelope.
    pub signed: u64,
}

/// A rollout with its statements.
#[derive(Clone, Debug)]
pub struct Running {
    pub rollout: Rollout,
    pub contents: Release,
    pub authorisation: Envelope,
    pub by: String,
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
    pub frontier: FrontierState,
    pub halt_signed: bool,
    /// Two releasers took the halt of its release back; who sent that and why.
    pub unhalted: Option<String>,
    pub history: Vec<(u64, u64, String, String)>,
}

impl Running {
    /// True if the rollout still has something to decide: also a completed one whose latecomers are not through.
    pub fn is_active(&self) -> bool {
        self.ended_ms.is_none() || self.rollout.awaits_latecomers()
    }
}

/// Everything.
#[derive(Default)]
pub struct State {
    /// Position of the next record.
    pub head: u64,
    pub fleet: Fleet,
    pub info: Vec<DeviceInfo>,
    /// What a device refused last of each rollout, where that was not the ordinary course; the latest at the end. Beside
    /// `info`, because hardly a device ever refuses anything.
    pub refused: BTreeMap<DeviceIndex, Vec<Refused>>,
    /// Tokens that were not used yet.
    pub tokens: BTreeMap<Digest, TokenInfo>,
    /// Hash of site and name to device: names are unique in a site.
    names: BTreeMap<u64, DeviceIndex>,
    pub policies: BTreeMap<String, Envelope>,
    /// The keys with which customers sign their policies, where they are known here.
    pub tenant_keys: BTreeMap<String, Vec<PublicKey>>,
    pub rollouts: BTreeMap<u64, Running>,
    pub halts: Vec<Envelope>,
    pub unhalts: Vec<Envelope>,
    /// What was sent to a device to repair it, oldest first.
    pub remedies: BTreeMap<DeviceIndex, Vec<Sent>>,
    /// Releases seen running or rolled out.
    pub releases: Releases,
    /// For pages only.
    pub series: BTreeMap<u64, Series>,
    pub trail: Trail,
    /// Incidents and cases, customers and sites.
    pub recovery: Recovery,
    /// Software that Staffel did not bring.
    pub foreign: Inventories,
    pub suspects: Vec<SuspectNoted>,
    /// When these went into safe mode, Unix milliseconds.
    pub safe_since: BTreeMap<DeviceIndex, u64>,
    /// Starts of devices that had something to tell.
    pub starts: BTreeMap<DeviceIndex, Vec<StartNoted>>,
    /// Devices that asked for a certificate with an expired one, and what became of it last.
    pub attempts: BTreeMap<DeviceIndex, Attempt>,
    /// Devices that started without a goodbye; forgotten at a restart.
    pub restarts: Restarts,
    /// When suspects were last looked for; forgotten at a restart.
    pub suspects_looked_ms: u64,
    /// A device proved that this log was longer once; forgotten at a restart.
    pub is_behind: bool,
    /// Notices to people.
    pub notices: Notices,
    /// What devices' sensors found.
    pub detections: Detections,
    /// Entries of the log whose content somebody had erased.
    pub erased: BTreeSet<u64>,
}

/// Releases by number, so that a device's list stays small.
#[derive(Default)]
pub struct Releases {
    numbers: BTreeMap<(String, Digest), u32>,
    list: Vec<(String, Digest)>,
    set_numbers: BTreeMap<Vec<u32>, u32>,
    /// Set 0 is the empty one.
    sets: Vec<Vec<u32>>,
    /// Digest to version, where the release itself is known.
    pub versions: BTreeMap<Digest, String>,
}

impl Releases {
    pub fn number(&mut self, name: &str, digest: Digest) -> u32 {
        let next = self.list.len() as u32;
        let number = *self.numbers.entry((name.to_string(), digest)).or_insert(next);
        if number == next {
            self.list.push((name.to_string(), digest));
        }
        number
    }

    /// The number of a set of releases.
    fn set(&mut self, running: &BTreeMap<String, Digest>) -> u32 {
        let set: Vec<u32> = running.iter().map(|(name, digest)| self.number(name, *digest)).collect();
        if set.is_empty() {
            return 0;
        }
        if self.sets.is_empty() {
            self.sets.push(Vec::new());
        }
        let next = self.sets.len() as u32;
        let number = *self.set_numbers.entry(set.clone()).or_insert(next);
        if number == next {
            self.sets.push(set);
        }
        number
    }

    /// The releases of a set, by name.
    pub fn of_set(&self, set: u32) -> impl Iterator<Item = &(String, Digest)> {
        let numbers = self.sets.get(set as usize).map_or(&[][..], Vec::as_slice);
        numbers.iter().filter_map(|number| self.list.get(*number as usize))
    }

    /// The sets that hold `name version`, or any version of `name`.
    pub fn sets_with(&self, text: &str) -> BTreeSet<u32> {
        let is = |number: &u32| {
            self.list.get(*number as usize).is_some_and(|(name, digest)| {
                let version = text.strip_prefix(name.as_str()).map(str::trim_start);
                version.is_some_and(|version| version.is_empty() || version == self.version(digest))
            })
        };
        let sets = self.sets.iter().enumerate().filter(|(_, set)| set.iter().any(is));
        sets.map(|(number, _)| number as u32).collect()
    }

    /// The version as people call it, or the start of the digest.
    pub fn version(&self, digest: &Digest) -> String {
        self.versions.get(digest).cloned().unwrap_or_else(|| digest.short())
    }
}

impl State {
    /// Takes a record over. The log only has records that passed the checks when they were made; what no longer makes
    /// sense (a later version's record, say) is left out and the rest goes on.
    pub fn apply(&mut self, record: &Record, at_ms: u64) {
        let position = self.head;
        self.head += 1;
        match record {
            Record::PermitGranted { .. } | Record::AccessRefused { .. } => {}
            Record::ServerStarted { to_ms, .. } => self.recovery.book.observing_since(*to_ms),
            Record::DeviceRefused { device, rollout, refusals, problems } => {
                let why = Why { rollout: *rollout, refusals: refusals.clone(), problems: problems.clone() };
                self.device_refused(device, why, at_ms);
            }
            Record::TokenIssued { token, tenant, site, expires_ms, .. } => {
                self.fleet.tenant(tenant);
                let info = TokenInfo { tenant: tenant.clone(), site: site.clone(), expires_ms: *expires_ms };
                self.tokens.insert(*token, info);
            }
            Record::DeviceEnrolled { device, name, tenant, site, attributes, token } => {
                let index = self.join(*device, name, tenant, site, attributes);
                self.names.insert(name_key(self.fleet.device(index).site, name), index);
                self.info[index as usize].token = start_of(token);
                self.tokens.remove(token);
                self.recovery.book.joined(index, self.fleet.device(index).site, at_ms);
                self.recovery.enrolled(tenant, site, name);
            }
            Record::DeviceChanged { device, running, safe_mode, attributes } => {
                self.changed(*device, running, safe_mode.as_deref(), attributes.as_ref(), at_ms);
            }
            Record::DeviceLeft { device, .. } => {
                if let Some(index) = self.fleet.find(device) {
                    self.info[index as usize].left = true;
                    self.recovery.book.left(index, true);
                }
            }
            Record::DeviceStarted { device, start } => self.device_started(device, start, at_ms, position),
            Record::InventorySeen { digest, components } => self.foreign.learn(*digest, components),
            Record::DeviceInventory { device, inventory } => {
                if let Some(index) = self.fleet.find(device) {
                    self.foreign.has(index, inventory, at_ms);
                }
            }
            Record::ForeignSuspected { suspect } => self.suspected(suspect, at_ms, position),
            Record::DeviceRetired { device, .. } => self.device_retired(device),
            Record::CloneCleared { device, .. } => self.clone_cleared(device),
            Record::DeviceCloned { device } => {
                if let Some(index) = self.fleet.find(device) {
                    self.fleet.devices[index as usize].cloned = true;
                }
            }
            Record::CertificateRecovered { device } => self.certificate_asked(device, None, at_ms),
            Record::CertificateRefused { device, refusal } => self.certificate_asked(device, Some(*refusal), at_ms),
            Record::PolicySet { tenant, policy, .. } => self.policy_set(tenant, policy),
            Record::RolloutStarted { rollout, release, authorisation, profile, by, .. } => {
                self.rollout_started(*rollout, release, authorisation, profile, by, at_ms);
                self.series.insert(*rollout, Series::begin(position));
            }
            Record::Rollout { rollout, event } => self.rollout_event(*rollout, event, at_ms, position),
            Record::FrontierMoved { rollout, sequence, issued_ms, expires_ms, .. } => {
                if let Some(running) = self.rollouts.get_mut(rollout) {
                    running.frontier.sequence = *sequence;
                    running.frontier.shows = running.rollout.reach_version(&self.fleet);
                    running.frontier.issued_ms = *issued_ms;
                    running.frontier.expires_ms = *expires_ms;
                }
            }
            Record::HaltSigned { halt, .. } => self.halts.push(halt.clone()),
            Record::Recovery { event } => self.recovery.apply(event, at_ms, position),
            Record::Notice { event } => self.notices.book.apply(event, at_ms),
            Record::NoticeAddresses { notice, addresses } => {
                let kept = KeptAddresses { position, lists: addresses.clone() };
                self.notices.addresses.insert(*notice, kept);
            }
            Record::Place { place, .. } => self.recovery.placed(place, position),
            Record::UnhaltSigned { rollout, unhalts, why, by } => {
                let said = format!("the halt of this release was taken back by two releasers ({by}: {why})");
                self.unhalted(*rollout, unhalts, said, at_ms, position);
            }
            Record::TenantKeysSet { tenant, keys, .. } => {
                self.fleet.tenant(tenant);
                self.tenant_keys.insert(tenant.clone(), keys.clone());
            }
            Record::RemedySent { device, remedy, by } => self.remedy_sent(device, remedy, by, at_ms),
            Record::Erased { entry, .. } => {
                self.notices.addresses.retain(|_, kept| kept.position != *entry);
                self.detections.erased(*entry);
                self.erased.insert(*entry);
            }
            Record::DetectionsFound { device, found } => self.detections_found(device, found, at_ms, position),
            Record::DetectionEvidence { evidence, .. } => {
                self.detections.evidence(evidence.iter().map(|kept| kept.alert), position);
            }
            Record::DetectionAcknowledged { said, .. } => self.detections.acknowledged(said, at_ms, position),
            Record::RemedyDone { device, sequence, done, why } => {
                let outcome = RemedyOutcome { sequence: *sequence, done: *done, why: why.clone() };
                self.remedy_done(device, &outcome, at_ms);
            }
        }
        if let Some(device) = self.about(record) {
            self.trail.note(device, position);
        }
    }

    /// The device that a record is about. What sensors find is left out: one noisy device would push out the rest.
    fn about(&self, record: &Record) -> Option<DeviceIndex> {
        match record {
            Record::DeviceEnrolled { device, .. }
            | Record::DeviceChanged { device, .. }
            | Record::DeviceRefused { device, .. }
            | Record::DeviceLeft { device, .. }
            | Record::DeviceStarted { device, .. }
            | Record::DeviceCloned { device }
            | Record::CertificateRecovered { device }
            | Record::CertificateRefused { device, .. }
            | Record::DeviceRetired { device, .. }
            | Record::CloneCleared { device, .. }
            | Record::DeviceInventory { device, .. }
            | Record::DetectionAcknowledged { device, .. }
            | Record::RemedySent { device, .. }
            | Record::RemedyDone { device, .. } => self.fleet.find(device),
            Record::Rollout { event, .. } => device_of(event),
            Record::Recovery { event } => Some(self.recovery.book.case(event.case()?)?.device),
            _ => None,
        }
    }

    fn device_refused(&mut self, device: &DeviceId, why: Why, at_ms: u64) {
        let Some(index) = self.fleet.find(device) else { return };
        if why.refusals.is_empty() {
            return;
        }
        let refused = self.refused.entry(index).or_default();
        refused.retain(|before| before.why.rollout != why.rollout);
        if refused.len() >= REFUSED {
            refused.remove(0);
        }
        refused.push(Refused { at_ms, why });
    }

    fn join(&mut self, device: DeviceId, name: &str, tenant: &str, site: &str, attributes: &Attributes) -> DeviceIndex {
        let index = self.fleet.join(&Joining {
            id: device,
            name,
            tenant,
            site,
            os_build: &attributes.os_build,
            hardware_model: &attributes.hardware_model,
            stratum: &attributes.stratum(),
        });
        self.info.resize_with(self.fleet.devices.len(), DeviceInfo::default);
        index
    }

    pub(super) fn forget_name(&mut self, index: DeviceIndex) {
        let row = self.fleet.device(index);
        let key = name_key(row.site, &row.name);
        if self.names.get(&key) == Some(&index) {
            self.names.remove(&key);
        }
    }

    /// The device of that name at that place.
    pub fn named(&self, tenant: &str, site: &str, name: &str) -> Option<DeviceIndex> {
        let site = self.fleet.find_site(tenant, site)?;
        let index = *self.names.get(&name_key(site, name))?;
        (*self.fleet.device(index).name == *name).then_some(index)
    }

    fn changed(
        &mut self,
        device: DeviceId,
        running: &BTreeMap<String, Digest>,
        safe_mode: Option<&str>,
        attributes: Option<&Attributes>,
        at_ms: u64,
    ) {
        let Some(index) = self.fleet.find(&device) else { return };
        let set = self.releases.set(running);
        let info = &mut self.info[index as usize];
        info.running = set;
        if safe_mode.is_none() && !running.is_empty() {
            info.last_well = set;
        }
        info.safe_mode = safe_mode.map(|why| Box::new(why.to_string()));
        info.left = false;
        self.recovery.book.left(index, false);
        match safe_mode {
            Some(_) => {
                self.safe_since.entry(index).or_insert(at_ms);
            }
            None => {
                self.safe_since.remove(&index);
            }
        }
        if let Some(attributes) = attributes {
            let row = self.fleet.device(index);
            let site = self.fleet.sites[row.site as usize].clone();
            let tenant = self.fleet.tenants[site.tenant as usize].name.clone();
            let name = row.name.to_string();
            self.join(device, &name, &tenant, &site.name, attributes);
        }
    }

    fn policy_set(&mut self, tenant: &str, envelope: &Envelope) {
        let Ok(payload) = envelope.payload() else { return };
        let Ok(policy) = read::<Headed<TenantPolicy>>(&payload) else { return };
        let number = self.fleet.tenant(tenant);
        let row = &mut self.fleet.tenants[number as usize];
        row.policy = policy.body.policy;
        row.policy_sequence = policy.body.sequence;
        self.policies.insert(tenant.to_string(), envelope.clone());
    }

    fn rollout_started(
        &mut self,
        id: u64,
        release: &Envelope,
        authorisation: &Envelope,
        profile: &Profile,
        by: &str,
        at_ms: u64,
    ) {
        let (Ok(release_payload), Ok(payload)) = (release.payload(), authorisation.payload()) else { return };
        let (Ok(contents), Ok(headed)) = (read::<Release>(&release_payload), read::<Headed<Authorisation>>(&payload))
        else {
            return;
        };
        let digest = Digest::of(&release_payload);
        let superseded = headed.body.supersedes.and_then(|old| self.rollouts.get(&old)).map(|old| &old.rollout);
        let release = contents.to_core(digest);
        let rollout = Rollout::after(superseded, &self.fleet, release, headed.body, profile.clone(), at_ms);
        let Ok(rollout) = rollout else { return };
        self.releases.versions.insert(digest, contents.version.clone());
        self.releases.number(&contents.name, digest);
        let running = Running {
            rollout,
            contents,
            authorisation: authorisation.clone(),
            by: by.to_string(),
            started_ms: at_ms,
            ended_ms: None,
            frontier: FrontierState::default(),
            halt_signed: false,
            unhalted: None,
            history: Vec::new(),
        };
        self.rollouts.insert(id, running);
    }

    fn rollout_event(&mut self, id: u64, event: &Event, at_ms: u64, position: u64) {
        let Some(running) = self.rollouts.get_mut(&id) else { return };
        running.rollout.apply(&mut self.fleet, event, at_ms);
        if matches!(running.rollout.status, Status::Halted { .. } | Status::Completed { .. }) {
            running.ended_ms.get_or_insert(at_ms);
        }
        if let Some(series) = self.series.get_mut(&id) {
            series.note(&running.rollout, event, at_ms, position);
        }
        if running.history.len() < HISTORY {
            let text = describe(event, &self.fleet);
            let kind = Record::Rollout { rollout: id, event: event.clone() }.kind().to_string();
            running.history.push((position, at_ms, kind, text));
        }
    }

    /// A device by id, by `tenant/site/name`, or by its bare name if only one has it.
    pub fn find_device(&self, text: &str) -> Option<DeviceIndex> {
        if let Some(index) = DeviceId::parse(text).and_then(|id| self.fleet.find(&id)) {
            return Some(index);
        }
        let parts: Vec<&str> = text.split('/').collect();
        if let [tenant, site, name] = parts[..] {
            return self.named(tenant, site, name);
        }
        let matches = |index: &DeviceIndex| {
            let row = self.fleet.device(*index);
            *row.name == *text && !row.retired
        };
        let mut found = (0..self.fleet.devices.len() as DeviceIndex).filter(matches);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The rollouts that may still do something.
    pub fn active(&self) -> impl Iterator<Item = u64> + '_ {
        self.rollouts.iter().filter(|(_, r)| r.is_active()).map(|(id, _)| *id)
    }

    /// Why this rollout was halted, if it was because the release is bad, not because a later one replaces it, and if
    /// nobody has taken that back.
    pub fn is_denied(running: &Running) -> Option<&HaltReason> {
        match &running.rollout.status {
            Status::Halted { reason, .. }
                if !matches!(reason, HaltReason::Superseded { .. }) && running.unhalted.is_none() =>
            {
                Some(reason)
            }
            _ => None,
        }
    }
}

/// The first 64 bits: enough to tell tokens apart that the same device was given.
pub fn start_of(digest: &Digest) -> u64 {
    u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| digest.0[at]))
}

fn name_key(site: u32, name: &str) -> u64 {
    start_of(&Digest::of(format!("{site}/{name}").as_bytes()))
}

/// An event in words.
pub fn describe(event: &Event, fleet: &Fleet) -> String {
    let name = |device: &DeviceIndex| {
        let row = fleet.device(*device);
        let site = &fleet.sites[row.site as usize];
        format!("{}/{}/{}", fleet.tenants[site.tenant as usize].name, site.name, row.name)
    };
    match event {
        Event::WaveOpened { wave, .. } => format!("wave {wave} opened"),
        Event::Permitted { device, arm, .. } => format!("{} got its permit: {arm:?}", name(device)),
        Event::OnTrial { device } => format!("{} runs the release on trial", name(device)),
        Event::Confirmed { device } => format!("{} is proven healthy", name(device)),
        Event::Failed { device, safe_mode, why } => {
            let to = if *safe_mode { "into safe mode" } else { "back to the version before" };
            format!("{} went {to}: {why}", name(device))
        }
        Event::Withdrawn { device, why } => format!("{} gave its permit back unused: {why}", name(device)),
        Event::CutOff { device, why } => {
            format!("{} went back while the server was away, which is no word on the release: {why}", name(device))
        }
        Event::Overdue { device } => format!("{} came late and is past its deadline", name(device)),
        Event::Departed { device } => format!("{} shut down in an orderly way", name(device)),
        Event::Observed { metric, arm, n_t, n_c, .. } => {
            format!("{metric:?} of a {arm:?} device, at risk: {n_t} treated, {n_c} control")
        }
        Event::WaveResolved { wave, bound, next } => {
            format!("wave {wave} is over: excess harm below {:.2} % (bound), the next may treat {next}", bound * 100.0)
        }
        Event::Held { reason } => format!("held: {reason}"),
        Event::Released { by } => format!("goes on: {by}"),
        Event::Fenced { tenant } => {
            format!("fenced: {}", fleet.tenants.get(*tenant as usize).map_or("", |t| t.name.as_str()))
        }
        Event::Halted { reason } => format!("halted: {reason}"),
        Event::Completed => "completed".into(),
        Event::ObservationGap { from_ms, to_ms } => {
            format!("the server did not look for {} s; every deadline moved", to_ms.saturating_sub(*from_ms) / 1_000)
        }
    }
}
