//! `staffel software`: what devices have that Staffel did not bring, and which of it is suspected. Must stay out: who is a
//! suspect (`core` decides), remedies.

use crate::{
    client::{
        Client, Connect,
        time::{moment, now_ms, span},
    },
    output::{json, table},
};
use anyhow::Result;
use staffel_server::api::{SoftwareView, SuspectView};

/// Subcommands of `staffel software`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// What a device has: kernel modules, self-updaters, services, packages.
    Ls {
        /// Its id, `customer/site/name`, or its name if only one has it.
        device: String,
        /// Only what came in the last day.
        #[arg(long)]
        recent: bool,
        #[command(flatten)]
        connect: Connect,
    },
    /// What looks like the cause of trouble: of the devices that got it more are in trouble than chance explains (silent, in safe mode, or starting again and again).
    Suspects {
        #[command(flatten)]
        connect: Connect,
    },
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Ls { device, recent, connect } => {
            let mut found = Client::from(connect)?.device_software(device)?;
            found.software.retain(|software| !recent || software.arrived_ms.is_some());
            if as_json {
                return json(&found);
            }
            print!("{}", listing(&found.software, now_ms()));
            Ok(())
        }
        Command::Suspects { connect } => {
            let suspects = Client::from(connect)?.suspects()?;
            if as_json {
                return json(&suspects);
            }
            if suspects.is_empty() {
                println!("none: no software that came in the last day stands out among the devices in trouble");
            }
            for suspect in &suspects {
                print!("{}", card(suspect));
            }
            Ok(())
        }
    }
}

fn listing(software: &[SoftwareView], now: u64) -> String {
    let row = |SoftwareView { component, arrived_ms }: &SoftwareView| {
        let came = arrived_ms.map_or_else(|| "-".into(), |at| format!("{} ago", span(now.saturating_sub(at))));
        let kind = serde_json::to_value(component.kind).ok().and_then(|kind| kind.as_str().map(String::from));
        let supplier = if component.supplier.is_empty() { "unknown" } else { &component.supplier };
        vec![kind.unwrap_or_default(), component.name.clone(), component.version.clone(), supplier.into(), came]
    };
    table(&["KIND", "NAME", "VERSION", "SUPPLIER", "CAME"], &software.iter().map(row).collect::<Vec<_>>())
}

fn card(suspect: &SuspectView) -> String {
    let mut text = format!(
        "{} {}\n  noticed   {}, log entry {}\n  because   {}\n",
        suspect.component.name,
        suspect.component.version,
        moment(suspect.at_ms),
        suspect.position,
        suspect.text
    );
    for file in &suspect.new_files {
        text.push_str(&format!("  came with {} (SHA-256 {})\n", file.path, file.sha256));
    }
    text
}
