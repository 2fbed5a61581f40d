//! What a hostile mirror can do to a repository's files, and what the client says to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use staffel_trust::tuf::client::{Client, ClientError, FetchError, FromFunction, Resource};
use staffel_trust::tuf::writer::Role;

use super::support::*;

/// A transport that serves a tree of files from memory.
fn serve(files: BTreeMap<PathBuf, Vec<u8>>) -> impl Fn(Resource<'_>, u64) -> Result<Vec<u8>, FetchError> {
    move |resource, limit| {
        let path = match resource {
            Resource::Metadata(name) => format!("metadata/{name}"),
            Resource::Target(name) => format!("targets/{name}"),
        };
        match files.get(&PathBuf::from(path)) {
            None => Err(FetchError::NotFound),
            Some(bytes) if bytes.len() as u64 > limit => Err(FetchError::TooLarge),
            Some(bytes) => Ok(bytes.clone()),
        }
    }
}

/// A fresh client that sees `files` refreshes and downloads `a`.
fn fresh_fetch(root: &[u8], files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<Vec<u8>, ClientError> {
    let state = tempfile::tempdir().unwrap();
    let mut client = Client::open(state.path(), root, FromFunction(serve(files.clone()))).unwrap();
    fetch(&mut client, "a", NOW)
}

fn small_world() -> (World, BTreeMap<PathBuf, Vec<u8>>, Vec<u8>) {
    let mut world = World::new(1);
    world.add_and_publish("a", b"genuine", NOW);
    world.repository.renew(Role::Root, NOW).unwrap();
    let files = tree(&world.path());
    let root = files[&PathBuf::from("metadata/1.root.json")].clone();
    (world, files, root)
}

/// The files that a client with root 1 uses on its way to target `a`.
const USED: [&str; 5] = ["2.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", "2.bin-0.json"];

#[test]
fn each_role_expires_by_name() {
    let mut world = World::new(1);
    world.add_and_publish("a", b"1", NOW);
    let expired = |world: &World, now| match fetch(&mut world.client("fresh"), "a", now).unwrap_err() {
        ClientError::Expired { role, .. } => role,
        other => panic!("{other}"),
    };
    assert_eq!(expired(&world, NOW + 2 * DAY), "timestamp");
    // A timestamp for ever: what is below shows.
    let World { directory, repository } = world;
    drop(repository);
    let lifetimes = |days: u64| {
        let of = |days: u64| std::time::Duration::from_secs(days * 86_400);
        staffel_trust::tuf::writer::Lifetimes {
            timestamp: of(4000),
            snapshot: of(days),
            root: of(365),
            targets: of(200),
        }
    };
    let reopen = |days| {
        let path = directory.path().join("repository");
        staffel_trust::tuf::writer::Repository::open(&path, keyring(1..=9), lifetimes(days)).unwrap()
    };
    let mut repository = reopen(7);
    repository.renew(Role::Snapshot, NOW).unwrap();
    drop(repository);
    let at = |now| {
        let root = fs::read(directory.path().join("repository/metadata/1.root.json")).unwrap();
        let transport = staffel_trust::tuf::client::DirectoryTransport::new(&directory.path().join("repository"));
        let state = tempfile::tempdir().unwrap();
        let mut client = Client::open(state.path(), &root, transport).unwrap();
        match fetch(&mut client, "a", now).unwrap_err() {
            ClientError::Expired { role, .. } => role,
            other => panic!("{other}"),
        }
    };
    assert_eq!(at(NOW + 8 * DAY), "snapshot");
    let mut repository = reopen(4000);
    repository.renew(Role::Targets, NOW).unwrap();
    drop(repository);
    assert_eq!(at(NOW + 201 * DAY), "targets");
    let mut repository = reopen(4000);
    repository.renew(Role::Targets, NOW + 100 * DAY).unwrap();
    drop(repository);
    // The bin was signed at NOW for a year; renewed a hundred days earlier than the targets, it goes first.
    let mut repository = reopen(4000);
    repository.renew(Role::Bins, NOW).unwrap();
    drop(repository);
    assert_eq!(at(NOW + 201 * DAY), "bin-0");
    assert_eq!(at(NOW + 366 * DAY), "root");
}

#[test]
fn older_timestamp_is_refused() {
    let mut world = World::new(1);
    let old = fs::read(world.metadata("timestamp.json")).unwrap();
    world.add_and_publish("a", b"1", NOW);
    let mut client = world.client("a");
    refresh(&mut client, NOW).unwrap();
    fs::write(world.metadata("timestamp.json"), old).unwrap();
    for client in [&mut client, &mut world.client("a")] {
        match refresh(client, NOW).unwrap_err() {
            ClientError::Rollback { role, trusted: 2, offered: 1 } => assert_eq!(role, "timestamp"),
            other => panic!("{other}"),
        }
    }
    // Nothing is resolved after a refused refresh.
    assert!(matches!(info(&mut client, "a"), Err(ClientError::NotRefreshed)));
}

#[test]
fn files_of_different_versions_do_not_mix() {
    let (_world, files, root) = small_world();
    for (name, older) in
        [("2.snapshot.json", "1.snapshot.json"), ("2.bin-0.json", "1.bin-0.json"), ("1.targets.json", "2.bin-0.json")]
    {
        let mut mixed = files.clone();
        let older = files[&PathBuf::from("metadata").join(older)].clone();
        mixed.insert(PathBuf::from("metadata").join(name), older);
        let error = fresh_fetch(&root, &mixed).unwrap_err();
        // A snapshot of another length than the timestamp says is stopped by its length already.
        assert!(
            matches!(
                error,
                ClientError::Mismatch { .. } | ClientError::Signature { .. } | ClientError::TooLarge { .. }
            ),
            "{name}: {error}"
        );
    }
    // Root 3 that is root 2 again.
    let mut mixed = files.clone();
    mixed.insert("metadata/3.root.json".into(), files[&PathBuf::from("metadata/2.root.json")].clone());
    let error = fresh_fetch(&root, &mixed).unwrap_err();
    assert!(matches!(error, ClientError::Rollback { trusted: 2, offered: 2, .. }), "{error}");
}

#[test]
fn truncated_files_are_refused() {
    let (_world, files, root) = small_world();
    for name in USED {
        let path = PathBuf::from("metadata").join(name);
        for length in [0, 1, files[&path].len() / 2, files[&path].len() - 1] {
            let mut cut = files.clone();
            cut.get_mut(&path).unwrap().truncate(length);
            let error = fresh_fetch(&root, &cut).unwrap_err();
            assert!(
                matches!(error, ClientError::Malformed { .. } | ClientError::Mismatch { .. }),
                "{name} cut to {length}: {error}"
            );
        }
    }
}

#[test]
fn changed_targets_are_refused() {
    let (_world, files, root) = small_world();
    assert_eq!(fresh_fetch(&root, &files).unwrap(), b"genuine");
    let (target, _) = files.iter().find(|(name, _)| name.starts_with("targets")).unwrap();
    for content in [&b"malicious"[..], b"genuinE", b"genuin", b""] {
        let mut changed = files.clone();
        changed.insert(target.clone(), content.to_vec());
        let error = fresh_fetch(&root, &changed).unwrap_err();
        assert!(matches!(error, ClientError::Mismatch { .. } | ClientError::TooLarge { .. }), "{error}");
    }
    let mut gone = files.clone();
    gone.remove(target);
    assert!(matches!(fresh_fetch(&root, &gone), Err(ClientError::Missing { .. })));
}

#[test]
fn missing_metadata_is_named() {
    let (_world, files, root) = small_world();
    for name in &USED[1..] {
        let mut gone = files.clone();
        gone.remove(&PathBuf::from("metadata").join(name));
        match fresh_fetch(&root, &gone).unwrap_err() {
            ClientError::Missing { file } => assert_eq!(file, *name),
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn a_server_that_is_gone_is_told_apart() {
    let world = World::new(1);
    let gone = FromFunction(|_: Resource<'_>, _| Err(FetchError::failed("connection refused")));
    let error = refresh(&mut world.client_of("a", gone), NOW).unwrap_err();
    assert!(matches!(error, ClientError::Transport { .. }), "{error}");
    assert_eq!(chain(&error), "fetching 2.root.json: connection refused");
}

#[test]
fn endless_data_is_cut_off() {
    let (_world, files, root) = small_world();
    for name in USED {
        let mut padded = files.clone();
        padded.get_mut(&PathBuf::from("metadata").join(name)).unwrap().extend(vec![b' '; 6_000_000]);
        let error = fresh_fetch(&root, &padded).unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { .. }), "{name}: {error}");
    }
    // A transport that overlooks the limit gains nothing.
    let state = tempfile::tempdir().unwrap();
    let careless = FromFunction(|resource: Resource<'_>, _| match resource {
        Resource::Metadata("timestamp.json") => Ok(vec![b' '; 20_000]),
        _ => Err(FetchError::NotFound),
    });
    let error = refresh(&mut Client::open(state.path(), &root, careless).unwrap(), NOW).unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 16_384, .. }), "{error}");
}

/// Either refused, or nothing that is signed has changed: root carries three signatures where two are needed, so one of
/// them may break.
#[test]
fn one_flipped_bit_is_refused_or_harmless() {
    let (_world, files, root) = small_world();
    let signed = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap()["signed"].take();
    let (mut refused, mut harmless) = (0, 0);
    for name in USED {
        let path = PathBuf::from("metadata").join(name);
        let genuine = &files[&path];
        // Eighty places meet every member and are quick enough to run each time.
        for place in (0..genuine.len()).step_by(genuine.len().div_ceil(80)) {
            let mut flipped = files.clone();
            flipped.get_mut(&path).unwrap()[place] ^= 1 << (place % 8);
            match fresh_fetch(&root, &flipped) {
                Ok(content) => {
                    assert_eq!(content, b"genuine", "{name} at {place}");
                    assert_eq!(signed(&flipped[&path]), signed(genuine), "{name} at {place}");
                    harmless += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 10 * harmless, "{refused} refused, {harmless} harmless");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), which in 0..USED.len()) {
        let (_world, mut files, root) = small_world();
        files.insert(PathBuf::from("metadata").join(USED[which]), bytes);
        prop_assert!(fresh_fetch(&root, &files).is_err());
    }
}
