//! `staffel device`: which devices there are, what each does and why it does nothing, and tokens that let new ones in.
//! Must stay out: the reasons themselves (devices and server give them).

use crate::{
    client::{
        Client, Connect, pages,
        time::{moment, now_ms, span},
    },
    output::{counted, json, table},
};
use anyhow::Result;
use staffel_server::api::{
    DetectionCounts, DeviceQuery, DeviceView, DeviceWhy, DeviceWhyRollout, RemedyView, StartView, TokenRequest, Word,
};

/// Subcommands of `staffel device`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List devices.
    Ls(List),
    /// Show one device.
    Show {
        /// Its id, `customer/site/name`, or its name if only one has it.
        device: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Why a device does what it does, or does nothing.
    Why {
        /// Its id, `customer/site/name`, or its name if only one has it.
        device: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Take a device out of the fleet for good; its key opens nothing any more.
    Retire(Said),
    /// A key was seen in two machines, and somebody has seen to it: let the device change again.
    ClearClone(Said),
    /// Make a one-time token with which one new device enrols.
    Token {
        /// The customer that the device will belong to.
        #[arg(long)]
        tenant: String,
        /// The customer's site.
        #[arg(long)]
        site: String,
        /// Hours until the token is worthless.
        #[arg(long, default_value_t = 24)]
        hours: u64,
        #[command(flatten)]
        connect: Connect,
    },
}

/// A device, and a word about it.
#[derive(clap::Args)]
pub struct Said {
    /// Its id, `customer/site/name`, or its name if only one has it.
    device: String,
    /// Why: it stands in the log with your name.
    #[arg(long)]
    why: String,
    #[command(flatten)]
    connect: Connect,
}

/// Which devices to list.
#[derive(clap::Args)]
pub struct List {
    /// Only this customer's.
    #[arg(long)]
    tenant: Option<String>,
    /// Only at this site.
    #[arg(long)]
    site: Option<String>,
    /// Only these.
    #[arg(long, value_parser = ["alive", "silent", "left", "never-seen", "retired"])]
    presence: Option<String>,
    /// Only those with this in their name, or an id that begins with it.
    #[arg(long)]
    text: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Ls(list) => ls(list, as_json),
        Command::Show { device, connect } => {
            let why = Client::from(connect)?.device_why(device)?;
            if as_json {
                return json(&why.device);
            }
            print!("{}", card(&why.device, now_ms()));
            Ok(())
        }
        Command::Why { device, connect } => {
            let why = Client::from(connect)?.device_why(device)?;
            if as_json {
                return json(&why);
            }
            print!("{}", explanation(&why, now_ms()));
            Ok(())
        }
        Command::Retire(said) => word(said, "retire", as_json),
        Command::ClearClone(said) => word(said, "clear-clone", as_json),
        Command::Token { tenant, site, hours, connect } => {
            let request = TokenRequest { tenant: tenant.clone(), site: site.clone(), hours: Some(*hours) };
            let token = Client::from(connect)?.token(&request)?;
            if as_json {
                return json(&token);
            }
            println!("{}", token.token);
            // Only the token goes to standard output, so that a script can take it from there.
            eprintln!("one device of {tenant} at {site} may enrol with it, once, until {}", moment(token.expires_ms));
            Ok(())
        }
    }
}

fn word(said: &Said, verb: &str, as_json: bool) -> Result<()> {
    let word = Word { why: said.why.clone(), halt: None };
    let view = Client::from(&said.connect)?.device_word(&said.device, verb, &word)?;
    if as_json {
        return json(&view);
    }
    print!("{}", card(&view, now_ms()));
    Ok(())
}

fn ls(list: &List, as_json: bool) -> Result<()> {
    let client = Client::from(&list.connect)?;
    let query = DeviceQuery {
        tenant: list.tenant.clone(),
        site: list.site.clone(),
        presence: list.presence.clone(),
        text: list.text.clone(),
        ..DeviceQuery::default()
    };
    let (devices, more) = pages(list.limit, |limit, after| {
        let page = client.devices(&DeviceQuery { limit: Some(limit), after, ..query.clone() })?;
        Ok((page.devices, page.next))
    })?;
    if as_json {
        return json(&devices);
    }
    print!("{}", listing(&devices, now_ms()));
    if more {
        eprintln!("there are more: raise --limit, or narrow it with --tenant, --site, --presence, --text");
    }
    Ok(())
}

