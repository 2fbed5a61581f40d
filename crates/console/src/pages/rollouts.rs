//! Rollouts: the list, one of them as it goes, and the three things that a person can say to it. Must stay out: starting
//! one, which takes two releasers' own keys and so happens at a terminal.

use super::{
    Line,
    draw::{bar, evidence, odds, ppb},
    lines,
};
use crate::{
    auth::{Ask, Posted},
    times,
    web::{Console, Frame, Stop, page},
    words::{Words, percent},
};
use askama::Template;
use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use staffel_server::{
    api::{Role, RolloutView, Word},
    pages::{Point, RolloutCourse},
};
use std::sync::Arc;

/// Rows of the table behind the charts.
const ROWS: usize = 120;
/// Entries of the log that a page lists.
const ENTRIES: usize = 40;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/rollouts", get(list))
        .route("/rollouts/{id}", get(one))
        .route("/rollouts/{id}/{word}", get(confirm).post(say))
}

/// A rollout in short.
pub(crate) struct Card {
    pub view: RolloutView,
    /// `good`, `warn`, `bad` or nothing.
    pub tone: &'static str,
    pub state: String,
    pub why: String,
    pub progress: String,
    pub exposed: String,
    pub evidence: String,
    pub e: String,
    pub hold: String,
    pub halt: String,
    pub ceiling: String,
    pub bound: String,
    pub took: String,
}

/// Draws a rollout in short.
pub(crate) fn card(words: Words, view: &RolloutView) -> Card {
    let tone = match view.state.as_str() {
        "held" => "warn",
        "halted" => "bad",
        "completed" => "good",
        _ => "",
    };
    let why = match &view.waiting_on {
        serde_json::Value::Null => words.t(&format!("hidden-{}", view.state)),
        waiting => words.tagged("waiting_on", waiting, &view.why),
    };
    let progress_label = words.t2("proven-of", "n", view.confirmed, "of", view.devices);
    let parts = [
        ("good", view.confirmed),
        ("bad", view.failed + view.silent),
        ("open", view.exposed.saturating_sub(view.silent)),
    ];
    let exposed_label = words.t2("exposed-of", "n", view.exposed, "of", view.budget);
    let end_ms = view.ended_ms.unwrap_or_else(staffel_server::engine::now_ms);
    Card {
        tone,
        state: words.t(&format!("state-{}", view.state)),
        why,
        progress: bar(&parts, view.devices, &progress_label),
        exposed: bar(
            &[(if view.exposed >= view.budget { "warn" } else { "open" }, view.exposed)],
            view.budget,
            &exposed_label,
        ),
        evidence: evidence(words, view.ln_e, view.ln_hold, view.ln_halt),
        e: odds(view.ln_e),
        hold: odds(view.ln_hold),
        halt: odds(view.ln_halt),
        ceiling: ppb(view.ceiling_ppb),
        bound: view.bound.map(percent).unwrap_or_default(),
        took: times::duration(words, end_ms.saturating_sub(view.started_ms)),
        view: view.clone(),
    }
}

#[derive(Template)]
#[template(path = "rollouts.html")]
struct ListPage {
    frame: Frame,
    rollouts: Vec<Card>,
}

async fn list(ask: Ask) -> Result<Response, Stop> {
    let mut rollouts = ask.aside(|engine, who| engine.rollouts(who)).await?;
    rollouts.reverse();
    rollouts.truncate(200);
    let words = ask.look.words;
    let rollouts = rollouts.iter().map(|view| card(words, view)).collect();
    Ok(page(StatusCode::OK, &ListPage { frame: ask.frame("rollouts", words.t("nav-rollouts")), rollouts }))
}

struct Wave {
    wave: u32,
    opened_ms: u64,
    controls: u64,
    bar: String,
    says: String,
    bound: String,
    is_open: bool,
}

