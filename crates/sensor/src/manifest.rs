//! Which pack runs, which one ran before, and which ones never run again. Pure: no files, no clock.

use serde::{Deserialize, Serialize};

/// A pack that was put aside, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// SHA-256 of its bytes in hexadecimal.
    pub digest: String,
    pub name: String,
    pub version: u64,
    pub why: String,
}

/// A pack that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// SHA-256 of its bytes in hexadecimal.
    pub digest: String,
    pub name: String,
    pub version: u64,
}

/// The memory of a sensor. Kept in one file that is replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// None: the built-in pack runs.
    pub active: Option<Taken>,
    /// Where a way back leads; None: to the built-in pack.
    pub previous: Option<Taken>,
    /// The newest last.
    #[serde(default)]
    pub quarantined: Vec<Quarantined>,
    /// What was offered last and not taken for a reason that may pass: this sensor lacks something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Quarantined>,
}

/// What has become of a pack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fate {
    #[error("{0}")]
    Refused(String),
    #[error("quarantined: {0}")]
    Quarantined(String),
    #[error("not looked at yet")]
    Unknown,
}

/// Most packs that are remembered as bad; their names stand in the log of the server, too.
const MOST_QUARANTINED: usize = 64;

impl Manifest {
    /// Why a pack with this digest must not run, if it is known as bad.
    pub fn refusal(&self, digest: &str) -> Option<&Quarantined> {
        self.quarantined.iter().find(|bad| bad.digest == digest)
    }

    /// That a pack with this digest runs, or what has become of it.
    pub fn fate(&self, digest: &str) -> Result<(), Fate> {
        if self.active.as_ref().is_some_and(|active| active.digest == digest) {
            return Ok(());
        }
        if let Some(bad) = self.refusal(digest) {
            return Err(Fate::Quarantined(bad.why.clone()));
        }
        let refused = self.refused.as_ref().filter(|refused| refused.digest == digest);
        Err(refused.map_or(Fate::Unknown, |refused| Fate::Refused(refused.why.clone())))
    }

    /// True if this is the pack that ran before the one that runs: taking it is the way back, and no older version sneaks in.
    pub fn leads_back(&self, digest: &str) -> bool {
        self.previous.as_ref().is_some_and(|previous| previous.digest == digest)
    }

    /// The version below which nothing of this name is taken: no pack is replaced by an older one of its own.
    pub fn running(&self, name: &str) -> Option<u64> {
        self.active.as_ref().filter(|active| active.name == name).map(|active| active.version)
    }

    /// A pack has passed all and runs.
    pub fn accept(&mut self, taken: Taken) {
        self.refused = None;
        if self.active.as_ref() != Some(&taken) {
            self.previous = self.active.replace(taken);
        }
    }

    /// A pack that was offered failed; what runs goes on running.
    pub fn reject(&mut self, taken: &Taken, why: &str) {
        self.quarantined.retain(|bad| bad.digest != taken.digest);
        let Taken { digest, name, version } = taken.clone();
        self.quarantined.push(Quarantined { digest, name, version, why: why.into() });
        let surplus = self.quarantined.len().saturating_sub(MOST_QUARANTINED);
        self.quarantined.drain(..surplus);
    }

    /// What runs failed: it is put aside, and the one before it is active. Without one, the built-in pack is.
    pub fn fall_back(&mut self, why: &str) {
        if let Some(active) = self.active.take() {
            self.reject(&active, why);
        }
        let quarantined = &self.quarantined;
        self.active =
            self.previous.take().filter(|previous| !quarantined.iter().any(|bad| bad.digest == previous.digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(version: u64) -> Taken {
        Taken { digest: format!("{version:064}"), name: "linux".into(), version }
    }

    #[test]
    fn the_way_back_leads_over_the_one_before_to_the_built_in_one() {
        let mut manifest = Manifest::default();
        manifest.accept(pack(1));
        manifest.accept(pack(2));
        manifest.accept(pack(2));
        assert_eq!((&manifest.active, &manifest.previous), (&Some(pack(2)), &Some(pack(1))));
        assert_eq!((manifest.running("linux"), manifest.running("other")), (Some(2), None));
        assert!(manifest.leads_back(&pack(1).digest) && !manifest.leads_back(&pack(2).digest));
        assert_eq!(manifest.fate(&pack(2).digest), Ok(()));
        assert_eq!(manifest.fate(&pack(3).digest), Err(Fate::Unknown));
        manifest.fall_back("it trapped");
        assert_eq!(manifest.fate(&pack(2).digest), Err(Fate::Quarantined("it trapped".into())));
        assert_eq!((&manifest.active, &manifest.previous), (&Some(pack(1)), &None));
        assert_eq!(manifest.refusal(&pack(2).digest).map(|bad| bad.why.as_str()), Some("it trapped"));
        manifest.fall_back("it trapped, too");
        assert_eq!(manifest.active, None, "the built-in pack runs");
        manifest.fall_back("nothing is left to put aside");
        assert_eq!((manifest.active, manifest.quarantined.len()), (None, 2));
    }

    #[test]
    fn what_was_put_aside_is_never_where_the_way_back_leads() {
        let mut manifest = Manifest::default();
        manifest.accept(pack(1));
        manifest.accept(pack(2));
        manifest.reject(&pack(1), "found out later");
        manifest.fall_back("trapped");
        assert_eq!(manifest.active, None);
    }

    #[test]
    fn the_list_of_bad_ones_has_an_end() {
        let mut manifest = Manifest::default();
        (0..100).for_each(|version| manifest.reject(&pack(version), "bad"));
        assert_eq!(manifest.quarantined.len(), MOST_QUARANTINED);
        assert!(manifest.refusal(&pack(99).digest).is_some());
    }
}
