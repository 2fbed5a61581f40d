//! `staffel alert`: what devices' sensors found, as text, as JSON and in the words of OCSF, and seeing to it. Must stay out: what is
//! an alert and when it opens again (`core` decides).

use crate::{
    client::{
        Client, Connect, pages,
        time::{moment, now_ms, span},
    },
    output::{Failure, counted, json, table},
};
use anyhow::Result;
use staffel_core::detection::{Opening, Severity, Trouble};
use staffel_server::api::{
    Acknowledge, DetectionAcknowledged, DetectionLosses, DetectionPage, DetectionQuery, DetectionSheet, DetectionView,
    Erase,
};
use std::io::Write as _;

/// Subcommands of `staffel alert`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List alerts, what changed last first.
    Ls(List),
    /// Show one alert with its latest events.
    Show {
        /// Number of the alert.
        id: u64,
        /// As text, or as an OCSF Detection Finding.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        connect: Connect,
    },
    /// Say that you have seen to alerts; each opens again if it happens again.
    Ack {
        /// Numbers of the alerts.
        #[arg(required = true)]
        ids: Vec<u64>,
        /// What it was: it stands in the log with your name.
        #[arg(long)]
        why: String,
        /// For so long what is no worse is only counted: 30m, 12h, 7d; at most 30d.
        #[arg(long, value_name = "TIME", value_parser = minutes)]
        quiet: Option<u64>,
        #[command(flatten)]
        connect: Connect,
    },
    /// Erase the fields of an alert's events (command lines, account names) from the log, and of what came with them.
    Erase {
        /// Number of the alert.
        id: u64,
        /// Why; the log keeps it, so no names of people.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        connect: Connect,
    },
}

/// How alerts are written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    /// OCSF Detection Findings, one a line (with --json: one list).
    Ocsf,
}

/// Which alerts are in a list.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    Open,
    Acknowledged,
    All,
}

/// What alerts are about.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum About {
    /// A rule matched.
    Rule,
    /// Something happened to the sensor itself.
    Sensor,
}

/// Arguments of `staffel alert ls`.
#[derive(clap::Args)]
pub struct List {
    /// Only this customer's.
    #[arg(long)]
    tenant: Option<String>,
    /// Only at this site.
    #[arg(long)]
    site: Option<String>,
    /// Only of this device: its id, `customer/site/name`, or its name if only one has it.
    #[arg(long)]
    device: Option<String>,
    #[arg(long, value_enum, default_value = "open")]
    state: State,
    /// At least so severe: informational, low, medium, high or critical.
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    /// Only this kind.
    #[arg(long, value_enum)]
    about: Option<About>,
    /// Part of the title, the rule's id or a tag, such as attack.t1059.
    #[arg(long)]
    text: Option<String>,
    /// Only what an entry of the log after this one is about: what is new since the last time.
    #[arg(long, value_name = "ENTRY")]
    since: Option<u64>,
    /// No more than so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// As text, or as OCSF Detection Findings.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// End with exit code 3 if there is any.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    connect: Connect,
}

fn severity(text: &str) -> Result<Severity, String> {
    let all = Severity::ALL.map(Severity::word).join(", ");
    Severity::ALL.into_iter().find(|severity| severity.word() == text).ok_or(format!("one of {all}"))
}

/// Minutes of a time such as `90m`, `12h`, `7d`.
fn minutes(text: &str) -> Result<u64, String> {
    let bad = || "a number with m, h or d, such as 12h, at most 30d".to_string();
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    let each = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        _ => return Err(bad()),
    };
    number.checked_mul(each).filter(|minutes| (1..=30 * 24 * 60).contains(minutes)).ok_or_else(bad)
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Ls(args) => list(args, as_json),
        Command::Show { id, format, connect } => {
            let client = Client::from(connect)?;
            if *format == Format::Ocsf {
                return json(&client.detection_as_ocsf(*id)?);
            }
            let sheet = client.detection(*id)?;
            if as_json {
                return json(&sheet);
            }
            print!("{}", card(&sheet, now_ms()));
            Ok(())
        }
        Command::Ack { ids, why, quiet, connect } => {
            let client = Client::from(connect)?;
            let asked = Acknowledge { why: why.clone(), quiet_minutes: *quiet };
            let mut seen = Vec::new();
            for id in ids {
                let view = client.acknowledge_detection(*id, &asked)?.detection;
                if !as_json {
                    println!("alert {id} on {}: {}", view.name, state(&view, now_ms()));
                }
                seen.push(view);
            }
            if as_json { json(&seen) } else { Ok(()) }
        }
        Command::Erase { id, why, connect } => {
            let sheet = Client::from(connect)?.erase_detection(*id, &Erase { why: why.clone() })?;
            if as_json {
                return json(&sheet);
            }
            println!("the fields of the events of alert {id} are erased; who did it and why is in the log");
            Ok(())
        }
    }
}

