//! What the writer publishes the client finds, and each host needs only its own keys.

use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::json;
use staffel_trust::tuf::client::{ClientError, DirectoryTransport, Fetch, Resource, Transport};
use staffel_trust::tuf::writer::{Lifetimes, Repository, Role, Source, WriterError};

use super::support::*;

#[test]
fn published_targets_arrive() {
    for bins in [1, 2, 16] {
        let mut world = World::new(bins);
        let file = world.directory.path().join("input");
        fs::write(&file, b"from a file").unwrap();
        world.repository.add_target("content/1/rules.bin", Source::Bytes(b"rules"), Some(json!({"floor": 7}))).unwrap();
        world.repository.add_target("os/image", Source::File(&file), None).unwrap();
        world.add("gate/abc.json", b"attested");
        assert_eq!(world.repository.staged(), 3);
        world.repository.publish(NOW).unwrap();
        assert_eq!(world.repository.staged(), 0);

        let mut client = world.client("a");
        assert_eq!(fetch(&mut client, "content/1/rules.bin", NOW).unwrap(), b"rules");
        assert_eq!(fetch(&mut client, "os/image", NOW).unwrap(), b"from a file");
        assert_eq!(fetch(&mut client, "gate/abc.json", NOW).unwrap(), b"attested");
        let rules = info(&mut client, "content/1/rules.bin").unwrap().unwrap();
        assert_eq!((rules.length, rules.custom), (5, Some(json!({"floor": 7}))));
        assert!(rules.role.starts_with("bin-"), "{}", rules.role);
        assert_eq!(info(&mut client, "gate/abc.json").unwrap().unwrap().role, "gate");
        assert_eq!(info(&mut client, "absent").unwrap(), None);
    }
}

#[test]
fn replaced_and_removed_targets_change_for_the_client() {
    let mut world = World::new(16);
    world.add_and_publish("a", b"one", NOW);
    let mut client = world.client("a");
    assert_eq!(fetch(&mut client, "a", NOW).unwrap(), b"one");
    world.add_and_publish("a", b"two", NOW);
    assert_eq!(fetch(&mut client, "a", NOW).unwrap(), b"two");
    world.repository.remove_target("a").unwrap();
    assert!(matches!(world.repository.remove_target("a"), Err(WriterError::Target { .. })));
    world.repository.publish(NOW).unwrap();
    let error = fetch(&mut client, "a", NOW).unwrap_err();
    assert!(matches!(error, ClientError::UnknownTarget { .. }), "{error}");
}

#[test]
fn only_what_changed_is_written() {
    let mut world = World::new(16);
    let before = tree(&world.path());
    world.add("a", b"1");
    let published = world.repository.publish(NOW).unwrap();
    let bin = world.repository.layout().role_of("a");
    assert_eq!(published.files, [format!("2.{bin}.json"), "2.snapshot.json".to_owned()]);
    let after = tree(&world.path());
    let changed: Vec<_> = after.iter().filter(|(name, content)| before.get(*name) != Some(content)).collect();
    assert_eq!(changed.len(), 4, "bin, snapshot, timestamp and the target itself: {changed:?}");
    assert_eq!(world.repository.publish(NOW).unwrap().files, Vec::<String>::new());
    assert_eq!(tree(&world.path()), after, "publishing nothing changes nothing");
}

/// Remembers what is asked for.
struct Counting(DirectoryTransport, Arc<Mutex<Vec<String>>>);

impl Transport for Counting {
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a> {
        self.1.lock().unwrap().push(resource.name().to_owned());
        self.0.fetch(resource, limit)
    }
}

#[test]
fn a_client_fetches_no_more_than_it_needs() {
    let mut world = World::new(16);
    world.add_and_publish("a", b"1", NOW);
    let bin = world.repository.layout().role_of("a");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let counting = || Counting(DirectoryTransport::new(&world.path()), Arc::clone(&requests));
    fetch(&mut world.client_of("c", counting()), "a", NOW).unwrap();
    let bin_file = format!("2.{bin}.json");
    let first = ["2.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", &bin_file];
    assert_eq!(requests.lock().unwrap()[..5], first);
    assert_eq!(requests.lock().unwrap().len(), 6);
    requests.lock().unwrap().clear();
    // After a restart, with nothing new: the root probe, the timestamp, the target.
    fetch(&mut world.client_of("c", counting()), "a", NOW).unwrap();
    assert_eq!(requests.lock().unwrap()[..2], ["2.root.json", "timestamp.json"]);
    assert_eq!(requests.lock().unwrap().len(), 3);
}

