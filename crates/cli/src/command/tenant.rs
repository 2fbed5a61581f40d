//! `staffel tenant`: customers and the policies that they sign. Must stay out: what a policy forbids (`staffel_core::policy`).

use crate::{
    client::{
        Client, Connect,
        keys::signing_key,
        time::{now_ms, span},
    },
    output::{Failure, json, table},
};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use staffel_core::policy::{CustomerPolicy, Window};
use staffel_server::api::{TenantKeys, TenantView};
use staffel_statement::{
    Envelope, PublicKey, SigningKey,
    predicate::{Headed, Header, TenantPolicy, sign},
};
use std::path::{Path, PathBuf};

/// Subcommands of `staffel tenant`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List the customers.
    Ls {
        #[command(flatten)]
        connect: Connect,
    },
    /// Show a customer and the policy in force.
    Show {
        /// The customer.
        tenant: String,
        #[command(flatten)]
        connect: Connect,
    },
    /// Sign a customer's policy and put it in force.
    Policy(Policy),
    /// Register the keys with which a customer signs, so that the server verifies its policies, too.
    Keys {
        /// The customer.
        tenant: String,
        /// Each 64 hex digits, a public key's file, or a name in the folder [else tenant-CUSTOMER].
        keys: Vec<String>,
        #[command(flatten)]
        connect: Connect,
    },
}

