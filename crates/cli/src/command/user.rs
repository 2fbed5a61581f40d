//! `staffel user`: accounts of the console, on the server's own machine. A password comes from the terminal or from standard
//! input, never as an argument: those stand in the process table and in the shell's history.

use crate::{
    layout::Layout,
    output::{Failure, json, table},
};
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::json;
use staffel_console::accounts::{self, AccountsError, SHORTEST};
use staffel_server::{api::Role, roster::RosterError};
use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

/// Subcommands of `staffel user`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make an account.
    Add {
        /// Its name.
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
    /// Set a new password; open sessions of the account end.
    Passwd {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// List the accounts.
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Remove an account; its sessions end.
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose accounts.
#[derive(clap::Args)]
pub struct Place {
    /// Installation folder.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    /// Where the accounts are.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(Layout::find(self.dir.as_deref())?.server_dir())
    }
}

/// [`Role`] as the command line has it.
#[derive(Clone, Copy, ValueEnum)]
pub enum RoleName {
    /// Looks.
    Viewer,
    /// Sets the policy of one customer, makes enrolment tokens.
    TenantAdmin,
    /// Holds, resumes, halts.
    Operator,
    /// Starts rollouts.
    Releaser,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Viewer => Role::Viewer,
            RoleName::TenantAdmin => Role::TenantAdmin,
            RoleName::Operator => Role::Operator,
            RoleName::Releaser => Role::Releaser,
        }
    }
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Add { name, role, tenant, place } => {
            let folder = place.folder()?;
            let password = password()?;
            accounts::add(&folder, name, (*role).into(), tenant.as_deref(), &password).map_err(explained)?;
            said(as_json, name, "can log in")
        }
        Command::Passwd { name, place } => {
            let folder = place.folder()?;
            accounts::set_password(&folder, name, &password()?).map_err(explained)?;
            said(as_json, name, "has a new password; its sessions are over")
        }
        Command::Rm { name, place } => {
            accounts::remove(&place.folder()?, name).map_err(explained)?;
            said(as_json, name, "is gone; its sessions are over")
        }
        Command::Ls { place } => {
            let all = accounts::list(&place.folder()?).map_err(explained)?;
            list(all.iter().map(|one| (one.name.as_str(), one.role, one.tenant.as_deref())), as_json)
        }
    }
}

/// Prints names with their roles and customers; `None`: all customers.
pub fn list<'a>(people: impl Iterator<Item = (&'a str, Role, Option<&'a str>)>, as_json: bool) -> Result<()> {
    if as_json {
        let shown = people.map(|(name, role, tenant)| json!({ "name": name, "role": role, "tenant": tenant }));
        return json(&shown.collect::<Vec<_>>());
    }
    let rows: Vec<_> = people
        .map(|(name, role, tenant)| vec![name.into(), role_word(role), tenant.unwrap_or("all customers").into()])
        .collect();
    print!("{}", table(&["NAME", "ROLE", "CUSTOMER"], &rows));
    Ok(())
}

/// A role as it is typed.
fn role_word(role: Role) -> String {
    serde_json::to_value(role).ok().and_then(|word| word.as_str().map(String::from)).unwrap_or_default()
}

fn said(as_json: bool, name: &str, what: &str) -> Result<()> {
    if as_json {
        return json(&json!({ "name": name, "done": what }));
    }
    println!("{name} {what}.");
    Ok(())
}

fn explained(error: AccountsError) -> anyhow::Error {
    match error {
        AccountsError::Roster(RosterError::Missing { .. }) => {
            Failure::not_found(error.to_string(), "see `staffel user ls`").into()
        }
        AccountsError::Roster(RosterError::Name { .. } | RosterError::Exists { .. }) | AccountsError::Password => {
            Failure::refused(error.to_string(), "nothing was changed").into()
        }
        other => other.into(),
    }
}

/// Asked for twice at a terminal; the first line of standard input where there is none.
fn password() -> Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return line();
    }
    let first = hidden(&format!("Password (at least {SHORTEST} characters): "))?;
    if first != hidden("The same again: ")? {
        return Err(Failure::refused("the two passwords differ", "nothing was changed").into());
    }
    Ok(first)
}

fn line() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text).context("read the password")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_string())
}

/// Reads a line without showing it.
fn hidden(prompt: &str) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let input = std::io::stdin();
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let before = tcgetattr(&input).context("look at the terminal")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &silent).context("silence the terminal")?;
    let read = line();
    // The terminal is restored whatever came.
    tcsetattr(&input, OptionalActions::Flush, &before).context("restore the terminal")?;
    eprintln!();
    read
}
