//! What browsers see of a log-in with the provider: the way there and the way back. What is refused is logged. What must stay
//! out: what an answer is worth.

use super::{Answer, Oidc, OidcError};
use crate::{
    auth::{enter, set_cookie},
    sessions::Proof,
    web::{Console, Stop, cookie, local},
};
use axum::{
    Extension, Router,
    extract::{Query, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;
use staffel_server::edge::Peer;
use std::sync::Arc;

/// Ties an answer to the browser that was sent. Lax, because the provider's page sends people back.
const TICKET: &str = "__Host-staffel-oidc";
const WHAT: &str = "log in with the provider";

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/login/oidc", get(there)).route("/login/oidc/back", get(back))
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

async fn there(
    State(console): State<Arc<Console>>,
    peer: Option<Extension<Peer>>,
    Query(Next { next }): Query<Next>,
) -> Result<Response, Stop> {
    let oidc = provider(&console)?;
    console.slow_down(peer, None, None, WHAT).await?;
    let errand = match oidc.begin(local(next.as_deref())).await {
        Ok(errand) => errand,
        Err(error) => return Err(refused(&console, &error).await),
    };
    let mut response = Redirect::to(&errand.address).into_response();
    set_cookie(response.headers_mut(), TICKET, &errand.ticket, "; HttpOnly; SameSite=Lax; Max-Age=600");
    Ok(response)
}

async fn back(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> Result<Response, Stop> {
    let oidc = provider(&console)?;
    let (caller, next) = match oidc.finish(cookie(&headers, TICKET).unwrap_or_default(), &answer).await {
        Ok(found) => found,
        Err(error) => return Err(refused(&console, &error).await),
    };
    let mut response = enter(&console, &headers, &caller.name.clone(), Proof::Provider(caller), &next)?;
    set_cookie(response.headers_mut(), TICKET, "", "; HttpOnly; SameSite=Lax; Max-Age=0");
    Ok(response)
}

fn provider(console: &Console) -> Result<Oidc, Stop> {
    console.oidc.clone().ok_or(Stop::NotFound)
}

async fn refused(console: &Console, error: &OidcError) -> Stop {
    console.engine.refused(None, WHAT, &error.to_string()).await;
    match error {
        OidcError::Away { .. } => Stop::Provider,
        OidcError::Random(error) => Stop::internal(error),
        OidcError::Unmapped { .. } => Stop::Refused { why: "stop-oidc-unmapped" },
        OidcError::Nameless { .. } => Stop::Refused { why: "stop-oidc-nameless" },
        _ => Stop::Refused { why: "stop-oidc" },
    }
}
