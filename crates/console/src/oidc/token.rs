//! Checks an ID token: a JSON Web Signature in its compact form (RFC 7515) by one of three algorithms, and what OpenID Connect
//! Core 1.0, section 3.1.3.7, wants of its claims. What must stay out: where keys come from.
//!
//! The algorithm is never the token's choice alone: it must be one of the three, and fit the kind of the key.

use super::provider::Wanted;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Seconds that clocks may differ by.
const LEEWAY_S: u64 = 60;
/// Largest token, bytes.
const MAX_TOKEN: usize = 64 << 10;

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("it can't be read")]
    Unreadable,
    #[error("its algorithm is none of RS256, PS256 and ES256")]
    Algorithm,
    #[error("it wants something that is not understood here")]
    Critical,
    #[error("it names a key that the provider does not have")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("it is from another issuer")]
    Issuer,
    #[error("it is for somebody else")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    TooEarly,
    #[error("it answers another log-in")]
    Nonce,
    #[error("it names no subject")]
    Subject,
}

/// A key of the provider.
pub(super) struct VerifyingKey {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    /// Modulus and exponent, big-endian.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// The uncompressed point.
    P256(Vec<u8>),
}

/// RFC 7517 and RFC 7518, section 6; the fields that count here.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

/// The keys of a set that can be used here; others are no mistake.
pub(super) fn keys(set: &Value) -> Vec<VerifyingKey> {
    let listed = set.get("keys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    listed.iter().filter_map(|key| verifying(serde_json::from_value(key.clone()).ok()?)).collect()
}

fn verifying(jwk: Jwk) -> Option<VerifyingKey> {
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| !bytes.is_empty());
    let coordinate = |text: &str| bytes(text).filter(|bytes| bytes.len() == 32);
    let material = match (jwk.kty.as_str(), jwk.crv.as_str()) {
        ("RSA", _) => Material::Rsa { n: bytes(&jwk.n)?, e: bytes(&jwk.e)? },
        ("EC", "P-256") => Material::P256([vec![4], coordinate(&jwk.x)?, coordinate(&jwk.y)?].concat()),
        _ => return None,
    };
    Some(VerifyingKey { id: jwk.kid, algorithm: jwk.alg, material })
}

impl VerifyingKey {
    fn is_for(&self, algorithm: &str) -> bool {
        let fits = match self.material {
            Material::Rsa { .. } => matches!(algorithm, "RS256" | "PS256"),
            Material::P256(_) => algorithm == "ES256",
        };
        fits && self.algorithm.as_deref().is_none_or(|only| only == algorithm)
    }

    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                let pss = algorithm == "PS256";
                let parameters = if pss { &RSA_PSS_2048_8192_SHA256 } else { &RSA_PKCS1_2048_8192_SHA256 };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
        };
        verified.map_err(|_| TokenError::Signature)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// The claims of a token that is signed by one of these keys and says what is wanted.
pub(super) fn check(token: &str, keys: &[VerifyingKey], wanted: &Wanted<'_>) -> Result<Map<String, Value>, TokenError> {
    let unreadable = TokenError::Unreadable;
    let parts: Vec<&str> = token.split('.').take(4).collect();
    let ([header, claims, signature], true) = (parts.as_slice(), token.len() <= MAX_TOKEN) else {
        return Err(unreadable);
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| unreadable);
    let head: Header = serde_json::from_slice(&decode(header)?).map_err(|_| unreadable)?;
    if !["RS256", "PS256", "ES256"].contains(&head.alg.as_str()) {
        return Err(TokenError::Algorithm);
    }
    if head.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let mut fitting = keys.iter().filter(|key| key.is_for(&head.alg) && (head.kid.is_none() || key.id == head.kid));
    // Without a name there must be one key only that it can be.
    let (Some(key), None) = (fitting.next(), fitting.next()) else { return Err(TokenError::UnknownKey) };
    let signed = &token[..header.len() + 1 + claims.len()];
    key.verify(&head.alg, signed.as_bytes(), &decode(signature)?)?;
    let claims: Map<String, Value> = serde_json::from_slice(&decode(claims)?).map_err(|_| unreadable)?;
    agree(&claims, wanted)?;
    Ok(claims)
}

fn agree(claims: &Map<String, Value>, wanted: &Wanted<'_>) -> Result<(), TokenError> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // Whole or broken seconds (RFC 7519, section 2).
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let now = wanted.now_s as f64;
    let leeway = LEEWAY_S as f64;
    if text("iss") != Some(wanted.issuer) {
        return Err(TokenError::Issuer);
    }
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let party = text("azp");
    let is_ours = audience.contains(&wanted.client_id)
        && party.is_none_or(|party| party == wanted.client_id)
        && (audience.len() == 1 || party.is_some());
    if !is_ours {
        return Err(TokenError::Audience);
    }
    if seconds("exp").is_none_or(|end| now >= end + leeway) {
        return Err(TokenError::Expired);
    }
    if ["iat", "nbf"].into_iter().filter_map(seconds).any(|begin| now + leeway < begin) {
        return Err(TokenError::TooEarly);
    }
    if text("nonce") != Some(wanted.nonce) {
        return Err(TokenError::Nonce);
    }
    if text("sub").is_none_or(str::is_empty) {
        return Err(TokenError::Subject);
    }
    Ok(())
}
