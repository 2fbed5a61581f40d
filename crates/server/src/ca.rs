//! Certificates: one authority for devices, another for the server's own certificate.
//!
//! Two authorities, so that a stolen device authority can't pose as the server. A device's id comes from its public key
//! and nothing else; the name in its certificate is for people. What must stay out: TLS itself (`tls`), and who may
//! enrol (the engine).

use crate::files;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, SubjectPublicKeyInfo, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, pem::PemObject};
use staffel_core::ids::DeviceId;
use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use x509_parser::{
    cri_attributes::{ChallengePassword, ParsedCriAttribute},
    prelude::{FromDer, X509Certificate, X509CertificationRequest},
};

const DAY: Duration = Duration::from_secs(86_400);
/// Roots outlive devices: replacing one means visiting every device.
const ROOT_DAYS: u32 = 20 * 365;
/// The server's own certificate.
const SERVER_DAYS: u32 = 825;
/// [`Ca::load`] makes a new server certificate when less than this is left.
const RENEW_DAYS: u32 = 90;
/// Clocks of devices are wrong; certificates begin this much before now.
const BACKDATE: Duration = Duration::from_secs(86_400);
/// A certificate request of ours has about 500 bytes.
const MAX_REQUEST: usize = 8 << 10;

const DEVICE_ROOT: &str = "device-ca.pem";
const DEVICE_ROOT_KEY: &str = "device-ca.key";
const SERVER_ROOT: &str = "server-ca.pem";
const SERVER_ROOT_KEY: &str = "server-ca.key";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server.key";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file could not be read or written. [`Ca::init`] on a directory that has an authority ends here, too.
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is not usable: {why}", path.display())]
    Content { path: PathBuf, why: String },
    /// The other side's request is no good; `why` can be shown to it.
    #[error("the certificate request is refused: {why}")]
    Request { why: String },
    /// Making a key or a certificate failed.
    #[error("{operation}: {why}")]
    Issue { operation: &'static str, why: String },
}

/// A request whose signature has been verified: its sender holds the private key.
#[derive(Clone, Debug)]
pub struct VerifiedRequest {
    /// DER of the SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// The id that belongs to the key.
    pub device: DeviceId,
    /// The one challenge password in it (RFC 2985, 5.4.1), which its signature covers; none if there is none, or several.
    pub challenge: Option<String>,
}

/// The authorities, loaded.
pub struct Ca {
    device_root: CertificateDer<'static>,
    device_issuer: Issuer<'static, KeyPair>,
    server_root_pem: String,
    server_chain: Vec<CertificateDer<'static>>,
    server_key: PrivateKeyDer<'static>,
}

impl Ca {
    /// Makes both authorities and a server certificate for `server_names` (DNS names or IP addresses) in `dir`, which is
    /// created. Keys are readable by their owner alone. Nothing is overwritten.
    pub fn init(dir: &Path, server_names: &[String]) -> Result<(), CaError> {
        create_directory(dir)?;
        if server_names.is_empty() {
            return Err(CaError::Issue { operation: "make the server's certificate", why: "no name for it".into() });
        }
        make_root(dir, "Staffel devices", DEVICE_ROOT, DEVICE_ROOT_KEY)?;
        make_root(dir, "Staffel server", SERVER_ROOT, SERVER_ROOT_KEY)?;
        make_server(dir, server_names)
    }

    /// Reads what [`Ca::init`] made. A server certificate with less than 90 days left is replaced by a new one with the
    /// same names, if the server authority's key is still here.
    pub fn load(dir: &Path) -> Result<Self, CaError> {
        renew_server(dir)?;
        let device_root = read_certificate(&dir.join(DEVICE_ROOT))?;
        let server_root_pem = read(&dir.join(SERVER_ROOT))?;
        let server_pem = dir.join(SERVER);
        let key_path = dir.join(SERVER_KEY);
        refuse_exposed(&key_path)?;
        Ok(Ca {
            device_issuer: issuer(&dir.join(DEVICE_ROOT), &dir.join(DEVICE_ROOT_KEY))?,
            device_root,
            server_root_pem,
            server_chain: CertificateDer::pem_slice_iter(read(&server_pem)?.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(content(&server_pem))?,
            server_key: PrivateKeyDer::from_pem_slice(read(&key_path)?.as_bytes()).map_err(content(&key_path))?,
        })
    }

    /// Where the certificate lies that devices and operators trust the server by.
    pub fn server_root_path(dir: &Path) -> PathBuf {
        dir.join(SERVER_ROOT)
    }

    /// That certificate, PEM.
    pub fn server_root_pem(&self) -> &str {
        &self.server_root_pem
    }

    /// What device certificates must be signed by.
    pub fn device_root(&self) -> &CertificateDer<'static> {
        &self.device_root
    }

