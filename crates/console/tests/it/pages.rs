//! Pages without scripts: what they say, in both languages, and that buttons do what they say.

use crate::support::{PATIENCE, World, operator};
use reqwest::StatusCode;
use staffel_server::api::Role;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_there_in_both_languages_and_says_different_words() {
    let world = World::with_fleet().await;
    let mut ann = world.person("ann", Role::Releaser, None).await;
    let releases = ann.page("/releases").await;
    let digest = releases.split("href=\"/releases/").nth(1).unwrap().split('"').next().unwrap().to_string();
    let paths = ["/", "/rollouts", "/rollouts/1", "/rollouts/1/halt", "/devices", "/devices/clinic-pc-1", "/releases"];
    world.found("clinic-pc-1").await;
    let answer =
        ["/software", "/remedies", "/notices", "/alerts", "/alerts?state=all&severity=low", "/alerts/1", "/alerts/2"];
    let more = ["/customers", "/customers/clinic", "/cases", "/incidents/new", "/log", "/log/0", "/account"];
    let release = format!("/releases/{digest}");
    for path in paths.into_iter().chain(more).chain(answer).chain([release.as_str()]) {
        ann.get("/language/en").await;
        let english = ann.page(path).await;
        ann.get("/language/de").await;
        let german = ann.page(path).await;
        assert!(english.contains("<html lang=\"en\"") && german.contains("<html lang=\"de\""), "{path}");
        assert!(english.contains("Log out") && german.contains("Abmelden"), "{path}");
        for page in [&english, &german] {
            assert!(page.matches("<h1").count() == 1 && page.contains("<main id=\"main\""), "{path}");
            // A message without its argument, or one that is not there, would show like this.
            assert!(!page.contains("{$") && !page.contains("{ $"), "{path}: {page}");
        }
    }
    let german = ann.page("/rollouts/1").await;
    assert!(
        german.contains("Welle 1: 1 zu ändernde und 3 Kontrollen haben noch nicht um Erlaubnis gebeten."),
        "{german}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_cookie_gets_its_own_language() {
    let world = World::new().await;
    let answer = world.stranger().ask("/login", &[("accept-language", "de-DE,de;q=0.9,en;q=0.5")]).await;
    assert!(answer.text().await.unwrap().contains("Passwort"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_held_resumed_and_halted_with_the_persons_name_and_asks_once() {
    let world = World::with_fleet().await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    let page = ann.page("/rollouts/1/halt").await;
    assert!(page.contains("Halt till 2.1 for good?") && page.contains("logged with your name, ann"), "{page}");
    // No reason, no halt; asking changes nothing.
    let answer = ann.submit("/rollouts/1/halt", "/rollouts/1/halt", &[("why", "  ")]).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.engine.rollout(&operator(), 1).unwrap().state, "running");
    for (word, why, state) in
        [("hold", "lunch", "held"), ("resume", "", "running"), ("halt", "tills <b>hang</b>", "halted")]
    {
        let path = format!("/rollouts/1/{word}");
        let answer = ann.submit(&path, &path, &[("why", why)]).await;
        assert_eq!(
            (answer.status(), answer.headers()["location"].to_str().unwrap()),
            (StatusCode::SEE_OTHER, "/rollouts/1")
        );
        assert_eq!(world.engine.rollout(&operator(), 1).unwrap().state, state);
    }
    let page = ann.page("/rollouts/1").await;
    assert!(page.contains("ann: tills") && !page.contains("<b>hang"), "what people say is text, not markup");
    assert!(!page.contains("/rollouts/1/resume"), "a halt is for good");
    let answer = ann.submit("/", "/rollouts/1/resume", &[]).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_is_told_of_a_change_within_two_seconds() {
    let world = World::with_fleet().await;
    let mut ann = world.person("ann", Role::Viewer, None).await;
    let mut stream = ann.get("/events").await;
    // Whatever the start still had to say.
    let _ = tokio::time::timeout(Duration::from_millis(1_500), stream.chunk()).await;
    // Without a change one comes after five seconds. A busy machine makes one late, and not one after the other.
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        // The first time there is nothing to resume.
        let _ = world.engine.resume(&operator(), 1, Default::default()).await;
        let since = tokio::time::Instant::now();
        world.engine.hold(&operator(), 1, Default::default()).await.unwrap();
        let event = tokio::time::timeout(PATIENCE, stream.chunk()).await.expect("an event").unwrap();
        assert!(event.is_some());
        fastest = fastest.min(since.elapsed());
        if fastest < Duration::from_secs(2) {
            break;
        }
    }
    eprintln!("SHOW event after a change: {} ms", fastest.as_millis());
    assert!(fastest < Duration::from_secs(2), "{fastest:?}");
    let fragment = ann.ask("/rollouts/1", &[("hx-request", "true")]).await.text().await.unwrap();
    assert!(
        !fragment.contains("<html") && fragment.contains("held") && fragment.contains("id=\"course\""),
        "{fragment}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_the_log_is_shown_with_a_proof_that_holds() {
    let world = World::with_fleet().await;
    let mut ann = world.person("ann", Role::Viewer, None).await;
    let stop = std::future::pending::<()>();
    let clockwork = tokio::spawn({
        let engine = world.engine.clone();
        async move { engine.run(stop).await }
    });
    // The next checkpoint comes within a second or so.
    let proven = async {
        loop {
            let page = ann.page("/log/2").await;
            if page.contains("The proof holds") {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let page = tokio::time::timeout(PATIENCE, proven).await.expect("a checkpoint");
    clockwork.abort();
    assert!(page.contains("staffel-entry/v1"), "{page}");
    assert_eq!(ann.get("/log/100000").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_found_by_part_of_their_name_id_place_and_state() {
    let world = World::with_fleet().await;
    let id = world.device("clinic", "lab", "Messplatz-Ä").await;
    let mut ann = world.person("ann", Role::Viewer, None).await;
    let mut found = async |query: &str| {
        let page = ann.page(&format!("/devices?{query}")).await;
        page.matches("<a id=\"device-").count()
    };
    assert_eq!(found("").await, 5);
    assert_eq!(found("text=TILL").await, 2);
    assert_eq!(found("text=messplatz-%C3%A4").await, 1);
    assert_eq!(found(&format!("text={}", &id.to_string()[..12])).await, 1);
    assert_eq!(found("tenant=clinic").await, 3);
    assert_eq!(found("tenant=clinic&site=lab").await, 1);
    assert_eq!(found("state=alive").await, 5);
    assert_eq!(found("state=silent").await, 0);
    assert_eq!(found("state=no-such-state").await, 0);
    assert_eq!(found("version=till+2.1").await, 0);
    assert_eq!(found("text=%3Cscript%3E").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_opened_owned_tried_and_can_not_be_closed_without_proof() {
    let world = World::with_fleet().await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    let fields = [("class", "outage"), ("why", "smoke in the ward"), ("devices", "clinic/ward/clinic-pc-1")];
    let answer = ann.submit("/incidents/new", "/incidents/new", &fields).await;
    assert_eq!(answer.headers()["location"], "/incidents/1");
    let page = ann.page("/incidents/1").await;
    assert!(page.contains("smoke in the ward") && page.contains("clinic-pc-1") && page.contains("nobody"), "{page}");
    ann.submit("/cases/1", "/cases/1/own", &[]).await;
    let contact = [("channel", "phone"), ("outcome", "no-answer"), ("text", "rang ten times")];
    ann.submit("/cases/1", "/cases/1/contact", &contact).await;
    let answer = ann.submit("/cases/1", "/cases/1/close", &[]).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT, "nothing proves that it is back");
    let page = ann.page("/cases/1").await;
    for part in ["rang ten times", "phone: no answer, ann", "It can&#39;t be closed yet"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let device = ann.page("/devices/clinic-pc-1").await;
    assert!(device.contains("ann notes") || device.contains("rang ten times"), "a device's history has its case");
    let mut vera = world.person("vera", Role::Viewer, None).await;
    let answer = vera.submit("/cases/1", "/cases/1/note", &[("text", "hello")]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_found_after_a_crash_is_shown_in_both_languages_and_as_text() {
    let world = World::with_fleet().await;
    let id = world.device("clinic", "lab", "pc-crashed").await;
    let kernel = serde_json::json!({
        "trace": "kernel", "reason": "Panic", "line": "Kernel panic - not syncing: <img src=x>", "bytes": 912,
        "sha256": "ab".repeat(32),
    });
    let entry = serde_json::json!({ "trace": "entry", "number": 7, "committed": false, "why": "it did not start" });
    let start = serde_json::json!({ "boot_id": "boot-<7>", "traces": [kernel, entry] });
    let said = serde_json::json!({ "boot_id": "boot-<7>", "mode": { "mode": "normal" }, "start": start });
    let reply = world.engine.check_in(id, serde_json::from_value(said).unwrap()).await.unwrap();
    assert!(reply.start_noted);
    let mut ann = world.person("ann", Role::Operator, None).await;
    let fields = [("class", "outage"), ("why", "it crashed"), ("devices", "clinic/lab/pc-crashed")];
    ann.submit("/incidents/new", "/incidents/new", &fields).await;
    for (language, title, left) in [
        ("en", "How it came to start", "Boot entry 7, left"),
        ("de", "Wie es zum Start kam", "Starteintrag 7, verlassen"),
    ] {
        ann.get(&format!("/language/{language}")).await;
        for path in ["/devices/pc-crashed", "/cases/1"] {
            let page = ann.page(path).await;
            assert!(
                page.contains(title) && page.contains(left) && page.to_lowercase().contains("912 bytes"),
                "{path}: {page}"
            );
            assert!(page.contains("not syncing: &#60;img") && !page.contains("<img src=x"), "{path}: {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_found_seen_to_with_a_word_and_opens_again() {
    let world = World::with_fleet().await;
    world.found("clinic-pc-1").await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    let overview = ann.page("/").await;
    assert!(overview.contains("2 alerts of sensors are critical or high"), "{overview}");
    let mut found =
        async |query: &str| ann.page(&format!("/alerts?{query}")).await.matches("<a id=\"alert-").count() / 2;
    assert_eq!(found("").await, 2);
    assert_eq!(found("about=sensor").await, 1);
    assert_eq!(found("severity=critical").await, 1);
    assert_eq!(found("device=clinic-pc-2").await, 0);
    assert_eq!(found("device=no-such-device&severity=odd&about=odd").await, 0);
    assert_eq!(found("state=acknowledged").await, 0);
    let page = ann.page("/alerts/1").await;
    for part in ["Reverse &lt;b&gt;shell", "CommandLine", "bash -i", "clinic/ward/clinic-pc-1", "attack.t1059.004"] {
        let escaped = part.replace("&lt;", "&#60;").replace("&gt;", "&#62;");
        assert!(page.contains(&escaped), "{part} in {page}");
    }
    let answer = ann.submit("/alerts/1", "/alerts/1/acknowledge", &[("why", " ")]).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let fields = [("why", "our <i>scanner</i>"), ("quiet", "60")];
    let answer = ann.submit("/alerts/1", "/alerts/1/acknowledge", &fields).await;
    assert_eq!((answer.status(), answer.headers()["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "/alerts/1"));
    let page = ann.page("/alerts/1").await;
    assert!(page.contains("seen to by ann, quiet for") && !page.contains("<i>scanner"), "{page}");
    let device = ann.page("/devices/clinic-pc-1").await;
    assert!(device.contains("A process of the sensor was ended") && !device.contains("Reverse"), "{device}");
    let mut vera = world.person("vera", Role::Viewer, None).await;
    let answer = vera.submit("/alerts/2", "/alerts/2/acknowledge", &[("why", "x")]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!vera.page("/alerts/2").await.contains("<textarea"), "no form for who only looks");
}