fn list(args: &List, as_json: bool) -> Result<()> {
    let word = |state: State| match state {
        State::Open => "open",
        State::Acknowledged => "acknowledged",
        State::All => "all",
    };
    let about = args.about.map(|about| if about == About::Rule { "rule" } else { "sensor" });
    let query = DetectionQuery {
        tenant: args.tenant.clone(),
        site: args.site.clone(),
        device: args.device.clone(),
        state: Some(word(args.state).into()),
        severity: args.severity,
        about: about.map(String::from),
        text: args.text.clone(),
        since: args.since,
        before: None,
        limit: None,
    };
    let client = Client::from(&args.connect)?;
    let asked = |limit: u32, before: Option<u64>| DetectionQuery { before, limit: Some(limit), ..query.clone() };
    let found = if args.format == Format::Ocsf {
        let (findings, _) = pages(args.limit, |limit, before| {
            let page = client.detections_as_ocsf(&asked(limit, before))?;
            Ok((page.findings, page.next))
        })?;
        if as_json {
            json(&findings)?;
        } else {
            let mut out = std::io::stdout().lock();
            findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
        }
        findings.len()
    } else {
        let mut page = DetectionPage::default();
        let (views, more) = pages(args.limit, |limit, before| {
            page = client.detections(&asked(limit, before))?;
            Ok((std::mem::take(&mut page.detections), page.next))
        })?;
        page.detections = views;
        if as_json {
            json(&page)?;
        } else {
            print!("{}", listing(&page, more, now_ms()));
        }
        page.detections.len()
    };
    match found {
        1.. if args.check => {
            let what = format!("{found} alerts where there should be none");
            Err(Failure::refused(what, "look at them with `staffel alert show`, then `staffel alert ack`").into())
        }
        _ => Ok(()),
    }
}

fn listing(page: &DetectionPage, more: bool, now: u64) -> String {
    let row = |view: &DetectionView| {
        vec![
            view.detection.to_string(),
            view.severity.to_string(),
            view.name.clone(),
            view.title.clone(),
            view.count.to_string(),
            format!("{} ago", span(now.saturating_sub(view.heard_ms))),
            state(view, now),
        ]
    };
    let head = ["ALERT", "SEVERITY", "DEVICE", "WHAT", "TIMES", "HEARD", "STATE"];
    let rows: Vec<_> = page.detections.iter().map(row).collect();
    let mut text = if rows.is_empty() { "no alerts\n".to_string() } else { table(&head, &rows) };
    if more {
        text.push_str("there are more: say --limit, or what to look for\n");
    }
    if let Some(losses) = losses(&page.losses) {
        text.push_str(&format!("of what sensors found {losses}\n"));
    }
    text
}

/// What nobody can look at, in words; nothing if there is no such thing.
pub(super) fn losses(losses: &DetectionLosses) -> Option<String> {
    counted(&[
        (losses.lost, "never arrived"),
        (losses.folded, "are counted without their fields"),
        (losses.uncounted, "were not understood or found no room"),
        (losses.dropped, "alerts made room for others"),
    ])
}

fn state(view: &DetectionView, now: u64) -> String {
    match (&view.acknowledged, view.opened) {
        (Some(DetectionAcknowledged { by, why, quiet_until_ms, .. }), _) => {
            let quiet = quiet_until_ms.filter(|until| now < *until);
            let quiet = quiet.map(|until| format!(", quiet for {}", span(until - now))).unwrap_or_default();
            format!("acknowledged by {by}: {why}{quiet}")
        }
        (None, Some(Opening::Again)) => "open again".into(),
        (None, Some(Opening::Worse)) => "open, got worse".into(),
        (None, _) => "open".into(),
    }
}

/// An alert in one line, for a device's own view.
pub(super) fn line(view: &DetectionView, now: u64) -> String {
    let detail = if view.detail.is_empty() { String::new() } else { format!(" ({})", view.detail) };
    format!(
        "alert {}, {}, {} ago, {}: {}{detail}\n",
        view.detection,
        view.severity,
        span(now.saturating_sub(view.heard_ms)),
        times(view.count),
        view.title
    )
}

fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

