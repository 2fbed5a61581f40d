//! `staffel report`: what went wrong, as a document whose every sentence names entries of the log. Must stay out: what it says.

mod html;
mod paper;

use crate::{
    client::{Client, Connect},
    command::press,
    output::{Failure, json},
};
use anyhow::{Context as _, Result};
use staffel_core::review::Language;
use staffel_server::api::{Dossier, ReviewSheet};
use std::path::{Path, PathBuf};

/// Subcommands of `staffel report`.
#[derive(clap::Subcommand)]
pub enum Command {
    /// The post-incident review: summary, course, causes, who was told, and a dossier for each customer.
    Incident(Incident),
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Html,
    Json,
    /// Needs `staffel-press`.
    Pdf,
}

/// Arguments of `staffel report incident`.
#[derive(clap::Args)]
pub struct Incident {
    /// Number of the incident.
    id: u64,
    /// What to write; `--json` is the same as `--format json`.
    #[arg(long, value_enum, default_value = "html")]
    format: Format,
    /// The document's language.
    #[arg(long, value_parser = ["de", "en"], default_value = "de")]
    language: String,
    /// Into this file instead of standard output; a PDF needs it.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write one document a customer into this folder, that names no other customer; the review itself then only with `--out`.
    #[arg(long, value_name = "DIR")]
    dossiers: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    let Command::Incident(args) = command;
    let language = if args.language == "de" { Language::De } else { Language::En };
    let format = if as_json { Format::Json } else { args.format };
    if format == Format::Pdf {
        if args.out.is_none() && args.dossiers.is_none() {
            let hint = "name a file with `--out`, or a folder with `--dossiers`";
            return Err(Failure { code: 2, what: "a PDF does not fit on a terminal".into(), hint: hint.into() }.into());
        }
        // Before the server reads its whole log for nothing.
        press::program()?;
    }
    let client = Client::from(&args.connect)?;
    if let Some(folder) = &args.dossiers {
        write_dossiers(&client.dossiers(args.id, language)?, folder, format, args.id)?;
    }
    if args.out.is_none() && args.dossiers.is_some() {
        return Ok(());
    }
    let sheet = client.review(args.id, language)?;
    match (&args.out, format) {
        (None, Format::Json) => json(&sheet),
        (None, _) => {
            println!("{}", html::page(&sheet.document));
            Ok(())
        }
        (Some(path), Format::Pdf) => {
            let document = paper::review(&sheet, args.id)?;
            press::print(vec![(document, path.clone())])
        }
        (Some(path), format) => write(path, &text(&sheet, format)?),
    }
}

fn write_dossiers(dossiers: &[Dossier], folder: &Path, format: Format, incident: u64) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let path = |dossier: &Dossier, ending: &str| folder.join(format!("dossier-{}.{ending}", dossier.tenant));
    if format == Format::Pdf {
        let document = |dossier| anyhow::Ok((paper::dossier(dossier, incident)?, path(dossier, "pdf")));
        return press::print(dossiers.iter().map(document).collect::<Result<_>>()?);
    }
    let ending = if format == Format::Json { "json" } else { "html" };
    dossiers.iter().try_for_each(|dossier| write(&path(dossier, ending), &text(&dossier.sheet, format)?))
}

fn text(sheet: &ReviewSheet, format: Format) -> Result<String> {
    match format {
        Format::Json => Ok(serde_json::to_string_pretty(sheet)?),
        Format::Html | Format::Pdf => Ok(html::page(&sheet.document)),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
