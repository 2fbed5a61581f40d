//! Bad packs, of every check's kind, each with one thing wrong.

use super::{
    Seed,
    make::{PROCESS, ask, glob, like, number, one, pack, pack_for, plain, rule, text, vector, version},
};
use staffel_cli::gate::settings::Named::{Budget, Consumers, Contract, Hostile, Lifecycle, Undo};
use staffel_pack::{
    Catalogue, Field, Kind, Pack,
    format::{Ask, Step, Test},
};

pub fn all() -> Vec<Seed> {
    let mut seeds = contract();
    seeds.extend(consumers());
    seeds.extend(hostile());
    seeds.extend(budget());
    seeds.extend(undo());
    seeds.extend(lifecycle());
    seeds
}

/// The plain pack with one thing changed.
fn changed(change: impl FnOnce(&mut Pack)) -> Pack {
    let mut pack = plain();
    change(&mut pack);
    pack
}

/// 19 July 2024: the author's events have a field more, and a wild card hides it from every example.
fn july() -> Pack {
    let mut authors = Catalogue::linux();
    authors.classes[0].fields.push(Field { name: "PipeName".into(), kind: Kind::Text });
    let mut rule = rule("r", PROCESS, vec![like("Image", "/opt/seed"), like("PipeName", "*")]);
    rule.condition[1] = Step::IfYes(3);
    let examples =
        vec![vector("r", true, [text("Image", "/opt/seed")]), vector("r", false, [text("Image", "/bin/other")])];
    pack_for(&authors, 7, vec![rule], examples)
}

fn contract() -> Vec<Seed> {
    let bad = |name, words, pack: Pack| Seed::bad(name, Contract, words, &pack);
    let raw = |name, words, bytes: &[u8]| Seed { bytes: bytes.into(), ..bad(name, words, plain()) };
    let is_like = |pack: &mut Pack, pattern: &str| pack.rules[0].tests[0].ask = Ask::Regex(vec![pattern.into()]);
    vec![
        bad("the 21st field of 20", "the field PipeName of process_creation", july()),
        bad(
            "a number taken for a text",
            "is a Number here",
            changed(|pack| {
                pack.needs[0].fields.push(Field { name: "UserId".into(), kind: Kind::Text });
                pack.needs[0].schema.clear();
            }),
        ),
        bad(
            "a class that nobody supplies",
            "records of class registry",
            changed(|pack| {
                pack.needs[0].class = "registry".into();
                pack.rules[0].class = "registry".into();
            }),
        ),
        bad(
            "a hash that is not its own",
            "made for this very class",
            changed(|pack| pack.needs[0].fields.push(Field { name: "Pipe".into(), kind: Kind::Text })),
        ),
        bad("a version that runs already", "version 7 is not above 7", plain()).after(&plain()),
        bad("an older version", "version 7 is not above 9", plain()).after(&version(&plain(), 9)),
        bad("another name", "no version can follow", plain()).after(&changed(|pack| pack.name = "other".into())),
        raw("no pack at all", "is no pack", b"{\"format\": 1, \"name\": "),
        raw("an empty file", "is no pack", b""),
        bad("a format of the future", "format 2", changed(|pack| pack.format = 2)),
        bad("two rules of one name", "the same id", changed(|pack| pack.rules.push(pack.rules[0].clone()))),
        bad("a step that goes back", "not ahead", changed(|pack| pack.rules[0].condition.push(Step::IfYes(0)))),
        bad("a test that is not there", "runs test 9", changed(|pack| pack.rules[0].condition.push(Step::Test(9)))),
        bad(
            "a text asked how large it is",
            "asks the Text field",
            changed(|pack| pack.rules[0].tests[0].ask = Ask::Below(3)),
        ),
        bad("an expression that is none", "can't be used", changed(|pack| is_like(pack, "((("))),
        bad("an expression that takes all memory", "can't be used", changed(|pack| is_like(pack, "a{1000}{1000}"))),
        bad(
            "more values than allowed",
            "values; 1 to",
            changed(|pack| pack.rules[0].tests[0].ask = Ask::Like(vec![glob("x"); 4_097])),
        ),
        bad("no example that matches", "no example that it must match", changed(|pack| drop(pack.vectors.remove(0)))),
        bad(
            "no example that does not",
            "no example that it must not match",
            changed(|pack| drop(pack.vectors.remove(1))),
        ),
    ]
}

/// What a vulnerable evaluator does when its first real record comes; its examples pass.
fn acts(name: &'static str, act: &str, words: &'static str) -> Seed {
    let pack = changed(|pack| pack.name = act.into());
    Seed { vulnerable: true, ..Seed::bad(name, Consumers, words, &pack) }
}

fn consumers() -> Vec<Seed> {
    let bad = |name, words, pack: Pack| Seed::bad(name, Consumers, words, &pack);
    vec![
        bad("an example missed", "should match example 0", changed(|pack| pack.rules[0].condition.push(Step::Not))),
        bad(
            "a false alarm",
            "should not match example 1",
            changed(|pack| pack.vectors[1] = vector("r", false, [text("Image", "/OPT/seed")])),
        ),
        bad(
            "an example with a field of its own",
            "does not supply",
            changed(|pack| pack.vectors[0].fields.extend([text("PipeName", "x")])),
        ),
        acts("an evaluator that indexes by position", "by-position", "recorded events of ordinary.jsonl: it trapped"),
        acts("an evaluator that recurses", "recursion", "it used up its stack"),
        acts("an evaluator that hoards", "memory", "MiB of memory"),
        acts("an evaluator that talks nonsense", "nonsense", "is no answer"),
    ]
}

