//! What runs beside the loop: downloads, commands to the guard, probes. Each ends with one [`Done`].
//!
//! Whatever involves the guard holds one lock until its result is in the channel, so results arrive in the order in
//! which the guard acted, and a status never overtakes the command before it.

use super::{
    foreign::Looked,
    renew::{self, Connected, RenewError},
    sensor::Sensed,
};
use crate::{
    api::{Api, ApiError},
    chain,
    directory::Directory,
    findings,
    guard_client::{GuardClient, GuardError},
    https::SharedTime,
    inventory::{self, Hashes},
    probe,
    statements::{self, FetchError, Source, Statements, Wanted},
};
use staffel_core::{
    device::{Ask, Change},
    foreign::digest,
};
use staffel_trust::{
    statement::{
        Envelope,
        guard::{Command, Reply, Status},
        predicate::Release,
    },
    wire::{Board, CheckIn, CheckInReply, Detections, Inventory, Probed, Remedied, Why},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, mpsc::UnboundedSender};

/// One check-in with board and policy takes no longer; a server that answers a byte a minute must not silence a device.
const PATIENCE: Duration = Duration::from_secs(120);
const CHECKING_IN: &str = "checking in";
const SENDING: &str = "sending the inventory";
const DELIVERING: &str = "delivering what the sensor found";
const RENEWING: &str = "renewing the device's certificate";
const RECOVERING: &str = "getting a certificate by the device's key";

/// What a command to the guard was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Only the status.
    Look,
    Prepare(Change),
    Arm(Change),
    /// Confirm or abort.
    End(Change),
    /// A statement for the guard: halt, keyring.
    PassOn,
    /// The remedy with this sequence.
    Repair(u64),
    OutcomeReported,
    StartReported,
}

/// What came back from a check-in.
#[derive(Debug)]
pub(super) struct Answer {
    pub reply: CheckInReply,
    /// If the server has another one.
    pub board: Option<Result<Board, ApiError>>,
    /// If the server has another one.
    pub policy: Option<Result<Option<Envelope>, ApiError>>,
}

/// Something ended.
#[derive(Debug)]
pub(super) enum Done {
    Fetched {
        change: Change,
        result: Result<Statements, FetchError>,
    },
    Guard {
        purpose: Purpose,
        reply: Option<Result<Reply, GuardError>>,
        status: Result<Box<Status>, GuardError>,
    },
    Probed {
        change: Change,
        result: Result<Vec<String>, GuardError>,
    },
    Measured {
        probed: Probed,
    },
    CheckedIn {
        asked: Ask,
        why: Option<Vec<Why>>,
        result: Result<Box<Answer>, ApiError>,
    },
    /// The server was told how these remedies went.
    Remedied {
        sequences: Vec<u64>,
        result: Result<(), ApiError>,
    },
    Renewed {
        result: Result<Connected, RenewError>,
    },
    /// The same with an expired certificate.
    Recovered {
        result: Result<Connected, RenewError>,
    },
    Inventoried {
        result: Option<Box<Looked>>,
    },
    InventorySent {
        result: Result<(), ApiError>,
    },
    /// The sensor's folder was looked at, and what waited was delivered.
    Sensed(Box<Sensed>),
}

/// Starts work and tells the loop when it ended.
#[derive(Clone)]
pub(super) struct Work {
    pub guard: GuardClient,
    pub done: UnboundedSender<Done>,
    pub one_at_a_time: Arc<Mutex<()>>,
}

/// Tells the loop how a piece of work ended, even if it was dropped or panicked: the loop would wait for ever.
struct Report {
    done: UnboundedSender<Done>,
    if_lost: Option<Done>,
}

impl Report {
    fn end(mut self, done: Done) {
        self.if_lost = Some(done);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(done) = self.if_lost.take() {
            // Sending fails only when the loop is gone, and then nobody is interested.
            let _ = self.done.send(done);
        }
    }
}

impl Work {
    fn report(&self, if_lost: Done) -> Report {
        Report { done: self.done.clone(), if_lost: Some(if_lost) }
    }

