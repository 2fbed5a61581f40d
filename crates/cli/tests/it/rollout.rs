//! A rollout from the operator's chair: two people authorise it, it is started, held, resumed, halted and watched, against a
//! real server with one enrolled device that is switched off.

use crate::server::{World, said, text};
use serde_json::Value;
use staffel_core::{conditions::GateAttestation, ids::Digest};
use staffel_server::api::Token;
use staffel_statement::{
    Envelope,
    predicate::{Gate, Header, sign},
};
use staffel_trust::{keyfile::KeyPair, wire};
use std::process::Stdio;

/// Builds `till 1`, and signs for the gate that it passed. Gate and devices have tests of their own.
fn release(world: &World) -> Digest {
    let source = world.path("till");
    std::fs::create_dir_all(source.join("files")).expect("a folder");
    std::fs::write(source.join("files/rules.conf"), "a = 1\n").expect("written");
    std::fs::write(
        source.join("release.toml"),
        "name = \"till\"\nversion = \"1\"\nsequence = 1\nkind = \"content\"\nstate = \"none\"\n",
    )
    .expect("written");
    said(&world.staffel_in_folder(&["release", &text(&source)]));
    let folder = world.folder().join("releases");
    let envelope = std::fs::read(folder.join("till-1.dsse.json")).expect("the release was written");
    let envelope: Envelope = serde_json::from_slice(&envelope).expect("an envelope");
    let release = envelope.digest().expect("a payload");
    let gate = Gate {
        result: "PASSED".into(),
        configuration: Vec::new(),
        passed_tests: Vec::new(),
        failed_tests: Vec::new(),
        header: Header { issued_ms: 0, expires_ms: u64::MAX, ..Header::default() },
        attestation: GateAttestation {
            release,
            passed: true,
            consumers: Vec::new(),
            checks: Vec::new(),
            waived: None,
            signers: 0,
        },
    };
    let key = KeyPair::load(&world.folder().join("keys/gate-1.key")).expect("the gate's key").for_statements();
    let gate = serde_json::to_vec(&sign(&gate, &[&key])).expect("JSON");
    std::fs::write(folder.join("till-1.gate.dsse.json"), gate).expect("written");
    release
}

fn enrol(world: &World) {
    let token = world.json(&["device", "token", "--tenant", "clinic", "--site", "ward-3"]);
    let token: Token = serde_json::from_value(token).expect("a token");
    let key = rcgen::KeyPair::generate().expect("a key");
    let csr = rcgen::CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("PEM");
    let enrol = wire::Enrol {
        token: token.token,
        csr_pem: csr,
        name: "pc-1".into(),
        attributes: wire::Attributes { os_build: "debian-12".into(), hardware_model: "qemu".into() },
    };
    // The client of the operator API takes any path of the server, with any token.
    let client = staffel_cli::Client::new(&world.url, &world.folder().join("ca.pem"), "").expect("a client");
    client.post_text("/v1/enrol", serde_json::to_string(&enrol).expect("JSON")).expect("enrolled");
}

#[test]
fn two_people_start_it_and_an_operator_stops_it() {
    let world = World::new();
    enrol(&world);
    let digest = release(&world).to_string();

    // One writes it down, two sign it with keys that lie elsewhere, and neither counts twice.
    let file = text(&world.path("authorisation.json"));
    let written = world.json(&["rollout", "authorise", "till", "1", "--profile", "demo", "--out", &file]);
    assert_eq!((&written["signatures"], &written["authorisation"]["release"]), (&0.into(), &digest.as_str().into()));
    let (code, error) = world.code(&["rollout", "start", "till", "1", "--authorisation", &file]);
    assert!(code == Some(3) && error.contains("two releasers"), "{error}");
    for (key, signatures) in [("releaser-1", 1), ("releaser-3", 2)] {
        let path = text(&world.folder().join(format!("keys/{key}.key")));
        let signed = world.plain(&["rollout", "sign", &file, "--key", &path, "--yes", "--json"]);
        let signed: Value = serde_json::from_str(&said(&signed)).expect("JSON");
        assert_eq!(signed["signatures"], signatures);
        assert_eq!(world.plain(&["rollout", "sign", &file, "--key", &path, "--yes"]).status.code(), Some(3));
    }
    let text_shown = said(&world.staffel(&["rollout", "start", "till", "1", "--authorisation", &file]));
    assert!(
        text_shown.contains("rollout 1: till 1, running") && text_shown.contains("rollout watch 1"),
        "{text_shown}"
    );
    let (code, error) = world.code(&["rollout", "start", "till", "1"]);
    assert!(code == Some(3) && error.contains("supersedes"), "{error}");

    let watch = world.command(&["rollout", "watch", "1"]).stdout(Stdio::piped()).spawn().expect("it watches");
    assert_eq!(world.json(&["rollout", "hold", "1", "--why", "lunch"])["state"], "held");
    assert_eq!(world.json(&["rollout", "resume", "1"])["state"], "running");
    assert_eq!(world.json(&["rollout", "halt", "1", "--why", "tills hang"])["state"], "halted");
    let watched = watch.wait_with_output().expect("it ends with the rollout");
    assert_eq!(watched.status.code(), Some(6));
    let lines = String::from_utf8_lossy(&watched.stdout).into_owned();
    assert!(lines.lines().last().is_some_and(|line| line.contains("halted") && line.contains("tills hang")), "{lines}");

    let why = said(&world.staffel(&["rollout", "why", "1"]));
    for part in ["held: admin: lunch", "halted: admin: tills hang", "waits for"] {
        assert!(why.contains(part), "{part} in {why}");
    }
    assert_eq!(world.code(&["rollout", "resume", "1"]).0, Some(3), "a halt is for good");
    assert_eq!(world.json(&["rollout", "status", "1"])["release"], digest.as_str());
    // The halt that stands in the log carries the operator's own signature beside the server's word.
    let entries = world.json(&["log", "ls", "--max", "1000"]);
    let signed = entries.as_array().expect("a list").iter().any(|entry| entry["kind"] == "halt.signed");
    assert!(signed, "{entries}");

    let device = said(&world.staffel(&["device", "why", "clinic/ward-3/pc-1"]));
    assert!(device.contains("never-seen") && device.contains("rollout 1: till 1"), "{device}");
    assert_eq!(world.json(&["device", "ls", "--limit", "5"])[0]["name"], "pc-1");
}
