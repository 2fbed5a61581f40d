//! Trouble on the device's side: each has a clear state and reason in the agent's own words, leaves no half-installed slot,
//! and is over once its cause is gone. Unknown fields from a later server are no trouble at all.

use crate::fleet::{Fleet, has_tool, show, skip};
use serde_json::{Value, json};
use staffel_agent::{clock::wall_ms, status::Contact};
use staffel_cli::lab::{Options, release_folder};
use staffel_core::ids::Digest;
use staffel_trust::{
    tuf::writer::{Lifetimes, Repository},
    wire::{Board, CheckInReply},
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const AT_ONCE: [(u64, u32); 1] = [(0, 100)];
const DAY_MS: u64 = 24 * 3_600_000;

/// A release that counts, and carries some bytes that do not compress into anything small.
fn write_release(fleet: &Fleet, version: u64, ballast: usize) -> PathBuf {
    let source = fleet.lab.folder.join(format!("counter-{version}"));
    let description = format!(
        "name = \"counter\"\nversion = \"{version}\"\nsequence = {version}\n[service]\n\
         exec = [\"./bin/counter\", \"{{state}}\"]\n[[probes]]\nprobe = \"process\"\n"
    );
    let counter = format!(
        "#!/bin/sh\nn=0\nwhile :; do n=$((n+1)); echo \"version {version}, beat $n\" > \"$1/beat\"; sleep 0.2; done\n"
    );
    let mut bytes: Vec<u8> = Vec::with_capacity(ballast + 32);
    while bytes.len() < ballast {
        bytes.extend(Digest::of(&(bytes.len() as u64 + version).to_be_bytes()).0);
    }
    release_folder(&source, &description, &[("bin/counter", counter.as_bytes()), ("data/ballast", &bytes)])
        .expect("a release folder");
    source
}

/// Where the repository keeps the ballast of a release.
fn blob(fleet: &Fleet, source: &Path) -> PathBuf {
    let bytes = std::fs::read(source.join("files/data/ballast")).expect("written before");
    let digest = Digest::of(&bytes).to_string();
    fleet.lab.layout.repo_dir().join("blobs").join(&digest[..2]).join(digest)
}

fn release_and_gate(fleet: &Fleet, source: &Path) {
    fleet.release(source);
    fleet.lab.staffel_ok(&["gate", &source.to_string_lossy(), "--soak", "1"]).expect("the gate passes it");
}

/// What the service wrote last.
fn beat(fleet: &Fleet, at: usize) -> String {
    std::fs::read_to_string(fleet.lab.machines[at].folder.join("guard/state/counter/beat")).unwrap_or_default()
}

/// Waits until the service of a machine beats again, and in this version.
fn beats_on(fleet: &Fleet, at: usize, version: u64) {
    let before = beat(fleet, at);
    fleet.wait("the service to go on", |_| {
        let now = beat(fleet, at);
        Ok(now != before && now.starts_with(&format!("version {version},")))
    });
}

#[test]
fn bad_downloads_expired_metadata_and_a_server_that_is_gone() {
    const MACHINES: usize = 2;
    let mut fleet = Fleet::new(MACHINES, Options::default());
    let first = write_release(&fleet, 1, 1_000);
    assert_eq!(fleet.ended(fleet.ship(&first, &AT_ONCE)).confirmed, MACHINES as u64);
    let second = write_release(&fleet, 2, 600_000);
    let sources = [first.as_path(), second.as_path()];
    // A machine that has trouble goes on with what it has, and nothing else lies there.
    let unharmed = |fleet: &Fleet| {
        for at in 0..MACHINES {
            beats_on(fleet, at, 1);
            fleet.has_no_half_slot(at, &sources);
        }
    };
    let say = |fleet: &Fleet, what: &[&str]| {
        let said = (0..MACHINES).map(|at| fleet.wait_for_words(at, what)).next_back();
        unharmed(fleet);
        said.unwrap_or_default()
    };
    release_and_gate(&fleet, &second);
    let blob = blob(&fleet, &second);
    let good = std::fs::read(&blob).expect("it lies in the repository");

    // The timestamp was signed two days ago for one day: somebody holds news back, or nobody has renewed it.
    let online = [fleet.lab.layout.key("online-1").expect("the online key")].into_iter().collect();
    let repository = Repository::open(&fleet.lab.layout.repo_dir(), online, Lifetimes::default());
    repository.expect("it opens").refresh_timestamp(wall_ms() - 2 * DAY_MS).expect("signed");
    std::fs::write(&blob, &good[..good.len() / 2]).expect("written");
    let id = fleet.start(&second, &AT_ONCE);
    let said = say(&fleet, &["rollout", "expired"]);
    show("expired metadata", &said);

    // The metadata is renewed, and half of a file is missing.
    fleet.lab.staffel_ok(&["repo", "refresh"]).expect("the online key is here");
    show("truncated download", say(&fleet, &["rollout", "broke off at"]));

    // It has its length again, and other bytes.
    let mut other = good.clone();
    other[good.len() / 2] ^= 1;
    std::fs::write(&blob, &other).expect("written");
    show("wrong hash", say(&fleet, &["rollout", "its hash is", "another file"]));
    assert_eq!(fleet.rollout(id).exposed_ever, 0, "nobody got a permit for what it does not have");
    fleet.wait("the operator to see the device's own words", |_| {
        Ok(fleet.json(&["device", "why", "pc-1"]).to_string().contains("its hash is"))
    });

    std::fs::write(&blob, &good).expect("written");
    assert_eq!(fleet.ended(id).confirmed, MACHINES as u64);
    fleet.all_run("counter", "2");

    // The server goes away: what runs goes on, and nothing changes until it is back.
    fleet.lab.stop_server();
    let said = (0..MACHINES).map(|at| fleet.wait_for_words(at, &["server   gone"])).next_back();
    show("server gone", said.unwrap_or_default());
    for at in 0..MACHINES {
        beats_on(&fleet, at, 2);
        fleet.has_no_half_slot(at, &sources);
    }
    fleet.lab.start_server().expect("the server starts");
    for at in 0..MACHINES {
        fleet.wait("the agents to find the server again", |_| {
            Ok(fleet.status(at).is_some_and(|status| status.contact == Contact::Reached))
        });
    }
    fleet.all_run("counter", "2");
    fleet.log_is_sound();
}

/// Runs what follows with a file system of its own for `$1` that holds `$2` and belongs to the agent's user.
const SMALL_DISK: &str = "mount -t tmpfs -o \"$2\" tmpfs \"$1\" && shift 2 && exec \"$@\"";

#[test]
fn a_full_disk_while_fetching() {
    let is_root = rustix::process::getuid().is_root();
    let unshare: &[&str] = if is_root { &["unshare", "-m"] } else { &["unshare", "-r", "-m"] };
    if !has_tool("full disk", "unshare") || !has_tool("full disk", "nsenter") {
        return;
    }
    let try_it = tempfile::tempdir().expect("a folder");
    let options = if is_root { "size=256k,uid=65534,gid=65534,mode=0700" } else { "size=256k,mode=0700" };
    let works = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["sh", "-c", SMALL_DISK, "sh"])
        .arg(try_it.path())
        .args([options, "true"])
        .stderr(Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        // No tool is missing: this machine (a container, say) does not let this user mount.
        eprintln!("SKIP full disk: this user may not mount a small file system");
        return;
    }

    let mut fleet = Fleet::new(2, Options::default());
    let first = write_release(&fleet, 1, 1_000);
    assert_eq!(fleet.ended(fleet.ship(&first, &AT_ONCE)).confirmed, 2);
    fleet.lab.switch_off(0);
    let spool = fleet.lab.machines[0].folder.join("guard/spool");
    let spool = spool.to_string_lossy().into_owned();
    let mut through = unshare.to_vec();
    through.extend(["sh", "-c", SMALL_DISK, "sh", &spool, options]);
    fleet.lab.switch_on_through(0, &through).expect("it is switched on");
    fleet.all_run("counter", "1");

    let second = write_release(&fleet, 2, 600_000);
    let id = fleet.ship(&second, &AT_ONCE);
    let said = fleet.wait_for_words(0, &["rollout", "the disk is full", "more bytes"]);
    show("full disk", &said);
    beats_on(&fleet, 0, 1);
    fleet.has_no_half_slot(0, &[&first, &second]);
    let inside = format!("/proc/{}/root{spool}", fleet.lab.machines[0].process_id().expect("it is on"));
    for entry in std::fs::read_dir(inside).expect("the small disk").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let whole = Digest::parse(&name)
            .is_none_or(|digest| std::fs::read(entry.path()).is_ok_and(|bytes| Digest::of(&bytes) == digest));
        assert!(whole, "{name} is named as if it were whole");
    }

    // Somebody makes room: it goes on by itself.
    let pid = fleet.lab.machines[0].process_id().expect("it is on").to_string();
    let enter: &[&str] = if is_root { &["-m"] } else { &["-U", "--preserve-credentials", "-m"] };
    let more = Command::new("nsenter")
        .args(["-t", &pid])
        .args(enter)
        .args(["mount", "-o", "remount,size=8m", &spool])
        .status();
    assert!(more.expect("nsenter runs").success());
    assert_eq!(fleet.ended(id).confirmed, 2);
    fleet.all_run("counter", "2");
}

