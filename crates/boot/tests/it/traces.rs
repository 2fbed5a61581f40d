//! What earlier starts of the machine left: told with the start that finds it, until the server has heard of it.

use crate::support::*;
use staffel_core::{
    boot::traces::{Start, Trace},
    ids::Digest,
};
use staffel_guard::{
    partition::{Images, Partition},
    volume::Folder,
};
use staffel_statement::guard::{Command, Reply};
use std::fs;

fn panicked(world: &World, number: u64, what: &str) {
    fs::create_dir_all(world.path("pstore")).unwrap();
    let record = format!("Panic#1 Part1\n<0>[    1.0] Kernel panic - not syncing: {what}\n");
    world.write(&format!("pstore/dmesg-efi_pstore-{number}01001"), record.as_bytes());
}

fn said(start: Option<&Start>) -> Vec<String> {
    start.iter().flat_map(|start| &start.traces).map(ToString::to_string).collect()
}

fn told(world: &World, start: &Start) {
    let traces: Vec<Digest> = start.traces.iter().map(|trace| trace.id(&start.boot_id)).collect();
    assert!(matches!(world.ask(Command::StartReported { traces }), Reply::Done { .. }));
}

#[test]
fn a_crash_is_told_once_whatever_happens_to_the_guard_and_a_watchdog_at_each_start() {
    let mut world = World::new();
    panicked(&world, 1_782_252_001, "one");
    let first = world.start().start.expect("something was found");
    assert_eq!(first.boot_id, "1");
    assert!(said(Some(&first))[0].contains("not syncing: one"), "{first:?}");
    // Nobody has heard of it yet, and the guard is killed.
    world.kill();
    assert_eq!(world.start().start.as_ref(), Some(&first));
    told(&world, &first);
    assert_eq!(world.status().start, None);
    world.kill();
    assert_eq!(world.start().start, None, "that it was told survives");

    // The kernel's record is still there at the next start, beside another one.
    world.stop();
    world.next_boot();
    panicked(&world, 1_782_252_900, "two");
    fs::create_dir_all(world.path("watchdogs/watchdog0")).unwrap();
    world.write("watchdogs/watchdog0/bootstatus", b"32\n");
    world.write("watchdogs/watchdog0/identity", b"i6300ESB timer\n");
    let second = world.start().start.expect("something was found");
    let lines = said(Some(&second));
    assert!(lines.len() == 2 && lines[0].contains("two") && lines[1].contains("i6300ESB"), "{lines:?}");
    told(&world, &second);
    world.stop();
    world.next_boot();
    let third = world.start().start;
    assert!(matches!(&third.as_ref().unwrap().traces[..], [Trace::Watchdog { .. }]), "{third:?}");
}

#[test]
fn how_entries_ended_is_told_and_stays_known_on_the_partition() {
    let mut world = World::new();
    let partition = world.path("partition");
    fs::create_dir(&partition).unwrap();
    let images = |kernel| Images { kernel, initrd: b"initramfs", options: "panic=1 oops=panic" };
    let mut held = Partition::set_up(Folder::new(&partition), images(b"kernel"), b"safe system").unwrap();
    held.arm(images(b"another")).unwrap();
    held.apply(staffel_core::boot::firmware::Event::RollBack { why: "a person".into() }).unwrap();
    world.options = vec!["--system-partition".into(), partition.display().to_string()];
    let start = world.start().start.expect("something was found");
    assert_eq!(said(Some(&start)), ["boot entry 2 was left: a person"]);
    told(&world, &start);
    assert_eq!(world.status().start, None);
    // A way back asks there why an entry was left: being told must not make it forgotten.
    assert_eq!(Partition::open(Folder::new(&partition)).unwrap().state().endings.len(), 1);
}
