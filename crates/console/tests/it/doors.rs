//! Getting in, staying in, being kept out: each refusal is answered and stands in the log.

use crate::support::{PASSWORD, World};
use reqwest::StatusCode;
use staffel_console::{accounts, sessions::Lifetime};
use staffel_server::api::Role;
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_sees_the_first_page_and_logs_out() {
    let mut world = World::with_fleet().await;
    let mut stranger = world.stranger();
    let answer = stranger.get("/devices?text=pc").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], "/login?next=%2Fdevices%3Ftext%3Dpc");
    let mut ann = world.person("ann", Role::Operator, None).await;
    let page = ann.page("/").await;
    assert!(page.contains("What needs you now") && page.contains("ann") && page.contains("till 2.1"), "{page}");
    let session = ann.cookies["__Host-staffel"].clone();
    assert_eq!(session.len(), 64);
    assert_eq!(ann.submit("/", "/logout", &[]).await.status(), StatusCode::SEE_OTHER);
    assert!(!ann.cookies.contains_key("__Host-staffel"));
    // The old cookie is worth nothing, also when it was copied before.
    ann.cookies.insert("__Host-staffel".into(), session);
    assert_eq!(ann.get("/").await.status(), StatusCode::SEE_OTHER);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_and_headers_are_strict() {
    let world = World::new().await;
    world.account("ann", Role::Viewer, None).unwrap();
    let mut ann = world.stranger();
    let answer = ann.log_in("ann", PASSWORD).await;
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().map(|v| v.to_str().unwrap()).collect();
    let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-staffel=")).unwrap();
    for part in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(session.contains(part), "{session}");
    }
    for path in ["/", "/login", "/no/such/page", "/assets/none.js"] {
        let answer = ann.get(path).await;
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_string();
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(
            (header("x-content-type-options").as_str(), header("x-frame-options").as_str()),
            ("nosniff", "DENY")
        );
        assert_eq!(header("cache-control"), "no-store", "{path}");
        let page = answer.text().await.unwrap();
        assert!(!page.contains(" style=\"") && !page.contains("<script>") && !page.contains(" onclick="), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_name_are_the_same_and_are_logged() {
    let world = World::new().await;
    world.account("ann", Role::Viewer, None).unwrap();
    let mut browser = world.stranger();
    let mut seen = Vec::new();
    for (name, password) in [("ann", "wrong password"), ("nobody-here", "wrong password")] {
        let answer = browser.log_in(name, password).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let page = answer.text().await.unwrap();
        assert!(page.contains("Account or password is wrong.") && !page.contains("wrong password"), "{page}");
        seen.push(page.replace(name, "").split("csrf").next().unwrap().to_string());
    }
    assert_eq!(seen[0], seen[1]);
    let refused = world.refusals();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert_eq!(refused[0], (Some("ann".into()), "log in".into(), "name or password is wrong".into()));
    // What was typed as a name may be a password: it is not kept.
    assert_eq!(refused[1].0, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_logged() {
    let world = World::new().await;
    world.account("ann", Role::Viewer, None).unwrap();
    // All at once: each that is let in costs a busy machine seconds, and with the time another one is let in.
    let mut guesses = JoinSet::new();
    for _ in 0..40 {
        let mut browser = world.stranger();
        guesses.spawn(async move { browser.log_in("ann", "not this one either").await.status() });
    }
    while guesses.join_next().await.expect("not everybody may guess").unwrap() != StatusCode::TOO_MANY_REQUESTS {}
    let answer = world.stranger().log_in("ann", PASSWORD).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "the right one must wait, too");
    assert!(answer.headers().contains_key("retry-after"));
    assert!(world.refusals().iter().any(|(.., why)| why == "too many attempts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_session_is_refused_and_logged() {
    let world = World::with_fleet().await;
    let mut browser = world.stranger();
    for forged in ["0".repeat(64), "x".into(), String::new()] {
        browser.cookies.insert("__Host-staffel".into(), forged);
        let answer = browser.get("/rollouts/1").await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let body = answer.text().await.unwrap();
        assert!(!body.contains("till"), "{body}");
    }
    let refused = world.refusals();
    assert_eq!(refused.len(), 3, "{refused:?}");
    let expected = (None, "GET /rollouts/1".to_string(), "the session is unknown or forged".to_string());
    assert!(refused.iter().all(|refusal| *refusal == expected), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_expires_and_that_is_logged() {
    let lifetime = Lifetime { idle: Duration::from_millis(300), whole: Duration::from_secs(60) };
    let world = World::with(lifetime).await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ann.get("/").await.status(), StatusCode::SEE_OTHER);
    let expected = (Some("ann".to_string()), "GET /".to_string(), "the session is over".to_string());
    assert_eq!(world.refusals(), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_fetches_by_itself_keeps_no_session_alive() {
    let lifetime = Lifetime { idle: Duration::from_millis(1_500), whole: Duration::from_secs(60) };
    let world = World::with(lifetime).await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    let mut sent_away = None;
    for _ in 0..60 {
        let answer = ann.ask("/", &[("hx-request", "true")]).await;
        if let Some(to) = answer.headers().get("hx-redirect") {
            sent_away = Some(to.to_str().unwrap().to_string());
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(sent_away.as_deref(), Some("/login?next=%2F"), "the session outlived its idle time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_and_a_removed_account_end_sessions() {
    let world = World::new().await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    let mut ben = world.person("ben", Role::Operator, None).await;
    accounts::set_password(world.dir.path(), "ann", "another long password").unwrap();
    accounts::remove(world.dir.path(), "ben").unwrap();
    assert_eq!(ann.get("/").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(ben.get("/").await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_presses_stop_is_refused_and_logged() {
    let world = World::with_fleet().await;
    let mut vera = world.person("vera", Role::Viewer, None).await;
    let page = vera.page("/rollouts/1").await;
    assert!(!page.contains("/rollouts/1/halt"), "a viewer gets no button");
    for word in ["hold", "resume", "halt"] {
        assert_eq!(vera.get(&format!("/rollouts/1/{word}")).await.status(), StatusCode::FORBIDDEN);
        let answer = vera.submit("/rollouts/1", &format!("/rollouts/1/{word}"), &[("why", "because")]).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
    let operator = crate::support::operator();
    assert_eq!(world.engine.rollout(&operator, 1).unwrap().state, "running");
    let expected = (Some("vera".to_string()), "halt rollout 1".to_string(), "the role does not allow it".to_string());
    assert_eq!(world.refusals().iter().filter(|refusal| **refusal == expected).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_one_customer_may_not_direct_everybodys_rollout() {
    let world = World::with_fleet().await;
    let mut carl = world.person("carl", Role::Operator, Some("clinic")).await;
    let answer = carl.submit("/rollouts/1", "/rollouts/1/halt", &[("why", "because")]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(world.engine.rollout(&crate::support::operator(), 1).unwrap().state, "running");
    let refused = world.refusals();
    assert_eq!(refused.last().unwrap().2, "it concerns all customers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_its_token_is_refused_and_logged() {
    let world = World::with_fleet().await;
    let mut ann = world.person("ann", Role::Operator, None).await;
    let mut ben = world.person("ben", Role::Operator, None).await;
    let bens = crate::support::token(&ben.page("/").await);
    for fields in [vec![], vec![("csrf", "")], vec![("csrf", "0000")], vec![("csrf", bens.as_str())]] {
        let mut fields = fields.clone();
        fields.push(("why", "because"));
        assert_eq!(ann.post("/rollouts/1/halt", &fields).await.status(), StatusCode::FORBIDDEN);
        assert_eq!(ann.post("/logout", &fields).await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(ann.get("/").await.status(), StatusCode::OK, "nobody logged ann out");
    assert_eq!(world.engine.rollout(&crate::support::operator(), 1).unwrap().state, "running");
    // The log-in form is tied to the browser that got it.
    let mut stranger = world.stranger();
    let other = crate::support::token(&world.stranger().page("/login").await);
    stranger.page("/login").await;
    let answer = stranger.post("/login", &[("name", "ann"), ("password", PASSWORD), ("csrf", &other)]).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let refused = world.refusals();
    assert_eq!(refused.iter().filter(|(.., why)| why.contains("token")).count(), 9, "{refused:?}");
    assert!(refused.iter().any(|(who, what, _)| who.as_deref() == Some("ann") && what == "POST /rollouts/1/halt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn knocking_does_not_fill_the_log() {
    let world = World::new().await;
    let mut browser = world.stranger();
    for n in 0..120 {
        browser.cookies.insert("__Host-staffel".into(), format!("{n:064}"));
        browser.get("/").await;
    }
    let refused = world.refusals();
    assert!((50..60).contains(&refused.len()), "{} of 120 were recorded", refused.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_away() {
    let world = World::new().await;
    world.account("ann", Role::Viewer, None).unwrap();
    for next in ["//evil.example", "https://evil.example/", "/\\evil.example"] {
        let mut ann = world.stranger();
        let fields = [("name", "ann"), ("password", PASSWORD), ("next", next)];
        let answer = ann.submit("/login", "/login", &fields).await;
        assert_eq!(answer.headers()["location"], "/", "{next}");
        let answer = ann.get(&format!("/language/de?back={next}")).await;
        assert_eq!(answer.headers()["location"], "/", "{next}");
    }
}
