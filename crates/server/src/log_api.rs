//! `/log`: the transparency log as c2sp.org/tlog-tiles has it, for anybody. What must stay out: what stands in it, and
//! whether a cosignature is good.

use crate::{
    config::EdgeConfig,
    edge::Edge,
    engine::EngineError,
    identity::Anybody,
    input::{Asked, BodyLimit, Name, Raw},
    problem::Failure,
};
use axum::{
    Extension, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use std::sync::Arc;

pub(crate) fn routes(config: &EdgeConfig) -> Router<Arc<Edge>> {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*path}", get(tile))
        .route("/log/consistency", get(consistency))
        .route("/log/cosignature", post(cosignature))
        .layer(Extension(BodyLimit(config.max_device_body)))
}

const TEXT: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=utf-8");

async fn checkpoint(State(edge): State<Arc<Edge>>) -> Result<Response, Failure> {
    let note = edge.aside(|engine| engine.checkpoint()).await?;
    let note = note.ok_or_else(|| Failure::not_found("checkpoint yet"))?;
    Ok(([TEXT, (header::CACHE_CONTROL, "no-cache")], note).into_response())
}

async fn tile(State(edge): State<Arc<Edge>>, Name(path): Name) -> Result<Response, Failure> {
    let bytes = edge.aside(move |engine| engine.tile(&format!("tile/{path}"))).await?.map_err(|error| match error {
        // Caches and the log's readers know one status for a tile that is not there (yet).
        EngineError::Refused { why, .. } => Failure::not_found(format!("such tile: {why}")),
        other => Failure::from(other),
    })?;
    // A tile, partial ones included, never changes under its name.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, bytes).into_response())
}

#[derive(Deserialize)]
struct Known {
    /// Size of the tree that the asker knows.
    from: u64,
}

async fn consistency(
    State(edge): State<Arc<Edge>>,
    _: Anybody,
    Asked(Known { from }): Asked<Known>,
) -> Result<Response, Failure> {
    let text = edge.aside(move |engine| engine.consistency(from)).await??;
    Ok(([TEXT, (header::CACHE_CONTROL, "no-store")], text).into_response())
}

async fn cosignature(State(edge): State<Arc<Edge>>, _: Anybody, Raw(body): Raw) -> Result<StatusCode, Failure> {
    let lines = String::from_utf8(body.to_vec())
        .map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "the cosignature is no text", "send signature lines"))?;
    edge.engine.add_cosignature(lines).await?;
    Ok(StatusCode::NO_CONTENT)
}
