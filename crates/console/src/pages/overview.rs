//! The first page: what needs somebody now, in one look; below it the fleet and what goes on. Must stay out: details.

use super::{
    cases,
    rollouts::{Card, card},
};
use crate::{
    auth::Ask,
    times,
    web::{Console, Frame, Stop, encode, page},
    words::Words,
};
use askama::Template;
use axum::{Router, http::StatusCode, response::Response, routing::get};
use staffel_server::{
    api::{DetectionQuery, IncidentView, RolloutView},
    pages::{FleetCounts, Overview, SiteRow},
};
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/", get(overview))
}

/// Something that needs somebody.
struct Need {
    /// `bad` or `warn`.
    tone: &'static str,
    what: String,
    why: String,
    link: String,
    /// What the link does.
    act: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    needs: Vec<Need>,
    fleet: FleetCounts,
    sites: Vec<(SiteRow, String)>,
    more_sites: u64,
    running: Vec<Card>,
    ended: Vec<Card>,
    log_entries: u64,
    up: String,
}

async fn overview(ask: Ask) -> Result<Response, Stop> {
    let (view, incidents, alerts) = ask
        .aside(|engine, who| {
            let query = DetectionQuery { limit: Some(1), ..DetectionQuery::default() };
            let open = engine.detection_page(who, &query).map(|page| page.open.critical + page.open.high);
            (engine.overview(who), engine.incidents(who), open)
        })
        .await?;
    let words = ask.look.words;
    let frame = ask.frame("overview", words.t("nav-overview"));
    let needs = needs(words, &view, &incidents, alerts?);
    let (running, ended): (Vec<_>, Vec<_>) = view.rollouts.iter().partition(|r| r.ended_ms.is_none());
    let cards = |rollouts: Vec<&RolloutView>| rollouts.into_iter().map(|view| card(words, view)).collect();
    let sites = view.sites.iter().map(|site| {
        let link = format!("/devices?tenant={}&site={}", encode(&site.tenant), encode(&site.site));
        (site.clone(), link)
    });
    let template = OverviewPage {
        needs,
        fleet: view.fleet,
        sites: sites.collect(),
        more_sites: view.sites_in_trouble.saturating_sub(view.sites.len() as u64),
        running: cards(running),
        ended: cards(ended),
        log_entries: view.log_entries,
        up: times::duration(words, view.now_ms.saturating_sub(view.started_ms)),
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// Worst first. What only takes its time is not here.
fn needs(words: Words, view: &Overview, incidents: &[IncidentView], alerts: u64) -> Vec<Need> {
    let mut needs = Vec::new();
    if let Some(why) = &view.read_only {
        needs.push(Need {
            tone: "bad",
            what: words.t("need-read-only"),
            why: why.clone(),
            link: "/log".into(),
            act: words.t("nav-log"),
        });
    }
    for rollout in view.rollouts.iter().filter(|rollout| rollout.state == "held") {
        let look = card(words, rollout);
        needs.push(Need {
            tone: "warn",
            what: words
                .with("need-held", &[("id", &rollout.rollout), ("name", &rollout.name), ("version", &rollout.version)]),
            why: look.why,
            link: format!("/rollouts/{}", rollout.rollout),
            act: words.t("need-decide"),
        });
    }
    for rollout in view.rollouts.iter().filter(|r| r.state == "halted" && r.silent > 0) {
        needs.push(Need {
            tone: "bad",
            what: words.with(
                "need-halted",
                &[
                    ("id", &rollout.rollout),
                    ("name", &rollout.name),
                    ("version", &rollout.version),
                    ("n", &rollout.silent),
                ],
            ),
            why: card(words, rollout).why,
            link: format!("/rollouts/{}", rollout.rollout),
            act: words.t("need-look"),
        });
    }
    for incident in incidents.iter().filter(|incident| incident.not_back > 0) {
        let look = cases::card(words, incident);
        needs.push(Need {
            tone: "bad",
            what: words.t2("need-incident", "n", incident.not_back, "title", look.title),
            why: words.t2("need-incident-why", "unowned", incident.without_owner, "overdue", incident.overdue),
            link: format!("/incidents/{}", incident.incident),
            act: words.t("need-look"),
        });
    }
    if alerts > 0 {
        needs.push(Need {
            tone: "bad",
            what: words.t1("need-alerts", "n", alerts),
            why: words.t("need-alerts-why"),
            link: "/alerts?severity=high".into(),
            act: words.t("need-look"),
        });
    }
    let fleet = &view.fleet;
    let counted = [
        ("bad", fleet.silent, "need-silent", "silent"),
        ("bad", fleet.cloned, "need-cloned", "cloned"),
        ("warn", fleet.safe_mode, "need-safe-mode", "safe-mode"),
        ("warn", fleet.refusing, "need-refusing", "refusing"),
    ];
    for (tone, n, key, state) in counted.into_iter().filter(|(_, n, ..)| *n > 0) {
        needs.push(Need {
            tone,
            what: words.t1(key, "n", n),
            why: words.t(&format!("{key}-why")),
            link: format!("/devices?state={state}"),
            act: words.t("need-look"),
        });
    }
    needs.sort_by_key(|need| need.tone != "bad");
    needs
}
