//! The mistakes that TUF clients are known to make, one test each (list in the trust design page).

use serde_json::{Value, json};
use staffel_trust::tuf::client::{Client, ClientError, FetchError, FromFunction, Resource};

use super::crafted::{Crafted, FAR, plain_root, public, targets};
use super::support::*;

fn file(content: &[u8]) -> Value {
    use sha2::Digest;
    json!({"length": content.len(), "hashes": {"sha256": hex::encode(sha2::Sha256::digest(content))}})
}

fn delegation(name: &str, keyids: &[&str], threshold: u64, pattern: &str) -> Value {
    json!({"name": name, "keyids": keyids, "threshold": threshold, "terminating": false, "paths": [pattern]})
}

/// `targets` delegates to `first` and `second` (key 10 each), and each of these to `shared`: `first` with key 11, which
/// signed it, `second` with key 12, which did not.
#[test]
fn a_delegated_role_is_verified_for_each_delegator() {
    let crafted = Crafted::new(&plain_root());
    let (parent, good, other) = (key(10), key(11), key(12));
    let top = json!({
        "keys": {parent.id(): public(&parent)},
        "roles": [delegation("first", &[&parent.id()], 1, "a/*"), delegation("second", &[&parent.id()], 1, "b/*")],
    });
    let shared = |pair: &staffel_trust::keyfile::KeyPair, pattern: &str| json!({"keys": {pair.id(): public(pair)}, "roles": [delegation("shared", &[&pair.id()], 1, pattern)]});
    crafted.put("1.targets.json", &targets(1, json!({}), top), &[&key(2)]);
    crafted.put("1.first.json", &targets(1, json!({}), shared(&good, "a/*")), &[&parent]);
    crafted.put("1.second.json", &targets(1, json!({}), shared(&other, "b/*")), &[&parent]);
    let listed = json!({"a/x": file(b"1"), "b/x": file(b"2")});
    crafted.put("1.shared.json", &targets(1, listed, Value::Null), &[&good]);
    crafted.put_online(1, FAR, &[("targets", 1), ("first", 1), ("second", 1), ("shared", 1)]);

    let mut client = crafted.client();
    refresh(&mut client, NOW).unwrap();
    assert_eq!(info(&mut client, "a/x").unwrap().unwrap().role, "shared");
    // Trusted by now, but not for this delegator; in memory and from disk alike.
    for client in [&mut client, &mut crafted.client()] {
        refresh(client, NOW).unwrap();
        let error = info(client, "b/x").unwrap_err();
        assert!(matches!(error, ClientError::Signature { .. }), "{error}");
        assert!(info(client, "a/x").unwrap().is_some());
    }
}

