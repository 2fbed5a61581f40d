//! The device API as the agent calls it: bounded answers, errors that say what was asked and what to do.
//!
//! What must stay out: what an answer leads to.

use reqwest::{Client, Response, StatusCode};
use serde::de::DeserializeOwned;
use staffel_trust::{
    statement::Envelope,
    tuf::{
        client::{Fetch, FetchError, Resource, Transport},
        path::percent_encode_path,
    },
    wire::{
        Board, Bye, CheckIn, CheckInReply, Detections, DetectionsNoted, Enrol, Enrolled, Inventory, Problem, Recover,
        RecoverNonce, Remedied, Renew,
    },
};

/// Longest answer that is read: 64 MiB. A board with a thousand rollouts is far below.
const MOST_BYTES: u64 = 64 << 20;
/// Metadata comes from a source that is not trusted; the TUF client gives a limit for each file.
const REPOSITORY: &str = "/repo";

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{operation}: the server can't be reached")]
    Unreachable {
        operation: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("{operation}: no whole answer within {seconds} s")]
    Silent { operation: &'static str, seconds: u64 },
    #[error("{operation}: the server refuses ({status}): {error} {hint}")]
    Refused { operation: &'static str, status: u16, error: String, hint: String },
    #[error("{operation}: the answer is longer than {limit} bytes")]
    TooLarge { operation: &'static str, limit: u64 },
    #[error("{operation}: the answer is not readable")]
    Malformed {
        operation: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

impl ApiError {
    /// True if the server does not take the device's certificate (expired, revoked, unknown).
    pub fn is_about_certificate(&self) -> bool {
        match self {
            ApiError::Refused { status, .. } => matches!(status, 401 | 403),
            ApiError::Unreachable { source, .. } => {
                let text = crate::chain(source).to_lowercase();
                text.contains("alert") && text.contains("certificate")
            }
            _ => false,
        }
    }
}

/// The server as this device sees it.
#[derive(Clone, Debug)]
pub struct Api {
    http: Client,
    base: String,
}

impl Api {
    /// `server`: for example `https://staffel.example:8443`.
    pub fn new(http: Client, server: &str) -> Self {
        Api { http, base: server.trim_end_matches('/').to_string() }
    }

    /// The same server over another client: new connections, none of the old ones.
    pub fn with_client(&self, http: Client) -> Self {
        Api { http, base: self.base.clone() }
    }

    /// The client beneath, for downloads.
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// Where one file of a release lies, without its digest.
    pub fn blobs(&self) -> String {
        format!("{}{REPOSITORY}/blobs", self.base)
    }

    /// The TUF repository.
    pub fn repository(&self) -> Repository {
        Repository { http: self.http.clone(), base: format!("{}{REPOSITORY}", self.base) }
    }

    /// Asks for a certificate.
    pub async fn enrol(&self, request: &Enrol) -> Result<Enrolled, ApiError> {
        self.post("enrolling", "/v1/enrol", request).await
    }

    /// Asks for a certificate with a later end.
    pub async fn renew(&self, request: &Renew) -> Result<Enrolled, ApiError> {
        self.post("renewing the device's certificate", "/v1/renew", request).await
    }

    /// What has to be signed to get a certificate in place of an expired one.
    pub async fn recover_nonce(&self) -> Result<RecoverNonce, ApiError> {
        let operation = "asking for a nonce";
        parse(operation, self.get(operation, "/v1/recover").await?).await
    }

    /// Asks for a certificate in place of an expired one.
    pub async fn recover(&self, request: &Recover) -> Result<Enrolled, ApiError> {
        self.post("getting a certificate by the device's key", "/v1/recover", request).await
    }

    /// One sign of life.
    pub async fn check_in(&self, request: &CheckIn) -> Result<CheckInReply, ApiError> {
        self.post("checking in", "/v1/checkin", request).await
    }

    /// A clean goodbye.
    pub async fn bye(&self, request: &Bye) -> Result<(), ApiError> {
        self.tell("saying goodbye", "/v1/bye", request).await
    }

    /// The whole inventory, when the server asked for it.
    pub async fn inventory(&self, request: &Inventory) -> Result<(), ApiError> {
        self.tell("sending the inventory", "/v1/inventory", request).await
    }

    /// How remedies went.
    pub async fn remedied(&self, request: &Remedied) -> Result<(), ApiError> {
        self.tell("reporting remedies", "/v1/remedied", request).await
    }

    /// What this machine's sensor found.
    pub async fn detections(&self, request: &Detections) -> Result<DetectionsNoted, ApiError> {
        self.post("delivering what the sensor found", "/v1/detections", request).await
    }

    /// Says something to which there is no answer.
    async fn tell(&self, operation: &'static str, path: &str, body: &impl serde::Serialize) -> Result<(), ApiError> {
        let sent = self.http.post(format!("{}{path}", self.base)).json(body).send().await;
        let response = sent.map_err(|source| ApiError::Unreachable { operation, source })?;
        accepted(operation, response).await.map(|_| ())
    }

    /// What everybody may know.
    pub async fn board(&self) -> Result<Board, ApiError> {
        let operation = "fetching the board";
        parse(operation, self.get(operation, "/v1/board").await?).await
    }

    /// The customer's policy; none if it has none.
    pub async fn policy(&self) -> Result<Option<Envelope>, ApiError> {
        let operation = "fetching the policy";
        match self.get(operation, "/v1/policy").await {
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(response) => parse(operation, response).await.map(Some),
        }
    }

    async fn get(&self, operation: &'static str, path: &str) -> Result<Response, ApiError> {
        let sent = self.http.get(format!("{}{path}", self.base)).send().await;
        accepted(operation, sent.map_err(|source| ApiError::Unreachable { operation, source })?).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ApiError> {
        let sent = self.http.post(format!("{}{path}", self.base)).json(body).send().await;
        let response = sent.map_err(|source| ApiError::Unreachable { operation, source })?;
        parse(operation, accepted(operation, response).await?).await
    }
}

async fn accepted(operation: &'static str, response: Response) -> Result<Response, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = bounded(operation, response, 64 << 10).await.unwrap_or_default();
    let problem = serde_json::from_slice::<Problem>(&body).unwrap_or_else(|_| Problem {
        error: status.canonical_reason().unwrap_or("no reason given").into(),
        hint: String::new(),
    });
    Err(ApiError::Refused { operation, status: status.as_u16(), error: problem.error, hint: problem.hint })
}

async fn parse<T: DeserializeOwned>(operation: &'static str, response: Response) -> Result<T, ApiError> {
    let body = bounded(operation, response, MOST_BYTES).await?;
    serde_json::from_slice(&body).map_err(|source| ApiError::Malformed { operation, source })
}

async fn bounded(operation: &'static str, mut response: Response, limit: u64) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() as u64 + chunk.len() as u64 > limit => {
                return Err(ApiError::TooLarge { operation, limit });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(source) => return Err(ApiError::Unreachable { operation, source }),
        }
    }
}

/// The TUF repository behind the server, for [`staffel_trust::tuf::client::Client`].
#[derive(Clone, Debug)]
pub struct Repository {
    http: Client,
    base: String,
}

impl Transport for Repository {
    fn fetch<'a>(&'a self, resource: Resource<'a>, limit: u64) -> Fetch<'a> {
        Box::pin(async move {
            let url = match resource {
                Resource::Metadata(name) => format!("{}/metadata/{name}", self.base),
                Resource::Target(path) => format!("{}/targets/{}", self.base, percent_encode_path(path)),
            };
            let response = self.http.get(url).send().await.map_err(FetchError::failed)?;
            match response.status() {
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Err(FetchError::NotFound),
                status if !status.is_success() => {
                    return Err(FetchError::failed(format!("the server answers {status}")));
                }
                _ => {}
            }
            match bounded("fetching from the repository", response, limit).await {
                Ok(bytes) => Ok(bytes),
                Err(ApiError::TooLarge { .. }) => Err(FetchError::TooLarge),
                Err(error) => Err(FetchError::failed(error)),
            }
        })
    }
}