fn card(sheet: &DetectionSheet, now: u64) -> String {
    let view = &sheet.detection;
    let mut text = format!("alert {}, {}: {}\n", view.detection, view.severity, view.title);
    let mut say = |what: &str, value: &str| text.push_str(&format!("  {what:<10}{value}\n"));
    say("device", &format!("{} ({})", view.name, view.device));
    say("is", &state(view, now));
    say(
        "heard",
        &format!(
            "{}, last {} ({} ago)",
            times(view.count),
            moment(view.heard_ms),
            span(now.saturating_sub(view.heard_ms))
        ),
    );
    say("happened", &format!("{} to {}, by the device's clock", moment(view.first_ms), moment(view.last_ms)));
    match (&view.rule, view.trouble) {
        (Some(rule), _) => say("rule", &format!("{rule}, pack {} {}, {}", view.pack, view.version, view.class)),
        (None, trouble) => say("sensor", trouble.map_or("", Trouble::word)),
    }
    if !view.detail.is_empty() {
        say("detail", &view.detail);
    }
    if !view.tags.is_empty() {
        say("tags", &view.tags.join(", "));
    }
    for step in &sheet.history {
        let what = match (&step.acknowledged, step.opened) {
            (Some(said), _) => format!("acknowledged by {}: {}", said.by, said.why),
            (None, Some(Opening::Again)) => "opened again".into(),
            (None, Some(Opening::Worse)) => "got worse".into(),
            (None, _) => "opened".into(),
        };
        text.push_str(&format!("{}  {what} (log entry {})\n", moment(step.at_ms), step.position));
    }
    for event in &sheet.evidence {
        let (at, count, entry) = (moment(event.last_ms), times(event.count), event.position);
        text.push_str(&format!("event of {at}, {count}, log entry {entry}\n"));
        for (name, value) in &event.fields {
            text.push_str(&format!("  {name}: {value}\n"));
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use staffel_core::ids::DeviceId;
    use staffel_server::api::{DetectionEvidence, DetectionStep};

    pub fn view() -> DetectionView {
        DetectionView {
            detection: 7,
            device: DeviceId([7; 16]),
            name: "clinic/ward-3/pc-1".into(),
            rule: Some("r-1".into()),
            trouble: None,
            title: "Reverse shell".into(),
            severity: Severity::High,
            class: "process_creation".into(),
            pack: "linux".into(),
            version: 3,
            tags: vec!["attack.t1059.004".into()],
            detail: String::new(),
            state: "open".into(),
            opened: Some(Opening::Again),
            acknowledged: None,
            count: 3,
            first_ms: 1_000,
            last_ms: 3_000,
            began_ms: 2_000,
            heard_ms: 4_000,
            position: 40,
        }
    }

    #[test]
    fn an_alert_is_shown_with_its_events_and_who_saw_to_it() {
        let said = DetectionAcknowledged {
            by: "ann".into(),
            why: "our scanner".into(),
            at_ms: 3_000,
            quiet_until_ms: Some(3_604_000),
        };
        let step = DetectionStep { position: 39, at_ms: 3_000, opened: None, acknowledged: Some(said.clone()) };
        let fields = [("User".to_string(), "anna".to_string())].into();
        let event = DetectionEvidence { position: 38, count: 1, last_ms: 3_000, fields };
        let sheet = DetectionSheet { detection: view(), evidence: vec![event], history: vec![step] };
        let expected = "alert 7, high: Reverse shell
  device    clinic/ward-3/pc-1 (07070707070707070707070707070707)
  is        open again
  heard     3 times, last 1970-01-01 00:00:04Z (60 s ago)
  happened  1970-01-01 00:00:01Z to 1970-01-01 00:00:03Z, by the device's clock
  rule      r-1, pack linux 3, process_creation
  tags      attack.t1059.004
1970-01-01 00:00:03Z  acknowledged by ann: our scanner (log entry 39)
event of 1970-01-01 00:00:03Z, once, log entry 38
  User: anna
";
        assert_eq!(card(&sheet, 64_000), expected);
        let quiet = DetectionView { acknowledged: Some(said), opened: None, ..view() };
        assert_eq!(state(&quiet, 4_000), "acknowledged by ann: our scanner, quiet for 60 min");
        assert_eq!(state(&quiet, 4_000_000), "acknowledged by ann: our scanner");
    }

    #[test]
    fn a_list_says_what_nobody_can_look_at() {
        let losses = DetectionLosses { lost: 3, folded: 5, ..DetectionLosses::default() };
        let page = DetectionPage { detections: vec![view()], losses, ..DetectionPage::default() };
        let text = listing(&page, false, 64_000);
        assert!(
            text.lines().nth(1).is_some_and(|line| line.starts_with("7      high      clinic/ward-3/pc-1")),
            "{text}"
        );
        assert!(
            text.ends_with("of what sensors found 3 never arrived, 5 are counted without their fields\n"),
            "{text}"
        );
        assert_eq!(listing(&DetectionPage::default(), false, 0), "no alerts\n");
    }

    #[test]
    fn times_to_stay_quiet_are_read() {
        assert_eq!(["90m", "12h", "30d"].map(|text| minutes(text).ok()), [Some(90), Some(720), Some(43_200)]);
        for bad in ["", "h", "0m", "31d", "12", "1w", "99999999999999999999d", "1é"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
    }
}
