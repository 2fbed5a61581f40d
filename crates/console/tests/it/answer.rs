//! The answer to an incident as pages: what software is suspected, what was done about it, who was told. Each says what stands in
//! the log, in both languages, and no customer reads of another.

use crate::{
    leaks::tells_nothing,
    support::{Browser, PATIENCE, World, key, operator},
};
use reqwest::StatusCode;
use serde_json::json;
use staffel_core::{
    foreign::{Component, ComponentKind, FileHash},
    ids::{DeviceId, Digest},
};
use staffel_notice::Manners;
use staffel_server::{
    api::{NewNotice, OpenIncident, Role},
    engine::{notices::Desk, now_ms},
};
use staffel_trust::{
    statement::predicate::{Action, Headed, Header, Remedy, sign},
    wire::Inventory,
};
use std::time::Duration;

fn component(name: &str, version: &str) -> Component {
    let file = FileHash { path: format!("/opt/{name}/content"), sha256: Digest::of(version.as_bytes()) };
    Component {
        kind: ComponentKind::SelfUpdater,
        name: name.into(),
        version: version.into(),
        supplier: "Acme Security".into(),
        files: vec![file],
    }
}

/// Twenty-four devices; six got a new version of one component and are in safe mode, five of them the bakery's. The bakery alone
/// got a helper with it.
struct Trouble {
    world: World,
    clinic: DeviceId,
    bakery: DeviceId,
    /// Entry of the suspicion.
    suspect: u64,
}

