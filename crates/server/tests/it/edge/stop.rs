//! A graceful stop.

use super::support::{PATIENCE, Server};
use serde_json::Value;
use staffel_server::api::Role;
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_gets_an_answer_and_nobody_new_gets_in() {
    let mut server = Server::start(|config| config.open_metrics = true).await;
    let viewer = server.operator(Role::Viewer, None);
    let changes = server.url("/api/v1/changes");
    let now = viewer.get(&changes).send().await.unwrap().json::<Value>().await.unwrap()["change"].clone();
    let waiting = tokio::spawn(viewer.get(format!("{changes}?after={now}")).send());
    let other = server.operator(Role::Operator, None);
    let arrived = async {
        loop {
            let text = other.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
            if text.contains("staffel_http_requests_in_flight 2\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("the request arrives");
    server.tell_to_stop();
    let answer = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["change"], now);
    server.stopped().await;
    assert!(TcpStream::connect(server.address).await.is_err());
    assert!(other.get(&changes).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_does_not_hold_the_server_up() {
    let mut server = Server::start(|config| {
        config.drain_ms = 200;
        config.request_timeout_ms = 3_600_000;
        config.handshake_timeout_ms = 3_600_000;
    })
    .await;
    let _handshake = TcpStream::connect(server.address).await.unwrap();
    let mut body = server.raw().await;
    body.write_all(b"POST /log/cosignature HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    server.tell_to_stop();
    server.stopped().await;
}
