//! What the provider is asked: its description, its keys, and a token for a code. What must stay out: believing what it signed
//! (`token`).

use super::{
    OidcError,
    config::{OidcConfig, OidcSetupError},
    plain,
    token::{self, VerifyingKey},
};
use crate::web::encode;
use reqwest::{Client, RequestBuilder};
use serde::{Deserialize, de::DeserializeOwned};
use staffel_notice::deliver::https_client;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer, bytes.
const MAX_ANSWER: usize = 1 << 20;

/// What a token must say.
pub(super) struct Wanted<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    /// Unix seconds.
    pub now_s: u64,
}

/// The provider as it described itself.
pub(super) struct Known {
    pub log_in_at: String,
    redeem_at: String,
    /// The secret goes into the form instead of the header.
    secret_in_form: bool,
    pub keys: Vec<VerifyingKey>,
    asked: Instant,
}

/// OpenID Connect Discovery 1.0, section 3; the fields that count here.
#[derive(Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct Redeemed {
    id_token: String,
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Declined {
    error: String,
}

pub(super) struct Provider {
    http: Client,
    issuer: String,
    client_id: String,
    secret: Option<String>,
    back: String,
    known: Mutex<Option<Arc<Known>>>,
}

impl Provider {
    pub fn new(config: &OidcConfig) -> Result<Self, OidcSetupError> {
        let file =
            |path: &Path| std::fs::read(path).map_err(|source| OidcSetupError::File { path: path.to_owned(), source });
        let secret = config.client_secret_file.as_deref().map(file).transpose()?;
        let authority = config.authority_file.as_deref().map(file).transpose()?;
        Ok(Provider {
            http: https_client(authority.as_deref(), TIMEOUT)?,
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            secret: secret.map(|secret| String::from_utf8_lossy(&secret).trim().to_owned()),
            back: config.back(),
            known: Mutex::default(),
        })
    }

    /// Description and keys, asked for again if they are older than this.
    pub async fn known(&self, oldest: Duration) -> Result<Arc<Known>, OidcError> {
        let mut known = self.known.lock().await;
        match &*known {
            Some(good) if good.asked.elapsed() < oldest => Ok(good.clone()),
            _ => {
                let fresh = Arc::new(self.ask().await?);
                *known = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    async fn ask(&self) -> Result<Known, OidcError> {
        const DESCRIPTION: &str = "ask for the provider's description";
        const KEYS: &str = "ask for the provider's keys";
        let away = |why: &str| OidcError::Away { operation: DESCRIPTION, why: why.into() };
        let address = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let told: Description = fetch(DESCRIPTION, self.http.get(address)).await?;
        if told.issuer != self.issuer {
            return Err(away("it names another issuer"));
        }
        let addresses = [&told.authorization_endpoint, &told.token_endpoint, &told.jwks_uri];
        if !addresses.iter().all(|address| address.starts_with("https://")) {
            return Err(away("it names an address without TLS"));
        }
        let keys: serde_json::Value = fetch(KEYS, self.http.get(&told.jwks_uri)).await?;
        let methods = &told.token_endpoint_auth_methods_supported;
        let offers = |method: &str| methods.iter().any(|offered| offered == method);
        Ok(Known {
            log_in_at: told.authorization_endpoint,
            redeem_at: told.token_endpoint,
            // The header is what counts where nothing is said (OpenID Connect Core 1.0, section 9).
            secret_in_form: offers("client_secret_post") && !offers("client_secret_basic"),
            keys: token::keys(&keys),
            asked: Instant::now(),
        })
    }

    /// The ID token for a code.
    pub async fn redeem(&self, code: &str, verifier: &str) -> Result<String, OidcError> {
        let known = self.known(super::KEYS_LIVE).await?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.back),
            ("client_id", &self.client_id),
            ("code_verifier", verifier),
        ];
        let mut request = self.http.post(&known.redeem_at);
        match &self.secret {
            Some(secret) if known.secret_in_form => form.push(("client_secret", secret)),
            // Both parts are encoded before they are joined (RFC 6749, section 2.3.1).
            Some(secret) => request = request.basic_auth(encode(&self.client_id), Some(encode(secret))),
            None => {}
        }
        let redeemed: Redeemed = fetch("redeem the code", request.form(&form)).await?;
        Ok(redeemed.id_token)
    }
}

/// An answer in JSON, not endless.
async fn fetch<T: DeserializeOwned>(operation: &'static str, request: RequestBuilder) -> Result<T, OidcError> {
    let away = |why: String| OidcError::Away { operation, why };
    // What went wrong with a connection may name addresses: that is for the server's own log.
    let lost = |error: reqwest::Error| {
        tracing::warn!(operation, error = &error as &dyn std::error::Error, "the provider can't be asked");
        away("the provider can't be reached".into())
    };
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(lost)? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(away("the answer is too large".into()));
        }
        body.extend_from_slice(&part);
    }
    if status.is_client_error()
        && let Ok(declined) = serde_json::from_slice::<Declined>(&body)
    {
        return Err(OidcError::Declined { why: plain(&declined.error) });
    }
    if !status.is_success() {
        return Err(away(format!("the provider answers {}", status.as_u16())));
    }
    serde_json::from_slice(&body).map_err(|error| {
        tracing::warn!(operation, %error, "the provider's answer can't be read");
        away("the answer can't be read".into())
    })
}
