//! Releases that were rolled out, each with what the gate said. Must stay out: building and signing them.

use crate::{
    auth::Ask,
    web::{Console, Frame, Stop, page},
};
use askama::Template;
use axum::{Router, extract::Path, http::StatusCode, response::Response, routing::get};
use staffel_core::ids::Digest;
use staffel_server::pages::{ReleasePage, ReleaseRow};
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/releases", get(list)).route("/releases/{digest}", get(one))
}

#[derive(Template)]
#[template(path = "releases.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<ReleaseRow>,
}

async fn list(ask: Ask) -> Result<Response, Stop> {
    let rows = ask.aside(|engine, who| engine.releases(who)).await?;
    Ok(page(StatusCode::OK, &ListPage { frame: ask.frame("releases", ask.look.words.t("nav-releases")), rows }))
}

/// One check of the gate.
struct Check {
    name: String,
    passed: bool,
}

#[derive(Template)]
#[template(path = "release.html")]
struct OnePage {
    frame: Frame,
    view: ReleasePage,
    checks: Vec<Check>,
    size: String,
    files: usize,
}

async fn one(ask: Ask, Path(digest): Path<String>) -> Result<Response, Stop> {
    let digest: Digest = Digest::parse(&digest).ok_or(Stop::NotFound)?;
    let view = ask.aside(move |engine, who| engine.release(who, &digest)).await??;
    let mut checks = Vec::new();
    if let Some(gate) = &view.gate {
        checks.extend(gate.failed_tests.iter().map(|name| Check { name: name.clone(), passed: false }));
        checks.extend(gate.passed_tests.iter().map(|name| Check { name: name.clone(), passed: true }));
    }
    let bytes: u64 = view.release.files.iter().map(|file| file.size).sum();
    let title = format!("{} {}", view.row.name, view.row.version);
    let template = OnePage {
        frame: ask.frame("releases", title),
        checks,
        size: size(bytes),
        files: view.release.files.len(),
        view,
    };
    Ok(page(StatusCode::OK, &template))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
