//! Refreshing the top-level roles (TUF specification 1.0.34, sections 5.3 to 5.6).
//!
//! Order of storing: each file as soon as it is verified, and the timestamp's floor copy only once its snapshot is. So a
//! refresh that breaks off anywhere loses no rollback floor. Targets are resolved in `target`.

use sigstore_tuf::Error;

use super::error::in_file;
use super::{Client, ClientError, Resource, precheck, timestamp};

/// A time at which nothing has expired, for loading floors: an expired floor is a floor all the same.
const BEFORE_ALL_EXPIRY: jiff::Timestamp = jiff::Timestamp::MIN;

impl Client {
    /// Brings root, timestamp, snapshot and top-level targets up to date as of `now_unix_ms`. Until this has succeeded, and
    /// after it has failed, nothing is resolved.
    ///
    /// Expiry is judged by the time handed in; a device without a trustworthy clock hands in the best time it can prove.
    pub async fn refresh(&mut self, now_unix_ms: u64) -> Result<(), ClientError> {
        let now = timestamp(now_unix_ms)?;
        self.refreshed_at = None;
        self.refresh_root().await?;
        self.trusted.check_root_expired(now).map_err(in_file("root.json"))?;
        self.load_floors();
        self.refresh_timestamp(now).await?;
        self.refresh_snapshot(now).await?;
        self.refresh_targets(now).await?;
        self.refreshed_at = Some(now);
        Ok(())
    }

    async fn refresh_root(&mut self) -> Result<(), ClientError> {
        for _ in 0..self.limits.rotations {
            let Some(version) = self.trusted.root().version.checked_add(1) else { return Ok(()) };
            // Roots after one that was damaged on disk are still there.
            if let Some(bytes) = self.storage.load_root(version)
                && precheck::check("root.json", &bytes).is_ok()
                && self.trusted.update_root(&bytes).is_ok()
            {
                self.storage.save("root", &bytes)?;
                continue;
            }
            let name = format!("{version}.root.json");
            let Some(bytes) = self.fetch(Resource::Metadata(&name), self.limits.root).await? else { return Ok(()) };
            precheck::check(&name, &bytes)?;
            self.trusted.update_root(&bytes).map_err(in_file(&name))?;
            self.storage.save_root(version, &bytes)?;
            self.storage.save("root", &bytes)?;
        }
        Err(ClientError::Rotations { limit: self.limits.rotations })
    }

    /// Loads what was trusted before, as floors. First the timestamp that the stored snapshot belongs to, then that
    /// snapshot, then the latest timestamp. What a new root no longer vouches for falls out here, as it must.
    fn load_floors(&mut self) {
        self.learn_timestamp(self.storage.load_floor());
        self.learn_snapshot();
        self.learn_timestamp(self.storage.load("timestamp"));
    }

    fn learn_timestamp(&mut self, stored: Option<Vec<u8>>) {
        if let Some(bytes) = stored
            && precheck::check("timestamp.json", &bytes).is_ok()
        {
            // Refused means: not newer than what is trusted, or not valid under this root. Nothing to learn from it.
            let _ = self.trusted.update_timestamp(&bytes, BEFORE_ALL_EXPIRY);
        }
    }

    fn learn_snapshot(&mut self) {
        if self.trusted.snapshot().is_none()
            && let Some(bytes) = self.storage.load("snapshot")
            && precheck::check("snapshot.json", &bytes).is_ok()
        {
            let _ = self.trusted.update_snapshot(&bytes, BEFORE_ALL_EXPIRY);
        }
    }

    async fn refresh_timestamp(&mut self, now: jiff::Timestamp) -> Result<(), ClientError> {
        let bytes = self.fetch_metadata("timestamp.json", self.limits.timestamp).await?;
        precheck::check("timestamp.json", &bytes)?;
        match self.trusted.update_timestamp(&bytes, now) {
            Ok(()) => self.storage.save("timestamp", &bytes)?,
            // Nothing new. The copy that is trusted stays, whatever else this one says.
            Err(Error::EqualVersion { .. }) => {}
            Err(error) => return Err(in_file("timestamp.json")(error)),
        }
        self.trusted.check_timestamp_expired(now).map_err(in_file("timestamp.json"))
    }

    async fn refresh_snapshot(&mut self, now: jiff::Timestamp) -> Result<(), ClientError> {
        let pin = self.trusted.timestamp().and_then(|timestamp| timestamp.snapshot_meta()).ok_or_else(|| {
            ClientError::Malformed { file: "timestamp.json".to_owned(), reason: "names no snapshot".to_owned() }
        })?;
        let (version, length) = (pin.version, pin.length.unwrap_or(u64::MAX));
        // Still good if only the timestamp's keys are new.
        self.learn_snapshot();
        if self.trusted.snapshot().is_none_or(|snapshot| snapshot.version != version) {
            let name = self.metadata_name(version, "snapshot");
            let bytes = self.fetch_metadata(&name, length.min(self.limits.snapshot)).await?;
            precheck::check(&name, &bytes)?;
            self.trusted.update_snapshot(&bytes, now).map_err(in_file(&name))?;
            self.storage.save("snapshot", &bytes)?;
        }
        self.trusted.check_snapshot_expired(now).map_err(in_file("snapshot.json"))?;
        // From here on the stored timestamp and the stored snapshot belong together.
        match self.storage.load("timestamp") {
            Some(bytes) => self.storage.save_floor(&bytes),
            None => Ok(()),
        }
    }

    async fn refresh_targets(&mut self, now: jiff::Timestamp) -> Result<(), ClientError> {
        if let Some(bytes) = self.storage.load("targets")
            && precheck::check("targets.json", &bytes).is_ok()
            && self.trusted.update_targets(&bytes, now).is_ok()
        {
            return Ok(());
        }
        let name = self.targets_name("targets")?;
        let bytes = self.fetch_metadata(&name, self.limits.targets).await?;
        precheck::check(&name, &bytes)?;
        self.trusted.update_targets(&bytes, now).map_err(in_file(&name))?;
        self.storage.save("targets", &bytes)
    }

    /// The name under which a targets role's current metadata is fetched.
    pub(super) fn targets_name(&self, role: &str) -> Result<String, ClientError> {
        let pin = self.trusted.snapshot().and_then(|snapshot| snapshot.meta.get(&format!("{role}.json")));
        let version = pin.map(|pin| pin.version).ok_or_else(|| ClientError::Malformed {
            file: "snapshot.json".to_owned(),
            reason: format!("names no {role}.json"),
        })?;
        Ok(self.metadata_name(version, &crate::tuf::path::percent_encode(role)))
    }

    fn metadata_name(&self, version: u64, encoded_role: &str) -> String {
        if self.trusted.root().consistent_snapshot {
            format!("{version}.{encoded_role}.json")
        } else {
            format!("{encoded_role}.json")
        }
    }
}
