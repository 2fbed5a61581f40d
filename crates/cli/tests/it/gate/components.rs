//! Components at the gate, with `STAFFEL_ALL` because each runs for seconds on a machine of its own.

use crate::{
    content::{World, said},
    fleet::{has_tool, programs, show},
};

const GOOD: &str = "#!/bin/sh
[ -e \"$1/state\" ] || echo state > \"$1/state\"
while :; do echo 1 > \"$1/next\"; mv \"$1/next\" \"$1/beat\"; sleep 0.2; done
";
const CHECK: &str = "#!/bin/sh
grep -q 1 \"$1/beat\" && { [ ! -e \"$1/state\" ] || grep -q '^state$' \"$1/state\"; }
";
/// What is wrong, the check that says so, and words of its reason.
const BAD: [(&str, &str, &str); 8] = [
    ("exit 1", "consumers", "did not stay"),
    ("touch \"$1/never\"; sleep 600", "consumers", "probe"),
    ("(sleep 1.5; kill -9 $$) &", "consumers", "did not stay"),
    ("[ -e \"$1/once\" ] && exit 1; touch \"$1/once\"", "undo", "did not stay"),
    (
        "[ \"$(cat \"$1/count\" 2>/dev/null)\" = xx ] && exit 1; echo \"$(cat \"$1/count\" 2>/dev/null)x\" > \"$1/count\"",
        "lifecycle",
        "crashed",
    ),
    ("[ \"$(date +%s)\" -gt NOW+12h ] && exit 1", "lifecycle", "+1 days"),
    ("[ \"$(date +%s)\" -gt NOW+96h ] && exit 1", "lifecycle", "+7 days"),
    ("[ \"$(date +%s)\" -gt NOW+277h ] && exit 1", "lifecycle", "+30 days"),
];

fn release(world: &World, name: &str, version: u64, service: &str, check: &str) {
    let text = format!(
        "name = \"{name}\"\nversion = \"{version}\"\nsequence = {version}\nstate = \"compatible\"\n[service]\n\
         exec = [\"./bin/run\", \"{{state}}\"]\n[[probes]]\nprobe = \"process\"\n[[probes]]\nprobe = \"command\"\n\
         exec = [\"./bin/check\", \"{{state}}\"]\n"
    );
    let folder = world.path(&format!("{name}-{version}"));
    let files = [("bin/run", service.as_bytes()), ("bin/check", check.as_bytes())];
    staffel_cli::lab::release_folder(&folder, &text, &files).expect("a release folder");
    let released = world.staffel(&["release", &folder.to_string_lossy(), "--dir", &world.text("staffel")]);
    assert!(released.status.success(), "{}", said(&released));
}

fn gate(world: &World, name: &str, version: u64) -> (bool, String) {
    let guard = programs().guard;
    let folder = world.text(&format!("{name}-{version}"));
    let dir = world.text("staffel");
    let output = world.staffel(&["gate", &folder, "--dir", &dir, "--soak", "2", "--guard", &guard.to_string_lossy()]);
    (output.status.success(), said(&output))
}

#[test]
fn seeded_components() {
    if std::env::var_os("STAFFEL_ALL").is_none() || !has_tool("seeded_components", "faketime") {
        return;
    }
    let world = World::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    for (at, (wrong, check, words)) in BAD.iter().enumerate() {
        let name = format!("bad-{at}");
        let mut wrong = wrong.to_string();
        for hours in [12, 96, 277] {
            wrong = wrong.replace(&format!("NOW+{hours}h"), &(now + hours * 3_600).to_string());
        }
        release(&world, &name, 1, &GOOD.replacen('\n', &format!("\n{wrong}\n"), 1), CHECK);
        let (passed, report) = gate(&world, &name, 1);
        let first = report.lines().next().unwrap_or_default();
        assert!(
            !passed && first.starts_with(&format!("FAILED  {check}")) && first.contains(words),
            "{wrong}: {report}"
        );
    }
    // The first version passes; the second writes what the first can't read, the third takes far more memory.
    release(&world, "till", 1, GOOD, CHECK);
    let (passed, report) = gate(&world, "till", 1);
    assert!(passed && report.contains(": contract, consumers, undo, lifecycle."), "{report}");
    let other = GOOD.replace("[ -e \"$1/state\" ] || echo state", "echo other");
    release(&world, "till", 2, &other, &CHECK.replace("^state$", "^other$"));
    let (passed, report) = gate(&world, "till", 2);
    assert!(!passed && report.starts_with("FAILED  undo") && report.contains("after the way back"), "{report}");
    let large = GOOD.replacen('\n', "\nrm -f \"$1/beat\"\nlarge=$(head -c 90000000 /dev/zero | tr '\\0' x)\n", 1);
    release(&world, "till", 3, &large, CHECK);
    let (passed, report) = gate(&world, "till", 3);
    assert!(!passed && report.starts_with("FAILED  budget") && report.contains("KiB of memory"), "{report}");
    release(&world, "till", 4, &GOOD.replace("0.2", "0.1"), CHECK);
    let (passed, report) = gate(&world, "till", 4);
    assert!(passed && report.contains("budget"), "{report}");
    show("bad components refused, good ones passed", format!("{} and 2", BAD.len() + 2));
}
