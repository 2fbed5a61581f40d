//! Checking in: what is said, what follows from the answer, when to call again, and the goodbye.

use super::{
    agent::Agent,
    work::{Answer, Purpose},
};
use crate::{api::ApiError, chain, platform, status::Contact};
use staffel_core::{
    boot::Mode,
    conditions::{Readiness, Refusal},
    device::{self, Ask, Event},
};
use staffel_trust::{
    statement::{Envelope, guard::Command},
    wire::{Board, Bye, CheckIn, Declined, OnTrial, Ready, Why},
};
use std::time::Duration;

/// The server may not ask for more or fewer calls than that, milliseconds.
const CADENCE_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// A check-in waits no longer for another nonce, milliseconds.
const NONCE_WAIT_MS: u64 = 5_000;
/// First pause after a failed check-in, milliseconds; doubled with each further one.
const RETRY_FIRST_MS: u64 = 2_000;
/// Longest pause after failed check-ins, milliseconds.
const RETRY_MOST_MS: u64 = 5 * 60_000;
/// A goodbye takes no longer.
const GOODBYE: Duration = Duration::from_secs(2);

impl Agent {
    pub(super) fn begin_check_in(&mut self) {
        let asked = self.state.ask().ready.is_some();
        self.event(Event::BeforeCheckIn);
        if asked && self.state.ask().ready.is_none() {
            // The guard gives out another nonce, which calls again; if that takes long the device is not silent.
            self.check_in_at_ms = self.state.now_ms.saturating_add(NONCE_WAIT_MS);
            return;
        }
        // The status arrives before the answer and counts from the next check-in on.
        self.work.guard(Purpose::Look, None);
        self.check_certificate();
        let asked = self.state.ask();
        let why = self.whys();
        let mode = match &self.guard {
            Some(guard) => guard.mode.clone(),
            None => Mode::Safe { why: "the guard does not answer the agent".into() },
        };
        self.start_sent = self.guard.as_ref().and_then(|guard| guard.start.clone());
        let sent = CheckIn {
            boot_id: self.boot_id.clone(),
            mode,
            running: self.state.running.clone(),
            settled: self.guard.as_ref().is_some_and(|guard| guard.trial.is_none()),
            consumer: self.guard.as_ref().map(|guard| guard.consumer),
            attributes: (!self.attributes_sent).then(|| self.enrolment.attributes.clone()),
            ready: asked.ready.clone().map(|(change, nonce)| Ready {
                rollout: change.rollout,
                release: change.release,
                nonce,
                age_ms: self
                    .guard_age
                    .filter(|(rollout, ..)| *rollout == change.rollout)
                    .map(|(_, age_ms, at_ms)| age_ms.saturating_add(platform::running_ms().saturating_sub(at_ms))),
            }),
            on_trial: asked.on_trial.clone().map(|(change, nonce)| OnTrial {
                rollout: change.rollout,
                release: change.release,
                nonce,
            }),
            outcome: asked.outcome.clone(),
            start: self.start_sent.clone(),
            declined: asked.declined.iter().cloned().map(declined).collect(),
            why: (self.why_sent.as_ref() != Some(&why)).then_some(why),
            inventory: self.foreign.unsent(),
            board: self.judge.board_version(),
            checkpoint_ahead: self.judge.checkpoint_ahead.clone(),
            probed: self.probed.clone(),
        };
        let policy = self.policy_asked.unwrap_or(self.judge.policy_sequence);
        self.checking_in = true;
        self.check_in_again = false;
        self.work.check_in(self.api.clone(), sent, policy, asked);
    }

