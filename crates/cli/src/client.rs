//! The operator API over HTTPS, as blocking calls, and what its errors mean for whoever typed the command.
//!
//! Nothing but the installation's own authority is trusted: no system roots, no proxy, no redirect. What must stay out:
//! what the answers mean (the commands know). Not to be called from within an async runtime.

mod detections;
pub mod keys;
mod notices;
mod recovery;
pub mod time;

use crate::{layout::Layout, output::Failure};
use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Serialize, de::DeserializeOwned};
use staffel_server::api::{
    DevicePage, DeviceQuery, DeviceRemedies, DeviceSoftware, DeviceView, DeviceWhy, HistoryEntry, NextRollout,
    NextUnhalt, RemedyView, RolloutView, StartRollout, SuspectView, TenantKeys, TenantView, Token, TokenRequest,
    Unhalting, Word,
};
use staffel_statement::Envelope;
use staffel_trust::{tuf::path::percent_encode, wire::Problem};
use std::{
    error::Error as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the server's longest wait for changes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// No answer of the operator API is larger: 64 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// Where the server is and who asks. What is not said comes from the installation's folder.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Connect {
    /// Address of the server, such as https://localhost:8443 [else: STAFFEL_SERVER, else the folder's].
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Certificate (PEM) that the server is trusted by [else the folder's ca.pem].
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// File with the operator's token [else: the text in STAFFEL_TOKEN, else the folder's operator.token].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Installation folder [else: STAFFEL_DIR, else ./staffel].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl Connect {
    /// The installation's folder, for commands that need more of it than the address.
    pub fn layout(&self) -> Result<Layout> {
        Layout::find(self.dir.as_deref())
    }

    fn url(&self) -> Result<String> {
        match (&self.server, environment("STAFFEL_SERVER")) {
            (Some(url), _) => Ok(url.clone()),
            (None, Some(url)) => Ok(url),
            (None, None) => Ok(self.layout()?.config()?.url),
        }
    }

    fn token(&self) -> Result<String> {
        if let Some(path) = &self.token_file {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("read the token in {}", path.display()))?;
            return Ok(text.trim().to_string());
        }
        environment("STAFFEL_TOKEN").map_or_else(|| self.layout()?.operator_token(), Ok)
    }
}

/// Most things asked for in one page.
const PAGE: usize = 1_000;

/// The first `limit` things, page by page, and whether there are more. `page` asks for at most so many, beginning where
/// the page before said.
pub fn pages<T, P>(
    limit: u32,
    mut page: impl FnMut(u32, Option<P>) -> Result<(Vec<T>, Option<P>)>,
) -> Result<(Vec<T>, bool)> {
    let limit = limit as usize;
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (things, next) = page((limit - all.len()).clamp(1, PAGE) as u32, after)?;
        all.extend(things);
        if next.is_none() || all.len() >= limit {
            let more = next.is_some() || all.len() > limit;
            all.truncate(limit);
            return Ok((all, more));
        }
        after = next;
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// A connection to one server's API.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// A client for the server at `url` (`https://...`), trusted by the certificates in the PEM file `ca`.
    pub fn new(url: &str, ca: &Path, token: &str) -> Result<Client> {
        if !url.starts_with("https://") {
            let hint = "give it as https://HOST:PORT; tokens never travel without TLS";
            return Err(failed(format!("{url:?} is no address of a server"), hint).into());
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trusting(ca)?)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("set up HTTPS")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        Ok(Client { runtime, http, url: url.trim_end_matches('/').to_string(), token: token.to_string() })
    }

    /// A client from what the command line, the environment and the folder say.
    pub fn from(connect: &Connect) -> Result<Client> {
        let ca = match &connect.ca {
            Some(path) => path.clone(),
            None => connect.layout()?.ca_file(),
        };
        Client::new(&connect.url()?, &ca, &connect.token()?)
    }

    /// As [`Client::from`], without a token: for what anybody may ask, such as a witness.
    pub fn anonymous(connect: &Connect) -> Result<Client> {
        let ca = match &connect.ca {
            Some(path) => path.clone(),
            None => connect.layout()?.ca_file(),
        };
        Client::new(&connect.url()?, &ca, "")
    }

    /// `GET` of a path below `/api/v1`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.api::<(), T>(Method::GET, path, None)
    }

    /// `POST` of JSON to a path below `/api/v1`.
    pub fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.api(Method::POST, path, Some(body))
    }

    /// `PUT` of JSON to a path below `/api/v1`.
    pub fn put<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        self.api(Method::PUT, path, Some(body))
    }

    /// `GET` of a text at a path from the root.
    pub fn get_text(&self, path: &str) -> Result<String> {
        let bytes = self.send(self.http.get(format!("{}{path}", self.url)))?;
        String::from_utf8(bytes).with_context(|| format!("the answer to {path} is no text"))
    }

    /// `POST` of a text to a path from the root; the answer is left unread.
    pub fn post_text(&self, path: &str, body: String) -> Result<()> {
        self.send(self.http.post(format!("{}{path}", self.url)).body(body)).map(drop)
    }

    fn api<B: Serialize, T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&B>) -> Result<T> {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let bytes = self.send(request)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let what = format!("the server's answer to {path} is not what this program expects: {error}");
            failed(what, "use a program of the same version as the server").into()
        })
    }

    fn send(&self, mut request: reqwest::RequestBuilder) -> Result<Vec<u8>> {
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        self.runtime.block_on(async {
            let unreachable = |error: reqwest::Error| self.unreachable(&error);
            let mut response = request.send().await.map_err(unreachable)?;
            let status = response.status();
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > MAX_ANSWER {
                    return Err(failed("the server's answer is too large", "ask for less at once").into());
                }
            }
            if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes).into()) }
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let hint = if is_certificate_trouble(error) {
            "name the certificate that the server is trusted by with --ca, and the server by a name in its certificate"
        } else if error.is_timeout() {
            "it did not answer in time: look at its log, then try again"
        } else {
            "start it with `staffel server`, or say where it is with --server or STAFFEL_SERVER"
        };
        Failure::unreachable(format!("the server at {} can't be reached: {}", self.url, innermost(error)), hint).into()
    }
}

