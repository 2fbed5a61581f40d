use super::*;
use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

fn request(key: &KeyPair, name: &str) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn authority() -> (tempfile::TempDir, Ca) {
    let directory = tempfile::tempdir().unwrap();
    Ca::init(directory.path(), &["localhost".into(), "127.0.0.1".into(), "::1".into()]).unwrap();
    let ca = Ca::load(directory.path()).unwrap();
    (directory, ca)
}

#[test]
fn a_device_gets_a_certificate_for_its_key_and_not_for_the_name_it_asks_for() {
    let (_directory, ca) = authority();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] as [&SignatureAlgorithm; 3] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let verified = Ca::verify_request(&request(&key, "the-boss.example")).unwrap();
        let pem = ca.sign_device(&verified, 90).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.public_key().raw, verified.spki);
        assert_eq!(DeviceId::of_public_key(certificate.public_key().raw), verified.device);
        let subject = certificate.subject().to_string();
        assert_eq!(subject, format!("CN={}", verified.device));
        let names = certificate.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(format!("{:?}", names.general_names), format!("[URI(\"urn:staffel:device:{}\")]", verified.device));
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(!certificate.is_ca());
        let days = (certificate.validity().not_after.timestamp() - since_epoch().as_secs() as i64) / 86_400;
        assert!((89..=90).contains(&days), "{days}");
    }
}

#[test]
fn refuses_requests_that_prove_nothing() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let good = request(&key, "till");
    let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap();
    let pem = |der: &[u8]| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der))
    };
    // Every changed byte of the signed part breaks the form or the signature. The frame around it is not signed: a reader
    // may be lenient there, but the key is never another one.
    let device = Ca::verify_request(&good).unwrap().device;
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    let signed_to = 3 + request.certification_request_info.raw.len();
    for at in 0..der.len() {
        let mut bent = der.to_vec();
        bent[at] ^= 1;
        match Ca::verify_request(&pem(&bent)) {
            Ok(verified) => {
                assert_eq!(verified.device, device, "byte {at}");
                assert!(at >= signed_to, "byte {at}");
            }
            Err(error) => assert!(matches!(error, CaError::Request { .. }), "{error}"),
        }
        assert!(Ca::verify_request(&pem(&der[..at])).is_err());
    }
    let mut longer = der.to_vec();
    longer.push(0);
    for text in [pem(&longer), String::new(), "nonsense".into(), "A".repeat(MAX_REQUEST + 1)] {
        assert!(matches!(Ca::verify_request(&text), Err(CaError::Request { .. })));
    }
}

#[test]
fn refuses_rsa_and_odd_encodings_of_a_key() {
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let error = Ca::verify_request(&request(&rsa, "till")).unwrap_err();
    assert!(error.to_string().contains("its key is not"), "{error}");
    let plain = hex::decode(
        "3059301306072a8648ce3d020106082a8648ce3d030107034200\
         046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    )
    .unwrap();
    assert!(is_plain_key(&plain));
    let compressed = hex::decode(
        "3039301306072a8648ce3d020106082a8648ce3d030107032200\
         036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
    )
    .unwrap();
    assert!(!is_plain_key(&compressed));
}

#[test]
fn nothing_is_overwritten_and_keys_are_private() {
    let (directory, _) = authority();
    let before = std::fs::read(directory.path().join(DEVICE_ROOT_KEY)).unwrap();
    assert!(matches!(Ca::init(directory.path(), &["x".into()]), Err(CaError::File { operation: "create", .. })));
    assert_eq!(std::fs::read(directory.path().join(DEVICE_ROOT_KEY)).unwrap(), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for name in [DEVICE_ROOT_KEY, SERVER_ROOT_KEY, SERVER_KEY] {
            let path = directory.path().join(name);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let path = directory.path().join(DEVICE_ROOT_KEY);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Ca::load(directory.path()), Err(CaError::Content { .. })));
    }
}

#[test]
fn a_server_certificate_that_does_not_fit_its_key_is_made_anew_with_the_same_names() {
    let (directory, old) = authority();
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    files::replace(&directory.path().join(SERVER_KEY), other.serialize_pem().as_bytes(), true).unwrap();
    let new = Ca::load(directory.path()).unwrap();
    assert_ne!(old.server_chain(), new.server_chain());
    let chain = new.server_chain();
    let (_, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value;
    let names: Vec<String> = names.general_names.iter().filter_map(name_text).collect();
    assert_eq!(names, ["localhost", "127.0.0.1", "::1"]);
    assert!(new.server_ends().unwrap() > since_epoch().as_secs() as i64 + 800 * 86_400);
    // Nothing to do: it stays.
    assert_eq!(Ca::load(directory.path()).unwrap().server_chain(), chain);
}
