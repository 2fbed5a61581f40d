//! Notices: who was told what, over which channels, who knows, and who still has to be called. Must stay out: sending.

use super::{cases::json, software::About};
use crate::{
    auth::Ask,
    web::{Console, Frame, Stop, page},
    words::Words,
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, Query},
    http::StatusCode,
    response::Response,
    routing::get,
};
use serde_json::Value;
use staffel_server::{
    api::{NoticeText, RecipientView},
    pages::NoticeRow,
};
use std::sync::Arc;

/// Recipients that a page lists; those who have to be called come first.
const RECIPIENTS: usize = 500;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/notices", get(list)).route("/notices/{id}", get(one))
}

struct Row {
    row: NoticeRow,
    id: u64,
    wording: String,
    knows: String,
    tone: &'static str,
}

fn row(words: Words, row: NoticeRow) -> Row {
    let view = &row.view;
    Row {
        id: view.notice.unwrap_or(0),
        wording: words.tagged("wording", &json(&view.template), ""),
        knows: words.t2("notice-knows", "n", view.acknowledged, "of", view.recipients),
        tone: match view.to_call {
            0 if view.acknowledged == view.recipients => "good",
            0 => "",
            _ => "bad",
        },
        row,
    }
}

#[derive(Template)]
#[template(path = "notices.html")]
struct ListPage {
    frame: Frame,
    incident: Option<u64>,
    rows: Vec<Row>,
}

async fn list(ask: Ask, Query(About { incident }): Query<About>) -> Result<Response, Stop> {
    let rows = ask.aside(move |engine, who| engine.notice_rows(who, incident)).await??;
    let words = ask.look.words;
    let template = ListPage {
        incident,
        rows: rows.into_iter().map(|found| row(words, found)).collect(),
        frame: ask.frame("notices", words.t("nav-notices")),
    };
    Ok(page(StatusCode::OK, &template))
}

struct Recipient {
    view: RecipientView,
    routes: String,
    next: String,
    to_call: bool,
}

#[derive(Template)]
#[template(path = "notice.html")]
struct OnePage {
    frame: Frame,
    row: Row,
    texts: Vec<NoticeText>,
    recipients: Vec<Recipient>,
    more: usize,
}

/// What comes next: a step, or what is waited for, or why it is over.
fn next(words: Words, step: &Value, otherwise: &str) -> String {
    let inner = step.get("why").unwrap_or(&Value::Null);
    match step.get("step").and_then(Value::as_str) {
        Some("wait") => words.tagged("waiting", inner, otherwise),
        Some("nothing") => words.tagged("done", inner, otherwise),
        _ => words.tagged("step", step, otherwise),
    }
}

async fn one(ask: Ask, Path(id): Path<u64>) -> Result<Response, Stop> {
    let found = ask.aside(move |engine, who| engine.notice_page(who, id)).await??;
    let words = ask.look.words;
    let recipient = |(view, step): (RecipientView, Value)| Recipient {
        routes: view.routes.iter().map(|route| words.t(&format!("channel-{route}"))).collect::<Vec<_>>().join(", "),
        next: next(words, &step, &view.next),
        to_call: step.get("step").and_then(Value::as_str) == Some("call"),
        view,
    };
    let mut recipients: Vec<Recipient> = found.sheet.recipients.into_iter().zip(found.steps).map(recipient).collect();
    // In the audience's order among themselves.
    recipients.sort_by_key(|one| (!one.to_call, one.view.acknowledged_ms.is_some(), !one.view.critical));
    let more = recipients.len().saturating_sub(RECIPIENTS);
    recipients.truncate(RECIPIENTS);
    let row = row(words, found.row);
    let template = OnePage {
        frame: ask.frame("notices", words.t2("notice-title", "n", row.id, "wording", &row.wording)),
        texts: found.sheet.texts,
        recipients,
        more,
        row,
    };
    Ok(page(StatusCode::OK, &template))
}
