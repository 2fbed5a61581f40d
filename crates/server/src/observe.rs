//! What is done around every request: its id, its time limit, its figures, its line in the log. What must stay out: whatever
//! depends on the route.

use crate::{
    config::milliseconds,
    edge::Edge,
    metrics::{Present, method_name},
    problem::Failure,
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{sync::Arc, time::Instant};
use tracing::{Instrument, field::Empty};

/// Layer around everything.
pub(crate) async fn observe(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _present = Present::new(&edge.metrics, |metrics| &metrics.in_flight);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let id = edge.request_id();
    let span = tracing::info_span!("request", id, method = method_name(&method), route, device = Empty, caller = Empty);
    let mut response = async {
        let limit = milliseconds(edge.config.request_timeout_ms);
        let response = match tokio::time::timeout(limit, next.run(request)).await {
            Ok(response) => plain_error_to_problem(response),
            Err(_) => timed_out(),
        };
        let (status, ms) = (response.status().as_u16(), started.elapsed().as_millis() as u64);
        // People's doings are few and matter; a fleet's are many and alike.
        if route.starts_with("/api/") {
            tracing::info!(status, ms, "answered")
        } else {
            tracing::debug!(status, ms, "answered")
        }
        response
    }
    .instrument(span)
    .await;
    edge.metrics.answered(&route, &method, response.status(), started.elapsed());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn timed_out() -> Response {
    let mut response = Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        "the request took too long",
        "send it faster, or try again when the server has less to do",
    )
    .into_response();
    // The rest of the request may still be on its way: this connection is of no more use.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Errors that the framework made have no JSON: they get one, so that clients need one way only.
fn plain_error_to_problem(response: Response) -> Response {
    let status = response.status();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if !(status.is_client_error() || status.is_server_error()) || json {
        return response;
    }
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    let mut problem = Failure::new(status, reason, "see the API's description").into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}
