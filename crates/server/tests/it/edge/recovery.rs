//! Incidents and cases from outside: a device proves that it is well, people say what they like, customers see their own.

use super::support::{self, Identity, Server, problem};
use reqwest::Client;
use serde_json::{Value, json};
use staffel_core::{recovery::State, review::Language};
use staffel_server::api::{
    CallListEntry, Caller, CasePage, CaseQuery, CaseView, Imported, IncidentView, RecoveryCurve, Role, SiteView,
};
use staffel_trust::wire::CheckInReply;
use std::time::Duration;

async fn say(client: &Client, server: &Server, case: u64, word: Value) -> reqwest::Response {
    client.post(server.url(&format!("/api/v1/cases/{case}/words"))).json(&word).send().await.unwrap()
}

async fn get<T: serde::de::DeserializeOwned>(client: &Client, server: &Server, path: &str) -> T {
    let answer = client.get(server.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn open(client: &Client, server: &Server, devices: &[&str]) -> IncidentView {
    let asked = json!({ "class": "outage", "why": "the tills are dark", "source": "a call", "devices": devices });
    let answer = client.post(server.url("/api/v1/incidents")).json(&asked).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// A check-in that runs `till`, with an answer to `nonce` if there is one.
async fn check_in(server: &Server, device: &Identity, nonce: Option<&str>, failures: &[&str]) -> CheckInReply {
    let mut request = json!({
        "boot_id": "1",
        "mode": { "mode": "normal" },
        "running": { "till": "11".repeat(32) },
    });
    if let Some(nonce) = nonce {
        request["probed"] = json!({
            "nonce": nonce,
            "generation": "22".repeat(32),
            "committed": true,
            "failures": failures,
            "checked": 2,
            "debts": [],
        });
    }
    let client = server.client(Some(device));
    let answer = client.post(server.url("/v1/checkin")).json(&request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_closed_by_the_devices_own_proof_and_by_nothing_else() {
    let server = Server::start(|_| {}).await;
    let till = server.device("till-1").await;
    assert!(check_in(&server, &till, None, &[]).await.probe.is_none(), "nothing to prove");
    let operator = server.operator(Role::Operator, None);
    let incident = open(&operator, &server, &["till-1"]).await;
    assert_eq!((incident.cases, incident.not_back, incident.without_owner), (1, 1, 1));

    // What people say closes nothing.
    let claim = json!({ "word": "contact", "channel": "phone", "outcome": "says-it-works" });
    assert_eq!(say(&operator, &server, 1, claim).await.status(), 200);
    let error = problem(say(&operator, &server, 1, json!({ "word": "close" })).await, 409).await;
    assert!(error.contains("not verified by a probe: 0 of 3"), "{error}");
    let verified = json!({ "word": "state", "state": "verified", "why": "I saw it" });
    problem(say(&operator, &server, 1, verified).await, 409).await;

    // An answer to a question that was not asked counts for nothing, and neither does an old one.
    let first = check_in(&server, &till, Some("guessed"), &[]).await.probe.expect("a question");
    let asked = check_in(&server, &till, Some(&first), &[]).await.probe.expect("another one");
    assert_ne!(asked, first);
    for _ in 0..5 {
        assert_eq!(check_in(&server, &till, Some(&first), &[]).await.probe.as_ref(), Some(&asked));
    }
    let view: CaseView = get(&operator, &server, "/api/v1/cases/1").await;
    assert_eq!((view.state, view.probe.passed), (State::Working, 1));

    // One that fails starts the count again.
    let asked = check_in(&server, &till, Some(&asked), &["http"]).await.probe.expect("another one");
    let view: CaseView = get(&operator, &server, "/api/v1/cases/1").await;
    assert_eq!((view.probe.passed, view.probe.says.len()), (0, 1), "{view:?}");
    let mut next = asked;
    for _ in 0..3 {
        next = check_in(&server, &till, Some(&next), &[]).await.probe.expect("another one");
    }
    let view: CaseView = get(&operator, &server, "/api/v1/cases/1").await;
    assert_eq!((view.state, view.cannot_close.as_slice()), (State::Verified, &[][..]));

    // A workaround that somebody declares holds it open.
    assert_eq!(say(&operator, &server, 1, json!({ "word": "open-debt", "what": "scanner off" })).await.status(), 200);
    let error = problem(say(&operator, &server, 1, json!({ "word": "close" })).await, 409).await;
    assert!(error.contains("protection is off: declared: scanner off"), "{error}");
    let lift = json!({ "word": "lift-debt", "what": "scanner off", "why": "checked" });
    assert_eq!(say(&operator, &server, 1, lift).await.status(), 200);
    assert_eq!(say(&operator, &server, 1, json!({ "word": "close" })).await.status(), 200);
    assert!(check_in(&server, &till, None, &[]).await.probe.is_none(), "nothing to prove any more");

    let curve: RecoveryCurve = get(&operator, &server, "/api/v1/incidents/1/curve").await;
    assert_eq!((curve.back, curve.cases), (1, 1));
    assert!(curve.milestones.iter().all(|milestone| milestone.after_ms.is_some()), "{curve:?}");
    let incident: IncidentView = get(&operator, &server, "/api/v1/incidents/1").await;
    assert_eq!((incident.state.as_str(), incident.not_back), ("over", 0));
    let view: CaseView = get(&operator, &server, "/api/v1/cases/1").await;
    let kinds: Vec<&str> = view.history.iter().map(|entry| entry.kind.as_str()).collect();
    assert!(kinds.contains(&"recovery.verified") && kinds.last() == Some(&"recovery.closed"), "{kinds:?}");
    assert!(view.history.windows(2).all(|pair| pair[0].position < pair[1].position));
}

/// Memory is ahead of the disk: a review says what the incident's own page says.
#[tokio::test(flavor = "multi_thread")]
async fn a_review_waits_for_what_is_on_its_way_to_the_disk() {
    let server = Server::start(|_| {}).await;
    server.device("till-1").await;
    let operator = server.operator(Role::Operator, None);
    assert_eq!(get::<Vec<IncidentView>>(&operator, &server, "/api/v1/incidents").await.len(), 0);
    let held = server.hold_the_log();
    let asked = json!({ "class": "outage", "why": "the tills are dark", "devices": ["till-1"] });
    let opened = tokio::spawn(operator.post(server.url("/api/v1/incidents")).json(&asked).send());
    while get::<Vec<IncidentView>>(&operator, &server, "/api/v1/incidents").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let engine = server.engine.clone();
    let review = tokio::task::spawn_blocking(move || engine.review(&support::viewer(), 1, Language::En).unwrap());
    held.let_go(&opened).await;
    let kinds: Vec<String> = review.await.unwrap().entries.into_iter().map(|entry| entry.kind).collect();
    assert!(kinds.iter().any(|kind| kind == "recovery.incident-opened"), "{kinds:?}");
    assert_eq!(opened.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sees_and_touches_its_own_cases_only() {
    let server = Server::start(|_| {}).await;
    server.device("till-1").await;
    server.device_of("school", "pc-9").await;
    let operator = server.operator(Role::Operator, None);
    let incident = open(&operator, &server, &["clinic/north/till-1", "school/north/pc-9"]).await;
    assert_eq!(incident.cases, 2);
    let second = open(&operator, &server, &["school/north/pc-9"]).await;
    let clinic = server.operator(Role::Operator, Some("clinic"));
    let all: Vec<IncidentView> = get(&clinic, &server, "/api/v1/incidents").await;
    assert_eq!(all.iter().map(|i| (i.incident, i.cases)).collect::<Vec<_>>(), [(1, 1)]);
    assert!(!all[0].why.contains("tills"), "the reason may name others: {}", all[0].why);
    let page: CasePage = get(&clinic, &server, "/api/v1/cases").await;
    let [own] = &page.cases[..] else { panic!("{page:?}") };
    assert_eq!(own.name, "till-1");
    let other = if own.case == 1 { 2 } else { 1 };
    for path in [
        format!("/api/v1/cases/{other}"),
        "/api/v1/cases/77".into(),
        format!("/api/v1/incidents/{}", second.incident),
        format!("/api/v1/incidents/{}/curve", second.incident),
        "/api/v1/sites/school/north".into(),
    ] {
        problem(clinic.get(server.url(&path)).send().await.unwrap(), 404).await;
    }
    problem(say(&clinic, &server, other, json!({ "word": "own" })).await, 404).await;
    assert_eq!(say(&clinic, &server, own.case, json!({ "word": "own" })).await.status(), 200);
    let curve: RecoveryCurve = get(&clinic, &server, "/api/v1/incidents/1/curve").await;
    assert_eq!(curve.cases, 1);
    let sites: Vec<SiteView> = get(&clinic, &server, "/api/v1/sites").await;
    assert_eq!(sites.iter().map(|site| site.tenant.as_str()).collect::<Vec<_>>(), ["clinic"]);
    let calls: Vec<CallListEntry> = get(&clinic, &server, "/api/v1/call-list").await;
    assert!(calls.iter().all(|entry| entry.tenant == "clinic"));
    // Opening over the border, by name, by site, and into an incident of others.
    for asked in [
        json!({ "class": "outage", "why": "x", "devices": ["school/north/pc-9"] }),
        json!({ "class": "outage", "why": "x", "sites": ["school/north"] }),
        json!({ "class": "outage", "why": "x", "devices": ["till-1"], "incident": second.incident }),
    ] {
        problem(clinic.post(server.url("/api/v1/incidents")).json(&asked).send().await.unwrap(), 404).await;
    }
    // And no imports for others.
    let admin = server.operator(Role::TenantAdmin, Some("clinic"));
    let import = json!({ "devices": [{ "tenant": "school", "site": "north", "name": "pc-8" }] });
    let answer = admin.post(server.url("/api/v1/import")).json(&import).send().await.unwrap();
    let imported: Imported = answer.json().await.unwrap();
    assert_eq!((imported.wrong.len(), imported.new, imported.tokens.len()), (1, 0, 0), "{imported:?}");
    // A viewer looks.
    let viewer = server.operator(Role::Viewer, None);
    problem(say(&viewer, &server, own.case, json!({ "word": "own" })).await, 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_all_or_nothing_and_replaced_contacts_are_erased() {
    let server = Server::start(|_| {}).await;
    let admin = server.operator(Role::TenantAdmin, None);
    let import = async |body: Value| -> Imported {
        let answer = admin.post(server.url("/api/v1/import")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };
    let customer = json!({ "tenant": "clinic", "full_name": "Klinik am See", "language": "de", "segment": "critical" });
    let site = |name: &str| {
        json!({ "tenant": "clinic", "site": name, "address": "Am See 1, 50667 Köln", "language": "", "platform": "virtual",
            "segment": "standard" })
    };
    let contacts = |number: &str| {
        json!([{ "tenant": "clinic", "site": "north", "verified": "2026-01-02",
            "channels": [{ "channel": "phone", "address": number, "name": "desk" }] }])
    };
    let bad = import(json!({ "customers": [customer], "sites": [site("north"), site("no/name")] })).await;
    assert_eq!((bad.wrong.len(), bad.wrong[0].row, bad.wrong[0].column.as_str()), (1, 1, "site"), "{bad:?}");
    assert_eq!(get::<Vec<SiteView>>(&admin, &server, "/api/v1/sites").await.len(), 0, "nothing was taken");
    let dry = import(json!({ "customers": [customer], "sites": [site("north")], "dry_run": true })).await;
    assert_eq!((dry.new, dry.wrong.len()), (2, 0));
    assert_eq!(get::<Vec<SiteView>>(&admin, &server, "/api/v1/sites").await.len(), 0, "nothing was taken");
    let devices = json!([{ "tenant": "clinic", "site": "north", "name": "till-7" }]);
    let all = json!({ "customers": [customer], "sites": [site("north")], "devices": devices });
    let first = import(all.clone()).await;
    assert_eq!((first.new, first.tokens.len()), (3, 1));
    let again = import(all).await;
    assert_eq!((again.new, again.unchanged, again.tokens.len()), (0, 3, 0), "nothing twice");
    import(json!({ "contacts": contacts("0221 4711") })).await;
    let view: SiteView = get(&admin, &server, "/api/v1/sites/clinic/north").await;
    assert_eq!((view.expected.as_slice(), view.language.as_deref()), (&["till-7".to_string()][..], Some("de")));
    assert_eq!(import(json!({ "contacts": contacts("0221 4712") })).await.changed, 1);
    let log = server.operator(Role::Viewer, None);
    let entries: Value = get(&log, &server, "/api/v1/log/entries?max=1000").await;
    let text = entries.to_string();
    assert!(text.contains("0221 4712") && !text.contains("0221 4711"), "replaced contacts are erased");
    // The token lets the device in, and then it is expected no more.
    let key = support::new_key();
    let request = support::enrolment(first.tokens[0].token.clone(), "till-7", &key);
    let answer = server.client(None).post(server.url("/v1/enrol")).json(&request).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let view: SiteView = get(&admin, &server, "/api/v1/sites/clinic/north").await;
    assert_eq!((view.expected.len(), view.devices), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_case() {
    let mut server = Server::start(|_| {}).await;
    let till = server.device("till-1").await;
    server.device_of("school", "pc-9").await;
    let operator = server.operator(Role::Operator, None);
    open(&operator, &server, &["till-1", "pc-9"]).await;
    check_in(&server, &till, None, &[]).await;
    for word in [
        json!({ "word": "own" }),
        json!({ "word": "note", "text": "the key is with the porter" }),
        json!({ "word": "contact", "channel": "phone", "outcome": "no-answer" }),
        json!({ "word": "open-debt", "what": "scanner off" }),
    ] {
        assert_eq!(say(&operator, &server, 1, word.clone()).await.status(), 200, "{word}");
    }
    let who = Caller { name: "test".into(), role: Role::Viewer, tenant: None };
    let shown = |engine: &staffel_server::engine::Engine| {
        let mut page = serde_json::to_value(engine.cases(&who, &CaseQuery::default())).unwrap();
        for case in page["cases"].as_array_mut().unwrap() {
            // When a device was heard, and what it has proven so far, is found out again.
            for forgotten in ["last_seen_ms", "presence", "probe", "refusals", "cannot_close"] {
                case.as_object_mut().unwrap().remove(forgotten);
            }
        }
        page
    };
    let before = shown(&server.engine);
    assert_eq!(before["cases"].as_array().unwrap().len(), 2);
    server.tell_to_stop();
    server.stopped().await;
    let Server { dir, engine, .. } = server;
    drop(engine);
    let again = support::engine(&dir.path().join("engine"));
    assert_eq!(shown(&again), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_with_its_reason() {
    let server = Server::start(|_| {}).await;
    server.device("till-1").await;
    let operator = server.operator(Role::Operator, None);
    for (asked, status) in [
        (json!({ "class": "outage", "why": " ", "devices": ["till-1"] }), 422),
        (json!({ "class": "outage", "why": "x" }), 422),
        (json!({ "class": "storm", "why": "x" }), 400),
        (json!({ "class": "outage", "why": "x", "devices": ["nobody"] }), 404),
        (json!({ "class": "outage", "why": "x", "devices": ["till-1"], "incident": 9 }), 404),
    ] {
        let answer = operator.post(server.url("/api/v1/incidents")).json(&asked).send().await.unwrap();
        problem(answer, status).await;
    }
    open(&operator, &server, &["till-1"]).await;
    for (word, status) in [
        (json!({ "word": "note", "text": "" }), 422),
        (json!({ "word": "call-back", "at_ms": 1 }), 422),
        (json!({ "word": "sing" }), 400),
        (json!({ "word": "reopen", "why": "x" }), 409),
        (json!({ "word": "lift-debt", "what": "x", "why": "y" }), 409),
    ] {
        problem(say(&operator, &server, 1, word).await, status).await;
    }
    problem(say(&operator, &server, 7, json!({ "word": "own" })).await, 404).await;
}
