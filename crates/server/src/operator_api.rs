//! `/api/v1`: what operators, the command line and pages ask; the types are in [`crate::api`], the description in
//! [`crate::openapi`].
//!
//! Each route stands in one table with the least role that may use it; no route can be without. Which customer's things
//! somebody may touch is the engine's to say; a rollout is everybody's, so only those who are bound to no customer direct it. What must stay out: any decision.

use crate::{
    api::{
        Caller, DevicePage, DeviceQuery, DeviceSoftware, DeviceWhy, HistoryEntry, NextRollout, Role, RolloutView,
        ServerStatus, StartRollout, SuspectView, TenantView, Token, TokenRequest, Word,
    },
    config::{EdgeConfig, milliseconds},
    edge::Edge,
    identity::authorise,
    input::{Asked, BodyLimit, Json, Name, Number},
    openapi,
    problem::Failure,
    repair_api,
};
use axum::{
    Extension, Router,
    extract::State,
    http::header,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};
use staffel_trust::statement::Envelope;
use std::sync::Arc;

pub(crate) type Answer<T> = Result<axum::Json<T>, Failure>;
pub(crate) type Reach = State<Arc<Edge>>;
pub(crate) type Who = Extension<Caller>;

/// One way to ask.
pub(crate) struct Route {
    pub path: &'static str,
    /// The least role that may.
    pub role: Role,
    /// Concerns all customers: nobody who is bound to one may.
    whole_fleet: bool,
    handler: MethodRouter<Arc<Edge>>,
    /// Largest body, bytes.
    body: usize,
}

impl Route {
    /// A route that those who are bound to a customer may use, too.
    pub fn new(path: &'static str, role: Role, handler: MethodRouter<Arc<Edge>>, body: usize) -> Self {
        Route { path, role, whole_fleet: false, handler, body }
    }

    /// Nobody who is bound to a customer may.
    pub fn of_the_whole_fleet(self) -> Self {
        Route { whole_fleet: true, ..self }
    }
}

/// Everything that needs a token.
pub(crate) fn table(config: &EdgeConfig) -> Vec<Route> {
    let body = config.max_operator_body;
    let route = |path, role, handler| Route::new(path, role, handler, body);
    let fleet = |path, role, handler| Route { whole_fleet: true, ..route(path, role, handler) };
    let mut table = vec![
        route("/api/v1/status", Role::Viewer, get(status)),
        route("/api/v1/changes", Role::Viewer, get(changes)),
        route("/api/v1/rollouts/next", Role::Viewer, get(next_rollout)),
        route("/api/v1/rollouts", Role::Viewer, get(rollouts)),
        Route { body: config.max_start_body, ..fleet("/api/v1/rollouts", Role::Releaser, post(start_rollout)) },
        route("/api/v1/rollouts/{id}", Role::Viewer, get(rollout)),
        route("/api/v1/rollouts/{id}/history", Role::Viewer, get(rollout_history)),
        fleet("/api/v1/rollouts/{id}/hold", Role::Operator, post(hold)),
        fleet("/api/v1/rollouts/{id}/resume", Role::Operator, post(resume)),
        fleet("/api/v1/rollouts/{id}/halt", Role::Operator, post(halt)),
        route("/api/v1/rollouts/{id}/unhalt", Role::Viewer, get(repair_api::next_unhalt)),
        fleet("/api/v1/rollouts/{id}/unhalt", Role::Releaser, post(repair_api::unhalt)),
        route("/api/v1/devices", Role::Viewer, get(devices)),
        route("/api/v1/devices/{id}/why", Role::Viewer, get(device_why)),
        route("/api/v1/devices/{id}/software", Role::Viewer, get(device_software)),
        fleet("/api/v1/software/suspects", Role::Viewer, get(suspects)),
        route("/api/v1/devices/{id}/remedies", Role::Viewer, get(repair_api::device_remedies)),
        route("/api/v1/devices/{id}/retire", Role::Operator, post(repair_api::retire)),
        route("/api/v1/devices/{id}/clear-clone", Role::Operator, post(repair_api::clear_clone)),
        route("/api/v1/remedies", Role::Viewer, get(repair_api::remedies)),
        route("/api/v1/remedies", Role::Operator, post(repair_api::send_remedy)),
        route("/api/v1/tenants", Role::Viewer, get(tenants)),
        route("/api/v1/tenants/{tenant}/policy", Role::TenantAdmin, put(put_policy)),
        route("/api/v1/tenants/{tenant}/keys", Role::Operator, put(repair_api::tenant_keys)),
        route("/api/v1/tokens", Role::TenantAdmin, post(token)),
        fleet("/api/v1/log/entries", Role::Viewer, get(log_entries)),
    ];
    table.extend(crate::recovery_api::table(config));
    table.extend(crate::notice_api::table(config));
    table.extend(crate::detection_api::table(config));
    table
}

