//! A witness against an honest log, a restored one, a forked one, and its own crashes.

use ed25519_dalek::SigningKey;
use staffel_store::{
    Log, LogSigner, MemoryLog, NewEntry, StoreError, Tree, Witness, WitnessError, WitnessRequest, add_cosignatures,
    consistency_proof, sign_checkpoint, verify_checkpoint, verify_log, witness_time,
};

use crate::support::{ORIGIN, directory, entry, keys, signer, witness_signer};

const NOW: u64 = 1_721_347_200;

fn append(log: &MemoryLog, from: u64, names: &[&str]) {
    let new: Vec<NewEntry> = names.iter().map(|name| entry(name)).collect();
    log.append(from, &new).expect("append");
}

fn request(log: &MemoryLog, old_size: u64) -> WitnessRequest {
    let checkpoint = sign_checkpoint(log, &signer()).expect("sign");
    WitnessRequest {
        old_size,
        proof: consistency_proof(log, checkpoint.size, old_size).expect("proof"),
        checkpoint: checkpoint.note,
    }
}

fn open(directory: &std::path::Path, number: u8) -> Witness {
    let state = directory.join(format!("witness-{number}.json"));
    Witness::open(state, witness_signer(number), vec![keys(&[]).log]).expect("open")
}

#[test]
fn an_honest_log_is_cosigned_and_its_time_can_be_told() {
    let directory = directory();
    let witness = open(directory.path(), 1);
    let log = MemoryLog::new();
    append(&log, 0, &["a", "b", "c"]);
    let line = witness.cosign(&request(&log, 0), NOW).expect("first sight");
    let kept = log.checkpoints().expect("read").remove(0);
    let cosigned = add_cosignatures(&log, &keys(&[]).log, &keys(&[1]).witnesses, &kept, &line).expect("add");
    let both = keys(&[1, 2]);
    assert_eq!(witness_time(&cosigned.note, &both.log, &both.witnesses, 1), Ok(Some(NOW)));
    assert_eq!(witness_time(&cosigned.note, &both.log, &both.witnesses, 2), Ok(None));

    append(&log, 3, &["d"]);
    let line = witness.cosign(&request(&log, 3), NOW + 60).expect("it went on");
    let kept = log.checkpoints().expect("read").pop().expect("kept");
    let line_2 = open(directory.path(), 2).cosign(&request(&log, 0), NOW + 50).expect("another witness");
    let cosigned =
        add_cosignatures(&log, &both.log, &both.witnesses, &kept, &format!("{line}{line_2}")).expect("add both");
    assert_eq!(cosigned.cosignatures, 2);
    assert_eq!(witness_time(&cosigned.note, &both.log, &both.witnesses, 2), Ok(Some(NOW + 50)));
    let report = verify_log(&log, Some(&both));
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.checkpoint_size, report.witnessed_size), (Some(4), Some(4)));
    assert_eq!(report.witnessed.len(), 2);

    // One key under two names is still one witness.
    let twice = [both.witnesses[0].clone(), both.witnesses[0].clone()];
    assert_eq!(witness_time(&cosigned.note, &both.log, &twice, 2), Ok(None));
    // A known witness's line that was changed is not quietly passed over, an unknown one's is only counted.
    let verified = verify_checkpoint(&cosigned.note, &both.log, &both.witnesses[..1]).expect("verify");
    assert_eq!((verified.witnessed.len(), verified.unknown_signatures), (1, 1));
    let other_body = cosigned.note.replacen("\n4\n", "\n5\n", 1);
    assert!(witness_time(&other_body, &both.log, &both.witnesses, 1).is_err());
    let foreign_line = add_cosignatures(&log, &both.log, &both.witnesses, &kept, &line.replace("A", "B"));
    assert!(foreign_line.is_err(), "{line}");
}

#[test]
fn rollback_fork_and_wrong_proofs_are_refused_also_after_a_restart() {
    let directory = directory();
    let log = MemoryLog::new();
    append(&log, 0, &["a", "b"]);
    let restored = request(&log, 0);
    append(&log, 2, &["c", "d"]);
    open(directory.path(), 1).cosign(&request(&log, 0), NOW).expect("sign");

    let forked = MemoryLog::new();
    append(&forked, 0, &["a", "b", "c", "x"]);
    let longer_fork = MemoryLog::new();
    append(&longer_fork, 0, &["a", "b", "c", "x", "y"]);
    append(&log, 4, &["e"]);
    for round in 0..2 {
        let witness = open(directory.path(), 1);
        assert_eq!(witness.known_size(ORIGIN), 4, "round {round}");
        let refused = |request: &WitnessRequest| witness.cosign(request, NOW + 1).expect_err("refused");
        assert!(matches!(refused(&restored), WitnessError::Rollback { offered: 2, known: 4, .. }));
        assert!(matches!(refused(&request(&forked, 0)), WitnessError::Fork { offered: 4, known: 4, .. }));
        assert!(matches!(refused(&request(&forked, 4)), WitnessError::Fork { offered: 4, known: 4, .. }));
        let error = refused(&request(&longer_fork, 4));
        assert!(matches!(error, WitnessError::Inconsistent { offered: 5, known: 4, .. }));
        assert_eq!(error.http_status(), 422);
        let error = refused(&request(&log, 3));
        assert!(matches!(error, WitnessError::OtherSize { offered: 3, known: 4, .. }));
        assert_eq!(error.http_status(), 409);
        let mut unproven = request(&log, 4);
        unproven.proof.pop();
        assert!(matches!(refused(&unproven), WitnessError::Inconsistent { .. }));
        let mut ahead = request(&log, 4);
        ahead.old_size = 6;
        assert!(matches!(refused(&ahead), WitnessError::Malformed { .. }));
    }
    let witness = open(directory.path(), 1);
    witness.cosign(&request(&log, 4), NOW).expect("the honest log goes on");
    witness.cosign(&request(&log, 5), NOW).expect("the same head again is no fork");
}

