//! Software that Staffel did not ship: what changed where, and what of it is suspected, as "N of M". Must stay out: judging it
//! (`staffel_core::foreign` does), and doing something about it.

use super::cases::json;
use crate::{
    auth::Ask,
    times,
    web::{Console, Frame, Stop, encode, page},
    words::Words,
};
use askama::Template;
use axum::{Router, extract::Query, http::StatusCode, response::Response, routing::get};
use serde::Deserialize;
use staffel_core::foreign::Component;
use staffel_server::{
    engine::EngineError,
    pages::{ChangeRow, SuspicionRow},
};
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/software", get(software))
}

/// Only what is about this incident.
#[derive(Deserialize)]
pub(super) struct About {
    pub incident: Option<u64>,
}

struct Suspicion {
    row: SuspicionRow,
    title: String,
    /// N of M that got it, N of M that did not, and what chance says; empty for who may not know.
    says: Vec<String>,
    more: u64,
}

struct Change {
    row: ChangeRow,
    title: String,
    kind: String,
    when: String,
    places: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "software.html")]
struct SoftwarePage {
    frame: Frame,
    incident: Option<u64>,
    suspicions: Vec<Suspicion>,
    changes: Vec<Change>,
    more: usize,
}

/// Name, version and maker.
fn title(words: Words, component: &Component) -> String {
    let Component { name, version, supplier, .. } = component;
    if supplier.is_empty() {
        return words.t2("software-unnamed", "name", name, "version", version);
    }
    words.with("software-of", &[("name", name), ("version", version), ("supplier", supplier)])
}

fn suspicion(words: Words, row: SuspicionRow) -> Suspicion {
    let says = row.counts.map(|counts| {
        vec![
            words.t2("suspect-got", "n", counts.got_in_trouble, "of", counts.got),
            words.t2("suspect-others", "n", counts.others_in_trouble, "of", counts.others),
            words.t1("suspect-chance", "chance", format!("{:.0e}", counts.chance)),
        ]
    });
    let in_trouble = row.counts.map_or(0, |counts| counts.got_in_trouble);
    Suspicion {
        title: title(words, &row.component),
        says: says.unwrap_or_default(),
        more: in_trouble.saturating_sub(row.devices.len() as u64),
        row,
    }
}

fn change(words: Words, now_ms: u64, row: ChangeRow) -> Change {
    let link = |(tenant, site): &(String, String)| {
        (format!("{tenant} / {site}"), format!("/devices?tenant={}&site={}", encode(tenant), encode(site)))
    };
    Change {
        title: title(words, &row.component),
        kind: words.tagged("software-kind", &json(&row.component.kind), ""),
        when: times::ago(words, now_ms, row.last_ms),
        places: row.places.iter().map(link).collect(),
        row,
    }
}

async fn software(ask: Ask, Query(About { incident }): Query<About>) -> Result<Response, Stop> {
    let (suspicions, (changes, more)) = ask
        .aside(move |engine, who| {
            Ok::<_, EngineError>((engine.suspicions(who, incident)?, engine.software_changes(who, incident)?))
        })
        .await??;
    let words = ask.look.words;
    let frame = ask.frame("software", words.t("nav-software"));
    let template = SoftwarePage {
        incident,
        suspicions: suspicions.into_iter().map(|row| suspicion(words, row)).collect(),
        changes: changes.into_iter().map(|row| change(words, frame.now_ms, row)).collect(),
        more,
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}
