//! Six deliberate mistakes in `core`: the random scenarios must find each of them, or they prove nothing. The mistakes are
//! patched into a copy of `core` below the folder for temporary files, all into one, behind a number that the copy's program
//! takes: production code has no such switch, and there is one copy to build. Must stay out: what the scenarios check.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Each must be found within this time.
const WITHIN: Duration = Duration::from_secs(60);

/// What is said in the copy about the number of the mistake at work, 0 for none.
const SELECTOR: &str = "
static MISTAKE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
pub fn make(mistake: u8) { MISTAKE.store(mistake, std::sync::atomic::Ordering::Relaxed) }
pub(crate) fn mistake(number: u8) -> bool { MISTAKE.load(std::sync::atomic::Ordering::Relaxed) == number }
";

/// The program of the copy: seeds from 0 on, until one fails or the time is over.
const PROGRAM: &str = r#"
fn main() {
    let number = |at| std::env::args().nth(at).and_then(|text| text.parse::<u64>().ok()).expect("a number");
    staffel_core::make(number(1) as u8);
    std::panic::set_hook(Box::new(|_| {}));
    let (end, most) = (std::time::Instant::now() + std::time::Duration::from_secs(number(2)), number(3));
    let mut seed = 0;
    while seed < most && std::time::Instant::now() < end {
        match std::panic::catch_unwind(|| staffel_sim::check_seed(seed).map(|_| ())) {
            Ok(Ok(())) => seed += 1,
            Ok(Err(error)) => return println!("found by seed {seed}: {error}"),
            Err(_) => return println!("found by seed {seed}: a panic"),
        }
    }
    println!("not found in {seed} seeds");
}
"#;

struct Mistake {
    name: &'static str,
    /// File below `crates/core/src`, the text that must be there once, and what stands there instead; `NUMBER` is its own.
    patches: &'static [(&'static str, &'static str, &'static str)],
}

const MISTAKES: [Mistake; 6] = [
    Mistake {
        name: "silence is not counted",
        patches: &[(
            "rollout/silence.rs",
            "        if treated && !spoke {
            return Some(Metric::FirstCheckInMissed);
        }",
            "        if treated && !spoke {
            if crate::mistake(NUMBER) {
                self.set_deadline(unit, Some(now_ms.saturating_add(self.profile.deadline_ms)));
                return None;
            }
            return Some(Metric::FirstCheckInMissed);
        }",
        )],
    },
    Mistake {
        name: "the ceiling is ignored",
        patches: &[(
            "rollout/device.rs",
            "if ceiling != Position::END && position >= ceiling {",
            "if !crate::mistake(NUMBER) && ceiling != Position::END && position >= ceiling {",
        )],
    },
    Mistake {
        name: "treated devices come first",
        patches: &[(
            "rollout/apply.rs",
            "let hash = self.units[unit as usize].position.0;",
            "let first = crate::mistake(NUMBER) && self.units[unit as usize].label == Label::Treated;
        let hash = if first { 0 } else { self.units[unit as usize].position.0 };",
        )],
    },
    Mistake {
        name: "the budget is off by one",
        patches: &[(
            "rollout/mod.rs",
            "min().map_or(u64::MAX, u64::from)",
            "min().map_or(u64::MAX, |budget| u64::from(budget) + u64::from(crate::mistake(NUMBER)))",
        )],
    },
    Mistake {
        name: "a halt is not latched",
        patches: &[
            (
                "rollout/plan.rs",
                "        if matches!(self.status, Status::Halted { .. }) {
            return Vec::new();
        }
        match word {",
                "        if !crate::mistake(NUMBER) && matches!(self.status, Status::Halted { .. }) {
            return Vec::new();
        }
        match word {",
            ),
            (
                "rollout/plan.rs",
                "ByHand::Resume { who } if matches!(self.status, Status::Held { .. }) =>",
                "ByHand::Resume { who } if crate::mistake(NUMBER) || matches!(self.status, Status::Held { .. }) =>",
            ),
            (
                "rollout/apply.rs",
                "        if !matches!(self.status, Status::Held { .. }) {",
                "        if !crate::mistake(NUMBER) && !matches!(self.status, Status::Held { .. }) {",
            ),
        ],
    },
    Mistake {
        name: "the server's downtime counts as deaths",
        patches: &[(
            "rollout/apply.rs",
            "self.queue.shift_all(shift);",
            "if !crate::mistake(NUMBER) { self.queue.shift_all(shift); }",
        )],
    },
];

