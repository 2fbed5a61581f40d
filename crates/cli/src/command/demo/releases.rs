//! The first two acts: a good release reaches every machine, a bad one the first, which comes back by itself.

use super::{
    PATIENCE, ended, seconds,
    show::Screen,
    stopped,
    summary::{BadRelease, GoodRelease},
};
use crate::lab::{Lab, release_folder};
use anyhow::{Context as _, Result};
use staffel_server::api::{CaseQuery, CaseView, DeviceView, RolloutView};

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

/// Version 1 reaches every machine.
pub fn good(lab: &Lab, screen: &mut Screen) -> Result<GoodRelease> {
    let view = roll_out(lab, screen, 1, GOOD)?;
    if view.state != "completed" {
        return Err(stopped(lab, &view, "version 1 should have reached every machine"));
    }
    Ok(GoodRelease { confirmed: view.confirmed, waves: view.wave, seconds: seconds(&view) })
}

/// Version 2 is halted; whatever it took down comes back, and its case is closed.
pub fn bad(lab: &Lab, screen: &mut Screen) -> Result<BadRelease> {
    let view = roll_out(lab, screen, 2, BAD)?;
    if view.state != "halted" {
        return Err(stopped(lab, &view, "version 2 should have been halted"));
    }
    screen.say("Waiting for the dark machines to come back by themselves ...");
    lab.wait_for("every machine to run version 1 again", PATIENCE, |lab| {
        let devices = lab.client()?.devices(&Default::default())?.devices;
        Ok(devices.iter().filter(|device| is_well(device)).count() == lab.machines.len())
    })?;
    screen.say("Waiting for the proof that each of them is well ...");
    lab.wait_for("every case to be closed by its probe", PATIENCE, |lab| {
        let incidents = lab.client()?.incidents()?;
        Ok(!incidents.is_empty() && incidents.iter().all(|incident| incident.state == "over"))
    })?;
    let client = lab.client()?;
    let incident = client.incidents()?.into_iter().next().context("the incident is not there")?.incident;
    let cases = client.cases(&CaseQuery { limit: Some(1_000), ..CaseQuery::default() })?.cases;
    let has_case = |name: &str, tenant: &str| cases.iter().any(|case| case.name == name && case.tenant == tenant);
    let dark: Vec<_> = lab.machines.iter().filter(|machine| machine.panics() > 0).collect();
    let summary = BadRelease {
        exposed: view.exposed_ever,
        seconds: seconds(&view),
        dark: dark.len(),
        // All machines run version 1 again, so these as well.
        back: dark.len(),
        cases_opened: cases.len(),
        cases_closed_by_probe: cases.iter().filter(|case| closed_by_probe(case)).count(),
        dark_without_case: dark.iter().filter(|machine| !has_case(&machine.name, &machine.tenant)).count(),
        curve: client.curve(incident)?.says,
        why: view.why,
    };
    Ok(summary)
}

/// It speaks, in normal mode, and runs version 1.
pub fn is_well(device: &DeviceView) -> bool {
    let first = device.running.get("counter").is_some_and(|version| version == "1");
    device.presence == "alive" && device.mode == "normal" && first
}

/// Nobody closed it but the device's own proof.
pub fn closed_by_probe(case: &CaseView) -> bool {
    case.closed_ms.is_some() && case.closed_by.is_none()
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
    ended(lab, screen, &["rollout", "start", "counter", &version, "--profile", "demo"])
}
