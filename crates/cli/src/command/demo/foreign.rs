//! The third act: software that Staffel did not bring changes itself and stops machines, and a site can't be reached.
//!
//! The demo plays Acme's updater, which writes a file on five machines, and the power cut; everything else is what the
//! product does and what operators type. Must stay out: anything that tells the product who is to blame.

use super::{
    PATIENCE,
    releases::{closed_by_probe, is_well},
    show::Screen,
    summary::{Foreign, Unreachable},
};
use crate::{
    client::Client,
    lab::{Lab, host},
};
use anyhow::{Context as _, Result, bail};
use staffel_core::foreign::FileHash;
use staffel_server::api::{CaseQuery, DeviceView, SuspectView};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Where Acme's update arrives: at each customer, at five machines.
const HURT: [&str; 5] = ["ward-a-2", "ward-b-1", "market-square-1", "station-2", "terminal-1-1"];
/// The pharmacy where nobody answers the phone.
const ISLAND: (&str, &str, &str) = ("pharmacies", "island", "island-1");
/// What Acme calls an improvement.
const UPDATE: &str = "content of today: boom\n";

/// Runs the act.
pub fn run(lab: &Lab, screen: &mut Screen) -> Result<Foreign> {
    screen.say("");
    screen.say(&format!("Acme Shield updates itself on {} machines. Nobody told Staffel.", HURT.len()));
    let begun = Instant::now();
    for name in HURT {
        let content = content(lab, name)?;
        let new = content.with_extension("new");
        std::fs::write(&new, UPDATE).with_context(|| format!("write {}", new.display()))?;
        std::fs::rename(&new, &content).with_context(|| format!("write {}", content.display()))?;
    }
    let mut named_after = None;
    watch(lab, screen, begun, "a suspect to be named", |client| {
        named_after = (!client.suspects()?.is_empty()).then(|| begun.elapsed());
        Ok(named_after.is_some())
    })?;
    screen.run(lab, &["software", "suspects"], "software suspects")?;
    let suspect = lab.client()?.suspects()?.into_iter().next_back().context("the suspect is gone")?;
    let incident = open_incident(lab, screen, &suspect)?;
    let unreachable = call_the_island(lab, screen)?;

    screen
        .say("A machine that is stopped again and again starts in safe mode, where nothing but its way back runs ...");
    watch(lab, screen, begun, "the machines to reach safe mode", |client| {
        let devices = client.devices(&Default::default())?.devices;
        Ok(HURT.iter().all(|name| devices.iter().any(|d| d.name == *name && d.mode.starts_with("safe"))))
    })?;
    let file = suspect.new_files.first().context("the suspect names no file that came with it")?;
    mend(lab, screen, begun, file)?;

    let mut back_after = None;
    watch(lab, screen, begun, "every machine to be back and its case to be closed", |client| {
        let devices = client.devices(&Default::default())?.devices;
        let well = |device: &&DeviceView| HURT.contains(&device.name.as_str()) && is_well(device);
        if back_after.is_none() && devices.iter().filter(well).count() == HURT.len() {
            back_after = Some(begun.elapsed());
        }
        let mut others = client.incidents()?.into_iter().filter(|known| known.incident != unreachable.incident);
        Ok(back_after.is_some() && others.all(|known| known.state == "over"))
    })?;
    let client = lab.client()?;
    let cases =
        client.cases(&CaseQuery { incident: Some(incident), limit: Some(1_000), ..CaseQuery::default() })?.cases;
    let call_list = client.call_list()?.iter().map(|entry| format!("{}/{}", entry.tenant, entry.site)).collect();
    screen.run(lab, &["call-list"], "call-list")?;
    let mut taken_away = 0;
    for name in HURT {
        taken_away += usize::from(!content(lab, name)?.exists());
    }
    let contents = lab.machines.iter().filter(|machine| shield(&machine.folder).join("content").exists()).count();
    let component = suspect.component;
    Ok(Foreign {
        name: component.name,
        version: component.version,
        supplier: component.supplier,
        hurt: HURT.len(),
        got: suspect.got,
        got_in_trouble: suspect.got_in_trouble,
        others: suspect.others,
        others_in_trouble: suspect.others_in_trouble,
        chance: suspect.chance,
        suspects: client.suspects()?.len(),
        named_after_seconds: rounded(named_after.context("nobody saw the suspect being named")?),
        back_after_seconds: rounded(back_after.context("nobody saw the machines come back")?),
        files_taken_away: taken_away,
        left_alone: contents,
        cases_opened: cases.len(),
        cases_closed_by_probe: cases.iter().filter(|case| closed_by_probe(case)).count(),
        unreachable,
        call_list,
    })
}

