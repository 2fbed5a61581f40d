//! Becoming a device: own key, certificate for a one-time token, and what the guard must be told.
//!
//! Each step looks first whether it was done before, so a broken-off enrolment is simply started again: the key stays the
//! same, and the server knows a repeated request by it. A device that can't get a certificate by its key any more is enrolled
//! again in the same way. What must stay out: what happens afterwards, renewal included.

use crate::{
    api::{Api, ApiError},
    clock::{Kept, TrustedTime, wall_ms},
    directory::{self, Directory, FileError},
    https::{self, HttpsError},
    platform,
};
use rcgen::PublicKeyData as _;
use serde::{Deserialize, Serialize};
use staffel_core::ids::DeviceId;
use staffel_trust::{
    statement::{
        Envelope, PublicKey,
        guard::Installation,
        keyring::{Keyring, KeyringError},
    },
    wire::{Attributes, Enrol},
};
use std::{
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// What a person says once.
#[derive(Clone, Debug)]
pub struct Request {
    pub server: String,
    /// PEM of the one authority that may speak for the server.
    pub authority: PathBuf,
    pub token: String,
    pub name: String,
    /// As detected where absent.
    pub os_build: Option<String>,
    /// As detected where absent.
    pub hardware_model: Option<String>,
    /// The first keyring, a DSSE envelope.
    pub keyring: PathBuf,
    /// The first TUF root.
    pub tuf_root: PathBuf,
    pub tenant_keys: Vec<PublicKey>,
}

/// What is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    pub server: String,
    pub device: DeviceId,
    pub attributes: Attributes,
}

/// Why a device could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Https(#[from] HttpsError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("making the device's key or request")]
    Key(#[source] rcgen::Error),
    #[error("the keyring {} is not signed by its own root keys", path.display())]
    Keyring {
        path: PathBuf,
        #[source]
        source: KeyringError,
    },
    #[error("no --tenant-key was given: nobody could sign a policy for this device")]
    NoTenantKey,
    #[error("the folder holds device {0} already, enrolled with another server or name; use an empty folder")]
    Another(DeviceId),
    #[error("the token is for {got}, but this device is installed for {installed}; use a token for the latter")]
    Elsewhere { installed: String, got: String },
    #[error("the server calls this device {got}, but its key makes it {own}")]
    OtherDevice { own: DeviceId, got: DeviceId },
}

/// Enrols, or finds that it was done; returns what the guard is to be told. If it was done and the certificate has
/// expired since, the device gets a new certificate and nothing else changes.
pub async fn enrol(directory: &Directory, request: &Request) -> Result<Installation, EnrolError> {
    if request.tenant_keys.is_empty() {
        return Err(EnrolError::NoTenantKey);
    }
    directory.create()?;
    let key = device_key(directory)?;
    let own = DeviceId::of_public_key(&key.subject_public_key_info());
    let installed = directory::read_json::<Installation>(&directory.installation())?;
    if let Some(installed) = &installed {
        let before = directory::read_json::<Enrolment>(&directory.enrolment())?;
        if installed.device != own
            || installed.name != request.name
            || before.is_none_or(|before| before.server != request.server)
        {
            return Err(EnrolError::Another(installed.device));
        }
        let certificate = directory::read(&directory.certificate())?.and_then(|pem| https::Certificate::read(&pem));
        if certificate.is_some_and(|certificate| wall_ms() <= certificate.until_ms) {
            return Ok(installed.clone());
        }
    }
    let keyring: Envelope = directory::must_read_json(&request.keyring, "ask your operator for the keyring")?;
    Keyring::pinned(&keyring).map_err(|source| EnrolError::Keyring { path: request.keyring.clone(), source })?;
    let authority = must_read(&request.authority, "ask your operator for the server's authority")?;
    let root = must_read(&request.tuf_root, "ask your operator for the TUF root")?;

    let detected = platform::attributes();
    let attributes = Attributes {
        os_build: request.os_build.clone().unwrap_or(detected.os_build),
        hardware_model: request.hardware_model.clone().unwrap_or(detected.hardware_model),
    };
    // A person is here who can set the clock, and the token must not go to an old server certificate: dates count.
    let time = TrustedTime::new(wall_ms());
    let client = https::client(&authority, None, Arc::new(Mutex::new(time)))?;
    let enrolled = Api::new(client, &request.server)
        .enrol(&Enrol {
            token: request.token.clone(),
            csr_pem: signing_request(&key)?,
            name: request.name.clone(),
            attributes: attributes.clone(),
        })
        .await?;
    if enrolled.device != own {
        return Err(EnrolError::OtherDevice { own, got: enrolled.device });
    }
    if let Some(installed) = installed {
        if (&installed.tenant, &installed.site) != (&enrolled.tenant, &enrolled.site) {
            let place = |tenant: &str, site: &str| format!("{tenant}/{site}");
            return Err(EnrolError::Elsewhere {
                installed: place(&installed.tenant, &installed.site),
                got: place(&enrolled.tenant, &enrolled.site),
            });
        }
        // What this device has learnt since its first enrolment stays.
        directory::write(&directory.certificate(), enrolled.certificate_pem.as_bytes())?;
        return Ok(installed);
    }

    directory::write(&directory.authority(), &authority)?;
    directory::write(&directory.tuf_root(), &root)?;
    directory::write_json(&directory.keyring(), &keyring)?;
    directory::write(&directory.certificate(), enrolled.certificate_pem.as_bytes())?;
    // The certificate was made now by somebody whose clock is looked after: the first floor of this device's time.
    let floor_ms =
        https::Certificate::read(enrolled.certificate_pem.as_bytes()).map_or(0, |certificate| certificate.from_ms);
    directory::write_json(&directory.clock(), &Kept { floor_ms, ..Kept::default() })?;
    let enrolment = Enrolment { server: request.server.clone(), device: own, attributes: attributes.clone() };
    directory::write_json(&directory.enrolment(), &enrolment)?;
    let installation = Installation {
        device: own,
        name: request.name.clone(),
        tenant: enrolled.tenant,
        site: enrolled.site,
        stratum: attributes.stratum(),
        tenant_keys: request.tenant_keys.clone(),
    };
    // Written last: where it stands, everything else does.
    directory::write_json(&directory.installation(), &installation)?;
    Ok(installation)
}