/// The routes of the operator API.
impl Client {
    /// The server in figures.
    pub fn status(&self) -> Result<staffel_server::api::ServerStatus> {
        self.get("/status")
    }

    /// What releasers sign into the next authorisation.
    pub fn next_rollout(&self) -> Result<NextRollout> {
        self.get("/rollouts/next")
    }

    /// Starts a rollout.
    pub fn start_rollout(&self, start: &StartRollout) -> Result<RolloutView> {
        self.post("/rollouts", start)
    }

    /// All rollouts, oldest first.
    pub fn rollouts(&self) -> Result<Vec<RolloutView>> {
        self.get("/rollouts")
    }

    /// One rollout.
    pub fn rollout(&self, id: u64) -> Result<RolloutView> {
        self.get(&format!("/rollouts/{id}"))
    }

    /// What happened to it, oldest first.
    pub fn history(&self, id: u64) -> Result<Vec<HistoryEntry>> {
        self.get(&format!("/rollouts/{id}/history"))
    }

    /// `hold`, `resume` or `halt`.
    pub fn word(&self, id: u64, verb: &str, word: &Word) -> Result<RolloutView> {
        self.post(&format!("/rollouts/{id}/{verb}"), word)
    }

    /// A page of devices.
    pub fn devices(&self, query: &DeviceQuery) -> Result<DevicePage> {
        self.get(&format!("/devices{}", query_string(query)))
    }

    /// One device, by id, `tenant/site/name` or name, and why it does nothing.
    pub fn device_why(&self, device: &str) -> Result<DeviceWhy> {
        self.get(&format!("/devices/{}/why", percent_encode(device)))
    }

    /// The foreign software of one device.
    pub fn device_software(&self, device: &str) -> Result<DeviceSoftware> {
        self.get(&format!("/devices/{}/software", percent_encode(device)))
    }

    /// Foreign software that looks like the cause of trouble.
    pub fn suspects(&self) -> Result<Vec<SuspectView>> {
        self.get("/software/suspects")
    }

    /// The customers.
    pub fn tenants(&self) -> Result<Vec<TenantView>> {
        self.get("/tenants")
    }

    /// Puts a customer's signed policy in force.
    pub fn put_policy(&self, tenant: &str, policy: &Envelope) -> Result<TenantView> {
        self.put(&format!("/tenants/{}/policy", percent_encode(tenant)), policy)
    }

    /// Registers a customer's keys.
    pub fn tenant_keys(&self, tenant: &str, keys: &TenantKeys) -> Result<TenantView> {
        self.put(&format!("/tenants/{}/keys", percent_encode(tenant)), keys)
    }

    /// What two releasers sign to take the halt of a rollout's release back.
    pub fn next_unhalt(&self, id: u64) -> Result<NextUnhalt> {
        self.get(&format!("/rollouts/{id}/unhalt"))
    }

    /// Takes it back.
    pub fn unhalt(&self, id: u64, word: &Unhalting) -> Result<RolloutView> {
        self.post(&format!("/rollouts/{id}/unhalt"), word)
    }

    /// `retire` or `clear-clone`.
    pub fn device_word(&self, device: &str, verb: &str, word: &Word) -> Result<DeviceView> {
        self.post(&format!("/devices/{}/{verb}", percent_encode(device)), word)
    }

    /// Every remedy, device by device.
    pub fn remedies(&self) -> Result<Vec<RemedyView>> {
        self.get("/remedies")
    }

    /// One device's remedies, and what is signed into the next one.
    pub fn device_remedies(&self, device: &str) -> Result<DeviceRemedies> {
        self.get(&format!("/devices/{}/remedies", percent_encode(device)))
    }

