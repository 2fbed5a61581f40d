//! Another certificate for the same key, with a later end: renewed while the old one is good, and got back by the key alone
//! once it has expired.
//!
//! Renewal is asked for after a check-in that the server has answered, when less than a third of the certificate's life is
//! left. The way back is taken when the server does not take the certificate: it knows the time, this machine's clock may
//! be wrong. What the server answers is looked at before it takes the old certificate's place. What must stay out: the
//! first certificate, which is the enrolment's.

use super::{RunError, agent::Agent};
use crate::{
    api::{Api, ApiError},
    chain,
    directory::{self, Directory, FileError},
    enrol::{self, EnrolError},
    https::{self, Certificate, ClientIdentity, HttpsError, SharedTime},
};
use staffel_trust::wire::{Recover, Renew};
use std::sync::Arc;

/// The certificate is looked at, and the server asked, no more often; milliseconds.
const LOOK_EVERY_MS: u64 = 3_600_000;
/// The pause after a failure doubles so many times: up to 16 hours.
const MOST_DOUBLINGS: u32 = 4;
const DAY_MS: u64 = 24 * 3_600_000;
/// First pause after an expired certificate was not replaced, milliseconds; doubled with each further one.
const RECOVER_FIRST_MS: u64 = 10_000;
const RECOVER_MOST_MS: u64 = 3_600_000;
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
    #[error("the server sent something that is no nonce")]
    Nonce,
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
    /// Attempts in a row to get a certificate by the key alone that failed, and when the next may be made, on the running
    /// clock.
    recoveries: u32,
    recover_at_ms: u64,
}

impl Renewal {
    pub fn new(certificate: Certificate) -> Self {
        Renewal { certificate, look_at_ms: 0, failures: 0, under_way: false, recoveries: 0, recover_at_ms: 0 }
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
    let key = key(folder)?;
    let pem = api.renew(&Renew { csr_pem: enrol::signing_request(&key)? }).await?.certificate_pem;
    take(folder, time, until_ms, &key, &pem)
}

/// Asks for one by the key alone, over connections without a certificate: an expired one would end them.
pub(super) async fn recover(
    api: &Api,
    folder: &Directory,
    time: SharedTime,
    until_ms: u64,
) -> Result<Connected, RenewError> {
    let key = key(folder)?;
    let path = folder.authority();
    let authority = directory::read(&path)?.ok_or(FileError::Missing { path, hint: HINT })?;
    let nobody = https::client(&authority, None, Arc::clone(&time)).map_err(RunError::from)?;
    let api = api.with_client(nobody);
    let nonce = api.recover_nonce().await?.nonce;
    let csr_pem = enrol::signed_nonce(&key, &nonce).ok_or(RenewError::Nonce)??;
    let pem = api.recover(&Recover { csr_pem }).await?.certificate_pem;
    take(folder, time, until_ms, &key, &pem)
}

fn key(folder: &Directory) -> Result<rcgen::KeyPair, RenewError> {
    let missing = || FileError::Missing { path: folder.key(), hint: HINT };
    Ok(enrol::existing_key(folder)?.ok_or_else(missing)?)
}

/// Looks at what the server sent, and puts it in the old one's place.
fn take(
    folder: &Directory,
    time: SharedTime,
    until_ms: u64,
    key: &rcgen::KeyPair,
    pem: &str,
) -> Result<Connected, RenewError> {
    let certificate = Certificate::read(pem.as_bytes()).ok_or(RenewError::Unreadable)?;
    if certificate.public_key != rcgen::PublicKeyData::subject_public_key_info(key) {
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

/// For people. A server that nobody reaches has refused nothing.
fn not_recovered(error: &RenewError) -> String {
    let why = chain(error);
    match error {
        RenewError::Api(ApiError::Unreachable { .. } | ApiError::Silent { .. }) => {
            format!("the server is not reached, so this device gets no other certificate: {why}")
        }
        _ => format!(
            "the server does not take this device's certificate, and gives it no other: {why}; if that does not pass, \
             enrol it again with a new token"
        ),
    }
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
        let problem = "this device's certificate has expired; it asks for another one by its key";
        self.problem("certificate", expired.then(|| problem.into()));
    }

    /// The last check-in failed. `refused`: the server said that it does not take this device's certificate. A connection
    /// can also end before that is heard; then this device's own time counts.
    pub(super) fn recover_if_refused(&mut self, refused: bool) {
        let is_expired = self.now_ms() > self.renewal.certificate.until_ms;
        let due = self.state.now_ms >= self.renewal.recover_at_ms && !self.renewal.under_way;
        if due && (refused || is_expired) {
            self.renewal.under_way = true;
            let (folder, until_ms) = (self.options.directory.clone(), self.renewal.certificate.until_ms);
            self.work.recover(self.api.clone(), folder, Arc::clone(&self.time), until_ms);
        }
    }

    pub(super) fn take_recovery(&mut self, result: Result<Connected, RenewError>) {
        self.renewal.under_way = false;
        match result {
            Ok(connected) => {
                tracing::info!("this device has another certificate in place of its expired one");
                self.reconnect(connected);
                self.check_in_at_ms = 0;
            }
            Err(error) => {
                let pause = (RECOVER_FIRST_MS << self.renewal.recoveries.min(16)).min(RECOVER_MOST_MS);
                self.renewal.recoveries = self.renewal.recoveries.saturating_add(1);
                self.renewal.recover_at_ms = self.state.now_ms.saturating_add(self.jitter.around(pause));
                self.problem("recovery", Some(not_recovered(&error)));
            }
        }
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
        self.renewal = Renewal { look_at_ms: self.renewal.look_at_ms, ..Renewal::new(connected.certificate) };
        for about in ["renewal", "recovery", "certificate", "refused"] {
            self.problem(about, None);
        }
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
