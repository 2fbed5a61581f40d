//! Notices from outside: drawn for an incident, sent into the spool, acknowledged by a code; never by or for one customer alone.

use super::support::{PATIENCE, Server, problem};
use serde_json::{Value, json};
use staffel_notice::Manners;
use staffel_server::{
    api::{CaseView, Dossier, NoticeCall, NoticeSheet, NoticeView, Role},
    engine::notices::{Desk, DeskConfig},
};
use std::path::Path;

fn desk(folder: &Path) -> Desk {
    let config: DeskConfig = serde_json::from_value(json!({
        "letterhead": {
            "sender": {
                "name": "Musterhaus GmbH", "address": ["Lange Straße 12", "70173 Stuttgart"],
                "phone": "0711 555 01 99", "phone_hours": null, "fax": null, "email": null
            },
            "short_name": "Musterhaus", "signature_de": "Jürgen Weiß", "signature_en": "Jürgen Weiß",
            "answer_address": "https://status.example/c/"
        },
        "mail_from": "Musterhaus <dienst@musterhaus.example>",
        "press": folder.join("no-such-press"),
    }))
    .unwrap();
    Desk::open(config, folder, Manners::default()).unwrap()
}

fn asked() -> Value {
    let text = |words: &str| json!({ "text": words });
    let time = json!({ "time": "2026-11-22T06:10+01:00" });
    json!({
        "incident": 1,
        "template": "first-information",
        "values": {
            "all": { "since": time, "next_update": time },
            "de": {
                "problem": text("Kassen starten nicht"), "affected": text("alle Kassen"),
                "known": text("Ein Update war fehlerhaft."), "do_now": text("Bitte nichts ausschalten."),
            },
        },
    })
}

