//! `staffel site`: customers' sites and how to reach their people. Must stay out: changing them (`staffel import`).

use crate::{
    client::{Client, Connect},
    output::{Failure, json, table},
};
use anyhow::Result;
use staffel_server::api::SiteView;
use std::fmt::Write as _;

/// Subcommands of `staffel site`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List sites.
    Ls {
        /// Only this customer's.
        #[arg(long)]
        tenant: Option<String>,
        /// Only those that nobody can reach: no contacts, or never made sure of.
        #[arg(long)]
        unverified: bool,
        #[command(flatten)]
        connect: Connect,
    },
    /// Show a site.
    Show {
        /// As customer/site.
        site: String,
        #[command(flatten)]
        connect: Connect,
    },
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Ls { tenant, unverified, connect } => {
            let mut sites = Client::from(connect)?.sites()?;
            sites.retain(|site| tenant.as_ref().is_none_or(|wanted| site.tenant == *wanted));
            sites.retain(|site| !unverified || site.channels.is_empty() || site.verified.is_none());
            if as_json {
                return json(&sites);
            }
            let row = |site: &SiteView| {
                let first = site.channels.first().map_or("nobody knows how", |channel| &channel.address);
                vec![
                    format!("{}/{}", site.tenant, site.site),
                    site.devices.to_string(),
                    site.expected.len().to_string(),
                    site.open_cases.to_string(),
                    first.into(),
                    site.verified.clone().unwrap_or_else(|| "never".into()),
                ]
            };
            let head = ["SITE", "DEVICES", "EXPECTED", "OPEN CASES", "REACH", "VERIFIED"];
            print!("{}", table(&head, &sites.iter().map(row).collect::<Vec<_>>()));
            Ok(())
        }
        Command::Show { site, connect } => {
            let hint = "write it as customer/site; `staffel site ls` lists them";
            let parts = site.split_once('/').ok_or_else(|| Failure::not_found(format!("{site:?} is no site"), hint))?;
            let view = Client::from(connect)?.site(parts.0, parts.1)?;
            if as_json {
                return json(&view);
            }
            print!("{}", card(&view)?);
            Ok(())
        }
    }
}

fn card(site: &SiteView) -> Result<String> {
    let mut text = format!("{}/{}", site.tenant, site.site);
    if let Some(name) = &site.full_name {
        text.push_str(&format!(" ({name})"));
    }
    text.push('\n');
    let word = |value: serde_json::Value| value.as_str().map(str::to_string);
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".into());
    writeln!(text, "  address   {}", known(site.address.clone()))?;
    writeln!(text, "  language  {}", known(site.language.clone()))?;
    writeln!(text, "  machines  {}", known(word(serde_json::to_value(site.platform)?)))?;
    writeln!(text, "  segment   {}", known(word(serde_json::to_value(site.segment)?)))?;
    writeln!(text, "  devices   {} enrolled, {} open cases", site.devices, site.open_cases)?;
    if !site.expected.is_empty() {
        writeln!(text, "  expected  {}", site.expected.join(", "))?;
    }
    for channel in &site.channels {
        let kind = format!("{:?}", channel.channel).to_lowercase();
        writeln!(text, "  {kind:<9} {} {}", channel.address, channel.name)?;
    }
    writeln!(text, "  verified  {}", site.verified.as_deref().unwrap_or("never"))?;
    Ok(text)
}
