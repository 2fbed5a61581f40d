//! A small OpenID Connect provider with real keys behind real TLS, which lies when it is told to.

use crate::support::PATIENCE;
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::Redirect,
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use staffel_console::oidc::{Oidc, OidcConfig};
use staffel_notice::deliver::https_client;
use staffel_server::{ca::Ca, config::EdgeConfig, edge, engine::now_ms};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};
use tokio::{sync::oneshot, task::JoinHandle};

pub const CLIENT: &str = "staffel console";
const SECRET: &str = "s3cret: with %signs";

/// What the next token is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token {
    Rs256,
    Ps256,
    Es256,
    /// Good, for somebody without a rule.
    Unmapped,
    /// Good, with an address that nobody verified.
    UnverifiedMail,
    WrongNonce,
    WrongAudience,
    /// For us and for somebody else, who asked for it.
    OtherParty,
    WrongIssuer,
    Expired,
    TooEarly,
    NoExpiry,
    AlgorithmNone,
    /// Signed with the public key as if it were a shared secret.
    PublicKeyAsSecret,
    /// Signed with a key that is not published, under a name of its own.
    UnknownKey,
    /// The same, under the name of a published one.
    ForgedKey,
    /// Another algorithm than the key is for.
    WrongAlgorithm,
    /// Changed after it was signed.
    Changed,
}

pub struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    stranger: EcdsaKeyPair,
    issuer: OnceLock<String>,
    next: Mutex<Token>,
    /// Nonce and challenge of each code that was handed out.
    codes: Mutex<HashMap<String, (String, String)>>,
}

/// A provider that runs until it is dropped.
pub struct Provider {
    pub keys: Arc<Keys>,
    /// What a browser goes there with.
    pub http: reqwest::Client,
    dir: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
    _serving: JoinHandle<()>,
}

impl Provider {
    pub async fn start() -> Provider {
        let ec = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let keys = Arc::new(Keys {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: ec(),
            stranger: ec(),
            issuer: OnceLock::new(),
            next: Mutex::new(Token::Rs256),
            codes: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(published))
            .route("/authorise", get(authorise))
            .route("/token", post(redeem))
            .with_state(keys.clone());
        let dir = tempfile::tempdir().unwrap();
        let config = EdgeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.path().to_owned(),
            ..EdgeConfig::default()
        };
        Ca::init(&config.tls_dir(), &["127.0.0.1".into()]).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            edge::serve_pages(config, router, stopped, |address| bound.send(address).unwrap()).await.unwrap();
        });
        let address = address.await.unwrap();
        keys.issuer.set(format!("https://{address}")).unwrap();
        let authority = std::fs::read(Ca::server_root_path(&dir.path().join("tls"))).unwrap();
        let http = https_client(Some(&authority), PATIENCE).unwrap();
        Provider { keys, http, dir, _stop: stop, _serving: serving }
    }

    pub fn tell(&self, token: Token) {
        *self.keys.next.lock().unwrap() = token;
    }

    /// A console's log-in with this provider.
    pub fn oidc(&self) -> Oidc {
        let secret = self.dir.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let config: OidcConfig = serde_json::from_value(json!({
            "issuer": self.keys.issuer.get().unwrap(),
            "client_id": CLIENT,
            "client_secret_file": secret,
            "address": "https://staffel.test",
            "name": "Example & Sons",
            "authority_file": Ca::server_root_path(&self.dir.path().join("tls")),
            "people": [
                { "claim": "groups", "is": "ward", "role": "operator", "tenant": "clinic" },
                { "claim": "email", "is": "boss@example.org", "role": "releaser" },
            ],
        }))
        .unwrap();
        Oidc::open(config).unwrap()
    }
}

async fn describe(State(keys): State<Arc<Keys>>) -> Json<Value> {
    let issuer = keys.issuer.get().unwrap();
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorise"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
    }))
}

async fn published(State(keys): State<Arc<Keys>>) -> Json<Value> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa = keys.rsa.public_key();
    let (n, e) = (rsa.modulus(), rsa.exponent());
    let point = keys.ec.public_key().as_ref();
    Json(json!({ "keys": [
        { "kty": "OKP", "crv": "X448", "kid": "odd", "x": "AAAA" },
        { "kty": "RSA", "use": "enc", "kid": "rsa", "n": text(&[1; 256]), "e": "AQAB" },
        {
            "kty": "RSA", "use": "sig", "kid": "rsa",
            "n": text(n.big_endian_without_leading_zero()), "e": text(e.big_endian_without_leading_zero()),
        },
        { "kty": "EC", "crv": "P-256", "kid": "ec", "x": text(&point[1..33]), "y": text(&point[33..]) },
    ] }))
}