#[test]
fn a_threshold_of_zero_is_refused() {
    for role in ["root", "targets", "snapshot", "timestamp"] {
        let mut root = plain_root();
        root["roles"][role]["threshold"] = json!(0);
        let crafted = Crafted {
            root: staffel_trust::tuf::envelope::sign(&root, "root", [&key(1)]).unwrap(),
            ..Crafted::new(&plain_root())
        };
        let transport = FromFunction(|_: Resource<'_>, _| Err(FetchError::NotFound));
        let error = Client::open(crafted.state.path(), &crafted.root, transport).err().unwrap();
        assert!(error.to_string().contains("threshold of 0"), "{role}: {error}");
    }
    let crafted = Crafted::new(&plain_root());
    let delegations = json!({"keys": {}, "roles": [delegation("open", &[], 0, "*")]});
    crafted.put("1.targets.json", &targets(1, json!({}), delegations), &[&key(2)]);
    crafted.put("1.open.json", &targets(1, json!({"x": file(b"1")}), Value::Null), &[]);
    crafted.put_online(1, FAR, &[("targets", 1), ("open", 1)]);
    let error = fetch(&mut crafted.client(), "x", NOW).unwrap_err();
    assert!(error.to_string().contains("threshold of 0"), "{error}");
}

/// The library alone accepts this; `precheck` does not.
#[test]
fn one_key_under_two_ids_reaches_no_threshold_of_two() {
    use staffel_trust::tuf::envelope::{Envelope, Signature, parse, sign};
    let mut root = plain_root();
    root["version"] = json!(2);
    root["keys"]["alias"] = public(&key(4));
    root["roles"]["timestamp"] = json!({"keyids": [key(4).id(), "alias"], "threshold": 2});
    let crafted = Crafted::new(&plain_root());
    crafted.put("1.targets.json", &targets(1, json!({}), Value::Null), &[&key(2)]);
    crafted.put_online(1, FAR, &[("targets", 1)]);
    {
        let mut files = crafted.files.lock().unwrap();
        let (mut envelope, _): (Envelope, Value) = parse(&files["timestamp.json"], "timestamp").unwrap();
        let sig = envelope.signatures[0].sig.clone();
        envelope.signatures.push(Signature { keyid: "alias".into(), sig });
        let twice_signed = serde_json::to_vec(&envelope).unwrap();
        let root = sign(&root, "root", [&key(1)]).unwrap();
        // What is being guarded against is real: the library's own check counts two.
        let mut library = sigstore_tuf::TrustedMetadataSet::from_root(&crafted.root).unwrap();
        library.update_root(&root).unwrap();
        library.update_timestamp(&twice_signed, jiff::Timestamp::UNIX_EPOCH).unwrap();
        files.insert("timestamp.json".into(), twice_signed);
        files.insert("2.root.json".into(), root);
    }
    let error = refresh(&mut crafted.client(), NOW).unwrap_err();
    assert!(error.to_string().contains("two ids"), "{error}");
}

#[test]
fn an_expired_timestamp_keeps_its_floor() {
    let crafted = Crafted::new(&plain_root());
    crafted.put("1.targets.json", &targets(1, json!({}), Value::Null), &[&key(2)]);
    crafted.put_online(5, "2027-02-01T00:00:00Z", &[("targets", 1)]);
    refresh(&mut crafted.client(), NOW).unwrap();
    let later = NOW + 365 * DAY;
    assert!(matches!(refresh(&mut crafted.client(), later), Err(ClientError::Expired { .. })));
    // Lower, but not expired: the stored one is useless and still a floor.
    crafted.put_online(4, FAR, &[("targets", 1)]);
    let error = refresh(&mut crafted.client(), later).unwrap_err();
    assert!(matches!(error, ClientError::Rollback { trusted: 5, offered: 4, .. }), "{error}");
    crafted.put_online(6, FAR, &[("targets", 1)]);
    refresh(&mut crafted.client(), later).unwrap();
}

/// An attacker with the online keys lets one refresh break off after the timestamp, in the hope that the client then
/// forgets which version of targets it has seen.
#[test]
fn a_timestamp_stored_before_its_snapshot_keeps_the_floor_of_targets() {
    let crafted = Crafted::new(&plain_root());
    for version in [1, 3] {
        crafted.put(&format!("{version}.targets.json"), &targets(version, json!({}), Value::Null), &[&key(2)]);
    }
    crafted.put_online(1, FAR, &[("targets", 3)]);
    refresh(&mut crafted.client(), NOW).unwrap();
    crafted.put_online(2, FAR, &[("targets", 3)]);
    let withheld = crafted.files.lock().unwrap().remove("2.snapshot.json").unwrap();
    assert!(matches!(refresh(&mut crafted.client(), NOW), Err(ClientError::Missing { .. })));
    assert_eq!(stored_version(&crafted, "timestamp"), 2);
    crafted.put_online(3, FAR, &[("targets", 1)]);
    let error = refresh(&mut crafted.client(), NOW).unwrap_err();
    assert!(matches!(error, ClientError::Rollback { trusted: 3, offered: 1, .. }), "{error}");
    // The timestamp's own floor held as well.
    crafted.put_online(2, FAR, &[("targets", 3)]);
    crafted.files.lock().unwrap().insert("2.snapshot.json".into(), withheld);
    assert!(matches!(refresh(&mut crafted.client(), NOW), Err(ClientError::Rollback { .. })));
    crafted.put_online(4, FAR, &[("targets", 3)]);
    refresh(&mut crafted.client(), NOW).unwrap();
}

fn stored_version(crafted: &Crafted, role: &str) -> u64 {
    let bytes = std::fs::read(crafted.state.path().join(format!("metadata/{role}.json"))).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    value["signed"]["version"].as_u64().unwrap()
}

#[test]
fn a_snapshot_must_not_drop_a_role() {
    let crafted = Crafted::new(&plain_root());
    crafted.put("1.targets.json", &targets(1, json!({}), Value::Null), &[&key(2)]);
    crafted.put_online(1, FAR, &[("targets", 1), ("bin-0", 7)]);
    refresh(&mut crafted.client(), NOW).unwrap();
    crafted.put_online(2, FAR, &[("targets", 1)]);
    let error = refresh(&mut crafted.client(), NOW).unwrap_err();
    assert!(matches!(error, ClientError::Mismatch { .. }), "{error}");
}

#[test]
fn target_names_and_hashes_cannot_lead_out() {
    let crafted = Crafted::new(&plain_root());
    let mut bad_hash = file(b"1");
    bad_hash["hashes"]["sha256"] = json!("../../../secret");
    let listed = json!({"../../evil": file(b"1"), "bad": bad_hash, "none": {"length": 1, "hashes": {"md5": "00"}}});
    crafted.put("1.targets.json", &targets(1, listed, Value::Null), &[&key(2)]);
    crafted.put_online(1, FAR, &[("targets", 1)]);
    let mut client = crafted.client();
    refresh(&mut client, NOW).unwrap();
    for path in ["../../evil", "/etc/passwd", "a//b", "a\\b", ""] {
        assert!(matches!(info(&mut client, path), Err(ClientError::Path(_))), "{path}");
    }
    for path in ["bad", "none"] {
        assert!(matches!(info(&mut client, path), Err(ClientError::Malformed { .. })), "{path}");
    }
}

#[test]
fn role_names_cannot_lead_out() {
    let crafted = Crafted::new(&plain_root());
    let pair = key(10);
    let names = ["../../escaped", "/absolute", "root", "root_history/2.root", "?", "..", "with space"];
    let roles: Vec<Value> = names.iter().map(|name| delegation(name, &[&pair.id()], 1, "*")).collect();
    let delegations = json!({"keys": {pair.id(): public(&pair)}, "roles": roles});
    crafted.put("1.targets.json", &targets(1, json!({}), delegations), &[&key(2)]);
    let mut versions = vec![("targets", 1)];
    for name in names {
        versions.push((name, 1));
        let encoded = staffel_trust::tuf::path::percent_encode(name);
        crafted.put(&format!("1.{encoded}.json"), &targets(1, json!({}), Value::Null), &[&pair]);
    }
    crafted.put_online(1, FAR, &versions);
    let mut client = crafted.client();
    refresh(&mut client, NOW).unwrap();
    assert_eq!(info(&mut client, "absent").unwrap(), None);
    let outside: Vec<_> = tree(crafted.state.path()).into_keys().filter(|path| !path.starts_with("metadata")).collect();
    assert_eq!(outside, Vec::<std::path::PathBuf>::new());
    assert!(crafted.state.path().join("metadata/..%2F..%2Fescaped.json").exists());
    // A restart still finds the genuine root.
    refresh(&mut crafted.client(), NOW).unwrap();
}

#[test]
fn delegation_loops_end() {
    let crafted = Crafted::new(&plain_root());
    let pair = key(10);
    let to =
        |name: &str| json!({"keys": {pair.id(): public(&pair)}, "roles": [delegation(name, &[&pair.id()], 1, "*")]});
    crafted.put("1.targets.json", &targets(1, json!({}), to("one")), &[&key(2)]);
    crafted.put("1.one.json", &targets(1, json!({}), to("two")), &[&pair]);
    crafted.put("1.two.json", &targets(1, json!({}), to("one")), &[&pair]);
    crafted.put_online(1, FAR, &[("targets", 1), ("one", 1), ("two", 1)]);
    let mut client = crafted.client();
    refresh(&mut client, NOW).unwrap();
    assert_eq!(info(&mut client, "absent").unwrap(), None);
}

#[test]
fn hostile_json_is_an_error_and_no_panic() {
    let deep = "[".repeat(100_000);
    let signed = |inner: &str| format!("{{\"signatures\":[],\"signed\":{inner}}}");
    let texts = [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "\u{0}".into(),
        deep,
        "1e999".into(),
        "{\"signatures\":{},\"signed\":[]}".into(),
        "{\"signatures\":[{\"keyid\":1}],\"signed\":{}}".into(),
        signed("null"),
        signed("[]"),
        signed("{\"_type\":7}"),
        signed("{\"_type\":\"timestamp\",\"spec_version\":\"9.0\"}"),
        signed("{\"_type\":\"timestamp\",\"version\":18446744073709551615}"),
        signed("{\"_type\":\"timestamp\",\"version\":-1,\"x\":1.5}"),
        signed(
            "{\"_type\":\"timestamp\",\"spec_version\":\"1.0\",\"version\":18446744073709551615,\"expires\":\"x\",\"meta\":{}}",
        ),
        signed("{\"roles\":[],\"keys\":3,\"delegations\":{\"roles\":{},\"keys\":[]}}"),
    ];
    for name in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        for text in &texts {
            let crafted = Crafted::new(&plain_root());
            crafted.put("1.targets.json", &targets(1, json!({}), Value::Null), &[&key(2)]);
            crafted.put_online(1, FAR, &[("targets", 1)]);
            crafted.files.lock().unwrap().insert(name.to_owned(), text.clone().into_bytes());
            assert!(refresh(&mut crafted.client(), NOW).is_err(), "{name}: {text:.60}");
        }
    }
}

