//! What operators ask to repair and to take back: remedies, un-halts, customers' keys, devices that go. Their rows stand in the one table of
//! `operator_api`. What must stay out: any decision.

use crate::{
    api::{DeviceRemedies, DeviceView, NextUnhalt, RemedyView, RolloutView, TenantKeys, TenantView, Unhalting, Word},
    input::{Json, Name, Number},
    operator_api::{Answer, Reach, Who},
};
use axum::{Extension, extract::State};
use staffel_trust::statement::Envelope;

pub(crate) async fn next_unhalt(State(edge): Reach, Number(id): Number) -> Answer<NextUnhalt> {
    Ok(axum::Json(edge.aside(move |engine| engine.next_unhalt(id)).await??))
}

pub(crate) async fn unhalt(
    State(edge): Reach,
    Extension(who): Who,
    Number(id): Number,
    Json(word): Json<Unhalting>,
) -> Answer<RolloutView> {
    Ok(axum::Json(edge.engine.unhalt(&who, id, word).await?))
}

pub(crate) async fn remedies(State(edge): Reach, Extension(who): Who) -> Answer<Vec<RemedyView>> {
    Ok(axum::Json(edge.aside(move |engine| engine.remedies(&who)).await?))
}

pub(crate) async fn send_remedy(
    State(edge): Reach,
    Extension(who): Who,
    Json(remedy): Json<Envelope>,
) -> Answer<RemedyView> {
    Ok(axum::Json(edge.engine.send_remedy(&who, remedy).await?))
}

pub(crate) async fn device_remedies(
    State(edge): Reach,
    Extension(who): Who,
    Name(device): Name,
) -> Answer<DeviceRemedies> {
    Ok(axum::Json(edge.aside(move |engine| engine.device_remedies(&who, &device)).await??))
}

pub(crate) async fn retire(
    State(edge): Reach,
    Extension(who): Who,
    Name(device): Name,
    Json(word): Json<Word>,
) -> Answer<DeviceView> {
    Ok(axum::Json(edge.engine.retire(&who, &device, word).await?))
}

pub(crate) async fn clear_clone(
    State(edge): Reach,
    Extension(who): Who,
    Name(device): Name,
    Json(word): Json<Word>,
) -> Answer<DeviceView> {
    Ok(axum::Json(edge.engine.clear_clone(&who, &device, word).await?))
}

pub(crate) async fn tenant_keys(
    State(edge): Reach,
    Extension(who): Who,
    Name(tenant): Name,
    Json(keys): Json<TenantKeys>,
) -> Answer<TenantView> {
    Ok(axum::Json(edge.engine.tenant_keys(&who, &tenant, keys).await?))
}