/// Arguments of `staffel tenant policy`.
#[derive(clap::Args)]
#[command(after_help = "The policy in TOML (what is left out allows everything):
  freeze = \"quarter end\"              nothing changes; urgent_over_freeze = true lets urgent releases pass
  pin = { till = \"2.1.0\" }            this version of this release and no other
  n_minus_1 = true                    one version behind
  defer_ms = 86400000                 so long after the start of a rollout
  windows = [{ days = 31, from_minute = 1320, to_minute = 300 }]     UTC; days: bit 0 is Monday
  rings = [[\"pc-1\"]]                  pilots, first ring first
  required_checks = [\"contract\"]      only what passed these checks of the gate, so nothing whose gate was waived
  limits = { max_unavailable_per_site = 1, manual_only = [\"mri-1\"], redundancy_groups = { db-1 = \"db\", db-2 = \"db\" } }")]
pub struct Policy {
    /// The customer.
    tenant: String,
    /// The policy, .toml or .json.
    file: PathBuf,
    /// The customer's key: a name in the folder or a file [else tenant-CUSTOMER].
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Ls { connect } => {
            let tenants = Client::from(connect)?.tenants()?;
            if as_json {
                return json(&tenants);
            }
            let row = |t: &TenantView| vec![t.tenant.clone(), t.devices.to_string(), in_force(t), summary(&t.policy)];
            let rows: Vec<_> = tenants.iter().map(row).collect();
            print!("{}", table(&["CUSTOMER", "DEVICES", "POLICY", "SAYS"], &rows));
            Ok(())
        }
        Command::Show { tenant, connect } => {
            let tenants = Client::from(connect)?.tenants()?;
            let missing =
                || Failure::not_found(format!("there is no customer {tenant}"), "`staffel tenant ls` lists them");
            let found = tenants.iter().find(|t| t.tenant == *tenant).ok_or_else(missing)?;
            if as_json { json(found) } else { show(found) }
        }
        Command::Policy(policy) => put(policy, as_json),
        Command::Keys { tenant, keys, connect } => set_keys(tenant, keys, connect, as_json),
    }
}

fn set_keys(tenant: &str, keys: &[String], connect: &Connect, as_json: bool) -> Result<()> {
    let named = match keys {
        [] => vec![format!("tenant-{tenant}")],
        keys => keys.to_vec(),
    };
    let keys = named.iter().map(|name| public_key(connect, name)).collect::<Result<Vec<_>>>()?;
    let view = Client::from(connect)?.tenant_keys(tenant, &TenantKeys { keys })?;
    if as_json {
        return json(&view);
    }
    println!("{} signs with {} keys; the server verifies its policies from now on", view.tenant, view.keys.len());
    Ok(())
}

fn public_key(connect: &Connect, name: &str) -> Result<PublicKey> {
    let hex = match PublicKey::parse(name) {
        Some(key) => return Ok(key),
        None if Path::new(name).is_file() => staffel_trust::keyfile::PublicKey::load(Path::new(name))
            .with_context(|| format!("read the public key in {name}"))?
            .to_hex(),
        None => connect.layout()?.public_key(name)?.to_hex(),
    };
    PublicKey::parse(&hex).with_context(|| format!("{name} is no key that signs policies"))
}

fn put(args: &Policy, as_json: bool) -> Result<()> {
    let policy = read_policy(&args.file)?;
    let name = args.key.clone().unwrap_or_else(|| format!("tenant-{}", args.tenant));
    let key = signing_key(&args.connect, &name)?;
    let client = Client::from(&args.connect)?;
    // A customer that nobody has named before has no policy yet.
    let before = client.tenants()?.iter().find(|t| t.tenant == args.tenant).map_or(0, |t| t.policy_sequence);
    let signed = signed(&args.tenant, before + 1, policy, now_ms(), &key);
    let view = client.put_policy(&args.tenant, &signed)?;
    if as_json {
        return json(&view);
    }
    println!("policy {} of {} is in force: {}", view.policy_sequence, view.tenant, summary(&view.policy));
    if view.keys.is_empty() {
        println!(
            "the server has no key of {0} and only its devices verify this: `staffel tenant keys {0}`",
            view.tenant
        );
    }
    println!("its {} devices take it over at their next check-in", view.devices);
    Ok(())
}

fn signed(tenant: &str, sequence: u64, policy: CustomerPolicy, now: u64, key: &SigningKey) -> Envelope {
    // It holds until the next one: a customer who can't be reached must not lose its freeze.
    let header = Header { issued_ms: now, expires_ms: u64::MAX, ..Header::default() };
    sign(&Headed { header, body: TenantPolicy { tenant: tenant.into(), sequence, policy } }, &[key])
}

fn read_policy(path: &Path) -> Result<CustomerPolicy> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read the policy in {}", path.display()))?;
    let unreadable = || format!("the policy in {} is not readable", path.display());
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let value: Value = if is_toml {
        toml::from_str(&text).with_context(unreadable)?
    } else {
        serde_json::from_str(&text).with_context(unreadable)?
    };
    parse_policy(&value).with_context(unreadable)
}

fn parse_policy(value: &Value) -> Result<CustomerPolicy> {
    let policy: CustomerPolicy = serde_json::from_value(value.clone())?;
    // Statements ignore what they don't know. A person who mistypes `freeze` must hear of it.
    if let Some(unknown) = unknown_field(value, &serde_json::to_value(&policy)?) {
        bail!("a policy has no field {unknown:?}; see `staffel tenant policy --help`");
    }
    for Window { days, from_minute, to_minute } in &policy.windows {
        if *days == 0 || *days > 127 || *from_minute > 1_439 || *to_minute > 1_440 {
            bail!("a window has days from 1 to 127, from_minute up to 1439 and to_minute up to 1440");
        }
    }
    Ok(policy)
}

/// The path of the first field of `given` that got lost on the way to `understood`.
fn unknown_field(given: &Value, understood: &Value) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => given.iter().find_map(|(name, value)| {
            let Some(known) = understood.get(name) else { return Some(name.clone()) };
            unknown_field(value, known).map(|below| format!("{name}.{below}"))
        }),
        (Value::Array(given), Value::Array(understood)) => {
            given.iter().zip(understood).find_map(|(given, understood)| unknown_field(given, understood))
        }
        _ => None,
    }
}

fn in_force(tenant: &TenantView) -> String {
    if tenant.policy_sequence == 0 { "none".into() } else { tenant.policy_sequence.to_string() }
}

