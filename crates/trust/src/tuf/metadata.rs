//! The four kinds of TUF metadata as the writer handles them (TUF specification 1.0.34, section 4).
//!
//! Unknown members survive a round trip. Signing and verifying are in `envelope`; what the numbers should be is the
//! business of `writer`. The client does not use these types: it has those of its own library.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keyfile::PublicKey;

/// The version of the specification that we write.
pub const SPECIFICATION_VERSION: &str = "1.0.34";

/// Members that this program does not know.
pub type Extra = BTreeMap<String, Value>;

/// A public key as metadata carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `ed25519`; nothing else is written.
    pub keytype: String,
    /// `ed25519`.
    pub scheme: String,
    /// The key itself.
    pub keyval: KeyValue,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The inner part of a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// 64 hexadecimal digits.
    pub public: String,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Key {
    /// The metadata form of an Ed25519 key.
    pub fn new(key: &PublicKey) -> Self {
        let keyval = KeyValue { public: key.to_hex(), extra: Extra::new() };
        Self { keytype: "ed25519".to_owned(), scheme: "ed25519".to_owned(), keyval, extra: Extra::new() }
    }

    /// The Ed25519 key, or nothing if this is a key of another kind or no valid one.
    pub fn public_key(&self) -> Option<PublicKey> {
        if self.keytype != "ed25519" || self.scheme != "ed25519" {
            return None;
        }
        PublicKey::from_hex(&self.keyval.public).ok()
    }
}

/// Which keys sign for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Ids of the authorised keys.
    pub keyids: Vec<String>,
    /// How many different keys must sign, at least 1.
    pub threshold: u32,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Root metadata: the keys of all top-level roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// `root`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Version of the TUF specification.
    pub spec_version: String,
    /// Counts up by one.
    pub version: u64,
    /// RFC 3339, UTC, whole seconds.
    pub expires: String,
    /// Always true in what we write.
    pub consistent_snapshot: bool,
    /// Key id to key.
    pub keys: BTreeMap<String, Key>,
    /// Role name to authority.
    pub roles: BTreeMap<String, Authority>,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A reference to another metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Version of the file referred to.
    pub version: u64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Algorithm to hexadecimal digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hashes: BTreeMap<String, String>,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

impl MetaFile {
    /// A reference by version alone, as a snapshot holds it.
    pub fn version(version: u64) -> Self {
        Self { version, length: None, hashes: BTreeMap::new(), extra: Extra::new() }
    }
}

/// Timestamp metadata, and snapshot metadata, which has the same members: file name to reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// `timestamp` or `snapshot`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Version of the TUF specification.
    pub spec_version: String,
    /// Counts up.
    pub version: u64,
    /// RFC 3339, UTC, whole seconds.
    pub expires: String,
    /// File name without version to reference.
    pub meta: BTreeMap<String, MetaFile>,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

impl References {
    /// An empty one at version 0, to be counted up before it is signed.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            spec_version: SPECIFICATION_VERSION.to_owned(),
            version: 0,
            expires: String::new(),
            meta: BTreeMap::new(),
            extra: Extra::new(),
        }
    }
}

/// One target file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Bytes.
    pub length: u64,
    /// Algorithm to hexadecimal digest; we write `sha256`.
    pub hashes: BTreeMap<String, String>,
    /// What the release says about the file; opaque to TUF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Targets metadata, top-level or delegated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// `targets`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Version of the TUF specification.
    pub spec_version: String,
    /// Counts up.
    pub version: u64,
    /// RFC 3339, UTC, whole seconds.
    pub expires: String,
    /// Target path to file.
    pub targets: BTreeMap<String, TargetFile>,
    /// Who else may list targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Targets {
    /// An empty one at version 0, to be counted up before it is signed.
    pub fn new() -> Self {
        Self {
            kind: "targets".to_owned(),
            spec_version: SPECIFICATION_VERSION.to_owned(),
            version: 0,
            expires: String::new(),
            targets: BTreeMap::new(),
            delegations: None,
            extra: Extra::new(),
        }
    }
}

impl Default for Targets {
    fn default() -> Self {
        Self::new()
    }
}

/// The delegations of a targets role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// Key id to key.
    pub keys: BTreeMap<String, Key>,
    /// In order of precedence.
    pub roles: Vec<DelegatedRole>,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One delegated role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Name, unique within the repository.
    pub name: String,
    /// Ids of the authorised keys.
    pub keyids: Vec<String>,
    /// How many different keys must sign, at least 1.
    pub threshold: u32,
    /// Whether a path that matches here is looked for nowhere else.
    pub terminating: bool,
    /// Path patterns; `*` stays within a component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Prefixes of the hexadecimal SHA-256 of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
    /// Unknown members.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `now` (Unix milliseconds) plus `lifetime` in the form of the `expires` member: RFC 3339, UTC, whole seconds, rounded
/// down. Nothing if that is beyond the year 9999.
pub fn expiry(now_unix_ms: u64, lifetime: Duration) -> Option<String> {
    let seconds = i64::try_from((now_unix_ms / 1000).checked_add(lifetime.as_secs())?).ok()?;
    let text = jiff::Timestamp::from_second(seconds).ok()?.to_string();
    // Years beyond 9999 are written with more digits, which RFC 3339 does not know.
    (text.len() == 20).then_some(text)
}

/// Unix milliseconds of an `expires` member; nothing if it is no time or before 1970.
pub fn expiry_unix_ms(expires: &str) -> Option<u64> {
    let time: jiff::Timestamp = expires.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_whole_seconds_in_utc() {
        let text = expiry(1_721_347_200_999, Duration::from_secs(86_400)).unwrap();
        assert_eq!(text, "2024-07-20T00:00:00Z");
        assert_eq!(expiry_unix_ms(&text), Some(1_721_433_600_000));
        assert_eq!(expiry(u64::MAX, Duration::MAX), None);
        assert_eq!(expiry_unix_ms("soon"), None);
    }

    #[test]
    fn unknown_members_survive() {
        let text = r#"{"_type":"snapshot","expires":"x","later":[1],"meta":{"a.json":{"more":true,"version":3}},"spec_version":"1.0.31","version":2}"#;
        let parsed: References = serde_json::from_str(text).unwrap();
        let again = super::super::canonical::to_canonical(&serde_json::to_value(&parsed).unwrap()).unwrap();
        assert_eq!(String::from_utf8(again).unwrap(), text);
    }
}
