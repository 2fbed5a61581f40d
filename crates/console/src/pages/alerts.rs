//! Alerts: what devices' sensors found, one alert with its events, and seeing to it. Must stay out: what is an alert, and when it
//! opens again (`staffel_core::detection` decides).

use crate::{
    auth::{Ask, Posted},
    times,
    web::{Console, Frame, Stop, encode, page},
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
use serde::Deserialize;
use staffel_core::detection::{Opening, Severity};
use staffel_server::{
    api::{
        Acknowledge, DetectionAcknowledged, DetectionEvidence, DetectionLosses, DetectionQuery, DetectionStep,
        DetectionView, Role,
    },
    engine::EngineError,
};
use std::sync::Arc;

const PAGE: u32 = 50;
const STATES: [&str; 3] = ["open", "acknowledged", "all"];
const ABOUT: [&str; 2] = ["rule", "sensor"];
/// Minutes for which an alert may be told to stay quiet.
const QUIET: [u64; 6] = [0, 60, 480, 1_440, 10_080, 43_200];

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/alerts", get(list))
        .route("/alerts/{id}", get(one))
        .route("/alerts/{id}/acknowledge", post(acknowledge))
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Search {
    text: String,
    device: String,
    tenant: String,
    state: String,
    severity: String,
    about: String,
    before: Option<u64>,
}

impl Search {
    fn query(&self) -> DetectionQuery {
        let said = |text: &str| Some(text.trim().to_string()).filter(|text| !text.is_empty());
        let severity = Severity::ALL.into_iter().find(|severity| severity.word() == self.severity);
        DetectionQuery {
            tenant: said(&self.tenant),
            site: None,
            device: said(&self.device),
            state: said(&self.state),
            severity,
            about: said(&self.about),
            text: said(&self.text),
            since: None,
            before: self.before,
            limit: Some(PAGE),
        }
    }

    /// The same search, from another place on.
    fn link(&self, before: Option<u64>) -> String {
        let fields = [
            ("text", &self.text),
            ("device", &self.device),
            ("tenant", &self.tenant),
            ("state", &self.state),
            ("severity", &self.severity),
            ("about", &self.about),
        ];
        let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let mut parts: Vec<String> = said.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        parts.extend(before.map(|before| format!("before={before}")));
        format!("/alerts?{}", parts.join("&"))
    }
}

/// An alert as lists show it.
pub(super) struct Row {
    pub view: DetectionView,
    pub title: String,
    pub tone: &'static str,
    pub severity: String,
    pub state: String,
    pub heard: String,
}

/// `bad`, `warn` or nothing.
fn tone(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "bad",
        Severity::Medium => "warn",
        Severity::Low | Severity::Informational => "",
    }
}

pub(super) fn row(words: Words, now_ms: u64, view: DetectionView) -> Row {
    Row {
        title: view
            .trouble
            .map_or_else(|| view.title.clone(), |trouble| words.t(&format!("trouble-{}", trouble.word()))),
        tone: tone(view.severity),
        severity: words.t(&format!("severity-{}", view.severity)),
        state: state(words, now_ms, view.opened, view.acknowledged.as_ref()),
        heard: times::ago(words, now_ms, view.heard_ms),
        view,
    }
}

fn state(words: Words, now_ms: u64, opened: Option<Opening>, said: Option<&DetectionAcknowledged>) -> String {
    match (said, opened) {
        (Some(said), _) => match said.quiet_until_ms.filter(|until| now_ms < *until) {
            Some(until) => {
                words.t2("alert-quiet", "by", &said.by, "time", times::duration(words, until.saturating_sub(now_ms)))
            }
            None => words.t1("alert-seen", "by", &said.by),
        },
        (None, Some(Opening::Again)) => words.t("alert-again"),
        (None, Some(Opening::Worse)) => words.t("alert-worse"),
        (None, _) => words.t("alert-open"),
    }
}

/// What nobody can look at, a sentence each.
pub(super) fn losses(words: Words, losses: &DetectionLosses) -> Vec<String> {
    let DetectionLosses { lost, folded, uncounted, dropped } = *losses;
    let all = [
        ("losses-lost", lost),
        ("losses-folded", folded),
        ("losses-uncounted", uncounted),
        ("losses-dropped", dropped),
    ];
    all.into_iter().filter(|(_, n)| *n > 0).map(|(key, n)| words.t1(key, "n", n)).collect()
}

struct Choice {
    value: &'static str,
    label: String,
    chosen: bool,
}

