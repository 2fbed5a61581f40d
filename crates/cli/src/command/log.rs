//! `staffel log`: read the log, verify it without believing anybody, and witness it. Must stay out: what an entry means, and
//! the tree's arithmetic (`staffel_store`).

mod verify;
mod witness;

use crate::{
    client::{Client, Connect, time::moment},
    output::{json, table},
};
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Subcommands of `staffel log`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Recompute a log file from its entries up and compare it with what was signed; exit code 3 if anything is wrong.
    Verify(verify::Args),
    /// List entries.
    Ls(List),
    /// Co-sign the log's checkpoints as long as it only ever grows. Run it where the server's administrators have no access.
    Witness(witness::Args),
    /// Make a witness's key.
    WitnessKey(witness::KeyArgs),
}

/// Which entries to list.
#[derive(clap::Args)]
pub struct List {
    /// First position.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    max: u64,
    #[command(flatten)]
    connect: Connect,
}

/// An entry as the operator API sends it.
#[derive(Serialize, Deserialize)]
struct Entry {
    position: u64,
    at_ms: u64,
    kind: String,
    /// None if it was erased.
    payload: Option<serde_json::Value>,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Verify(args) => verify::run(args, as_json),
        Command::Ls(list) => ls(list, as_json),
        Command::Witness(args) => witness::run(args, as_json),
        Command::WitnessKey(args) => witness::make_key(args, as_json),
    }
}

fn ls(list: &List, as_json: bool) -> Result<()> {
    const PAGE: u64 = 1_000;
    let client = Client::from(&list.connect)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut from = list.from;
    while (entries.len() as u64) < list.max {
        let most = (list.max - entries.len() as u64).min(PAGE);
        let page: Vec<Entry> = client.get(&format!("/log/entries?from={from}&max={most}"))?;
        let Some(last) = page.last() else { break };
        from = last.position + 1;
        entries.extend(page);
    }
    if as_json {
        return json(&entries);
    }
    let row = |entry: &Entry| {
        vec![entry.position.to_string(), moment(entry.at_ms), entry.kind.clone(), in_a_line(entry.payload.as_ref())]
    };
    print!("{}", table(&["ENTRY", "AT", "KIND", "SAYS"], &entries.iter().map(row).collect::<Vec<_>>()));
    Ok(())
}

/// Signed statements are long; `--json` has all of it.
fn in_a_line(payload: Option<&serde_json::Value>) -> String {
    const WIDTH: usize = 100;
    let Some(payload) = payload else { return "(erased)".into() };
    let text = payload.to_string();
    if text.chars().count() <= WIDTH { text } else { text.chars().take(WIDTH - 3).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_payload_is_cut_between_characters() {
        let payload = serde_json::Value::String("ü".repeat(200));
        let line = in_a_line(Some(&payload));
        assert!(line.chars().count() == 100 && line.ends_with("ü..."), "{line}");
        assert_eq!(in_a_line(None), "(erased)");
    }
}