fn listing(devices: &[DeviceView], now: u64) -> String {
    let row = |device: &DeviceView| {
        vec![full_name(device), device.presence.clone(), seen(device, now), device.mode.clone(), running(device)]
    };
    table(&["DEVICE", "PRESENCE", "HEARD", "MODE", "RUNS"], &devices.iter().map(row).collect::<Vec<_>>())
}

fn full_name(device: &DeviceView) -> String {
    format!("{}/{}/{}", device.tenant, device.site, device.name)
}

fn seen(device: &DeviceView, now: u64) -> String {
    device.last_seen_ms.map_or_else(|| "-".into(), |at| format!("{} ago", span(now.saturating_sub(at))))
}

fn running(device: &DeviceView) -> String {
    if device.running.is_empty() {
        return "nothing of ours".into();
    }
    let each: Vec<_> = device.running.iter().map(|(name, version)| format!("{name} {version}")).collect();
    each.join(", ")
}

/// A device in a few lines.
fn card(device: &DeviceView, now: u64) -> String {
    let mut text = format!(
        "{}\n  id        {}\n  is        {}, heard {}, mode {}\n  runs      {}\n  system    {}, {}\n",
        full_name(device),
        device.device,
        device.presence,
        seen(device, now),
        device.mode,
        running(device),
        device.os_build,
        device.hardware_model,
    );
    for warning in &device.warnings {
        text.push_str(&format!("  warning   {warning}\n"));
    }
    if let Some(open) = open_alerts(&device.alerts) {
        text.push_str(&format!("  alerts    {open}\n"));
    }
    text
}

/// `1 critical, 2 high`; nothing if none is open.
pub(super) fn open_alerts(open: &DetectionCounts) -> Option<String> {
    counted(&[
        (open.critical, "critical"),
        (open.high, "high"),
        (open.medium, "medium"),
        (open.low, "low"),
        (open.informational, "informational"),
    ])
}

/// The card, and for each rollout the device's place and its own words.
fn explanation(why: &DeviceWhy, now: u64) -> String {
    let mut text = card(&why.device, now);
    if why.rollouts.is_empty() {
        text.push_str("  there is no rollout\n");
    }
    for rollout in &why.rollouts {
        text.push_str(&place(rollout));
    }
    for start in &why.starts {
        text.push_str(&start_lines(start, now));
    }
    if let Some(certificate) = &why.certificate {
        let ago = span(now.saturating_sub(certificate.at_ms));
        let got = certificate.refused.as_ref().map_or("it got one by its key".into(), |why| format!("refused: {why}"));
        text.push_str(&format!("certificate in place of an expired one, asked for {ago} ago\n  {got}\n"));
    }
    for alert in &why.detections.open {
        text.push_str(&super::alert::line(alert, now));
    }
    if why.detections.more > 0 {
        text.push_str(&format!(
            "{} more alerts: staffel alert ls --device {}\n",
            why.detections.more, why.device.device
        ));
    }
    if let Some(losses) = super::alert::losses(&why.detections.losses) {
        text.push_str(&format!("of what its sensor found {losses}\n"));
    }
    for remedy in &why.remedies {
        let RemedyView { sequence, action, state, why, by, .. } = remedy;
        text.push_str(&format!("remedy {sequence}: {action}, sent by {by}\n  {state}: {why}\n"));
    }
    text
}

/// A start of the machine, and what it found of an earlier one.
pub fn start_lines(start: &StartView, now: u64) -> String {
    let ago = span(now.saturating_sub(start.at_ms));
    let mut text = format!("start {}, heard of {ago} ago, entry {} of the log\n", start.boot_id, start.position);
    for line in &start.says {
        text.push_str(&format!("  found: {line}\n"));
    }
    text
}