/// An operator takes the suspicion up.
fn open_incident(lab: &Lab, screen: &mut Screen, suspect: &SuspectView) -> Result<u64> {
    let position = suspect.position.to_string();
    let open = ["incident", "open", "--suspect", &position];
    screen.run(lab, &open, &open.join(" "))?;
    let client = lab.client()?;
    let incident = client.incidents()?.last().context("the incident is not there")?.incident;
    let query = CaseQuery { incident: Some(incident), limit: Some(1_000), ..CaseQuery::default() };
    let known = client.cases(&query)?.cases;
    // Whatever fell after the suspicion was noted.
    let number = incident.to_string();
    for name in HURT.iter().filter(|name| !known.iter().any(|case| case.name == **name)) {
        let add = ["incident", "open", "--add-to", &number, "--device", name, "--why", "the same"];
        screen.run(lab, &add, &format!("incident open --add-to {number} --device {name} --why \"the same\""))?;
    }
    Ok(incident)
}

/// Nobody answers; what the case needs to be closed is a proof, and there is none.
fn call_the_island(lab: &Lab, screen: &mut Screen) -> Result<Unreachable> {
    let (tenant, site, name) = ISLAND;
    let place = format!("{tenant}/{site}");
    screen.say(&format!("Meanwhile the power fails at {place}: one more machine is dark, and stays so."));
    lab.cut_power(machine(lab, name)?)?;
    let why = "nothing is heard of the island";
    let open = ["incident", "open", "--site", &place, "--why", why];
    screen.run(lab, &open, &format!("incident open --site {place} --why \"{why}\""))?;
    let client = lab.client()?;
    let incident = client.incidents()?.last().context("the incident is not there")?.incident;
    let cases = client.cases(&CaseQuery { incident: Some(incident), ..CaseQuery::default() })?.cases;
    let case =
        cases.iter().find(|case| case.name == name).context("the island's machine has no case")?.case.to_string();
    let call = ["case", "contact", &case, "no-answer"];
    for _ in 0..3 {
        screen.run(lab, &call, &call.join(" "))?;
    }
    let close = ["case", "close", &case];
    let refused = screen.refused(lab, &close, &close.join(" "))?;
    let view = client.case(case.parse()?)?;
    let phone = view.phone.unwrap_or_default();
    Ok(Unreachable { site: place, phone, incident, case: view.case, attempts: view.attempts, refused })
}

/// Two operators sign that the file goes away, one of them that safe mode is left, for each machine; the guards say how it
/// went.
fn mend(lab: &Lab, screen: &mut Screen, begun: Instant, file: &FileHash) -> Result<()> {
    let hash = file.sha256.to_string();
    for (at, name) in HURT.into_iter().enumerate() {
        let (first, second) = (format!("quarantine-{name}.json"), format!("leave-safe-{name}.json"));
        let steps = [
            vec!["remedy", "sign", name, "--case", "acme", "--out", &first, "quarantine-file", &file.path, &hash],
            vec!["remedy", "approve", &first, "--key", "operator-2", "--yes"],
            vec!["remedy", "send", &first],
            vec!["remedy", "sign", name, "--case", "acme", "--out", &second, "leave-safe"],
            vec!["remedy", "send", &second],
        ];
        for step in steps {
            let in_folder = |word: &&str| match word.strip_suffix(".json") {
                Some(_) => lab.folder.join(word).to_string_lossy().into_owned(),
                None => word.to_string(),
            };
            let typed: Vec<String> = step.iter().map(in_folder).collect();
            let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
            if at == 0 {
                screen.run(lab, &typed, &step.join(" "))?;
            } else {
                lab.staffel_ok(&typed)?;
            }
        }
    }
    screen.say(&format!("... and the same for the other {}.", HURT.len() - 1));
    watch(lab, screen, begun, "the guards' word on the remedies", |client| {
        let mut done = 0;
        for name in HURT {
            for remedy in client.device_remedies(name)?.remedies {
                if remedy.state == "failed" {
                    bail!("{name} could not carry out what it was sent: {}", remedy.why);
                }
                done += usize::from(remedy.state == "done");
            }
        }
        Ok(done == 2 * HURT.len())
    })
}

/// Waits, and shows how the machines are.
fn watch(
    lab: &Lab,
    screen: &mut Screen,
    begun: Instant,
    what: &str,
    mut holds: impl FnMut(&Client) -> Result<bool>,
) -> Result<()> {
    let outcome = lab.wait_for(what, PATIENCE, |lab| {
        let client = lab.client()?;
        screen.machines(&client, begun)?;
        holds(&client)
    });
    screen.settle();
    outcome
}

fn machine(lab: &Lab, name: &str) -> Result<usize> {
    lab.machines.iter().position(|machine| machine.name == name).with_context(|| format!("there is no {name}"))
}

fn content(lab: &Lab, name: &str) -> Result<PathBuf> {
    Ok(shield(&lab.machines[machine(lab, name)?].folder).join("content"))
}

fn shield(machine: &std::path::Path) -> PathBuf {
    host(machine).join("opt/acme-shield")
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}
