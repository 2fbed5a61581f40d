//! What every page has: the frame around it, security headers, and how a request ends that goes wrong. What must stay out: any
//! single page.

use crate::{
    accounts::Accounts,
    assets,
    auth::{Doors, Person},
    oidc::Oidc,
    sessions::Sessions,
    times,
    words::{Language, Words},
};
use askama::Template;
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use staffel_server::{
    api::{Caller, Role},
    engine::{Engine, EngineError, now_ms},
};
use tokio::sync::watch;

/// What every route can reach.
pub(crate) struct Console {
    pub engine: Engine,
    pub accounts: Accounts,
    pub sessions: Sessions,
    pub doors: Doors,
    pub oidc: Option<Oidc>,
    pub stopped: watch::Receiver<bool>,
}

/// Scripts and styles are ours alone and never inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

pub(crate) const LANGUAGE_COOKIE: &str = "staffel-language";
pub(crate) const THEME_COOKIE: &str = "staffel-theme";

/// A cookie's value.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// How somebody wants to see pages; the same for people who are not logged in.
#[derive(Clone)]
pub(crate) struct Look {
    pub words: Words,
    /// `light`, `dark` or `auto`.
    pub theme: &'static str,
    /// Path and query of the request.
    pub path: String,
    /// Only the page's content is wanted, by the page itself.
    pub fragment: bool,
}

impl Look {
    pub fn of(headers: &HeaderMap, path: &str) -> Self {
        let accepted = || headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let language = cookie(headers, LANGUAGE_COOKIE).and_then(Language::of);
        let theme = match cookie(headers, THEME_COOKIE) {
            Some("light") => "light",
            Some("dark") => "dark",
            _ => "auto",
        };
        Look {
            words: Words(language.unwrap_or_else(|| Language::preferred(accepted()))),
            theme,
            path: path.to_string(),
            fragment: headers.contains_key("hx-request"),
        }
    }
}

/// The frame of one page.
pub(crate) struct Frame {
    pub words: Words,
    pub theme: &'static str,
    pub path: String,
    /// Which entry of the navigation this is.
    pub here: &'static str,
    pub title: String,
    pub person: Option<Caller>,
    pub csrf: String,
    pub fragment: bool,
    /// The page refreshes itself.
    pub live: bool,
    pub now_ms: u64,
}

impl Frame {
    pub fn new(look: &Look, person: Option<&Person>, here: &'static str, title: String) -> Self {
        Frame {
            words: look.words,
            theme: look.theme,
            path: look.path.clone(),
            here,
            title,
            person: person.map(|person| person.caller.clone()),
            csrf: person.map(|person| person.csrf.clone()).unwrap_or_default(),
            fragment: look.fragment,
            live: person.is_some(),
            now_ms: now_ms(),
        }
    }

    /// A page that stands still: a form that somebody fills in.
    pub fn still(self) -> Self {
        Frame { live: false, ..self }
    }

    pub fn asset(&self, name: &str) -> Option<String> {
        assets::href(name)
    }

    /// `name version`, ready for a query.
    pub fn query(&self, name: &str, version: &str) -> String {
        encode(&format!("{name} {version}"))
    }

    /// A `<time>` element.
    pub fn time(&self, ms: &u64) -> String {
        times::element(*ms)
    }

    /// `back` for links that lead here again, ready for a query.
    pub fn back(&self) -> String {
        encode(&self.path)
    }

    pub fn sees_all(&self) -> bool {
        self.person.as_ref().is_some_and(|caller| caller.tenant.is_none())
    }

    /// True if the person may speak about cases.
    pub fn operates(&self) -> bool {
        self.person.as_ref().is_some_and(|caller| caller.role >= Role::Operator)
    }

    /// True if the person may direct rollouts: that takes the role, and nobody who is bound to one customer.
    pub fn directs(&self) -> bool {
        self.person.as_ref().is_some_and(|caller| caller.role >= Role::Operator && caller.tenant.is_none())
    }
}

/// For a query or a path segment (RFC 3986: everything but unreserved characters).
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A path of ours that a link may lead back to; everything else leads to the first page.
pub(crate) fn local(path: Option<&str>) -> String {
    let path = path.unwrap_or("/");
    let is_ours = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    if is_ours && !path.chars().any(char::is_control) { path.to_string() } else { "/".into() }
}

