//! From a bundle to a slot with a nonce, and from there to a trial.

use super::{
    Guard,
    commands::{Answer, done, failed},
};
use crate::{
    platform, preflight,
    record::{Record, Snapshot},
    slots::{Depth, Part, SlotError, Slots},
};
use staffel_core::{
    boot::{Event, Generation, KEPT, Patience, Terms},
    conditions::{Identity, Presented, Readiness, Refusal},
    ids::Digest,
    policy::EVERYBODY,
    profile::Profile,
    release::StateCompatibility,
};
use staffel_statement::{
    bundle::{Bundle, Verified},
    guard::Reply,
};

/// How long a nonce may be answered, milliseconds on the boot-time clock: as long as a permit lives.
const NONCE_LIFE_MS: u64 = 120_000;

/// A slot that stands and may be armed.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub release: Digest,
    name: String,
    sequence: u64,
    security_floor: u64,
    state: StateCompatibility,
    pub generation: Generation,
    /// What it was built on.
    base: Generation,
    nonce: String,
    valid_until_ms: u64,
}

/// A slot to be built; everything that is needed for it without the guard's one thread.
#[derive(Debug)]
pub(super) struct BuildPlan {
    release: Part,
    payload: Vec<u8>,
    generation: Generation,
    base: Generation,
    parts: Vec<Part>,
    age_ms: u64,
}

impl BuildPlan {
    /// Runs the preflight and builds the slot. After an error nothing new is left behind.
    pub fn build(&self, slots: &Slots) -> Result<(), Reply> {
        let root = &slots.layout.root;
        let mut why: Vec<String> = Vec::new();
        why.extend(preflight::writable(root));
        why.extend(preflight::last_known_good(slots, &self.base, Depth::Bytes));
        why.extend(preflight::room(root, preflight::needed_bytes(slots, &self.generation, &self.parts, &self.release)));
        if !why.is_empty() {
            return Err(Reply::Refused { refusals: vec![Refusal::PreflightFailed { why }] });
        }
        self.fill(slots).map_err(|error| failed(format!("the release is not prepared: {error}")))
    }

    fn fill(&self, slots: &Slots) -> Result<(), SlotError> {
        if self.generation == self.base || slots.check(&self.generation, Depth::Bytes).is_ok() {
            return Ok(());
        }
        slots.take(self.release.digest, &self.payload, &self.release.release)?;
        slots.build(&self.generation, &self.parts)
    }
}

/// Refusals that stand whatever permit may come: nothing is built for such a release.
fn stands(refusal: &Refusal) -> bool {
    refusal.condition() == 1 || matches!(refusal, Refusal::TrialRunning)
}

impl Guard {
    /// The nonce given out for a release, while it holds.
    fn nonce_for(&self, release: Option<Digest>) -> Option<String> {
        let prepared = self.prepared.as_ref()?;
        let holds = platform::boot_time_ms() <= prepared.valid_until_ms;
        (holds && release.is_none_or(|release| release == prepared.release)).then(|| prepared.nonce.clone())
    }

    /// What the guard says about its own readiness; on trial the nonce is that of the receipt.
    pub(super) fn readiness(&self, release: Option<Digest>) -> Readiness {
        let boot = &self.record.boot;
        let bad = preflight::last_known_good(&self.slots, &boot.last_known_good, Depth::Sizes);
        let safe_system =
            self.safe_system.is_some().then(|| "the machine runs its safe system: repair it first".to_string());
        let nonce = match &boot.trial {
            Some(_) => self.record.trial_nonce.clone(),
            None => self.nonce_for(release),
        };
        Readiness {
            os_images: self.options.system_partition.is_some(),
            has_last_known_good: bad.is_none(),
            trial_running: boot.trial.is_some(),
            preflight: bad.into_iter().chain(self.unsaved.clone()).chain(safe_system).collect(),
            nonce,
        }
    }

    /// Verifies a bundle, remembers what must not go back, and writes that down.
    fn look_at(&mut self, bundle: &Bundle) -> Result<Verified, Reply> {
        let verified = self.verifier.look_at(bundle, crate::wall_clock_ms());
        self.remember().map_err(|error| failed(format!("nothing was done: {error}")))?;
        Ok(verified)
    }

    fn refusals(&self, verified: &Verified, readiness: &Readiness) -> Vec<Refusal> {
        let installation = &self.pins.installation;
        let ring = match &verified.policy {
            Presented::Verified(policy) => policy.ring(&installation.name),
            _ => EVERYBODY,
        };
        let identity = Identity {
            device: installation.device,
            name: installation.name.clone(),
            tenant: installation.tenant.clone(),
            site: installation.site.clone(),
            ring,
            stratum: installation.stratum.clone(),
            consumer: self.consumer,
        };
        verified.refusals(&identity, &self.verifier.memory, readiness, false)
    }

    /// First half of `Prepare`: what is to be built, if the release may be at all.
    pub(super) fn prepare(&mut self, bundle: &Bundle) -> Answer {
        match self.plan(bundle) {
            Ok(plan) => Answer::Build(Box::new(plan)),
            Err(reply) => Answer::Reply(reply),
        }
    }

