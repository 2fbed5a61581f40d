//! A mutation fuzzer for everything that parses bytes from elsewhere, on stable Rust and without instrumentation.
//!
//! It starts from valid inputs and the files in `corpus/`, changes them, and keeps what led to an outcome that was not
//! seen before (each target answers with the kind of its error or success), so that later inputs build on it. A panic, or
//! a rule that a target checks itself, is a finding: the input is written down with the command that repeats it. What
//! must stay out: the product's own logic.

pub mod mutate;
pub mod targets;

use mutate::Random;
use staffel_core::ids::Digest;
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Inputs that are kept for one target beyond its seeds.
const KEPT: usize = 2_000;

/// Takes any bytes; answers with the kind of outcome, and with `Err` if a rule of its own is broken.
pub type Run = Box<dyn Fn(&[u8]) -> Result<String, String>>;

/// One entrance for bytes.
pub struct Target {
    pub name: &'static str,
    /// Valid inputs.
    pub seeds: Vec<Vec<u8>>,
    pub run: Run,
}

/// An input that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub target: &'static str,
    pub input: Vec<u8>,
    pub what: String,
}

impl Finding {
    /// Writes the input below `folder`; the file.
    pub fn save(&self, folder: &Path) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}-{}", self.target, Digest::of(&self.input).short()));
        std::fs::write(&path, &self.input)?;
        Ok(path)
    }
}

/// The fuzzing of one target; the same seed gives the same inputs.
pub struct Session {
    target: Target,
    random: Random,
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    outcomes: BTreeSet<String>,
    pub inputs: u64,
}

impl Session {
    /// `more`: inputs beside the target's own seeds.
    pub fn new(target: Target, more: Vec<Vec<u8>>, seed: u64) -> Self {
        let corpus: Vec<Vec<u8>> = target.seeds.iter().cloned().chain(more).collect();
        let words = mutate::words(&corpus);
        // Targets differ in their numbers, too.
        let random = Random::new(seed ^ mutate::number(target.name.as_bytes()));
        Session { target, random, corpus, words, outcomes: BTreeSet::new(), inputs: 0 }
    }

    pub fn name(&self) -> &'static str {
        self.target.name
    }

    /// Kinds of outcomes seen.
    pub fn outcomes(&self) -> usize {
        self.outcomes.len()
    }

    /// Runs every input of the corpus as it is.
    pub fn replay(&mut self) -> Vec<Finding> {
        self.corpus.clone().into_iter().filter_map(|input| self.try_one(input)).collect()
    }

    /// Makes one more input and runs it.
    pub fn step(&mut self) -> Option<Finding> {
        let at = self.random.below(self.corpus.len().max(1));
        let mut input = self.corpus.get(at).cloned().unwrap_or_default();
        mutate::mutate(&mut input, &self.corpus, &self.words, &mut self.random);
        self.try_one(input)
    }

    fn try_one(&mut self, input: Vec<u8>) -> Option<Finding> {
        self.inputs += 1;
        let result = run(&self.target, &input);
        match result {
            Ok(outcome) => {
                if self.outcomes.insert(outcome) && self.corpus.len() < self.target.seeds.len() + KEPT {
                    self.corpus.push(input);
                }
                None
            }
            Err(what) => Some(Finding { target: self.target.name, input, what }),
        }
    }
}

/// Runs one input; a panic is an error like others.
pub fn run(target: &Target, input: &[u8]) -> Result<String, String> {
    match catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("it panicked: {}", text.unwrap_or_default()))
        }
    }
}

/// The inputs that lie in `corpus/TARGET`, in order of their names.
pub fn corpus(folder: &Path, target: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(folder.join(target)) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    files.sort();
    files.iter().map(std::fs::read).collect()
}