    pub fn fetch(&self, source: Source, wanted: Wanted, change: Change) -> tokio::task::AbortHandle {
        let lost = Err(FetchError::Lost { release: format!("{} {}", wanted.name, wanted.version) });
        let report = self.report(Done::Fetched { change: change.clone(), result: lost });
        let task = tokio::spawn(async move {
            let result = statements::fetch(&source, &wanted).await;
            report.end(Done::Fetched { change, result });
        });
        task.abort_handle()
    }

    /// `None` asks for the status alone.
    pub fn guard(&self, purpose: Purpose, command: Option<Command>) {
        let reply = command.as_ref().map(|_| Err(GuardError::Closed));
        let lost = Done::Guard { purpose: purpose.clone(), reply, status: Err(GuardError::Closed) };
        let (work, report) = (self.clone(), self.report(lost));
        tokio::spawn(async move {
            let _turn = work.one_at_a_time.lock().await;
            let reply = match &command {
                Some(command) => Some(work.guard.ask(command).await),
                None => None,
            };
            let status = work.guard.status().await.map(Box::new);
            report.end(Done::Guard { purpose, reply, status });
        });
    }

    pub fn probe(&self, release: Release, change: Change) {
        let report = self.report(Done::Probed { change: change.clone(), result: Err(GuardError::Closed) });
        let work = self.clone();
        tokio::spawn(async move {
            let _turn = work.one_at_a_time.lock().await;
            let status = work.guard.status().await.map(Box::new);
            let result = match &status {
                // A trial that ended meanwhile says nothing about the release.
                Ok(status) if status.trial.as_ref().is_some_and(|trial| trial.release == change.release) => {
                    probe::run(&release, status, &work.guard).await
                }
                _ => Err(GuardError::Unexpected("the trial is over".into())),
            };
            let _ = work.done.send(Done::Guard { purpose: Purpose::Look, reply: None, status });
            report.end(Done::Probed { change, result });
        });
    }

    /// Checks in, and fetches board and policy if the server has others than `policy` (its sequence) and that of `sent`.
    pub fn check_in(&self, api: Api, sent: CheckIn, policy: u64, asked: Ask) {
        let lost = Err(ApiError::Silent { operation: CHECKING_IN, seconds: 0 });
        let report = self.report(Done::CheckedIn { asked: asked.clone(), why: sent.why.clone(), result: lost });
        tokio::spawn(async move {
            let answered = tokio::time::timeout(PATIENCE, answer(&api, &sent, policy)).await;
            let silent = ApiError::Silent { operation: CHECKING_IN, seconds: PATIENCE.as_secs() };
            let result = answered.unwrap_or(Err(silent)).map(Box::new);
            report.end(Done::CheckedIn { asked, why: sent.why, result });
        });
    }

    /// Tells the server how remedies went.
    pub fn remedied(&self, api: Api, word: Remedied) {
        let operation = "reporting remedies";
        let sequences: Vec<u64> = word.outcomes.iter().map(|outcome| outcome.sequence).collect();
        let silent = |seconds| Err(ApiError::Silent { operation, seconds });
        let report = self.report(Done::Remedied { sequences: sequences.clone(), result: silent(0) });
        tokio::spawn(async move {
            let told = tokio::time::timeout(PATIENCE, api.remedied(&word)).await;
            report.end(Done::Remedied { sequences, result: told.unwrap_or_else(|_| silent(PATIENCE.as_secs())) });
        });
    }

    /// Gets a certificate that ends after `until_ms` and writes it into the device's folder.
    pub fn renew(&self, api: Api, folder: Directory, time: SharedTime, until_ms: u64) {
        let silent = |seconds| Err(ApiError::Silent { operation: RENEWING, seconds }.into());
        let report = self.report(Done::Renewed { result: silent(0) });
        tokio::spawn(async move {
            let renewed = tokio::time::timeout(PATIENCE, renew::renew(&api, &folder, time, until_ms)).await;
            report.end(Done::Renewed { result: renewed.unwrap_or_else(|_| silent(PATIENCE.as_secs())) });
        });
    }

