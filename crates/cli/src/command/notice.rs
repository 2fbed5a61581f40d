//! `staffel notice`: telling customers, and seeing who knows. Must stay out: wording and what comes next (`staffel_notice`).

use crate::{
    client::{
        Client, Connect,
        time::{moment, now_ms},
    },
    command::press,
    output::{Failure, json, table},
};
use anyhow::{Context as _, Result};
use staffel_notice::{FieldKind, Kind, Language, call_list};
use staffel_paper::{Call, CallList, Document};
use staffel_server::api::{CallBack, Erase, NewNotice, NoticeCall, NoticeSheet, NoticeView, Said};
use std::path::PathBuf;

/// Subcommands of `staffel notice`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Print what a notice needs, as JSON to fill in.
    New {
        /// first-information, instruction, all-clear or correction.
        template: Kind,
    },
    /// Freeze the audience and send a notice.
    Send(Send),
    /// List notices.
    Ls {
        #[command(flatten)]
        connect: Connect,
    },
    /// Show a notice: its text, its recipients, and what comes next for each.
    Show {
        /// Number of the notice.
        id: u64,
        #[command(flatten)]
        connect: Connect,
    },
    /// Enter what somebody said who read out a code, or that a call reached nobody.
    Ack {
        /// The short code as it was read out.
        code: String,
        /// What came of it.
        #[arg(long, default_value = "call-back", value_parser = ["call-back", "call", "fax", "mail", "no-answer", "wrong-number"])]
        said: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Who has not said that they know, the most urgent first.
    CallList(List),
    /// Erase the addresses of a notice from the log; what was not sent yet is not sent any more.
    Erase {
        /// Number of the notice.
        id: u64,
        /// Why; the log keeps it, so no names of people.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        connect: Connect,
    },
}

/// Arguments of `staffel notice send`.
#[derive(clap::Args)]
pub struct Send {
    /// first-information, instruction, all-clear or correction.
    template: Kind,
    /// The values: what `staffel notice new` printed, filled in.
    values: PathBuf,
    /// Number of the incident.
    #[arg(long)]
    incident: u64,
    /// The notice that this one replaces; a correction needs it.
    #[arg(long)]
    supersedes: Option<u64>,
    /// A site to be told, customer/site; may be given again [else: every site with an open case of the incident].
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// Show what would be sent to whom, and send nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `staffel notice call-list`.
#[derive(clap::Args)]
pub struct List {
    /// Number of the notice.
    id: u64,
    /// Write it as CSV into this file.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Print it as PDF into this file; needs `staffel-press`.
    #[arg(long)]
    pdf: Option<PathBuf>,
    /// Language of the PDF.
    #[arg(long, default_value = "de")]
    language: Language,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::New { template } => json(&skeleton(*template)),
        Command::Send(args) => send(args, as_json),
        Command::Ls { connect } => {
            let notices = Client::from(connect)?.notices()?;
            if as_json {
                return json(&notices);
            }
            let head = ["NOTICE", "INCIDENT", "WHAT", "SENT", "KNOW", "OF", "TO CALL", "BY", "REPLACED BY"];
            print!("{}", table(&head, &notices.iter().map(row).collect::<Vec<_>>()));
            Ok(())
        }
        Command::Show { id, connect } => show(&Client::from(connect)?.notice(*id)?, as_json),
        Command::Ack { code, said, connect } => {
            let said: Said = serde_json::from_value(said.clone().into())?;
            let sheet = Client::from(connect)?.call_back(&CallBack { code: code.clone(), said })?;
            if as_json {
                return json(&sheet);
            }
            let view = &sheet.notice;
            println!("noted; {} of {} know, {} to call", view.acknowledged, view.recipients, view.to_call);
            Ok(())
        }
        Command::CallList(args) => list(args, as_json),
        Command::Erase { id, why, connect } => {
            let sheet = Client::from(connect)?.erase_notice(*id, &Erase { why: why.clone() })?;
            if as_json {
                return json(&sheet);
            }
            println!("the addresses of notice {id} are erased; who did it and why is in the log");
            Ok(())
        }
    }
}

/// Each value with what belongs there.
fn skeleton(template: Kind) -> serde_json::Value {
    let value = |kind: FieldKind, meaning: &str| match kind {
        FieldKind::Text => serde_json::json!({ "text": format!("<{meaning}>") }),
        FieldKind::Time => serde_json::json!({ "time": format!("<{meaning}, like 2026-11-22T06:10+01:00>") }),
        FieldKind::Steps => serde_json::json!({ "steps": [format!("<{meaning}>")] }),
    };
    let mut shared = serde_json::Map::new();
    let mut words = serde_json::Map::new();
    for field in template.fields() {
        let place = if field.kind == FieldKind::Time { &mut shared } else { &mut words };
        place.insert(field.name.into(), value(field.kind, field.meaning));
    }
    serde_json::json!({ "all": shared, "de": words, "en": words })
}

