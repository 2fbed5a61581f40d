//! `/api/v1/detections`: what devices' sensors found, for operators and for programs that collect it. What must stay out: any
//! decision.

use crate::{
    api::{Acknowledge, DetectionQuery, DetectionSheet, Erase, Role},
    config::EdgeConfig,
    input::{Asked, Json, Number},
    operator_api::{Answer, Reach, Route, Who},
    problem::Failure,
};
use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;

/// Each may be used by whoever is bound to a customer, too: they see their own devices' alerts.
pub(crate) fn table(config: &EdgeConfig) -> Vec<Route> {
    let route = |path, role, handler| Route::new(path, role, handler, config.max_operator_body);
    vec![
        route("/api/v1/detections", Role::Viewer, get(detections)),
        route("/api/v1/detections/{id}", Role::Viewer, get(detection)),
        route("/api/v1/detections/{id}/acknowledgement", Role::Operator, post(acknowledge)),
        route("/api/v1/detections/{id}/erasure", Role::Operator, post(erase)),
    ]
}

/// How the answer is written.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Json,
    /// An object with a list of OCSF Detection Findings.
    Ocsf,
    /// One OCSF Detection Finding a line.
    OcsfLines,
}

/// Read beside the query: a list of everything in one type would take every number for a text.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    format: Format,
}

async fn detections(
    State(edge): Reach,
    Extension(who): Who,
    Asked(Written { format }): Asked<Written>,
    Asked(query): Asked<DetectionQuery>,
) -> Result<Response, Failure> {
    for (name, value, allowed) in
        [("state", &query.state, &["open", "acknowledged", "all"][..]), ("about", &query.about, &["rule", "sensor"])]
    {
        if value.as_deref().is_some_and(|value| !allowed.contains(&value)) {
            let hint = format!("{name} is one of {}", allowed.join(", "));
            return Err(Failure::new(StatusCode::BAD_REQUEST, format!("{name} has another value"), hint));
        }
    }
    if matches!(format, Format::Json) {
        let page = edge.aside(move |engine| engine.detection_page(&who, &query)).await??;
        return Ok(axum::Json(page).into_response());
    }
    let (findings, next) = edge.aside(move |engine| engine.detections_as_ocsf(&who, &query)).await??;
    if matches!(format, Format::Ocsf) {
        return Ok(axum::Json(json!({ "findings": findings, "next": next })).into_response());
    }
    let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    let next = next.map(|next| next.to_string()).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE.as_str(), "application/x-ndjson"), ("staffel-next", &next)], lines).into_response())
}

async fn detection(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Asked(Written { format }): Asked<Written>,
) -> Result<Response, Failure> {
    match format {
        Format::Json => Ok(axum::Json(edge.aside(move |engine| engine.detection(&who, id)).await??).into_response()),
        Format::Ocsf | Format::OcsfLines => {
            Ok(axum::Json(edge.aside(move |engine| engine.detection_as_ocsf(&who, id)).await??).into_response())
        }
    }
}

async fn acknowledge(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(asked): Json<Acknowledge>,
) -> Answer<DetectionSheet> {
    Ok(axum::Json(edge.engine.acknowledge_detection(&who, id, asked).await?))
}

async fn erase(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(asked): Json<Erase>,
) -> Answer<DetectionSheet> {
    Ok(axum::Json(edge.engine.erase_detection(&who, id, asked).await?))
}