    /// What keeps this device from changing, without what grows all the time.
    fn whys(&self) -> Vec<Why> {
        let steady = |refusal: Refusal| match refusal {
            Refusal::AboveCeiling { position, ceiling, reached_at_age_ms, .. } => {
                Refusal::AboveCeiling { position, ceiling, age_ms: 0, reached_at_age_ms }
            }
            other => other,
        };
        let reasons = self.state.reasons().into_iter().map(|reason| Why {
            rollout: reason.rollout,
            refusals: reason.refusals.into_iter().map(steady).collect(),
            problems: reason.problems,
        });
        let mut whys: Vec<Why> = reasons.filter(|why| !why.refusals.is_empty() || !why.problems.is_empty()).collect();
        whys.extend(self.last_words.iter().cloned());
        let problems = self.device_problems();
        if !problems.is_empty() {
            whys.push(Why { rollout: 0, refusals: Vec::new(), problems });
        }
        whys
    }

    pub(super) fn take_check_in(&mut self, asked: Ask, why: Option<Vec<Why>>, result: Result<Box<Answer>, ApiError>) {
        self.checking_in = false;
        let now = self.state.now_ms;
        match result {
            Ok(answer) => {
                let cadence = answer.reply.cadence_ms.clamp(*CADENCE_MS.start(), *CADENCE_MS.end());
                self.check_in_at_ms = now.saturating_add(self.jitter.around(cadence));
                if self.contact != Contact::Reached {
                    tracing::info!("the server is reached");
                }
                self.contact = Contact::Reached;
                self.attributes_sent = true;
                if why.is_some() {
                    self.why_sent = why;
                    self.last_words.clear();
                }
                self.measure(answer.reply.probe.clone());
                self.problem("refused", None);
                self.problem("recovery", None);
                self.foreign_told(answer.reply.inventory_wanted, cadence);
                let server_ms = answer.reply.server_ms;
                self.take_answer(asked, *answer);
                self.renew_if_due(server_ms);
            }
            Err(error) => {
                let failures = match self.contact {
                    Contact::Gone { failures, .. } => failures.saturating_add(1),
                    _ => 1,
                };
                let pause = RETRY_FIRST_MS.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_MOST_MS);
                // Between half and all of it: a server that comes back must not meet everybody at once.
                let pause = pause / 2 + pause / 2 * u64::from(self.jitter.permille()) / 999;
                self.check_in_at_ms = now.saturating_add(pause);
                let why = chain(&error);
                tracing::warn!("{why}; what runs goes on running; next attempt in {pause} ms");
                let refused = error.is_about_certificate();
                let problem = "the server does not take this device's certificate";
                self.problem("refused", refused.then(|| problem.into()));
                self.contact = Contact::Gone { failures, why };
                // Whoever answers next may be another one, or have forgotten it.
                self.why_sent = None;
                self.foreign.tell_again();
                self.recover_if_refused(refused);
                self.event(Event::CheckInFailed);
            }
        }
        if self.check_in_again {
            self.check_in_at_ms = 0;
        }
    }

    /// Board and policy first: permit and receipt are judged by the newest that there is.
    fn take_answer(&mut self, asked: Ask, answer: Answer) {
        let Answer { reply, board, policy } = answer;
        // It stood in the check-in that this answers.
        self.judge.checkpoint_ahead = None;
        match board {
            Some(Ok(board)) => self.take_board(board),
            Some(Err(error)) => self.problem("board", Some(chain(&error))),
            None => {}
        }
        match policy {
            Some(Ok(policy)) => {
                self.policy_asked = Some(reply.policy);
                match self.judge.take_policy(policy) {
                    Ok(problem) => self.problem("policy", problem),
                    Err(error) => self.problem("policy", Some(chain(&error))),
                }
            }
            Some(Err(error)) => self.problem("policy", Some(chain(&error))),
            None => {}
        }
        self.judge_offers();
        self.take_remedies(reply.remedies);
        if let Some(permit) = reply.permit {
            self.take_permit(&asked, permit);
        }
        if let Some(receipt) = reply.receipt {
            self.take_receipt(&asked, receipt);
        }
        if reply.start_noted
            && let Some(start) = self.start_sent.take()
        {
            let traces = start.traces.iter().map(|trace| trace.id(&start.boot_id)).collect();
            self.work.guard(Purpose::StartReported, Some(Command::StartReported { traces }));
        }
        if reply.outcome_noted
            && let Some(outcome) = asked.outcome
        {
            self.event(Event::OutcomeNoted { rollout: outcome.rollout });
        }
        if reply.declined_noted {
            for declined in asked.declined {
                self.event(Event::DeclineNoted { rollout: declined.change.rollout });
            }
        }
    }

    fn take_board(&mut self, board: Board) {
        let mut words = self.whys();
        for (rollout, refusals) in &self.refused {
            if !words.iter().any(|why| why.rollout == *rollout && !why.refusals.is_empty()) {
                words.push(Why { rollout: *rollout, refusals: refusals.clone(), problems: Vec::new() });
            }
        }
        match self.judge.take_board(board) {
            Err(error) => self.problem("board", Some(chain(&error))),
            Ok(news) => {
                // A server that was started again has forgotten what it was told, and shows it by another board.
                self.why_sent = None;
                self.foreign.tell_again();
                words.retain(|why| !why.refusals.is_empty() && self.judge.offer(why.rollout).is_none());
                self.last_words = words;
                self.refused.retain(|rollout, _| self.judge.offer(*rollout).is_some());
                let problems = news.problems.join("; ");
                self.problem("board", (!problems.is_empty()).then_some(problems));
                if news.new_keyring {
                    self.time().forget();
                }
                // Written before the guard hears of it.
                self.save(news.new_keyring);
                for command in news.commands {
                    self.work.guard(Purpose::PassOn, Some(command));
                }
            }
        }
    }

    fn take_permit(&mut self, asked: &Ask, permit: Envelope) {
        let Some((change, nonce)) = &asked.ready else { return };
        // The guard's own word on its readiness; its nonce is the one that it gave when it prepared.
        let readiness = match &self.guard {
            Some(guard) => Readiness { nonce: Some(nonce.clone()), ..guard.readiness.clone() },
            None => return,
        };
        let now_ms = self.now_ms();
        let (refusals, held) = self.judge.permitted(change.rollout, &permit, &readiness, now_ms);
        if let Some(held) = &held {
            self.time().note(held.issued_ms, platform::running_ms());
        }
        let frontier = held.map_or(0, |held| held.frontier_sequence);
        self.save(false);
        self.permit = Some(permit);
        self.event(Event::Permit { rollout: change.rollout, nonce: nonce.clone(), frontier, refusals });
    }

    fn take_receipt(&mut self, asked: &Ask, receipt: Envelope) {
        let Some((change, nonce)) = &asked.on_trial else { return };
        match self.judge.receipt(&receipt, nonce) {
            Ok(held) if held.rollout == change.rollout && held.release == change.release => {
                self.receipt = Some(receipt);
                self.problem("receipt", None);
                self.event(Event::ReceiptHeld { rollout: change.rollout });
            }
            Ok(_) => self.problem("receipt", Some("the server's receipt is for another change".into())),
            Err(error) => self.problem("receipt", Some(error.to_string())),
        }
    }

    /// Tells the server that silence is no evidence, if it can be told within two seconds.
    pub async fn goodbye(&mut self, why: &str) {
        tracing::info!("{why}");
        self.save(true);
        let bye = Bye { boot_id: self.boot_id.clone(), why: why.into() };
        match tokio::time::timeout(GOODBYE, self.api.bye(&bye)).await {
            Ok(Ok(())) => tracing::info!("the server knows"),
            Ok(Err(error)) => tracing::warn!("{}", chain(&error)),
            Err(_) => tracing::warn!("the server did not answer the goodbye in time"),
        }
    }
}

fn declined(declined: device::Declined) -> Declined {
    let device::Declined { change, refusals, problems } = declined;
    Declined { rollout: change.rollout, release: change.release, refusals, problems }
}