#[test]
fn an_online_host_needs_only_online_keys() {
    let mut world = World::new(16);
    world.add_and_publish("a", b"1", NOW);
    let mut world = world.reopen(keyring([8, 9]));
    let before = world.repository.timestamp_version();
    world.repository.refresh_timestamp(NOW + DAY / 2).unwrap();
    assert_eq!(world.repository.timestamp_version(), before + 1);
    assert_eq!(fetch(&mut world.client("a"), "a", NOW + DAY + DAY / 4).unwrap(), b"1");

    world.add("b", b"2");
    let bin = world.repository.layout().role_of("b");
    let files = tree(&world.path());
    match world.repository.publish(NOW).unwrap_err() {
        WriterError::MissingKey { role, needed: 1, held: 0, missing } => {
            assert_eq!((role, missing), (bin, vec![key(5).id()]));
        }
        other => panic!("{other}"),
    }
    for (role, expected) in [(Role::Root, "root"), (Role::Targets, "targets"), (Role::Gate, "gate")] {
        let error = world.repository.renew(role, NOW).unwrap_err();
        assert!(matches!(&error, WriterError::MissingKey { role, .. } if role == expected), "{error}");
    }
    assert_eq!(tree(&world.path()), files, "a refused operation writes nothing");

    let mut world = world.reopen(keyring([8]));
    let error = world.repository.refresh_timestamp(NOW).unwrap_err();
    assert!(matches!(&error, WriterError::MissingKey { role, .. } if role == "timestamp"), "{error}");
    // Three root keys, two needed, one at hand: the message names the other two.
    let mut world = world.reopen(keyring([1, 8, 9]));
    match world.repository.renew(Role::Root, NOW).unwrap_err() {
        WriterError::MissingKey { needed: 2, held: 1, missing, .. } => assert_eq!(missing.len(), 2),
        other => panic!("{other}"),
    }
}

#[test]
fn snapshot_is_signed_again_in_its_second_half() {
    let mut world = World::new(1);
    let published = world.repository.refresh_timestamp(NOW + DAY).unwrap();
    assert_eq!((published.timestamp, published.snapshot), (2, 1));
    let published = world.repository.refresh_timestamp(NOW + 4 * DAY).unwrap();
    assert_eq!((published.timestamp, published.snapshot), (3, 2));
    // A host that slept for a month starts again by itself.
    let published = world.repository.refresh_timestamp(NOW + 30 * DAY).unwrap();
    assert_eq!((published.timestamp, published.snapshot), (4, 3));
    refresh(&mut world.client("a"), NOW + 30 * DAY).unwrap();
}

#[test]
fn releaser_signs_and_online_host_adopts() {
    let world = World::new(16);
    let mut world = world.reopen(keyring([5]));
    world.add("a", b"1");
    let bin = world.repository.layout().role_of("a");
    assert_eq!(world.repository.sign_staged(NOW).unwrap(), [format!("2.{bin}.json")]);
    // Still invisible, and a second signing keeps the first.
    assert!(matches!(fetch(&mut world.client("x"), "a", NOW), Err(ClientError::UnknownTarget { .. })));
    let same_bin = (0..).map(|n| format!("b{n}")).find(|path| world.repository.layout().role_of(path) == bin).unwrap();
    world.add(&same_bin, b"2");
    world.repository.sign_staged(NOW).unwrap();

    let mut world = world.reopen(keyring([8, 9]));
    let published = world.repository.adopt(NOW).unwrap();
    assert_eq!(published.files, [format!("2.{bin}.json"), "2.snapshot.json".to_owned()]);
    let mut client = world.client("a");
    assert_eq!(fetch(&mut client, "a", NOW).unwrap(), b"1");
    assert_eq!(fetch(&mut client, &same_bin, NOW).unwrap(), b"2");
    assert_eq!(world.repository.adopt(NOW).unwrap().files, Vec::<String>::new());
}

