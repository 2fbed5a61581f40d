//! The two statements of a release that travel through TUF, release and gate attestation, and the files they name.
//!
//! A statement that TUF vouched for once is kept beside its digest: after a restart during a trial the probes must be
//! known even if the server is gone. What was halted since is caught by the denylist, which outlives everything.

use crate::{
    api::Repository,
    blobs::{self, BlobError},
    directory::{self, Directory, FileError},
};
use serde::{Deserialize, Serialize};
use staffel_core::ids::Digest;
use staffel_trust::{
    statement::{
        Envelope,
        keyring::Keyring,
        predicate::{Release, StatementError, verify},
    },
    tuf::{
        client::{Client, ClientError},
        writer::GATE_ROLE,
    },
    wire::{gate_target, release_target},
};
use std::path::{Path, PathBuf};

/// Statements of one release as they were signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statements {
    pub release: Envelope,
    /// None if the repository lists no attestation: then the conditions say what is missing.
    pub gate: Option<Envelope>,
}

/// Why a release is not here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("fetching release {release}: update metadata")]
    Metadata {
        release: String,
        #[source]
        source: ClientError,
    },
    #[error("fetching release {release}: {path:?} is listed by role {role:?}, only {expected:?} may")]
    WrongRole { release: String, path: String, role: String, expected: &'static str },
    #[error("fetching release {release}: the statement is not readable")]
    Unreadable {
        release: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("fetching release {release}: the repository has {got}, the rollout means {want}", got = got.short(), want = want.short())]
    OtherRelease { release: String, got: Digest, want: Digest },
    #[error("fetching release {release}: the statement does not hold")]
    Statement {
        release: String,
        #[source]
        source: StatementError,
    },
    #[error("fetching release {release}: given up for another one")]
    Lost { release: String },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// What to fetch.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub name: String,
    pub version: String,
    pub release: Digest,
}

/// With what, and to where.
#[derive(Clone, Debug)]
pub struct Source {
    pub repository: Repository,
    pub http: reqwest::Client,
    /// See [`blobs::download`].
    pub blobs: String,
    pub directory: Directory,
    pub spool: PathBuf,
    pub keyring: Keyring,
    /// Unix milliseconds for the expiry of metadata.
    pub now_ms: u64,
}

/// Fetches statements through TUF and the files into the spool. All of it may be repeated.
pub async fn fetch(source: &Source, wanted: &Wanted) -> Result<Statements, FetchError> {
    let label = format!("{} {}", wanted.name, wanted.version);
    let metadata = |e| FetchError::Metadata { release: label.clone(), source: e };
    let root = source.directory.tuf_root();
    let hint = "enrol this device again";
    let root = directory::read(&root)?.ok_or(FileError::Missing { path: root, hint })?;
    let mut client = Client::open(&source.directory.tuf(), &root, source.repository.clone()).map_err(metadata)?;
    client.refresh(source.now_ms).await.map_err(metadata)?;

    let path = release_target(&wanted.name, &wanted.version);
    let release = target(&mut client, &label, &path, None).await?;
    let release = release.ok_or_else(|| metadata(ClientError::UnknownTarget { path }))?;
    let gate = target(&mut client, &label, &gate_target(&wanted.release), Some(GATE_ROLE)).await?;
    let statements = Statements { release, gate };
    let contents = contents(&statements, &source.keyring, wanted, &label)?;
    for file in &contents.files {
        blobs::download(&source.http, &source.blobs, &file.sha256, file.size, &source.spool).await?;
    }
    directory::write_json(&source.directory.release(&wanted.release), &statements)?;
    Ok(statements)
}

/// The statement at a path; none if no trusted role lists it.
async fn target(
    client: &mut Client,
    label: &str,
    path: &str,
    role: Option<&'static str>,
) -> Result<Option<Envelope>, FetchError> {
    let metadata = |source| FetchError::Metadata { release: label.into(), source };
    let Some(info) = client.target_info(path).await.map_err(metadata)? else { return Ok(None) };
    if let Some(expected) = role
        && info.role != expected
    {
        return Err(FetchError::WrongRole { release: label.into(), path: path.into(), role: info.role, expected });
    }
    let bytes = client.download_target(&info).await.map_err(metadata)?;
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|source| FetchError::Unreadable { release: label.into(), source })
}

/// The release statement, if it is the one that the rollout means.
fn contents(statements: &Statements, keyring: &Keyring, wanted: &Wanted, label: &str) -> Result<Release, FetchError> {
    let failed = |source| FetchError::Statement { release: label.into(), source };
    let keys = &keyring.release;
    let (release, got, _) =
        verify::<Release>(&statements.release, "release", &keys.keys, keys.threshold).map_err(failed)?;
    if got != wanted.release {
        return Err(FetchError::OtherRelease { release: label.into(), got, want: wanted.release });
    }
    let problems = release.problems();
    if !problems.is_empty() {
        return Err(failed(StatementError::Malformed(problems.join("; "))));
    }
    Ok(release)
}

/// Statements that were fetched before; none if they were not or are damaged (then they are fetched again).
pub fn kept(directory: &Directory, release: &Digest) -> Option<Statements> {
    directory::read_json(&directory.release(release)).ok().flatten()
}

/// True if every file of a release lies in the spool with its length. The guard hashes them.
pub fn is_in_spool(release: &Release, spool: &Path) -> bool {
    release
        .files
        .iter()
        .all(|file| std::fs::metadata(blobs::place(spool, &file.sha256)).is_ok_and(|m| m.len() == file.size))
}
