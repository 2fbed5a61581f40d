//! A writer that dies at any point leaves a repository that clients accept and a writer can continue.
//!
//! The states are built from the files before and after a publication, in the order in which the writer writes them: all
//! new files, the timestamp, the root.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use staffel_trust::tuf::client::{Client, DirectoryTransport};
use staffel_trust::tuf::writer::{KeySet, Keyring, Role, Source, WriterError};

use super::support::*;

type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// Every state a crash can leave, with whether its timestamp is the new one.
fn states(before: &Tree, after: &Tree) -> Vec<(Tree, bool)> {
    let timestamp = Path::new("metadata/timestamp.json");
    let is_root = |name: &Path| name.to_string_lossy().ends_with(".root.json");
    let new = || after.iter().filter(|(name, _)| !before.contains_key(*name));
    let mut state = before.clone();
    let mut states = vec![(state.clone(), false)];
    for (name, content) in new().filter(|(name, _)| !is_root(name)) {
        let mut half = state.clone();
        let partial = name.with_file_name(format!(".{}.partial", name.file_name().unwrap().to_string_lossy()));
        half.insert(partial, content[..content.len() / 2].to_vec());
        states.push((half, false));
        state.insert(name.clone(), content.clone());
        states.push((state.clone(), false));
    }
    state.insert(timestamp.to_owned(), after[timestamp].clone());
    states.push((state.clone(), true));
    for (name, content) in new().filter(|(name, _)| is_root(name)) {
        state.insert(name.clone(), content.clone());
        states.push((state.clone(), true));
    }
    assert_eq!(state, *after, "the last state is the finished publication");
    states
}

fn client(repository: &Path, state: &Path) -> Client {
    let root = fs::read(repository.join("metadata/1.root.json")).unwrap();
    Client::open(state, &root, DirectoryTransport::new(repository)).unwrap()
}

#[test]
fn a_publication_is_all_or_nothing() {
    let mut world = World::new(4);
    world.add_and_publish("a", b"old", NOW);
    let before = tree(&world.path());
    for path in ["a", "b", "c", "d", "gate/e"] {
        world.add(path, b"new");
    }
    world.repository.publish(NOW).unwrap();
    for (state, published) in states(&before, &tree(&world.path())) {
        let place = tempfile::tempdir().unwrap();
        let repository = place.path().join("repository");
        plant(&repository, &state);
        let mut reader = client(&repository, &place.path().join("client"));
        let expected: &[u8] = if published { b"new" } else { b"old" };
        assert_eq!(fetch(&mut reader, "a", NOW).unwrap(), expected);
        assert_eq!(fetch(&mut reader, "gate/e", NOW).is_ok(), published);
        // The writer continues over the remains, and the client that saw the state before follows.
        let mut writer = open(&repository, keyring(1..=9));
        writer.add_target("a", Source::Bytes(b"next"), None).unwrap();
        writer.publish(NOW).unwrap();
        assert_eq!(fetch(&mut reader, "a", NOW).unwrap(), b"next");
    }
}

#[test]
fn a_rotation_never_leaves_an_invalid_repository() {
    for role in Role::ALL {
        let mut world = World::new(2);
        world.add_and_publish("a", b"kept", NOW);
        let before = tree(&world.path());
        let new = key(new_seed(role));
        world.repository.add_keys(Keyring::from_iter([new.clone()]));
        world.repository.rotate(role, &KeySet::single(new.public()), NOW).unwrap();
        if role == Role::Root {
            // One file: it is there or it is not.
            assert_eq!(tree(&world.path()).len(), before.len() + 1);
            continue;
        }
        for (state, _) in states(&before, &tree(&world.path())) {
            let place = tempfile::tempdir().unwrap();
            let repository = place.path().join("repository");
            plant(&repository, &state);
            let mut reader = client(&repository, &place.path().join("client"));
            assert_eq!(fetch(&mut reader, "a", NOW).unwrap(), b"kept", "{role}");
            let mut keys = keyring(1..=9);
            keys.insert(new.clone());
            let mut writer = open(&repository, keys);
            writer.rotate(role, &KeySet::single(new.public()), NOW).unwrap();
            assert_eq!(fetch(&mut reader, "a", NOW).unwrap(), b"kept", "{role}");
        }
    }
}

/// Fails the write of one metadata file: a directory is in the way of its temporary file.
fn failing<T>(world: &mut World, name: &str, operation: impl FnOnce(&mut World) -> Result<T, WriterError>) {
    let obstacle = world.metadata(&format!(".{name}.partial"));
    fs::create_dir(&obstacle).unwrap();
    let error = operation(world).err().unwrap();
    assert!(matches!(error, WriterError::File { operation: "creating", .. }), "{name}: {error}");
    fs::remove_dir(&obstacle).unwrap();
}

/// The real order of writing, observed by failing each write.
#[test]
fn each_write_of_a_publication_may_fail() {
    let mut world = World::new(1);
    world.add_and_publish("a", b"old", NOW);
    let mut running = world.client("running");
    world.add("a", b"new");
    for name in ["3.bin-0.json", "3.snapshot.json", "timestamp.json"] {
        failing(&mut world, name, |world| world.repository.publish(NOW));
        assert_eq!(world.repository.staged(), 1, "{name}");
        for client in [&mut running, &mut world.client(name)] {
            assert_eq!(fetch(client, "a", NOW).unwrap(), b"old", "{name}");
        }
    }
    world.repository.publish(NOW).unwrap();
    assert_eq!(fetch(&mut running, "a", NOW).unwrap(), b"new");
}

#[test]
fn each_write_of_a_rotation_may_fail() {
    for role in [Role::Timestamp, Role::Snapshot, Role::Targets] {
        let mut world = World::new(1);
        world.add_and_publish("a", b"kept", NOW);
        let mut running = world.client("running");
        let new = key(new_seed(role));
        world.repository.add_keys(Keyring::from_iter([new.clone()]));
        let keys = KeySet::single(new.public());
        for name in ["timestamp.json", "2.root.json"] {
            failing(&mut world, name, |world| world.repository.rotate(role, &keys, NOW));
            for client in [&mut running, &mut world.client(name)] {
                assert_eq!(fetch(client, "a", NOW).unwrap(), b"kept", "{role}, {name}");
                assert_eq!(client.root_version(), 1);
            }
        }
        world.repository.rotate(role, &keys, NOW).unwrap();
        assert_eq!(fetch(&mut running, "a", NOW).unwrap(), b"kept", "{role}");
        assert_eq!(running.root_version(), 2);
    }
}