async fn authorise(State(keys): State<Arc<Keys>>, Query(asked): Query<HashMap<String, String>>) -> Redirect {
    assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", CLIENT));
    assert_eq!(asked["redirect_uri"], "https://staffel.test/login/oidc/back");
    assert_eq!((asked["code_challenge_method"].as_str(), asked["scope"].as_str()), ("S256", "openid email profile"));
    let code = hex::encode(Sha256::digest(asked["nonce"].as_bytes()));
    let kept = (asked["nonce"].clone(), asked["code_challenge"].clone());
    keys.codes.lock().unwrap().insert(code.clone(), kept);
    let issuer = keys.issuer.get().unwrap();
    Redirect::to(&format!("{}?code={code}&state={}&iss={issuer}", asked["redirect_uri"], asked["state"]))
}

async fn redeem(
    State(keys): State<Arc<Keys>>,
    headers: HeaderMap,
    Form(sent): Form<HashMap<String, String>>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let refuse = |why: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": why })));
    // As RFC 6749 wants it: each half encoded, then joined.
    let expected = STANDARD.encode("staffel%20console:s3cret%3A%20with%20%25signs");
    if headers["authorization"] != format!("Basic {expected}").as_str() {
        return Err(refuse("invalid_client"));
    }
    // A code counts once.
    let kept = keys.codes.lock().unwrap().remove(&sent["code"]);
    let (nonce, challenge) = kept.ok_or_else(|| refuse("invalid_grant"))?;
    let is_right = URL_SAFE_NO_PAD.encode(Sha256::digest(sent["code_verifier"].as_bytes())) == challenge;
    if !is_right || sent["redirect_uri"] != "https://staffel.test/login/oidc/back" {
        return Err(refuse("invalid_grant"));
    }
    let token = keys.token(*keys.next.lock().unwrap(), &nonce);
    Ok(Json(json!({ "access_token": "nothing", "token_type": "Bearer", "id_token": token })))
}

impl Keys {
    fn token(&self, kind: Token, nonce: &str) -> String {
        let now = now_ms() / 1_000;
        let mut claims: Map<String, Value> = json!({
            "iss": self.issuer.get().unwrap(), "aud": CLIENT, "sub": "subject-7", "nonce": nonce,
            "iat": now, "exp": now + 300,
            "email": "ann@example.org", "email_verified": true, "groups": ["cooks", "ward"],
        })
        .as_object()
        .unwrap()
        .clone();
        let mut set = |name: &str, value: Value| claims.insert(name.into(), value);
        match kind {
            Token::Unmapped => set("groups", json!(["cooks"])),
            Token::UnverifiedMail => {
                set("groups", json!([]));
                set("email", json!("boss@example.org"));
                set("email_verified", json!(false))
            }
            Token::WrongNonce => set("nonce", json!("another")),
            Token::WrongAudience => set("aud", json!(["somebody else"])),
            Token::OtherParty => {
                set("aud", json!([CLIENT, "somebody else"]));
                set("azp", json!("somebody else"))
            }
            Token::WrongIssuer => set("iss", json!("https://id.example.org")),
            Token::Expired => set("exp", json!(now - 61)),
            Token::TooEarly => set("nbf", json!(now + 3_600)),
            Token::NoExpiry => claims.remove("exp"),
            _ => None,
        };
        let header = match kind {
            Token::AlgorithmNone => json!({ "alg": "none" }),
            Token::PublicKeyAsSecret => json!({ "alg": "HS256", "kid": "ec" }),
            Token::Es256 | Token::ForgedKey => json!({ "alg": "ES256", "kid": "ec" }),
            Token::UnknownKey => json!({ "alg": "ES256", "kid": "stranger" }),
            Token::WrongAlgorithm => json!({ "alg": "RS256", "kid": "ec" }),
            Token::Ps256 => json!({ "alg": "PS256", "kid": "rsa" }),
            // One key only can be meant.
            Token::Rs256 => json!({ "alg": "RS256" }),
            _ => json!({ "alg": "RS256", "kid": "rsa", "typ": "JWT" }),
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&Value::Object(claims.clone())));
        let random = SystemRandom::new();
        let ec = |key: &EcdsaKeyPair| key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec();
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        let signature = match kind {
            Token::AlgorithmNone => Vec::new(),
            Token::PublicKeyAsSecret => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.ec.public_key().as_ref());
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Token::Es256 | Token::WrongAlgorithm => ec(&self.ec),
            Token::UnknownKey | Token::ForgedKey => ec(&self.stranger),
            Token::Ps256 => rsa(&RSA_PSS_SHA256),
            _ => rsa(&RSA_PKCS1_SHA256),
        };
        let mut shown = signed.clone();
        if kind == Token::Changed {
            claims.insert("groups".into(), json!(["ward", "ward"]));
            shown = format!("{}.{}", part(&header), part(&Value::Object(claims)));
        }
        format!("{shown}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
