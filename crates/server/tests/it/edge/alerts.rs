//! Alerts from outside: a real HTTP receiver and a real mail server hear of what the log says; what nobody takes is kept.

use super::{
    detections::{matched, trouble},
    support::{PATIENCE, Server},
};
use serde_json::{Value, json};
use staffel_notice::alert::{Alert, verify};
use staffel_server::{
    api::Role,
    engine::alerts::{AlertDesk, AlertDeskError, AlertsConfig},
};
use staffel_trust::wire::{SensorTrouble, Severity as Level};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const SECRET: &str = "a secret of both sides";

/// What came in, whole requests or mails.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn push(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) -> Vec<String> {
        let counted = async {
            while self.all().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, counted).await.is_ok(), "only {:?}", self.all());
        self.all()
    }
}

/// Answers each request with this status; answers where it listens.
async fn receiver(status: &'static str) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heard) = (format!("http://{}", listener.local_addr().unwrap()), Heard::default());
    let keep = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keep = keep.clone();
            tokio::spawn(async move { drop(request(stream, status, &keep).await) });
        }
    });
    (address, heard)
}

async fn request(mut stream: TcpStream, status: &str, keep: &Heard) -> std::io::Result<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if read == 0 || body.len() >= length.unwrap_or(0) {
            keep.push(text);
            break;
        }
    }
    stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await
}

/// A mail server that takes everything; answers its port.
async fn mail_server() -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Heard::default());
    let keep = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keep = keep.clone();
            tokio::spawn(async move { drop(talk(stream, &keep).await) });
        }
    });
    (port, heard)
}

async fn talk(stream: TcpStream, keep: &Heard) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 mail.example ESMTP\r\n").await?;
    let mut to = String::new();
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-mail.example\r\n250 8BITMIME",
            "RCPT" => {
                to = line;
                "250 recipient ok"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = format!("{to}\n");
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text.push_str(&line);
                    text.push('\n');
                }
                keep.push(text);
                "250 queued"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn config(folder: &Path, address: &str, mail_port: Option<u16>) -> AlertsConfig {
    let secret = folder.join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let mut config = json!({ "language": "en", "webhook": { "address": address, "secret_file": secret } });
    if let Some(port) = mail_port {
        let smtp = json!({ "host": "127.0.0.1", "port": port, "security": "plain", "hello": "staffel.example" });
        let to = ["duty@house.example", "second@house.example"];
        config["mail"] = json!({ "from": "Staffel <staffel@house.example>", "to": to, "smtp": smtp });
    }
    serde_json::from_value(config).unwrap()
}

fn desk(folder: &Path, address: &str, mail_port: Option<u16>) -> AlertDesk {
    let waits = vec![Duration::from_millis(10); 2];
    AlertDesk::open(config(folder, address, mail_port), &folder.join("alerts"), waits).unwrap()
}

/// Sends alerts until the first half is dropped.
fn sending(server: &Server, desk: AlertDesk) -> (tokio::sync::oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let engine = server.engine.clone();
    (stop, tokio::spawn(async move { engine.send_alerts(desk, async { drop(stopped.await) }).await }))
}

