//! `./dev fuzz SECONDS`, and the commands that repeat a finding.

use staffel_fuzz::{Finding, Session, corpus, run, targets};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const HELP: &str = "\
staffel-fuzz SECONDS [--seed N] [TARGET...]     fuzz all targets, or these, for so long in all
staffel-fuzz --run TARGET FILE...               run inputs once and say what came of them
staffel-fuzz --list                             the targets
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &words[..] {
        ["--list"] => {
            targets::all().iter().for_each(|target| println!("{}", target.name));
            Ok(true)
        }
        ["--run", target, files @ ..] if !files.is_empty() => repeat(target, files),
        [seconds, rest @ ..] => match seconds.parse() {
            Ok(seconds) => fuzz(Duration::from_secs(seconds), rest),
            Err(_) => Err(HELP.to_string()),
        },
        [] => Err(HELP.to_string()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprint!("{why}");
            ExitCode::from(2)
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn repeat(name: &str, files: &[&str]) -> Result<bool, String> {
    let target = targets::all().into_iter().find(|target| target.name == name);
    let target = target.ok_or_else(|| format!("there is no target {name:?}\n{HELP}"))?;
    let mut good = true;
    for file in files {
        let input = std::fs::read(file).map_err(|error| format!("can't read {file}: {error}\n"))?;
        match run(&target, &input) {
            Ok(outcome) => println!("{file}: {outcome}"),
            Err(what) => {
                println!("{file}: FOUND: {what}");
                good = false;
            }
        }
    }
    Ok(good)
}

fn fuzz(time: Duration, rest: &[&str]) -> Result<bool, String> {
    let (mut seed, mut only) = (None, Vec::new());
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match *word {
            "--seed" => seed = words.next().and_then(|text| text.parse::<u64>().ok()),
            name => only.push(name),
        }
    }
    // Another seed each time, printed first, so that every run can be had again.
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64);
    let seed = seed.unwrap_or_else(now);
    println!("seed {seed}: again with  ./dev fuzz {} --seed {seed} {}", time.as_secs(), only.join(" "));
    // A panic is caught and counted; its text would drown everything else.
    std::panic::set_hook(Box::new(|_| {}));
    let targets: Vec<_> =
        targets::all().into_iter().filter(|target| only.is_empty() || only.contains(&target.name)).collect();
    if targets.is_empty() {
        return Err(format!("there is no such target\n{HELP}"));
    }
    let share = time / targets.len() as u32;
    let mut all: Vec<Finding> = Vec::new();
    for target in targets {
        let name = target.name;
        let more =
            corpus(&folder().join("corpus"), name).map_err(|error| format!("can't read the corpus: {error}\n"))?;
        let mut session = Session::new(target, more, seed);
        let begin = Instant::now();
        let mut found = session.replay();
        while begin.elapsed() < share && found.len() < 10 {
            found.extend((0..100).filter_map(|_| session.step()));
        }
        println!(
            "{name:<15} {:>9} inputs, {:>4} kinds of outcome, {} findings",
            session.inputs,
            session.outcomes(),
            found.len()
        );
        all.extend(found);
    }
    for finding in &all {
        let path = finding.save(&folder().join("found")).map_err(|error| format!("can't write it down: {error}\n"))?;
        println!("FOUND {}: {}", finding.target, finding.what);
        println!("  again with  cargo run -p staffel-fuzz -- --run {} {}", finding.target, path.display());
    }
    Ok(all.is_empty())
}
