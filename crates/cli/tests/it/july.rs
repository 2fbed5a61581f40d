//! 19 July 2024 in full, as `staffel demo --content` plays it: real agents, guards and sensors, the gate waived by two keys.

use crate::fleet::{programs, sensor, show, skip, turn};
use serde_json::Value;
use std::process::{Command, Stdio};

#[test]
fn the_gate_refuses_it_and_where_two_waive_the_gate_the_sandbox_contains_it() {
    // A minute and more of rollouts; `cargo test -p staffel-sensor` has the sandbox's part of it at any time.
    if std::env::var_os("STAFFEL_ALL").is_none() {
        return;
    }
    let there = sensor().is_some_and(|sensor| sensor.with_file_name("hostile.cwasm").is_file());
    if !there {
        return skip("19 July in full", "the sensor's evaluators are missing (`./dev evaluator` makes them)");
    }
    programs();
    let _turn = turn();
    let demo = Command::new(env!("CARGO_BIN_EXE_staffel"))
        .args(["demo", "--content", "--json"])
        .stdin(Stdio::null())
        .output()
        .expect("the demo starts");
    let (said, progress) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{}: {said}{progress}", demo.status);
    let outcome: Value = serde_json::from_str(&said).expect("nothing but JSON on standard output");
    let refused = outcome["refused"].as_str().unwrap_or_default();
    assert!(refused.contains("contract") && refused.contains("supplies 20 fields"), "{outcome}");
    show("19 July at the gate", refused);
    for (part, why) in [("waived", "the field PipeName"), ("contained", "out of bounds memory access")] {
        let part = &outcome[part];
        let (exposed, touched) = (part["exposed"].as_u64().unwrap_or(0), part["touched"].as_u64().unwrap_or(0));
        assert!((1..=2).contains(&exposed) && touched >= 1 && touched <= exposed, "{outcome}");
        let evidence = part["why"].as_str().unwrap_or_default();
        assert!(evidence.contains(why), "{outcome}");
        show(
            "19 July, gate waived",
            format!("{exposed} of {} exposed, halted after {} s: {evidence}", outcome["machines"], part["seconds"]),
        );
    }
    assert!(outcome["longest_gap_ms"].is_number(), "{outcome}");
    let alert = &outcome["alert"];
    let words = alert["line"].as_str().unwrap_or_default();
    assert!(words.contains("clinic/ward/ward-1 Failed log-in as root 1 "), "{outcome}");
    show("a failed log-in is an alert at the terminal, s", &alert["seconds"]);
    show("19 July, longest time without an active evaluator, ms", &outcome["longest_gap_ms"]);
}
