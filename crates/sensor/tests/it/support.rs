//! Packs made by hand, and evaluators to start them in.

use staffel_pack::{
    Catalogue, Pack, Value,
    format::{Ask, FORMAT, Glob, Level, Piece, Rule, Scalar, Step, Test, Vector, Wild},
    record::encode,
};
use staffel_sensor::{protection::Protection, store::Folder, worker::Start};
use std::{path::Path, time::Duration};

/// What a hostile guest takes for "now do it": examples count from 0.
pub const REAL: u64 = 1 << 56;

/// Evaluators with the shipped guest.
pub fn shipped(test: &str) -> Option<Start> {
    start(test, "evaluator.cwasm")
}

/// Evaluators with the guest that does what its pack is called.
pub fn hostile(test: &str) -> Option<Start> {
    start(test, "hostile.cwasm")
}

fn start(test: &str, code: &str) -> Option<Start> {
    let program = Path::new(env!("CARGO_BIN_EXE_staffel-sensor"));
    let code = program.with_file_name(code);
    if !code.is_file() {
        assert!(std::env::var_os("CI").is_none(), "{test}: {} is missing", code.display());
        eprintln!("SKIP {test}: {} is missing (`./dev evaluator` makes it)", code.display());
        return None;
    }
    let mut start = Start::with(program, &code).expect("the code is readable");
    // Far beyond what any of these takes on a busy machine.
    start.patience = Duration::from_secs(120);
    Some(start)
}

/// What a sensor knows in a folder of its own.
pub fn protection(start: Start, folder: &Path) -> Protection {
    let folder = Folder::open(folder).expect("a folder");
    Protection::start(start, Catalogue::linux(), folder).expect("it starts")
}

fn like(field: &str, pieces: Vec<Piece>) -> Test {
    Test { field: Some(field.into()), every: false, ask: Ask::Like(vec![Glob(pieces)]) }
}

/// "The field is exactly this."
pub fn is(field: &str, text: &str) -> Test {
    like(field, vec![Piece::Text(text.into())])
}

/// "The field is anything": a wild card.
pub fn anything(field: &str) -> Test {
    like(field, vec![Piece::Wild(Wild::Many(()))])
}

/// A pack of one rule over process starts, all of its tests, with examples of what `Image` it matches.
pub fn pack(name: &str, version: u64, tests: Vec<Test>, matches: &str, catalogue: &Catalogue) -> Pack {
    let (_, class) = catalogue.class("process_creation").expect("it is there");
    let fields = tests.iter().filter_map(|test| test.field.clone()).collect();
    let mut condition = Vec::new();
    let end = (2 * tests.len() - 1) as u16;
    for at in 0..tests.len() {
        condition.push(Step::Test(at as u16));
        if at + 1 < tests.len() {
            condition.push(Step::IfNo(end));
        }
    }
    let vector = |matches, image: &str| Vector {
        rule: "rule".into(),
        matches,
        fields: [("Image".to_string(), Scalar::Text(image.into()))].into(),
    };
    Pack {
        format: FORMAT,
        name: name.into(),
        version,
        needs: vec![Pack::need_of(class, &fields)],
        rules: vec![Rule {
            id: "rule".into(),
            title: format!("{name} {version}"),
            level: Level::Low,
            tags: Vec::new(),
            class: "process_creation".into(),
            tests,
            condition,
        }],
        vectors: vec![vector(true, matches), vector(false, "/bin/other")],
    }
}

/// A pack whose rule matches this program.
pub fn finds(version: u64, image: &str) -> Pack {
    pack("linux", version, vec![is("Image", image)], image, &Catalogue::linux())
}

/// A pack that makes the hostile guest do `act`: it passes its examples, because none is asked to match.
pub fn makes(act: &str, version: u64) -> Pack {
    let mut pack = pack(act, version, vec![is("Image", "/bin/x")], "/bin/x", &Catalogue::linux());
    pack.vectors.remove(0);
    pack
}

/// Starts of this program, from this number on.
pub fn batch(from: u64, count: u64, image: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sequence in from..from + count {
        encode(&mut bytes, &Catalogue::linux(), sequence, 0, [("Image", Value::Text(image))]);
    }
    bytes
}

pub fn show(name: &str, value: impl std::fmt::Display) {
    eprintln!("SHOW {name}: {value}");
}
