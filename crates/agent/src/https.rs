//! TLS to the server: one pinned authority, the device's certificate, one crypto provider, no roots of the system.
//!
//! A certificate's dates are checked against [`TrustedTime`]. While that knows no time (a clock in 1970 and no statement
//! yet) the dates of the server's certificate are not held against it: everything that matters is signed apart from TLS,
//! and the first statement ends that state.

use crate::clock::{TrustedTime, wall_ms};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The time, shared with the TLS handshake.
pub type SharedTime = Arc<Mutex<TrustedTime>>;

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    #[error("reading the server's authority: {why}")]
    Authority { why: String },
    #[error("reading the device's certificate or key: {why}")]
    Identity { why: String },
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
    #[error("setting up HTTP")]
    Http(#[source] reqwest::Error),
}

/// A device's certificate chain and private key, PEM.
#[derive(Clone, Copy)]
pub struct ClientIdentity<'a> {
    pub certificate_pem: &'a [u8],
    pub key_pem: &'a [u8],
}

/// A client that trusts `authority_pem` alone. Requests wait 10 s for a connection and 30 s for the next bytes.
pub fn client(
    authority_pem: &[u8],
    identity: Option<ClientIdentity<'_>>,
    time: SharedTime,
) -> Result<reqwest::Client, HttpsError> {
    let mut roots = RootCertStore::empty();
    let unreadable = |why: String| HttpsError::Authority { why };
    for certificate in CertificateDer::pem_slice_iter(authority_pem) {
        let certificate = certificate.map_err(|e| unreadable(format!("{e:?}")))?;
        roots.add(certificate).map_err(|e| unreadable(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("the file holds no PEM certificate".into()));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let inner = inner.map_err(|e| unreadable(e.to_string()))?;
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(HttpsError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority { inner, provider, time }));
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let unreadable = |e| HttpsError::Identity { why: format!("{e:?}") };
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.certificate_pem).collect();
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem).map_err(unreadable)?;
            config.with_client_auth_cert(chain.map_err(unreadable)?, key).map_err(HttpsError::Tls)?
        }
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .build()
        .map_err(HttpsError::Http)
}

/// Webpki's verification with our time.
#[derive(Debug)]
struct PinnedAuthority {
    inner: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    time: SharedTime,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (now_ms, unknown) = {
            let time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
            (time.now_ms(wall_ms(), crate::platform::running_ms()), time.is_unknown(wall_ms()))
        };
        let mut at = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        // Each certificate of a chain can move the time once to where it is valid.
        for _ in 0..4 {
            let verified = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
            at =
                match verified {
                    Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }))
                        if unknown =>
                    {
                        not_after
                    }
                    Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                        not_before, ..
                    })) if unknown => not_before,
                    other => return other,
                };
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYet))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What counts in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// First moment, Unix milliseconds.
    pub from_ms: u64,
    /// Last moment, Unix milliseconds.
    pub until_ms: u64,
    /// Subject public key info, DER.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// The first certificate in a PEM file; none if there is none to read.
    pub fn read(pem: &[u8]) -> Option<Self> {
        let certificate = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
        let ms = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1_000);
        let (from_ms, until_ms) = (ms(parsed.validity().not_before), ms(parsed.validity().not_after));
        Some(Certificate { from_ms, until_ms, public_key: parsed.public_key().raw.to_vec() })
    }
}
