//! `staffel demo`: the main job before your eyes, with nothing simulated but the power switch.
//!
//! Version 1 reaches all 24 machines of three customers; version 2 passes the gate, because what kills it is on the
//! fleet's machines only, and kills the first machine that gets it. What must stay out: anything a real fleet lacks.

mod show;

use crate::{
    command::repo,
    lab::{Lab, Options, Programs, Spec, release_folder},
    output::Failure,
};
use anyhow::{Context as _, Result};
use serde_json::json;
use show::Screen;
use staffel_core::{
    policy::{CustomerPolicy, DisruptionLimits},
    profile::{Profile, ProfileName},
};
use staffel_server::api::RolloutView;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Arguments of `staffel demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Keep everything running at the end until Ctrl-C.
    #[arg(long)]
    pub stay: bool,
    /// Keep the folder with all logs at the end.
    #[arg(long)]
    pub keep: bool,
    /// Where to put it; a new folder for temporary files if not said.
    #[arg(long)]
    pub folder: Option<PathBuf>,
}

/// Customer, site, devices.
const FLEET: [(&str, &str, usize); 8] = [
    ("clinic", "ward-a", 3),
    ("clinic", "ward-b", 3),
    ("clinic", "laboratory", 2),
    ("pharmacies", "market-square", 3),
    ("pharmacies", "station", 3),
    ("pharmacies", "harbour", 4),
    ("airport", "terminal-1", 3),
    ("airport", "terminal-2", 3),
];

const DESCRIPTION: &str = r#"
name = "counter"
version = "VERSION"
sequence = VERSION
supplier = "Demo Software House"

[service]
exec = ["./bin/counter", "{state}"]

[[probes]]
probe = "process"

[[probes]]
probe = "command"
exec = ["./bin/check", "{state}"]
"#;

/// Counts, and leaves a sign of life that the probe looks at; renamed into place, so that the probe never sees half.
const GOOD: &str = "#!/bin/sh
n=0
while :; do n=$((n+1)); echo \"version VERSION, beat $n\" > \"$1/next\"; mv \"$1/next\" \"$1/beat\"; sleep 1; done
";

/// The same, and a fault that needs what only a machine of the fleet has: it panics the kernel. No word is sent.
const BAD: &str = "#!/bin/sh
trigger=\"$1/../../../sysrq-trigger\"
[ -e \"$trigger\" ] && echo c > \"$trigger\"
n=0
while :; do n=$((n+1)); echo \"version VERSION, beat $n\" > \"$1/next\"; mv \"$1/next\" \"$1/beat\"; sleep 1; done
";

const CHECK: &str = "#!/bin/sh
grep -q 'version VERSION' \"$1/beat\"
";

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let temporary = tempfile::Builder::new().prefix("staffel-demo-").tempdir().context("make a temporary folder")?;
    let folder = args.folder.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let mut screen = Screen::new(as_json);
    let begun = Instant::now();
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
    let mut lab = Lab::new(&folder, &Programs::beside_this()?, Options::default())?;
    set_up(&mut lab)?;
    let devices = lab.machines.len();
    lab.wait_for("all machines to check in", Duration::from_secs(60), |lab| {
        Ok(lab.client()?.status()?.alive as usize == devices)
    })?;
    screen.say(&format!("{devices} machines of 3 customers are up ({} s).", begun.elapsed().as_secs()));

    let first = roll_out(&lab, &mut screen, 1, GOOD)?;
    if first.state != "completed" {
        return Err(stopped(&lab, &first, "version 1 should have reached every machine"));
    }
    let second = roll_out(&lab, &mut screen, 2, BAD)?;
    if second.state != "halted" {
        return Err(stopped(&lab, &second, "version 2 should have been halted"));
    }
    screen.say("Waiting for the dark machines to come back by themselves ...");
    lab.wait_for("every machine to run version 1 again", Duration::from_secs(60), |lab| {
        let page = lab.client()?.devices(&Default::default())?;
        let good = |d: &&staffel_server::api::DeviceView| {
            d.presence == "alive" && d.running.get("counter").is_some_and(|version| version == "1")
        };
        Ok(page.devices.iter().filter(good).count() == devices)
    })?;
    let dark = lab.machines.iter().filter(|machine| machine.panics() > 0).count();
    let verified = lab.staffel_ok(&["log", "verify", "--json"])?;
    let verified: serde_json::Value = serde_json::from_str(&verified).context("read what `log verify` printed")?;
    let entries = verified["entries"].as_u64().unwrap_or(0);

    let seconds = |view: &RolloutView| (view.ended_ms.unwrap_or(view.started_ms) - view.started_ms).div_ceil(1_000);
    if as_json {
        crate::output::json(&json!({
            "devices": devices,
            "version_1": { "confirmed": first.confirmed, "waves": first.wave, "seconds": seconds(&first) },
            "version_2": {
                "exposed": second.exposed_ever, "seconds": seconds(&second), "why": second.why,
                "dark": dark, "back": dark,
            },
            "log_entries": entries,
            "seconds": begun.elapsed().as_secs(),
        }))?;
    } else {
        println!();
        println!("What you saw");
        println!(
            "  version 1   on {} of {devices} machines in {} waves ({} s)",
            first.confirmed,
            first.wave,
            seconds(&first)
        );
        println!(
            "  version 2   passed the gate, got as far as {} of {devices} machines, halted after {} s",
            second.exposed_ever,
            seconds(&second)
        );
        println!("              because {}", second.why.trim_start_matches("halted: "));
        println!("  recovery    {dark} went dark (every process dead) and came back without help, on version 1");
        println!("  log         verified, {entries} entries");
        println!("  took        {} s in all", begun.elapsed().as_secs());
        println!();
        println!("Where to look next");
        println!("  `staffel demo --stay` keeps it running; it prints the commands to look around with");
        println!("  README.md has the claims, each with the command that shows it");
    }
    if args.stay {
        stay(&lab)?;
    }
    drop(lab);
    if args.keep && args.folder.is_none() {
        println!("Everything is kept in {}", temporary.keep().display());
    }
    Ok(())
}

fn stopped(lab: &Lab, view: &RolloutView, expected: &str) -> anyhow::Error {
    Failure::stopped(
        format!("{expected}, but it is {}: {}", view.state, view.why),
        format!("run with --keep and read the logs in {}", lab.folder.display()),
    )
    .into()
}

/// Three customers with policies of their own, and their machines.
pub fn set_up(lab: &mut Lab) -> Result<()> {
    // The laboratory has two analysers, one of which must always be there.
    let groups = [("laboratory-1", "analysers"), ("laboratory-2", "analysers")];
    let redundant = DisruptionLimits {
        redundancy_groups: groups.iter().map(|(name, group)| (name.to_string(), group.to_string())).collect(),
        ..DisruptionLimits::default()
    };
    let one_at_a_time = DisruptionLimits { max_unavailable_per_site: 1, ..DisruptionLimits::default() };
    lab.tenant("clinic", CustomerPolicy { limits: redundant, ..CustomerPolicy::default() })?;
    lab.tenant("pharmacies", CustomerPolicy::default())?;
    lab.tenant("airport", CustomerPolicy { limits: one_at_a_time, ..CustomerPolicy::default() })?;
    for (at, (tenant, site, count)) in FLEET.into_iter().enumerate() {
        for n in 1..=count {
            lab.machine(Spec {
                tenant,
                site,
                name: &format!("{site}-{n}"),
                os_build: if at % 2 == 0 { "debian-12.11" } else { "debian-12.10" },
                hardware_model: if n % 3 == 0 { "terminal-x2" } else { "terminal-x1" },
            })?;
        }
    }
    Ok(())
}

/// Releases, gates and rolls out a version with the commands that a person would type; answers how it ended.
fn roll_out(lab: &Lab, screen: &mut Screen, version: u64, program: &str) -> Result<RolloutView> {
    let source = lab.folder.join(format!("counter-{version}"));
    let with_version = |text: &str| text.replace("VERSION", &version.to_string());
    let (program, check) = (with_version(program), with_version(CHECK));
    let files = [("bin/counter", program.as_bytes()), ("bin/check", check.as_bytes())];
    release_folder(&source, &with_version(DESCRIPTION), &files)?;
    let source = source.to_string_lossy().into_owned();
    let version = version.to_string();
    screen.say("");
    screen.run(lab, &["release", &source], &format!("release counter-{version}/"))?;
    screen.run(lab, &["gate", &source, "--soak", "2"], &format!("gate counter-{version}/ --soak 2"))?;
    let start = ["rollout", "start", "counter", &version, "--profile", "demo"];
    screen.run(lab, &start, &start.join(" "))?;
    let client = lab.client()?;
    let id = client.rollouts()?.last().context("the rollout is not there")?.rollout;
    let until = Instant::now() + Duration::from_secs(150);
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

fn stay(lab: &Lab) -> Result<()> {
    let staffel = std::env::current_exe()?.display().to_string();
    println!();
    println!("Everything keeps running until Ctrl-C. In another terminal:");
    println!("  export STAFFEL_DIR={} STAFFEL_SERVER={}", lab.layout.root.display(), lab.url);
    for words in ["device ls", "device why ward-a-1", "rollout why 2", "log verify"] {
        println!("  {staffel} {words}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("wait for Ctrl-C")?;
    println!("{} stopping ...", repo::now_ms());
    Ok(())
}
