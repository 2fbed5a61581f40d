//! What the agent believes: its own verifier of every statement, and what it passes on to the guard, which verifies again.
//!
//! Memory is written before anything is acted on. What must stay out: sockets, and what to do about it all
//! (`staffel_core::device`).

use crate::{
    directory::{self, Directory, FileError},
    statements::{self, Statements},
};
use staffel_core::{
    conditions::{Frontier, Identity, Memory, Permit, Presented, Readiness, Refusal},
    device::{self, SOAK_DEFAULT_MS},
    ids::{DeviceId, Digest},
    policy::CustomerPolicy,
    profile::Profile,
    release::Kind,
};
use staffel_trust::{
    statement::{
        Envelope,
        bundle::{ActError, Bundle, Verified, Verifier},
        guard::{Command, Installation},
        keyring::{Keyring, KeyringError},
        predicate::{Halt, Headed, Receipt, Release, TenantPolicy, Unhalt, read, verify},
    },
    wire::{Board, Offer},
};
use std::collections::{BTreeMap, BTreeSet};

/// Why the agent can't judge at all.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the pinned keyring does not hold: enrol this device again")]
    Keyring(#[source] KeyringError),
}

/// Keys, memory and the statements at hand.
#[derive(Debug)]
pub struct Judge {
    directory: Directory,
    installation: Installation,
    verifier: Verifier,
    keyrings: Vec<Envelope>,
    board: Board,
    /// The largest checkpoint of an earlier board, while the server shows a smaller one and was not told.
    pub checkpoint_ahead: Option<String>,
    policy: Option<Envelope>,
    /// Sequence of the policy at hand; 0 without one.
    pub policy_sequence: u64,
    statements: BTreeMap<Digest, Statements>,
    /// SHA-256 of the program that consumes releases here; from the guard.
    pub consumer: Digest,
    /// Halts and returns of them that the guard was told of since this program started.
    told: BTreeSet<Digest>,
    saved: Memory,
}

/// Entries of the log that a board shows: the second line of its checkpoint (c2sp.org/tlog-checkpoint). Not verified:
/// the server checks its own signature before it believes a device.
fn log_size(board: &Board) -> u64 {
    let size = board.checkpoint.as_deref().and_then(|note| note.lines().nth(1)?.parse().ok());
    size.unwrap_or(0)
}

/// What a new board brought.
#[derive(Debug, Default)]
pub struct News {
    /// For the guard, in this order.
    pub commands: Vec<Command>,
    /// Statements that did not hold, in words.
    pub problems: Vec<String>,
    /// The keyring changed, so what the old online key said of time counts no more.
    pub new_keyring: bool,
}

impl Judge {
    /// Reads what the enrolment and earlier runs left.
    pub fn open(directory: &Directory, installation: Installation) -> Result<Self, JudgeError> {
        let hint = "enrol this device first";
        let pinned: Envelope = directory::must_read_json(&directory.keyring(), hint)?;
        let keyring = Keyring::pinned(&pinned).map_err(JudgeError::Keyring)?;
        let memory: Memory = directory::read_json(&directory.memory())?.unwrap_or_default();
        let mut verifier = Verifier::new(keyring, installation.pinned(), memory.clone());
        let mut keyrings: Vec<Envelope> = directory::read_json(&directory.keyrings())?.unwrap_or_default();
        // A chain that breaks off is fetched again from there.
        let good = keyrings.iter().take_while(|envelope| verifier.accept_keyring(envelope).is_ok()).count();
        keyrings.truncate(good);
        let policy: Option<Envelope> = directory::read_json(&directory.policy())?;
        let mut judge = Judge {
            directory: directory.clone(),
            installation,
            verifier,
            keyrings,
            board: Board::default(),
            checkpoint_ahead: None,
            policy: None,
            policy_sequence: 0,
            statements: BTreeMap::new(),
            consumer: Digest::default(),
            told: BTreeSet::new(),
            saved: memory,
        };
        judge.hold_policy(policy);
        Ok(judge)
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.installation.device
    }

