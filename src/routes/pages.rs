//! The web pages and their files, embedded in the binary (a debug build reads them from disk).

use actix_web::{HttpResponse, http::header, web::Path};
use rust_embed::RustEmbed;

use crate::error::{Code, Error, Result};

#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// Content security policy: scripts and styles only from this server, and no HTML from strings (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// The visitors' chat page.
pub(super) async fn page() -> Result<HttpResponse> {
    respond("index.html")
}

/// The users' page.
pub(super) async fn own() -> Result<HttpResponse> {
    respond("me.html")
}

/// The experts' console.
pub(super) async fn console() -> Result<HttpResponse> {
    respond("console.html")
}

/// The API documentation page.
pub(super) async fn docs() -> Result<HttpResponse> {
    respond("docs.html")
}

/// The script that puts the chat on a website.
pub(super) async fn widget() -> Result<HttpResponse> {
    respond("widget.js")
}

/// A file that a page loads, such as a script or a style.
pub(super) async fn file(path: Path<String>) -> Result<HttpResponse> {
    respond(&path)
}

fn respond(name: &str) -> Result<HttpResponse> {
    let file = Files::get(name).ok_or_else(|| Error::new(Code::NotFound))?;
    Ok(HttpResponse::Ok()
        .content_type(file.metadata.mimetype())
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(file.data.into_owned()))
}
