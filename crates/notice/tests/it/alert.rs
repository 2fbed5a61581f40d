//! Alerts: signed, retried, and never lost.

use crate::{gateway::Http, smtp::Server};
use staffel_notice::{
    alert::{Alert, AlertError, Delivered, Retry, Webhook, deliver_mail, signature, verify},
    mail::MailSender,
};
use std::{path::Path, time::Duration};

fn alert() -> Alert {
    Alert {
        id: "rollout-12-halted".into(),
        at_ms: 1_800_000_000_000,
        kind: "rollout.halted".into(),
        subject: "Rollout 12 wurde angehalten".into(),
        text: "Fünf Geräte schweigen.".into(),
        entry: Some(4_711),
    }
}

fn retry(folder: &Path) -> Retry {
    Retry { waits: vec![Duration::from_millis(1); 2], dead_letters: folder.join("dead") }
}

fn webhook(http: &Http) -> Webhook {
    Webhook::new(&http.address, b"secret".to_vec(), None, Duration::from_secs(60)).expect("a webhook")
}

#[tokio::test]
async fn a_receiver_can_check_who_sent_it_and_when() {
    let folder = tempfile::tempdir().expect("a folder");
    let http = Http::start(vec![Some("204 No Content")]).await;
    let done = webhook(&http).deliver(&alert(), &retry(folder.path()), || 1_800_000_123).await;
    assert_eq!(done.expect("delivered"), Delivered::Taken { attempts: 1 });
    let asked = http.asked().join("");
    let (head, body) = asked.split_once("\r\n\r\n").expect("a body");
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name)).expect(name);
        line.split_once(": ").expect("a value").1.to_owned()
    };
    let (time, signed) = (header("staffel-timestamp"), header("staffel-signature"));
    assert_eq!(time, "1800000123");
    assert!(verify(b"secret", 1_800_000_123, body.as_bytes(), &signed));
    assert!(!verify(b"other", 1_800_000_123, body.as_bytes(), &signed));
    assert!(!verify(b"secret", 1_800_000_124, body.as_bytes(), &signed));
    assert!(!verify(b"secret", 1_800_000_123, b"{}", &signed));
    assert!(!verify(b"secret", 1_800_000_123, body.as_bytes(), &signed.replace("v1=", "v0=")));
    assert_eq!(serde_json::from_str::<Alert>(body).expect("JSON"), alert());
}

#[test]
fn the_signature_is_that_of_rfc_2104() {
    // Computed with `printf '1.{}' | openssl dgst -sha256 -hmac key`.
    let known = "v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224";
    assert_eq!(signature(b"key", 1, b"{}"), known);
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let http = Http::start(vec![Some("500 Oops"), None, Some("200 OK")]).await;
    let done = webhook(&http).deliver(&alert(), &retry(folder.path()), || 1).await;
    assert_eq!(done.expect("delivered"), Delivered::Taken { attempts: 3 });
    assert!(!folder.path().join("dead").exists());
}

#[tokio::test]
async fn what_nobody_takes_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let http = Http::start(vec![Some("500 Oops"); 3]).await;
    let done = webhook(&http).deliver(&alert(), &retry(folder.path()), || 1).await.expect("kept");
    assert!(matches!(&done, Delivered::Dead { attempts: 3, why } if why.contains("500")), "{done:?}");
    let kept = std::fs::read(folder.path().join("dead/rollout-12-halted.json")).expect("a dead letter");
    assert_eq!(serde_json::from_slice::<Alert>(&kept).expect("JSON"), alert());
}

#[tokio::test]
async fn an_alert_goes_by_e_mail_and_a_refused_one_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start().await;
    let sender = MailSender::parse("dienst@musterhaus.example", None).expect("an address");
    let retry = retry(folder.path());
    let send = async |to: &str| deliver_mail(&alert(), &sender, to, &server.carrier(), &retry).await.expect("an end");
    assert_eq!(send("bereitschaft@haus.example").await, Delivered::Taken { attempts: 1 });
    assert_eq!(server.kept("bereitschaft"), 1);
    assert!(matches!(send("unknown@haus.example").await, Delivered::Dead { attempts: 3, .. }));
    assert!(folder.path().join("dead/rollout-12-halted.json").exists());
}

#[tokio::test]
async fn a_name_that_is_no_file_name_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let http = Http::start(vec![]).await;
    let bad = Alert { id: "../x".into(), ..alert() };
    let done = webhook(&http).deliver(&bad, &retry(folder.path()), || 1).await;
    assert!(matches!(done, Err(AlertError::Name { .. })), "{done:?}");
}
