//! Recovery: incidents, what is not back and whom to call, one case and what people say about it. Must stay out: deciding when
//! a case is over; that takes the device's own proof.

use super::{Line, StartLines, draw::bar, lines, starts};
use crate::{
    auth::{Ask, Posted},
    times,
    web::{Console, Frame, Stop, page},
    words::Words,
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, Query},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use staffel_core::recovery::{Channel, Class, Contact};
use staffel_server::{
    api::{
        CallListEntry, CaseQuery, CaseView, CaseWord, Component, ContactView, IncidentView, NextView, OpenIncident,
        RecoveryCurve, Role,
    },
    engine::{EngineError, now_ms},
};
use std::sync::Arc;

const PAGE: u32 = 50;
/// Sites that the list of calls shows.
const CALLS: usize = 100;
/// Rows of the table behind the curve.
const ROWS: usize = 120;
/// Entries of a case's history.
const ENTRIES: usize = 50;

const CHANNELS: [&str; 6] = ["phone", "email", "sms", "fax", "letter", "visit"];
const OUTCOMES: [&str; 6] = ["no-answer", "reached", "instructed", "says-it-works", "sent", "wrong-address"];
const CLASSES: [&str; 4] = ["outage", "faulty-update", "foreign", "attack"];
const FILTERS: [&str; 8] = ["not-back", "open", "overdue", "unowned", "debt", "unreachable", "verified", "closed"];

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/cases", get(list))
        .route("/cases/{id}", get(one))
        .route("/cases/{id}/{word}", post(say))
        .route("/incidents/new", get(form).post(open))
        .route("/incidents/{id}", get(incident))
}

/// An incident in short.
pub(crate) struct Card {
    pub view: IncidentView,
    pub title: String,
    pub class: String,
    pub bar: String,
    pub back: String,
    pub tone: &'static str,
}

/// Draws an incident in short.
pub(crate) fn card(words: Words, view: &IncidentView) -> Card {
    let back = words.t2("back-of", "n", view.back, "of", view.cases);
    Card {
        title: words.tagged("origin", &json(&view.origin), &view.title),
        class: words.tagged("class", &json(&view.class), ""),
        bar: bar(&[("good", view.back), ("bad", view.not_back)], view.cases, &back),
        back,
        tone: if view.not_back > 0 { "bad" } else { "good" },
        view: view.clone(),
    }
}

/// A case as lists show it: who has to be called, and what was tried.
struct Row {
    view: CaseView,
    tone: &'static str,
    state: String,
    next: String,
    due: String,
    contact: String,
}

fn next(words: Words, next: &NextView, now_ms: u64) -> (String, String) {
    let action = words.tagged("action", &json(&next.action), &next.text);
    let due = if next.overdue {
        words.t1("overdue-since", "time", times::duration(words, now_ms.saturating_sub(next.due_ms)))
    } else {
        words.t1("due-in", "time", times::duration(words, next.due_ms.saturating_sub(now_ms)))
    };
    (action, due)
}

fn contact(words: Words, contact: Option<&ContactView>, now_ms: u64) -> String {
    let Some(contact) = contact else { return words.t("contact-none") };
    let word = |tag: &str, value: serde_json::Value| words.tagged(tag, &value, "");
    words.with(
        "contact-was",
        &[
            ("channel", &word("channel", json(&contact.channel))),
            ("outcome", &word("outcome", json(&contact.outcome))),
            ("by", &contact.by),
            ("time", &times::ago(words, now_ms, contact.at_ms)),
        ],
    )
}

fn row(words: Words, view: CaseView, now_ms: u64) -> Row {
    let tone = match view.state.word() {
        "unreachable" | "restricted" => "bad",
        "verified" | "closed" => "good",
        _ => "warn",
    };
    let (next, due) = next(words, &view.next, now_ms);
    Row {
        tone,
        state: words.tagged("case-state", &view.state.word().into(), view.state.word()),
        next,
        due,
        contact: contact(words, view.last_contact.as_ref(), now_ms),
        view,
    }
}

/// A site to call.
struct Call {
    entry: CallListEntry,
    next: String,
    due: String,
    contact: String,
    devices: String,
}

struct Choice {
    value: &'static str,
    label: String,
    chosen: bool,
}