    /// Version of the board at hand.
    pub fn board_version(&self) -> u64 {
        self.board.version
    }

    /// The keyring in force.
    pub fn keyring(&self) -> &Keyring {
        self.verifier.keyring()
    }

    /// Keyrings that a guard with this version lacks, in order.
    pub fn keyrings_after(&self, version: u64) -> Vec<Command> {
        let first = self.keyring().version.saturating_sub(self.keyrings.len() as u64);
        let known = usize::try_from(version.saturating_sub(first)).unwrap_or(usize::MAX);
        self.keyrings.iter().skip(known).map(|keyring| Command::Keyring { keyring: keyring.clone() }).collect()
    }

    /// Lets time of the running clock pass: authorisations seen grow older.
    pub fn pass_time(&mut self, elapsed_ms: u64) {
        self.verifier.tick(elapsed_ms);
    }

    /// True if something that must not be forgotten was learned since the last [`Judge::save`]. Ages grow all the time
    /// and do not count.
    pub fn is_unsaved(&self) -> bool {
        let ageless = |memory: &Memory| Memory { ages: BTreeMap::new(), ..memory.clone() };
        ageless(&self.verifier.memory) != ageless(&self.saved)
    }

    /// Writes the memory.
    pub fn save(&mut self) -> Result<(), FileError> {
        directory::write_json(&self.directory.memory(), &self.verifier.memory)?;
        self.saved = self.verifier.memory.clone();
        Ok(())
    }

    /// Takes a new board: keyrings, halts, halts taken back. The offers are judged by [`Judge::offers`]. The caller saves
    /// before it passes the commands on.
    pub fn take_board(&mut self, board: Board) -> Result<News, FileError> {
        let mut news = News::default();
        for envelope in &board.keyrings {
            let claimed = envelope.payload().ok().and_then(|payload| read::<Keyring>(&payload).ok());
            if claimed.is_none_or(|claimed| claimed.version <= self.keyring().version) {
                continue;
            }
            match self.verifier.accept_keyring(envelope) {
                Ok(_) => {
                    self.keyrings.push(envelope.clone());
                    news.commands.push(Command::Keyring { keyring: envelope.clone() });
                    news.new_keyring = true;
                }
                Err(error) => news.problems.push(format!("a keyring on the board does not hold: {error}")),
            }
        }
        if news.new_keyring {
            directory::write_json(&self.directory.keyrings(), &self.keyrings)?;
        }
        self.take_halts(&board, &mut news);
        if log_size(&board) < log_size(&self.board) {
            self.checkpoint_ahead.clone_from(&self.board.checkpoint);
        }
        self.board = board;
        Ok(news)
    }

    /// A halt that two releasers took back is not believed again, even though it still stands on the board.
    fn take_halts(&mut self, board: &Board, news: &mut News) {
        let releasers = self.keyring().releasers.keys.clone();
        let mut taken_back = BTreeSet::new();
        for envelope in &board.unhalts {
            match verify::<Headed<Unhalt>>(envelope, "releasers", &releasers, 2) {
                Ok((unhalt, ..)) => {
                    taken_back.insert(unhalt.body.halt);
                }
                Err(error) => news.problems.push(format!("an un-halt on the board does not hold: {error}")),
            }
        }
        let mut halted = BTreeSet::new();
        for envelope in &board.halts {
            let Ok(digest) = envelope.digest() else { continue };
            if taken_back.contains(&digest) {
                continue;
            }
            match self.verifier.accept_halt(envelope) {
                Ok((Halt { release, .. }, _)) => {
                    halted.insert(release);
                    if self.told.insert(digest) {
                        news.commands.push(Command::Deny { halt: envelope.clone() });
                    }
                }
                Err(error) => news.problems.push(format!("a halt on the board does not hold: {error}")),
            }
        }
        for envelope in &board.unhalts {
            let (Ok(digest), Ok(payload)) = (envelope.digest(), envelope.payload()) else { continue };
            let release = read::<Headed<Unhalt>>(&payload).map(|unhalt| unhalt.body.release);
            // Another halt of the same release that stands keeps it denied.
            if release.is_ok_and(|release| halted.contains(&release)) || self.told.contains(&digest) {
                continue;
            }
            match self.verifier.accept_unhalt(envelope) {
                Ok(_) | Err(ActError::NoSuchHalt) => {
                    self.told.insert(digest);
                    news.commands.push(Command::Undeny { unhalt: envelope.clone() });
                }
                Err(_) => {}
            }
        }
    }

