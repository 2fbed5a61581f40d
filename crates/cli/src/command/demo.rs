//! `staffel demo`: the main job before your eyes, with nothing simulated but the power switch.
//!
//! Version 1 reaches all 24 machines of three customers; version 2 passes the gate, because what kills it is on the
//! fleet's machines only, and kills the first machine that gets it; then software that Staffel did not bring stops five
//! machines and is named, while a site can't be reached. What must stay out: anything a real fleet lacks.

mod content;
mod fleet;
mod foreign;
mod releases;
mod show;
mod summary;

use crate::{
    command::repo,
    lab::{Lab, Options, Programs},
    output::Failure,
};
use anyhow::{Context as _, Result};
use show::Screen;
use staffel_core::profile::{Profile, ProfileName};
use staffel_server::api::{Role, RolloutView};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use summary::Summary;

/// Arguments of `staffel demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Keep everything running at the end until Ctrl-C.
    #[arg(long)]
    pub stay: bool,
    /// Keep the folder with all logs at the end.
    #[arg(long)]
    pub keep: bool,
    /// How many acts: 2 are a good and a bad release, the third is software that Staffel did not bring.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub acts: u8,
    /// 19 July 2024 instead: a detection pack that the gate refuses, and what it does where two people waive the gate.
    #[arg(long, conflicts_with_all = ["acts", "stay"])]
    pub content: bool,
    /// Where to put it; a new folder for temporary files if not said.
    #[arg(long)]
    pub folder: Option<PathBuf>,
}

/// How long any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// The console's account, with a password made up at each start.
const ACCOUNT: &str = "demo";

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let temporary = tempfile::Builder::new().prefix("staffel-demo-").tempdir().context("make a temporary folder")?;
    let folder = args.folder.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let mut screen = Screen::new(as_json);
    let begun = Instant::now();
    if args.content {
        let summary = july(&folder, &mut screen)?;
        return if as_json {
            crate::output::json(&summary)
        } else {
            summary.print(begun.elapsed().as_secs());
            Ok(())
        };
    }
    let profile = Profile::named(ProfileName::Demo);
    screen.say(&format!(
        "Staffel demo: 24 machines, each a real guard, agent and service. Times are compressed: cadence {} s, deadline \
         {} s, soak {} s (real profiles: 60 s, 180 s, 3 min to 24 h).",
        profile.cadence_ms / 1_000,
        profile.deadline_ms / 1_000,
        profile.soak_ms / 1_000
    ));
    for line in show::lacking() {
        screen.say(&line);
    }

    screen.say("Setting up keys, certificates, server and machines ...");
    let mut lab = Lab::new(&folder, &Programs::beside_this()?, Options { own_boots: true, ..Options::default() })?;
    fleet::set_up(&mut lab)?;
    let devices = lab.machines.len();
    lab.wait_for("all machines to check in", PATIENCE, |lab| Ok(lab.client()?.status()?.alive as usize == devices))?;
    screen.say(&format!("{devices} machines of 3 customers are up ({} s).", begun.elapsed().as_secs()));

    let password = lab.account(ACCOUNT, Role::Releaser, None)?;
    screen.say(&format!("Console: {}  account {ACCOUNT}, password {password}", lab.console));
    screen.say("  (its certificate is the demo's own: the browser warns once)");

    let contacts = fleet::contacts(&folder)?.to_string_lossy().into_owned();
    screen.run(&lab, &["import", "contacts", &contacts], "import contacts contacts.csv")?;

    let version_1 = releases::good(&lab, &mut screen)?;
    let version_2 = releases::bad(&lab, &mut screen)?;
    let foreign = if args.acts < 3 { None } else { Some(foreign::run(&lab, &mut screen)?) };
    let verified = lab.staffel_ok(&["log", "verify", "--json"])?;
    let verified: serde_json::Value = serde_json::from_str(&verified).context("read what `log verify` printed")?;
    let log_entries = verified["entries"].as_u64().unwrap_or(0);
    let summary = Summary { devices, version_1, version_2, foreign, log_entries, seconds: begun.elapsed().as_secs() };
    match as_json {
        true => crate::output::json(&summary)?,
        false => summary.print(),
    }
    if args.stay {
        stay(&lab, &password)?;
    }
    drop(lab);
    if args.keep && args.folder.is_none() {
        println!("Everything is kept in {}", temporary.keep().display());
    }
    Ok(())
}

fn july(folder: &std::path::Path, screen: &mut Screen) -> Result<summary::Content> {
    screen.say("Staffel demo: 19 July 2024 at three lines. Each machine is a real guard, agent and sensor.");
    show::lacking().iter().for_each(|line| screen.say(line));
    let mut lab = Lab::new(folder, &Programs::beside_this()?, Options::default())?;
    content::run(&mut lab, screen)
}

/// Starts a rollout with the command that a person would type, and shows it until it is completed or halted.
fn ended(lab: &Lab, screen: &mut Screen, start: &[&str]) -> Result<RolloutView> {
    screen.run(lab, start, &start.join(" "))?;
    let client = lab.client()?;
    let id = client.rollouts()?.last().context("the rollout is not there")?.rollout;
    let until = Instant::now() + PATIENCE;
    loop {
        let view = client.rollout(id)?;
        screen.show(&client, &view)?;
        if matches!(view.state.as_str(), "completed" | "halted") {
            screen.settle();
            return Ok(view);
        }
        if Instant::now() > until {
            return Err(stopped(lab, &view, "the rollout should have come to an end"));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// How long a rollout that has ended took.
fn seconds(view: &RolloutView) -> u64 {
    (view.ended_ms.unwrap_or(view.started_ms) - view.started_ms).div_ceil(1_000)
}

fn stopped(lab: &Lab, view: &RolloutView, expected: &str) -> anyhow::Error {
    Failure::stopped(
        format!("{expected}, but it is {}: {}", view.state, view.why),
        format!("run with --keep and read the logs in {}", lab.folder.display()),
    )
    .into()
}

fn stay(lab: &Lab, password: &str) -> Result<()> {
    let staffel = std::env::current_exe()?.display().to_string();
    println!();
    println!("Everything keeps running until Ctrl-C. The console: {}", lab.console);
    println!("  account {ACCOUNT}, password {password}");
    println!("In another terminal:");
    println!("  export STAFFEL_DIR={} STAFFEL_SERVER={}", lab.layout.root.display(), lab.url);
    for words in [
        "device ls",
        "device why ward-a-1",
        "rollout why 2",
        "incident ls",
        "case show 1",
        "software suspects",
        "remedy ls",
        "call-list",
        "report incident 1 --language en",
        "log verify",
    ] {
        println!("  {staffel} {words}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("wait for Ctrl-C")?;
    println!("{} stopping ...", repo::now_ms());
    Ok(())
}
