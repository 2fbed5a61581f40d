//! `staffel release`: a folder becomes a signed release in the repository.
//!
//! `release.toml` says what it is, `files/` is what reaches the device. Building it twice gives the same digest.

use crate::{
    command::repo,
    layout::{Layout, RELEASE, write},
    output::{Failure, json},
};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::json;
use staffel_core::{
    ids::Digest,
    release::{Kind, StateCompatibility},
};
use staffel_statement::{
    Envelope,
    predicate::{File, Probe, Release, Service, payload, sign},
};
use staffel_trust::{tuf::writer::Source, wire::release_target};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

/// Arguments of `staffel release`.
#[derive(clap::Args)]
#[command(after_help = "release.toml:
  name = \"pharmacy-server\"    version = \"2.1.0\"    sequence = 12
  kind = \"component\"          state = \"none\"
  [service]                   exec = [\"./bin/server\", \"--config\", \"{dir}/server.conf\"]
  [[probes]]                  probe = \"http\"   port = 8080   path = \"/health\"
The files of the release are those below DIR/files.")]
pub struct Args {
    /// Folder with `release.toml` and `files/`.
    pub source: PathBuf,
    /// Installation folder.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Key that signs.
    #[arg(long, default_value = RELEASE[0])]
    pub key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    version: String,
    sequence: u64,
    #[serde(default = "component")]
    kind: Kind,
    #[serde(default = "no_state")]
    state: StateCompatibility,
    #[serde(default)]
    security_floor: u64,
    #[serde(default)]
    supplier: String,
    #[serde(default)]
    service: Option<Service>,
    #[serde(default)]
    probes: Vec<Probe>,
}

fn component() -> Kind {
    Kind::Component
}

fn no_state() -> StateCompatibility {
    StateCompatibility::None
}

/// A release that was read from a folder: the statement, and where its files are.
#[derive(Clone)]
pub struct Built {
    pub release: Release,
    pub digest: Digest,
    pub sources: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, as_json: bool) -> Result<()> {
    let layout = Layout::find(args.dir.as_deref())?;
    let built = publish(&layout, &args.source, &args.key)?;
    let (release, digest) = (&built.release, built.digest);
    let bytes: u64 = release.files.iter().map(|file| file.size).sum();
    if as_json {
        return json(&json!({
            "name": release.name, "version": release.version, "release": digest,
            "files": release.files.len(), "bytes": bytes,
        }));
    }
    println!(
        "Release {} {} is in the repository: {} files, {bytes} bytes, digest {}.",
        release.name,
        release.version,
        release.files.len(),
        digest.short()
    );
    println!("Next: staffel gate {}", args.source.display());
    Ok(())
}

/// Reads a folder, signs the release, stores its files and publishes it.
pub fn publish(layout: &Layout, source: &Path, key: &str) -> Result<Built> {
    let built = build(source)?;
    let kept = read_envelope(&statement_file(layout, &built.release.name, &built.release.version));
    if let Ok(kept) = kept
        && kept.digest().ok() != Some(built.digest)
    {
        return Err(Failure::refused(
            format!("{} {} was released before, with other contents", built.release.name, built.release.version),
            "a version means one thing for good: choose the next version and sequence",
        )
        .into());
    }
    let key = layout.signing_key(key)?;
    for (file, from) in built.release.files.iter().zip(&built.sources) {
        store_blob(layout, &file.sha256, from)?;
    }
    let envelope = sign(&built.release, &[&key]);
    let bytes = serde_json::to_vec(&envelope)?;
    write(&statement_file(layout, &built.release.name, &built.release.version), &bytes)?;
    let mut repository = repo::open(layout)?;
    let path = release_target(&built.release.name, &built.release.version);
    repository.add_target(&path, Source::Bytes(&bytes), None).with_context(|| format!("add {path}"))?;
    repository.publish(repo::now_ms()).context("publish the repository")?;
    Ok(built)
}

/// Where the signed statement of a release is kept.
pub fn statement_file(layout: &Layout, name: &str, version: &str) -> PathBuf {
    layout.releases_dir().join(format!("{name}-{version}.dsse.json"))
}

/// Where its gate attestation is kept.
pub fn gate_file(layout: &Layout, name: &str, version: &str) -> PathBuf {
    layout.releases_dir().join(format!("{name}-{version}.gate.dsse.json"))
}

/// Reads an envelope from a file.
pub fn read_envelope(path: &Path) -> Result<Envelope> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no signed statement", path.display()))
}

/// Reads a folder.
pub fn build(source: &Path) -> Result<Built> {
    let description = source.join("release.toml");
    let text = std::fs::read_to_string(&description).map_err(|e| {
        Failure::not_found(
            format!("read {}: {e}", description.display()),
            "a release is a folder with `release.toml` and `files/`; see `staffel release --help`",
        )
    })?;
    let description: Description =
        toml::from_str(&text).with_context(|| format!("{} is not right", description.display()))?;
    let root = source.join("files");
    let mut files = Vec::new();
    let mut sources = Vec::new();
    if root.is_dir() {
        collect(&root, &root, &mut files, &mut sources)?;
    }
    let release = Release {
        name: description.name,
        version: description.version,
        sequence: description.sequence,
        kind: description.kind,
        security_floor: description.security_floor,
        state: description.state,
        files,
        service: description.service,
        probes: description.probes,
        supplier: description.supplier,
    };
    let problems = release.problems();
    if !problems.is_empty() {
        return Err(Failure::refused(problems.join("\n"), "mend release.toml or the files and try again").into());
    }
    let digest = Digest::of(&payload(&release));
    Ok(Built { release, digest, sources })
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<File>, sources: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .with_context(|| format!("read {}", dir.display()))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("read {}", dir.display()))?;
    // The order of a folder is the file system's; that of a release is by name, or its digest would depend on the disk.
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            collect(root, &path, files, sources)?;
        } else if kind.is_file() {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let Some(name) = relative.to_str() else { bail!("{} is not a readable name", path.display()) };
            let (sha256, size) = hash(&path)?;
            use std::os::unix::fs::PermissionsExt as _;
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            files.push(File { path: name.to_string(), sha256, size, executable });
            sources.push(path);
        } else {
            bail!("{} is neither a file nor a folder: a release holds no links", path.display());
        }
    }
    Ok(())
}

fn hash(path: &Path) -> Result<(Digest, u64)> {
    use sha2::Digest as _;
    let mut file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let (mut hash, mut size, mut buffer) = (sha2::Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        if read == 0 {
            return Ok((Digest(hash.finalize().into()), size));
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Where the repository keeps a file.
pub fn blob(layout: &Layout, sha256: &Digest) -> PathBuf {
    let name = sha256.to_string();
    layout.repo_dir().join("blobs").join(&name[..2]).join(&name)
}

/// Copies a file into the repository under its hash.
fn store_blob(layout: &Layout, sha256: &Digest, from: &Path) -> Result<()> {
    let path = blob(layout, sha256);
    if path.exists() {
        return Ok(());
    }
    let bytes = std::fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if Digest::of(&bytes) != *sha256 {
        bail!("{} has changed while it was being released: try again", from.display());
    }
    write(&path, &bytes)
}
