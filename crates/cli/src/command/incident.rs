//! `staffel incident`: what went wrong, and how far it is mended. Must stay out: single cases (`staffel case`).

use crate::{
    client::{
        Client, Connect,
        time::{clock, moment, now_ms, span},
    },
    output::{Failure, json, table},
};
use anyhow::Result;
use staffel_core::recovery::Class;
use staffel_server::api::{CaseQuery, CaseView, Component, IncidentView, OpenIncident, RecoveryCurve, SuspectView};
use std::fmt::Write as _;

/// Cases that `show` lists of those that are not back.
const LISTED: u32 = 1_000;

/// Subcommands of `staffel incident`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List incidents.
    Ls {
        /// Only those with an open case.
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        connect: Connect,
    },
    /// Show an incident, its recovery curve, and the devices that are not back.
    Show {
        /// Number of the incident.
        id: u64,
        #[command(flatten)]
        connect: Connect,
    },
    /// Open an incident by hand, or add devices to one.
    Open(Box<Open>),
}

/// Arguments of `staffel incident open`.
#[derive(clap::Args)]
pub struct Open {
    /// What kind of trouble it is.
    #[arg(long, value_parser = ["faulty-update", "attack", "outage", "foreign"], default_value = "outage")]
    class: String,
    /// What happened: it stands in the log with your name.
    #[arg(long, required_unless_present = "suspect", default_value = "")]
    why: String,
    /// A device concerned: id, customer/site/name, or name; may be given again.
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<String>,
    /// A whole site concerned, customer/site; may be given again.
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// From where you know, for example "call from the clinic".
    #[arg(long, default_value = "")]
    source: String,
    /// Minutes ago that somebody became aware of it: clocks of reports start then.
    #[arg(long, default_value_t = 0)]
    aware_minutes_ago: u64,
    /// Take component, devices and reason from this suspect: the log entry that `staffel software suspects` names.
    #[arg(long, value_name = "ENTRY", conflicts_with_all = ["component", "add_to"])]
    suspect: Option<u64>,
    /// Name of the foreign component that is to blame.
    #[arg(long)]
    component: Option<String>,
    /// Its version.
    #[arg(long, requires = "component", default_value = "")]
    component_version: String,
    /// Who makes it.
    #[arg(long, requires = "component", default_value = "")]
    supplier: String,
    /// Add to this incident instead of opening a new one.
    #[arg(long, value_name = "INCIDENT")]
    add_to: Option<u64>,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Ls { open, connect } => {
            let mut incidents = Client::from(connect)?.incidents()?;
            incidents.retain(|incident| !open || incident.state == "open");
            if as_json {
                return json(&incidents);
            }
            print!("{}", listing(&incidents));
            Ok(())
        }
        Command::Show { id, connect } => {
            let client = Client::from(connect)?;
            let (view, curve) = (client.incident(*id)?, client.curve(*id)?);
            let query = CaseQuery {
                incident: Some(*id),
                state: Some("not-back".into()),
                limit: Some(LISTED),
                ..CaseQuery::default()
            };
            let cases = client.cases(&query)?.cases;
            if as_json {
                return json(&serde_json::json!({ "incident": view, "curve": curve, "not_back": cases }));
            }
            print!("{}", sheet(&view, &curve, &cases, now_ms()));
            Ok(())
        }
        Command::Open(args) => open(args, as_json),
    }
}

fn open(args: &Open, as_json: bool) -> Result<()> {
    let client = Client::from(&args.connect)?;
    if let Some(position) = args.suspect {
        let suspects = client.suspects()?;
        let Some(suspect) = suspects.into_iter().find(|suspect| suspect.position == position) else {
            let hint = "`staffel software suspects` lists them, each with its log entry";
            return Err(Failure::not_found(format!("no suspect stands in log entry {position}"), hint).into());
        };
        return opened(&client, &about(suspect, args), as_json);
    }
    if args.devices.is_empty() && args.sites.is_empty() {
        let hint = "name at least one with --device or --site";
        return Err(Failure { code: 2, what: "an incident concerns somebody".into(), hint: hint.into() }.into());
    }
    let class: Class = serde_json::from_value(args.class.clone().into())?;
    let component = args.component.as_ref().map(|name| Component {
        name: name.clone(),
        version: args.component_version.clone(),
        supplier: args.supplier.clone(),
    });
    let ago = args.aware_minutes_ago.saturating_mul(60_000);
    let incident = OpenIncident {
        class,
        why: args.why.clone(),
        aware_at_ms: (ago > 0).then(|| now_ms().saturating_sub(ago)),
        source: args.source.clone(),
        component,
        devices: args.devices.clone(),
        sites: args.sites.clone(),
        incident: args.add_to,
    };
    opened(&client, &incident, as_json)
}

