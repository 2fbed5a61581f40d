//! `/v1`: what devices ask. The types are in `staffel_trust::wire`. What must stay out: every decision, which is the
//! engine's.
//!
//! A device is known by the key of its certificate. An expired certificate ends the TLS handshake, and on a connection that
//! outlives it the answer is 401. `POST /v1/renew` gives a new certificate while the old one is good, `/v1/recover` after that.

use crate::api::{Caller, Role};
use crate::{
    ca::Ca,
    config::EdgeConfig,
    edge::Edge,
    engine::detections::Sent,
    identity::{Device, Newcomer, Returning, limited},
    input::{BodyLimit, Json},
    problem::Failure,
};
use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use staffel_core::{identity::Refusal, ids::Digest};
use staffel_trust::{
    statement::Envelope,
    wire::{
        Bye, CheckIn, CheckInReply, DetectionsNoted, Enrol, Enrolled, Inventory, Recover, RecoverNonce, Remedied, Renew,
    },
};
use std::sync::{Arc, PoisonError};

/// Largest inventory that is taken, bytes; it is logged as one entry.
const MAX_INVENTORY: usize = 1 << 20;

/// Largest delivery of a sensor's findings, bytes; agents send about half of that.
const MAX_DETECTIONS: usize = 1 << 20;

pub(crate) fn routes(config: &EdgeConfig) -> Router<Arc<Edge>> {
    Router::new()
        .route("/v1/enrol", post(enrol))
        .route("/v1/renew", post(renew))
        .route("/v1/recover", get(nonce).post(recover))
        .route("/v1/checkin", post(check_in))
        .route("/v1/board", get(board))
        .route("/v1/policy", get(policy))
        .route("/v1/remedied", post(remedied))
        .route("/v1/bye", post(bye))
        .layer(Extension(BodyLimit(config.max_device_body)))
        // A thousand packages are longer than any other word of a device.
        .merge(Router::new().route("/v1/inventory", post(inventory)).layer(Extension(BodyLimit(MAX_INVENTORY))))
        .merge(Router::new().route("/v1/detections", post(detections)).layer(Extension(BodyLimit(MAX_DETECTIONS))))
}

async fn enrol(
    State(edge): State<Arc<Edge>>,
    _: Newcomer,
    Json(request): Json<Enrol>,
) -> Result<axum::Json<Enrolled>, Failure> {
    // Before the token is used up: a request that can't be signed costs nothing.
    let verified = verify(&request.csr_pem)?;
    let (device, tenant, site) = edge.engine.enrol(&request, &verified.spki).await?;
    let certificate_pem =
        edge.ca.sign_device(&verified, edge.config.device_certificate_days).map_err(Failure::internal)?;
    Ok(axum::Json(Enrolled { device, tenant, site, certificate_pem }))
}

async fn renew(
    State(edge): State<Arc<Edge>>,
    Device(device): Device,
    Json(request): Json<Renew>,
) -> Result<axum::Json<Enrolled>, Failure> {
    let verified = verify(&request.csr_pem)?;
    if verified.device != device {
        let hint = "sign the request with the device's own key; a new key needs a new enrolment";
        return Err(Failure::forbidden("the request is for another key than the connection's", hint));
    }
    edge.engine.speaks(&device)?;
    // The server itself asks, in the name of nobody in particular: is the device still known?
    let server = Caller { name: "server".into(), role: Role::Viewer, tenant: None };
    let known = edge.aside(move |engine| engine.device_why(&server, &device.to_string())).await??.device;
    let certificate_pem =
        edge.ca.sign_device(&verified, edge.config.device_certificate_days).map_err(Failure::internal)?;
    Ok(axum::Json(Enrolled { device, tenant: known.tenant, site: known.site, certificate_pem }))
}

async fn nonce(State(edge): State<Arc<Edge>>, _: Returning) -> Result<Response, Failure> {
    let nonce = edge.nonces.give().map_err(Failure::internal)?;
    // Whoever stands between must not give two devices the same.
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(RecoverNonce { nonce })).into_response())
}

