//! What devices ask: enrolment, check-ins, goodbyes. Must stay out: who they are (the edge knows from TLS).

use super::{
    Durable, Engine, EngineError, digest_of, now_ms,
    record::Record,
    state::{State, start_of},
};
use staffel_core::{
    boot::Mode,
    conditions::{PERMIT_LIFETIME_MS, Permit, Refusal},
    device::is_both_cut_off,
    fleet::DeviceIndex,
    ids::{DeviceId, Digest},
    rollout::{Answer, Event, Report, Rollout, Status},
};
use staffel_trust::{
    statement::{
        Envelope,
        predicate::{Headed, Header, Receipt, sign},
    },
    wire::{Bye, CheckIn, CheckInReply, Declined, Enrol, Ready},
};
use std::sync::atomic::Ordering;

/// What a check-in leads to once it is durable.
#[derive(Default)]
struct Owed {
    permit: Option<Permit>,
    receipt: Option<Receipt>,
    outcome_noted: bool,
    declined_noted: bool,
    start_noted: bool,
}

impl Engine {
    /// Takes a device in. The token is used up; asking again with the same token and key gives the same answer, because
    /// the first answer may have been lost.
    pub async fn enrol(&self, request: &Enrol, spki_der: &[u8]) -> Result<(DeviceId, String, String), EngineError> {
        let device = DeviceId::of_public_key(spki_der);
        let token = digest_of(&request.token);
        let now = now_ms();
        let hint = || "make a new one with `staffel device token`".to_string();
        check_name(&request.name)?;
        let (answer, pending) = {
            let mut state = self.state();
            let Some(info) = state.tokens.get(&token).cloned() else {
                // The answer to the same question may have been lost.
                if let Ok(index) = state.known(&device)
                    && state.info[index as usize].token == start_of(&token)
                {
                    let site = &state.fleet.sites[state.fleet.device(index).site as usize];
                    return Ok((device, state.fleet.tenant_of(index).name.clone(), site.name.clone()));
                }
                let why = "the enrolment token is not known, or was used before".into();
                return Err(EngineError::Refused { why, hint: hint() });
            };
            if now > info.expires_ms {
                return Err(EngineError::Refused { why: "the enrolment token has expired".into(), hint: hint() });
            }
            if state.fleet.find(&device).is_some_and(|index| state.fleet.device(index).retired) {
                return Err(EngineError::Refused {
                    why: "this key belongs to a device that was retired".into(),
                    hint: "enrol with a new key: move the agent's folder away first".into(),
                });
            }
            let answer = (device, info.tenant.clone(), info.site.clone());
            if let Some(other) = state.named(&info.tenant, &info.site, &request.name)
                && state.fleet.device(other).id != device
            {
                return Err(EngineError::Conflict {
                    why: format!("there is another device named {}/{}/{}", info.tenant, info.site, request.name),
                    hint: "choose another name, or retire the old device first".into(),
                });
            }
            let record = Record::DeviceEnrolled {
                device,
                name: request.name.clone(),
                tenant: info.tenant,
                site: info.site,
                attributes: request.attributes.clone(),
                token,
            };
            (answer, self.commit(&mut state, &[record], now)?)
        };
        self.durable(pending).await?;
        tracing::info!(device = %answer.0, name = request.name, tenant = answer.1, "enrolled");
        Ok(answer)
    }