/// The machine's clock is wrong for every program of it: guard, agent, service. Its running clock is right, as on a
/// machine with an empty battery.
#[test]
fn clocks_in_1970_and_2099() {
    let Some(library) = faketime() else {
        return skip("wrong clocks", "libfaketime is missing");
    };
    let mut fleet = Fleet::new(3, Options::default());
    let preload = format!("LD_PRELOAD={}", library.display());
    for (at, moment) in [(0, "@1970-01-02 00:00:00"), (1, "@2099-01-01 00:00:00")] {
        fleet.lab.switch_off(at);
        let time = format!("FAKETIME={moment}");
        let through = ["env", &preload, &time, "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];
        fleet.lab.switch_on_through(at, &through).expect("it is switched on");
    }
    fleet.wait("every machine to be back", |lab| Ok(lab.client()?.status()?.alive == 3));
    let first = write_release(&fleet, 1, 1_000);
    let view = fleet.ended(fleet.ship(&first, &AT_ONCE));
    assert_eq!((view.state.as_str(), view.confirmed), ("completed", 3), "{view:?}");
    fleet.all_run("counter", "1");
    for (at, way) in [(0, "behind"), (1, "ahead of")] {
        let said = fleet.wait_for_words(at, &["problem", "this machine's clock is", way, "it is not used"]);
        show("clock", &said);
        beats_on(&fleet, at, 1);
    }
    // And the server may go and come: no certificate is "expired" or "not yet valid" because of such a clock.
    fleet.lab.stop_server();
    for at in 0..3 {
        fleet.wait_for_words(at, &["server   gone"]);
    }
    fleet.lab.start_server().expect("the server starts");
    let second = write_release(&fleet, 2, 1_000);
    let view = fleet.ended(fleet.ship(&second, &AT_ONCE));
    assert_eq!((view.state.as_str(), view.confirmed), ("completed", 3), "{view:?}");
    fleet.all_run("counter", "2");
    let right = fleet.status(2).expect("it runs").to_string();
    assert!(!right.contains("this machine's clock"), "{right}");
    end_with_wrong_clocks(fleet);
}

/// Ends a fleet of which some machines ran with libfaketime, which leaves files behind when its process is killed.
pub fn end_with_wrong_clocks(fleet: Fleet) {
    let folder = fleet.lab.folder.to_string_lossy().into_owned();
    let is_ours = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    };
    let all = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let processes = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let processes: Vec<u32> = processes.filter(is_ours).collect();
    drop(fleet);
    for pid in processes {
        for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
            let _ = std::fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }
}