    fn plan(&mut self, bundle: &Bundle) -> Result<BuildPlan, Reply> {
        let verified = self.look_at(bundle)?;
        let mut refusals = self.refusals(&verified, &self.readiness(None));
        refusals.retain(stands);
        if !refusals.is_empty() {
            return Err(Reply::Refused { refusals });
        }
        let (Presented::Verified(core), Some(release), Some(envelope)) =
            (&verified.release, verified.contents, &bundle.release)
        else {
            return Err(Reply::Refused { refusals: vec![Refusal::ReleaseMissing] });
        };
        if let Some(why) = self.record.disabled.get(&core.name).filter(|_| release.service.is_some()) {
            let why = vec![format!("the service {} is disabled: {why}; a remedy enables it again", core.name)];
            return Err(Reply::Refused { refusals: vec![Refusal::PreflightFailed { why }] });
        }
        let payload = envelope.payload().map_err(|error| failed(error.to_string()))?;
        let base = self.record.boot.last_known_good.clone();
        let mut releases = base.releases.clone();
        releases.insert(core.name.clone(), core.digest);
        let part = Part { name: core.name.clone(), digest: core.digest, release };
        let unusable = |error: SlotError| Reply::Refused {
            refusals: vec![Refusal::PreflightFailed { why: vec![format!("last-known-good is not whole: {error}")] }],
        };
        let mut parts = self.slots.parts(&base).map_err(unusable)?;
        parts.retain(|other| other.name != part.name);
        parts.push(part.clone());
        let age_ms = verified.age_ms;
        Ok(BuildPlan { release: part, payload, generation: Generation::of(releases), base, parts, age_ms })
    }

    /// Second half of `Prepare`: the slot stands (or does not).
    pub(super) fn built(&mut self, plan: BuildPlan, result: Result<(), Reply>) -> Reply {
        if let Err(reply) = result {
            // Blobs that were taken before it failed.
            self.collect_due = true;
            return reply;
        }
        let boot = &self.record.boot;
        if boot.last_known_good != plan.base || boot.trial.is_some() || boot.denied.contains(&plan.release.digest) {
            self.collect_due = true;
            return failed("what runs has changed meanwhile; send prepare again".into());
        }
        let nonce = match crate::random_hex(16) {
            Ok(nonce) => nonce,
            Err(error) => return failed(format!("no random bytes for a nonce: {error}")),
        };
        // An earlier preparation is dropped with its slot.
        self.collect_due = true;
        self.prepared = Some(Prepared {
            release: plan.release.digest,
            name: plan.release.name,
            sequence: plan.release.release.sequence,
            security_floor: plan.release.release.security_floor,
            state: plan.release.release.state,
            generation: plan.generation,
            base: plan.base,
            nonce: nonce.clone(),
            valid_until_ms: platform::boot_time_ms().saturating_add(NONCE_LIFE_MS),
        });
        Reply::Prepared { release: plan.release.digest, nonce, age_ms: plan.age_ms }
    }

    /// All seven conditions, then the trial.
    pub(super) fn arm(&mut self, bundle: &Bundle) -> Reply {
        let verified = match self.look_at(bundle) {
            Ok(verified) => verified,
            Err(reply) => return reply,
        };
        let release = match &verified.release {
            Presented::Verified(release) => Some(release.digest),
            _ => None,
        };
        let mut readiness = self.readiness(release);
        readiness.preflight.extend(preflight::writable(&self.layout.root));
        let refusals = self.refusals(&verified, &readiness);
        if !refusals.is_empty() {
            return Reply::Refused { refusals };
        }
        // With a nonce that holds there is a preparation of this release; the rest guards against our own mistakes.
        let (Some(prepared), Presented::Verified(authorisation)) = (self.prepared.clone(), &verified.authorisation)
        else {
            return failed("nothing is prepared; send prepare first".into());
        };
        if Some(prepared.release) != release || prepared.base != self.record.boot.last_known_good {
            return failed("what runs has changed since this was prepared; send prepare again".into());
        }
        if let Err(error) = self.slots.check(&prepared.generation, Depth::Sizes) {
            return failed(format!("the prepared slot does not hold, send prepare again: {error}"));
        }
        let event = Event::Arm {
            generation: prepared.generation.clone(),
            rollout: authorisation.rollout,
            release: prepared.release,
            terms: Terms {
                soak_ms: Profile::named(authorisation.profile).soak_ms,
                patience: Patience::of(authorisation.profile),
                sequence: prepared.sequence,
                security_floor: prepared.security_floor,
            },
        };
        let result = self.handle_with(event, |record| {
            record.trial_nonce = Some(prepared.nonce.clone());
            if prepared.state == StateCompatibility::Snapshot {
                push_snapshot(record, &prepared.name, prepared.base.releases.get(&prepared.name), prepared.release);
            }
        });
        if result.is_ok() {
            // A nonce is good for one trial.
            self.prepared = None;
        }
        done(result)
    }
}

/// Notes that the state of a release is to be copied before another one takes over.
pub(super) fn push_snapshot(record: &mut Record, name: &str, before: Option<&Digest>, after: Digest) {
    record.snapshot_count += 1;
    record.snapshots.push(Snapshot {
        folder: format!("{name}-{}", record.snapshot_count),
        name: name.into(),
        before: before.copied(),
        after,
    });
    // As many ways back as there are generations to go back to.
    let of_name = record.snapshots.iter().filter(|snapshot| snapshot.name == name).count();
    if of_name > KEPT
        && let Some(oldest) = record.snapshots.iter().position(|snapshot| snapshot.name == name)
    {
        record.snapshots.remove(oldest);
    }
}
