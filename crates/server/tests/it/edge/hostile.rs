//! Requests that nobody well-meaning sends.

use super::support::{Server, problem};
use staffel_server::api::Role;

#[tokio::test(flavor = "multi_thread")]
async fn bad_json_is_told_what_is_wrong() {
    let server = Server::start(|_| {}).await;
    let device = server.client(Some(&server.device("till-1").await));
    let deep = "[".repeat(10_000);
    for (body, says) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "CheckIn"),
        ("{}", "boot_id"),
        ("{\"boot_id\":\"1\"}", "mode"),
        ("{\"boot_id\":1,\"mode\":{\"mode\":\"normal\"}}", "string"),
        ("{\"boot_id\":\"1\",\"mode\":{\"mode\":\"odd\"}}", "odd"),
        ("{\"boot_id\":\"1\",\"mode\":{\"mode\":\"normal\"},\"running\":{\"a\":\"b\"}}", "64 hex"),
        ("\u{0}\u{ff}", "expected"),
        (deep.as_str(), "CheckIn"),
    ] {
        let answer = device.post(server.url("/v1/checkin")).body(body.to_owned()).send().await.unwrap();
        let error = problem(answer, 400).await;
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_methods_and_queries_get_problems() {
    let server = Server::start(|_| {}).await;
    let client = server.operator(Role::Releaser, None);
    for path in ["/", "/v1", "/v1/checkin/", "/api/v1/nothing", "/repo", "/log", "/%00", "//v1/board"] {
        problem(client.get(server.url(path)).send().await.unwrap(), 404).await;
    }
    let wrong = client.delete(server.url("/api/v1/status")).send().await.unwrap();
    assert!(wrong.headers()["allow"].to_str().unwrap().contains("GET"));
    problem(wrong, 405).await;
    problem(client.get(server.url("/v1/checkin")).send().await.unwrap(), 405).await;
    for path in [
        "/api/v1/devices?limit=many",
        "/api/v1/devices?limit=-1",
        "/api/v1/devices?after=99999999999",
        "/api/v1/changes?after=x",
        "/log/consistency",
        "/log/consistency?from=",
        "/api/v1/log/entries?from=1e9",
        "/api/v1/devices/%ff/why",
    ] {
        problem(client.get(server.url(path)).send().await.unwrap(), 400).await;
    }
    for path in [
        "/api/v1/rollouts/abc",
        "/api/v1/rollouts/-1",
        "/api/v1/rollouts/99999999999999999999",
        "/api/v1/rollouts/7",
        "/api/v1/rollouts/7/history",
        "/api/v1/devices/nobody/why",
        "/log/tile/x",
        "/log/tile/0/000.p/999",
        "/log/tile/7/x999/x999/999",
        "/log/tile/..%2fcheckpoint",
    ] {
        problem(client.get(server.url(path)).send().await.unwrap(), 404).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_an_id_of_its_own_and_is_not_guessed_at() {
    let server = Server::start(|_| {}).await;
    let client = server.client(None);
    let mut ids = std::collections::BTreeSet::new();
    for path in ["/healthz", "/nothing", "/v1/board", "/repo/metadata/root.json"] {
        let answer = client.get(server.url(path)).header("x-request-id", "mine").send().await.unwrap();
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        ids.insert(answer.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 4);
    assert!(!ids.contains("mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_and_the_server_lives() {
    let server = Server::start(|_| {}).await;
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    let smuggled = "POST /log/cosignature HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
    let lying = "POST /log/cosignature HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n";
    for text in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &many, &long, smuggled, lying] {
        let answer = server.exchange(text.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or("closed");
        assert!(matches!(status, "400" | "413" | "414" | "431" | "505" | "closed"), "{answer}");
    }
    // Every byte value, in the path and in a header.
    for byte in 0..=255u8 {
        let mut text = b"GET /a".to_vec();
        text.push(byte);
        text.extend_from_slice(b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: bearer ");
        text.push(byte);
        text.extend_from_slice(b"\r\n\r\n");
        let answer = server.exchange(&text).await;
        assert!(!answer.contains(" 500 "), "{byte}: {answer}");
    }
    assert_eq!(server.client(None).get(server.url("/healthz")).send().await.unwrap().status(), 200);
}
