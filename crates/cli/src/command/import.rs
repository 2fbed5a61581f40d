//! `staffel import`: customers, sites, contacts and expected devices from CSV (RFC 4180), all of a file or nothing.
//!
//! Every bad row is named with its line, its column and what is meant; the server checks what only it can know (is there such
//! a customer?), and its answer is turned into lines as well. What must stay out: recording anything from a file with a bad
//! row, unless somebody asked to skip it.

mod rows;

use crate::{
    client::{Client, Connect, time::moment},
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use rows::{BadRow, Table};
use staffel_server::api::{DeviceToken, Imported};
use std::path::PathBuf;

/// Subcommands of `staffel import`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Customers: customer,name,language[,segment].
    #[command(after_help = "Columns, by name in the first line:
  customer   short name, as in `staffel tenant`
  name       as it stands on letters
  language   de or en
  segment    standard (if left out), pilot or critical")]
    Customers(Args),
    /// Sites: customer,site[,address][,language][,platform][,segment].
    #[command(after_help = "Columns, by name in the first line:
  customer   must be known
  site       short name
  address    lines of the postal address, separated by commas
  language   de or en; the customer's if left out
  platform   physical (if left out), virtual, encrypted-disk or mixed
  segment    standard (if left out), pilot or critical")]
    Sites(Args),
    /// Contacts: customer,site,channel,address[,name][,verified]; a row for each way, in the order in which they are tried.
    #[command(after_help = "Columns, by name in the first line:
  customer, site   must be known
  channel    email, sms, fax, letter or phone
  address    number, e-mail address, or lines of a letter's address
  name       a person or role there
  verified   when somebody last made sure that it works, YYYY-MM-DD; the latest of a site's rows counts
All rows of a site together replace what was known of it; what is replaced is erased from the log.")]
    Contacts(Args),
    /// Devices that are to enrol: customer,site,device; prints a one-time token for each.
    #[command(after_help = "Columns, by name in the first line: customer, site, device.
The tokens go to standard output as CSV (customer,site,device,token), once; only their hashes are kept.")]
    Devices(Args),
}

/// Arguments of each.
#[derive(clap::Args)]
pub struct Args {
    /// The file, in UTF-8, with a line of column names.
    file: PathBuf,
    /// Check everything, record nothing.
    #[arg(long)]
    dry_run: bool,
    /// Take the good rows although there are bad ones.
    #[arg(long)]
    skip_bad: bool,
    /// What separates the fields.
    #[arg(long, default_value = ",", value_parser = [",", ";", "\t"])]
    separator: String,
    #[command(flatten)]
    connect: Connect,
}

/// From a file's bytes and separator to what it says.
type Reader = fn(&[u8], u8) -> Result<Table>;

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    let (args, table): (_, Reader) = match command {
        Command::Customers(args) => (args, rows::customers),
        Command::Sites(args) => (args, rows::sites),
        Command::Contacts(args) => (args, rows::contacts),
        Command::Devices(args) => (args, rows::devices),
    };
    let bytes = std::fs::read(&args.file).with_context(|| format!("read {}", args.file.display()))?;
    let separator = args.separator.bytes().next().unwrap_or(b',');
    let mut table = table(&bytes, separator)?;
    let client = Client::from(&args.connect)?;
    // The server names rows that it alone can judge; without them it may find others (a site whose customer was bad).
    table.import.dry_run = true;
    let imported = loop {
        let checked = client.import(&table.import)?;
        if checked.wrong.is_empty() {
            break checked;
        }
        table.take_out(&checked.wrong);
    };
    let bad = table.bad.len();
    let refused = bad > 0 && !args.skip_bad;
    let imported = if args.dry_run || refused {
        imported
    } else {
        table.import.dry_run = false;
        client.import(&table.import)?
    };
    report(args, as_json, &table, &imported, refused)?;
    if refused {
        let what = format!("{bad} bad rows in {}: nothing was imported", args.file.display());
        return Err(Failure::refused(what, "mend them, or leave them out with --skip-bad").into());
    }
    Ok(())
}

fn report(args: &Args, as_json: bool, table: &Table, imported: &Imported, refused: bool) -> Result<()> {
    let done = !args.dry_run && !refused;
    if as_json {
        return json(&serde_json::json!({
            "dry_run": args.dry_run,
            "imported": done,
            "new": imported.new,
            "changed": imported.changed,
            "unchanged": imported.unchanged,
            "tokens": imported.tokens,
            "bad": table.bad,
        }));
    }
    for BadRow { line, column, what } in &table.bad {
        eprintln!("line {line}, column {column}: {what}");
    }
    let words = format!("{} new, {} changed, {} unchanged", imported.new, imported.changed, imported.unchanged);
    if !done {
        eprintln!("would import: {words}");
        return Ok(());
    }
    if imported.tokens.is_empty() {
        println!("imported: {words}");
        return Ok(());
    }
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
    out.write_record(["customer", "site", "device", "token"])?;
    for DeviceToken { tenant, site, name, token, .. } in &imported.tokens {
        out.write_record([tenant, site, name, token])?;
    }
    out.flush()?;
    let until = imported.tokens.first().map_or(0, |token| token.expires_ms);
    eprintln!("imported: {words}; the tokens are good until {}", moment(until));
    Ok(())
}
