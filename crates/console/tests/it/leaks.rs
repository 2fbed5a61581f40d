//! Customer A never sees customer B: not through a page, a search, a guessed id, an event, a history or an error.

use crate::support::{Browser, PATIENCE, World, operator};
use reqwest::StatusCode;
use staffel_core::recovery::Class;
use staffel_server::api::{CaseWord, OpenIncident, Role};
use std::time::{Duration, Instant};

/// What only the bakery has.
pub const SECRETS: [&str; 3] = ["bakery", "backstube", "bakery-till"];

pub async fn tells_nothing(browser: &mut Browser, path: &str) {
    let answer = browser.get(path).await;
    let status = answer.status();
    let page = answer.text().await.unwrap();
    // The person's own search words come back in the form; they are no leak.
    let shown: String = page.lines().filter(|line| !line.contains("<input") && !line.contains("back=")).collect();
    let shown = shown.replace(&format!("hx-get=\"{}\"", path.replace('&', "&#38;")), "");
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{path} ({status}) shows {secret}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_search_or_guessed_id_shows_another_customer() {
    let world = World::with_fleet().await;
    let till = world.device("bakery", "backstube", "bakery-till-3").await;
    let who = operator();
    world
        .engine
        .hold(&who, 1, staffel_server::api::Word { why: "bakery-till-1 smells".into(), halt: None })
        .await
        .unwrap();
    let asked = |device: &str| OpenIncident {
        class: Class::Outage,
        why: format!("{device} is down"),
        aware_at_ms: None,
        source: "call".into(),
        component: None,
        devices: vec![device.into()],
        sites: Vec::new(),
        incident: None,
    };
    let theirs = world.engine.open_incident(&who, asked("bakery/backstube/bakery-till-1")).await.unwrap().incident;
    let ours = world.engine.open_incident(&who, asked("clinic/ward/clinic-pc-1")).await.unwrap().incident;
    world.engine.case_word(&who, 1, CaseWord::Note { text: "the backstube is cold".into() }).await.unwrap();
    world.found("bakery-till-1").await;
    let mut carl = world.person("carl", Role::Operator, Some("clinic")).await;
    let paths = [
        "/".to_string(),
        "/rollouts".into(),
        "/rollouts/1".into(),
        "/devices".into(),
        "/devices?text=till".into(),
        "/devices?text=bakery".into(),
        "/devices?tenant=bakery".into(),
        "/devices?site=backstube".into(),
        "/devices?after=0".into(),
        "/devices?version=till".into(),
        format!("/devices?text={till}"),
        format!("/devices/{till}"),
        "/devices/bakery-till-1".into(),
        "/devices/bakery%2Fbackstube%2Fbakery-till-1".into(),
        "/releases".into(),
        "/customers".into(),
        "/customers/bakery".into(),
        "/customers/clinic".into(),
        "/cases".into(),
        "/cases?state=open".into(),
        format!("/cases?incident={theirs}&state=open"),
        "/cases/1".into(),
        "/cases/2".into(),
        format!("/incidents/{theirs}"),
        format!("/incidents/{ours}"),
        "/log".into(),
        "/log/3".into(),
        "/account".into(),
        "/software".into(),
        "/remedies".into(),
        "/notices".into(),
        "/notices/1".into(),
        "/alerts".into(),
        "/alerts?state=all&tenant=bakery".into(),
        "/alerts?device=bakery-till-1".into(),
        "/alerts/1".into(),
        format!("/software?incident={theirs}"),
        format!("/remedies?incident={theirs}"),
        format!("/notices?incident={theirs}"),
    ];
    for path in paths {
        tells_nothing(&mut carl, &path).await;
    }
    // Theirs and what does not exist are the same.
    let mut status = async |path: &str| carl.get(path).await.status();
    assert_eq!(status(&format!("/devices/{till}")).await, StatusCode::NOT_FOUND);
    assert_eq!(status("/devices/no-such-device").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/customers/bakery").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/customers/nobody").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/cases/1").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/cases/99").await, StatusCode::NOT_FOUND);
    assert_eq!(status(&format!("/incidents/{theirs}")).await, StatusCode::NOT_FOUND);
    assert_eq!(status("/cases/2").await, StatusCode::OK);
    assert_eq!(status("/log").await, StatusCode::FORBIDDEN);
    assert_eq!(status("/alerts/1").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/alerts/99").await, StatusCode::NOT_FOUND);
    // A word about their case changes nothing.
    let answer = carl.submit("/cases/2", "/cases/1/note", &[("text", "hello")]).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = carl.submit("/cases/2", "/alerts/1/acknowledge", &[("why", "hello")]).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = carl
        .submit(
            "/cases/2",
            "/incidents/new",
            &[("class", "outage"), ("why", "x"), ("devices", "bakery/backstube/bakery-till-2")],
        )
        .await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.engine.incidents(&who).len(), 2);
    // The one who may sees it: the pages themselves are not empty.
    let mut ann = world.person("ann", Role::Viewer, None).await;
    for path in ["/devices?text=till", "/customers/bakery", "/cases?state=open", "/rollouts/1", "/log", "/alerts"] {
        assert!(ann.page(path).await.contains("bakery"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_nothing_and_come_in_a_rhythm_to_those_who_see_one_customer() {
    let world = World::with_fleet().await;
    let mut carl = world.person("carl", Role::Viewer, Some("clinic")).await;
    let begun = Instant::now();
    let mut stream = carl.get("/events").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    // The bakery is busy; what carl gets must not depend on it.
    let busy = {
        let engine = world.engine.clone();
        tokio::spawn(async move {
            for n in 0..60 {
                let request = staffel_server::api::TokenRequest {
                    tenant: "bakery".into(),
                    site: format!("backstube-{n}"),
                    hours: None,
                };
                engine.token(&operator(), request).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    let mut text = String::new();
    let read = async {
        while !busy.is_finished() || text.is_empty() {
            let chunk = stream.chunk().await.unwrap().expect("it goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an event");
    // It is not over before the last event that was counted was sent.
    let lasted = begun.elapsed();
    busy.await.unwrap();
    let events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert!(events.iter().all(|event| *event == "event: refresh\ndata: 1"), "{text}");
    // A rhythm of 2 s: never more than that, however much happens elsewhere.
    let most = lasted.as_millis() / 2_000 + 1;
    assert!((1..=most).contains(&(events.len() as u128)), "{} in {lasted:?}", events.len());
    let answer = world.stranger().get("/events").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
}
