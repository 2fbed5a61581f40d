//! Valid inputs, made with keys from fixed seeds: the same in every run.

use staffel_core::{
    boot::{Generation, Mode, Outcome},
    conditions::{Authorisation, Frontier, GateAttestation, Permit, Reach, Refusal, Unit},
    evidence::Arm,
    ids::{DeviceId, Digest, Position, Share},
    policy::CustomerPolicy,
    profile::{CeilingStep, ProfileName},
    release::{Kind, StateCompatibility},
};
use staffel_statement::{
    Envelope, SigningKey,
    bundle::Bundle,
    guard::{Command, RemedyOutcome, Reply},
    keyring::{Keyring, RoleKeys, WitnessKey as DeviceWitness},
    predicate::{
        Action, File, Gate, Halt, Headed, Header, Probe, Receipt, Release, Remedy, TenantPolicy, Unhalt, sign,
    },
};
use staffel_store::{
    Log as _, LogSigner, MemoryLog, NewEntry, Witness, WitnessKey, WitnessRequest, WitnessSigner, add_cosignatures,
    sign_checkpoint,
};
use staffel_trust::{
    keyfile::KeyPair,
    tuf::writer::{KeySet, Options, Repository as Writer, RoleKeys as TufKeys, Source},
    wire::{Attributes, Board, Bye, CheckIn, CheckInReply, Enrol, Offer, OnTrial, Ready, Remedied, Why},
};
use std::collections::BTreeMap;

pub const START: u64 = 1_000_000_000;
pub const DEVICE: DeviceId = DeviceId([7; 16]);
pub const NONCE: &str = "0badcafe";
pub const ORIGIN: &str = "staffel.test/log";
pub const ROOT: &str = "1.root.json";
pub const TARGET: &str = "releases/till/1.dsse.json";
pub const CONTENT: &[u8] = b"a release";
/// A moment in 2027, Unix milliseconds.
pub const TUF_NOW: u64 = 1_800_000_000_000;

pub fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types are JSON")
}

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn role(keys: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold }
}

pub fn keyring() -> Keyring {
    Keyring {
        version: 1,
        root: role(&[1, 2, 3], 2),
        release: role(&[10], 1),
        gate: role(&[11, 12], 2),
        releasers: role(&[13, 14], 2),
        online: role(&[15], 1),
        operators: role(&[16, 17], 1),
        witnesses: Vec::new(),
    }
}

fn headed<T>(body: T) -> Headed<T> {
    Headed { header: Header { issued_ms: START, expires_ms: u64::MAX, ..Header::default() }, body }
}

fn release() -> Envelope {
    let release = Release {
        name: "till".into(),
        version: "2".into(),
        sequence: 2,
        kind: Kind::Component,
        security_floor: 1,
        state: StateCompatibility::Snapshot,
        files: vec![File { path: "bin/run".into(), sha256: Digest::of(b"run"), size: 3, executable: true }],
        service: None,
        probes: vec![Probe::Http { port: 80, path: "/".into(), status: 200, timeout_ms: 100 }],
        supplier: "somebody".into(),
    };
    sign(&release, &[&key(10)])
}

