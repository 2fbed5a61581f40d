//! The time that a witness of the log vouches for: `cosignature/v1` of c2sp.org/tlog-cosignature on a checkpoint.
//!
//! Only what a device needs to prove an age. Building and cosigning checkpoints is the store's.

use crate::keyring::WitnessKey;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

/// Signature type of a timestamped cosignature (c2sp.org/signed-note).
const COSIGNATURE: u8 = 0x04;

/// The latest Unix time in milliseconds that one of `witnesses` vouches for on this checkpoint; `None` if none does.
pub fn witness_time_ms(note: &str, witnesses: &[WitnessKey]) -> Option<u64> {
    let at = note.find("\n\n")?;
    let (body, signatures) = (&note[..=at], &note[at + 2..]);
    signatures.lines().take(32).filter_map(|line| time_of_line(body, line, witnesses)).max()
}

fn time_of_line(body: &str, line: &str, witnesses: &[WitnessKey]) -> Option<u64> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    // key hash, time, signature
    if bytes.len() != 4 + 8 + 64 {
        return None;
    }
    let seconds = u64::from_be_bytes(bytes[4..12].try_into().ok()?);
    let message = format!("cosignature/v1\ntime {seconds}\n{body}");
    let known = witnesses.iter().find(|w| w.name == name && key_hash(w) == bytes[..4])?;
    known.key.verifies(message.as_bytes(), &bytes[12..]).then(|| seconds.saturating_mul(1_000))
}

fn key_hash(witness: &WitnessKey) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(witness.name.as_bytes());
    hash.update([b'\n', COSIGNATURE]);
    hash.update(witness.key.0);
    let out: [u8; 32] = hash.finalize().into();
    [out[0], out[1], out[2], out[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsse::SigningKey;

    fn cosigned(key: &SigningKey, seconds: u64) -> (String, WitnessKey) {
        let witness = WitnessKey { name: "witness.example".into(), key: key.public() };
        let body = "log.example\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let mut bytes = key_hash(&witness).to_vec();
        bytes.extend_from_slice(&seconds.to_be_bytes());
        bytes.extend_from_slice(&key.sign(format!("cosignature/v1\ntime {seconds}\n{body}").as_bytes()));
        (format!("{body}\n\u{2014} witness.example {}\n", STANDARD.encode(bytes)), witness)
    }

    #[test]
    fn a_cosignature_gives_its_time_and_a_changed_one_nothing() {
        let (note, witness) = cosigned(&SigningKey::from_seed(&[1; 32]), 1_000);
        assert_eq!(witness_time_ms(&note, std::slice::from_ref(&witness)), Some(1_000_000));
        assert_eq!(witness_time_ms(&note.replace("\n5\n", "\n6\n"), std::slice::from_ref(&witness)), None);
        let stranger = WitnessKey { key: SigningKey::from_seed(&[2; 32]).public(), ..witness };
        assert_eq!(witness_time_ms(&note, &[stranger]), None);
        assert_eq!(witness_time_ms("", &[]), None);
    }
}
