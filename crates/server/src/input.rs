//! Reading what came with a request, with a bound and an error that says what is wrong. What must stay out: its meaning.

use crate::problem::Failure;
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header::CONTENT_LENGTH, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How much, and for how long, is read and thrown away after a body turned out to be too large.
const LINGER_BYTES: usize = 1 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// Largest body of the route, bytes; set as an extension by the route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimit(pub usize);

/// The whole body.
pub(crate) struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let Some(BodyLimit(limit)) = request.extensions().get().copied() else {
            return Err(Failure::internal("a route that reads a body has no limit for it"));
        };
        // Who announces too much is told so before anything is kept.
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let mut body = request.into_body();
        let mut kept = BytesMut::new();
        let mut fits = announced.is_none_or(|length| length <= limit as u64);
        while fits && let Some(chunk) = next(&mut body).await? {
            fits = kept.len() + chunk.len() <= limit;
            if fits {
                kept.extend_from_slice(&chunk);
            }
        }
        if fits {
            return Ok(Raw(kept.freeze()));
        }
        drop(kept);
        throw_away(&mut body).await;
        let error = format!("the body is larger than {limit} bytes");
        Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less at once"))
    }
}

/// The next piece of a body; trailers are skipped.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
            Some(Err(error)) => {
                let error = format!("the body did not arrive whole: {error}");
                return Err(Failure::new(StatusCode::BAD_REQUEST, error, "send it again"));
            }
        }
    }
}

/// Reads on for a moment: a connection that is closed while the client still writes loses the answer on its way (RFC 9112,
/// 9.6). Only a moment, because nobody is owed more.
async fn throw_away(body: &mut Body) {
    let reading = async {
        let mut left = LINGER_BYTES;
        while let Ok(Some(chunk)) = next(body).await
            && left > chunk.len()
        {
            left -= chunk.len();
        }
    };
    // Either way the answer is the same.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// The body as JSON.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Raw(body) = Raw::from_request(request, state).await?;
        serde_json::from_slice(&body).map(Json).map_err(|error| {
            let kind = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
            let error = format!("the body is no {kind} in JSON: {error}");
            Failure::new(StatusCode::BAD_REQUEST, error, "correct the body; the API's description has the fields")
        })
    }
}

/// The part of the path in braces.
pub(crate) struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Name(text)),
            Err(error) => Err(Failure::new(StatusCode::BAD_REQUEST, error.to_string(), "write the path in UTF-8")),
        }
    }
}

/// The number of a rollout, an incident or a case in the path.
pub(crate) struct Number(pub u64);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        text.parse().map(Number).map_err(|_| {
            Failure::not_found(format!("number {text:?}: rollouts, incidents, cases and alerts have numbers"))
        })
    }
}

/// What follows the `?`.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Asked(asked)),
            Err(error) => Err(Failure::new(
                StatusCode::BAD_REQUEST,
                error.body_text(),
                "correct what follows the ? in the address",
            )),
        }
    }
}
