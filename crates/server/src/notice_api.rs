//! `/api/v1`, the part about notices to people. A notice concerns many customers: nobody who is bound to one may use this. What
//! must stay out: any decision.

use crate::{
    api::{CallBack, Caller, Erase, NewNotice, NoticeCall, NoticeSheet, NoticeView, Role},
    config::EdgeConfig,
    edge::Edge,
    input::{Json, Number},
    operator_api::Route,
    problem::Failure,
};
use axum::{
    Extension,
    extract::State,
    routing::{get, post},
};
use std::sync::Arc;

type Answer<T> = Result<axum::Json<T>, Failure>;
type Reach = State<Arc<Edge>>;
type Who = Extension<Caller>;

/// The routes, each with the least role.
pub(crate) fn table(config: &EdgeConfig) -> Vec<Route> {
    let body = config.max_operator_body;
    let fleet = |path, role, handler| Route::new(path, role, handler, body).of_the_whole_fleet();
    vec![
        fleet("/api/v1/notices", Role::Viewer, get(notices)),
        fleet("/api/v1/notices", Role::Operator, post(draw)),
        fleet("/api/v1/notices/{id}", Role::Viewer, get(notice)),
        fleet("/api/v1/notices/{id}/erasure", Role::Operator, post(erase)),
        fleet("/api/v1/notices/{id}/call-list", Role::Viewer, get(call_list)),
        fleet("/api/v1/call-backs", Role::Operator, post(call_back)),
    ]
}

async fn notices(State(edge): Reach) -> Answer<Vec<NoticeView>> {
    Ok(axum::Json(edge.aside(|engine| engine.notices()).await?))
}

async fn draw(State(edge): Reach, Extension(who): Who, Json(asked): Json<NewNotice>) -> Answer<NoticeSheet> {
    Ok(axum::Json(edge.engine.draw_notice(&who, asked).await?))
}

async fn notice(State(edge): Reach, Number(id): Number) -> Answer<NoticeSheet> {
    Ok(axum::Json(edge.aside(move |engine| engine.notice(id)).await??))
}

async fn erase(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(asked): Json<Erase>,
) -> Answer<NoticeSheet> {
    Ok(axum::Json(edge.engine.erase_notice(&who, id, asked).await?))
}

async fn call_list(State(edge): Reach, Number(id): Number) -> Answer<Vec<NoticeCall>> {
    Ok(axum::Json(edge.aside(move |engine| engine.notice_call_list(id)).await??))
}

async fn call_back(State(edge): Reach, Extension(who): Who, Json(said): Json<CallBack>) -> Answer<NoticeSheet> {
    Ok(axum::Json(edge.engine.call_back(&who, said).await?))
}
