//! Alerts to machines and to the people on duty: a signed webhook and an e-mail, retried, and kept in a folder of the dead
//! letters if nobody takes them.
//!
//! The signature is HMAC-SHA256 over `timestamp.body`, hexadecimal, in `Staffel-Signature: v1=...`; the timestamp stands in
//! `Staffel-Timestamp` (Unix seconds), so that a receiver can refuse what is replayed later. What must stay out: what is
//! worth an alert.

use crate::{
    deliver::{Carrier, Parcel, TlsError, spool::write_whole, tls},
    event::Outcome,
    mail::{MailError, MailSender},
};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Something that people on duty have to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for each repetition; receivers drop what they have seen. Letters, digits, `-` and `_`.
    pub id: String,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Such as `rollout.halted`.
    pub kind: String,
    pub subject: String,
    pub text: String,
    /// The log entry that it comes from.
    pub entry: Option<u64>,
}

/// How an alert ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// After so many attempts.
    Taken { attempts: u32 },
    /// It is in the folder of the dead letters.
    Dead { attempts: u32, why: String },
}

/// Why an alert could not even be kept.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    #[error("{id:?} is no name for an alert: letters, digits, - and _, at most 100")]
    Name { id: String },
    #[error("write the alert {id} as JSON")]
    Json { id: String, source: serde_json::Error },
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error("keep the alert {id} in {folder}")]
    Keep { id: String, folder: PathBuf, source: io::Error },
}

/// Waits between attempts; as many attempts as waits and one more.
#[derive(Clone, Debug)]
pub struct Retry {
    pub waits: Vec<Duration>,
    /// Where alerts go that nobody takes; created if it is missing.
    pub dead_letters: PathBuf,
}

impl Retry {
    /// About twenty minutes in all.
    pub fn patient(dead_letters: impl Into<PathBuf>) -> Self {
        let waits = [1, 5, 30, 120, 300, 900].map(Duration::from_secs).to_vec();
        Retry { waits, dead_letters: dead_letters.into() }
    }
}

/// An address that takes signed JSON.
#[derive(Clone)]
pub struct Webhook {
    http: reqwest::Client,
    address: String,
    secret: Vec<u8>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("address", &self.address).finish_non_exhaustive()
    }
}

/// `v1=` and the signature of this body at this time, Unix seconds.
pub fn signature(secret: &[u8], timestamp: u64, body: &[u8]) -> String {
    format!("v1={}", hex::encode(mac(secret, timestamp, body).finalize().into_bytes()))
}

/// Whether the signature is right; for receivers. Compares in constant time.
pub fn verify(secret: &[u8], timestamp: u64, body: &[u8], signature: &str) -> bool {
    let given = signature.strip_prefix("v1=").and_then(|hex| hex::decode(hex).ok());
    given.is_some_and(|given| mac(secret, timestamp, body).verify_slice(&given).is_ok())
}

fn mac(secret: &[u8], timestamp: u64, body: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length: the error can't happen, and an empty key would only fail to verify.
    let mac = Hmac::<Sha256>::new_from_slice(secret);
    let mac = mac.unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    mac.chain_update(timestamp.to_string()).chain_update(b".").chain_update(body)
}

impl Webhook {
    /// `authority` are PEM certificates, none: the system's.
    pub fn new(address: &str, secret: Vec<u8>, authority: Option<&[u8]>, timeout: Duration) -> Result<Self, TlsError> {
        Ok(Webhook { http: tls::client(authority, timeout)?, address: address.into(), secret })
    }

    /// Delivers, retries, and keeps what nobody takes. `clock` gives Unix seconds.
    pub async fn deliver(
        &self,
        alert: &Alert,
        retry: &Retry,
        clock: impl Fn() -> u64,
    ) -> Result<Delivered, AlertError> {
        let body = json(alert)?;
        repeat(alert, retry, || {
            let timestamp = clock();
            let request = self
                .http
                .post(&self.address)
                .header("Content-Type", "application/json")
                .header("Staffel-Alert", &alert.id)
                .header("Staffel-Timestamp", timestamp.to_string())
                .header("Staffel-Signature", signature(&self.secret, timestamp, &body))
                .body(body.clone());
            async move {
                match request.send().await {
                    Ok(response) if response.status().is_success() => Ok(()),
                    Ok(response) => Err(format!("the webhook answered {}", response.status())),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
        .await
    }
}

/// An alert as an e-mail over this carrier; retried and kept in the same way. A receiver may get it twice, never not at all.
pub async fn deliver_mail(
    alert: &Alert,
    sender: &MailSender,
    to: &str,
    carrier: &Carrier,
    retry: &Retry,
) -> Result<Delivered, AlertError> {
    let key = format!("alert-{}", alert.id);
    let mail = sender.text(&key, to, &alert.subject, format!("{}\n", alert.text), alert.at_ms)?;
    let parcel = Parcel::Mail(mail);
    let (key, parcel) = (&key, &parcel);
    repeat(alert, retry, || async move {
        match carrier.send(key, parcel).await {
            Outcome::HandedOver { .. } => Ok(()),
            Outcome::TryLater { why } | Outcome::Failed { why } | Outcome::Unknown { why } => Err(why),
        }
    })
    .await
}

async fn repeat<Once: Future<Output = Result<(), String>>>(
    alert: &Alert,
    retry: &Retry,
    mut once: impl FnMut() -> Once,
) -> Result<Delivered, AlertError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if alert.id.is_empty() || alert.id.len() > 100 || !alert.id.chars().all(good) {
        return Err(AlertError::Name { id: alert.id.chars().take(100).collect() });
    }
    let mut attempts = 0;
    let mut waits = retry.waits.iter();
    loop {
        attempts += 1;
        let why = match once().await {
            Ok(()) => return Ok(Delivered::Taken { attempts }),
            Err(why) => why,
        };
        match waits.next() {
            Some(wait) => tokio::time::sleep(*wait).await,
            None => {
                keep(&retry.dead_letters, alert)?;
                return Ok(Delivered::Dead { attempts, why });
            }
        }
    }
}

fn keep(folder: &Path, alert: &Alert) -> Result<(), AlertError> {
    let failed = |source| AlertError::Keep { id: alert.id.clone(), folder: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    write_whole(folder, &format!("{}.json", alert.id), &json(alert)?).map_err(failed)
}

fn json(alert: &Alert) -> Result<Vec<u8>, AlertError> {
    serde_json::to_vec(alert).map_err(|source| AlertError::Json { id: alert.id.clone(), source })
}