/// A page with this status.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Why there is no page. Said by [`dress`], which knows the language.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// Not logged in, or not any more; the cookie is thrown away.
    LogIn {
        next: String,
    },
    /// It was logged; `why` is a message.
    Refused {
        why: &'static str,
    },
    NotFound,
    /// Wait so many seconds.
    TooMany {
        seconds: u64,
    },
    /// The provider of log-ins can't be asked.
    Provider,
    /// The engine's own words.
    Engine(EngineError),
    Internal,
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotFound { .. } => Stop::NotFound,
            EngineError::Internal { why } => Stop::internal(why),
            other => Stop::Engine(other),
        }
    }
}

impl Stop {
    /// Something that should not happen: the cause goes to the server's own log.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(error = %what, "a page failed inside the server");
        Stop::Internal
    }

    fn status(&self) -> StatusCode {
        match self {
            Stop::LogIn { .. } => StatusCode::SEE_OTHER,
            Stop::Refused { .. } | Stop::Engine(EngineError::Forbidden { .. }) => StatusCode::FORBIDDEN,
            Stop::NotFound => StatusCode::NOT_FOUND,
            Stop::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Stop::Provider => StatusCode::BAD_GATEWAY,
            Stop::Engine(EngineError::Conflict { .. }) => StatusCode::CONFLICT,
            Stop::Engine(EngineError::ReadOnly { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Stop::Engine(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Stop::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Stop {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Template)]
#[template(path = "stop.html")]
struct StopPage {
    frame: Frame,
    what: String,
    hint: String,
}

/// Layer around everything: says what went wrong in the reader's language, and sets the security headers.
pub(crate) async fn dress(request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let look = Look::of(request.headers(), path);
    let mut response = next.run(request).await;
    if let Some(stop) = response.extensions_mut().remove::<Stop>() {
        response = stopped(&look, &stop);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn stopped(look: &Look, stop: &Stop) -> Response {
    if let Stop::LogIn { next } = stop {
        let to = format!("/login?next={}", encode(next));
        let mut response = if look.fragment {
            ([(HeaderName::from_static("hx-redirect"), to)], "").into_response()
        } else {
            Redirect::to(&to).into_response()
        };
        crate::auth::forget(response.headers_mut());
        return response;
    }
    let words = look.words;
    let (what, hint) = match stop {
        Stop::NotFound => (words.t("stop-not-found"), words.t("stop-not-found-hint")),
        Stop::Refused { why } => (words.t(why), words.t("stop-refused-hint")),
        Stop::Provider => (words.t("stop-oidc-away"), words.t("stop-oidc-away-hint")),
        Stop::TooMany { seconds } => (words.t1("stop-too-many", "n", *seconds), String::new()),
        Stop::Engine(EngineError::Conflict { why, hint } | EngineError::Refused { why, hint }) => {
            (why.clone(), hint.clone())
        }
        Stop::Engine(error) => (error.to_string(), String::new()),
        Stop::LogIn { .. } | Stop::Internal => (words.t("stop-internal"), words.t("stop-internal-hint")),
    };
    // Whoever was stopped may not be logged in: the page shows nothing that needs it.
    let frame = Frame::new(look, None, "", words.t("stop-title"));
    let mut response = page(stop.status(), &StopPage { frame, what, hint });
    if let Stop::TooMany { seconds } = stop {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_back_lead_nowhere_else() {
        for bad in ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"] {
            assert_eq!(local(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(local(Some("/devices?text=a&site=b")), "/devices?text=a&site=b");
        assert_eq!(local(None), "/");
        assert_eq!(encode("/a b?ä"), "%2Fa%20b%3F%C3%A4");
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("xstaffel=1; staffel=2"));
        headers.append(header::COOKIE, HeaderValue::from_static("other=3"));
        assert_eq!(cookie(&headers, "staffel"), Some("2"));
        assert_eq!(cookie(&headers, "other"), Some("3"));
        assert_eq!(cookie(&headers, "staf"), None);
    }
}
