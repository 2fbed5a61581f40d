//! A witness: remembers the last checkpoint of each log and co-signs a later one only if it continues the same tree.
//! So a log that shows different histories to different readers cannot get both witnessed.
//!
//! The protocol is c2sp.org/tlog-witness; the program around it, with its HTTP, lives elsewhere. State is in `witness_state.rs`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::checkpoint::{CheckpointError, TreeHead, verify_checkpoint};
use crate::cosignature::{self, WitnessSigner};
use crate::entry::Digest;
use crate::error::StoreError;
use crate::keys::LogKey;
use crate::merkle::{ProofError, verify_consistency};
use crate::witness_state::{Seen, StateFile};

/// Most lines of proof that the protocol allows.
const MAX_PROOF_LINES: usize = 63;

/// Why a witness did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The request cannot be read.
    #[error("the witness request is malformed: {what}")]
    Malformed {
        /// Which part.
        what: String,
    },
    /// This witness has no key for that log.
    #[error("this witness does not know the log {origin:?}")]
    UnknownLog {
        /// The log's origin.
        origin: String,
    },
    /// The log's signature does not verify.
    #[error("the log's own signature")]
    Signature(#[source] CheckpointError),
    /// The proof starts at another size than the one seen last. Send one that starts at `known`.
    #[error("the proof for {origin:?} starts at {offered}, the size seen last is {known}")]
    OtherSize {
        /// The log's origin.
        origin: String,
        /// Size that the request's proof starts at.
        offered: u64,
        /// Size seen last.
        known: u64,
    },
    /// The log is shorter than it was: somebody restored a backup or cut it.
    #[error("{origin:?} went back from size {known} to {offered}")]
    Rollback {
        /// The log's origin.
        origin: String,
        /// Size in the request.
        offered: u64,
        /// Size seen last.
        known: u64,
    },
    /// The log shows another history than the one seen before.
    #[error("{origin:?} at size {offered} does not continue what was seen at size {known}")]
    Fork {
        /// The log's origin.
        origin: String,
        /// Size in the request.
        offered: u64,
        /// Size seen last.
        known: u64,
    },
    /// The proof does not verify; whether the log forked or the proof is merely wrong cannot be told.
    #[error("{origin:?}: consistency proof from {known} to {offered}")]
    Inconsistent {
        /// The log's origin.
        origin: String,
        /// Size in the request.
        offered: u64,
        /// Size seen last.
        known: u64,
        /// Why the proof does not hold.
        source: ProofError,
    },
    /// The witness's memory could not be written or read, so it must not sign.
    #[error("the witness's state")]
    State(#[from] StoreError),
}

impl WitnessError {
    /// The HTTP status that c2sp.org/tlog-witness has for this. With 409 for [`WitnessError::OtherSize`] goes the known
    /// size as a line of type `text/x.tlog.size`.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Malformed { .. } => 400,
            Self::Signature(_) => 403,
            Self::UnknownLog { .. } => 404,
            Self::OtherSize { .. } | Self::Rollback { .. } | Self::Fork { .. } => 409,
            Self::Inconsistent { .. } => 422,
            Self::State(_) => 500,
        }
    }
}

/// What a log asks of a witness (`POST /add-checkpoint`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessRequest {
    /// Size that the proof starts at, 0 the first time.
    pub old_size: u64,
    /// Consistency proof from `old_size` to the checkpoint's size.
    pub proof: Vec<Digest>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl WitnessRequest {
    /// The body of the request.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            text.push_str(&BASE64_STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`WitnessError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, WitnessError> {
        let malformed = |what: &str| WitnessError::Malformed { what: what.to_owned() };
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("no empty line"))?;
        let mut lines = head.split('\n');
        let old_size = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(|number| number.parse::<u64>().ok().filter(|size| size.to_string() == number))
            .ok_or(malformed("the first line is not `old` and a size"))?;
        let mut proof = Vec::new();
        for line in lines {
            let hash = BASE64_STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            proof.push(hash.ok_or(malformed("a line of the proof is not a hash"))?);
            if proof.len() > MAX_PROOF_LINES {
                return Err(malformed("the proof is too long"));
            }
        }
        Ok(Self { old_size, proof, checkpoint: checkpoint.to_owned() })
    }
}

/// A witness with its key, its memory and the logs it watches.
#[derive(Debug)]
pub struct Witness {
    signer: WitnessSigner,
    logs: Vec<LogKey>,
    state: Mutex<StateFile>,
}

impl Witness {
    /// Opens or begins the memory in `state`. The file is the witness: who loses it must take a new key, or the witness
    /// would sign a history that contradicts what it signed before.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Corrupt`] if it is damaged, else why it can't be read.
    pub fn open(state: impl AsRef<Path>, signer: WitnessSigner, logs: Vec<LogKey>) -> Result<Self, StoreError> {
        Ok(Self { signer, logs, state: Mutex::new(StateFile::open(state.as_ref())?) })
    }

    /// The size seen last of a log, 0 if none: where the next proof has to start.
    #[must_use]
    pub fn known_size(&self, origin: &str) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen(origin).map_or(0, |seen| seen.size)
    }

    /// Verifies that the checkpoint continues what was seen, remembers it durably, and answers a co-signature line.
    ///
    /// `now` is the caller's clock in seconds since 1970-01-01 UTC. The time signed never goes back, even if `now` does.
    ///
    /// # Errors
    /// [`WitnessError`]; then nothing was signed, and what is remembered is as before.
    pub fn cosign(&self, request: &WitnessRequest, now: u64) -> Result<String, WitnessError> {
        let origin = request.checkpoint.lines().next().unwrap_or_default();
        let key = self.logs.iter().find(|key| key.origin() == origin);
        let key = key.ok_or_else(|| WitnessError::UnknownLog { origin: origin.chars().take(200).collect() })?;
        let verified = verify_checkpoint(&request.checkpoint, key, &[]).map_err(|error| match error {
            CheckpointError::Malformed { what } => WitnessError::Malformed { what },
            other => WitnessError::Signature(other),
        })?;
        let body = cosignature::body(&request.checkpoint)
            .ok_or_else(|| WitnessError::Malformed { what: "no signed note".to_owned() })?;

        // Held over check and write, or two requests could each continue the same old head differently.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.seen(origin).unwrap_or_else(Seen::nothing);
        check_continues(&known.head(origin), request, &verified.head)?;
        let time = now.max(state.last_time());
        state.remember(&verified.head, time)?;
        self.signer.line(time, &body).map_err(|error| WitnessError::Malformed { what: error.to_string() })
    }
}

/// The one decision of a witness.
fn check_continues(known: &TreeHead, request: &WitnessRequest, new: &TreeHead) -> Result<(), WitnessError> {
    let origin = || known.origin.clone();
    if request.old_size > new.size {
        return Err(WitnessError::Malformed {
            what: format!("the proof starts at {}, after the checkpoint's size {}", request.old_size, new.size),
        });
    }
    if new.size < known.size {
        return Err(WitnessError::Rollback { origin: origin(), offered: new.size, known: known.size });
    }
    if new.size == known.size && new.root != known.root {
        return Err(WitnessError::Fork { origin: origin(), offered: new.size, known: known.size });
    }
    if request.old_size != known.size {
        return Err(WitnessError::OtherSize { origin: origin(), offered: request.old_size, known: known.size });
    }
    verify_consistency(&request.proof, new.size, &new.root, known.size, &known.root)
        .map_err(|source| WitnessError::Inconsistent { origin: origin(), offered: new.size, known: known.size, source })
}
