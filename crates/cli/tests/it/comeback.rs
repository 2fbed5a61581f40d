//! Machines that were away for longer than their certificates last, and machines that crashed: what comes back by itself, what the
//! server then knows of it, and who stays out. Real processes, certificates of the real authority that have really expired.

use crate::{
    fleet::{Fleet, show, skip},
    trouble::{end_with_wrong_clocks, faketime},
};
use staffel_agent::directory::Directory;
use staffel_cli::lab::Options;
use staffel_server::ca::Ca;
use std::time::{Duration, Instant};

/// Puts a certificate in the device's folder that ends at this moment, for its own key; the new file's contents.
fn let_expire(fleet: &Fleet, at: usize) -> String {
    let folder = Directory::new(&fleet.lab.machines[at].folder.join("agent"));
    let key = std::fs::read_to_string(folder.key()).expect("the device has a key");
    let key = rcgen::KeyPair::from_pem(&key).expect("it is a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let verified = Ca::verify_request(&request.pem().expect("PEM")).expect("it is signed by its key");
    let authority = Ca::load(&fleet.lab.layout.server_dir().join("tls")).expect("the authority is there");
    let pem = authority.sign_device(&verified, 0).expect("it is signed");
    // The same file, so that it still belongs to the agent.
    std::fs::write(folder.certificate(), &pem).expect("it is written");
    pem
}

fn certificate(fleet: &Fleet, at: usize) -> String {
    let folder = Directory::new(&fleet.lab.machines[at].folder.join("agent"));
    std::fs::read_to_string(folder.certificate()).expect("the device has a certificate")
}

#[test]
fn a_device_whose_certificate_has_expired_comes_back_in_safe_mode_and_with_a_wrong_clock_and_a_retired_one_does_not() {
    let Some(library) = faketime() else {
        return skip("a device whose certificate has expired", "libfaketime is missing");
    };
    let mut fleet = Fleet::new(3, Options::default());
    let device = |fleet: &Fleet, name: &str| fleet.json(&["device", "why", name]);

    // A machine that panics: the next start tells of it.
    std::fs::write(fleet.lab.machines[0].folder.join("sysrq-trigger"), "c").expect("written");
    fleet.wait("the kernel's last words at the server", |_| {
        let starts = device(&fleet, "pc-1")["starts"].to_string();
        Ok(starts.contains("Kernel panic - not syncing: sysrq triggered crash"))
    });
    let starts = device(&fleet, "pc-1")["starts"].clone();
    assert_eq!(starts.as_array().map(Vec::len), Some(1), "{starts}");
    show("a panic, as the server has it", &starts[0]["says"][0]);

    let file = fleet.lab.folder.join("remedy.json").to_string_lossy().into_owned();
    let sign =
        ["remedy", "sign", "pc-1", "--out", &file, "--case", "c1", "--key", "operator-1", "stay-safe", "looked at"];
    fleet.lab.staffel_ok(&sign).expect("it is signed");
    fleet.json(&["remedy", "send", &file]);
    let is_safe =
        |fleet: &Fleet| device(fleet, "pc-1")["device"]["mode"].as_str().is_some_and(|mode| mode.starts_with("safe"));
    fleet.wait("safe mode", |_| Ok(is_safe(&fleet)));
    for at in 0..3 {
        fleet.lab.switch_off(at);
    }
    let expired: Vec<String> = (0..3).map(|at| let_expire(&fleet, at)).collect();
    fleet.lab.staffel_ok(&["device", "retire", "pc-3", "--why", "sold"]).expect("it is retired");
    // A certificate's last moment is a whole second.
    std::thread::sleep(Duration::from_secs(2));

    let back = Instant::now();
    fleet.lab.switch_on(0).expect("it is switched on");
    let preload = format!("LD_PRELOAD={}", library.display());
    let through =
        ["env", &preload, "FAKETIME=@1970-01-02 00:00:00", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];
    fleet.lab.switch_on_through(1, &through).expect("it is switched on");
    fleet.lab.switch_on(2).expect("it is switched on");
    for (at, name) in [(0, "pc-1"), (1, "pc-2")] {
        fleet.wait(&format!("{name} to come back"), |_| {
            let why = device(&fleet, name);
            Ok(why["device"]["presence"] == "alive" && why["certificate"]["at_ms"].is_u64())
        });
        assert_eq!(device(&fleet, name)["certificate"]["refused"], serde_json::Value::Null);
        assert_ne!(certificate(&fleet, at), expired[at], "{name} has another certificate");
    }
    show("expired certificate: back after", format!("{:.1} s", back.elapsed().as_secs_f64()));
    assert!(is_safe(&fleet), "it is still in safe mode");

    let retired = fleet.wait_for_words(2, &["problem", "gives it no other", "retired"]);
    show("expired certificate of a retired device", &retired);
    assert_eq!(certificate(&fleet, 2), expired[2]);
    fleet.lab.stop_server();
    let kinds: Vec<&str> = fleet.log().iter().map(|(_, _, record)| record.kind()).collect();
    let count = |kind: &str| kinds.iter().filter(|of| **of == kind).count();
    assert_eq!(count("certificate.recovered"), 2, "{kinds:?}");
    assert!(count("certificate.refused") >= 1, "{kinds:?}");
    assert_eq!(count("device.started"), 1, "{kinds:?}");
    end_with_wrong_clocks(fleet);
}
