//! `GET /repo/..`: files of the TUF repository, as a plain web server or a CDN would serve them.
//!
//! Nothing here is trusted by devices; the signatures are in the files. What must stay out: any look into the files, and any
//! file outside `metadata/`, `targets/` and `blobs/`.

mod name;
mod range;
mod stream;

use crate::{edge::Edge, problem::Failure};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, response::Builder},
    response::{IntoResponse, Response},
};
use name::{Lifetime, Name};
use range::Wanted;
use std::{
    fs::{File, Metadata},
    io,
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};
use stream::FileBody;

/// One file.
pub(crate) async fn get(
    State(edge): State<Arc<Edge>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Some(name) = uri.path().strip_prefix("/repo/").and_then(Name::parse) else {
        return Err(Failure::not_found("such file in the repository"));
    };
    let root = edge.config.repository.clone();
    let (name, opened) = tokio::task::spawn_blocking(move || {
        let opened = open(&root, &name);
        (name, opened)
    })
    .await
    .map_err(Failure::internal)?;
    let (file, metadata) = match opened {
        Ok(opened) => opened,
        Err(error) if is_absence(&error) => return Err(Failure::not_found("such file in the repository")),
        Err(error) => return Err(Failure::internal(format!("read the repository's file {name}: {error}"))),
    };
    respond(&method, &headers, &name, file, &metadata)
}

/// What a client can cause with a name, as opposed to what is wrong with the server.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | InvalidFilename | InvalidInput)
}

fn open(root: &Path, name: &Name) -> io::Result<(File, Metadata)> {
    // Links are followed, but not out of the repository.
    let root = root.canonicalize()?;
    let path = root.join(name.path()).canonicalize()?;
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !path.starts_with(&root) || !std::fs::metadata(&path)?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = File::open(&path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn respond(
    method: &Method,
    headers: &HeaderMap,
    name: &Name,
    file: File,
    metadata: &Metadata,
) -> Result<Response, Failure> {
    let size = metadata.len();
    let tag = tag(name, metadata);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let lifetime = match name.lifetime() {
        Lifetime::Forever => "public, max-age=31536000, immutable",
        Lifetime::Ask => "no-cache",
    };
    let builder = Response::builder().header(header::ETAG, &tag).header(header::CACHE_CONTROL, lifetime);
    if known.is_some_and(|known| known == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
    {
        return finish(builder.status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    let builder = builder.header(header::ACCEPT_RANGES, "bytes").header(header::CONTENT_TYPE, name.content_type());
    // A part of another version than the client has the rest of would be worthless: it gets the whole.
    let same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == tag.as_bytes());
    let range = headers.get(header::RANGE).filter(|_| same && method == Method::GET).and_then(|v| v.to_str().ok());
    let (builder, from, length) = match range.map_or(Wanted::All, |text| Wanted::parse(text, size)) {
        Wanted::All => (builder.status(StatusCode::OK), 0, size),
        Wanted::Part { from, length } => {
            let range = format!("bytes {from}-{}/{size}", from + length - 1);
            (builder.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range), from, length)
        }
        Wanted::Nothing => return Ok(beyond(size)),
    };
    let builder = builder.header(header::CONTENT_LENGTH, length);
    let body = if method == Method::HEAD { Body::empty() } else { Body::new(FileBody::new(file, from, length)) };
    finish(builder, body)
}

fn finish(builder: Builder, body: Body) -> Result<Response, Failure> {
    builder.body(body).map_err(Failure::internal)
}

fn beyond(size: u64) -> Response {
    let error = format!("the range begins after the end of the file, which has {size} bytes");
    let mut response =
        Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, error, "the file is complete, or begin again").into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// A blob's name is its digest; other files are told apart by size and time.
fn tag(name: &Name, metadata: &Metadata) -> String {
    if let Some(digest) = name.blob() {
        return format!("\"{digest}\"");
    }
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("\"{:x}-{:x}\"", metadata.len(), modified.unwrap_or_default().as_nanos())
}
