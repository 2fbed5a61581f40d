//! The log: its latest entries, and for one entry the proof that it stands in it. Must stay out: judging the log; that is
//! `staffel log verify`'s, on another machine.

use super::{Line, lines};
use crate::{
    auth::Ask,
    web::{Console, Frame, Stop, page},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, Query},
    http::StatusCode,
    response::Response,
    routing::get,
};
use serde::Deserialize;
use staffel_server::{api::Role, pages::LogProof};
use std::sync::Arc;

const PAGE: usize = 50;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/log", get(list)).route("/log/{position}", get(one))
}

#[derive(Deserialize)]
struct Before {
    before: Option<u64>,
}

#[derive(Template)]
#[template(path = "log.html")]
struct ListPage {
    frame: Frame,
    head: u64,
    lines: Vec<Line>,
    kinds: Vec<String>,
    older: Option<u64>,
    latest: bool,
    checkpoint: Option<String>,
}

async fn list(ask: Ask, Query(Before { before }): Query<Before>) -> Result<Response, Stop> {
    ask.may(Role::Viewer, true, "look at the log").await?;
    let (view, checkpoint) = ask
        .aside(move |engine, who| engine.log_page(who, before, PAGE).map(|view| (view, engine.checkpoint())))
        .await??;
    let words = ask.look.words;
    let template = ListPage {
        frame: ask.frame("log", words.t("nav-log")),
        head: view.head,
        lines: lines(words, &view.entries),
        kinds: view.entries.iter().map(|entry| entry.kind.clone()).collect(),
        older: view.entries.last().map(|entry| entry.position).filter(|position| *position > 0),
        latest: before.is_none(),
        checkpoint,
    };
    Ok(page(StatusCode::OK, &template))
}

#[derive(Template)]
#[template(path = "entry.html")]
struct OnePage {
    frame: Frame,
    proof: LogProof,
    text: String,
    payload: String,
}

async fn one(ask: Ask, Path(position): Path<u64>) -> Result<Response, Stop> {
    ask.may(Role::Viewer, true, "look at the log").await?;
    let proof = ask.aside(move |engine, who| engine.log_proof(who, position)).await??;
    let words = ask.look.words;
    let payload = proof.entry.payload.as_ref().and_then(|payload| serde_json::to_string_pretty(payload).ok());
    let template = OnePage {
        frame: ask.frame("log", words.t1("log-entry", "n", position)).still(),
        text: words.told(&proof.entry),
        payload: payload.unwrap_or_default(),
        proof,
    };
    Ok(page(StatusCode::OK, &template))
}
