//! The agent's state and its loop: events in, effects out.

use super::{
    Options, RunError,
    foreign::Foreign,
    renew::{self, Renewal},
    repair::{self, Repairs},
    sensor::Sensor,
    sensor_folder,
    work::{Done, Purpose, Work},
};
use crate::{
    api::Api,
    blobs, chain,
    clock::{Kept, TrustedTime, wall_ms},
    directory,
    enrol::Enrolment,
    guard_client::{GuardClient, GuardError},
    https::SharedTime,
    jitter::Jitter,
    judge::Judge,
    platform,
    statements::{Source, Wanted},
    status::{AgentStatus, Contact},
};
use staffel_core::{
    boot::traces::Start,
    conditions::Refusal,
    device::{self, Change, Effect, Event, Guard, Phase, Reason, Standing, State},
};
use staffel_trust::{
    statement::{
        Envelope,
        guard::{Command, Installation, Reply, Status},
    },
    wire::{Probed, Why},
};
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Ages and the floor of the time are written at least this often, milliseconds.
const SAVE_EVERY_MS: u64 = 60_000;
/// The loop looks around at least this often, milliseconds.
const IDLE_MS: u64 = 30_000;

/// A running agent.
pub struct Agent {
    pub(super) options: Options,
    pub(super) enrolment: Enrolment,
    pub(super) installation: Installation,
    pub(super) boot_id: String,
    pub(super) judge: Judge,
    pub(super) api: Api,
    pub(super) time: SharedTime,
    pub(super) renewal: Renewal,
    pub(super) repairs: Repairs,
    pub(super) sensor: Sensor,
    kept: Kept,
    saved_at_ms: u64,
    pub(super) jitter: Jitter,
    /// How long the machine had slept since it was started, milliseconds, when time passed last.
    slept_ms: u64,
    pub(super) state: State,
    pub(super) guard: Option<Status>,
    pub(super) work: Work,
    done: UnboundedReceiver<Done>,
    fetching: Option<(Change, tokio::task::AbortHandle)>,
    probing: bool,
    /// What was measured for the server's last question.
    pub(super) probed: Option<Probed>,
    /// What the start of the machine had found, as it was last sent.
    pub(super) start_sent: Option<Start>,
    pub(super) permit: Option<Envelope>,
    pub(super) receipt: Option<Envelope>,
    /// Rollout, how old the guard took its authorisation to be, and when it said so on the running clock.
    pub(super) guard_age: Option<(u64, u64, u64)>,
    pub(super) checking_in: bool,
    pub(super) check_in_at_ms: u64,
    /// Something to say came up while a check-in was under way.
    pub(super) check_in_again: bool,
    pub(super) contact: Contact,
    pub(super) attributes_sent: bool,
    pub(super) why_sent: Option<Vec<Why>>,
    /// What was refused of rollouts that the last board no longer names: said once more, because whoever has the board
    /// now may not be the one who was told.
    pub(super) last_words: Vec<Why>,
    /// What was last refused of each rollout that is offered, and was not carried out after all. Said when the offer is gone,
    /// whatever the agent was busy with at that moment.
    pub(super) refused: BTreeMap<u64, Vec<Refusal>>,
    /// The policy sequence that was last fetched for, so that a server with an older one is not asked each time.
    pub(super) policy_asked: Option<u64>,
    pub(super) foreign: Foreign,
    pub(super) problems: BTreeMap<&'static str, String>,
    lacking: Vec<String>,
    written: Option<AgentStatus>,
}