    /// The server's own certificate.
    pub fn server_chain(&self) -> Vec<CertificateDer<'static>> {
        self.server_chain.clone()
    }

    /// The key of the server's own certificate.
    pub fn server_key(&self) -> PrivateKeyDer<'static> {
        self.server_key.clone_key()
    }

    /// When the server's own certificate ends, Unix seconds.
    pub fn server_ends(&self) -> Option<i64> {
        let (_, certificate) = X509Certificate::from_der(self.server_chain.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// Reads a PKCS#10 request (PEM) and verifies that its sender holds the key. Everything else that it asks for is
    /// ignored. Keys: ECDSA P-256 or P-384 with an uncompressed point, or Ed25519, each in its one plain encoding, so
    /// that one key has one id.
    pub fn verify_request(csr_pem: &str) -> Result<VerifiedRequest, CaError> {
        let refused = |why: &str| CaError::Request { why: why.into() };
        if csr_pem.len() > MAX_REQUEST {
            return Err(refused("it is larger than 8 KiB"));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes())
            .map_err(|_| refused("it is no PEM block CERTIFICATE REQUEST"))?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| refused("it is no PKCS#10 request"))?;
        if !rest.is_empty() {
            return Err(refused("something follows the request"));
        }
        let spki = request.certification_request_info.subject_pki.raw;
        if !is_plain_key(spki) {
            return Err(refused("its key is not ECDSA P-256, ECDSA P-384 or Ed25519 in the plain encoding"));
        }
        request.verify_signature().map_err(|_| refused("its signature is not its key's"))?;
        let mut challenges =
            request.certification_request_info.iter_attributes().filter_map(|attribute| {
                match attribute.parsed_attribute() {
                    ParsedCriAttribute::ChallengePassword(ChallengePassword(text)) => Some(text.clone()),
                    _ => None,
                }
            });
        let challenge = challenges.next().filter(|_| challenges.next().is_none());
        Ok(VerifiedRequest { spki: spki.to_vec(), device: DeviceId::of_public_key(spki), challenge })
    }

    /// A certificate (PEM) for a device that may be enrolled or renewed, good for client authentication for `days` days.
    /// The name in it is the id; nobody reads it from there.
    pub fn sign_device(&self, request: &VerifiedRequest, days: u32) -> Result<String, CaError> {
        let failed = |e: rcgen::Error| CaError::Issue { operation: "sign a device's certificate", why: e.to_string() };
        let key = SubjectPublicKeyInfo::from_der(&request.spki).map_err(failed)?;
        let mut params = params(&request.device.to_string(), days)?;
        let uri = format!("urn:staffel:device:{}", request.device).try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.device_issuer).map_err(failed)?;
        Ok(certificate.pem())
    }
}

/// Exactly the encodings of RFC 5480 (named curve, uncompressed point) and RFC 8410.
fn is_plain_key(spki: &[u8]) -> bool {
    const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";
    const P384: &str = "3076301006072a8648ce3d020106052b8104002203620004";
    const ED25519: &str = "302a300506032b6570032100";
    let text = hex::encode(spki);
    [(P256, 91), (P384, 120), (ED25519, 44)].iter().any(|(head, size)| spki.len() == *size && text.starts_with(head))
}

fn make_root(dir: &Path, name: &str, certificate: &str, key: &str) -> Result<(), CaError> {
    let failed = |e: rcgen::Error| CaError::Issue { operation: "make an authority", why: e.to_string() };
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    // A serial in the name keeps two installations' authorities apart.
    let mut params = params(&format!("{name} {}", &hex::encode(random()?)[..8]), ROOT_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&pair).map_err(failed)?.pem();
    create(&dir.join(key), pair.serialize_pem().as_bytes(), true)?;
    create(&dir.join(certificate), pem.as_bytes(), false)
}