/// The incident that follows from a suspicion, once a person says so.
fn about(suspect: SuspectView, args: &Open) -> OpenIncident {
    let mut devices: Vec<String> = suspect.devices.iter().map(ToString::to_string).collect();
    devices.extend(args.devices.iter().cloned());
    OpenIncident {
        class: Class::Foreign,
        why: if args.why.is_empty() { suspect.text } else { format!("{} ({})", args.why, suspect.text) },
        aware_at_ms: Some(suspect.at_ms),
        source: if args.source.is_empty() { format!("log entry {}", suspect.position) } else { args.source.clone() },
        component: Some(Component {
            name: suspect.component.name,
            version: suspect.component.version,
            supplier: suspect.component.supplier,
        }),
        devices,
        sites: args.sites.clone(),
        incident: None,
    }
}

fn opened(client: &Client, incident: &OpenIncident, as_json: bool) -> Result<()> {
    let view = client.open_incident(incident)?;
    if as_json {
        return json(&view);
    }
    let cases = if view.cases == 1 { "1 case".into() } else { format!("{} cases", view.cases) };
    println!("incident {}: {cases}; `staffel incident show {0}` lists who is not back", view.incident);
    Ok(())
}

fn listing(incidents: &[IncidentView]) -> String {
    let row = |i: &IncidentView| {
        vec![
            i.incident.to_string(),
            i.state.clone(),
            moment(i.aware_at_ms),
            format!("{}/{}", i.back, i.cases),
            i.without_owner.to_string(),
            i.overdue.to_string(),
            i.title.clone(),
        ]
    };
    let head = ["INCIDENT", "STATE", "KNOWN SINCE", "BACK", "NO OWNER", "OVERDUE", "WHAT"];
    table(&head, &incidents.iter().map(row).collect::<Vec<_>>())
}

fn sheet(view: &IncidentView, curve: &RecoveryCurve, cases: &[CaseView], now: u64) -> String {
    let mut text = format!("incident {}: {} ({}), {}\n", view.incident, view.title, view.class, view.state);
    let _ = writeln!(text, "  why       {}", view.why);
    let _ = writeln!(
        text,
        "  known     since {} by {} through {}",
        moment(view.aware_at_ms),
        view.aware_who,
        view.aware_source
    );
    let _ = writeln!(text, "  recovery  {}", curve.says);
    let reached = |m: &staffel_server::api::CurveMilestone| {
        format!(
            "{} % {}",
            m.percent,
            m.after_ms.map_or_else(|| "not yet".into(), |after| format!("after {}", span(after)))
        )
    };
    let _ = writeln!(text, "  curve     {}", curve.milestones.iter().map(reached).collect::<Vec<_>>().join(", "));
    let states: Vec<_> =
        view.by_state.iter().filter(|(_, n)| **n > 0).map(|(state, n)| format!("{n} {state}")).collect();
    let _ = writeln!(text, "  cases     {}: {}", view.cases, states.join(", "));
    if view.without_owner + view.overdue + view.with_debts > 0 {
        let _ = writeln!(
            text,
            "  open      {} without an owner, {} overdue, {} with protection off",
            view.without_owner, view.overdue, view.with_debts
        );
    }
    if cases.is_empty() {
        text.push_str("every device is proven to be back\n");
        return text;
    }
    text.push_str("not back:\n");
    let row = |case: &CaseView| {
        let tried = case.tried.last().map_or_else(|| "-".into(), |t| format!("{} {}", clock(t.at_ms), t.text));
        vec![
            format!("  {}", case.case),
            format!("{}/{}/{}", case.tenant, case.site, case.name),
            case.state.word().into(),
            case.phone.clone().unwrap_or_else(|| "no number".into()),
            case.owner.clone().unwrap_or_else(|| "nobody: assign one".into()),
            super::case::next(case, now),
            tried,
        ]
    };
    let head = ["  CASE", "DEVICE", "STATE", "PHONE", "OWNER", "NEXT", "LAST TRIED"];
    text.push_str(&table(&head, &cases.iter().map(row).collect::<Vec<_>>()));
    text
}
