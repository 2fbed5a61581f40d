//! `staffel case`: one device until a probe has verified it, and `staffel call-list`: the sites that somebody has to call.
//! Must stay out: deciding what may be done about a case (the server's core does).

use crate::{
    client::{
        Client, Connect, pages,
        time::{clock, moment, now_ms, span},
    },
    output::{json, table},
};
use anyhow::{Context as _, Result};
use staffel_core::recovery::{Channel, Contact, State};
use staffel_server::api::{CallListEntry, CaseQuery, CaseView, CaseWord, EraseNote};
use std::fmt::Write as _;

/// Subcommands of `staffel case`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List cases.
    Ls(List),
    /// Show a case: what was tried, what is next, and why it can't be closed.
    Show {
        /// Number of the case.
        id: u64,
        #[command(flatten)]
        connect: Connect,
    },
    /// Take a case, or give it to somebody.
    Own {
        /// Number of the case.
        id: u64,
        /// Who sees to it [else: you]; an empty name gives it back.
        #[arg(long)]
        owner: Option<String>,
        #[command(flatten)]
        connect: Connect,
    },
    /// Write something down.
    Note {
        /// Number of the case.
        id: u64,
        /// What; no names of people, the log keeps it.
        text: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Erase the words of a note from the log; that there was one stays.
    Erase {
        /// Number of the case.
        id: u64,
        /// The note's place in the log, as `staffel case show` prints it.
        entry: u64,
        /// Why; the log keeps it, so no names of people.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Write down an attempt to reach the site.
    Contact(ContactArgs),
    /// The site wants to be called at a time.
    CallBack {
        /// Number of the case.
        id: u64,
        /// In so many minutes; 0 means no more.
        #[arg(long = "in", value_name = "MINUTES")]
        minutes: u64,
        /// What about.
        #[arg(long, default_value = "")]
        text: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Say where a case stands; only a probe makes it verified.
    State {
        /// Number of the case.
        id: u64,
        /// Where it stands.
        #[arg(value_parser = ["suspected", "notified", "reached", "instructed", "working", "restricted", "unreachable"])]
        state: String,
        /// How you know.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Write down that a workaround switched protection off, or that it is on again.
    Debt {
        /// Number of the case.
        id: u64,
        /// What is off.
        what: String,
        /// It is on again, and this is how you know.
        #[arg(long, value_name = "WHY")]
        lift: Option<String>,
        #[command(flatten)]
        connect: Connect,
    },
    /// Close a case; refused (exit code 3) until a probe has verified it and while protection is off.
    Close {
        /// Number of the case.
        id: u64,
        #[command(flatten)]
        connect: Connect,
    },
    /// Open a closed case again.
    Reopen {
        /// Number of the case.
        id: u64,
        /// Why.
        #[arg(long)]
        why: String,
        #[command(flatten)]
        connect: Connect,
    },
}

/// Which cases to list.
#[derive(clap::Args)]
pub struct List {
    /// Only of this incident.
    #[arg(long)]
    incident: Option<u64>,
    /// Only this customer's.
    #[arg(long)]
    tenant: Option<String>,
    /// Only at this site.
    #[arg(long)]
    site: Option<String>,
    /// Only these: a state, or open, not-back, overdue, unowned, debt.
    #[arg(long)]
    state: Option<String>,
    /// Only this person's.
    #[arg(long)]
    owner: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `staffel case contact`.
#[derive(clap::Args)]
pub struct ContactArgs {
    /// Number of the case.
    id: u64,
    /// How.
    #[arg(long, value_parser = ["email", "sms", "fax", "letter", "phone", "visit"], default_value = "phone")]
    channel: String,
    /// How it ended.
    #[arg(value_parser = ["sent", "no-answer", "wrong-address", "reached", "instructed", "says-it-works"])]
    outcome: String,
    /// What was said.
    #[arg(long, default_value = "")]
    text: String,
    #[command(flatten)]
    connect: Connect,
}

/// Arguments of `staffel call-list`.
#[derive(clap::Args)]
pub struct CallListArgs {
    #[command(flatten)]
    connect: Connect,
}

/// Runs `staffel case`.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    let say = |id: &u64, word: CaseWord, connect: &Connect| {
        let view = Client::from(connect)?.case_word(*id, &word)?;
        if as_json {
            return json(&view);
        }
        println!("{}", line(&view, now_ms()));
        Ok(())
    };
    match command {
        Command::Ls(list) => ls(list, as_json),
        Command::Show { id, connect } => {
            let view = Client::from(connect)?.case(*id)?;
            if as_json {
                return json(&view);
            }
            print!("{}", sheet(&view, now_ms()));
            Ok(())
        }
        Command::Own { id, owner, connect } => say(id, CaseWord::Own { owner: owner.clone() }, connect),
        Command::Note { id, text, connect } => say(id, CaseWord::Note { text: text.clone() }, connect),
        Command::Erase { id, entry, why, connect } => {
            let view = Client::from(connect)?.erase_note(*id, &EraseNote { entry: *entry, why: why.clone() })?;
            if as_json {
                return json(&view);
            }
            println!("the words of entry {entry} are erased; who did it and why is in the log");
            Ok(())
        }
        Command::Contact(args) => {
            let channel: Channel = serde_json::from_value(args.channel.clone().into())?;
            let outcome: Contact = serde_json::from_value(args.outcome.clone().into())?;
            say(&args.id, CaseWord::Contact { channel, outcome, text: args.text.clone() }, &args.connect)
        }
        Command::CallBack { id, minutes, text, connect } => {
            let after = minutes.checked_mul(60_000).context("that is too far away")?;
            let at_ms = (after > 0).then(|| now_ms().saturating_add(after));
            say(id, CaseWord::CallBack { at_ms, text: text.clone() }, connect)
        }
        Command::State { id, state, why, connect } => {
            let state: State = serde_json::from_value(state.clone().into())?;
            say(id, CaseWord::State { state, why: why.clone() }, connect)
        }
        Command::Debt { id, what, lift: None, connect } => say(id, CaseWord::OpenDebt { what: what.clone() }, connect),
        Command::Debt { id, what, lift: Some(why), connect } => {
            say(id, CaseWord::LiftDebt { what: what.clone(), why: why.clone() }, connect)
        }
        Command::Close { id, connect } => say(id, CaseWord::Close, connect),
        Command::Reopen { id, why, connect } => say(id, CaseWord::Reopen { why: why.clone() }, connect),
    }
}

fn ls(list: &List, as_json: bool) -> Result<()> {
    let client = Client::from(&list.connect)?;
    let query = CaseQuery {
        incident: list.incident,
        tenant: list.tenant.clone(),
        site: list.site.clone(),
        state: list.state.clone(),
        owner: list.owner.clone(),
        ..CaseQuery::default()
    };
    let (cases, more) = pages(list.limit, |limit, after| {
        let page = client.cases(&CaseQuery { limit: Some(limit), after, ..query.clone() })?;
        Ok((page.cases, page.next))
    })?;
    if as_json {
        return json(&cases);
    }
    let now = now_ms();
    let row = |case: &CaseView| {
        vec![
            case.case.to_string(),
            case.incident.to_string(),
            format!("{}/{}/{}", case.tenant, case.site, case.name),
            case.state.word().into(),
            case.owner.clone().unwrap_or_else(|| "nobody: assign one".into()),
            next(case, now),
        ]
    };
    print!(
        "{}",
        table(&["CASE", "INCIDENT", "DEVICE", "STATE", "OWNER", "NEXT"], &cases.iter().map(row).collect::<Vec<_>>())
    );
    if more {
        eprintln!("there are more: raise --limit, or narrow it with --incident, --tenant, --site, --state, --owner");
    }
    Ok(())
}

/// The next action with its time.
pub fn next(case: &CaseView, now: u64) -> String {
    if case.closed_ms.is_some() {
        return "-".into();
    }
    due(&case.next.text, case.next.due_ms, now)
}

fn due(text: &str, due_ms: u64, now: u64) -> String {
    match due_ms.checked_sub(now) {
        Some(left) => format!("{text}, within {}", span(left)),
        None => format!("{text}, overdue for {}", span(now - due_ms)),
    }
}

fn line(view: &CaseView, now: u64) -> String {
    let owner = view.owner.as_deref().unwrap_or("nobody: assign one");
    let name = format!("{}/{}/{}", view.tenant, view.site, view.name);
    format!("case {} ({name}): {}, owner {owner}, next: {}", view.case, view.state.word(), next(view, now))
}

fn sheet(view: &CaseView, now: u64) -> String {
    let mut text = format!(
        "case {} of incident {}: {}/{}/{}, {} since {}\n",
        view.case,
        view.incident,
        view.tenant,
        view.site,
        view.name,
        view.state.word(),
        moment(view.since_ms)
    );
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    line("why", view.why.clone());
    line("owner", view.owner.clone().unwrap_or_else(|| "nobody: assign one".into()));
    line("next", next(view, now));
    let heard = view.last_seen_ms.map_or_else(|| "never".into(), |at| format!("{} ago", span(now.saturating_sub(at))));
    line("device", format!("{}, heard {heard}", view.presence));
    line("probe", format!("{} of {} passed", view.probe.passed, view.probe.needed));
    for doubt in &view.probe.says {
        line("", doubt.clone());
    }
    for debt in &view.debts {
        line("debt", format!("{} (since {})", debt.text, moment(debt.since_ms)));
    }
    for reason in &view.cannot_close {
        line("not closed", reason.clone());
    }
    for channel in &view.channels {
        let kind = format!("{:?}", channel.channel).to_lowercase();
        line(&kind, format!("{} {}", channel.address, channel.name).trim().into());
    }
    if view.channels.is_empty() {
        line("reach", "nobody knows how: `staffel import contacts`".into());
    }
    for start in &view.starts {
        text.push_str(&super::device::start_lines(start, now));
    }
    for entry in &view.history {
        let _ = writeln!(text, "  {}  #{:<6} {}", clock(entry.at_ms), entry.position, entry.text);
    }
    text
}

/// Runs `staffel call-list`.
pub fn call_list(args: &CallListArgs, as_json: bool) -> Result<()> {
    let list = Client::from(&args.connect)?.call_list()?;
    if as_json {
        return json(&list);
    }
    if list.is_empty() {
        println!("nobody has to be called");
        return Ok(());
    }
    let now = now_ms();
    let row = |entry: &CallListEntry| {
        let numbers: Vec<_> = entry.cases.iter().map(u64::to_string).collect();
        let last = entry.tried.last().map_or_else(|| "-".into(), |t| format!("{} {}", clock(t.at_ms), t.text));
        vec![
            format!("{}/{}", entry.tenant, entry.site),
            entry.phone.clone().unwrap_or_else(|| "no number".into()),
            numbers.join(" "),
            entry.attempts.to_string(),
            if entry.owners.is_empty() { "nobody: assign one".into() } else { entry.owners.join(", ") },
            due(&entry.next.text, entry.next.due_ms, now),
            last,
        ]
    };
    let head = ["SITE", "PHONE", "CASES", "IN VAIN", "OWNER", "NEXT", "LAST TRIED"];
    print!("{}", table(&head, &list.iter().map(row).collect::<Vec<_>>()));
    Ok(())
}
