//! Files of a release, by their SHA-256, into the spool: resumed where they broke off, hashed, and only then named.
//!
//! What must stay out: which files, and when to try again.

use reqwest::{Client, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use staffel_core::ids::Digest;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Attempts in one call while each brings further bytes.
const RESUMES: u32 = 5;

/// Why a file is not in the spool.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("downloading {}: the connection failed", digest.short())]
    Connection {
        digest: Digest,
        #[source]
        source: reqwest::Error,
    },
    #[error("downloading {}: the server answers {status}", digest.short())]
    Status { digest: Digest, status: u16 },
    #[error("downloading {}: it broke off at {have} of {want} bytes", digest.short())]
    Truncated { digest: Digest, have: u64, want: u64 },
    #[error("downloading {}: there are more than the {want} bytes that were signed", digest.short())]
    TooLong { digest: Digest, want: u64 },
    #[error("downloading {}: its hash is {got}, so it is another file; it was deleted", digest.short())]
    WrongHash { digest: Digest, got: Digest },
    #[error("the disk is full: {} needs {missing} more bytes", path.display())]
    DiskFull { path: PathBuf, missing: u64 },
    #[error("{operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where a finished file lies: named by its 64 hex digits.
pub fn place(spool: &Path, digest: &Digest) -> PathBuf {
    spool.join(digest.to_string())
}

fn part(spool: &Path, digest: &Digest) -> PathBuf {
    spool.join(format!("{digest}.part"))
}

/// Brings one file into the spool. `base`: the URL to which `/` and the digest are added; `size`: as signed, bytes.
pub async fn download(
    http: &Client,
    base: &str,
    digest: &Digest,
    size: u64,
    spool: &Path,
) -> Result<PathBuf, BlobError> {
    let place = place(spool, digest);
    if fs::metadata(&place).is_ok_and(|metadata| metadata.len() == size) && hash(&place).await? == *digest {
        return Ok(place);
    }
    let part = part(spool, digest);
    let mut resumes = 0;
    loop {
        let before = length(&part);
        match attempt(http, &format!("{base}/{digest}"), digest, size, &part).await {
            Ok(()) => break,
            Err(BlobError::Truncated { have, .. }) if have > before && resumes < RESUMES => resumes += 1,
            Err(error) => return Err(error),
        }
    }
    let got = hash(&part).await?;
    if got != *digest {
        remove(&part)?;
        return Err(BlobError::WrongHash { digest: *digest, got });
    }
    let file = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| BlobError::File { operation, path, source }
    };
    File::open(&part).and_then(|f| f.sync_all()).map_err(file("syncing", &part))?;
    fs::rename(&part, &place).map_err(file("renaming", &part))?;
    Ok(place)
}

/// Removes from the spool what is not in `keep`, finished or not. Errors leave it lying: that costs nothing but space.
pub fn clean(spool: &Path, keep: &[Digest]) {
    let Ok(entries) = fs::read_dir(spool) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let digest = Digest::parse(name.strip_suffix(".part").unwrap_or(name));
        if digest.is_some_and(|digest| !keep.contains(&digest)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

async fn attempt(http: &Client, url: &str, digest: &Digest, size: u64, part: &Path) -> Result<(), BlobError> {
    let mut have = length(part);
    if have > size {
        remove(part)?;
        have = 0;
    }
    if have == size && size > 0 {
        return Ok(());
    }
    let mut request = http.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let response = request.send().await.map_err(|source| BlobError::Connection { digest: *digest, source })?;
    let append = match response.status() {
        StatusCode::PARTIAL_CONTENT if continues_at(&response, have) => true,
        // The whole file again, or another part than the one asked for: from the start.
        StatusCode::OK => false,
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            remove(part)?;
            return Err(BlobError::Truncated { digest: *digest, have, want: size });
        }
        status => return Err(BlobError::Status { digest: *digest, status: status.as_u16() }),
    };
    write(response, digest, size, part, append).await
}

async fn write(mut response: Response, digest: &Digest, size: u64, part: &Path, append: bool) -> Result<(), BlobError> {
    let opened = OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(part);
    let mut file = opened.map_err(|source| BlobError::File { operation: "opening", path: part.to_owned(), source })?;
    let mut have = if append { length(part) } else { 0 };
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            // What came so far is kept; the rest is asked for.
            Err(_) => return Err(BlobError::Truncated { digest: *digest, have, want: size }),
        };
        if have + chunk.len() as u64 > size {
            drop(file);
            remove(part)?;
            return Err(BlobError::TooLong { digest: *digest, want: size });
        }
        file.write_all(&chunk).map_err(|source| write_error(source, part, size - have))?;
        have += chunk.len() as u64;
    }
    if have < size {
        return Err(BlobError::Truncated { digest: *digest, have, want: size });
    }
    Ok(())
}

/// Tells a full disk from other trouble.
fn write_error(source: io::Error, part: &Path, missing: u64) -> BlobError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            BlobError::DiskFull { path: part.to_owned(), missing }
        }
        _ => BlobError::File { operation: "writing", path: part.to_owned(), source },
    }
}

fn continues_at(response: &Response, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    have > 0 && start == Some(have)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BlobError::File { operation: "removing", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Hashing gigabytes takes seconds, and the next check-in must not wait for it.
async fn hash(path: &Path) -> Result<Digest, BlobError> {
    let owned = path.to_owned();
    let done = tokio::task::spawn_blocking(move || hash_blocking(&owned)).await;
    let lost = |source: tokio::task::JoinError| BlobError::File {
        operation: "hashing",
        path: path.to_owned(),
        source: io::Error::other(source),
    };
    done.map_err(lost)?
}

fn hash_blocking(path: &Path) -> Result<Digest, BlobError> {
    let failed = |source| BlobError::File { operation: "hashing", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Digest(hash.finalize().into())),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let part = Path::new("x.part");
        let full = write_error(io::ErrorKind::StorageFull.into(), part, 7);
        assert!(matches!(full, BlobError::DiskFull { missing: 7, .. }));
        let other = write_error(io::ErrorKind::PermissionDenied.into(), part, 7);
        assert!(matches!(other, BlobError::File { .. }));
    }

    #[test]
    fn cleaning_keeps_what_is_wanted_and_what_is_not_ours() {
        let spool = tempfile::tempdir().unwrap();
        let (kept, gone) = (Digest::of(b"kept"), Digest::of(b"gone"));
        for name in [place(spool.path(), &kept), place(spool.path(), &gone), part(spool.path(), &gone)] {
            fs::write(name, b"x").unwrap();
        }
        fs::write(spool.path().join("notes.txt"), b"x").unwrap();
        clean(spool.path(), &[kept]);
        let left = fs::read_dir(spool.path()).unwrap().count();
        assert_eq!(left, 2);
        assert!(place(spool.path(), &kept).exists());
    }
}