fn send(args: &Send, as_json: bool) -> Result<()> {
    let path = args.values.display();
    let text = std::fs::read_to_string(&args.values).with_context(|| format!("read {path}"))?;
    if text.contains("\"<") {
        let what = format!("{path} still holds a <placeholder>");
        return Err(
            Failure { code: 2, what, hint: "fill it in, or remove the language that nobody reads".into() }.into()
        );
    }
    let values = serde_json::from_str(&text).with_context(|| format!("understand {path}"))?;
    let sheet = Client::from(&args.connect)?.draw_notice(&NewNotice {
        incident: args.incident,
        template: args.template,
        values,
        supersedes: args.supersedes,
        sites: args.sites.clone(),
        dry_run: args.dry_run,
    })?;
    show(&sheet, as_json)
}

fn row(view: &NoticeView) -> Vec<String> {
    let number = |id: Option<u64>| id.map_or_else(|| "-".into(), |id| id.to_string());
    vec![
        number(view.notice),
        view.incident.to_string(),
        view.template.to_string(),
        moment(view.made_ms),
        view.acknowledged.to_string(),
        view.recipients.to_string(),
        view.to_call.to_string(),
        view.by.clone(),
        number(view.superseded_by),
    ]
}

fn show(sheet: &NoticeSheet, as_json: bool) -> Result<()> {
    if as_json {
        return json(sheet);
    }
    match sheet.notice.notice {
        Some(id) => println!("notice {id}, incident {}", sheet.notice.incident),
        None => println!("nothing was sent; this would be:"),
    }
    for text in &sheet.texts {
        println!("\n[{}] {}\n\n{}\nSMS: {}", text.language, text.subject, text.text.trim_end(), text.sms);
    }
    let rows = sheet.recipients.iter().map(|r| {
        vec![
            format!("{}/{}", r.tenant, r.site),
            if r.critical { "first".into() } else { String::new() },
            r.language.clone(),
            r.code.clone(),
            if r.routes.is_empty() { "no address".into() } else { r.routes.join(", ") },
            r.next.clone(),
        ]
    });
    println!();
    print!("{}", table(&["SITE", "", "", "CODE", "CHANNELS", "NEXT"], &rows.collect::<Vec<_>>()));
    Ok(())
}

fn list(args: &List, as_json: bool) -> Result<()> {
    let client = Client::from(&args.connect)?;
    let calls = client.notice_call_list(args.id)?;
    if let Some(path) = &args.csv {
        let rows = calls.iter().map(as_row).collect::<Result<Vec<_>>>()?;
        crate::layout::write(path, call_list::csv(&rows).as_bytes())?;
    }
    if let Some(path) = &args.pdf {
        let sheet = client.notice(args.id)?;
        press::print(vec![(paper(args, &sheet, &calls)?, path.clone())])?;
    }
    if as_json {
        return json(&calls);
    }
    let rows = calls.iter().map(|call| {
        vec![
            format!("{}/{}", call.tenant, call.site),
            if call.critical { "first".into() } else { String::new() },
            if call.due { "now".into() } else { "later".into() },
            call.phone.clone().unwrap_or_else(|| "no number".into()),
            call.code.clone(),
            call.tried.clone(),
        ]
    });
    print!("{}", table(&["SITE", "", "CALL", "PHONE", "CODE", "TRIED"], &rows.collect::<Vec<_>>()));
    Ok(())
}

fn as_row(call: &NoticeCall) -> Result<call_list::Row> {
    Ok(call_list::Row {
        recipient: call.recipient,
        tenant: call.tenant.clone(),
        site: call.site.clone(),
        language: call.language.parse().map_err(anyhow::Error::msg)?,
        critical: call.critical,
        due: call.due,
        phone: call.phone.clone(),
        code: call.code.clone(),
        attempts: call.attempts as usize,
        calls: call.calls as usize,
        tried: call.tried.clone(),
    })
}

fn paper(args: &List, sheet: &NoticeSheet, calls: &[NoticeCall]) -> Result<Document> {
    let made_at = moment(now_ms());
    let date = made_at.get(..10).and_then(|date| date.parse().ok()).context("find today's date")?;
    let subject = sheet.texts.iter().find(|text| text.language == args.language.code()).or(sheet.texts.first());
    let call = |call: &NoticeCall| Call {
        site: call.site.clone(),
        customer: call.tenant.clone(),
        contact: None,
        phone: call.phone.clone(),
        code: call.code.clone(),
        critical: call.critical,
        tried: call.tried.clone(),
    };
    Ok(Document::CallList(CallList {
        language: args.language,
        incident: format!("V-{}", sheet.notice.incident),
        subject: subject.map_or_else(|| sheet.notice.template.to_string(), |text| text.subject.clone()),
        date,
        made_at,
        by: sheet.notice.by.clone(),
        audience: sheet.notice.recipients as usize,
        calls: calls.iter().map(call).collect(),
    }))
}
