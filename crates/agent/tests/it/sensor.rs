//! What a sensor left for the server is delivered, acknowledged, and its absence noticed. The folder is filled as
//! `crates/sensor/src/spool.rs` fills it.

use crate::support::world::World;
use staffel_trust::wire::{Found, SensorTrouble};
use std::{fs, path::PathBuf};

fn folder(world: &World) -> PathBuf {
    let folder = world.folder.path().join("sensor");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn put(world: &World, numbers: std::ops::RangeInclusive<u64>) {
    fs::write(folder(world).join("stream"), "0123abcd").unwrap();
    for number in numbers {
        let text = format!(
            "{{\"number\":{number},\"kind\":\"match\",\"rule\":\"r\",\"title\":\"t\",\"severity\":\"high\",\
             \"class\":\"process_creation\",\"pack\":\"linux\",\"version\":2,\"fields\":{{\"Image\":\"/bin/x\"}},\
             \"count\":3,\"first_ms\":10,\"last_ms\":20}}"
        );
        fs::write(folder(world).join(format!("{number:020}.json")), text).unwrap();
    }
}

fn acknowledged(world: &World) -> Option<String> {
    fs::read_to_string(folder(world).join("acknowledged")).ok()
}

fn delivered(world: &World) -> Vec<u64> {
    world.mock(|mock| {
        let all = mock.detections.iter().filter(|delivery| delivery.stream == "0123abcd");
        all.flat_map(|delivery| delivery.findings.iter().map(|finding| finding.number)).collect()
    })
}

#[test]
fn findings_are_delivered_in_batches_and_acknowledged_when_they_are_noted() {
    let world = World::new();
    put(&world, 1..=300);
    fs::write(folder(&world).join("alive.json"), "{\"beats\":1,\"pack\":\"linux 7\",\"blind\":{\"poll\":\"x\"}}")
        .unwrap();
    let agent =
        world.run_until(world.agent(), "all findings", |world| acknowledged(world).as_deref() == Some("0123abcd 300"));
    assert_eq!(delivered(&world), (1..=300).collect::<Vec<_>>());
    assert!(world.mock(|mock| mock.detections.len()) >= 3, "in batches");
    let said = |world: &World| world.status().is_some_and(|status| status.sensor == "linux 7 runs; blind: poll: x");
    world.run_until(agent, "the status", said);
}

#[test]
fn what_is_not_noted_stays() {
    let world = World::new();
    put(&world, 1..=3);
    world.mock(|mock| mock.note_detections = false);
    let refused = |world: &World| {
        let status = world.status();
        status.is_some_and(|status| status.problems.iter().any(|problem| problem.contains("what the sensor found")))
    };
    world.run_until(world.agent(), "a refusal", refused);
    assert_eq!(acknowledged(&world), None);
    world.mock(|mock| mock.note_detections = true);
    world.run_until(world.agent(), "the second try", |world| acknowledged(world).is_some());
    assert_eq!(delivered(&world), [1, 2, 3, 1, 2, 3]);
}

#[test]
fn what_the_agent_has_to_say_of_the_sensor_is_delivered_once() {
    let world = World::new();
    let mut own = staffel_agent::findings::Own::default();
    own.say_silent("nothing is heard".into(), 5);
    let file = world.directory().findings();
    fs::write(&file, serde_json::to_vec(&own).unwrap()).unwrap();
    let gone = |_: &World| {
        let kept: staffel_agent::findings::Own = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        kept.waiting.is_empty() && kept.last == 1
    };
    world.run_until(world.agent(), "the word", gone);
    world.mock(|mock| {
        let [delivery] = mock.detections.as_slice() else { panic!("{:?}", mock.detections) };
        assert!(delivery.stream.starts_with("agent-"));
        assert!(matches!(delivery.findings[0].what, Found::Sensor { trouble: SensorTrouble::Silent, .. }));
    });
    assert!(world.status().unwrap().sensor.contains("SILENT"));
}
