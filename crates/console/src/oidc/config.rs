//! The file `oidc.toml`: which provider, and who may what. The first rule that fits counts; whom none fits is refused. What must
//! stay out: asking the provider.

use super::{OidcError, plain};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use staffel_notice::deliver::TlsError;
use staffel_server::{
    api::{Caller, Role},
    roster::is_name,
};
use std::{io, path::PathBuf};

/// Why people can't log in with the provider.
#[derive(Debug, thiserror::Error)]
pub enum OidcSetupError {
    #[error("{field} must begin with https://; {text:?} does not")]
    Address { field: &'static str, text: String },
    #[error("scopes must have \"openid\": without it the provider says nothing about people")]
    Scope,
    #[error("nobody may log in: write [[people]] with claim, is and role")]
    Nobody,
    #[error("read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("prepare to speak with the provider")]
    Tls(#[from] TlsError),
}

/// The file `oidc.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The provider, exactly as its own description says it.
    pub issuer: String,
    /// As the provider knows this console.
    pub client_id: String,
    /// A file with the secret; none: the provider knows this console as a public client, and PKCE alone protects the code.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// Where browsers reach this console, such as `https://staffel.example.org`. The provider must know this address with
    /// `/login/oidc/back` as one that it may send people to.
    pub address: String,
    /// As the button for it says.
    pub name: String,
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,
    /// The claim that becomes a person's name in the log, with `oidc:` before it. One that people can't choose themselves.
    #[serde(default = "email")]
    pub name_claim: String,
    /// PEM; none: the system's authorities.
    #[serde(default)]
    pub authority_file: Option<PathBuf>,
    /// Who may what, in order.
    #[serde(default)]
    pub people: Vec<Rule>,
}

/// Whom a rule fits, and what that person may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name of a claim, such as `groups`; dots lead into objects, as in `realm_access.roles`.
    pub claim: String,
    /// The claim is this text, or a list that has it.
    pub is: String,
    pub role: Role,
    /// Sees and does only what is this customer's; none: everything.
    #[serde(default)]
    pub tenant: Option<String>,
}

fn usual_scopes() -> Vec<String> {
    ["openid", "email", "profile"].map(String::from).into()
}

fn email() -> String {
    "email".into()
}

impl OidcConfig {
    pub(super) fn check(&self) -> Result<(), OidcSetupError> {
        for (field, text) in [("issuer", &self.issuer), ("address", &self.address)] {
            if !text.starts_with("https://") {
                return Err(OidcSetupError::Address { field, text: text.clone() });
            }
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err(OidcSetupError::Scope);
        }
        if self.people.is_empty() { Err(OidcSetupError::Nobody) } else { Ok(()) }
    }

    /// Where the provider sends people back to.
    pub(super) fn back(&self) -> String {
        format!("{}/login/oidc/back", self.address.trim_end_matches('/'))
    }

    /// Who that is, by claims that were checked.
    pub(super) fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, OidcError> {
        let subject = plain(claims.get("sub").and_then(Value::as_str).unwrap_or_default());
        let rule = self.people.iter().find(|rule| rule.fits(claims));
        let rule = rule.ok_or_else(|| OidcError::Unmapped { subject: subject.clone() })?;
        let name = claim(claims, &self.name_claim).and_then(Value::as_str).filter(|name| is_name(name));
        let name = name.ok_or_else(|| OidcError::Nameless { subject, claim: self.name_claim.clone() })?;
        // A colon can't be in the name of a local account, so nobody is taken for one.
        Ok(Caller { name: format!("oidc:{name}"), role: rule.role, tenant: rule.tenant.clone() })
    }
}

impl Rule {
    fn fits(&self, claims: &Map<String, Value>) -> bool {
        match claim(claims, &self.claim) {
            Some(Value::String(text)) => *text == self.is,
            Some(Value::Array(list)) => list.iter().any(|text| text.as_str() == Some(&self.is)),
            _ => false,
        }
    }
}

