//! Log-in by the word of an OpenID Connect provider, beside the local accounts: authorization code flow with PKCE (OpenID
//! Connect Core 1.0, RFC 7636), bound to the browser by a cookie, a state and a nonce.
//!
//! `config` says who may what, `provider` asks the provider, `token` checks what it signed, `doors` is what browsers see. What
//! must stay out: sessions, and what a role may do.

mod config;
mod doors;
mod provider;
mod token;

pub use config::{OidcConfig, OidcSetupError, Rule};
pub(crate) use doors::routes;

use crate::sessions::{Key, key, random};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use provider::{Provider, Wanted};
use sha2::{Digest as _, Sha256};
use staffel_server::{api::Caller, engine::now_ms, operators::same};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use token::TokenError;

/// Log-ins that people have begun and not ended, at a time.
const MOST: usize = 10_000;
/// Time to type a password and whatever else the provider wants.
const PATIENCE: Duration = Duration::from_secs(600);
/// The provider's keys are asked for again after this time.
const KEYS_LIVE: Duration = Duration::from_secs(3_600);
/// For a key that is not among them they are asked for sooner, but not more often than this.
const KEYS_REST: Duration = Duration::from_secs(60);

/// Why somebody does not get in this way. The words stand in the log and have nothing that a stranger could have written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    #[error("this browser has begun no such log-in, or too long ago")]
    NotBegun,
    #[error("the answer comes from somebody else than the provider")]
    OtherIssuer,
    #[error("the provider lets nobody in: {why}")]
    Declined { why: String },
    #[error("{operation}: {why}")]
    Away { operation: &'static str, why: String },
    #[error("the ID token is not good: {0}")]
    Token(#[from] TokenError),
    #[error("the ID token of subject {subject} says no usable name in {claim}")]
    Nameless { subject: String, claim: String },
    #[error("no rule says what subject {subject} may do")]
    Unmapped { subject: String },
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// A log-in that began: what stays here until its answer comes.
struct Begun {
    state: String,
    nonce: String,
    /// Proof to the provider that it is us who began (RFC 7636).
    verifier: String,
    next: String,
    at: Instant,
}

/// What a browser takes to the provider.
pub(crate) struct Errand {
    /// For a cookie: ties the answer to this browser.
    pub ticket: String,
    /// Where the browser goes.
    pub address: String,
}

/// What a browser brings back.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    code: String,
    state: String,
    error: String,
    /// RFC 9207.
    iss: Option<String>,
}

struct Inner {
    config: OidcConfig,
    provider: Provider,
    begun: Mutex<HashMap<Key, Begun>>,
}

/// A provider that people can log in with; clones are the same one.
#[derive(Clone)]
pub struct Oidc(Arc<Inner>);

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Oidc").field(&self.0.config.issuer).finish()
    }
}

impl Oidc {
    /// Reads what the configuration names. Asks nobody: a provider that is away must not keep the console from starting.
    pub fn open(config: OidcConfig) -> Result<Oidc, OidcSetupError> {
        config.check()?;
        let provider = Provider::new(&config)?;
        Ok(Oidc(Arc::new(Inner { config, provider, begun: Mutex::default() })))
    }

    /// As people call it.
    pub(crate) fn name(&self) -> &str {
        &self.0.config.name
    }

    /// Begins a log-in that leads to `next`.
    pub(crate) async fn begin(&self, next: String) -> Result<Errand, OidcError> {
        let config = &self.0.config;
        let known = self.0.provider.known(KEYS_LIVE).await?;
        let [ticket, state, nonce, verifier] = [random()?, random()?, random()?, random()?];
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let (back, scopes) = (config.back(), config.scopes.join(" "));
        let questions = [
            ("response_type", "code"),
            ("client_id", config.client_id.as_str()),
            ("redirect_uri", back.as_str()),
            ("scope", scopes.as_str()),
            ("state", state.as_str()),
            ("nonce", nonce.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        let away = |why: String| OidcError::Away { operation: "read the provider's address for log-ins", why };
        let mut address = reqwest::Url::parse(&known.log_in_at).map_err(|error| away(error.to_string()))?;
        address.query_pairs_mut().extend_pairs(questions);
        let now = Instant::now();
        let mut begun = self.begun();
        begun.retain(|_, begun| now.duration_since(begun.at) < PATIENCE);
        if begun.len() >= MOST
            && let Some(oldest) = begun.iter().min_by_key(|(_, begun)| begun.at).map(|(key, _)| *key)
        {
            begun.remove(&oldest);
        }
        begun.insert(key(&ticket), Begun { state, nonce, verifier, next, at: now });
        Ok(Errand { ticket, address: address.into() })
    }

    /// Ends a log-in: who it is, and where it leads. A ticket counts once.
    pub(crate) async fn finish(&self, ticket: &str, answer: &Answer) -> Result<(Caller, String), OidcError> {
        let config = &self.0.config;
        let begun = self.begun().remove(&key(ticket)).ok_or(OidcError::NotBegun)?;
        if begun.at.elapsed() >= PATIENCE || !same(&key(&begun.state), &key(&answer.state)) {
            return Err(OidcError::NotBegun);
        }
        if answer.iss.as_ref().is_some_and(|issuer| *issuer != config.issuer) {
            return Err(OidcError::OtherIssuer);
        }
        if !answer.error.is_empty() {
            return Err(OidcError::Declined { why: plain(&answer.error) });
        }
        let token = self.0.provider.redeem(&answer.code, &begun.verifier).await?;
        let wanted = Wanted {
            issuer: &config.issuer,
            client_id: &config.client_id,
            nonce: &begun.nonce,
            now_s: now_ms() / 1_000,
        };
        let checked = token::check(&token, &self.0.provider.known(KEYS_LIVE).await?.keys, &wanted);
        let claims = match checked {
            // The provider may have changed its keys since we asked.
            Err(TokenError::UnknownKey) => token::check(&token, &self.0.provider.known(KEYS_REST).await?.keys, &wanted),
            checked => checked,
        }?;
        Ok((config.caller(&claims)?, begun.next))
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Begun>> {
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Words of others as they may stand in the log: short, and letters, digits and a few signs only.
fn plain(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-@|:/ ".contains(c) { c } else { '?' };
    text.chars().take(80).map(keep).collect()
}