#[test]
fn foreign_logs_and_signatures_are_refused() {
    let directory = directory();
    let witness = open(directory.path(), 1);
    let log = MemoryLog::new();
    append(&log, 0, &["a"]);
    let thief = LogSigner::new(ORIGIN, SigningKey::from_bytes(&[66; 32])).expect("plain");
    let mut stolen = request(&log, 0);
    stolen.checkpoint = sign_checkpoint(&MemoryLog::new(), &thief).expect("sign").note;
    assert!(matches!(witness.cosign(&stolen, NOW), Err(WitnessError::Signature(_))));
    let stranger = LogSigner::new("other.example/log", SigningKey::from_bytes(&[66; 32])).expect("plain");
    stolen.checkpoint = sign_checkpoint(&MemoryLog::new(), &stranger).expect("sign").note;
    assert!(matches!(witness.cosign(&stolen, NOW), Err(WitnessError::UnknownLog { .. })));
    stolen.checkpoint = format!("{ORIGIN}\nnot a checkpoint");
    assert!(matches!(witness.cosign(&stolen, NOW), Err(WitnessError::Malformed { .. })));
    assert_eq!(witness.known_size(ORIGIN), 0, "nothing of it is remembered");
}

#[test]
fn signed_time_never_goes_back() {
    let directory = directory();
    let log = MemoryLog::new();
    append(&log, 0, &["a"]);
    let key = keys(&[1]);
    let signed_at = |request: &WitnessRequest, now| {
        let line = open(directory.path(), 1).cosign(request, now).expect("sign");
        witness_time(&format!("{}{line}", request.checkpoint), &key.log, &key.witnesses, 1).expect("verify")
    };
    assert_eq!(signed_at(&request(&log, 0), NOW), Some(NOW));
    assert_eq!(signed_at(&request(&log, 1), 0), Some(NOW), "a clock in 1970");
}

#[test]
fn the_memory_is_one_process_s_and_not_forgiving() {
    let directory = directory();
    let state = directory.path().join("witness-1.json");
    let witness = open(directory.path(), 1);
    let again = Witness::open(&state, witness_signer(1), Vec::new());
    assert!(
        matches!(&again, Err(StoreError::Locked { holder: Some(id), .. }) if *id == std::process::id()),
        "{again:?}"
    );
    let log = MemoryLog::new();
    append(&log, 0, &["a"]);
    witness.cosign(&request(&log, 0), NOW).expect("sign");
    drop(witness);

    // Fields of a later version stay.
    let text = std::fs::read_to_string(&state).expect("read");
    std::fs::write(&state, text.replacen('{', "{\n  \"later\": [1, 2],", 1)).expect("write");
    append(&log, 1, &["b"]);
    open(directory.path(), 1).cosign(&request(&log, 1), NOW).expect("sign");
    let text = std::fs::read_to_string(&state).expect("read");
    assert!(text.contains("\"later\""), "{text}");

    std::fs::write(&state, &text[..text.len() / 2]).expect("damage it");
    let damaged = Witness::open(&state, witness_signer(1), Vec::new());
    assert!(matches!(damaged, Err(StoreError::Corrupt { .. })), "{damaged:?}");
    std::fs::write(&state, text.replace("\"version\": 1", "\"version\": 2")).expect("write");
    let newer = Witness::open(&state, witness_signer(1), Vec::new());
    assert!(matches!(newer, Err(StoreError::TooNew { found: 2, .. })), "{newer:?}");
}

#[test]
fn a_request_survives_its_text_form() {
    let log = MemoryLog::new();
    append(&log, 0, &["a", "b", "c", "d", "e"]);
    let request = request(&log, 3);
    assert!(!request.proof.is_empty());
    let text = request.to_text();
    assert_eq!(WitnessRequest::parse(&text), Ok(request));
    for bad in [
        String::new(),
        text.replacen("old 3", "old 03", 1),
        text.replacen("old 3", "old -3", 1),
        text.replacen("old 3\n", "old 3\nAAAA\n", 1),
        text.replacen("\n\n", "\n", 2),
        text.replacen("old 3\n", &format!("old 3\n{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(64)), 1),
    ] {
        let parsed = WitnessRequest::parse(&bad);
        assert!(matches!(parsed, Err(WitnessError::Malformed { .. })), "{bad}");
    }
}