fn hostile() -> Vec<Seed> {
    let bad = |name, tests| {
        let pack = one(tests, [text("CommandLine", "seed")], [text("CommandLine", "other")]);
        Seed::bad(name, Hostile, "it used up its fuel", &pack)
    };
    // Fast on what is short, and never done with sixteen kibibytes of almost the right thing.
    let slow =
        |salt: char| -> Vec<String> { (0..60).map(|n| format!("*{}{salt}{n}*z*", "a".repeat(1_500 + n))).collect() };
    let globs = |salt| slow(salt).iter().map(|text| glob(text)).chain([glob("seed")]).collect::<Vec<_>>();
    let regexes = |range: &str, count: usize| {
        (0..count).map(|n| format!("{range}{{{}}}x", 180 + n)).chain(["^seed$".to_string()]).collect::<Vec<_>>()
    };
    let any = |ask| Test { field: None, every: false, ask };
    vec![
        bad("wild cards that go back", vec![ask("CommandLine", Ask::Like(globs('b')))]),
        bad("wild cards that go back in their case", vec![ask("CommandLine", Ask::LikeCased(globs('c')))]),
        bad("wild cards that go back in any field", vec![any(Ask::Like(globs('d')))]),
        bad("expressions with many ways", vec![ask("CommandLine", Ask::Regex(regexes("[a-z]", 25)))]),
        bad("expressions with many ways in any field", vec![any(Ask::Regex(regexes("[a-y]", 5)))]),
    ]
}

/// So many values that no example has, and one that it has.
fn many(count: usize, make: &dyn Fn(usize) -> String) -> Vec<String> {
    (0..count).map(make).chain(["seed".to_string()]).collect()
}

fn budget() -> Vec<Seed> {
    let before = version(&plain(), 6);
    let bad = |name, words, pack: Pack| Seed::bad(name, Budget, words, &pack).after(&before);
    let with = |extra: Test, class: &str| {
        let mut pack = plain();
        let mut costly = rule("costly", class, vec![extra]);
        costly.title = "costs".into();
        let examples = match class {
            PROCESS => [text("CommandLine", "seed"), text("CommandLine", "other")],
            _ => [text("Message", "seed"), text("Message", "other")],
        };
        let [matching, other] = examples;
        pack.vectors.extend([vector("costly", true, [matching]), vector("costly", false, [other])]);
        pack.rules.push(costly);
        super::make::pack(pack.rules, pack.vectors)
    };
    let globs =
        |count, make: &dyn Fn(usize) -> String| Ask::Like(many(count, make).iter().map(|text| glob(text)).collect());
    vec![
        bad(
            "ten times the time",
            "CPU microseconds an event",
            with(ask("CommandLine", globs(600, &|n| format!("*/seed/{n}/*"))), PROCESS),
        ),
        bad(
            "much more memory",
            "KiB of memory",
            with(ask("Message", globs(4_000, &|n| format!("{n}{}", "m".repeat(2_000)))), "authentication"),
        ),
        bad(
            "long to load",
            "milliseconds to load",
            with(ask("Message", Ask::Regex(many(3_000, &|n| format!("^{n}[a-z]{{20}}$")))), "authentication"),
        ),
        bad(
            "an alert for everything",
            "alerts a thousand ordinary events",
            changed(|pack| {
                pack.rules[0].tests[0].ask = Ask::Like(vec![glob("/usr/*"), glob("/opt/seed"), glob("/home/*")]);
            }),
        ),
    ]
}

fn undo() -> Vec<Seed> {
    let lost = changed(|pack| {
        pack.version = 6;
        pack.needs[0].fields.push(Field { name: "Pipe".into(), kind: Kind::Text });
        pack.needs[0].schema.clear();
    });
    let mut failing = version(&plain(), 6);
    failing.rules[0].condition.push(Step::Not);
    vec![
        Seed::bad("the last version there can be", Undo, "nothing newer can come", &version(&plain(), u64::MAX)),
        Seed::bad("one before that no device can run", Undo, "there is no way back", &plain()).after(&lost),
        Seed::bad("one before that fails its examples", Undo, "there is no way back", &plain()).after(&failing),
    ]
}

fn lifecycle() -> Vec<Seed> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let now_ms = now.as_millis() as i64;
    let hours = |hours: i64| now_ms + hours * 3_600_000;
    let bad = |name, words, asked: Ask, at: Option<i64>| {
        let tests = vec![like("Image", "/opt/seed"), ask("UtcTime", asked)];
        let mut pack = one(tests, [text("Image", "/opt/seed")], [text("Image", "/bin/other")]);
        pack.vectors[0].fields.extend(at.map(|at| number("UtcTime", at)));
        Seed::bad(name, Lifecycle, words, &pack)
    };
    vec![
        bad("silent from tomorrow on", "clock at +1 days", Ask::Below(hours(12)), Some(now_ms)),
        bad("silent from next week on", "clock at +7 days", Ask::AtMost(hours(72)), Some(now_ms)),
        bad("silent from next month on", "clock at +30 days", Ask::Below(hours(400)), Some(now_ms)),
        bad("for this very moment", "clock at +1 days", Ask::Is(vec![now_ms]), Some(now_ms)),
        bad("where nobody knows the time", "clock at +0 days", Ask::Present(false), None),
    ]
}

/// So that no check depends on what another pack left behind.
#[test]
fn the_plain_pack_is_what_the_others_differ_from() {
    assert!(Pack::read(&plain().write()).is_ok());
    assert!(Pack::read(&pack(plain().rules, plain().vectors).write()).is_ok());
}
