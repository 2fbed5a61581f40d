//! Repositories put together by hand, for what our writer would never write: an attacker who has keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use staffel_trust::keyfile::KeyPair;
use staffel_trust::tuf::client::{Client, FetchError, FromFunction, Resource};
use staffel_trust::tuf::envelope::sign;
use tempfile::TempDir;

use super::support::key;

pub const FAR: &str = "2040-01-01T00:00:00Z";

/// Files in memory that a client is connected to.
pub struct Crafted {
    pub files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub state: TempDir,
    pub root: Vec<u8>,
}

pub fn public(pair: &KeyPair) -> Value {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": pair.public().to_hex()}})
}

/// A root at version 1 whose roles have one key each: seeds 1 root, 2 targets, 3 snapshot, 4 timestamp.
pub fn plain_root() -> Value {
    let keys: serde_json::Map<_, _> = (1..=4).map(|seed| (key(seed).id(), public(&key(seed)))).collect();
    let role = |seed| json!({"keyids": [key(seed).id()], "threshold": 1});
    json!({
        "_type": "root", "spec_version": "1.0.31", "version": 1, "expires": FAR, "consistent_snapshot": true, "keys": keys,
        "roles": {"root": role(1), "targets": role(2), "snapshot": role(3), "timestamp": role(4)},
    })
}

pub fn targets(version: u64, targets: Value, delegations: Value) -> Value {
    let mut signed =
        json!({"_type": "targets", "spec_version": "1.0.31", "version": version, "expires": FAR, "targets": targets});
    if !delegations.is_null() {
        signed["delegations"] = delegations;
    }
    signed
}

impl Crafted {
    pub fn new(root: &Value) -> Self {
        let root = sign(root, "root", [&key(1)]).unwrap();
        Self { files: Arc::default(), state: tempfile::tempdir().unwrap(), root }
    }

    pub fn put(&self, name: &str, signed: &Value, signers: &[&KeyPair]) {
        let bytes = sign(signed, "metadata", signers.iter().copied()).unwrap();
        self.files.lock().unwrap().insert(name.to_owned(), bytes);
    }

    /// Timestamp and snapshot at `version`, which name the given versions of targets roles.
    pub fn put_online(&self, version: u64, expires: &str, roles: &[(&str, u64)]) {
        let meta: serde_json::Map<_, _> =
            roles.iter().map(|(role, version)| (format!("{role}.json"), json!({"version": version}))).collect();
        let snapshot = json!({
            "_type": "snapshot", "spec_version": "1.0.31", "version": version, "expires": FAR, "meta": meta,
        });
        self.put(&format!("{version}.snapshot.json"), &snapshot, &[&key(3)]);
        let timestamp = json!({
            "_type": "timestamp", "spec_version": "1.0.31", "version": version, "expires": expires,
            "meta": {"snapshot.json": {"version": version}},
        });
        self.put("timestamp.json", &timestamp, &[&key(4)]);
    }

    /// A client on these files; its trusted metadata outlives it.
    pub fn client(&self) -> Client {
        let files = Arc::clone(&self.files);
        let transport = FromFunction(move |resource: Resource<'_>, limit| {
            let files = files.lock().unwrap();
            let bytes = files.get(resource.name()).ok_or(FetchError::NotFound)?;
            if bytes.len() as u64 > limit { Err(FetchError::TooLarge) } else { Ok(bytes.clone()) }
        });
        Client::open(&self.state.path().join("metadata"), &self.root, transport).unwrap()
    }
}
