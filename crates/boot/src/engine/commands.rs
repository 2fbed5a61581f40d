//! What each command leads to. What must stay out: the socket, and everything that takes long (it runs in the
//! connection's own thread, between two questions to the one thread).

use super::{Guard, Input, prepare::BuildPlan};
use crate::{
    codec::RecordError,
    install, platform,
    probes::{self, CommandProbe},
    slots::Slots,
};
use staffel_core::boot::Event;
use staffel_statement::{
    Envelope,
    guard::{Command, Reply},
};
use std::sync::{Mutex, PoisonError, mpsc};

/// Reasons that the agent gives are kept up to this length, characters.
const LONGEST_REASON: usize = 500;

/// A question to the one thread.
pub(super) enum Ask {
    Command(Box<Command>),
    Built(Box<BuildPlan>, Result<(), Reply>),
}

/// Its answer.
pub(super) enum Answer {
    Reply(Reply),
    /// Build this, then say how it went.
    Build(Box<BuildPlan>),
    /// Run these.
    Probe {
        probes: Vec<CommandProbe>,
        failures: Vec<String>,
    },
}

pub(super) fn failed(why: String) -> Reply {
    Reply::Failed { why }
}

/// The reply to a decision: what was refused by it is a failure.
pub(super) fn done(result: Result<String, RecordError>) -> Reply {
    match result {
        Ok(why) if why.starts_with("refused") => failed(why),
        Ok(why) => Reply::Done { why },
        Err(error) => failed(format!("nothing was done: {error}")),
    }
}

/// Answers a command from a connection's thread.
pub(super) fn answer_from_outside(
    inputs: &mpsc::Sender<Input>,
    slots: &Slots,
    building: &Mutex<()>,
    command: Command,
) -> Reply {
    match ask(inputs, Ask::Command(Box::new(command))) {
        Answer::Reply(reply) => reply,
        Answer::Probe { probes, mut failures } => {
            failures.extend(probes.iter().filter_map(|probe| probes::run(probe).err()));
            Reply::Probed { failures }
        }
        Answer::Build(plan) => {
            // Held until the one thread knows of the slot, so that it is not tidied up before.
            let _turn = building.lock().unwrap_or_else(PoisonError::into_inner);
            let result = plan.build(slots);
            match ask(inputs, Ask::Built(plan, result)) {
                Answer::Reply(reply) => reply,
                _ => failed("the guard has lost its place; send prepare again".into()),
            }
        }
    }
}

fn ask(inputs: &mpsc::Sender<Input>, ask: Ask) -> Answer {
    let (reply, answer) = mpsc::sync_channel(1);
    let stopping = |_| Answer::Reply(failed("the guard is stopping".into()));
    match inputs.send(Input::Ask(ask, reply)) {
        Ok(()) => answer.recv().unwrap_or_else(|error| stopping(error.to_string())),
        Err(error) => stopping(error.to_string()),
    }
}

impl Guard {
    pub(super) fn answer(&mut self, ask: Ask) -> Answer {
        self.tick();
        match ask {
            Ask::Built(plan, result) => Answer::Reply(self.built(*plan, result)),
            Ask::Command(command) => match *command {
                Command::Prepare { bundle } => self.prepare(&bundle),
                Command::Probe => self.probe(),
                other => Answer::Reply(self.reply(other)),
            },
        }
    }

    fn reply(&mut self, command: Command) -> Reply {
        match command {
            Command::Status => Reply::Status(Box::new(self.status())),
            Command::Arm { bundle } => self.arm(&bundle),
            Command::Confirm { receipt } => self.confirm(&receipt),
            Command::Abort { why } => {
                let why = why.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
                done(self.handle(Event::Abort { why }))
            }
            Command::Deny { halt } => match self.verifier.accept_halt(&halt) {
                Ok((halt, undo)) => done(self.handle(Event::Deny { release: halt.release, why: halt.why, undo })),
                Err(error) => failed(error.to_string()),
            },
            Command::Undeny { unhalt } => self.undeny(&unhalt),
            Command::Keyring { keyring } => self.next_keyring(keyring),
            Command::Remedy { remedy } => self.remedy(&remedy),
            Command::OutcomeReported => done(self.handle(Event::OutcomeReported)),
            Command::StartReported { traces } => self.start_reported(&traces),
            Command::Prepare { .. } | Command::Probe => failed("answered elsewhere".into()),
        }
    }

    fn confirm(&mut self, receipt: &Envelope) -> Reply {
        let (Some(trial), Some(nonce)) = (&self.record.boot.trial, &self.record.trial_nonce) else {
            return failed("no trial is running".into());
        };
        let receipt = match self.verifier.accept_receipt(receipt, self.pins.installation.device, nonce) {
            Ok(receipt) => receipt,
            Err(error) => return failed(error.to_string()),
        };
        if receipt.rollout != trial.rollout {
            return failed("the receipt is for another rollout".into());
        }
        if let Some(why) = self.os_unproven() {
            return failed(why);
        }
        done(self.handle(Event::Confirm { release: receipt.release }))
    }

    fn undeny(&mut self, unhalt: &Envelope) -> Reply {
        let before = self.verifier.memory.clone();
        match self.verifier.accept_unhalt(unhalt) {
            Ok((_, false)) => match self.remember() {
                Ok(()) => Reply::Done { why: "this halt is taken back; another one of the release stands".into() },
                Err(error) => {
                    self.verifier.memory = before;
                    failed(format!("nothing was done: {error}"))
                }
            },
            Ok((unhalt, true)) => {
                let result = self.handle(Event::Undeny { release: unhalt.release });
                if result.is_err() {
                    self.verifier.memory = before;
                }
                done(result)
            }
            Err(error) => failed(error.to_string()),
        }
    }

    fn next_keyring(&mut self, envelope: Envelope) -> Reply {
        let mut next = self.verifier.clone();
        let version = match next.accept_keyring(&envelope) {
            Ok(version) => version,
            Err(error) => return failed(error.to_string()),
        };
        self.pins.chain.push(envelope);
        if let Err(error) = install::save_chain(&self.layout, &self.pins.chain) {
            self.pins.chain.pop();
            return failed(format!("nothing was done: {error}"));
        }
        self.verifier = next;
        Reply::Done { why: format!("keyring version {version} is in force") }
    }

    fn probe(&mut self) -> Answer {
        let Some(generation) = self.record.boot.selected().cloned() else {
            return Answer::Probe { probes: Vec::new(), failures: vec!["safe mode: no service runs".into()] };
        };
        let user = self.options.service_user.filter(|_| platform::is_root());
        let (probes, failures) = match self.slots.parts(&generation) {
            Ok(mut parts) => {
                parts.retain(|part| !self.record.disabled.contains_key(&part.name));
                probes::of(&self.slots, &generation, &parts, user)
            }
            Err(error) => (Vec::new(), vec![error.to_string()]),
        };
        Answer::Probe { probes, failures }
    }
}
