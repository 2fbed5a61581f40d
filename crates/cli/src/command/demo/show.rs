//! What the demo prints while it runs: a picture that is redrawn on a terminal, plain lines in a pipe.

use crate::{client::Client, lab::Lab, output};
use anyhow::{Result, bail};
use staffel_server::api::{DeviceView, RolloutView};
use std::{
    collections::BTreeMap,
    io::Write as _,
    time::{Duration, Instant},
};

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

/// Exit code of a command that was refused ([`output::EXIT_CODES`]).
const REFUSED: i32 = 3;

/// In a pipe, between two lines about how the machines are.
const TOLD_EVERY: Duration = Duration::from_secs(3);

/// Where the demo prints.
pub struct Screen {
    /// Standard output belongs to the JSON at the end.
    quiet: bool,
    redraw: bool,
    drawn: usize,
    told: BTreeMap<u64, u64>,
    counted: String,
    counted_at: Option<Instant>,
}

impl Screen {
    /// Looks at what standard output is.
    pub fn new(quiet: bool) -> Self {
        Screen {
            quiet,
            redraw: !quiet && output::is_terminal(),
            drawn: 0,
            told: BTreeMap::new(),
            counted: String::new(),
            counted_at: None,
        }
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
        self.say_printed(lab, &printed);
        Ok(())
    }

    /// The same with a command that has to be refused; answers why it was.
    pub fn refused(&mut self, lab: &Lab, arguments: &[&str], shown: &str) -> Result<String> {
        self.say(&format!("$ staffel {shown}"));
        let output = lab.staffel(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        if output.status.code() != Some(REFUSED) {
            bail!("`staffel {shown}` should have been refused, but ended with {}: {said}", output.status);
        }
        self.say_printed(lab, &said);
        Ok(said)
    }

    fn say_printed(&mut self, lab: &Lab, printed: &str) {
        for line in printed.lines().filter(|line| !line.starts_with("Next:")) {
            self.say(&format!("  {}", line.replace(&*lab.folder.to_string_lossy(), "...")));
        }
    }

    /// The rollout as it is now.
    pub fn show(&mut self, client: &Client, view: &RolloutView) -> Result<()> {
        if self.redraw {
            let devices = client.devices(&Default::default())?.devices;
            return self.draw(&picture(view, &devices));
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

    /// How the machines are now.
    pub fn machines(&mut self, client: &Client, begun: Instant) -> Result<()> {
        let devices = client.devices(&Default::default())?.devices;
        let count = |cell: &str| devices.iter().filter(|device| self::cell(device) == cell).count();
        let (dark, safe) = (count("X"), count("S"));
        let counted = format!("{} well, {dark} dark, {safe} in safe mode", devices.len() - dark - safe);
        let seconds = begun.elapsed().as_secs_f64();
        if self.redraw {
            let head = format!("  {seconds:5.1} s  {counted}");
            return self.draw(&[vec![head], rows(&devices)].concat());
        }
        // Machines that fall and start again would fill pages.
        let waited = self.counted_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if counted != self.counted && waited {
            self.say(&format!("  {seconds:5.1} s  {counted}"));
            (self.counted, self.counted_at) = (counted, Some(Instant::now()));
        }
        Ok(())
    }

    fn draw(&mut self, lines: &[String]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.drawn > 0 {
            write!(out, "\x1b[{}A", self.drawn)?;
        }
        for line in lines {
            writeln!(out, "\x1b[2K{line}")?;
        }
        out.flush()?;
        self.drawn = lines.len();
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
    lines.extend(rows(devices));
    lines
}

fn rows(devices: &[DeviceView]) -> Vec<String> {
    let mut customers: BTreeMap<&str, String> = BTreeMap::new();
    for device in devices {
        customers.entry(&device.tenant).or_default().push_str(&format!("{} ", cell(device)));
    }
    let mut lines: Vec<_> = customers.iter().map(|(customer, cells)| format!("  {customer:<11} {cells}")).collect();
    lines.push("  (1, 2: version that runs, -: none yet, X: dark, S: safe mode)".into());
    lines
}

fn cell(device: &DeviceView) -> String {
    match device.running.get("counter") {
        _ if device.presence != "alive" => "X".into(),
        _ if device.mode != "normal" => "S".into(),
        None => "-".into(),
        Some(version) => version.chars().take(1).collect(),
    }
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
