//! The description is true: its paths are the router's, its types those that are sent.

use super::support::Server;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use staffel_core::{
    boot::traces::Trace,
    conditions::Refusal,
    ids::{DeviceId, Digest},
    policy::{CustomerPolicy, Window},
    profile::{Profile, ProfileName},
};
use staffel_server::{
    api::{
        Acknowledge, CallBack, CaseWord, CertificateView, DevicePage, DeviceView, DeviceWhy, DeviceWhyRollout, Erase,
        EraseNote, HistoryEntry, Import, NewNotice, NextUnhalt, OpenIncident, RemedyView, Role, RolloutView,
        StartRollout, StartView, TenantView, TokenRequest, Unhalting, Word,
    },
    openapi::DOCUMENT,
};
use staffel_trust::{
    statement::{Envelope, PublicKey},
    wire::Problem,
};
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Says what is wrong with a value, by the part of JSON Schema that the document uses. Strict: a field that is not described
/// is wrong, too.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.strip_prefix('#').unwrap()).ok_or(format!("{name} is not there"))?;
        return check(document, schema, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = |wanted: &str| wanted == kind || (wanted == "number" && kind == "integer");
    let right = match &schema["type"] {
        Value::Null => true,
        Value::String(wanted) => fits(wanted),
        Value::Array(wanted) => wanted.iter().any(|wanted| fits(wanted.as_str().unwrap())),
        odd => return Err(format!("{at}: the type {odd} is not understood")),
    };
    if !right {
        return Err(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{at}: {value} is none of {allowed:?}"));
    }
    if let Some(items) = value.as_array() {
        return items.iter().try_for_each(|item| check(document, &schema["items"], item, &format!("{at}[]")));
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    for (name, field) in fields {
        let described = schema["properties"].get(name).or(schema.get("additionalProperties"));
        match described {
            Some(schema) => check(document, schema, field, &format!("{at}.{name}"))?,
            // Kinds of refusals have fields of their own.
            None if schema["properties"].get("refusal").is_some() || schema["properties"].is_null() => {}
            None => return Err(format!("{at}: {name} is not described")),
        }
    }
    Ok(())
}

/// The least value that a schema allows.
fn least(document: &Value, schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return least(document, document.pointer(name.strip_prefix('#').unwrap()).unwrap());
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap();
    match kind {
        "string" => schema["enum"].get(0).cloned().unwrap_or(json!("x")),
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        "array" => json!([least(document, &schema["items"])]),
        _ => {
            let mut out = Map::new();
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap();
                out.insert(name.to_owned(), least(document, &schema["properties"][name]));
            }
            Value::Object(out)
        }
    }
}

fn named(document: &Value, name: &str) -> Value {
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "{name} is not described");
    schema.clone()
}

