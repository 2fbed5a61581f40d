//! The console in Debian's chromium, with a real fleet behind it: a bad rollout watched from its start to its halt and its
//! cases to their end, the stop button, every page in both languages, light and dark, wide and narrow. The browser's part is
//! `crates/console/ui/browser.cjs`; screenshots are written to `target/screens/`.

use crate::fleet::{Fleet, has_tool, show, skip};
use staffel_cli::lab::{Options, release_folder};
use staffel_server::api::Role;
use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const MACHINES: usize = 5;
/// The ceiling is the subject of other tests.
const AT_ONCE: [(u64, u32); 1] = [(0, 100)];
const CHROMIUM: &str = "/usr/bin/chromium";

const DESCRIPTION: &str = r#"
name = "beat"
version = "VERSION"
sequence = VERSION
supplier = "Acme Software"

[service]
exec = ["./bin/beat", "{state}"]

[[probes]]
probe = "process"

[[probes]]
probe = "command"
exec = ["./bin/check", "{state}"]
timeout_ms = 20000
"#;

/// Counts, and leaves a sign of life that the probe looks at.
const PROGRAM: &str = "#!/bin/sh
FAULT
while :; do echo \"version VERSION\" > \"$1/next\"; mv \"$1/next\" \"$1/beat\"; sleep 1; done
";

const CHECK: &str = "#!/bin/sh
grep -q 'version VERSION' \"$1/beat\"
";

/// Kills every process of a machine of the fleet; the gate's machine has no such file.
const PANIC: &str = "[ -e \"$1/../../../sysrq-trigger\" ] && echo c > \"$1/../../../sysrq-trigger\"";

fn version(fleet: &Fleet, number: u64, fault: &str) -> PathBuf {
    let source = fleet.lab.folder.join(format!("beat-{number}"));
    let fill = |text: &str| text.replace("VERSION", &number.to_string()).replace("FAULT", fault);
    let (program, check) = (fill(PROGRAM), fill(CHECK));
    let files: [(&str, &[u8]); 2] = [("bin/beat", program.as_bytes()), ("bin/check", check.as_bytes())];
    release_folder(&source, &fill(DESCRIPTION), &files).expect("a release folder");
    source
}

struct Browser<'a> {
    fleet: &'a Fleet,
    packages: PathBuf,
    password: String,
}

impl Browser<'_> {
    fn start(&self, phase: &str) -> Child {
        let screens = target().join("screens");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../console/ui/browser.cjs");
        let mut command = Command::new("node");
        command.arg(script).arg(phase).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("STAFFEL_URL", &self.fleet.lab.console).env("STAFFEL_NPM", &self.packages);
        command.env("STAFFEL_SCREENS", screens).env("STAFFEL_CHROMIUM", CHROMIUM);
        command.env("STAFFEL_USER", "ann").env("STAFFEL_PASSWORD", &self.password);
        command.spawn().expect("node runs")
    }

    /// Reads what the browser's part says until it is ready (or over).
    fn wait(mut child: Child, mut ready: impl FnMut()) {
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut problems = Vec::new();
        for line in out.lines() {
            let line = line.expect("a line");
            match line.split_once(' ') {
                None if line == "READY" => ready(),
                Some(("SHOW", what)) => show("console", what),
                _ => problems.push(line),
            }
        }
        let status = child.wait().expect("it ends");
        assert!(status.success() && problems.is_empty(), "{status}\n{}", problems.join("\n"));
    }
}

fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_staffel"));
    program.ancestors().nth(2).expect("a profile lies in the target folder").to_path_buf()
}

#[test]
fn a_rollout_is_watched_stopped_and_every_page_can_be_read() {
    const TEST: &str = "the console in a browser";
    let packages = target().join("npm/node_modules");
    if !has_tool(TEST, CHROMIUM) || !has_tool(TEST, "node") {
        return;
    }
    if !packages.join("playwright-core").is_dir() || !staffel_console::has_scripts() {
        return skip(TEST, "the npm packages are missing (`./dev test` fetches them)");
    }
    let fleet = Fleet::new(MACHINES, Options::default());
    let password = fleet.lab.account("ann", Role::Releaser, None).expect("an account");
    let browser = Browser { fleet: &fleet, packages, password };
    assert_eq!(fleet.ended(fleet.ship(&version(&fleet, 1, ""), &AT_ONCE)).state, "completed");

    let watching = browser.start("watch");
    Browser::wait(watching, || {
        fleet.ship(&version(&fleet, 2, PANIC), &AT_ONCE);
    });
    assert_eq!(fleet.rollout(2).state, "halted");

    // Nobody's turn yet: it must not be over before the browser is there.
    fleet.ship(&version(&fleet, 3, ""), &[(3_600, 100)]);
    Browser::wait(browser.start("stop"), || ());
    let stopped = fleet.rollout(3);
    assert!(stopped.state == "halted" && stopped.why.contains("ann: tills hang in the north"), "{stopped:?}");

    Browser::wait(browser.start("tour"), || ());
    fleet.log_is_sound();
}
