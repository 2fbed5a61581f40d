//! What a device's sensor found: by a real sensor, by hand with a device's certificate, to a real server process, and seen to
//! at a terminal.

use crate::{
    fleet::{Fleet, sensor, show, skip},
    server::{World, said},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use staffel_cli::lab::Options;
use staffel_server::{ca::Ca, tls};
use staffel_trust::wire::{Attributes, Detections, DetectionsNoted, Enrol, Enrolled, Finding, Found, Severity};
use std::{fs, io::Write as _, time::Instant};

/// A device that has enrolled.
struct Device {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    url: String,
}

fn client(world: &World, identity: Option<(&str, &KeyPair)>) -> reqwest::Client {
    let mut roots = RootCertStore::empty();
    let root = Ca::server_root_path(&world.folder().join("server/tls"));
    roots.add(CertificateDer::from_pem_file(root).expect("the server's authority")).expect("it is one");
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().expect("a client")
}

impl Device {
    fn enrol(world: &World, name: &str) -> Device {
        let token = world.json(&["device", "token", "--tenant", "clinic", "--site", "ward-3"]);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let csr = CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem()).expect("a request");
        let enrol = Enrol {
            token: token["token"].as_str().expect("a token").into(),
            csr_pem: csr,
            name: name.into(),
            attributes: Attributes { os_build: "debian-12".into(), hardware_model: "box".into() },
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let enrolled: Enrolled = runtime.block_on(async {
            let post = client(world, None).post(format!("{}/v1/enrol", world.url)).json(&enrol);
            post.send().await.expect("an answer").json().await.expect("a certificate")
        });
        let client = client(world, Some((&enrolled.certificate_pem, &key)));
        Device { client, runtime, url: world.url.clone() }
    }

    fn post(&self, findings: Vec<Finding>) -> u64 {
        let body = Detections { stream: "one".into(), findings, lost: 1 };
        let noted: DetectionsNoted = self.runtime.block_on(async {
            let post = self.client.post(format!("{}/v1/detections", self.url)).json(&body);
            post.send().await.expect("an answer").json().await.expect("noted")
        });
        noted.through
    }
}

fn shell(number: u64, severity: Severity) -> Finding {
    Finding {
        number,
        what: Found::Match {
            rule: "r-1".into(),
            title: "Reverse shell".into(),
            severity,
            class: "process_creation".into(),
            pack: "linux".into(),
            version: 3,
            tags: vec!["attack.t1059.004".into()],
            fields: [("CommandLine".to_string(), "bash -i".to_string())].into(),
        },
        count: 1,
        first_ms: 1_800_000_000_000,
        last_ms: 1_800_000_000_000,
    }
}

#[test]
fn alerts_are_listed_shown_seen_to_and_written_as_ocsf() {
    let world = World::new();
    assert_eq!(said(&world.staffel(&["alert", "ls"])), "no alerts\n");
    said(&world.staffel(&["alert", "ls", "--check"]));
    let device = Device::enrol(&world, "pc-1");
    assert_eq!(device.post(vec![shell(1, Severity::High), shell(2, Severity::High)]), 2);
    assert_eq!(device.post(vec![shell(1, Severity::High), shell(2, Severity::High)]), 2, "sent again, counted once");

    let list = said(&world.staffel(&["alert", "ls", "--severity", "high", "--device", "pc-1"]));
    assert!(list.lines().nth(1).is_some_and(|line| line.contains("clinic/ward-3/pc-1  Reverse shell  2 ")), "{list}");
    assert!(list.ends_with("of what sensors found 1 never arrived\n"), "{list}");
    let (code, error) = world.code(&["alert", "ls", "--check"]);
    assert!(code == Some(3) && error.contains("1 alerts where there should be none"), "{error}");
    assert_eq!(world.json(&["alert", "ls", "--severity", "critical"])["detections"], json!([]));
    let shown = said(&world.staffel(&["alert", "show", "1"]));
    assert!(shown.contains("  CommandLine: bash -i\n") && shown.contains("rule      r-1, pack linux 3"), "{shown}");
    let why = said(&world.staffel(&["device", "why", "pc-1"]));
    assert!(why.contains("  alerts    1 high\n") && why.contains(": Reverse shell\n"), "{why}");
    assert!(said(&world.staffel(&["device", "show", "pc-1"])).contains("  alerts    1 high\n"));

    let lines = said(&world.staffel(&["alert", "ls", "--format", "ocsf"]));
    let finding: Value = serde_json::from_str(lines.trim()).expect("one line of JSON");
    assert_eq!((&finding["class_uid"], &finding["severity_id"]), (&json!(2004), &json!(4)));
    assert_eq!(world.json(&["alert", "ls", "--format", "ocsf"]), json!([finding]));
    assert_eq!(world.json(&["alert", "show", "1", "--format", "ocsf"])["finding_info"]["title"], "Reverse shell");

    for (command, code) in [
        (&["alert", "show", "9"][..], 4),
        (&["alert", "ack", "9", "--why", "x"], 4),
        (&["alert", "ls", "--device", "pc-9"], 4),
        (&["alert", "ack", "1"], 2),
        (&["alert", "ack", "1", "--why", "x", "--quiet", "1y"], 2),
        (&["alert", "ls", "--severity", "odd"], 2),
        (&["alert", "ack", "1", "--why", " "], 3),
    ] {
        assert_eq!(world.code(command).0, Some(code), "{command:?}");
    }
    let seen = world.json(&["alert", "ack", "1", "--why", "our scanner", "--quiet", "8h"]);
    assert_eq!((&seen[0]["state"], &seen[0]["acknowledged"]["why"]), (&json!("acknowledged"), &json!("our scanner")));
    assert_eq!(said(&world.staffel(&["alert", "ls"])).lines().next(), Some("no alerts"));
    device.post(vec![shell(3, Severity::High)]);
    assert_eq!(world.json(&["alert", "ls", "--state", "acknowledged"])["detections"][0]["count"], 3, "it is quiet");
    device.post(vec![shell(4, Severity::Critical)]);
    assert!(said(&world.staffel(&["alert", "ls"])).contains("open, got worse"));
    said(&world.staffel(&["alert", "erase", "1", "--why", "asked for"]));
    assert_eq!(world.json(&["alert", "show", "1"])["evidence"], json!([]));
    let verified = said(&world.staffel_in_folder(&["log", "verify"]));
    assert!(verified.contains("the log verifies"), "{verified}");
    let completions = said(&world.plain(&["completions", "bash"]));
    assert!(completions.contains("staffel__alert__ack") || completions.contains("staffel__subcmd__alert"), "alert");
}

#[test]
fn what_a_sensor_saw_on_a_machine_is_read_at_the_terminal() {
    const NAME: &str = "a sensor's findings at the terminal";
    let Some(program) = sensor() else { return skip(NAME, "evaluator.cwasm is missing") };
    let fleet = Fleet::new(1, Options { sensors: true, ..Options::default() });
    let (_sensor, log) = fleet.lab.start_sensor(0, &program, None).expect("it starts");

    let mut lines = fs::File::options().append(true).open(&log).expect("the log");
    writeln!(
        lines,
        "2026-11-22T08:15:00.000000+00:00 pc-1 sshd[411]: Failed password for root from 192.0.2.44 port 5001 ssh2"
    )
    .expect("written");
    let begun = Instant::now();
    let open = || fleet.json(&["alert", "ls"])["detections"].as_array().cloned().unwrap_or_default();
    fleet.wait("the failed log-in", |_| Ok(open().iter().any(|alert| alert["class"] == "authentication")));
    show("log-in to alert at the terminal, s", format!("{:.1}", begun.elapsed().as_secs_f64()));
    let id =
        open().iter().find(|alert| alert["class"] == "authentication").expect("it is there")["detection"].to_string();
    let shown = fleet.lab.staffel_ok(&["alert", "show", &id]).expect("it is shown");
    assert!(shown.contains("SourceIp: 192.0.2.44") && shown.contains("clinic/ward-b/pc-1"), "{shown}");
    fleet.log_is_sound();
}
