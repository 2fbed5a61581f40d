//! `staffel pack`: detection packs from Sigma rules. Compiling is `staffel-sigma`'s; nothing here decides.

use crate::output::{Failure, json};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::json;
use staffel_pack::Catalogue;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

/// Subcommands of `staffel pack`.
#[derive(Subcommand)]
pub enum Command {
    /// Compile the rules of a folder (`pack.toml`, `*.yml`, and `NAME.vectors.jsonl` beside each) and try out their examples.
    Build {
        /// The folder.
        folder: PathBuf,
        /// Where the pack goes [default: NAME-VERSION.pack.json here].
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Say which rules of a SigmaHQ checkout this sensor can use, and why not the others.
    Import {
        /// The checkout.
        checkout: PathBuf,
        /// Also write what can be used as a pack. It has no examples, so no device takes it: for measuring only.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Name every file that can't be used.
        #[arg(long)]
        all: bool,
    },
    /// Print the classes and fields that rules may name.
    Fields,
}

/// Runs the command.
pub fn run(command: &Command, as_json: bool) -> Result<()> {
    match command {
        Command::Build { folder, out } => build(folder, out.as_deref(), as_json),
        Command::Import { checkout, out, all } => import(checkout, out.as_deref(), *all, as_json),
        Command::Fields => fields(as_json),
    }
}

fn build(folder: &Path, out: Option<&Path>, as_json: bool) -> Result<()> {
    let pack = staffel_sigma::build(folder).map_err(|complaints| {
        let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        let what = format!("{} can't be built:\n{}", folder.display(), lines.join("\n"));
        Failure::refused(what, "mend what is named; nothing was written")
    })?;
    let file = out.map_or_else(|| format!("{}-{}.pack.json", pack.name, pack.version).into(), PathBuf::from);
    let bytes = pack.write();
    std::fs::write(&file, &bytes).with_context(|| format!("write {}", file.display()))?;
    if as_json {
        return json(&json!({
            "file": file, "name": pack.name, "version": pack.version, "rules": pack.rules.len(),
            "examples": pack.vectors.len(), "bytes": bytes.len(), "needs": pack.needs,
        }));
    }
    println!(
        "{}: {} {}, {} rules, {} examples passed, {} bytes.",
        file.display(),
        pack.name,
        pack.version,
        pack.rules.len(),
        pack.vectors.len(),
        bytes.len()
    );
    Ok(())
}

fn import(checkout: &Path, out: Option<&Path>, all: bool, as_json: bool) -> Result<()> {
    let catalogue = Catalogue::linux();
    let report = staffel_sigma::import(checkout, &catalogue)
        .map_err(|complaint| Failure::not_found(complaint.to_string(), "name a folder with Sigma rules"))?;
    if let Some(out) = out {
        let pack = staffel_sigma::pack_of("import", 1, report.rules.clone(), &catalogue);
        std::fs::write(out, pack.write()).with_context(|| format!("write {}", out.display()))?;
    }
    if as_json {
        return json(&report);
    }
    println!("{} of {} files can be used.", report.usable, report.files);
    let shown = if all { report.reasons.len() } else { 20 };
    for (reason, count) in report.reasons.iter().take(shown) {
        println!("{count:>6}  {reason}");
    }
    if report.reasons.len() > shown {
        println!("        and {} reasons more (--all)", report.reasons.len() - shown);
    }
    if all {
        report.refused.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

fn fields(as_json: bool) -> Result<()> {
    let catalogue = Catalogue::linux();
    if as_json {
        return json(&catalogue);
    }
    let mut out = std::io::stdout().lock();
    for class in &catalogue.classes {
        writeln!(out, "{}  {}", class.name, class.hash())?;
        for field in &class.fields {
            writeln!(out, "  {}  {:?}", field.name, field.kind)?;
        }
    }
    Ok(())
}
