//! What the process of an evaluator may do, as the kernel says it.

use crate::support::{finds, shipped, show};
use staffel_pack::Catalogue;
use staffel_sensor::worker::Worker;
use std::fs;

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

#[test]
fn the_process_has_nothing_but_its_pipes() {
    let Some(start) = shipped("the_process_has_nothing_but_its_pipes") else { return };
    let catalogue = serde_json::to_vec(&Catalogue::linux()).expect("it is JSON");
    let worker = Worker::with_pack(&start, &finds(1, "/bin/x").write(), &catalogue).expect("it is loaded");
    let mut seen = 0;
    for task in fs::read_dir(format!("/proc/{}/task", worker.pid())).expect("its threads").flatten() {
        let status = fs::read_to_string(task.path().join("status")).expect("it is readable");
        assert_eq!(field(&status, "Seccomp"), Some("2"), "{status}");
        assert_eq!(field(&status, "NoNewPrivs"), Some("1"), "{status}");
        if rustix::process::geteuid().is_root() {
            assert_eq!(field(&status, "Uid"), Some("65534\t65534\t65534\t65534"), "{status}");
            assert_eq!(field(&status, "Gid"), Some("65534\t65534\t65534\t65534"), "{status}");
            assert_eq!(field(&status, "Groups"), Some(""), "{status}");
            for set in ["CapInh", "CapPrm", "CapEff"] {
                assert_eq!(field(&status, set), Some("0000000000000000"), "{status}");
            }
        }
        seen += 1;
    }
    assert!(seen >= 2, "the one that computes and the one that ticks");
    let open: Vec<String> = fs::read_dir(format!("/proc/{}/fd", worker.pid()))
        .expect("its descriptors")
        .flatten()
        .filter_map(|link| fs::read_link(link.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    // The memory of the guest begins as a copy of a file that is only in memory.
    let usual =
        |target: &str| target.starts_with("pipe:") || target.starts_with("/memfd:wasm") || target == "/dev/null";
    let strange = open.iter().filter(|target| !usual(target));
    assert_eq!(strange.collect::<Vec<_>>(), [] as [&String; 0], "{open:?}");
    let environment = fs::read(format!("/proc/{}/environ", worker.pid())).expect("it is readable");
    assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
    let status = fs::read_to_string(format!("/proc/{}/status", worker.pid())).expect("it is readable");
    show("memory of an evaluator with one rule", field(&status, "VmRSS").unwrap_or("unknown"));
    show("lacking on this machine", format!("{:?}", worker.lacking));
}