pub(crate) fn router(edge: &Arc<Edge>) -> Router<Arc<Edge>> {
    let mut router = Router::new().route("/api/v1/openapi.json", get(describe));
    for route in table(&edge.config) {
        let guarded = route
            .handler
            .route_layer(Extension(BodyLimit(route.body)))
            .route_layer(from_fn_with_state((edge.clone(), route.role, route.whole_fleet), authorise));
        router = router.route(route.path, guarded);
    }
    router
}

async fn describe() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::DOCUMENT).into_response()
}

async fn status(State(edge): Reach) -> Answer<ServerStatus> {
    Ok(axum::Json(edge.aside(|engine| engine.status()).await?))
}

#[derive(Deserialize)]
struct After {
    /// The last number that the asker has seen; nothing for none.
    after: Option<u64>,
}

/// Answers once there is a change after this one, or with the same number when it has taken too long.
async fn changes(State(edge): Reach, Asked(After { after }): Asked<After>) -> Answer<Value> {
    let mut numbers = edge.engine.changes();
    let mut stop = edge.stop.clone();
    tokio::select! {
        // A number lower than the asker's means that the server was started again: that is a change, too.
        _ = numbers.wait_for(|now| Some(*now) != after) => {}
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(milliseconds(edge.config.long_poll_ms)) => {}
    }
    let now = *numbers.borrow();
    Ok(axum::Json(json!({ "change": now })))
}

async fn next_rollout(State(edge): Reach, Extension(who): Who) -> Answer<NextRollout> {
    Ok(axum::Json(edge.aside(move |engine| engine.next_rollout(&who)).await??))
}

async fn rollouts(State(edge): Reach, Extension(who): Who) -> Answer<Vec<RolloutView>> {
    Ok(axum::Json(edge.aside(move |engine| engine.rollouts(&who)).await?))
}

async fn start_rollout(
    State(edge): Reach,
    Extension(who): Who,
    Json(start): Json<StartRollout>,
) -> Answer<RolloutView> {
    Ok(axum::Json(edge.engine.start_rollout(&who, start).await?))
}

async fn rollout(State(edge): Reach, Extension(who): Who, Number(id): Number) -> Answer<RolloutView> {
    Ok(axum::Json(edge.aside(move |engine| engine.rollout(&who, id)).await??))
}

async fn rollout_history(State(edge): Reach, Extension(who): Who, Number(id): Number) -> Answer<Vec<HistoryEntry>> {
    Ok(axum::Json(edge.aside(move |engine| engine.rollout_history(&who, id)).await??))
}

async fn hold(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(word): Json<Word>,
) -> Answer<RolloutView> {
    Ok(axum::Json(edge.engine.hold(&who, id, word).await?))
}

async fn resume(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(word): Json<Word>,
) -> Answer<RolloutView> {
    Ok(axum::Json(edge.engine.resume(&who, id, word).await?))
}

async fn halt(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(word): Json<Word>,
) -> Answer<RolloutView> {
    Ok(axum::Json(edge.engine.halt(&who, id, word).await?))
}

async fn devices(State(edge): Reach, Extension(who): Who, Asked(query): Asked<DeviceQuery>) -> Answer<DevicePage> {
    Ok(axum::Json(edge.aside(move |engine| engine.devices(&who, &query)).await?))
}

async fn device_why(State(edge): Reach, Extension(who): Who, Name(device): Name) -> Answer<DeviceWhy> {
    Ok(axum::Json(edge.aside(move |engine| engine.device_why(&who, &device)).await??))
}

async fn device_software(State(edge): Reach, Extension(who): Who, Name(device): Name) -> Answer<DeviceSoftware> {
    Ok(axum::Json(edge.aside(move |engine| engine.device_software(&who, &device)).await??))
}

async fn suspects(State(edge): Reach) -> Answer<Vec<SuspectView>> {
    Ok(axum::Json(edge.aside(|engine| engine.suspects()).await?))
}

async fn tenants(State(edge): Reach, Extension(who): Who) -> Answer<Vec<TenantView>> {
    Ok(axum::Json(edge.aside(move |engine| engine.tenants(&who)).await?))
}

async fn put_policy(
    State(edge): Reach,
    Extension(who): Who,
    Name(tenant): Name,
    Json(policy): Json<Envelope>,
) -> Answer<TenantView> {
    Ok(axum::Json(edge.engine.put_policy(&who, &tenant, policy).await?))
}

async fn token(State(edge): Reach, Extension(who): Who, Json(request): Json<TokenRequest>) -> Answer<Token> {
    Ok(axum::Json(edge.engine.token(&who, request).await?))
}

#[derive(Deserialize)]
struct Entries {
    #[serde(default)]
    from: u64,
    max: Option<usize>,
}

async fn log_entries(State(edge): Reach, Asked(asked): Asked<Entries>) -> Answer<Value> {
    let max = asked.max.unwrap_or(100).clamp(1, 1_000);
    Ok(axum::Json(edge.aside(move |engine| engine.log_entries(asked.from, max)).await??))
}
