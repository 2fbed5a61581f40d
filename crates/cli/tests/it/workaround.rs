//! The workaround of 19 July without anyone touching the machine: a supplier's driver, which Staffel did not ship, panics the
//! kernel at each start. The machine ends in its safe system, the agent there reports, an operator sends a remedy, the
//! machine starts normally, and its case is closed by its own proof. Real firmware, loader and kernel in a virtual machine,
//! a real server on this one. Runs with `./dev test --all`. Must stay out: the faults without a server (crate `guard`).

mod machine;
#[path = "../../../guard/tests/it/noon.rs"]
mod noon;
#[path = "../../../guard/tests/it/firmware/parts.rs"]
#[allow(dead_code, reason = "the tests of the guard use all of it")]
mod parts;

use crate::fleet::{Fleet, show, skip};
use machine::Machine;
use serde_json::Value;
use staffel_cli::lab::{Options, Spec};
use staffel_core::ids::Digest;
use std::time::{Duration, Instant};

/// A machine under a translator starts half a dozen times here.
const PATIENCE: Duration = Duration::from_secs(1_200);

#[test]
fn a_driver_that_panics_is_taken_away_from_afar() {
    const NAME: &str = "the workaround of 19 July";
    if std::env::var_os("STAFFEL_ALL").is_none() {
        return;
    }
    let Some(sensor) = crate::fleet::sensor() else { return skip(NAME, "evaluator.cwasm is missing") };
    if let Some(what) = parts::missing().or_else(machine::missing) {
        return skip(NAME, &format!("{what} is missing"));
    }
    let fleet = Fleet::new(0, Options::default());
    let spec = Spec { tenant: "clinic", site: "ward-a", name: "pc-1", os_build: "debian-12.11", hardware_model: "q35" };
    let vendor = |host: &std::path::Path| Ok(std::fs::create_dir_all(host.join("opt/vendor"))?);
    let folder = fleet.lab.enrolled(spec, vendor).expect("it is enrolled");
    let driver = parts::panicking_module(&parts::target().join("firmware"));
    let machine = Machine::start(&folder, &driver, &sensor);
    let begin = Instant::now();
    let since = |from: Instant| format!("{:.1} s", from.elapsed().as_secs_f64());
    let wait = |what: &str, mut holds: Box<dyn FnMut() -> bool + '_>| {
        let waited = fleet.lab.wait_for(what, PATIENCE, |_| {
            anyhow::ensure!(machine.is_on(), "the machine is off");
            Ok(holds())
        });
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", machine.said(), fleet.tails()));
    };
    let device = || fleet.json(&["device", "show", "pc-1"]);

    wait("the supplier's update", Box::new(|| machine.said().contains("LAB: the vendor updates its driver")));
    let updated = Instant::now();
    let safe = "safe: the machine came up in its safe system";
    wait(
        "the report of the safe system",
        Box::new(|| device()["mode"].as_str().is_some_and(|mode| mode.starts_with(safe))),
    );
    show("19 July: panics", machine.said().matches("Kernel panic").count());
    show("19 July: from the supplier's update to the safe system's report", since(updated));
    show("19 July: what it reports", device()["mode"].as_str().unwrap_or_default());
    assert!(machine.said().contains("protection: built-in detection is active"), "{}", machine.said());
    // The start that came up in the safe system has found what the driver did to the ones before.
    let starts = fleet.json(&["device", "why", "pc-1"])["starts"].clone();
    show("19 July: what the safe system found", &starts);
    assert!(starts.to_string().contains("Panic"), "{starts}");
    let mut case = Value::Null;
    wait(
        "a case",
        Box::new(|| {
            case = fleet.json(&["case", "ls"])[0]["case"].clone();
            !case.is_null()
        }),
    );
    let case = case.to_string();

    // Two people take the file away, by path and by what is in it.
    let file = folder.join("remedy.json").to_string_lossy().into_owned();
    let hash = Digest::of(&driver).to_string();
    let sign =
        ["remedy", "sign", "pc-1", "--out", &file, "--case", &case, "--key", "operator-1", "--key", "operator-2"];
    let act = ["quarantine-file", "/opt/vendor/*.ko", &hash];
    fleet.lab.staffel_ok(&[&sign[..], &act].concat()).expect("it is signed");
    fleet.json(&["remedy", "send", &file]);
    let sent = Instant::now();
    let closed = || fleet.json(&["case", "show", &case])["state"] == "closed";
    wait("the case to be closed by the machine's own proof", Box::new(closed));
    show("19 July: from the remedy to the closed case", since(sent));
    show("19 July: in all", since(begin));
    assert_eq!(fleet.json(&["case", "show", &case])["closed_by"], Value::Null, "nobody closed it by hand");
    assert_eq!(device()["mode"], "normal");
    let remedies = fleet.json(&["remedy", "ls", "--device", "pc-1"]);
    assert_eq!(remedies[0]["state"], "done", "{remedies}");
    show("19 July: the guard's word on the remedy", &remedies[0]["why"]);
    fleet.log_is_sound();
}
