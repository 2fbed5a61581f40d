//! An HTTP gateway, spoken to over a socket.

use staffel_notice::{
    Found, Outcome,
    deliver::{Carrier, Gateway, Parcel},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A server that answers each request with the next of these, and keeps what it was asked. Nothing: hangs up unasked.
pub struct Http {
    pub address: String,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Http {
    pub async fn start(answers: Vec<Option<&'static str>>) -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = asked.clone();
        tokio::spawn(async move {
            for answer in answers {
                let Ok((stream, _)) = listener.accept().await else { return };
                drop(serve(stream, answer, &keep).await);
            }
        });
        Http { address, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn serve(mut stream: TcpStream, answer: Option<&str>, keep: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if read == 0 || body.len() >= length.unwrap_or(0) {
            keep.lock().expect("no panic").push(text);
            break;
        }
    }
    let Some(answer) = answer else { return Ok(()) };
    let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    stream.write_all(text.as_bytes()).await
}

fn gateway(http: &Http) -> Carrier {
    let token = Some("geheim".to_owned());
    let timeout = Duration::from_secs(60);
    Carrier::Gateway(Gateway::new(&format!("{}/sms/", http.address), token, None, timeout).expect("a gateway"))
}

fn sms() -> Parcel {
    Parcel::Sms { number: "+49 170 555".into(), text: "Störung".into() }
}

#[tokio::test]
async fn an_answer_says_whether_it_was_taken() {
    for (answer, wanted) in [
        (Some("202 Accepted"), "handed-over"),
        (Some("429 Too Many Requests"), "try-later"),
        (Some("503 Service Unavailable"), "try-later"),
        (Some("400 Bad Request"), "failed"),
        (Some("500 Oops"), "unknown"),
        (Some("504 Gateway Timeout"), "unknown"),
        (None, "unknown"),
    ] {
        let http = Http::start(vec![answer]).await;
        let outcome = gateway(&http).send("k-1", &sms()).await;
        let word = match &outcome {
            Outcome::HandedOver { .. } => "handed-over",
            Outcome::TryLater { .. } => "try-later",
            Outcome::Failed { .. } => "failed",
            Outcome::Unknown { .. } => "unknown",
        };
        assert_eq!(word, wanted, "{answer:?}: {outcome:?}");
        let asked = http.asked().join("").to_lowercase();
        for part in ["post /sms ", "idempotency-key: k-1", "authorization: bearer geheim", "\"key\":\"k-1\"", "störung"]
        {
            assert!(asked.contains(part), "{part} is missing: {asked}");
        }
    }
}

#[tokio::test]
async fn a_look_up_asks_for_the_key() {
    let http = Http::start(vec![Some("200 OK"), Some("404 Not Found"), Some("500 Oops")]).await;
    let gateway = gateway(&http);
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(gateway.look_up("k-1").await);
    }
    assert_eq!(found, [Found::There, Found::NotThere, Found::CannotTell]);
    assert!(http.asked().iter().all(|asked| asked.starts_with("GET /sms/k-1 ")));
}

#[tokio::test]
async fn nobody_there_is_a_reason_to_try_later() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let outcome = gateway(&Http { address, asked: Arc::default() }).send("k-1", &sms()).await;
    assert!(matches!(outcome, Outcome::TryLater { .. }), "{outcome:?}");
}