fn place(rollout: &DeviceWhyRollout) -> String {
    // 0 stands for what concerns the device as a whole.
    let mut text = match rollout.rollout {
        0 => "the device as a whole\n".to_string(),
        id => format!("rollout {id}: {}\n  {}\n", rollout.release, rollout.place),
    };
    for refusal in &rollout.refusals {
        text.push_str(&format!("  condition {}: {refusal}\n", refusal.condition()));
    }
    for problem in &rollout.problems {
        text.push_str(&format!("  {problem}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_core::{conditions::Refusal, ids::DeviceId};
    use staffel_server::api::{CertificateView, DetectionLosses, DeviceDetections};

    fn device() -> DeviceView {
        DeviceView {
            device: DeviceId([7; 16]),
            name: "pc-1".into(),
            tenant: "clinic".into(),
            site: "ward-3".into(),
            os_build: "debian-12".into(),
            hardware_model: "qemu".into(),
            presence: "alive".into(),
            last_seen_ms: Some(1_000),
            mode: "normal".into(),
            running: [("pump".into(), "1.0".into())].into(),
            warnings: vec!["two live boots on one key: cloned?".into()],
            alerts: Default::default(),
        }
    }

    fn entry(rollout: u64) -> DeviceWhyRollout {
        DeviceWhyRollout {
            rollout,
            release: "pump 2.0".into(),
            place: "not in a wave yet".into(),
            says: Vec::new(),
            refusals: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn each_refusal_is_named_with_its_condition() {
        let refusal = Refusal::AuthorisationTooFewSigners { have: 1 };
        let first = DeviceWhyRollout { refusals: vec![refusal], ..entry(2) };
        let second = DeviceWhyRollout { problems: vec!["the disk is full".into()], ..entry(0) };
        let line = "kernel, Panic: Kernel panic - not syncing: x";
        let (boot_id, says) = ("boot-7".into(), vec![line.into()]);
        let start = StartView { at_ms: 2_000, position: 9, boot_id, says, traces: Vec::new() };
        let certificate =
            Some(CertificateView { at_ms: 3_000, refused: Some("the key was seen in two machines".into()) });
        let rollouts = vec![first, second];
        let detections = Default::default();
        let why =
            DeviceWhy { device: device(), rollouts, remedies: vec![], starts: vec![start], certificate, detections };
        let text = explanation(&why, 4_000);
        let expected = "clinic/ward-3/pc-1
  id        07070707070707070707070707070707
  is        alive, heard 3 s ago, mode normal
  runs      pump 1.0
  system    debian-12, qemu
  warning   two live boots on one key: cloned?
rollout 2: pump 2.0
  not in a wave yet
  condition 3: 1 of 2 releasers have signed
the device as a whole
  the disk is full
start boot-7, heard of 2 s ago, entry 9 of the log
  found: kernel, Panic: Kernel panic - not syncing: x
certificate in place of an expired one, asked for 1 s ago
  refused: the key was seen in two machines
";
        assert_eq!(text, expected);
    }

    #[test]
    fn open_alerts_and_what_was_lost_of_them_are_named() {
        let alert = super::super::alert::tests::view();
        let open = DetectionCounts { high: 1, ..DetectionCounts::default() };
        let losses = DetectionLosses { lost: 3, ..DetectionLosses::default() };
        let detections = DeviceDetections { open: vec![alert], more: 2, losses };
        let device = DeviceView { alerts: open, ..device() };
        let (starts, certificate) = (vec![], None);
        let why = DeviceWhy { device, rollouts: vec![], remedies: vec![], starts, certificate, detections };
        let text = explanation(&why, 64_000);
        let says = |line: &str| assert!(text.lines().any(|found| found == line), "{line}: {text}");
        says("  alerts    1 high");
        says("alert 7, high, 60 s ago, 3 times: Reverse shell");
        says("2 more alerts: staffel alert ls --device 07070707070707070707070707070707");
        says("of what its sensor found 3 never arrived");
    }

    #[test]
    fn a_device_that_was_never_heard_has_no_age() {
        let device = DeviceView { last_seen_ms: None, running: Default::default(), ..device() };
        let text = listing(&[device], 4_000);
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("  -  ") && line.ends_with("nothing of ours")));
    }
}