    /// Takes the customer's policy. One that does not hold is kept out, the one at hand stays.
    pub fn take_policy(&mut self, policy: Option<Envelope>) -> Result<Option<String>, FileError> {
        let Some(envelope) = policy else { return Ok(None) };
        let looked = self.verifier.look_at(&Bundle { policy: Some(envelope.clone()), ..Bundle::default() }, 0);
        match looked.policy {
            Presented::Verified(_) => {
                directory::write_json(&self.directory.policy(), &envelope)?;
                self.hold_policy(Some(envelope));
                Ok(None)
            }
            Presented::Rejected(why) => Ok(Some(format!("the customer's policy does not hold: {why}"))),
            Presented::Missing => Ok(None),
        }
    }

    fn hold_policy(&mut self, policy: Option<Envelope>) {
        let body = policy.as_ref().and_then(|envelope| envelope.payload().ok());
        let body = body.and_then(|payload| read::<Headed<TenantPolicy>>(&payload).ok());
        self.policy_sequence = body.map_or(0, |headed| headed.body.sequence);
        self.policy = policy;
    }

    /// Statements of a release are here now.
    pub fn hold_statements(&mut self, release: Digest, statements: Statements) {
        self.statements.insert(release, statements);
    }

    /// Statements of a release, from this run or an earlier one.
    pub fn statements(&mut self, release: &Digest) -> Option<&Statements> {
        if !self.statements.contains_key(release)
            && let Some(kept) = statements::kept(&self.directory, release)
        {
            self.statements.insert(*release, kept);
        }
        self.statements.get(release)
    }

    /// The verified contents of a release that was fetched.
    pub fn contents(&mut self, release: &Digest) -> Option<Release> {
        let keys = self.keyring().release.clone();
        let envelope = &self.statements(release)?.release;
        let (contents, digest, _) = verify::<Release>(envelope, "release", &keys.keys, keys.threshold).ok()?;
        (digest == *release && contents.problems().is_empty()).then_some(contents)
    }

    /// Forgets what no offer and no trial names.
    pub fn forget_all_but(&mut self, keep: &[Digest]) {
        self.statements.retain(|release, _| keep.contains(release));
        self.directory.forget_releases(keep);
    }

    /// An offer on the board.
    pub fn offer(&self, rollout: u64) -> Option<&Offer> {
        self.board.offers.iter().find(|offer| offer.rollout == rollout)
    }

    /// Every release that an offer names.
    pub fn offered(&self) -> Vec<Digest> {
        self.board.offers.iter().map(|offer| offer.release).collect()
    }

    /// All statements about one rollout.
    pub fn bundle(&mut self, rollout: u64, permit: Option<Envelope>) -> Option<Bundle> {
        let offer = self.offer(rollout)?.clone();
        let statements = self.statements(&offer.release).cloned();
        let (release, gate) = statements.map_or((None, None), |s| (Some(s.release), s.gate));
        Some(Bundle {
            release,
            gate,
            authorisation: Some(offer.authorisation),
            frontier: offer.frontier,
            policy: self.policy.clone(),
            permit,
            checkpoint: self.board.checkpoint.clone(),
        })
    }

    /// Who this device is; the ring from the customer's policy.
    fn identity(&self, policy: &Presented<CustomerPolicy>) -> Identity {
        let ring = match policy {
            Presented::Verified(policy) => policy.ring(&self.installation.name),
            _ => CustomerPolicy::default().ring(&self.installation.name),
        };
        Identity {
            device: self.installation.device,
            name: self.installation.name.clone(),
            tenant: self.installation.tenant.clone(),
            site: self.installation.site.clone(),
            ring,
            stratum: self.installation.stratum.clone(),
            consumer: self.consumer,
        }
    }