async fn recover(
    State(edge): State<Arc<Edge>>,
    _: Returning,
    Json(request): Json<Recover>,
) -> Result<axum::Json<Enrolled>, Failure> {
    let verified = verify(&request.csr_pem)?;
    let device = verified.device;
    tracing::Span::current().record("device", tracing::field::display(device));
    let is_known = edge.engine.was_enrolled(&device);
    let nonce = edge.nonces.take(verified.challenge.as_deref().unwrap_or_default(), is_known);
    if is_known {
        // The key was proven: nobody can use up another device's share.
        edge.regain_limit.take(device).map_err(|wait| limited(&edge, wait))?;
    }
    let (tenant, site) = edge.engine.recover_certificate(device, nonce).await?.map_err(no_certificate)?;
    let certificate_pem =
        edge.ca.sign_device(&verified, edge.config.device_certificate_days).map_err(Failure::internal)?;
    Ok(axum::Json(Enrolled { device, tenant, site, certificate_pem }))
}

fn no_certificate(refusal: Refusal) -> Failure {
    let hint = match refusal {
        Refusal::NonceForeign | Refusal::NonceOld { .. } | Refusal::NonceUsed => {
            let hint = "get a nonce with GET /v1/recover, and send the request with it as its challenge password";
            return Failure::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string(), hint);
        }
        Refusal::Unknown => "enrol the device with a token",
        Refusal::Retired => "its machine comes back by a new enrolment, with a new key",
        Refusal::Cloned => "somebody has to look first: `staffel device clear-clone`, or retire the device",
    };
    Failure::forbidden(refusal.to_string(), hint)
}

fn verify(csr_pem: &str) -> Result<crate::ca::VerifiedRequest, Failure> {
    Ca::verify_request(csr_pem).map_err(|error| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            error.to_string(),
            "send a PKCS#10 request in PEM, signed by the device's key",
        )
    })
}

async fn check_in(
    State(edge): State<Arc<Edge>>,
    Device(device): Device,
    Json(request): Json<CheckIn>,
) -> Result<axum::Json<CheckInReply>, Failure> {
    Ok(axum::Json(edge.engine.check_in(device, request).await?))
}

async fn inventory(
    State(edge): State<Arc<Edge>>,
    Device(device): Device,
    Json(request): Json<Inventory>,
) -> Result<StatusCode, Failure> {
    edge.engine.inventory_sent(device, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn detections(
    State(edge): State<Arc<Edge>>,
    Device(device): Device,
    Json(sent): Json<Sent>,
) -> Result<axum::Json<DetectionsNoted>, Failure> {
    // Each delivery may be an entry of the log, which keeps it for good.
    edge.detection_limit.take(device).map_err(Failure::too_many)?;
    Ok(axum::Json(edge.engine.detections(device, sent).await?))
}

async fn remedied(
    State(edge): State<Arc<Edge>>,
    Device(device): Device,
    Json(word): Json<Remedied>,
) -> Result<StatusCode, Failure> {
    edge.engine.remedied(device, word).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn bye(
    State(edge): State<Arc<Edge>>,
    Device(device): Device,
    Json(request): Json<Bye>,
) -> Result<StatusCode, Failure> {
    edge.engine.bye(device, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn policy(State(edge): State<Arc<Edge>>, Device(device): Device) -> Result<axum::Json<Envelope>, Failure> {
    edge.engine.policy(device).map(axum::Json).ok_or_else(|| Failure::not_found("policy of this device's customer"))
}

/// The board is the same for everybody, and mostly the same as a minute ago: its digest saves sending it.
async fn board(State(edge): State<Arc<Edge>>, _: Device, headers: HeaderMap) -> Response {
    let board = edge.engine.board();
    let tag = {
        let mut known = edge.board_tag.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, tag)) if Arc::ptr_eq(of, &board) => tag.clone(),
            _ => {
                let tag = format!("\"{}\"", Digest::of(&board.json));
                *known = Some((board.clone(), tag.clone()));
                tag
            }
        }
    };
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let headers = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "no-cache")];
    if same {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, "application/json")], board.json.clone()).into_response()
}
