//! Inventories and suspects on small fleets.

use super::*;
use proptest::prelude::*;

fn component(name: &str, version: &str) -> Component {
    let files = vec![
        FileHash { path: format!("/opt/{name}/program"), sha256: Digest::of(b"program") },
        FileHash { path: format!("/opt/{name}/content"), sha256: Digest::of(version.as_bytes()) },
    ];
    Component {
        kind: ComponentKind::SelfUpdater,
        name: name.into(),
        version: version.into(),
        supplier: "Somebody Ltd".into(),
        files,
    }
}

fn has(inventories: &mut Inventories, device: DeviceIndex, components: &[Component], at_ms: u64) {
    let digest = digest(components);
    inventories.learn(digest, components);
    inventories.has(device, &digest, at_ms);
}

/// 24 devices with shield 1; the first `updated` got shield 2 at 1,000 ms.
fn fleet(updated: DeviceIndex) -> Inventories {
    let mut inventories = Inventories::default();
    for device in 0..24 {
        has(&mut inventories, device, &[component("shield", "1"), component("printer", "7")], 0);
    }
    for device in 0..updated {
        has(&mut inventories, device, &[component("printer", "7"), component("shield", "2")], 1_000);
    }
    inventories
}

fn troubled(devices: &[DeviceIndex], since_ms: u64) -> BTreeMap<DeviceIndex, u64> {
    devices.iter().map(|device| (*device, since_ms)).collect()
}

#[test]
fn five_of_five_that_got_it_are_named_with_the_file_that_came() {
    let suspects = fleet(5).suspects(&troubled(&[0, 1, 2, 3, 4], 2_000), 24);
    assert_eq!(suspects.len(), 1);
    let suspect = &suspects[0];
    assert_eq!((suspect.component.name.as_str(), suspect.component.version.as_str()), ("shield", "2"));
    assert_eq!((suspect.got, suspect.got_in_trouble, suspect.others, suspect.others_in_trouble), (5, 5, 19, 0));
    assert_eq!(suspect.new_files, [FileHash { path: "/opt/shield/content".into(), sha256: Digest::of(b"2") }]);
    assert!((suspect.chance - 1.0 / 42_504.0).abs() < 1e-9);
}

#[test]
fn what_everybody_got_or_few_suffer_from_is_not_named() {
    assert_eq!(fleet(24).suspects(&troubled(&[0, 1, 2, 3, 4], 2_000), 24), []);
    assert_eq!(fleet(2).suspects(&troubled(&[0, 1], 2_000), 24), []);
    assert_eq!(fleet(5).suspects(&troubled(&[20, 21, 22, 23], 2_000), 24), []);
    assert_eq!(fleet(5).suspects(&BTreeMap::new(), 24), []);
}

#[test]
fn what_came_with_the_first_word_after_the_trouble_counts_and_what_came_later_does_not() {
    let mut inventories = fleet(0);
    for device in 0..5 {
        has(&mut inventories, device, &[component("printer", "7"), component("shield", "2")], 5_000);
        has(&mut inventories, device, &[component("printer", "7"), component("shield", "mended")], 9_000);
    }
    let named: Vec<_> = inventories
        .suspects(&troubled(&[0, 1, 2, 3, 4], 2_000), 24)
        .into_iter()
        .map(|suspect| suspect.component.version)
        .collect();
    assert_eq!(named, ["2"]);
}

#[test]
fn arrivals_are_forgotten_after_a_day_and_sets_with_their_last_device() {
    let mut inventories = fleet(5);
    let first = digest(&[component("shield", "1"), component("printer", "7")]);
    assert!(inventories.knows(&first));
    inventories.forget(1_000 + WINDOW_MS);
    assert_eq!(inventories.arrivals(0).count(), 1);
    inventories.forget(1_001 + WINDOW_MS);
    assert_eq!(inventories.arrivals(0).count(), 0);
    assert_eq!(inventories.suspects(&troubled(&[0, 1, 2, 3, 4], 2_000), 24), []);
    for device in 0..24 {
        has(&mut inventories, device, &[component("shield", "3")], 2_000);
    }
    assert!(!inventories.knows(&first));
    assert_eq!(inventories.of(3).map(|c| c.version.as_str()).collect::<Vec<_>>(), ["3"]);
}

#[test]
fn an_unknown_set_changes_nothing_and_order_does_not_matter() {
    let mut inventories = fleet(0);
    inventories.has(3, &Digest::of(b"unknown"), 10);
    assert_eq!(inventories.of(3).count(), 2);
    let (a, b) = (component("a", "1"), component("b", "1"));
    assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b, a]));
}

proptest! {
    /// Whatever comes in whatever order: the counters are those of a recount.
    #[test]
    fn counters_are_those_of_a_recount(
        steps in prop::collection::vec((0u32..6, prop::collection::btree_set(0u8..5, 0..4), 0u64..3), 0..60),
    ) {
        let mut inventories = Inventories::default();
        let mut now = 0;
        for (device, names, later) in steps {
            now += later * WINDOW_MS / 2;
            let components: Vec<_> = names.iter().map(|n| component("c", &n.to_string())).collect();
            has(&mut inventories, device, &components, now);
            inventories.forget(now);
            let mut got: BTreeMap<u32, u32> = BTreeMap::new();
            for list in inventories.arrivals.values() {
                for arrival in list {
                    *got.entry(arrival.component).or_default() += 1;
                }
            }
            prop_assert_eq!(&got, &inventories.got);
            let mut devices: BTreeMap<u32, u32> = BTreeMap::new();
            for set in inventories.set_of.values() {
                *devices.entry(*set).or_default() += 1;
            }
            for (at, set) in inventories.sets.iter().enumerate() {
                prop_assert_eq!(set.as_ref().map_or(0, |set| set.devices), devices.get(&(at as u32)).copied().unwrap_or(0));
            }
            prop_assert_eq!(inventories.by_digest.len(), devices.len());
        }
    }
}