fn make_server(dir: &Path, names: &[String]) -> Result<(), CaError> {
    let failed = |e: rcgen::Error| CaError::Issue { operation: "make the server's certificate", why: e.to_string() };
    let issuer = issuer(&dir.join(SERVER_ROOT), &dir.join(SERVER_ROOT_KEY))?;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let first = names.first().map_or("server", String::as_str);
    let mut params = params(first, SERVER_DAYS)?;
    params.subject_alt_names = CertificateParams::new(names).map_err(failed)?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let pem = params.signed_by(&pair, &issuer).map_err(failed)?.pem();
    // The pair is replaced key first: between the two a start fails and is repeated, instead of running with a wrong key.
    replace(&dir.join(SERVER_KEY), pair.serialize_pem().as_bytes(), true)?;
    replace(&dir.join(SERVER), pem.as_bytes(), false)
}

/// A new server certificate in place of one that ends soon, or that does not fit its key.
fn renew_server(dir: &Path) -> Result<(), CaError> {
    let path = dir.join(SERVER);
    let old = read_certificate(&path)?;
    let (_, old) = X509Certificate::from_der(&old).map_err(content(&path))?;
    let left = old.validity().not_after.timestamp() - since_epoch().as_secs() as i64;
    let key_path = dir.join(SERVER_KEY);
    let pair = KeyPair::from_pem(&read(&key_path)?).map_err(content(&key_path))?;
    let fits = pair.public_key_raw() == old.public_key().subject_public_key.data.as_ref();
    let lasts = left > i64::from(RENEW_DAYS) * DAY.as_secs() as i64;
    if (fits && lasts) || !dir.join(SERVER_ROOT_KEY).exists() {
        return Ok(());
    }
    let names = old.subject_alternative_name().ok().flatten().map(|names| {
        let names = names.value.general_names.iter();
        names.filter_map(name_text).collect::<Vec<_>>()
    });
    tracing::info!(days_left = left / 86_400, "the server's certificate is renewed");
    make_server(dir, &names.unwrap_or_default())
}

fn name_text(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName;
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| std::net::IpAddr::from(b).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| std::net::IpAddr::from(b).to_string()),
        },
        _ => None,
    }
}

fn params(common_name: &str, days: u32) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial = random()?;
    // RFC 5280: positive, at most 20 bytes, and not zero in front.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = since_epoch();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now + DAY * days.min(50 * 365);
    Ok(params)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn random() -> Result<[u8; 16], CaError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| CaError::Issue { operation: "draw random bytes", why: e.to_string() })?;
    Ok(bytes)
}

fn issuer(certificate: &Path, key: &Path) -> Result<Issuer<'static, KeyPair>, CaError> {
    refuse_exposed(key)?;
    let pair = KeyPair::from_pem(&read(key)?).map_err(content(key))?;
    Issuer::from_ca_cert_der(&read_certificate(certificate)?, pair).map_err(content(certificate))
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, CaError> {
    CertificateDer::from_pem_slice(read(path)?.as_bytes()).map_err(content(path))
}

fn read(path: &Path) -> Result<String, CaError> {
    std::fs::read_to_string(path).map_err(file("read", path))
}

fn create(path: &Path, bytes: &[u8], secret: bool) -> Result<(), CaError> {
    files::create(path, bytes, secret).map_err(file("create", path))
}

fn replace(path: &Path, bytes: &[u8], secret: bool) -> Result<(), CaError> {
    files::replace(path, bytes, secret).map_err(file("write", path))
}

fn create_directory(dir: &Path) -> Result<(), CaError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(file("create", dir))
}

#[cfg(unix)]
fn refuse_exposed(path: &Path) -> Result<(), CaError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_err(file("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("mode {mode:o} lets others read a private key; chmod 600 it");
    Err(CaError::Content { path: path.to_owned(), why })
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path) -> Result<(), CaError> {
    Ok(())
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::File { operation, path, source }
}

fn content<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> CaError {
    let path = path.to_owned();
    move |error| CaError::Content { path, why: error.to_string() }
}

#[cfg(test)]
mod tests;