/// The library that lets a machine have a clock of its own.
pub fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let places = folders.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]);
    places.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.is_file())
}

/// Adds a field that nobody knows to every object, but for maps whose keys are data.
fn from_the_future(value: &mut Value) {
    const MAPS: [&str; 2] = ["pin", "redundancy_groups"];
    match value {
        Value::Object(fields) => {
            let known = fields.iter_mut().filter(|(name, _)| !MAPS.contains(&name.as_str()));
            known.for_each(|(_, value)| from_the_future(value));
            fields.insert("from_the_future".into(), json!({ "since": 2031, "list": [1, 2] }));
        }
        Value::Array(items) => items.iter_mut().for_each(from_the_future),
        _ => {}
    }
}

#[test]
fn unknown_fields_of_a_later_server_are_ignored() {
    let envelope = json!({
        "payloadType": "application/vnd.in-toto+json", "payload": "e30=",
        "signatures": [{ "keyid": "00", "sig": "AAAA" }],
    });
    let digest = "00".repeat(32);
    let mut reply = json!({
        "server_ms": 1, "cadence_ms": 1_000, "board": 7, "policy": 1, "permit": envelope, "receipt": envelope,
        "remedies": [envelope], "outcome_noted": true,
    });
    let mut board = json!({
        "version": 7, "keyrings": [envelope], "halts": [envelope], "unhalts": [],
        "offers": [{
            "rollout": 1, "name": "till", "version": "1", "release": digest, "soak_ms": 3_000,
            "authorisation": envelope, "frontier": envelope,
        }],
        "checkpoint": "text",
    });
    let known: (CheckInReply, Board) = (
        serde_json::from_value(reply.clone()).expect("a reply"),
        serde_json::from_value(board.clone()).expect("a board"),
    );
    from_the_future(&mut reply);
    from_the_future(&mut board);
    assert!(reply.to_string().contains("from_the_future") && board.to_string().contains("from_the_future"));
    let later: (CheckInReply, Board) =
        (serde_json::from_value(reply).expect("a reply"), serde_json::from_value(board).expect("a board"));
    let written =
        |pair: &(CheckInReply, Board)| (serde_json::to_value(&pair.0).ok(), serde_json::to_value(&pair.1).ok());
    assert_eq!(written(&known), written(&later));
}

