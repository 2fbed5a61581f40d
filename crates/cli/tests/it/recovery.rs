//! A bad release, the incident that its halt opens, and a case for each dark device until the device itself has proven that
//! it is well; and a site that nobody reaches.

use crate::fleet::{Fleet, PANIC, agent_process, seconds, show};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use staffel_cli::lab::Options;
use std::time::Instant;

const AT_ONCE: [(u64, u32); 1] = [(0, 100)];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn dark_devices_have_cases_that_their_probe_closes_and_an_unreachable_site_stays_on_the_list() {
    const MACHINES: usize = 3;
    let fleet = Fleet::new(MACHINES, Options::default());
    let good = fleet.counter(1, "");
    assert_eq!(fleet.ended(fleet.ship(&good, &AT_ONCE)).confirmed, MACHINES as u64);
    assert_eq!(fleet.json(&["incident", "ls"]), Value::Array(Vec::new()), "a good release is no incident");

    let bad = fleet.counter(2, PANIC);
    let view = fleet.ended(fleet.ship(&bad, &AT_ONCE));
    assert_eq!(view.state, "halted");
    let halted = Instant::now();
    fleet.wait("the incident to be over", |_| {
        let incidents = fleet.json(&["incident", "ls"]);
        let all = incidents.as_array().cloned().unwrap_or_default();
        Ok(!all.is_empty() && all.iter().all(|incident| incident["state"] == "over"))
    });
    let took = seconds(halted);
    let dark: Vec<String> =
        fleet.lab.machines.iter().filter(|machine| machine.panics() > 0).map(|machine| machine.name.clone()).collect();
    assert!(!dark.is_empty());
    let shown = fleet.json(&["incident", "show", "1"]);
    assert_eq!(shown["incident"]["class"], "faulty-update");
    assert_eq!(shown["incident"]["origin"]["rollout"], view.rollout);
    let cases = fleet.json(&["case", "ls", "--incident", "1"]);
    let cases = cases.as_array().expect("a list");
    for name in &dark {
        let case = cases.iter().find(|case| case["name"] == **name).unwrap_or_else(|| panic!("{name} has no case"));
        assert_eq!((case["state"].as_str(), &case["closed_by"]), (Some("closed"), &Value::Null), "{case}");
        let history = fleet.json(&["case", "show", &case["case"].to_string()]);
        let kinds: Vec<_> = history["history"].as_array().into_iter().flatten().map(|e| e["kind"].clone()).collect();
        assert!(kinds.iter().any(|kind| kind == "recovery.verified"), "{kinds:?}");
    }
    show("dark devices, cases closed by probe", format!("{} of {}, {took} after the halt", dark.len(), cases.len()));
    // The review says what happened, and each sentence names entries that the log has.
    let review = fleet.json(&["report", "incident", "1", "--language", "en"]);
    let entries = fleet.log_is_sound();
    let (mut sentences, mut open) = (Vec::new(), vec![&review]);
    while let Some(part) = open.pop() {
        open.extend(part["sections"].as_array().into_iter().flatten());
        sentences.extend(part["sentences"].as_array().into_iter().flatten());
    }
    assert!(sentences.len() >= 8, "{review}");
    for sentence in &sentences {
        let cites: Vec<u64> = sentence["cites"].as_array().into_iter().flatten().map(number).collect();
        assert!(!cites.is_empty() && cites.iter().all(|position| *position < entries), "{sentence}");
    }
    let text = review.to_string();
    assert!(text.contains("set off by counter 2") && text.contains("All of them are proven to be back"), "{text}");
    assert!(text.contains("no notification is on record"), "nobody was told, and that is said: {text}");
    let page = fleet.lab.staffel_ok(&["report", "incident", "1"]).expect("a page");
    assert!(page.contains("<html lang=\"de\">") && page.contains("nachweislich zurück"), "{page}");
    show("recovery", shown["curve"]["says"].as_str().unwrap_or_default());

    // The only machine of a site falls silent, and nobody answers there.
    let csv = fleet.lab.folder.join("contacts.csv");
    std::fs::write(&csv, "customer,site,channel,address,name\nclinic,ward-a,phone,+49 221 4711,night desk\n")
        .expect("written");
    fleet.lab.staffel_ok(&["import", "contacts", &csv.to_string_lossy()]).expect("a good file");
    let agent = agent_process(&fleet.lab.machines[1].folder).expect("its agent runs");
    let agent = Pid::from_raw(agent as i32).expect("a process id");
    kill_process(agent, Signal::STOP).expect("the agent is ours");
    fleet.json(&["incident", "open", "--site", "clinic/ward-a", "--why", "the ward does not answer"]);
    let case = fleet.json(&["case", "ls", "--incident", "2"])[0]["case"].to_string();
    for _ in 0..3 {
        fleet.lab.staffel_ok(&["case", "contact", &case, "no-answer"]).expect("said");
    }
    let works = ["case", "contact", &case, "says-it-works", "--channel", "email"];
    let refused = |what: &str| {
        let (code, error) = fleet.refusal(&["case", "close", &case]);
        assert_eq!(code, Some(3), "{error}");
        assert!(error.contains("can't be closed") && error.contains("not verified by a probe"), "{what}: {error}");
        error
    };
    assert_eq!(fleet.json(&["case", "show", &case])["state"], "unreachable");
    show("closing an unreachable site's case", refused("unreachable").trim());
    let on_the_list = || {
        let list = fleet.json(&["call-list"]);
        list.as_array().into_iter().flatten().find(|entry| entry["site"] == "ward-a").cloned()
    };
    let entry = on_the_list().expect("the site is on the list");
    assert_eq!(
        (entry["phone"].as_str(), entry["unreachable"].as_bool()),
        (Some("+49 221 4711"), Some(true)),
        "{entry}"
    );
    assert_eq!(number(&entry["attempts"]), 3);
    fleet.lab.staffel_ok(&works).expect("said");
    refused("the customer says that it works");
    assert!(on_the_list().is_some(), "what the customer says takes nobody off the list");

    // The machine speaks again, proves itself, and the list is empty.
    kill_process(agent, Signal::CONT).expect("the agent is ours");
    fleet.wait("the case to be closed by its probe", |_| Ok(fleet.json(&["case", "show", &case])["state"] == "closed"));
    assert_eq!(fleet.json(&["case", "show", &case])["closed_by"], Value::Null);
    assert!(on_the_list().is_none());
    let (code, _) = fleet.refusal(&["case", "show", "99"]);
    assert_eq!(code, Some(4));
    fleet.log_is_sound();
}

