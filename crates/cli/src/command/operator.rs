//! `staffel operator`: who may use the operator API, on the server's own machine. A token is shown once; the server keeps its
//! hash. Must stay out: accounts of the console (`user`).

use crate::{
    command::user::{self, Place, RoleName},
    output::{Failure, json},
};
use anyhow::Result;
use serde_json::json;
use staffel_server::{operators, roster::RosterError};

/// Subcommands of `staffel operator`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a token, which is printed this once.
    Add {
        /// Whose it is.
        name: String,
        /// What it may do; each role may do what the ones before it may.
        #[arg(long, value_enum)]
        role: RoleName,
        /// Bind it to one customer: it sees and does only what is this customer's.
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// List the operators.
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Remove an operator; the token is worthless at once.
    Rm {
        /// Whose.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Add { name, role, tenant, place } => {
            let added = operators::add(&place.folder()?, name, (*role).into(), tenant.as_deref());
            let token = added.map_err(explained)?;
            if as_json {
                return json(&json!({ "name": name, "token": token }));
            }
            eprintln!("{name}'s token, shown this once; `--token-file` or STAFFEL_TOKEN take it:");
            println!("{token}");
            Ok(())
        }
        Command::Rm { name, place } => {
            operators::remove(&place.folder()?, name).map_err(explained)?;
            if as_json {
                return json(&json!({ "name": name, "done": "removed" }));
            }
            println!("{name} is gone; the token is worthless");
            Ok(())
        }
        Command::Ls { place } => {
            let all = operators::list(&place.folder()?).map_err(explained)?;
            user::list(all.iter().map(|one| (one.name.as_str(), one.role, one.tenant.as_deref())), as_json)
        }
    }
}

fn explained(error: RosterError) -> anyhow::Error {
    match error {
        RosterError::Missing { .. } => Failure::not_found(error.to_string(), "see `staffel operator ls`").into(),
        RosterError::Name { .. } | RosterError::Exists { .. } => {
            Failure::refused(error.to_string(), "nothing was changed").into()
        }
        other => other.into(),
    }
}