#[test]
fn deliberate_mistakes_in_core_are_found() {
    // `./dev test --all`: building the copy takes minutes.
    if std::env::var_os("STAFFEL_ALL").is_none() {
        return;
    }
    let begun = Instant::now();
    let program = build();
    println!("SHOW mutations: the patched copy was built in {:.0} s", begun.elapsed().as_secs_f64());
    let play = |mistake: usize, most: u64| {
        let arguments = [mistake as u64, WITHIN.as_secs(), most].map(|number| number.to_string());
        let output = Command::new(&program).args(arguments).output().expect("the patched copy runs");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    };
    let mut survived = Vec::new();
    for (at, mistake) in MISTAKES.iter().enumerate() {
        let begun = Instant::now();
        let said = play(at + 1, u64::MAX);
        println!("SHOW mutations: {}, {said} ({:.1} s)", mistake.name, begun.elapsed().as_secs_f64());
        if !said.starts_with("found by seed") {
            survived.push(format!("{}: {said}", mistake.name));
        }
    }
    assert!(survived.is_empty(), "{}", survived.join("\n"));
    // The copy itself is sound: with none of them at work nothing is found.
    assert_eq!(play(0, 40), "not found in 40 seeds");
}

/// A workspace of `core` and `sim` alone, patched and built.
fn build() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    let _ = fs::remove_dir_all(copy.join("crates"));
    for part in ["crates/core/Cargo.toml", "crates/core/src", "crates/sim/src", "Cargo.lock"] {
        copy_to(&root.join(part), &copy.join(part));
    }
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    let write = |path: &str, text: String| fs::write(copy.join(path), text).expect("write the copy");
    // Built once and run for seconds: less is optimised.
    let manifest = read(&root.join("Cargo.toml")).replace("opt-level = 2", "opt-level = 1");
    write("Cargo.toml", once(&manifest, "members = [\"crates/*\", \"fuzz\"]", "members = [\"crates/*\"]"));
    // Charts would take longer to build than all the rest.
    let charts = ["epaint_default_fonts.workspace = true\n", "plotters.workspace = true\n", "png.workspace = true\n"];
    write(
        "crates/sim/Cargo.toml",
        charts.iter().fold(read(&here.join("Cargo.toml")), |text, line| once(&text, line, "")),
    );
    let sim = once(&read(&here.join("src/lib.rs")), "mod chart;\n", "");
    write("crates/sim/src/lib.rs", once(&sim, "pub use chart::{ChartError, png, svg};\n", ""));
    fs::create_dir_all(copy.join("crates/sim/src/bin")).expect("a folder for the program");
    write("crates/sim/src/bin/mistakes.rs", PROGRAM.into());
    let core = |file: &str| format!("crates/core/src/{file}");
    write(&core("lib.rs"), read(&copy.join(core("lib.rs"))) + SELECTOR);
    for (at, mistake) in MISTAKES.iter().enumerate() {
        for (file, before, after) in mistake.patches {
            let text = read(&copy.join(core(file)));
            write(&core(file), once(&text, before, &after.replace("NUMBER", &(at + 1).to_string())));
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--offline", "--package", "staffel-sim", "--bin", "mistakes"])
        .current_dir(&copy)
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    copy.join("target/debug/mistakes")
}

fn once(text: &str, before: &str, after: &str) -> String {
    assert_eq!(text.matches(before).count(), 1, "must stand there exactly once, or the patch says nothing:\n{before}");
    text.replacen(before, after, 1)
}

fn copy_to(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).expect("a folder of sources").flatten() {
            copy_to(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    fs::create_dir_all(to.parent().expect("a folder")).expect("make the folder");
    fs::copy(from, to).unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
}
