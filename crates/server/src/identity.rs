//! Who is at the other end: a device by its key, an operator by a token. What must stay out: what they want.

use crate::{
    api::{Caller, Role},
    edge::Edge,
    limit::address_key,
    problem::Failure,
    roster::RosterError,
};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::Response,
};
use staffel_core::ids::DeviceId;
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub(crate) certificate: Option<PeerCertificate>,
}

/// What counts in a certificate that TLS has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerCertificate {
    /// From the public key; the names in the certificate are not looked at.
    pub device: DeviceId,
    /// Unix seconds.
    pub not_after: i64,
}

impl PeerCertificate {
    /// `None` if it can't be read.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let device = DeviceId::of_public_key(certificate.public_key().raw);
        Some(PeerCertificate { device, not_after: certificate.validity().not_after.timestamp() })
    }
}

impl Peer {
    /// The device, if its certificate is good at this time (Unix seconds): a connection or a resumed session may outlive it.
    fn device_at(&self, now: i64) -> Result<DeviceId, Failure> {
        let unauthorised = |error: &str, hint: &str| Failure::new(StatusCode::UNAUTHORIZED, error, hint);
        let Some(certificate) = self.certificate else {
            return Err(unauthorised(
                "this needs a device's certificate",
                "enrol the device and connect with the certificate that it gets",
            ));
        };
        if now > certificate.not_after {
            return Err(unauthorised(
                "the device's certificate has expired",
                "sign a nonce with the device's key (`/v1/recover`), or enrol it again with a new token",
            ));
        }
        Ok(certificate.device)
    }

    fn of(parts: &Parts) -> Result<Peer, Failure> {
        parts.extensions.get::<Peer>().copied().ok_or_else(|| Failure::internal("a request without its connection"))
    }
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

/// A device that may ask now: it has a certificate and has not asked too often.
pub(crate) struct Device(pub DeviceId);

impl FromRequestParts<Arc<Edge>> for Device {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let device = Peer::of(parts)?.device_at(unix_seconds())?;
        tracing::Span::current().record("device", tracing::field::display(device));
        edge.device_limit.take(device).map_err(|wait| limited(edge, wait))?;
        Ok(Device(device))
    }
}

/// Somebody without a name who has not tried to enrol too often.
pub(crate) struct Newcomer;

impl FromRequestParts<Arc<Edge>> for Newcomer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let address = address_key(Peer::of(parts)?.address.ip());
        edge.enrol_limit.take(address).map_err(|wait| limited(edge, wait))?;
        Ok(Newcomer)
    }
}

/// Somebody without a certificate who has not tried too often to get another one.
pub(crate) struct Returning;

impl FromRequestParts<Arc<Edge>> for Returning {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let address = address_key(Peer::of(parts)?.address.ip());
        edge.recover_limit.take(address).map_err(|wait| limited(edge, wait))?;
        Ok(Returning)
    }
}

/// Anybody who has not asked the log too often.
pub(crate) struct Anybody;

impl FromRequestParts<Arc<Edge>> for Anybody {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let address = address_key(Peer::of(parts)?.address.ip());
        edge.log_limit.take(address).map_err(|wait| limited(edge, wait))?;
        Ok(Anybody)
    }
}

pub(crate) fn limited(edge: &Edge, wait: std::time::Duration) -> Failure {
    edge.metrics.rate_limited.fetch_add(1, Relaxed);
    Failure::too_many(wait)
}

/// Layer of every operator route: finds the caller, checks the role, and hands the caller on. Runs before any body is read.
pub(crate) async fn authorise(
    State((edge, minimum, fleet)): State<(Arc<Edge>, Role, bool)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let caller = caller(&edge, request.headers().get(AUTHORIZATION).map(|value| value.as_bytes()))?;
    tracing::Span::current().record("caller", caller.name.as_str());
    require(&caller, minimum)?;
    if fleet {
        whole_fleet(&caller)?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The operator with this `authorization` header.
pub(crate) fn caller(edge: &Edge, authorization: Option<&[u8]>) -> Result<Caller, Failure> {
    let hint = "send `authorization: bearer <token>`; `staffel operator add` makes one";
    let unauthorised =
        |error: &str| Failure { challenge: Some("Bearer"), ..Failure::new(StatusCode::UNAUTHORIZED, error, hint) };
    let value = authorization.ok_or_else(|| unauthorised("this needs an operator's token"))?;
    // Safe to take apart as bytes: the scheme's name is ASCII, case does not matter (RFC 9110).
    let (scheme, token) = value.split_at_checked(7).unwrap_or((value, &[]));
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(unauthorised("the authorization is no bearer token"));
    }
    match edge.operators.find(token.trim_ascii()) {
        Ok(Some(caller)) => Ok(caller),
        Ok(None) => Err(unauthorised("nobody has this token")),
        Err(error @ (RosterError::File { .. } | RosterError::Content { .. })) => {
            tracing::error!(error = %error, "nobody can log in");
            Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server can't read its list of operators, so it lets nobody in",
                "repair operators.json on the server; its log says what is wrong",
            ))
        }
        Err(error) => Err(Failure::internal(error)),
    }
}

/// Refuses callers below the role.
pub(crate) fn require(caller: &Caller, minimum: Role) -> Result<(), Failure> {
    if caller.role >= minimum {
        return Ok(());
    }
    let name = |role: Role| serde_json::to_value(role).ok().and_then(|v| v.as_str().map(str::to_owned));
    Err(Failure::forbidden(
        format!("the role {} may not do this", name(caller.role).unwrap_or_default()),
        format!("ask somebody with the role {} or above", name(minimum).unwrap_or_default()),
    ))
}

/// Refuses callers who are bound to one customer, where all are concerned.
pub(crate) fn whole_fleet(caller: &Caller) -> Result<(), Failure> {
    if caller.tenant.is_none() {
        return Ok(());
    }
    Err(Failure::forbidden("this concerns all customers", "ask somebody who is not bound to one customer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_outlives_its_certificate_is_nobody() {
        let device = DeviceId([7; 16]);
        let certificate = Some(PeerCertificate { device, not_after: 1_000 });
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificate };
        assert_eq!(peer.device_at(1_000).unwrap(), device);
        let failure = peer.device_at(1_001).unwrap_err();
        assert_eq!(failure.status, StatusCode::UNAUTHORIZED);
        assert!(failure.error.contains("expired"));
        assert_eq!(Peer { certificate: None, ..peer }.device_at(0).unwrap_err().status, StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn each_role_may_do_what_those_below_may() {
        let roles = [Role::Viewer, Role::TenantAdmin, Role::Operator, Role::Releaser];
        for (at, role) in roles.into_iter().enumerate() {
            let caller = Caller { name: "x".into(), role, tenant: None };
            for (needed, minimum) in roles.into_iter().enumerate() {
                assert_eq!(require(&caller, minimum).is_ok(), at >= needed);
            }
        }
    }

    #[test]
    fn nonsense_is_no_certificate() {
        assert_eq!(PeerCertificate::of(b""), None);
        assert_eq!(PeerCertificate::of(&[0x30, 0x82, 0xff, 0xff, 0]), None);
    }
}
