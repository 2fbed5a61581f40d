//! Who may do what.

use super::support::{Server, problem};
use reqwest::Method;
use serde_json::{Value, json};
use staffel_server::{
    api::{Role, Token},
    openapi::DOCUMENT,
    operators,
};

const ROLES: [(Role, &str); 4] = [
    (Role::Viewer, "viewer"),
    (Role::TenantAdmin, "tenant-admin"),
    (Role::Operator, "operator"),
    (Role::Releaser, "releaser"),
];

/// Every documented operation, with a path that can be asked for: method, path, least role.
fn operations() -> Vec<(Method, String, Option<String>)> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut out = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{id}", "1")
            .replace("{tenant}", "clinic")
            .replace("{site}", "north")
            .replace("{path}", "0/000");
        for (method, operation) in methods.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            out.push((method, path.clone(), operation["x-least-role"].as_str().map(str::to_owned)));
        }
    }
    assert!(out.len() > 20);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_has_its_least_role_and_none_is_open_by_mistake() {
    let server = Server::start(|_| {}).await;
    let nobody = server.client(None);
    let clients: Vec<_> = ROLES.iter().map(|(role, name)| (server.operator(*role, None), *name)).collect();
    let mut checked = 0;
    for (method, path, least) in operations() {
        let send = |client: &reqwest::Client| client.request(method.clone(), server.url(&path)).send();
        let Some(least) = least else {
            assert_ne!(send(&nobody).await.unwrap().status(), 401, "{method} {path}");
            continue;
        };
        let answer = send(&nobody).await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        problem(answer, 401).await;
        let needed = ROLES.iter().position(|(_, name)| *name == least).unwrap();
        for (at, (client, name)) in clients.iter().enumerate() {
            let answer = send(client).await.unwrap();
            if at < needed {
                let error = problem(answer, 403).await;
                assert_eq!(error, format!("the role {name} may not do this"), "{method} {path}");
            } else {
                assert!(!matches!(answer.status().as_u16(), 401 | 403), "{method} {path} as {name}");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 4 * 52, "operations that need a role");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_of_anybody_opens_nothing() {
    let server = Server::start(|_| {}).await;
    let good = operators::add(server.dir.path(), "ann", Role::Viewer, None).unwrap();
    let client = server.client(None);
    let status = |header: String| client.get(server.url("/api/v1/status")).header("authorization", header).send();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(status(format!("{scheme} {good}")).await.unwrap().status(), 200);
    }
    for header in [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        good.clone(),
        format!("Basic {good}"),
        format!("Bearer {good}x"),
        format!("Bearer {}", &good[..good.len() - 1]),
        format!("Bearer {good} {good}"),
    ] {
        problem(status(header).await.unwrap(), 401).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_is_removed_is_out_at_once_and_a_broken_list_lets_nobody_in() {
    let server = Server::start(|_| {}).await;
    let dir = server.dir.path();
    let ann = server.bearer(&operators::add(dir, "ann", Role::Viewer, None).unwrap());
    let ben = server.bearer(&operators::add(dir, "ben", Role::Viewer, None).unwrap());
    let status = |client: &reqwest::Client| client.get(server.url("/api/v1/status")).send();
    assert_eq!(status(&ann).await.unwrap().status(), 200);
    operators::remove(dir, "ann").unwrap();
    problem(status(&ann).await.unwrap(), 401).await;
    assert_eq!(status(&ben).await.unwrap().status(), 200);
    std::fs::write(dir.join("operators.json"), "{").unwrap();
    problem(status(&ben).await.unwrap(), 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_people_stay_with_their_customer() {
    let server = Server::start(|_| {}).await;
    let admin = server.operator(Role::TenantAdmin, Some("clinic"));
    let ask = |tenant: &str| {
        let request = json!({ "tenant": tenant, "site": "north" });
        admin.post(server.url("/api/v1/tokens")).json(&request).send()
    };
    let own: Token = ask("clinic").await.unwrap().json().await.unwrap();
    assert!(!own.token.is_empty());
    problem(ask("pharmacy").await.unwrap(), 403).await;
    // A rollout is everybody's: a customer's own releaser neither stops nor starts it, nor reads all customers' log.
    let releaser = server.operator(Role::Releaser, Some("clinic"));
    for path in ["/api/v1/rollouts", "/api/v1/rollouts/1/halt", "/api/v1/rollouts/1/hold", "/api/v1/rollouts/1/resume"]
    {
        problem(releaser.post(server.url(path)).json(&json!({ "why": "x" })).send().await.unwrap(), 403).await;
    }
    for path in ["/api/v1/log/entries", "/metrics"] {
        problem(releaser.get(server.url(path)).send().await.unwrap(), 403).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_change_is_told_and_nobody_waits_for_ever() {
    let server = Server::start(|config| config.long_poll_ms = 300).await;
    let viewer = server.operator(Role::Viewer, None);
    let changes = |query: String| {
        let request = viewer.get(server.url(&format!("/api/v1/changes{query}")));
        async move { request.send().await.unwrap().json::<Value>().await.unwrap()["change"].as_u64().unwrap() }
    };
    let now = changes(String::new()).await;
    assert_eq!(changes(format!("?after={now}")).await, now, "nothing happened");
    server.token().await;
    assert!(changes(format!("?after={now}")).await > now);
    // A number from before a restart is not waited for.
    assert!(changes(format!("?after={}", now + 1_000)).await < now + 1_000);
}
