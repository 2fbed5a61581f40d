//! Halts that were taken back, keyrings in a chain, a policy that does not hold.

use super::*;
use staffel_trust::statement::{
    SigningKey,
    keyring::RoleKeys,
    predicate::{Header, sign},
};

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn role(keys: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(|&n| key(n).public()).collect(), threshold }
}

fn keyring(version: u64, online: u8) -> Keyring {
    Keyring {
        version,
        root: role(&[1, 2, 3], 2),
        release: role(&[10], 1),
        gate: role(&[11, 12], 2),
        releasers: role(&[13, 14], 2),
        online: role(&[online], 1),
        operators: role(&[16, 17], 1),
        witnesses: Vec::new(),
    }
}

fn headed<T>(body: T) -> Headed<T> {
    Headed { header: Header::default(), body }
}

fn release() -> Digest {
    Digest::of(b"release")
}

fn halt(why: &str) -> Envelope {
    sign(&headed(Halt { release: release(), rollout: None, why: why.into() }), &[&key(16)])
}

fn unhalt(halt: &Envelope, keys: &[&SigningKey]) -> Envelope {
    let halt = halt.digest().unwrap();
    sign(&headed(Unhalt { release: release(), why: "a mistake".into(), halt }), keys)
}

fn policy(sequence: u64, tenant: &str) -> Envelope {
    let policy = CustomerPolicy { rings: vec![vec!["ward-1".into()]], ..CustomerPolicy::default() };
    sign(&headed(TenantPolicy { tenant: tenant.into(), sequence, policy }), &[&key(20)])
}

fn judge(folder: &tempfile::TempDir) -> Judge {
    let directory = Directory::new(folder.path());
    directory.create().unwrap();
    directory::write_json(&directory.keyring(), &sign(&keyring(1, 15), &[&key(1), &key(2)])).unwrap();
    let installation = Installation {
        device: DeviceId([7; 16]),
        name: "ward-1".into(),
        tenant: "clinic".into(),
        site: "main".into(),
        stratum: "debian-12/box".into(),
        tenant_keys: vec![key(20).public()],
    };
    Judge::open(&directory, installation).unwrap()
}

fn names(news: &News) -> Vec<String> {
    let name = |command| serde_json::to_value(command).unwrap()["command"].as_str().unwrap().to_string();
    news.commands.iter().map(name).collect()
}

#[test]
fn a_halt_is_told_once_and_one_taken_back_by_two_releasers_is_not_believed_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut judge = judge(&folder);
    let halt = halt("dark");
    let mut board = Board { version: 1, halts: vec![halt.clone()], ..Board::default() };
    assert_eq!(names(&judge.take_board(board.clone()).unwrap()), ["deny"]);
    assert!(judge.is_unsaved());
    judge.save().unwrap();
    assert_eq!(names(&judge.take_board(board.clone()).unwrap()), [""; 0]);

    board.unhalts = vec![unhalt(&halt, &[&key(13)])];
    let news = judge.take_board(board.clone()).unwrap();
    assert_eq!((names(&news).len(), news.problems.len()), (0, 1), "one releaser is not enough");
    assert!(judge.verifier.memory.denied.contains_key(&release()));

    board.unhalts = vec![unhalt(&halt, &[&key(13), &key(14)])];
    assert_eq!(names(&judge.take_board(board.clone()).unwrap()), ["undeny"]);
    assert!(judge.verifier.memory.denied.is_empty());
    // Both stay on the board; a restarted agent must not deny what runs again.
    let mut restarted = super::tests::judge(&folder);
    assert_eq!(names(&restarted.take_board(board).unwrap()), ["undeny"]);
}

#[test]
fn a_second_halt_stands_although_the_first_was_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut judge = judge(&folder);
    let (first, second) = (halt("dark"), halt("still dark"));
    let unhalts = vec![unhalt(&first, &[&key(13), &key(14)])];
    let board = Board { version: 1, halts: vec![first, second], unhalts, ..Board::default() };
    assert_eq!(names(&judge.take_board(board).unwrap()), ["deny"]);
    assert!(judge.verifier.memory.denied.contains_key(&release()));
}

#[test]
fn keyrings_are_followed_kept_and_passed_on_to_a_guard_that_lacks_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut judge = judge(&folder);
    let root = [&key(1), &key(2)];
    let next: Vec<Envelope> = (2..4).map(|n| sign(&keyring(n, 40 + n as u8), &root)).collect();
    let board = Board { version: 1, keyrings: next, ..Board::default() };
    let news = judge.take_board(board.clone()).unwrap();
    assert!(news.new_keyring);
    assert_eq!(names(&news), ["keyring", "keyring"]);
    let forged = Board { keyrings: vec![sign(&keyring(4, 50), &[&key(50)])], ..board };
    assert_eq!(judge.take_board(forged).unwrap().problems.len(), 1);
    let restarted = super::tests::judge(&folder);
    assert_eq!(restarted.keyring().version, 3);
    for (guard, lacks) in [(0, 2), (1, 2), (2, 1), (3, 0), (9, 0)] {
        assert_eq!(restarted.keyrings_after(guard).len(), lacks, "a guard with version {guard}");
    }
}

#[test]
fn an_older_or_foreign_policy_does_not_replace_the_one_at_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut judge = judge(&folder);
    assert_eq!(judge.take_policy(Some(policy(5, "clinic"))).unwrap(), None);
    for bad in [policy(4, "clinic"), policy(6, "bank")] {
        assert!(judge.take_policy(Some(bad)).unwrap().is_some());
        assert_eq!(judge.policy_sequence, 5);
    }
    assert_eq!(super::tests::judge(&folder).policy_sequence, 5);
}