impl Agent {
    /// Reads the device's folder. Nothing is sent yet.
    pub fn open(options: Options, boot_id: String, lacking: Vec<String>) -> Result<Self, RunError> {
        let folder = options.directory.clone();
        let hint = "enrol this device first";
        folder.create()?;
        let installation: Installation = directory::must_read_json(&folder.installation(), hint)?;
        let enrolment: Enrolment = directory::must_read_json(&folder.enrolment(), hint)?;
        let judge = Judge::open(&folder, installation.clone())?;
        // A damaged clock or device file costs time and a question more; it must not stop the agent.
        let mut kept: Kept = directory::read_json(&folder.clock()).unwrap_or_default().unwrap_or_default();
        let remembered = directory::read_json(&folder.device()).unwrap_or_default().unwrap_or_default();
        let own = directory::read_json(&folder.findings()).unwrap_or_default().unwrap_or_default();
        if kept.boot_id != boot_id {
            (kept.boot_id, kept.running_ms) = (boot_id.clone(), platform::running_ms());
        }
        let time: SharedTime = Arc::new(Mutex::new(TrustedTime::new(kept.floor_ms)));
        let connected = renew::connect(&folder, Arc::clone(&time))?;
        let server = options.server.clone().unwrap_or_else(|| enrolment.server.clone());
        let (sender, done) = unbounded_channel();
        let guard = GuardClient::new(&options.guard_socket);
        let work = Work { guard, done: sender, one_at_a_time: Arc::default() };
        for line in &lacking {
            tracing::warn!("sandbox: {line}");
        }
        Ok(Agent {
            api: Api::new(connected.http, &server),
            renewal: Renewal::new(connected.certificate),
            repairs: Repairs::default(),
            sensor: Sensor::open(sensor_folder(&options), options.sensor.is_none(), own),
            state: State::new(remembered),
            jitter: Jitter::from_system(),
            slept_ms: platform::running_ms().saturating_sub(platform::awake_ms()),
            options,
            enrolment,
            installation,
            boot_id,
            judge,
            time,
            kept,
            saved_at_ms: 0,
            guard: None,
            work,
            done,
            fetching: None,
            probing: false,
            probed: None,
            start_sent: None,
            permit: None,
            receipt: None,
            guard_age: None,
            checking_in: false,
            check_in_at_ms: 0,
            check_in_again: false,
            contact: Contact::Starting,
            attributes_sent: false,
            why_sent: None,
            last_words: Vec::new(),
            refused: BTreeMap::new(),
            policy_asked: None,
            foreign: Foreign::default(),
            problems: BTreeMap::new(),
            lacking,
            written: None,
        })
    }

    /// The loop. The guard is looked at first: a trial that runs goes before everything else.
    pub async fn work(&mut self) -> Infallible {
        self.pass_time();
        let status = self.work.guard.clone().with_patience(Duration::from_secs(5)).status().await;
        self.take_status(status);
        loop {
            self.pass_time();
            let now = self.state.now_ms;
            if !self.checking_in && now >= self.check_in_at_ms {
                self.begin_check_in();
            }
            self.look_for_foreign();
            self.look_for_findings();
            self.write_status();
            let mut wake = now.saturating_add(IDLE_MS).min(self.state.wake_at_ms().unwrap_or(u64::MAX));
            wake = wake.min(self.sensor.wake_at_ms());
            if !self.checking_in {
                wake = wake.min(self.check_in_at_ms);
            }
            // Never in a tight circle, whatever the state says.
            let pause = Duration::from_millis(wake.saturating_sub(now).max(10));
            let done = tokio::select! {
                done = self.done.recv() => done,
                () = tokio::time::sleep(pause) => None,
            };
            self.pass_time();
            if let Some(done) = done {
                self.take(done);
            }
        }
    }

    /// Lets the running clock's time pass everywhere it matters.
    fn pass_time(&mut self) {
        let now_ms = platform::running_ms();
        self.judge.pass_time(now_ms.saturating_sub(self.kept.running_ms));
        self.kept.running_ms = now_ms;
        self.save(now_ms.saturating_sub(self.saved_at_ms) >= SAVE_EVERY_MS);
        let jitter = self.jitter.permille();
        // The clocks are read one after the other, so the difference may go back by a millisecond.
        let slept_ms = now_ms.saturating_sub(platform::awake_ms()).max(self.slept_ms);
        let more_ms = slept_ms - std::mem::replace(&mut self.slept_ms, slept_ms);
        self.sensor.slept(more_ms);
        self.event(Event::Tick { now_ms, slept_ms: more_ms, jitter });
    }

    /// Writes what must not be forgotten, before it is acted on. The clock goes first: a crash between the two makes an
    /// authorisation younger, never older.
    pub(super) fn save(&mut self, even_if_only_ages: bool) {
        if !even_if_only_ages && !self.judge.is_unsaved() {
            return;
        }
        let floor_ms = self.time().floor_ms();
        self.kept.floor_ms = floor_ms;
        let written =
            directory::write_json(&self.options.directory.clock(), &self.kept).and_then(|()| self.judge.save());
        self.saved_at_ms = self.kept.running_ms;
        self.problem("memory", written.err().map(|error| chain(&error)));
    }