    /// Sends a signed remedy.
    pub fn send_remedy(&self, remedy: &Envelope) -> Result<RemedyView> {
        self.post("/remedies", remedy)
    }

    /// A one-time enrolment token.
    pub fn token(&self, request: &TokenRequest) -> Result<Token> {
        self.post("/tokens", request)
    }

    /// Waits until something changes after change number `after`, at most as long as the server waits (25 s by default);
    /// answers the number now.
    pub fn changes(&self, after: u64) -> Result<u64> {
        #[derive(serde::Deserialize)]
        struct Change {
            change: u64,
        }
        Ok(self.get::<Change>(&format!("/changes?after={after}"))?.change)
    }
}

/// TLS that trusts the certificates of this file and nothing else.
fn trusting(ca: &Path) -> Result<rustls::ClientConfig> {
    Ok(tls()?.with_root_certificates(roots(ca)?).with_no_client_auth())
}

/// TLS before it is said who is trusted.
pub fn tls() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().context("set up TLS")
}

/// The certificates of a PEM file; at least one.
pub fn roots(ca: &Path) -> Result<Arc<rustls::RootCertStore>> {
    let pem = std::fs::read(ca).with_context(|| format!("read the server's authority in {}", ca.display()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|error| anyhow::anyhow!("{} is not readable: {error:?}", ca.display()))?;
        roots.add(certificate).with_context(|| format!("{} has no usable certificate", ca.display()))?;
    }
    if roots.is_empty() {
        return Err(
            failed(format!("there is no certificate in {}", ca.display()), "give the installation's ca.pem").into()
        );
    }
    Ok(Arc::new(roots))
}

fn failed(what: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure { code: 1, what: what.into(), hint: hint.into() }
}

/// The server's "no", with the exit code that stands for its kind.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let problem = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| Problem {
        error: format!("the server answers with status {status}"),
        hint: "is there really a Staffel server at this address?".into(),
    });
    let code = match status.as_u16() {
        401 | 403 | 409 | 422 => 3,
        404 => 4,
        _ => 1,
    };
    Failure { code, what: problem.error, hint: problem.hint }
}

/// The error's last cause: it says what happened, those above it only where.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

fn is_certificate_trouble(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_));
        }
        // An I/O error names what is inside of what it carries as its source, and leaves out what it carries.
        cause = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    false
}

/// `?a=b&c=d` of what is said, or nothing.
fn query_string(query: &DeviceQuery) -> String {
    let numbers = |number: Option<u32>| number.map(|number| number.to_string());
    let parts = [
        ("tenant", query.tenant.clone()),
        ("site", query.site.clone()),
        ("presence", query.presence.clone()),
        ("text", query.text.clone()),
        ("after", numbers(query.after)),
        ("limit", numbers(query.limit)),
    ];
    encoded(&parts)
}

fn encoded(parts: &[(&str, Option<String>)]) -> String {
    let said: Vec<String> = parts
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", percent_encode(value.as_deref()?))))
        .collect();
    if said.is_empty() { String::new() } else { format!("?{}", said.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_servers_words_and_gets_its_exit_code() {
        let body = br#"{"error":"there is no rollout 7","hint":"check the name"}"#;
        for (status, code) in [(404, 4), (403, 3), (409, 3), (422, 3), (401, 3), (503, 1), (500, 1), (400, 1), (429, 1)]
        {
            let failure = refusal(StatusCode::from_u16(status).unwrap(), body);
            assert_eq!((failure.code, failure.what.as_str()), (code, "there is no rollout 7"), "{status}");
            assert_eq!(failure.hint, "check the name");
        }
        assert!(refusal(StatusCode::BAD_GATEWAY, b"<html>").what.contains("502"));
    }

    #[test]
    fn what_is_asked_survives_the_address() {
        assert_eq!(query_string(&DeviceQuery::default()), "");
        let query = DeviceQuery { text: Some("a&b c/ü".into()), limit: Some(5), ..DeviceQuery::default() };
        assert_eq!(query_string(&query), "?text=a%26b%20c%2F%C3%BC&limit=5");
    }

    #[test]
    fn a_server_that_is_not_there_is_exit_code_5() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(&ca, certificate.pem()).unwrap();
        // A port that was free a moment ago: nobody listens on it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::new(&format!("https://127.0.0.1:{port}"), &ca, "t").unwrap();
        let error = client.rollouts().unwrap_err();
        let failure = error.downcast_ref::<Failure>().expect("a failure with an exit code");
        assert_eq!(failure.code, 5);
        assert!(failure.hint.contains("staffel server"), "{failure}");
    }

    #[test]
    fn no_token_travels_in_the_clear_and_no_empty_authority_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, "no certificate").unwrap();
        assert!(Client::new("http://localhost", &ca, "t").is_err());
        let error = Client::new("https://localhost", &ca, "t").err().expect("nothing to trust");
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
