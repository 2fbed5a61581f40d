//! How devices came to start: what their machines found of earlier starts, as evidence.

use super::support::{Identity, Server, viewer};
use serde_json::json;
use staffel_core::{
    boot::traces::{CARD_RESET, LINE, TRACES, Trace},
    ids::Digest,
};
use staffel_server::api::Role;
use staffel_trust::wire::CheckInReply;

fn panic(line: &str) -> Trace {
    Trace::Kernel { reason: "Panic".into(), line: line.into(), sha256: Digest::of(line.as_bytes()), bytes: 7 }
}

async fn check_in(server: &Server, device: &Identity, boot_id: &str, traces: &[Trace]) -> CheckInReply {
    let start = json!({ "boot_id": boot_id, "traces": traces });
    let said = json!({ "boot_id": boot_id, "mode": { "mode": "normal" }, "start": start });
    let answer = server.client(Some(device)).post(server.url("/v1/checkin")).json(&said).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_found_is_logged_once_and_shown_with_the_device_and_its_case() {
    let server = Server::start(|_| {}).await;
    let device = server.device("till-1").await;
    let bit = Trace::Watchdog { name: "watchdog0".into(), identity: "softdog".into(), status: CARD_RESET };
    let found = [panic("Kernel panic - not syncing: driver"), bit.clone()];
    // The first answer may be lost.
    for _ in 0..2 {
        assert!(check_in(&server, &device, "boot-1", &found).await.start_noted);
    }
    // The kernel's record is still there at the next start; the watchdog speaks anew.
    assert!(check_in(&server, &device, "boot-2", &found).await.start_noted);
    assert!(!check_in_plain(&server, &device).await.start_noted);
    let why = server.engine.device_why(&viewer(), "till-1").unwrap();
    let shown: Vec<_> = why.starts.iter().map(|start| (start.boot_id.as_str(), start.traces.as_slice())).collect();
    assert_eq!(shown, [("boot-1", &found[..]), ("boot-2", &[bit][..])]);
    assert!(why.starts[0].says[0].contains("not syncing: driver"), "{:?}", why.starts);
    let log = server.engine.log_entries(0, 1_000).unwrap().to_string();
    assert_eq!(log.matches("device.started").count(), 2, "{log}");

    let incident = json!({ "class": "outage", "why": "dark", "devices": ["till-1"] });
    let operator = server.operator(Role::Operator, None);
    let opened = operator.post(server.url("/api/v1/incidents")).json(&incident).send().await.unwrap();
    assert_eq!(opened.status(), 200);
    let case = server.engine.case(&viewer(), 1).unwrap();
    assert_eq!(case.starts, why.starts);
}

async fn check_in_plain(server: &Server, device: &Identity) -> CheckInReply {
    let said = super::support::check_in();
    let answer = server.client(Some(device)).post(server.url("/v1/checkin")).json(&said).send().await.unwrap();
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_are_bounded_and_plain() {
    let server = Server::start(|_| {}).await;
    let device = server.device("till-1").await;
    let hostile = "\u{1b}[2J\u{202e}\n<script>".repeat(40);
    let traces: Vec<Trace> = (0..40).map(|n| panic(&format!("{hostile}{n}"))).collect();
    assert!(check_in(&server, &device, &hostile, &traces).await.start_noted);
    let why = server.engine.device_why(&viewer(), "till-1").unwrap();
    let start = &why.starts[0];
    assert_eq!((start.traces.len(), start.boot_id.chars().count()), (TRACES, 64));
    for line in start.says.iter().chain([&start.boot_id]) {
        assert!(line.chars().count() < 2 * LINE && !line.contains(['\u{1b}', '\n', '\u{202e}']), "{line:?}");
    }
}
