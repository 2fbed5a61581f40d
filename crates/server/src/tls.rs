//! TLS as the server speaks it: 1.3 only, one provider, client certificates checked if they are shown.
//!
//! A certificate of another authority, or one that has expired, ends the handshake: such a client gets an alert and no
//! HTTP answer. A client without a certificate gets through and is told by the routes that need one. What must stay out:
//! connections (`accept`), and what a device may do.

use crate::ca::Ca;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use std::sync::Arc;

/// Why the server can't speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the device authority's certificate is not usable")]
    Root(#[source] rustls::Error),
    #[error("set up the check of device certificates")]
    Verifier(#[from] VerifierBuilderError),
    #[error("set up TLS with the server's certificate and key")]
    Server(#[source] rustls::Error),
}

/// The one provider of cryptography for TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// TLS for pages: people have accounts, so no certificate is asked for.
pub(crate) fn pages_config(ca: &Ca) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Server)?
        .with_no_client_auth()
        .with_single_cert(ca.server_chain(), ca.server_key())
        .map_err(TlsError::Server)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The server's side of TLS.
pub fn server_config(ca: &Ca) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let mut roots = RootCertStore::empty();
    roots.add(ca.device_root().clone()).map_err(TlsError::Root)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Server)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(ca.server_chain(), ca.server_key())
        .map_err(TlsError::Server)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets that the client keeps: a fleet's worth of sessions does not fit the memory cache. A resumed session brings
    // its certificate along unchecked, so the routes look at its dates themselves (`identity`).
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Server)?;
    Ok(config)
}
