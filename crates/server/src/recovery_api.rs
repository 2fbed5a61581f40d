//! `/api/v1`, the part about incidents, cases, sites and imports. Everything here can be asked by somebody who is bound to a
//! customer: the engine shows and touches that customer's things only. What must stay out: any decision.

use crate::{
    api::{
        CallListEntry, Caller, CasePage, CaseQuery, CaseView, CaseWord, Dossier, EraseNote, HistoryEntry, Import,
        Imported, IncidentView, OpenIncident, RecoveryCurve, ReviewSheet, Role, SiteView,
    },
    config::EdgeConfig,
    edge::Edge,
    input::{Asked, Json, Number},
    operator_api::Route,
    problem::Failure,
};
use axum::{
    Extension,
    extract::{Path, State},
    routing::{get, post},
};
use serde::Deserialize;
use staffel_core::review::Language;
use std::sync::Arc;

type Answer<T> = Result<axum::Json<T>, Failure>;
type Reach = State<Arc<Edge>>;
type Who = Extension<Caller>;

/// The routes, each with the least role.
pub(crate) fn table(config: &EdgeConfig) -> Vec<Route> {
    let route = |path, role, handler| Route::new(path, role, handler, config.max_operator_body);
    let large = |path, role, handler| Route::new(path, role, handler, config.max_start_body);
    vec![
        route("/api/v1/incidents", Role::Viewer, get(incidents)),
        route("/api/v1/incidents", Role::Operator, post(open_incident)),
        route("/api/v1/incidents/{id}", Role::Viewer, get(incident)),
        route("/api/v1/incidents/{id}/history", Role::Viewer, get(incident_history)),
        route("/api/v1/incidents/{id}/curve", Role::Viewer, get(curve)),
        route("/api/v1/incidents/{id}/report", Role::Viewer, get(report)),
        route("/api/v1/incidents/{id}/dossiers", Role::Viewer, get(dossiers)),
        route("/api/v1/cases", Role::Viewer, get(cases)),
        route("/api/v1/cases/{id}", Role::Viewer, get(case)),
        route("/api/v1/cases/{id}/words", Role::Operator, post(case_word)),
        route("/api/v1/cases/{id}/erasures", Role::Operator, post(erase_note)),
        route("/api/v1/call-list", Role::Viewer, get(call_list)),
        route("/api/v1/sites", Role::Viewer, get(sites)),
        route("/api/v1/sites/{tenant}/{site}", Role::Viewer, get(site)),
        large("/api/v1/import", Role::TenantAdmin, post(import)),
    ]
}

async fn incidents(State(edge): Reach, Extension(who): Who) -> Answer<Vec<IncidentView>> {
    Ok(axum::Json(edge.aside(move |engine| engine.incidents(&who)).await?))
}

async fn open_incident(
    State(edge): Reach,
    Extension(who): Who,
    Json(asked): Json<OpenIncident>,
) -> Answer<IncidentView> {
    Ok(axum::Json(edge.engine.open_incident(&who, asked).await?))
}

async fn incident(State(edge): Reach, Extension(who): Who, Number(id): Number) -> Answer<IncidentView> {
    Ok(axum::Json(edge.aside(move |engine| engine.incident(&who, id)).await??))
}

async fn incident_history(State(edge): Reach, Extension(who): Who, Number(id): Number) -> Answer<Vec<HistoryEntry>> {
    Ok(axum::Json(edge.aside(move |engine| engine.incident_history(&who, id)).await??))
}

async fn curve(State(edge): Reach, Extension(who): Who, Number(id): Number) -> Answer<RecoveryCurve> {
    Ok(axum::Json(edge.aside(move |engine| engine.curve(&who, id)).await??))
}

#[derive(Deserialize)]
struct InLanguage {
    language: Option<Language>,
}

async fn report(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Asked(asked): Asked<InLanguage>,
) -> Answer<ReviewSheet> {
    let language = asked.language.unwrap_or(Language::De);
    Ok(axum::Json(edge.aside(move |engine| engine.review(&who, id, language)).await??))
}

async fn dossiers(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Asked(asked): Asked<InLanguage>,
) -> Answer<Vec<Dossier>> {
    let language = asked.language.unwrap_or(Language::De);
    Ok(axum::Json(edge.aside(move |engine| engine.dossiers(&who, id, language)).await??))
}

async fn cases(State(edge): Reach, Extension(who): Who, Asked(query): Asked<CaseQuery>) -> Answer<CasePage> {
    Ok(axum::Json(edge.aside(move |engine| engine.cases(&who, &query)).await?))
}

async fn case(State(edge): Reach, Extension(who): Who, Number(id): Number) -> Answer<CaseView> {
    Ok(axum::Json(edge.aside(move |engine| engine.case(&who, id)).await??))
}

async fn case_word(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(word): Json<CaseWord>,
) -> Answer<CaseView> {
    Ok(axum::Json(edge.engine.case_word(&who, id, word).await?))
}

async fn erase_note(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(asked): Json<EraseNote>,
) -> Answer<CaseView> {
    Ok(axum::Json(edge.engine.erase_note(&who, id, asked).await?))
}

async fn call_list(State(edge): Reach, Extension(who): Who) -> Answer<Vec<CallListEntry>> {
    Ok(axum::Json(edge.aside(move |engine| engine.call_list(&who)).await?))
}

async fn sites(State(edge): Reach, Extension(who): Who) -> Answer<Vec<SiteView>> {
    Ok(axum::Json(edge.aside(move |engine| engine.sites(&who)).await?))
}

async fn site(
    State(edge): Reach,
    Extension(who): Who,
    Path((tenant, site)): Path<(String, String)>,
) -> Answer<SiteView> {
    Ok(axum::Json(edge.aside(move |engine| engine.site(&who, &tenant, &site)).await??))
}

async fn import(State(edge): Reach, Extension(who): Who, Json(import): Json<Import>) -> Answer<Imported> {
    Ok(axum::Json(edge.engine.import(&who, import).await?))
}