    /// Judges every offer. Returns them as the device's state machine wants them, and the newest time that a frontier
    /// tells (Unix milliseconds). `now_ms`: the time that this device goes by.
    pub fn offers(&mut self, now_ms: u64) -> (Vec<device::Offer>, Option<u64>) {
        let mut offers = Vec::new();
        let mut newest = None;
        for offer in self.board.offers.clone() {
            let Some(bundle) = self.bundle(offer.rollout, None) else { continue };
            let verified = self.verifier.look_at(&bundle, now_ms);
            if let Presented::Verified(Frontier { issued_ms, .. }) = &verified.frontier {
                newest = newest.max(Some(*issued_ms));
            }
            // A frontier says when it was made, not what time it is: the later of the two counts.
            let verified = Verified { now_ms: verified.now_ms.max(now_ms), ..verified };
            offers.push(self.judged(&offer, &verified));
        }
        (offers, newest)
    }

    fn judged(&self, offer: &Offer, verified: &Verified) -> device::Offer {
        let identity = self.identity(&verified.policy);
        let memory = &self.verifier.memory;
        let (standing, frontier) = device::standing(
            &identity,
            memory,
            &offer.release,
            &verified.authorisation,
            &verified.frontier,
            verified.now_ms,
        );
        // Preparing is itself the preflight, so readiness is not judged before it.
        let ready = Readiness {
            has_last_known_good: true,
            trial_running: false,
            preflight: Vec::new(),
            nonce: None,
            os_images: true,
        };
        let (urgent, soak_ms) = match &verified.authorisation {
            // What two releasers signed, not what the server says.
            Presented::Verified(a) => (a.is_urgent(), Profile::named(a.profile).soak_ms),
            _ => (false, SOAK_DEFAULT_MS),
        };
        let kind = verified.contents.as_ref().map(|contents| contents.kind);
        device::Offer {
            rollout: offer.rollout,
            name: offer.name.clone(),
            release: offer.release,
            priority: priority(urgent, kind),
            soak_ms,
            standing,
            frontier,
            refusals: verified.refusals(&identity, memory, &ready, false),
        }
    }

    /// This device's own check of all seven conditions with a permit. Also the permit itself, if it answers this question.
    pub fn permitted(
        &mut self,
        rollout: u64,
        permit: &Envelope,
        readiness: &Readiness,
        now_ms: u64,
    ) -> (Vec<Refusal>, Option<Permit>) {
        let Some(bundle) = self.bundle(rollout, Some(permit.clone())) else {
            return (vec![Refusal::AuthorisationMissing], None);
        };
        let verified = self.verifier.look_at(&bundle, now_ms);
        let identity = self.identity(&verified.policy);
        let refusals = verified.refusals(&identity, &self.verifier.memory, readiness, false);
        let fresh = |permit: &Permit| readiness.nonce.as_deref() == Some(permit.nonce.as_str());
        let held = match verified.permit {
            Presented::Verified(permit) => Some(permit).filter(fresh),
            _ => None,
        };
        (refusals, held)
    }

    /// Whether a receipt is for this device and its trial.
    pub fn receipt(&self, envelope: &Envelope, nonce: &str) -> Result<Receipt, ActError> {
        self.verifier.accept_receipt(envelope, self.device(), nonce)
    }

    /// Whether a remedy is worth passing on. The guard, which carries it out, counts the sequences.
    pub fn remedy(&self, envelope: &Envelope, now_ms: u64) -> Result<(), ActError> {
        self.verifier.check_remedy(envelope, self.device(), now_ms).map(|_| ())
    }
}

/// Emergency, then OS and guard, then component, then content. A kind that is not known yet counts as component.
fn priority(urgent: bool, kind: Option<Kind>) -> u8 {
    match kind {
        _ if urgent => 0,
        Some(Kind::Os | Kind::Guard) => 1,
        Some(Kind::Component) | None => 2,
        Some(Kind::Content) => 3,
    }
}

#[cfg(test)]
mod tests;
