//! TLS for gateways, webhooks and whoever else has to be asked: the system's roots or those of a file, and the one crypto provider of this workspace.

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{sync::Arc, time::Duration};

/// Why no HTTP client can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read the authority's certificates: {why}")]
    Roots { why: String },
    #[error("set up TLS")]
    Setup(#[from] rustls::Error),
    #[error("set up the HTTP client")]
    Http(#[from] reqwest::Error),
}

/// A client that trusts the certificates of `authority_pem` alone, or, without one, those of the system.
pub fn client(authority_pem: Option<&[u8]>, timeout: Duration) -> Result<reqwest::Client, TlsError> {
    let mut roots = RootCertStore::empty();
    match authority_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|e| TlsError::Roots { why: format!("{e:?}") })?;
                roots.add(certificate).map_err(|e| TlsError::Roots { why: e.to_string() })?;
            }
        }
        // A system certificate that can't be read is one that nothing can be verified by, no reason to send nothing.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10).min(timeout))
        .timeout(timeout);
    Ok(client.build()?)
}