async fn trouble() -> Trouble {
    // Without a rollout: its devices would be called silent after three seconds.
    let world = World::new().await;
    let has = async |device, components: Vec<Component>| {
        world.engine.inventory_sent(device, Inventory { components }).await.unwrap();
    };
    let (mut hit, mut bakery) = (Vec::new(), Vec::new());
    for n in 10..34 {
        let (tenant, site) = if n < 15 { ("bakery", "backstube") } else { ("clinic", "ward") };
        let device = world.device(tenant, site, &format!("{tenant}-device-{n}")).await;
        has(device, vec![component("acme-shield", "1.0")]).await;
        if n < 15 {
            bakery.push(device);
        }
        if n < 16 {
            hit.push(device);
        }
    }
    for device in &hit {
        let mut components = vec![component("acme-shield", "1.1")];
        if bakery.contains(device) {
            components.push(component("backstube-helper", "7"));
        }
        has(*device, components).await;
        world.check_in(*device, json!({ "mode": "safe", "why": "it starts again and again" })).await;
    }
    let clockwork = tokio::spawn({
        let engine = world.engine.clone();
        async move { engine.run(std::future::pending::<()>()).await }
    });
    let found = async {
        loop {
            if let Some(suspect) = world.engine.suspects().into_iter().find(|s| s.component.name == "acme-shield") {
                return suspect.position;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let suspect = tokio::time::timeout(PATIENCE, found).await.expect("a suspicion");
    clockwork.abort();
    Trouble { suspect, clinic: hit[5], bakery: bakery[0], world }
}

/// A page in English and in German; neither shows a message that is missing an argument.
async fn both(browser: &mut Browser, path: &str) -> [String; 2] {
    let mut pages = Vec::new();
    for language in ["en", "de"] {
        browser.get(&format!("/language/{language}")).await;
        let page = browser.page(path).await;
        assert!(page.contains(&format!("<html lang=\"{language}\"")) && !page.contains("{ $"), "{path}: {page}");
        pages.push(page);
    }
    browser.get("/language/en").await;
    pages.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_software_is_named_with_n_of_m_and_an_incident_opens_from_it() {
    let Trouble { world, suspect, .. } = trouble().await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    let [english, german] = both(&mut ann, "/software").await;
    for part in [
        "acme-shield 1.1 of Acme Security",
        "6 of 6 that got it are silent",
        "0 of 18 that did not get it are.",
        "bakery/backstube/bakery-device-10",
        "backstube-helper 7 of Acme Security",
        "updates itself",
        "bakery / backstube",
    ] {
        assert!(english.contains(part), "{part} in {english}");
    }
    assert!(german.contains("6 von 6, die sie bekamen, schweigen"), "{german}");
    let [customer, _] = both(&mut ann, "/customers/bakery").await;
    for part in ["Who changes these machines without Staffel", "Acme Security", "backstube-helper", "1.1 on 5"] {
        assert!(customer.contains(part), "{part} in {customer}");
    }
    let form = format!("/incidents/new?suspect={suspect}");
    assert!(english.contains(&form.replace('&', "&#38;")), "{english}");
    let page = ann.page(&form).await;
    assert!(page.contains("value=\"acme-shield\"") && page.contains("value=\"Acme Security\""), "{page}");
    let devices = page.split("name=\"devices\" rows=\"2\">").nth(1).unwrap().split('<').next().unwrap().to_string();
    assert_eq!(devices.split(' ').count(), 6, "{devices}");
    let fields = [
        ("class", "foreign"),
        ("why", "their update stops machines"),
        ("devices", devices.as_str()),
        ("component", "acme-shield"),
        ("version", "1.1"),
        ("supplier", "Acme Security"),
    ];
    let answer = ann.submit(&form, "/incidents/new", &fields).await;
    let incident = answer.headers()["location"].to_str().unwrap().to_string();
    assert!(ann.page(&incident).await.contains("2 pieces of software suspected"));
    assert!(ann.page("/software").await.contains(&format!("href=\"{incident}\"")), "the suspicion leads to it");
    assert_eq!(ann.get("/incidents/new?suspect=0").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn remedies_and_notices_are_shown_with_who_signed_and_who_knows() {
    let Trouble { world, clinic, bakery, suspect } = trouble().await;
    let who = operator();
    let open = |devices: &[DeviceId]| OpenIncident {
        class: staffel_core::recovery::Class::Foreign,
        why: "backstube and ward stand still".into(),
        aware_at_ms: None,
        source: "call".into(),
        component: None,
        devices: devices.iter().map(ToString::to_string).collect(),
        sites: Vec::new(),
        incident: None,
    };
    let shared = world.engine.open_incident(&who, open(&[clinic, bakery])).await.unwrap().incident;
    let theirs = world.engine.open_incident(&who, open(&[bakery])).await.unwrap().incident;
    for device in [clinic, bakery] {
        let now = now_ms();
        let header = Header { issued_ms: now, expires_ms: now + 3_600_000, ..Header::default() };
        let action = Action::QuarantineFile { pattern: "/opt/acme-shield/*".into(), sha256: Digest::of(b"1.1") };
        let body = Remedy { device, case: "c1".into(), sequence: 1, action };
        let signed = sign(&Headed { header, body }, &[&key(7), &key(10)]);
        world.engine.send_remedy(&who, signed).await.unwrap();
    }
    let config = json!({
        "letterhead": {
            "sender": { "name": "Software House", "address": ["Lane 1", "1000 Town"], "phone": "0711 555 01 99" },
            "short_name": "House", "signature_de": "A. B.", "signature_en": "A. B.",
            "answer_address": "https://status.example/c/",
        },
        "mail_from": "House <house@house.example>",
    });
    let spool = world.dir.path().join("spool");
    let desk = Desk::open(serde_json::from_value(config).unwrap(), &spool, Manners::default()).unwrap();
    world.engine.open_desk(desk).unwrap();
    let time = json!({ "time": "2026-11-22T06:10+01:00" });
    let text = |words: &str| json!({ "text": words });
    let said = json!({
        "problem": text("tills do not start"), "affected": text("all tills"),
        "known": text("An update was faulty."), "do_now": text("Leave everything on."),
    });
    let values = json!({ "all": { "since": time, "next_update": time }, "de": said, "en": said });
    for incident in [shared, theirs] {
        let notice: NewNotice =
            serde_json::from_value(json!({ "incident": incident, "template": "first-information", "values": values }))
                .unwrap();
        world.engine.draw_notice(&who, notice).await.unwrap();
    }

    let mut ann = world.person("ann", Role::Viewer, None).await;
    let [english, german] = both(&mut ann, &format!("/remedies?incident={shared}")).await;
    let ids = [7, 10].map(|n| key(n).public().id()[..16].to_string());
    for part in ["clinic/ward/clinic-device-15", "bakery-device-10", "/opt/acme-shield/*", &ids[0], &ids[1]] {
        assert!(english.contains(part) && german.contains(part), "{part} in {english}");
    }
    assert!(english.contains("waiting") && german.contains("wartet"));
    let [english, german] = both(&mut ann, "/notices/1").await;
    for part in
        ["Notice 1: first information", "0 of 2 know.", "clinic / ward", "bakery / backstube", "Somebody has to call"]
    {
        assert!(english.contains(part), "{part} in {english}");
    }
    assert!(german.contains("2 Standorte sind anzurufen.") && german.contains("Jemand muss anrufen"), "{german}");
    let page = ann.page(&format!("/incidents/{shared}")).await;
    assert!(page.contains("2 remedies") && page.contains("one notice"), "{page}");

    // One customer's people see what is theirs, and nothing that counts the others.
    let mut carl = world.person("carl", Role::Operator, Some("clinic")).await;
    for path in [
        "/software".to_string(),
        "/remedies".into(),
        "/notices".into(),
        "/notices/1".into(),
        "/notices/2".into(),
        format!("/software?incident={shared}"),
        format!("/remedies?incident={shared}"),
        format!("/notices?incident={shared}"),
        format!("/software?incident={theirs}"),
        format!("/incidents/{shared}"),
        format!("/incidents/new?suspect={suspect}"),
        "/customers/clinic".into(),
    ] {
        tells_nothing(&mut carl, &path).await;
    }
    let own = carl.page("/software").await;
    assert!(own.contains("acme-shield 1.1") && own.contains("clinic-device-15") && !own.contains("6 of 6"), "{own}");
    assert!(carl.page("/remedies").await.contains("clinic-device-15"));
    let notice = carl.page("/notices/1").await;
    assert!(notice.contains("0 of 1 know.") && notice.contains("tills do not start"), "{notice}");
    let theirs_code = world.engine.notice(2).unwrap().recipients[0].code.clone();
    let codes: Vec<String> = world.engine.notice(1).unwrap().recipients.into_iter().map(|one| one.code).collect();
    assert!(codes.iter().filter(|code| notice.contains(code.as_str())).count() == 1 && !notice.contains(&theirs_code));
    for path in ["/notices/2".to_string(), "/notices/99".into(), format!("/notices?incident={theirs}")] {
        assert_eq!(carl.get(&path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
