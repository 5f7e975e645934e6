//! Cross-origin requests: which pages may call.

use actix_cors::Cors;

/// Lets pages of these origins call, and lists the headers that they may send and read.
pub(crate) fn cors(origins: &[String]) -> Cors {
    let exposed = [
        "X-Device-ID",
        "X-Conversation-ID",
        "X-Turn-ID",
        "X-Has-More",
        "Retry-After",
    ];
    let allowed = [
        "Content-Type",
        "Authorization",
        "X-Device-ID",
        "Idempotency-Key",
        "Last-Event-ID",
    ];
    let none = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers(allowed)
        .expose_headers(exposed)
        .max_age(3600);
    origins
        .iter()
        .fold(none, |cors, origin| cors.allowed_origin(origin))
}
