//! What is refused before anything is written, because the way back would not hold.

use crate::disk::Disk;
use staffel_guard::{
    entries::{SAFE_ENTRY, SAFE_IMAGE},
    partition::{Images, Partition, PartitionError, RECORDS},
    volume::Volume as _,
};

fn images(options: &'static str) -> Images<'static> {
    Images { kernel: b"second kernel", initrd: b"initramfs", options }
}

fn set_up() -> Disk {
    let disk = Disk::formatted();
    let first = Images { kernel: b"first kernel", ..images("panic=1 oops=panic") };
    Partition::set_up(disk.clone(), first, b"safe system").expect("the guard is set up");
    disk
}

fn refused(disk: &Disk, options: &'static str) -> String {
    let mut partition = Partition::open(disk.clone()).expect("the guard opens its partition");
    let Err(PartitionError::Refused { why }) = partition.arm(images(options)) else {
        panic!("it was armed");
    };
    assert_eq!(Partition::open(disk.clone()).expect("it opens").state().trial, None);
    why.join("; ")
}

#[test]
fn a_change_without_a_way_back_is_refused_and_says_why() {
    for (options, says) in
        [("oops=panic", "panic=SECONDS"), ("panic=0 oops=panic", "panic=SECONDS"), ("panic=1", "oops=panic")]
    {
        let why = refused(&set_up(), options);
        assert!(why.contains(says), "{options}: {why}");
    }
    for path in [SAFE_IMAGE, SAFE_ENTRY] {
        let mut disk = set_up();
        disk.remove(path).expect("it is removed");
        assert!(refused(&disk, "panic=1 oops=panic").contains("put it back"), "{path}");
        disk.create(path, b"something else").expect("it is written");
        assert!(refused(&disk, "panic=1 oops=panic").contains("put it back"), "{path}");
    }
}

#[test]
fn a_lost_state_is_rebuilt_from_committed_entries_and_two_guards_are_not_set_up() {
    let mut disk = set_up();
    let first = Images { kernel: b"first kernel", ..images("panic=1 oops=panic") };
    assert!(matches!(Partition::set_up(disk.clone(), first, b"safe system"), Err(PartitionError::Exists)));
    Partition::open(disk.clone()).expect("it opens").arm(images("panic=1 oops=panic")).expect("armed");
    for path in RECORDS {
        disk.remove(path).expect("it is removed");
    }
    let mut partition = Partition::open(disk.clone()).expect("it opens");
    assert_eq!((partition.state().good.number, partition.state().trial.clone()), (1, None));
    assert!(!partition.damage().is_empty());
    // The next change writes both places again, and the stray trial is gone.
    for kernel in [&b"third kernel"[..], b"fourth kernel"] {
        partition.arm(Images { kernel, ..images("panic=1 oops=panic") }).expect("armed");
        partition.apply(staffel_core::boot::firmware::Event::RollBack { why: "a person".into() }).expect("rolled back");
    }
    let partition = Partition::open(disk).expect("it opens");
    assert_eq!((partition.state().good.number, partition.damage().len()), (1, 0));
    assert!(partition.state().next > 3);
}