#[test]
fn its_paths_are_those_of_the_source() {
    let mut registered = BTreeSet::new();
    for source in [
        include_str!("../../../src/edge.rs"),
        include_str!("../../../src/log_api.rs"),
        include_str!("../../../src/operator_api.rs"),
        include_str!("../../../src/recovery_api.rs"),
        include_str!("../../../src/notice_api.rs"),
        include_str!("../../../src/detection_api.rs"),
        include_str!("../../../src/device_api.rs"),
    ] {
        for call in ["route(\"", "fleet(\"", "large(\""] {
            let paths = source.split(call).skip(1).map(|rest| rest.split('"').next().unwrap().replace("{*", "{"));
            registered.extend(paths.filter(|path| !path.starts_with("/v1/") && !path.starts_with("/repo/")));
        }
    }
    let described: BTreeSet<String> = document()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, registered);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_described_method_is_known_to_the_router_and_no_other() {
    let server = Server::start(|_| {}).await;
    let client = server.operator(Role::Releaser, None);
    for (path, methods) in document()["paths"].as_object().unwrap() {
        let url = server.url(
            &path
                .replace("{id}", "1")
                .replace("{tenant}", "clinic")
                .replace("{site}", "north")
                .replace("{path}", "0/000"),
        );
        for method in ["get", "post", "put", "delete", "patch"] {
            let request = client.request(method.to_uppercase().parse().unwrap(), &url);
            let answer = request.send().await.unwrap();
            let known = answer.status() != 405;
            assert_eq!(known, methods.get(method).is_some(), "{method} {path}");
            let error = answer.json::<Problem>().await.map_or(String::new(), |problem| problem.error);
            assert_ne!(error, "there is no such path", "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_answers_are_as_described() {
    let server = Server::start(|_| {}).await;
    let till = server.device("till-1").await;
    super::detections::with_one(&server, &till).await;
    let client = server.operator(Role::Releaser, None);
    let document = document();
    let incident = json!({ "class": "outage", "why": "dark", "devices": ["till-1"] });
    let opened = client.post(server.url("/api/v1/incidents")).json(&incident).send().await.unwrap();
    assert_eq!(opened.status(), 200);
    for word in [
        json!({ "word": "contact", "channel": "phone", "outcome": "no-answer" }),
        json!({ "word": "open-debt", "what": "scanner off" }),
        json!({ "word": "own" }),
    ] {
        let said = client.post(server.url("/api/v1/cases/1/words")).json(&word).send().await.unwrap();
        assert_eq!(said.status(), 200, "{word}");
    }
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_null() || path.contains("/rollouts/{id}") || path.contains("/notices/{id}") {
            continue;
        }
        let id = if path.contains("devices") { "till-1" } else { "1" };
        let path = path.replace("{id}", id).replace("{tenant}", "clinic").replace("{site}", "north");
        let url = server.url(&path);
        let answer: Value = client.get(url).send().await.unwrap().json().await.unwrap();
        check(&document, schema, &answer, &path).unwrap();
        checked += 1;
    }
    assert_eq!(checked, 27);
    let request = json!({ "tenant": "clinic", "site": "north" });
    let token: Value =
        client.post(server.url("/api/v1/tokens")).json(&request).send().await.unwrap().json().await.unwrap();
    check(&document, &named(&document, "Token"), &token, "Token").unwrap();
    let problem: Value = client.get(server.url("/nothing")).send().await.unwrap().json().await.unwrap();
    check(&document, &named(&document, "Problem"), &problem, "Problem").unwrap();
}

fn rollout() -> RolloutView {
    RolloutView {
        rollout: 1,
        name: "till".into(),
        version: "2".into(),
        release: Digest::of(b"x"),
        profile: Profile::named(ProfileName::Standard),
        state: "running".into(),
        why: "it soaks".into(),
        waiting_on: json!({ "soak": 1 }),
        started_by: "ann".into(),
        started_ms: 1,
        ended_ms: None,
        wave: 1,
        devices: 1,
        exposed_ever: 1,
        exposed: 1,
        budget: 1,
        confirmed: 0,
        failed: 0,
        silent: 0,
        withdrawn: 0,
        ln_e: -0.5,
        ln_hold: 3.0,
        ln_halt: 6.9,
        bound: Some(0.01),
        small_fleet_rules: false,
        ceiling_ppb: 1,
    }
}

fn remedy() -> RemedyView {
    RemedyView {
        device: DeviceId([1; 16]),
        name: "clinic/north/till-1".into(),
        sequence: 1,
        case: "c1".into(),
        action: "leave safe mode".into(),
        by: "ann".into(),
        sent_ms: 1,
        expires_ms: 2,
        state: "done".into(),
        why: "left safe mode".into(),
        answered_ms: Some(2),
    }
}

fn why() -> DeviceWhy {
    let device = DeviceView {
        device: DeviceId([1; 16]),
        name: "till-1".into(),
        tenant: "clinic".into(),
        site: "north".into(),
        os_build: "debian-12".into(),
        hardware_model: "box".into(),
        presence: "alive".into(),
        last_seen_ms: Some(1),
        mode: "normal".into(),
        running: [("till".to_string(), "1".to_string())].into(),
        warnings: vec!["a cloned key".into()],
        alerts: Default::default(),
    };
    let refusals = vec![Refusal::GateMissing, Refusal::GateTooFewSigners { have: 1, need: 2 }];
    let rollout = DeviceWhyRollout {
        rollout: 1,
        release: "till 2".into(),
        place: "wave 2".into(),
        says: vec!["it waits".into()],
        refusals,
        problems: vec!["disk full".into()],
    };
    let kernel = Trace::Kernel { reason: "Panic".into(), line: "x".into(), sha256: Digest::of(b"x"), bytes: 1 };
    let watchdog = Trace::Watchdog { name: "watchdog0".into(), identity: "softdog".into(), status: 0x20 };
    let entry = Trace::Entry { number: 2, committed: false, why: "it did not start".into() };
    let traces = vec![kernel, watchdog, entry];
    let says = traces.iter().map(ToString::to_string).collect();
    let start = StartView { at_ms: 1, position: 1, boot_id: "b".into(), says, traces };
    let certificate = Some(CertificateView { at_ms: 1, refused: Some("retired".into()) });
    let (remedies, detections) = (vec![remedy()], Default::default());
    DeviceWhy { device, rollouts: vec![rollout], remedies, starts: vec![start], certificate, detections }
}

#[test]
fn every_field_that_is_sent_is_described() {
    let policy = CustomerPolicy {
        freeze: Some("quarter end".into()),
        pin: [("till".to_string(), "1".to_string())].into(),
        windows: vec![Window { days: 1, from_minute: 0, to_minute: 1_440 }],
        rings: vec![vec!["till-1".into()]],
        ..CustomerPolicy::default()
    };
    let tenant =
        TenantView { tenant: "clinic".into(), devices: 1, policy_sequence: 1, policy, keys: vec![PublicKey([7; 32])] };
    let entry = HistoryEntry { position: 1, at_ms: 1, kind: "x".into(), text: "x".into() };
    let document = document();
    for (name, value) in [
        ("RolloutView", json!(rollout())),
        ("RolloutView", json!(RolloutView { ended_ms: Some(1), bound: None, ..rollout() })),
        ("HistoryEntry", json!(entry)),
        ("DeviceWhy", json!(why())),
        ("DeviceWhy", json!(DeviceWhy { certificate: None, ..why() })),
        ("DevicePage", json!(DevicePage { devices: vec![why().device], next: Some(7) })),
        ("TenantView", json!(tenant)),
        ("RemedyView", json!(RemedyView { answered_ms: None, state: "waiting".into(), ..remedy() })),
        (
            "NextUnhalt",
            json!(NextUnhalt { rollout: 1, release: Digest::of(b"x"), halts: vec![Digest::of(b"h")], now_ms: 1 }),
        ),
    ] {
        check(&document, &named(&document, name), &value, name).unwrap();
    }
    // The check itself notices both directions.
    let mut less = json!(rollout());
    less.as_object_mut().unwrap().remove("why");
    assert!(check(&document, &named(&document, "RolloutView"), &less, "").unwrap_err().contains("why"));
    let mut more = json!(rollout());
    more["new"] = json!(1);
    assert!(check(&document, &named(&document, "RolloutView"), &more, "").unwrap_err().contains("new"));
}

#[test]
fn what_is_described_as_enough_to_send_is_enough() {
    fn read<T: DeserializeOwned>(document: &Value, name: &str) {
        let value = least(document, &named(document, name));
        serde_json::from_value::<T>(value.clone()).unwrap_or_else(|error| panic!("{name} {value}: {error}"));
        // And each field that is called necessary is.
        for field in value.as_object().unwrap().keys() {
            let mut without = value.clone();
            without.as_object_mut().unwrap().remove(field);
            assert!(serde_json::from_value::<T>(without).is_err(), "{name}.{field} is not necessary");
        }
    }
    let document = document();
    read::<StartRollout>(&document, "StartRollout");
    read::<Word>(&document, "Word");
    read::<TokenRequest>(&document, "TokenRequest");
    read::<OpenIncident>(&document, "OpenIncident");
    read::<NewNotice>(&document, "NewNotice");
    read::<CallBack>(&document, "CallBack");
    read::<Erase>(&document, "Erase");
    read::<EraseNote>(&document, "EraseNote");
    read::<CaseWord>(&document, "CaseWord");
    read::<Import>(&document, "Import");
    read::<Acknowledge>(&document, "Acknowledge");
    read::<Unhalting>(&document, "Unhalting");
    read::<Envelope>(&document, "Envelope");
}
