//! Sizes, rates and times.

use super::support::{PATIENCE, Server, check_in, enrolment, new_key, problem};
use staffel_server::{api::Role, config::Rate};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_are_refused_announced_or_not() {
    let server = Server::start(|config| config.max_operator_body = 1_000).await;
    let device = server.client(Some(&server.device("till-1").await));
    let large = vec![b' '; (64 << 10) + 1];
    let error = problem(device.post(server.url("/v1/checkin")).body(large).send().await.unwrap(), 413).await;
    assert!(error.contains("65536 bytes"), "{error}");
    // Much more than that: whether the answer is read or the connection breaks first, the server goes on.
    let huge = vec![b' '; 8 << 20];
    if let Ok(answer) = device.post(server.url("/v1/checkin")).body(huge).send().await {
        problem(answer, 413).await;
    }
    // The longest body that is allowed fails for what is in it, not for its length.
    let longest = vec![b' '; 64 << 10];
    problem(device.post(server.url("/v1/checkin")).body(longest).send().await.unwrap(), 400).await;
    let operator = server.operator(Role::Releaser, None);
    let halt = server.url("/api/v1/rollouts/1/halt");
    problem(operator.post(halt).body(vec![b' '; 1_001]).send().await.unwrap(), 413).await;
    let start = server.url("/api/v1/rollouts");
    problem(operator.post(start).body(vec![b' '; 1_001]).send().await.unwrap(), 400).await;
    // In chunks, without saying how much there will be.
    let mut text = b"POST /log/cosignature HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..70 {
        text.extend_from_slice(b"400\r\n");
        text.extend_from_slice(&[b'x'; 1_024]);
        text.extend_from_slice(b"\r\n");
    }
    let answer = server.exchange(&text).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_asks_too_often_waits_and_others_do_not() {
    let server = Server::start(|config| config.device_rate = Rate { per_second: 1, burst: 3 }).await;
    let busy = server.client(Some(&server.device("busy").await));
    let calm = server.client(Some(&server.device("calm").await));
    let mut answers = Vec::new();
    for _ in 0..100 {
        let answer = busy.post(server.url("/v1/checkin")).json(&check_in()).send().await.unwrap();
        if answer.status() == 429 {
            assert_eq!(answer.headers()["retry-after"], "1");
            problem(answer, 429).await;
            break;
        }
        answers.push(answer.status().as_u16());
    }
    assert!(answers.len() >= 3 && answers.len() < 100 && answers.iter().all(|status| *status == 200), "{answers:?}");
    let answer = calm.post(server.url("/v1/checkin")).json(&check_in()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let metrics = server.operator(Role::Viewer, None).get(server.url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("staffel_rate_limited_total 1\n"), "{metrics}");
    assert!(metrics.contains("{route=\"/v1/checkin\",method=\"POST\",status=\"429\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_tokens_is_slow() {
    let server = Server::start(|config| config.enrol_rate = Rate { per_second: 1, burst: 2 }).await;
    let client = server.client(None);
    let mut refused = false;
    for n in 0..100 {
        let request = enrolment(format!("guess {n}"), "till-1", &new_key());
        let answer = client.post(server.url("/v1/enrol")).json(&request).send().await.unwrap();
        refused = answer.status() == 429;
        if refused {
            break;
        }
        assert_eq!(answer.status(), 422);
    }
    assert!(refused);
}

/// Reads until the other side ends it.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        let mut part = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut part).await {
            bytes.extend_from_slice(&part[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the server ends it");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_shake_hands_is_cut_off() {
    let server = Server::start(|config| config.handshake_timeout_ms = 200).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_at_every_step() {
    let server = Server::start(|config| {
        // Not less: a busy machine must bring a whole header across in this time.
        config.header_timeout_ms = 6_000;
        config.request_timeout_ms = 200;
    })
    .await;
    let send = |text: &'static str| async {
        let mut stream = server.raw().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        rest(&mut stream).await
    };
    let (header, body, idle) = tokio::join!(
        send("GET /healthz HTTP/1.1\r\nhost:"),
        send("POST /log/cosignature HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc"),
        send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"),
    );
    assert!(!header.contains("200"), "half a header: {header}");
    assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("\"hint\""), "half a body: {body}");
    assert!(idle.starts_with("HTTP/1.1 200 "), "answered, then closed for idling: {idle}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_nobody_reads_is_cut_off() {
    let server = Server::start(|config| {
        config.stall_timeout_ms = 200;
        config.open_metrics = true;
    })
    .await;
    let digest = "ab".repeat(32);
    let path = server.repository().join("blobs/ab").join(&digest);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::File::create(&path).unwrap().set_len(256 << 20).unwrap();
    let mut reader = server.raw().await;
    let request = format!("GET /repo/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.write_all(request.as_bytes()).await.unwrap();
    let client = server.client(None);
    let cut = async {
        loop {
            let text = client.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
            if text.contains("staffel_stalled_total 1\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("it is cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_limit_wait_for_their_turn() {
    let server = Server::start(|config| config.max_connections = 1).await;
    let first = server.raw().await;
    let client = server.client(None);
    let waiting = client.get(server.url("/healthz")).timeout(Duration::from_millis(300)).send().await;
    assert!(waiting.unwrap_err().is_timeout());
    drop(first);
    let answer = client.get(server.url("/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}
