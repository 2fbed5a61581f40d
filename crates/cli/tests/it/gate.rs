//! The gate's verdict on seeded packs: each bad one is refused by the check that it was made for and for its own reason, each
//! good one passes all checks.

mod bad;
mod components;
mod good;
mod make;

use crate::fleet::{sensor, show, skip};
use staffel_cli::{
    gate::{
        check::Checks,
        content::{Candidate, Content},
        settings::{Named, Settings},
    },
    lab::put_program,
};
use staffel_pack::Pack;
use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

/// A pack, and what the gate has to say to it.
struct Seed {
    name: &'static str,
    bytes: Vec<u8>,
    before: Option<Vec<u8>>,
    /// An earlier consumer that does what the pack is called.
    vulnerable: bool,
    /// The check that refuses it, and words of the reason; none: it passes.
    refused: Option<(Named, &'static str)>,
}

impl Seed {
    fn bad(name: &'static str, check: Named, words: &'static str, pack: &Pack) -> Self {
        Seed { name, bytes: pack.write(), before: None, vulnerable: false, refused: Some((check, words)) }
    }

    fn good(name: &'static str, pack: &Pack) -> Self {
        Seed { name, bytes: pack.write(), before: None, vulnerable: false, refused: None }
    }

    fn after(self, before: &Pack) -> Self {
        Seed { before: Some(before.write()), ..self }
    }
}

/// The programs under test: the sensor, and one whose evaluator does harm on purpose.
struct Sensors {
    shipped: PathBuf,
    vulnerable: PathBuf,
}

impl Sensors {
    fn new(shipped: PathBuf, folder: &Path) -> Option<Self> {
        let hostile = shipped.with_file_name("hostile.cwasm");
        if !hostile.is_file() {
            return None;
        }
        let vulnerable = put_program(&shipped, folder).expect("it is put there");
        std::fs::copy(hostile, folder.join("evaluator.cwasm")).expect("a copy");
        Some(Sensors { shipped, vulnerable })
    }
}

/// Runs all checks; the check that refused it with its reason.
fn judge(seed: &Seed, sensors: &Sensors, folder: &Path) -> Option<(Named, String)> {
    let file = folder.join(format!("{}.pack.json", seed.name.replace(' ', "-")));
    std::fs::write(&file, &seed.bytes).expect("it is written");
    let before = seed.before.as_ref().map(|bytes| {
        let before = file.with_extension("before");
        std::fs::write(&before, bytes).expect("it is written");
        before
    });
    let mut settings = Settings::default();
    settings.hostile.seconds = 0.1;
    settings.budget.cpu_floor_us = 25.0;
    settings.budget.load_floor_ms = 40.0;
    settings.budget.memory_floor_mib = 1.0;
    if seed.vulnerable {
        settings.consumers.sensors.push(sensors.vulnerable.clone());
    }
    let content = Content::new(&settings, &sensors.shipped, vec![Candidate { file, before }]).expect("it is set up");
    let mut checks = Checks::new(true);
    content.run(&mut checks);
    if checks.first_failure().is_none() {
        let all = Named::ALL.map(|check| check.name().to_string());
        assert_eq!(checks.passed(), all, "{}", seed.name);
    }
    checks.first_failure().map(|failed| (failed.check, failed.failure.clone().unwrap_or_default()))
}

/// What went otherwise, a line each.
fn wrong(seed: &Seed, verdict: Option<(Named, String)>) -> Option<String> {
    let name = seed.name;
    match (seed.refused, verdict) {
        (None, None) => None,
        (None, Some((check, why))) => Some(format!("{name} is good, and {check:?} refuses it: {why}")),
        (Some((check, _)), None) => Some(format!("{name} passes instead of being refused by {check:?}")),
        (Some((check, words)), Some((by, why))) => {
            let right = check == by && why.contains(words);
            (!right).then(|| format!("{name}: {by:?} refuses it instead of {check:?} ({words}): {why}"))
        }
    }
}

fn all_right(test: &str, seeds: Vec<Seed>) -> Option<usize> {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(sensors) = sensor().and_then(|shipped| Sensors::new(shipped, folder.path())) else {
        skip(test, "the sensor's evaluators are missing (`./dev evaluator` makes them)");
        return None;
    };
    let (count, names): (usize, std::collections::BTreeSet<_>) = (seeds.len(), seeds.iter().map(|s| s.name).collect());
    assert_eq!(names.len(), count, "each has a name of its own");
    let (seeds, found) = (Mutex::new(seeds), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = seeds.lock().expect("nobody panics here").pop();
                    let Some(seed) = next else { return };
                    let line = wrong(&seed, judge(&seed, &sensors, folder.path()));
                    found.lock().expect("nobody panics here").extend(line);
                }
            });
        }
    });
    let found = found.into_inner().expect("nobody panics here");
    assert!(found.is_empty(), "{} of {count}:\n{}", found.len(), found.join("\n"));
    Some(count)
}

#[test]
fn seeded_bad_packs_are_refused_each_for_its_own_reason() {
    let seeds = bad::all();
    let kinds: std::collections::BTreeSet<Named> = seeds.iter().filter_map(|s| Some(s.refused?.0)).collect();
    assert_eq!(kinds.len(), Named::ALL.len(), "every check has some");
    assert!(seeds.len() >= 30);
    if let Some(count) = all_right("seeded_bad_packs", seeds) {
        show("bad packs refused, each for its own reason", format!("{count} of {count}"));
    }
}

#[test]
fn seeded_good_packs_pass_all_checks() {
    let seeds = good::all();
    assert!(seeds.len() >= 30);
    if let Some(count) = all_right("seeded_good_packs", seeds) {
        show("good packs that pass all checks", format!("{count} of {count}"));
    }
}
