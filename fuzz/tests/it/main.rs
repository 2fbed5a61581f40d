//! The fuzzer on every run of the tests: all of the corpus, a fixed number of inputs from a fixed seed, and the proof that
//! it would find something.

use staffel_fuzz::{Session, Target, corpus, targets};
use std::path::Path;

/// Inputs for one target: a few seconds in all, unoptimised. `./dev fuzz SECONDS` takes its time.
const INPUTS: usize = 1_500;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn nothing_from_elsewhere_breaks_a_parser() {
    for target in targets::all() {
        let name = target.name;
        // Files, signatures and sockets take their time.
        let inputs = if ["tuf", "guard-socket"].contains(&name) { INPUTS / 10 } else { INPUTS };
        let more = corpus(&folder(), name).expect("the corpus is readable");
        let mut session = Session::new(target, more, 20_240_719);
        let mut found = session.replay();
        found.extend((0..inputs).filter_map(|_| session.step()));
        assert!(found.is_empty(), "{found:#?}\nsave an input and run `cargo run -p staffel-fuzz -- --run {name} FILE`");
        eprintln!("SHOW fuzz {name}: {} inputs, {} kinds of outcome", session.inputs, session.outcomes());
        assert!(session.outcomes() > 5, "{name} says the same to everything: it is not reached");
    }
}

#[test]
fn every_valid_input_is_taken() {
    for target in targets::all() {
        for seed in &target.seeds {
            let outcome = staffel_fuzz::run(&target, seed);
            assert!(outcome.is_ok(), "{}: {outcome:?}", target.name);
        }
    }
    // The one that is all in order says nothing against itself, so "nobody signed it" is a rule that can break.
    let bundle = targets::all().into_iter().find(|target| target.name == "bundle").expect("it is there");
    assert_eq!(staffel_fuzz::run(&bundle, &bundle.seeds[0]), Ok(String::new()));
}

#[test]
fn every_folder_of_the_corpus_is_a_targets() {
    let names: Vec<&str> = targets::all().iter().map(|target| target.name).collect();
    for entry in std::fs::read_dir(folder()).expect("a corpus").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(names.contains(&name.as_str()), "{name} is no target: {names:?}");
    }
}

/// A parser with two faults: one is a panic behind a length, one a rule behind two steps.
fn faulty() -> Target {
    let run = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let Some(rest) = text.strip_prefix("length ") else { return Ok("no length".into()) };
        let Ok(length) = rest.split(' ').next().unwrap_or_default().parse::<usize>() else {
            return Ok("no number".into());
        };
        if length > 1 << 40 {
            return Err("it would take all memory".into());
        }
        if length.min(64) > rest.len() {
            // A panic that prints nothing.
            std::panic::resume_unwind(Box::new("beyond the end"));
        }
        Ok(format!("{}", rest.len()))
    };
    Target { name: "faulty", seeds: vec![b"length 3 abc".to_vec()], run: Box::new(run) }
}

#[test]
fn planted_faults_are_found_and_the_same_seed_finds_the_same() {
    let find = |seed| {
        let mut session = Session::new(faulty(), Vec::new(), seed);
        (0..3_000).filter_map(|_| session.step()).collect::<Vec<_>>()
    };
    let found = find(7);
    assert!(found.iter().any(|finding| finding.what.contains("panicked")), "{} findings", found.len());
    assert!(found.iter().any(|finding| finding.what.contains("all memory")), "{} findings", found.len());
    assert_eq!(found, find(7));
    let folder = tempfile::tempdir().expect("a folder");
    let path = found[0].save(folder.path()).expect("written");
    assert_eq!(std::fs::read(path).expect("it is there"), found[0].input);
}
