//! What is protected on this machine and what is not, in plain words, whether the guard runs or not.

use staffel_boot::{client, codec::Records, install, layout::Layout, platform, preflight, record::Keeper};
use staffel_guard::doctor::Mark;
use staffel_statement::guard::{Command, Reply};
use std::{fmt::Write as _, path::Path};

const COVERED: [&str; 6] = [
    "content and components that crash, hang until their trial ends, or fail their probes: back to last-known-good",
    "a change that takes the guard or the machine down: left after three starts, without network",
    "a committed generation that crashes for minutes: an earlier one, then safe mode with the agent",
    "slots that are incomplete or changed on disk: repaired from verified copies, or left",
    "power cuts at any moment: the record is written in one step, twice",
    "stolen server keys: every statement is verified here again",
];

const NOT_COVERED: [&str; 1] = [
    "software that Staffel did not install, beyond taking files away under --quarantine-root and masking services of systemd",
];

/// The report.
pub fn report(layout: &Layout, partition: Option<&Path>) -> String {
    let mut out = String::new();
    let mut say = |mark: &str, text: &str| {
        // Writing into a string can't fail.
        let _ = writeln!(out, "{mark:<14} {text}");
    };
    COVERED.iter().for_each(|text| say("protected", text));
    NOT_COVERED.iter().for_each(|text| say("NOT protected", text));
    for (mark, text) in staffel_guard::doctor::findings(&staffel_guard::doctor::look(partition)) {
        let mark = match mark {
            Mark::Protected => "protected",
            Mark::NotProtected => "NOT protected",
            Mark::Wrong => "WRONG",
        };
        say(mark, &text);
    }
    platform::lacking().iter().for_each(|text| say("lacking", text));
    match install::load(layout) {
        Ok(pins) => {
            let who = &pins.installation;
            say("ok", &format!("set up as {} of {}, keyring {}", who.name, who.tenant, pins.keyring.version));
            pins.damage.iter().for_each(|what| say("damaged", what));
            let (_, found) = Keeper::open(Records::new(&layout.root));
            match found.damage.is_empty() {
                true => say("ok", "both copies of the record hold"),
                false => found.damage.iter().for_each(|what| say("damaged", what)),
            }
        }
        Err(error) => say("WRONG", &error.to_string()),
    }
    for problem in [preflight::writable(&layout.root), preflight::room(&layout.root, preflight::RESERVE)] {
        problem.iter().for_each(|why| say("WRONG", why));
    }
    match client::ask(layout, &Command::Status) {
        Ok(Reply::Status(status)) => {
            say("ok", &format!("the guard runs; {} services", status.services.len()));
            status.readiness.preflight.iter().for_each(|why| say("WRONG", why));
        }
        Ok(other) => say("WRONG", &format!("the guard gave an odd answer: {other:?}")),
        Err(error) => say("WRONG", &error.to_string()),
    }
    out
}