async fn open_incident(server: &Server, client: &reqwest::Client, device: &str) {
    let body = json!({ "class": "outage", "why": "dark\r\nBcc: everybody@example.org", "devices": [device] });
    let answer = client.post(server.url("/api/v1/incidents")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn alert(request: &str) -> Alert {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let time = header("staffel-timestamp").parse().unwrap();
    assert!(verify(SECRET.as_bytes(), time, body.as_bytes(), &header("staffel-signature")), "signed: {request}");
    serde_json::from_str(body).unwrap()
}

/// Files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_told_to_the_webhook_and_by_mail_once_each() {
    let server = Server::start(|_| {}).await;
    server.device("till-1").await;
    server.device("till-2").await;
    let operator = server.operator(Role::Operator, None);
    let folder = tempfile::tempdir().unwrap();
    let ((address, posted), (port, mailed)) = (receiver("204 No Content").await, mail_server().await);
    // What happened before the first start is no news.
    open_incident(&server, &operator, "till-1").await;
    let (stop, sent) = sending(&server, desk(folder.path(), &address, Some(port)));
    until("the mark", || folder.path().join("alerts/next-entry").exists()).await;
    open_incident(&server, &operator, "till-2").await;

    let first = alert(&posted.wait_for(1).await[0]);
    assert_eq!((first.kind.as_str(), first.subject.as_str()), ("incident.opened", "Incident 2 opened"));
    let entry = first.entry.unwrap();
    let log: Value = operator
        .get(server.url(&format!("/api/v1/log/entries?from={entry}&max=1")))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(log[0]["kind"], "recovery.incident-opened", "it names the entry that it comes from");
    let mails = mailed.wait_for(2).await;
    for to in ["<duty@house.example>", "<second@house.example>"] {
        let mail = mails.iter().find(|mail| mail.starts_with("RCPT") && mail.contains(to)).unwrap();
        assert!(mail.contains("Subject: Incident 2 opened"), "{mail}");
        assert!(!mail.to_lowercase().lines().any(|line| line.starts_with("bcc:")), "{mail}");
    }
    until("nothing is on its way", || files(&folder.path().join("alerts/outgoing/webhook")).is_empty()).await;
    drop(stop);
    sent.await.unwrap();

    // The next start goes on where this one ended.
    let (stop, sent) = sending(&server, desk(folder.path(), &address, Some(port)));
    server.device("till-3").await;
    open_incident(&server, &operator, "till-3").await;
    let requests = posted.wait_for(2).await;
    assert_eq!(alert(&requests[1]).subject, "Incident 3 opened");
    drop(stop);
    sent.await.unwrap();
    assert_eq!(posted.all().len(), 2, "{:?}", posted.all());
}

/// What a sensor found is told with the device's name and the rule's title, and without the fields of the event.
#[tokio::test(flavor = "multi_thread")]
async fn a_severe_finding_is_told_when_it_opens_and_not_for_each_repetition() {
    let server = Server::start(|_| {}).await;
    let identity = server.device("till-1").await;
    let folder = tempfile::tempdir().unwrap();
    let ((address, posted), (port, mailed)) = (receiver("204 No Content").await, mail_server().await);
    let (stop, sent) = sending(&server, desk(folder.path(), &address, Some(port)));
    until("the mark", || folder.path().join("alerts/next-entry").exists()).await;
    let device = server.client(Some(&identity));
    let deliver = |findings| {
        let body = super::detections::sent(findings);
        device.post(server.url("/v1/detections")).json(&body).send()
    };
    let (low, high) = (matched(1, "quiet", Level::Low), matched(2, "loud", Level::High));
    assert_eq!(deliver(vec![low, high]).await.unwrap().status(), 200);
    assert_eq!(deliver(vec![matched(3, "loud", Level::High)]).await.unwrap().status(), 200);
    assert_eq!(deliver(vec![trouble(4, SensorTrouble::Killed)]).await.unwrap().status(), 200);
    let mut told: Vec<Alert> = posted.wait_for(2).await.iter().map(|request| alert(request)).collect();
    // Each goes its own way: the second may arrive first.
    told.sort_by_key(|alert| alert.entry);
    assert_eq!((told[0].kind.as_str(), told.len()), ("detection.opened", 2));
    assert_eq!(told[0].subject, "High: Title of loud (clinic/north/till-1)");
    assert_eq!(told[1].subject, "High: a process of the sensor was ended by somebody else (clinic/north/till-1)");
    let mails = mailed.wait_for(4).await;
    assert!(mails.iter().all(|mail| !mail.contains("anna") && !mail.contains("/dev/tcp")), "{mails:?}");
    drop(stop);
    sent.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_with_the_dead_letters() {
    let server = Server::start(|_| {}).await;
    server.device("till-1").await;
    let folder = tempfile::tempdir().unwrap();
    let (address, posted) = receiver("500 Oops").await;
    let desk = desk(folder.path(), &address, None);
    let left = Alert {
        id: "entry-7".into(),
        at_ms: 1,
        kind: "rollout.halted".into(),
        subject: "left by a crash".into(),
        text: "x".into(),
        entry: Some(7),
    };
    let outgoing = folder.path().join("alerts/outgoing/webhook");
    std::fs::write(outgoing.join("entry-7.json"), serde_json::to_vec(&left).unwrap()).unwrap();
    let (stop, sent) = sending(&server, desk);
    let dead = folder.path().join("alerts/dead/webhook");
    until("a dead letter", || files(&dead) == ["entry-7.json"]).await;
    assert_eq!(posted.wait_for(3).await.len(), 3, "one attempt and two more");
    until("it is not on its way any more", || files(&outgoing).is_empty()).await;
    let kept: Alert = serde_json::from_slice(&std::fs::read(dead.join("entry-7.json")).unwrap()).unwrap();
    assert_eq!(kept, left);
    drop(stop);
    sent.await.unwrap();
}

#[test]
fn a_configuration_that_alerts_nobody_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for empty in [json!({}), json!({ "mail": { "from": "a@b.example", "to": [] } })] {
        let config: AlertsConfig = serde_json::from_value(empty).unwrap();
        let opened = AlertDesk::open(config, folder.path(), Vec::new());
        assert!(matches!(opened, Err(AlertDeskError::Nobody)));
    }
    let wrong = json!({ "mail": { "from": "a@b.example", "to": ["nobody"] } });
    assert!(AlertDesk::open(serde_json::from_value(wrong).unwrap(), folder.path(), Vec::new()).is_err());
    assert!(serde_json::from_value::<AlertsConfig>(json!({ "webhok": {} })).is_err(), "a typing error is named");
}

/// A log that takes nothing any more can't say so itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_can_not_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (address, posted) = receiver("200 OK").await;
    let server = Server::start(|_| {}).await;
    server.device("till-1").await;
    let operator = server.operator(Role::Operator, None);
    let (stop, sent) = sending(&server, desk(folder.path(), &address, None));
    until("the mark", || folder.path().join("alerts/next-entry").exists()).await;
    // Somebody else's transaction holds the file for longer than the log waits.
    let blocker = rusqlite::Connection::open(server.dir.path().join("engine/log.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = json!({ "class": "outage", "why": "dark", "devices": ["till-1"] });
    let answer = operator.post(server.url("/api/v1/incidents")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let told = alert(&posted.wait_for(1).await[0]);
    assert_eq!((told.kind.as_str(), told.entry), ("log.unwritable", None));
    blocker.execute_batch("ROLLBACK").unwrap();
    drop(stop);
    sent.await.unwrap();
}