/// A site with an e-mail address and a phone number, and an incident that concerns it; answers the operator who opened it.
async fn incident(server: &Server) -> reqwest::Client {
    server.device("till-1").await;
    let admin = server.operator(Role::TenantAdmin, None);
    let import = json!({ "contacts": [{
        "tenant": "clinic", "site": "north", "verified": "",
        "channels": [
            { "channel": "email", "address": "aenne@kunde.example" },
            { "channel": "fax", "address": "0351 555 77 01" },
            { "channel": "phone", "address": "0351 555 77 00" },
        ],
    }] });
    let answer = admin.post(server.url("/api/v1/import")).json(&import).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let operator = server.operator(Role::Operator, None);
    let body = json!({ "class": "outage", "why": "dark", "devices": ["till-1"] });
    let answer = operator.post(server.url("/api/v1/incidents")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    operator
}

/// Eml files in the spool.
fn mails(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("email")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".eml") && !name.starts_with('.')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_reaches_the_spool_and_whoever_calls_back_is_off_the_list() {
    let server = Server::start(|_| {}).await;
    let operator = incident(&server).await;
    let post = async |path: &str, body: &Value| operator.post(server.url(path)).json(body).send().await.unwrap();
    let refused = problem(post("/api/v1/notices", &asked()).await, 422).await;
    assert!(refused.contains("letterhead"), "{refused}");

    let spool = tempfile::tempdir().unwrap();
    server.engine.open_desk(desk(spool.path())).unwrap();
    let mut hole = asked();
    hole["values"]["de"].as_object_mut().unwrap().remove("known");
    let refused = problem(post("/api/v1/notices", &hole).await, 422).await;
    assert!(refused.contains("known"), "{refused}");
    let mut dry = asked();
    dry["dry_run"] = json!(true);
    let sheet: NoticeSheet = post("/api/v1/notices", &dry).await.json().await.unwrap();
    assert_eq!((sheet.notice.notice, sheet.recipients.len(), sheet.texts.len()), (None, 1, 1));

    let sheet: NoticeSheet = post("/api/v1/notices", &asked()).await.json().await.unwrap();
    assert_eq!((sheet.notice.notice, sheet.notice.recipients), (Some(1), 1), "the dry run left nothing behind");
    assert_eq!(sheet.recipients[0].routes, ["email", "fax", "phone"]);
    assert!(sheet.texts[0].text.contains("Kassen starten nicht"), "{:?}", sheet.texts);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let engine = server.engine.clone();
    let outbox = tokio::spawn(async move { engine.deliver_notices(async { drop(stopped.await) }).await });
    let get = async |path: &str| operator.get(server.url(path)).send().await.unwrap();
    let answer_awaited = async {
        loop {
            let sheet: NoticeSheet = get("/api/v1/notices/1").await.json().await.unwrap();
            if sheet.recipients[0].next == "waits for an answer to the email" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answer_awaited).await.expect("the mail is sent");
    assert_eq!(mails(spool.path()), ["notice-1-recipient-0-attempt-1.eml"]);
    let case: CaseView = get("/api/v1/cases/1").await.json().await.unwrap();
    assert_eq!(case.state, staffel_core::recovery::State::Notified, "the case learned of it");

    let calls: Vec<NoticeCall> = get("/api/v1/notices/1/call-list").await.json().await.unwrap();
    assert_eq!(calls[0].phone.as_deref(), Some("0351 555 77 00"));
    let code = calls[0].code.clone();
    let typo = code.replacen(&code[..1], if code.starts_with('A') { "B" } else { "A" }, 1);
    let body = |code: &str| json!({ "code": code, "said": "call-back" });
    problem(post("/api/v1/call-backs", &body(&typo)).await, 422).await;
    let sheet: NoticeSheet = post("/api/v1/call-backs", &body(&code.to_lowercase())).await.json().await.unwrap();
    assert_eq!(sheet.notice.acknowledged, 1);
    problem(post("/api/v1/call-backs", &body(&code)).await, 409).await;
    let calls: Vec<NoticeCall> = get("/api/v1/notices/1/call-list").await.json().await.unwrap();
    assert!(calls.is_empty(), "{calls:?}");
    let case: CaseView = get("/api/v1/cases/1").await.json().await.unwrap();
    assert_eq!(case.state, staffel_core::recovery::State::Reached, "a call back is no proof");
    drop(stop);
    outbox.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_is_bound_to_a_customer_sees_or_sends_notices_and_a_viewer_sends_none() {
    let server = Server::start(|_| {}).await;
    incident(&server).await;
    let spool = tempfile::tempdir().unwrap();
    server.engine.open_desk(desk(spool.path())).unwrap();
    let bound = server.operator(Role::TenantAdmin, Some("clinic"));
    for path in ["/api/v1/notices", "/api/v1/notices/1", "/api/v1/notices/1/call-list"] {
        problem(bound.get(server.url(path)).send().await.unwrap(), 403).await;
    }
    let viewer = server.operator(Role::Viewer, None);
    for client in [&bound, &viewer] {
        problem(client.post(server.url("/api/v1/notices")).json(&asked()).send().await.unwrap(), 403).await;
        let body = json!({ "code": "AAAA-AAAA", "said": "call" });
        problem(client.post(server.url("/api/v1/call-backs")).json(&body).send().await.unwrap(), 403).await;
    }
    let seen: Vec<NoticeView> = viewer.get(server.url("/api/v1/notices")).send().await.unwrap().json().await.unwrap();
    assert!(seen.is_empty(), "{seen:?}");
    problem(viewer.get(server.url("/api/v1/notices/1")).send().await.unwrap(), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_notes_are_erased_with_who_and_why_and_the_log_still_verifies() {
    let server = Server::start(|_| {}).await;
    let operator = incident(&server).await;
    let spool = tempfile::tempdir().unwrap();
    server.engine.open_desk(desk(spool.path())).unwrap();
    let post = async |path: &str, body: &Value| operator.post(server.url(path)).json(body).send().await.unwrap();
    let sheet: NoticeSheet = post("/api/v1/notices", &asked()).await.json().await.unwrap();
    assert_eq!(sheet.notice.notice, Some(1));
    let note = json!({ "word": "note", "text": "Frau Dr. Ännchen ruft zurück" });
    let case: CaseView = post("/api/v1/cases/1/words", &note).await.json().await.unwrap();
    let noted = case.history.iter().find(|entry| entry.kind == "recovery.noted").unwrap().position;

    // Not without a reason, not something else, not by everybody.
    problem(post("/api/v1/notices/1/erasure", &json!({ "why": " " })).await, 422).await;
    problem(post("/api/v1/notices/9/erasure", &json!({ "why": "asked" })).await, 404).await;
    for entry in [0, noted - 1, 99_999] {
        problem(post("/api/v1/cases/1/erasures", &json!({ "entry": entry, "why": "asked" })).await, 404).await;
    }
    let why = json!({ "why": "Art. 17 GDPR" });
    for client in [server.operator(Role::Viewer, None), server.operator(Role::TenantAdmin, Some("clinic"))] {
        problem(client.post(server.url("/api/v1/notices/1/erasure")).json(&why).send().await.unwrap(), 403).await;
    }
    let stranger = server.operator(Role::Operator, Some("school"));
    let body = json!({ "entry": noted, "why": "x" });
    problem(stranger.post(server.url("/api/v1/cases/1/erasures")).json(&body).send().await.unwrap(), 404).await;

    assert_eq!(post("/api/v1/notices/1/erasure", &why).await.status(), 200);
    problem(post("/api/v1/notices/1/erasure", &why).await, 409).await;
    let body = json!({ "entry": noted, "why": "Art. 17 GDPR" });
    let case: CaseView = post("/api/v1/cases/1/erasures", &body).await.json().await.unwrap();
    assert!(!serde_json::to_string(&case).unwrap().contains("Ännchen"), "{case:?}");
    problem(post("/api/v1/cases/1/erasures", &body).await, 404).await;
    let calls = operator.get(server.url("/api/v1/notices/1/call-list")).send().await.unwrap();
    let calls: Vec<NoticeCall> = calls.json().await.unwrap();
    assert_eq!(calls[0].phone, None, "the number went, too");

    let log = operator.get(server.url("/api/v1/log/entries?max=1000")).send().await.unwrap();
    let log: Vec<Value> = log.json().await.unwrap();
    let erased: Vec<_> = log.iter().filter(|entry| entry["kind"] == "entry.erased").collect();
    assert_eq!(erased.len(), 2, "{erased:?}");
    assert!(
        erased.iter().all(|entry| entry["payload"]["why"] == "Art. 17 GDPR" && entry["payload"]["by"] != Value::Null)
    );
    for entry in &erased {
        let gone = &log[entry["payload"]["entry"].as_u64().unwrap() as usize];
        assert_eq!(gone["payload"], Value::Null, "{gone}");
    }
    let text = serde_json::to_string(&log).unwrap();
    // The contacts of the site are another record, which the next import replaces.
    assert!(!text.contains("Ännchen"), "{text}");
    let report = staffel_store::verify_file(server.dir.path().join("engine/log.sqlite"), None).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.erased, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_reads_its_own_dossier_and_no_other() {
    let server = Server::start(|_| {}).await;
    let operator = incident(&server).await;
    let spool = tempfile::tempdir().unwrap();
    server.engine.open_desk(desk(spool.path())).unwrap();
    let site = json!({ "sites": [{
        "tenant": "school", "site": "annex", "address": "", "language": "de", "platform": "physical", "segment": "standard",
    }], "customers": [{ "tenant": "school", "full_name": "School", "language": "de", "segment": "standard" }] });
    assert_eq!(operator.post(server.url("/api/v1/import")).json(&site).send().await.unwrap().status(), 200);
    let mut asked = asked();
    asked["sites"] = json!(["clinic/north", "school/annex"]);
    let drawn = operator.post(server.url("/api/v1/notices")).json(&asked).send().await.unwrap();
    assert_eq!(drawn.status(), 200);

    let url = server.url("/api/v1/incidents/1/dossiers?language=de");
    let read = async |client: reqwest::Client| client.get(&url).send().await.unwrap();
    let all: Vec<Dossier> = read(operator).await.json().await.unwrap();
    assert_eq!(all.iter().map(|dossier| dossier.tenant.as_str()).collect::<Vec<_>>(), ["clinic", "school"]);
    let own: Vec<Dossier> = read(server.operator(Role::Viewer, Some("clinic"))).await.json().await.unwrap();
    let text = serde_json::to_string(&own).unwrap();
    assert_eq!(own.len(), 1, "{text}");
    assert!(
        text.contains("north: Benachrichtigung 1") && !text.contains("school") && !text.contains("annex"),
        "{text}"
    );
    let cited: Vec<u64> = own[0].sheet.entries.iter().map(|entry| entry.position).collect();
    assert_eq!(own[0].sheet.document.cites().into_iter().collect::<Vec<_>>(), cited);
    problem(read(server.operator(Role::Viewer, Some("library"))).await, 404).await;
}
