//! `staffel press`: hands over to `staffel-press`, which is a program of its own (docs/adr/0009-press.md).

use crate::output::Failure;
use anyhow::{Context as _, Result};
use staffel_paper::{Document, Job, Printed};
use std::{
    collections::BTreeMap,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Arguments of `staffel press`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder for the PDF files.
    #[arg(long)]
    out: PathBuf,
    /// How many at a time [default: as many as there are cores].
    #[arg(long)]
    jobs: Option<usize>,
}

/// The program, beside this one; an error says what to do if it is missing.
pub fn program() -> Result<PathBuf> {
    let press = std::env::current_exe().context("find this program")?.with_file_name("staffel-press");
    if press.is_file() {
        return Ok(press);
    }
    let what = format!("{} is missing: without it nothing can be printed", press.display());
    Err(Failure { code: 1, what, hint: "build it with `./dev build`, or install the package `staffel-press`".into() }
        .into())
}

/// Documents as JSON lines on standard input, results as JSON lines on standard output.
pub fn run(args: &Args) -> Result<()> {
    let mut command = Command::new(program()?);
    command.arg("--out").arg(&args.out);
    if let Some(jobs) = args.jobs {
        command.arg("--jobs").arg(jobs.to_string());
    }
    let status = command.status().context("run staffel-press")?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::refused("not every document was printed", "each line of the output says why").into())
}

/// Prints each document into its file.
pub fn print(documents: Vec<(Document, PathBuf)>) -> Result<()> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let mut child = Command::new(program()?)
        .arg("--out")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("run staffel-press")?;
    let mut files = Vec::new();
    let mut lines = Vec::new();
    for (n, (document, file)) in documents.into_iter().enumerate() {
        // The press's names are narrower than those of files here.
        serde_json::to_writer(&mut lines, &Job { name: format!("page-{n}"), document })?;
        lines.push(b'\n');
        files.push(file);
    }
    let mut input = child.stdin.take().context("staffel-press has no input")?;
    // Apart, so that neither side waits for the other with full pipes.
    let feed = std::thread::spawn(move || input.write_all(&lines));
    let out = child.wait_with_output().context("wait for staffel-press")?;
    // A press that ended early says so by what it left out.
    drop(feed.join());
    let mut printed = BTreeMap::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        match serde_json::from_str(line).context("read what staffel-press says")? {
            Printed::Written { name, file, .. } => drop(printed.insert(name, folder.path().join(file))),
            Printed::Refused { message, .. } => {
                let what = format!("the document was not printed: {message}");
                return Err(Failure::refused(what, "mend what it names").into());
            }
        }
    }
    for (n, file) in files.iter().enumerate() {
        let from = printed.get(&format!("page-{n}")).context("staffel-press left a document out")?;
        std::fs::copy(from, file).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}
