//! What several tests need: keys, entries, seeded numbers, directories.

use ed25519_dalek::SigningKey;
use staffel_store::{
    CheckpointKeys, LogSigner, NewEntry, ReadLog, Report, Tree, WitnessKey, WitnessSigner, verify_log,
};
use tempfile::TempDir;

pub const ORIGIN: &str = "staffel.example/log";

pub fn signer() -> LogSigner {
    LogSigner::new(ORIGIN, SigningKey::from_bytes(&[1; 32])).expect("a plain name")
}

pub fn witness_signer(number: u8) -> WitnessSigner {
    let key = SigningKey::from_bytes(&[100 + number; 32]);
    WitnessSigner::new(&format!("witness.example/{number}"), key).expect("a plain name")
}

pub fn keys(witnesses: &[u8]) -> CheckpointKeys {
    CheckpointKeys {
        log: signer().public().clone(),
        witnesses: witnesses
            .iter()
            .map(|number| WitnessKey::parse(&witness_signer(*number).public().text()).expect("own key"))
            .collect(),
    }
}

/// An entry whose payload is an identity that tests look for.
pub fn entry(id: &str) -> NewEntry {
    let mut salt = [0; 16];
    for (at, byte) in id.bytes().enumerate() {
        salt[at % 16] ^= byte;
    }
    NewEntry {
        at_ms: 1_721_347_200_000 + id.len() as u64,
        kind: "test.entry".to_owned(),
        payload: id.as_bytes().to_vec(),
        salt,
    }
}

pub fn entries(ids: &[&str]) -> Vec<NewEntry> {
    ids.iter().map(|id| entry(id)).collect()
}

/// Payloads as text, in order; erased ones as `(erased)`.
pub fn payloads(log: &dyn ReadLog) -> Vec<String> {
    let all = log.read(0, usize::MAX).expect("read all entries");
    all.iter().map(|entry| String::from_utf8_lossy(entry.payload().unwrap_or(b"(erased)")).into_owned()).collect()
}

/// Verifies a log and fails with the problems.
#[track_caller]
pub fn sound(log: &dyn Tree) -> Report {
    let report = verify_log(log, Some(&keys(&[])));
    assert!(report.is_sound(), "{:#?}", report.problems);
    report
}

/// A directory in memory where there is one: thousands of crashes need no real disk, the fault layer is the disk.
pub fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// Repeatable numbers (SplitMix64, Steele, Lea and Flood 2014).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