/// A later releaser, customer or server signs fields that this version does not know: the signature covers them, and what
/// is known counts.
#[test]
fn unknown_fields_in_signed_statements_are_ignored() {
    use staffel_core::{
        conditions::{Frontier, Permit},
        evidence::Arm,
        ids::DeviceId,
        policy::CustomerPolicy,
    };
    use staffel_statement::{
        Envelope, SigningKey,
        predicate::{Headed, Header, Predicate, TenantPolicy, payload, verify},
    };
    fn check<P: Predicate + PartialEq + std::fmt::Debug>(body: &P) {
        let key = SigningKey::from_seed(&[7; 32]);
        let mut value: Value = serde_json::from_slice(&payload(body)).expect("JSON");
        // Not into the subject: its digests are such a map.
        from_the_future(&mut value["predicate"]);
        value["from_the_future"] = json!(true);
        let envelope = Envelope::sign(&serde_json::to_vec(&value).expect("JSON"), &[&key]);
        let (read, _, signers) = verify::<P>(&envelope, "online", &[key.public()], 1).expect("it is verified and read");
        assert_eq!((&read, signers), (body, 1));
    }
    let header = Header { issued_ms: 1, expires_ms: 2, ..Header::default() };
    let release = Digest::of(b"release");
    check(&Headed {
        header: header.clone(),
        body: Frontier {
            rollout: 1,
            release,
            sequence: 3,
            halted: false,
            completed: false,
            issued_ms: 1,
            expires_ms: 2,
            reach: Vec::new(),
        },
    });
    check(&Headed {
        header: header.clone(),
        body: Permit {
            rollout: 1,
            release,
            device: DeviceId([1; 16]),
            arm: Arm::Treated,
            frontier_sequence: 3,
            nonce: "00".into(),
            issued_ms: 1,
            expires_ms: 2,
        },
    });
    let policy = CustomerPolicy { freeze: Some("quarter end".into()), ..CustomerPolicy::default() };
    check(&Headed { header, body: TenantPolicy { tenant: "clinic".into(), sequence: 1, policy } });
}