/// All statements that let a device change.
pub fn bundle() -> Bundle {
    let envelope = release();
    let release = envelope.digest().expect("it was just signed");
    let ceiling = vec![CeilingStep { age_ms: 0, share: Share::ALL }];
    let authorisation = Authorisation {
        rollout: 1,
        release,
        log_root: Digest::of(b"root"),
        unit: Unit::Device,
        profile: ProfileName::Standard,
        start_ms: START,
        not_after_ms: START + 86_400_000,
        ceiling,
        exposure_budget: Some(4),
        supersedes: None,
        signers: 0,
    };
    let (eligible_to, candidate_to) = (Some(Position::END), Some(Position::END));
    let frontier = Frontier {
        rollout: 1,
        release,
        sequence: 3,
        halted: false,
        completed: false,
        issued_ms: START,
        expires_ms: START + 60_000,
        reach: vec![Reach { ring: 0, stratum: "debian-12".into(), eligible_to, candidate_to }],
    };
    let permit = Permit {
        rollout: 1,
        release,
        device: DEVICE,
        arm: Arm::Treated,
        frontier_sequence: 3,
        nonce: NONCE.into(),
        issued_ms: START,
        expires_ms: START + 60_000,
    };
    let consumers = vec![Digest::of(b"guard")];
    let gate = Gate {
        result: "PASSED".into(),
        configuration: Vec::new(),
        passed_tests: vec!["start".into()],
        failed_tests: Vec::new(),
        header: Header { expires_ms: u64::MAX, ..Header::default() },
        attestation: GateAttestation {
            release,
            passed: true,
            consumers,
            checks: vec!["start".into()],
            waived: None,
            signers: 0,
        },
    };
    let policy = TenantPolicy { tenant: "clinic".into(), sequence: 4, policy: CustomerPolicy::default() };
    Bundle {
        release: Some(envelope),
        gate: Some(sign(&gate, &[&key(11), &key(12)])),
        authorisation: Some(sign(&headed(authorisation), &[&key(13), &key(14)])),
        frontier: Some(sign(&headed(frontier), &[&key(15)])),
        policy: Some(sign(&headed(policy), &[&key(20)])),
        permit: Some(sign(&headed(permit), &[&key(15)])),
        checkpoint: Some("staffel.test/log\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n".into()),
    }
}

/// Statements that are acted on by themselves: halt, un-halt, remedies, receipt, keyrings.
pub fn statements() -> Vec<Envelope> {
    let release = Digest::of(b"release");
    let halt = sign(&headed(Halt { release, rollout: Some(1), why: "dark".into() }), &[&key(16)]);
    let taken_back = Unhalt { release, why: "a mistake".into(), halt: halt.digest().expect("it was just signed") };
    let action = Action::QuarantineFile { pattern: "/drivers/C-*.sys".into(), sha256: release };
    let remedy = |action| Remedy { device: DEVICE, case: "c1".into(), sequence: 1, action };
    let receipt = Receipt { device: DEVICE, rollout: 1, release, nonce: NONCE.into() };
    let next = Keyring { version: 2, ..keyring() };
    vec![
        halt,
        sign(&headed(taken_back), &[&key(13), &key(14)]),
        sign(&headed(remedy(action)), &[&key(16), &key(17)]),
        sign(&headed(remedy(Action::StaySafe { why: "look".into() })), &[&key(16)]),
        sign(&headed(receipt), &[&key(15)]),
        sign(&keyring(), &[&key(1), &key(2)]),
        sign(&next, &[&key(1), &key(2)]),
    ]
}

/// Lines on the guard's socket.
pub fn commands() -> Vec<Vec<u8>> {
    let statement = || release();
    let commands = [
        Command::Status,
        Command::Prepare { bundle: Box::new(bundle()) },
        Command::Confirm { receipt: statement() },
        Command::Abort { why: "a probe failed".into() },
        Command::Remedy { remedy: statement() },
        Command::Probe,
    ];
    let refusals = vec![Refusal::GateMissing, Refusal::GateTooFewSigners { have: 1, need: 2 }];
    let replies = [
        Reply::Prepared { release: Digest::of(b"r"), nonce: NONCE.into(), age_ms: 7 },
        Reply::Refused { refusals },
        Reply::Failed { why: "no".into() },
    ];
    commands.iter().map(json).chain(replies.iter().map(json)).collect()
}

