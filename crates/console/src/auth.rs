//! Who asks: log-in, log-out, and the check of session, token and role that stands before every page. What is refused here is
//! also logged. What must stay out: what a page shows.

use crate::{
    accounts::Hashed,
    sessions::{Found, Key, Proof, key, random},
    web::{Console, Frame, LANGUAGE_COOKIE, Look, Stop, THEME_COOKIE, cookie, local, page},
    words::Language,
};
use askama::Template;
use axum::{
    Extension, Form, Router,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use staffel_server::{
    api::{Caller, Role},
    edge::Peer,
    limit::{Limiter, address_key},
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;

/// The prefix makes browsers insist on `Secure`, this host and the whole path.
const SESSION: &str = "__Host-staffel";
/// Ties a log-in form to the browser that it was given to.
const FORM: &str = "__Host-staffel-form";

/// What slows guessing down.
pub(crate) struct Doors {
    by_address: Limiter<IpAddr>,
    by_name: Limiter<String>,
    /// Each costs 19 MiB and a processor.
    hashing: Semaphore,
}

impl Default for Doors {
    fn default() -> Self {
        Doors {
            by_address: Limiter::one_each(Duration::from_secs(6), 20, 100_000),
            by_name: Limiter::one_each(Duration::from_secs(20), 30, 10_000),
            hashing: Semaphore::new(2),
        }
    }
}

/// Somebody who is logged in.
#[derive(Clone)]
pub(crate) struct Person {
    pub caller: Caller,
    pub csrf: String,
    pub session: Key,
    /// Let in by the provider's word; the account is not ours.
    pub by_provider: bool,
}

impl Console {
    /// Whose session this is, if it is alive and the account is as it was. `Err` with the account if there was one.
    pub fn person(&self, token: &str, by_person: bool) -> Result<Person, Option<String>> {
        self.person_of(key(token), by_person)
    }

    /// True while the session lives; looking does not keep it alive.
    pub fn still(&self, session: &Key) -> bool {
        self.person_of(*session, false).is_ok()
    }

    fn person_of(&self, key: Key, by_person: bool) -> Result<Person, Option<String>> {
        let session = match self.sessions.find(&key, by_person) {
            Found::Alive(session) => session,
            Found::Expired { account } => return Err(Some(account)),
            Found::Unknown => return Err(None),
        };
        let by_provider = matches!(session.proof, Proof::Provider(_));
        let caller = match session.proof {
            Proof::Provider(caller) => Some(caller),
            Proof::Password(password) => {
                let account = self.accounts.find(&session.account).unwrap_or_else(|error| {
                    tracing::error!(%error, "nobody can be let in");
                    None
                });
                let account = account.filter(|account| account.password == password);
                account.map(|account| Caller { name: account.name, role: account.role, tenant: account.tenant })
            }
        };
        match caller {
            Some(caller) => Ok(Person { caller, csrf: session.csrf, session: key, by_provider }),
            None => {
                self.sessions.end(&key);
                Err(Some(session.account))
            }
        }
    }
}

impl Console {
    /// Refuses, and logs, those who try too often from one address or with one name. `known`: that name is an account.
    pub async fn slow_down(
        &self,
        peer: Option<Extension<Peer>>,
        name: Option<&str>,
        known: Option<&str>,
        what: &str,
    ) -> Result<(), Stop> {
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(peer)| peer.address.ip());
        let by_address = self.doors.by_address.take(address_key(address));
        let by_name = name.map_or(Ok(()), |name| self.doors.by_name.take(name.chars().take(64).collect()));
        let Some(wait) = [by_address, by_name].into_iter().filter_map(Result::err).max() else { return Ok(()) };
        self.engine.refused(known, what, "too many attempts").await;
        Err(Stop::TooMany { seconds: wait.as_secs() + 1 })
    }
}

/// A request for a page by somebody who is logged in.
pub(crate) struct Ask {
    pub console: Arc<Console>,
    pub person: Person,
    pub look: Look,
}

impl FromRequestParts<Arc<Console>> for Ask {
    type Rejection = Stop;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Stop> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let look = Look::of(&parts.headers, path);
        let next = if parts.method == axum::http::Method::GET { path.to_string() } else { "/".into() };
        let Some(token) = cookie(&parts.headers, SESSION) else { return Err(Stop::LogIn { next }) };
        match console.person(token, !look.fragment) {
            Ok(person) => Ok(Ask { console: console.clone(), person, look }),
            Err(account) => {
                let why = if account.is_some() { "the session is over" } else { "the session is unknown or forged" };
                let what = format!("{} {}", parts.method, parts.uri.path());
                console.engine.refused(account.as_deref(), &what, why).await;
                Err(Stop::LogIn { next })
            }
        }
    }
}

