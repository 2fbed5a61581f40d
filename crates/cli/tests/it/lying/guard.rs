//! The agent lies, too: bundles go to a machine's guard over its socket, made by somebody who has the online key and every
//! statement that was ever signed. Must stay out: what is expected of the guard.

use super::{
    keys::{Offline, Shipment, Terms, Thief, into_spool},
    now_ms,
};
use staffel_agent::guard_client::GuardClient;
use staffel_core::{conditions::Refusal, ids::DeviceId};
use staffel_statement::{
    Envelope,
    bundle::Bundle,
    guard::{Command, Reply, Status},
};
use std::path::{Path, PathBuf};

/// One machine's guard.
pub struct Guard {
    folder: PathBuf,
    client: GuardClient,
    runtime: tokio::runtime::Runtime,
}

impl Guard {
    /// `machine`: the machine's folder.
    pub fn new(machine: &Path) -> Self {
        let folder = machine.join("guard");
        let client = GuardClient::new(&folder.join("guard.sock"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Guard { folder, client, runtime }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn ask(&self, command: &Command) -> Reply {
        self.runtime.block_on(self.client.ask(command)).expect("the guard answers")
    }

    pub fn status(&self) -> Status {
        self.runtime.block_on(self.client.status()).expect("the guard answers")
    }

    /// Has the guard prepare a bundle; the nonce, or why not.
    pub fn prepare(&self, bundle: &Bundle) -> Result<String, Vec<Refusal>> {
        match self.ask(&Command::Prepare { bundle: Box::new(bundle.clone()) }) {
            Reply::Prepared { nonce, .. } => Ok(nonce),
            Reply::Refused { refusals } => Err(refusals),
            other => panic!("prepare was answered with {other:?}"),
        }
    }

    /// Has the guard arm a bundle with a permit; what it did, or why not.
    pub fn arm(&self, bundle: &Bundle, permit: Envelope) -> Result<String, Vec<Refusal>> {
        let bundle = Bundle { permit: Some(permit), ..bundle.clone() };
        match self.ask(&Command::Arm { bundle: Box::new(bundle) }) {
            Reply::Done { why } => Ok(why),
            Reply::Refused { refusals } => Err(refusals),
            other => panic!("arm was answered with {other:?}"),
        }
    }
}

/// An attempt to get a release past a guard. Made with every statement in order; each test spoils one.
pub struct Attempt<'a> {
    pub guard: &'a Guard,
    pub thief: &'a Thief,
    pub device: DeviceId,
    pub terms: Terms,
    pub bundle: Bundle,
    /// The time that frontier and permit claim, Unix milliseconds.
    pub claims_ms: u64,
}

impl<'a> Attempt<'a> {
    pub fn new(
        guard: &'a Guard,
        device: DeviceId,
        offline: &Offline,
        thief: &'a Thief,
        shipment: &Shipment,
        terms: Terms,
        policy: &Envelope,
    ) -> Self {
        into_spool(guard.folder(), shipment);
        let claims_ms = now_ms();
        let bundle = Bundle {
            release: Some(shipment.release.clone()),
            gate: shipment.gate.clone(),
            authorisation: Some(offline.authorise(&terms)),
            frontier: Some(thief.frontier(terms.rollout, terms.release, 1, true, claims_ms)),
            policy: Some(policy.clone()),
            permit: None,
            checkpoint: None,
        };
        Attempt { guard, thief, device, terms, bundle, claims_ms }
    }

    /// Frontier and permit claim to be made then.
    pub fn claiming(mut self, claims_ms: u64) -> Self {
        let Terms { rollout, release, .. } = self.terms;
        self.claims_ms = claims_ms;
        self.bundle.frontier = Some(self.thief.frontier(rollout, release, 1, true, claims_ms));
        self
    }

    /// A permit that lacks nothing.
    pub fn permit(&self, nonce: &str) -> Envelope {
        self.thief.permit(self.terms.rollout, self.terms.release, self.device, nonce, self.claims_ms)
    }

    /// Prepares and arms; what was done, or why not.
    pub fn run(&self) -> Result<String, Vec<Refusal>> {
        let nonce = self.guard.prepare(&self.bundle)?;
        self.guard.arm(&self.bundle, self.permit(&nonce))
    }

    /// Why it is refused.
    pub fn refused(&self) -> Vec<Refusal> {
        self.run().expect_err("the guard must refuse this")
    }
}