/// A row of the table; the script draws the charts from `values`.
struct Row {
    at_ms: u64,
    values: String,
    exposed: u64,
    budget: u64,
    confirmed: u64,
    silent: u64,
    e: String,
    ceiling: String,
    reached: String,
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct OnePage {
    frame: Frame,
    card: Card,
    waves: Vec<Wave>,
    rows: Vec<Row>,
    /// Natural logarithms, for the chart.
    limits: String,
    lines: Vec<Line>,
    can_hold: bool,
    can_resume: bool,
    can_halt: bool,
}

async fn one(ask: Ask, Path(id): Path<u64>) -> Result<Response, Stop> {
    let (view, course, told) = ask
        .aside(move |engine, who| {
            Ok::<_, staffel_server::engine::EngineError>((
                engine.rollout(who, id)?,
                engine.rollout_course(who, id)?,
                engine.rollout_milestones(who, id, ENTRIES)?,
            ))
        })
        .await??;
    let words = ask.look.words;
    let frame = ask.frame("rollouts", format!("{} {} · {}", view.name, view.version, words.t1("rollout-n", "id", id)));
    let directs = frame.directs();
    let template = OnePage {
        card: card(words, &view),
        waves: waves(words, &course, view.ended_ms.is_some()),
        rows: rows(&course.points),
        limits: format!("{:.6} {:.6}", view.ln_hold, view.ln_halt),
        lines: lines(words, &told),
        can_hold: directs && view.state == "running",
        can_resume: directs && view.state == "held",
        can_halt: directs && view.ended_ms.is_none(),
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// Latest first.
fn waves(words: Words, course: &RolloutCourse, is_over: bool) -> Vec<Wave> {
    let wave = |row: &staffel_server::pages::WaveRow| {
        let open = row.permitted.saturating_sub(row.confirmed + row.failed);
        let says = words.with(
            "wave-says",
            &[
                ("treated", &row.treated),
                ("permitted", &row.permitted),
                ("confirmed", &row.confirmed),
                ("failed", &row.failed),
            ],
        );
        let parts = [("good", row.confirmed), ("bad", row.failed), ("open", open)];
        Wave {
            wave: row.wave,
            opened_ms: row.opened_ms,
            controls: row.controls,
            bar: bar(&parts, row.treated.max(row.permitted), &says),
            says,
            bound: row.bound.map(percent).unwrap_or_default(),
            is_open: row.resolved_ms.is_none() && !is_over,
        }
    };
    course.waves.iter().rev().map(wave).collect()
}

/// At most [`ROWS`], evenly from the whole, the last one always, each with the most exposed since the one before.
fn rows(points: &[Point]) -> Vec<Row> {
    let step = points.len().div_ceil(ROWS).max(1);
    let from_end = points.rchunks(step).rev();
    from_end
        .filter_map(|chunk| {
            let last = chunk.last()?;
            let exposed = chunk.iter().map(|point| point.exposed).max().unwrap_or(0);
            Some(Row {
                at_ms: last.at_ms,
                values: format!(
                    "{} {exposed} {} {} {} {:.6} {} {}",
                    last.at_ms, last.budget, last.confirmed, last.silent, last.ln_e, last.ceiling_ppb, last.reached_ppb
                ),
                exposed,
                budget: last.budget,
                confirmed: last.confirmed,
                silent: last.silent,
                e: odds(last.ln_e),
                ceiling: ppb(last.ceiling_ppb),
                reached: ppb(last.reached_ppb),
            })
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Hold,
    Resume,
    Halt,
}

impl Order {
    fn of(word: &str) -> Result<Self, Stop> {
        match word {
            "hold" => Ok(Order::Hold),
            "resume" => Ok(Order::Resume),
            "halt" => Ok(Order::Halt),
            _ => Err(Stop::NotFound),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Order::Hold => "hold",
            Order::Resume => "resume",
            Order::Halt => "halt",
        }
    }
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    frame: Frame,
    card: Card,
    word: &'static str,
    question: String,
    consequence: String,
    button: String,
    /// A reason was missing at the last attempt.
    missing: bool,
}

fn ask_once(ask: &Ask, view: &RolloutView, order: Order, missing: bool) -> Response {
    let (words, word) = (ask.look.words, order.word());
    let say = |part: &str| {
        let key = format!("{word}-{part}");
        words.with(
            &key,
            &[("name", &view.name), ("version", &view.version), ("id", &view.rollout), ("n", &view.exposed)],
        )
    };
    let template = ConfirmPage {
        frame: ask.frame("rollouts", say("question")).still(),
        card: card(words, view),
        word,
        question: say("question"),
        consequence: say("consequence"),
        button: say("button"),
        missing,
    };
    page(if missing { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &template)
}

async fn confirm(ask: Ask, Path((id, word)): Path<(u64, String)>) -> Result<Response, Stop> {
    let order = Order::of(&word)?;
    ask.may(Role::Operator, true, &format!("{word} rollout {id}")).await?;
    let view = ask.aside(move |engine, who| engine.rollout(who, id)).await??;
    Ok(ask_once(&ask, &view, order, false))
}

async fn say(Path((id, word)): Path<(u64, String)>, posted: Posted) -> Result<Response, Stop> {
    let order = Order::of(&word)?;
    posted.ask.may(Role::Operator, true, &format!("{word} rollout {id}")).await?;
    let why = posted.field("why").to_string();
    // Going on needs no reason; stopping others' work does.
    if why.is_empty() && order != Order::Resume {
        let view = posted.ask.aside(move |engine, who| engine.rollout(who, id)).await??;
        return Ok(ask_once(&posted.ask, &view, order, true));
    }
    let (engine, who) = (&posted.ask.console.engine, &posted.ask.person.caller);
    let word = Word { why, halt: None };
    match order {
        Order::Hold => engine.hold(who, id, word).await?,
        Order::Resume => engine.resume(who, id, word).await?,
        Order::Halt => engine.halt(who, id, word).await?,
    };
    Ok(Redirect::to(&format!("/rollouts/{id}")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_keeps_the_last_moment_and_the_peak() {
        let point = |n: u64| Point {
            at_ms: n,
            exposed: if n == 333 { 9 } else { 1 },
            budget: 9,
            confirmed: n,
            silent: 0,
            ln_e: 0.0,
            ceiling_ppb: 0,
            reached_ppb: 0,
        };
        for many in [0, 1, ROWS as u64, 500, 513] {
            let points: Vec<Point> = (0..many).map(point).collect();
            let rows = rows(&points);
            assert!(rows.len() <= ROWS, "{many}: {}", rows.len());
            assert_eq!(rows.last().map(|row| row.at_ms), many.checked_sub(1));
            assert!(rows.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
            assert_eq!(rows.iter().any(|row| row.exposed == 9), many > 333);
        }
    }
}