#[test]
fn a_file_with_a_bad_row_changes_nothing_and_names_the_line() {
    let fleet = Fleet::new(1, Options::default());
    let file = fleet.lab.folder.join("sites.csv");
    let path = file.to_string_lossy().into_owned();
    std::fs::write(
        &file,
        "customer,site,address,platform\nclinic,ward-c,\"Am See 1, 50667 Köln\",virtual\nnobody,ward-d,,\nclinic,ward-e,,toaster\n",
    )
    .expect("written");
    let (code, error) = fleet.refusal(&["import", "sites", &path]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("line 3, column customer") && error.contains("line 4, column platform"), "{error}");
    let known = |site: &str| fleet.lab.staffel(&["site", "show", site]).expect("it runs").status.code() == Some(0);
    assert!(!known("clinic/ward-c"), "nothing was imported");
    fleet.lab.staffel_ok(&["import", "sites", &path, "--skip-bad", "--dry-run"]).expect("a dry run");
    assert!(!known("clinic/ward-c"), "a dry run imports nothing");
    fleet.lab.staffel_ok(&["import", "sites", &path, "--skip-bad"]).expect("the good row");
    assert!(known("clinic/ward-c") && !known("clinic/ward-e"));
    assert_eq!(fleet.json(&["site", "show", "clinic/ward-c"])["platform"], "virtual");
    let devices = fleet.lab.folder.join("devices.csv");
    std::fs::write(&devices, "customer,site,device\nclinic,ward-c,pc-7\nclinic,ward-c,pc-8\n").expect("written");
    let tokens = fleet.lab.staffel_ok(&["import", "devices", &devices.to_string_lossy()]).expect("tokens");
    let lines: Vec<&str> = tokens.lines().collect();
    assert_eq!(lines.len(), 3, "{tokens}");
    assert!(lines[1].starts_with("clinic,ward-c,pc-7,"), "{tokens}");
    assert_eq!(fleet.json(&["site", "show", "clinic/ward-c"])["expected"], serde_json::json!(["pc-7", "pc-8"]));
}