impl Ask {
    /// The frame of a page.
    pub fn frame(&self, here: &'static str, title: String) -> Frame {
        Frame::new(&self.look, Some(&self.person), here, title)
    }

    /// Runs something that may read the disk or look at every device where it delays nobody.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&staffel_server::engine::Engine, &Caller) -> T + Send + 'static,
    ) -> Result<T, Stop> {
        let (engine, caller) = (self.console.engine.clone(), self.person.caller.clone());
        tokio::task::spawn_blocking(move || work(&engine, &caller)).await.map_err(Stop::internal)
    }

    /// Refuses, and logs, what this person's role does not allow. `whole_fleet`: it concerns all customers.
    pub async fn may(&self, role: Role, whole_fleet: bool, what: &str) -> Result<(), Stop> {
        let caller = &self.person.caller;
        let why = if caller.role < role {
            "stop-role"
        } else if whole_fleet && caller.tenant.is_some() {
            "stop-whole-fleet"
        } else {
            return Ok(());
        };
        let logged = if why == "stop-role" { "the role does not allow it" } else { "it concerns all customers" };
        self.console.engine.refused(Some(&caller.name), what, logged).await;
        Err(Stop::Refused { why })
    }
}

/// A form that somebody sent who is logged in, with the token that only our own pages have.
pub(crate) struct Posted {
    pub ask: Ask,
    pub fields: HashMap<String, String>,
}

impl FromRequest<Arc<Console>> for Posted {
    type Rejection = Stop;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Stop> {
        let (mut parts, body) = request.into_parts();
        let ask = Ask::from_request_parts(&mut parts, console).await?;
        let what = format!("{} {}", parts.method, parts.uri.path());
        let fields = Form::<HashMap<String, String>>::from_request(Request::from_parts(parts, body), console).await;
        let fields = fields.map(|Form(fields)| fields).unwrap_or_default();
        let sent = fields.get("csrf").map_or("", String::as_str);
        if !same_text(sent, &ask.person.csrf) {
            let name = ask.person.caller.name.clone();
            console.engine.refused(Some(&name), &what, "the form's token is missing or wrong").await;
            return Err(Stop::Refused { why: "stop-csrf" });
        }
        Ok(Posted { ask, fields })
    }
}

impl Posted {
    /// A field without space around it; empty if it is missing.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.trim())
    }
}

/// Compares in a time that depends on nothing but the lengths.
fn same_text(a: &str, b: &str) -> bool {
    staffel_server::operators::same(&key(a), &key(b))
}

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/login", get(form).post(log_in))
        .route("/logout", post(log_out))
        .route("/language/{language}", get(language))
        .route("/theme/{theme}", get(theme))
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    csrf: String,
    next: String,
    name: String,
    /// Why the last attempt did not work.
    problem: String,
    /// There is no account at all yet.
    nobody: bool,
    /// The other way in, as people call it, and where it begins.
    provider: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

async fn form(State(console): State<Arc<Console>>, headers: HeaderMap, Query(Next { next }): Query<Next>) -> Response {
    let next = local(next.as_deref());
    if cookie(&headers, SESSION).is_some_and(|token| console.person(token, true).is_ok()) {
        return Redirect::to(&next).into_response();
    }
    show_form(&console, &headers, next, String::new(), String::new(), StatusCode::OK)
}

fn show_form(
    console: &Console,
    headers: &HeaderMap,
    next: String,
    name: String,
    problem: String,
    status: StatusCode,
) -> Response {
    let look = Look::of(headers, &format!("/login?next={}", crate::web::encode(&next)));
    let csrf = match random() {
        Ok(csrf) => csrf,
        Err(error) => return Stop::internal(error).into_response(),
    };
    let frame = Frame::new(&Look { fragment: false, ..look.clone() }, None, "", look.words.t("login-title"));
    let there = format!("/login/oidc?next={}", crate::web::encode(&next));
    let provider = console.oidc.as_ref().map(|oidc| (oidc.name().to_owned(), there));
    let nobody = provider.is_none() && console.accounts.is_empty();
    let mut response = page(status, &LoginPage { frame, csrf: csrf.clone(), next, name, problem, nobody, provider });
    set_cookie(response.headers_mut(), FORM, &csrf, "; HttpOnly; SameSite=Strict");
    response
}

