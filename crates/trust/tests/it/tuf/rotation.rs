//! New keys for each role: clients old and new follow, and the old key is worth nothing afterwards.

use std::fs;

use staffel_trust::tuf::client::ClientError;
use staffel_trust::tuf::envelope::{parse, sign};
use staffel_trust::tuf::metadata::References;
use staffel_trust::tuf::writer::{KeySet, Keyring, Role};

use super::support::*;

fn rotate(world: &mut World, role: Role) {
    let new = key(new_seed(role));
    world.repository.add_keys(Keyring::from_iter([new.clone()]));
    world.repository.rotate(role, &KeySet::single(new.public()), NOW).unwrap();
}

#[test]
fn clients_follow_the_rotation_of_each_role() {
    let mut world = World::new(4);
    world.add("gate/g", b"gate");
    world.add_and_publish("a", b"0", NOW);
    let mut running = world.client("running");
    fetch(&mut running, "a", NOW).unwrap();
    for (index, role) in Role::ALL.into_iter().enumerate() {
        rotate(&mut world, role);
        for client in [&mut running, &mut world.client("restarted"), &mut world.client(role.as_str())] {
            assert_eq!(fetch(client, "gate/g", NOW).unwrap(), b"gate", "{role}");
            assert!(fetch(client, "a", NOW).is_ok(), "{role}");
        }
        // And the repository goes on.
        let content = index.to_string();
        world.add_and_publish("a", content.as_bytes(), NOW);
        assert_eq!(fetch(&mut running, "a", NOW).unwrap(), content.as_bytes(), "{role}");
    }
    assert_eq!(running.root_version(), 5, "root, targets, snapshot and timestamp are named in the root");

    // Opening needs nothing but the files, and the new keys alone suffice from now on.
    let mut world = world.reopen(Role::ALL.into_iter().map(|role| key(new_seed(role))).collect());
    for role in Role::ALL {
        world.repository.renew(role, NOW + DAY).unwrap();
    }
    world.add_and_publish("b", b"new keys only", NOW + DAY);
    assert_eq!(fetch(&mut running, "b", NOW + DAY).unwrap(), b"new keys only");
}

#[test]
fn a_lost_online_key_can_be_replaced_without_it() {
    for (role, seed) in [(Role::Timestamp, 9), (Role::Snapshot, 8), (Role::Targets, 4)] {
        let mut world = World::new(1);
        world.add_and_publish("a", b"1", NOW);
        let mut client = world.client("a");
        fetch(&mut client, "a", NOW).unwrap();
        let mut world = world.reopen(keyring((1..=9).filter(|other| *other != seed)));
        rotate(&mut world, role);
        assert_eq!(fetch(&mut client, "a", NOW).unwrap(), b"1", "{role}");
        world.reopen(keyring([]));
    }
}

#[test]
fn a_replaced_key_is_worth_nothing() {
    let mut world = World::new(1);
    let mut client = world.client("a");
    refresh(&mut client, NOW).unwrap();
    rotate(&mut world, Role::Timestamp);
    refresh(&mut client, NOW).unwrap();
    let bytes = fs::read(world.metadata("timestamp.json")).unwrap();
    let (_, mut forged) = parse::<References>(&bytes, "timestamp").unwrap();
    forged.version += 1;
    fs::write(world.metadata("timestamp.json"), sign(&forged, "timestamp", [&key(9)]).unwrap()).unwrap();
    let error = refresh(&mut client, NOW).unwrap_err();
    assert!(matches!(error, ClientError::Signature { .. }), "{error}");
}

#[test]
fn a_root_needs_the_old_and_the_new_threshold() {
    let mut world = World::new(1);
    let new: Vec<_> = (50..53).map(key).collect();
    let keys = KeySet::new(new.iter().map(|pair| pair.public()), 2);
    let mut only_new = world.reopen(new.iter().cloned().collect());
    let files = tree(&only_new.path());
    assert!(only_new.repository.rotate(Role::Root, &keys, NOW).is_err());
    world = only_new.reopen(keyring([1, 2, 50]));
    assert!(world.repository.rotate(Role::Root, &keys, NOW).is_err());
    assert_eq!(tree(&world.path()), files);
    let mut world = world.reopen(keyring([1, 2, 50, 51]));
    world.repository.rotate(Role::Root, &keys, NOW).unwrap();
    let mut client = world.client("a");
    refresh(&mut client, NOW).unwrap();
    assert_eq!(client.root_version(), 2);

    // With one signature of the old three gone, the threshold of two is not met.
    let path = world.metadata("2.root.json");
    let mut root: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    root["signatures"].as_array_mut().unwrap().retain(|signature| signature["keyid"] != key(1).id().as_str());
    fs::write(&path, root.to_string()).unwrap();
    let error = refresh(&mut world.client("b"), NOW).unwrap_err();
    assert!(matches!(error, ClientError::Signature { .. }), "{error}");
}
