//! A guard with the real state machine and no checks: what the agent asks of it is recorded and done.

use staffel_core::{
    boot::{self, Event, Generation, State},
    conditions::Readiness,
    ids::Digest,
};
use staffel_trust::statement::{
    bundle::Bundle,
    guard::{Command, Reply, ServiceStatus, Status},
    predicate::{Headed, Receipt, Release, read},
};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

pub const CONSUMER: &[u8] = b"guard";

#[derive(Debug, Default)]
pub struct FakeGuard {
    pub state: State,
    pub commands: Vec<String>,
    prepared: Option<(Generation, u64, Digest)>,
    nonce: Option<String>,
    nonces: u32,
    spool: PathBuf,
}

impl FakeGuard {
    /// Listens on `socket` until the process ends.
    pub fn listen(socket: &Path, spool: &Path) -> Arc<Mutex<Self>> {
        let guard = Arc::new(Mutex::new(FakeGuard { spool: spool.to_owned(), ..FakeGuard::default() }));
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::clone(&guard);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut line = String::new();
                if BufReader::new(&stream).read_line(&mut line).is_err() || line.is_empty() {
                    continue;
                }
                let reply = shared.lock().unwrap().answer(serde_json::from_str(&line).unwrap());
                let mut reply = serde_json::to_vec(&reply).unwrap();
                reply.push(b'\n');
                let _ = stream.write_all(&reply);
            }
        });
        guard
    }

    fn answer(&mut self, command: Command) -> Reply {
        let text = serde_json::to_value(&command).unwrap();
        if !matches!(command, Command::Status) {
            self.commands.push(text["command"].as_str().unwrap().to_string());
        }
        match command {
            Command::Status => Reply::Status(Box::new(self.status())),
            Command::Prepare { bundle } => self.prepare(&bundle),
            Command::Arm { bundle } if bundle.permit.is_some() => {
                let Some((generation, rollout, release)) = self.prepared.take() else {
                    return Reply::Failed { why: "nothing is prepared".into() };
                };
                self.step(Event::Arm { generation, rollout, release, terms: boot::Terms::default() })
            }
            Command::Arm { .. } => Reply::Failed { why: "no permit".into() },
            Command::Confirm { receipt } => {
                let receipt: Headed<Receipt> = read(&receipt.payload().unwrap()).unwrap();
                self.step(Event::Confirm { release: receipt.body.release })
            }
            Command::Abort { why } => self.step(Event::Abort { why }),
            Command::Deny { halt } => {
                let halt: Headed<staffel_trust::statement::predicate::Halt> = read(&halt.payload().unwrap()).unwrap();
                self.step(Event::Deny { release: halt.body.release, why: halt.body.why, undo: true })
            }
            Command::OutcomeReported => self.step(Event::OutcomeReported),
            Command::Probe => Reply::Probed { failures: Vec::new() },
            _ => Reply::Done { why: "noted".into() },
        }
    }

    fn prepare(&mut self, bundle: &Bundle) -> Reply {
        let payload = bundle.release.as_ref().unwrap().payload().unwrap();
        let release: Release = read(&payload).unwrap();
        for file in &release.files {
            let path = self.spool.join(file.sha256.to_string());
            if std::fs::read(path).map(|bytes| Digest::of(&bytes)).ok() != Some(file.sha256) {
                return Reply::Failed { why: format!("{} is not in the spool", file.path) };
            }
        }
        let authorisation = bundle.authorisation.as_ref().unwrap().payload().unwrap();
        let authorisation: Headed<staffel_core::conditions::Authorisation> = read(&authorisation).unwrap();
        let digest = Digest::of(&payload);
        let mut releases = self.state.last_known_good.releases.clone();
        releases.insert(release.name.clone(), digest);
        self.nonces += 1;
        let nonce = format!("{:08x}", self.nonces);
        self.nonce = Some(nonce.clone());
        self.prepared = Some((Generation::of(releases), authorisation.body.rollout, digest));
        Reply::Prepared { release: digest, nonce, age_ms: u64::MAX / 2 }
    }

    fn step(&mut self, event: Event) -> Reply {
        let step = boot::step(&self.state, event);
        self.state = step.state;
        Reply::Done { why: step.why }
    }

    fn status(&self) -> Status {
        let selected = self.state.selected().cloned();
        let services = selected.iter().flat_map(|generation| generation.releases.keys()).map(|name| ServiceStatus {
            name: name.clone(),
            running: true,
            process_id: Some(1),
            starts: 1,
            last_exit: None,
        });
        let text = serde_json::json!({
            "mode": self.state.mode,
            "selected": selected,
            "last_known_good": self.state.last_known_good,
            "earlier": self.state.earlier,
            "trial": self.state.trial,
            "outcome": self.state.outcome,
            "readiness": Readiness {
                has_last_known_good: true,
                trial_running: self.state.trial.is_some(),
                preflight: Vec::new(),
                nonce: self.nonce.clone(),
                os_images: false,
            },
            "services": services.collect::<Vec<_>>(),
            "starts": 1,
            "boot_id": "b",
            "consumer": Digest::of(CONSUMER),
            "prepared": self.prepared.as_ref().map(|(_, _, release)| release),
            "keyring_version": 1,
            "lacking": [],
        });
        serde_json::from_value(text).unwrap()
    }
}