    /// A sign of life, and whatever comes with it.
    pub async fn check_in(&self, device: DeviceId, request: CheckIn) -> Result<CheckInReply, EngineError> {
        let now = now_ms();
        self.0.check_ins.fetch_add(1, Ordering::Relaxed);
        let request = within_limits(request)?;
        let mut owed = Owed::default();
        let mut pending: Vec<Durable> = Vec::new();
        let mut reply = {
            let mut state = self.state();
            let index = state.known(&device)?;
            let heard_ms = state.fleet.device(index).last_seen_ms;
            state.fleet.heard(index, now);
            let ran = state.info[index as usize].running;
            let records = self.note(&mut state, index, &request, heard_ms, now);
            let allowed = records.is_empty() || state.info[index as usize].may_record(records.len(), now);
            if !allowed {
                tracing::warn!(%device, "this device changes too often: what it says about itself is not recorded for now");
            } else if !records.is_empty() {
                pending.push(self.commit(&mut state, &records, now)?);
            }
            self.behind(&mut state, request.checkpoint_ahead.as_deref(), now, &mut pending)?;
            let inventory_wanted = self.inventory(&mut state, index, request.inventory.as_ref(), now, &mut pending)?;
            owed.start_noted = self.started(&mut state, index, &request, &mut pending)?;
            let unchanged = state.info[index as usize].running == ran && request.mode == Mode::Normal;
            self.report(&mut state, index, &request, unchanged, now, &mut owed, &mut pending)?;
            let signs = self.sign_of_life(&mut state, index, &request, boot_number(&request.boot_id), now);
            if !signs.is_empty() && state.info[index as usize].may_record(signs.len(), now) {
                pending.push(self.commit(&mut state, &signs, now)?);
            }
            let cadence_ms = self.cadence(&state, index, |rollout| rollout.cadence_ms(index));
            state.info[index as usize].cadence_ms = u32::try_from(cadence_ms).unwrap_or(u32::MAX);
            let cadence_ms = self.cadence(&state, index, |rollout| rollout.next_check_in_ms(index, now));
            CheckInReply {
                server_ms: now,
                cadence_ms,
                board: 0,
                policy: state.fleet.tenant_of(index).policy_sequence,
                permit: None,
                receipt: None,
                probe: self.question(&mut state, index),
                remedies: state.remedies_for(index, now),
                outcome_noted: false,
                inventory_wanted,
                declined_noted: false,
                start_noted: false,
            }
        };
        // What was decided stands in the log before anybody hears of it.
        for pending in pending {
            self.durable(pending).await?;
        }
        reply.board = self.board().version;
        reply.permit = owed.permit.map(|permit| self.sign_permit(permit));
        reply.receipt = owed.receipt.map(|receipt| {
            let header = Header { issued_ms: now, expires_ms: now + PERMIT_LIFETIME_MS, ..Header::default() };
            sign(&Headed { header, body: receipt }, &[self.online()])
        });
        reply.outcome_noted = owed.outcome_noted;
        reply.declined_noted = owed.declined_noted;
        reply.start_noted = owed.start_noted;
        Ok(reply)
    }

    fn sign_permit(&self, permit: Permit) -> Envelope {
        self.0.permits.fetch_add(1, Ordering::Relaxed);
        let header = Header { issued_ms: permit.issued_ms, expires_ms: permit.expires_ms, ..Header::default() };
        sign(&Headed { header, body: permit }, &[self.online()])
    }

    /// What changed about the device itself.
    fn note(&self, state: &mut State, index: DeviceIndex, request: &CheckIn, heard_ms: u64, now: u64) -> Vec<Record> {
        let mut records = Vec::new();
        let device = state.fleet.device(index).id;
        let boot = boot_number(&request.boot_id);
        let info = &mut state.info[index as usize];
        if boot != info.boot {
            // A then B is a restart. A, B, A again: both are alive, so two machines have one key.
            let cloned = info.boot != 0 && boot == info.boot_before;
            if info.boot != 0 && !info.left {
                let calm_ms = CALM_HEARTBEATS * u64::from(info.cadence_ms).max(1_000);
                state.restarts.started(index, heard_ms, now, calm_ms);
            }
            (info.boot_before, info.boot) = (info.boot, boot);
            if cloned && !state.fleet.device(index).cloned {
                records.push(Record::DeviceCloned { device });
            }
        }
        let info = &state.info[index as usize];
        let safe_mode = match &request.mode {
            Mode::Safe { why } => Some(why.clone()),
            Mode::Normal => None,
        };
        let runs: Vec<(&String, &Digest)> = request.running.iter().collect();
        let ran: Vec<_> = state.releases.of_set(info.running).map(|(name, digest)| (name, digest)).collect();
        let row = state.fleet.device(index);
        let moved = request.attributes.as_ref().is_some_and(|new| {
            state.fleet.os_builds.name(row.os_build) != new.os_build
                || state.fleet.hardware_models.name(row.hardware_model) != new.hardware_model
        });
        if runs != ran || info.safe_mode.as_ref().map(|why| why.as_str()) != safe_mode.as_deref() || info.left || moved
        {
            records.push(Record::DeviceChanged {
                device,
                running: request.running.clone(),
                safe_mode,
                attributes: request.attributes.clone().filter(|_| moved),
            });
        }
        if let Some(whys) = &request.why {
            let before = state.info[index as usize].why.take();
            for why in whys {
                // Whoever offers what this server does not know has its certificate: nothing about that is ordinary.
                let running = state.rollouts.get(&why.rollout);
                let foreign = why.rollout != 0 && running.is_none();
                // The whole fleet refuses what this server has halted.
                let halted = running.is_some_and(|r| matches!(r.rollout.status, Status::Halted { .. }));
                let ordinary = |refusal: &Refusal| {
                    let by_halt = matches!(refusal, Refusal::Halted | Refusal::ReleaseDenied { .. });
                    !foreign && (refusal.is_waiting() || halted && by_halt)
                };
                let alarming: Vec<_> = why.refusals.iter().filter(|refusal| !ordinary(refusal)).cloned().collect();
                let noted = state.refused.get(&index).is_some_and(|noted| {
                    noted.iter().any(|old| old.why.rollout == why.rollout && old.why.refusals == alarming)
                });
                let known = match &before {
                    Some(before) => noted || before.contains(why),
                    // After a restart everybody says everything again: only a refusal that the log lacks is news.
                    None => noted || alarming.is_empty(),
                };
                if !known && (!alarming.is_empty() || !why.problems.is_empty()) {
                    records.push(Record::DeviceRefused {
                        device,
                        rollout: why.rollout,
                        refusals: alarming,
                        problems: why.problems.clone(),
                    });
                }
            }
            // A device can't fill the memory with words.
            let kept = whys.iter().take(16).cloned().collect();
            state.info[index as usize].why = Some(Box::new(kept));
        }
        records
    }