    pub(super) fn time(&self) -> std::sync::MutexGuard<'_, TrustedTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that this device goes by, Unix milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        self.time().now_ms(wall_ms(), platform::running_ms())
    }

    /// Sets or clears a problem of the device as a whole.
    pub(super) fn problem(&mut self, about: &'static str, problem: Option<String>) {
        match problem {
            None => {
                self.problems.remove(about);
            }
            Some(problem) => {
                if self.problems.get(about) != Some(&problem) {
                    tracing::warn!("{problem}");
                    self.problems.insert(about, problem);
                }
            }
        }
    }

    /// Feeds one event and carries out what follows.
    pub(super) fn event(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let step = device::step(&self.state, event);
            if step.state.phase != self.state.phase && step.why != self.state.why() {
                tracing::info!("{}", step.why);
            }
            if step.state.remembered != self.state.remembered {
                let written = directory::write_json(&self.options.directory.device(), &step.state.remembered);
                self.problem("device", written.err().map(|error| chain(&error)));
            }
            self.state = step.state;
            for effect in step.effects {
                events.extend(self.carry_out(effect));
            }
        }
    }

    /// An effect that can't even be begun is answered at once.
    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Fetch { change } => self.fetch(change),
            Effect::Prepare { change } => {
                let rollout = change.rollout;
                match self.judge.bundle(rollout, None) {
                    Some(bundle) => {
                        let command = Command::Prepare { bundle: Box::new(bundle) };
                        self.work.guard(Purpose::Prepare(change), Some(command));
                        None
                    }
                    None => Some(Event::GuardFailed { rollout, why: "the offer is gone".into() }),
                }
            }
            Effect::Arm { change } => {
                let rollout = change.rollout;
                let permit = self.permit.take();
                match self.judge.bundle(rollout, permit) {
                    Some(bundle) => {
                        let command = Command::Arm { bundle: Box::new(bundle) };
                        self.work.guard(Purpose::Arm(change), Some(command));
                        None
                    }
                    None => Some(Event::GuardFailed { rollout, why: "the offer is gone".into() }),
                }
            }
            Effect::Probe { change } => self.probe(change),
            Effect::Confirm { change } => match self.receipt.clone() {
                Some(receipt) => {
                    self.work.guard(Purpose::End(change), Some(Command::Confirm { receipt }));
                    None
                }
                None => Some(Event::GuardFailed { rollout: change.rollout, why: "no receipt is at hand".into() }),
            },
            Effect::Abort { change, why } => {
                self.work.guard(Purpose::End(change), Some(Command::Abort { why }));
                None
            }
            Effect::CheckIn => {
                self.check_in_at_ms = 0;
                self.check_in_again = self.checking_in;
                None
            }
            Effect::OutcomeReported => {
                self.work.guard(Purpose::OutcomeReported, Some(Command::OutcomeReported));
                None
            }
        }
    }

    fn fetch(&mut self, change: Change) -> Option<Event> {
        let Some(offer) = self.judge.offer(change.rollout) else {
            return Some(Event::FetchFailed { rollout: change.rollout, problem: "the offer is gone".into() });
        };
        let wanted = Wanted { name: offer.name.clone(), version: offer.version.clone(), release: offer.release };
        let source = Source {
            repository: self.api.repository(),
            http: self.api.http().clone(),
            blobs: self.api.blobs(),
            directory: self.options.directory.clone(),
            spool: self.options.spool.clone(),
            keyring: self.judge.keyring().clone(),
            now_ms: self.now_ms(),
        };
        match self.fetching.take() {
            // It is on its way already.
            Some((before, handle)) if before == change && !handle.is_finished() => {
                self.fetching = Some((before, handle));
                return None;
            }
            Some((_, handle)) => handle.abort(),
            None => {}
        }
        let handle = self.work.fetch(source, wanted, change.clone());
        self.fetching = Some((change, handle));
        None
    }

    fn probe(&mut self, change: Change) -> Option<Event> {
        if self.probing {
            return None;
        }
        match self.judge.contents(&change.release) {
            Some(release) => {
                self.probing = true;
                self.work.probe(release, change);
                None
            }
            // Its probes are not known here any more: without them nothing may be said, only fetched again.
            None if self.fetching.is_none() && self.judge.offer(change.rollout).is_some() => self.fetch(change),
            None => None,
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Fetched { change, result } => {
                if self.fetching.as_ref().is_some_and(|(at_hand, _)| *at_hand == change) {
                    self.fetching = None;
                }
                let rollout = change.rollout;
                match result {
                    Ok(statements) => {
                        self.judge.hold_statements(change.release, statements);
                        self.judge_offers();
                        self.event(Event::Fetched { rollout });
                    }
                    Err(error) => {
                        let problem = chain(&error);
                        tracing::warn!("{problem}");
                        self.event(Event::FetchFailed { rollout, problem });
                    }
                }
            }
            Done::Guard { purpose, reply, status } => {
                if let Some(reply) = reply {
                    self.take_reply(purpose, reply);
                }
                self.take_status(status.map(|status| *status));
                self.tell_remedied();
            }
            Done::Probed { change, result } => {
                self.probing = false;
                let rollout = change.rollout;
                match result {
                    Ok(failures) if failures.is_empty() => self.event(Event::ProbesPassed { rollout }),
                    Ok(failures) => {
                        let why = failures.join("; ");
                        tracing::warn!("rollout {rollout}: {why}");
                        self.event(Event::ProbesFailed { rollout, why });
                    }
                    // The guard has no word on the trial now: that is no word on the release.
                    Err(error) => tracing::debug!("probing: {}", chain(&error)),
                }
            }
            Done::Measured { probed } => self.probed = Some(probed),
            Done::CheckedIn { asked, why, result } => self.take_check_in(asked, why, result),
            Done::Remedied { sequences, result } => self.take_told(&sequences, result),
            Done::Renewed { result } => self.take_renewal(result),
            Done::Recovered { result } => self.take_recovery(result),
            Done::Inventoried { result } => self.take_inventory(result),
            Done::InventorySent { result } => self.inventory_sent(result),
            Done::Sensed(sensed) => self.take_findings(*sensed),
        }
    }

    fn take_reply(&mut self, purpose: Purpose, reply: Result<Reply, GuardError>) {
        if let Purpose::Repair(sequence) = purpose {
            return self.take_repair(sequence, reply);
        }
        let reply = reply.unwrap_or_else(|error| Reply::Failed { why: chain(&error) });
        let event = match (purpose, reply) {
            (Purpose::Prepare(change), Reply::Prepared { release, nonce, age_ms }) if release == change.release => {
                self.guard_age = Some((change.rollout, age_ms, platform::running_ms()));
                Event::Prepared { rollout: change.rollout, nonce }
            }
            (Purpose::Arm(change), Reply::Done { .. }) => Event::Armed { rollout: change.rollout },
            (Purpose::Prepare(change) | Purpose::Arm(change) | Purpose::End(change), Reply::Refused { refusals }) => {
                Event::GuardRefused { rollout: change.rollout, refusals }
            }
            (Purpose::Prepare(change) | Purpose::Arm(change) | Purpose::End(change), Reply::Failed { why }) => {
                Event::GuardFailed { rollout: change.rollout, why: format!("the guard: {why}") }
            }
            (Purpose::OutcomeReported, Reply::Done { .. }) => return self.tidy(),
            (Purpose::StartReported, Reply::Done { .. }) => return,
            (Purpose::End(_), Reply::Done { why }) => {
                self.receipt = None;
                return tracing::info!("guard: {why}");
            }
            (Purpose::PassOn, Reply::Done { why }) => return tracing::info!("guard: {why}"),
            (purpose, other) => return tracing::warn!("guard: {purpose:?} was answered with {other:?}"),
        };
        self.event(event);
    }

    /// The guard's word on the machine.
    fn take_status(&mut self, status: Result<Status, GuardError>) {
        let status = match status {
            Ok(status) => status,
            Err(error) => return self.problem("guard", Some(chain(&error))),
        };
        self.problem("guard", None);
        for command in self.judge.keyrings_after(status.keyring_version) {
            self.work.guard(Purpose::PassOn, Some(command));
        }
        let consumer_changed = std::mem::replace(&mut self.judge.consumer, status.consumer) != status.consumer;
        let guard = Guard {
            running: status.selected.as_ref().map(|selected| selected.releases.clone()).unwrap_or_default(),
            trial: status.trial.as_ref().map(|t| Change { rollout: t.rollout, release: t.release }),
            outcome: status.outcome.clone(),
            nonce: status.readiness.nonce.clone(),
        };
        self.guard = Some(status);
        self.event(Event::GuardStatus(guard));
        if consumer_changed {
            self.judge_offers();
        }
    }

    /// Judges all offers anew: another board, policy, denylist, fetched statement, or only a later time.
    pub(super) fn judge_offers(&mut self) {
        let now_ms = self.now_ms();
        let (offers, told_ms) = self.judge.offers(now_ms);
        if let Some(told_ms) = told_ms {
            self.time().note(told_ms, platform::running_ms());
        }
        self.save(false);
        self.event(Event::Board { offers });
    }

    /// Throws away downloads that no offer wants any more.
    fn tidy(&mut self) {
        let ended = &self.state.remembered.ended;
        let wanted = |offer: &&device::Offer| {
            !ended.contains_key(&offer.rollout) && !matches!(offer.standing, Standing::Dropped { .. })
        };
        let mut releases: Vec<_> = self.state.offers.iter().filter(wanted).map(|offer| offer.release).collect();
        releases.extend(self.guard.iter().flat_map(|guard| guard.trial.iter().map(|trial| trial.release)));
        let mut files = Vec::new();
        for release in &releases {
            let contents = self.judge.contents(release);
            files.extend(contents.iter().flat_map(|contents| contents.files.iter().map(|file| file.sha256)));
        }
        // Their probes are asked for again when the server wants proof.
        releases.extend(self.state.running.values().copied());
        if self.fetching.is_none() {
            blobs::clean(&self.options.spool, &files);
            self.judge.forget_all_but(&releases);
        }
    }

    /// Trouble of the device as a whole, and what this machine lacks.
    pub(super) fn device_problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.problems.values().cloned().collect();
        problems.extend(self.time().problem(wall_ms(), platform::running_ms()));
        problems.extend(self.lacking.iter().map(|line| format!("the agent's sandbox: {line}")));
        problems.extend(self.guard.iter().flat_map(|guard| guard.lacking.iter().cloned()));
        problems.extend(self.guard.iter().flat_map(repair::ways_back));
        problems
    }

    fn remember_refusals(&mut self, reasons: &[Reason]) {
        for reason in reasons {
            let refusals: Vec<_> = reason.refusals.iter().filter(|refusal| !refusal.is_waiting()).cloned().collect();
            if !refusals.is_empty() {
                self.refused.insert(reason.rollout, refusals);
            }
        }
        let (judge, running) = (&self.judge, &self.state.running);
        let runs =
            |rollout| judge.offer(rollout).is_some_and(|offer| running.values().any(|ran| *ran == offer.release));
        self.refused.retain(|rollout, _| !runs(*rollout));
    }

    fn write_status(&mut self) {
        let reasons = self.state.reasons();
        self.remember_refusals(&reasons);
        let status = AgentStatus {
            device: self.installation.device,
            name: self.installation.name.clone(),
            written_ms: self.now_ms(),
            why: self.state.why(),
            phase: self.state.phase.clone(),
            contact: self.contact.clone(),
            mode: self.guard.as_ref().map(|guard| guard.mode.clone()),
            running: self.state.running.clone(),
            reasons,
            problems: self.device_problems(),
            sensor: self.sensor.describe(),
        };
        // The sentence counts seconds and the phase holds the next probe; neither is worth a write.
        let lasting = |status: &AgentStatus| {
            let mut lasting = status.clone();
            (lasting.written_ms, lasting.why) = (0, String::new());
            if let Phase::OnTrial { watch, .. } | Phase::Soaking { watch, .. } = &mut lasting.phase {
                watch.probe_at_ms = 0;
            }
            lasting
        };
        if self.written.as_ref().map(lasting) == Some(lasting(&status)) {
            return;
        }
        match directory::write_json(&self.options.directory.status(), &status) {
            Ok(()) => self.written = Some(status),
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }
}
