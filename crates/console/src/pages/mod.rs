//! One file a page, and what several of them draw. What must stay out: who may see it (the engine and `auth` decide that).

mod account;
mod alerts;
mod cases;
mod customers;
mod devices;
mod draw;
mod log;
mod notices;
mod overview;
mod releases;
mod remedies;
mod rollouts;
mod software;

use crate::web::Console;
use axum::Router;
use staffel_core::boot::traces::Trace;
use staffel_server::api::StartView;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Console>> {
    overview::routes()
        .merge(rollouts::routes())
        .merge(devices::routes())
        .merge(releases::routes())
        .merge(log::routes())
        .merge(customers::routes())
        .merge(cases::routes())
        .merge(software::routes())
        .merge(remedies::routes())
        .merge(notices::routes())
        .merge(alerts::routes())
        .merge(account::routes())
}

/// A start of a machine that found something of an earlier one.
pub(crate) struct StartLines {
    pub at_ms: u64,
    pub boot_id: String,
    pub lines: Vec<String>,
    /// `bad` after a crash.
    pub tone: &'static str,
}

/// Starts in words, latest first.
pub(crate) fn starts(words: crate::words::Words, starts: &[StartView]) -> Vec<StartLines> {
    let said = |(trace, says): (&Trace, &String)| {
        words.tagged("trace", &serde_json::to_value(trace).unwrap_or_default(), says)
    };
    let one = |start: &StartView| StartLines {
        at_ms: start.at_ms,
        boot_id: start.boot_id.clone(),
        lines: start.traces.iter().zip(&start.says).map(said).collect(),
        tone: if start.traces.iter().any(Trace::is_crash) { "bad" } else { "" },
    };
    starts.iter().rev().map(one).collect()
}

/// What stands in the log, as a page lists it.
pub(crate) struct Line {
    pub position: u64,
    pub at_ms: u64,
    pub text: String,
    /// `bad`, `warn`, `good` or nothing.
    pub tone: &'static str,
}

/// Lines for entries.
pub(crate) fn lines(words: crate::words::Words, entries: &[staffel_server::pages::Told]) -> Vec<Line> {
    let line = |told: &staffel_server::pages::Told| Line {
        position: told.position,
        at_ms: told.at_ms,
        text: words.told(told),
        tone: match told.kind.as_str() {
            "rollout.halted"
            | "rollout.failed"
            | "recovery.incident-opened"
            | "recovery.fell-silent"
            | "device.refused"
            | "device.cloned"
            | "certificate.refused"
            | "access.refused" => "bad",
            "recovery.debt-opened"
            | "recovery.doubted"
            | "recovery.reopened"
            | "rollout.held"
            | "rollout.fenced"
            | "rollout.observation-gap" => "warn",
            "rollout.completed" | "recovery.verified" | "recovery.closed" | "rollout.confirmed"
            | "rollout.released" => "good",
            _ => "",
        },
    };
    entries.iter().map(line).collect()
}