    /// What the device says about rollouts. `unchanged`: it is in normal mode and runs what it ran at its last check-in.
    #[expect(clippy::too_many_arguments, reason = "two of them are where the results go")]
    fn report(
        &self,
        state: &mut State,
        index: DeviceIndex,
        request: &CheckIn,
        unchanged: bool,
        now: u64,
        owed: &mut Owed,
        pending: &mut Vec<Durable>,
    ) -> Result<(), EngineError> {
        let device = state.fleet.device(index).id;
        let mut tell = |state: &mut State, rollout: u64, release: Digest, report: Report| {
            let running = state.rollouts.get(&rollout).filter(|r| r.rollout.release.digest == release);
            let Some(running) = running else { return Ok(None) };
            let (events, answer) = running.rollout.report(&state.fleet, index, &report, now);
            if !events.is_empty() {
                let records: Vec<_> = events.into_iter().map(|event| Record::Rollout { rollout, event }).collect();
                pending.push(self.commit(state, &records, now)?);
            }
            Ok::<_, EngineError>(answer)
        };
        if let Some(outcome) = &request.outcome {
            let report = if outcome.committed {
                Report::Committed
            } else if is_both_cut_off(outcome) && request.mode == Mode::Normal {
                Report::CutOff { why: outcome.why.clone() }
            } else {
                let safe_mode = matches!(request.mode, Mode::Safe { .. });
                Report::Failed { safe_mode, why: outcome.why.clone() }
            };
            tell(state, outcome.rollout, outcome.release, report)?;
            owed.outcome_noted = true;
        }
        for declined in &request.declined {
            let tried = request.outcome.as_ref().is_some_and(|outcome| outcome.rollout == declined.rollout)
                || request.on_trial.as_ref().is_some_and(|trial| trial.rollout == declined.rollout);
            let unchanged = unchanged && !tried && !request.running.values().any(|ran| *ran == declined.release);
            let report = Report::Declined { why: in_words(declined), unchanged };
            tell(state, declined.rollout, declined.release, report)?;
            owed.declined_noted = true;
        }
        if let Some(trial) = &request.on_trial {
            tell(state, trial.rollout, trial.release, Report::OnTrial)?;
            owed.receipt =
                Some(Receipt { device, rollout: trial.rollout, release: trial.release, nonce: trial.nonce.clone() });
        }
        // What it runs for good, from another rollout or one that this log forgot, it will never ask for.
        let settled = request.settled && request.outcome.is_none() && request.mode == Mode::Normal;
        // Mostly nothing: no check-in pays for it.
        let forgotten: Vec<(u64, Digest)> = state
            .rollouts
            .values()
            .filter(|running| settled && running.is_active() && running.rollout.has_no_part(index))
            .map(|running| (running.rollout.id, running.rollout.release.digest))
            .filter(|(_, release)| request.running.values().any(|ran| ran == release))
            .collect();
        for (rollout, release) in forgotten {
            tell(state, rollout, release, Report::Committed)?;
        }
        if let Some(ready) = &request.ready
            && !self.too_young(state, index, ready)
            && let Some(answer) = tell(state, ready.rollout, ready.release, Report::Ready)?
        {
            owed.permit = self.permit(state, index, ready, &answer, now, pending)?;
        }
        Ok(())
    }

    fn too_young(&self, state: &State, index: DeviceIndex, ready: &Ready) -> bool {
        let Some(age_ms) = ready.age_ms else { return false };
        state.rollouts.get(&ready.rollout).is_some_and(|running| running.rollout.is_too_young_for(index, age_ms))
    }

    fn permit(
        &self,
        state: &mut State,
        index: DeviceIndex,
        ready: &Ready,
        answer: &Answer,
        now: u64,
        pending: &mut Vec<Durable>,
    ) -> Result<Option<Permit>, EngineError> {
        let Answer::Permit { arm, .. } = answer else { return Ok(None) };
        let device = state.fleet.device(index).id;
        // The frontier that is out, not one that is still to be signed: the device must be able to hold it.
        let Some(frontier_sequence) = state.rollouts.get(&ready.rollout).map(|r| r.frontier.signed) else {
            return Ok(None);
        };
        let permit = Permit {
            rollout: ready.rollout,
            release: ready.release,
            device,
            arm: *arm,
            frontier_sequence,
            nonce: ready.nonce.chars().take(128).collect(),
            issued_ms: now,
            expires_ms: now + PERMIT_LIFETIME_MS,
        };
        let record = Record::PermitGranted {
            rollout: permit.rollout,
            device,
            arm: permit.arm,
            nonce: permit.nonce.clone(),
            frontier_sequence,
            issued_ms: now,
        };
        pending.push(self.commit(state, &[record], now)?);
        Ok(Some(permit))
    }