fn choices(words: Words, tag: &str, values: &[&'static str], chosen: &str) -> Vec<Choice> {
    let choice =
        |value: &&'static str| Choice { value, label: words.t(&format!("{tag}-{value}")), chosen: *value == chosen };
    values.iter().map(choice).collect()
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Search {
    state: String,
    incident: Option<u64>,
    after: Option<u64>,
}

#[derive(Template)]
#[template(path = "cases.html")]
struct ListPage {
    frame: Frame,
    open: Vec<Card>,
    over: Vec<Card>,
    calls: Vec<Call>,
    more_calls: usize,
    rows: Vec<Row>,
    filters: Vec<Choice>,
    next: Option<String>,
}

async fn list(ask: Ask, Query(search): Query<Search>) -> Result<Response, Stop> {
    let state = if search.state.is_empty() { "not-back".to_string() } else { search.state.clone() };
    let query = CaseQuery {
        incident: search.incident,
        state: Some(state.clone()),
        after: search.after,
        limit: Some(PAGE),
        ..CaseQuery::default()
    };
    let (mut incidents, mut calls, found) =
        ask.aside(move |engine, who| (engine.incidents(who), engine.call_list(who), engine.cases(who, &query))).await?;
    let words = ask.look.words;
    let frame = ask.frame("cases", words.t("nav-cases"));
    let now_ms = frame.now_ms;
    incidents.reverse();
    let (open, over): (Vec<_>, Vec<_>) = incidents.iter().partition(|incident| incident.ended_ms.is_none());
    let cards = |of: Vec<&IncidentView>, most| of.into_iter().take(most).map(|view| card(words, view)).collect();
    let more_calls = calls.len().saturating_sub(CALLS);
    calls.truncate(CALLS);
    let calls = calls.into_iter().map(|entry| {
        let (next, due) = next(words, &entry.next, now_ms);
        let contact = contact(words, entry.last_contact.as_ref(), now_ms);
        Call { next, due, contact, devices: entry.devices.join(", "), entry }
    });
    let link = |after| {
        let incident = search.incident.map(|id| format!("&incident={id}")).unwrap_or_default();
        format!("/cases?state={state}{incident}&after={after}#cases")
    };
    let template = ListPage {
        open: cards(open, 200),
        over: cards(over, 20),
        calls: calls.collect(),
        more_calls,
        next: found.next.map(link),
        rows: found.cases.into_iter().map(|view| row(words, view, now_ms)).collect(),
        filters: choices(words, "case-filter", &FILTERS, &state),
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// A moment of the curve, for the table and the chart.
struct Moment {
    after: String,
    back: u64,
    cases: u64,
    values: String,
}

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage {
    frame: Frame,
    card: Card,
    states: Vec<(String, u64, String)>,
    curve_says: String,
    milestones: Vec<(u32, String)>,
    moments: Vec<Moment>,
    rows: Vec<Row>,
    more: Option<String>,
    lines: Vec<Line>,
    /// What was suspected, done and told because of it.
    suspicions: usize,
    remedies: usize,
    notices: usize,
}

async fn incident(ask: Ask, Path(id): Path<u64>) -> Result<Response, Stop> {
    let (view, curve, missing, told, answer) = ask
        .aside(move |engine, who| {
            let query = CaseQuery {
                incident: Some(id),
                state: Some("not-back".into()),
                limit: Some(PAGE),
                ..CaseQuery::default()
            };
            let view = engine.incident(who, id)?;
            let positions: Vec<u64> = match &who.tenant {
                None => engine.incident_history(who, id)?.iter().rev().map(|entry| entry.position).collect(),
                Some(_) => Vec::new(),
            };
            let told = engine.entries_at(who, &positions[..positions.len().min(ENTRIES)])?;
            let suspicions = engine.suspicions(who, Some(id))?.len();
            let answer = (suspicions, engine.remedy_count(who, id)?, engine.notice_rows(who, Some(id))?.len());
            Ok::<_, EngineError>((view, engine.curve(who, id)?, engine.cases(who, &query), told, answer))
        })
        .await??;
    let words = ask.look.words;
    let card = card(words, &view);
    let frame = ask.frame("cases", card.title.clone());
    let states = view.by_state.iter().filter(|(_, n)| **n > 0).map(|(state, n)| {
        (words.t(&format!("case-state-{state}")), *n, format!("/cases?incident={id}&state={state}#cases"))
    });
    let template = IncidentPage {
        states: states.collect(),
        curve_says: curve_says(words, &curve),
        milestones: curve
            .milestones
            .iter()
            .map(|m| (m.percent, m.after_ms.map_or_else(|| "–".into(), |ms| times::duration(words, ms))))
            .collect(),
        moments: moments(words, &curve),
        more: missing.next.map(|after| format!("/cases?incident={id}&state=not-back&after={after}#cases")),
        rows: missing.cases.into_iter().map(|view| row(words, view, frame.now_ms)).collect(),
        lines: lines(words, &told),
        suspicions: answer.0,
        remedies: answer.1,
        notices: answer.2,
        card,
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// The highest share that is back, and when; then how many are not.
fn curve_says(words: Words, curve: &RecoveryCurve) -> String {
    let not_back = words.t2("curve-not-back", "n", curve.cases.saturating_sub(curve.back), "of", curve.cases);
    match curve.milestones.iter().rev().find_map(|m| Some((m.percent, m.after_ms?))) {
        Some((percent, after)) => {
            let reached = words.t2("curve-reached", "percent", percent, "time", times::duration(words, after));
            format!("{reached} {not_back}")
        }
        None => not_back,
    }
}

fn moments(words: Words, curve: &RecoveryCurve) -> Vec<Moment> {
    let step = curve.points.len().div_ceil(ROWS).max(1);
    let chunks = curve.points.rchunks(step).rev();
    chunks
        .filter_map(|chunk| {
            let point = chunk.last()?;
            Some(Moment {
                after: times::duration(words, point.after_ms),
                back: point.back,
                cases: point.cases,
                values: format!("{} {} {}", curve.aware_at_ms + point.after_ms, point.back, point.cases),
            })
        })
        .collect()
}

#[derive(Template)]
#[template(path = "case.html")]
struct OnePage {
    frame: Frame,
    row: Row,
    why: String,
    seen: String,
    doubts: Vec<String>,
    cannot_close: Vec<String>,
    debts: Vec<(String, bool, String)>,
    channels: Vec<Choice>,
    outcomes: Vec<Choice>,
    reach: Vec<(String, String, String)>,
    starts: Vec<StartLines>,
    lines: Vec<Line>,
    may_say: bool,
    is_closed: bool,
}

async fn one(ask: Ask, Path(id): Path<u64>) -> Result<Response, Stop> {
    let (view, told) = ask
        .aside(move |engine, who| {
            let view = engine.case(who, id)?;
            let positions: Vec<u64> = view.history.iter().rev().take(ENTRIES).map(|entry| entry.position).collect();
            let told = engine.entries_at(who, &positions)?;
            Ok::<_, EngineError>((view, told))
        })
        .await??;
    let words = ask.look.words;
    let frame = ask.frame("cases", words.t2("case-n", "n", view.case, "device", &view.name));
    let opened = told.iter().find(|told| told.kind == "recovery.cases-opened");
    let concern = opened.and_then(|told| told.payload.as_ref()?.get("why").cloned()).unwrap_or_default();
    let debts = view.debts.iter().map(|debt| {
        let text = words.tagged("debt", &json(&debt.debt), &debt.text);
        let declared = match &debt.debt {
            staffel_core::recovery::Debt::Declared { what } => what.clone(),
            _ => String::new(),
        };
        (text, !declared.is_empty(), declared)
    });
    let reach = view.channels.iter().map(|channel| {
        let kind = words.tagged("channel", &json(&channel.channel), "");
        (kind, channel.address.clone(), channel.name.clone())
    });
    let template = OnePage {
        why: words.tagged("concern", &concern, &view.why),
        seen: view.last_seen_ms.map_or_else(|| words.t("never"), |at_ms| times::ago(words, frame.now_ms, at_ms)),
        doubts: view
            .probe
            .doubts
            .iter()
            .zip(&view.probe.says)
            .map(|(d, says)| words.tagged("doubt", &json(d), says))
            .collect(),
        cannot_close: view
            .refusals
            .iter()
            .map(|refusal| words.tagged("refusal", &json(refusal), &refusal.to_string()))
            .collect(),
        debts: debts.collect(),
        reach: reach.collect(),
        channels: choices(words, "channel", &CHANNELS, "phone"),
        outcomes: choices(words, "outcome", &OUTCOMES, "no-answer"),
        starts: starts(words, &view.starts),
        lines: lines(words, &told),
        may_say: ask.person.caller.role >= Role::Operator,
        is_closed: view.closed_ms.is_some(),
        row: row(words, view, frame.now_ms),
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// A value on its way to its words.
pub(super) fn json(value: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A word of a closed set, as a form sends it.
fn one_of<T: DeserializeOwned>(text: &str) -> Result<T, Stop> {
    serde_json::from_value(text.into()).map_err(|_| Stop::NotFound)
}

async fn say(Path((id, word)): Path<(u64, String)>, posted: Posted) -> Result<Response, Stop> {
    posted.ask.may(Role::Operator, false, &format!("{word} on case {id}")).await?;
    let text = |name: &str| posted.field(name).to_string();
    let word = match word.as_str() {
        "own" => CaseWord::Own { owner: None },
        "disown" => CaseWord::Own { owner: Some(String::new()) },
        "note" => CaseWord::Note { text: text("text") },
        "contact" => CaseWord::Contact {
            channel: one_of::<Channel>(posted.field("channel"))?,
            outcome: one_of::<Contact>(posted.field("outcome"))?,
            text: text("text"),
        },
        "call-back" => {
            let minutes = posted.field("minutes").parse::<u64>().unwrap_or(0).min(60 * 24 * 30);
            CaseWord::CallBack { at_ms: (minutes > 0).then(|| now_ms() + minutes * 60_000), text: text("text") }
        }
        "open-debt" => CaseWord::OpenDebt { what: text("what") },
        "lift-debt" => CaseWord::LiftDebt { what: text("what"), why: text("why") },
        "close" => CaseWord::Close,
        "reopen" => CaseWord::Reopen { why: text("why") },
        _ => return Err(Stop::NotFound),
    };
    posted.ask.console.engine.case_word(&posted.ask.person.caller, id, word).await?;
    Ok(Redirect::to(&format!("/cases/{id}")).into_response())
}

#[derive(Template)]
#[template(path = "open.html")]
struct OpenPage {
    frame: Frame,
    classes: Vec<Choice>,
    devices: String,
    component: Component,
    problem: String,
}

#[derive(Deserialize)]
struct About {
    device: Option<String>,
    /// Foreign software that is suspected, by its entry in the log.
    suspect: Option<u64>,
}

fn open_page(ask: &Ask, devices: String, component: Component, class: &str, problem: String) -> Response {
    let words = ask.look.words;
    let status = if problem.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let template = OpenPage {
        frame: ask.frame("cases", words.t("incident-open")).still(),
        classes: choices(words, "class", &CLASSES, class),
        devices,
        component,
        problem,
    };
    page(status, &template)
}

async fn form(ask: Ask, Query(About { device, suspect }): Query<About>) -> Result<Response, Stop> {
    ask.may(Role::Operator, false, "open an incident").await?;
    let mut component = Component::default();
    let Some(position) = suspect else {
        return Ok(open_page(&ask, device.unwrap_or_default(), component, "outage", String::new()));
    };
    let found = ask.aside(|engine, who| engine.suspicions(who, None)).await??;
    let row = found.into_iter().find(|row| row.position == position).ok_or(Stop::NotFound)?;
    component.name = row.component.name;
    component.version = row.component.version;
    component.supplier = row.component.supplier;
    let devices = row.devices.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ");
    Ok(open_page(&ask, devices, component, "foreign", String::new()))
}

async fn open(posted: Posted) -> Result<Response, Stop> {
    posted.ask.may(Role::Operator, false, "open an incident").await?;
    let list = |name: &str| {
        let parts = posted.field(name).split([',', '\n', ' ']).map(str::trim).filter(|part| !part.is_empty());
        parts.map(String::from).collect::<Vec<_>>()
    };
    let component = Component {
        name: posted.field("component").to_string(),
        version: posted.field("version").to_string(),
        supplier: posted.field("supplier").to_string(),
    };
    let asked = OpenIncident {
        class: one_of::<Class>(posted.field("class"))?,
        why: posted.field("why").to_string(),
        aware_at_ms: None,
        source: posted.field("source").to_string(),
        component: (!component.name.is_empty()).then(|| component.clone()),
        devices: list("devices"),
        sites: list("sites"),
        incident: None,
    };
    let words = posted.ask.look.words;
    let again = |problem: String| {
        let devices = posted.field("devices").to_string();
        Ok(open_page(&posted.ask, devices, component.clone(), posted.field("class"), problem))
    };
    if asked.why.is_empty() {
        return again(words.t("confirm-missing"));
    }
    match posted.ask.console.engine.open_incident(&posted.ask.person.caller, asked).await {
        Ok(view) => Ok(Redirect::to(&format!("/incidents/{}", view.incident)).into_response()),
        Err(EngineError::NotFound { what }) => again(words.t1("incident-unknown", "what", what)),
        Err(EngineError::Refused { why, .. } | EngineError::Conflict { why, .. }) => again(why),
        Err(other) => Err(other.into()),
    }
}
