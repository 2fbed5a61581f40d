//! Devices: search and one device with its history and why it does nothing. Must stay out: changing a device.

use super::{Line, StartLines, alerts, lines, starts};
use crate::{
    auth::Ask,
    web::{Console, Frame, Stop, encode, page},
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
use serde::Deserialize;
use staffel_core::conditions::Refusal;
use staffel_server::api::{DeviceQuery, DeviceView, DeviceWhyRollout};
use std::sync::Arc;

const PAGE: u32 = 50;
/// Customers that the search form suggests.
const SUGGESTED: usize = 200;
const ENTRIES: usize = 50;

/// What a device can be searched by.
const STATES: [&str; 7] = ["alive", "silent", "safe-mode", "left", "never-seen", "refusing", "cloned"];

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/devices", get(list)).route("/devices/{id}", get(one))
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Search {
    text: String,
    tenant: String,
    site: String,
    state: String,
    version: String,
    after: Option<u32>,
}

impl Search {
    fn query(&self) -> DeviceQuery {
        let said = |text: &str| Some(text.trim().to_string()).filter(|text| !text.is_empty());
        DeviceQuery {
            tenant: said(&self.tenant),
            site: said(&self.site),
            presence: said(&self.state),
            version: said(&self.version),
            text: said(&self.text),
            after: self.after,
            limit: Some(PAGE),
        }
    }

    /// The same search from another device on.
    fn link(&self, after: Option<u32>) -> String {
        let fields = [
            ("text", &self.text),
            ("tenant", &self.tenant),
            ("site", &self.site),
            ("state", &self.state),
            ("version", &self.version),
        ];
        let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let mut parts: Vec<String> = said.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        parts.extend(after.map(|after| format!("after={after}")));
        format!("/devices?{}", parts.join("&"))
    }
}

/// A device as lists show it.
struct Row {
    view: DeviceView,
    tone: &'static str,
    state: String,
    safe: bool,
    running: String,
    seen: String,
}

fn row(words: Words, now_ms: u64, view: DeviceView) -> Row {
    let safe = view.mode != "normal";
    let tone = match view.presence.as_str() {
        "silent" => "bad",
        _ if safe || !view.warnings.is_empty() => "warn",
        "alive" => "good",
        _ => "",
    };
    let running: Vec<String> = view.running.iter().map(|(name, version)| format!("{name} {version}")).collect();
    Row {
        tone,
        state: words.t(&format!("presence-{}", view.presence)),
        safe,
        running: running.join(", "),
        seen: view.last_seen_ms.map_or_else(|| words.t("never"), |at_ms| crate::times::ago(words, now_ms, at_ms)),
        view,
    }
}

struct Choice {
    value: &'static str,
    label: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "devices.html")]
struct ListPage {
    frame: Frame,
    search: Search,
    states: Vec<Choice>,
    tenants: Vec<String>,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
    searched: bool,
}

async fn list(ask: Ask, Query(search): Query<Search>) -> Result<Response, Stop> {
    let query = search.query();
    let (found, tenants) = ask
        .aside(move |engine, who| {
            let tenants = engine.tenants(who).into_iter().map(|tenant| tenant.tenant).take(SUGGESTED);
            (engine.devices(who, &query), tenants.collect::<Vec<_>>())
        })
        .await?;
    let words = ask.look.words;
    let frame = ask.frame("devices", words.t("nav-devices"));
    let states = STATES.map(|state| Choice {
        value: state,
        label: words.t(&format!("presence-{state}")),
        chosen: search.state == state,
    });
    let template = ListPage {
        states: states.into(),
        tenants,
        rows: found.devices.into_iter().map(|view| row(words, frame.now_ms, view)).collect(),
        first: search.after.map(|_| search.link(None)),
        next: found.next.map(|next| search.link(Some(next))),
        searched: search.link(None) != "/devices?",
        search,
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// A rollout from the device's point of view.
struct Place {
    rollout: u64,
    release: String,
    place: String,
    /// Number of the condition that does not hold, and why.
    refusals: Vec<(u8, String, bool)>,
    problems: Vec<String>,
}

fn place(words: Words, entry: &DeviceWhyRollout) -> Place {
    let refusal = |refusal: &Refusal| {
        let value = serde_json::to_value(refusal).unwrap_or_default();
        let plain = refusal.to_string();
        // A policy's refusal is named twice: by the condition and by what the policy says.
        let text = match refusal {
            Refusal::Policy(_) => words.tagged("policy", &value, &plain),
            _ => words.tagged("refusal", &value, &plain),
        };
        (refusal.condition(), text, refusal.is_waiting())
    };
    Place {
        rollout: entry.rollout,
        release: entry.release.clone(),
        place: words.place(&entry.place),
        refusals: entry.refusals.iter().map(refusal).collect(),
        problems: entry.problems.clone(),
    }
}

#[derive(Template)]
#[template(path = "device.html")]
struct OnePage {
    frame: Frame,
    row: Row,
    places: Vec<Place>,
    starts: Vec<StartLines>,
    /// What its sensor found, and what of that nobody can look at.
    rows: Vec<alerts::Row>,
    losses: Vec<String>,
    lines: Vec<Line>,
}

async fn one(ask: Ask, Path(id): Path<String>) -> Result<Response, Stop> {
    let (why, told) = ask
        .aside(move |engine, who| {
            let why = engine.device_why(who, &id)?;
            let told = engine.device_records(who, &why.device.device.to_string(), ENTRIES)?;
            Ok::<_, staffel_server::engine::EngineError>((why, told))
        })
        .await??;
    let words = ask.look.words;
    let frame = ask.frame("devices", format!("{} · {}", why.device.name, why.device.site));
    let mut places: Vec<Place> = why.rollouts.iter().map(|entry| place(words, entry)).collect();
    places.reverse();
    let template = OnePage {
        rows: why.detections.open.into_iter().map(|view| alerts::row(words, frame.now_ms, view)).collect(),
        losses: alerts::losses(words, &why.detections.losses),
        row: row(words, frame.now_ms, why.device),
        places,
        starts: starts(words, &why.starts),
        lines: lines(words, &told),
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}
