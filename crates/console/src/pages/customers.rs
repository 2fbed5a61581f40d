//! Customers: what each allows in words, its places, and whose releases come to its machines. Must stay out: changing a
//! policy, which the customer signs with its own key.

use crate::{
    auth::Ask,
    times,
    web::{Console, Frame, Stop, encode, page},
    words::Words,
};
use askama::Template;
use axum::{Router, extract::Path, http::StatusCode, response::Response, routing::get};
use staffel_core::policy::{CustomerPolicy, Window};
use staffel_server::{
    api::TenantView,
    pages::{SiteRow, SupplierRow},
};
use std::sync::Arc;

/// Sites that one page lists.
const SITES: usize = 500;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/customers", get(list)).route("/customers/{tenant}", get(one))
}

struct Row {
    view: TenantView,
    policy: Vec<String>,
    link: String,
}

#[derive(Template)]
#[template(path = "customers.html")]
struct ListPage {
    frame: Frame,
    rows: Vec<Row>,
}

async fn list(ask: Ask) -> Result<Response, Stop> {
    let tenants = ask.aside(|engine, who| engine.tenants(who)).await?;
    let words = ask.look.words;
    let rows = tenants.into_iter().map(|view| Row {
        policy: policy(words, &view.policy),
        link: format!("/customers/{}", encode(&view.tenant)),
        view,
    });
    let rows = rows.collect();
    Ok(page(StatusCode::OK, &ListPage { frame: ask.frame("customers", words.t("nav-customers")), rows }))
}

#[derive(Template)]
#[template(path = "customer.html")]
struct OnePage {
    frame: Frame,
    view: TenantView,
    policy: Vec<String>,
    sites: Vec<(SiteRow, String)>,
    more_sites: usize,
    suppliers: Vec<SupplierRow>,
    /// Software that Staffel did not ship and that updates itself.
    updaters: Vec<SupplierRow>,
}

async fn one(ask: Ask, Path(tenant): Path<String>) -> Result<Response, Stop> {
    let (view, sites, suppliers, updaters) = ask
        .aside(move |engine, who| {
            let (sites, suppliers) = (engine.site_rows(who, &tenant)?, engine.suppliers(who, &tenant)?);
            let updaters = engine.self_updaters(who, &tenant)?;
            let view = engine.tenants(who).into_iter().find(|view| view.tenant == tenant);
            Ok::<_, staffel_server::engine::EngineError>((view, sites, suppliers, updaters))
        })
        .await??;
    let view = view.ok_or(Stop::NotFound)?;
    let more_sites = sites.len().saturating_sub(SITES);
    let sites = sites.into_iter().take(SITES).map(|site| {
        let link = format!("/devices?tenant={}&site={}", encode(&site.tenant), encode(&site.site));
        (site, link)
    });
    let template = OnePage {
        frame: ask.frame("customers", view.tenant.clone()),
        policy: policy(ask.look.words, &view.policy),
        sites: sites.collect(),
        more_sites,
        suppliers,
        updaters,
        view,
    };
    Ok(page(StatusCode::OK, &template))
}

/// A policy in words, a line each; one line if it allows everything.
fn policy(words: Words, policy: &CustomerPolicy) -> Vec<String> {
    let mut says = Vec::new();
    if let Some(reason) = &policy.freeze {
        let key = if policy.urgent_over_freeze { "policy-says-freeze-urgent" } else { "policy-says-freeze" };
        says.push(words.t1(key, "reason", reason));
    }
    says.extend(policy.pin.iter().map(|(name, version)| words.t2("policy-says-pin", "name", name, "version", version)));
    if policy.n_minus_1 {
        says.push(words.t("policy-says-n-minus-1"));
    }
    if policy.defer_ms > 0 {
        says.push(words.t1("policy-says-defer", "time", times::duration(words, policy.defer_ms)));
    }
    says.extend(policy.windows.iter().map(|window| self::window(words, window)));
    let pilots = policy.rings.iter().map(|ring| ring.join(", ")).collect::<Vec<_>>().join("; ");
    if !pilots.is_empty() {
        says.push(words.t1("policy-says-pilots", "names", pilots));
    }
    let limits = &policy.limits;
    if limits.max_unavailable_per_site > 0 {
        says.push(words.t1("policy-says-site-limit", "n", limits.max_unavailable_per_site));
    }
    let mut groups: Vec<&String> = limits.redundancy_groups.values().collect();
    groups.dedup();
    for group in groups {
        let members = limits.redundancy_groups.iter().filter(|(_, of)| *of == group).map(|(name, _)| name.as_str());
        let members = members.collect::<Vec<_>>().join(", ");
        let line = words.t2("policy-says-group", "group", group, "names", members);
        if !says.contains(&line) {
            says.push(line);
        }
    }
    if !policy.required_checks.is_empty() {
        says.push(words.t1("policy-says-checks", "names", policy.required_checks.join(", ")));
    }
    if !limits.manual_only.is_empty() {
        says.push(words.t1("policy-says-manual", "names", limits.manual_only.join(", ")));
    }
    if says.is_empty() {
        says.push(words.t("policy-says-nothing"));
    }
    says
}

fn window(words: Words, window: &Window) -> String {
    let days = (0..7).filter(|day| window.days & (1 << day) != 0).map(|day| words.t(&format!("day-{day}")));
    let days = days.collect::<Vec<_>>().join(" ");
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    words.with(
        "policy-says-window",
        &[("days", &days), ("from", &clock(window.from_minute)), ("to", &clock(window.to_minute))],
    )
}