/// What agents and the server say.
pub fn words() -> Vec<Vec<u8>> {
    let release = Digest::of(b"release");
    let attributes = Attributes { os_build: "debian-12".into(), hardware_model: "box".into() };
    // From JSON, so that fields which later versions add need no change here.
    let check_in = serde_json::json!({
        "boot_id": "b",
        "mode": Mode::Safe { why: "asked".into() },
        "running": Generation::of([("till".to_string(), release)].into()).releases,
        "consumer": release,
        "attributes": attributes,
        "ready": Ready { rollout: 1, release, nonce: NONCE.into(), age_ms: Some(1) },
        "on_trial": OnTrial { rollout: 1, release, nonce: NONCE.into() },
        "outcome": Outcome { rollout: 1, release, committed: false, why: "dark".into() },
        "why": [Why { rollout: 1, refusals: vec![Refusal::GateMissing], problems: vec!["disk full".into()] }],
        "board": 3,
    });
    let reply = serde_json::json!({
        "server_ms": 1, "cadence_ms": 2, "board": 3, "policy": 4, "permit": self::release(), "remedies": statements(),
    });
    let offer = serde_json::json!({
        "rollout": 1, "name": "till", "version": "2", "release": release, "authorisation": self::release(),
    });
    let offer: Offer = serde_json::from_value(offer).expect("an offer");
    let board =
        Board { version: 3, keyrings: statements(), halts: statements(), offers: vec![offer], ..Board::default() };
    let outcome = RemedyOutcome { sequence: 1, done: true, why: "done".into() };
    let check_in: CheckIn = serde_json::from_value(check_in).expect("a check-in");
    let reply: CheckInReply = serde_json::from_value(reply).expect("a reply");
    let enrol = Enrol { token: "t".into(), csr_pem: "-----BEGIN".into(), name: "pc-1".into(), attributes };
    let bye = Bye { boot_id: "b".into(), why: "night".into() };
    vec![
        json(&check_in),
        json(&reply),
        json(&board),
        json(&enrol),
        json(&bye),
        json(&Remedied { outcomes: vec![outcome] }),
    ]
}

/// A checkpoint with a witness's cosignature.
pub fn checkpoint(signer: &LogSigner) -> (String, WitnessKey) {
    let log = MemoryLog::new();
    let entry = NewEntry::new(1, "test", *b"payload").expect("a good entry");
    log.append(0, &[entry]).expect("memory takes it");
    let checkpoint = sign_checkpoint(&log, signer).expect("signed");
    let folder = tempfile::tempdir().expect("a folder");
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let signed_by = WitnessSigner::new("witness.example", key).expect("a good name");
    let public = signed_by.public().clone();
    let witness = Witness::open(folder.path().join("witness.json"), signed_by, vec![signer.public().clone()]);
    let request = WitnessRequest { old_size: 0, proof: Vec::new(), checkpoint: checkpoint.note.clone() };
    let lines = witness.expect("a new witness").cosign(&request, START / 1_000).expect("cosigned");
    let witnesses = std::slice::from_ref(&public);
    let kept = add_cosignatures(&log, signer.public(), witnesses, &checkpoint, &lines).expect("it holds");
    (kept.note, public)
}

/// The same witness as devices know it.
pub fn device_witness(witness: &WitnessKey) -> DeviceWitness {
    DeviceWitness { name: witness.name().into(), key: staffel_statement::PublicKey(witness.raw()) }
}

/// A small repository, all files in memory.
pub struct Repository {
    pub folder: tempfile::TempDir,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pair = |n: u8| KeyPair::from_seed([n; 32]);
        let one = |n| KeySet::single(pair(n).public());
        let keys = TufKeys {
            root: KeySet::new(&[*pair(1).public(), *pair(2).public()], 2),
            targets: one(4),
            bins: one(5),
            gate: one(6),
            snapshot: one(8),
            timestamp: one(9),
        };
        let path = folder.path().join("repository");
        let options = Options { bins: 2, ..Options::default() };
        let ring = [1, 2, 4, 5, 6, 8, 9].into_iter().map(pair).collect();
        let mut writer = Writer::init(&path, &keys, ring, &options, TUF_NOW - 1_000).expect("a repository");
        writer.add_target(TARGET, Source::Bytes(CONTENT), None).expect("added");
        writer.publish(TUF_NOW - 500).expect("published");
        let mut files = BTreeMap::new();
        for sub in ["metadata", "targets"] {
            read_below(&path.join(sub), "", &mut files);
        }
        Repository { folder, files }
    }
}

fn read_below(folder: &std::path::Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match std::fs::read(entry.path()) {
            Ok(bytes) => drop(files.insert(name, bytes)),
            Err(_) => read_below(&entry.path(), &format!("{name}/"), files),
        }
    }
}
