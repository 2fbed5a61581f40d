//! Everything of the guard that survives `kill -9`: the state, the memory of statements, what belongs to a trial.
//!
//! All of it is one record, so that one atomic write moves it all. A second, quieter record (`known-good`) holds what
//! was true when nothing was on trial; it is what a machine wakes up with if both copies of the first are lost. What
//! must stay out: acting on it.

use crate::{
    codec::{Outlives, RecordError, Records},
    engine::os::Armed,
};
use serde::{Deserialize, Serialize};
use staffel_core::{
    boot::{Mode, State},
    conditions::Memory,
    ids::Digest,
};
use staffel_statement::guard::RemedyOutcome;
use std::collections::BTreeMap;

const RECORD: &str = "record";
const KNOWN_GOOD: &str = "known-good";

/// A copy of a release's `{state}` folder, made before a release that older ones can't follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Name of its folder below `snapshots/`.
    pub folder: String,
    /// The release's name.
    pub name: String,
    /// What ran before and can read the copy; none if nothing of that name did.
    pub before: Option<Digest>,
    /// What was armed.
    pub after: Digest,
}

/// The guard's record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub boot: State,
    pub memory: Memory,
    /// The nonce of the running trial: the server's receipt must answer it, also after a reboot on trial.
    #[serde(default)]
    pub trial_nonce: Option<String>,
    /// Oldest first.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// Counts snapshots, so that no two have one folder.
    #[serde(default)]
    pub snapshot_count: u64,
    /// Services of ours that a remedy keeps from running, with the reason.
    #[serde(default)]
    pub disabled: BTreeMap<String, String>,
    /// How the latest remedies went, oldest first.
    #[serde(default)]
    pub remedies: Vec<RemedyOutcome>,
    /// The operating system that was armed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Armed>,
    /// Traces of earlier starts that were found and that the server has heard of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Digest>,
    /// What a later version wrote and this one does not know.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

impl Record {
    /// The record as it counts when nothing is on trial.
    fn quiet(&self) -> Record {
        let mut quiet = self.clone();
        quiet.boot.trial = None;
        quiet.trial_nonce = None;
        quiet
    }

    /// True if the quiet record would lose something if it stayed as it is. Ages grow all the time and do not count.
    fn differs_from(&self, quiet: &Record) -> bool {
        let (a, b) = (&self.boot, &quiet.boot);
        (&a.last_known_good, &a.earlier, &a.mode, &a.denied) != (&b.last_known_good, &b.earlier, &b.mode, &b.denied)
            || (&a.left, &a.floors, &self.disabled) != (&b.left, &b.floors, &quiet.disabled)
            || Memory { ages: BTreeMap::new(), ..self.memory.clone() }
                != Memory { ages: BTreeMap::new(), ..quiet.memory.clone() }
    }
}

/// The record and where it is kept.
pub struct Keeper {
    records: Records,
    known_good: Option<Record>,
}

/// How the record was found.
pub struct Found {
    pub record: Record,
    /// What was wrong, for people; empty if all copies held.
    pub damage: Vec<String>,
}

impl Keeper {
    /// Loads the record. It never fails: what is lost is replaced by last-known-good without a trial, and if that is
    /// lost too by safe mode.
    pub fn open(mut records: Records) -> (Self, Found) {
        let known_good = records.load::<Record>(KNOWN_GOOD);
        let found = match records.load::<Record>(RECORD) {
            Ok(loaded) => Found { record: loaded.value, damage: loaded.damaged },
            Err(lost) => recover(&lost, known_good.as_ref().ok().map(|k| &k.value)),
        };
        let known_good = known_good.ok().map(|loaded| loaded.value);
        (Keeper { records, known_good }, found)
    }

    /// Writes the record; on return it survives a power cut.
    pub fn save(&mut self, record: &Record) -> Result<(), RecordError> {
        self.records.save(RECORD, record, Outlives::PowerCut)?;
        if self.known_good.as_ref().is_none_or(|known| record.differs_from(known)) {
            let quiet = record.quiet();
            // The record itself is written, so the step counts; this copy is tried again with the next one.
            self.known_good = match self.records.save(KNOWN_GOOD, &quiet, Outlives::PowerCut) {
                Ok(()) => Some(quiet),
                Err(error) => {
                    eprintln!("guard-ctl: {error}");
                    None
                }
            };
        }
        Ok(())
    }
}

fn recover(lost: &RecordError, known_good: Option<&Record>) -> Found {
    let mut damage = vec![lost.to_string()];
    let record = match known_good {
        Some(known) => {
            damage.push("going on with last-known-good, without a trial".into());
            known.quiet()
        }
        None => {
            let why = "the guard's record is lost; which generation was good is not known".to_string();
            damage.push(format!("safe mode: {why}"));
            Record { boot: State { mode: Mode::Safe { why }, ..State::new() }, ..Record::default() }
        }
    };
    Found { record, damage }
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_core::boot::{Event, Generation, Terms, step};

    fn on_trial() -> Record {
        let generation = |n: u8| Generation::of([("till".to_string(), Digest([n; 32]))].into());
        let arm =
            |n| Event::Arm { generation: generation(n), rollout: 1, release: Digest([n; 32]), terms: Terms::default() };
        let events = [arm(1), Event::Confirm { release: Digest([1; 32]) }, arm(2)];
        let boot = events.into_iter().fold(State::new(), |state, event| step(&state, event).state);
        Record { boot, trial_nonce: Some("ab".into()), ..Record::default() }
    }

    fn damage(folder: &std::path::Path, names: &[&str]) {
        for name in names {
            std::fs::write(folder.join(name), "x").unwrap();
        }
    }

    #[test]
    fn one_damaged_copy_changes_nothing_and_two_end_the_trial() {
        let folder = tempfile::tempdir().unwrap();
        let record = on_trial();
        let (mut keeper, found) = Keeper::open(Records::new(folder.path()));
        assert!(matches!(found.record.boot.mode, Mode::Safe { .. }), "nothing was ever written");
        keeper.save(&record).unwrap();
        damage(folder.path(), &["record"]);
        let (_, found) = Keeper::open(Records::new(folder.path()));
        assert_eq!((&found.record, found.damage.len()), (&record, 1));
        damage(folder.path(), &["record.copy"]);
        let (_, found) = Keeper::open(Records::new(folder.path()));
        assert_eq!(found.record, record.quiet());
        assert_eq!(found.record.boot.selected(), Some(&record.boot.last_known_good));
        assert_eq!(found.damage.len(), 2);
        damage(folder.path(), &["known-good", "known-good.copy"]);
        let (_, found) = Keeper::open(Records::new(folder.path()));
        assert_eq!(found.record.boot.selected(), None);
    }

    #[test]
    fn the_quiet_record_follows_denials() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = on_trial();
        let (mut keeper, _) = Keeper::open(Records::new(folder.path()));
        keeper.save(&record).unwrap();
        record.memory.denied.insert(Digest([2; 32]), "bad".into());
        keeper.save(&record).unwrap();
        damage(folder.path(), &["record", "record.copy"]);
        let (_, found) = Keeper::open(Records::new(folder.path()));
        assert_eq!(found.record.memory.denied, record.memory.denied);
    }

    #[test]
    fn fields_of_a_later_version_survive() {
        let mut value = serde_json::to_value(on_trial()).unwrap();
        value["later"] = serde_json::json!({"deep": [1, 2]});
        let record: Record = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), value);
    }
}