#[test]
fn online_host_adopts_nothing_that_releasers_did_not_sign() {
    let mut world = World::new(1);
    world.add("a", b"1");
    let files = world.repository.sign_staged(NOW).unwrap();
    let good = fs::read(world.metadata(&files[0])).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let mut world = world.reopen(keyring([8, 9]));
    fs::write(world.metadata(&files[0]), text.replace("\"length\":1", "\"length\":2")).unwrap();
    let error = world.repository.adopt(NOW).unwrap_err();
    assert!(matches!(error, WriterError::Metadata { .. }), "{error}");
    // An old file under a new version's name is validly signed, but it is not that version.
    fs::copy(world.metadata("1.bin-0.json"), world.metadata(&files[0])).unwrap();
    assert!(matches!(world.repository.adopt(NOW), Err(WriterError::Inconsistent { .. })));
    fs::write(world.metadata(&files[0]), &good).unwrap();
    assert!(matches!(world.repository.adopt(NOW + 400 * DAY), Err(WriterError::Inconsistent { .. })));
    world.repository.adopt(NOW).unwrap();
}

#[test]
fn writer_refuses_what_cannot_be_published() {
    let mut world = World::new(1);
    for path in ["../x", "/x", "a//b", "", "a\\b"] {
        let error = world.repository.add_target(path, Source::Bytes(b""), None).unwrap_err();
        assert!(matches!(error, WriterError::Path(_)), "{error}");
    }
    for (path, custom) in [("gate/a/b", None), ("a", Some(json!(1.5)))] {
        let error = world.repository.add_target(path, Source::Bytes(b""), custom).unwrap_err();
        assert!(matches!(error, WriterError::Target { .. }), "{error}");
    }
    let second = Repository::open(&world.path(), keyring([]), Lifetimes::default());
    assert!(matches!(second, Err(WriterError::Locked { .. })));
    let World { directory, repository } = world;
    drop(repository);
    let path = directory.path().join("repository");
    let again = Repository::init(&path, &role_keys(), keyring(1..=9), &Default::default(), NOW);
    assert!(matches!(again, Err(WriterError::Exists { .. })));
}

#[test]
fn writer_refuses_key_sets_that_cannot_work() {
    let directory = tempfile::tempdir().unwrap();
    let mut twice = role_keys();
    twice.gate.keys = vec![*key(6).public(), *key(6).public()];
    let mut none = role_keys();
    none.root.threshold = 0;
    let mut many = role_keys();
    many.snapshot.threshold = 2;
    for roles in [twice, none, many] {
        let result = Repository::init(directory.path(), &roles, keyring(1..=9), &Default::default(), NOW);
        assert!(matches!(result, Err(WriterError::Keys { .. })));
    }
}

#[test]
fn writer_signs_nothing_over_a_directory_that_was_tampered_with() {
    for (name, from, to) in [
        ("1.targets.json", "\"terminating\":true", "\"terminating\":false"),
        ("1.snapshot.json", "\"version\":1", "\"version\":2"),
        ("timestamp.json", "\"version\":1", "\"version\":9"),
        ("1.root.json", "\"threshold\":2", "\"threshold\":1"),
    ] {
        let world = World::new(1);
        let text = fs::read_to_string(world.metadata(name)).unwrap();
        assert!(text.contains(from), "{name}");
        fs::write(world.metadata(name), text.replace(from, to)).unwrap();
        let World { directory, repository } = world;
        drop(repository);
        let opened = Repository::open(&directory.path().join("repository"), keyring(1..=9), Lifetimes::default());
        assert!(matches!(opened, Err(WriterError::Metadata { .. } | WriterError::Inconsistent { .. })), "{name}");
    }
}

#[test]
fn expiry_of_every_role_is_known() {
    let world = World::new(2);
    for (role, days) in [
        (Role::Root, 365),
        (Role::Targets, 365),
        (Role::Bins, 365),
        (Role::Gate, 365),
        (Role::Snapshot, 7),
        (Role::Timestamp, 1),
    ] {
        assert_eq!(world.repository.expires(role).unwrap(), NOW + days * DAY, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_runs_as_a_task_of_its_own() {
    let mut world = World::new(1);
    world.add_and_publish("a", b"1", NOW);
    let mut client = world.client("a");
    let task = tokio::spawn(async move {
        client.refresh(NOW).await?;
        client.download("a").await
    });
    assert_eq!(task.await.unwrap().unwrap(), b"1");
}