#[derive(Deserialize)]
struct LogIn {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    next: Option<String>,
    #[serde(default)]
    csrf: String,
}

async fn log_in(
    State(console): State<Arc<Console>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Form(sent): Form<LogIn>,
) -> Result<Response, Stop> {
    const WHAT: &str = "log in";
    let next = local(sent.next.as_deref());
    let words = Look::of(&headers, "/login").words;
    let expected = cookie(&headers, FORM).unwrap_or_default();
    if expected.is_empty() || !same_text(&sent.csrf, expected) {
        console.engine.refused(None, WHAT, "the form's token is missing or wrong").await;
        return Err(Stop::Refused { why: "stop-csrf" });
    }
    let name = sent.name.trim();
    let account = console.accounts.find(name).map_err(Stop::internal)?;
    let known = account.as_ref().map(|account| account.name.clone());
    console.slow_down(peer, Some(name), known.as_deref(), WHAT).await?;
    let hashed = account.as_ref().map_or_else(Hashed::nobody, |account| account.password.clone());
    let password = sent.password;
    let turn = console.doors.hashing.acquire().await.map_err(Stop::internal)?;
    let is_right = tokio::task::spawn_blocking(move || hashed.is(&password)).await.map_err(Stop::internal)?;
    drop(turn);
    let Some(account) = account.filter(|_| is_right) else {
        console.engine.refused(known.as_deref(), WHAT, "name or password is wrong").await;
        let problem = words.t("login-wrong");
        return Ok(show_form(&console, &headers, next, name.to_string(), problem, StatusCode::UNAUTHORIZED));
    };
    let mut response = enter(&console, &headers, &account.name, Proof::Password(account.password), &next)?;
    set_cookie(response.headers_mut(), FORM, "", "; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(response)
}

/// Begins a session and leads on.
pub(crate) fn enter(
    console: &Console,
    headers: &HeaderMap,
    account: &str,
    proof: Proof,
    next: &str,
) -> Result<Response, Stop> {
    let token = console.sessions.begin(account, proof).map_err(Stop::internal)?;
    tracing::info!(account, "logged in");
    let mut response = Redirect::to(next).into_response();
    // A session that this browser had before is not taken over.
    if let Some(old) = cookie(headers, SESSION) {
        console.sessions.end(&key(old));
    }
    set_cookie(response.headers_mut(), SESSION, &token, "; HttpOnly; SameSite=Lax");
    Ok(response)
}

async fn log_out(posted: Posted) -> Response {
    posted.ask.console.sessions.end(&posted.ask.person.session);
    let mut response = Redirect::to("/login").into_response();
    forget(response.headers_mut());
    response
}

/// Throws the session's cookie away.
pub(crate) fn forget(headers: &mut HeaderMap) {
    set_cookie(headers, SESSION, "", "; HttpOnly; SameSite=Lax; Max-Age=0");
}

pub(crate) fn set_cookie(headers: &mut HeaderMap, name: &str, value: &str, more: &str) {
    // Values are hex or words of ours.
    if let Ok(value) = HeaderValue::from_str(&format!("{name}={value}; Path=/; Secure{more}")) {
        headers.append(header::SET_COOKIE, value);
    }
}

#[derive(Deserialize)]
struct Back {
    back: Option<String>,
}

/// A year; a preference, not a secret.
const PREFERENCE: &str = "; HttpOnly; SameSite=Lax; Max-Age=31536000";

async fn language(Path(code): Path<String>, Query(Back { back }): Query<Back>) -> Result<Response, Stop> {
    let language = Language::of(&code).ok_or(Stop::NotFound)?;
    let mut response = Redirect::to(&local(back.as_deref())).into_response();
    set_cookie(response.headers_mut(), LANGUAGE_COOKIE, language.code(), PREFERENCE);
    Ok(response)
}

async fn theme(Path(theme): Path<String>, Query(Back { back }): Query<Back>) -> Result<Response, Stop> {
    if !["auto", "light", "dark"].contains(&theme.as_str()) {
        return Err(Stop::NotFound);
    }
    let mut response = Redirect::to(&local(back.as_deref())).into_response();
    set_cookie(response.headers_mut(), THEME_COOKIE, &theme, PREFERENCE);
    Ok(response)
}