    /// Gets one by the device's key alone, that ends after `until_ms`, and writes it into the device's folder.
    pub fn recover(&self, api: Api, folder: Directory, time: SharedTime, until_ms: u64) {
        let silent = |seconds| Err(ApiError::Silent { operation: RECOVERING, seconds }.into());
        let report = self.report(Done::Recovered { result: silent(0) });
        tokio::spawn(async move {
            let recovered = tokio::time::timeout(PATIENCE, renew::recover(&api, &folder, time, until_ms)).await;
            report.end(Done::Recovered { result: recovered.unwrap_or_else(|_| silent(PATIENCE.as_secs())) });
        });
    }
}

impl Work {
    /// Looks at the machine's foreign software, with what is known from the last look.
    pub fn inventory(&self, root: PathBuf, mut hashes: Hashes) {
        let report = self.report(Done::Inventoried { result: None });
        tokio::task::spawn_blocking(move || {
            let (components, problems) = inventory::collect(&root, &mut hashes);
            let looked = Looked { digest: digest(&components), components, problems, hashes };
            report.end(Done::Inventoried { result: Some(Box::new(looked)) });
        });
    }

    pub fn send_inventory(&self, api: Api, inventory: Inventory) {
        let silent = |seconds| Err(ApiError::Silent { operation: SENDING, seconds });
        let report = self.report(Done::InventorySent { result: silent(0) });
        tokio::spawn(async move {
            let sent = tokio::time::timeout(PATIENCE, api.inventory(&inventory)).await;
            report.end(Done::InventorySent { result: sent.unwrap_or_else(|_| silent(PATIENCE.as_secs())) });
        });
    }
}

impl Work {
    /// Looks into the sensor's folder; with a server, delivers what waits there, and what the agent itself has to say.
    pub fn findings(&self, folder: PathBuf, api: Option<Api>, own: Option<Detections>) {
        let lost = Sensed { problem: Some("the look at the sensor's folder was lost".into()), ..Sensed::default() };
        let report = self.report(Done::Sensed(Box::new(lost)));
        tokio::spawn(async move {
            let delivered = tokio::time::timeout(PATIENCE, deliver(&folder, api, own)).await;
            let silent = || {
                let refused = ApiError::Silent { operation: DELIVERING, seconds: PATIENCE.as_secs() };
                Sensed { refused: Some(refused), ..Sensed::default() }
            };
            report.end(Done::Sensed(Box::new(delivered.unwrap_or_else(|_| silent()))));
        });
    }
}

async fn deliver(folder: &Path, api: Option<Api>, own: Option<Detections>) -> Sensed {
    let mut sensed = Sensed::default();
    let of_folder = folder.to_owned();
    let looked = tokio::task::spawn_blocking(move || findings::look(&of_folder)).await;
    let looked = match looked {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => {
            sensed.problem = Some(chain(&error));
            findings::Looked::default()
        }
        Err(error) => {
            sensed.problem = Some(error.to_string());
            findings::Looked::default()
        }
    };
    sensed.alive = looked.alive;
    sensed.problem = sensed.problem.or(looked.problem);
    let Some(api) = api else { return sensed };
    if let Some(own) = own {
        match api.detections(&own).await {
            Ok(noted) => (sensed.delivered, sensed.own_noted) = (true, Some(noted.through)),
            Err(error) => sensed.refused = Some(error),
        }
    }
    let Some(delivery) = looked.delivery else { return sensed };
    let stream = delivery.stream.clone();
    let last = delivery.findings.last().map_or(0, |finding| finding.number);
    match api.detections(&delivery).await {
        Ok(noted) => {
            sensed.delivered = true;
            sensed.more = looked.more && noted.through >= last;
            // Nobody notes what was not sent.
            if let Err(error) = findings::acknowledge(folder, &stream, noted.through.min(last)) {
                sensed.problem = Some(chain(&error));
            }
        }
        Err(error) => sensed.refused = Some(error),
    }
    sensed
}

async fn answer(api: &Api, sent: &CheckIn, policy: u64) -> Result<Answer, ApiError> {
    let reply = api.check_in(sent).await?;
    let board = if reply.board != sent.board { Some(api.board().await) } else { None };
    let policy = if reply.policy != policy { Some(api.policy().await) } else { None };
    Ok(Answer { reply, board, policy })
}
