//! Resolving a target through the delegations and downloading it (TUF specification 1.0.34, sections 5.6.7 and 5.7).
//!
//! A role is verified again for each delegator that leads to it. Stored copies of delegated roles are used if they are
//! what the snapshot names; otherwise they are fetched.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::error::in_file;
use super::{Client, ClientError, Resource, precheck};
use crate::tuf::path::{validate, with_hash};

/// What trusted metadata says about a target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetInfo {
    /// Its path.
    pub path: String,
    /// The role that lists it. Who signed matters: a gate attestation counts only if this is `gate`.
    pub role: String,
    /// Bytes.
    pub length: u64,
    /// Algorithm to lower-case hexadecimal digest; `sha256` or `sha512` is among them.
    pub hashes: BTreeMap<String, String>,
    /// What the release says about it.
    pub custom: Option<Value>,
    /// Where it lies below the targets directory, not percent-encoded.
    pub location: String,
}

impl TargetInfo {
    /// Whether `bytes` are this target: length and every hash of a known kind.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), ClientError> {
        let mismatch = |reason: &str| ClientError::Mismatch { file: self.path.clone(), reason: reason.to_owned() };
        if bytes.len() as u64 != self.length {
            return Err(mismatch("other length"));
        }
        for (algorithm, expected) in &self.hashes {
            let actual = match algorithm.as_str() {
                "sha256" => hex::encode(Sha256::digest(bytes)),
                "sha512" => hex::encode(Sha512::digest(bytes)),
                _ => continue,
            };
            if actual != *expected {
                return Err(mismatch(algorithm));
            }
        }
        Ok(())
    }
}

impl Client {
    /// What trusted metadata says about a target; nothing if no trusted role lists it. Fetches delegated metadata as needed.
    /// Needs a successful [`refresh`](Self::refresh), whose time decides about expiry.
    pub async fn target_info(&mut self, path: &str) -> Result<Option<TargetInfo>, ClientError> {
        let now = self.refreshed_at.ok_or(ClientError::NotRefreshed)?;
        validate(path)?;
        let mut waiting = vec![("targets".to_owned(), String::new())];
        let mut visited = BTreeSet::new();
        // Depth first in order of precedence: the next role is at the end of `waiting`.
        while let Some((role, delegator)) = waiting.pop() {
            if visited.contains(&role) {
                continue;
            }
            if visited.len() >= self.limits.delegations as usize {
                break;
            }
            if role != "targets" && !self.load_delegated(&role, &delegator, now).await? {
                visited.insert(role);
                continue;
            }
            let Some(targets) = self.trusted.targets_role(&role) else { return Err(ClientError::NotRefreshed) };
            if let Some(file) = targets.target(path) {
                return self.describe(path, &role, file).map(Some);
            }
            let mut children = Vec::new();
            for child in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
                // Such a delegation is never followed: the name belongs to another kind of metadata.
                if matches!(child.name.as_str(), "root" | "timestamp" | "snapshot" | "targets") {
                    continue;
                }
                if child.matches_path(path).map_err(in_file(&role))? {
                    children.push((child.name.clone(), role.clone()));
                    if child.terminating {
                        waiting.clear();
                        break;
                    }
                }
            }
            waiting.extend(children.into_iter().rev());
            visited.insert(role);
        }
        Ok(None)
    }

    /// Downloads a target into memory and verifies it. For small ones; a larger one than the limit is refused, see
    /// [`Limits::target`](super::Limits::target).
    pub async fn download(&mut self, path: &str) -> Result<Vec<u8>, ClientError> {
        let info = self.target_info(path).await?;
        let info = info.ok_or_else(|| ClientError::UnknownTarget { path: path.to_owned() })?;
        self.download_target(&info).await
    }

    /// Downloads what [`target_info`](Self::target_info) described.
    pub async fn download_target(&self, info: &TargetInfo) -> Result<Vec<u8>, ClientError> {
        if info.length > self.limits.target {
            return Err(ClientError::TooLarge { file: info.path.clone(), limit: self.limits.target });
        }
        let bytes = self.fetch(Resource::Target(&info.location), info.length).await?;
        let bytes = bytes.ok_or_else(|| ClientError::Missing { file: info.location.clone() })?;
        info.verify(&bytes)?;
        Ok(bytes)
    }

    /// Makes a delegated role trusted as `delegator` delegates it. False if the snapshot does not know it: then it does not
    /// exist in this version of the repository.
    async fn load_delegated(&mut self, role: &str, delegator: &str, now: jiff::Timestamp) -> Result<bool, ClientError> {
        let name = format!("{role}.json");
        if !self.trusted.snapshot().is_some_and(|snapshot| snapshot.meta.contains_key(&name)) {
            return Ok(false);
        }
        if self.trusted.targets_role(role).is_some() {
            self.trusted.verify_delegated_targets(role, delegator, now).map_err(in_file(&name))?;
            return Ok(true);
        }
        if let Some(bytes) = self.storage.load(role)
            && precheck::check(&name, &bytes).is_ok()
            && self.trusted.update_delegated_targets(&bytes, role, delegator, now).is_ok()
        {
            return Ok(true);
        }
        let name = self.targets_name(role)?;
        let bytes = self.fetch_metadata(&name, self.limits.targets).await?;
        precheck::check(&name, &bytes)?;
        self.trusted.update_delegated_targets(&bytes, role, delegator, now).map_err(in_file(&name))?;
        self.storage.save(role, &bytes)?;
        Ok(true)
    }

    fn describe(&self, path: &str, role: &str, file: &sigstore_tuf::TargetFile) -> Result<TargetInfo, ClientError> {
        let malformed = |reason: String| ClientError::Malformed { file: format!("{role}.json"), reason };
        let mut hashes = BTreeMap::new();
        for (algorithm, digits) in &file.hashes {
            let length = match algorithm.as_str() {
                "sha256" => 64,
                "sha512" => 128,
                _ => continue,
            };
            // The digest becomes part of a path, so it must be one.
            if digits.len() != length || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(malformed(format!("{algorithm} of {path:?} is no digest")));
            }
            hashes.insert(algorithm.clone(), digits.to_ascii_lowercase());
        }
        let Some(hash) = ["sha256", "sha512"].iter().find_map(|algorithm| file.hashes.get(*algorithm)) else {
            return Err(malformed(format!("no known hash of {path:?}")));
        };
        let location = if self.trusted.root().consistent_snapshot { with_hash(path, hash) } else { path.to_owned() };
        let custom = file.custom.clone();
        Ok(TargetInfo { path: path.to_owned(), role: role.to_owned(), length: file.length, hashes, custom, location })
    }
}