/// The highest version there is, and validly signed: nothing to count up to, and no overflow.
#[test]
fn the_highest_version_does_not_overflow() {
    let mut root = plain_root();
    root["version"] = json!(u64::MAX);
    let crafted = Crafted::new(&root);
    crafted.put(&format!("{}.targets.json", u64::MAX), &targets(u64::MAX, json!({}), Value::Null), &[&key(2)]);
    crafted.put_online(u64::MAX, FAR, &[("targets", u64::MAX)]);
    let mut client = crafted.client();
    refresh(&mut client, NOW).unwrap();
    refresh(&mut client, NOW).unwrap();
    assert!(matches!(refresh(&mut client, u64::MAX), Err(ClientError::Clock { .. })));
}

#[test]
fn stored_metadata_is_trusted_no_more_than_the_network() {
    let mut world = World::new(1);
    world.add_and_publish("a", b"1", NOW);
    let state = world.directory.path().join("clients/a");
    fetch(&mut world.client("a"), "a", NOW).unwrap();
    for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "bin-0.json", "floor/timestamp.json"] {
        for content in [&b""[..], b"{}", b"garbage"] {
            std::fs::write(state.join(name), content).unwrap();
            assert_eq!(fetch(&mut world.client("a"), "a", NOW).unwrap(), b"1", "{name}");
        }
    }
}

#[test]
fn a_device_that_missed_years_follows_every_root() {
    let mut world = World::new(1);
    world.add_and_publish("a", b"1", NOW);
    for year in 1..=3 {
        world.repository.renew(staffel_trust::tuf::writer::Role::Root, NOW + year * 360 * DAY).unwrap();
    }
    let now = NOW + 3 * 360 * DAY;
    for role in [staffel_trust::tuf::writer::Role::Targets, staffel_trust::tuf::writer::Role::Bins] {
        world.repository.renew(role, now).unwrap();
    }
    let mut client = world.client("a");
    assert_eq!(fetch(&mut client, "a", now).unwrap(), b"1");
    assert_eq!(client.root_version(), 4);
    // Bounded, and with progress kept: three new roots, one at a time.
    let limits = staffel_trust::tuf::client::Limits { rotations: 2, ..Default::default() };
    let mut slow = world.client("slow").with_limits(limits);
    assert!(matches!(refresh(&mut slow, now), Err(ClientError::Rotations { limit: 2 })));
    assert_eq!(slow.root_version(), 3);
    refresh(&mut slow, now).unwrap();
}