/// The claim of that name; an e-mail address only if the provider says that it is the person's.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if name == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return None;
    }
    // Names with dots exist, too: `https://example.org/roles`.
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(people: Value) -> OidcConfig {
        serde_json::from_value(json!({
            "issuer": "https://id.example.org", "client_id": "staffel", "address": "https://staffel.example.org/",
            "name": "Example", "people": people,
        }))
        .unwrap()
    }

    fn caller(config: &OidcConfig, claims: Value) -> Result<Caller, OidcError> {
        config.caller(claims.as_object().unwrap())
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_nobody_else_gets_in() {
        let config = config(json!([
            { "claim": "email", "is": "ann@example.org", "role": "releaser" },
            { "claim": "groups", "is": "ward", "role": "operator", "tenant": "clinic" },
            { "claim": "realm_access.roles", "is": "look", "role": "viewer" },
        ]));
        assert_eq!(config.back(), "https://staffel.example.org/login/oidc/back");
        let person = |more: Value| {
            let mut claims = json!({ "sub": "7", "email": "ann@example.org", "email_verified": true });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            caller(&config, claims)
        };
        let ann = person(json!({ "groups": ["ward"] })).unwrap();
        assert_eq!((ann.name.as_str(), ann.role, ann.tenant), ("oidc:ann@example.org", Role::Releaser, None));
        let ben = person(json!({ "email": "ben@example.org", "groups": ["x", "ward"] })).unwrap();
        assert_eq!((ben.role, ben.tenant.as_deref()), (Role::Operator, Some("clinic")));
        let eve = person(json!({ "email": "eve@example.org", "realm_access": { "roles": ["look"] } })).unwrap();
        assert_eq!(eve.role, Role::Viewer);
        for stranger in [json!({ "groups": ["wards"] }), json!({ "groups": "War" }), json!({ "realm_access": "look" })]
        {
            let mut claims = json!({ "email": "mallory@example.org" });
            claims.as_object_mut().unwrap().extend(stranger.as_object().unwrap().clone());
            assert!(matches!(person(claims), Err(OidcError::Unmapped { .. })), "{stranger}");
        }
    }

    #[test]
    fn an_address_that_nobody_verified_is_nobodys() {
        let config = config(json!([{ "claim": "email", "is": "ann@example.org", "role": "releaser" }]));
        for verified in [json!(false), json!("true"), Value::Null] {
            let claims = json!({ "sub": "7", "email": "ann@example.org", "email_verified": verified });
            assert!(matches!(caller(&config, claims), Err(OidcError::Unmapped { .. })), "{verified}");
        }
    }

    #[test]
    fn names_are_plain() {
        let mut config = config(json!([{ "claim": "groups", "is": "ward", "role": "viewer" }]));
        config.name_claim = "name".into();
        for name in [json!("Ann Example"), json!("ann\n"), json!(""), json!(["ann"]), Value::Null] {
            let claims = json!({ "sub": "7", "groups": "ward", "name": name });
            assert!(matches!(caller(&config, claims), Err(OidcError::Nameless { .. })), "{name}");
        }
    }

    #[test]
    fn addresses_without_tls_and_what_lets_nobody_in_are_refused() {
        let good = config(json!([{ "claim": "groups", "is": "ward", "role": "viewer" }]));
        good.check().unwrap();
        for broken in [
            OidcConfig { issuer: "http://id.example.org".into(), ..good.clone() },
            OidcConfig { address: "staffel.example.org".into(), ..good.clone() },
        ] {
            assert!(matches!(broken.check(), Err(OidcSetupError::Address { .. })));
        }
        let narrow = OidcConfig { scopes: vec!["email".into()], ..good.clone() };
        assert!(matches!(narrow.check(), Err(OidcSetupError::Scope)));
        assert!(matches!(OidcConfig { people: Vec::new(), ..good }.check(), Err(OidcSetupError::Nobody)));
    }
}
