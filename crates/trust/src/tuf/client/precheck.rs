//! Refuses metadata that the library would accept although this project's rules, or python-tuf, would not.
//!
//! Runs on bytes whose signatures are not checked yet, so it only ever refuses, and believes nothing. What it adds:
//! thresholds count keys by their material (the library counts ids, so one key under two ids would count twice); thresholds
//! of zero and versions of zero are refused wherever they stand; a delegation has one entry for each role name, either
//! patterns or hash prefixes, and no role whose name differs from a top-level role in case alone (their files would be one
//! on some file systems).

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ClientError;

/// Refuses `bytes` if a rule above is broken. What is no metadata at all is left for the library to refuse.
pub(super) fn check(file: &str, bytes: &[u8]) -> Result<(), ClientError> {
    let refuse = |reason: String| ClientError::Malformed { file: file.to_owned(), reason };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
    let signed = &value["signed"];
    if signed["version"].as_u64() == Some(0) {
        return Err(refuse("version 0".to_owned()));
    }
    if let Some(roles) = signed["roles"].as_object() {
        for (name, role) in roles {
            check_authority(name, role, &signed["keys"]).map_err(&refuse)?;
        }
    }
    let Some(roles) = signed["delegations"]["roles"].as_array() else { return Ok(()) };
    let mut names = BTreeSet::new();
    for role in roles {
        let name = role["name"].as_str().unwrap_or_default();
        check_authority(name, role, &signed["delegations"]["keys"]).map_err(&refuse)?;
        if !names.insert(name) {
            return Err(refuse(format!("delegates to {name:?} twice")));
        }
        if is_nearly_top_level(name) {
            return Err(refuse(format!("delegates to {name:?}, the name of a top-level role")));
        }
        if !role["paths"].is_null() && !role["path_hash_prefixes"].is_null() {
            return Err(refuse(format!("delegates to {name:?} by patterns and by hash prefixes")));
        }
    }
    Ok(())
}

/// `targets` itself is left to the library, which passes over such a delegation.
fn is_nearly_top_level(name: &str) -> bool {
    ["root", "timestamp", "snapshot", "targets"].iter().any(|top| name != *top && name.eq_ignore_ascii_case(top))
}

fn check_authority(name: &str, role: &Value, keys: &Value) -> Result<(), String> {
    if role["threshold"].as_u64() == Some(0) {
        return Err(format!("role {name:?} has a threshold of 0"));
    }
    let mut seen_ids = BTreeSet::new();
    let mut seen_keys = BTreeSet::new();
    for id in role["keyids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        // An id named twice is one key to the library, and harmless.
        if seen_ids.insert(id)
            && let Some(material) = material(&keys[id])
            && !seen_keys.insert(material)
        {
            return Err(format!("role {name:?} has one key under two ids"));
        }
    }
    Ok(())
}

/// A value that is the same for two writings of one key: case, PEM or hexadecimal, compressed point or not.
fn material(key: &Value) -> Option<[u8; 32]> {
    let text = key["keyval"]["public"].as_str()?.trim();
    let raw = if text.starts_with("-----BEGIN") { decode_pem(text)? } else { hex::decode(text).ok()? };
    // In SubjectPublicKeyInfo (RFC 5280, RFC 8410, RFC 5480) the key stands at a fixed place for each of these curves; of a
    // point only X is compared, which both forms have.
    let key = match raw.len() {
        44 => &raw[12..],
        59 | 91 => &raw[27..59],
        72 | 120 => &raw[24..72],
        _ => &raw[..],
    };
    Some(Sha256::digest(key).into())
}

fn decode_pem(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(signed: Value) -> Option<String> {
        check("file", &serde_json::to_vec(&json!({ "signed": signed, "signatures": [] })).unwrap())
            .err()
            .map(|error| error.to_string())
    }

    fn key(public: &str) -> Value {
        json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
    }

    #[test]
    fn one_key_in_three_writings_is_one_key() {
        let hexadecimal = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        for second in [hexadecimal.to_owned(), hexadecimal.to_uppercase(), pem.to_owned()] {
            let signed = json!({
                "version": 1, "keys": {"a": key(hexadecimal), "b": key(&second)},
                "roles": {"root": {"keyids": ["a", "b"], "threshold": 2}},
            });
            assert!(refused(signed).unwrap().contains("two ids"), "{second}");
        }
    }

    #[test]
    fn different_roles_may_share_a_key() {
        let signed = json!({
            "version": 1, "keys": {"a": key("00"), "b": key("01")},
            "roles": {"root": {"keyids": ["a", "b", "a"], "threshold": 2}, "timestamp": {"keyids": ["a"], "threshold": 1}},
        });
        assert_eq!(refused(signed), None);
    }

    #[test]
    fn delegations_are_held_to_the_same_rules() {
        let with = |roles: Value| json!({"version": 1, "delegations": {"keys": {"a": key("00"), "b": key("00")}, "roles": roles}});
        assert_eq!(refused(with(json!([{"name": "x", "keyids": ["a"], "threshold": 1, "paths": ["*"]}]))), None);
        for (roles, reason) in [
            (json!([{"name": "x", "keyids": ["a", "b"], "threshold": 2}]), "two ids"),
            (json!([{"name": "x", "keyids": ["a"], "threshold": 0}]), "threshold of 0"),
            (
                json!([{"name": "x", "keyids": [], "threshold": 1}, {"name": "x", "keyids": [], "threshold": 1}]),
                "twice",
            ),
            (json!([{"name": "Root", "keyids": [], "threshold": 1}]), "top-level"),
            (
                json!([{"name": "x", "keyids": [], "threshold": 1, "paths": [], "path_hash_prefixes": []}]),
                "by patterns and",
            ),
        ] {
            assert!(refused(with(roles)).unwrap().contains(reason), "{reason}");
        }
        assert!(refused(json!({"version": 0})).unwrap().contains("version 0"));
    }

    #[test]
    fn odd_shapes_do_not_panic() {
        for text in [
            "null",
            "[]",
            "{}",
            "{\"signed\":[]}",
            "{\"signed\":{\"roles\":{\"a\":1},\"delegations\":{\"roles\":[1]}}}",
        ] {
            let _ = check("file", text.as_bytes());
        }
        assert!(check("file", b"{").is_err());
    }
}
