//! Remedies: what operators had done to machines, who signed it, and what the machines answered. Must stay out: signing, which
//! takes the operators' keys and a terminal.

use super::software::About;
use crate::{
    auth::Ask,
    web::{Console, Frame, Stop, page},
};
use askama::Template;
use axum::{Router, extract::Query, http::StatusCode, response::Response, routing::get};
use staffel_server::pages::RemedyRow;
use std::sync::Arc;

/// Digits of a key's id that people compare.
const DIGITS: usize = 16;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/remedies", get(remedies))
}

struct Row {
    row: RemedyRow,
    tone: &'static str,
    state: String,
    signers: Vec<String>,
}

#[derive(Template)]
#[template(path = "remedies.html")]
struct RemediesPage {
    frame: Frame,
    incident: Option<u64>,
    rows: Vec<Row>,
    more: usize,
}

async fn remedies(ask: Ask, Query(About { incident }): Query<About>) -> Result<Response, Stop> {
    let (rows, more) = ask.aside(move |engine, who| engine.remedy_rows(who, incident)).await??;
    let words = ask.look.words;
    let row = |row: RemedyRow| Row {
        tone: match row.view.state.as_str() {
            "done" => "good",
            "failed" => "bad",
            _ => "warn",
        },
        state: words.t(&format!("remedy-{}", row.view.state)),
        signers: row.signers.iter().map(|id| id.chars().take(DIGITS).collect()).collect(),
        row,
    };
    let template = RemediesPage {
        incident,
        rows: rows.into_iter().map(row).collect(),
        more,
        frame: ask.frame("remedies", words.t("nav-remedies")),
    };
    Ok(page(StatusCode::OK, &template))
}