    fn cadence(&self, state: &State, index: DeviceIndex, of: impl Fn(&Rollout) -> u64) -> u64 {
        let idle = self.0.config.idle_cadence_ms;
        let book = &state.recovery.book;
        // Who has to prove that it is well is asked as often as that counts.
        let proving = if book.wants_probe(index) { book.limits.probe.every_ms.max(100) } else { idle };
        let busy = state.rollouts.values().filter(|r| r.is_active()).map(|r| of(&r.rollout)).min();
        busy.map_or(idle, |busy| busy.min(idle)).min(proving)
    }

    /// A clean goodbye: what follows is no silence.
    pub async fn bye(&self, device: DeviceId, request: Bye) -> Result<(), EngineError> {
        let now = now_ms();
        let mut pending = Vec::new();
        {
            let mut state = self.state();
            let index = state.known(&device)?;
            state.fleet.heard(index, now);
            let ids: Vec<u64> = state.active().collect();
            let mut records = vec![Record::DeviceLeft { device, why: request.why.chars().take(200).collect() }];
            for rollout in ids {
                let Some(running) = state.rollouts.get(&rollout) else { continue };
                let (events, _) = running.rollout.report(&state.fleet, index, &Report::Leaving, now);
                records.extend(events.into_iter().map(|event: Event| Record::Rollout { rollout, event }));
            }
            pending.push(self.commit(&mut state, &records, now)?);
        }
        for pending in pending {
            self.durable(pending).await?;
        }
        Ok(())
    }

    /// The signed policy of the device's customer.
    pub fn policy(&self, device: DeviceId) -> Option<Envelope> {
        let state = self.state();
        let index = state.known(&device).ok()?;
        state.policies.get(&state.fleet.tenant_of(index).name).cloned()
    }
}

/// A device's words are kept and shown: refuses what no honest device says, shortens what is only long.
fn within_limits(mut request: CheckIn) -> Result<CheckIn, EngineError> {
    let short = |text: &str| text.len() <= 128;
    let named = request.running.len() <= 64 && request.running.keys().all(|name| short(name));
    let described = request.attributes.as_ref().is_none_or(|a| short(&a.os_build) && short(&a.hardware_model));
    if !named || !described {
        return Err(EngineError::Refused {
            why: "the check-in names more than 64 releases, or something in it is longer than 128 bytes".into(),
            hint: "a device that says so much is not what this server expects".into(),
        });
    }
    let cut = |text: &mut String| {
        if let Some((at, _)) = text.char_indices().nth(500) {
            text.truncate(at);
        }
    };
    if let Mode::Safe { why } = &mut request.mode {
        cut(why);
    }
    if let Some(outcome) = &mut request.outcome {
        cut(&mut outcome.why);
    }
    request.declined.truncate(16);
    for declined in &mut request.declined {
        declined.problems.truncate(16);
        declined.problems.iter_mut().for_each(cut);
        declined.refusals.truncate(16);
    }
    for why in request.why.iter_mut().flatten() {
        why.problems.truncate(16);
        why.problems.iter_mut().for_each(cut);
        why.refusals.truncate(16);
    }
    if let Some(whys) = &mut request.why {
        whys.truncate(16);
    }
    Ok(request)
}

/// Why a device does not use its permit, at most 500 characters.
fn in_words(declined: &Declined) -> String {
    let refusals = declined.refusals.iter().map(|refusal| format!("condition {}: {refusal}", refusal.condition()));
    let said: Vec<String> = refusals.chain(declined.problems.iter().cloned()).collect();
    let said: String = said.join("; ").chars().take(500).collect();
    if said.is_empty() { "it gave no reason".into() } else { said }
}

/// A machine that ran for so many heartbeats does not start again and again.
const CALM_HEARTBEATS: u64 = 20;

/// 64 bits of the boot id are enough to tell two boots apart.
fn boot_number(boot_id: &str) -> u64 {
    start_of(&digest_of(boot_id)).max(1)
}

/// Names end up in paths, pages and policies.
pub(super) fn check_name(name: &str) -> Result<(), EngineError> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(EngineError::Refused {
            why: format!("the name {:?} is not usable", name.chars().take(80).collect::<String>()),
            hint: "1 to 64 letters, digits, hyphens, underscores and dots".into(),
        });
    }
    Ok(())
}