fn must_read(path: &std::path::Path, hint: &'static str) -> Result<Vec<u8>, FileError> {
    directory::read(path)?.ok_or_else(|| FileError::Missing { path: path.to_owned(), hint })
}

/// The device's own key; none before its first enrolment.
pub(crate) fn existing_key(directory: &Directory) -> Result<Option<rcgen::KeyPair>, EnrolError> {
    let Some(pem) = directory::read(&directory.key())? else { return Ok(None) };
    rcgen::KeyPair::from_pem(&String::from_utf8_lossy(&pem)).map(Some).map_err(EnrolError::Key)
}

/// The device's own ECDSA P-256 key, made at the first call.
fn device_key(directory: &Directory) -> Result<rcgen::KeyPair, EnrolError> {
    if let Some(key) = existing_key(directory)? {
        return Ok(key);
    }
    let path = directory.key();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(EnrolError::Key)?;
    // Under another name first: a half-written key must not be taken for one.
    let new = path.with_extension("key.new");
    let _ = std::fs::remove_file(&new);
    platform::create_private(&new)
        .and_then(|mut file| file.write_all(key.serialize_pem().as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, &path))
        .and_then(|()| platform::sync_folder(directory.root()))
        .map_err(|source| directory::file_error("writing the key", &path, source))?;
    Ok(key)
}

/// PKCS#10 in PEM.
pub(crate) fn signing_request(key: &rcgen::KeyPair) -> Result<String, EnrolError> {
    signing_request_with(key, Vec::new())
}

/// The same with a server's nonce as its challenge password (RFC 2985, 5.4.1), so that the signature covers the nonce. None
/// if the nonce is no nonce.
pub(crate) fn signed_nonce(key: &rcgen::KeyPair, nonce: &str) -> Option<Result<String, EnrolError>> {
    const CHALLENGE_PASSWORD: &[u64] = &[1, 2, 840, 113_549, 1, 9, 7];
    /// SET and UTF8String (X.690, 8).
    const TAGS: (u8, u8) = (0x31, 0x0c);
    // Short enough that each length is one byte.
    let length = u8::try_from(nonce.len()).ok().filter(|length| (1..=120).contains(length))?;
    if !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut values = vec![TAGS.0, length + 2, TAGS.1, length];
    values.extend_from_slice(nonce.as_bytes());
    Some(signing_request_with(key, vec![rcgen::Attribute { oid: CHALLENGE_PASSWORD, values }]))
}

fn signing_request_with(key: &rcgen::KeyPair, attributes: Vec<rcgen::Attribute>) -> Result<String, EnrolError> {
    let mut parameters = rcgen::CertificateParams::default();
    let mut name = rcgen::DistinguishedName::new();
    // The server names the device by its key; a name asked for here would be ignored.
    name.push(rcgen::DnType::CommonName, "staffel device");
    parameters.distinguished_name = name;
    let request = parameters.serialize_request_with_attributes(key, attributes).map_err(EnrolError::Key)?;
    request.pem().map_err(EnrolError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::new(folder.path());
        directory.create().unwrap();
        let first = device_key(&directory).unwrap();
        let second = device_key(&directory).unwrap();
        assert_eq!(first.subject_public_key_info(), second.subject_public_key_info());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(directory.key()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(signing_request(&first).unwrap().contains("BEGIN CERTIFICATE REQUEST"));
    }
}