fn choices(words: Words, key: &str, values: &[&'static str], chosen: &str) -> Vec<Choice> {
    let choice =
        |value: &&'static str| Choice { value, label: words.t(&format!("{key}-{value}")), chosen: *value == chosen };
    values.iter().map(choice).collect()
}

/// How many are open of a severity.
struct Tile {
    label: String,
    tone: &'static str,
    open: u64,
    link: String,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct ListPage {
    frame: Frame,
    search: Search,
    tiles: Vec<Tile>,
    states: Vec<Choice>,
    severities: Vec<Choice>,
    about: Vec<Choice>,
    rows: Vec<Row>,
    losses: Vec<String>,
    first: Option<String>,
    next: Option<String>,
    searched: bool,
}

async fn list(ask: Ask, Query(search): Query<Search>) -> Result<Response, Stop> {
    let query = search.query();
    let found = ask.aside(move |engine, who| engine.detection_page(who, &query)).await?;
    // A device that is not there, or not theirs, has no alerts.
    let found = match found {
        Err(EngineError::NotFound { .. }) => Default::default(),
        other => other?,
    };
    let words = ask.look.words;
    let frame = ask.frame("alerts", words.t("nav-alerts"));
    let open = found.open;
    let counts = [
        (Severity::Critical, open.critical),
        (Severity::High, open.high),
        (Severity::Medium, open.medium),
        (Severity::Low, open.low),
        (Severity::Informational, open.informational),
    ];
    let tiles = counts.map(|(severity, n)| Tile {
        label: words.t(&format!("severity-{severity}")),
        tone: if n > 0 { tone(severity) } else { "" },
        open: n,
        link: format!("/alerts?severity={severity}"),
    });
    let word = if search.state.is_empty() { "open" } else { &search.state };
    let severities = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low].map(Severity::word);
    let template = ListPage {
        tiles: tiles.into(),
        states: choices(words, "alert-state", &STATES, word),
        severities: choices(words, "severity-from", &severities, &search.severity),
        about: choices(words, "alert-about", &ABOUT, &search.about),
        rows: found.detections.into_iter().map(|view| row(words, frame.now_ms, view)).collect(),
        losses: losses(words, &found.losses),
        first: search.before.map(|_| search.link(None)),
        next: found.next.map(|next| search.link(Some(next))),
        searched: search.link(None) != "/alerts?",
        search,
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// It was opened, or somebody saw to it.
struct Step {
    position: u64,
    at_ms: u64,
    text: String,
    tone: &'static str,
}

fn step(words: Words, step: &DetectionStep) -> Step {
    let (text, tone) = match (&step.acknowledged, step.opened) {
        (Some(said), _) => {
            let text = words.t2("alert-step-seen", "by", &said.by, "why", &said.why);
            let until = said.quiet_until_ms.map(|until| words.t1("alert-step-quiet", "time", times::utc(until)));
            (format!("{text} {}", until.unwrap_or_default()).trim_end().to_string(), "good")
        }
        (None, Some(Opening::Again)) => (words.t("alert-again"), "bad"),
        (None, Some(Opening::Worse)) => (words.t("alert-worse"), "bad"),
        (None, _) => (words.t("alert-step-opened"), "bad"),
    };
    Step { position: step.position, at_ms: step.at_ms, text, tone }
}

/// A time to stay quiet, in minutes.
struct Quiet {
    minutes: u64,
    label: String,
}

#[derive(Template)]
#[template(path = "alert.html")]
struct OnePage {
    frame: Frame,
    row: Row,
    tags: String,
    evidence: Vec<DetectionEvidence>,
    steps: Vec<Step>,
    quiet: Vec<Quiet>,
    missing: bool,
}

async fn shown(ask: &Ask, id: u64, missing: bool) -> Result<Response, Stop> {
    let sheet = ask.aside(move |engine, who| engine.detection(who, id)).await??;
    let words = ask.look.words;
    let frame = ask.frame("alerts", words.t1("alert-n", "n", id));
    let quiet = QUIET.map(|minutes| Quiet {
        minutes,
        label: match minutes {
            0 => words.t("quiet-none"),
            _ => words.t1("quiet-for", "time", times::duration(words, minutes * 60_000)),
        },
    });
    let template = OnePage {
        tags: sheet.detection.tags.join(", "),
        evidence: sheet.evidence,
        steps: sheet.history.iter().map(|found| step(words, found)).collect(),
        quiet: quiet.into(),
        missing,
        row: row(words, frame.now_ms, sheet.detection),
        frame: if missing { frame.still() } else { frame },
    };
    Ok(page(if missing { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &template))
}

async fn one(ask: Ask, Path(id): Path<u64>) -> Result<Response, Stop> {
    shown(&ask, id, false).await
}

async fn acknowledge(Path(id): Path<u64>, posted: Posted) -> Result<Response, Stop> {
    posted.ask.may(Role::Operator, false, &format!("acknowledge alert {id}")).await?;
    let why = posted.field("why").to_string();
    if why.is_empty() {
        return shown(&posted.ask, id, true).await;
    }
    let quiet_minutes = posted.field("quiet").parse().ok().filter(|minutes| QUIET.contains(minutes));
    let asked = Acknowledge { why, quiet_minutes };
    posted.ask.console.engine.acknowledge_detection(&posted.ask.person.caller, id, asked).await?;
    Ok(Redirect::to(&format!("/alerts/{id}")).into_response())
}
