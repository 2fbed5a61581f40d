//! Who is logged in, as whom, and what that allows. Must stay out: changing accounts, which `staffel user` does on the server.

use crate::{
    auth::Ask,
    web::{Console, Frame, Stop, page},
};
use askama::Template;
use axum::{Router, http::StatusCode, response::Response, routing::get};
use staffel_server::api::Role;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/account", get(account))
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    name: String,
    role: String,
    may: String,
    tenant: Option<String>,
    by_provider: bool,
}

/// The name of a role as messages have it.
fn key(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::TenantAdmin => "tenant-admin",
        Role::Operator => "operator",
        Role::Releaser => "releaser",
    }
}

async fn account(ask: Ask) -> Result<Response, Stop> {
    let words = ask.look.words;
    let caller = &ask.person.caller;
    let template = AccountPage {
        frame: ask.frame("account", words.t("nav-account")).still(),
        name: caller.name.clone(),
        role: words.t(&format!("role-{}", key(caller.role))),
        may: words.t(&format!("role-{}-may", key(caller.role))),
        tenant: caller.tenant.clone(),
        by_provider: ask.person.by_provider,
    };
    Ok(page(StatusCode::OK, &template))
}
