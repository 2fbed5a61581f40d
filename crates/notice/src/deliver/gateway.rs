//! An HTTP gateway for SMS, fax or letters.
//!
//! `POST` of JSON with the attempt's key, also as `Idempotency-Key`; `GET` of the same address with `/KEY` says whether it is
//! there: 200 yes, 404 no. A gateway that speaks otherwise gets a small translator in front of it.

use super::{Parcel, TlsError, short, tls};
use crate::event::{Found, Outcome};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};
use std::time::Duration;

/// One address that takes parcels.
#[derive(Clone)]
pub struct Gateway {
    http: reqwest::Client,
    address: String,
    token: Option<String>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Gateway {
    /// `token` is sent as `Authorization: Bearer`; `authority` are PEM certificates, none: the system's.
    pub fn new(
        address: &str,
        token: Option<String>,
        authority: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let address = address.trim_end_matches('/').to_owned();
        Ok(Gateway { http: tls::client(authority, timeout)?, address, token })
    }

    fn with_token(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    pub(super) async fn send(&self, key: &str, parcel: &Parcel) -> Outcome {
        let body: Value = match parcel {
            Parcel::Mail(_) => return Outcome::Failed { why: "this gateway takes no e-mails".into() },
            Parcel::Sms { number, text } => json!({ "key": key, "channel": "sms", "to": number, "text": text }),
            Parcel::Fax { number, pdf } => {
                json!({ "key": key, "channel": "fax", "to": number, "pdf_base64": STANDARD.encode(pdf) })
            }
            Parcel::Letter { pdf } => json!({ "key": key, "channel": "letter", "pdf_base64": STANDARD.encode(pdf) }),
        };
        let request = self.http.post(&self.address).header("Idempotency-Key", key).json(&body);
        match self.with_token(request).send().await {
            // Without a connection nothing was said.
            Err(error) if error.is_connect() => Outcome::TryLater { why: words(&error) },
            Err(error) => Outcome::Unknown { why: words(&error) },
            Ok(response) => {
                let status = response.status();
                let text = short(&response.text().await.unwrap_or_default());
                judge(status, &text)
            }
        }
    }

    pub(super) async fn look_up(&self, key: &str) -> Found {
        let asked = self.with_token(self.http.get(format!("{}/{key}", self.address))).send().await;
        match asked.map(|response| response.status()) {
            Ok(StatusCode::OK) => Found::There,
            Ok(StatusCode::NOT_FOUND) => Found::NotThere,
            Ok(_) | Err(_) => Found::CannotTell,
        }
    }
}

/// What an answer says about whether the parcel was taken.
fn judge(status: StatusCode, text: &str) -> Outcome {
    let why = format!("{status} {text}");
    match status {
        status if status.is_success() => Outcome::HandedOver { receipt: why },
        // Refused before it was taken, and says so.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::TryLater { why },
        status if status.is_client_error() => Outcome::Failed { why },
        // A gateway that stumbled, or a proxy in front of it, may have taken it.
        _ => Outcome::Unknown { why },
    }
}

fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    short(&text)
}
