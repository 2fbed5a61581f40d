//! An authority for TLS, with dates as a test wants them.

use rcgen::{CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use std::{net::Ipv4Addr, sync::Arc, time::SystemTime};

pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
    der: rustls::pki_types::CertificateDer<'static>,
    years: (i32, i32),
}

impl Authority {
    /// Everything it makes is valid from the start of the first year to the start of the second.
    pub fn new(years: (i32, i32)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = dated(years);
        parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { pem, der, issuer: Issuer::new(parameters, key), years }
    }

    /// Answers a signing request with a certificate that ends at `until`, and the public key in it (DER).
    pub fn sign(&self, request_pem: &str, until: SystemTime) -> (String, Vec<u8>) {
        use rcgen::PublicKeyData as _;
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).unwrap();
        (request.params.not_before, request.params.not_after) = (dated(self.years).not_before, until.into());
        let spki = request.public_key.subject_public_key_info();
        (request.signed_by(&self.issuer).unwrap().pem(), spki)
    }

    /// A server on 127.0.0.1 that takes clients with and without a certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut parameters = dated(self.years);
        parameters.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap().der().clone();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())));
        Arc::new(config.unwrap())
    }
}

fn dated((from, until): (i32, i32)) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    parameters
}
