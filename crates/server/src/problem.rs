//! Errors as everybody outside sees them: a [`Problem`] with a status. What must stay out: deciding what is an error.

use crate::engine::EngineError;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use staffel_trust::wire::Problem;
use std::time::Duration;

/// An answer that says no, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub status: StatusCode,
    pub error: String,
    pub hint: String,
    /// After this time another attempt makes sense.
    pub retry_after: Option<Duration>,
    /// How to say who one is (RFC 9110, `www-authenticate`), where a header can say it.
    pub challenge: Option<&'static str>,
}

impl Failure {
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { status, error: error.into(), hint: hint.into(), retry_after: None, challenge: None }
    }

    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Failure::new(StatusCode::NOT_FOUND, format!("there is no {what}"), "check the name")
    }

    pub fn forbidden(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::new(StatusCode::FORBIDDEN, error, hint)
    }

    /// Something that should not happen: the details go to the server's own log and not to whoever asked.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(error = %what, "a request failed inside the server");
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed at this request",
            "try again; the server's log has the cause beside the id in the header x-request-id",
        )
    }

    pub fn too_many(wait: Duration) -> Self {
        let hint = "wait as long as the header retry-after says (seconds)";
        Failure { retry_after: Some(wait), ..Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many requests", hint) }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound { what } => Failure::not_found(what),
            EngineError::Refused { why, hint } => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, why, hint),
            EngineError::Conflict { why, hint } => Failure::new(StatusCode::CONFLICT, why, hint),
            EngineError::ReadOnly { why } => Failure {
                retry_after: Some(Duration::from_secs(30)),
                ..Failure::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("the server can't write: {why}"),
                    "what runs goes on running; remove the cause on the server, then try again",
                )
            },
            EngineError::Forbidden { why } => Failure::forbidden(why, "ask somebody whose role or customer allows it"),
            EngineError::Internal { why } => Failure::internal(why),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = Problem { error: self.error, hint: self.hint };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        // An error must not live on in a cache: a missing file is there a moment later.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = self.retry_after {
            // Rounded up: an early retry would be refused again.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1_000).max(1) as u64));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_engine_has_its_status() {
        let text = || "x".to_string();
        let cases = [
            (EngineError::NotFound { what: text() }, 404),
            (EngineError::Refused { why: text(), hint: text() }, 422),
            (EngineError::Conflict { why: text(), hint: text() }, 409),
            (EngineError::ReadOnly { why: text() }, 503),
            (EngineError::Forbidden { why: text() }, 403),
            (EngineError::Internal { why: text() }, 500),
        ];
        for (error, status) in cases {
            assert_eq!(Failure::from(error).into_response().status(), status);
        }
    }

    #[test]
    fn an_internal_cause_stays_inside() {
        let failure = Failure::from(EngineError::Internal { why: "disk /secret/path".into() });
        assert!(!format!("{failure:?}").contains("secret"));
    }

    #[test]
    fn the_wait_is_rounded_up_to_seconds() {
        let response = Failure::too_many(Duration::from_millis(1_001)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