/// A policy in a line.
fn summary(policy: &CustomerPolicy) -> String {
    let mut says = Vec::new();
    if let Some(reason) = &policy.freeze {
        let but = if policy.urgent_over_freeze { ", urgent passes" } else { "" };
        says.push(format!("frozen ({reason}{but})"));
    }
    says.extend(policy.pin.iter().map(|(name, version)| format!("{name} stays on {version}")));
    if policy.n_minus_1 {
        says.push("one version behind".into());
    }
    if policy.defer_ms > 0 {
        says.push(format!("waits {}", span(policy.defer_ms)));
    }
    if !policy.required_checks.is_empty() {
        says.push(format!("demands the gate's {}", policy.required_checks.join(", ")));
    }
    let counted = [
        (policy.windows.len(), "maintenance windows"),
        (policy.rings.iter().map(Vec::len).sum(), "pilots"),
        (policy.limits.redundancy_groups.len(), "devices in redundancy groups"),
        (policy.limits.manual_only.len(), "devices by hand only"),
    ];
    says.extend(counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    if policy.limits.max_unavailable_per_site > 0 {
        says.push(format!("at most {} away a site", policy.limits.max_unavailable_per_site));
    }
    if says.is_empty() { "everything at any time".into() } else { says.join("; ") }
}

fn show(tenant: &TenantView) -> Result<()> {
    println!("{}: {} devices, policy {}", tenant.tenant, tenant.devices, in_force(tenant));
    println!("  {}", summary(&tenant.policy));
    tenant.keys.iter().for_each(|key| println!("  signs with {key}"));
    println!("{}", serde_json::to_string_pretty(&tenant.policy)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffel_statement::predicate::verify;

    fn from_toml(text: &str) -> Result<CustomerPolicy> {
        parse_policy(&toml::from_str(text).unwrap())
    }

    #[test]
    fn the_example_of_the_help_is_a_policy() {
        let help = "freeze = \"quarter end\"\npin = { till = \"2.1.0\" }\nn_minus_1 = true\ndefer_ms = 86400000\n\
            windows = [{ days = 31, from_minute = 1320, to_minute = 300 }]\nrings = [[\"pc-1\"]]\n\
            limits = { max_unavailable_per_site = 1, manual_only = [\"mri-1\"], redundancy_groups = { db-1 = \"db\" } }";
        let policy = from_toml(help).unwrap();
        assert_eq!(policy.ring("pc-1"), 0);
        assert_eq!(
            summary(&policy),
            "frozen (quarter end); till stays on 2.1.0; one version behind; waits 24 h; 1 maintenance windows; 1 pilots; \
             1 devices in redundancy groups; 1 devices by hand only; at most 1 away a site"
        );
        assert_eq!(summary(&CustomerPolicy::default()), "everything at any time");
    }

    #[test]
    fn a_mistyped_field_is_named_at_any_depth() {
        for (text, field) in [
            ("frezee = \"x\"", "frezee"),
            ("limits = { manual = [\"a\"] }", "limits.manual"),
            ("windows = [{ days = 1, from_minute = 0, to_minute = 9, zone = \"CET\" }]", "windows.zone"),
        ] {
            let error = from_toml(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{field:?}")), "{error}");
        }
        assert!(from_toml("windows = [{ days = 1, from_minute = 2000, to_minute = 1 }]").is_err());
        assert!(from_toml("windows = [{ days = 0, from_minute = 0, to_minute = 1 }]").is_err());
    }

    #[test]
    fn the_signature_is_the_customers_and_the_order_is_kept() {
        let key = SigningKey::from_seed(&[3; 32]);
        let envelope = signed("clinic", 7, CustomerPolicy::default(), 1_000, &key);
        let (headed, _, _) = verify::<Headed<TenantPolicy>>(&envelope, "customer", &[key.public()], 1).unwrap();
        assert_eq!((headed.body.tenant.as_str(), headed.body.sequence), ("clinic", 7));
        assert_eq!((headed.header.issued_ms, headed.header.expires_ms), (1_000, u64::MAX));
    }

    #[test]
    fn both_formats_are_read_by_their_ending() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("p.toml"), dir.path().join("p.json"));
        std::fs::write(&one, "freeze = \"x\"").unwrap();
        std::fs::write(&other, "{\"freeze\": \"x\"}").unwrap();
        assert_eq!(read_policy(&one).unwrap(), read_policy(&other).unwrap());
        std::fs::write(&other, "freeze = 1").unwrap();
        assert!(format!("{:#}", read_policy(&other).unwrap_err()).contains("p.json"));
    }
}
