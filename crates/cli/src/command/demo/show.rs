//! What the demo prints while it runs: a picture that is redrawn on a terminal, plain lines in a pipe.

use crate::{client::Client, lab::Lab, output};
use anyhow::Result;
use staffel_server::api::{DeviceView, RolloutView};
use std::{collections::BTreeMap, io::Write as _};

/// What of a rollout's history is worth a line in a pipe.
const TOLD: [&str; 8] = [
    "rollout.wave-opened",
    "rollout.wave-resolved",
    "rollout.confirmed",
    "rollout.failed",
    "rollout.held",
    "rollout.released",
    "rollout.halted",
    "rollout.completed",
];

/// Where the demo prints.
pub struct Screen {
    /// Standard output belongs to the JSON at the end.
    quiet: bool,
    redraw: bool,
    drawn: usize,
    told: BTreeMap<u64, u64>,
}

impl Screen {
    /// Looks at what standard output is.
    pub fn new(quiet: bool) -> Self {
        Screen { quiet, redraw: !quiet && output::is_terminal(), drawn: 0, told: BTreeMap::new() }
    }

    /// A line.
    pub fn say(&mut self, line: &str) {
        self.settle();
        if self.quiet {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// Runs a command as a person would and shows what it printed.
    pub fn run(&mut self, lab: &Lab, arguments: &[&str], shown: &str) -> Result<()> {
        self.say(&format!("$ staffel {shown}"));
        let printed = lab.staffel_ok(arguments)?;
        for line in printed.lines().filter(|line| !line.starts_with("Next:")) {
            self.say(&format!("  {}", line.replace(&*lab.folder.to_string_lossy(), "...")));
        }
        Ok(())
    }

    /// The rollout as it is now.
    pub fn show(&mut self, client: &Client, view: &RolloutView) -> Result<()> {
        if self.redraw {
            let devices = client.devices(&Default::default())?.devices;
            let lines = picture(view, &devices);
            let mut out = std::io::stdout().lock();
            if self.drawn > 0 {
                write!(out, "\x1b[{}A", self.drawn)?;
            }
            for line in &lines {
                writeln!(out, "\x1b[2K{line}")?;
            }
            out.flush()?;
            self.drawn = lines.len();
            return Ok(());
        }
        let last = self.told.get(&view.rollout).copied();
        for entry in client.history(view.rollout)? {
            if last.is_some_and(|last| entry.position <= last) {
                continue;
            }
            self.told.insert(view.rollout, entry.position);
            if TOLD.contains(&entry.kind.as_str()) {
                let seconds = entry.at_ms.saturating_sub(view.started_ms) as f64 / 1_000.0;
                self.say(&format!("  {seconds:5.1} s  {}", entry.text));
            }
        }
        Ok(())
    }

    /// What is drawn stays; the next line goes below.
    pub fn settle(&mut self) {
        self.drawn = 0;
    }
}

/// One character a machine, one line a customer.
fn picture(view: &RolloutView, devices: &[DeviceView]) -> Vec<String> {
    let done = (view.confirmed * 30).checked_div(view.devices).unwrap_or(0) as usize;
    let bar = format!("{}{}", "#".repeat(done), ".".repeat(30 - done));
    let mut lines = vec![
        format!(
            "  {} {}  [{bar}] {} of {} proven, wave {}, {} exposed now (at most {})",
            view.name, view.version, view.confirmed, view.devices, view.wave, view.exposed, view.budget
        ),
        format!(
            "  {:<9} {}",
            view.state,
            clip(view.why.trim_start_matches("halted: ").trim_start_matches("held: "), 100)
        ),
    ];
    let mut customers: BTreeMap<&str, String> = BTreeMap::new();
    for device in devices {
        let cell = match device.running.get("counter") {
            _ if device.presence != "alive" => 'X'.to_string(),
            _ if device.mode != "normal" => 'S'.to_string(),
            None => '-'.to_string(),
            Some(version) => version.chars().take(1).collect(),
        };
        customers.entry(&device.tenant).or_default().push_str(&format!("{cell} "));
    }
    lines.extend(customers.iter().map(|(customer, cells)| format!("  {customer:<11} {cells}")));
    lines.push("  (1, 2: version that runs, -: none yet, X: dark, S: safe mode)".into());
    lines
}

fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    let kept: String = text.chars().take(most - 3).collect();
    format!("{kept}...")
}

/// What this machine lacks, a line each.
pub fn lacking() -> Vec<String> {
    let mut lines = Vec::new();
    if !rustix::process::getuid().is_root() {
        lines.push(
            "Not run by root: agents and services share this user, so the guard is not protected from them here."
                .into(),
        );
    }
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        lines.push("No systemd here: the guard supervises the services itself.".into());
    }
    lines
}
