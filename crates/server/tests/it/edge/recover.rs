//! A device whose certificate has expired gets another one by its own key; nobody else does.

use super::support::{Identity, Server, check_in, new_key, problem, request_pem, signed_nonce, viewer};
use rcgen::{KeyPair, date_time_ymd};
use reqwest::Response;
use serde_json::json;
use staffel_server::api::{DeviceWhy, Role};
use staffel_trust::wire::{Enrolled, Recover, RecoverNonce};
use std::time::Instant;

async fn nonce(server: &Server) -> String {
    let answer = server.client(None).get(server.url("/v1/recover")).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json::<RecoverNonce>().await.unwrap().nonce
}

async fn send(server: &Server, csr_pem: String) -> Response {
    server.client(None).post(server.url("/v1/recover")).json(&Recover { csr_pem }).send().await.unwrap()
}

async fn recover(server: &Server, key: &KeyPair) -> Response {
    send(server, signed_nonce(key, &nonce(server).await)).await
}

/// An enrolled device with a certificate of the real authority that ended long ago.
async fn expired(server: &Server, name: &str) -> Identity {
    let key = server.device(name).await.key;
    server.forge(key, |params| params.not_after = date_time_ymd(2021, 1, 1))
}

fn why(server: &Server, name: &str) -> DeviceWhy {
    server.engine.device_why(&viewer(), name).unwrap()
}

/// Kinds of the log's entries about certificates, oldest first.
fn logged(server: &Server) -> Vec<String> {
    let page = server.engine.log_entries(0, 1_000).unwrap();
    let kinds = page.as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap().to_string());
    kinds.filter(|kind| kind.starts_with("certificate.")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_opens_nothing_and_its_key_gets_a_new_one() {
    let server = Server::start(|_| {}).await;
    let expired = expired(&server, "till-1").await;
    let refused = server.client(Some(&expired)).post(server.url("/v1/checkin")).json(&check_in()).send().await;
    assert!(refused.unwrap_err().status().is_none(), "the handshake ends");
    assert_eq!(why(&server, "till-1").certificate, None);

    let answer = recover(&server, &expired.key).await;
    assert_eq!(answer.status(), 200);
    let enrolled: Enrolled = answer.json().await.unwrap();
    let place = (enrolled.device, enrolled.tenant.as_str(), enrolled.site.as_str());
    assert_eq!(place, (expired.id(), "clinic", "north"));
    let good = Identity { key: expired.key, certificate_pem: enrolled.certificate_pem };
    let answer = server.client(Some(&good)).post(server.url("/v1/checkin")).json(&check_in()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(logged(&server), ["certificate.recovered"]);
    assert_eq!(why(&server, "till-1").certificate.unwrap().refused, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_good_once_and_only_with_a_nonce_of_this_server() {
    let server = Server::start(|_| {}).await;
    let key = expired(&server, "till-1").await.key;
    let request = signed_nonce(&key, &nonce(&server).await);
    assert_eq!(send(&server, request.clone()).await.status(), 200);
    let error = problem(send(&server, request).await, 422).await;
    assert!(error.contains("answered before"), "{error}");

    let other = Server::start(|_| {}).await;
    let foreign = nonce(&other).await;
    for csr_pem in [request_pem(&key), signed_nonce(&key, &foreign), signed_nonce(&key, "00")] {
        let error = problem(send(&server, csr_pem).await, 422).await;
        assert!(error.contains("did not give that nonce out"), "{error}");
    }
    let kinds = logged(&server);
    assert_eq!(kinds.iter().filter(|kind| *kind == "certificate.refused").count(), 4, "{kinds:?}");
    problem(send(&server, "nonsense".into()).await, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_key_gets_none_and_leaves_no_entry() {
    let server = Server::start(|_| {}).await;
    // Whoever has no device here, and whoever has a certificate of this authority for a key that never enrolled.
    for key in [new_key(), server.forge(new_key(), |_| {}).key] {
        let error = problem(recover(&server, &key).await, 403).await;
        assert!(error.contains("no device was enrolled"), "{error}");
    }
    assert!(logged(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_device_gets_none() {
    let server = Server::start(|_| {}).await;
    let key = expired(&server, "till-1").await.key;
    let operator = server.operator(Role::Operator, None);
    let word = json!({ "why": "sold" });
    let retired = operator.post(server.url("/api/v1/devices/till-1/retire")).json(&word).send().await.unwrap();
    assert_eq!(retired.status(), 200);
    let error = problem(recover(&server, &key).await, 403).await;
    assert!(error.contains("retired"), "{error}");
    assert_eq!(logged(&server), ["certificate.refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloned_key_gets_none_until_somebody_has_looked() {
    let server = Server::start(|_| {}).await;
    let device = server.device("till-1").await;
    let client = server.client(Some(&device));
    for boot_id in ["a", "b", "a"] {
        let said = json!({ "boot_id": boot_id, "mode": { "mode": "normal" } });
        let answer = client.post(server.url("/v1/checkin")).json(&said).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let error = problem(recover(&server, &device.key).await, 403).await;
    assert!(error.contains("two machines"), "{error}");
    let shown = why(&server, "till-1");
    assert_eq!(shown.certificate.unwrap().refused.unwrap(), "the key was seen in two machines");
    let operator = server.operator(Role::Operator, None);
    let word = json!({ "why": "the image was restored" });
    let cleared = operator.post(server.url("/api/v1/devices/till-1/clear-clone")).json(&word).send().await.unwrap();
    assert_eq!(cleared.status(), 200);
    assert_eq!(recover(&server, &device.key).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_again_and_again_has_to_wait() {
    let server = Server::start(|_| {}).await;
    let key = expired(&server, "till-1").await.key;
    let (begun, mut given) = (Instant::now(), 0);
    let refused = loop {
        match recover(&server, &key).await.status().as_u16() {
            200 if given < 100 => given += 1,
            status => break status,
        }
    };
    // One more each 20 s: a busy machine takes that long now and then.
    let more = begun.elapsed().as_secs() / 20;
    assert_eq!(refused, 429);
    assert!((5..=5 + more).contains(&given), "{given} in {:?}", begun.elapsed());
    assert_eq!(logged(&server).len() as u64, given, "what is not decided leaves no entry");
    let other = expired(&server, "till-2").await.key;
    assert_eq!(recover(&server, &other).await.status(), 200, "another device has a share of its own");
}
