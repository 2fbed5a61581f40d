//! A witness's timestamped signature on a checkpoint (c2sp.org/tlog-cosignature, `cosignature/v1`), and the time that
//! witnesses vouch for. When a witness may sign at all is in `witness.rs`.

use ed25519_dalek::{Signer as _, SigningKey};
use signed_note::{Note, Signature, Verifier as _};

use crate::checkpoint::{CheckpointError, VerifiedCheckpoint, verify_checkpoint};
use crate::keys::{COSIGNATURE, KeyError, LogKey, PublicKey};

/// Bytes of the timestamp in front of the signature.
const TIME_BYTES: usize = 8;

/// The public key of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey(PublicKey);

impl WitnessKey {
    /// The 32 bytes of the public key, for statements that name it.
    #[must_use]
    pub fn raw(&self) -> [u8; 32] {
        self.0.raw()
    }

    /// Reads a key as `name+id+base64`.
    ///
    /// # Errors
    /// [`KeyError`] saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        PublicKey::parse(text, COSIGNATURE).map(Self)
    }

    /// The witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The key as `name+id+base64`.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.text()
    }

    pub(crate) fn same_key(&self, other: &Self) -> bool {
        self.0.same_key(&other.0)
    }
}

impl signed_note::Verifier for WitnessKey {
    fn name(&self) -> &str {
        &self.0.name
    }
    fn key_id(&self) -> u32 {
        self.0.id()
    }
    fn verify(&self, body: &[u8], signature: &[u8]) -> bool {
        split_time(signature).is_some_and(|(time, signature)| self.0.verify(&message(time, body), signature))
    }
}

/// The private key of a witness. The key itself never appears in `Debug` output.
pub struct WitnessSigner {
    key: SigningKey,
    public: WitnessKey,
}

impl WitnessSigner {
    /// A signer for the witness called `name`.
    ///
    /// # Errors
    /// [`KeyError::Name`] if the name is empty or has white space or a plus sign.
    pub fn new(name: &str, key: SigningKey) -> Result<Self, KeyError> {
        let public = PublicKey::new(name, COSIGNATURE, key.verifying_key()).map(WitnessKey)?;
        Ok(Self { key, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &WitnessKey {
        &self.public
    }

    /// A signature line, line break included, over the checkpoint text `body` at `unix_seconds`.
    ///
    /// Says nothing of whether it ought to be signed: see [`crate::witness::Witness::cosign`].
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] if a note could not hold the line.
    pub(crate) fn line(&self, unix_seconds: u64, body: &[u8]) -> Result<String, CheckpointError> {
        let mut bytes = unix_seconds.to_be_bytes().to_vec();
        bytes.extend(self.key.sign(&message(unix_seconds, body)).to_vec());
        let malformed = |what: String| CheckpointError::Malformed { what };
        let signature = Signature::new(self.public.name().to_owned(), self.public.key_id(), bytes)
            .map_err(|error| malformed(error.to_string()))?;
        String::from_utf8(signature.to_bytes()).map_err(|error| malformed(error.to_string()))
    }
}

impl std::fmt::Debug for WitnessSigner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "WitnessSigner({})", self.public.text())
    }
}

/// When a witness saw a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessTime {
    /// Name of the witness.
    pub witness: String,
    /// Its time, in seconds since 1970-01-01 UTC.
    pub unix_seconds: u64,
}

impl WitnessTime {
    /// Reads the time out of a signature that was verified already.
    pub(crate) fn read(signature: &Signature) -> Option<Self> {
        split_time(signature.signature())
            .map(|(unix_seconds, _)| Self { witness: signature.name().to_owned(), unix_seconds })
    }
}

impl VerifiedCheckpoint {
    /// The latest time, in seconds since 1970-01-01 UTC, that at least `quorum` witnesses vouch for; `None` if fewer
    /// have signed or `quorum` is 0. With a quorum of 2, one witness with a clock set ahead moves nothing.
    #[must_use]
    pub fn witness_time(&self, quorum: usize) -> Option<u64> {
        let mut times: Vec<u64> = self.witnessed.iter().map(|it| it.unix_seconds).collect();
        times.sort_unstable_by(|left, right| right.cmp(left));
        quorum.checked_sub(1).and_then(|at| times.get(at).copied())
    }
}

/// Verifies a co-signed checkpoint and answers the time that `quorum` of the `witnesses` vouch for, in seconds since
/// 1970-01-01 UTC; `None` if fewer have signed.
///
/// # Errors
/// As [`verify_checkpoint`].
pub fn witness_time(
    note: &str,
    key: &LogKey,
    witnesses: &[WitnessKey],
    quorum: usize,
) -> Result<Option<u64>, CheckpointError> {
    verify_checkpoint(note, key, witnesses).map(|verified| verified.witness_time(quorum))
}

/// The checkpoint text of a note, as it was signed.
pub(crate) fn body(note: &str) -> Option<Vec<u8>> {
    Note::from_bytes(note.as_bytes()).ok().map(|note| note.text().to_vec())
}

/// What a witness signs.
fn message(unix_seconds: u64, body: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {unix_seconds}\n").as_bytes(), body].concat()
}

fn split_time(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, rest) = signature.split_first_chunk::<TIME_BYTES>()?;
    Some((u64::from_be_bytes(*time), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_takes_the_time_that_enough_vouch_for() {
        let time = |unix_seconds: u64| WitnessTime { witness: unix_seconds.to_string(), unix_seconds };
        let checkpoint = VerifiedCheckpoint {
            head: crate::checkpoint::TreeHead { origin: "log".to_owned(), size: 0, root: [0; 32] },
            witnessed: vec![time(100), time(9_999), time(101)],
            unknown_signatures: 0,
        };
        assert_eq!(checkpoint.witness_time(1), Some(9_999));
        assert_eq!(checkpoint.witness_time(2), Some(101));
        assert_eq!(checkpoint.witness_time(3), Some(100));
        assert_eq!(checkpoint.witness_time(4), None);
        assert_eq!(checkpoint.witness_time(0), None);
    }
}
