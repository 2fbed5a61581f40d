//! Renewing the device's certificate while it is good: the same key, a later end.
//!
//! The server is asked after a check-in that it has answered, when less than a third of the certificate's life is left. What
//! it answers is looked at before it takes the old certificate's place. What must stay out: the first certificate, and
//! the one after an expired one, which are the enrolment's.

use super::{RunError, agent::Agent};
use crate::{
    api::{Api, ApiError},
    chain,
    directory::{self, Directory, FileError},
    enrol::{self, EnrolError},
    https::{self, Certificate, ClientIdentity, HttpsError, SharedTime},
};
use staffel_trust::wire::Renew;
use std::sync::Arc;

/// The certificate is looked at, and the server asked, no more often; milliseconds.
const LOOK_EVERY_MS: u64 = 3_600_000;
/// The pause after a failure doubles so many times: up to 16 hours.
const MOST_DOUBLINGS: u32 = 4;
const DAY_MS: u64 = 24 * 3_600_000;
const HINT: &str = "enrol this device first";

/// Why there is no new certificate. The old one stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Use(#[from] RunError),
    #[error(transparent)]
    Request(#[from] EnrolError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the server sent something that is no certificate; the old one is kept")]
    Unreadable,
    #[error("the server sent a certificate for another key than this device's; the old one is kept")]
    OtherKey,
    #[error("the server sent a certificate that ends no later than the old one, which is kept")]
    NoLonger,
}

/// A client with the certificate that it shows.
#[derive(Debug)]
pub(super) struct Connected {
    pub http: reqwest::Client,
    pub certificate: Certificate,
}

/// The certificate in use, and when it is looked at next.
#[derive(Debug)]
pub(super) struct Renewal {
    certificate: Certificate,
    /// On the running clock.
    look_at_ms: u64,
    failures: u32,
    under_way: bool,
}

impl Renewal {
    pub fn new(certificate: Certificate) -> Self {
        Renewal { certificate, look_at_ms: 0, failures: 0, under_way: false }
    }
}

/// A client with the certificate that lies in the device's folder.
pub(super) fn connect(folder: &Directory, time: SharedTime) -> Result<Connected, RunError> {
    let path = folder.certificate();
    let pem = directory::read(&path)?.ok_or(FileError::Missing { path, hint: HINT })?;
    let why = || HttpsError::Identity { why: "the file holds no certificate".into() };
    let certificate = Certificate::read(&pem).ok_or_else(why)?;
    Ok(Connected { http: client(folder, &pem, time)?, certificate })
}

fn client(folder: &Directory, certificate_pem: &[u8], time: SharedTime) -> Result<reqwest::Client, RunError> {
    let read = |path: std::path::PathBuf| directory::read(&path)?.ok_or(FileError::Missing { path, hint: HINT });
    let (authority, key) = (read(folder.authority())?, read(folder.key())?);
    let identity = ClientIdentity { certificate_pem, key_pem: &key };
    Ok(https::client(&authority, Some(identity), time)?)
}

/// Asks for a certificate that ends after `until_ms` (Unix milliseconds) and puts it in the old one's place.
pub(super) async fn renew(
    api: &Api,
    folder: &Directory,
    time: SharedTime,
    until_ms: u64,
) -> Result<Connected, RenewError> {
    let missing = || FileError::Missing { path: folder.key(), hint: HINT };
    let key = enrol::existing_key(folder)?.ok_or_else(missing)?;
    let pem = api.renew(&Renew { csr_pem: enrol::signing_request(&key)? }).await?.certificate_pem;
    let certificate = Certificate::read(pem.as_bytes()).ok_or(RenewError::Unreadable)?;
    if certificate.public_key != rcgen::PublicKeyData::subject_public_key_info(&key) {
        return Err(RenewError::OtherKey);
    }
    if certificate.until_ms <= until_ms {
        return Err(RenewError::NoLonger);
    }
    // Written only if the next start can use it.
    let http = client(folder, pem.as_bytes(), time)?;
    directory::write(&folder.certificate(), pem.as_bytes())?;
    Ok(Connected { http, certificate })
}

/// True if less than a third of the certificate's life is left.
fn is_due(certificate: &Certificate, now_ms: u64) -> bool {
    let life_ms = certificate.until_ms.saturating_sub(certificate.from_ms);
    certificate.until_ms.saturating_sub(now_ms) < life_ms / 3
}

impl Agent {
    /// Says that the certificate has expired, and takes the new one if somebody has enrolled this device again.
    pub(super) fn check_certificate(&mut self) {
        let is_expired = |agent: &Self| agent.now_ms() > agent.renewal.certificate.until_ms;
        // A device that does not know the time learns it from the server's refusal.
        if (is_expired(self) || self.problems.contains_key("refused"))
            && let Ok(connected) = connect(&self.options.directory, Arc::clone(&self.time))
            && connected.certificate.until_ms > self.renewal.certificate.until_ms
        {
            self.reconnect(connected);
        }
        let expired = is_expired(self);
        if expired {
            self.problem("renewal", None);
        }
        let problem = "this device's certificate has expired: enrol it again with a new token";
        self.problem("certificate", expired.then(|| problem.into()));
    }

    /// Asks for a new certificate if it is time to. `server_ms`: what the server's clock has just shown.
    pub(super) fn renew_if_due(&mut self, server_ms: u64) {
        let running_ms = self.state.now_ms;
        if self.renewal.under_way || running_ms < self.renewal.look_at_ms {
            return;
        }
        self.renewal.look_at_ms = running_ms.saturating_add(self.jitter.around(LOOK_EVERY_MS));
        // The server's time is not signed, but a device that knows none needs it here, and asking too early harms nobody.
        if is_due(&self.renewal.certificate, self.now_ms().max(server_ms)) {
            self.renewal.under_way = true;
            let (folder, until_ms) = (self.options.directory.clone(), self.renewal.certificate.until_ms);
            self.work.renew(self.api.clone(), folder, Arc::clone(&self.time), until_ms);
        }
    }

    pub(super) fn take_renewal(&mut self, result: Result<Connected, RenewError>) {
        self.renewal.under_way = false;
        match result {
            Ok(connected) => {
                tracing::info!("this device's certificate was renewed");
                self.reconnect(connected);
            }
            Err(error) => {
                let pause = LOOK_EVERY_MS << self.renewal.failures.min(MOST_DOUBLINGS);
                self.renewal.failures = self.renewal.failures.saturating_add(1);
                self.renewal.look_at_ms = self.state.now_ms.saturating_add(self.jitter.around(pause));
                let days = self.renewal.certificate.until_ms.saturating_sub(self.now_ms()) / DAY_MS;
                let why = chain(&error);
                let problem = format!("this device's certificate could not be renewed, whole days left: {days}: {why}");
                self.problem("renewal", Some(problem));
            }
        }
    }

    /// From here on new connections are made, with this certificate.
    fn reconnect(&mut self, connected: Connected) {
        self.api = self.api.with_client(connected.http);
        self.renewal.certificate = connected.certificate;
        self.renewal.failures = 0;
        self.problem("renewal", None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        let certificate = Certificate { from_ms: 1_000, until_ms: 91_000, public_key: Vec::new() };
        for (now_ms, due) in [(0, false), (61_000, false), (61_001, true), (91_000, true), (u64::MAX, true)] {
            assert_eq!(is_due(&certificate, now_ms), due, "{now_ms}");
        }
    }
}
