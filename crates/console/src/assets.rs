//! Scripts and styles, embedded at build under names that change with their content. What must stay out: pages.

use crate::web::{Console, Stop};
use axum::{
    Router,
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use std::sync::Arc;

struct Asset {
    /// As pages call it.
    name: &'static str,
    /// As browsers get it: with a hash of the content.
    file: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// True if the scripts of others were there at the build; without them pages can be read and used, but stand still.
pub fn has_scripts() -> bool {
    href("htmx.js").is_some()
}

/// The path of an asset.
pub(crate) fn href(name: &str) -> Option<String> {
    ASSETS.iter().find(|asset| asset.name == name).map(|asset| format!("/assets/{}", asset.file))
}

pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new().route("/assets/{file}", get(serve)).route("/favicon.ico", get(|| async { Stop::NotFound }))
}

async fn serve(Path(file): Path<String>) -> Result<Response, Stop> {
    let asset = ASSETS.iter().find(|asset| asset.file == file).ok_or(Stop::NotFound)?;
    let headers = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.bytes).into_response())
}
